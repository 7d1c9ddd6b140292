//! From the gateway's word to the report and the end of the attempt.

use serde_json::Value;

use super::snapshot::{FINALIZE_STEPS, NOTIFIED, PurchaseResult, START, Snapshot};
use super::{details, gateway_calls, pending_setups, progress, report};
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

/// Goes on with what the gateway said about the open attempt.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn apply_result(case: &mut ObligationContext<'_>, snapshot: &Snapshot, answered: PurchaseResult) -> FlowResult<Disposition> {
    match answered {
        PurchaseResult::Done { external, at, .. } => complete_purchase(case, snapshot, &external, at).await,
        PurchaseResult::Received { external, .. } => {
            let reference = gateway_calls::payment_reference(case)?;
            if let Some(external) = &external {
                record_external_id(case, &reference, external)?;
            }
            Ok(case.retry_later(None, RetryReason::PaymentPending).await)
        }
        PurchaseResult::ActionRequired { pending_id: started, .. } => {
            let reference = gateway_calls::payment_reference(case)?;
            case.update_payment(&reference, |payment, _| {
                payment.pending_id = started.or(payment.pending_id.take());
                Ok(())
            })?;
            case.save_and_release_lease().await?;
            Ok(Disposition::Completed(CompletionReason::ActionRequired))
        }
        PurchaseResult::Declined(decline) => record_decline(case, snapshot, &decline).await,
    }
}

/// The money is taken, or the details are stored.
async fn complete_purchase(
    case: &mut ObligationContext<'_>,
    snapshot: &Snapshot,
    external: &ExternalPaymentId,
    at: Timestamp,
) -> FlowResult<Disposition> {
    let reference = gateway_calls::payment_reference(case)?;
    record_captured(case, &reference, external)?;
    let Some(source) = payment_source(case)? else {
        // The token may come later than the rest, by notification. Without it Cleeng could never renew.
        if case.now().since(at) > case.flow_context.policy.unknown_deadline {
            return case.park(ParkReason::TokenMissing, true).await;
        }
        return Ok(case.retry_later(None, RetryReason::TokenPending).await);
    };
    if case.current_attempt().is_some_and(|attempt| attempt.kind == AttemptKind::StoreDetails) {
        return details::report_stored_details(case, snapshot, source).await;
    }
    report::report_captured(case, snapshot, &reference, source).await?;
    progress::erase_sensitive_data(case)?;
    case.finish(Finish::Captured).await
}

/// Records that the money of a payment is taken, in memory.
///
/// # Errors
/// `Disposition::Retry` if the record does not allow it.
pub fn record_captured(case: &mut ObligationContext<'_>, reference: &Reference, external: &ExternalPaymentId) -> FlowResult<()> {
    case.update_payment(reference, |payment, now| {
        // Resumed later, it may have moved on already.
        if matches!(payment.state, PaymentState::Starting | PaymentState::Cancelling) {
            payment.transition_to(PaymentState::Captured, now)?;
            payment.captured = payment.amount;
        }
        Ok(())
    })?;
    record_external_id(case, reference, external)
}

/// Records the gateway's id of a payment, in memory.
fn record_external_id(case: &mut ObligationContext<'_>, reference: &Reference, external: &ExternalPaymentId) -> FlowResult<()> {
    let mut gateway = None;
    case.update_payment(reference, |payment, _| {
        if payment.external_payment_id.is_none() {
            payment.external_payment_id = Some(external.clone());
            payment.authorisation = Some(external.clone());
            gateway = Some(payment.gateway);
        }
        Ok(())
    })?;
    if let Some(gateway) = gateway {
        case.add_lookup(PaymentRecord::gateway_id_key(gateway, external), reference);
    }
    Ok(())
}

/// The stored details, from whichever answers brought them and what may be shown of them.
fn payment_source(case: &ObligationContext<'_>) -> FlowResult<Option<PaymentSource>> {
    let (mut found, mut display) = (None, Value::Null);
    for step in [NOTIFIED, START].into_iter().chain(FINALIZE_STEPS) {
        if let TypedStepState::Done(PurchaseResult::Done { token, display_params: shown, .. }) = case.step_state::<PurchaseResult>(step)? {
            found = found.or(token);
            display = if display.is_null() { shown } else { display };
        }
    }
    Ok(found.map(|token| PaymentSource::New { token: SecretString::new(token), display_params: display }))
}

async fn record_decline(case: &mut ObligationContext<'_>, snapshot: &Snapshot, decline: &Decline) -> FlowResult<Disposition> {
    let reference = gateway_calls::payment_reference(case)?;
    let refused = decline.payment.clone();
    case.update_payment(&reference, |payment, now| {
        payment.external_payment_id = payment.external_payment_id.take().or(refused);
        if payment.state == PaymentState::Starting { payment.transition_to(PaymentState::Declined, now) } else { Ok(()) }
    })?;
    if case.current_attempt().is_some_and(|attempt| attempt.kind == AttemptKind::StoreDetails) {
        pending_setups::count_decline(case, &snapshot.customer).await?;
    } else {
        report::report_rejected(case, snapshot, &reference, decline).await?;
    }
    progress::erase_sensitive_data(case)?;
    case.finish(Finish::Declined { class: decline.class, code: decline.code.clone() }).await
}

/// Ends the open attempt without a result, because another one takes its place or its time is over. In memory.
///
/// # Errors
/// `Disposition::Retry` if a step cannot be read.
pub fn close_attempt(case: &mut ObligationContext<'_>, finish: Finish) -> FlowResult<()> {
    // What never got to the gateway holds nothing.
    if matches!(progress::read_progress(case)?, progress::Progress::NotStarted) {
        let reference = gateway_calls::payment_reference(case)?;
        case.update_payment(&reference, |payment, now| payment.transition_to(PaymentState::Declined, now))?;
    } else {
        case.session.obligation.needs_cleanup = true;
    }
    progress::erase_sensitive_data(case)?;
    if let Some(attempt) = case.session.obligation.current_attempt_mut() {
        attempt.finish = Some(finish);
    }
    case.subscription_state.in_flight = None;
    Ok(())
}
