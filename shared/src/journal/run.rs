//! One worker at one obligation: its lease, its steps, its remaining time.
//!
//! Nothing is written by changing the obligation here; [`Run::commit`] writes it together with whatever else was staged. A result is
//! therefore written with the intent that follows it, and a crash in between leaves an intent without a result, which is the truth.

use std::sync::Arc;
use std::time::Duration;

use super::record::{Attempt, AttemptKind, Obligation, Turn};
use super::store::{Key, Store};
use super::work::{Keep, Work};
use super::{JournalError, LOOK_AGAIN, SETTLED_KEPT};
use crate::clock::{Clock, Timestamp};
use crate::flow::Delivery;
use crate::gateway::IdempotencyKey;
use crate::journal::record::Lease;

/// What must remain of the function's time when a call has used up all of its own.
pub const SAFETY_MARGIN: Duration = Duration::from_secs(3);

/// One worker at one obligation.
pub struct Run {
    /// Every document of the obligation.
    pub work: Work,
    /// The obligation.
    pub obligation: Obligation,
    key: Key,
    owner: String,
    deadline: Timestamp,
    clock: Arc<dyn Clock>,
}

impl Run {
    /// Reads the obligation, and the documents `also` with it.
    ///
    /// # Errors
    /// [`JournalError::Leased`] if another delivery is at it; [`JournalError::Store`].
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        key: Key,
        also: &[Key],
        delivery: &Delivery,
    ) -> Result<Self, JournalError> {
        let mut work = Work::new(store);
        let keys: Vec<Key> = std::iter::once(key.clone()).chain(also.iter().cloned()).collect();
        work.load(&keys).await?;
        let obligation: Obligation = work.read(&key)?.unwrap_or_default();
        if let Some(lease) = &obligation.lease
            && lease.owner != delivery.id
            && lease.until > clock.now()
        {
            return Err(JournalError::Leased(lease.until.since(clock.now())));
        }
        Ok(Self { work, obligation, key, owner: delivery.id.clone(), deadline: delivery.deadline, clock })
    }

    /// The obligation's key.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Opens an attempt, in memory.
    pub fn open_attempt(&mut self, kind: AttemptKind, due: Timestamp) -> Option<&mut Attempt> {
        let opened_at = self.now();
        self.obligation.push(Attempt {
            kind,
            due,
            opened_at,
            details: None,
            reference: None,
            steps: Vec::new(),
            finish: None,
            waiting_event: None,
        });
        self.obligation.open_mut()
    }

    /// What a step of the open attempt finds when its turn comes.
    #[must_use]
    pub fn turn(&self, step: &str) -> Turn {
        self.obligation.open().map_or(Turn::Fresh, |attempt| attempt.turn(step))
    }

    /// Records the intent of a step and takes the lease, in memory. `timeout` is the longest time that its call can take.
    ///
    /// # Errors
    /// [`JournalError::OutOfTime`] if the function could be stopped in the middle of the call. Then nothing is recorded.
    pub fn begin(&mut self, step: &str, key: Option<IdempotencyKey>, timeout: Duration) -> Result<(), JournalError> {
        let now = self.now();
        if now.after(timeout).after(SAFETY_MARGIN) > self.deadline {
            return Err(JournalError::OutOfTime);
        }
        self.obligation.lease = Some(Lease { owner: self.owner.clone(), until: self.deadline });
        if let Some(attempt) = self.obligation.open_mut() {
            attempt.begin(step, key, now);
        }
        Ok(())
    }

    /// Whether this delivery holds the lease.
    #[must_use]
    pub fn holds_lease(&self) -> bool {
        self.obligation.lease.as_ref().is_some_and(|lease| lease.owner == self.owner)
    }

    /// Gives the lease back, in memory.
    pub fn release(&mut self) {
        self.obligation.lease = None;
    }

    /// Writes the obligation and everything else that is staged.
    ///
    /// # Errors
    /// As [`Work::commit`].
    pub async fn commit(&mut self) -> Result<(), JournalError> {
        let now = self.now();
        let unsettled = self.obligation.open().is_some();
        let keep = Keep {
            due_at: unsettled.then(|| now.after(LOOK_AGAIN)),
            expires_at: (!unsettled && !self.obligation.is_parked()).then(|| now.after(SETTLED_KEPT)),
        };
        let Self { work, obligation, key, .. } = self;
        work.stage(key, obligation, keep)?;
        work.commit().await
    }
}
