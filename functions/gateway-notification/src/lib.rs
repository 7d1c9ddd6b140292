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

mod desk;
mod loss;
mod tokens;

use async_trait::async_trait;
use connector::billing::notified::{self, Effect};
use connector::billing::settlement::{RefundSettlement, settle_refund};
use connector::billing::{Story, later, rules};
use connector::cleeng::webhook::Verified;
use connector::flow::{Delivery, NotificationFlow, Verdict, World};
use connector::gateway::{GatewayName, GatewayNotification, NotificationKind, Reference, StoredToken};
use connector::journal::JournalError;
use connector::journal::payment::PaymentRecord;
use connector::journal::record::Finish;
use connector::journal::refunds::RefundPart;
use connector::purchase::{finish_approved, settle_by_notification};
use connector::secret::SecretString;

use crate::desk::Desk;

/// Settles notifications.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notifications;

#[async_trait]
impl NotificationFlow for Notifications {
    async fn settle(&self, world: &World, gateway: GatewayName, item: &Verified<GatewayNotification>, delivery: &Delivery) -> Verdict {
        story(world, gateway, item.get(), delivery).await.unwrap_or_else(|verdict| verdict)
    }
}

async fn story(world: &World, gateway: GatewayName, item: &GatewayNotification, delivery: &Delivery) -> Story<Verdict> {
    match item.kind {
        NotificationKind::Ignored => return Ok(Verdict::NotOurs),
        NotificationKind::TokenCreated | NotificationKind::TokenDisabled => return tokens::note(world, gateway, item).await,
        _ => {}
    }
    let Some(mut desk) = Desk::open(world, gateway, item, delivery).await? else {
        // Our prefix and no record: the record is on its way, or this account serves another connector. Never dropped at once.
        return if item.reference.is_some() { Err(later("payment_not_recorded")) } else { Ok(Verdict::NotOurs) };
    };
    if let (NotificationKind::Authorised | NotificationKind::AuthorisationDeclined, true) = (item.kind, desk.payment.is_purchase()) {
        if item.amount.is_some_and(|told| told != desk.payment.amount) {
            return desk.park("notification_names_another_amount").await;
        }
        // The customer may never come back: the purchase is finished from here.
        return finish_purchase(world, &desk.payment, item, delivery).await;
    }
    if item.kind == NotificationKind::CustomerApproved {
        return Ok(finish_approved(world, &desk.payment.reference, delivery).await);
    }
    if desk.run.obligation.open().is_some() {
        return loss::report(&mut desk).await;
    }
    if let Some(finish) = desk.run.obligation.attempts.last().and_then(|attempt| attempt.finish.as_ref())
        && *finish != Finish::Abandoned
    {
        return Ok(rules::duplicate(world, finish.as_str()));
    }
    let effect = apply(&mut desk)?;
    if effect != Effect::Nothing {
        desk.wait_for_owners()?;
    }
    match effect {
        Effect::Nothing => {}
        Effect::Early => return early(&mut desk, delivery).await,
        Effect::Odd(reason) => return desk.park(reason).await,
        Effect::Loss(reason) => {
            desk.alarm(reason);
            return loss::begin(&mut desk).await;
        }
        Effect::Alarming(reason) => {
            // Before it is written: rather twice than never.
            desk.alarm(reason);
            desk.write().await?;
        }
        Effect::Changed => desk.write().await?,
    }
    // Also after a repetition: the worker before this one may have died in between.
    desk.bring_back().await?;
    if effect == Effect::Nothing {
        return Ok(rules::duplicate(world, item.kind.as_str()));
    }
    Ok(Verdict::Settled(item.kind.as_str()))
}

async fn finish_purchase(world: &World, payment: &PaymentRecord, item: &GatewayNotification, delivery: &Delivery) -> Story<Verdict> {
    let authorised = item.kind == NotificationKind::Authorised;
    let token = match &item.token {
        Some(told) => Some(StoredToken(SecretString::new(told.token.as_str()))),
        None => tokens::of_payment(world, payment).await?,
    };
    let external = item.external_payment_id.as_ref();
    Ok(settle_by_notification(world, &payment.reference, authorised, external, token, delivery).await)
}

fn apply(desk: &mut Desk<'_>) -> Result<Effect, JournalError> {
    let (item, owner, now) = (desk.item, desk.owner(), desk.run.now());
    let success = match item.kind {
        NotificationKind::Refunded => true,
        NotificationKind::RefundFailed => false,
        _ => return notified::apply(&mut desk.payment, item, owner, now),
    };
    // By the gateway's id of the refund, else by our own name of it, which is known before that id is.
    let names = [item.operation_ref.as_deref(), item.reference.as_ref().map(Reference::as_str)];
    let named = |part: &&RefundPart| {
        [Some(part.reference.as_str()), part.operation_ref.as_deref()].iter().flatten().any(|name| names.contains(&Some(name)))
    };
    let asked = desk.payment.refunds.iter().find(named).map(|part| part.amount);
    if item.amount.is_some_and(|told| asked.is_some_and(|asked| asked != told)) {
        return Ok(Effect::Odd("notification_names_another_amount"));
    }
    for name in names.into_iter().flatten() {
        match settle_refund(&mut desk.payment, name, success, now)? {
            RefundSettlement::NotFound => {}
            RefundSettlement::NothingNew => return Ok(Effect::Nothing),
            RefundSettlement::Settled => return Ok(Effect::Changed),
            RefundSettlement::FailedLater => return Ok(Effect::Alarming("refund_failed_later")),
        }
    }
    Ok(Effect::Early)
}

/// What it follows has not come yet. Given up only when that is as old as any other unknown.
async fn early(desk: &mut Desk<'_>, delivery: &Delivery) -> Story<Verdict> {
    if desk.run.now().since(delivery.received_at) < desk.world.rules.unknown_deadline {
        return Err(later("notification_early"));
    }
    match desk.item.kind {
        NotificationKind::Refunded | NotificationKind::RefundFailed => desk.park("refund_without_our_order").await,
        _ => desk.park("notification_out_of_order").await,
    }
}
