//! The documents of an obligation of a subscription in work, and its steps; how it is paused, finished or parked is in `ending.rs`.

mod ending;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::head::Head;
use super::settlement::GatewayOperation;
use super::{Story, later};
use crate::clock::Timestamp;
use crate::flow::{Delivery, Verdict, World};
use crate::gateway::{Gateway, GatewayName, GatewayText, IdempotencyKey, OperationKind, Reference};
use crate::ids::{PaymentDetailsId, SubscriptionId};
use crate::journal::JournalError;
use crate::journal::payment::PaymentRecord;
use crate::journal::record::{Attempt, AttemptKind, Turn};
use crate::journal::run::Run;
use crate::journal::store::{Key, StoreError};
use crate::metrics::Metric;

/// An obligation of a subscription in work.
pub struct Case<'w> {
    /// What the flow was given.
    pub world: &'w World,
    /// The obligation and this worker's hold on it.
    pub run: Run,
    /// The subscription's head.
    pub head: Head,
    /// The event as an envelope's text, for whoever has to bring it back: kept in the journal while a result is awaited, and while an
    /// operator is.
    pub event: Option<String>,
    /// Nothing for an obligation that belongs to no subscription.
    head_key: Option<Key>,
    /// The longest that one call to a gateway may take here, where somebody waits for the answer.
    longest_call: Option<Duration>,
    payments: BTreeMap<Reference, PaymentRecord>,
    lookups: BTreeMap<Key, Reference>,
    operations: BTreeMap<Key, GatewayOperation>,
    /// The payments as the journal has them, for what is counted once they are written.
    written: BTreeMap<Reference, PaymentRecord>,
}

impl<'w> Case<'w> {
    /// Reads the obligation, the head, and the payments that they speak of.
    ///
    /// # Errors
    /// Later, if another worker is at it or the journal cannot be read.
    pub async fn open(world: &'w World, key: Key, subscription: &SubscriptionId, delivery: &Delivery) -> Story<Self> {
        Self::open_with(world, key, Some(Head::key(subscription)), &[], delivery).await
    }

    /// Reads an obligation that belongs to no subscription, and the payments that these look-ups name.
    ///
    /// # Errors
    /// As [`Case::open`].
    pub async fn open_without_head(world: &'w World, key: Key, lookups: &[Key], delivery: &Delivery) -> Story<Self> {
        Self::open_with(world, key, None, lookups, delivery).await
    }

    async fn open_with(world: &'w World, key: Key, head_key: Option<Key>, lookups: &[Key], delivery: &Delivery) -> Story<Self> {
        let also: Vec<Key> = head_key.iter().chain(lookups).cloned().collect();
        let mut run = Run::open(Arc::clone(&world.store), Arc::clone(&world.clock), key, &also, delivery).await?;
        let head: Head = head_key.as_ref().map_or(Ok(None), |key| run.work.read(key))?.unwrap_or_default();
        let open = run.obligation.open().and_then(|attempt| attempt.reference.clone());
        let mut spoken_of: Vec<Reference> = open.into_iter().chain(head.live.as_ref().map(|live| live.reference.clone())).collect();
        for lookup in lookups {
            spoken_of.extend(run.work.read::<Lookup>(lookup)?.map(|found| found.reference));
        }
        run.work.load(&spoken_of.iter().map(PaymentRecord::key).collect::<Vec<_>>()).await?;
        let payments = read_payments(&run, spoken_of)?;
        Ok(Self::of(world, run, head, head_key, payments))
    }

    /// Reads an obligation that belongs to no subscription, the payments of all its attempts, and the documents `also` with it.
    ///
    /// # Errors
    /// As [`Case::open`].
    pub async fn open_alone(world: &'w World, key: Key, also: &[Key], delivery: &Delivery) -> Story<Self> {
        let mut run = Run::open(Arc::clone(&world.store), Arc::clone(&world.clock), key, also, delivery).await?;
        let spoken_of: Vec<Reference> = run.obligation.attempts.iter().filter_map(|attempt| attempt.reference.clone()).collect();
        run.work.load(&spoken_of.iter().map(PaymentRecord::key).collect::<Vec<_>>()).await?;
        let payments = read_payments(&run, spoken_of)?;
        Ok(Self::of(world, run, Head::default(), None, payments))
    }

    fn of(world: &'w World, run: Run, head: Head, head_key: Option<Key>, payments: BTreeMap<Reference, PaymentRecord>) -> Self {
        let (lookups, operations, written) = (BTreeMap::new(), BTreeMap::new(), payments.clone());
        Self { world, run, head, event: None, head_key, longest_call: None, payments, lookups, operations, written }
    }

    /// Somebody waits for the answer: a call to a gateway may take this long at the most. The way out must be bound to the same.
    pub const fn bound_calls(&mut self, longest: Duration) {
        self.longest_call = Some(longest);
    }

    /// The longest time that one call to this gateway can take here.
    #[must_use]
    pub fn call_timeout(&self, gateway: &Arc<dyn Gateway>) -> Duration {
        let own = gateway.capabilities().call_timeout;
        self.longest_call.map_or(own, |longest| own.min(longest))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.run.now()
    }

    /// The attempt in flight.
    #[must_use]
    pub fn attempt(&self) -> Option<&Attempt> {
        self.run.obligation.open()
    }

    /// The payment of that reference, if it was loaded or made here.
    #[must_use]
    pub fn payment(&self, reference: &Reference) -> Option<&PaymentRecord> {
        self.payments.get(reference)
    }

    /// The payment that a look-up names, among those that this case was opened with.
    ///
    /// # Errors
    /// Later, if the look-up cannot be read.
    pub fn looked_up(&self, key: &Key) -> Story<Option<Reference>> {
        Ok(self.run.work.read::<Lookup>(key)?.map(|found| found.reference))
    }

    /// Reads a payment that is not in work yet, and tells whether there is one.
    ///
    /// # Errors
    /// Later, if the journal cannot be read.
    pub async fn load_payment(&mut self, reference: &Reference) -> Story<bool> {
        if !self.payments.contains_key(reference) {
            let key = PaymentRecord::key(reference);
            self.run.work.load(std::slice::from_ref(&key)).await?;
            if let Some(payment) = self.run.work.read::<PaymentRecord>(&key)? {
                self.payments.insert(reference.clone(), payment);
            }
        }
        Ok(self.payments.contains_key(reference))
    }

    /// Changes a payment, in memory.
    ///
    /// # Errors
    /// Later, if the record is missing or the change is illegal: nothing is done on a record that does not add up.
    pub fn change(
        &mut self,
        reference: &Reference,
        change: impl FnOnce(&mut PaymentRecord, Timestamp) -> Result<(), JournalError>,
    ) -> Story<()> {
        let now = self.now();
        let payment = self.payments.get_mut(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
        Ok(change(payment, now)?)
    }

    /// Adds a new payment, in memory.
    pub fn add_payment(&mut self, payment: PaymentRecord) {
        self.payments.insert(payment.reference.clone(), payment);
    }

    /// Makes a payment findable under another key, in memory.
    pub fn add_lookup(&mut self, key: Key, reference: &Reference) {
        self.lookups.insert(key, reference.clone());
    }

    /// Makes the payment and this obligation findable by the gateway's id of an operation, in memory, so that its notification can settle it.
    pub fn add_operation(&mut self, gateway: GatewayName, operation_ref: &str, reference: &Reference) {
        let operation = GatewayOperation::new(reference.clone(), self.run.key());
        self.operations.extend(GatewayOperation::key(gateway, operation_ref).map(|key| (key, operation)));
    }

    /// Opens an attempt and marks the head, in memory.
    ///
    /// # Errors
    /// Later, if an attempt of another obligation of the subscription is in flight.
    pub fn open_attempt(&mut self, kind: AttemptKind, due: Timestamp, details: Option<PaymentDetailsId>) -> Story<()> {
        if self.head.in_flight.as_deref().is_some_and(|other| other != self.run.key().as_str()) {
            return Err(later("another_period_in_flight"));
        }
        self.head.in_flight = Some(self.run.key().as_str().to_owned());
        if let Some(attempt) = self.run.open_attempt(kind, due) {
            attempt.details = details;
        }
        Ok(())
    }

    /// The idempotency key of the next try of a step of the open attempt.
    #[must_use]
    pub fn key_for(&self, gateway: GatewayName, operation: OperationKind, step: &str) -> IdempotencyKey {
        let attempt = self.attempt().map_or_else(String::new, |attempt| {
            format!("{}/{}/{}/{}", attempt.kind.as_str(), attempt.due.secs(), step, attempt.refusals(step))
        });
        IdempotencyKey::derive(&self.world.rules.salt, GatewayText(gateway.as_str()), operation, self.run.key().as_str(), &attempt)
    }

    /// The adapter of a gateway.
    ///
    /// # Errors
    /// Later, if it is not configured any more.
    pub fn gateway(&self, name: GatewayName) -> Story<Arc<dyn Gateway>> {
        self.world.gateways.get(name).cloned().ok_or_else(|| later("gateway_not_configured"))
    }

    /// The recorded result of a step, or how else it stands.
    ///
    /// # Errors
    /// Later, if the result cannot be read.
    pub fn turn<T: DeserializeOwned>(&self, step: &str) -> Story<StepTurn<T>> {
        Ok(match self.run.turn(step) {
            Turn::Fresh => StepTurn::Fresh,
            Turn::Unknown(step) => StepTurn::Unknown(step),
            Turn::Done(value) => StepTurn::Done(serde_json::from_value(value).map_err(|_| JournalError::Store(StoreError::Corrupt))?),
        })
    }

    /// Writes the intent of a step, with every result so far and the lease, before its call is made.
    ///
    /// # Errors
    /// Later, if time is too short, the journal is not available, or another worker took over.
    pub async fn begin(&mut self, step: &str, key: Option<IdempotencyKey>, timeout: Duration) -> Story<()> {
        if let Err(out_of_time) = self.run.begin(step, key, timeout) {
            self.pause().await?;
            return Err(out_of_time.into());
        }
        self.save().await
    }

    /// Records the result of a step, in memory: the next write takes it along.
    pub fn done<T: Serialize>(&mut self, step: &str, result: &T) {
        let value = serde_json::to_value(result).unwrap_or(Value::Null);
        if let Some(attempt) = self.run.obligation.open_mut() {
            attempt.done(step, value);
        }
    }

    /// Records something that is no call as a step that is done, in memory.
    pub fn note<T: Serialize>(&mut self, step: &str, value: &T) {
        let now = self.now();
        if let Some(attempt) = self.run.obligation.open_mut()
            && attempt.step(step).is_none()
        {
            attempt.begin(step, None, now);
        }
        self.done(step, value);
    }

    /// Records that the first call of a step is known to have had no effect, gives the lease back, and puts the event back.
    pub async fn no_effect(&mut self, step: &str, after: Option<Duration>, reason: &'static str) -> Verdict {
        if let Some(attempt) = self.run.obligation.open_mut() {
            attempt.refuse(step);
        }
        self.put_back(after, reason).await
    }

    /// Leaves a step as the unknown that it is, gives the lease back, and puts the event back.
    pub async fn leave_unknown(&mut self, step: &str, reason: &'static str) -> Verdict {
        self.world.metrics.count(Metric::UnknownOutcome, &[("step", step)]);
        tracing::warn!(obligation = %self.run.key(), step, reason, "outcome unknown");
        self.put_back(None, reason).await
    }
}

/// Counts what happened to a payment's money between two writes. A worker that dies in between counts nothing: these numbers are for looking
/// at, never for accounting.
pub fn count_movements(world: &World, before: &PaymentRecord, after: &PaymentRecord) {
    for (movement, money) in after.movements_since(before) {
        let dimensions = [("movement", movement), ("gateway", after.gateway.as_str()), ("currency", money.currency.as_str())];
        world.metrics.value(Metric::MoneyMoved, u64::try_from(money.minor).unwrap_or(0), &dimensions);
    }
}

fn read_payments(run: &Run, references: Vec<Reference>) -> Story<BTreeMap<Reference, PaymentRecord>> {
    let mut payments = BTreeMap::new();
    for reference in references {
        if let Some(payment) = run.work.read::<PaymentRecord>(&PaymentRecord::key(&reference))? {
            payments.insert(reference, payment);
        }
    }
    Ok(payments)
}

/// What a look-up document says.
#[derive(Debug, Serialize, serde::Deserialize)]
pub struct Lookup {
    /// The payment.
    pub reference: Reference,
}

/// How a step stands, with its result read.
pub enum StepTurn<T> {
    /// Not begun, or known to have had no effect.
    Fresh,
    /// Begun, result unknown.
    Unknown(crate::journal::record::Step),
    /// Done.
    Done(T),
}
