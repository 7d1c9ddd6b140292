//! The functions as Lambda would run them: the real settings, secrets, handlers and flows, given events in the shapes that AWS gives them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::clock::{Clock, Timestamp};
use connector::frontend_api::FrontendFlow;
use connector::gateway::GatewayName;
use connector::http::ReqwestTransport;
use connector::journal::memory::MemoryStore;
use connector::lambda::app::App;
use connector::lambda::dependencies::{SharedDeps, read_upstream_settings};
use connector::lambda::frontend_handler::{FrontendApp, FrontendSettings};
use connector::lambda::queue::{NoQueue, Queue};
use connector::lambda::secrets::{EnvironmentSecret, SecretCache, SecretError};
use connector::lambda::settings::{RequiredSettings, Settings};
use connector::lambda::state::{FunctionKind, Invocation};
use connector::lambda::telemetry::Redactor;
use connector::lambda::webhook_handler::route_for_topic;
use connector::metrics::Metrics;
use connector::settings::{Problems, SettingsReader};
use gateway_notification::GatewayNotifications;
use initial_purchase::InitialPurchase;
use payment_details::PaymentDetails;
use reconciliation::Reconciliation;
use serde_json::{Value, json};

use super::crash::{CrashTrigger, CrashingTransport};
use super::queue::{FunctionQueue, LocalMessage, LocalRequeue, QueueSet};
use crate::simulators::virtual_clock::VirtualClock;
use crate::testkit::fixtures;
use crate::testkit::gateway_fixtures::{self, payment_methods_of};
use crate::testkit::metric_recorder::MetricRecorder;

/// The unguessable segment of the sandbox's routes.
pub const PATH_KEY: &str = "sandbox-path-key-0123456789";

const FUNCTION_TIMEOUT: Duration = Duration::from_secs(90);
const NOTIFICATIONS: &str = "gateway-notification";
const RECONCILIATION: &str = "reconciliation";
const PURCHASE: &str = "initial-purchase";
const DETAILS: &str = "payment-details";

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

enum Function {
    /// For webhooks or notifications and their queue, or a schedule.
    App(App),
    /// For front-end calls.
    Frontend(FrontendApp),
}

impl Function {
    async fn handle(&self, event: &Value, invocation: &Invocation) -> Value {
        let answer = match self {
            Self::App(app) => app.handle(&event.to_string(), invocation).await,
            Self::Frontend(app) => app.handle(&event.to_string(), invocation).await,
        };
        answer.unwrap_or(Value::Null)
    }
}

/// The salt of this deployment: references that it makes carry its mark, those of `events/` as well.
pub const IDEMPOTENCY_SALT: &str = "sandbox-salt-0123456789abcdef0123456789";

/// All functions.
pub struct Functions {
    /// Their queues.
    pub queues: QueueSet,
    /// What they counted.
    pub metrics: Arc<MetricRecorder>,
    /// Lets one of them crash.
    pub crash: CrashTrigger,
    clock: VirtualClock,
    store: Arc<MemoryStore>,
    functions: BTreeMap<String, Function>,
    requests: AtomicU64,
}

/// What a function answered to a request.
#[derive(Clone, Debug)]
pub struct FunctionResponse {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

/// The environment that the template would give, with the simulators as upstreams.
fn template_environment(cleeng_url: &str, own_url: &str, gateways: &[(&'static str, String)]) -> BTreeMap<&'static str, String> {
    let of_gateway = |gateway: &GatewayName| {
        let (method, capture_only) = payment_methods_of(*gateway);
        format!("{method}={gateway}:authorise_then_capture,{capture_only}={gateway}:capture_only")
    };
    let methods = GatewayName::ALL.iter().map(of_gateway).collect::<Vec<_>>().join(",");
    let mut secrets = gateway_fixtures::gateway_secrets();
    let others = json!({
        "idempotency_salt": IDEMPOTENCY_SALT,
        "webhook_path_keys": [PATH_KEY],
        "cleeng": { "publisher_token": [fixtures::PUBLISHER_TOKEN], "webhook_secrets": [fixtures::WEBHOOK_SECRET] },
    });
    if let (Some(secrets), Value::Object(others)) = (secrets.as_object_mut(), others) {
        secrets.extend(others);
    }
    let fixed = [
        ("CONNECTOR_PUBLISHER_ID", fixtures::PUBLISHER.to_owned()),
        ("PAYMENT_METHODS", methods),
        ("CLEENG_ENVIRONMENT", "sandbox".to_owned()),
        ("CLEENG_API_URL", format!("{cleeng_url}/3.1")),
        ("CLEENG_MEDIASTORE_URL", format!("{cleeng_url}/mediastore")),
        ("ALLOWED_ORIGINS", format!("{},http://localhost:3000", fixtures::SHOP_ORIGIN)),
        ("CONNECTOR_PUBLIC_URL", own_url.to_owned()),
        ("PARTIAL_REFUNDS", "send".to_owned()),
        ("CONNECTOR_SECRETS", secrets.to_string()),
        ("CONNECTOR_EMBEDDED", "0".to_owned()),
        // Named by the template; here they are not used.
        ("JOURNAL_TABLE", "in-memory".to_owned()),
        ("QUEUE_URL", "http://queue.invalid".to_owned()),
        ("QUARANTINE_QUEUE_URL", "http://quarantine.invalid".to_owned()),
        ("CONNECTOR_SECRET_ID", "in-memory".to_owned()),
    ];
    fixed.into_iter().chain(gateways.iter().cloned()).collect()
}

/// The same for functions that run without AWS, in a process of their own.
pub(super) fn embedded_environment(cleeng_url: &str, own_url: &str, gateways: &[(&'static str, String)]) -> BTreeMap<&'static str, String> {
    let mut settings = template_environment(cleeng_url, own_url, gateways);
    for name in ["JOURNAL_TABLE", "QUEUE_URL", "QUARANTINE_QUEUE_URL", "CONNECTOR_SECRET_ID"] {
        settings.remove(name);
    }
    settings.insert("CONNECTOR_EMBEDDED", "1".to_owned());
    // Their journal ends with them: no payment would still wait for a notification.
    settings.insert("SETTLE_ON", "receipt".to_owned());
    // Nor would payment details still wait for the confirmed release of what is held with them.
    settings.insert("DELETE_DEACTIVATED_DETAILS", "no".to_owned());
    // As in the template: SAM CLI would hand on the shell's, which is of another file system ("Environment variable file" of AWS SAM).
    settings.insert("SSL_CERT_FILE", "/etc/pki/tls/certs/ca-bundle.crt".to_owned());
    settings
}

impl Functions {
    /// Starts every function that there is. `own_url` is where their routes are, `gateways` are the settings of all gateways.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        clock: &VirtualClock,
        cleeng_url: &str,
        own_url: &str,
        gateways: &[(&'static str, String)],
    ) -> Result<Self, StartError> {
        let (queues, crash) = (QueueSet::new(clock.clone()), CrashTrigger::default());
        let metrics = Arc::new(MetricRecorder::default());
        let store = Arc::new(MemoryStore::new(Arc::new(clock.clone())));
        let starter = FunctionStarter {
            environment: template_environment(cleeng_url, own_url, gateways),
            clock,
            queues: &queues,
            metrics: &metrics,
            crash: &crash,
            store: &store,
        };
        let mut functions = BTreeMap::new();
        for (topic, flow) in Topic::ALL.into_iter().filter_map(|topic| Some((topic, fixtures::flow_for(topic)?))) {
            let name = route_for_topic(topic);
            functions.insert(name.clone(), starter.start_app(FunctionKind::Webhooks(flow.into()), &name).await?);
        }
        let notifications = FunctionKind::Notifications(Arc::new(GatewayNotifications));
        functions.insert(NOTIFICATIONS.to_owned(), starter.start_app(notifications, NOTIFICATIONS).await?);
        let reconciliation = FunctionKind::Scheduled(Arc::new(Reconciliation));
        functions.insert(RECONCILIATION.to_owned(), starter.start_app(reconciliation, RECONCILIATION).await?);
        functions.insert(PURCHASE.to_owned(), starter.start_frontend(Arc::new(InitialPurchase)).await?);
        functions.insert(DETAILS.to_owned(), starter.start_frontend(Arc::new(PaymentDetails)).await?);
        Ok(Self { queues, metrics, crash, clock: clock.clone(), store, functions, requests: AtomicU64::new(0) })
    }

    /// The function of a path, as the template routes it.
    fn function_for_path(&self, path: &str) -> Option<&Function> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let name = match segments.as_slice() {
            ["webhooks", _, name] => *name,
            ["gateways", _, "notifications"] => NOTIFICATIONS,
            ["connectors", _, "initial-payment" | "payment-methods" | "sessions", ..] | ["connectors", _, "v1", "tokens", ..] => PURCHASE,
            ["connectors", _, "payment-details", ..] | ["connectors", _, "v1", "payment_details", "tokens", ..] => DETAILS,
            _ => return None,
        };
        self.functions.get(name)
    }

    /// Answers a request of the outside as the HTTP API and the function would.
    pub async fn handle_http(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &BTreeMap<String, String>,
        body: &str,
    ) -> FunctionResponse {
        let Some(function) = self.function_for_path(path) else {
            return FunctionResponse { status: 404, headers: BTreeMap::new(), body: json!({ "message": "Not Found" }).to_string() };
        };
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": headers, "body": body,
            "isBase64Encoded": false,
            "requestContext": { "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1" } },
        });
        let answer = function.handle(&event, &self.invocation()).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let headers = answer.get("headers").and_then(Value::as_object).into_iter().flatten();
        FunctionResponse {
            status: answer.get("statusCode").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok()).unwrap_or(500),
            headers: headers.map(|(name, value)| (name.clone(), text(value))).collect(),
            body: answer.get("body").map(text).unwrap_or_default(),
        }
    }

    /// Hands a message to its function, and deletes it unless the function says that it failed. Returns whether the function handled it.
    pub async fn deliver_message(&self, message: &LocalMessage) -> bool {
        let Some(function) = self.functions.get(&message.function) else { return false };
        let event = json!({ "Records": [{
            "messageId": message.id, "receiptHandle": message.id, "body": message.body, "eventSource": "aws:sqs",
            "attributes": { "ApproximateReceiveCount": message.receive_count.to_string() }, "messageAttributes": {}, "awsRegion": "local",
        }]});
        let answer = function.handle(&event, &self.invocation()).await;
        let done = answer.get("batchItemFailures").and_then(Value::as_array).is_some_and(Vec::is_empty);
        if done {
            self.queues.delete(&message.id);
        }
        done
    }

    /// When reconciliation finds something to do next. Its runs before then find nothing.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.store.next_due()
    }

    /// Runs reconciliation as its schedule does. Returns its response.
    pub async fn run_reconciliation(&self) -> Value {
        let Some(function) = self.functions.get(RECONCILIATION) else { return Value::Null };
        function.handle(&json!({ "detail-type": "Scheduled Event", "source": "aws.events" }), &self.invocation()).await
    }

    fn invocation(&self) -> Invocation {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        Invocation { request_id: format!("request-{number}"), deadline: deadline(&self.clock) }
    }
}

fn deadline(clock: &VirtualClock) -> Timestamp {
    clock.now().after(FUNCTION_TIMEOUT)
}

/// What every function is started with.
struct FunctionStarter<'a> {
    environment: BTreeMap<&'static str, String>,
    clock: &'a VirtualClock,
    queues: &'a QueueSet,
    metrics: &'a Arc<MetricRecorder>,
    crash: &'a CrashTrigger,
    store: &'a Arc<MemoryStore>,
}

impl FunctionStarter<'_> {
    async fn start_app(&self, kind: FunctionKind, name: &str) -> Result<Function, StartError> {
        let (deps, secret_cache, _) = self.prepare(kind.required_settings()).await?;
        let queue: Arc<dyn Queue> = match kind {
            FunctionKind::Webhooks(_) | FunctionKind::Notifications(_) => {
                Arc::new(FunctionQueue { function: name.to_owned(), queues: self.queues.clone() })
            }
            FunctionKind::Scheduled(_) => Arc::new(NoQueue),
        };
        Ok(Function::App(App::new(deps.into_state(kind, secret_cache, queue, Arc::new(NoQueue))?)))
    }

    async fn start_frontend(&self, flow: Arc<dyn FrontendFlow>) -> Result<Function, StartError> {
        let (deps, secret_cache, settings) = self.prepare(RequiredSettings::FRONTEND).await?;
        let settings = settings.ok_or_else(|| Problems(Vec::new()))?;
        Ok(Function::Frontend(FrontendApp::new(flow, settings, deps, secret_cache)?))
    }

    async fn prepare(&self, required: RequiredSettings) -> Result<(SharedDeps, SecretCache, Option<FrontendSettings>), StartError> {
        let get = |name: &str| self.environment.get(name).cloned();
        let mut reader = SettingsReader::new(&get);
        let settings = Settings::read_for(&mut reader, required);
        let upstreams = settings.as_ref().and_then(|settings| read_upstream_settings(&mut reader, settings));
        let frontend = required.frontend.then(|| FrontendSettings::read(&mut reader)).flatten();
        let (settings, upstreams) = reader.finish(settings.zip(upstreams))?;
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let source = Box::new(EnvironmentSecret::new(get("CONNECTOR_SECRETS")));
        let gateways: std::collections::BTreeSet<GatewayName> = settings.methods.values().map(|method| method.gateway).collect();
        let secret_cache = SecretCache::open(source, gateways, Arc::new(Redactor::default()), Arc::clone(&clock)).await?;
        let http_client = ReqwestTransport::new().map_err(|_| StartError::Http)?;
        let deps = SharedDeps {
            settings,
            upstreams,
            transport: Arc::new(CrashingTransport { inner: http_client, trigger: self.crash.clone() }),
            store: self.store.clone(),
            clock,
            metrics: Metrics::new(self.metrics.clone()),
            requeue: Arc::new(LocalRequeue(self.queues.clone())),
        };
        Ok((deps, secret_cache, frontend))
    }
}
