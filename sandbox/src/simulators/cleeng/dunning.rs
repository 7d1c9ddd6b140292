//! The dunning clock: which billing webhooks are due (Cleeng, "Dunning action settings").
//!
//! Where Cleeng says too little, this is how it is read here:
//! - Attempts that lie before the start of the paid period are left out, so that a daily cycle has no attempt 72 hours ahead.
//! - In authorise-first mode authorisation events end as soon as a payment of the period is authorised. The capture event comes once, at
//!   the due date or, for an authorisation won in the grace period, right after it; without an authorised payment there is nothing to
//!   capture, so that none is sent.
//! - In capture-only mode capture events end as soon as the period is paid.
//! - The termination comes when the grace is over and the period is not paid, a payment that is only authorised included; for a stopped
//!   subscription it comes at the due date.
//! - An event is sent once. Redelivery is what tests forge.

use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::clock::Timestamp;

use crate::simulators::cleeng::database::{Database, DunningSettings, PaymentRow, SubscriptionRow};

/// An event that is to be sent when its time comes, unless something changes before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlannedEvent {
    pub(super) at: Timestamp,
    pub(super) topic: Topic,
    pub(super) subscription: connector::ids::SubscriptionId,
    pub(super) expiration: Timestamp,
}

impl PlannedEvent {
    pub(super) fn key(&self) -> (connector::ids::SubscriptionId, Timestamp, Topic, Timestamp) {
        (self.subscription.clone(), self.expiration, self.topic, self.at)
    }
}

/// Everything that would be sent as things stand, in order of time.
pub(super) fn planned_events(database: &Database) -> Vec<PlannedEvent> {
    let mut all: Vec<PlannedEvent> =
        database.subscriptions.values().flat_map(|subscription| plan_for_subscription(database, subscription)).collect();
    all.retain(|planned| !database.sent.contains(&planned.key()));
    all.sort_by(|one, other| (one.at, one.topic, &one.subscription).cmp(&(other.at, other.topic, &other.subscription)));
    all
}

fn plan_for_subscription(database: &Database, subscription: &SubscriptionRow) -> Vec<PlannedEvent> {
    let due = subscription.date_to;
    let event = |at: Timestamp, topic: Topic| PlannedEvent { at, topic, subscription: subscription.id.clone(), expiration: due };
    match subscription.status {
        SubscriptionStatus::Active => {}
        SubscriptionStatus::Stopped => return vec![event(due, Topic::SubscriptionReadyForTermination)],
        _ => return Vec::new(),
    }
    let dunning = database.methods.get(&subscription.method).map(|method| method.dunning.clone()).unwrap_or_default();
    let live = database.live_payment(&subscription.id, due);
    let mut events = Vec::new();
    let attempt_topic = match dunning.authorised_first {
        true => Topic::SubscriptionReadyForPaymentAuthorisation,
        false => Topic::SubscriptionReadyForPaymentCapture,
    };
    if live.is_none() && subscription.details.is_some() {
        let open = attempts(&dunning, subscription).filter(|at| !was_live(database, subscription, *at));
        events.extend(open.map(|at| event(at, attempt_topic)));
    }
    if let Some(authorised_at) = live.filter(|_| dunning.authorised_first).and_then(authorised_at) {
        // One capture event per authorisation: a later one has a later time.
        events.push(event(due.max(authorised_at), Topic::SubscriptionReadyForPaymentCapture));
    }
    events.push(event(hours_before(due, dunning.grace.saturating_neg()), Topic::SubscriptionReadyForTermination));
    events
}

fn attempts(dunning: &DunningSettings, subscription: &SubscriptionRow) -> impl Iterator<Item = Timestamp> {
    let (due, start) = (subscription.date_to, subscription.date_from);
    let mut times: Vec<Timestamp> = dunning.attempts.iter().map(|hours| hours_before(due, *hours)).filter(|at| *at >= start).collect();
    times.sort_unstable();
    times.dedup();
    times.into_iter()
}

/// Whether a payment of this period was live at that time, so that the attempt was skipped and is not repeated later.
fn was_live(database: &Database, subscription: &SubscriptionRow, at: Timestamp) -> bool {
    let of_period =
        |payment: &&PaymentRow| payment.subscription.as_ref() == Some(&subscription.id) && payment.period == Some(subscription.date_to);
    database.payments.values().filter(of_period).any(|payment| {
        let live = |status: &PaymentStatus| matches!(status, PaymentStatus::Authorised | PaymentStatus::Captured);
        let start = payment.history.first().filter(|(_, status)| live(status)).map(|(start, _)| *start);
        let end = payment.history.iter().find(|(_, status)| !live(status)).map(|(end, _)| *end);
        start.is_some_and(|start| start < at) && end.is_none_or(|end| at <= end)
    })
}

fn authorised_at(payment: &PaymentRow) -> Option<Timestamp> {
    let held = payment.status == PaymentStatus::Authorised;
    payment.history.iter().rev().find(|(_, status)| *status == PaymentStatus::Authorised).map(|(at, _)| *at).filter(|_| held)
}

/// So many hours before this point; after it where they are negative.
fn hours_before(at: Timestamp, hours: i64) -> Timestamp {
    let distance = Duration::from_secs(hours.unsigned_abs().saturating_mul(3600));
    if hours < 0 { at.after(distance) } else { at.before(distance) }
}
