//! The documents that a notification is about, read together: its payment, the obligations that may wait for it, and its own obligation, which
//! only comes to be where somebody else than the waiting flow has to be told.

use std::sync::Arc;
use std::time::Duration;

use connector::delivery::Delivery;
use connector::flow::{Disposition, FlowContext};
use connector::gateway::{GatewayName, GatewayNotification, NotificationKind, Reference};
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::{Attempt, AttemptKind, Finish, Obligation};
use connector::journal::session::ObligationSession;
use connector::journal::store::Key;
use connector::journal::transaction::{Retention, Transaction};
use connector::journal::{JournalError, PAYMENT_RETENTION};
use connector::metrics::Metric;
use connector::payments::FlowResult;
use connector::payments::obligation_context::{PaymentLookup, count_movements};
use connector::payments::payment_transitions::OwnerState;
use connector::payments::settlement::GatewayOperation;
use connector::reason::{AlarmReason, ParkReason, RetryReason};

/// How long a worker that is at the payment is waited for before it is looked at again.
const MAX_LEASE_WAIT: Duration = Duration::from_secs(10);

/// The name under which flows tell Cleeng what became of a payment.
const REPORT: &str = "report";

/// A notification in work.
pub(crate) struct NotificationContext<'w> {
    pub(crate) flow_context: &'w FlowContext,
    pub(crate) item: &'w GatewayNotification,
    /// The notification's own obligation.
    pub(crate) session: ObligationSession,
    pub(crate) payment: PaymentRecord,
    /// The payment as the journal has it.
    persisted_payment: PaymentRecord,
    owners: Vec<Obligation>,
}

impl<'w> NotificationContext<'w> {
    /// Finds and reads them. Nothing if no payment of ours is known.
    pub(crate) async fn open(
        flow_context: &'w FlowContext,
        gateway: GatewayName,
        item: &'w GatewayNotification,
        delivery: &Delivery,
    ) -> FlowResult<Option<Self>> {
        let Some((found, requested_by)) = find_payment(flow_context, gateway, item).await? else { return Ok(None) };
        let payment_key = PaymentRecord::key(&found.reference);
        let mut owner_keys = vec![Key::from_stored(found.obligation)];
        owner_keys.extend(requested_by.map(Key::from_stored).filter(|key| !owner_keys.contains(key)));
        let also: Vec<Key> = std::iter::once(&payment_key).chain(&owner_keys).cloned().collect();
        let own = Key::new("notification", &[found.reference.as_str(), &item.dedupe_key.replace('#', "_")]);
        let run = ObligationSession::open(Arc::clone(&flow_context.store), Arc::clone(&flow_context.clock), own, &also, delivery).await?;
        let Some(payment) = run.transaction.read::<PaymentRecord>(&payment_key)? else { return Ok(None) };
        let mut owners = Vec::new();
        for key in &owner_keys {
            owners.extend(run.transaction.read::<Obligation>(key)?);
        }
        let written = payment.clone();
        Ok(Some(Self { flow_context, item, session: run, payment, persisted_payment: written, owners }))
    }

    /// What the flow that makes the payment is doing.
    pub(crate) fn owner_state(&self) -> OwnerState {
        let open = self.open_attempts().find(|attempt| attempt.reference.as_ref() == Some(&self.payment.reference));
        OwnerState { in_flight: open.is_some(), reporting: open.is_some_and(|attempt| attempt.step(REPORT).is_some()) }
    }

    /// Somebody who is at the payment right now would lose his result if the record changed under his hands.
    ///
    /// # Errors
    /// `Disposition::Retry`.
    pub(crate) fn wait_for_owners(&self) -> FlowResult<()> {
        let now = self.session.now();
        let leases = self.owners.iter().filter_map(|owner| owner.lease.as_ref()).map(|lease| lease.until.since(now));
        match leases.max().filter(|remaining| !remaining.is_zero()) {
            Some(remaining) => Err(Disposition::Retry { after: Some(remaining.min(MAX_LEASE_WAIT)), reason: RetryReason::PaymentLeased }),
            None => Ok(()),
        }
    }

    fn open_attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.owners.iter().filter_map(Obligation::current_attempt)
    }

    /// Stages the payment for the next write.
    pub(crate) async fn stage_payment(&mut self) -> FlowResult<()> {
        let now = self.session.now();
        let kept = Retention { expires_at: Some(now.after(PAYMENT_RETENTION)), ..Retention::default() };
        let keep = if self.payment.is_unsettled() { Retention::default() } else { kept };
        self.session.transaction.stage(&PaymentRecord::key(&self.payment.reference), &self.payment, keep)?;
        if let Some(external) = &self.payment.external_payment_id {
            let lookup = PaymentRecord::gateway_id_key(self.payment.gateway, external);
            self.session.transaction.load(std::slice::from_ref(&lookup)).await?;
            if self.session.transaction.read::<PaymentLookup>(&lookup)?.is_none() {
                self.session.transaction.stage(&lookup, &PaymentLookup { reference: self.payment.reference.clone() }, kept)?;
            }
        }
        Ok(())
    }

    /// Writes the payment, if it is still the one that was read.
    pub(crate) async fn write_payment(&mut self) -> FlowResult<()> {
        self.stage_payment().await?;
        self.session.transaction.commit().await?;
        self.count_movements();
        Ok(())
    }

    /// Counts what happened to the money, once it is written.
    pub(crate) fn count_movements(&mut self) {
        count_movements(self.flow_context, &self.persisted_payment, &self.payment);
        self.persisted_payment.clone_from(&self.payment);
    }

    /// Brings the events that wait for this word back to their functions.
    pub(crate) async fn requeue_waiting_events(&self) -> FlowResult<()> {
        let is_decided = match self.payment.state {
            PaymentState::Starting => self.payment.authorisation_result.is_some(),
            PaymentState::Capturing => self.payment.notification_count(NotificationKind::Cancelled) > 0,
            _ => true,
        };
        if !is_decided {
            return Ok(());
        }
        for event in self.open_attempts().filter_map(|attempt| attempt.waiting_event.as_deref()) {
            self.flow_context.requeue.requeue(event).await.map_err(|error| {
                tracing::error!(reference = %self.payment.reference, %error, "a waiting event could not be requeued");
                Disposition::Retry { after: None, reason: error.into() }
            })?;
        }
        Ok(())
    }

    /// Somebody should know.
    pub(crate) fn raise_alarm(&self, reason: AlarmReason) {
        self.flow_context.metrics.count(Metric::Alarm, &[("reason", reason.as_str())]);
        tracing::error!(reference = %self.payment.reference, kind = self.item.kind.as_str(), reason = reason.as_str(), "unexpected payment transition");
    }

    /// Parks the notification for an operator. What is staged of the payment is written with it.
    pub(crate) async fn park(&mut self, reason: ParkReason) -> FlowResult<Disposition> {
        if self.session.obligation.current_attempt().is_none() {
            self.open_attempt();
        }
        // The alarm before the write: a worker that dies in between rings it twice, never not at all.
        self.flow_context.metrics.count(Metric::Parked, &[("reason", reason.as_str())]);
        tracing::error!(reference = %self.payment.reference, kind = self.item.kind.as_str(), reason = reason.as_str(), "parked for an operator");
        self.finish(Finish::Parked { reason: reason.as_str().to_owned(), money_unknown: false, resolved: false }).await?;
        Ok(Disposition::Parked(reason))
    }

    /// Opens the notification's own attempt, in memory.
    pub(crate) fn open_attempt(&mut self) {
        let (now, reference) = (self.session.now(), self.payment.reference.clone());
        if let Some(attempt) = self.session.open_attempt(AttemptKind::Notification, now) {
            attempt.reference = Some(reference);
        }
    }

    /// Finishes the notification's own attempt and writes everything.
    pub(crate) async fn finish(&mut self, finish: Finish) -> FlowResult<()> {
        if let Some(attempt) = self.session.obligation.current_attempt_mut() {
            attempt.finish = Some(finish);
        }
        self.session.release_lease();
        Ok(self.session.commit().await?)
    }
}

/// The payment, by our reference, by the gateway's id, or by the operation that is told about; and the obligation that asked for that
/// operation.
async fn find_payment(
    flow_context: &FlowContext,
    gateway: GatewayName,
    item: &GatewayNotification,
) -> FlowResult<Option<(PaymentRecord, Option<String>)>> {
    let by_reference = item.reference.as_ref().map(PaymentRecord::key);
    let by_id = item.external_payment_id.as_ref().map(|id| PaymentRecord::gateway_id_key(gateway, id));
    let names = [item.operation_ref.as_deref(), item.reference.as_ref().map(Reference::as_str)];
    let by_operation: Vec<Key> = names.into_iter().flatten().filter_map(|name| GatewayOperation::key(gateway, name)).collect();
    let mut transaction = Transaction::new(Arc::clone(&flow_context.store));
    let keys: Vec<Key> = by_reference.iter().chain(&by_id).chain(&by_operation).cloned().collect();
    transaction.load(&keys).await?;
    let mut operation = None;
    for key in &by_operation {
        operation = operation.or(transaction.read::<GatewayOperation>(key)?);
    }
    let requested_by = operation.as_ref().map(|operation| operation.obligation.clone());
    let found = match &by_reference {
        Some(key) => transaction.read::<PaymentRecord>(key)?,
        None => None,
    };
    if let Some(payment) = found {
        return Ok(of_gateway(payment, gateway).map(|payment| (payment, requested_by)));
    }
    let looked_up = match &by_id {
        Some(key) => transaction.read::<PaymentLookup>(key)?.map(|lookup| lookup.reference),
        None => None,
    };
    let Some(reference) = operation.map(|operation| operation.reference).or(looked_up) else { return Ok(None) };
    let key = PaymentRecord::key(&reference);
    transaction.load(std::slice::from_ref(&key)).await?;
    let payment: Result<Option<PaymentRecord>, JournalError> = transaction.read(&key);
    Ok(payment?.and_then(|payment| of_gateway(payment, gateway)).map(|payment| (payment, requested_by)))
}

/// A reference is unique among gateways, but a gateway speaks for itself alone.
fn of_gateway(payment: PaymentRecord, gateway: GatewayName) -> Option<PaymentRecord> {
    (payment.gateway == gateway).then_some(payment)
}
