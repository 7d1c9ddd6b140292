//! `capturePayment`: an authorised single purchase is to be captured.
//!
//! Cleeng lists the topic and explains it nowhere; by its name, a payment that was authorised earlier and is no renewal is to be captured: at
//! the gateway, then reported `captured` or `rejected`, once. Whatever does not fit is parked. A renewal has its own event and its own guards
//! against a second charge: it is never captured from here.

mod whose;

use async_trait::async_trait;
use connector::billing::capture::capture;
use connector::billing::case::Case;
use connector::billing::{Story, find, later, rules};
use connector::cleeng::webhook::{CapturePaymentEvent, Topic, Verified, Webhook};
use connector::clock::Timestamp;
use connector::flow::{Delivery, Flow, Verdict, World};
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::{AttemptKind, Finish};
use connector::journal::store::Key;
use connector::lambda::queue::Envelope;

const KIND: AttemptKind = AttemptKind::Capture;

/// Captures a single purchase.
#[derive(Clone, Copy, Debug, Default)]
pub struct CapturePayment;

/// What is asked for.
struct Asked {
    event: CapturePaymentEvent,
    received_at: Timestamp,
}

#[async_trait]
impl Flow for CapturePayment {
    fn topic(&self) -> Topic {
        Topic::CapturePayment
    }

    async fn settle(&self, world: &World, event: &Verified<Webhook>, delivery: &Delivery) -> Verdict {
        story(world, event, delivery).await.unwrap_or_else(|verdict| verdict)
    }
}

async fn story(world: &World, webhook: &Verified<Webhook>, delivery: &Delivery) -> Story<Verdict> {
    let event = CapturePaymentEvent::read(webhook.get())?;
    if let Some(method) = &event.payment.method {
        rules::our_method(world, method)?;
    }
    let lookups = find::lookups(world, event.payment.payment.as_ref(), event.payment.external.as_ref());
    let key = Key::new("capture", &[event.payment.word()]);
    let mut case = Case::open_without_head(world, key, &lookups, delivery).await?;
    let received_at = delivery.received_at;
    case.event = Some(Envelope::reseal(webhook, received_at).to_text());
    let asked = Asked { event, received_at };
    let verdict = take_money(&mut case, &asked).await;
    Ok(case.conclude(verdict).await)
}

async fn take_money(case: &mut Case<'_>, asked: &Asked) -> Story<Verdict> {
    if let Some(attempt) = case.attempt() {
        let (reference, due) = (attempt.reference.clone(), attempt.due);
        let reference = reference.ok_or_else(|| later("nothing_to_resume"))?;
        return capture(case, &reference, due).await;
    }
    if let Some(last) = case.run.obligation.last_finished(KIND) {
        let outcome = last.finish.as_ref().map_or("finished", Finish::as_str);
        return Ok(rules::duplicate(case.world, outcome));
    }
    let reference = match whose::payment(case, &asked.event).await? {
        Ok(reference) => reference,
        Err(reason) => return case.park_untried(KIND, asked.received_at, reason).await,
    };
    let record = case.payment(&reference).ok_or_else(|| later("payment_not_loaded"))?;
    match standing(record, case.now()) {
        Standing::Live => {}
        Standing::Captured => return case.finish_untried(KIND, asked.received_at, Finish::Captured).await,
        // Another worker is at it, or the purchase is being authorised.
        Standing::InWork if case.now().since(asked.received_at) < case.world.rules.capture_wait => {
            return Err(later("payment_in_flight"));
        }
        Standing::InWork => return case.park_untried(KIND, asked.received_at, "payment_in_flight_too_long").await,
        Standing::Odd(reason) => return case.park_untried(KIND, asked.received_at, reason).await,
    }
    case.open_attempt(KIND, asked.received_at, None)?;
    if let Some(attempt) = case.run.obligation.open_mut() {
        attempt.reference = Some(reference.clone());
    }
    capture(case, &reference, asked.received_at).await
}

enum Standing {
    /// Held, to be captured.
    Live,
    /// Taken already.
    Captured,
    /// Somebody is at it.
    InWork,
    /// An operator has to look.
    Odd(&'static str),
}

fn standing(record: &PaymentRecord, now: Timestamp) -> Standing {
    if record.subscription.is_some() {
        return Standing::Odd("payment_of_a_renewal");
    }
    match record.state {
        PaymentState::Authorised if record.is_live(now) => Standing::Live,
        PaymentState::Authorised => Standing::Odd("authorisation_lapsed"),
        PaymentState::Captured | PaymentState::Refunded | PaymentState::ChargedBack => Standing::Captured,
        PaymentState::Starting | PaymentState::Capturing => Standing::InWork,
        PaymentState::Declined
        | PaymentState::CaptureFailed
        | PaymentState::Cancelling
        | PaymentState::Cancelled
        | PaymentState::Expired => Standing::Odd("payment_not_authorised"),
    }
}
