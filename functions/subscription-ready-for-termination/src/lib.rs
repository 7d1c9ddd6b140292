//! `subscriptionReadyForTermination`: nobody paid, or a stopped subscription has run out.
//!
//! Cleeng's checklist: terminate the subscription in Cleeng. Before that the journal is read: a period that is captured, or being captured,
//! is settled instead, because taking the money and the access would be the worst of all ends.

use std::time::Duration;

use async_trait::async_trait;
use connector::billing::case::{Case, StepTurn};
use connector::billing::release::release_live;
use connector::billing::{Story, later, read_failed, rules};
use connector::cleeng::webhook::{TerminationEvent, Topic, Verified, Webhook};
use connector::cleeng::{CleengError, Subscription, SubscriptionStatus, TWO_WAYS_TIMEOUT, TerminationType};
use connector::flow::{Delivery, Flow, Verdict, World};
use connector::journal::record::{AttemptKind, Finish};
use connector::lambda::queue::Envelope;
use connector::metrics::Metric;

/// Terminates a subscription.
#[derive(Clone, Copy, Debug, Default)]
pub struct Termination;

const TERMINATE: &str = "terminate";

/// An active subscription that is paid for longer than this was renewed since the event was sent.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3600);

#[async_trait]
impl Flow for Termination {
    fn topic(&self) -> Topic {
        Topic::SubscriptionReadyForTermination
    }

    async fn settle(&self, world: &World, event: &Verified<Webhook>, delivery: &Delivery) -> Verdict {
        story(world, event, delivery).await.unwrap_or_else(|verdict| verdict)
    }
}

async fn story(world: &World, webhook: &Verified<Webhook>, delivery: &Delivery) -> Story<Verdict> {
    let event = TerminationEvent::read(webhook.get())?;
    if let Some(method) = &event.payment_method {
        rules::our_method(world, method)?;
    }
    let key = rules::termination_key(&event.subscription);
    let mut case = Case::open(world, key, &event.subscription, delivery).await?;
    case.event = Some(Envelope::reseal(webhook, delivery.received_at).to_text());
    let verdict = end(&mut case, &event).await;
    Ok(case.conclude(verdict).await)
}

async fn end(case: &mut Case<'_>, event: &TerminationEvent) -> Story<Verdict> {
    let subscription = match case.world.cleeng.subscription(&event.subscription).await {
        Ok(subscription) => subscription,
        Err(CleengError::NotFound) => return ended(case).await,
        Err(error) => return Err(read_failed(&error)),
    };
    if subscription.status == SubscriptionStatus::Terminated {
        return ended(case).await;
    }
    let told = event.payment_method.as_ref().or(subscription.payment_method.as_ref());
    let Some(method) = told.or(case.head.method.as_ref()).cloned() else {
        return park(case, &subscription, "whose_event_is_unknown").await;
    };
    rules::our_method(case.world, &method)?;
    let Some(why) = termination_type(&subscription.status) else {
        return park(case, &subscription, "subscription_status_unknown").await;
    };
    if case.attempt().is_none() {
        if let Some(verdict) = not_to_be_ended(case, &subscription).await? {
            return Ok(verdict);
        }
        case.open_attempt(AttemptKind::Terminate, subscription.paid_until, None)?;
    }
    // Nobody will capture what is still held.
    release_live(case).await?;
    terminate(case, event, why).await
}

const fn termination_type(status: &SubscriptionStatus) -> Option<TerminationType> {
    match status {
        SubscriptionStatus::Active | SubscriptionStatus::Paused => Some(TerminationType::PaymentCancel),
        SubscriptionStatus::Stopped => Some(TerminationType::UserCancel),
        SubscriptionStatus::Terminated | SubscriptionStatus::Other(_) => None,
    }
}

/// Reads the journal first. Money that is on its way is waited for; money that was taken for the period that is due keeps the subscription
/// alive, and an operator is called.
async fn not_to_be_ended(case: &mut Case<'_>, subscription: &Subscription) -> Story<Option<Verdict>> {
    if case.head.in_flight.is_some() {
        return Err(later("payment_in_flight"));
    }
    let due = subscription.paid_until;
    let taken = case.head.last_charge.as_ref().is_some_and(|charge| charge.expiration.secs() >= due.secs());
    if taken && subscription.status == SubscriptionStatus::Active {
        return park(case, subscription, "captured_but_to_be_terminated").await.map(Some);
    }
    if subscription.status == SubscriptionStatus::Active && due > case.now().after(CLOCK_TOLERANCE) {
        case.world.metrics.count(Metric::Warning, &[("reason", "termination_of_a_paid_subscription")]);
        let finish = Finish::Stale { reason: "already_paid".to_owned() };
        return case.finish_untried(AttemptKind::Terminate, due, finish).await.map(Some);
    }
    Ok(None)
}

async fn terminate(case: &mut Case<'_>, event: &TerminationEvent, why: TerminationType) -> Story<Verdict> {
    // An unknown outcome was settled above: Cleeng says that the subscription runs, so the call is made again.
    if matches!(case.turn::<()>(TERMINATE)?, StepTurn::Done(())) {
        return case.finish(Finish::Terminated).await;
    }
    case.begin(TERMINATE, None, TWO_WAYS_TIMEOUT).await?;
    match case.world.cleeng.terminate(&event.subscription, why).await {
        Ok(()) => {
            case.done(TERMINATE, &());
            case.finish(Finish::Terminated).await
        }
        Err(error @ CleengError::Unknown(_)) => Err(case.leave_unknown(TERMINATE, error.code()).await),
        Err(CleengError::Throttled { retry_after }) => Err(case.no_effect(TERMINATE, retry_after, "cleeng_throttled").await),
        Err(CleengError::Refused { .. } | CleengError::NotFound) => refused(case, event).await,
        Err(error) => Err(case.no_effect(TERMINATE, None, error.code()).await),
    }
}

/// Somebody else may have ended it in the meantime: payment methods can terminate by themselves.
async fn refused(case: &mut Case<'_>, event: &TerminationEvent) -> Story<Verdict> {
    match case.world.cleeng.subscription(&event.subscription).await {
        Ok(subscription) if subscription.status != SubscriptionStatus::Terminated => case.park("termination_refused", false).await,
        Ok(_) | Err(CleengError::NotFound) => {
            case.done(TERMINATE, &());
            case.finish(Finish::Terminated).await
        }
        Err(error) => Err(read_failed(&error)),
    }
}

/// The subscription has ended: an attempt of ours that is open is done. What is still held for it, because Cleeng ended it by itself, goes back.
async fn ended(case: &mut Case<'_>) -> Story<Verdict> {
    if case.attempt().is_none() {
        let told = case.run.obligation.last_finished(AttemptKind::Terminate).and_then(|last| last.finish.as_ref());
        if case.head.live.is_none() && told == Some(&Finish::Terminated) {
            return Ok(rules::duplicate(case.world, "terminated"));
        }
        // Written even where there is nothing to do: whoever ended it in the meantime, and died over it, is noticed by the journal alone.
        case.open_attempt(AttemptKind::Terminate, case.now(), None)?;
    }
    release_live(case).await?;
    case.finish(Finish::Terminated).await
}

async fn park(case: &mut Case<'_>, subscription: &Subscription, reason: &'static str) -> Story<Verdict> {
    if case.attempt().is_some() {
        return case.park(reason, false).await;
    }
    case.park_untried(AttemptKind::Terminate, subscription.paid_until, reason).await
}
