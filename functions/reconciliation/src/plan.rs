//! What a run does about a document that is due. The run carries out what [`plan`] returns, and the operator's tool shows it: a dry run
//! cannot differ from a real run.

use connector::clock::Timestamp;
use connector::gateway::Reference;
use connector::journal::JournalError;
use connector::journal::record::{AttemptKind, Obligation};
use connector::journal::store::Key;
use connector::journal::transaction::Transaction;
use connector::payments::subscription_state::SubscriptionState;
use connector::renewal::eligibility::is_money_begun;

use crate::documents::{DocumentKind, is_claimed};

/// What a run does about a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedAction {
    /// The purchase or storing whose customer is away continues without them, or is ended.
    ContinueWithoutCustomer,
    /// The reversal of this payment continues.
    ContinueReversal(Reference),
    /// A payment of this period that succeeded late is reported or given back.
    SettleLateSuccess,
    /// The release of this authorisation, whose period was paid in another way, continues.
    ContinueRelease(Reference),
    /// The waiting events are requeued.
    Requeue,
    /// Nothing: its event is on its queue. The document is due again later.
    LeaveToQueue,
    /// Nothing: a worker holds it.
    LeaveToWorker,
    /// Nothing: it is settled, and the index lags behind.
    Settled,
    /// Cleeng is asked what it expects of the subscription; an event that should have arrived and did not is put on its queue.
    CheckSubscription {
        /// What is known to be expected, and when.
        expected: Option<(String, Timestamp)>,
    },
    /// Nothing about the subscription: an attempt is in flight.
    LeaveInFlight,
    /// Nothing, and an alarm: this release cannot read it, for this reason.
    Unreadable(JournalError),
}

impl PlannedAction {
    /// In plain words.
    #[must_use]
    pub fn description(&self) -> String {
        match self {
            Self::ContinueWithoutCustomer => "continues without the customer, or closes it after its expiry".to_owned(),
            Self::ContinueReversal(_) => "continues the reversal of the payment".to_owned(),
            Self::ContinueRelease(_) => "continues the release of an obsolete authorisation".to_owned(),
            Self::SettleLateSuccess => "reports a payment that succeeded late, or gives it back".to_owned(),
            Self::Requeue => "puts the waiting event back on its queue".to_owned(),
            Self::LeaveToQueue => "nothing: its event is on its queue".to_owned(),
            Self::LeaveToWorker => "nothing: a function holds its lease, or released it a moment ago".to_owned(),
            Self::Settled => "nothing: it is settled".to_owned(),
            Self::CheckSubscription { expected: None } => "asks Cleeng what it expects next".to_owned(),
            Self::CheckSubscription { expected: Some((what, at)) } => {
                format!("asks Cleeng whether \"{what}\" of {at} is still expected, and recovers it if it was never received")
            }
            Self::LeaveInFlight => "nothing: an attempt is in flight".to_owned(),
            Self::Unreadable(error) => format!("nothing, and raises an alarm: {error}"),
        }
    }

    /// A stable word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ContinueWithoutCustomer => "continue_without_customer",
            Self::ContinueReversal(_) => "continue_reversal",
            Self::ContinueRelease(_) => "continue_release",
            Self::SettleLateSuccess => "settle_late_success",
            Self::Requeue => "requeue",
            Self::LeaveToQueue => "leave_to_queue",
            Self::LeaveToWorker => "leave_to_worker",
            Self::Settled => "settled",
            Self::CheckSubscription { .. } => "check_subscription",
            Self::LeaveInFlight => "leave_in_flight",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

/// What a run at this time does about a document that is due and loaded.
#[must_use]
pub fn plan(transaction: &Transaction, key: &Key, now: Timestamp) -> PlannedAction {
    let planned = match DocumentKind::of(key) {
        DocumentKind::Subscription => transaction.read(key).map(|state| state.map(|state| plan_subscription(&state))),
        kind => transaction.read(key).map(|obligation| obligation.map(|obligation| plan_obligation(kind, &obligation, now))),
    };
    planned.map_or_else(PlannedAction::Unreadable, |action| action.unwrap_or(PlannedAction::Settled))
}

fn plan_obligation(kind: DocumentKind, obligation: &Obligation, now: Timestamp) -> PlannedAction {
    if is_claimed(obligation, now) {
        return PlannedAction::LeaveToWorker;
    }
    if obligation.is_settled() {
        return PlannedAction::Settled;
    }
    match kind {
        DocumentKind::Purchase => PlannedAction::ContinueWithoutCustomer,
        DocumentKind::Reversal(reference) => PlannedAction::ContinueReversal(reference),
        DocumentKind::Release(reference) => PlannedAction::ContinueRelease(reference),
        DocumentKind::Subscription | DocumentKind::Event => {
            let open = obligation.current_attempt();
            let is_settling = open.is_some_and(|open| open.kind == AttemptKind::LateSuccess);
            let may_settle = !obligation.late_successes.is_empty() && !open.is_some_and(is_money_begun);
            if is_settling || may_settle {
                return PlannedAction::SettleLateSuccess;
            }
            if obligation.waiting_events(now).is_empty() { PlannedAction::LeaveToQueue } else { PlannedAction::Requeue }
        }
    }
}

fn plan_subscription(state: &SubscriptionState) -> PlannedAction {
    match &state.last_billing_event {
        None => PlannedAction::Settled,
        Some(_) if state.in_flight.is_some() => PlannedAction::LeaveInFlight,
        Some(last_event) => {
            let expected =
                last_event.expected_event.as_ref().map(|expected| (format!("{:?}", expected.action).to_lowercase(), expected.at));
            PlannedAction::CheckSubscription { expected }
        }
    }
}
