//! From the gateway's result to the report and the end of the attempt.

use serde_json::Value;

use super::snapshot::{FINALIZE_STEPS, NOTIFIED, PurchaseResult, START, Snapshot};
use super::{details_report, gateway_calls, pending_setups, progress, report};
use crate::cleeng::PaymentSource;
use crate::clock::Timestamp;
use crate::flow::Disposition;
use crate::gateway::{Decline, Reference};
use crate::ids::ExternalPaymentId;
use crate::journal::payment::{PaymentRecord, PaymentState};
use crate::journal::record::{AttemptKind, Finish};
use crate::payments::FlowResult;
use crate::payments::obligation_context::{ObligationContext, TypedStepState};
use crate::reason::{CompletionReason, ParkReason, RetryReason};
use crate::secret::SecretString;

/// Applies the gateway's result to the open attempt.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn apply_result(ctx: &mut ObligationContext<'_>, snapshot: &Snapshot, result: PurchaseResult) -> FlowResult<Disposition> {
    match result {
        PurchaseResult::Done { external, at, .. } => complete_purchase(ctx, snapshot, &external, at).await,
        PurchaseResult::Received { external, .. } => {
            let reference = gateway_calls::payment_reference(ctx)?;
            if let Some(external) = &external {
                record_external_id(ctx, &reference, external)?;
            }
            Ok(ctx.retry_later(None, RetryReason::PaymentPending).await)
        }
        PurchaseResult::ActionRequired { pending_id, .. } => {
            let reference = gateway_calls::payment_reference(ctx)?;
            ctx.update_payment(&reference, |payment, _| {
                payment.pending_id = pending_id.or(payment.pending_id.take());
                Ok(())
            })?;
            ctx.save_and_release_lease().await?;
            Ok(Disposition::Completed(CompletionReason::ActionRequired))
        }
        PurchaseResult::Declined(decline) => record_decline(ctx, snapshot, &decline).await,
    }
}

/// The money is captured, or the details are stored.
async fn complete_purchase(
    ctx: &mut ObligationContext<'_>,
    snapshot: &Snapshot,
    external: &ExternalPaymentId,
    at: Timestamp,
) -> FlowResult<Disposition> {
    let reference = gateway_calls::payment_reference(ctx)?;
    record_captured(ctx, &reference, external)?;
    let Some(source) = payment_source(ctx)? else {
        // The token may come later than the rest, by notification. Without it Cleeng could never renew.
        if ctx.now().since(at) > ctx.flow_context.policy.unknown_deadline {
            return ctx.park(ParkReason::TokenMissing, true).await;
        }
        return Ok(ctx.retry_later(None, RetryReason::TokenPending).await);
    };
    if ctx.current_attempt().is_some_and(|attempt| attempt.kind == AttemptKind::StoreDetails) {
        return details_report::report_stored_details(ctx, snapshot, source).await;
    }
    report::report_captured(ctx, snapshot, &reference, source).await?;
    progress::erase_sensitive_data(ctx)?;
    ctx.finish(Finish::Captured).await
}

/// Records that the money of a payment is captured, in memory.
///
/// # Errors
/// `Disposition::Retry` if the record does not allow it.
pub fn record_captured(ctx: &mut ObligationContext<'_>, reference: &Reference, external: &ExternalPaymentId) -> FlowResult<()> {
    ctx.update_payment(reference, |payment, now| {
        // Resumed later, it may have moved on already.
        if matches!(payment.state, PaymentState::Starting | PaymentState::Cancelling) {
            payment.transition_to(PaymentState::Captured, now)?;
            payment.captured = payment.amount;
        }
        Ok(())
    })?;
    record_external_id(ctx, reference, external)
}

/// Records the gateway's id of a payment, in memory.
fn record_external_id(ctx: &mut ObligationContext<'_>, reference: &Reference, external: &ExternalPaymentId) -> FlowResult<()> {
    let mut gateway = None;
    ctx.update_payment(reference, |payment, _| {
        if payment.external_payment_id.is_none() {
            payment.external_payment_id = Some(external.clone());
            payment.authorisation = Some(external.clone());
            gateway = Some(payment.gateway);
        }
        Ok(())
    })?;
    if let Some(gateway) = gateway {
        ctx.add_lookup(PaymentRecord::gateway_id_key(gateway, external), reference);
    }
    Ok(())
}

/// The stored details, from whichever results have them, with what may be shown of them.
fn payment_source(ctx: &ObligationContext<'_>) -> FlowResult<Option<PaymentSource>> {
    let (mut found, mut display) = (None, Value::Null);
    for step in [NOTIFIED, START].into_iter().chain(FINALIZE_STEPS) {
        if let TypedStepState::Done(PurchaseResult::Done { token, display_params, .. }) = ctx.step_state::<PurchaseResult>(step)? {
            found = found.or(token);
            display = if display.is_null() { display_params } else { display };
        }
    }
    Ok(found.map(|token| PaymentSource::New { token: SecretString::new(token), display_params: display }))
}

async fn record_decline(ctx: &mut ObligationContext<'_>, snapshot: &Snapshot, decline: &Decline) -> FlowResult<Disposition> {
    let reference = gateway_calls::payment_reference(ctx)?;
    let refused = decline.payment.clone();
    ctx.update_payment(&reference, |payment, now| {
        payment.external_payment_id = payment.external_payment_id.take().or(refused);
        if payment.state == PaymentState::Starting { payment.transition_to(PaymentState::Declined, now) } else { Ok(()) }
    })?;
    if ctx.current_attempt().is_some_and(|attempt| attempt.kind == AttemptKind::StoreDetails) {
        pending_setups::count_decline(ctx, &snapshot.customer).await?;
    } else {
        report::report_rejected(ctx, snapshot, &reference, decline).await?;
    }
    progress::erase_sensitive_data(ctx)?;
    ctx.finish(Finish::Declined { class: decline.class, code: decline.code.clone() }).await
}

/// Ends the open attempt without a result, because another one takes its place or it has expired. In memory.
///
/// # Errors
/// `Disposition::Retry` if a step cannot be read.
pub fn close_attempt(ctx: &mut ObligationContext<'_>, finish: Finish) -> FlowResult<()> {
    // A payment that never reached the gateway holds nothing.
    if matches!(progress::read_progress(ctx)?, progress::Progress::NotStarted) {
        let reference = gateway_calls::payment_reference(ctx)?;
        ctx.update_payment(&reference, |payment, now| payment.transition_to(PaymentState::Declined, now))?;
    } else {
        ctx.session.obligation.needs_cleanup = true;
    }
    progress::erase_sensitive_data(ctx)?;
    if let Some(attempt) = ctx.session.obligation.current_attempt_mut() {
        attempt.finish = Some(finish);
    }
    ctx.subscription_state.in_flight = None;
    Ok(())
}
