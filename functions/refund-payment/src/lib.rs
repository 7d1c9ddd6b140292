//! `refundPayment`: money is to be given back.
//!
//! Cleeng's checklist: refund at the gateway, report the payment `refunded`. One obligation per refund: the payment and Cleeng's id of the
//! refund, else the payment, the amount and a hash of the event's data. The same again within a day is the same delivery once more; later it
//! may be another refund or an old message, so an operator decides. What is asked for is reserved in the payment record with the intent: the
//! refunds of a payment are never above what was captured.

mod give_back;
mod whose;

use std::time::Duration;

use async_trait::async_trait;
use connector::billing::case::Case;
use connector::billing::{Story, find, later, rules};
use connector::cleeng::webhook::{RefundEvent, Topic, Verified, Webhook};
use connector::clock::Timestamp;
use connector::flow::{Delivery, Flow, PartialRefunds, Verdict, World};
use connector::gateway::Reference;
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::{AttemptKind, Finish};
use connector::journal::store::Key;
use connector::lambda::queue::Envelope;
use connector::metrics::Metric;
use connector::money::Money;

const KIND: AttemptKind = AttemptKind::Refund;
/// How long the same refund again is taken for the same delivery.
const SAME_DELIVERY: Duration = Duration::from_secs(24 * 3600);

/// Gives money back.
#[derive(Clone, Copy, Debug, Default)]
pub struct RefundPayment;

/// What is asked for.
struct Asked {
    event: RefundEvent,
    received_at: Timestamp,
}

#[async_trait]
impl Flow for RefundPayment {
    fn topic(&self) -> Topic {
        Topic::RefundPayment
    }

    async fn settle(&self, world: &World, event: &Verified<Webhook>, delivery: &Delivery) -> Verdict {
        story(world, event, delivery).await.unwrap_or_else(|verdict| verdict)
    }
}

async fn story(world: &World, webhook: &Verified<Webhook>, delivery: &Delivery) -> Story<Verdict> {
    let event = RefundEvent::read(webhook.get())?;
    if let Some(method) = &event.payment.method {
        rules::our_method(world, method)?;
    }
    let lookups = find::lookups(world, event.payment.payment.as_ref(), event.payment.external.as_ref());
    let mut case = Case::open_without_head(world, obligation(&event), &lookups, delivery).await?;
    let received_at = delivery.received_at;
    case.event = Some(Envelope::reseal(webhook, received_at).to_text());
    let asked = Asked { event, received_at };
    let verdict = refund(&mut case, &asked).await;
    Ok(case.conclude(verdict).await)
}

fn obligation(event: &RefundEvent) -> Key {
    let payment = event.payment.word();
    match &event.refund {
        Some(refund) => Key::new("refund", &[payment, refund.as_str()]),
        None => {
            let amount = event.amount.as_ref().map_or("all", |amount| amount.as_str());
            Key::new("refund", &[payment, amount, &event.fingerprint])
        }
    }
}

async fn refund(case: &mut Case<'_>, asked: &Asked) -> Story<Verdict> {
    if let Some(attempt) = case.attempt() {
        let reference = attempt.reference.clone().ok_or_else(|| later("nothing_to_resume"))?;
        return give_back::go_on(case, asked, &reference).await;
    }
    match last_one(case, asked) {
        Some((outcome, true)) => return Ok(rules::duplicate(case.world, outcome)),
        Some((_, false)) => return case.park_untried(KIND, asked.received_at, "refund_repeated").await,
        None => {}
    }
    let reference = match whose::payment(case, &asked.event).await? {
        Ok(reference) => reference,
        Err(reason) => return case.park_untried(KIND, asked.received_at, reason).await,
    };
    let record = case.payment(&reference).ok_or_else(|| later("payment_not_loaded"))?;
    if is_being_captured(record) && case.now().since(asked.received_at) < case.world.rules.unknown_deadline {
        return Err(later("capture_in_flight"));
    }
    let amount = match amount(record, &asked.event, case.world.rules.partial_refunds) {
        Ok(amount) => amount,
        Err(reason) => return case.park_untried(KIND, asked.received_at, reason).await,
    };
    case.open_attempt(KIND, asked.received_at, None)?;
    give_back::reserve(case, &reference, amount).await?;
    give_back::go_on(case, asked, &reference).await
}

/// What became of this refund when it was asked for last, and whether that is so recent that this is the same delivery once more.
fn last_one(case: &Case<'_>, asked: &Asked) -> Option<(&'static str, bool)> {
    let last = case.run.obligation.last_finished(KIND)?;
    let outcome = last.finish.as_ref().map_or("finished", Finish::as_str);
    Some((outcome, asked.received_at.since(last.due) < SAME_DELIVERY))
}

/// Cleeng was told that it is captured, or is about to be.
const fn is_being_captured(record: &PaymentRecord) -> bool {
    matches!(record.state, PaymentState::Starting | PaymentState::Capturing)
}

/// How much is to be given back, or why an operator has to decide.
fn amount(record: &PaymentRecord, event: &RefundEvent, partial: PartialRefunds) -> Result<Money, &'static str> {
    match record.state {
        PaymentState::Captured => {}
        PaymentState::Refunded => return Err("already_refunded"),
        PaymentState::ChargedBack => return Err("payment_charged_back"),
        _ => return Err("payment_not_captured"),
    }
    let captured = record.captured;
    if record.free || captured.minor <= 0 || record.external_payment_id.is_none() {
        return Err("nothing_was_captured");
    }
    if record.cleeng_payment.is_none() || record.order.as_ref().or(event.payment.order.as_ref()).is_none() {
        // Found out before the money moves, not after.
        return Err("refund_cannot_be_reported");
    }
    let committed = record.committed_refunds().map_err(|_| "refunds_do_not_add_up")?;
    let Some(asked) = &event.amount else {
        return if committed.is_zero() { Ok(captured) } else { Err("full_refund_after_another") };
    };
    if event.currency.is_some_and(|currency| currency != captured.currency) {
        return Err("refund_in_another_currency");
    }
    let asked = Money::from_decimal(asked, captured.currency).map_err(|_| "refund_amount_unreadable")?;
    let sum = committed.checked_add(asked).map_err(|_| "refund_above_captured")?;
    if sum.minor > captured.minor {
        return Err("refund_above_captured");
    }
    if asked != captured && partial == PartialRefunds::Park {
        return Err("partial_refund");
    }
    Ok(asked)
}

/// Counts a refund that the gateway refused or did not bring about: somebody asked for it and believes that it is done.
fn call_operator(case: &Case<'_>, reference: &Reference, reason: &'static str) -> Verdict {
    case.world.metrics.count(Metric::Parked, &[("reason", reason)]);
    tracing::error!(obligation = %case.run.key(), payment = %reference, reason, "a refund did not happen");
    Verdict::Parked(reason)
}
