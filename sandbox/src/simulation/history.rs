//! What workers saw of a store, and whether one store can have looked like that: the rules of [`Store`], checked after the fact, so that they can be
//! checked of a real database as well.
//!
//! A document is a register with a version. Writes of it that succeeded have the versions 1, 2, 3 and so on, each once; whoever read a version read
//! what its write wrote; nobody read an older one after a newer one was written, nor a newer one before that was begun; two writes of several documents
//! come in the same order for each of them; and a write is refused only where another one could be the reason.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use connector::clock::Timestamp;
use connector::journal::store::{CommitError, Key, Put, Store, StoreError, Stored};

use super::dice::Dice;

/// A store whose calls are written down.
pub struct Recorded {
    inner: Arc<dyn Store>,
    moments: AtomicU64,
    calls: Mutex<Vec<Call>>,
}

/// A call that came back.
#[derive(Clone, Debug)]
struct Call {
    begun: u64,
    ended: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Read(Vec<(Key, Option<Stored>)>),
    Written(Vec<(Key, Option<u64>, String)>),
    Refused(Vec<(Key, Option<u64>)>),
}

impl Recorded {
    /// Calls of `inner`, written down.
    #[must_use]
    pub const fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, moments: AtomicU64::new(0), calls: Mutex::new(Vec::new()) }
    }

    fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }

    fn note(&self, begun: u64, what: What) {
        let ended = self.moment();
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(Call { begun, ended, what });
    }

    /// How many writes were taken, and how many refused.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |of: fn(&What) -> bool| calls.iter().filter(|call| of(&call.what)).count();
        (count(|what| matches!(what, What::Written(_))), count(|what| matches!(what, What::Refused(_))))
    }

    /// What no store can have looked like, a line each. Empty is good. Only for documents that were not there before and that did not expire.
    #[must_use]
    pub fn contradictions(&self) -> Vec<String> {
        contradictions(&self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Store for Recorded {
    async fn load(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
        let begun = self.moment();
        let found = self.inner.load(keys).await?;
        self.note(begun, What::Read(keys.iter().cloned().zip(found.iter().cloned()).collect()));
        Ok(found)
    }

    async fn commit(&self, puts: &[Put]) -> Result<(), CommitError> {
        let begun = self.moment();
        let result = self.inner.commit(puts).await;
        match &result {
            Ok(()) => {
                let written = puts.iter().map(|put| (put.key.clone(), put.expected, put.body.clone()));
                self.note(begun, What::Written(written.collect()));
            }
            Err(CommitError::Conflict) => self.note(begun, What::Refused(puts.iter().map(|put| (put.key.clone(), put.expected)).collect())),
            Err(_) => {}
        }
        result
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.inner.due(until, limit).await
    }

    async fn parked(&self, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.inner.parked(limit).await
    }
}

/// Somebody who reads one or two of three documents and writes them, again and again, each time with other contents.
pub async fn contend(store: Arc<dyn Store>, worker: u64, rounds: u64) {
    let mut dice = Dice::of(worker);
    for round in 0..rounds {
        let first = dice.below(3);
        let second = first.saturating_add(dice.below(3)).checked_rem(3).unwrap_or(0);
        let mut numbers = vec![first, second];
        numbers.dedup();
        let keys: Vec<Key> = numbers.iter().map(|number| Key::new("contended", &[&number.to_string()])).collect();
        let Ok(found) = store.load(&keys).await else { continue };
        let body = format!("{{\"by\":\"{worker}-{round}\"}}");
        let put = |(key, stored): (Key, Option<Stored>)| {
            let expected = stored.map(|stored| stored.version);
            Put { key, expected, body: body.clone(), due_at: None, parked_since: None, expires_at: None }
        };
        let puts: Vec<Put> = keys.into_iter().zip(found).map(put).collect();
        // Refused or not: the next round reads anew.
        let _written = store.commit(&puts).await;
    }
}

/// A write of one document.
struct Write<'a> {
    call: &'a Call,
    index: usize,
    body: &'a str,
}

type Writes<'a> = BTreeMap<&'a Key, BTreeMap<u64, Write<'a>>>;

fn contradictions(calls: &[Call]) -> Vec<String> {
    let mut wrong = Vec::new();
    let writes = writes(calls, &mut wrong);
    for call in calls {
        match &call.what {
            What::Read(found) => {
                for (key, stored) in found {
                    wrong.extend(read(call, key, stored.as_ref(), writes.get(key)));
                }
            }
            What::Refused(puts) => {
                // Another write of one of these documents that was not over when this one began, or that it did not know of.
                let reason = |(key, expected): &(Key, Option<u64>)| {
                    let of_key = writes.get(key).into_iter().flatten();
                    of_key.into_iter().any(|(version, write)| {
                        write.call.begun < call.ended && (*version > expected.unwrap_or(0) || write.call.ended > call.begun)
                    })
                };
                let contended = || overlapped(calls, call, puts);
                if !puts.iter().any(reason) && !contended() {
                    wrong.push(format!("a write of {} was refused without a reason", names(puts)));
                }
            }
            What::Written(_) => {}
        }
    }
    wrong.extend(out_of_order(&writes));
    wrong
}

fn names(puts: &[(Key, Option<u64>)]) -> String {
    puts.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(" ")
}

/// Whether another write of one of these documents, taken or refused, was under way: two that meet may both be refused.
fn overlapped(calls: &[Call], call: &Call, puts: &[(Key, Option<u64>)]) -> bool {
    calls.iter().filter(|other| other.begun != call.begun && other.begun < call.ended && call.begun < other.ended).any(|other| match &other
        .what
    {
        What::Refused(others) => others.iter().any(|(key, _)| puts.iter().any(|(own, _)| own == key)),
        What::Written(others) => others.iter().any(|(key, ..)| puts.iter().any(|(own, _)| own == key)),
        What::Read(_) => false,
    })
}

fn writes<'a>(calls: &'a [Call], wrong: &mut Vec<String>) -> Writes<'a> {
    let mut writes: Writes<'a> = BTreeMap::new();
    for (index, call) in calls.iter().enumerate() {
        let What::Written(puts) = &call.what else { continue };
        for (key, expected, body) in puts {
            let version = expected.unwrap_or(0).saturating_add(1);
            if writes.entry(key).or_default().insert(version, Write { call, index, body }).is_some() {
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

fn read(call: &Call, key: &Key, stored: Option<&Stored>, versions: Option<&BTreeMap<u64, Write<'_>>>) -> Vec<String> {
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
fn out_of_order(writes: &Writes<'_>) -> Vec<String> {
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

    fn call(begun: u64, ended: u64, what: What) -> Call {
        Call { begun, ended, what }
    }

    fn key(name: &str) -> Key {
        Key::new("k", &[name])
    }

    fn put(name: &str, expected: Option<u64>, body: &str) -> (Key, Option<u64>, String) {
        (key(name), expected, body.to_owned())
    }

    fn seen(name: &str, version: u64, body: &str) -> What {
        What::Read(vec![(key(name), Some(Stored { version, body: body.to_owned() }))])
    }

    #[test]
    fn a_history_of_one_register_is_good() {
        let calls = [
            call(0, 1, What::Written(vec![put("a", None, "1")])),
            call(2, 5, What::Written(vec![put("a", Some(1), "2"), put("b", None, "2")])),
            call(3, 4, seen("a", 1, "1")),
            call(3, 6, What::Refused(vec![(key("a"), Some(1))])),
            call(7, 8, seen("b", 1, "2")),
        ];
        assert_eq!(contradictions(&calls), Vec::<String>::new());
    }

    #[test]
    fn each_rule_is_checked() {
        let first = || call(0, 1, What::Written(vec![put("a", None, "1")]));
        let both = |begun, a: Option<u64>, b: Option<u64>| call(begun, begun + 1, What::Written(vec![put("a", a, "x"), put("b", b, "x")]));
        let cases: [(Vec<Call>, &str); 7] = [
            (vec![first(), call(2, 3, What::Written(vec![put("a", None, "2")]))], "written twice"),
            (vec![call(2, 3, What::Written(vec![put("a", Some(1), "2")]))], "are missing"),
            (vec![first(), call(2, 3, seen("a", 1, "other"))], "as another"),
            (vec![call(0, 1, seen("a", 1, "1")), call(2, 3, What::Written(vec![put("a", None, "1")]))], "before it was written"),
            (vec![first(), call(2, 3, What::Read(vec![(key("a"), None)]))], "after a newer one"),
            (vec![call(0, 1, What::Refused(vec![(key("a"), None)]))], "without a reason"),
            (vec![both(0, None, Some(1)), both(2, Some(1), None)], "in the other"),
        ];
        for (calls, expected) in cases {
            let found = contradictions(&calls);
            assert!(found.iter().any(|line| line.contains(expected)), "{expected}: {found:?}");
        }
    }
}
