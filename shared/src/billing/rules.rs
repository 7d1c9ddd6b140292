//! Whose event it is, and whether anything is to be done at all.

use std::time::Duration;

use super::case::Case;
use super::watch::Watch;
use super::{Story, later, read_failed};
use crate::cleeng::webhook::BillingEvent;
use crate::cleeng::{CleengError, Subscription, SubscriptionStatus};
use crate::clock::Timestamp;
use crate::flow::{Method, Verdict, World};
use crate::gateway::Reference;
use crate::ids::{PaymentMethodId, SubscriptionId};
use crate::journal::record::{AttemptKind, Finish};
use crate::journal::store::Key;
use crate::metrics::Metric;

/// Where a renewal's cycle is unknown, two charges are at least this far apart.
const UNKNOWN_CYCLE_GAP: Duration = Duration::from_secs(24 * 3600);

/// The obligation of a billing period: the subscription and the instant at which its paid time ends, however that instant was written.
#[must_use]
pub fn period_key(subscription: &SubscriptionId, expiration: Timestamp) -> Key {
    Key::new("period", &[subscription.as_str(), &expiration.secs().to_string()])
}

/// Where the end of a subscription is kept.
#[must_use]
pub fn termination_key(subscription: &SubscriptionId) -> Key {
    Key::new("termination", &[subscription.as_str()])
}

/// The settings of a payment method, if it is ours.
///
/// # Errors
/// [`Verdict::NotOurs`].
pub fn our_method(world: &World, method: &PaymentMethodId) -> Story<Method> {
    world.rules.methods.get(method).copied().ok_or(Verdict::NotOurs)
}

/// The payment method of an event. Where the payload has none, the journal is asked, then Cleeng.
///
/// # Errors
/// [`Verdict::NotOurs`] for another connector's, later if Cleeng cannot be asked. Nothing where nobody can tell: such an event is parked,
/// never dropped and never acted on.
pub async fn whose(
    world: &World,
    told: Option<&PaymentMethodId>,
    journaled: Option<&PaymentMethodId>,
    subscription: &SubscriptionId,
) -> Story<Option<(PaymentMethodId, Method)>> {
    if let Some(method) = told.or(journaled) {
        return Ok(Some((method.clone(), our_method(world, method)?)));
    }
    let subscription = world.cleeng.subscription(subscription).await.map_err(|error| read_failed(&error))?;
    let Some(method) = subscription.payment_method else { return Ok(None) };
    let settings = our_method(world, &method)?;
    Ok(Some((method, settings)))
}

/// What the journal says about an event of a kind of attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was dealt with.
    Finished(&'static str),
    /// Its attempt is in flight, to be resumed.
    Resume,
    /// Nothing is in flight: a new attempt may open, if everything else allows it.
    Free,
}

/// Reads the journal's word about an event.
///
/// # Errors
/// Later, if an attempt of another kind, or one that this event cannot resume, is in flight.
pub fn standing(case: &Case<'_>, kinds: &[AttemptKind], event: &BillingEvent) -> Story<Standing> {
    let obligation = &case.run.obligation;
    if obligation.is_blocked() {
        return Ok(Standing::Finished("parked"));
    }
    let finished = kinds.iter().filter_map(|kind| obligation.last_finished(*kind)).max_by_key(|attempt| attempt.due);
    if let Some(finish) = finished.filter(|attempt| event.attempt <= attempt.due).and_then(|attempt| attempt.finish.as_ref()) {
        return Ok(Standing::Finished(finish.as_str()));
    }
    if let Some(open) = obligation.open() {
        // The same key must come with the same content, so an event with other details leaves the attempt to its own event.
        let resumable = kinds.contains(&open.kind) && open.details.as_ref().is_none_or(|details| *details == event.payment_details);
        return if resumable { Ok(Standing::Resume) } else { Err(later("another_attempt_in_flight")) };
    }
    if obligation.attempts.iter().any(|attempt| attempt.finish == Some(Finish::Captured)) {
        return Ok(Standing::Finished("captured"));
    }
    Ok(Standing::Free)
}

/// Whether the live authorisation is this event's: held, and made with the payment details that the event names.
#[must_use]
pub fn usable_authorisation(case: &Case<'_>, event: &BillingEvent) -> Option<Reference> {
    let live = case.head.live.as_ref().filter(|live| live.details == event.payment_details)?;
    case.payment(&live.reference).filter(|payment| payment.is_live(case.now())).map(|payment| payment.reference.clone())
}

/// Notes what an event says about the subscription, in memory.
pub fn note_event(case: &mut Case<'_>, event: &BillingEvent, method: &PaymentMethodId) {
    case.head.method = Some(method.clone());
    case.head.latest = case.head.latest.max(Some(event.expiration));
    case.head.watch = Some(Watch::of(event, case.head.watch.as_ref()));
}

/// After an attempt was resumed by another event than its own: that event has its own turn next, as soon as the attempt is finished.
#[must_use]
pub fn after_resuming(verdict: Verdict, resumed_due: Option<Timestamp>, event: &BillingEvent) -> Verdict {
    let own = resumed_due.is_none_or(|due| due.secs() == event.attempt.secs());
    let unfinished = matches!(verdict, Verdict::Later { .. });
    if own || unfinished { verdict } else { Verdict::Later { after: Some(Duration::from_secs(1)), reason: "resumed_an_earlier_attempt" } }
}

/// Counts an event that was dealt with before.
#[must_use]
pub fn duplicate(world: &World, outcome: &'static str) -> Verdict {
    world.metrics.count(Metric::Duplicate, &[("outcome", outcome)]);
    Verdict::Settled(outcome)
}

/// Asks Cleeng whether the event still holds.
pub enum Asked {
    /// It does.
    Due(Box<Subscription>),
    /// Nothing is to be done any more, for this reason.
    Stale(&'static str),
    /// It does not add up; an operator has to look.
    Odd(&'static str),
}

/// Asks Cleeng for the subscription and compares it with the event: ended, or paid beyond the event's expiry, is stale.
///
/// # Errors
/// Later, if Cleeng cannot be asked.
pub async fn ask_cleeng(world: &World, event: &BillingEvent) -> Story<Asked> {
    let subscription = match world.cleeng.subscription(&event.subscription).await {
        Ok(subscription) => subscription,
        Err(CleengError::NotFound) => return Ok(Asked::Odd("subscription_not_found")),
        Err(error) => return Err(read_failed(&error)),
    };
    if subscription.customer.as_ref().is_some_and(|customer| *customer != event.customer) {
        return Ok(Asked::Odd("subscription_of_another_customer"));
    }
    match &subscription.status {
        SubscriptionStatus::Active => {}
        SubscriptionStatus::Stopped | SubscriptionStatus::Terminated | SubscriptionStatus::Paused => {
            return Ok(Asked::Stale("subscription_not_active"));
        }
        SubscriptionStatus::Other(_) => return Ok(Asked::Odd("subscription_status_unknown")),
    }
    if subscription.paid_until.secs() > event.expiration.secs() {
        return Ok(Asked::Stale("already_paid"));
    }
    warn_of_deviations(world, event, &subscription);
    Ok(Asked::Due(Box::new(subscription)))
}

/// What Cleeng says elsewhere and this event does not fit: counted, but no reason not to act, since these fields are unconfirmed.
fn warn_of_deviations(world: &World, event: &BillingEvent, subscription: &Subscription) {
    if subscription.payment_details.as_ref().is_some_and(|details| *details != event.payment_details) {
        world.metrics.count(Metric::Warning, &[("reason", "subscription_names_other_details")]);
    }
    if subscription.paid_until.secs() < event.expiration.secs() {
        world.metrics.count(Metric::Warning, &[("reason", "subscription_ends_before_event")]);
    }
}

/// How far two periods of a subscription lie apart at the least: half a cycle, or 24 hours where the cycle is unknown. What lies nearer is one
/// period whose end moved.
#[must_use]
pub fn shortest_gap(subscription: &Subscription) -> Duration {
    subscription.cycle.map_or(UNKNOWN_CYCLE_GAP, |cycle| cycle.0.checked_div(2).unwrap_or(UNKNOWN_CYCLE_GAP))
}

/// Whether another period of the subscription was charged so recently that charging this one would be a second charge for one period: less
/// than half a cycle ago, or 24 hours where the cycle is unknown.
///
/// An authorisation takes no money before its capture, which is checked again, and may come early in a short cycle (twelve hours before a
/// daily renewal). It is held back only if the two periods also end less than that apart, which is what an expiry that moved looks like.
#[must_use]
pub fn charged_recently(case: &Case<'_>, event: &BillingEvent, subscription: &Subscription, kind: AttemptKind) -> bool {
    let gap = shortest_gap(subscription);
    case.head.last_charge.as_ref().is_some_and(|charge| {
        let other_period = charge.expiration.secs() != event.expiration.secs();
        let apart = event.expiration.since(charge.expiration).max(charge.expiration.since(event.expiration));
        other_period && case.now().since(charge.at) < gap && (kind != AttemptKind::Authorise || apart < gap)
    })
}
