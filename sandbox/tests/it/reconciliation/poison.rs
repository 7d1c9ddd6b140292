//! Documents that no run can process hold back nobody: whatever is wrong with them, and wherever they are listed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use connector::clock::{Clock as _, Timestamp};
use connector::journal::SCHEMA;
use connector::journal::record::{Attempt, AttemptKind, Lease, Obligation};
use connector::journal::store::{CommitError, Key, List, Listed, MAX_BATCH, Put, Store, StoreError, StoredDocument};
use connector::manual_review::list_parked;
use connector::metrics::Metric;
use sandbox::simulators::network::Fault;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::json;

use crate::reconciliation::watched;

const HEALTHY: usize = 3;
const MINUTES: Duration = Duration::from_secs(5 * 60);

/// A store whose documents of some keys are what was planted there, whatever was written there.
struct PoisonedStore {
    inner: Arc<dyn Store>,
    bodies: Mutex<BTreeMap<Key, Result<String, StoreError>>>,
    contended: bool,
}

#[async_trait]
impl Store for PoisonedStore {
    async fn load(&self, keys: &[Key]) -> Result<Vec<Option<StoredDocument>>, StoreError> {
        let loaded = self.inner.load(keys).await?;
        let planted = self.bodies.lock().unwrap();
        let distort = |(stored, key): (Option<StoredDocument>, &Key)| match (stored, planted.get(key)) {
            (Some(stored), Some(body)) => Ok(Some(StoredDocument { body: body.clone()?, ..stored })),
            (stored, _) => Ok(stored),
        };
        loaded.into_iter().zip(keys).map(distort).collect()
    }

    async fn commit(&self, puts: &[Put]) -> Result<(), CommitError> {
        if self.contended && puts.iter().any(|put| put.key.as_str().contains("poison")) {
            return Err(CommitError::Conflict);
        }
        self.inner.commit(puts).await
    }

    async fn list(&self, list: List, until: Timestamp, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(list, until, after, limit).await
    }

    async fn relist(&self, from: List, found: &Listed, to: List, at: Timestamp) -> Result<(), CommitError> {
        self.inner.relist(from, found, to, at).await
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poison {
    NoJson,
    Empty,
    TooDeep,
    ParsedWithoutEnd,
    NewerSchema,
    WrongType,
    UnknownWord,
    NoObject,
    TooLarge,
    NoDocument,
    Throttled,
    LeasedForEver,
    Contended,
    WithoutItsPayment,
}

impl Poison {
    const ALL: [Self; 14] = [
        Self::NoJson,
        Self::Empty,
        Self::TooDeep,
        Self::ParsedWithoutEnd,
        Self::NewerSchema,
        Self::WrongType,
        Self::UnknownWord,
        Self::NoObject,
        Self::TooLarge,
        Self::NoDocument,
        Self::Throttled,
        Self::LeasedForEver,
        Self::Contended,
        Self::WithoutItsPayment,
    ];

    fn key(self, number: usize) -> Key {
        let name = format!("poison-{number}");
        match self {
            Self::Throttled => Key::new("subscription", &[&name]),
            Self::WithoutItsPayment => Key::new("obsolete-authorisation", &[&format!("clg-123e4567-e89b-82d3-a456-{number:012}")]),
            _ => Key::new("period", &[&name]),
        }
    }

    fn body(self, now: Timestamp) -> Result<String, StoreError> {
        let open = |waiting: Option<String>| {
            let mut obligation = Obligation::new();
            let attempt = Attempt::opened(AttemptKind::Capture, now, now);
            obligation.push(Attempt { waiting_event: waiting, ..attempt });
            obligation
        };
        let text = |obligation: &Obligation| serde_json::to_string(obligation).unwrap();
        let mut leased = open(None);
        leased.lease = Some(Lease { owner: "nobody".to_owned(), until: now.after(Duration::from_secs(400 * 86_400)) });
        Ok(match self {
            Self::NoJson => "{\"schema\":1,".to_owned(),
            Self::Empty => String::new(),
            Self::TooDeep => format!("{{\"schema\":1,\"attempts\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
            Self::ParsedWithoutEnd => {
                let mut inner = "1".to_owned();
                for _ in 0..12 {
                    inner = format!("{{\"$serde_json::private::RawValue\":{}}}", json!(inner));
                }
                inner
            }
            Self::NewerSchema => json!({ "schema": SCHEMA + 1 }).to_string(),
            Self::WrongType => json!({ "schema": SCHEMA, "attempts": "two" }).to_string(),
            Self::UnknownWord => text(&open(None)).replace("\"capture\"", "\"teleport\""),
            Self::NoObject => "[]".to_owned(),
            Self::TooLarge => text(&open(Some("x".repeat(110_000)))),
            Self::NoDocument => return Err(StoreError::Corrupt),
            Self::Throttled => serde_json::to_string(&watched()).unwrap(),
            Self::LeasedForEver => text(&leased),
            Self::Contended | Self::WithoutItsPayment => text(&open(Some("never requeued".to_owned()))),
        })
    }

    /// Whether the document itself is at fault, so that an operator is told.
    fn is_unreadable(self) -> bool {
        !matches!(self, Self::Throttled | Self::LeasedForEver | Self::Contended | Self::WithoutItsPayment)
    }
}

/// A waiting event.
pub(crate) fn healthy(now: Timestamp) -> String {
    let mut obligation = Obligation::new();
    let attempt = Attempt::opened(AttemptKind::Capture, now, now);
    obligation.push(Attempt { waiting_event: Some("an event".to_owned()), ..attempt });
    serde_json::to_string(&obligation).unwrap()
}

const fn due(key: Key, body: String, at: Timestamp) -> Put {
    Put { key, expected_version: None, body, due_at: Some(at), parked_since: None, expires_at: None }
}

/// One run comes to all healthy documents, beside so many poisoned ones before, between and behind them.
async fn assert_nobody_is_held_back(poison: Poison, count: usize, place: i64, inner: Arc<dyn Store>) {
    let mut env = TestEnvironment::default();
    let now = env.clock.now();
    let store = PoisonedStore { inner: inner.clone(), bodies: Mutex::default(), contended: poison == Poison::Contended };
    let at = |minute: i64| Timestamp::from_secs(now.secs().saturating_sub(3_600).saturating_add(minute.saturating_mul(60)));
    let mut poisoned = BTreeSet::new();
    for number in 0..count {
        let key = poison.key(number);
        store.bodies.lock().unwrap().insert(key.clone(), poison.body(now));
        poisoned.insert(key);
    }
    let mut puts: Vec<Put> = poisoned.iter().map(|key| due(key.clone(), "{}".to_owned(), at(place))).collect();
    let healthy_puts = (0..HEALTHY).zip([10, 20, 30]);
    puts.extend(healthy_puts.map(|(number, minute)| due(Key::new("period", &[&format!("healthy-{number}")]), healthy(now), at(minute))));
    for batch in puts.chunks(MAX_BATCH) {
        inner.commit(batch).await.unwrap();
    }
    env.flow_context.store = Arc::new(store);
    for _ in 0..2 {
        env.network.inject(Fault::StatusBefore(429), |peer, _| peer == "cleeng");
    }
    let report = env.run_reconciliation().await;
    let requeued = env.requeue.take_events().into_iter().filter(|event| event == "an event").count();
    assert_eq!(requeued, HEALTHY, "{poison:?} at {place}: {report:?}");
    if !poison.is_unreadable() {
        return;
    }
    assert_eq!(env.metrics.count(Metric::Parked, "due_document_unreadable"), count, "{poison:?}");
    let listed = list_parked(env.flow_context.store.as_ref(), 200).await.unwrap();
    let keys: BTreeSet<Key> = listed.into_iter().map(|parked| parked.key).collect();
    assert_eq!(keys, poisoned, "what rings is listed: {poison:?}");
    env.clock.advance(MINUTES);
    assert_eq!(env.run_reconciliation().await.due, 0, "they left the list: {poison:?}");
    assert_eq!(env.metrics.count(Metric::Parked, "due_document_unreadable"), count, "one alarm an hour");
    env.clock.advance(12 * MINUTES);
    env.run_reconciliation().await;
    // What can be read and not be written is due again first.
    env.clock.advance(MINUTES);
    env.run_reconciliation().await;
    assert_eq!(env.metrics.count(Metric::Parked, "due_document_unreadable"), 2 * count, "{poison:?}");
}

/// So many documents of every kind at each of these places, each time on a store of its own.
pub(crate) async fn assert_no_poison_holds_back(
    count: usize,
    places: &[i64],
    new_store: impl AsyncFn(&TestEnvironment, &str) -> Arc<dyn Store>,
) {
    for poison in Poison::ALL {
        for place in places {
            let store = new_store(&TestEnvironment::default(), &format!("{poison:?}-{place}")).await;
            assert_nobody_is_held_back(poison, count, *place, store).await;
        }
    }
}

#[tokio::test]
async fn no_document_holds_back_another_whatever_is_wrong_with_it() {
    // More than a page of them.
    assert_no_poison_holds_back(120, &[0, 15, 25, 40], async |env, _| env.flow_context.store.clone()).await;
}

#[tokio::test]
async fn a_document_that_was_repaired_is_due_again_by_itself() {
    let mut env = TestEnvironment::default();
    let (now, key) = (env.clock.now(), Key::new("period", &["repaired"]));
    env.store.commit(&[due(key.clone(), healthy(now), now)]).await.unwrap();
    let bodies = Mutex::new(BTreeMap::from([(key.clone(), Ok("no JSON".to_owned()))]));
    let store = Arc::new(PoisonedStore { inner: env.store.clone(), bodies, contended: false });
    env.flow_context.store = store.clone();
    env.run_reconciliation().await;
    store.bodies.lock().unwrap().clear();
    for _ in 0..14 {
        env.clock.advance(MINUTES);
        env.run_reconciliation().await;
    }
    assert_eq!(env.requeue.take_events(), ["an event"]);
    assert!(list_parked(env.flow_context.store.as_ref(), 10).await.unwrap().is_empty());
}
