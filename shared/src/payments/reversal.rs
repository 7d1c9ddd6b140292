//! Giving back a payment that must not be kept: its attempt was replaced, its order or its period is over or paid in another way, and it
//! succeeded after all. The reversal is an obligation of its own, so that it depends on nothing else that happens to the payment's own
//! obligation. Must never touch a payment that Cleeng has as paid.
//!
//! What the gateway knows decides: money that is taken is refunded, money that is held is released, and a payment that is not decided is
//! cancelled, or waited for where it cannot be. It is done when the gateway says so: a failure, and no answer for days, is parked. A success
//! that comes after a reversal had ended starts a new one.

use std::time::Duration;

use super::gateway_step::{self, StepResult};
use super::obligation_context::{ObligationContext, TypedStepState};
use super::{FlowResult, retry};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::flow::{Disposition, FlowContext};
use crate::gateway::{CancelRequest, CancelTarget, Decline, NotificationKind, OperationKind, Outcome, Reference, RefundRequest};
use crate::ids::ExternalPaymentId;
use crate::journal::JournalError;
use crate::journal::payment::refunds::{RefundRecord, RefundState};
use crate::journal::payment::{PaymentRecord, PaymentState};
use crate::journal::record::{Attempt, AttemptKind, Finish, Obligation};
use crate::journal::store::{Key, StoreError};
use crate::metrics::Metric;
use crate::reason::{CompletionReason, ParkReason, RetryReason};

const REFUND: &str = "refund";
const CANCEL: &str = "cancel";
/// How long the gateway may take to say what became of a cancel or a refund; a refund to a bank account takes the longest, some business
/// days (docs.stripe.com, "Refunds"; PayPal's `ECHECK` refunds).
pub const GIVE_BACK_PATIENCE: Duration = Duration::from_secs(14 * 24 * 3_600);

/// The obligation that gives this payment back.
#[must_use]
pub fn reversal_key(reference: &Reference) -> Key {
    Key::new("reversal", &[reference.as_str()])
}

/// Gives a payment back, or continues that. `success` is the gateway's id of a payment that was said to have succeeded just now. The
/// function is idempotent.
///
/// # Errors
/// None: the disposition says what is left to be done.
pub async fn reverse(
    flow_context: &FlowContext,
    reference: &Reference,
    success: Option<&ExternalPaymentId>,
    delivery: &Delivery,
) -> Disposition {
    match open_reversal(flow_context, reference, delivery).await {
        Ok(mut ctx) => {
            let result = run(&mut ctx, reference, success).await;
            ctx.conclude(result).await
        }
        Err(disposition) => disposition,
    }
}

async fn open_reversal<'w>(flow_context: &'w FlowContext, reference: &Reference, delivery: &Delivery) -> FlowResult<ObligationContext<'w>> {
    let mut ctx = ObligationContext::open_with_attempt_payments(flow_context, reversal_key(reference), &[], delivery).await?;
    ctx.load_payment(reference).await?;
    Ok(ctx)
}

async fn run(ctx: &mut ObligationContext<'_>, reference: &Reference, success: Option<&ExternalPaymentId>) -> FlowResult<Disposition> {
    let is_news = match success {
        Some(external) => record_success(ctx, reference, external)?,
        None => false,
    };
    if ctx.current_attempt().is_none() {
        let last = ctx.session.obligation.attempts.last().and_then(|attempt| attempt.finish.clone());
        let undone = last == Some(Finish::Reversed) && has_money(payment(ctx, reference)?);
        match last {
            Some(last) if !is_news && !undone => return Ok(Disposition::Completed(CompletionReason::from(&last))),
            _ => {
                let now = ctx.now();
                open_attempt(&mut ctx.session.obligation, now);
            }
        }
        if undone && !is_news {
            return ctx.park(ParkReason::ReversalRefused, true).await;
        }
    }
    let payment = payment(ctx, reference)?;
    if payment.cleeng_payment.is_some() && payment.state == PaymentState::Captured {
        return ctx.park(ParkReason::ReportedPaymentToBeReversed, true).await;
    }
    advance(ctx, reference).await
}

fn payment<'c>(ctx: &'c ObligationContext<'_>, reference: &Reference) -> FlowResult<&'c PaymentRecord> {
    Ok(ctx.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?)
}

/// Whether money is held, or taken and not given back.
fn has_money(payment: &PaymentRecord) -> bool {
    match payment.state {
        PaymentState::Authorised => true,
        PaymentState::Captured => payment.captured != payment.refunded && !payment.has_refund_in_flight(),
        _ => false,
    }
}

/// Opens an attempt of a reversal, in memory. The attempts of one have dates of their own, because keys are derived from them.
pub fn open_attempt(obligation: &mut Obligation, now: Timestamp) {
    let last = obligation.attempts.iter().map(|attempt| attempt.due.secs()).max();
    let due = Timestamp::from_secs(last.unwrap_or(0).saturating_add(1));
    obligation.push(Attempt::opened(AttemptKind::Reversal, due, now));
}

/// Records that the gateway has the money. Returns whether it is news.
fn record_success(ctx: &mut ObligationContext<'_>, reference: &Reference, external: &ExternalPaymentId) -> FlowResult<bool> {
    let (mut is_news, mut gateway) = (false, None);
    ctx.update_payment(reference, |payment, now| {
        is_news = payment.record_success(external, now)?;
        gateway = Some(payment.gateway);
        Ok(())
    })?;
    if let (true, Some(gateway)) = (is_news, gateway) {
        ctx.add_lookup(PaymentRecord::gateway_id_key(gateway, external), reference);
    }
    Ok(is_news)
}

/// The next step, by what the gateway knows of the payment.
async fn advance(ctx: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<Disposition> {
    let payment = payment(ctx, reference)?;
    let is_refunding = !matches!(ctx.step_state::<StepResult>(REFUND)?, TypedStepState::NotStarted);
    match payment.state {
        _ if is_refunding => refund(ctx, reference).await,
        PaymentState::Captured => refund(ctx, reference).await,
        PaymentState::Starting if payment.external_payment_id.is_some() => query_or_cancel(ctx, reference).await,
        PaymentState::Starting | PaymentState::Authorised | PaymentState::Cancelling => cancel(ctx, reference).await,
        PaymentState::Capturing => Err(retry(RetryReason::CaptureInFlight)),
        PaymentState::Cancelled | PaymentState::Expired | PaymentState::Refunded => ctx.finish(Finish::Reversed).await,
        PaymentState::Declined | PaymentState::CaptureFailed | PaymentState::ChargedBack => {
            finish_without_money(ctx, "nothing_is_held").await
        }
    }
}

async fn finish_without_money(ctx: &mut ObligationContext<'_>, reason: &str) -> FlowResult<Disposition> {
    ctx.finish(Finish::Stale { reason: reason.to_owned() }).await
}

/// Waits for what the gateway acknowledged or has not decided: reconciliation continues, and its notification.
async fn wait(ctx: &mut ObligationContext<'_>, patience: Duration) -> FlowResult<Disposition> {
    if ctx.current_attempt().is_some_and(|attempt| ctx.now().since(attempt.opened_at) > patience) {
        return ctx.park(ParkReason::ReversalUnanswered, true).await;
    }
    ctx.save_and_release_lease().await?;
    Ok(Disposition::Completed(CompletionReason::ReversalReceived))
}

/// A payment that the gateway has not decided. Where it can be asked, it cannot be made to cancel such a payment, whose end is waited for.
async fn query_or_cancel(ctx: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<Disposition> {
    let payment = payment(ctx, reference)?;
    let (gateway, external) = (payment.gateway, payment.external_payment_id.clone());
    let operation = match (payment.is_purchase(), payment.taken_at_once) {
        (true, _) => OperationKind::Purchase,
        (false, true) => OperationKind::Charge,
        (false, false) => OperationKind::Authorise,
    };
    match gateway_step::query(ctx, reference, operation, (external, None), None).await? {
        Some(Outcome::Done(done)) => {
            let external = done.external_payment_id.ok_or_else(|| retry(RetryReason::AnswerMismatch))?;
            record_success(ctx, reference, &external)?;
            let state = self::payment(ctx, reference)?.state;
            if state == PaymentState::Captured { refund(ctx, reference).await } else { cancel(ctx, reference).await }
        }
        Some(Outcome::Declined(_)) => {
            ctx.update_payment(reference, |payment, now| payment.transition_to(PaymentState::Declined, now))?;
            finish_without_money(ctx, "nothing_is_held").await
        }
        Some(Outcome::Received(_)) => {
            let patience = ctx.gateway(gateway)?.capabilities().pending_patience;
            wait(ctx, patience).await
        }
        Some(Outcome::ActionRequired(..) | Outcome::Unknown(_)) | None => cancel(ctx, reference).await,
    }
}

async fn refund(ctx: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<Disposition> {
    let payment = payment(ctx, reference)?;
    let (gateway, amount, captured) = (payment.gateway, payment.amount, payment.captured);
    if amount.is_zero() {
        return finish_without_money(ctx, "nothing_was_captured").await;
    }
    let external = payment.external_payment_id.clone().ok_or_else(|| retry(RetryReason::PaymentWithoutId))?;
    let is_begun = payment.refund_for(ctx.session.key()).is_some_and(|part| part.state != RefundState::Failed);
    if !is_begun && payment.committed_refunds().is_ok_and(|committed| committed == captured) {
        // Others' refunds are giving all of it back: what becomes of them is waited for.
        return wait(ctx, GIVE_BACK_PATIENCE).await;
    }
    let part = reserve(ctx, reference).await?;
    let own = part.reference.clone();
    // From the intent on, so that a notification finds the payment by our own name of the refund.
    ctx.add_operation(gateway, own.as_str(), reference);
    let make = |key| RefundRequest { key, reference: own, external_payment_id: external, amount: part.amount, captured };
    let known = matches!(ctx.step_state::<StepResult>(REFUND)?, TypedStepState::Done(_));
    let result = match gateway_step::query_decision(ctx, REFUND, OperationKind::Refund, reference).await? {
        Some(decided) => decided,
        None => gateway_step::run(ctx, REFUND, gateway, make).await?,
    };
    let key = ctx.session.key().clone();
    match &result {
        StepResult::Received { operation_ref, .. } => {
            operation_ref.iter().for_each(|operation| ctx.add_operation(gateway, operation, reference));
            ctx.update_payment(reference, |payment, _| {
                payment.record_refund_received(&key, operation_ref.clone());
                Ok(())
            })?;
        }
        StepResult::Done { .. } => ctx.update_payment(reference, |payment, now| payment.complete_refund_of(&key, true, now).map(drop))?,
        StepResult::Declined(_) => ctx.update_payment(reference, |payment, now| payment.complete_refund_of(&key, false, now).map(drop))?,
    }
    if !known {
        ctx.flow_context.metrics.count(Metric::Warning, &[("reason", "payment_reversed")]);
    }
    match self::payment(ctx, reference)?.refund_for(&key).map(|part| part.state) {
        Some(RefundState::Done) => ctx.finish(Finish::Reversed).await,
        Some(RefundState::Requested | RefundState::Received) => wait(ctx, GIVE_BACK_PATIENCE).await,
        Some(RefundState::Failed) if ctx.session.obligation.is_retried() => start_anew(ctx, reference).await,
        Some(RefundState::Failed) | None => ctx.park(ParkReason::ReversalRefused, true).await,
    }
}

/// Reserves what is left of the payment for this refund, in memory, unless that was done before.
async fn reserve(ctx: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<RefundRecord> {
    let key = ctx.session.key().clone();
    let is_begun = !matches!(ctx.step_state::<StepResult>(REFUND)?, TypedStepState::NotStarted);
    if let (true, Some(part)) = (is_begun, payment(ctx, reference)?.refund_for(&key)) {
        return Ok(part.clone());
    }
    let own = gateway_step::payment_reference(ctx, payment(ctx, reference)?.gateway, OperationKind::Refund);
    let mut refused = None;
    ctx.update_payment(reference, |payment, _| {
        let left = payment.committed_refunds().and_then(|committed| payment.captured.checked_sub(committed));
        refused = left.ok().map_or(Some(()), |left| payment.reserve_refund(&key, own, left).is_err().then_some(()));
        Ok(())
    })?;
    match (refused, payment(ctx, reference)?.refund_for(&key)) {
        (None, Some(part)) => Ok(part.clone()),
        _ => ctx.park(ParkReason::ReversalAboveCaptured, true).await,
    }
}

/// An operator lets a reversal continue that the gateway had refused: it is asked for again, under a name of its own.
async fn start_anew(ctx: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<Disposition> {
    if let Some(attempt) = ctx.session.obligation.current_attempt_mut() {
        attempt.finish = Some(Finish::Superseded);
    }
    let now = ctx.now();
    open_attempt(&mut ctx.session.obligation, now);
    Box::pin(advance(ctx, reference)).await
}

/// Releases what is held, or cancels what is not decided.
async fn cancel(ctx: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<Disposition> {
    let payment = payment(ctx, reference)?;
    let (gateway, pending_id, was_successful) = (payment.gateway, payment.pending_id.clone(), payment.was_successful());
    let authorisation = payment.external_payment_id.clone();
    let cancel_failed = payment.notification_count(NotificationKind::CancelFailed) > 0;
    let was_acknowledged = matches!(ctx.step_state::<StepResult>(CANCEL)?, TypedStepState::Done(StepResult::Received { .. }));
    match payment.state {
        // The gateway took the request and did not carry it out.
        PaymentState::Authorised if was_acknowledged && ctx.session.obligation.is_retried() => return start_anew(ctx, reference).await,
        PaymentState::Authorised if was_acknowledged => return ctx.park(ParkReason::ReversalRefused, true).await,
        PaymentState::Cancelling if was_acknowledged && cancel_failed => return finish_without_money(ctx, "nothing_to_cancel").await,
        _ => {}
    }
    // Recorded as being cancelled even if the gateway cannot cancel it: if it succeeds after all, that is refunded then.
    ctx.update_payment(reference, |payment, now| match payment.state {
        PaymentState::Starting | PaymentState::Authorised => payment.transition_to(PaymentState::Cancelling, now),
        _ => Ok(()),
    })?;
    if authorisation.is_none() && pending_id.is_none() && !ctx.gateway(gateway)?.capabilities().cancel_by_reference {
        return finish_without_money(ctx, "cannot_be_cancelled_by_reference").await;
    }
    let is_named = authorisation.is_some();
    let by_reference = || CancelTarget::Reference { reference: reference.clone(), pending_id };
    let target = authorisation.map_or_else(by_reference, CancelTarget::Payment);
    let make = |key| CancelRequest { key, reference: reference.clone(), target };
    match gateway_step::run(ctx, CANCEL, gateway, make).await? {
        StepResult::Done { .. } => {
            ctx.update_payment(reference, |payment, now| payment.transition_to(PaymentState::Cancelled, now))?;
            ctx.finish(Finish::Reversed).await
        }
        // Without an id there is no payment that is known of: a success that comes after all starts a new reversal.
        StepResult::Received { .. } if !is_named => ctx.finish(Finish::Reversed).await,
        StepResult::Received { .. } => wait(ctx, GIVE_BACK_PATIENCE).await,
        // It is taken already, and the gateway names its id: it is refunded instead.
        StepResult::Declined(Decline { payment: Some(external), .. }) => {
            ctx.update_payment(reference, |payment, now| {
                payment.external_payment_id = Some(external);
                payment.record_captured(now)
            })?;
            refund(ctx, reference).await
        }
        StepResult::Declined(_) if was_successful => ctx.park(ParkReason::ReversalRefused, true).await,
        StepResult::Declined(_) => finish_without_money(ctx, "nothing_to_cancel").await,
    }
}
