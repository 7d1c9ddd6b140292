//! Queues in memory that behave like SQS where it matters: a message that was received is hidden for a while, comes back unless it is
//! deleted, and says how often it came.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use connector::cleeng::envelope::Envelope;
use connector::clock::{Clock, Timestamp};
use connector::flow::{Requeue, RequeueError};
use connector::lambda::queue::{Queue, QueueError};
use connector::lambda::webhook_handler::route_for_topic;

use crate::simulators::virtual_clock::VirtualClock;

/// How long a received message is hidden, as the template sets it.
const VISIBILITY: Duration = Duration::from_secs(540);

/// A message.
#[derive(Clone, Debug)]
pub struct LocalMessage {
    /// Its id, which is its receipt handle too.
    pub id: String,
    /// The function that it is for.
    pub function: String,
    /// The envelope.
    pub body: String,
    /// How often it was received.
    pub receive_count: u32,
    visible_at: Timestamp,
}

/// The queues of all functions. Clones are the same ones.
#[derive(Clone)]
pub struct QueueSet {
    clock: VirtualClock,
    messages: Arc<Mutex<Vec<LocalMessage>>>,
    sent: Arc<AtomicU64>,
}

impl QueueSet {
    /// Empty queues.
    #[must_use]
    pub fn new(clock: VirtualClock) -> Self {
        Self { clock, messages: Arc::default(), sent: Arc::default() }
    }

    /// Receives the message that has been visible longest, and hides it.
    #[must_use]
    pub fn receive(&self) -> Option<LocalMessage> {
        let now = self.clock.now();
        let mut messages = self.lock();
        let message = messages.iter_mut().filter(|message| message.visible_at <= now).min_by_key(|message| message.visible_at)?;
        message.receive_count = message.receive_count.saturating_add(1);
        message.visible_at = now.after(VISIBILITY);
        Some(message.clone())
    }

    /// Deletes a message.
    pub fn delete(&self, id: &str) {
        self.lock().retain(|message| message.id != id);
    }

    /// When the next message becomes visible.
    #[must_use]
    pub fn next_visible(&self) -> Option<Timestamp> {
        self.lock().iter().map(|message| message.visible_at).min()
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&self, function: &str, body: String) {
        let serial = self.sent.fetch_add(1, Ordering::SeqCst);
        let message = LocalMessage {
            id: format!("message-{serial}"),
            function: function.to_owned(),
            body,
            receive_count: 0,
            visible_at: self.clock.now(),
        };
        self.lock().push(message);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<LocalMessage>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue of one function.
pub(super) struct FunctionQueue {
    pub(super) function: String,
    pub(super) queues: QueueSet,
}

#[async_trait]
impl Queue for FunctionQueue {
    async fn send(&self, message: &str) -> Result<(), QueueError> {
        self.queues.push(&self.function, message.to_owned());
        Ok(())
    }

    async fn delay(&self, receipt_handle: &str, by: Duration) -> Result<(), QueueError> {
        let visible_at = self.queues.clock.now().after(by);
        for message in self.queues.lock().iter_mut().filter(|message| message.id == receipt_handle) {
            message.visible_at = visible_at;
        }
        Ok(())
    }
}

/// Requeues waiting events.
pub(super) struct LocalRequeue(pub(super) QueueSet);

#[async_trait]
impl Requeue for LocalRequeue {
    async fn requeue(&self, event: &str) -> Result<(), RequeueError> {
        let envelope = Envelope::from_waiting_event(event, self.0.clock.now()).map_err(|_| RequeueError::NoEvent)?;
        self.0.push(&route_for_topic(envelope.topic()), envelope.to_text());
        Ok(())
    }
}
