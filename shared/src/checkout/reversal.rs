//! Reversal of a payment that must not be charged: its attempt was replaced, or its order expired, and it succeeded after all. The reversal
//! is an obligation of its own, so that it depends on nothing else that happens to the order. Must never touch a reported payment.

use crate::delivery::Delivery;
use crate::flow::{Disposition, FlowContext};
use crate::gateway::{CancelRequest, CancelTarget, Decline, OperationKind, Reference, RefundRequest};
use crate::ids::ExternalPaymentId;
use crate::journal::JournalError;
use crate::journal::payment::PaymentState;
use crate::journal::payment::refunds::ReservationError;
use crate::journal::record::{Attempt, AttemptKind, Finish};
use crate::journal::store::{Key, StoreError};
use crate::metrics::Metric;
use crate::payments::gateway_step::{self, StepResult};
use crate::payments::obligation_context::ObligationContext;
use crate::payments::{FlowResult, retry};
use crate::reason::{CompletionReason, ParkReason, RetryReason};

use super::outcome::record_captured;

const REFUND: &str = "refund";
const CANCEL: &str = "cancel";

/// Reverses a payment: by a refund if it is known to be captured, which `external` says; else by a cancel of our reference, in case there
/// is a payment. The function is idempotent.
///
/// # Errors
/// None: the disposition says what is left to be done.
pub async fn reverse(
    flow_context: &FlowContext,
    reference: &Reference,
    external: Option<&ExternalPaymentId>,
    delivery: &Delivery,
) -> Disposition {
    match open_reversal(flow_context, reference, delivery).await {
        Ok(mut ctx) => {
            let result = run(&mut ctx, reference, external).await;
            ctx.conclude(result).await
        }
        Err(disposition) => disposition,
    }
}

async fn open_reversal<'w>(flow_context: &'w FlowContext, reference: &Reference, delivery: &Delivery) -> FlowResult<ObligationContext<'w>> {
    let mut ctx =
        ObligationContext::open_with_attempt_payments(flow_context, Key::new("reversal", &[reference.as_str()]), &[], delivery).await?;
    ctx.load_payment(reference).await?;
    Ok(ctx)
}

async fn run(ctx: &mut ObligationContext<'_>, reference: &Reference, external: Option<&ExternalPaymentId>) -> FlowResult<Disposition> {
    let payment = ctx.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    if payment.cleeng_payment.is_some() && payment.state == PaymentState::Captured {
        return park(ctx, ParkReason::ReportedPaymentToBeReversed).await;
    }
    let external = external.or(payment.external_payment_id.as_ref()).cloned();
    let has = |step: &'static str| move |attempt: &Attempt| attempt.step(step).is_some();
    let attempts = &ctx.session.obligation.attempts;
    let (refunded, cancelled) = (attempts.iter().any(has(REFUND)), attempts.iter().any(has(CANCEL)));
    let open = ctx.current_attempt().is_some();
    match external {
        _ if open && refunded => refund(ctx, reference).await,
        Some(_) if refunded => Ok(Disposition::Completed(CompletionReason::Reversed)),
        Some(external) => {
            if open {
                // It was being cancelled without its id. With the id it can be refunded.
                if let Some(attempt) = ctx.session.obligation.current_attempt_mut() {
                    attempt.finish = Some(Finish::Superseded);
                }
            }
            record_captured_or_park(ctx, reference, &external).await?;
            open_attempt(ctx, 2)?;
            refund(ctx, reference).await
        }
        None if !open && cancelled => Ok(Disposition::Completed(CompletionReason::Reversed)),
        None => {
            if !open {
                open_attempt(ctx, 1)?;
            }
            cancel(ctx, reference).await
        }
    }
}

/// The attempts of one reversal have dates of their own, because keys are derived from them.
fn open_attempt(ctx: &mut ObligationContext<'_>, number: i64) -> FlowResult<()> {
    ctx.open_attempt(AttemptKind::Reversal, crate::clock::Timestamp::from_secs(number), None)
}

/// Records that the money is captured, or parks a payment that cannot be.
async fn record_captured_or_park(ctx: &mut ObligationContext<'_>, reference: &Reference, external: &ExternalPaymentId) -> FlowResult<()> {
    let state = ctx.payment(reference).map(|payment| payment.state);
    if matches!(state, Some(PaymentState::Starting | PaymentState::Cancelling | PaymentState::Captured)) {
        return record_captured(ctx, reference, external);
    }
    // A payment that was declined, cancelled or reversed cannot be captured as well: an operator has to see that.
    park(ctx, ParkReason::ClosedPaymentSucceeded).await
}

async fn park<T>(ctx: &mut ObligationContext<'_>, reason: ParkReason) -> FlowResult<T> {
    if ctx.current_attempt().is_none() {
        open_attempt(ctx, 3)?;
    }
    ctx.park(reason, true).await
}

async fn refund(ctx: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<Disposition> {
    let payment = ctx.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (gateway, amount, captured, external) = (payment.gateway, payment.amount, payment.captured, payment.external_payment_id.clone());
    if amount.is_zero() {
        return ctx.finish(Finish::Stale { reason: "nothing_was_captured".to_owned() }).await;
    }
    let external = external.ok_or_else(|| retry(RetryReason::PaymentWithoutId))?;
    let key = ctx.session.key().clone();
    let own = gateway_step::payment_reference(ctx, gateway, OperationKind::Refund);
    if let Some(Err(cannot)) = reserve_refund(ctx, reference, &key, &own) {
        tracing::error!(obligation = %key, error = %cannot, "a replaced payment cannot be reversed");
        return ctx.park(ParkReason::ReversalAboveCaptured, true).await;
    }
    // From the intent on, so that a notification finds the payment by our own name of the refund.
    ctx.add_operation(gateway, own.as_str(), reference);
    let make = |key| RefundRequest { key, reference: own, external_payment_id: external, amount, captured };
    let result = gateway_step::run(ctx, REFUND, gateway, make).await?;
    if let StepResult::Received { operation_ref: Some(operation), .. } = &result {
        ctx.add_operation(gateway, operation, reference);
        ctx.update_payment(reference, |payment, _| {
            payment.record_refund_received(&key, Some(operation.clone()));
            Ok(())
        })?;
    }
    match result {
        StepResult::Done { .. } | StepResult::Received { .. } => {
            ctx.flow_context.metrics.count(Metric::Warning, &[("reason", "replaced_payment_reversed")]);
            ctx.finish(Finish::Reversed).await
        }
        StepResult::Declined(_) => ctx.park(ParkReason::ReversalRefused, true).await,
    }
}

/// Reserves all of the payment for this refund, in memory. `None` if that was done before.
fn reserve_refund(
    ctx: &mut ObligationContext<'_>,
    reference: &Reference,
    key: &Key,
    own: &Reference,
) -> Option<Result<(), ReservationError>> {
    if ctx.payment(reference)?.refund_for(key).is_some() {
        return None;
    }
    let mut reserved = Ok(());
    let changed = ctx.update_payment(reference, |payment, _| {
        reserved = payment.reserve_refund(key, own.clone(), payment.captured);
        Ok(())
    });
    changed.ok().map(|()| reserved)
}

async fn cancel(ctx: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<Disposition> {
    let payment = ctx.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (gateway, pending_id) = (payment.gateway, payment.pending_id.clone());
    // Recorded as cancelled even if the gateway cannot cancel it: if it succeeds after all, it is refunded then.
    ctx.update_payment(reference, |payment, now| {
        if payment.state == PaymentState::Starting { payment.transition_to(PaymentState::Cancelling, now) } else { Ok(()) }
    })?;
    if pending_id.is_none() && !ctx.gateway(gateway)?.capabilities().cancel_by_reference {
        return ctx.finish(Finish::Stale { reason: "cannot_be_cancelled_by_reference".to_owned() }).await;
    }
    let target = CancelTarget::Reference { reference: reference.clone(), pending_id };
    let make = |key| CancelRequest { key, reference: reference.clone(), target };
    match gateway_step::run(ctx, CANCEL, gateway, make).await? {
        StepResult::Done { .. } | StepResult::Received { .. } => ctx.finish(Finish::Reversed).await,
        // It is captured already, and the gateway names its id: it is refunded instead.
        StepResult::Declined(Decline { payment: Some(external), .. }) => {
            if let Some(attempt) = ctx.session.obligation.current_attempt_mut() {
                attempt.finish = Some(Finish::Superseded);
            }
            record_captured_or_park(ctx, reference, &external).await?;
            open_attempt(ctx, 2)?;
            refund(ctx, reference).await
        }
        StepResult::Declined(_) => ctx.finish(Finish::Stale { reason: "nothing_to_cancel".to_owned() }).await,
    }
}
