//! The queue in Amazon SQS.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

use super::{LONGEST_DELAY, Queue, QueueError};

/// An SQS queue.
pub struct SqsQueue {
    client: Client,
    url: String,
}

impl SqsQueue {
    /// The queue at this URL.
    #[must_use]
    pub const fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, message: &str) -> Result<(), QueueError> {
        let sending = self.client.send_message().queue_url(&self.url).message_body(message).send();
        sending.await.map(|_| ()).map_err(|error| sort(&error))
    }

    async fn delay(&self, receipt_handle: &str, by: Duration) -> Result<(), QueueError> {
        let seconds = i32::try_from(by.min(LONGEST_DELAY).as_secs()).unwrap_or(i32::MAX);
        let call = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(receipt_handle);
        call.visibility_timeout(seconds).send().await.map(|_| ()).map_err(|error| sort(&error))
    }
}

/// The SDK's error holds the raw answer: only its kind goes on.
fn sort<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> QueueError {
    let code = match error {
        SdkError::ConstructionFailure(_) => return QueueError::Refused("the request could not be built"),
        SdkError::ServiceError(_) => error.code().unwrap_or_default(),
        _ => return QueueError::Unavailable,
    };
    if code.contains("Throttl") || code == "RequestThrottled" || code == "KmsThrottled" {
        QueueError::Unavailable
    } else if code.contains("NonExistentQueue") || code.contains("QueueDoesNotExist") {
        QueueError::Refused("no such queue")
    } else if code.starts_with("AccessDenied") {
        QueueError::Refused("access denied")
    } else if code.starts_with("Kms") {
        QueueError::Refused("its key cannot be used")
    } else if code.contains("ReceiptHandle") || code.contains("MessageNotInflight") {
        QueueError::Refused("the message is no longer ours")
    } else if matches!(code, "InvalidMessageContents" | "InvalidParameterValue" | "UnrecognizedClientException" | "InvalidClientTokenId") {
        QueueError::Refused("the request is not accepted")
    } else {
        QueueError::Unavailable
    }
}
