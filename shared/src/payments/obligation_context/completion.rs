//! How an obligation is completed: retried later, finished or parked, and written.

use std::time::Duration;

use super::{ObligationContext, PaymentLookup, count_movements};
use crate::clock::Timestamp;
use crate::flow::Disposition;
use crate::journal::payment::PaymentRecord;
use crate::journal::record::{AttemptKind, Finish};
use crate::journal::store::Key;
use crate::journal::transaction::Retention;
use crate::journal::{MAX_BACKOFF, MAX_REDELIVERY_DELAY, PAYMENT_RETENTION};
use crate::metrics::Metric;
use crate::payments::FlowResult;
use crate::payments::subscription_state::LastCharge;
use crate::reason::{CompletionReason, ParkReason, RetryReason};

impl ObligationContext<'_> {
    /// Releases the lease and puts the event back.
    pub async fn retry_later(&mut self, after: Option<Duration>, reason: RetryReason) -> Disposition {
        match self.save_and_release_lease().await {
            Ok(()) => Disposition::Retry { after, reason },
            Err(disposition) => disposition,
        }
    }

    /// The end of a flow. A flow that returned early while it held the lease, such as after a read that failed between two steps, keeps its
    /// results and releases the lease, so that the next delivery need not wait for it.
    pub async fn conclude(&mut self, result: FlowResult<Disposition>) -> Disposition {
        match result {
            Ok(disposition) => disposition,
            Err(disposition) => {
                if self.session.holds_lease() {
                    // A worker that was fenced off cannot write, and need not.
                    let _ = self.save_and_release_lease().await;
                }
                disposition
            }
        }
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
        if money_unknown && let Some(expiration) = self.subscription_state.latest_period_end {
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
        if let Some(attempt) = self.session.obligation.current_attempt_mut() {
            attempt.waiting_event = attempt.waiting_event.take().filter(|_| parked);
            attempt.queued_until = None;
            if finish == Finish::Terminated {
                // No more events are expected.
                self.subscription_state.last_billing_event = None;
            }
            attempt.finish = Some(finish);
        }
        self.subscription_state.in_flight = None;
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
