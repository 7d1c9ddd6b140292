//! `subscriptionReadyForPaymentCapture`: the money of a renewal is due.
//!
//! Cleeng's checklist, authorise + capture: fetch the authorised payment, capture it at the gateway, report it `captured` (with the new id
//! if the capture has another) or `rejected`. Capture only: create the order, charge, report the payment `captured` or `rejected`. Which of
//! the two is a setting of the payment method; a live authorisation is captured in both.

mod adopt;

use async_trait::async_trait;
use connector::billing::capture::capture;
use connector::billing::case::Case;
use connector::billing::pay::{self, DETAILS_DELETED, Paid};
use connector::billing::release::release_live;
use connector::billing::report::{self, New};
use connector::billing::rules::{self, Asked, Standing};
use connector::billing::{Story, later};
use connector::cleeng::webhook::{BillingEvent, Topic, Verified, Webhook};
use connector::flow::{Billing, Delivery, Flow, Method, Verdict, World};
use connector::gateway::Reference;
use connector::ids::PaymentMethodId;
use connector::journal::record::{AttemptKind, Finish};
use connector::lambda::queue::Envelope;

use crate::adopt::{Adopted, adopt_authorisation};

/// Captures or charges a renewal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capture;

#[async_trait]
impl Flow for Capture {
    fn topic(&self) -> Topic {
        Topic::SubscriptionReadyForPaymentCapture
    }

    async fn settle(&self, world: &World, event: &Verified<Webhook>, delivery: &Delivery) -> Verdict {
        story(world, event, delivery).await.unwrap_or_else(|verdict| verdict)
    }
}

async fn story(world: &World, webhook: &Verified<Webhook>, delivery: &Delivery) -> Story<Verdict> {
    let event = BillingEvent::read(webhook.get())?;
    if let Some(method) = &event.payment_method {
        rules::our_method(world, method)?;
    }
    let mut case = Case::open(world, rules::period_key(&event.subscription, event.expiration), &event.subscription, delivery).await?;
    case.event = Some(Envelope::reseal(webhook, delivery.received_at).to_text());
    let verdict = take_money(&mut case, &event).await;
    Ok(case.conclude(verdict).await)
}

async fn take_money(case: &mut Case<'_>, event: &BillingEvent) -> Story<Verdict> {
    let standing = rules::standing(case, &[AttemptKind::Capture, AttemptKind::Charge], event)?;
    if let Standing::Finished(outcome) = standing {
        return Ok(rules::duplicate(case.world, outcome));
    }
    let journaled = case.head.method.clone();
    let Some((method_id, method)) =
        rules::whose(case.world, event.payment_method.as_ref(), journaled.as_ref(), &event.subscription).await?
    else {
        return case.park_untried(AttemptKind::Capture, event.attempt, "whose_event_is_unknown").await;
    };
    if standing == Standing::Resume {
        return resume(case, event, &method_id, method).await;
    }
    rules::note_event(case, event, &method_id);
    let kind = if method.billing == Billing::CaptureOnly { AttemptKind::Charge } else { AttemptKind::Capture };
    let subscription = match rules::ask_cleeng(case.world, event).await? {
        Asked::Due(subscription) => subscription,
        Asked::Stale(reason) => {
            return case.finish_untried(kind, event.attempt, Finish::Stale { reason: reason.to_owned() }).await;
        }
        Asked::Odd(reason) => return case.park_untried(kind, event.attempt, reason).await,
    };
    if rules::charged_recently(case, event, &subscription, kind) {
        return case.park_untried(kind, event.attempt, "charged_recently").await;
    }
    if let Some(reference) = rules::usable_authorisation(case, event) {
        return capture_live(case, event, reference).await;
    }
    match method.billing {
        Billing::CaptureOnly => {
            case.open_attempt(AttemptKind::Charge, event.attempt, Some(event.payment_details.clone()))?;
            charge(case, event, &method_id, method).await
        }
        Billing::AuthoriseThenCapture => wait_for_authorisation(case, event, method).await,
    }
}

async fn resume(case: &mut Case<'_>, event: &BillingEvent, method_id: &PaymentMethodId, method: Method) -> Story<Verdict> {
    let attempt = case.attempt().map(|attempt| (attempt.kind, attempt.due, attempt.reference.clone()));
    let Some((kind, resumed_due, reference)) = attempt else { return Err(later("nothing_to_resume")) };
    let verdict = match (kind, reference) {
        (AttemptKind::Charge, _) => charge(case, event, method_id, method).await?,
        (_, Some(reference)) => capture(case, &reference, event.expiration).await?,
        (_, None) => not_authorised(case, event, method).await?,
    };
    Ok(rules::after_resuming(verdict, Some(resumed_due), event))
}

async fn capture_live(case: &mut Case<'_>, event: &BillingEvent, reference: Reference) -> Story<Verdict> {
    case.open_attempt(AttemptKind::Capture, event.attempt, Some(event.payment_details.clone()))?;
    if let Some(attempt) = case.run.obligation.open_mut() {
        attempt.reference = Some(reference.clone());
    }
    capture(case, &reference, event.expiration).await
}

/// Order, charge, report.
async fn charge(case: &mut Case<'_>, event: &BillingEvent, method_id: &PaymentMethodId, method: Method) -> Story<Verdict> {
    release_live(case).await?;
    let order = pay::order(case, event, method_id).await?;
    match pay::pay(case, event, method, &order, AttemptKind::Charge).await? {
        Paid::Done(reference) => {
            report::new_payment(case, event, &order.id, &reference, New::Captured).await?;
            case.finish(Finish::Captured).await
        }
        Paid::Declined(reference, decline) => {
            report::new_payment(case, event, &order.id, &reference, New::Rejected(&decline)).await?;
            case.finish(Finish::Declined { class: decline.class, code: decline.code }).await
        }
        // Never silently done: what comes next is a termination.
        Paid::DetailsDeleted => case.park(DETAILS_DELETED, false).await,
    }
}

/// Nothing is authorised (yet): the authorisation may still be on its way, in a queue or in another worker's hands.
async fn wait_for_authorisation(case: &mut Case<'_>, event: &BillingEvent, method: Method) -> Story<Verdict> {
    if case.now() < event.attempt.after(case.world.rules.capture_wait) {
        return Err(later("waiting_for_authorisation"));
    }
    case.open_attempt(AttemptKind::Capture, event.attempt, Some(event.payment_details.clone()))?;
    not_authorised(case, event, method).await
}

/// Nobody authorised it in time. What is held with other details is released; then Cleeng is asked for an authorisation that was made before
/// this connector; then an operator has to look, because the next thing that happens is a termination.
async fn not_authorised(case: &mut Case<'_>, event: &BillingEvent, method: Method) -> Story<Verdict> {
    release_live(case).await?;
    match adopt_authorisation(case, event, method).await? {
        Adopted::One(reference) => capture(case, &reference, event.expiration).await,
        Adopted::None => case.park("capture_without_authorisation", false).await,
        Adopted::Several => case.park("several_authorisations_in_cleeng", false).await,
    }
}
