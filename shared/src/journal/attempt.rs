//! An attempt at an obligation: its steps, and its result.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::gateway::DeclineClass;
use crate::ids::PaymentDetailsId;
use crate::reason::{CompletionReason, ParkReason};
use crate::reference::{IdempotencyKey, Reference};

/// What an attempt is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptKind {
    /// Authorise a renewal.
    Authorise,
    /// Capture an authorised renewal.
    Capture,
    /// Charge a renewal in one go.
    Charge,
    /// Terminate a subscription.
    Terminate,
    /// Report to Cleeng what a gateway notified.
    Notification,
    /// Pay an order with the customer present.
    Purchase,
    /// Store payment details with the customer present.
    StoreDetails,
    /// Reverse a payment that must not be charged: cancel or refund, whichever applies.
    Reversal,
    /// Give money back.
    Refund,
    /// Release an authorisation whose payment details were deactivated.
    Release,
    /// Clean up after payment details that were deactivated.
    Deactivate,
}

impl AttemptKind {
    /// A stable code for keys and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorise => "authorise",
            Self::Capture => "capture",
            Self::Charge => "charge",
            Self::Terminate => "terminate",
            Self::Notification => "notification",
            Self::Purchase => "purchase",
            Self::StoreDetails => "store_details",
            Self::Reversal => "reversal",
            Self::Refund => "refund",
            Self::Release => "release",
            Self::Deactivate => "deactivate",
        }
    }
}

/// One attempt at an obligation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What it is about.
    pub kind: AttemptKind,
    /// When it was due (`dunningAttemptDate`): distinguishes the attempts of a `kind`.
    pub due: Timestamp,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// The payment details that its event names.
    #[serde(default)]
    pub details: Option<PaymentDetailsId>,
    /// The payment that it makes or uses.
    #[serde(default)]
    pub reference: Option<Reference>,
    /// Its steps, in the order of their beginning.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Its result; `None` while it is open.
    #[serde(default)]
    pub finish: Option<Finish>,
    /// The event as an envelope's text, kept only while a result is awaited from outside or an operator has to decide, so that the event
    /// can be requeued once the result is known or the cause is fixed.
    #[serde(default)]
    pub waiting_event: Option<String>,
    /// Until when that event, or a requeued copy of it, is on its queue as well. `None` if it left its queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_until: Option<Timestamp>,
}

/// The result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The money is held and Cleeng knows.
    Authorised,
    /// The money is taken and Cleeng knows.
    Captured,
    /// Refused by the bank or the gateway, and Cleeng knows, as far as that could be resolved.
    Declined {
        /// What can be done about it.
        class: DeclineClass,
        /// The gateway's code.
        code: String,
    },
    /// Nothing was to be done any more.
    Stale {
        /// The text of a [`CompletionReason`], perhaps of another release.
        reason: String,
    },
    /// The subscription has ended.
    Terminated,
    /// Captured money is gone, and Cleeng knows.
    LossReported,
    /// The payment details are stored and Cleeng has them.
    Stored,
    /// Another attempt replaced it while it waited for the customer. If it succeeds after all, it is reversed.
    Superseded,
    /// The gateway acknowledged the reversal.
    Reversed,
    /// The money was refunded and Cleeng knows.
    Refunded,
    /// The authorisation was released and Cleeng knows.
    Released,
    /// Nothing is held any more with details that were deactivated.
    Deactivated,
    /// An operator abandoned it after a check that it had no effect. It does not count any more, and stays in the record.
    Abandoned,
    /// An operator has to decide.
    Parked {
        /// The text of a [`ParkReason`], perhaps of another release.
        reason: String,
        /// Whether the attempt's effect on the customer's money is unknown. Then no other attempt may open.
        money_unknown: bool,
        /// Whether an operator reconciled both sides. No more decision is needed, and still no other attempt opens.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        resolved: bool,
    },
}

impl Finish {
    /// A stable code for logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        CompletionReason::from(self).as_str()
    }

    /// Why it is parked; `None` for a reason of another release, and for every other result.
    #[must_use]
    pub fn park_reason(&self) -> Option<ParkReason> {
        match self {
            Self::Parked { reason, .. } => reason.parse().ok(),
            _ => None,
        }
    }

    /// Why nothing was to be done; `None` for a reason of another release, and for every other result.
    #[must_use]
    pub fn stale_reason(&self) -> Option<CompletionReason> {
        match self {
            Self::Stale { reason } => reason.parse().ok(),
            _ => None,
        }
    }

    /// The result of an attempt for which nothing was to be done.
    #[must_use]
    pub fn stale(reason: CompletionReason) -> Self {
        Self::Stale { reason: reason.as_str().to_owned() }
    }
}

impl From<&Finish> for CompletionReason {
    fn from(finish: &Finish) -> Self {
        match finish {
            Finish::Authorised => Self::Authorised,
            Finish::Captured => Self::Captured,
            Finish::Declined { .. } => Self::Declined,
            Finish::Stale { .. } => Self::Stale,
            Finish::Terminated => Self::Terminated,
            Finish::LossReported => Self::LossReported,
            Finish::Stored => Self::Stored,
            Finish::Superseded => Self::Superseded,
            Finish::Reversed => Self::Reversed,
            Finish::Refunded => Self::Refunded,
            Finish::Released => Self::Released,
            Finish::Deactivated => Self::Deactivated,
            Finish::Abandoned => Self::Abandoned,
            Finish::Parked { .. } => Self::Parked,
        }
    }
}

/// One outside write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name, unique in its attempt.
    pub name: String,
    /// The idempotency key that it is done under, if the peer takes one. It wins over any derived later.
    #[serde(default)]
    pub key: Option<IdempotencyKey>,
    /// When it was first begun under this key.
    pub started_at: Timestamp,
    /// How often it was refused without effect; each new try has a new key.
    #[serde(default)]
    pub no_effect_count: u32,
    /// How often it was repeated under the same key.
    #[serde(default)]
    pub repeats: u32,
    /// How far it is.
    pub state: StepStatus,
}

/// How far a step is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// The intent is recorded; whether the call had its effect is not.
    Started,
    /// The call is known to have had no effect and may be made again, under a new key.
    NoEffect,
    /// The result.
    Done(Value),
}

/// The state of a step before its call is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepState {
    /// It was never begun, or is known to have had no effect.
    NotStarted,
    /// It was begun and its result is not recorded: an unknown outcome.
    Unknown(Step),
    /// It is done, with this result.
    Done(Value),
}

impl Attempt {
    /// One that has just been opened: nothing is begun.
    #[must_use]
    pub const fn opened(kind: AttemptKind, due: Timestamp, opened_at: Timestamp) -> Self {
        Self {
            kind,
            due,
            opened_at,
            details: None,
            reference: None,
            steps: Vec::new(),
            finish: None,
            waiting_event: None,
            queued_until: None,
        }
    }

    /// The step of that name.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// The state of the step of that name before its call is made.
    #[must_use]
    pub fn step_state(&self, name: &str) -> StepState {
        match self.step(name) {
            None => StepState::NotStarted,
            Some(step) => match &step.state {
                StepStatus::NoEffect => StepState::NotStarted,
                StepStatus::Started => StepState::Unknown(step.clone()),
                StepStatus::Done(result) => StepState::Done(result.clone()),
            },
        }
    }

    /// Records the intent of a step: new, once more after a refusal, or once more under the same key.
    pub fn record_intent(&mut self, name: &str, key: Option<IdempotencyKey>, now: Timestamp) {
        match self.steps.iter_mut().find(|step| step.name == name) {
            None => self.steps.push(Step {
                name: name.to_owned(),
                key,
                started_at: now,
                no_effect_count: 0,
                repeats: 0,
                state: StepStatus::Started,
            }),
            Some(step) if step.state == StepStatus::Started => step.repeats = step.repeats.saturating_add(1),
            Some(step) => {
                step.key = key;
                step.started_at = now;
                step.state = StepStatus::Started;
            }
        }
    }

    /// Records that the call of a step had no effect.
    pub fn record_no_effect(&mut self, name: &str) {
        if let Some(step) = self.steps.iter_mut().find(|step| step.name == name) {
            step.no_effect_count = step.no_effect_count.saturating_add(1);
            step.state = StepStatus::NoEffect;
        }
    }

    /// Records the result of a step.
    pub fn record_result(&mut self, name: &str, result: Value) {
        if let Some(step) = self.steps.iter_mut().find(|step| step.name == name) {
            step.state = StepStatus::Done(result);
        }
    }

    /// Whether its event waits in the journal and may still be on its queue, so that no copy of it has to be requeued.
    #[must_use]
    pub fn is_queued(&self, now: Timestamp) -> bool {
        self.queued_until.is_some_and(|until| until > now)
    }

    /// How often a step was refused without effect: part of its next key.
    #[must_use]
    pub fn no_effect_count(&self, name: &str) -> u32 {
        self.step(name).map_or(0, |step| step.no_effect_count)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attempt(due: i64) -> Attempt {
        Attempt::opened(AttemptKind::Authorise, Timestamp::from_secs(due), Timestamp::from_secs(due))
    }

    #[test]
    fn a_finished_step_returns_its_recorded_result() {
        let mut attempt = attempt(1);
        assert_eq!(attempt.step_state("pay"), StepState::NotStarted);
        attempt.record_intent("pay", None, Timestamp::from_secs(2));
        attempt.record_result("pay", json!({"id": 7}));
        assert_eq!(attempt.step_state("pay"), StepState::Done(json!({"id": 7})));
    }

    #[test]
    fn a_step_with_an_intent_and_no_result_is_an_unknown_outcome() {
        let mut attempt = attempt(1);
        attempt.record_intent("pay", None, Timestamp::from_secs(2));
        assert!(matches!(attempt.step_state("pay"), StepState::Unknown(step) if step.started_at == Timestamp::from_secs(2)));
    }

    #[test]
    fn the_key_stored_in_the_intent_wins_over_a_later_one() {
        let key = |text: &str| serde_json::from_value::<IdempotencyKey>(json!(text)).unwrap();
        let mut attempt = attempt(1);
        attempt.record_intent("pay", Some(key("first")), Timestamp::from_secs(2));
        attempt.record_intent("pay", Some(key("second")), Timestamp::from_secs(9));
        let StepState::Unknown(step) = attempt.step_state("pay") else { panic!("begun") };
        assert_eq!(step.key, Some(key("first")));
        assert_eq!((step.repeats, step.started_at), (1, Timestamp::from_secs(2)));
    }

    #[test]
    fn a_call_without_effect_may_be_made_again_under_a_new_key() {
        let key = |text: &str| serde_json::from_value::<IdempotencyKey>(json!(text)).unwrap();
        let mut attempt = attempt(1);
        attempt.record_intent("pay", Some(key("first")), Timestamp::from_secs(2));
        attempt.record_no_effect("pay");
        assert_eq!((attempt.step_state("pay"), attempt.no_effect_count("pay")), (StepState::NotStarted, 1));
        attempt.record_intent("pay", Some(key("second")), Timestamp::from_secs(9));
        let StepState::Unknown(step) = attempt.step_state("pay") else { panic!("begun") };
        assert_eq!(step.key, Some(key("second")));
    }

    #[test]
    fn a_kind_is_stored_under_its_own_code_so_that_keys_of_two_kinds_differ() {
        use AttemptKind as K;
        let renewal = [K::Authorise, K::Capture, K::Charge, K::Terminate, K::Notification];
        for kind in renewal.into_iter().chain([K::Purchase, K::StoreDetails, K::Reversal, K::Refund, K::Release, K::Deactivate]) {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn each_call_without_effect_counts_for_the_next_key() {
        let mut attempt = attempt(1);
        assert_eq!(attempt.no_effect_count("pay"), 0);
        for count in 1..=3 {
            attempt.record_intent("pay", None, Timestamp::from_secs(2));
            attempt.record_no_effect("pay");
            assert_eq!((attempt.no_effect_count("pay"), attempt.no_effect_count("report")), (count, 0));
        }
    }
}
