//! The gateways' notifications on a [`Stage`]: through the real door, over its queue, to the real flow; and the waiting events that come back.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector::clock::{Clock, Timestamp};
use connector::flow::{NotificationFlow, Verdict, World};
use connector::gateway::GatewayName;
use connector::lambda::app::{App, Invocation, Parts, Task, Wired, Wiring};
use connector::lambda::queue::{Envelope, NoQueue, NotificationEnvelope, Queue, QueueError};
use connector::lambda::secrets::{SecretError, SecretKeeper, SecretSource, Secrets};
use connector::lambda::settings::{DEFAULT_MAX_BODY_BYTES, Mode};
use connector::lambda::telemetry::Redactor;
use connector::lambda::wiring::NoWebhooks;
use connector::secret::SecretString;
use connector::settings::Problems;
use gateway_notification::Notifications;
use serde_json::{Value, json};

use crate::clock::VirtualClock;
use crate::stage::{PUBLISHER_TOKEN, Stage, WEBHOOK_SECRET, flow, known};

/// The address that Adyen posts to.
pub const ADYEN_ROUTE: &str = "/gateways/adyen/notifications";

/// The address that a gateway posts to.
pub(crate) fn route(gateway: GatewayName) -> String {
    format!("/gateways/{gateway}/notifications")
}

/// What the door answered, and what lies on the queue now because of it.
#[derive(Debug)]
pub struct Posted {
    /// The status.
    pub status: u64,
    /// The body.
    pub body: String,
    /// The messages.
    pub messages: Vec<String>,
}

/// The messages that the door put on its queue.
#[derive(Default)]
struct Messages(Mutex<Vec<String>>);

#[async_trait]
impl Queue for Messages {
    async fn send(&self, message: &str) -> Result<(), QueueError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
        Ok(())
    }

    async fn delay(&self, _receipt_handle: &str, _by: Duration) -> Result<(), QueueError> {
        Ok(())
    }
}

struct SandboxSecrets;

#[async_trait]
impl SecretSource for SandboxSecrets {
    async fn fetch(&self) -> Result<SecretString, SecretError> {
        Ok(SecretString::new(deployed_secrets(crate::guests::secrets()).to_string()))
    }
}

/// The secret of a deployment with this part of the gateways.
#[must_use]
pub fn deployed_secrets(mut gateways: Value) -> Value {
    let others = json!({
        "idempotency_salt": "sandbox-idempotency-salt",
        "webhook_path_keys": ["sandbox-path-key-0123456789"],
        "cleeng": { "publisher_token": PUBLISHER_TOKEN, "webhook_secrets": WEBHOOK_SECRET },
    });
    if let (Some(secrets), Value::Object(others)) = (gateways.as_object_mut(), others) {
        secrets.extend(others);
    }
    gateways
}

struct OnStage(World);

impl Wiring for OnStage {
    fn wire(&self, _secrets: &Secrets) -> Result<Wired, Problems> {
        Ok(Wired { world: self.0.clone(), verify: Arc::new(NoWebhooks) })
    }
}

/// The notification function's door.
pub struct Door(App, VirtualClock);

impl Door {
    /// Posts a body; the status and the body of the answer.
    ///
    /// # Panics
    /// If the function fails as a whole.
    pub async fn post(&self, path: &str, headers: &Value, body: &[u8]) -> (u64, String) {
        let event = json!({
            "version": "2.0", "rawPath": path, "headers": headers, "requestContext": { "http": { "method": "POST" } },
            "body": STANDARD.encode(body), "isBase64Encoded": true,
        });
        let invocation = Invocation { request_id: "post".to_owned(), deadline: self.1.now().after(Duration::from_secs(29)) };
        let answer = known(self.0.handle(&event.to_string(), &invocation).await.ok());
        let status = answer.get("statusCode").and_then(Value::as_u64).unwrap_or_default();
        (status, answer.get("body").and_then(Value::as_str).unwrap_or_default().to_owned())
    }
}

impl Stage {
    /// The notification function's door, as a function that has just started. `queue` is where it puts messages.
    ///
    /// # Panics
    /// If the function does not start.
    pub async fn notification_door(&self, queue: Arc<dyn Queue>) -> Door {
        self.notification_door_of(Box::new(SandboxSecrets), Box::new(OnStage(self.world.clone())), queue).await
    }

    /// The same with a secret that may change, and with what is made from it.
    ///
    /// # Panics
    /// If the function does not start.
    pub async fn notification_door_of(&self, secrets: Box<dyn SecretSource>, wiring: Box<dyn Wiring>, queue: Arc<dyn Queue>) -> Door {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let gateways: BTreeSet<_> = self.guests.iter().map(|guest| guest.house.gateway()).collect();
        let keeper = SecretKeeper::open(secrets, gateways, Arc::new(Redactor::default()), Arc::clone(&clock)).await;
        let app = App::new(Parts {
            task: Task::Notifications(Arc::new(Notifications)),
            mode: Mode::Lambda,
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            keeper: known(keeper.ok()),
            wiring,
            queue,
            quarantine: Arc::new(NoQueue),
            clock,
            metrics: self.world.metrics.clone(),
        });
        Door(known(app.ok()), self.clock.clone())
    }

    /// Posts a body to the notification function's door, as a function that has just started.
    ///
    /// # Panics
    /// If the function does not start.
    pub async fn post_notification(&self, path: &str, headers: &Value, body: &[u8]) -> Posted {
        let messages = Arc::new(Messages::default());
        let (status, body) = self.notification_door(messages.clone()).await.post(path, headers, body).await;
        let messages = std::mem::take(&mut *messages.0.lock().unwrap_or_else(PoisonError::into_inner));
        Posted { status, body, messages }
    }

    /// Everything that the gateways tell since the last time, as messages on the function's queue.
    ///
    /// # Panics
    /// If the door refuses what a gateway sends.
    pub async fn take_notifications(&self) -> Vec<String> {
        let mut messages = Vec::new();
        for house in self.guests.iter().map(|guest| &guest.house) {
            for told in house.take_notifications() {
                let headers: Value = told.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default())).collect();
                let posted = self.post_notification(&route(house.gateway()), &headers, &told.body).await;
                messages.extend(known((posted.status == 200).then_some(posted.messages)));
            }
        }
        messages
    }

    /// Posts a body that has to be accepted, and returns what lies on the queue because of it.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn accepted(&self, headers: &Value, body: &[u8]) -> Vec<String> {
        let posted = self.post_notification(ADYEN_ROUTE, headers, body).await;
        known((posted.status == 200 && posted.body == "[accepted]").then_some(posted.messages))
    }

    /// One delivery of a message of the notification function's queue.
    ///
    /// # Panics
    /// If the message is none.
    pub async fn settle(&self, message: &str) -> Verdict {
        let envelope = known(NotificationEnvelope::from_text(message).ok());
        let (gateway, delivery) = (envelope.gateway(), self.next_delivery(envelope.received_at()));
        Notifications.settle(&self.world, gateway, &envelope.open(), &delivery).await
    }

    /// Delivers messages in this order, each again and again behind the others while it is put off. Returns the last verdict of each, in the
    /// order in which they left the queue.
    pub async fn settle_all(&self, messages: &[String]) -> Vec<Verdict> {
        let mut queue: Vec<String> = messages.to_vec();
        let mut verdicts = Vec::new();
        for _ in 0..200 {
            let mut put_off = Vec::new();
            for message in std::mem::take(&mut queue) {
                match self.settle(&message).await {
                    Verdict::Later { .. } => put_off.push(message),
                    verdict => verdicts.push(verdict),
                }
            }
            if put_off.is_empty() {
                break;
            }
            queue = put_off;
            self.clock.advance(Duration::from_secs(600));
        }
        verdicts
    }

    /// Lets the gateways do what they received, and takes and settles everything that they tell.
    pub async fn hear_gateways(&self) -> Vec<Verdict> {
        self.process();
        let messages = self.take_notifications().await;
        self.settle_all(&messages).await
    }

    /// Delivers the events that were brought back to their functions' queues, once each.
    ///
    /// # Panics
    /// If one is no event.
    pub async fn deliver_requeued(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for text in self.requeue.take() {
            let envelope = known(Envelope::of_waiting(&text, self.clock.now()).ok());
            let (event, delivery) = (known(envelope.open().ok()), self.next_delivery(envelope.received_at()));
            let flow = known(flow(envelope.topic()));
            verdicts.push(flow.settle(&self.world, &event, &delivery).await);
        }
        verdicts
    }

    /// The journal's record of the payment with this reference, as JSON without the times of its history.
    pub async fn record_of(&self, reference: &str) -> Value {
        let key = connector::journal::store::Key::new("payment", &[reference]);
        let found = self.world.store.load(std::slice::from_ref(&key)).await.unwrap_or_default();
        let body = found.into_iter().flatten().next().map(|stored| stored.body).unwrap_or_default();
        let mut record: Value = serde_json::from_str(&body).unwrap_or_default();
        if let Some(record) = record.as_object_mut() {
            record.remove("history");
        }
        record
    }

    /// When the stage's clock stands.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
