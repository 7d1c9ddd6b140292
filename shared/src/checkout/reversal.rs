//! Giving back what nobody is to be charged for: an attempt that was replaced, or whose order lapsed, and that succeeded after all. Its
//! obligation is its own, so that it depends on nothing else that happens to the order. Must never touch a payment that was reported.

use crate::delivery::Delivery;
use crate::flow::{Disposition, FlowContext};
use crate::gateway::{CancelRequest, CancelTarget, Decline, IdempotencyKey, OperationKind, Reference, RefundRequest};
use crate::ids::ExternalPaymentId;
use crate::journal::JournalError;
use crate::journal::payment::PaymentState;
use crate::journal::payment::refunds::ReservationError;
use crate::journal::record::{Attempt, AttemptKind, Finish};
use crate::journal::store::{Key, StoreError};
use crate::metrics::Metric;
use crate::payments::gateway_step::{self, GatewayCall, StepResult};
use crate::payments::obligation_context::ObligationContext;
use crate::payments::{FlowResult, retry};
use crate::reason::{CompletionReason, ParkReason, RetryReason};

use super::outcome::record_captured;

const REFUND: &str = "refund";
const CANCEL: &str = "cancel";

/// Gives a payment back: refunded where it is known to be taken, which `external` says; else cancelled by our reference, for whatever may be
/// there. May be called again and again.
///
/// # Errors
/// Never: what is left to be done is in the verdict.
pub async fn reverse(
    flow_context: &FlowContext,
    reference: &Reference,
    external: Option<&ExternalPaymentId>,
    delivery: &Delivery,
) -> Disposition {
    match open_reversal(flow_context, reference, delivery).await {
        Ok(mut case) => {
            let story = run(&mut case, reference, external).await;
            case.conclude(story).await
        }
        Err(disposition) => disposition,
    }
}

async fn open_reversal<'w>(flow_context: &'w FlowContext, reference: &Reference, delivery: &Delivery) -> FlowResult<ObligationContext<'w>> {
    let mut case =
        ObligationContext::open_with_attempt_payments(flow_context, Key::new("reversal", &[reference.as_str()]), &[], delivery).await?;
    case.load_payment(reference).await?;
    Ok(case)
}

async fn run(case: &mut ObligationContext<'_>, reference: &Reference, external: Option<&ExternalPaymentId>) -> FlowResult<Disposition> {
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    if payment.cleeng_payment.is_some() && payment.state == PaymentState::Captured {
        return park(case, ParkReason::ReportedPaymentToBeReversed).await;
    }
    let external = external.or(payment.external_payment_id.as_ref()).cloned();
    let has = |step: &'static str| move |attempt: &Attempt| attempt.step(step).is_some();
    let attempts = &case.session.obligation.attempts;
    let (refunded, cancelled) = (attempts.iter().any(has(REFUND)), attempts.iter().any(has(CANCEL)));
    let open = case.current_attempt().is_some();
    match external {
        _ if open && refunded => refund(case, reference).await,
        Some(_) if refunded => Ok(Disposition::Completed(CompletionReason::Reversed)),
        Some(external) => {
            if open {
                // It was being cancelled without its id; the id is better.
                if let Some(attempt) = case.session.obligation.current_attempt_mut() {
                    attempt.finish = Some(Finish::Superseded);
                }
            }
            record_captured_or_park(case, reference, &external).await?;
            open_attempt(case, 2)?;
            refund(case, reference).await
        }
        None if !open && cancelled => Ok(Disposition::Completed(CompletionReason::Reversed)),
        None => {
            if !open {
                open_attempt(case, 1)?;
            }
            cancel(case, reference).await
        }
    }
}

/// The two ways of one obligation have dates of their own, because keys are derived from them.
fn open_attempt(case: &mut ObligationContext<'_>, number: i64) -> FlowResult<()> {
    case.open_attempt(AttemptKind::Reversal, crate::clock::Timestamp::from_secs(number), None)
}

/// The money is known to be taken.
async fn record_captured_or_park(case: &mut ObligationContext<'_>, reference: &Reference, external: &ExternalPaymentId) -> FlowResult<()> {
    let state = case.payment(reference).map(|payment| payment.state);
    if matches!(state, Some(PaymentState::Starting | PaymentState::Cancelling | PaymentState::Captured)) {
        return record_captured(case, reference, external);
    }
    // A payment that was declined, cancelled or given back cannot be taken as well: an operator has to see that.
    Err(park(case, ParkReason::ClosedPaymentSucceeded).await?)
}

async fn park(case: &mut ObligationContext<'_>, reason: ParkReason) -> FlowResult<Disposition> {
    if case.current_attempt().is_none() {
        open_attempt(case, 3)?;
    }
    case.park(reason, true).await
}

async fn refund(case: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<Disposition> {
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (gateway, amount, captured, external) = (payment.gateway, payment.amount, payment.captured, payment.external_payment_id.clone());
    if amount.is_zero() {
        return case.finish(Finish::Stale { reason: "nothing_was_captured".to_owned() }).await;
    }
    let external = external.ok_or_else(|| retry(RetryReason::PaymentWithoutId))?;
    let key = case.session.key().clone();
    let own = gateway_step::payment_reference(case, gateway, OperationKind::Refund);
    if let Some(Err(cannot)) = reserve_refund(case, reference, &key, &own) {
        tracing::error!(obligation = %key, error = %cannot, "a replaced payment cannot be given back");
        return case.park(ParkReason::ReversalAboveCaptured, true).await;
    }
    // From the intent on, so that a notification finds the payment by our own name of the refund.
    case.add_operation(gateway, own.as_str(), reference);
    let make =
        |key: IdempotencyKey| GatewayCall::Refund(RefundRequest { key, reference: own, external_payment_id: external, amount, captured });
    let fact = gateway_step::run(case, REFUND, gateway, OperationKind::Refund, make).await?;
    if let StepResult::Received { operation_ref: Some(operation), .. } = &fact {
        case.add_operation(gateway, operation, reference);
        case.update_payment(reference, |payment, _| {
            payment.record_refund_received(&key, Some(operation.clone()));
            Ok(())
        })?;
    }
    match fact {
        StepResult::Done { .. } | StepResult::Received { .. } => {
            case.flow_context.metrics.count(Metric::Warning, &[("reason", "replaced_payment_reversed")]);
            case.finish(Finish::Reversed).await
        }
        StepResult::Declined(_) => case.park(ParkReason::ReversalRefused, true).await,
    }
}

/// Reserves all of the payment for this refund, in memory; nothing if that was done before.
fn reserve_refund(
    case: &mut ObligationContext<'_>,
    reference: &Reference,
    key: &Key,
    own: &Reference,
) -> Option<Result<(), ReservationError>> {
    if case.payment(reference)?.refund_for(key).is_some() {
        return None;
    }
    let mut reserved = Ok(());
    let changed = case.update_payment(reference, |payment, _| {
        reserved = payment.reserve_refund(key, own.clone(), payment.captured);
        Ok(())
    });
    changed.ok().map(|()| reserved)
}

async fn cancel(case: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<Disposition> {
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (gateway, started) = (payment.gateway, payment.pending_id.clone());
    // Called off, also where the gateway cannot be told: if it succeeds after all, it is given back then.
    case.update_payment(reference, |payment, now| {
        if payment.state == PaymentState::Starting { payment.transition_to(PaymentState::Cancelling, now) } else { Ok(()) }
    })?;
    if started.is_none() && !case.gateway(gateway)?.capabilities().cancel_by_reference {
        return case.finish(Finish::Stale { reason: "cannot_be_cancelled_by_reference".to_owned() }).await;
    }
    let target = CancelTarget::Reference { reference: reference.clone(), pending_id: started };
    let make = |key| GatewayCall::Cancel(CancelRequest { key, reference: reference.clone(), target });
    match gateway_step::run(case, CANCEL, gateway, OperationKind::Cancel, make).await? {
        StepResult::Done { .. } | StepResult::Received { .. } => case.finish(Finish::Reversed).await,
        // It is taken already, and the gateway says under which id: the other way gives it back.
        StepResult::Declined(Decline { payment: Some(external), .. }) => {
            if let Some(attempt) = case.session.obligation.current_attempt_mut() {
                attempt.finish = Some(Finish::Superseded);
            }
            record_captured_or_park(case, reference, &external).await?;
            open_attempt(case, 2)?;
            refund(case, reference).await
        }
        StepResult::Declined(_) => case.finish(Finish::Stale { reason: "nothing_to_cancel".to_owned() }).await,
    }
}
