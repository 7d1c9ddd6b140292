//! The time that all calls of one operation share.

use std::time::{Duration, Instant};

use crate::gateway::GatewayError;
use crate::http::{TransportCause, TransportError};

/// Counts down from when it was made.
#[derive(Clone, Copy)]
pub(crate) struct TimeBudget {
    started: Instant,
    total: Duration,
}

impl TimeBudget {
    /// Starts counting.
    pub(crate) fn new(total: Duration) -> Self {
        Self { started: Instant::now(), total }
    }

    /// What is left of it.
    pub(crate) fn remaining(&self) -> Duration {
        self.total.saturating_sub(self.started.elapsed())
    }

    /// What is left of it for one more call.
    ///
    /// # Errors
    /// Nothing is sent when the time is over.
    pub(crate) fn for_call(&self) -> Result<Duration, GatewayError> {
        let left = self.remaining();
        if left.is_zero() { Err(GatewayError::Unreachable(TransportError::NotSent(TransportCause::Timeout))) } else { Ok(left) }
    }
}
