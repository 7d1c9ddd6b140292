//! An attempt at an obligation: its steps, and its result.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cleeng::webhook::Topic;
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
    /// Report or give back the payment of a renewal that succeeded after its attempt had ended.
    LateSuccess,
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
            Self::LateSuccess => "late_success",
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

impl From<Topic> for AttemptKind {
    /// What an event of this topic asks for, if it is parked before that was looked at.
    fn from(topic: Topic) -> Self {
        match topic {
            Topic::SubscriptionReadyForPaymentAuthorisation => Self::Authorise,
            Topic::SubscriptionReadyForPaymentCapture | Topic::CapturePayment => Self::Capture,
            Topic::SubscriptionReadyForTermination => Self::Terminate,
            Topic::PaymentDetailsDeactivated => Self::Deactivate,
            Topic::RefundPayment => Self::Refund,
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
    /// How many attempts of the same `kind` and `due` came before it: an operator abandoned them, or they took nothing. Its keys and its
    /// payment are its own.
    #[serde(default, skip_serializing_if = "is_first")]
    pub repetition: u32,
    /// Whether reconciliation made its event. What became of it answers the event itself only if money moved or was refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
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

/// Whether a number of repetitions is that of most attempts, which is not written.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_first(repetition: &u32) -> bool {
    *repetition == 0
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
    /// Another attempt replaced it: while it waited for the customer, where it is reversed if it succeeds after all, or because its payment
    /// succeeded late and is settled by an attempt of its own.
    Superseded,
    /// The money was given back, or is being given back by an obligation of its own.
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
            repetition: 0,
            recovered: false,
            opened_at,
            details: None,
            reference: None,
            steps: Vec::new(),
            finish: None,
            waiting_event: None,
            queued_until: None,
        }
    }

    /// Whether it is finished and was not abandoned by an operator: what was abandoned may be tried again.
    #[must_use]
    pub fn counts_as_finished(&self) -> bool {
        self.finish.as_ref().is_some_and(|finish| *finish != Finish::Abandoned)
    }

    /// Whether it came to a result about money: held, taken, or refused.
    #[must_use]
    pub const fn has_money_result(&self) -> bool {
        matches!(self.finish, Some(Finish::Authorised | Finish::Captured | Finish::Declined { .. }))
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
mod tests;
