//! The documents that a notification is about, read together: its payment, the obligations that may wait for it, and its own obligation, which
//! only comes to be where somebody else than the waiting flow has to be told.

use std::sync::Arc;
use std::time::Duration;

use connector::billing::Story;
use connector::billing::case::{Lookup, count_movements};
use connector::billing::notified::Owner;
use connector::billing::settlement::GatewayOperation;
use connector::flow::{Delivery, Verdict, World};
use connector::gateway::{GatewayName, GatewayNotification, NotificationKind, Reference};
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::{Attempt, AttemptKind, Finish, Obligation};
use connector::journal::run::Run;
use connector::journal::store::Key;
use connector::journal::work::{Keep, Work};
use connector::journal::{JournalError, PAYMENT_KEPT};
use connector::metrics::Metric;

/// How long a worker that is at the payment is waited for before it is looked at again.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name under which flows tell Cleeng what became of a payment.
const REPORT: &str = "report";

/// A notification in work.
pub(crate) struct Desk<'w> {
    pub(crate) world: &'w World,
    pub(crate) item: &'w GatewayNotification,
    /// The notification's own obligation.
    pub(crate) run: Run,
    pub(crate) payment: PaymentRecord,
    /// The payment as the journal has it.
    written: PaymentRecord,
    owners: Vec<Obligation>,
}

impl<'w> Desk<'w> {
    /// Finds and reads them. Nothing if no payment of ours is known.
    pub(crate) async fn open(
        world: &'w World,
        gateway: GatewayName,
        item: &'w GatewayNotification,
        delivery: &Delivery,
    ) -> Story<Option<Self>> {
        let Some((found, asked_by)) = find(world, gateway, item).await? else { return Ok(None) };
        let payment_key = PaymentRecord::key(&found.reference);
        let mut owner_keys = vec![Key::from_stored(found.obligation)];
        owner_keys.extend(asked_by.map(Key::from_stored).filter(|key| !owner_keys.contains(key)));
        let also: Vec<Key> = std::iter::once(&payment_key).chain(&owner_keys).cloned().collect();
        let own = Key::new("notification", &[found.reference.as_str(), &item.dedupe_key.replace('#', "_")]);
        let run = Run::open(Arc::clone(&world.store), Arc::clone(&world.clock), own, &also, delivery).await?;
        let Some(payment) = run.work.read::<PaymentRecord>(&payment_key)? else { return Ok(None) };
        let mut owners = Vec::new();
        for key in &owner_keys {
            owners.extend(run.work.read::<Obligation>(key)?);
        }
        let written = payment.clone();
        Ok(Some(Self { world, item, run, payment, written, owners }))
    }

    /// What the flow that makes the payment is doing.
    pub(crate) fn owner(&self) -> Owner {
        let open = self.attempts_at_it().find(|attempt| attempt.reference.as_ref() == Some(&self.payment.reference));
        Owner { in_flight: open.is_some(), reporting: open.is_some_and(|attempt| attempt.step(REPORT).is_some()) }
    }

    /// Somebody who is at the payment right now would lose his result if the record changed under his hands.
    ///
    /// # Errors
    /// Later.
    pub(crate) fn wait_for_owners(&self) -> Story<()> {
        let now = self.run.now();
        let leases = self.owners.iter().filter_map(|owner| owner.lease.as_ref()).map(|lease| lease.until.since(now));
        match leases.max().filter(|remaining| !remaining.is_zero()) {
            Some(remaining) => Err(Verdict::Later { after: Some(remaining.min(PATIENCE)), reason: "payment_in_work" }),
            None => Ok(()),
        }
    }

    fn attempts_at_it(&self) -> impl Iterator<Item = &Attempt> {
        self.owners.iter().filter_map(Obligation::open)
    }

    /// Stages the payment for the next write.
    pub(crate) async fn stage(&mut self) -> Story<()> {
        let now = self.run.now();
        let kept = Keep { expires_at: Some(now.after(PAYMENT_KEPT)), ..Keep::default() };
        let keep = if self.payment.is_unsettled() { Keep::default() } else { kept };
        self.run.work.stage(&PaymentRecord::key(&self.payment.reference), &self.payment, keep)?;
        if let Some(external) = &self.payment.external_payment_id {
            let lookup = PaymentRecord::by_gateway(self.payment.gateway, external);
            self.run.work.load(std::slice::from_ref(&lookup)).await?;
            if self.run.work.read::<Lookup>(&lookup)?.is_none() {
                self.run.work.stage(&lookup, &Lookup { reference: self.payment.reference.clone() }, kept)?;
            }
        }
        Ok(())
    }

    /// Writes the payment, if it is still the one that was read.
    pub(crate) async fn write(&mut self) -> Story<()> {
        self.stage().await?;
        self.run.work.commit().await?;
        self.count();
        Ok(())
    }

    /// Counts what happened to the money, once it is written.
    pub(crate) fn count(&mut self) {
        count_movements(self.world, &self.written, &self.payment);
        self.written.clone_from(&self.payment);
    }

    /// Brings the events that wait for this word back to their functions.
    pub(crate) async fn bring_back(&self) -> Story<()> {
        let answered = match self.payment.state {
            PaymentState::Starting => self.payment.answered.is_some(),
            PaymentState::Capturing => self.payment.times_told(NotificationKind::Cancelled) > 0,
            _ => true,
        };
        if !answered {
            return Ok(());
        }
        for event in self.attempts_at_it().filter_map(|attempt| attempt.waiting_event.as_deref()) {
            self.world.requeue.requeue(event).await.map_err(|error| {
                tracing::error!(reference = %self.payment.reference, %error, "a waiting event could not be brought back");
                Verdict::Later { after: None, reason: error.code() }
            })?;
        }
        Ok(())
    }

    /// Somebody should know.
    pub(crate) fn alarm(&self, reason: &'static str) {
        self.world.metrics.count(Metric::Alarm, &[("reason", reason)]);
        tracing::error!(reference = %self.payment.reference, kind = self.item.kind.as_str(), reason, "a payment went another way");
    }

    /// Parks the notification for an operator. What is staged of the payment is written with it.
    pub(crate) async fn park(&mut self, reason: &'static str) -> Story<Verdict> {
        if self.run.obligation.open().is_none() {
            self.open_attempt();
        }
        // The alarm before the write: a worker that dies in between rings it twice, never not at all.
        self.world.metrics.count(Metric::Parked, &[("reason", reason)]);
        tracing::error!(reference = %self.payment.reference, kind = self.item.kind.as_str(), reason, "parked for an operator");
        self.close(Finish::Parked { reason: reason.to_owned(), money_unknown: false, resolved: false }).await?;
        Ok(Verdict::Parked(reason))
    }

    /// Opens the notification's own attempt, in memory.
    pub(crate) fn open_attempt(&mut self) {
        let (now, reference) = (self.run.now(), self.payment.reference.clone());
        if let Some(attempt) = self.run.open_attempt(AttemptKind::Notification, now) {
            attempt.reference = Some(reference);
        }
    }

    /// Finishes the notification's own attempt and writes everything.
    pub(crate) async fn close(&mut self, finish: Finish) -> Story<()> {
        if let Some(attempt) = self.run.obligation.open_mut() {
            attempt.finish = Some(finish);
        }
        self.run.release();
        Ok(self.run.commit().await?)
    }
}

/// The payment, by our reference, by the gateway's id, or by the operation that is told about; and the obligation that asked for that
/// operation.
async fn find(world: &World, gateway: GatewayName, item: &GatewayNotification) -> Story<Option<(PaymentRecord, Option<String>)>> {
    let by_reference = item.reference.as_ref().map(PaymentRecord::key);
    let by_id = item.external_payment_id.as_ref().map(|id| PaymentRecord::by_gateway(gateway, id));
    let names = [item.operation_ref.as_deref(), item.reference.as_ref().map(Reference::as_str)];
    let by_operation: Vec<Key> = names.into_iter().flatten().filter_map(|name| GatewayOperation::key(gateway, name)).collect();
    let mut work = Work::new(Arc::clone(&world.store));
    let keys: Vec<Key> = by_reference.iter().chain(&by_id).chain(&by_operation).cloned().collect();
    work.load(&keys).await?;
    let mut operation = None;
    for key in &by_operation {
        operation = operation.or(work.read::<GatewayOperation>(key)?);
    }
    let asked_by = operation.as_ref().map(|operation| operation.obligation.clone());
    let found = match &by_reference {
        Some(key) => work.read::<PaymentRecord>(key)?,
        None => None,
    };
    if let Some(payment) = found {
        return Ok(ours(payment, gateway).map(|payment| (payment, asked_by)));
    }
    let looked_up = match &by_id {
        Some(key) => work.read::<Lookup>(key)?.map(|lookup| lookup.reference),
        None => None,
    };
    let Some(reference) = operation.map(|operation| operation.reference).or(looked_up) else { return Ok(None) };
    let key = PaymentRecord::key(&reference);
    work.load(std::slice::from_ref(&key)).await?;
    let payment: Result<Option<PaymentRecord>, JournalError> = work.read(&key);
    Ok(payment?.and_then(|payment| ours(payment, gateway)).map(|payment| (payment, asked_by)))
}

/// A reference is unique among gateways, but a gateway speaks for itself alone.
fn ours(payment: PaymentRecord, gateway: GatewayName) -> Option<PaymentRecord> {
    (payment.gateway == gateway).then_some(payment)
}
