//! What is known of a call to the Core API that gave no usable answer.

use std::time::Duration;

use thiserror::Error;

use crate::http::TransportError;
use crate::reason::RetryReason;

/// What went wrong with a call to Cleeng, sorted by what is known about its effect.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CleengError {
    /// Nothing was sent. No effect.
    #[error("Cleeng cannot be reached: {0}")]
    Unreachable(TransportError),
    /// 401, or 403 in Cleeng's form; to a read also 403 with a message alone. No effect.
    #[error("Cleeng refused the publisher token (status {status}): check cleeng.publisher_token in the secret and CLEENG_ENVIRONMENT")]
    Unauthorised {
        /// The status.
        status: u16,
    },
    /// 404 to a read, in Cleeng's form.
    #[error("Cleeng knows no such resource")]
    NotFound,
    /// 429. No effect.
    #[error("Cleeng asks to slow down")]
    Throttled {
        /// How long, if it says so.
        retry_after: Option<Duration>,
    },
    /// 400, 402, 409 or 422 in Cleeng's form: refused for good. No effect.
    #[error("Cleeng refused the request (status {status})")]
    Refused {
        /// The status.
        status: u16,
    },
    /// The answer has an amount that is no amount of its currency. What was asked for was done, and would be done again if it were repeated.
    #[error("an amount in Cleeng's answer cannot be read")]
    AmountUnreadable,
    /// No answer, an answer that need not be Cleeng's, or a success that cannot be read. The effect is unknown.
    #[error("it is unknown whether Cleeng did it ({0})")]
    Unknown(UnknownAnswer),
}

impl CleengError {
    /// Whether the call is known to have had no effect.
    #[must_use]
    pub const fn had_no_effect(&self) -> bool {
        !matches!(self, Self::Unknown(_) | Self::AmountUnreadable)
    }

    /// A stable code for alarms.
    #[must_use]
    pub fn code(&self) -> &'static str {
        RetryReason::from(self).as_str()
    }

    /// How long the peer asks to wait before the next call, if it says so.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after } => *retry_after,
            _ => None,
        }
    }
}

impl From<&CleengError> for RetryReason {
    fn from(error: &CleengError) -> Self {
        match error {
            CleengError::Unreachable(_) => Self::CleengUnreachable,
            CleengError::Unauthorised { .. } => Self::CleengUnauthorised,
            CleengError::NotFound | CleengError::Unknown(UnknownAnswer::Unconfirmed(404)) => Self::CleengNotFound,
            CleengError::Throttled { .. } => Self::CleengThrottled,
            CleengError::Refused { .. } => Self::CleengRefused,
            CleengError::AmountUnreadable => Self::CleengAmountUnreadable,
            CleengError::Unknown(_) => Self::CleengUnknown,
        }
    }
}

/// Why the effect of a call is unknown.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum UnknownAnswer {
    /// No answer came.
    #[error("{0}")]
    NoAnswer(TransportError),
    /// A status that says nothing certain: a 5xx, or whatever comes from something in between.
    #[error("status {0}")]
    Status(u16),
    /// What looks like a refusal and need not be Cleeng's: a message alone, or a 404 to a write.
    #[error("status {0}, unconfirmed")]
    Unconfirmed(u16),
    /// A success came, but its body lacks what matters or has it in another type.
    #[error("answer not understood: {0} is missing or of another type")]
    Unreadable(&'static str),
}
