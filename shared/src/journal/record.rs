//! The obligation: something that has to be done once, in however many attempts and deliveries.

pub mod operator_decision;
pub mod postponed;

use serde::{Deserialize, Serialize};

use self::operator_decision::OperatorDecision;
use self::postponed::PostponedEvent;
use super::SCHEMA;
pub use super::attempt::{Attempt, AttemptKind, Finish, Step, StepState, StepStatus};
use crate::clock::Timestamp;
use crate::gateway::Decline;
use crate::reference::Reference;

/// How many finished attempts are kept in full; older ones are only counted, so that a record stays small.
pub(super) const MAX_KEPT_ATTEMPTS: usize = 12;

/// Something that has to be done once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obligation {
    /// The schema that it was written with.
    pub schema: u32,
    /// The attempts, oldest first. At most one is open, and it is the last.
    pub attempts: Vec<Attempt>,
    /// How many older attempts were dropped.
    #[serde(default)]
    pub dropped_attempts: u32,
    /// The worker that holds it.
    #[serde(default)]
    pub lease: Option<Lease>,
    /// A finished attempt left something at the gateway that has to be ended when its time is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_cleanup: bool,
    /// Events that cannot be completed now and left their queues, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub postponed: Vec<PostponedEvent>,
    /// Payments of attempts that had ended, which succeeded after all. Until each of them is reported or given back, no attempt opens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late_successes: Vec<Reference>,
    /// When reconciliation last claimed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<Timestamp>,
    /// What operators decided about what was parked, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<OperatorDecision>,
    /// The payment details that were declined last, if that restricts when they may be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_details: Option<RefusedDetails>,
}

/// Payment details that were declined, and must not be tried again, or not before a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedDetails {
    /// The key of their token's document.
    pub token: String,
    /// The decline, with what it says about trying again.
    pub decline: Decline,
    /// When they were declined.
    pub at: Timestamp,
}

/// Keeps two workers apart. The version of the document fences off a worker whose lease ran out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The delivery that holds it.
    pub owner: String,
    /// Until when.
    pub until: Timestamp,
}

impl Obligation {
    /// An obligation without any attempt.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            schema: SCHEMA,
            attempts: Vec::new(),
            dropped_attempts: 0,
            lease: None,
            needs_cleanup: false,
            postponed: Vec::new(),
            late_successes: Vec::new(),
            claimed_at: None,
            decisions: Vec::new(),
            refused_details: None,
        }
    }

    /// The attempt that is open.
    #[must_use]
    pub fn current_attempt(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|attempt| attempt.finish.is_none())
    }

    /// The attempt that is open, to be changed.
    pub fn current_attempt_mut(&mut self) -> Option<&mut Attempt> {
        self.attempts.last_mut().filter(|attempt| attempt.finish.is_none())
    }

    /// Whether nothing is left to be done: no attempt is open, no event waits, nothing is left at the gateway, and no late success waits.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.current_attempt().is_none() && self.postponed.is_empty() && !self.needs_cleanup && self.late_successes.is_empty()
    }

    /// Adds a payment that succeeded after its attempt had ended, once.
    pub fn add_late_success(&mut self, reference: &Reference) {
        if !self.late_successes.contains(reference) {
            self.late_successes.push(reference.clone());
        }
    }

    /// What became of this payment is known now: attempts that were parked because of it need no decision any more.
    pub fn supersede_parked(&mut self, reference: &Reference) {
        let of_payment = |attempt: &&mut Attempt| attempt.reference.as_ref() == Some(reference) && attempt.is_parked();
        for attempt in self.attempts.iter_mut().filter(of_payment) {
            attempt.finish = Some(Finish::Superseded);
            attempt.waiting_event = None;
        }
    }

    /// Whether a worker holds the lease.
    #[must_use]
    pub fn is_leased(&self, now: Timestamp) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.until > now)
    }

    /// The latest finished attempt of this kind. One that was abandoned does not count: what it was about may be tried again.
    #[must_use]
    pub fn last_finished(&self, kind: AttemptKind) -> Option<&Attempt> {
        self.attempts.iter().rev().filter(|attempt| attempt.counts_as_finished()).find(|attempt| attempt.kind == kind)
    }

    /// Whether an attempt is parked while its effect on the customer's money is unknown, so that no other may open.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.attempts.iter().any(|attempt| matches!(attempt.finish, Some(Finish::Parked { money_unknown: true, .. })))
    }

    /// Opens an attempt, dropping the oldest settled ones beyond the limit.
    pub fn push(&mut self, mut attempt: Attempt) {
        let earlier = self.attempts.iter().filter(|earlier| earlier.kind == attempt.kind && earlier.due.secs() == attempt.due.secs());
        attempt.repetition = earlier.map(|earlier| earlier.repetition.saturating_add(1)).max().unwrap_or(0);
        while self.attempts.len() >= MAX_KEPT_ATTEMPTS {
            let Some(oldest) = self.attempts.iter().position(|old| !matches!(old.finish, Some(Finish::Parked { .. }) | None)) else {
                break;
            };
            self.attempts.remove(oldest);
            self.dropped_attempts = self.dropped_attempts.saturating_add(1);
        }
        self.attempts.push(attempt);
    }
}

impl Default for Obligation {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gateway::DeclineClass;

    fn attempt(due: i64) -> Attempt {
        Attempt::opened(AttemptKind::Authorise, Timestamp::from_secs(due), Timestamp::from_secs(due))
    }

    fn finished(due: i64, finish: Finish) -> Attempt {
        Attempt { finish: Some(finish), ..attempt(due) }
    }

    #[test]
    fn history_is_capped_and_counted_but_what_is_parked_stays() {
        let mut obligation = Obligation::new();
        obligation.push(finished(0, Finish::Parked { reason: "x".to_owned(), money_unknown: true, resolved: false }));
        for due in 1..100 {
            obligation.push(finished(due, Finish::Authorised));
        }
        assert_eq!(obligation.attempts.len(), MAX_KEPT_ATTEMPTS);
        assert_eq!(obligation.dropped_attempts, 88);
        assert!(obligation.is_blocked());
        assert_eq!(obligation.last_finished(AttemptKind::Authorise).map(|attempt| attempt.due), Some(Timestamp::from_secs(99)));
    }

    #[test]
    fn a_record_survives_the_round_trip_and_stays_small() {
        let mut obligation = Obligation::new();
        for due in 0..40 {
            let mut attempt = attempt(due);
            for step in ["release", "release_report", "order", "pay", "report"] {
                attempt.record_intent(
                    step,
                    serde_json::from_value(json!("123e4567-e89b-82d3-a456-426614174000")).unwrap(),
                    Timestamp::from_secs(due),
                );
                attempt.record_result(step, json!({"done": {"external": "X".repeat(64), "expires_at": null}}));
            }
            attempt.finish = Some(Finish::Declined { class: DeclineClass::Soft, code: "2".to_owned() });
            obligation.push(attempt);
        }
        let body = serde_json::to_string(&obligation).unwrap();
        assert!(body.len() < 20_000, "{}", body.len());
        assert_eq!(serde_json::from_str::<Obligation>(&body).unwrap(), obligation);
    }
}
