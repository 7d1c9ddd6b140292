//! The gateways' notifications on a [`TestEnvironment`]: through the real handler, over its queue, to the real flow; and the requeued events.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector::cleeng::envelope::Envelope;
use connector::clock::{Clock, Timestamp};
use connector::flow::{Disposition, FlowContext, NotificationFlow};
use connector::gateway::GatewayName;
use connector::lambda::app::App;
use connector::lambda::queue::{NoQueue, NotificationEnvelope, Queue, QueueError};
use connector::lambda::reloadable::Reloadable;
use connector::lambda::secrets::{SecretCache, SecretError, SecretSource, Secrets};
use connector::lambda::settings::{DEFAULT_MAX_BODY_BYTES, Mode};
use connector::lambda::state::{AppState, Dependencies, FunctionKind, Invocation};
use connector::lambda::telemetry::Redactor;
use connector::lambda::verifier::NoWebhooks;
use connector::rate_limit::WindowLimiter;
use connector::secret::SecretString;
use gateway_notification::GatewayNotifications;
use serde_json::{Value, json};

use crate::expect::expect_fixture;
use crate::simulators::virtual_clock::VirtualClock;
use crate::testkit::fixtures::{PUBLISHER_TOKEN, WEBHOOK_SECRET, flow_for};
use crate::testkit::harness::TestEnvironment;

/// The address that Adyen posts to.
pub const ADYEN_NOTIFICATION_PATH: &str = "/gateways/adyen/notifications";

/// The address that a gateway posts to.
#[must_use]
pub fn notification_path(gateway: GatewayName) -> String {
    format!("/gateways/{gateway}/notifications")
}

/// The response of the handler, and the messages that it put on the queue.
#[derive(Debug)]
pub struct HandlerResponse {
    /// The status.
    pub status: u64,
    /// The body.
    pub body: String,
    /// The messages.
    pub messages: Vec<String>,
}

/// A queue that records the messages of the handler.
#[derive(Default)]
struct RecordingQueue(Mutex<Vec<String>>);

#[async_trait]
impl Queue for RecordingQueue {
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
        Ok(SecretString::new(deployment_secret(crate::testkit::gateway_fixtures::gateway_secrets()).to_string()))
    }
}

/// The secret of a deployment with this part of the gateways.
#[must_use]
pub fn deployment_secret(mut gateways: Value) -> Value {
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

/// The notification function's HTTP endpoint.
pub struct NotificationEndpoint(App, VirtualClock);

impl NotificationEndpoint {
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
        let answer = expect_fixture(self.0.handle(&event.to_string(), &invocation).await.ok());
        let status = answer.get("statusCode").and_then(Value::as_u64).unwrap_or_default();
        (status, answer.get("body").and_then(Value::as_str).unwrap_or_default().to_owned())
    }
}

impl TestEnvironment {
    /// The notification function's endpoint, as a function that has just started. `queue` is where it puts messages.
    ///
    /// # Panics
    /// If the function does not start.
    pub async fn notification_endpoint(&self, queue: Arc<dyn Queue>) -> NotificationEndpoint {
        let flow_context = self.flow_context.clone();
        self.notification_endpoint_with(Box::new(SandboxSecrets), move || flow_context.clone(), queue).await
    }

    /// The same with a secret that may change, and with a closure that builds the dependencies of flows again.
    ///
    /// # Panics
    /// If the function does not start.
    pub async fn notification_endpoint_with(
        &self,
        secrets: Box<dyn SecretSource>,
        flow_context: impl Fn() -> FlowContext + Send + Sync + 'static,
        queue: Arc<dyn Queue>,
    ) -> NotificationEndpoint {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let gateways: BTreeSet<_> = self.gateways.iter().map(|fixture| fixture.simulator.gateway_name()).collect();
        let secret_cache = SecretCache::open(secrets, gateways, Arc::new(Redactor::default()), Arc::clone(&clock)).await;
        let build = move |_: &Secrets| Ok(Dependencies { flow_context: flow_context(), verifier: Arc::new(NoWebhooks) });
        let app = App::new(AppState {
            kind: FunctionKind::Notifications(Arc::new(GatewayNotifications)),
            mode: Mode::Lambda,
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            queue,
            quarantine: Arc::new(NoQueue),
            quarantine_limiter: WindowLimiter::new(60, Duration::from_secs(60)),
            clock,
            metrics: self.flow_context.metrics.clone(),
            dependencies: expect_fixture(Reloadable::new(expect_fixture(secret_cache.ok()), build).ok()),
        });
        NotificationEndpoint(app, self.clock.clone())
    }

    /// Posts a body to the notification function's endpoint, as a function that has just started.
    ///
    /// # Panics
    /// If the function does not start.
    pub async fn post_notification(&self, path: &str, headers: &Value, body: &[u8]) -> HandlerResponse {
        let messages = Arc::new(RecordingQueue::default());
        let (status, body) = self.notification_endpoint(messages.clone()).await.post(path, headers, body).await;
        let messages = std::mem::take(&mut *messages.0.lock().unwrap_or_else(PoisonError::into_inner));
        HandlerResponse { status, body, messages }
    }

    /// All notifications of the gateways since the last time, as messages on the function's queue.
    ///
    /// # Panics
    /// If the handler rejects what a gateway sends.
    pub async fn collect_notifications(&self) -> Vec<String> {
        let mut messages = Vec::new();
        for simulator in self.gateways.iter().map(|fixture| &fixture.simulator) {
            for request in simulator.take_notifications() {
                let headers: Value =
                    request.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default())).collect();
                let response = self.post_notification(&notification_path(simulator.gateway_name()), &headers, &request.body).await;
                messages.extend(expect_fixture((response.status == 200).then_some(response.messages)));
            }
        }
        messages
    }

    /// Posts a body that has to be accepted, and returns the messages that it put on the queue.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn post_accepted_notification(&self, headers: &Value, body: &[u8]) -> Vec<String> {
        let response = self.post_notification(ADYEN_NOTIFICATION_PATH, headers, body).await;
        expect_fixture((response.status == 200 && response.body == "[accepted]").then_some(response.messages))
    }

    /// One delivery of a message of the notification function's queue.
    ///
    /// # Panics
    /// If the message is none.
    pub async fn deliver_notification(&self, message: &str) -> Disposition {
        let envelope = expect_fixture(NotificationEnvelope::from_text(message).ok());
        let (gateway, delivery) = (envelope.gateway(), self.delivery_received_at(envelope.received_at()));
        GatewayNotifications.handle(&self.flow_context, gateway, &envelope.open(), &delivery).await
    }

    /// Delivers messages in this order, each again behind the others while it is deferred. Returns the last result of each, in the
    /// order in which they left the queue.
    pub async fn deliver_messages_until_settled(&self, messages: &[String]) -> Vec<Disposition> {
        let mut queue: Vec<String> = messages.to_vec();
        let mut dispositions = Vec::new();
        for _ in 0..200 {
            let mut put_off = Vec::new();
            for message in std::mem::take(&mut queue) {
                match self.deliver_notification(&message).await {
                    Disposition::Retry { .. } => put_off.push(message),
                    disposition => dispositions.push(disposition),
                }
            }
            if put_off.is_empty() {
                break;
            }
            queue = put_off;
            self.clock.advance(Duration::from_secs(600));
        }
        dispositions
    }

    /// Lets the gateways process what they received, and delivers all of their notifications.
    pub async fn deliver_notifications(&self) -> Vec<Disposition> {
        self.process_gateways();
        let messages = self.collect_notifications().await;
        self.deliver_messages_until_settled(&messages).await
    }

    /// Delivers the requeued events, once each.
    ///
    /// # Panics
    /// If one is no event.
    pub async fn deliver_requeued(&self) -> Vec<Disposition> {
        let mut dispositions = Vec::new();
        for text in self.requeue.take_events() {
            let envelope = expect_fixture(Envelope::from_waiting_event(&text, self.clock.now()).ok());
            let (event, delivery) = (expect_fixture(envelope.open().ok()), self.delivery_received_at(envelope.received_at()));
            let flow = expect_fixture(flow_for(envelope.topic()));
            dispositions.push(flow.handle(&self.flow_context, &event, &delivery).await);
        }
        dispositions
    }

    /// The journal's record of the payment with this reference, as JSON without the times of its history.
    pub async fn payment_record(&self, reference: &str) -> Value {
        let key = connector::journal::store::Key::new("payment", &[reference]);
        let found = self.flow_context.store.load(std::slice::from_ref(&key)).await.unwrap_or_default();
        let body = found.into_iter().flatten().next().map(|stored| stored.body).unwrap_or_default();
        let mut record: Value = serde_json::from_str(&body).unwrap_or_default();
        if let Some(record) = record.as_object_mut() {
            record.remove("history");
        }
        record
    }

    /// The time of the environment's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
