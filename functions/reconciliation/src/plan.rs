//! What a round would do about a document, judged by the same rules and without doing it: for the operator's tool.

use connector::clock::Timestamp;
use connector::gateway::Reference;
use connector::journal::record::Obligation;
use connector::journal::store::Key;
use connector::payments::subscription_state::SubscriptionState;

use crate::due::{is_claimed, is_settled, kind_of};
use crate::obsolete_authorisations;

/// What a round would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedAction {
    /// The purchase or storing whose customer is away goes on without him, or is ended.
    ContinueWithoutCustomer,
    /// The giving back goes on.
    ContinueReversal,
    /// The release of what is held for a period that was paid in another way goes on.
    ContinueRelease,
    /// The event that waits goes back to its queue.
    Requeue,
    /// Nothing: its event is on its queue.
    LeaveToQueue,
    /// Nothing: somebody is at it.
    LeaveToWorker,
    /// Nothing: it is settled, and the index has not noticed yet.
    Settled,
    /// Cleeng is asked what it expects of the subscription; an event that should have come and was never heard of is put on its queue.
    CheckSubscription {
        /// What is known to be expected, and when.
        expected: Option<(String, Timestamp)>,
    },
    /// Nothing about the subscription: an attempt is in flight.
    LeaveInFlight,
    /// Nothing, and an alarm: this release cannot read it.
    Unreadable,
}

impl PlannedAction {
    /// In plain words.
    #[must_use]
    pub fn description(&self) -> String {
        match self {
            Self::ContinueWithoutCustomer => "continues without the customer, or closes it after its expiry".to_owned(),
            Self::ContinueReversal => "continues the reversal of the payment".to_owned(),
            Self::ContinueRelease => "continues the release of an obsolete authorisation".to_owned(),
            Self::Requeue => "puts the waiting event back on its queue".to_owned(),
            Self::LeaveToQueue => "nothing: its event is on its queue".to_owned(),
            Self::LeaveToWorker => "nothing: a function holds its lease, or released it a moment ago".to_owned(),
            Self::Settled => "nothing: it is settled".to_owned(),
            Self::CheckSubscription { expected: None } => "asks Cleeng what it expects next".to_owned(),
            Self::CheckSubscription { expected: Some((what, at)) } => {
                format!("asks Cleeng whether \"{what}\" of {at} is still expected, and recovers it if it was never received")
            }
            Self::LeaveInFlight => "nothing: an attempt is in flight".to_owned(),
            Self::Unreadable => "nothing, and raises an alarm: this release cannot read it".to_owned(),
        }
    }

    /// A stable word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ContinueWithoutCustomer => "continue_without_customer",
            Self::ContinueReversal => "continue_reversal",
            Self::ContinueRelease => "continue_release",
            Self::Requeue => "requeue",
            Self::LeaveToQueue => "leave_to_queue",
            Self::LeaveToWorker => "leave_to_worker",
            Self::Settled => "settled",
            Self::CheckSubscription { .. } => "check_subscription",
            Self::LeaveInFlight => "leave_in_flight",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What a round at this time would do about a document that is due.
#[must_use]
pub fn plan(key: &Key, body: &str, now: Timestamp) -> PlannedAction {
    let (kind, rest) = kind_of(key);
    if kind == "subscription" {
        return serde_json::from_str::<SubscriptionState>(body).map_or(PlannedAction::Unreadable, |state| plan_subscription(&state));
    }
    let Ok(obligation) = serde_json::from_str::<Obligation>(body) else { return PlannedAction::Unreadable };
    if is_claimed(&obligation, now) {
        return PlannedAction::LeaveToWorker;
    }
    if is_settled(&obligation) {
        return PlannedAction::Settled;
    }
    match kind {
        "order" | "details" => PlannedAction::ContinueWithoutCustomer,
        "reversal" if Reference::parse(rest).is_some() => PlannedAction::ContinueReversal,
        obsolete_authorisations::KEY_KIND if Reference::parse(rest).is_some() => PlannedAction::ContinueRelease,
        "reversal" => PlannedAction::LeaveToQueue,
        _ if obligation.current_attempt().is_some_and(|attempt| attempt.waiting_event.is_some() && !attempt.is_queued(now)) => {
            PlannedAction::Requeue
        }
        _ => PlannedAction::LeaveToQueue,
    }
}

fn plan_subscription(state: &SubscriptionState) -> PlannedAction {
    match &state.last_billing_event {
        None => PlannedAction::Settled,
        Some(_) if state.in_flight.is_some() => PlannedAction::LeaveInFlight,
        Some(watch) => {
            let expected = watch.expected_event.as_ref().map(|expected| (format!("{:?}", expected.action).to_lowercase(), expected.at));
            PlannedAction::CheckSubscription { expected }
        }
    }
}
