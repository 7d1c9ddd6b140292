//! Mistakes in how the journal is read and written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use connector::cleeng::webhook::{Topic, Verified, Webhook};
use connector::clock::Timestamp;
use connector::flow::{Delivery, Flow, Verdict, World};
use connector::journal::store::{CommitError, Key, Put, Store, StoreError, Stored};
use sandbox::simulation::Tricks;
use sandbox::simulation::climate::Climate;
use serde_json::{Value, json};

use super::{assert_caught, assert_caught_in};

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
    /// Nobody looks with which details a payment was made.
    DetailsIgnored,
    /// What was begun and has no result is taken for not begun.
    IntentsForgotten,
}

struct Mistaken {
    inner: Arc<dyn Store>,
    mistake: Mistake,
    writes: AtomicU64,
    /// The details that the last event named.
    asked: Arc<Mutex<Value>>,
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
                for part in body.get_mut("refunds").and_then(Value::as_array_mut).into_iter().flatten() {
                    if part["state"] == "done" {
                        part["state"] = json!("failed");
                    }
                }
                if let Some(minor) = body.pointer_mut("/refunded/minor") {
                    *minor = json!(0);
                }
            }
            Mistake::DetailsIgnored => {
                // Whatever is held fits whatever is asked for.
                let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let places = [payment.then_some("/details"), Some("/live/details")];
                for place in places.into_iter().flatten() {
                    if let Some(details) = body.pointer_mut(place).filter(|details| !details.is_null())
                        && !asked.is_null()
                    {
                        *details = asked.clone();
                    }
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

    async fn parked(&self, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.inner.parked(limit).await
    }
}

/// A mistake, with what it has to know of the events.
struct Planted {
    mistake: Mistake,
    asked: Arc<Mutex<Value>>,
}

impl Planted {
    fn new(mistake: Mistake) -> Self {
        Self { mistake, asked: Arc::default() }
    }
}

struct Listening {
    inner: Box<dyn Flow>,
    asked: Arc<Mutex<Value>>,
}

#[async_trait]
impl Flow for Listening {
    fn topic(&self) -> Topic {
        self.inner.topic()
    }

    async fn settle(&self, world: &World, event: &Verified<Webhook>, delivery: &Delivery) -> Verdict {
        if event.get().topic == Topic::SubscriptionReadyForPaymentCapture {
            let details = event.get().data.get("paymentDetailsId").cloned().unwrap_or_default();
            let details = details.as_str().map_or_else(|| details.to_string(), str::to_owned);
            *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = json!(details);
        }
        self.inner.settle(world, event, delivery).await
    }
}

impl Tricks for Planted {
    fn store(&self, journal: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Mistaken { inner: journal, mistake: self.mistake, writes: AtomicU64::new(0), asked: Arc::clone(&self.asked) })
    }

    fn flow(&self, flow: Box<dyn Flow>) -> Box<dyn Flow> {
        Box::new(Listening { inner: flow, asked: Arc::clone(&self.asked) })
    }

    fn begins(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Value::Null;
    }
}

#[test]
fn a_journal_that_whoever_comes_last_writes_over_is_found() {
    assert_caught(
        &Planted::new(Mistake::NoFencing),
        &["open again", "rewritten", "a payment went", "twice", "hold money", "charged", "at the gateway"],
    );
}

#[test]
fn a_lease_that_is_never_over_is_found() {
    assert_caught(&Planted::new(Mistake::LeaseForEver), &["dead letters", "never settled", "never leave"]);
}

#[test]
fn a_write_that_is_said_to_be_done_and_is_not_is_found() {
    assert_caught(&Planted::new(Mistake::LostWrites), &[""]);
}

#[test]
fn refunds_whose_sum_nobody_knows_are_found() {
    assert_caught(
        &Planted::new(Mistake::RefundsForgotten),
        &["refunded", "given back", "Cleeng's contract", "rewritten", "at the gateway"],
    );
}

#[test]
fn the_capture_of_what_was_held_with_other_details_is_found() {
    // The announcement that they were replaced, by which they would be released at once, is lost now and then.
    let climate = Climate { dropped: 200, life: 1_000, ..Climate::fair() };
    let effect = ["captured with details that were replaced"];
    assert_caught_in(&Planted::new(Mistake::DetailsIgnored), Some(&climate), &effect);
}

#[test]
fn an_intent_that_is_forgotten_is_found() {
    assert_caught(&Planted::new(Mistake::IntentsForgotten), &[""]);
}
