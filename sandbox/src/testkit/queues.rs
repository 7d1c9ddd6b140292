//! The queues of a test environment: events and notifications stay on them until a function is done with them, across crashes.

use std::sync::{Arc, Mutex, PoisonError};

use connector::cleeng::webhook::{Verified, Webhook};
use connector::clock::Timestamp;

/// A message on a queue.
#[derive(Clone)]
pub(super) enum QueuedMessage {
    /// For the function of its topic.
    Event(Arc<Verified<Webhook>>, Timestamp),
    /// For the function that takes notifications.
    Notification(String),
}

/// All queues of a test environment.
#[derive(Default)]
pub struct MessageQueues(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    next_number: u64,
    messages: Vec<(u64, QueuedMessage)>,
}

impl MessageQueues {
    pub(super) fn push(&self, message: QueuedMessage) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.next_number = inner.next_number.saturating_add(1);
        let number = inner.next_number;
        inner.messages.push((number, message));
    }

    pub(super) fn snapshot(&self) -> Vec<(u64, QueuedMessage)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).messages.clone()
    }

    pub(super) fn remove(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).messages.retain(|(other, _)| *other != number);
    }
}
