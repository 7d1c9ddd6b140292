//! What a round would do about a document, judged by the same rules and without doing it: for the operator's tool.

use connector::billing::head::Head;
use connector::clock::Timestamp;
use connector::gateway::Reference;
use connector::journal::record::Obligation;
use connector::journal::store::Key;

use crate::due::{is_in_hand, is_settled, kind_of};
use crate::holds;

/// What a round would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The purchase or storing whose customer is away goes on without him, or is ended.
    GoOnWithoutCustomer,
    /// The giving back goes on.
    GoOnGivingBack,
    /// The release of what is held for a period that was paid in another way goes on.
    GoOnReleasing,
    /// The event that waits goes back to its queue.
    BringBack,
    /// Nothing: its event is on its queue.
    LeaveToQueue,
    /// Nothing: somebody is at it.
    LeaveToWorker,
    /// Nothing: it is settled, and the index has not noticed yet.
    Settled,
    /// Cleeng is asked what it expects of the subscription; an event that should have come and was never heard of is put on its queue.
    AskCleeng {
        /// What is known to be expected, and when.
        expected: Option<(String, Timestamp)>,
    },
    /// Nothing about the subscription: an attempt is in flight.
    LeaveInFlight,
    /// Nothing, and an alarm: this release cannot read it.
    Unreadable,
}

impl Plan {
    /// In plain words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::GoOnWithoutCustomer => "goes on without the customer, or ends it when its time is over".to_owned(),
            Self::GoOnGivingBack => "goes on giving the payment back".to_owned(),
            Self::GoOnReleasing => "goes on releasing what is held for a period that was paid in another way".to_owned(),
            Self::BringBack => "puts the waiting event back on its queue".to_owned(),
            Self::LeaveToQueue => "nothing: its event is on its queue".to_owned(),
            Self::LeaveToWorker => "nothing: a function is at it, or just was".to_owned(),
            Self::Settled => "nothing: it is settled".to_owned(),
            Self::AskCleeng { expected: None } => "asks Cleeng what it expects next".to_owned(),
            Self::AskCleeng { expected: Some((what, at)) } => {
                format!("asks Cleeng whether \"{what}\" of {at} still stands, and makes up for it if it was never heard of")
            }
            Self::LeaveInFlight => "nothing: an attempt is in flight".to_owned(),
            Self::Unreadable => "nothing, and rings an alarm: this release cannot read it".to_owned(),
        }
    }

    /// A stable word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::GoOnWithoutCustomer => "go_on_without_customer",
            Self::GoOnGivingBack => "go_on_giving_back",
            Self::GoOnReleasing => "go_on_releasing",
            Self::BringBack => "bring_back",
            Self::LeaveToQueue => "leave_to_queue",
            Self::LeaveToWorker => "leave_to_worker",
            Self::Settled => "settled",
            Self::AskCleeng { .. } => "ask_cleeng",
            Self::LeaveInFlight => "leave_in_flight",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What a round at this time would do about a document that is due.
#[must_use]
pub fn plan(key: &Key, body: &str, now: Timestamp) -> Plan {
    let (kind, rest) = kind_of(key);
    if kind == "head" {
        return serde_json::from_str::<Head>(body).map_or(Plan::Unreadable, |head| of_head(&head));
    }
    let Ok(obligation) = serde_json::from_str::<Obligation>(body) else { return Plan::Unreadable };
    if is_in_hand(&obligation, now) {
        return Plan::LeaveToWorker;
    }
    if is_settled(&obligation) {
        return Plan::Settled;
    }
    match kind {
        "order" | "details" => Plan::GoOnWithoutCustomer,
        "give-back" if Reference::parse(rest).is_some() => Plan::GoOnGivingBack,
        holds::KEY if Reference::parse(rest).is_some() => Plan::GoOnReleasing,
        "give-back" => Plan::LeaveToQueue,
        _ if obligation.open().is_some_and(|attempt| attempt.waiting_event.is_some() && !attempt.is_queued(now)) => Plan::BringBack,
        _ => Plan::LeaveToQueue,
    }
}

fn of_head(head: &Head) -> Plan {
    match &head.watch {
        None => Plan::Settled,
        Some(_) if head.in_flight.is_some() => Plan::LeaveInFlight,
        Some(watch) => {
            let expected = watch.expected.as_ref().map(|expected| (format!("{:?}", expected.action).to_lowercase(), expected.at));
            Plan::AskCleeng { expected }
        }
    }
}
