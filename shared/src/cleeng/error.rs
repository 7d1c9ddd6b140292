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
    /// 401 or 403. No effect.
    #[error("Cleeng refused the publisher token (status {status}): check cleeng.publisher_token in the secret and CLEENG_ENVIRONMENT")]
    Unauthorised {
        /// The status.
        status: u16,
    },
    /// 404. No effect.
    #[error("Cleeng knows no such resource")]
    NotFound,
    /// 429. No effect.
    #[error("Cleeng asks to slow down")]
    Throttled {
        /// How long, if it says so.
        retry_after: Option<Duration>,
    },
    /// Any other 4xx or an unexpected redirect: refused for good. No effect.
    #[error("Cleeng refused the request (status {status})")]
    Refused {
        /// The status.
        status: u16,
    },
    /// No answer, a 5xx, or a success that cannot be read. The effect is unknown.
    #[error("it is unknown whether Cleeng did it ({0})")]
    Unknown(UnknownAnswer),
}

impl CleengError {
    /// Whether the call is known to have had no effect.
    #[must_use]
    pub const fn had_no_effect(&self) -> bool {
        !matches!(self, Self::Unknown(_))
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
            CleengError::NotFound => Self::CleengNotFound,
            CleengError::Throttled { .. } => Self::CleengThrottled,
            CleengError::Refused { .. } => Self::CleengRefused,
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
    /// A 5xx came.
    #[error("status {0}")]
    ServerError(u16),
    /// A success came, but its body lacks what matters or has it in another type.
    #[error("answer not understood: {0} is missing or of another type")]
    Unreadable(&'static str),
}
