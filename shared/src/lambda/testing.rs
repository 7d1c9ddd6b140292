//! What the tests of this folder have in common: a clock that stands still, a flow that records, a verifier with two words for a signature,
//! and an output that can be searched.

mod no_cleeng;

use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use self::no_cleeng::NoCleeng;
use super::app::App;
use super::queue::{CapturingQueue, Queue};
use super::reloadable::Reloadable;
use super::requeue::EventQueues;
use super::secrets::{SecretCache, SecretError, SecretSource, Secrets};
use super::settings::Mode;
use super::state::{AppState, Dependencies, FunctionKind, Invocation};
use super::telemetry::{EmfSink, Output, Redactor};
use super::verifier::{Rejection, Verify};
use crate::cleeng::webhook::{Topic, Verified, Webhook};
use crate::clock::{Clock, Timestamp};
use crate::delivery::Delivery;
use crate::flow::{
    BillingMode, BillingPolicy, Disposition, Flow, FlowContext, NotificationFlow, PartialRefunds, PaymentMethodConfig, RunReport,
    ScheduledJob, SettleOn,
};
use crate::gateway::adyen::{AdyenEnvironment, AdyenPageSettings, AdyenSettings, CaptureMode};
use crate::gateway::{Gateway, GatewayConfig, GatewayName, GatewayNotification, Gateways};
use crate::http::{Request, Response, Transport, TransportError};
use crate::ids::{PaymentMethodId, PublisherId};
use crate::journal::memory::MemoryStore;
use crate::metrics::Metrics;
use crate::reason::CompletionReason;
use crate::secret::SecretString;
use crate::settings::Problems;

pub(super) const PATH_KEY: &str = "path-key-for-the-tests-0001";
pub(super) const ROUTE: &str = "/webhooks/path-key-for-the-tests-0001/subscription-ready-for-payment-authorisation";
pub(super) const SALT: &str = "salt-for-the-tests-000001";
pub(super) const PUBLISHER_TOKEN: &str = "publisher-token-for-the-tests";
pub(super) const SIGNING_SECRET: &str = "signing-secret-first";
pub(super) const NEXT_SIGNING_SECRET: &str = "signing-secret-second";
pub(super) const API_KEY: &str = "adyen-api-key-for-the-tests";
pub(super) const HMAC_KEY: &str = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00";
pub(super) const MERCHANT_ACCOUNT: &str = "StreamCoECOM";
pub(super) const CARD_TOKEN: &str = "stored-card-token-8416";
pub(super) const EMAIL: &str = "viewer.one@example.com";
pub(super) const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

#[derive(Clone)]
pub(super) struct TestClock(Arc<AtomicI64>);

impl Default for TestClock {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(NOW.millis())))
    }
}

impl TestClock {
    pub(super) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// An event as Cleeng documents it, with what must never be seen in a log.
pub(super) fn authorisation_event() -> Value {
    json!({
        "broadcasterId": 870_553_921,
        "topic": "subscriptionReadyForPaymentAuthorisation",
        "data": {
            "subscriptionId": "332332332", "offerId": "S619117184_US", "customerId": 338_816_082, "customerEmail": EMAIL,
            "paymentDetailsId": 193_925_084, "paymentMethodId": 123_123_123, "token": CARD_TOKEN,
            "dunningAttemptDate": "2026-11-07T19:55:41Z", "expirationDate": "2026-11-08T19:55:41Z",
            "currency": "EUR", "paymentCountry": "DE"
        }
    })
}

pub(super) fn verified(raw: &[u8]) -> Verified<Webhook> {
    Verified::attest(Webhook::parse(raw).ok().unwrap())
}

/// What was given to the flow, and what it says next; `settled` when nothing was prepared.
#[derive(Default)]
pub(super) struct FakeFlow {
    pub(super) seen: Mutex<Vec<(Value, Delivery)>>,
    pub(super) dispositions: Mutex<VecDeque<Disposition>>,
}

#[async_trait]
impl Flow for FakeFlow {
    fn topic(&self) -> Topic {
        Topic::SubscriptionReadyForPaymentAuthorisation
    }

    async fn handle(&self, _world: &FlowContext, event: &Verified<Webhook>, delivery: &Delivery) -> Disposition {
        self.seen.lock().unwrap().push((event.get().data.clone(), delivery.clone()));
        self.dispositions.lock().unwrap().pop_front().unwrap_or(Disposition::Completed(CompletionReason::Authorised))
    }
}

/// The same for notifications.
#[derive(Default)]
pub(super) struct FakeNotificationFlow {
    pub(super) seen: Mutex<Vec<(GatewayNotification, Delivery)>>,
    pub(super) dispositions: Mutex<VecDeque<Disposition>>,
}

#[async_trait]
impl NotificationFlow for FakeNotificationFlow {
    async fn handle(&self, _world: &FlowContext, _: GatewayName, item: &Verified<GatewayNotification>, delivery: &Delivery) -> Disposition {
        self.seen.lock().unwrap().push((item.get().clone(), delivery.clone()));
        self.dispositions.lock().unwrap().pop_front().unwrap_or(Disposition::Completed(CompletionReason::Captured))
    }
}

#[derive(Clone, Default)]
pub(super) struct LogSink(Arc<Mutex<Vec<u8>>>);

impl LogSink {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The metrics that were written: name, value, and the dimensions beside the function.
    pub(super) fn metrics(&self) -> Vec<(String, u64, Vec<String>)> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|line| line.get("_aws").is_some());
        lines
            .map(|line| {
                let directive = &line["_aws"]["CloudWatchMetrics"][0];
                let name = directive["Metrics"][0]["Name"].as_str().unwrap().to_owned();
                let value = line[&name].as_u64().unwrap();
                let sets = directive["Dimensions"].as_array().unwrap();
                let names = sets.last().unwrap().as_array().unwrap().iter().skip(1);
                let words = names.map(|dimension| line[dimension.as_str().unwrap()].as_str().unwrap().to_owned()).collect();
                (name, value, words)
            })
            .collect()
    }
}

impl Write for LogSink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The secrets' text; a test may change it while the function runs.
#[derive(Clone)]
pub(super) struct MutableSecret(pub(super) Arc<Mutex<Value>>);

#[async_trait]
impl SecretSource for MutableSecret {
    async fn fetch(&self) -> Result<SecretString, SecretError> {
        Ok(SecretString::new(self.0.lock().unwrap().to_string()))
    }
}

pub(super) fn secret_json(signing: &str) -> Value {
    json!({
        "idempotency_salt": SALT,
        "webhook_path_keys": [PATH_KEY, "path-key-for-the-tests-0000"],
        "cleeng": { "publisher_token": [PUBLISHER_TOKEN], "webhook_secrets": [signing] },
        "adyen": { "api_key": [API_KEY], "hmac_keys": [HMAC_KEY] }
    })
}

/// The adapter of the account that notifications are about; no server can be reached.
fn adyen_adapter(secrets: &Secrets) -> Result<Arc<dyn Gateway>, Problems> {
    let settings = AdyenSettings {
        page: AdyenPageSettings::default(),
        environment: AdyenEnvironment::Test,
        base_url: "http://adyen.test/v71".to_owned(),
        merchant_account: MERCHANT_ACCOUNT.to_owned(),
        capture_mode: CaptureMode::Manual,
        return_url: "https://example.com".to_owned(),
    };
    settings.build(secrets.gateways.get(&GatewayName::Adyen).unwrap(), Arc::new(UnreachableTransport), Arc::new(crate::clock::SystemClock))
}

struct UnreachableTransport;

#[async_trait]
impl Transport for UnreachableTransport {
    async fn send(&self, _: Request) -> Result<Response, TransportError> {
        Err(TransportError::NotSent(crate::http::TransportCause::Connect))
    }
}

/// The header `x-signature` must be the secret itself: enough to tell a good one from a bad one.
struct FakeVerifier(Vec<SecretString>);

impl Verify for FakeVerifier {
    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<Verified<Webhook>, Rejection> {
        if !self.is_signed(headers, body) {
            let message = "the signature does not fit: check cleeng.webhook_secrets".to_owned();
            return Err(Rejection { status: StatusCode::UNAUTHORIZED, code: "bad_signature", message });
        }
        let refused = |error: crate::cleeng::webhook::WebhookError| Rejection {
            status: StatusCode::BAD_REQUEST,
            code: "malformed",
            message: error.to_string(),
        };
        Webhook::parse(body).map(Verified::attest).map_err(refused)
    }

    fn is_signed(&self, headers: &HeaderMap, _body: &[u8]) -> bool {
        let signature = headers.get("x-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.0.iter().any(|secret| secret.matches(signature))
    }
}

struct FakeDependencyFactory {
    requeue: Arc<CapturingQueue>,
    clock: TestClock,
    metrics: Metrics,
}

impl FakeDependencyFactory {
    fn build(&self, secrets: &Secrets) -> Result<Dependencies, Problems> {
        let adyen = PaymentMethodConfig { gateway: GatewayName::Adyen, billing: BillingMode::AuthoriseThenCapture };
        let policy = BillingPolicy {
            publisher: PublisherId::new("870553921").unwrap(),
            methods: [(PaymentMethodId::new("123123123").unwrap(), adyen)].into(),
            capture_wait: Duration::from_secs(3600),
            settle_on: SettleOn::Notification,
            settle_deadline: Duration::from_secs(2700),
            unknown_deadline: Duration::from_secs(86_400),
            termination_wait: Duration::from_secs(2 * 86_400),
            partial_refunds: PartialRefunds::Park,
            delete_deactivated_details: false,
            max_declines: 15,
            salt: secrets.idempotency_salt.clone(),
        };
        let (authorisation, requeue): (_, Arc<dyn Queue>) = (Topic::SubscriptionReadyForPaymentAuthorisation, self.requeue.clone());
        let flow_context = FlowContext {
            policy: Arc::new(policy),
            cleeng: Arc::new(NoCleeng),
            gateways: Gateways::default().with(adyen_adapter(secrets)?),
            store: Arc::new(MemoryStore::new(Arc::new(self.clock.clone()))),
            clock: Arc::new(self.clock.clone()),
            metrics: self.metrics.clone(),
            requeue: Arc::new(EventQueues::new([(authorisation, requeue)].into(), Arc::new(self.clock.clone()))),
        };
        Ok(Dependencies { flow_context, verifier: Arc::new(FakeVerifier(secrets.cleeng.webhook_secrets.clone())) })
    }
}

/// A function and everything around it.
pub(super) struct TestHarness {
    pub(super) app: App,
    pub(super) flow: Arc<FakeFlow>,
    pub(super) notifications: Arc<FakeNotificationFlow>,
    pub(super) queue: Arc<CapturingQueue>,
    pub(super) quarantine: Arc<CapturingQueue>,
    pub(super) requeue: Arc<CapturingQueue>,
    pub(super) clock: TestClock,
    pub(super) sink: LogSink,
    pub(super) secrets: MutableSecret,
    pub(super) output: Output,
}

pub(super) async fn harness(mode: Mode) -> TestHarness {
    harness_for(mode, |flow, _| FunctionKind::Webhooks(flow)).await
}

pub(super) async fn notification_harness(mode: Mode) -> TestHarness {
    harness_for(mode, |_, notifications| FunctionKind::Notifications(notifications)).await
}

pub(super) async fn scheduled_harness() -> TestHarness {
    harness_for(Mode::Lambda, |_, _| FunctionKind::Scheduled(Arc::new(NoScheduledJob))).await
}

/// A scheduled job that does nothing.
struct NoScheduledJob;

#[async_trait]
impl ScheduledJob for NoScheduledJob {
    async fn run(&self, _: &FlowContext, _: &Delivery) -> RunReport {
        RunReport::default()
    }
}

pub(super) async fn harness_for(mode: Mode, kind: impl FnOnce(Arc<FakeFlow>, Arc<FakeNotificationFlow>) -> FunctionKind) -> TestHarness {
    let (flow, notifications) = (Arc::new(FakeFlow::default()), Arc::new(FakeNotificationFlow::default()));
    let (queue, clock, sink) = (Arc::new(CapturingQueue::default()), TestClock::default(), LogSink::default());
    let (quarantine, requeue) = (Arc::new(CapturingQueue::default()), Arc::new(CapturingQueue::default()));
    let redactor = Arc::new(Redactor::default());
    let output = Output::new(Box::new(sink.clone()), Arc::clone(&redactor));
    let secrets = MutableSecret(Arc::new(Mutex::new(secret_json(SIGNING_SECRET))));
    let source = Box::new(secrets.clone());
    let secret_cache = SecretCache::open(source, [GatewayName::Adyen].into(), redactor, Arc::new(clock.clone())).await.ok().unwrap();
    let metrics = Metrics::new(Arc::new(EmfSink::new(output.clone(), "stack", "authorisation", "7", Arc::new(clock.clone()))));
    let factory = FakeDependencyFactory { requeue: requeue.clone(), clock: clock.clone(), metrics: metrics.clone() };
    let app = App::new(AppState {
        kind: kind(flow.clone(), notifications.clone()),
        mode,
        max_body_bytes: 32_768,
        queue: queue.clone(),
        quarantine: quarantine.clone(),
        quarantine_limiter: super::quarantine::limiter(),
        clock: Arc::new(clock.clone()),
        metrics,
        dependencies: Reloadable::new(secret_cache, move |secrets| factory.build(secrets)).ok().unwrap(),
    });
    TestHarness { app, flow, notifications, queue, quarantine, requeue, clock, sink, secrets, output }
}

impl TestHarness {
    pub(super) async fn handle(&self, event: &Value) -> Value {
        self.app.handle(&event.to_string(), &self.invocation(90)).await.unwrap()
    }

    pub(super) fn invocation(&self, seconds: u64) -> Invocation {
        Invocation { request_id: "request-1".to_owned(), deadline: self.clock.now().after(Duration::from_secs(seconds)) }
    }

    pub(super) fn seen(&self) -> Vec<(Value, Delivery)> {
        self.flow.seen.lock().unwrap().clone()
    }
}

/// An HTTP API event (payload format 2.0) as API Gateway sends it.
pub(super) fn http_event(path: &str, signature: &str, body: &str, is_base64: bool) -> Value {
    json!({
        "version": "2.0", "routeKey": "POST /webhooks/{key}/subscription-ready-for-payment-authorisation",
        "rawPath": path, "rawQueryString": "",
        "headers": {
            "content-length": body.len().to_string(), "content-type": "application/json", "host": "abc123.execute-api.eu-west-1.amazonaws.com",
            "x-amzn-trace-id": "Root=1-6550e1f4-0123456789abcdef01234567", "x-forwarded-for": "203.0.113.7", "x-forwarded-port": "443",
            "x-forwarded-proto": "https", "x-signature": signature
        },
        "requestContext": {
            "accountId": "123456789012", "apiId": "abc123", "domainName": "abc123.execute-api.eu-west-1.amazonaws.com", "domainPrefix": "abc123",
            "http": { "method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7", "userAgent": "Cleeng" },
            "requestId": "JKJaXmPLvHcESHA=", "routeKey": "$default", "stage": "$default",
            "time": "07/Nov/2026:19:56:00 +0000", "timeEpoch": 1_794_081_360_000_u64
        },
        "pathParameters": { "key": "k" },
        "body": body, "isBase64Encoded": is_base64
    })
}

/// A record of an SQS event as Lambda's poller hands it over.
pub(super) fn record(id: &str, count: u32, body: &str) -> Value {
    json!({
        "messageId": id, "receiptHandle": format!("handle-{id}"), "body": body,
        "attributes": {
            "ApproximateReceiveCount": count.to_string(), "SentTimestamp": "1789999990000",
            "SenderId": "AROAXXXXXXXXXXXXXXXXX:authorisation", "ApproximateFirstReceiveTimestamp": "1789999990010"
        },
        "messageAttributes": {}, "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3", "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:authorisation", "awsRegion": "eu-west-1"
    })
}
