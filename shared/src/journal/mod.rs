//! The journal makes flows crash-safe.
//!
//! Its record belongs to the *obligation* (a billing period, a termination, later an order, a refund), not to the delivery. Every outside
//! write is a named step: the intent is recorded before the call and the result after it, and a finished step is never run again. A step
//! with an intent and no result is an unknown outcome; what to do about it is the flow's decision, never a guess of this module.
//!
//! | module | purpose |
//! |---|---|
//! | [`store`] | what is needed of a database; [`memory`] and [`dynamodb`] are two |
//! | [`record`] | the obligation: its attempts, its lease, what operators decided about it |
//! | [`attempt`] | one attempt: its steps, and its result |
//! | [`payment`] | the payment record, its legal transitions and its refunds |
//! | [`stored_tokens`] | stored details that a gateway notified |
//! | [`transaction`] | documents read together and written together, each only if it is still the one that was read |
//! | [`session`] | one worker's session on one obligation: lease, steps, deadline |

pub mod attempt;
#[cfg(any(test, feature = "test-support"))]
pub mod conformance;
pub mod dynamodb;
pub mod memory;
pub mod payment;
pub mod record;
pub mod session;
pub mod store;
pub mod stored_tokens;
pub mod transaction;

use std::time::Duration;

use thiserror::Error;

use self::store::{CommitError, StoreError};
use crate::reason::RetryReason;

/// The schema that this release writes. It reads its own and older ones; a newer one is refused, so that a rolled-back release never
/// damages what it does not understand.
pub const SCHEMA: u32 = 1;

/// How long a settled obligation is kept.
pub const SETTLED_RETENTION: Duration = Duration::from_secs(400 * 24 * 3600);

/// How long a payment record is kept: chargebacks come late.
pub const PAYMENT_RETENTION: Duration = Duration::from_secs(25 * 31 * 24 * 3600);

/// How soon reconciliation checks unsettled work.
pub const RECHECK_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// Upper bound for the redelivery of a message that is put back without a time of its own: the longest backoff.
pub const MAX_BACKOFF: Duration = Duration::from_secs(15 * 60);
/// Upper bound for the redelivery of a message after a crash: the visibility timeout of nine minutes plus slack.
pub const MAX_REDELIVERY_DELAY: Duration = Duration::from_secs(12 * 60);
/// How often a queue delivers a message before it becomes a dead letter: `maxReceiveCount` of the template.
pub const MAX_RECEIVES: u32 = 200;
/// How long a queue delivers a message that is put back again and again.
pub const QUEUE_REDELIVERY_WINDOW: Duration = MAX_BACKOFF.saturating_mul(MAX_RECEIVES);
/// The longest that an unknown outcome may be asked about before it is parked, in hours. Its event waits in the journal, not on its queue.
pub const MAX_UNKNOWN_DEADLINE_HOURS: u64 = 72;
/// The longest time between two checks of unsettled work.
pub const MAX_RECHECK_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// Why the journal could not be used. The worker stops at once; the next delivery reads the last state that was written.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum JournalError {
    /// Another worker wrote first: either a race, or this worker's lease ran out and it is fenced off.
    #[error("another worker wrote first")]
    Contended,
    /// Another worker holds the lease.
    #[error("another worker is at it for another {}", .0.as_secs())]
    Leased(Duration),
    /// The remaining time does not cover the next call.
    #[error("not enough time left for the next call")]
    OutOfTime,
    /// The database failed; nothing was written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is unknown whether the last write happened.
    #[error("it is unknown whether the journal was written")]
    Unknown,
    /// A record was written by a newer release.
    #[error("a journal record has schema {0}, newer than this release")]
    NewerSchema(u32),
    /// A payment would move along an illegal transition.
    #[error("illegal transition of a payment: {from} to {to}")]
    IllegalTransition {
        /// From.
        from: &'static str,
        /// To.
        to: &'static str,
    },
}

impl JournalError {
    /// A stable code for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        RetryReason::from(self).as_str()
    }
}

impl From<&JournalError> for RetryReason {
    fn from(error: &JournalError) -> Self {
        match error {
            JournalError::Contended => Self::JournalContended,
            JournalError::Leased(_) => Self::Leased,
            JournalError::OutOfTime => Self::OutOfTime,
            JournalError::Store(StoreError::Unavailable) => Self::JournalUnavailable,
            JournalError::Store(StoreError::Refused(_) | StoreError::Unwritable) => Self::JournalRefused,
            JournalError::Store(StoreError::Corrupt) => Self::JournalCorrupt,
            JournalError::Unknown => Self::JournalUnknown,
            JournalError::NewerSchema(_) => Self::JournalNewerSchema,
            JournalError::IllegalTransition { .. } => Self::IllegalTransition,
        }
    }
}

impl From<CommitError> for JournalError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict => Self::Contended,
            CommitError::NotWritten(error) => Self::Store(error),
            CommitError::Unknown => Self::Unknown,
        }
    }
}
