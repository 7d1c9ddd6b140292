//! Two and three workers at one obligation, in every order of their journal and gateway calls, with leases that expire and workers that
//! crash at every place.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connector::clock::{Clock as _, Timestamp};
use connector::delivery::Delivery;
use connector::gateway::{GatewayText, IdempotencyKey, OperationKind};
use connector::journal::JournalError;
use connector::journal::memory::MemoryStore;
use connector::journal::record::{AttemptKind, Finish, Obligation, StepState, StepStatus};
use connector::journal::session::ObligationSession;
use connector::journal::store::{CommitError, Key, List, Listed, Put, Store, StoreError, StoredDocument};
use connector::secret::SecretString;
use sandbox::simulation::executor::yield_now;
use sandbox::simulation::exhaustive::{ExplorationLimits, Scenario, WorkerFuture, explore_all};
use sandbox::simulation::linearizability::{RecordingStore, run_contending_worker};
use sandbox::simulation::prng::Prng;
use sandbox::simulators::virtual_clock::VirtualClock;
use sandbox::testkit::fixtures::START;
use serde_json::json;

/// How long a function may take, and so how long its lease lasts.
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(90);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const STEP: &str = "pay";

fn key() -> Key {
    Key::new("period", &["1", "2"])
}

/// A gateway that does a thing once per idempotency key.
#[derive(Clone, Default)]
struct PaymentsMade(Arc<Mutex<BTreeSet<String>>>);

/// Each call of the journal is somebody else's turn first.
struct InterruptibleStore {
    inner: Arc<dyn Store>,
    clock: VirtualClock,
    /// What was written, with the time of it.
    written: Mutex<Vec<(Timestamp, Obligation)>>,
    /// A seeded defect: the last write wins.
    unfenced: bool,
}

#[async_trait::async_trait]
impl Store for InterruptibleStore {
    async fn load(&self, keys: &[Key]) -> Result<Vec<Option<StoredDocument>>, StoreError> {
        yield_now().await;
        self.inner.load(keys).await
    }

    async fn commit(&self, puts: &[Put]) -> Result<(), CommitError> {
        yield_now().await;
        let mut puts = puts.to_vec();
        if self.unfenced {
            for put in &mut puts {
                let there = self.inner.load(std::slice::from_ref(&put.key)).await.unwrap().remove(0);
                put.expected_version = there.map(|stored| stored.version);
            }
        }
        self.inner.commit(&puts).await?;
        let obligations = puts.iter().filter_map(|put| serde_json::from_str(&put.body).ok());
        let bodies = obligations.map(|one: Obligation| (self.clock.now(), one));
        self.written.lock().unwrap().extend(bodies);
        Ok(())
    }

    async fn list(&self, list: List, until: Timestamp, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(list, until, after, limit).await
    }

    async fn relist(&self, from: List, found: &Listed, to: List, at: Timestamp) -> Result<(), CommitError> {
        self.inner.relist(from, found, to, at).await
    }
}

struct ConcurrentWorkers {
    workers: usize,
    clock: VirtualClock,
    recorded: Arc<RecordingStore>,
    store: Arc<InterruptibleStore>,
    effects: PaymentsMade,
}

impl ConcurrentWorkers {
    fn new(workers: usize, unfenced: bool) -> Self {
        let clock = VirtualClock::starting_at(START);
        let recorded = Arc::new(RecordingStore::new(Arc::new(MemoryStore::new(Arc::new(clock.clone())))));
        let store = InterruptibleStore { inner: recorded.clone(), clock: clock.clone(), written: Mutex::default(), unfenced };
        Self { workers, clock, recorded, store: Arc::new(store), effects: PaymentsMade::default() }
    }

    fn delivery(&self, worker: usize) -> Delivery {
        let now = self.clock.now();
        Delivery { id: format!("w{worker}"), deadline: now.after(FUNCTION_TIMEOUT), received_at: now, count: 1 }
    }

    fn worker(&self, worker: usize) -> WorkerFuture {
        let (store, clock, effects) = (self.store.clone(), self.clock.clone(), self.effects.clone());
        let delivery = self.delivery(worker);
        Box::pin(async move {
            // The result does not matter: the queue delivers again.
            let _came = pay(store, clock, &effects, &delivery).await;
        })
    }
}

/// What every flow does with a step, in small: the intent, the call under the key of the intent, the result.
async fn pay(store: Arc<dyn Store>, clock: VirtualClock, effects: &PaymentsMade, delivery: &Delivery) -> Result<(), JournalError> {
    let mut run = ObligationSession::open(store, Arc::new(clock), key(), &[], delivery).await?;
    if run.obligation.attempts.iter().any(|attempt| attempt.finish.is_some()) {
        return Ok(());
    }
    if run.obligation.current_attempt().is_none() {
        run.open_attempt(AttemptKind::Charge, Timestamp::from_secs(1));
    }
    let own = || IdempotencyKey::derive(&SecretString::new("salt"), GatewayText("any"), OperationKind::Charge, "1", &delivery.id);
    let under = match run.step_state(STEP) {
        StepState::NotStarted => own(),
        // The key of the intent wins.
        StepState::Unknown(step) => step.key.unwrap(),
        StepState::Done(_) => unreachable!("a result is written with the end of its attempt"),
    };
    run.begin_step(STEP, Some(under.clone()), CALL_TIMEOUT)?;
    run.commit().await?;
    yield_now().await;
    effects.0.lock().unwrap().insert(under.as_str().to_owned());
    yield_now().await;
    let attempt = run.obligation.current_attempt_mut().unwrap();
    attempt.record_result(STEP, json!(under.as_str()));
    attempt.finish = Some(Finish::Captured);
    run.release_lease();
    run.commit().await
}

impl Scenario for ConcurrentWorkers {
    fn workers(&mut self) -> Vec<WorkerFuture> {
        (0..self.workers).map(|worker| self.worker(worker)).collect()
    }

    fn expire_leases(&mut self) {
        self.clock.advance(FUNCTION_TIMEOUT + Duration::from_secs(1));
    }

    fn check(&mut self) {
        assert!(self.effects.0.lock().unwrap().len() <= 1, "paid twice");
    }

    fn check_final_state(&mut self) {
        // The queue delivers again when the last lease has run out.
        self.expire_leases();
        let (mut last, mut context) = (self.worker(9), std::task::Context::from_waker(std::task::Waker::noop()));
        while last.as_mut().poll(&mut context).is_pending() {}
        assert_eq!(self.effects.0.lock().unwrap().len(), 1, "not paid, or twice");
        let paid = self.effects.0.lock().unwrap().first().cloned().unwrap();
        let written = self.store.written.lock().unwrap();
        assert_eq!(self.recorded.linearizability_errors(), Vec::<String>::new());
        for ((_, before), (at, after)) in written.iter().zip(written.iter().skip(1)) {
            if let Some(held) = &before.lease
                && after.lease.as_ref().is_some_and(|lease| lease.owner != held.owner)
            {
                assert!(held.until <= *at, "a lease was taken from somebody whose time was not over");
            }
            assert!(before.attempts[0].finish.is_none() || before.attempts[0] == after.attempts[0], "a result was written over");
        }
        let (_, end) = written.last().unwrap();
        assert_eq!((end.attempts.len(), end.lease.is_none()), (1, true));
        assert_eq!(end.attempts[0].steps[0].state, StepStatus::Done(json!(paid)));
    }
}

/// Workers who are interrupted before each call, in an order that a seed decides.
#[test]
fn the_reads_and_writes_of_many_workers_are_linearizable() {
    let mut seen = (0, 0);
    for seed in 0..60 {
        let at_once = ConcurrentWorkers::new(0, false);
        let mut prng = Prng::from_seed(seed);
        let mut workers: Vec<WorkerFuture> = (0..4)
            .map(|worker| -> WorkerFuture { Box::pin(run_contending_worker(at_once.store.clone(), seed * 4 + worker, 10)) })
            .collect();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while !workers.is_empty() {
            let place = prng.index(workers.len());
            if workers[place].as_mut().poll(&mut context).is_ready() {
                drop(workers.remove(place));
            }
        }
        assert_eq!(at_once.recorded.linearizability_errors(), Vec::<String>::new());
        let (written, refused) = at_once.recorded.counts();
        seen = (seen.0 + written, seen.1 + refused);
    }
    assert!(seen.0 > 500 && seen.1 > 500, "{seen:?}");
}

/// More orders, which take minutes: `CONNECTOR_TEST_ORDERS=all`. docs/reliability.md says when they were last played.
fn explores_all_orders() -> bool {
    std::env::var("CONNECTOR_TEST_ORDERS").is_ok_and(|value| value == "all")
}

#[test]
fn two_workers_at_one_obligation_pay_once_in_every_interleaving() {
    let (jumps, least) = if explores_all_orders() { (2, 9_000) } else { (1, 2_000) };
    let runs = explore_all(ExplorationLimits { clock_jumps: jumps, crashes: 1 }, || ConcurrentWorkers::new(2, false));
    assert!(runs > least, "{runs}");
}

#[test]
fn three_workers_at_one_obligation_pay_once_in_every_interleaving() {
    let (jumps, least) = if explores_all_orders() { (1, 100_000) } else { (0, 2_000) };
    let runs = explore_all(ExplorationLimits { clock_jumps: jumps, crashes: 0 }, || ConcurrentWorkers::new(3, false));
    assert!(runs > least, "{runs}");
}

#[test]
#[should_panic(expected = "paid twice")]
fn without_the_version_check_some_interleaving_pays_twice() {
    explore_all(ExplorationLimits { clock_jumps: 1, crashes: 0 }, || ConcurrentWorkers::new(2, true));
}
