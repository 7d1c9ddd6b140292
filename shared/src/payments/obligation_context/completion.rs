//! How an obligation is completed: retried later, finished or parked, and written.

use std::time::Duration;

use super::{ObligationContext, PaymentLookup, count_movements};
use crate::cleeng::envelope::Envelope;
use crate::clock::Timestamp;
use crate::flow::Disposition;
use crate::journal::payment::{PaymentRecord, PaymentState};
use crate::journal::record::{AttemptKind, Finish, StepStatus};
use crate::journal::store::Key;
use crate::journal::transaction::Retention;
use crate::journal::{MAX_BACKOFF, MAX_REDELIVERY_DELAY, PAYMENT_RETENTION};
use crate::metrics::Metric;
use crate::payments::subscription_state::LastCharge;
use crate::payments::{FlowResult, retry};
use crate::reason::{CompletionReason, Obstacle, ParkReason, RetryReason};

/// An event that waits longer than this leaves its queue, and the journal keeps it: a queue gives up what it delivers too often.
const MAX_QUEUE_WAIT: Duration = Duration::from_secs(3600);
/// An event that was kept for so long, and meets another worker's write still, is parked.
const CONTENTION_PATIENCE: Duration = Duration::from_secs(2 * 3600);
/// Something peculiar to an obligation is met so often before the obligation is parked.
const MIN_TRIES: u32 = 4;

impl ObligationContext<'_> {
    /// Releases the lease and puts the event back.
    pub async fn retry_later(&mut self, after: Option<Duration>, reason: RetryReason) -> Disposition {
        match self.save_and_release_lease().await {
            Ok(()) => Disposition::Retry { after, reason },
            Err(disposition) => disposition,
        }
    }

    /// The end of a flow. A flow that returned early while it held the lease, such as after a read that failed between two steps, keeps its
    /// results and releases the lease, so that the next delivery need not wait for it. An event that has waited for long leaves its queue.
    pub async fn conclude(&mut self, result: FlowResult<Disposition>) -> Disposition {
        let disposition = result.unwrap_or_else(|early| early);
        let Disposition::Retry { reason, .. } = disposition else { return self.forget_postponed(disposition).await };
        if self.session.holds_lease() {
            // A worker that was fenced off cannot write, and need not.
            let _ = self.save_and_release_lease().await;
        }
        self.postpone(reason).await.unwrap_or(disposition)
    }

    /// The event is completed: the journal need not keep it.
    async fn forget_postponed(&mut self, disposition: Disposition) -> Disposition {
        let known = self.event.as_ref().is_some_and(|event| self.session.obligation.forget_postponed(event));
        if !known {
            return disposition;
        }
        self.save_and_release_lease().await.err().unwrap_or(disposition)
    }

    /// What becomes of an event that cannot be completed now, if it has waited for long: the journal keeps it, or it is parked because of
    /// what stands in the way. `None` if it stays on its queue.
    async fn postpone(&self, reason: RetryReason) -> Option<Disposition> {
        let event = self.event.as_deref()?;
        let delivery = self.session.delivery();
        let is_peculiar = matches!(reason.obstacle(), Obstacle::Peculiar(_));
        if self.now().since(delivery.received_at) < MAX_QUEUE_WAIT || (is_peculiar && delivery.count < MIN_TRIES) {
            return None;
        }
        // Read again: after a failed write this worker's documents must not be written any more.
        let (key, state_key) = (self.session.key().clone(), self.state_key.clone());
        let mut current = Self::open_with_lookups(self.flow_context, key, state_key, &[], delivery).await.ok()?;
        current.event = Some(event.to_owned());
        match current.keep_or_park(event, reason).await {
            Ok(disposition @ Disposition::Postponed(_)) | Err(disposition @ Disposition::Parked(_)) => Some(disposition),
            Ok(_) | Err(_) => None,
        }
    }

    async fn keep_or_park(&mut self, event: &str, reason: RetryReason) -> FlowResult<Disposition> {
        let waited = self.session.obligation.postponed_since(event).map_or(Duration::ZERO, |since| self.now().since(since));
        let park_reason = match reason.obstacle() {
            Obstacle::Peculiar(park_reason) => Some(park_reason),
            Obstacle::Contention(park_reason) => Some(park_reason).filter(|_| waited >= CONTENTION_PATIENCE),
            Obstacle::Outage(park_reason) => Some(park_reason).filter(|_| waited >= self.flow_context.policy.unknown_deadline),
            Obstacle::Wait => None,
        };
        if let Some(park_reason) = park_reason {
            return self.park_obstacle(event, park_reason).await;
        }
        let now = self.now();
        if !self.session.obligation.postpone(event, now) {
            return Err(retry(reason));
        }
        self.save_and_release_lease().await?;
        Ok(Disposition::Postponed(reason))
    }

    /// Parks the open attempt because of what stands in its way, or the event, if it has no attempt.
    async fn park_obstacle<T>(&mut self, event: &str, reason: ParkReason) -> FlowResult<T> {
        if self.current_attempt().is_none() {
            let topic = Envelope::from_text(event).map_err(|_| retry(RetryReason::WaitingEventUnreadable))?.topic();
            return self.park_without_attempt(topic.into(), self.now(), reason).await;
        }
        self.park(reason, self.may_have_moved_money()).await
    }

    /// Whether the open attempt may have moved money that Cleeng does not know of: then no other attempt of the obligation may open.
    fn may_have_moved_money(&self) -> bool {
        let Some(attempt) = self.current_attempt() else { return false };
        let mut gateway_steps = attempt.steps.iter().filter(|step| step.key.is_some());
        let is_unresolved = gateway_steps.any(|step| match &step.state {
            StepStatus::NoEffect => false,
            StepStatus::Started => true,
            StepStatus::Done(result) => result.get("received").is_some(),
        });
        let payment = attempt.reference.as_ref().and_then(|reference| self.payment(reference));
        let took_money = payment.is_some_and(|payment| match payment.state {
            PaymentState::Captured => true,
            PaymentState::Authorised => attempt.kind == AttemptKind::Authorise,
            _ => false,
        });
        is_unresolved || took_money
    }

    /// Releases the lease and writes what is known.
    ///
    /// # Errors
    /// `Err(Disposition::Retry)` if the journal cannot be written.
    pub async fn save_and_release_lease(&mut self) -> FlowResult<()> {
        self.session.release_lease();
        self.save().await
    }

    /// Opens an attempt and finishes it at once, because nothing is to be done for it.
    ///
    /// # Errors
    /// `Err(Disposition::Retry)` if an attempt of another period is in flight or the journal cannot be written.
    pub async fn skip(&mut self, kind: AttemptKind, due: Timestamp, finish: Finish) -> FlowResult<Disposition> {
        self.open_attempt(kind, due, None)?;
        self.finish(finish).await
    }

    /// Opens an attempt and parks it at once; it moved no money. The flow ends here, so the result is always `Err`.
    ///
    /// # Errors
    /// As [`ObligationContext::park`], and [`ObligationContext::open_attempt`].
    pub async fn park_without_attempt<T>(&mut self, kind: AttemptKind, due: Timestamp, reason: ParkReason) -> FlowResult<T> {
        self.open_attempt(kind, due, None)?;
        self.park(reason, false).await
    }

    /// Finishes the open attempt and writes everything.
    ///
    /// # Errors
    /// `Err(Disposition::Retry)` if the journal cannot be written.
    pub async fn finish(&mut self, finish: Finish) -> FlowResult<Disposition> {
        let outcome = CompletionReason::from(&finish);
        tracing::info!(obligation = %self.session.key(), outcome = outcome.as_str(), "attempt finished");
        let class = if let Finish::Declined { class, .. } = &finish { Some(class.as_str()) } else { None };
        self.close_attempt(finish);
        self.save_and_release_lease().await?;
        if let Some(class) = class {
            self.flow_context.metrics.count(Metric::Declined, &[("class", class)]);
        }
        Ok(Disposition::Completed(outcome))
    }

    /// Parks the open attempt for an operator, with an alarm. The flow ends here, so the result is always `Err`.
    ///
    /// # Errors
    /// `Err(Disposition::Parked)`; `Err(Disposition::Retry)` if the journal cannot be written.
    pub async fn park<T>(&mut self, reason: ParkReason, money_unknown: bool) -> FlowResult<T> {
        let is_charged = |expiration: Timestamp, charge: &LastCharge| charge.certain && charge.expiration.secs() == expiration.secs();
        if money_unknown
            && let Some(expiration) = self.subscription_state.latest_period_end
            && !self.subscription_state.last_charge.as_ref().is_some_and(|charge| is_charged(expiration, charge))
        {
            // It may have been a charge, and counts like one: the next period must not be charged right after it.
            self.subscription_state.last_charge = Some(LastCharge { at: self.now(), expiration, certain: false });
        }
        if !money_unknown {
            let obligation = self.session.key().clone();
            self.payments.values_mut().for_each(|payment| payment.release_refund_reservation(&obligation));
        }
        self.close_attempt(Finish::Parked { reason: reason.as_str().to_owned(), money_unknown, resolved: false });
        // The alarm comes before the write: a worker that crashes in between raises it twice, never not at all.
        self.flow_context.metrics.count(Metric::Parked, &[("reason", reason.as_str())]);
        tracing::error!(obligation = %self.session.key(), reason = reason.as_str(), money_unknown, "parked for an operator");
        self.save_and_release_lease().await?;
        Err(Disposition::Parked(reason))
    }

    /// Keeps the event with the open attempt, in memory: it leaves its queue.
    pub fn store_event(&mut self) {
        let event = self.event.clone();
        if let Some(attempt) = self.session.obligation.current_attempt_mut() {
            attempt.waiting_event = event.or(attempt.waiting_event.take());
            attempt.queued_until = None;
        }
    }

    /// Keeps the event with the open attempt, in memory, and leaves it on its queue for so long, or for the queue's own backoff. A copy is
    /// requeued only if the event is lost there.
    pub fn store_queued_event(&mut self, after: Option<Duration>) {
        let until = self.now().after(after.unwrap_or(MAX_BACKOFF)).after(MAX_REDELIVERY_DELAY);
        let before = self.current_attempt().and_then(|attempt| attempt.queued_until);
        self.store_event();
        if let Some(attempt) = self.session.obligation.current_attempt_mut() {
            attempt.queued_until = before.max(Some(until));
        }
    }

    fn close_attempt(&mut self, finish: Finish) {
        let parked = matches!(finish, Finish::Parked { .. });
        if parked {
            self.store_event();
        }
        if let Some(event) = &self.event {
            self.session.obligation.forget_postponed(event);
        }
        if let Some(attempt) = self.session.obligation.current_attempt_mut() {
            attempt.waiting_event = attempt.waiting_event.take().filter(|_| parked);
            attempt.queued_until = None;
            if finish == Finish::Terminated {
                // No more events are expected.
                self.subscription_state.last_billing_event = None;
            }
            attempt.finish = Some(finish);
        }
        self.session.obligation.abandon_unrecovered();
        if self.subscription_state.in_flight.as_deref() == Some(self.session.key().as_str()) {
            self.subscription_state.in_flight = None;
        }
    }

    /// Writes every change, all or nothing.
    pub(super) async fn save(&mut self) -> FlowResult<()> {
        let now = self.now();
        let state_retention = Retention {
            due_at: self.subscription_state.due_at(now),
            expires_at: self.subscription_state.expires_at(now),
            ..Retention::default()
        };
        if let Some(head_key) = &self.state_key {
            self.session.transaction.stage(head_key, &self.subscription_state, state_retention)?;
        }
        let payment_retention = Retention { expires_at: Some(now.after(PAYMENT_RETENTION)), ..Retention::default() };
        for (reference, payment) in &self.payments {
            let keep = if payment.is_unsettled() { Retention::default() } else { payment_retention };
            self.session.transaction.stage(&PaymentRecord::key(reference), payment, keep)?;
        }
        // Everything is read before any field is taken: what a failed read leaves unwritten must be written with the rest of it, or not at
        // all.
        let keys: Vec<Key> = self.lookups.keys().chain(self.operations.keys()).cloned().collect();
        self.session.transaction.load(&keys).await?;
        for (key, reference) in std::mem::take(&mut self.lookups) {
            self.session.transaction.stage(&key, &PaymentLookup { reference }, payment_retention)?;
        }
        for (key, operation) in std::mem::take(&mut self.operations) {
            self.session.transaction.stage(&key, &operation, payment_retention)?;
        }
        self.session.commit().await?;
        for (reference, payment) in &self.payments {
            if let Some(before) = self.persisted_payments.get(reference).filter(|before| *before != payment) {
                count_movements(self.flow_context, before, payment);
            }
        }
        self.persisted_payments.clone_from(&self.payments);
        Ok(())
    }
}
