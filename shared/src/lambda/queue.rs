//! The queue between a function's HTTP handler and its queue consumer, and the form of notifications on it. Cleeng's events are on it as
//! an [`Envelope`](crate::cleeng::envelope::Envelope).

mod notification;
mod sqs;

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

pub use self::notification::{NotificationEnvelope, UnverifiedNotification};
pub use self::sqs::{QueueStatus, SqsQueue};

/// The longest time that a message can be deferred by (SQS, "ChangeMessageVisibility": at most 12 hours).
pub const LONGEST_DELAY: Duration = Duration::from_secs(43_200);

/// The largest message, in bytes (SQS, "Message quotas": 1 MiB).
pub const MAX_MESSAGE_BYTES: usize = 1_048_576;

/// Why the queue did not take something.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum QueueError {
    /// It did not answer, or throttles. A sent message may be there all the same: flows stand repetition.
    #[error("the queue cannot be reached")]
    Unavailable,
    /// It refused: permissions, a wrong URL, a message that is gone.
    #[error("the queue refused ({0}): check QUEUE_URL and the function's role")]
    Refused(&'static str),
}

/// A queue of one function.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Puts the text of an envelope on the queue; it is durable when this returns.
    ///
    /// # Errors
    /// [`QueueError`].
    async fn send(&self, message: &str) -> Result<(), QueueError>;

    /// Hides a message that was received for so long, at most [`LONGEST_DELAY`].
    ///
    /// # Errors
    /// [`QueueError`]; the message then comes back when its visibility timeout ends.
    async fn delay(&self, receipt_handle: &str, by: Duration) -> Result<(), QueueError>;
}

/// No queue: embedded mode, where the HTTP handler runs the flow itself and a delay has no meaning.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoQueue;

#[async_trait]
impl Queue for NoQueue {
    async fn send(&self, _message: &str) -> Result<(), QueueError> {
        Err(QueueError::Refused("embedded mode has no queue"))
    }

    async fn delay(&self, _receipt_handle: &str, _by: Duration) -> Result<(), QueueError> {
        Ok(())
    }
}

/// A queue in memory that shows what was put on it, and can be made to fail.
#[cfg(any(test, feature = "test-support"))]
#[derive(Default)]
pub struct CapturingQueue {
    sent: std::sync::Mutex<Vec<String>>,
    delays: std::sync::Mutex<Vec<(String, Duration)>>,
    failing: std::sync::Mutex<Option<QueueError>>,
}

#[cfg(any(test, feature = "test-support"))]
impl CapturingQueue {
    /// The texts of all messages so far.
    #[must_use]
    pub fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// All delays so far, by receipt handle.
    #[must_use]
    pub fn delays(&self) -> Vec<(String, Duration)> {
        self.delays.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Fails from now on, or works again.
    pub fn fail_with(&self, error: Option<QueueError>) {
        *self.failing.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = error;
    }

    fn outcome(&self) -> Result<(), QueueError> {
        self.failing.lock().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

#[cfg(any(test, feature = "test-support"))]
#[async_trait]
impl Queue for CapturingQueue {
    async fn send(&self, message: &str) -> Result<(), QueueError> {
        self.outcome()?;
        self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(message.to_owned());
        Ok(())
    }

    async fn delay(&self, receipt_handle: &str, by: Duration) -> Result<(), QueueError> {
        self.delays.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((receipt_handle.to_owned(), by));
        self.outcome()
    }
}
