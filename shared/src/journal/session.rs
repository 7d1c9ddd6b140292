//! One worker's session on one obligation: its lease, its steps, its remaining time.
//!
//! Changing the obligation here writes nothing; [`ObligationSession::commit`] writes it together with the other staged documents. A result
//! is therefore written with the intent that follows it, and a crash in between leaves an intent without a result, which is the truth.

use std::sync::Arc;
use std::time::Duration;

use super::record::{Attempt, AttemptKind, Obligation, StepState};
use super::store::{Key, Store};
use super::transaction::{Retention, Transaction};
use super::{JournalError, MAX_RECHECK_INTERVAL, RECHECK_INTERVAL, SETTLED_RETENTION};
use crate::clock::{Clock, Timestamp};
use crate::delivery::Delivery;
use crate::journal::record::Lease;
use crate::reference::IdempotencyKey;

/// What must remain of the function's time when a call has used up all of its own.
pub const SAFETY_MARGIN: Duration = Duration::from_secs(3);

/// Unsettled work is checked soon at first, then more seldom as it grows older: a refund takes days.
fn recheck_interval(obligation: &Obligation, now: Timestamp) -> Duration {
    let opened_at = obligation.attempts.last().map(|attempt| attempt.opened_at);
    let since = opened_at.filter(|_| obligation.postponed.is_empty() || obligation.current_attempt().is_some());
    let since = since.into_iter().chain(obligation.postponed.iter().map(|postponed| postponed.since)).min();
    since
        .map_or(Duration::ZERO, |since| now.since(since))
        .checked_div(4)
        .unwrap_or(RECHECK_INTERVAL)
        .clamp(RECHECK_INTERVAL, MAX_RECHECK_INTERVAL)
}

/// When an obligation that is written now is due, since when it is parked, and when it expires.
#[must_use]
pub fn retention(obligation: &Obligation, now: Timestamp) -> Retention {
    let unsettled = !obligation.is_settled();
    Retention {
        due_at: unsettled.then(|| now.after(recheck_interval(obligation, now))),
        parked_since: obligation.parked_since(),
        expires_at: (!unsettled && !obligation.is_parked()).then(|| now.after(SETTLED_RETENTION)),
    }
}

/// One worker's session on one obligation.
pub struct ObligationSession {
    /// Every document of the obligation.
    pub transaction: Transaction,
    /// The obligation.
    pub obligation: Obligation,
    key: Key,
    delivery: Delivery,
    clock: Arc<dyn Clock>,
}

impl ObligationSession {
    /// Reads the obligation, and the documents `also` with it.
    ///
    /// # Errors
    /// [`JournalError::Leased`] if another delivery holds the lease; [`JournalError::Store`].
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        key: Key,
        also: &[Key],
        delivery: &Delivery,
    ) -> Result<Self, JournalError> {
        let mut work = Transaction::new(store);
        let keys: Vec<Key> = std::iter::once(key.clone()).chain(also.iter().cloned()).collect();
        work.load(&keys).await?;
        let obligation: Obligation = work.read(&key)?.unwrap_or_default();
        if let Some(lease) = &obligation.lease
            && lease.owner != delivery.id
            && lease.until > clock.now()
        {
            return Err(JournalError::Leased(lease.until.since(clock.now())));
        }
        Ok(Self { transaction: work, obligation, key, delivery: delivery.clone(), clock })
    }

    /// The obligation's key.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// The delivery of this worker.
    #[must_use]
    pub const fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Opens an attempt, in memory.
    pub fn open_attempt(&mut self, kind: AttemptKind, due: Timestamp) -> Option<&mut Attempt> {
        let opened_at = self.now();
        self.obligation.push(Attempt::opened(kind, due, opened_at));
        self.obligation.current_attempt_mut()
    }

    /// The state of a step of the open attempt before its call is made.
    #[must_use]
    pub fn step_state(&self, step: &str) -> StepState {
        self.obligation.current_attempt().map_or(StepState::NotStarted, |attempt| attempt.step_state(step))
    }

    /// Records the intent of a step and takes the lease, in memory. `timeout` is the longest time that its call can take.
    ///
    /// # Errors
    /// [`JournalError::OutOfTime`] if the function could be stopped in the middle of the call. Then nothing is recorded.
    pub fn begin_step(&mut self, step: &str, key: Option<IdempotencyKey>, timeout: Duration) -> Result<(), JournalError> {
        if !self.has_time_for(timeout) {
            return Err(JournalError::OutOfTime);
        }
        let now = self.now();
        self.obligation.lease = Some(Lease { owner: self.delivery.id.clone(), until: self.delivery.deadline });
        if let Some(attempt) = self.obligation.current_attempt_mut() {
            attempt.record_intent(step, key, now);
        }
        Ok(())
    }

    /// Whether a call that can take this long fits into what is left of the function's time.
    #[must_use]
    pub fn has_time_for(&self, timeout: Duration) -> bool {
        self.now().after(timeout).after(SAFETY_MARGIN) <= self.delivery.deadline
    }

    /// Whether this delivery holds the lease.
    #[must_use]
    pub fn holds_lease(&self) -> bool {
        self.obligation.lease.as_ref().is_some_and(|lease| lease.owner == self.delivery.id)
    }

    /// Releases the lease, in memory.
    pub fn release_lease(&mut self) {
        self.obligation.lease = None;
    }

    /// Writes the obligation and everything else that is staged.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub async fn commit(&mut self) -> Result<(), JournalError> {
        let keep = retention(&self.obligation, self.now());
        let Self { transaction: work, obligation, key, .. } = self;
        // An obligation without any attempt does not exist: nothing is written of it.
        if *obligation != Obligation::new() {
            work.stage(key, obligation, keep)?;
        }
        work.commit().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::journal::memory::MemoryStore;

    struct ManualClock(Mutex<Timestamp>);

    impl Clock for ManualClock {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }
    }

    struct TestHarness {
        clock: Arc<ManualClock>,
        store: Arc<MemoryStore>,
    }

    impl TestHarness {
        fn new() -> Self {
            let clock = Arc::new(ManualClock(Mutex::new(Timestamp::from_secs(1_000))));
            let store = Arc::new(MemoryStore::new(clock.clone()));
            Self { clock, store }
        }

        fn set_time(&self, secs: i64) {
            *self.clock.0.lock().unwrap() = Timestamp::from_secs(secs);
        }

        async fn open_session(&self, id: &str) -> Result<ObligationSession, JournalError> {
            let now = self.clock.now();
            let delivery = Delivery { id: id.to_owned(), deadline: now.after(Duration::from_secs(90)), received_at: now, count: 1 };
            ObligationSession::open(self.store.clone(), self.clock.clone(), Key::new("period", &["1", "2"]), &[], &delivery).await
        }
    }

    const CALL: Duration = Duration::from_secs(10);

    fn begin_charge(run: &mut ObligationSession) {
        run.open_attempt(AttemptKind::Authorise, Timestamp::from_secs(1));
        run.begin_step("pay", None, CALL).unwrap();
    }

    #[tokio::test]
    async fn a_lease_keeps_two_workers_apart() {
        let bench = TestHarness::new();
        let mut first = bench.open_session("first").await.unwrap();
        begin_charge(&mut first);
        first.commit().await.unwrap();
        assert_eq!(bench.open_session("second").await.err(), Some(JournalError::Leased(Duration::from_secs(90))));
        assert!(bench.open_session("first").await.is_ok());
    }

    #[tokio::test]
    async fn two_workers_that_start_at_once_do_not_both_begin() {
        let bench = TestHarness::new();
        let (mut first, mut second) = (bench.open_session("first").await.unwrap(), bench.open_session("second").await.unwrap());
        begin_charge(&mut first);
        begin_charge(&mut second);
        assert_eq!(second.commit().await, Ok(()));
        assert_eq!(first.commit().await, Err(JournalError::Contended));
    }

    #[tokio::test]
    async fn a_worker_whose_lease_expired_cannot_overwrite() {
        let bench = TestHarness::new();
        let mut slow = bench.open_session("slow").await.unwrap();
        begin_charge(&mut slow);
        slow.commit().await.unwrap();
        bench.set_time(1_091);
        let mut next = bench.open_session("next").await.unwrap();
        assert!(matches!(next.step_state("pay"), StepState::Unknown(_)));
        next.begin_step("pay", None, CALL).unwrap();
        next.commit().await.unwrap();
        slow.obligation.current_attempt_mut().unwrap().record_result("pay", serde_json::json!("late"));
        assert_eq!(slow.commit().await, Err(JournalError::Contended));
        assert!(matches!(bench.open_session("next").await.unwrap().step_state("pay"), StepState::Unknown(_)));
    }

    #[tokio::test]
    async fn no_call_starts_that_the_remaining_time_does_not_cover() {
        let bench = TestHarness::new();
        let mut run = bench.open_session("one").await.unwrap();
        run.open_attempt(AttemptKind::Authorise, Timestamp::from_secs(1));
        bench.set_time(1_000 + 90 - 12);
        assert_eq!(run.begin_step("pay", None, CALL), Err(JournalError::OutOfTime));
        assert_eq!((run.step_state("pay"), run.holds_lease()), (StepState::NotStarted, false));
        bench.set_time(1_000 + 90 - 13);
        assert_eq!(run.begin_step("pay", None, CALL), Ok(()));
    }

    #[tokio::test]
    async fn unsettled_work_is_due_and_never_expires_and_settled_work_expires_and_is_never_due() {
        let bench = TestHarness::new();
        let mut run = bench.open_session("one").await.unwrap();
        begin_charge(&mut run);
        run.commit().await.unwrap();
        let later = Timestamp::from_secs(1_000).after(RECHECK_INTERVAL);
        assert_eq!(bench.store.due(later, 10).await.unwrap(), vec![run.key().clone()]);
        run.obligation.current_attempt_mut().unwrap().finish = Some(crate::journal::record::Finish::Authorised);
        run.release_lease();
        run.commit().await.unwrap();
        assert_eq!(bench.store.due(later, 10).await.unwrap(), Vec::new());
        bench.set_time(1_000 + 399 * 86_400);
        assert_eq!(bench.open_session("two").await.unwrap().obligation.attempts.len(), 1);
        bench.set_time(1_000 + 401 * 86_400);
        assert_eq!(bench.open_session("two").await.unwrap().obligation.attempts.len(), 0);
    }

    #[test]
    fn unsettled_work_is_checked_less_often_the_older_it_is() {
        let opened = |at: i64| {
            let mut obligation = Obligation::new();
            obligation.push(Attempt::opened(AttemptKind::Refund, Timestamp::from_secs(at), Timestamp::from_secs(at)));
            obligation
        };
        let hours = |count: i64| Timestamp::from_secs(count * 3_600);
        assert_eq!(recheck_interval(&Obligation::new(), hours(9)), RECHECK_INTERVAL);
        for (age, wait) in [
            (0, RECHECK_INTERVAL),
            (1, RECHECK_INTERVAL),
            (4, Duration::from_secs(3_600)),
            (24, MAX_RECHECK_INTERVAL),
            (900, MAX_RECHECK_INTERVAL),
        ] {
            assert_eq!(recheck_interval(&opened(0), hours(age)), wait, "{age}");
        }
    }

    #[tokio::test]
    async fn what_is_parked_or_needs_cleanup_never_expires() {
        let parked =
            crate::journal::record::Finish::Parked { reason: "gateway_is_silent".to_owned(), money_unknown: true, resolved: false };
        for (finish, left_over) in [(parked, false), (crate::journal::record::Finish::Authorised, true)] {
            let bench = TestHarness::new();
            let mut run = bench.open_session("one").await.unwrap();
            begin_charge(&mut run);
            run.obligation.current_attempt_mut().unwrap().finish = Some(finish);
            run.obligation.needs_cleanup = left_over;
            run.release_lease();
            run.commit().await.unwrap();
            bench.set_time(1_000 + 4_000 * 86_400);
            let kept = bench.open_session("two").await.unwrap();
            assert_eq!(kept.obligation.attempts.len(), 1);
            let due = bench.store.due(bench.clock.now(), 10).await.unwrap();
            assert_eq!(due.len(), usize::from(left_over), "what waits for an operator is not looked at by the clock");
        }
    }

    #[tokio::test]
    async fn a_lease_belongs_to_its_worker_until_it_is_released() {
        let bench = TestHarness::new();
        let mut first = bench.open_session("first").await.unwrap();
        begin_charge(&mut first);
        assert!(first.holds_lease());
        first.commit().await.unwrap();
        bench.set_time(1_091);
        let mut second = bench.open_session("second").await.unwrap();
        assert!(!second.holds_lease(), "it ran out, and is still the other one's");
        second.begin_step("pay", None, CALL).unwrap();
        assert!(second.holds_lease());
        second.release_lease();
        assert!(!second.holds_lease());
    }

    #[tokio::test]
    async fn a_record_of_a_newer_release_is_refused() {
        let bench = TestHarness::new();
        let mut run = bench.open_session("one").await.unwrap();
        run.obligation.schema = super::super::SCHEMA + 1;
        begin_charge(&mut run);
        run.commit().await.unwrap();
        assert_eq!(bench.open_session("two").await.err(), Some(JournalError::NewerSchema(2)));
    }
}
