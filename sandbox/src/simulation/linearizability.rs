//! What workers saw of a store, and whether one store can have looked like that: the rules of [`Store`], checked after the fact, so that they can be
//! checked of a real database as well.
//!
//! A document is a register with a version. Writes of it that succeeded have the versions 1, 2, 3 and so on, each once; a reader of a version read
//! what its write wrote; nobody read an older one after a newer one was written, nor a newer one before that was begun; two writes of several documents
//! come in the same order for each of them; and a write is refused only where another one could be the reason.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use connector::clock::Timestamp;
use connector::journal::store::{CommitError, Key, List, Listed, Put, Store, StoreError, StoredDocument};

use super::prng::Prng;

/// A store whose calls are written down.
pub struct RecordingStore {
    inner: Arc<dyn Store>,
    logical_clock: AtomicU64,
    calls: Mutex<Vec<RecordedCall>>,
}

/// A call that came back.
#[derive(Clone, Debug)]
struct RecordedCall {
    begun: u64,
    ended: u64,
    operation: StoreOperation,
}

#[derive(Clone, Debug)]
enum StoreOperation {
    Read(Vec<(Key, Option<StoredDocument>)>),
    Committed(Vec<(Key, Option<u64>, String)>),
    Conflicted(Vec<(Key, Option<u64>)>),
}

impl RecordingStore {
    /// Calls of `inner`, written down.
    #[must_use]
    pub const fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, logical_clock: AtomicU64::new(0), calls: Mutex::new(Vec::new()) }
    }

    fn tick(&self) -> u64 {
        self.logical_clock.fetch_add(1, Ordering::SeqCst)
    }

    fn record(&self, begun: u64, what: StoreOperation) {
        let ended = self.tick();
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(RecordedCall { begun, ended, operation: what });
    }

    /// How many writes were taken, and how many refused.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |of: fn(&StoreOperation) -> bool| calls.iter().filter(|call| of(&call.operation)).count();
        (count(|what| matches!(what, StoreOperation::Committed(_))), count(|what| matches!(what, StoreOperation::Conflicted(_))))
    }

    /// What no store can have looked like, a line each. Empty is good. Only for documents that were not there before and that did not expire.
    #[must_use]
    pub fn linearizability_errors(&self) -> Vec<String> {
        check_history(&self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Store for RecordingStore {
    async fn load(&self, keys: &[Key]) -> Result<Vec<Option<StoredDocument>>, StoreError> {
        let begun = self.tick();
        let found = self.inner.load(keys).await?;
        self.record(begun, StoreOperation::Read(keys.iter().cloned().zip(found.iter().cloned()).collect()));
        Ok(found)
    }

    async fn commit(&self, puts: &[Put]) -> Result<(), CommitError> {
        let begun = self.tick();
        let result = self.inner.commit(puts).await;
        match &result {
            Ok(()) => {
                let written = puts.iter().map(|put| (put.key.clone(), put.expected_version, put.body.clone()));
                self.record(begun, StoreOperation::Committed(written.collect()));
            }
            Err(CommitError::Conflict) => {
                self.record(begun, StoreOperation::Conflicted(puts.iter().map(|put| (put.key.clone(), put.expected_version)).collect()))
            }
            Err(_) => {}
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

/// Somebody who reads one or two of three documents and writes them, again and again, each time with other contents.
pub async fn run_contending_worker(store: Arc<dyn Store>, worker: u64, rounds: u64) {
    let mut prng = Prng::from_seed(worker);
    for round in 0..rounds {
        let first = prng.below(3);
        let second = first.saturating_add(prng.below(3)).checked_rem(3).unwrap_or(0);
        let mut numbers = vec![first, second];
        numbers.dedup();
        let keys: Vec<Key> = numbers.iter().map(|number| Key::new("contended", &[&number.to_string()])).collect();
        let Ok(found) = store.load(&keys).await else { continue };
        let body = format!("{{\"by\":\"{worker}-{round}\"}}");
        let put = |(key, stored): (Key, Option<StoredDocument>)| {
            let expected = stored.map(|stored| stored.version);
            Put { key, expected_version: expected, body: body.clone(), due_at: None, parked_since: None, expires_at: None }
        };
        let puts: Vec<Put> = keys.into_iter().zip(found).map(put).collect();
        // Refused or not: the next round reads again.
        let _written = store.commit(&puts).await;
    }
}

/// A write of one document.
struct RecordedWrite<'a> {
    call: &'a RecordedCall,
    index: usize,
    body: &'a str,
}

type WritesByKey<'a> = BTreeMap<&'a Key, BTreeMap<u64, RecordedWrite<'a>>>;

fn check_history(calls: &[RecordedCall]) -> Vec<String> {
    let mut wrong = Vec::new();
    let writes = collect_writes(calls, &mut wrong);
    for call in calls {
        match &call.operation {
            StoreOperation::Read(found) => {
                for (key, stored) in found {
                    wrong.extend(check_read(call, key, stored.as_ref(), writes.get(key)));
                }
            }
            StoreOperation::Conflicted(puts) => {
                // Another write of one of these documents that was not over when this one began, or that it did not know of.
                let reason = |(key, expected): &(Key, Option<u64>)| {
                    let of_key = writes.get(key).into_iter().flatten();
                    of_key.into_iter().any(|(version, write)| {
                        write.call.begun < call.ended && (*version > expected.unwrap_or(0) || write.call.ended > call.begun)
                    })
                };
                let contended = || has_overlapping_write(calls, call, puts);
                if !puts.iter().any(reason) && !contended() {
                    wrong.push(format!("a write of {} was refused without a reason", join_keys(puts)));
                }
            }
            StoreOperation::Committed(_) => {}
        }
    }
    wrong.extend(check_write_order(&writes));
    wrong
}

fn join_keys(puts: &[(Key, Option<u64>)]) -> String {
    puts.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(" ")
}

/// Whether another write of one of these documents, taken or refused, was under way: two that meet may both be refused.
fn has_overlapping_write(calls: &[RecordedCall], call: &RecordedCall, puts: &[(Key, Option<u64>)]) -> bool {
    calls.iter().filter(|other| other.begun != call.begun && other.begun < call.ended && call.begun < other.ended).any(|other| match &other
        .operation
    {
        StoreOperation::Conflicted(others) => others.iter().any(|(key, _)| puts.iter().any(|(own, _)| own == key)),
        StoreOperation::Committed(others) => others.iter().any(|(key, ..)| puts.iter().any(|(own, _)| own == key)),
        StoreOperation::Read(_) => false,
    })
}

fn collect_writes<'a>(calls: &'a [RecordedCall], wrong: &mut Vec<String>) -> WritesByKey<'a> {
    let mut writes: WritesByKey<'a> = BTreeMap::new();
    for (index, call) in calls.iter().enumerate() {
        let StoreOperation::Committed(puts) = &call.operation else { continue };
        for (key, expected, body) in puts {
            let version = expected.unwrap_or(0).saturating_add(1);
            if writes.entry(key).or_default().insert(version, RecordedWrite { call, index, body }).is_some() {
                wrong.push(format!("version {version} of {key} was written twice"));
            }
        }
    }
    for (key, versions) in &writes {
        let expected: Vec<u64> = (1..).take(versions.len()).collect();
        if !versions.keys().copied().eq(expected) {
            wrong.push(format!("versions of {key} are missing"));
        }
    }
    writes
}

fn check_read(
    call: &RecordedCall,
    key: &Key,
    stored: Option<&StoredDocument>,
    versions: Option<&BTreeMap<u64, RecordedWrite<'_>>>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let version = stored.map_or(0, |stored| stored.version);
    let write = versions.and_then(|versions| versions.get(&version));
    if let Some(stored) = stored {
        match write {
            Some(write) if write.body != stored.body => {
                wrong.push(format!("version {version} of {key} was read as another than was written"))
            }
            Some(write) if write.call.begun > call.ended => {
                wrong.push(format!("version {version} of {key} was read before it was written"))
            }
            Some(_) => {}
            None => wrong.push(format!("version {version} of {key} was read, which nobody wrote")),
        }
    }
    let newer = versions.and_then(|versions| versions.get(&version.saturating_add(1)));
    if newer.is_some_and(|newer| newer.call.ended < call.begun) {
        wrong.push(format!("version {version} of {key} was read after a newer one was written"));
    }
    wrong
}

/// Two writes of two documents come in the same order for both.
fn check_write_order(writes: &WritesByKey<'_>) -> Vec<String> {
    let mut before: BTreeMap<(usize, usize), &Key> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (key, versions) in writes {
        let order: Vec<usize> = versions.values().map(|write| write.index).collect();
        for (place, first) in order.iter().enumerate() {
            for later in order.iter().skip(place.saturating_add(1)) {
                if let Some(other) = before.get(&(*later, *first)) {
                    wrong.push(format!("two writes come in one order for {key} and in the other for {other}"));
                }
                before.insert((*first, *later), key);
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(begun: u64, ended: u64, what: StoreOperation) -> RecordedCall {
        RecordedCall { begun, ended, operation: what }
    }

    fn key(name: &str) -> Key {
        Key::new("k", &[name])
    }

    fn put(name: &str, expected: Option<u64>, body: &str) -> (Key, Option<u64>, String) {
        (key(name), expected, body.to_owned())
    }

    fn read_operation(name: &str, version: u64, body: &str) -> StoreOperation {
        StoreOperation::Read(vec![(key(name), Some(StoredDocument { version, body: body.to_owned() }))])
    }

    #[test]
    fn a_linearizable_history_has_no_errors() {
        let calls = [
            call(0, 1, StoreOperation::Committed(vec![put("a", None, "1")])),
            call(2, 5, StoreOperation::Committed(vec![put("a", Some(1), "2"), put("b", None, "2")])),
            call(3, 4, read_operation("a", 1, "1")),
            call(3, 6, StoreOperation::Conflicted(vec![(key("a"), Some(1))])),
            call(7, 8, read_operation("b", 1, "2")),
        ];
        assert_eq!(check_history(&calls), Vec::<String>::new());
    }

    #[test]
    fn each_rule_is_checked() {
        let first = || call(0, 1, StoreOperation::Committed(vec![put("a", None, "1")]));
        let both = |begun, a: Option<u64>, b: Option<u64>| {
            call(begun, begun + 1, StoreOperation::Committed(vec![put("a", a, "x"), put("b", b, "x")]))
        };
        let cases: [(Vec<RecordedCall>, &str); 7] = [
            (vec![first(), call(2, 3, StoreOperation::Committed(vec![put("a", None, "2")]))], "written twice"),
            (vec![call(2, 3, StoreOperation::Committed(vec![put("a", Some(1), "2")]))], "are missing"),
            (vec![first(), call(2, 3, read_operation("a", 1, "other"))], "as another"),
            (
                vec![call(0, 1, read_operation("a", 1, "1")), call(2, 3, StoreOperation::Committed(vec![put("a", None, "1")]))],
                "before it was written",
            ),
            (vec![first(), call(2, 3, StoreOperation::Read(vec![(key("a"), None)]))], "after a newer one"),
            (vec![call(0, 1, StoreOperation::Conflicted(vec![(key("a"), None)]))], "without a reason"),
            (vec![both(0, None, Some(1)), both(2, Some(1), None)], "in the other"),
        ];
        for (calls, expected) in cases {
            let found = check_history(&calls);
            assert!(found.iter().any(|line| line.contains(expected)), "{expected}: {found:?}");
        }
    }
}
