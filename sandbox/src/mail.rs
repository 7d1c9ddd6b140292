//! The queues of a [`Stage`]: events and notifications lie on them until a function is done with them, whoever dies in between, and what waits
//! comes back. What tests use that play a flow to its end on any gateway.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use connector::cleeng::webhook::{Verified, Webhook};
use connector::clock::{Clock as _, Timestamp};
use connector::flow::{Rounds as _, Tally, Verdict};
use connector::lambda::queue::Envelope;
use reconciliation::Reconciliation;

use crate::cleeng::SentWebhook;
use crate::stage::{Stage, known};

/// A message is put back for this long where its function does not say how long, and after the death of its worker.
const BACKOFF: Duration = Duration::from_secs(100);
/// More rounds than any story needs.
const MOST_ROUNDS: usize = 400;

/// What lies on a queue.
#[derive(Clone)]
enum Letter {
    /// For the function of its topic.
    Event(Arc<Verified<Webhook>>, Timestamp),
    /// For the function that takes notifications.
    Notification(String),
}

/// All queues of a stage.
#[derive(Default)]
pub struct Mail(Mutex<Lying>);

#[derive(Default)]
struct Lying {
    next: u64,
    letters: Vec<(u64, Letter)>,
}

impl Mail {
    fn put(&self, letter: Letter) {
        let mut lying = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lying.next = lying.next.saturating_add(1);
        let number = lying.next;
        lying.letters.push((number, letter));
    }

    fn letters(&self) -> Vec<(u64, Letter)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).letters.clone()
    }

    fn remove(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).letters.retain(|(other, _)| *other != number);
    }
}

impl Stage {
    /// Puts a webhook on its function's queue, as its HTTP door does.
    pub fn post(&self, webhook: &SentWebhook) {
        self.mail.put(Letter::Event(Arc::new(self.verified(webhook)), self.clock.now()));
    }

    /// Delivers whatever lies on the queues until nothing does, while the gateways do what they received, tell it, and time passes as the
    /// functions ask. Returns what the events came to, in the order in which they left their queues. A worker that dies leaves its message.
    ///
    /// # Panics
    /// If it never ends.
    pub async fn run_until_quiet(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for _ in 0..MOST_ROUNDS {
            self.collect().await;
            let letters = self.mail.letters();
            if letters.is_empty() {
                return verdicts;
            }
            let mut wait: Option<Duration> = None;
            for (number, letter) in letters {
                match self.deliver_letter(&letter).await {
                    Verdict::Later { after, .. } => {
                        let after = after.unwrap_or(BACKOFF).max(Duration::from_secs(1));
                        wait = Some(wait.map_or(after, |wait| wait.min(after)));
                    }
                    verdict => {
                        self.mail.remove(number);
                        if matches!(letter, Letter::Event(..)) {
                            verdicts.push(verdict);
                        }
                    }
                }
            }
            if let Some(wait) = wait {
                self.clock.advance(wait);
            }
        }
        known::<()>(None);
        verdicts
    }

    /// Reconciliation goes round once, as its schedule has it.
    pub async fn go_round(&self) -> Tally {
        let delivery = self.delivery();
        Reconciliation.go(&self.world, &delivery).await
    }

    /// Puts an event on its queue and plays it to its end, with everything that follows from it. The last of its verdicts.
    pub async fn play(&self, webhook: &SentWebhook) -> Verdict {
        self.post(webhook);
        self.run_until_quiet().await.pop().unwrap_or(Verdict::NotOurs)
    }

    /// What the gateways tell and what was brought back goes to the queues.
    async fn collect(&self) {
        self.process();
        for message in self.take_notifications().await {
            self.mail.put(Letter::Notification(message));
        }
        for text in self.requeue.take() {
            let envelope = known(Envelope::of_waiting(&text, self.clock.now()).ok());
            self.mail.put(Letter::Event(Arc::new(known(envelope.open().ok())), envelope.received_at()));
        }
    }

    async fn deliver_letter(&self, letter: &Letter) -> Verdict {
        match letter {
            Letter::Event(event, received_at) => self.deliver_event(event, *received_at).await,
            Letter::Notification(message) => self.settle(message).await,
        }
    }
}
