//! The upstreams: gateways that verify, a transport that always returns the same response, and functions as Lambda runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use connector::flow::{Requeue, RequeueError};
use connector::gateway::{Gateway, GatewayName};
use connector::http::{Request, Response, Transport, TransportError};
use connector::journal::memory::MemoryStore;
use connector::lambda::app::App;
use connector::lambda::dependencies::{SharedDeps, read_upstream_settings};
use connector::lambda::queue::{CapturingQueue, Queue};
use connector::lambda::secrets::{EnvironmentSecret, SecretCache};
use connector::lambda::settings::Settings;
use connector::lambda::state::FunctionKind;
use connector::lambda::telemetry::Redactor;
use connector::metrics::Metrics;
use connector::settings::SettingsReader;
use sandbox::local::PATH_KEY;
use sandbox::simulators::network::{FaultyNetwork, InProcessTransport};
use sandbox::simulators::virtual_clock::VirtualClock;
use sandbox::testkit::fixtures::{PUBLISHER, PUBLISHER_TOKEN, SHOP_ORIGIN, START, WEBHOOK_SECRET};
use sandbox::testkit::gateway_fixtures::{self, SimulatedGateways, base_urls_of, payment_methods_of};
use sandbox::testkit::metric_recorder::MetricRecorder;
use serde_json::{Value, json};

/// The salt of all idempotency keys here.
pub(crate) const SALT: &str = "sandbox-idempotency-salt";

/// The time in every body: it stands still.
pub(crate) fn clock() -> VirtualClock {
    VirtualClock::starting_at(START)
}

/// The way to all simulated gateways.
pub(crate) fn simulators() -> Arc<dyn Transport> {
    let mut peers = InProcessTransport::new(FaultyNetwork::default());
    for (gateway, peer) in SimulatedGateways::open(&clock()).servers() {
        for address in base_urls_of(gateway) {
            peers = peers.with_server(address, Arc::clone(&peer));
        }
    }
    Arc::new(peers)
}

/// The adapter of a gateway whose notifications are read; it remembers nothing from before.
pub(crate) fn gateway(name: GatewayName) -> Arc<dyn Gateway> {
    gateway_fixtures::build_adapter(name, simulators(), &clock())
}

/// A way out on which every call gets this answer, but for those that ask for an access token.
#[derive(Clone)]
pub(crate) struct ConstantTransport(pub(crate) Response);

#[async_trait]
impl Transport for ConstantTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let mut answer = self.0.clone();
        if request.url.ends_with("/v1/oauth2/token") {
            answer.status = connector::http::StatusCode::OK;
            answer.body =
                json!({ "access_token": "A21AA-fuzz-access-token", "token_type": "Bearer", "expires_in": 32400 }).to_string().into();
        }
        Ok(answer)
    }
}

/// What the template would set.
pub(crate) fn environment() -> BTreeMap<String, String> {
    let of_gateway = |gateway: &GatewayName| {
        let (method, capture_only_method) = payment_methods_of(*gateway);
        format!("{method}={gateway}:authorise_then_capture,{capture_only_method}={gateway}:capture_only")
    };
    let methods = GatewayName::ALL.iter().map(of_gateway).collect::<Vec<_>>().join(",");
    let mut settings: BTreeMap<String, String> = [
        ("CONNECTOR_PUBLISHER_ID", PUBLISHER),
        ("PAYMENT_METHODS", &methods),
        ("CLEENG_ENVIRONMENT", "sandbox"),
        ("ALLOWED_ORIGINS", SHOP_ORIGIN),
        ("CONNECTOR_PUBLIC_URL", "https://pay.example.com"),
        ("CONNECTOR_EMBEDDED", "0"),
        ("JOURNAL_TABLE", "in-memory"),
        ("QUEUE_URL", "http://queue.invalid"),
        ("QUARANTINE_QUEUE_URL", "http://quarantine.invalid"),
        ("CONNECTOR_SECRET_ID", "in-memory"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for gateway in GatewayName::ALL {
        settings.extend(gateway_fixtures::gateway_settings(*gateway, None).into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    settings
}

/// The deployment's secret.
pub(crate) fn secrets() -> Value {
    let mut secrets = gateway_fixtures::gateway_secrets();
    secrets["idempotency_salt"] = json!(SALT);
    secrets["webhook_path_keys"] = json!([PATH_KEY]);
    secrets["cleeng"] = json!({ "publisher_token": [PUBLISHER_TOKEN], "webhook_secrets": [WEBHOOK_SECRET] });
    secrets
}

/// A queue that shows its messages, for released events.
#[derive(Clone, Default)]
pub(crate) struct RecordingRequeue(pub(crate) Arc<CapturingQueue>);

#[async_trait]
impl Requeue for RecordingRequeue {
    async fn requeue(&self, event: &str) -> Result<(), RequeueError> {
        self.0.send(event).await.map_err(|_| RequeueError::Unavailable)
    }
}

/// A function at work, and what it puts where.
pub(crate) struct TestFunction {
    /// The function.
    pub(crate) app: App,
    /// Its own queue.
    pub(crate) queue: Arc<CapturingQueue>,
    /// What it keeps aside.
    pub(crate) quarantine: Arc<CapturingQueue>,
    /// The events that it releases to the queues of other functions.
    pub(crate) requeued: RecordingRequeue,
}

/// Starts a function as Lambda does, with the simulators around it.
pub(crate) async fn start_function(kind: FunctionKind) -> TestFunction {
    let environment = environment();
    let get = |name: &str| environment.get(name).cloned();
    let mut reader = SettingsReader::new(&get);
    let settings = Settings::read_for(&mut reader, kind.required_settings());
    let peers = settings.as_ref().and_then(|settings| read_upstream_settings(&mut reader, settings));
    let (settings, peers) = reader.finish(settings.zip(peers)).expect("the settings of these bodies are good");
    let clock = Arc::new(clock());
    let source = Box::new(EnvironmentSecret::new(Some(secrets().to_string())));
    let gateways: BTreeSet<GatewayName> = GatewayName::ALL.iter().copied().collect();
    let secret_cache =
        SecretCache::open(source, gateways, Arc::new(Redactor::default()), clock.clone()).await.expect("and so are the secrets");
    let (queue, quarantine, given) = (Arc::<CapturingQueue>::default(), Arc::<CapturingQueue>::default(), RecordingRequeue::default());
    let deps = SharedDeps {
        settings,
        upstreams: peers,
        transport: simulators(),
        store: Arc::new(MemoryStore::new(clock.clone())),
        clock,
        metrics: Metrics::new(Arc::new(MetricRecorder::default())),
        requeue: Arc::new(given.clone()),
    };
    let state = deps.into_state(kind, secret_cache, queue.clone(), quarantine.clone()).expect("a function");
    TestFunction { app: App::new(state), queue, quarantine, requeued: given }
}
