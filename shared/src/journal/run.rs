//! One worker at one obligation: its lease, its steps, its remaining time.
//!
//! Nothing is written by changing the obligation here; [`Run::commit`] writes it together with whatever else was staged. A result is
//! therefore written with the intent that follows it, and a crash in between leaves an intent without a result, which is the truth.

use std::sync::Arc;
use std::time::Duration;

use super::record::{Attempt, AttemptKind, Obligation, Turn};
use super::store::{Key, Store};
use super::work::{Keep, Work};
use super::{JournalError, LOOK_AGAIN, LOOK_AGAIN_AT_LAST, SETTLED_KEPT};
use crate::clock::{Clock, Timestamp};
use crate::flow::Delivery;
use crate::gateway::IdempotencyKey;
use crate::journal::record::Lease;

/// What must remain of the function's time when a call has used up all of its own.
pub const SAFETY_MARGIN: Duration = Duration::from_secs(3);

/// Unsettled work is looked at soon at first, then the more seldom the older it is: a refund takes days.
#[must_use]
pub fn look_again_after(obligation: &Obligation, now: Timestamp) -> Duration {
    let age = obligation.attempts.last().map_or(Duration::ZERO, |attempt| now.since(attempt.opened_at));
    age.checked_div(4).unwrap_or(LOOK_AGAIN).clamp(LOOK_AGAIN, LOOK_AGAIN_AT_LAST)
}

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
        self.obligation.push(Attempt::opened(kind, due, opened_at));
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
        if !self.covers(timeout) {
            return Err(JournalError::OutOfTime);
        }
        let now = self.now();
        self.obligation.lease = Some(Lease { owner: self.owner.clone(), until: self.deadline });
        if let Some(attempt) = self.obligation.open_mut() {
            attempt.begin(step, key, now);
        }
        Ok(())
    }

    /// Whether a call that can take this long fits into what is left of the function's time.
    #[must_use]
    pub fn covers(&self, timeout: Duration) -> bool {
        self.now().after(timeout).after(SAFETY_MARGIN) <= self.deadline
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
        let unsettled = self.obligation.open().is_some() || self.obligation.left_over;
        let keep = Keep {
            due_at: unsettled.then(|| now.after(look_again_after(&self.obligation, now))),
            parked_since: self.obligation.parked_since(),
            expires_at: (!unsettled && !self.obligation.is_parked()).then(|| now.after(SETTLED_KEPT)),
        };
        let Self { work, obligation, key, .. } = self;
        work.stage(key, obligation, keep)?;
        work.commit().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::journal::memory::MemoryStore;

    struct Hand(Mutex<Timestamp>);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }
    }

    struct Bench {
        clock: Arc<Hand>,
        store: Arc<MemoryStore>,
    }

    impl Bench {
        fn new() -> Self {
            let clock = Arc::new(Hand(Mutex::new(Timestamp::from_secs(1_000))));
            let store = Arc::new(MemoryStore::new(clock.clone()));
            Self { clock, store }
        }

        fn at(&self, secs: i64) {
            *self.clock.0.lock().unwrap() = Timestamp::from_secs(secs);
        }

        async fn worker(&self, id: &str) -> Result<Run, JournalError> {
            let now = self.clock.now();
            let delivery = Delivery { id: id.to_owned(), deadline: now.after(Duration::from_secs(90)), received_at: now, count: 1 };
            Run::open(self.store.clone(), self.clock.clone(), Key::new("period", &["1", "2"]), &[], &delivery).await
        }
    }

    const CALL: Duration = Duration::from_secs(10);

    fn begin(run: &mut Run) {
        run.open_attempt(AttemptKind::Authorise, Timestamp::from_secs(1));
        run.begin("pay", None, CALL).unwrap();
    }

    #[tokio::test]
    async fn a_lease_keeps_two_workers_apart() {
        let bench = Bench::new();
        let mut first = bench.worker("first").await.unwrap();
        begin(&mut first);
        first.commit().await.unwrap();
        assert_eq!(bench.worker("second").await.err(), Some(JournalError::Leased(Duration::from_secs(90))));
        assert!(bench.worker("first").await.is_ok());
    }

    #[tokio::test]
    async fn two_workers_that_start_at_once_do_not_both_begin() {
        let bench = Bench::new();
        let (mut first, mut second) = (bench.worker("first").await.unwrap(), bench.worker("second").await.unwrap());
        begin(&mut first);
        begin(&mut second);
        assert_eq!(second.commit().await, Ok(()));
        assert_eq!(first.commit().await, Err(JournalError::Contended));
    }

    #[tokio::test]
    async fn a_worker_whose_lease_ran_out_cannot_overwrite() {
        let bench = Bench::new();
        let mut slow = bench.worker("slow").await.unwrap();
        begin(&mut slow);
        slow.commit().await.unwrap();
        bench.at(1_091);
        let mut next = bench.worker("next").await.unwrap();
        assert!(matches!(next.turn("pay"), Turn::Unknown(_)));
        next.begin("pay", None, CALL).unwrap();
        next.commit().await.unwrap();
        slow.obligation.open_mut().unwrap().done("pay", serde_json::json!("late"));
        assert_eq!(slow.commit().await, Err(JournalError::Contended));
        assert!(matches!(bench.worker("next").await.unwrap().turn("pay"), Turn::Unknown(_)));
    }

    #[tokio::test]
    async fn no_call_starts_that_the_remaining_time_does_not_cover() {
        let bench = Bench::new();
        let mut run = bench.worker("one").await.unwrap();
        run.open_attempt(AttemptKind::Authorise, Timestamp::from_secs(1));
        bench.at(1_000 + 90 - 12);
        assert_eq!(run.begin("pay", None, CALL), Err(JournalError::OutOfTime));
        assert_eq!((run.turn("pay"), run.holds_lease()), (Turn::Fresh, false));
        bench.at(1_000 + 90 - 13);
        assert_eq!(run.begin("pay", None, CALL), Ok(()));
    }

    #[tokio::test]
    async fn unsettled_work_is_due_and_never_expires_and_settled_work_is_the_other_way_round() {
        let bench = Bench::new();
        let mut run = bench.worker("one").await.unwrap();
        begin(&mut run);
        run.commit().await.unwrap();
        let later = Timestamp::from_secs(1_000).after(LOOK_AGAIN);
        assert_eq!(bench.store.due(later, 10).await.unwrap(), vec![run.key().clone()]);
        run.obligation.open_mut().unwrap().finish = Some(crate::journal::record::Finish::Authorised);
        run.release();
        run.commit().await.unwrap();
        assert_eq!(bench.store.due(later, 10).await.unwrap(), Vec::new());
        bench.at(1_000 + 399 * 86_400);
        assert_eq!(bench.worker("two").await.unwrap().obligation.attempts.len(), 1);
        bench.at(1_000 + 401 * 86_400);
        assert_eq!(bench.worker("two").await.unwrap().obligation.attempts.len(), 0);
    }

    #[test]
    fn unsettled_work_is_looked_at_the_more_seldom_the_older_it_is() {
        let opened = |at: i64| {
            let mut obligation = Obligation::new();
            obligation.push(Attempt::opened(AttemptKind::Refund, Timestamp::from_secs(at), Timestamp::from_secs(at)));
            obligation
        };
        let hours = |count: i64| Timestamp::from_secs(count * 3_600);
        assert_eq!(look_again_after(&Obligation::new(), hours(9)), LOOK_AGAIN);
        for (age, wait) in
            [(0, LOOK_AGAIN), (1, LOOK_AGAIN), (4, Duration::from_secs(3_600)), (24, LOOK_AGAIN_AT_LAST), (900, LOOK_AGAIN_AT_LAST)]
        {
            assert_eq!(look_again_after(&opened(0), hours(age)), wait, "{age}");
        }
    }

    #[tokio::test]
    async fn what_an_operator_has_to_look_at_or_was_left_over_never_expires() {
        let parked =
            crate::journal::record::Finish::Parked { reason: "gateway_is_silent".to_owned(), money_unknown: true, resolved: false };
        for (finish, left_over) in [(parked, false), (crate::journal::record::Finish::Authorised, true)] {
            let bench = Bench::new();
            let mut run = bench.worker("one").await.unwrap();
            begin(&mut run);
            run.obligation.open_mut().unwrap().finish = Some(finish);
            run.obligation.left_over = left_over;
            run.release();
            run.commit().await.unwrap();
            bench.at(1_000 + 4_000 * 86_400);
            let kept = bench.worker("two").await.unwrap();
            assert_eq!(kept.obligation.attempts.len(), 1);
            let due = bench.store.due(bench.clock.now(), 10).await.unwrap();
            assert_eq!(due.len(), usize::from(left_over), "what waits for an operator is not looked at by the clock");
        }
    }

    #[tokio::test]
    async fn a_lease_is_its_workers_until_it_is_given_back() {
        let bench = Bench::new();
        let mut first = bench.worker("first").await.unwrap();
        begin(&mut first);
        assert!(first.holds_lease());
        first.commit().await.unwrap();
        bench.at(1_091);
        let mut second = bench.worker("second").await.unwrap();
        assert!(!second.holds_lease(), "it ran out, and is still the other one's");
        second.begin("pay", None, CALL).unwrap();
        assert!(second.holds_lease());
        second.release();
        assert!(!second.holds_lease());
    }

    #[tokio::test]
    async fn a_record_of_a_newer_release_is_refused() {
        let bench = Bench::new();
        let mut run = bench.worker("one").await.unwrap();
        run.obligation.schema = super::super::SCHEMA + 1;
        begin(&mut run);
        run.commit().await.unwrap();
        assert_eq!(bench.worker("two").await.err(), Some(JournalError::NewerSchema(2)));
    }
}
