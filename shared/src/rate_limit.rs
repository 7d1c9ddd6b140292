//! A limit on how often something happens in a window of time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

/// Allows a number of events per window. A window starts with the first event after the previous window has ended.
pub struct WindowLimiter {
    max: u32,
    window: Duration,
    /// When the window started, and the events in it.
    current: Mutex<(Timestamp, u32)>,
}

impl WindowLimiter {
    /// Allows `max` events per `window`.
    #[must_use]
    pub const fn new(max: u32, window: Duration) -> Self {
        Self { max, window, current: Mutex::new((Timestamp::from_millis(0), 0)) }
    }

    /// Counts an event; false if it is one too many for this window.
    pub fn allows(&self, now: Timestamp) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(current.0) >= self.window {
            *current = (now, 0);
        }
        current.1 = current.1.saturating_add(1);
        current.1 <= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_allows_its_number_of_events_and_the_next_window_as_many() {
        let limiter = WindowLimiter::new(2, Duration::from_secs(60));
        let start = Timestamp::from_secs(1_790_000_000);
        let allowed = |seconds| limiter.allows(start.after(Duration::from_secs(seconds)));
        assert_eq!([0, 30, 59, 60, 61, 62, 119, 120].map(allowed), [true, true, false, true, true, false, false, true]);
    }
}
