//! The journal's store in memory: for tests, for the sandbox and for embedded mode. It keeps the whole contract of [`Store`], so that what
//! holds here holds in DynamoDB; it must never be the journal of a deployed function, because it forgets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::store::{CommitError, Key, List, Listed, MAX_BATCH, MAX_BODY_BYTES, MAX_BODY_DEPTH, Put, Store, StoreError, StoredDocument};
use crate::clock::{Clock, Timestamp};
use crate::json;

/// Documents in a map behind one lock.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    documents: Mutex<BTreeMap<Key, Document>>,
}

#[derive(Clone)]
struct Document {
    stored: StoredDocument,
    listing: Option<(List, Timestamp)>,
    expires_at: Option<Timestamp>,
}

impl Document {
    fn exists(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expiry| expiry > now)
    }

    /// Its time in this list.
    fn time_in(&self, list: List) -> Option<Timestamp> {
        self.listing.filter(|(in_list, _)| *in_list == list).map(|(_, at)| at)
    }
}

impl MemoryStore {
    /// An empty store whose documents expire by this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, documents: Mutex::new(BTreeMap::new()) }
    }

    /// Every document that has not expired, by key: read by the checks of a test or of the sandbox.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<Key, StoredDocument> {
        let now = self.clock.now();
        let documents = self.lock();
        documents
            .iter()
            .filter(|(_, document)| document.exists(now))
            .map(|(key, document)| (key.clone(), document.stored.clone()))
            .collect()
    }

    /// When the next document is due, for a clock that is moved on to that time; in the past if one is due already.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        self.lock().values().filter(|document| document.exists(now)).filter_map(|document| document.time_in(List::Due)).min()
    }

    /// A poisoned lock is recovered: every write below happens after all checks, so no partial state can be behind it.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Document>> {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses what no store accepts, before anything is sent: shared by both stores so that they refuse the same.
pub(super) fn check_puts(puts: &[Put]) -> Result<(), CommitError> {
    let refused = |why| Err(CommitError::NotWritten(StoreError::Refused(why)));
    if puts.len() > MAX_BATCH {
        return refused("too many documents in one write");
    }
    if puts.iter().any(|put| put.body.len() > MAX_BODY_BYTES || json::check(put.body.as_bytes(), MAX_BODY_DEPTH).is_err()) {
        return Err(CommitError::NotWritten(StoreError::Unwritable));
    }
    if puts.iter().map(|put| &put.key).collect::<BTreeSet<_>>().len() != puts.len() {
        return refused("a document occurs twice in one write");
    }
    Ok(())
}

/// The version that a write leaves behind.
pub(super) const fn next_version(put: &Put) -> u64 {
    match put.expected_version {
        Some(version) => version.saturating_add(1),
        None => 1,
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self, keys: &[Key]) -> Result<Vec<Option<StoredDocument>>, StoreError> {
        if keys.len() > MAX_BATCH {
            return Err(StoreError::Refused("too many documents in one read"));
        }
        let now = self.clock.now();
        let documents = self.lock();
        let read = |key| documents.get(key).filter(|document| document.exists(now)).map(|document| document.stored.clone());
        Ok(keys.iter().map(read).collect())
    }

    async fn commit(&self, puts: &[Put]) -> Result<(), CommitError> {
        check_puts(puts)?;
        let now = self.clock.now();
        let mut documents = self.lock();
        let holds = |put: &Put| {
            let version = documents.get(&put.key).filter(|document| document.exists(now)).map(|document| document.stored.version);
            version == put.expected_version
        };
        if !puts.iter().all(holds) {
            return Err(CommitError::Conflict);
        }
        for put in puts {
            let stored = StoredDocument { version: next_version(put), body: put.body.clone() };
            documents.insert(put.key.clone(), Document { stored, listing: put.listing(), expires_at: put.expires_at });
        }
        Ok(())
    }

    async fn list(&self, list: List, until: Timestamp, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        let now = self.clock.now();
        let documents = self.lock();
        let existing = documents.iter().filter(|(_, document)| document.exists(now));
        let listed = existing.filter_map(|(key, document)| Some(Listed { at: document.time_in(list)?, key: key.clone() }));
        let mut found: Vec<Listed> = listed.filter(|listed| listed.at <= until && after.is_none_or(|after| listed > after)).collect();
        found.sort_unstable();
        found.truncate(limit);
        Ok(found)
    }

    async fn relist(&self, from: List, found: &Listed, to: List, at: Timestamp) -> Result<(), CommitError> {
        let now = self.clock.now();
        let mut documents = self.lock();
        let document = documents.get_mut(&found.key).filter(|document| document.exists(now) && document.time_in(from) == Some(found.at));
        document.ok_or(CommitError::Conflict)?.listing = Some((to, at));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::journal::conformance::{self, StoreUnderTest};

    struct TestClock(AtomicI64);

    impl Clock for TestClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Ordering::SeqCst))
        }
    }

    #[tokio::test]
    async fn the_store_in_memory_keeps_the_contract() {
        let clock = Arc::new(TestClock(AtomicI64::new(1_790_000_000_000)));
        let advanced_clock = Arc::clone(&clock);
        let advance = move |by: std::time::Duration| {
            advanced_clock.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
        };
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let ran = conformance::run_all(&StoreUnderTest { store: store.clone(), clock, advance: &advance }).await;
        assert!(ran >= 18, "the suite shrank to {ran} cases");
        assert!(!store.snapshot().is_empty());
    }
}
