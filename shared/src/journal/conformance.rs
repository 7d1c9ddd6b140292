//! What every [`Store`] must do, as code that runs against any of them: the store in memory in a unit test, DynamoDB in the sandbox's
//! tests. Must never know which store is under test.
//!
//! Every case uses keys of its own, so the cases can share one table. Only [`the_due_list_is_ordered_limited_and_sparse`] and
//! [`what_is_parked_is_listed_apart_from_what_is_due`] read the whole store, and therefore use a period of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::store::{CommitError, Key, List, Listed, MAX_BATCH, MAX_BODY_BYTES, MAX_BODY_DEPTH, Put, Store, StoreError, StoredDocument};
use crate::clock::{Clock, Timestamp};

/// A store under test, with the clock that it uses.
pub struct StoreUnderTest<'a> {
    /// The store, empty of keys of the kind `conformance`.
    pub store: Arc<dyn Store>,
    /// The clock that the store expires documents by.
    pub clock: Arc<dyn Clock>,
    /// Advances that clock.
    pub advance: &'a (dyn Fn(Duration) + Sync),
}

/// Runs every case and returns how many there were.
pub async fn run_all(subject: &StoreUnderTest<'_>) -> u32 {
    let store = subject.store.as_ref();
    let ran = AtomicU32::new(0);
    let done = || ran.fetch_add(1, Ordering::Relaxed);
    absent_documents_read_as_none_in_the_order_of_the_keys(store).await;
    done();
    a_new_document_has_version_one(store).await;
    done();
    a_second_new_document_conflicts(store).await;
    done();
    a_versioned_write_counts_on(store).await;
    done();
    a_stale_version_conflicts_and_changes_nothing(store).await;
    done();
    a_version_of_an_absent_document_conflicts(store).await;
    done();
    several_documents_are_written_all_or_not_at_all(store).await;
    done();
    of_concurrent_writers_exactly_one_wins(&subject.store).await;
    done();
    a_full_batch_is_written_and_read(store).await;
    done();
    more_than_a_batch_is_refused(store).await;
    done();
    a_key_twice_in_one_write_is_refused(store).await;
    done();
    the_due_list_is_ordered_limited_and_sparse(store).await;
    done();
    what_is_parked_is_listed_apart_from_what_is_due(store).await;
    done();
    an_expired_document_is_absent_at_once_and_may_be_created_again(subject).await;
    done();
    any_text_survives(store).await;
    done();
    a_body_that_could_not_be_read_again_is_refused_before_it_is_sent(store).await;
    done();
    a_list_goes_on_behind_what_was_seen(store).await;
    done();
    a_document_moves_to_another_list_as_it_is(store).await;
    done();
    ran.into_inner()
}

fn key(case: &str, number: usize) -> Key {
    Key::new("conformance", &[case, &number.to_string()])
}

/// A write with neither due time nor expiry.
fn put(key: Key, expected: Option<u64>, body: &str) -> Put {
    Put { key, expected_version: expected, body: body.to_owned(), due_at: None, parked_since: None, expires_at: None }
}

fn stored(version: u64, body: &str) -> Option<StoredDocument> {
    Some(StoredDocument { version, body: body.to_owned() })
}

/// A document that was never written reads as `None`, beside others that exist.
pub async fn absent_documents_read_as_none_in_the_order_of_the_keys(store: &dyn Store) {
    let keys = [key("order", 3), key("order", 1), key("order", 2), key("order", 1)];
    assert_eq!(store.load(&keys).await, Ok(vec![None, None, None, None]));
    assert_eq!(store.load(&[key("order", 9)]).await, Ok(vec![None]));
    assert_eq!(store.load(&[]).await, Ok(vec![]));
    assert_eq!(store.commit(&[put(key("order", 1), None, "{\"n\":1}"), put(key("order", 3), None, "{\"n\":3}")]).await, Ok(()));
    assert_eq!(store.load(&keys).await, Ok(vec![stored(1, "{\"n\":3}"), stored(1, "{\"n\":1}"), None, stored(1, "{\"n\":1}")]));
}

/// Versions begin at 1.
pub async fn a_new_document_has_version_one(store: &dyn Store) {
    assert_eq!(store.commit(&[put(key("new", 1), None, "{}")]).await, Ok(()));
    assert_eq!(store.load(&[key("new", 1)]).await, Ok(vec![stored(1, "{}")]));
}

/// An existing document is never created again.
pub async fn a_second_new_document_conflicts(store: &dyn Store) {
    assert_eq!(store.commit(&[put(key("second", 1), None, "\"first\"")]).await, Ok(()));
    assert_eq!(store.commit(&[put(key("second", 1), None, "\"second\"")]).await, Err(CommitError::Conflict));
    assert_eq!(store.load(&[key("second", 1)]).await, Ok(vec![stored(1, "\"first\"")]));
}

/// Every write counts the version up by one.
pub async fn a_versioned_write_counts_on(store: &dyn Store) {
    assert_eq!(store.commit(&[put(key("count", 1), None, "0")]).await, Ok(()));
    for version in 1..=3_u64 {
        assert_eq!(store.commit(&[put(key("count", 1), Some(version), &version.to_string())]).await, Ok(()));
        assert_eq!(store.load(&[key("count", 1)]).await, Ok(vec![stored(version.saturating_add(1), &version.to_string())]));
    }
}

/// Fencing: a worker that read an older version cannot write.
pub async fn a_stale_version_conflicts_and_changes_nothing(store: &dyn Store) {
    assert_eq!(store.commit(&[put(key("stale", 1), None, "1")]).await, Ok(()));
    assert_eq!(store.commit(&[put(key("stale", 1), Some(1), "2")]).await, Ok(()));
    for version in [1, 3, 0] {
        assert_eq!(store.commit(&[put(key("stale", 1), Some(version), "lost")]).await, Err(CommitError::Conflict));
    }
    assert_eq!(store.load(&[key("stale", 1)]).await, Ok(vec![stored(2, "2")]));
}

/// A document that vanished is not resurrected by an update.
pub async fn a_version_of_an_absent_document_conflicts(store: &dyn Store) {
    assert_eq!(store.commit(&[put(key("absent", 1), Some(1), "1")]).await, Err(CommitError::Conflict));
    assert_eq!(store.load(&[key("absent", 1)]).await, Ok(vec![None]));
}

/// One condition that does not hold undoes the whole write.
pub async fn several_documents_are_written_all_or_not_at_all(store: &dyn Store) {
    let [a, b, c] = [key("all", 1), key("all", 2), key("all", 3)];
    assert_eq!(store.commit(&[put(a.clone(), None, "1"), put(b.clone(), None, "1")]).await, Ok(()));
    let half = [put(a.clone(), Some(1), "2"), put(c.clone(), None, "1"), put(b.clone(), Some(7), "2")];
    assert_eq!(store.commit(&half).await, Err(CommitError::Conflict));
    let keys = [a.clone(), b.clone(), c.clone()];
    assert_eq!(store.load(&keys).await, Ok(vec![stored(1, "1"), stored(1, "1"), None]));
    let whole = [put(a, Some(1), "2"), put(c, None, "1"), put(b, Some(1), "2")];
    assert_eq!(store.commit(&whole).await, Ok(()));
    assert_eq!(store.load(&keys).await, Ok(vec![stored(2, "2"), stored(2, "2"), stored(1, "1")]));
}

/// A race has one winner, and all others know that they lost.
pub async fn of_concurrent_writers_exactly_one_wins(store: &Arc<dyn Store>) {
    for (round, expected) in [None, Some(1), Some(2)].into_iter().enumerate() {
        let racers: Vec<_> = (0..8)
            .map(|racer| {
                let store = Arc::clone(store);
                let body = format!("\"{round}-{racer}\"");
                // Two documents each, so that a half-won race is detected.
                let puts = [put(key("race", 1), expected, &body), put(key("race", 2), expected, &body)];
                tokio::spawn(async move { store.commit(&puts).await.map(|()| body) })
            })
            .collect();
        let mut winners = Vec::new();
        for racer in racers {
            match racer.await {
                Ok(Ok(body)) => winners.push(body),
                Ok(Err(error)) => assert_eq!(error, CommitError::Conflict),
                Err(_) => assert!(winners.len() > 8, "a racer did not finish"),
            }
        }
        // DynamoDB may cancel every one of several simultaneous transactions; then the state stays, and one writer alone gets through.
        if winners.is_empty() {
            let again = "\"again\"".to_owned();
            let puts = [put(key("race", 1), expected, &again), put(key("race", 2), expected, &again)];
            assert_eq!(store.commit(&puts).await, Ok(()));
            winners.push(again);
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        let version = expected.unwrap_or(0).saturating_add(1);
        let winner = winners.first().and_then(|body| stored(version, body));
        assert_eq!(store.load(&[key("race", 1), key("race", 2)]).await, Ok(vec![winner.clone(), winner]));
    }
}

/// The largest number of documents of one write and one read.
pub async fn a_full_batch_is_written_and_read(store: &dyn Store) {
    let keys: Vec<Key> = (0..MAX_BATCH).map(|number| key("full", number)).collect();
    let large = format!("\"{}\"", "x".repeat(40_000));
    let puts: Vec<Put> = keys.iter().map(|key| put(key.clone(), None, &large)).collect();
    assert_eq!(store.commit(&puts).await, Ok(()));
    assert_eq!(store.load(&keys).await, Ok(vec![stored(1, &large); MAX_BATCH]));
}

/// One more than the largest number.
pub async fn more_than_a_batch_is_refused(store: &dyn Store) {
    let keys: Vec<Key> = (0..=MAX_BATCH).map(|number| key("more", number)).collect();
    let puts: Vec<Put> = keys.iter().map(|key| put(key.clone(), None, "{}")).collect();
    assert!(matches!(store.commit(&puts).await, Err(CommitError::NotWritten(StoreError::Refused(_)))));
    assert!(matches!(store.load(&keys).await, Err(StoreError::Refused(_))));
    assert_eq!(store.load(&[key("more", 0)]).await, Ok(vec![None]));
}

/// A caller's mistake is reported, not half done.
pub async fn a_key_twice_in_one_write_is_refused(store: &dyn Store) {
    let twice = [put(key("twice", 1), None, "1"), put(key("twice", 1), None, "2")];
    assert!(matches!(store.commit(&twice).await, Err(CommitError::NotWritten(StoreError::Refused(_)))));
    assert_eq!(store.load(&[key("twice", 1)]).await, Ok(vec![None]));
}

/// What is due, the earliest first; what is due no more is not listed.
pub async fn the_due_list_is_ordered_limited_and_sparse(store: &dyn Store) {
    // The year 2001: before anything that another user of the table could have.
    let at = |second: i64| Timestamp::from_secs(1_000_000_000_i64.saturating_add(second));
    let due = |number, expected, second: Option<i64>| Put { due_at: second.map(at), ..put(key("due", number), expected, "{}") };
    let first = [due(1, None, Some(30)), due(2, None, Some(10)), due(3, None, Some(20)), due(4, None, None), due(5, None, Some(40))];
    assert_eq!(store.commit(&first).await, Ok(()));
    assert_eq!(store.due(at(30), 10).await, Ok(vec![key("due", 2), key("due", 3), key("due", 1)]));
    assert_eq!(store.due(at(30), 2).await, Ok(vec![key("due", 2), key("due", 3)]));
    assert_eq!(store.due(at(9), 10).await, Ok(vec![]));
    assert_eq!(store.due(at(30), 0).await, Ok(vec![]));
    assert_eq!(store.commit(&[due(2, Some(1), None), due(3, Some(1), Some(35)), due(4, Some(1), Some(5))]).await, Ok(()));
    assert_eq!(store.due(at(40), 10).await, Ok(vec![key("due", 4), key("due", 1), key("due", 3), key("due", 5)]));
    assert_eq!(store.commit(&[due(1, Some(1), None), due(3, Some(2), None), due(4, Some(2), None), due(5, Some(1), None)]).await, Ok(()));
    assert_eq!(store.due(at(40), 10).await, Ok(vec![]));
}

/// What is parked is listed by its time, and not while something is due; it is never listed as due.
pub async fn what_is_parked_is_listed_apart_from_what_is_due(store: &dyn Store) {
    // The year 2001, and others of the table behind it.
    let at = |second: i64| Timestamp::from_secs(1_000_000_000_i64.saturating_add(second));
    let parked = |number, expected, due: Option<i64>, since: Option<i64>| {
        let put = put(key("parked", number), expected, "{}");
        Put { due_at: due.map(at), parked_since: since.map(at), ..put }
    };
    let first =
        [parked(1, None, None, Some(20)), parked(2, None, None, Some(10)), parked(3, None, Some(30), Some(5)), parked(4, None, None, None)];
    assert_eq!(store.commit(&first).await, Ok(()));
    assert_eq!(store.parked(2).await, Ok(vec![key("parked", 2), key("parked", 1)]));
    assert_eq!(store.parked(1).await, Ok(vec![key("parked", 2)]));
    assert_eq!(store.parked(0).await, Ok(vec![]));
    assert_eq!(store.due(at(50), 10).await, Ok(vec![key("parked", 3)]));
    assert_eq!(
        store.commit(&[parked(2, Some(1), None, None), parked(3, Some(1), None, Some(5)), parked(1, Some(1), Some(40), Some(20))]).await,
        Ok(())
    );
    assert_eq!(store.parked(1).await, Ok(vec![key("parked", 3)]));
    assert_eq!(store.due(at(50), 10).await, Ok(vec![key("parked", 1)]));
    assert_eq!(store.commit(&[parked(1, Some(2), None, None), parked(3, Some(2), None, None)]).await, Ok(()));
    assert_eq!(store.due(at(50), 10).await, Ok(vec![]));
    let left = store.parked(100).await;
    assert!(left.is_ok_and(|left| (1..=4).all(|number| !left.contains(&key("parked", number)))));
}

/// An expired document is absent for reads and conditions at once, even before the database deletes it.
pub async fn an_expired_document_is_absent_at_once_and_may_be_created_again(subject: &StoreUnderTest<'_>) {
    let (store, name) = (subject.store.as_ref(), key("expiry", 1));
    let minutes = |count: u64| Some(subject.clock.now().after(Duration::from_secs(count.saturating_mul(60))));
    let expiring = Put { expires_at: minutes(10), ..put(name.clone(), None, "\"old\"") };
    assert_eq!(store.commit(&[expiring, put(key("expiry", 2), None, "\"kept\"")]).await, Ok(()));
    (subject.advance)(Duration::from_secs(540));
    assert_eq!(store.load(std::slice::from_ref(&name)).await, Ok(vec![stored(1, "\"old\"")]));
    assert_eq!(store.commit(&[put(name.clone(), None, "\"early\"")]).await, Err(CommitError::Conflict));
    (subject.advance)(Duration::from_secs(120));
    assert_eq!(store.load(&[name.clone(), key("expiry", 2)]).await, Ok(vec![None, stored(1, "\"kept\"")]));
    assert_eq!(store.load(std::slice::from_ref(&name)).await, Ok(vec![None]));
    assert_eq!(store.commit(&[put(name.clone(), Some(1), "\"ghost\"")]).await, Err(CommitError::Conflict));
    assert_eq!(store.commit(&[put(name.clone(), None, "\"new\"")]).await, Ok(()));
    assert_eq!(store.load(std::slice::from_ref(&name)).await, Ok(vec![stored(1, "\"new\"")]));
    (subject.advance)(Duration::from_secs(86_400));
    assert_eq!(store.load(std::slice::from_ref(&name)).await, Ok(vec![stored(1, "\"new\"")]));
}

/// Bodies are returned as they were written, to the byte.
pub async fn any_text_survives(store: &dyn Store) {
    let bodies = ["", " ", "{\"name\":\"Zażółć gęślą jaźń 🦀 \\u0000 漢字\"}", "line\r\nbreak\ttab\u{1}", "12345678901234567890.000"];
    for (number, body) in bodies.into_iter().enumerate() {
        assert_eq!(store.commit(&[put(key("text", number), None, body)]).await, Ok(()));
        assert_eq!(store.load(&[key("text", number)]).await, Ok(vec![stored(1, body)]));
    }
}

/// The largest body fits, and one byte more does not; nor does one that is nested too deep.
pub async fn a_body_that_could_not_be_read_again_is_refused_before_it_is_sent(store: &dyn Store) {
    let largest = "x".repeat(MAX_BODY_BYTES);
    assert_eq!(store.commit(&[put(key("size", 1), None, &largest)]).await, Ok(()));
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for unwritable in [format!("{largest}x"), nested(MAX_BODY_DEPTH.saturating_add(1))] {
        let refused = store.commit(&[put(key("size", 2), None, "{}"), put(key("size", 1), Some(1), &unwritable)]).await;
        assert_eq!(refused, Err(CommitError::NotWritten(StoreError::Unwritable)));
        assert_eq!(store.load(&[key("size", 2)]).await, Ok(vec![None]));
    }
    assert_eq!(store.commit(&[put(key("size", 1), Some(1), &nested(MAX_BODY_DEPTH))]).await, Ok(()));
}

/// Page by page, everything is listed once, also what has one time.
pub async fn a_list_goes_on_behind_what_was_seen(store: &dyn Store) {
    // The year 1990, which no other case uses.
    let at = |second: i64| Timestamp::from_secs(631_152_000_i64.saturating_add(second));
    let due = |number: usize, second| Put { due_at: Some(at(second)), ..put(key("page", number), None, "{}") };
    assert_eq!(store.commit(&[due(1, 10), due(2, 10), due(3, 10), due(4, 20), due(5, 30)]).await, Ok(()));
    let (mut seen, mut after): (Vec<Listed>, Option<Listed>) = (Vec::new(), None);
    while let Ok(page) = store.list(List::Due, at(30), after.as_ref(), 2).await
        && let Some(last) = page.last().cloned()
    {
        seen.extend(page);
        after = Some(last);
    }
    let mut keys: Vec<Key> = seen.iter().map(|listed| listed.key.clone()).collect();
    keys.sort_unstable();
    assert_eq!(keys, (1..=5).map(|number| key("page", number)).collect::<Vec<_>>());
    assert_eq!(seen.iter().map(|listed| listed.at).collect::<Vec<_>>(), [10, 10, 10, 20, 30].map(at));
    let gone: Vec<Put> = (1..=5).map(|number| put(key("page", number), Some(1), "{}")).collect();
    assert_eq!(store.commit(&gone).await, Ok(()));
}

/// Only what is where it was found moves; its body and its version stay as they are, and its next write lists it again.
pub async fn a_document_moves_to_another_list_as_it_is(store: &dyn Store) {
    let at = |second: i64| Timestamp::from_secs(631_152_000_i64.saturating_add(second));
    let name = key("relist", 1);
    assert_eq!(store.commit(&[Put { due_at: Some(at(10)), ..put(name.clone(), None, "no JSON") }]).await, Ok(()));
    let found = Listed { at: at(10), key: name.clone() };
    let stale = Listed { at: at(9), key: name.clone() };
    let absent = Listed { at: at(10), key: key("relist", 2) };
    for missing in [&stale, &absent] {
        assert_eq!(store.relist(List::Due, missing, List::Unreadable, at(50)).await, Err(CommitError::Conflict));
    }
    assert_eq!(store.relist(List::Due, &found, List::Unreadable, at(50)).await, Ok(()));
    assert_eq!(store.relist(List::Due, &found, List::Unreadable, at(60)).await, Err(CommitError::Conflict));
    assert_eq!(store.due(at(70), 10).await, Ok(vec![]));
    let moved = Listed { at: at(50), key: name.clone() };
    assert_eq!(store.list(List::Unreadable, at(49), None, 10).await, Ok(vec![]));
    assert_eq!(store.list(List::Unreadable, at(50), None, 10).await, Ok(vec![moved.clone()]));
    assert_eq!(store.load(std::slice::from_ref(&name)).await, Ok(vec![stored(1, "no JSON")]));
    assert_eq!(store.relist(List::Unreadable, &moved, List::Due, at(20)).await, Ok(()));
    assert_eq!(store.due(at(20), 10).await, Ok(vec![name.clone()]));
    assert_eq!(store.commit(&[put(name, Some(1), "{}")]).await, Ok(()));
    assert_eq!(store.due(at(70), 10).await, Ok(vec![]));
}
