//! Processes the due documents one after the other, the longest due first. [`plan`] decides what is done about a document.
//!
//! A run goes on behind what it has seen, so that no document holds back another: neither one that stays where it is, because Cleeng
//! throttles or a worker holds it, nor one that cannot be read. That one is listed apart, with an alarm, and looked at again every hour: by
//! the release that can read it, or after it was repaired, it is due again by itself.
//!
//! Before work on an obligation starts, its due time is moved on, under the condition that the obligation is unchanged. So two runs at once
//! never do the same work, a run that crashes does not start with the same document again and again, and a document that cannot be
//! processed does not block the others.

use std::time::Duration;

use connector::checkout::expire_purchase;
use connector::delivery::Delivery;
use connector::flow::{Disposition, FlowContext, RunReport};
use connector::gateway::Reference;
use connector::journal::record::Obligation;
use connector::journal::session::retention;
use connector::journal::store::{Key, List, Listed, StoreError};
use connector::journal::transaction::Transaction;
use connector::journal::{JournalError, QUEUE_REDELIVERY_WINDOW};
use connector::metrics::Metric;
use connector::payments::reversal::reverse;
use connector::reason::CompletionReason;
use connector::reason::ParkReason;
use connector::renewal::late_success;

use crate::documents::{self, DocumentKind};
use crate::missed_events::DueSubscription;
use crate::obsolete_authorisations;
use crate::plan::{PlannedAction, plan};

/// So many documents are listed at a time.
const PAGE_SIZE: usize = 100;
/// A document that cannot be read is tried again after this time.
const UNREADABLE_INTERVAL: Duration = Duration::from_secs(3600);
/// Work on a document starts only if so much time is left: the longest call to a gateway and back, twice.
const MIN_TIME_PER_ITEM: Duration = Duration::from_secs(45);

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemResult {
    /// Nothing was to be done.
    UpToDate,
    /// A waiting event is on its queue again.
    Requeued,
    /// A purchase or a reversal came to its end.
    Finished,
    /// An event that was missed is on its queue.
    Recovered,
    /// An obsolete authorisation is released.
    Released,
    /// It is due again later.
    Deferred,
    /// Cleeng throttles: no more subscriptions in this run.
    Throttled,
    /// The journal, Cleeng or the queue cannot be reached.
    Failed,
}

impl From<Disposition> for ItemResult {
    fn from(disposition: Disposition) -> Self {
        match disposition {
            Disposition::Completed(_) | Disposition::Parked(_) | Disposition::NotOurs => Self::Finished,
            Disposition::Postponed(_) | Disposition::Retry { .. } => Self::Deferred,
        }
    }
}

impl From<JournalError> for ItemResult {
    /// Another worker who wrote first has set the document's times as well.
    fn from(error: JournalError) -> Self {
        if error == JournalError::Contended { Self::Deferred } else { Self::Failed }
    }
}

/// Whether a run has time for more.
enum TimeLeft {
    Some,
    None,
}

/// One run over what is due.
pub(crate) struct Run<'a> {
    flow_context: &'a FlowContext,
    delivery: &'a Delivery,
    report: RunReport,
    throttled: bool,
}

impl<'a> Run<'a> {
    pub(crate) fn new(flow_context: &'a FlowContext, delivery: &'a Delivery) -> Self {
        Self { flow_context, delivery, report: RunReport::default(), throttled: false }
    }

    /// Ends when nothing more is due, or when the time is used up; the rest is due in the next run.
    pub(crate) async fn process_all(mut self) -> RunReport {
        for list in [List::Due, List::Unreadable] {
            match self.process_list(list).await {
                Ok(TimeLeft::Some) => {}
                Ok(TimeLeft::None) => {
                    tracing::info!("time is used up; the next run continues");
                    break;
                }
                Err(error) => {
                    tracing::error!(%error, "due items cannot be listed");
                    self.report.failed = self.report.failed.saturating_add(1);
                    self.report.is_due_unlisted = true;
                    break;
                }
            }
        }
        self.report
    }

    /// Goes through what is due now, page by page.
    async fn process_list(&mut self, list: List) -> Result<TimeLeft, StoreError> {
        let (until, mut last) = (self.flow_context.clock.now(), None);
        loop {
            let page = self.flow_context.store.list(list, until, last.as_ref(), PAGE_SIZE).await?;
            if list == List::Due && last.is_none() {
                let age = page.first().map_or(Duration::ZERO, |oldest| until.since(oldest.at));
                self.flow_context.metrics.duration(Metric::DueAge, age, &[]);
            }
            for listed in &page {
                if self.flow_context.clock.now().after(MIN_TIME_PER_ITEM) > self.delivery.deadline {
                    return Ok(TimeLeft::None);
                }
                match list {
                    List::Unreadable => self.retry_unreadable(listed).await,
                    List::Due | List::Parked => self.process(listed).await,
                }
            }
            if page.len() < PAGE_SIZE {
                return Ok(TimeLeft::Some);
            }
            last = page.into_iter().next_back();
        }
    }

    /// Looks whether a document can be read by now; then it is due.
    async fn retry_unreadable(&self, listed: &Listed) {
        let now = self.flow_context.clock.now();
        let loaded = documents::load(self.flow_context, &listed.key).await;
        let can_be_read = loaded.is_ok_and(|transaction| !matches!(plan(&transaction, &listed.key, now), PlannedAction::Unreadable(_)));
        if can_be_read {
            tracing::info!(document = %listed.key, "a document can be read again, and is due");
            let _listed_by_its_next_write = self.flow_context.store.relist(List::Unreadable, listed, List::Due, now).await;
        } else {
            self.list_unreadable(List::Unreadable, listed).await;
        }
    }

    async fn process(&mut self, listed: &Listed) {
        let key = &listed.key;
        let is_subscription = DocumentKind::of(key) == DocumentKind::Subscription;
        if is_subscription && self.throttled {
            return;
        }
        let looked_at = if is_subscription { &mut self.report.checked } else { &mut self.report.due };
        *looked_at = looked_at.saturating_add(1);
        let result = match self.carry_out_plan(key).await {
            Err(JournalError::Store(StoreError::Corrupt | StoreError::Unwritable) | JournalError::NewerSchema(_)) => {
                self.list_unreadable(List::Due, listed).await;
                ItemResult::Deferred
            }
            result => result.unwrap_or_else(ItemResult::from),
        };
        self.count(key, result);
    }

    /// Plans and does it.
    async fn carry_out_plan(&self, key: &Key) -> Result<ItemResult, JournalError> {
        let transaction = documents::load(self.flow_context, key).await?;
        let action = plan(&transaction, key, self.flow_context.clock.now());
        // The work on a document takes its own leases.
        let child_delivery = Delivery { id: format!("{}/{key}", self.delivery.id), ..self.delivery.clone() };
        match action {
            PlannedAction::Settled => Ok(ItemResult::UpToDate),
            PlannedAction::LeaveToWorker => Ok(ItemResult::Deferred),
            PlannedAction::Unreadable(error) => Err(error),
            PlannedAction::LeaveInFlight => Ok(DueSubscription::new(self.flow_context, key, transaction)?.leave_in_flight().await),
            PlannedAction::CheckSubscription { .. } => {
                Ok(DueSubscription::new(self.flow_context, key, transaction)?.check(&child_delivery).await)
            }
            PlannedAction::LeaveToQueue => self.claim(key, transaction).await.map(|_| ItemResult::Deferred),
            PlannedAction::Requeue => {
                let claimed = self.claim(key, transaction).await?;
                Ok(self.requeue_waiting_events(key, claimed).await)
            }
            PlannedAction::ContinueWithoutCustomer => {
                self.claim(key, transaction).await?;
                Ok(expire_purchase(self.flow_context, key, &child_delivery).await.into())
            }
            PlannedAction::ContinueReversal(reference) => {
                self.claim(key, transaction).await?;
                Ok(reverse(self.flow_context, &reference, None, &child_delivery).await.into())
            }
            PlannedAction::SettleLateSuccess => {
                self.claim(key, transaction).await?;
                Ok(late_success::settle(self.flow_context, key, &child_delivery).await.into())
            }
            PlannedAction::ContinueRelease(reference) => {
                self.claim(key, transaction).await?;
                Ok(self.continue_release(&reference, &child_delivery).await)
            }
        }
    }

    /// Moves the document's time on: it is this run's until then.
    async fn claim(&self, key: &Key, mut transaction: Transaction) -> Result<(Transaction, Obligation), JournalError> {
        let now = self.flow_context.clock.now();
        let mut obligation: Obligation = transaction.read(key)?.unwrap_or_default();
        obligation.claimed_at = Some(now);
        transaction.stage(key, &obligation, retention(&obligation, now))?;
        transaction.commit().await?;
        Ok((transaction, obligation))
    }

    /// Rings for a document that cannot be read, or not be written again, and lists it apart. Its contents stay as they are.
    async fn list_unreadable(&self, from: List, listed: &Listed) {
        tracing::error!(document = %listed.key, "a due document cannot be read");
        self.flow_context.metrics.count(Metric::Parked, &[("reason", ParkReason::DueDocumentUnreadable.as_str())]);
        let next = self.flow_context.clock.now().after(UNREADABLE_INTERVAL);
        if let Err(error) = self.flow_context.store.relist(from, listed, List::Unreadable, next).await {
            tracing::warn!(document = %listed.key, %error, "a document that cannot be read stays where it is listed");
        }
    }

    async fn continue_release(&self, reference: &Reference, delivery: &Delivery) -> ItemResult {
        match obsolete_authorisations::resume_release(self.flow_context, reference, delivery).await {
            Disposition::Completed(CompletionReason::Released) => ItemResult::Released,
            disposition => disposition.into(),
        }
    }

    /// The waiting events are requeued. The journal records that copies exist for as long as their queues deliver them. If that write fails,
    /// above all because the events' function writes at the same time, other copies follow, which is harmless.
    async fn requeue_waiting_events(&self, key: &Key, (mut transaction, mut obligation): (Transaction, Obligation)) -> ItemResult {
        let now = self.flow_context.clock.now();
        for event in obligation.waiting_events(now) {
            if let Err(error) = self.flow_context.requeue.requeue(&event).await {
                tracing::error!(obligation = %key, %error, "a waiting event could not be requeued");
                return ItemResult::Failed;
            }
        }
        obligation.mark_requeued(now.after(QUEUE_REDELIVERY_WINDOW));
        if transaction.stage(key, &obligation, retention(&obligation, now)).is_ok() {
            let _one_more_copy_is_harmless = transaction.commit().await;
        }
        ItemResult::Requeued
    }

    fn count(&mut self, key: &Key, result: ItemResult) {
        let report = &mut self.report;
        let (counter, outcome) = match result {
            ItemResult::UpToDate => return,
            ItemResult::Requeued => (&mut report.requeued, "requeued"),
            ItemResult::Finished => (&mut report.finished, "finished"),
            ItemResult::Recovered => (&mut report.recovered, "recovered"),
            ItemResult::Released => (&mut report.released, "released"),
            ItemResult::Deferred => (&mut report.deferred, "deferred"),
            ItemResult::Throttled => {
                tracing::warn!("Cleeng throttles; subscriptions are checked in the next run");
                self.throttled = true;
                (&mut report.deferred, "throttled")
            }
            ItemResult::Failed => (&mut report.failed, "failed"),
        };
        *counter = counter.saturating_add(1);
        tracing::info!(document = %key, outcome = outcome, "due item processed");
    }
}
