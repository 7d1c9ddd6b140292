//! Puts events that wait in the journal for a gateway's notification back on their queues (`EVENT_QUEUE_URLS`). Must never create an event
//! of its own: it copies one that was verified when it arrived.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::queue::{Queue, QueueError};
use crate::cleeng::envelope::Envelope;
use crate::cleeng::webhook::Topic;
use crate::clock::Clock;
use crate::flow::{Requeue, RequeueError};
use crate::settings::SettingsReader;

const FORMAT_HINT: &str =
    "topics with the URLs of their functions' queues, such as refundPayment=https://sqs...,capturePayment=https://sqs...";

/// Reads the queues' URLs by topic; mistakes are noted in the reader.
pub(super) fn read_queues(reader: &mut SettingsReader<'_>) -> BTreeMap<Topic, String> {
    let mut queues = BTreeMap::new();
    let Some(text) = reader.required("EVENT_QUEUE_URLS", &format!("set it to {FORMAT_HINT}")) else { return queues };
    for (entry, number) in text.split(',').zip(1_u32..) {
        let read = entry.trim().split_once('=').and_then(|(topic, url)| Some((Topic::parse(topic.trim())?, url.trim())));
        match read {
            Some((topic, url)) if url.starts_with("https://") || url.starts_with("http://") => {
                queues.insert(topic, url.to_owned());
            }
            _ => reader.problem(
                "EVENT_QUEUE_URLS",
                format!("entry {number} is not a topic of Cleeng, '=' and a URL"),
                format!("write {FORMAT_HINT}"),
            ),
        }
    }
    queues
}

/// The queues of all functions whose events can wait.
pub struct EventQueues {
    queues: BTreeMap<Topic, Arc<dyn Queue>>,
    clock: Arc<dyn Clock>,
}

impl EventQueues {
    /// These queues.
    #[must_use]
    pub const fn new(queues: BTreeMap<Topic, Arc<dyn Queue>>, clock: Arc<dyn Clock>) -> Self {
        Self { queues, clock }
    }
}

#[async_trait]
impl Requeue for EventQueues {
    async fn requeue(&self, event: &str) -> Result<(), RequeueError> {
        let envelope = Envelope::from_waiting_event(event, self.clock.now()).map_err(|_| RequeueError::NoEvent)?;
        let queue = self.queues.get(&envelope.topic()).ok_or(RequeueError::Refused)?;
        queue.send(&envelope.to_text()).await.map_err(|error| match error {
            QueueError::Unavailable => RequeueError::Unavailable,
            QueueError::Refused(_) => RequeueError::Refused,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::queue::CapturingQueue;
    use crate::lambda::testing::{NOW, TestClock, authorisation_event, verified};

    fn read(text: &str) -> Result<BTreeMap<Topic, String>, String> {
        let get = |name: &str| (name == "EVENT_QUEUE_URLS").then(|| text.to_owned());
        let mut reader = SettingsReader::new(&get);
        let queues = read_queues(&mut reader);
        reader.finish(Some(queues)).map_err(|problems| problems.to_string())
    }

    #[test]
    fn queues_are_named_by_topic_and_mistakes_by_their_place() {
        let queues = read("refundPayment=https://sqs/1/refund, capturepayment = http://127.0.0.1:1/q").unwrap();
        assert_eq!(
            queues.into_iter().collect::<Vec<_>>(),
            [(Topic::RefundPayment, "https://sqs/1/refund".to_owned()), (Topic::CapturePayment, "http://127.0.0.1:1/q".to_owned())]
        );
        for wrong in
            ["refundPayment=https://a,secret", "refundPayment=https://a,x=https://secret", "refundPayment=https://a,capturePayment=secret"]
        {
            let problems = read(wrong).unwrap_err();
            assert!(problems.contains("entry 2") && !problems.contains("secret"), "{problems}");
        }
        assert!(read("").is_err());
    }

    #[tokio::test]
    async fn an_event_goes_back_to_its_own_queue_whether_it_was_kept_sealed_or_as_it_came() {
        let queue = Arc::new(CapturingQueue::default());
        let topic = Topic::SubscriptionReadyForPaymentAuthorisation;
        let of_topic: Arc<dyn Queue> = queue.clone();
        let queues = EventQueues::new([(topic, of_topic)].into(), Arc::new(TestClock::default()));
        let raw = authorisation_event().to_string();
        queues.requeue(&raw).await.unwrap();
        let sealed = Envelope::seal(&verified(raw.as_bytes()), raw.as_bytes(), NOW).unwrap();
        queues.requeue(&sealed.to_text()).await.unwrap();
        let sent = queue.sent();
        assert_eq!(sent.len(), 2);
        for text in sent {
            let envelope = Envelope::from_text(&text).unwrap();
            assert_eq!(envelope.open().ok().unwrap().get().data, authorisation_event()["data"]);
        }
        let capture = raw.replace("subscriptionReadyForPaymentAuthorisation", "subscriptionReadyForPaymentCapture");
        assert_eq!(queues.requeue(&capture).await, Err(RequeueError::Refused));
        assert_eq!(queues.requeue("nonsense").await, Err(RequeueError::NoEvent));
        queue.fail_with(Some(QueueError::Unavailable));
        assert_eq!(queues.requeue(&raw).await, Err(RequeueError::Unavailable));
    }
}
