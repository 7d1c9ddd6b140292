//! The documents of an obligation of a subscription in work; its steps are in `steps.rs`, and how it is finished, retried later or parked is
//! in `completion.rs`.

mod completion;
mod steps;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub use self::steps::TypedStepState;
use super::settlement::GatewayOperation;
use super::subscription_state::SubscriptionState;
use super::{FlowResult, retry};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::flow::FlowContext;
use crate::gateway::{Gateway, GatewayName, GatewayText, IdempotencyKey, OperationKind, Reference};
use crate::ids::{ExternalPaymentId, PaymentDetailsId, PaymentId, SubscriptionId};
use crate::journal::JournalError;
use crate::journal::payment::PaymentRecord;
use crate::journal::record::{Attempt, AttemptKind};
use crate::journal::session::ObligationSession;
use crate::journal::store::{Key, StoreError};
use crate::metrics::Metric;
use crate::reason::RetryReason;

/// An obligation of a subscription in work.
pub struct ObligationContext<'w> {
    /// The flow's dependencies.
    pub flow_context: &'w FlowContext,
    /// The obligation and this worker's lease on it.
    pub session: ObligationSession,
    /// The subscription's state.
    pub subscription_state: SubscriptionState,
    /// The event as an envelope's text, from which it can be requeued: kept in the journal while a result or an operator's decision is
    /// awaited.
    pub event: Option<String>,
    /// Whether reconciliation made the event: then its attempts say so.
    pub event_is_recovered: bool,
    /// `None` for an obligation that belongs to no subscription.
    state_key: Option<Key>,
    due_confirmed: bool,
    /// The longest that one call to a gateway may take here, if a client waits for the answer.
    max_call_time: Option<Duration>,
    payments: BTreeMap<Reference, PaymentRecord>,
    lookups: BTreeMap<Key, Reference>,
    operations: BTreeMap<Key, GatewayOperation>,
    /// The payments as the journal has them, for what is counted once they are written.
    persisted_payments: BTreeMap<Reference, PaymentRecord>,
}

impl<'w> ObligationContext<'w> {
    /// Reads the obligation, the subscription's state, and the payments that they name.
    ///
    /// # Errors
    /// `Err(Disposition::Retry)` if another worker holds the lease or the journal cannot be read.
    pub async fn open(flow_context: &'w FlowContext, key: Key, subscription: &SubscriptionId, delivery: &Delivery) -> FlowResult<Self> {
        Self::open_with_lookups(flow_context, key, Some(SubscriptionState::key(subscription)), &[], delivery).await
    }

    /// Reads an obligation that belongs to no subscription, and the payments that these look-ups name.
    ///
    /// # Errors
    /// As [`ObligationContext::open`].
    pub async fn open_without_subscription(
        flow_context: &'w FlowContext,
        key: Key,
        lookups: &[Key],
        delivery: &Delivery,
    ) -> FlowResult<Self> {
        Self::open_with_lookups(flow_context, key, None, lookups, delivery).await
    }

    async fn open_with_lookups(
        flow_context: &'w FlowContext,
        key: Key,
        head_key: Option<Key>,
        lookups: &[Key],
        delivery: &Delivery,
    ) -> FlowResult<Self> {
        let also: Vec<Key> = head_key.iter().chain(lookups).cloned().collect();
        let mut run =
            ObligationSession::open(Arc::clone(&flow_context.store), Arc::clone(&flow_context.clock), key, &also, delivery).await?;
        let head: SubscriptionState = head_key.as_ref().map_or(Ok(None), |key| run.transaction.read(key))?.unwrap_or_default();
        let open = run.obligation.current_attempt().and_then(|attempt| attempt.reference.clone());
        let mut references: Vec<Reference> =
            open.into_iter().chain(head.live_authorisation.as_ref().map(|live| live.reference.clone())).collect();
        for lookup in lookups {
            references.extend(run.transaction.read::<PaymentLookup>(lookup)?.map(|found| found.reference));
        }
        run.transaction.load(&references.iter().map(PaymentRecord::key).collect::<Vec<_>>()).await?;
        let payments = read_payments(&run, references)?;
        Ok(Self::from_documents(flow_context, run, head, head_key, payments))
    }

    /// Reads an obligation that belongs to no subscription, the payments of all its attempts, and the documents `also` with it.
    ///
    /// # Errors
    /// As [`ObligationContext::open`].
    pub async fn open_with_attempt_payments(
        flow_context: &'w FlowContext,
        key: Key,
        also: &[Key],
        delivery: &Delivery,
    ) -> FlowResult<Self> {
        let mut run =
            ObligationSession::open(Arc::clone(&flow_context.store), Arc::clone(&flow_context.clock), key, also, delivery).await?;
        let references: Vec<Reference> = run.obligation.attempts.iter().filter_map(|attempt| attempt.reference.clone()).collect();
        run.transaction.load(&references.iter().map(PaymentRecord::key).collect::<Vec<_>>()).await?;
        let payments = read_payments(&run, references)?;
        Ok(Self::from_documents(flow_context, run, SubscriptionState::default(), None, payments))
    }

    /// Reads the obligation of a notification, the payment that it is about, and the documents `also` with it. `None` if there is no such
    /// payment.
    ///
    /// # Errors
    /// As [`ObligationContext::open`].
    pub async fn open_notification(
        flow_context: &'w FlowContext,
        key: Key,
        reference: &Reference,
        also: &[Key],
        delivery: &Delivery,
    ) -> FlowResult<Option<Self>> {
        let documents: Vec<Key> = std::iter::once(PaymentRecord::key(reference)).chain(also.iter().cloned()).collect();
        let session =
            ObligationSession::open(Arc::clone(&flow_context.store), Arc::clone(&flow_context.clock), key, &documents, delivery).await?;
        let payments = read_payments(&session, vec![reference.clone()])?;
        let is_known = !payments.is_empty();
        Ok(is_known.then(|| Self::from_documents(flow_context, session, SubscriptionState::default(), None, payments)))
    }

    fn from_documents(
        flow_context: &'w FlowContext,
        run: ObligationSession,
        head: SubscriptionState,
        head_key: Option<Key>,
        payments: BTreeMap<Reference, PaymentRecord>,
    ) -> Self {
        let (lookups, operations, written) = (BTreeMap::new(), BTreeMap::new(), payments.clone());
        Self {
            flow_context,
            session: run,
            subscription_state: head,
            event: None,
            event_is_recovered: false,
            state_key: head_key,
            due_confirmed: false,
            max_call_time: None,
            payments,
            lookups,
            operations,
            persisted_payments: written,
        }
    }

    /// A client waits for the answer: a call to a gateway may take at most this long. The transport must have the same limit.
    pub const fn limit_call_time(&mut self, longest: Duration) {
        self.max_call_time = Some(longest);
    }

    /// The longest time that one call to this gateway can take here.
    #[must_use]
    pub fn call_timeout(&self, gateway: &Arc<dyn Gateway>) -> Duration {
        let own = gateway.capabilities().call_timeout;
        self.max_call_time.map_or(own, |longest| own.min(longest))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.session.now()
    }

    /// The attempt in flight.
    #[must_use]
    pub fn current_attempt(&self) -> Option<&Attempt> {
        self.session.obligation.current_attempt()
    }

    /// The payment of that reference, if it was loaded or made here.
    #[must_use]
    pub fn payment(&self, reference: &Reference) -> Option<&PaymentRecord> {
        self.payments.get(reference)
    }

    /// The payment that a look-up names, among those that this context was opened with.
    ///
    /// # Errors
    /// `Err(Disposition::Retry)` if the look-up cannot be read.
    pub fn resolve_lookup(&self, key: &Key) -> FlowResult<Option<Reference>> {
        Ok(self.session.transaction.read::<PaymentLookup>(key)?.map(|found| found.reference))
    }

    /// Reads a payment that is not in work yet, and returns whether there is one.
    ///
    /// # Errors
    /// `Err(Disposition::Retry)` if the journal cannot be read.
    pub async fn load_payment(&mut self, reference: &Reference) -> FlowResult<bool> {
        if !self.payments.contains_key(reference) {
            let key = PaymentRecord::key(reference);
            self.session.transaction.load(std::slice::from_ref(&key)).await?;
            if let Some(payment) = self.session.transaction.read::<PaymentRecord>(&key)? {
                self.payments.insert(reference.clone(), payment);
            }
        }
        Ok(self.payments.contains_key(reference))
    }

    /// Changes a payment, in memory.
    ///
    /// # Errors
    /// `Err(Disposition::Retry)` if the record is missing or the change is illegal: an inconsistent record is never acted on.
    pub fn update_payment(
        &mut self,
        reference: &Reference,
        update: impl FnOnce(&mut PaymentRecord, Timestamp) -> Result<(), JournalError>,
    ) -> FlowResult<()> {
        let now = self.now();
        let payment = self.payments.get_mut(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
        Ok(update(payment, now)?)
    }

    /// Adds a new payment, in memory.
    pub fn add_payment(&mut self, payment: PaymentRecord) {
        self.payments.insert(payment.reference.clone(), payment);
    }

    /// Records the gateway's id of a payment that has none yet, in memory: the payment is found by it from then on.
    ///
    /// # Errors
    /// `Err(Disposition::Retry)` if the payment is not loaded.
    pub fn record_external_id(&mut self, reference: &Reference, external: &ExternalPaymentId) -> FlowResult<()> {
        let payment = self.payments.get_mut(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
        if payment.external_payment_id.is_none() {
            payment.external_payment_id = Some(external.clone());
            payment.authorisation = Some(external.clone());
            let lookup = PaymentRecord::gateway_id_key(payment.gateway, external);
            self.add_lookup(lookup, reference);
        }
        Ok(())
    }

    /// Records Cleeng's id of a payment, in memory: the payment is found by it from then on.
    ///
    /// # Errors
    /// `Err(Disposition::Retry)` if the payment is not loaded.
    pub fn record_cleeng_payment(&mut self, reference: &Reference, payment: PaymentId) -> FlowResult<()> {
        self.add_lookup(PaymentRecord::cleeng_id_key(&payment), reference);
        self.update_payment(reference, |record, _| {
            record.cleeng_payment = Some(payment);
            Ok(())
        })
    }

    /// Makes a payment findable under another key, in memory.
    pub fn add_lookup(&mut self, key: Key, reference: &Reference) {
        self.lookups.insert(key, reference.clone());
    }

    /// Makes the payment and this obligation findable by the gateway's id of an operation, in memory, so that its notification can settle
    /// it.
    pub fn add_operation(&mut self, gateway: GatewayName, operation_ref: &str, reference: &Reference) {
        let operation = GatewayOperation::new(reference.clone(), self.session.key());
        self.operations.extend(GatewayOperation::key(gateway, operation_ref).map(|key| (key, operation)));
    }

    /// Opens an attempt and marks the subscription's state, in memory.
    ///
    /// # Errors
    /// `Err(Disposition::Retry)` if an attempt of another obligation of the subscription is in flight.
    pub fn open_attempt(&mut self, kind: AttemptKind, due: Timestamp, details: Option<PaymentDetailsId>) -> FlowResult<()> {
        if self.subscription_state.in_flight.as_deref().is_some_and(|other| other != self.session.key().as_str()) {
            return Err(retry(RetryReason::AnotherPeriodInFlight));
        }
        self.subscription_state.in_flight = Some(self.session.key().as_str().to_owned());
        let is_recovered = self.event_is_recovered;
        if let Some(attempt) = self.session.open_attempt(kind, due) {
            attempt.details = details;
            attempt.recovered = is_recovered;
        }
        Ok(())
    }

    /// Says which payment the open attempt is about, in memory.
    pub fn set_attempt_payment(&mut self, reference: &Reference) {
        if let Some(attempt) = self.session.obligation.current_attempt_mut() {
            attempt.reference = Some(reference.clone());
        }
    }

    /// Opens an attempt, in memory, also beside one of another obligation of the subscription that is in flight: then the subscription's
    /// state names that one until it is finished.
    pub fn open_attempt_beside(&mut self, kind: AttemptKind, due: Timestamp) {
        let in_flight = &mut self.subscription_state.in_flight;
        in_flight.get_or_insert_with(|| self.session.key().as_str().to_owned());
        self.session.open_attempt(kind, due);
    }

    /// The idempotency key of the next try of a step of the open attempt.
    #[must_use]
    pub fn idempotency_key(&self, gateway: GatewayName, operation: OperationKind, step: &str) -> IdempotencyKey {
        let attempt = self.current_attempt().map_or_else(String::new, |attempt| {
            let first = format!("{}/{}/{}/{}", attempt.kind.as_str(), attempt.due.secs(), step, attempt.no_effect_count(step));
            if attempt.repetition == 0 { first } else { format!("{first}/{}", attempt.repetition) }
        });
        IdempotencyKey::derive(
            &self.flow_context.policy.salt,
            GatewayText(gateway.as_str()),
            operation,
            self.session.key().as_str(),
            &attempt,
        )
    }

    /// The adapter of a gateway.
    ///
    /// # Errors
    /// `Err(Disposition::Retry)` if it is not configured any more.
    pub fn gateway(&self, name: GatewayName) -> FlowResult<Arc<dyn Gateway>> {
        self.flow_context.gateways.get(name).cloned().ok_or_else(|| retry(RetryReason::GatewayNotConfigured))
    }

    /// Notes that Cleeng said in this delivery that the money is due. Without that no call begins that takes money
    /// ([`gateway_step`](super::gateway_step)).
    pub const fn confirm_due(&mut self) {
        self.due_confirmed = true;
    }

    /// Whether Cleeng said in this delivery that the money is due.
    #[must_use]
    pub const fn is_due_confirmed(&self) -> bool {
        self.due_confirmed
    }
}

/// Counts the movements of a payment's money between two writes. A worker that crashes in between counts nothing: these numbers are for
/// observation, never for accounting.
fn count_movements(flow_context: &FlowContext, before: &PaymentRecord, after: &PaymentRecord) {
    for (movement, money) in after.movements_since(before) {
        let dimensions = [("movement", movement), ("gateway", after.gateway.as_str()), ("currency", money.currency.as_str())];
        flow_context.metrics.value(Metric::MoneyMoved, u64::try_from(money.minor).unwrap_or(0), &dimensions);
    }
}

fn read_payments(run: &ObligationSession, references: Vec<Reference>) -> FlowResult<BTreeMap<Reference, PaymentRecord>> {
    let mut payments = BTreeMap::new();
    for reference in references {
        if let Some(payment) = run.transaction.read::<PaymentRecord>(&PaymentRecord::key(&reference))? {
            payments.insert(reference, payment);
        }
    }
    Ok(payments)
}

/// The content of a look-up document.
#[derive(Debug, Serialize, serde::Deserialize)]
pub struct PaymentLookup {
    /// The payment.
    pub reference: Reference,
}
