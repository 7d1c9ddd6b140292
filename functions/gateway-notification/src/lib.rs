//! Gateway notifications: `POST /gateways/{gateway}/notifications`.
//!
//! A notification updates the payment's record, whenever and however often it comes; then the event that waits for it goes back to its own
//! function, which alone reports to Cleeng and continues. Only what no event of Cleeng will ever ask about is reported to Cleeng from here:
//! captured money that is lost, by a chargeback or a late failure of the capture.
//!
//! | notification | the record | then |
//! |---|---|---|
//! | the customer approved | nothing | the purchase that waited for the customer is finished from here |
//! | authorised, declined | the result, for the flow that waits for it | a purchase whose customer never returned is finished from here |
//! | captured, capture failed | captured, failed; also later | the waiting capture reports it; a late failure is reported from here |
//! | cancelled, expired, cancel failed | released, or authorised still | the next event of the subscription reports it |
//! | refunded, refund failed | the refund's end | the waiting refund reports it |
//! | chargeback, reversal | charged back, captured again | a chargeback is reported from here |
//! | cancelled or refunded by another system | released, if nothing was captured | a refund is parked |
//! | not understood | nothing | an alarm |
//! | token created, disabled, updated | recorded by customer, and by token | |

mod loss_report;
mod notification_context;
mod stored_tokens;

use async_trait::async_trait;
use connector::checkout::{AuthorisationNotification, finalize_approved, settle_by_notification};
use connector::cleeng::webhook::Verified;
use connector::clock::Timestamp;
use connector::delivery::Delivery;
use connector::flow::{Disposition, FlowContext, NotificationFlow};
use connector::gateway::{Decline, DeclineClass, GatewayName, GatewayNotification, NotificationKind, Reference, StoredToken};
use connector::journal::JournalError;
use connector::journal::payment::refunds::RefundRecord;
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::Finish;
use connector::payments::payment_transitions::{self, TransitionEffect};
use connector::payments::reversal::reverse;
use connector::payments::settlement::{RefundSettlement, settle_refund};
use connector::payments::{FlowResult, retry};
use connector::reason::{AlarmReason, ParkReason, RetryReason};
use connector::renewal::{eligibility, late_success};
use connector::secret::SecretString;

use crate::notification_context::NotificationContext;

/// The flow of gateway notifications.
#[derive(Clone, Copy, Debug, Default)]
pub struct GatewayNotifications;

#[async_trait]
impl NotificationFlow for GatewayNotifications {
    async fn handle(
        &self,
        flow_context: &FlowContext,
        gateway: GatewayName,
        item: &Verified<GatewayNotification>,
        delivery: &Delivery,
    ) -> Disposition {
        run(flow_context, gateway, item.get(), delivery).await.unwrap_or_else(|disposition| disposition)
    }
}

async fn run(flow_context: &FlowContext, gateway: GatewayName, item: &GatewayNotification, delivery: &Delivery) -> FlowResult<Disposition> {
    match item.kind {
        NotificationKind::Ignored => return Ok(Disposition::NotOurs),
        NotificationKind::TokenCreated | NotificationKind::TokenDisabled | NotificationKind::TokenUpdated => {
            let recorded = stored_tokens::record_token(flow_context, gateway, item).await?;
            return Ok(supply_stored_details(flow_context, gateway, item, delivery).await?.unwrap_or(recorded));
        }
        _ => {}
    }
    let Some(mut ctx) = NotificationContext::open(flow_context, gateway, item, delivery).await? else {
        // This deployment made the reference: the record is about to be written. Another's on the same account is its own business.
        let is_ours = item.reference.as_ref().is_some_and(|reference| reference.is_made_with(&flow_context.policy.salt));
        return if is_ours { Err(retry(RetryReason::PaymentNotRecorded)) } else { Ok(Disposition::NotOurs) };
    };
    match item.kind {
        NotificationKind::CustomerApproved => Ok(finalize_approved(flow_context, &ctx.reference, delivery).await),
        NotificationKind::Authorised | NotificationKind::AuthorisationDeclined if ctx.payment()?.is_purchase() => {
            settle_purchase(&mut ctx, delivery).await
        }
        _ => update_payment(&mut ctx, delivery).await,
    }
}

/// Finishes the purchase that waits for these details; `None` if none does.
async fn supply_stored_details(
    flow_context: &FlowContext,
    gateway: GatewayName,
    item: &GatewayNotification,
    delivery: &Delivery,
) -> FlowResult<Option<Disposition>> {
    let (NotificationKind::TokenCreated, Some(token)) = (item.kind, &item.token) else { return Ok(None) };
    let Some(ctx) = NotificationContext::open(flow_context, gateway, item, delivery).await? else { return Ok(None) };
    if !ctx.payment()?.is_purchase() {
        return Ok(None);
    }
    let token = StoredToken(SecretString::new(token.token.as_str()));
    Ok(Some(connector::checkout::supply_stored_details(flow_context, &ctx.reference, token, delivery).await))
}

/// Finishes a purchase: its customer may never come back.
async fn settle_purchase(ctx: &mut NotificationContext<'_>, delivery: &Delivery) -> FlowResult<Disposition> {
    let (item, amount) = (ctx.item, ctx.payment()?.amount);
    if item.amount.is_some_and(|notified_amount| notified_amount != amount) {
        return ctx.park(ParkReason::NotificationNamesAnotherAmount).await;
    }
    let flow_context = ctx.obligation.flow_context;
    let token = match &item.token {
        Some(token) => Some(StoredToken(SecretString::new(token.token.as_str()))),
        None => stored_tokens::for_payment(flow_context, ctx.payment()?).await?,
    };
    let decline = || item.decline.clone().unwrap_or_else(|| Decline::new(DeclineClass::Soft, "notified"));
    let declined = (item.kind != NotificationKind::Authorised).then(decline);
    let notification =
        AuthorisationNotification { reference: &ctx.reference, declined, external: item.external_payment_id.as_ref(), token };
    Ok(settle_by_notification(flow_context, &notification, delivery).await)
}

/// Updates the payment's record, and continues what follows from that.
async fn update_payment(ctx: &mut NotificationContext<'_>, delivery: &Delivery) -> FlowResult<Disposition> {
    let flow_context = ctx.obligation.flow_context;
    if ctx.obligation.current_attempt().is_some() {
        return loss_report::report_loss(ctx).await;
    }
    if let Some(finish) = ctx.obligation.session.obligation.attempts.last().and_then(|attempt| attempt.finish.as_ref())
        && *finish != Finish::Abandoned
    {
        return Ok(eligibility::duplicate(flow_context, finish));
    }
    let effect = apply_item(ctx)?;
    if effect != TransitionEffect::Unchanged {
        ctx.wait_for_owners()?;
    }
    match effect {
        // Events are requeued after a repetition as well: the worker before this one may have crashed before it did.
        TransitionEffect::Unchanged => {
            ctx.requeue_waiting_events().await?;
            let known = eligibility::duplicate(flow_context, ctx.item.kind);
            return Ok(continue_reversal(ctx, known, delivery).await);
        }
        TransitionEffect::OutOfOrder => return retry_or_park(ctx, delivery).await,
        TransitionEffect::Unexpected(reason) => return ctx.park(reason).await,
        TransitionEffect::LateSuccess(reason) => {
            ctx.raise_alarm(reason);
            return settle_late_success(ctx, delivery).await;
        }
        // What is being given back was never Cleeng's.
        TransitionEffect::FundsLost(_) if ctx.has_reversal() => {}
        TransitionEffect::FundsLost(reason) => {
            ctx.raise_alarm(reason);
            return loss_report::open_and_report(ctx).await;
        }
        // The alarm comes before the write: a crash in between raises it twice, never not at all.
        TransitionEffect::ChangedUnexpectedly(reason) => ctx.raise_alarm(reason),
        TransitionEffect::Changed if ctx.payment()?.state == PaymentState::Expired && ctx.has_waiting_event() => {
            ctx.raise_alarm(AlarmReason::AuthorisationLapsedWhileWaiting);
        }
        TransitionEffect::Changed => {}
    }
    ctx.write_payment().await?;
    ctx.requeue_waiting_events().await?;
    let applied = Disposition::Completed(ctx.item.kind.into());
    Ok(continue_reversal(ctx, applied, delivery).await)
}

/// The payment has money although the attempt that asked for it has ended. Its obligation settles that now, as far as possible; what is left
/// waits in the journal.
async fn settle_late_success(ctx: &mut NotificationContext<'_>, delivery: &Delivery) -> FlowResult<Disposition> {
    let settling = ctx.leave_to_obligation()?;
    ctx.write_payment().await?;
    let flow_context = ctx.obligation.flow_context;
    let settled = match settling {
        Some(obligation) => late_success::settle(flow_context, &obligation, delivery).await,
        None => reverse(flow_context, &ctx.reference, None, delivery).await,
    };
    tracing::info!(reference = %ctx.reference, ?settled, "late success");
    Ok(Disposition::Completed(ctx.item.kind.into()))
}

/// The reversal of the payment may wait for this notification.
async fn continue_reversal(ctx: &NotificationContext<'_>, applied: Disposition, delivery: &Delivery) -> Disposition {
    if !ctx.has_reversal() {
        return applied;
    }
    match reverse(ctx.obligation.flow_context, &ctx.reference, None, delivery).await {
        Disposition::Completed(_) => applied,
        unfinished => unfinished,
    }
}

/// Changes the payment, in memory.
fn apply_item(ctx: &mut NotificationContext<'_>) -> FlowResult<TransitionEffect> {
    let (item, owner, mut effect) = (ctx.item, ctx.owner_state(), TransitionEffect::Unchanged);
    ctx.obligation.update_payment(&ctx.reference, |payment, now| {
        effect = match item.kind {
            NotificationKind::Refunded => apply_refund(payment, item, true, now)?,
            NotificationKind::RefundFailed => apply_refund(payment, item, false, now)?,
            _ => payment_transitions::apply_notification(payment, item, owner, now)?,
        };
        Ok(())
    })?;
    Ok(effect)
}

fn apply_refund(
    payment: &mut PaymentRecord,
    item: &GatewayNotification,
    success: bool,
    now: Timestamp,
) -> Result<TransitionEffect, JournalError> {
    // By the gateway's id of the refund, or by our own name of it, which is known earlier.
    let names = [item.operation_ref.as_deref(), item.reference.as_ref().map(Reference::as_str)];
    let named = |part: &&RefundRecord| {
        [Some(part.reference.as_str()), part.operation_ref.as_deref()].iter().flatten().any(|name| names.contains(&Some(name)))
    };
    let requested = payment.refunds.iter().find(named).map(|part| part.amount);
    if item.amount.is_some_and(|notified_amount| requested.is_some_and(|asked| asked != notified_amount)) {
        return Ok(TransitionEffect::Unexpected(ParkReason::NotificationNamesAnotherAmount));
    }
    for name in names.into_iter().flatten() {
        match settle_refund(payment, name, success, now)? {
            RefundSettlement::NotFound => {}
            RefundSettlement::AlreadyKnown => return Ok(TransitionEffect::Unchanged),
            RefundSettlement::Settled => return Ok(TransitionEffect::Changed),
            RefundSettlement::FailedLater => return Ok(TransitionEffect::ChangedUnexpectedly(AlarmReason::RefundFailedLater)),
        }
    }
    Ok(TransitionEffect::OutOfOrder)
}

/// What it follows has not arrived yet. It is parked when it is as old as any other unknown outcome.
async fn retry_or_park(ctx: &mut NotificationContext<'_>, delivery: &Delivery) -> FlowResult<Disposition> {
    if ctx.obligation.now().since(delivery.received_at) < ctx.obligation.flow_context.policy.unknown_deadline {
        return Err(retry(RetryReason::NotificationEarly));
    }
    match ctx.item.kind {
        NotificationKind::Refunded | NotificationKind::RefundFailed | NotificationKind::CancelledOrRefunded => {
            ctx.park(ParkReason::RefundWithoutOurRequest).await
        }
        _ => ctx.park(ParkReason::NotificationOutOfOrder).await,
    }
}
