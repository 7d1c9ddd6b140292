//! `subscriptionReadyForPaymentAuthorisation`: an authorisation attempt of a renewal is due.
//!
//! Cleeng's checklist: create the order, authorise at the gateway with the stored token, report the payment `authorized` or `rejected`.

use async_trait::async_trait;
use connector::billing::Story;
use connector::billing::case::Case;
use connector::billing::pay::{self, DETAILS_DELETED, Paid};
use connector::billing::release::release_live;
use connector::billing::report::{self, New, Told};
use connector::billing::rules::{self, Asked, Standing};
use connector::cleeng::webhook::{BillingEvent, Topic, Verified, Webhook};
use connector::flow::{Billing, Delivery, Flow, Method, Verdict, World};
use connector::ids::PaymentMethodId;
use connector::journal::record::{AttemptKind, Finish};
use connector::lambda::queue::Envelope;
use connector::metrics::Metric;

const KIND: AttemptKind = AttemptKind::Authorise;

/// Authorises a renewal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Authorisation;

#[async_trait]
impl Flow for Authorisation {
    fn topic(&self) -> Topic {
        Topic::SubscriptionReadyForPaymentAuthorisation
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
    let verdict = hold_money(&mut case, &event).await;
    Ok(case.conclude(verdict).await)
}

async fn hold_money(case: &mut Case<'_>, event: &BillingEvent) -> Story<Verdict> {
    let journaled = case.head.method.clone();
    let whose = rules::whose(case.world, event.payment_method.as_ref(), journaled.as_ref(), &event.subscription).await?;
    let Some((method_id, method)) = whose else {
        return case.park_untried(KIND, event.attempt, "whose_event_is_unknown").await;
    };
    if method.billing == Billing::CaptureOnly {
        // Dunning asks for an authorisation, the setting for none: the money is taken when the capture event comes.
        case.world.metrics.count(Metric::Warning, &[("reason", "authorisation_event_in_capture_only_billing")]);
        return Ok(Verdict::Settled("billed_at_capture"));
    }
    authorise(case, event, &method_id, method).await
}

async fn authorise(case: &mut Case<'_>, event: &BillingEvent, method_id: &PaymentMethodId, method: Method) -> Story<Verdict> {
    match rules::standing(case, &[KIND], event)? {
        Standing::Finished(outcome) => return Ok(rules::duplicate(case.world, outcome)),
        Standing::Resume => {
            let due = case.attempt().map(|attempt| attempt.due);
            let verdict = attempt(case, event, method_id, method).await?;
            return Ok(rules::after_resuming(verdict, due, event));
        }
        Standing::Free => {}
    }
    rules::note_event(case, event, method_id);
    if rules::usable_authorisation(case, event).is_some() {
        return use_live_authorisation(case, event).await;
    }
    let subscription = match rules::ask_cleeng(case.world, event).await? {
        Asked::Due(subscription) => subscription,
        Asked::Stale(reason) => {
            return case.finish_untried(KIND, event.attempt, Finish::Stale { reason: reason.to_owned() }).await;
        }
        Asked::Odd(reason) => return case.park_untried(KIND, event.attempt, reason).await,
    };
    if rules::charged_recently(case, event, &subscription, KIND) {
        return case.park_untried(KIND, event.attempt, "charged_recently").await;
    }
    case.open_attempt(KIND, event.attempt, Some(event.payment_details.clone()))?;
    attempt(case, event, method_id, method).await
}

/// One attempt, from wherever it stands: every step that is done is passed over.
async fn attempt(case: &mut Case<'_>, event: &BillingEvent, method_id: &PaymentMethodId, method: Method) -> Story<Verdict> {
    // The card was changed, or the authorisation lapsed: what is still held goes back before anything new is held.
    release_live(case).await?;
    let order = pay::order(case, event, method_id).await?;
    match pay::pay(case, event, method, &order, KIND).await? {
        Paid::Done(reference) => match report::new_payment(case, event, &order.id, &reference, New::Authorised).await? {
            Told::Yes => case.finish(Finish::Authorised).await,
            Told::Never => case.finish(details_deleted()).await,
        },
        Paid::Declined(reference, decline) => {
            report::new_payment(case, event, &order.id, &reference, New::Rejected(&decline)).await?;
            case.finish(Finish::Declined { class: decline.class, code: decline.code }).await
        }
        Paid::DetailsDeleted => case.finish(details_deleted()).await,
    }
}

/// Others took the place of the details that the event names, and Cleeng takes no report with these any more.
fn details_deleted() -> Finish {
    Finish::Stale { reason: DETAILS_DELETED.to_owned() }
}

/// The period is authorised already. If the expiry moved meanwhile, the authorisation moves with it: it is used, never doubled.
async fn use_live_authorisation(case: &mut Case<'_>, event: &BillingEvent) -> Story<Verdict> {
    let same_period = case.head.live.as_ref().is_some_and(|live| live.expiration.secs() == event.expiration.secs());
    if same_period {
        return Ok(rules::duplicate(case.world, "authorised"));
    }
    if let Some(live) = case.head.live.as_mut() {
        live.expiration = event.expiration;
    }
    case.world.metrics.count(Metric::Warning, &[("reason", "expiry_moved_under_an_authorisation")]);
    case.finish_untried(KIND, event.attempt, Finish::Authorised).await
}
