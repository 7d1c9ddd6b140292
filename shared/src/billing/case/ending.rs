//! How a case is put down: put back, paused, finished or parked, and written.

use std::time::Duration;

use super::{Case, Lookup, count_movements};
use crate::billing::Story;
use crate::billing::head::LastCharge;
use crate::clock::Timestamp;
use crate::flow::Verdict;
use crate::journal::payment::PaymentRecord;
use crate::journal::record::{AttemptKind, Finish};
use crate::journal::store::Key;
use crate::journal::work::Keep;
use crate::journal::{LONGEST_BACKOFF, PAYMENT_KEPT, SHOWN_AGAIN};
use crate::metrics::Metric;

impl Case<'_> {
    /// Gives the lease back and puts the event back.
    pub async fn put_back(&mut self, after: Option<Duration>, reason: &'static str) -> Verdict {
        match self.pause().await {
            Ok(()) => Verdict::Later { after, reason },
            Err(verdict) => verdict,
        }
    }

    /// The end of a story. One that ended early while it held the lease, such as by a read that failed between two steps, keeps its results
    /// and gives the lease back, so that the next delivery need not wait for it.
    pub async fn conclude(&mut self, story: Story<Verdict>) -> Verdict {
        match story {
            Ok(verdict) => verdict,
            Err(verdict) => {
                if self.run.holds_lease() {
                    // A worker that was fenced off cannot write, and need not.
                    let _ = self.pause().await;
                }
                verdict
            }
        }
    }

    /// Gives the lease back and writes what is known.
    ///
    /// # Errors
    /// Later, if the journal cannot be written.
    pub async fn pause(&mut self) -> Story<()> {
        self.run.release();
        self.save().await
    }

    /// Opens an attempt and finishes it at once, because nothing is to be done for it.
    ///
    /// # Errors
    /// Later, if an attempt of another period is in flight or the journal cannot be written.
    pub async fn finish_untried(&mut self, kind: AttemptKind, due: Timestamp, finish: Finish) -> Story<Verdict> {
        self.open_attempt(kind, due, None)?;
        self.finish(finish).await
    }

    /// Opens an attempt and parks it at once; it did nothing to anybody's money.
    ///
    /// # Errors
    /// As [`Case::finish_untried`].
    pub async fn park_untried(&mut self, kind: AttemptKind, due: Timestamp, reason: &'static str) -> Story<Verdict> {
        self.open_attempt(kind, due, None)?;
        self.park(reason, false).await
    }

    /// Finishes the open attempt and writes everything.
    ///
    /// # Errors
    /// Later, if the journal cannot be written.
    pub async fn finish(&mut self, finish: Finish) -> Story<Verdict> {
        let word = finish.as_str();
        tracing::info!(obligation = %self.run.key(), outcome = word, "settled");
        let class = if let Finish::Declined { class, .. } = &finish { Some(class.as_str()) } else { None };
        self.close(finish);
        self.pause().await?;
        if let Some(class) = class {
            self.world.metrics.count(Metric::Declined, &[("class", class)]);
        }
        Ok(Verdict::Settled(word))
    }

    /// Parks the open attempt for an operator, with an alarm.
    ///
    /// # Errors
    /// Later, if the journal cannot be written.
    pub async fn park(&mut self, reason: &'static str, money_unknown: bool) -> Story<Verdict> {
        if money_unknown && let Some(expiration) = self.head.latest {
            // It may have been a charge, and counts like one: the next period must not be charged right after it.
            self.head.last_charge = Some(LastCharge { at: self.now(), expiration, certain: false });
        }
        if !money_unknown {
            let obligation = self.run.key().clone();
            self.payments.values_mut().for_each(|payment| payment.free_refund(&obligation));
        }
        self.close(Finish::Parked { reason: reason.to_owned(), money_unknown, resolved: false });
        // The alarm before the write: a worker that dies in between rings it twice, never not at all.
        self.world.metrics.count(Metric::Parked, &[("reason", reason)]);
        tracing::error!(obligation = %self.run.key(), reason, money_unknown, "parked for an operator");
        self.pause().await?;
        Ok(Verdict::Parked(reason))
    }

    /// Keeps the event with the open attempt, in memory: it leaves its queue.
    pub fn keep_event(&mut self) {
        let event = self.event.clone();
        if let Some(attempt) = self.run.obligation.open_mut() {
            attempt.waiting_event = event.or(attempt.waiting_event.take());
            attempt.queued_until = None;
        }
    }

    /// Keeps the event with the open attempt, in memory, and leaves it on its queue for so long, or for the queue's own backoff. Only should it
    /// get lost there is a copy brought back.
    pub fn keep_queued_event(&mut self, after: Option<Duration>) {
        let until = self.now().after(after.unwrap_or(LONGEST_BACKOFF)).after(SHOWN_AGAIN);
        let before = self.attempt().and_then(|attempt| attempt.queued_until);
        self.keep_event();
        if let Some(attempt) = self.run.obligation.open_mut() {
            attempt.queued_until = before.max(Some(until));
        }
    }

    fn close(&mut self, finish: Finish) {
        let parked = matches!(finish, Finish::Parked { .. });
        if parked {
            self.keep_event();
        }
        if let Some(attempt) = self.run.obligation.open_mut() {
            attempt.waiting_event = attempt.waiting_event.take().filter(|_| parked);
            attempt.queued_until = None;
            if finish == Finish::Terminated {
                // Nothing more is to come.
                self.head.watch = None;
            }
            attempt.finish = Some(finish);
        }
        self.head.in_flight = None;
    }

    /// Writes whatever changed, all or nothing.
    pub(super) async fn save(&mut self) -> Story<()> {
        let now = self.now();
        let head_keep = Keep { due_at: self.head.due_at(now), expires_at: self.head.expires_at(now), ..Keep::default() };
        if let Some(head_key) = &self.head_key {
            self.run.work.stage(head_key, &self.head, head_keep)?;
        }
        let payment_keep = Keep { expires_at: Some(now.after(PAYMENT_KEPT)), ..Keep::default() };
        for (reference, payment) in &self.payments {
            let keep = if payment.is_unsettled() { Keep::default() } else { payment_keep };
            self.run.work.stage(&PaymentRecord::key(reference), payment, keep)?;
        }
        // Read before anything is taken: whatever a failed read leaves unwritten must be written with the rest of it, or not at all.
        let keys: Vec<Key> = self.lookups.keys().chain(self.operations.keys()).cloned().collect();
        self.run.work.load(&keys).await?;
        for (key, reference) in std::mem::take(&mut self.lookups) {
            self.run.work.stage(&key, &Lookup { reference }, payment_keep)?;
        }
        for (key, operation) in std::mem::take(&mut self.operations) {
            self.run.work.stage(&key, &operation, payment_keep)?;
        }
        self.run.commit().await?;
        for (reference, payment) in &self.payments {
            if let Some(before) = self.written.get(reference).filter(|before| *before != payment) {
                count_movements(self.world, before, payment);
            }
        }
        self.written.clone_from(&self.payments);
        Ok(())
    }
}
