//! The calls to the gateway with the customer present. What an unknown outcome means is the business of [`gateway_step`]: the same call
//! under the same key, never another one.

use super::facts::{Answered, ROUNDS, START, Snapshot, canonical, fingerprint};
use super::position::keep_snapshot;
use crate::billing::case::Case;
use crate::billing::gateway_step::{self, Call};
use crate::billing::{Story, later};
use crate::clock::Timestamp;
use crate::front::body::PaymentInput;
use crate::gateway::{FinalizeRequest, GatewayText, IdempotencyKey, OperationKind, PurchaseRequest, Reference, StoreDetailsRequest};
use crate::ids::ExternalPaymentId;
use crate::journal::JournalError;
use crate::journal::payment::PaymentRecord;
use crate::journal::record::AttemptKind;
use crate::journal::store::StoreError;

/// Opens an attempt with its snapshot and its payment, in memory: the intent of the first call takes them along.
///
/// # Errors
/// Never in practice: an obligation of its own has no other in flight.
pub fn open(case: &mut Case<'_>, kind: AttemptKind, snapshot: &Snapshot) -> Story<Reference> {
    let due = next_due(case);
    case.open_attempt(kind, due, None)?;
    keep_snapshot(case, snapshot);
    let reference = gateway_step::reference_of(case, snapshot.gateway, OperationKind::Purchase);
    let (customer, now) = (snapshot.customer.clone(), case.now());
    let mut payment = PaymentRecord::starting(reference.clone(), snapshot.gateway, case.run.key(), customer, snapshot.amount, now);
    payment.order.clone_from(&snapshot.order);
    payment.free = snapshot.amount.is_zero();
    case.add_payment(payment);
    if let Some(attempt) = case.run.obligation.open_mut() {
        attempt.reference = Some(reference.clone());
    }
    Ok(reference)
}

/// Two attempts of one obligation never have the same date, because keys are derived from it.
fn next_due(case: &Case<'_>) -> Timestamp {
    let now = case.now().secs();
    let last = case.run.obligation.attempts.iter().map(|attempt| attempt.due.secs()).max();
    Timestamp::from_secs(last.map_or(now, |last| now.max(last.saturating_add(1))))
}

/// The reference of the open attempt's payment.
///
/// # Errors
/// Later, if it has none.
pub fn reference(case: &Case<'_>) -> Story<Reference> {
    let reference = case.attempt().and_then(|attempt| attempt.reference.clone());
    reference.ok_or_else(|| JournalError::Store(StoreError::Corrupt).into())
}

/// The first call of the open attempt, or the same call again if its outcome is unknown. A repetition may bring other payment data than the
/// first call: the gateway knows the key and answers for the first, and if it never saw that one, this is the only payment.
///
/// # Errors
/// Later or parked.
pub async fn start(case: &mut Case<'_>, snapshot: &Snapshot, input: &PaymentInput) -> Story<Answered> {
    let reference = reference(case)?;
    let stores = case.attempt().is_some_and(|attempt| attempt.kind == AttemptKind::StoreDetails);
    let operation = if stores { OperationKind::Store } else { OperationKind::Purchase };
    let (return_url, cancel_url) = input.back_to.addresses(&reference);
    let make = |key| {
        let purchase = PurchaseRequest {
            key,
            reference,
            amount: snapshot.amount,
            customer: snapshot.customer.clone(),
            payment_data: input.data.clone(),
            store: true,
            return_url,
            cancel_url,
            origin: input.origin.clone(),
            customer_ip: input.ip.clone(),
        };
        if stores { Call::Store(StoreDetailsRequest { purchase }) } else { Call::Purchase(purchase) }
    };
    gateway_step::run_as(case, START, snapshot.gateway, operation, make).await
}

/// Hands in what the customer brought back in this round. It is kept until the attempt ends, so that anybody can ask again.
///
/// # Errors
/// Later or parked; [`gateway_step::ANOTHER_PAYMENT`] if it belongs to another payment.
pub async fn finish(case: &mut Case<'_>, snapshot: &Snapshot, round: usize) -> Story<Answered> {
    let reference = reference(case)?;
    let request = finalize_request(case, snapshot, round, reference)?;
    let name = ROUNDS.get(round).ok_or_else(|| later("too_many_rounds"))?;
    gateway_step::run_as(case, name, snapshot.gateway, OperationKind::Purchase, |_| Call::Finalize(request)).await
}

/// The call that hands in this round, as it would be for the payment of that reference. Its key is made of what is handed in, so that it is
/// the same call for whichever payment of the order, or of the customer's storings, it is made.
///
/// # Errors
/// Later, if nothing was brought back.
pub fn finalize_request(case: &Case<'_>, snapshot: &Snapshot, round: usize, reference: Reference) -> Story<FinalizeRequest> {
    let brought = snapshot.rounds.get(round).ok_or_else(|| later("nothing_brought_back"))?;
    let gateway = GatewayText(snapshot.gateway.as_str());
    let attempt = format!("finalize/{}", brought.fingerprint);
    let whose = snapshot
        .order
        .as_ref()
        .map_or_else(|| format!("details/{}", snapshot.customer.as_str()), |order| format!("order/{}", order.as_str()));
    let key = IdempotencyKey::derive(&case.world.rules.salt, gateway, OperationKind::Purchase, &whose, &attempt);
    let payment = case.payment(&reference);
    let external: Option<ExternalPaymentId> = payment.and_then(|payment| payment.external_payment_id.clone());
    let started = payment.and_then(|payment| payment.started.clone());
    Ok(FinalizeRequest {
        key,
        reference,
        amount: snapshot.amount,
        customer: snapshot.customer.clone(),
        external_payment_id: external,
        started,
        details: brought.details.clone(),
    })
}

/// The fingerprint of what the customer brought back.
#[must_use]
pub fn fingerprint_of(case: &Case<'_>, details: &serde_json::Value) -> String {
    fingerprint(&case.world.rules.salt, &["details", &canonical(details)])
}
