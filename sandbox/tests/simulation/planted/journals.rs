//! Mistakes in how the journal is read and written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use connector::clock::Timestamp;
use connector::journal::store::{CommitError, Key, Put, Store, StoreError, Stored};
use sandbox::simulation::Tricks;
use serde_json::{Value, json};

use super::assert_caught;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    /// No version is checked: whoever writes last wins.
    NoFencing,
    /// A lease is never over.
    LeaseForEver,
    /// A write is said to be done and is not, one time in forty.
    LostWrites,
    /// Nobody remembers what of a payment was given back, or is about to be.
    RefundsForgotten,
    /// Nobody remembers with which details a payment was made.
    DetailsForgotten,
    /// What was begun and has no result is taken for not begun.
    IntentsForgotten,
}

struct Mistaken {
    inner: Arc<dyn Store>,
    mistake: Mistake,
    writes: AtomicU64,
}

impl Mistaken {
    fn read(&self, key: &Key, stored: Stored) -> Stored {
        let Ok(mut body) = serde_json::from_str::<Value>(&stored.body) else { return stored };
        let payment = key.as_str().starts_with("payment#");
        match self.mistake {
            Mistake::LeaseForEver => {
                if let Some(until) = body.pointer_mut("/lease/until") {
                    *until = json!(i64::MAX / 2);
                }
            }
            Mistake::RefundsForgotten if payment => {
                body["refunds"] = json!([]);
                if let Some(minor) = body.pointer_mut("/refunded/minor") {
                    *minor = json!(0);
                }
            }
            Mistake::DetailsForgotten => {
                // The payment belongs to whoever asks for it.
                if payment {
                    body["details"] = Value::Null;
                }
                if let Some(live) = body.pointer_mut("/live/details") {
                    *live = Value::Null;
                }
            }
            Mistake::IntentsForgotten => {
                for attempt in body.get_mut("attempts").and_then(Value::as_array_mut).into_iter().flatten() {
                    if let Some(steps) = attempt.get_mut("steps").and_then(Value::as_array_mut) {
                        steps.retain(|step| step.get("result").is_some_and(|result| !result.is_null()));
                    }
                }
            }
            _ => return stored,
        }
        Stored { body: body.to_string(), ..stored }
    }
}

#[async_trait]
impl Store for Mistaken {
    async fn load(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
        let found = self.inner.load(keys).await?;
        Ok(found.into_iter().zip(keys).map(|(stored, key)| stored.map(|stored| self.read(key, stored))).collect())
    }

    async fn commit(&self, puts: &[Put]) -> Result<(), CommitError> {
        if self.mistake == Mistake::LostWrites && self.writes.fetch_add(1, Ordering::SeqCst) % 40 == 39 {
            return Ok(());
        }
        let written = self.inner.commit(puts).await;
        if self.mistake != Mistake::NoFencing || written != Err(CommitError::Conflict) {
            return written;
        }
        let mut puts = puts.to_vec();
        for put in &mut puts {
            let there = self.inner.load(std::slice::from_ref(&put.key)).await.map_err(CommitError::NotWritten)?;
            put.expected = there.into_iter().flatten().next().map(|stored| stored.version);
        }
        self.inner.commit(&puts).await
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.inner.due(until, limit).await
    }
}

impl Tricks for Mistake {
    fn store(&self, journal: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Mistaken { inner: journal, mistake: *self, writes: AtomicU64::new(0) })
    }
}

#[test]
fn a_journal_that_whoever_comes_last_writes_over_is_found() {
    assert_caught(&Mistake::NoFencing, &["open again", "rewritten", "a payment went", "twice", "hold money", "charged", "at the gateway"]);
}

#[test]
fn a_lease_that_is_never_over_is_found() {
    assert_caught(&Mistake::LeaseForEver, &["dead letters", "never settled", "never leave"]);
}

#[test]
fn a_write_that_is_said_to_be_done_and_is_not_is_found() {
    assert_caught(&Mistake::LostWrites, &[""]);
}

#[test]
fn refunds_whose_sum_nobody_knows_are_found() {
    assert_caught(&Mistake::RefundsForgotten, &["refunded", "given back", "Cleeng's contract", "rewritten", "at the gateway"]);
}

#[test]
fn the_capture_of_what_was_held_with_other_details_is_found() {
    assert_caught(&Mistake::DetailsForgotten, &["hold money", "charged", "Cleeng's contract", "at the gateway", "held for ever"]);
}

#[test]
fn an_intent_that_is_forgotten_is_found() {
    assert_caught(&Mistake::IntentsForgotten, &[""]);
}
