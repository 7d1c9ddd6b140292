//! Defects in reading and writing the journal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use connector::cleeng::webhook::{Topic, Verified, Webhook};
use connector::clock::Timestamp;
use connector::delivery::Delivery;
use connector::flow::{Disposition, Flow, FlowContext};
use connector::journal::store::{CommitError, Key, Put, Store, StoreError, StoredDocument};
use sandbox::simulation::fault_profile::FaultProfile;
use sandbox::testkit::interceptors::Interceptors;
use serde_json::{Value, json};

use super::{assert_detected, assert_detected_with};

#[derive(Clone, Copy, PartialEq, Eq)]
enum JournalDefect {
    /// No version is checked: the last write wins.
    NoVersionCheck,
    /// A lease is never over.
    LeaseNeverExpires,
    /// A write is said to be done and is not, one time in forty.
    WritesDropped,
    /// Refunded and reserved amounts of a payment are not recorded.
    RefundsIgnored,
    /// Nobody looks with which details a payment was made.
    DetailsIgnored,
    /// What was begun and has no result is taken for not begun.
    IntentsIgnored,
}

struct DefectiveStore {
    inner: Arc<dyn Store>,
    defect: JournalDefect,
    writes: AtomicU64,
    /// The details that the last event named.
    requested_details: Arc<Mutex<Value>>,
}

impl DefectiveStore {
    fn distort(&self, key: &Key, stored: StoredDocument) -> StoredDocument {
        let Ok(mut body) = serde_json::from_str::<Value>(&stored.body) else { return stored };
        let payment = key.as_str().starts_with("payment#");
        match self.defect {
            JournalDefect::LeaseNeverExpires => {
                if let Some(until) = body.pointer_mut("/lease/until") {
                    *until = json!(i64::MAX / 2);
                }
            }
            JournalDefect::RefundsIgnored if payment => {
                for part in body.get_mut("refunds").and_then(Value::as_array_mut).into_iter().flatten() {
                    if part["state"] == "done" {
                        part["state"] = json!("failed");
                    }
                }
                if let Some(minor) = body.pointer_mut("/refunded/minor") {
                    *minor = json!(0);
                }
            }
            JournalDefect::DetailsIgnored => {
                // Every authorisation matches every request.
                let asked = self.requested_details.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let places = [payment.then_some("/details"), Some("/live_authorisation/details")];
                for place in places.into_iter().flatten() {
                    if let Some(details) = body.pointer_mut(place).filter(|details| !details.is_null())
                        && !asked.is_null()
                    {
                        *details = asked.clone();
                    }
                }
            }
            JournalDefect::IntentsIgnored => {
                for attempt in body.get_mut("attempts").and_then(Value::as_array_mut).into_iter().flatten() {
                    if let Some(steps) = attempt.get_mut("steps").and_then(Value::as_array_mut) {
                        steps.retain(|step| step.get("result").is_some_and(|result| !result.is_null()));
                    }
                }
            }
            _ => return stored,
        }
        StoredDocument { body: body.to_string(), ..stored }
    }
}

#[async_trait]
impl Store for DefectiveStore {
    async fn load(&self, keys: &[Key]) -> Result<Vec<Option<StoredDocument>>, StoreError> {
        let found = self.inner.load(keys).await?;
        Ok(found.into_iter().zip(keys).map(|(stored, key)| stored.map(|stored| self.distort(key, stored))).collect())
    }

    async fn commit(&self, puts: &[Put]) -> Result<(), CommitError> {
        if self.defect == JournalDefect::WritesDropped && self.writes.fetch_add(1, Ordering::SeqCst) % 40 == 39 {
            return Ok(());
        }
        let written = self.inner.commit(puts).await;
        if self.defect != JournalDefect::NoVersionCheck || written != Err(CommitError::Conflict) {
            return written;
        }
        let mut puts = puts.to_vec();
        for put in &mut puts {
            let there = self.inner.load(std::slice::from_ref(&put.key)).await.map_err(CommitError::NotWritten)?;
            put.expected_version = there.into_iter().flatten().next().map(|stored| stored.version);
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
struct SeededDefect {
    defect: JournalDefect,
    requested_details: Arc<Mutex<Value>>,
}

impl SeededDefect {
    fn new(mistake: JournalDefect) -> Self {
        Self { defect: mistake, requested_details: Arc::default() }
    }
}

struct DetailsRecordingFlow {
    inner: Box<dyn Flow>,
    requested_details: Arc<Mutex<Value>>,
}

#[async_trait]
impl Flow for DetailsRecordingFlow {
    fn topic(&self) -> Topic {
        self.inner.topic()
    }

    async fn handle(&self, world: &FlowContext, event: &Verified<Webhook>, delivery: &Delivery) -> Disposition {
        if event.get().topic == Topic::SubscriptionReadyForPaymentCapture {
            let details = event.get().data.get("paymentDetailsId").cloned().unwrap_or_default();
            let details = details.as_str().map_or_else(|| details.to_string(), str::to_owned);
            *self.requested_details.lock().unwrap_or_else(PoisonError::into_inner) = json!(details);
        }
        self.inner.handle(world, event, delivery).await
    }
}

impl Interceptors for SeededDefect {
    fn store(&self, journal: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(DefectiveStore {
            inner: journal,
            defect: self.defect,
            writes: AtomicU64::new(0),
            requested_details: Arc::clone(&self.requested_details),
        })
    }

    fn flow(&self, flow: Box<dyn Flow>) -> Box<dyn Flow> {
        Box::new(DetailsRecordingFlow { inner: flow, requested_details: Arc::clone(&self.requested_details) })
    }

    fn reset(&self) {
        *self.requested_details.lock().unwrap_or_else(PoisonError::into_inner) = Value::Null;
    }
}

#[test]
fn a_journal_without_version_checks_is_detected() {
    assert_detected(
        &SeededDefect::new(JournalDefect::NoVersionCheck),
        &["open again", "rewritten", "a payment went", "twice", "hold or keep", "did not say just now", "at the gateway"],
    );
}

#[test]
fn a_lease_that_never_expires_is_detected() {
    assert_detected(&SeededDefect::new(JournalDefect::LeaseNeverExpires), &["dead letters", "never settled", "never leave"]);
}

#[test]
fn a_dropped_write_is_detected() {
    assert_detected(&SeededDefect::new(JournalDefect::WritesDropped), &[""]);
}

#[test]
fn ignored_earlier_refunds_are_detected() {
    assert_detected(&SeededDefect::new(JournalDefect::RefundsIgnored), &["refunded", "Cleeng's contract", "rewritten", "at the gateway"]);
}

#[test]
fn a_capture_with_replaced_details_is_detected() {
    // The announcement that they were replaced, by which they would be released at once, is lost now and then.
    let profile = FaultProfile { dropped: 200, life_event: 1_000, ..FaultProfile::no_faults() };
    let effect = ["captured with details that were replaced", "did not say just now"];
    assert_detected_with(&SeededDefect::new(JournalDefect::DetailsIgnored), Some(&profile), &effect);
}

#[test]
fn an_ignored_intent_is_detected() {
    assert_detected(&SeededDefect::new(JournalDefect::IntentsIgnored), &[""]);
}
