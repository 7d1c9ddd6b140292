//! The time that all calls of one operation share.

use std::time::{Duration, Instant};

use super::GatewayError;
use crate::http::{Cause, TransportError};

/// Counts down from when it was made.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    started: Instant,
    total: Duration,
}

impl Budget {
    /// Starts counting.
    pub(super) fn new(total: Duration) -> Self {
        Self { started: Instant::now(), total }
    }

    /// What is left of it.
    pub(super) fn left(&self) -> Duration {
        self.total.saturating_sub(self.started.elapsed())
    }

    /// What is left of it for one more call.
    ///
    /// # Errors
    /// Nothing is sent when the time is over.
    pub(super) fn for_a_call(&self) -> Result<Duration, GatewayError> {
        let left = self.left();
        if left.is_zero() { Err(GatewayError::Unreachable(TransportError::NotSent(Cause::Timeout))) } else { Ok(left) }
    }
}
