//! The queue in Amazon SQS.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::QueueAttributeName;

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

/// The status of a queue, as SQS reports it ("GetQueueAttributes"; the numbers are approximate).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStatus {
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that are being worked on or put off.
    pub in_flight: u64,
    /// Whether what fails again and again is kept in a queue of dead letters.
    pub has_dead_letter_queue: bool,
    /// How long a message is hidden from other workers, in seconds.
    pub visibility_seconds: u64,
}

impl SqsQueue {
    /// Looks at the queue. Changes nothing.
    ///
    /// # Errors
    /// [`QueueError`]; looking needs `sqs:GetQueueAttributes`.
    pub async fn status(&self) -> Result<QueueStatus, QueueError> {
        let ask = self.client.get_queue_attributes().queue_url(&self.url).attribute_names(QueueAttributeName::All).send();
        let told = ask.await.map_err(|error| classify_error(&error))?.attributes.unwrap_or_default();
        let number = |name| told.get(&name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(QueueStatus {
            waiting: number(QueueAttributeName::ApproximateNumberOfMessages),
            in_flight: number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
            has_dead_letter_queue: told.contains_key(&QueueAttributeName::RedrivePolicy),
            visibility_seconds: number(QueueAttributeName::VisibilityTimeout),
        })
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, message: &str) -> Result<(), QueueError> {
        let sending = self.client.send_message().queue_url(&self.url).message_body(without_noncharacters(message)).send();
        sending.await.map(|_| ()).map_err(|error| classify_error(&error))
    }

    async fn delay(&self, receipt_handle: &str, by: Duration) -> Result<(), QueueError> {
        let seconds = i32::try_from(by.min(LONGEST_DELAY).as_secs()).unwrap_or(i32::MAX);
        let call = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(receipt_handle);
        call.visibility_timeout(seconds).send().await.map(|_| ()).map_err(|error| classify_error(&error))
    }
}

/// SQS takes every character that an envelope can have but these two (SQS, "SendMessage": `#x20 to #xD7FF`, `#xE000 to #xFFFD`, `#x10000 to
/// #x10FFFF`). In JSON they stand in strings alone, where an escape says the same.
fn without_noncharacters(message: &str) -> String {
    message.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
}

/// The SDK's error contains the raw answer: only its kind is passed on.
fn classify_error<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> QueueError {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn is_taken(c: char) -> bool {
        matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
    }

    proptest! {
        #[test]
        fn sqs_takes_every_envelope_and_it_says_the_same(text in "[\\u{0}-\\u{10ffff}\\u{fffe}\\u{ffff}\\u{0}]{0,20}") {
            let envelope = json!({ "body": text });
            let sent = without_noncharacters(&envelope.to_string());
            prop_assert!(sent.chars().all(is_taken), "{sent:?}");
            prop_assert_eq!(serde_json::from_str::<Value>(&sent).unwrap(), envelope);
        }
    }
}
