//! What gateways tell by themselves: `POST /gateways/{gateway}/notifications`.
//!
//! A notification moves the payment's record along, whenever and however often it comes; then the event that waits for this word goes back to
//! its own function, which alone tells Cleeng and goes on. Only what no event of Cleeng will ever ask about is told to Cleeng from here:
//! captured money that is gone, by a chargeback or a late failure of the capture.
//!
//! | what is told | the record | then |
//! |---|---|---|
//! | the customer agreed | nothing | what waited for him is finished from here |
//! | authorised, declined | the answer, for the flow that waits for it | a purchase whose customer never came back is finished from here |
//! | captured, capture failed | captured, failed; also later | the waiting capture reports it; a late failure is reported from here |
//! | cancelled, expired, cancel failed | released, or held still | the next event of the subscription tells Cleeng |
//! | refunded, refund failed | the refund's end | the waiting refund reports it |
//! | chargeback, reversal | charged back, captured again | a chargeback is reported from here |
//! | token created, disabled | noted by customer | |

mod loss_report;
mod notification_context;
mod stored_tokens;

use async_trait::async_trait;
use connector::checkout::{finalize_approved, settle_by_notification};
use connector::cleeng::webhook::Verified;
use connector::delivery::Delivery;
use connector::flow::{Disposition, FlowContext, NotificationFlow};
use connector::gateway::{Decline, DeclineClass, GatewayName, GatewayNotification, NotificationKind, Reference, StoredToken};
use connector::journal::JournalError;
use connector::journal::payment::PaymentRecord;
use connector::journal::record::Finish;
use connector::journal::refunds::RefundRecord;
use connector::payments::payment_transitions::{self, TransitionEffect};
use connector::payments::settlement::{RefundSettlement, settle_refund};
use connector::payments::{FlowResult, retry};
use connector::renewal::eligibility;
use connector::secret::SecretString;

use crate::notification_context::NotificationContext;

/// Settles notifications.
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
        NotificationKind::TokenCreated | NotificationKind::TokenDisabled => {
            return stored_tokens::record_token(flow_context, gateway, item).await;
        }
        _ => {}
    }
    let Some(mut ctx) = NotificationContext::open(flow_context, gateway, item, delivery).await? else {
        // Our prefix and no record: the record is on its way, or this account serves another connector. Never dropped at once.
        return if item.reference.is_some() { Err(retry("payment_not_recorded")) } else { Ok(Disposition::NotOurs) };
    };
    if let (NotificationKind::Authorised | NotificationKind::AuthorisationDeclined, true) = (item.kind, ctx.payment.is_purchase()) {
        if item.amount.is_some_and(|notified_amount| notified_amount != ctx.payment.amount) {
            return ctx.park("notification_names_another_amount").await;
        }
        // The customer may never come back: the purchase is finished from here.
        return settle_purchase(flow_context, &ctx.payment, item, delivery).await;
    }
    if item.kind == NotificationKind::CustomerApproved {
        return Ok(finalize_approved(flow_context, &ctx.payment.reference, delivery).await);
    }
    if ctx.session.obligation.current_attempt().is_some() {
        return loss_report::report_loss(&mut ctx).await;
    }
    if let Some(finish) = ctx.session.obligation.attempts.last().and_then(|attempt| attempt.finish.as_ref())
        && *finish != Finish::Abandoned
    {
        return Ok(eligibility::duplicate(flow_context, finish.as_str()));
    }
    let effect = apply_item(&mut ctx)?;
    if effect != TransitionEffect::Unchanged {
        ctx.wait_for_owners()?;
    }
    match effect {
        TransitionEffect::Unchanged => {}
        TransitionEffect::OutOfOrder => return retry_or_park(&mut ctx, delivery).await,
        TransitionEffect::Unexpected(reason) => return ctx.park(reason).await,
        TransitionEffect::FundsLost(reason) => {
            ctx.raise_alarm(reason);
            return loss_report::open_and_report(&mut ctx).await;
        }
        TransitionEffect::ChangedUnexpectedly(reason) => {
            // Before it is written: rather twice than never.
            ctx.raise_alarm(reason);
            ctx.write_payment().await?;
        }
        TransitionEffect::Changed => ctx.write_payment().await?,
    }
    // Also after a repetition: the worker before this one may have died in between.
    ctx.requeue_waiting_events().await?;
    if effect == TransitionEffect::Unchanged {
        return Ok(eligibility::duplicate(flow_context, item.kind.as_str()));
    }
    Ok(Disposition::Completed(item.kind.as_str()))
}

async fn settle_purchase(
    flow_context: &FlowContext,
    payment: &PaymentRecord,
    item: &GatewayNotification,
    delivery: &Delivery,
) -> FlowResult<Disposition> {
    let decline = || item.decline.clone().unwrap_or_else(|| Decline::new(DeclineClass::Soft, "notified"));
    let declined = (item.kind != NotificationKind::Authorised).then(decline);
    let token = match &item.token {
        Some(token) => Some(StoredToken(SecretString::new(token.token.as_str()))),
        None => stored_tokens::for_payment(flow_context, payment).await?,
    };
    let external = item.external_payment_id.as_ref();
    Ok(settle_by_notification(flow_context, &payment.reference, declined, external, token, delivery).await)
}

fn apply_item(ctx: &mut NotificationContext<'_>) -> Result<TransitionEffect, JournalError> {
    let (item, owner, now) = (ctx.item, ctx.owner_state(), ctx.session.now());
    let success = match item.kind {
        NotificationKind::Refunded => true,
        NotificationKind::RefundFailed => false,
        _ => return payment_transitions::apply_notification(&mut ctx.payment, item, owner, now),
    };
    // By the gateway's id of the refund, else by our own name of it, which is known before that id is.
    let names = [item.operation_ref.as_deref(), item.reference.as_ref().map(Reference::as_str)];
    let named = |part: &&RefundRecord| {
        [Some(part.reference.as_str()), part.operation_ref.as_deref()].iter().flatten().any(|name| names.contains(&Some(name)))
    };
    let requested = ctx.payment.refunds.iter().find(named).map(|part| part.amount);
    if item.amount.is_some_and(|notified_amount| requested.is_some_and(|asked| asked != notified_amount)) {
        return Ok(TransitionEffect::Unexpected("notification_names_another_amount"));
    }
    for name in names.into_iter().flatten() {
        match settle_refund(&mut ctx.payment, name, success, now)? {
            RefundSettlement::NotFound => {}
            RefundSettlement::AlreadyKnown => return Ok(TransitionEffect::Unchanged),
            RefundSettlement::Settled => return Ok(TransitionEffect::Changed),
            RefundSettlement::FailedLater => return Ok(TransitionEffect::ChangedUnexpectedly("refund_failed_later")),
        }
    }
    Ok(TransitionEffect::OutOfOrder)
}

/// What it follows has not come yet. Given up only when that is as old as any other unknown.
async fn retry_or_park(ctx: &mut NotificationContext<'_>, delivery: &Delivery) -> FlowResult<Disposition> {
    if ctx.session.now().since(delivery.received_at) < ctx.flow_context.policy.unknown_deadline {
        return Err(retry("notification_early"));
    }
    match ctx.item.kind {
        NotificationKind::Refunded | NotificationKind::RefundFailed => ctx.park("refund_without_our_request").await,
        _ => ctx.park("notification_out_of_order").await,
    }
}
