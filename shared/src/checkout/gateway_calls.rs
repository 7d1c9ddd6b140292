//! The calls to the gateway with the customer present. [`gateway_step`] resolves unknown outcomes: by the same call under the same key,
//! never by another one.

use super::progress::write_snapshot;
use super::snapshot::{FINALIZE_STEPS, PurchaseResult, START, Snapshot, canonical_json, fingerprint};
use crate::clock::Timestamp;
use crate::frontend_api::body::PaymentInput;
use crate::gateway::{FinalizeRequest, GatewayText, IdempotencyKey, OperationKind, PurchaseRequest, Reference, StoreDetailsRequest};
use crate::ids::ExternalPaymentId;
use crate::journal::JournalError;
use crate::journal::payment::{NewPayment, PaymentRecord};
use crate::journal::record::AttemptKind;
use crate::journal::store::StoreError;
use crate::payments::gateway_step;
use crate::payments::obligation_context::ObligationContext;
use crate::payments::{FlowResult, retry};
use crate::reason::RetryReason;

/// Opens an attempt with its snapshot and its payment, in memory: the intent of the first call takes them along.
///
/// # Errors
/// Never in practice: an obligation of its own has no other in flight.
pub fn open_attempt(ctx: &mut ObligationContext<'_>, kind: AttemptKind, snapshot: &Snapshot) -> FlowResult<Reference> {
    open_dated_attempt(ctx, kind, snapshot)?;
    let taken_at_once = !ctx.gateway(snapshot.gateway)?.capabilities().takes_by_capture;
    let reference = gateway_step::payment_reference(ctx, snapshot.gateway, OperationKind::Purchase);
    let payment = NewPayment {
        reference: reference.clone(),
        gateway: snapshot.gateway,
        subscription: None,
        customer: snapshot.customer.clone(),
        details: None,
        order: snapshot.order.clone(),
        amount: snapshot.amount,
        zero_amount: snapshot.amount.is_zero(),
        taken_at_once,
    };
    ctx.add_payment(PaymentRecord::new(payment, ctx.session.key(), ctx.now()));
    ctx.set_attempt_payment(&reference);
    Ok(reference)
}

/// Opens an attempt about a payment that an earlier one made, in memory.
///
/// # Errors
/// As [`open_attempt`].
pub fn open_attempt_of(ctx: &mut ObligationContext<'_>, kind: AttemptKind, snapshot: &Snapshot, reference: &Reference) -> FlowResult<()> {
    open_dated_attempt(ctx, kind, snapshot)?;
    ctx.set_attempt_payment(reference);
    Ok(())
}

fn open_dated_attempt(ctx: &mut ObligationContext<'_>, kind: AttemptKind, snapshot: &Snapshot) -> FlowResult<()> {
    let due = next_attempt_date(ctx);
    ctx.open_attempt(kind, due, None)?;
    write_snapshot(ctx, snapshot);
    Ok(())
}

/// Two attempts of one obligation never have the same date, because keys are derived from it.
fn next_attempt_date(ctx: &ObligationContext<'_>) -> Timestamp {
    let now = ctx.now().secs();
    let last = ctx.session.obligation.attempts.iter().map(|attempt| attempt.due.secs()).max();
    Timestamp::from_secs(last.map_or(now, |last| now.max(last.saturating_add(1))))
}

/// The reference of the open attempt's payment.
///
/// # Errors
/// `Disposition::Retry` if it has none.
pub fn payment_reference(ctx: &ObligationContext<'_>) -> FlowResult<Reference> {
    let reference = ctx.current_attempt().and_then(|attempt| attempt.reference.clone());
    reference.ok_or_else(|| JournalError::Store(StoreError::Corrupt).into())
}

/// Makes the first call of the open attempt, or repeats it if its outcome is unknown. A repetition may have other payment data than the
/// first call: the gateway knows the key and answers for the first, and if it never saw that one, this is the only payment.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn start(ctx: &mut ObligationContext<'_>, snapshot: &Snapshot, input: &PaymentInput) -> FlowResult<PurchaseResult> {
    let reference = payment_reference(ctx)?;
    let (return_url, cancel_url) = input.return_target.gateway_urls(&reference);
    let purchase = |key| PurchaseRequest {
        key,
        reference,
        amount: snapshot.amount,
        customer: snapshot.customer.clone(),
        payment_data: input.payment_data.clone(),
        store: true,
        return_url,
        cancel_url,
        origin: input.origin.clone(),
        customer_ip: input.customer_ip.clone(),
        customer_email: input.customer_email.clone(),
    };
    if ctx.current_attempt().is_some_and(|attempt| attempt.kind == AttemptKind::StoreDetails) {
        gateway_step::run(ctx, START, snapshot.gateway, |key| StoreDetailsRequest { purchase: purchase(key) }).await
    } else {
        gateway_step::run(ctx, START, snapshot.gateway, purchase).await
    }
}

/// Submits the data that the customer returned with in this round. It is kept until the attempt ends, so that the call can be repeated.
///
/// # Errors
/// `Err(Disposition::Retry)` or `Err(Disposition::Parked)`; with [`RetryReason::AnotherPayment`] if it
/// belongs to another payment.
pub async fn finalize(ctx: &mut ObligationContext<'_>, snapshot: &Snapshot, round: usize) -> FlowResult<PurchaseResult> {
    let reference = payment_reference(ctx)?;
    let request = finalize_request(ctx, snapshot, round, reference)?;
    let name = FINALIZE_STEPS.get(round).ok_or_else(|| retry(RetryReason::TooManyFinalizeCalls))?;
    gateway_step::run(ctx, name, snapshot.gateway, |_| request).await
}

/// The call that submits this round's data, as it would be for the payment with that reference. Its key is derived from the data, so that
/// it is the same call for every payment of the order, or of the customer's setups.
///
/// # Errors
/// `Disposition::Retry` if no data is recorded for this round.
pub fn finalize_request(
    ctx: &ObligationContext<'_>,
    snapshot: &Snapshot,
    round: usize,
    reference: Reference,
) -> FlowResult<FinalizeRequest> {
    let returned = snapshot.returned_data.get(round).ok_or_else(|| retry(RetryReason::NoReturnedData))?;
    let gateway = GatewayText(snapshot.gateway.as_str());
    let attempt = format!("finalize/{}", returned.fingerprint);
    let scope = snapshot
        .order
        .as_ref()
        .map_or_else(|| format!("details/{}", snapshot.customer.as_str()), |order| format!("order/{}", order.as_str()));
    let key = IdempotencyKey::derive(&ctx.flow_context.policy.salt, gateway, OperationKind::Purchase, &scope, &attempt);
    let payment = ctx.payment(&reference);
    let external: Option<ExternalPaymentId> = payment.and_then(|payment| payment.external_payment_id.clone());
    let pending_id = payment.and_then(|payment| payment.pending_id.clone());
    Ok(FinalizeRequest {
        key,
        reference,
        amount: snapshot.amount,
        customer: snapshot.customer.clone(),
        external_payment_id: external,
        pending_id,
        details: returned.details.clone(),
    })
}

/// The fingerprint of the data that the customer returned with.
#[must_use]
pub fn returned_data_fingerprint(ctx: &ObligationContext<'_>, details: &serde_json::Value) -> String {
    fingerprint(&ctx.flow_context.policy.salt, &["details", &canonical_json(details)])
}
