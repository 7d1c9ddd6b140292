//! Functions deployed together: one journal, one secret, a queue for each that has one, and the same upstreams.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use connector::http::Response;
use sandbox::simulators::cleeng::sign;
use sandbox::simulators::simulated_gateway::SimulatedGateway;
use sandbox::testkit::fixtures::WEBHOOK_SECRET;
use serde_json::{Value, json};

use crate::support::aws::{Aws, SECRET, sqs_event};
use crate::support::files::{camel_case, read};
use crate::support::process::free_port;
use crate::support::runtime::EmulatedRuntime;
use crate::support::upstreams::{MERCHANT_ACCOUNT, Upstreams};
use crate::{NOTIFICATION, RECONCILIATION, WEBHOOKS};

/// The functions that pages call; they have no queue.
const FRONT_END: [&str; 2] = [crate::purchase::FUNCTION, crate::details::FUNCTION];
/// The queue of events whose signature does not fit yet.
pub(crate) const QUARANTINE: &str = "quarantine";
/// The page of the sample events.
pub(crate) const ORIGIN: &str = "http://localhost:3000";
/// What is never to be read in a log: secrets, and what tells who somebody is.
const FORBIDDEN_IN_LOGS: [&str; 7] = [
    "sandbox-path-key-0123456789",
    "sandbox-webhook-secret",
    "sandbox-publisher-token",
    "sandbox-adyen-api-key",
    "subscriber@example.com",
    "8415718415718415",
    "eyJ",
];

pub(crate) type Environment = Vec<(&'static str, String)>;

/// What `sam build` made of a function.
pub(crate) fn binary(function: &str) -> PathBuf {
    let folder = std::env::var("CONNECTOR_FUNCTIONS_DIR").unwrap_or_else(|_| panic!("CONNECTOR_FUNCTIONS_DIR is not set: run ./test"));
    Path::new(&folder).join(format!("{}Function", camel_case(function))).join("bootstrap")
}

/// A sample event.
pub(crate) fn event(function: &str, file: &str) -> Value {
    serde_json::from_str(&read(&format!("events/{function}/{file}"))).unwrap()
}

/// The settings of a function in the sandbox, with these upstreams.
pub(crate) fn settings(cleeng: &str, adyen: &str) -> Environment {
    [
        ("CONNECTOR_PUBLISHER_ID", "558186818"),
        ("PAYMENT_METHODS", "123123123=adyen:authorise_then_capture"),
        ("CLEENG_ENVIRONMENT", "sandbox"),
        ("CLEENG_API_URL", cleeng),
        ("ADYEN_ENVIRONMENT", "test"),
        ("ADYEN_BASE_URL", adyen),
        ("ADYEN_MERCHANT_ACCOUNT", MERCHANT_ACCOUNT),
        ("ADYEN_CAPTURE", "automatic"),
        // A function alone learns nothing of a release that is to be confirmed before the details are deleted.
        ("DELETE_DEACTIVATED_DETAILS", "no"),
        ("CLEENG_SIGNATURE_HEADER", "x-cleeng-signature"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}

/// What a binary needs to run without AWS.
pub(crate) fn embedded(cleeng: &str, adyen: &str) -> Environment {
    let mut environment = settings(cleeng, adyen);
    environment.push(("CONNECTOR_EMBEDDED", "1".to_owned()));
    environment.push(("CONNECTOR_SECRETS", SECRET.to_owned()));
    environment
}

/// Nobody listens there.
pub(crate) fn unreachable_url() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

/// A webhook as it is sent over HTTP: path, signature and body.
#[derive(Clone)]
pub(crate) struct SignedWebhook {
    pub(crate) path: String,
    pub(crate) signature: String,
    pub(crate) body: String,
}

/// The webhook of `events/`.
pub(crate) fn sample_webhook(function: &str) -> SignedWebhook {
    let event = event(function, "http.json");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    SignedWebhook { path: text(&event["rawPath"]), signature: text(&event["headers"]["x-cleeng-signature"]), body: text(&event["body"]) }
}

/// The same with other data, rightly signed.
pub(crate) fn edited_sample_webhook(function: &str, change: impl FnOnce(&mut Value)) -> SignedWebhook {
    let sent = sample_webhook(function);
    let mut body: Value = serde_json::from_str(&sent.body).unwrap();
    change(&mut body["data"]);
    let body = body.to_string();
    SignedWebhook { signature: sign(WEBHOOK_SECRET, body.as_bytes()), body, ..sent }
}

/// See the head of this file.
pub(crate) struct Deployment {
    pub(crate) aws: Aws,
    pub(crate) runtime: EmulatedRuntime,
    settings: Environment,
    mediastore: String,
    queues: BTreeMap<&'static str, String>,
    /// Other ways to the services, by function.
    taps: BTreeMap<&'static str, [(&'static str, String); 2]>,
}

impl Deployment {
    /// With these upstreams, and no function yet.
    pub(crate) async fn with_upstreams(peers: &Upstreams) -> Self {
        Self::with_urls(&peers.cleeng_url, &peers.mediastore_url, &peers.adyen_url).await
    }

    /// With upstreams that are gone.
    pub(crate) async fn without_upstreams() -> Self {
        Self::with_urls(&unreachable_url(), &unreachable_url(), &unreachable_url()).await
    }

    pub(crate) async fn with_urls(cleeng: &str, mediastore: &str, adyen: &str) -> Self {
        let (settings, mediastore) = (settings(cleeng, adyen), mediastore.to_owned());
        let aws = Aws::prepare().await;
        let queues = [(QUARANTINE, aws.create_queue().await)].into();
        Self { aws, runtime: EmulatedRuntime::start().await, settings, mediastore, queues, taps: BTreeMap::new() }
    }

    /// One more setting of all functions that are deployed from now on.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.settings.push((name, value.to_owned()));
    }

    /// Makes a function's queue, if it has one, and starts its binary. The one that takes notifications has to know all queues.
    pub(crate) async fn deploy(&mut self, function: &'static str) {
        let known = if [NOTIFICATION, RECONCILIATION].contains(&function) { WEBHOOKS.as_slice() } else { &[] };
        let without = |function: &&&'static str| !FRONT_END.contains(function) && **function != RECONCILIATION;
        for function in known.iter().chain([&function]).filter(without) {
            self.make_queue(function).await;
        }
        self.start(function);
    }

    /// Makes a function's queue alone, if there is none.
    pub(crate) async fn make_queue(&mut self, function: &'static str) {
        if !self.queues.contains_key(function) {
            let queue = self.aws.create_queue().await;
            self.queues.insert(function, queue);
        }
    }

    /// Other upstreams for what is started from now on.
    pub(crate) fn switch_upstreams(&mut self, peers: &Upstreams) {
        self.settings = settings(&peers.cleeng_url, &peers.adyen_url);
        self.mediastore.clone_from(&peers.mediastore_url);
    }

    /// A function goes another way to the services from its next start on.
    pub(crate) fn redirect_services(&mut self, function: &'static str, moto: &str, dynamodb: &str) {
        let ways = [("AWS_ENDPOINT_URL", moto.to_owned()), ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.to_owned())];
        self.taps.insert(function, ways);
    }

    /// Restarts a function, with upstreams that are gone.
    pub(crate) fn restart_without_upstreams(&mut self, function: &'static str) {
        self.settings = settings(&unreachable_url(), &unreachable_url());
        self.restart(function);
    }

    /// Starts the binary of a function that was deployed before and was killed.
    pub(crate) fn start(&mut self, function: &'static str) {
        let environment = self.environment(function);
        self.runtime.attach(function, &binary(function), &environment);
    }

    /// Kills the binary of a function and starts it again.
    pub(crate) fn restart(&mut self, function: &'static str) {
        self.runtime.kill(function);
        self.start(function);
    }

    /// What a function is given.
    pub(crate) fn environment(&self, function: &'static str) -> Environment {
        let mut environment = self.settings.clone();
        environment.extend(self.aws.environment());
        environment.extend(self.taps.get(function).into_iter().flatten().cloned());
        if FRONT_END.contains(&function) {
            environment.push(("ALLOWED_ORIGINS", ORIGIN.to_owned()));
            environment.push(("CLEENG_MEDIASTORE_URL", self.mediastore.clone()));
        } else {
            let own = if function == RECONCILIATION { QUARANTINE } else { function };
            environment.push(("QUEUE_URL", self.queues[own].clone()));
        }
        if WEBHOOKS.contains(&function) {
            environment.push(("QUARANTINE_QUEUE_URL", self.queues[QUARANTINE].clone()));
        }
        if [NOTIFICATION, RECONCILIATION].contains(&function) {
            let queues = self.queues.iter().filter(|(function, _)| ![NOTIFICATION, QUARANTINE].contains(function));
            let queues: Vec<String> = queues.map(|(function, url)| format!("{}={url}", topic(function))).collect();
            environment.push(("EVENT_QUEUE_URLS", queues.join(",")));
        }
        environment
    }

    /// Posts a webhook to its function; the status.
    pub(crate) async fn post(&mut self, function: &str, sent: &SignedWebhook) -> u16 {
        let headers = [("content-type", "application/json"), ("x-cleeng-signature", sent.signature.as_str())];
        self.runtime.post(function, &sent.path, &headers, &sent.body).await.status.as_u16()
    }

    /// Posts a notification as the gateway does.
    pub(crate) async fn notify(&mut self, path: &str, body: &str) -> Response {
        self.runtime.post(NOTIFICATION, path, &[("content-type", "application/json")], body).await
    }

    /// Takes everything off a function's queue.
    pub(crate) async fn receive_all(&self, function: &str) -> Vec<Value> {
        self.aws.receive_all(&self.queues[function]).await
    }

    /// Sends a webhook to its function, and takes what is on the queue because of it.
    pub(crate) async fn accepted(&mut self, function: &str, sent: &SignedWebhook) -> Value {
        assert_eq!(self.post(function, sent).await, 200, "{function}\n{}", self.runtime.output());
        let mut messages = self.receive_all(function).await;
        assert_eq!(messages.len(), 1, "{function}");
        messages.remove(0)
    }

    /// Delivers a message of a function's queue; whether it may leave the queue.
    pub(crate) async fn deliver(&mut self, function: &str, message: &Value) -> bool {
        let answer = self.runtime.invoke(function, &sqs_event(message)).await;
        let given_back = json!([{ "itemIdentifier": message["MessageId"] }]);
        let failures = &answer["batchItemFailures"];
        assert!(*failures == json!([]) || *failures == given_back, "{function}: {answer}\n{}", self.runtime.output());
        *failures == json!([])
    }

    /// Delivers a message that has to be dealt with.
    pub(crate) async fn settle(&mut self, function: &str, message: &Value) {
        assert!(self.deliver(function, message).await, "{function} gives its message back\n{}", self.runtime.output());
    }

    /// The gateway's notifications go through their function: in by HTTP, over the queue, each message settled and then delivered
    /// again until it was dealt with so many times. How many notifications there were.
    pub(crate) async fn deliver_notifications(&mut self, peers: &Upstreams, deliveries: usize) -> usize {
        let told = SimulatedGateway::take_notifications(peers.adyen.as_ref());
        for posted in &told {
            let signature = posted.headers.get("hmacsignature").map_or("", |signature| signature.to_str().unwrap());
            let headers = [("content-type", "application/json"), ("hmacsignature", signature)];
            let body = std::str::from_utf8(&posted.body).unwrap();
            // Standard notifications are signed within their body.
            let headers = if signature.is_empty() { &headers[..1] } else { &headers };
            let answer = self.runtime.post(NOTIFICATION, "/gateways/adyen/notifications", headers, body).await;
            assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, b"[accepted]".as_slice()), "{}", self.runtime.output());
        }
        let messages = self.receive_all(NOTIFICATION).await;
        // One can wait for what another of them tells.
        let mut lying = messages.clone();
        for _ in &messages {
            for message in std::mem::take(&mut lying) {
                if !self.deliver(NOTIFICATION, &message).await {
                    lying.push(message);
                }
            }
        }
        assert!(lying.is_empty(), "{} notifications are never settled\n{}", lying.len(), self.runtime.output());
        for message in messages.iter().cycle().take(messages.len() * (deliveries - 1)) {
            self.settle(NOTIFICATION, message).await;
        }
        told.len()
    }

    /// Everything that will be due is due now, and no waiting event is on its queue any more.
    pub(crate) async fn make_due(&self) {
        let scan = json!({ "TableName": self.aws.table, "ConsistentRead": true });
        let all = self.aws.call("dynamodb", "DynamoDB_20120810.Scan", &scan).await;
        for item in all["Items"].as_array().unwrap().iter().filter(|item| item["due_at"].is_object()) {
            let mut body: Value = serde_json::from_str(item["body"]["S"].as_str().unwrap()).unwrap();
            let attempts = body["attempts"].as_array_mut();
            for until in attempts.into_iter().flatten().filter_map(|attempt| attempt.get_mut("queued_until")) {
                *until = json!(1);
            }
            let update = json!({
                "TableName": self.aws.table, "Key": { "pk": item["pk"] }, "UpdateExpression": "SET due_at = :then, body = :body",
                "ExpressionAttributeValues": { ":then": { "N": "1" }, ":body": { "S": body.to_string() } },
            });
            self.aws.call("dynamodb", "DynamoDB_20120810.UpdateItem", &update).await;
        }
    }

    /// The states of all payments in the journal.
    pub(crate) async fn payment_states(&self) -> Vec<String> {
        let payments = self.aws.journal("payment").await;
        payments.iter().map(|payment| payment["state"].as_str().unwrap().to_owned()).collect()
    }

    /// No function wrote anything that does not belong in a log.
    pub(crate) fn assert_no_secrets_logged(&self) {
        let output = self.runtime.output();
        for secret in FORBIDDEN_IN_LOGS {
            assert!(!output.contains(secret), "{secret} is in the log");
        }
    }
}

/// `refundPayment` for `process-payment`.
fn topic(function: &str) -> String {
    let name = camel_case(function);
    name[..1].to_lowercase() + &name[1..]
}
