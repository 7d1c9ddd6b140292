//! The documents that a notification is about, read together: its payment, the obligations that may wait for it, and its own obligation,
//! which is written only if this function has to report to Cleeng or to park.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use connector::delivery::Delivery;
use connector::flow::{Disposition, FlowContext};
use connector::gateway::{GatewayName, GatewayNotification, NotificationKind, Reference};
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::{Attempt, AttemptKind, Obligation};
use connector::journal::session::retention;
use connector::journal::store::Key;
use connector::journal::transaction::Transaction;
use connector::metrics::Metric;
use connector::payments::obligation_context::{ObligationContext, PaymentLookup};
use connector::payments::payment_transitions::OwnerState;
use connector::payments::reversal::{self, reversal_key};
use connector::payments::settlement::GatewayOperation;
use connector::payments::{FlowResult, retry};
use connector::reason::{AlarmReason, ParkReason, RetryReason};
use connector::renewal::late_success;

/// The longest wait for a worker that holds the payment before the next try.
const MAX_LEASE_WAIT: Duration = Duration::from_secs(10);

/// The step in which flows report a payment to Cleeng.
const REPORT: &str = "report";

/// A notification in work.
pub(crate) struct NotificationContext<'w> {
    pub(crate) item: &'w GatewayNotification,
    /// The notification's own obligation, and the payment.
    pub(crate) obligation: ObligationContext<'w>,
    /// The payment that the notification is about.
    pub(crate) reference: Reference,
    /// The obligations of the flows that may wait for the notification: the one that made the payment, the one that captures it, the one
    /// that asked for this operation, and the one that gives it back.
    owners: Vec<(Key, Obligation)>,
}

impl<'w> NotificationContext<'w> {
    /// Finds and reads them. `None` if no payment of ours is known.
    pub(crate) async fn open(
        flow_context: &'w FlowContext,
        gateway: GatewayName,
        item: &'w GatewayNotification,
        delivery: &Delivery,
    ) -> FlowResult<Option<Self>> {
        let Some((found, requested_by)) = find_payment(flow_context, gateway, item).await? else { return Ok(None) };
        let settling = late_success::settling_obligation(&found);
        let mut owner_keys = vec![Key::from_stored(found.obligation), reversal_key(&found.reference)];
        for other in [found.captured_by, requested_by].into_iter().flatten().map(Key::from_stored).chain(settling) {
            if !owner_keys.contains(&other) {
                owner_keys.push(other);
            }
        }
        let (own, reference) = (Key::new("notification", &[found.reference.as_str(), &item.dedupe_key.replace('#', "_")]), found.reference);
        let opened = ObligationContext::open_notification(flow_context, own, &reference, &owner_keys, delivery).await?;
        let Some(obligation) = opened else { return Ok(None) };
        let mut owners = Vec::new();
        for key in owner_keys {
            owners.extend(obligation.session.transaction.read::<Obligation>(&key)?.map(|owner| (key, owner)));
        }
        Ok(Some(Self { item, obligation, reference, owners }))
    }

    /// The payment.
    ///
    /// # Errors
    /// `Disposition::Retry` if it is not loaded.
    pub(crate) fn payment(&self) -> FlowResult<&PaymentRecord> {
        self.obligation.payment(&self.reference).ok_or_else(|| retry(RetryReason::PaymentNotLoaded))
    }

    /// What the flow that makes the payment is doing.
    pub(crate) fn owner_state(&self) -> OwnerState {
        let open = self.open_attempts().find(|attempt| attempt.reference.as_ref() == Some(&self.reference));
        OwnerState { in_flight: open.is_some(), reporting: open.is_some_and(|attempt| attempt.step(REPORT).is_some()) }
    }

    /// A worker that holds the payment now would lose its result if the record changed meanwhile.
    ///
    /// # Errors
    /// `Disposition::Retry`.
    pub(crate) fn wait_for_owners(&self) -> FlowResult<()> {
        let now = self.obligation.now();
        let leases = self.owners.iter().filter_map(|(_, owner)| owner.lease.as_ref()).map(|lease| lease.until.since(now));
        match leases.max().filter(|remaining| !remaining.is_zero()) {
            Some(remaining) => Err(Disposition::Retry { after: Some(remaining.min(MAX_LEASE_WAIT)), reason: RetryReason::PaymentLeased }),
            None => Ok(()),
        }
    }

    fn open_attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.owners.iter().filter_map(|(_, owner)| owner.current_attempt())
    }

    /// Whether the payment is given back, or was.
    pub(crate) fn has_reversal(&self) -> bool {
        let reversal = reversal_key(&self.reference);
        self.owners.iter().any(|(key, _)| *key == reversal)
    }

    /// Leaves a payment that succeeded late to its obligation, in memory: a billing period or a capture settles it, everything else gives it
    /// back. What does is written with the payment, so that it is not forgotten. Returns the key of what settles it, if anything does.
    pub(crate) fn leave_to_obligation(&mut self) -> FlowResult<Option<Key>> {
        let settling = late_success::settling_obligation(self.payment()?);
        let key = settling.clone().unwrap_or_else(|| reversal_key(&self.reference));
        let now = self.obligation.now();
        let known = self.owners.iter().find(|(owner, _)| *owner == key).map(|(_, owner)| owner.clone());
        let mut owner = known.unwrap_or_default();
        if settling.is_some() {
            owner.add_late_success(&self.reference);
        } else if owner.current_attempt().is_none() {
            reversal::open_attempt(&mut owner, now);
        }
        self.obligation.session.transaction.stage(&key, &owner, retention(&owner, now))?;
        Ok(settling)
    }

    /// Makes the payment findable by the gateway's id, in memory, unless that id names one.
    pub(crate) async fn add_gateway_lookup(&mut self) -> FlowResult<()> {
        let payment = self.payment()?;
        let lookup = payment.external_payment_id.as_ref().map(|external| PaymentRecord::gateway_id_key(payment.gateway, external));
        if let Some(lookup) = lookup {
            self.obligation.session.transaction.load(std::slice::from_ref(&lookup)).await?;
            if self.obligation.resolve_lookup(&lookup)?.is_none() {
                self.obligation.add_lookup(lookup, &self.reference);
            }
        }
        Ok(())
    }

    /// Writes the payment, if it is still the one that was read.
    pub(crate) async fn write_payment(&mut self) -> FlowResult<()> {
        self.add_gateway_lookup().await?;
        self.obligation.save_and_release_lease().await
    }

    /// Whether an event about the payment waits in the journal.
    pub(crate) fn has_waiting_event(&self) -> bool {
        !self.waiting_events().is_empty()
    }

    fn waiting_events(&self) -> BTreeSet<String> {
        let kept = self.open_attempts().filter_map(|attempt| attempt.waiting_event.clone());
        let postponed = self.owners.iter().flat_map(|(_, owner)| owner.postponed.iter().map(|postponed| postponed.event.clone()));
        kept.chain(postponed).collect()
    }

    /// Puts the events that wait for this notification back on their queues.
    pub(crate) async fn requeue_waiting_events(&self) -> FlowResult<()> {
        let payment = self.payment()?;
        let is_decided = match payment.state {
            PaymentState::Starting => payment.authorisation_result.is_some(),
            PaymentState::Capturing => payment.notification_count(NotificationKind::Cancelled) > 0,
            _ => true,
        };
        if !is_decided {
            return Ok(());
        }
        for event in self.waiting_events() {
            self.obligation.flow_context.requeue.requeue(&event).await.map_err(|error| {
                tracing::error!(reference = %self.reference, %error, "a waiting event could not be requeued");
                Disposition::Retry { after: None, reason: error.into() }
            })?;
        }
        Ok(())
    }

    /// Raises an alarm about an unexpected transition.
    pub(crate) fn raise_alarm(&self, reason: AlarmReason) {
        let (kind, reason) = (self.item.kind.as_str(), reason.as_str());
        self.obligation.flow_context.metrics.count(Metric::Alarm, &[("reason", reason)]);
        tracing::error!(reference = %self.reference, kind, reason, "unexpected payment transition");
    }

    /// Parks the notification for an operator.
    pub(crate) async fn park<T>(&mut self, reason: ParkReason) -> FlowResult<T> {
        if self.obligation.current_attempt().is_none() {
            self.open_attempt()?;
        }
        self.obligation.park(reason, false).await
    }

    /// Opens the notification's own attempt, in memory.
    pub(crate) fn open_attempt(&mut self) -> FlowResult<()> {
        self.obligation.open_attempt(AttemptKind::Notification, self.obligation.now(), None)?;
        self.obligation.set_attempt_payment(&self.reference);
        Ok(())
    }
}

/// The payment, by our reference, by the gateway's id, or by the operation that the notification names; and the obligation that asked for
/// that operation.
async fn find_payment(
    flow_context: &FlowContext,
    gateway: GatewayName,
    item: &GatewayNotification,
) -> FlowResult<Option<(PaymentRecord, Option<String>)>> {
    let by_reference = item.reference.as_ref().map(PaymentRecord::key);
    let by_id = item.external_payment_id.as_ref().map(|id| PaymentRecord::gateway_id_key(gateway, id));
    // Details can be named by the customer for whom a purchase stores them.
    let shopper = item.token.as_ref().map(|token| token.shopper.as_str());
    let names = [item.operation_ref.as_deref(), item.reference.as_ref().map(Reference::as_str), shopper];
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
    let payment: Option<PaymentRecord> = transaction.read(&key)?;
    Ok(payment.and_then(|payment| of_gateway(payment, gateway)).map(|payment| (payment, requested_by)))
}

/// A reference is unique among gateways, but a notification is valid only for the gateway that sent it.
fn of_gateway(payment: PaymentRecord, gateway: GatewayName) -> Option<PaymentRecord> {
    (payment.gateway == gateway).then_some(payment)
}
