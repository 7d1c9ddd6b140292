//! Billing webhooks that never came. Cleeng promises no retry, so every subscription that the journal knows is looked at when its next event
//! should have been here: Cleeng is asked what it expects, and an event that the journal never heard of is put on its function's queue, as Cleeng
//! would have sent it. Should it come late after all, it is a repetition.
//!
//! Limits: the event of a subscription whose payment details came to be elsewhere, and that no webhook named here yet, cannot be made up for, because
//! Cleeng gives their token to nobody but in webhooks; that is alarmed. That nobody pays for a subscription any more is Cleeng's to say: its termination is made
//! up for only where the subscription was stopped.

use std::time::Duration;

use connector::billing::head::Head;
use connector::billing::rules;
use connector::billing::watch::{Expectation, Expected, LOOK_IN_FLIGHT, SLACK, Watch};
use connector::cleeng::{CleengError, Subscription, SubscriptionStatus};
use connector::clock::Timestamp;
use connector::flow::{Delivery, Verdict, World};
use connector::ids::PaymentMethodId;
use connector::journal::record::Obligation;
use connector::journal::store::{Key, Put, Stored};
use connector::metrics::Metric;

use crate::due::load;
use crate::holds;

/// What was looked at in vain is looked at again so much later.
const LATER: Duration = Duration::from_secs(3600);
/// An event that was made up for should be settled by then.
const AFTER_REPAIR: Duration = Duration::from_secs(1800);
/// A subscription that rests.
const RESTING: Duration = Duration::from_secs(86_400);

/// What became of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Nothing is missing.
    Fine,
    /// An event that never came is on its queue.
    MadeUp,
    /// What was held for a period that was paid in another way is released.
    Released,
    /// It has to be looked at again.
    PutOff,
    /// Cleeng asks to slow down: no more of these in this round.
    Throttled,
    /// The journal or Cleeng cannot be reached, or the queue.
    Failed,
}

/// Looks at the head of a subscription that is due.
pub(crate) async fn look(world: &World, key: &Key, delivery: &Delivery) -> Watched {
    let stored = match load(world, key).await {
        Ok(Some(stored)) => stored,
        Ok(None) => return Watched::Fine,
        Err(()) => return Watched::Failed,
    };
    let Ok(head) = serde_json::from_str::<Head>(&stored.body) else {
        tracing::error!(head = %key, "a due head cannot be read");
        world.metrics.count(Metric::Parked, &[("reason", "due_document_unreadable")]);
        return Watched::PutOff;
    };
    let Some(watch) = head.watch.clone() else { return Watched::Fine };
    let now = world.clock.now();
    if head.in_flight.is_some() {
        return write(world, key, &stored, &head, Some(now.after(LOOK_IN_FLIGHT)), Watched::PutOff).await;
    }
    let subscription = match world.cleeng.subscription(&watch.subscription).await {
        Ok(subscription) => subscription,
        Err(CleengError::NotFound) => return let_go(world, key, &stored, head).await,
        Err(CleengError::Throttled { .. }) => return Watched::Throttled,
        Err(error) => {
            tracing::warn!(head = %key, error = error.code(), "Cleeng cannot be asked what it expects");
            return write(world, key, &stored, &head, Some(now.after(LATER)), Watched::Failed).await;
        }
    };
    if let Some(watched) = release_stale(world, &head, &subscription, delivery).await {
        return watched;
    }
    let method = subscription.payment_method.as_ref().or(head.method.as_ref()).cloned();
    let Some((method, rules)) = method.and_then(|id| world.rules.methods.get(&id).copied().map(|rules| (id, rules))) else {
        return let_go(world, key, &stored, head).await;
    };
    if subscription.status == SubscriptionStatus::Terminated && head.live.is_some() {
        // Cleeng ended it by itself, and what is held for it would lapse days later: its termination gives it back.
        world.metrics.count(Metric::Warning, &[("reason", "drift_hold_of_an_ended_subscription")]);
        let (at, expiration) = (subscription.paid_until, subscription.paid_until);
        let end = Expected { action: Expectation::Terminate, at, expiration, exact: false };
        return make_up(world, key, &stored, head, &subscription, &method, end).await;
    }
    note_drift(world, key, &head, &subscription, now);
    let next = Expected::next(&subscription, &head, rules.billing);
    match overdue(world, &head, &watch, &subscription, next.as_ref(), now).await {
        Ok(Some(missing)) => make_up(world, key, &stored, head, &subscription, &method, missing).await,
        Ok(None) => go_on(world, key, &stored, head, &subscription, next, now).await,
        Err(()) => Watched::Failed,
    }
}

/// Gives back what nobody will capture, because its period was paid in another way. Nothing where there is no such hold, or where it is doubtful:
/// then the look goes on, and the drift is told.
async fn release_stale(world: &World, head: &Head, subscription: &Subscription, delivery: &Delivery) -> Option<Watched> {
    // What Cleeng ended by itself is given back by its termination.
    let ended = subscription.status == SubscriptionStatus::Terminated;
    let live = head.live.as_ref().filter(|live| !ended && holds::looks_stale(world, live, subscription))?;
    match holds::release(world, &subscription.id, &live.reference, delivery).await {
        Verdict::Settled("released") => Some(Watched::Released),
        Verdict::Settled(_) | Verdict::NotOurs => None,
        Verdict::Parked(_) => Some(Watched::PutOff),
        Verdict::Later { reason: "cleeng_throttled", .. } => Some(Watched::Throttled),
        Verdict::Later { .. } => Some(Watched::PutOff),
    }
}

/// What Cleeng and the journal say differently, for an operator to see. The next event puts it right, or parks.
fn note_drift(world: &World, key: &Key, head: &Head, subscription: &Subscription, now: Timestamp) {
    let paid = |expiration: Timestamp| subscription.paid_until > expiration.after(LATER);
    let unpaid = |at: Timestamp| now > at.after(RESTING);
    let drift = match (&head.live, &head.last_charge) {
        (Some(live), _) if paid(live.expiration) => holds::DRIFT,
        (None, Some(charge)) if charge.certain && !paid(charge.expiration) && unpaid(charge.at) => "drift_charged_and_not_paid_in_cleeng",
        _ => return,
    };
    tracing::warn!(head = %key, drift, "Cleeng and the journal disagree");
    world.metrics.count(Metric::Warning, &[("reason", drift)]);
}

/// What should have been here, by what Cleeng said before or says now, and was never heard of.
async fn overdue(
    world: &World,
    head: &Head,
    watch: &Watch,
    subscription: &Subscription,
    next: Option<&Expected>,
    now: Timestamp,
) -> Result<Option<Expected>, ()> {
    for expected in watch.expected.iter().chain(next) {
        if !expected.is_overdue(now) || !expected.still_stands(subscription) {
            continue;
        }
        let key = match expected.action {
            Expectation::Terminate => rules::termination_key(&watch.subscription),
            Expectation::Authorise | Expectation::Take => rules::period_key(&watch.subscription, expected.expiration),
        };
        let obligation = match load(world, &key).await? {
            Some(stored) => Some(serde_json::from_str::<Obligation>(&stored.body).map_err(|_| ())?),
            None => None,
        };
        if !expected.was_heard(head, obligation.as_ref()) {
            return Ok(Some(expected.clone()));
        }
    }
    Ok(None)
}

/// The event goes on its queue first: a copy too many is harmless, one too few is what this is about.
async fn make_up(
    world: &World,
    key: &Key,
    stored: &Stored,
    mut head: Head,
    subscription: &Subscription,
    method: &PaymentMethodId,
    missing: Expected,
) -> Watched {
    let now = world.clock.now();
    let Some(watch) = head.watch.clone() else { return Watched::Fine };
    let Some(event) = missing.event(&watch, &head, subscription, &world.rules.publisher, method) else {
        tracing::error!(head = %key, "a billing event never came, and its payment details are not known");
        world.metrics.count(Metric::Parked, &[("reason", "lost_event_of_unknown_details")]);
        return write(world, key, stored, &head, Some(now.after(LATER)), Watched::PutOff).await;
    };
    if let Err(error) = world.requeue.requeue(&event).await {
        tracing::error!(head = %key, %error, "an event that never came could not be made up for");
        return Watched::Failed;
    }
    tracing::warn!(head = %key, expected = ?missing.action, "a billing event never came and was made up for");
    world.metrics.count(Metric::Warning, &[("reason", "lost_event_made_up")]);
    if let Some(watch) = head.watch.as_mut() {
        watch.expected = Some(missing);
    }
    write(world, key, stored, &head, Some(now.after(AFTER_REPAIR)), Watched::MadeUp).await
}

/// Nothing is missing: what is next is noted, and when to look at it.
async fn go_on(
    world: &World,
    key: &Key,
    stored: &Stored,
    mut head: Head,
    subscription: &Subscription,
    next: Option<Expected>,
    now: Timestamp,
) -> Watched {
    let due_at = match (&next, &subscription.status) {
        (Some(expected), _) if expected.is_overdue(now) => now.after(LATER),
        (Some(expected), _) => expected.at.after(SLACK),
        (None, SubscriptionStatus::Paused) => now.after(RESTING),
        (None, _) => return let_go(world, key, stored, head).await,
    };
    if let Some(watch) = head.watch.as_mut() {
        watch.expected = next;
    }
    write(world, key, stored, &head, Some(due_at), Watched::Fine).await
}

/// Nothing more is to come.
async fn let_go(world: &World, key: &Key, stored: &Stored, mut head: Head) -> Watched {
    head.watch = None;
    write(world, key, stored, &head, None, Watched::Fine).await
}

/// Writes the head, if nobody else did; whoever did has set its time anew.
async fn write(world: &World, key: &Key, stored: &Stored, head: &Head, due_at: Option<Timestamp>, watched: Watched) -> Watched {
    let Ok(body) = serde_json::to_string(head) else { return Watched::Failed };
    let expires_at = head.expires_at(world.clock.now());
    let put = Put { key: key.clone(), expected: Some(stored.version), body, due_at, parked_since: None, expires_at };
    match world.store.commit(&[put]).await {
        Ok(()) => watched,
        Err(_) => Watched::PutOff,
    }
}
