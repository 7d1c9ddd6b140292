//! Delivers what lies on the queues of a [`TestEnvironment`], and what waits is redelivered: for tests that run a flow to its end on any gateway.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::envelope::Envelope;
use connector::clock::Clock as _;
use connector::flow::{Disposition, RunReport, ScheduledJob as _};
use connector::journal::RECHECK_INTERVAL;
use reconciliation::Reconciliation;

use crate::expect::expect_fixture;
use crate::simulators::cleeng::SentWebhook;
use crate::testkit::harness::TestEnvironment;
use crate::testkit::queues::QueuedMessage;

/// The delay before redelivery if the function does not say how long, and after a crash of its worker.
const BACKOFF: Duration = Duration::from_secs(100);
/// More rounds than any flow needs.
const MAX_ROUNDS: usize = 400;

/// How long after a delivery the event is delivered again; `None` if it is completed. Where nobody says how long, any time will do.
#[must_use]
pub fn time_to_come_back(disposition: &Disposition) -> Option<Duration> {
    match disposition {
        Disposition::Retry { after, .. } => Some(after.unwrap_or(BACKOFF).max(Duration::from_secs(1))),
        Disposition::Postponed(_) => Some(RECHECK_INTERVAL),
        Disposition::Completed(_) | Disposition::NotOurs | Disposition::Parked(_) => None,
    }
}

impl TestEnvironment {
    /// Puts a webhook on its function's queue, as the webhook handler does.
    pub fn enqueue(&self, webhook: &SentWebhook) {
        self.queues.push(QueuedMessage::Event(Arc::new(self.verify(webhook)), self.clock.now()));
    }

    /// Delivers every message until the queues are empty, while the gateways process what they received and notify, and time passes as the
    /// functions ask. Returns the results of the events, in the order in which they left their queues. After a crash the message stays.
    ///
    /// # Panics
    /// If it never ends.
    pub async fn run_until_idle(&self) -> Vec<Disposition> {
        let (mut dispositions, mut counts) = (Vec::new(), BTreeMap::<u64, u32>::new());
        for _ in 0..MAX_ROUNDS {
            self.collect_messages().await;
            let messages = self.queues.snapshot();
            if messages.is_empty() {
                return dispositions;
            }
            let mut wait: Option<Duration> = None;
            for (number, message) in messages {
                let count = counts.entry(number).or_default();
                *count = count.saturating_add(1);
                let disposition = self.deliver_message(&message, *count).await;
                if let Some(after) = time_to_come_back(&disposition) {
                    wait = Some(wait.map_or(after, |wait| wait.min(after)));
                } else {
                    self.queues.remove(number);
                    if matches!(message, QueuedMessage::Event(..)) {
                        dispositions.push(disposition);
                    }
                }
            }
            if let Some(wait) = wait {
                self.clock.advance(wait);
            }
        }
        expect_fixture::<()>(None);
        dispositions
    }

    /// Runs reconciliation once, as its schedule does.
    pub async fn run_reconciliation(&self) -> RunReport {
        let delivery = self.delivery_received_now();
        Reconciliation.run(&self.flow_context, &delivery).await
    }

    /// Puts an event on its queue and runs it to its end, with everything that follows from it. Its last result.
    pub async fn run_event(&self, webhook: &SentWebhook) -> Disposition {
        self.enqueue(webhook);
        self.run_until_idle().await.pop().unwrap_or(Disposition::NotOurs)
    }

    /// Puts the gateways' notifications and the requeued events on the queues.
    async fn collect_messages(&self) {
        self.process_gateways();
        for message in self.collect_notifications().await {
            self.queues.push(QueuedMessage::Notification(message));
        }
        for text in self.requeue.take_events() {
            let envelope = expect_fixture(Envelope::from_waiting_event(&text, self.clock.now()).ok());
            self.queues.push(QueuedMessage::Event(Arc::new(expect_fixture(envelope.open().ok())), envelope.received_at()));
        }
    }

    async fn deliver_message(&self, message: &QueuedMessage, count: u32) -> Disposition {
        match message {
            QueuedMessage::Event(event, received_at) => self.redeliver_event(event, *received_at, count).await,
            QueuedMessage::Notification(message) => self.deliver_notification(message).await,
        }
    }
}
