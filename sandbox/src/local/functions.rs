//! The functions as Lambda would run them: the real settings, secrets, doors and flows, given events in the shapes that AWS gives them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::clock::{Clock, Timestamp};
use connector::flow::NoRequeue;
use connector::gateway::GatewayName;
use connector::http::ReqwestTransport;
use connector::journal::memory::MemoryStore;
use connector::journal::store::Store;
use connector::lambda::app::{App, Invocation, Parts, Task};
use connector::lambda::http_door::route_of;
use connector::lambda::secrets::{Environment, SecretError, SecretKeeper};
use connector::lambda::settings::Settings;
use connector::lambda::telemetry::Redactor;
use connector::lambda::wiring::{Base, Standard, read_peer_settings};
use connector::metrics::Metrics;
use connector::settings::{Problems, Reader};
use serde_json::{Value, json};

use super::queue::{FunctionQueue, Message};
use super::{PATH_KEY, QueueSet};
use crate::clock::VirtualClock;
use crate::stage::{self, Recorder};

const FUNCTION_TIME: Duration = Duration::from_secs(90);

/// Why the local world does not open.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
    /// The sandbox's own settings are refused.
    #[error(transparent)]
    Settings(#[from] Problems),
    /// The sandbox's own secrets are refused.
    #[error(transparent)]
    Secrets(#[from] SecretError),
    /// The HTTP client cannot start.
    #[error("the HTTP client cannot start: no usable CA certificates were found; set SSL_CERT_FILE to a PEM bundle")]
    Http,
}

/// All functions.
pub struct Functions {
    /// Their queues.
    pub queues: QueueSet,
    /// What they counted.
    pub metrics: Arc<Recorder>,
    clock: VirtualClock,
    apps: BTreeMap<Topic, App>,
    requests: AtomicU64,
}

/// The environment that the template would give, with the simulators as peers.
fn environment(cleeng_url: &str, adyen_url: &str) -> BTreeMap<&'static str, String> {
    let methods = format!("{}=adyen:authorise_then_capture,{}=adyen:capture_only", stage::METHOD, stage::CAPTURE_ONLY_METHOD);
    let secrets = json!({
        "idempotency_salt": "sandbox-idempotency-salt",
        "webhook_path_keys": [PATH_KEY],
        "cleeng": { "publisher_token": [stage::PUBLISHER_TOKEN], "webhook_secrets": [stage::WEBHOOK_SECRET] },
        "adyen": { "api_key": [stage::ADYEN_API_KEY], "hmac_keys": [stage::ADYEN_HMAC_KEY] },
    });
    BTreeMap::from([
        ("CONNECTOR_PUBLISHER_ID", stage::PUBLISHER.to_owned()),
        ("PAYMENT_METHODS", methods),
        ("CLEENG_ENVIRONMENT", "sandbox".to_owned()),
        ("CLEENG_API_URL", format!("{cleeng_url}/3.1")),
        ("ADYEN_ENVIRONMENT", "test".to_owned()),
        ("ADYEN_BASE_URL", adyen_url.to_owned()),
        ("ADYEN_MERCHANT_ACCOUNT", stage::MERCHANT_ACCOUNT.to_owned()),
        ("ADYEN_CAPTURE", "manual".to_owned()),
        ("CONNECTOR_SECRETS", secrets.to_string()),
        ("CONNECTOR_EMBEDDED", "0".to_owned()),
        // Named by the template; here nobody looks there.
        ("JOURNAL_TABLE", "in-memory".to_owned()),
        ("QUEUE_URL", "http://queue.invalid".to_owned()),
        ("CONNECTOR_SECRET_ID", "in-memory".to_owned()),
    ])
}

impl Functions {
    /// Starts every function that there is.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(clock: &VirtualClock, cleeng_url: &str, adyen_url: &str) -> Result<Self, StartError> {
        let environment = environment(cleeng_url, adyen_url);
        let queues = QueueSet::new(clock.clone());
        let metrics = Arc::new(Recorder::default());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(clock.clone())));
        let mut apps = BTreeMap::new();
        for topic in Topic::ALL {
            if let Some(app) = start_one(topic, &environment, clock, &queues, &metrics, &store).await? {
                apps.insert(topic, app);
            }
        }
        Ok(Self { queues, metrics, clock: clock.clone(), apps, requests: AtomicU64::new(0) })
    }

    /// Answers a request of the outside as the HTTP API and the function would.
    pub async fn http(&self, method: &str, path: &str, headers: &BTreeMap<String, String>, body: &str) -> (u16, Value) {
        let Some(app) = self.apps.iter().find(|(topic, _)| path.ends_with(&format!("/{}", route_of(**topic)))).map(|(_, app)| app) else {
            return (404, json!({ "message": "Not Found" }));
        };
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": headers, "body": body,
            "isBase64Encoded": false,
            "requestContext": { "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1" } },
        });
        let answer = app.handle(&event.to_string(), &self.invocation()).await.unwrap_or(Value::Null);
        let status = answer.get("statusCode").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok()).unwrap_or(500);
        let body = answer.get("body").and_then(Value::as_str).and_then(|body| serde_json::from_str(body).ok()).unwrap_or(Value::Null);
        (status, body)
    }

    /// Hands a message to its function, and deletes it unless the function says that it failed. Tells whether it was dealt with.
    pub async fn work(&self, message: &Message) -> bool {
        let Some(app) = self.apps.get(&message.topic) else { return false };
        let event = json!({ "Records": [{
            "messageId": message.id, "receiptHandle": message.id, "body": message.body, "eventSource": "aws:sqs",
            "attributes": { "ApproximateReceiveCount": message.receives.to_string() }, "messageAttributes": {}, "awsRegion": "local",
        }]});
        let answer = app.handle(&event.to_string(), &self.invocation()).await.unwrap_or(Value::Null);
        let failed = answer.get("batchItemFailures").and_then(Value::as_array);
        let done = failed.is_some_and(Vec::is_empty);
        if done {
            self.queues.delete(&message.id);
        }
        done
    }

    fn invocation(&self) -> Invocation {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        Invocation { request_id: format!("request-{number}"), deadline: deadline(&self.clock) }
    }
}

fn deadline(clock: &VirtualClock) -> Timestamp {
    clock.now().after(FUNCTION_TIME)
}

async fn start_one(
    topic: Topic,
    environment: &BTreeMap<&'static str, String>,
    clock: &VirtualClock,
    queues: &QueueSet,
    metrics: &Arc<Recorder>,
    store: &Arc<dyn Store>,
) -> Result<Option<App>, StartError> {
    let Some(flow) = stage::flow(topic) else { return Ok(None) };
    let get = |name: &str| environment.get(name).cloned();
    let mut reader = Reader::new(&get);
    let settings = Settings::read(&mut reader);
    let peers = settings.as_ref().and_then(|settings| read_peer_settings(&mut reader, settings));
    let (settings, peers) = reader.finish(settings.zip(peers))?;
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let source = Box::new(Environment::new(get("CONNECTOR_SECRETS")));
    let keeper = SecretKeeper::open(source, [GatewayName::Adyen].into(), Arc::new(Redactor::default()), Arc::clone(&clock)).await?;
    let metrics = Metrics::new(metrics.clone());
    let (mode, max_body_bytes) = (settings.mode, settings.max_body_bytes);
    let base = Base {
        settings,
        peers,
        transport: Arc::new(ReqwestTransport::new().map_err(|_| StartError::Http)?),
        store: Arc::clone(store),
        clock: Arc::clone(&clock),
        metrics: metrics.clone(),
        requeue: Arc::new(NoRequeue),
    };
    let wiring = Standard { topic: Some(topic), base };
    let queue = Arc::new(FunctionQueue { topic, queues: queues.clone() });
    let parts = Parts { task: Task::Webhooks(flow.into()), mode, max_body_bytes, keeper, wiring: Box::new(wiring), queue, clock, metrics };
    Ok(Some(App::new(parts)?))
}
