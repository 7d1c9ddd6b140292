//! Virtual time: stands still until a caller moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use connector::clock::{Clock, Timestamp};

/// A clock that everything in the sandbox shares. Clones show the same time.
#[derive(Clone, Debug)]
pub struct VirtualClock(Arc<AtomicI64>);

impl VirtualClock {
    /// Starts at this point.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(start.millis())))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let to = self.now().after(by);
        self.0.fetch_max(to.millis(), Ordering::SeqCst);
    }

    /// Lets time pass until this point; does nothing if it is past.
    pub fn advance_to(&self, to: Timestamp) {
        self.0.fetch_max(to.millis(), Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}
