//! What is parked for an operator, and what operators decided about it, as a record keeps it. The rules of deciding are in
//! [`crate::manual_review`].

use serde::{Deserialize, Serialize};

use super::{Attempt, AttemptKind, Finish, MAX_KEPT_ATTEMPTS, Obligation};
use crate::clock::Timestamp;

/// The code of the decision that lets a parked attempt continue.
pub const RETRY: &str = "retry";

/// What an operator decided about a parked attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorDecision {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What: `done`, `retry`, `abandon`, or `refund` for a refund that the operator asked for.
    pub decision: String,
    /// Why.
    pub note: String,
    /// Why it was parked; for a refund, that it was asked for.
    pub reason: String,
    /// What the attempt was about.
    pub kind: AttemptKind,
    /// When the attempt was due.
    pub due: Timestamp,
}

impl Obligation {
    /// Whether an attempt is parked and no decision was made about it: such a record never expires.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.attempts.iter().any(Attempt::is_parked)
    }

    /// Whether an attempt was parked and not abandoned since.
    #[must_use]
    pub fn was_parked(&self) -> bool {
        self.attempts.iter().any(|attempt| matches!(attempt.finish, Some(Finish::Parked { .. })))
    }

    /// Money of the obligation moved in a later attempt: what reconciliation could not recover needs no decision any more.
    pub fn abandon_unrecovered(&mut self) {
        if !self.attempts.last().is_some_and(|last| matches!(last.finish, Some(Finish::Authorised | Finish::Captured))) {
            return;
        }
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.recovered) {
            if matches!(attempt.finish, Some(Finish::Parked { money_unknown: false, .. })) {
                attempt.finish = Some(Finish::Abandoned);
            }
        }
    }

    /// Since when an operator has to decide: when the first attempt that waits for a decision was opened.
    #[must_use]
    pub fn parked_since(&self) -> Option<Timestamp> {
        self.attempts.iter().filter(|attempt| attempt.is_parked()).map(|attempt| attempt.opened_at).min()
    }

    /// Whether an operator let the open attempt continue after it was parked.
    #[must_use]
    pub fn is_retried(&self) -> bool {
        self.current_attempt().is_some_and(|open| {
            let is_about_it = |ruling: &OperatorDecision| ruling.kind == open.kind && ruling.due == open.due && ruling.at >= open.opened_at;
            self.decisions.iter().any(|ruling| ruling.decision == RETRY && is_about_it(ruling))
        })
    }

    /// Keeps an operator's decision; the oldest decisions are dropped if there are too many.
    pub fn record_decision(&mut self, ruling: OperatorDecision) {
        if self.decisions.len() >= MAX_KEPT_ATTEMPTS {
            self.decisions.remove(0);
        }
        self.decisions.push(ruling);
    }
}

impl Attempt {
    /// Whether it waits for an operator's decision.
    #[must_use]
    pub const fn is_parked(&self) -> bool {
        matches!(self.finish, Some(Finish::Parked { resolved: false, .. }))
    }
}

#[cfg(test)]
mod tests;
