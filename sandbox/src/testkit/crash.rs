//! A crash at a chosen point: before or after any call to the outside, the journal included.
//!
//! A worker that reaches the point never continues; [`CrashPoint::run`] returns `None`, and what the worker had in
//! memory is gone, as when a Lambda is killed.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use connector::clock::Timestamp;
use connector::flow::{Requeue, RequeueError};
use connector::http::{Request, Response, Transport, TransportError};
use connector::journal::store::{CommitError, Key, List, Listed, Put, Store, StoreError, StoredDocument};
use tokio::sync::Notify;

/// On which side of a call the worker crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashTiming {
    /// The call is not made.
    Before,
    /// The call is made, its answer is lost.
    After,
}

#[derive(Default)]
struct CrashState {
    calls: AtomicUsize,
    armed: Mutex<Option<(usize, CrashTiming)>>,
    crashed: Notify,
}

/// Decides where a worker crashes. Clones share it.
#[derive(Clone, Default)]
pub struct CrashPoint(Arc<CrashState>);

impl CrashPoint {
    /// The worker crashes at its `nth` call from now, counted from 0.
    pub fn arm(&self, nth: usize, when: CrashTiming) {
        self.0.calls.store(0, Ordering::SeqCst);
        *self.armed() = Some((nth, when));
    }

    /// No worker crashes any more.
    pub fn disarm(&self) {
        *self.armed() = None;
    }

    /// Runs a worker to its end; `None` if it crashes.
    pub async fn run<F: Future>(&self, worker: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.0.crashed.notified() => None,
            output = worker => Some(output),
        }
    }

    async fn call<T>(&self, call: impl Future<Output = T>) -> T {
        let nth = self.0.calls.fetch_add(1, Ordering::SeqCst);
        self.crash_if(nth, CrashTiming::Before).await;
        let result = call.await;
        self.crash_if(nth, CrashTiming::After).await;
        result
    }

    async fn crash_if(&self, nth: usize, when: CrashTiming) {
        let crashes = *self.armed() == Some((nth, when));
        if crashes {
            self.disarm();
            self.0.crashed.notify_one();
            std::future::pending::<()>().await;
        }
    }

    fn armed(&self) -> std::sync::MutexGuard<'_, Option<(usize, CrashTiming)>> {
        self.0.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transport at which a worker can crash. Every call yields to other workers first.
pub struct CrashingTransport {
    inner: Arc<dyn Transport>,
    crash_point: CrashPoint,
}

impl CrashingTransport {
    /// Calls of `inner`, under this switch.
    #[must_use]
    pub const fn new(inner: Arc<dyn Transport>, switch: CrashPoint) -> Self {
        Self { inner, crash_point: switch }
    }
}

#[async_trait]
impl Transport for CrashingTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        tokio::task::yield_now().await;
        let answer = self.crash_point.call(self.inner.send(request)).await;
        tokio::task::yield_now().await;
        answer
    }
}

/// A journal at which a worker can crash, and which counts its writes.
pub struct CrashingStore {
    inner: Arc<dyn Store>,
    crash_point: CrashPoint,
    writes: AtomicUsize,
    write_units: AtomicUsize,
    read_units: AtomicUsize,
}

/// What DynamoDB adds to a document for its key, its version and the attributes' names, in bytes, at the most.
const ITEM_OVERHEAD: usize = 100;

impl CrashingStore {
    /// Calls of `inner`, under this switch.
    #[must_use]
    pub const fn new(inner: Arc<dyn Store>, switch: CrashPoint) -> Self {
        Self { inner, crash_point: switch, writes: AtomicUsize::new(0), write_units: AtomicUsize::new(0), read_units: AtomicUsize::new(0) }
    }

    /// What DynamoDB would have charged: write request units (two per document of a transaction and started kilobyte), and read request units
    /// of strongly consistent reads (one per document and started 4 KB), after "Amazon DynamoDB on-demand pricing".
    #[must_use]
    pub fn request_units(&self) -> (usize, usize) {
        (self.write_units.load(Ordering::SeqCst), self.read_units.load(Ordering::SeqCst))
    }

    /// How many transactions were written.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Store for CrashingStore {
    async fn load(&self, keys: &[Key]) -> Result<Vec<Option<StoredDocument>>, StoreError> {
        tokio::task::yield_now().await;
        let loaded = self.inner.load(keys).await?;
        let bytes = |stored: &Option<StoredDocument>| stored.as_ref().map_or(1, |stored| stored.body.len().saturating_add(ITEM_OVERHEAD));
        self.read_units.fetch_add(loaded.iter().map(|stored| bytes(stored).div_ceil(4_096)).sum(), Ordering::SeqCst);
        Ok(loaded)
    }

    async fn commit(&self, puts: &[Put]) -> Result<(), CommitError> {
        tokio::task::yield_now().await;
        let result = self.crash_point.call(self.inner.commit(puts)).await;
        if result.is_ok() {
            self.writes.fetch_add(1, Ordering::SeqCst);
            let units = |put: &Put| put.body.len().saturating_add(ITEM_OVERHEAD).div_ceil(1_024).saturating_mul(2);
            self.write_units.fetch_add(puts.iter().map(units).sum(), Ordering::SeqCst);
        }
        result
    }

    async fn list(&self, list: List, until: Timestamp, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(list, until, after, limit).await
    }

    async fn relist(&self, from: List, found: &Listed, to: List, at: Timestamp) -> Result<(), CommitError> {
        self.inner.relist(from, found, to, at).await
    }
}

/// The queues that waiting events are requeued to, where a worker can crash, and which can be made to fail.
#[derive(Default)]
pub struct CrashingRequeue {
    crash_point: CrashPoint,
    events: Mutex<Vec<String>>,
    failure: Mutex<Option<RequeueError>>,
}

impl CrashingRequeue {
    /// Under this switch.
    #[must_use]
    pub fn new(switch: CrashPoint) -> Self {
        Self { crash_point: switch, ..Self::default() }
    }

    /// The events that were requeued since the last time.
    #[must_use]
    pub fn take_events(&self) -> Vec<String> {
        std::mem::take(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fails from now on, or works again.
    pub fn fail_with(&self, error: Option<RequeueError>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

#[async_trait]
impl Requeue for CrashingRequeue {
    async fn requeue(&self, event: &str) -> Result<(), RequeueError> {
        tokio::task::yield_now().await;
        let sending = async {
            match *self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(error) => Err(error),
                None => {
                    self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event.to_owned());
                    Ok(())
                }
            }
        };
        self.crash_point.call(sending).await
    }
}
