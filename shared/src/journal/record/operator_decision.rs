//! What is parked for an operator, and what operators decided about it, as a record keeps it. The rules of deciding are in [`crate::manual_review`].

use serde::{Deserialize, Serialize};

use super::{Attempt, AttemptKind, Finish, MAX_KEPT_ATTEMPTS, Obligation};
use crate::clock::Timestamp;

/// The word of the decision that has a parked attempt go on.
pub const RETRY: &str = "retry";

/// What an operator decided about a parked attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorDecision {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What: `done`, `retry` or `abandon`.
    pub decision: String,
    /// Why.
    pub note: String,
    /// Why it was parked.
    pub reason: String,
    /// What the attempt was about.
    pub kind: AttemptKind,
    /// When the attempt was due.
    pub due: Timestamp,
}

impl Obligation {
    /// Whether an attempt is parked and nobody decided about it: such a record never expires.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.attempts.iter().any(Attempt::is_parked)
    }

    /// Whether an operator was called about an attempt that was not abandoned since.
    #[must_use]
    pub fn was_parked(&self) -> bool {
        self.attempts.iter().any(|attempt| matches!(attempt.finish, Some(Finish::Parked { .. })))
    }

    /// Since when an operator has to look: when the first attempt that he has to look at was opened.
    #[must_use]
    pub fn parked_since(&self) -> Option<Timestamp> {
        self.attempts.iter().filter(|attempt| attempt.is_parked()).map(|attempt| attempt.opened_at).min()
    }

    /// Whether an operator had the open attempt go on after it was parked.
    #[must_use]
    pub fn is_retried(&self) -> bool {
        self.current_attempt().is_some_and(|open| {
            self.decisions.iter().any(|ruling| ruling.decision == RETRY && ruling.kind == open.kind && ruling.due == open.due)
        })
    }

    /// Keeps what an operator decided; the oldest decisions go when there are too many.
    pub fn record_decision(&mut self, ruling: OperatorDecision) {
        if self.decisions.len() >= MAX_KEPT_ATTEMPTS {
            self.decisions.remove(0);
        }
        self.decisions.push(ruling);
    }
}

impl Attempt {
    /// Whether an operator has to look at it.
    #[must_use]
    pub const fn is_parked(&self) -> bool {
        matches!(self.finish, Some(Finish::Parked { resolved: false, .. }))
    }
}

#[cfg(test)]
mod tests;
