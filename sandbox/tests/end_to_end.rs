//! End to end: the built binaries on an emulated Lambda Runtime API, with real AWS clients against moto and DynamoDB Local. `./test` starts
//! what is needed and sets `CONNECTOR_E2E=1`; without it these tests say that they were skipped.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skipped"
)]

mod support {
    pub(crate) mod aws;
    pub(crate) mod files;
    pub(crate) mod peers;
    pub(crate) mod process;
    pub(crate) mod runtime;
}

use std::path::{Path, PathBuf};

use connector::http::Method;
use serde_json::{Value, json};
use support::aws::{Aws, sqs_event};
use support::files::{camel_case, read};
use support::peers::{MERCHANT_ACCOUNT, Peers, local, paid_until};
use support::process::until;
use support::runtime::{Emulated, Runtime};

const FUNCTIONS: [&str; 3] =
    ["subscription-ready-for-payment-authorisation", "subscription-ready-for-payment-capture", "subscription-ready-for-termination"];
const STAND_IN: &str = env!("CARGO_BIN_EXE_constant-answer");

/// Whether to run; says so if not.
fn enabled(test: &str) -> bool {
    let enabled = std::env::var("CONNECTOR_E2E").is_ok_and(|value| value == "1");
    if !enabled {
        eprintln!("SKIPPED {test}: run ./test, or set CONNECTOR_E2E=1 with what it sets");
    }
    enabled
}

/// What `sam build` made of a function.
fn binary(function: &str) -> PathBuf {
    let folder = std::env::var("CONNECTOR_FUNCTIONS_DIR").unwrap_or_else(|_| panic!("CONNECTOR_FUNCTIONS_DIR is not set: run ./test"));
    Path::new(&folder).join(format!("{}Function", camel_case(function))).join("bootstrap")
}

fn event(function: &str, file: &str) -> Value {
    serde_json::from_str(&read(&format!("events/{function}/{file}"))).unwrap()
}

/// The settings of a function in the sandbox, with these upstreams.
fn settings(cleeng: &str, adyen: &str) -> Vec<(&'static str, String)> {
    [
        ("CONNECTOR_PUBLISHER_ID", "558186818"),
        ("PAYMENT_METHODS", "123123123=adyen:authorise_then_capture"),
        ("CLEENG_ENVIRONMENT", "sandbox"),
        ("CLEENG_API_URL", cleeng),
        ("ADYEN_ENVIRONMENT", "test"),
        ("ADYEN_BASE_URL", adyen),
        ("ADYEN_MERCHANT_ACCOUNT", MERCHANT_ACCOUNT),
        ("ADYEN_CAPTURE", "manual"),
        ("CLEENG_SIGNATURE_HEADER", "x-cleeng-signature"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}

/// Nobody listens there.
fn nowhere() -> String {
    format!("http://127.0.0.1:{}", support::process::free_port())
}

/// The webhook of `events/`, sent over HTTP: path, headers and body.
struct Sent {
    path: String,
    signature: String,
    body: String,
}

fn sample(function: &str) -> Sent {
    let event = event(function, "http.json");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Sent { path: text(&event["rawPath"]), signature: text(&event["headers"]["x-cleeng-signature"]), body: text(&event["body"]) }
}

async fn post(runtime: &mut Runtime, function: &str, sent: &Sent) -> u16 {
    let headers = [("content-type", "application/json"), ("x-cleeng-signature", sent.signature.as_str())];
    runtime.post(function, &sent.path, &headers, &sent.body).await.status.as_u16()
}

#[tokio::test]
async fn an_attached_binary_answers_http_and_invocations() {
    if !enabled("an_attached_binary_answers_http_and_invocations") {
        return;
    }
    let mut runtime = Runtime::start().await;
    runtime.attach("constant-answer", Path::new(STAND_IN), &[]);
    let answer = runtime.post("constant-answer", "/webhooks/key/name", &[("content-type", "application/json")], "{}").await;
    assert_eq!((answer.status.as_u16(), answer.json().unwrap()), (200, json!({ "path": "/webhooks/key/name" })));
    assert_eq!(runtime.invoke("constant-answer", &json!({ "rawPath": "/x" })).await["body"], "{\"path\":\"/x\"}");
}

#[tokio::test]
async fn the_emulator_stops_a_function_at_its_timeout_and_starts_it_again() {
    if !enabled("the_emulator_stops_a_function_at_its_timeout_and_starts_it_again") {
        return;
    }
    let wait = [("CONSTANT_ANSWER_WAIT_MS", "5000".to_owned())];
    let mut slow = Emulated::start("constant-answer", Path::new(STAND_IN), &wait, 1).await;
    assert!(slow.invoke(&json!({})).await.contains("timed out after 1.00 seconds"));
    assert!(slow.invoke(&json!({})).await.contains("timed out after 1.00 seconds"), "the function came back and was stopped again");
}

#[tokio::test]
async fn what_is_put_on_an_emulated_queue_is_taken_off_it_once() {
    if !enabled("what_is_put_on_an_emulated_queue_is_taken_off_it_once") {
        return;
    }
    let aws = Aws::prepare().await;
    let queue = aws.create_queue().await;
    aws.call("sqs", "AmazonSQS.SendMessage", &json!({ "QueueUrl": queue, "MessageBody": "hello" })).await;
    let messages = aws.take(&queue).await;
    assert_eq!(messages.len(), 1);
    let event = sqs_event(&messages[0]);
    assert_eq!(event["Records"][0]["body"], "hello");
    assert_eq!(event["Records"][0]["attributes"]["ApproximateReceiveCount"], "1");
    assert!(aws.take(&queue).await.is_empty());
    assert_eq!(aws.documents().await, 0, "a new journal is empty");
}

#[tokio::test]
async fn a_signed_webhook_is_on_the_queue_before_it_is_answered_and_a_forged_one_is_not() {
    if !enabled("a_signed_webhook_is_on_the_queue_before_it_is_answered_and_a_forged_one_is_not") {
        return;
    }
    let aws = Aws::prepare().await;
    let mut runtime = Runtime::start().await;
    for function in FUNCTIONS {
        let queue = aws.create_queue().await;
        let mut environment = settings(&nowhere(), &nowhere());
        environment.extend(aws.environment(&queue));
        runtime.attach(function, &binary(function), &environment);
        let sent = sample(function);

        let forged = Sent { signature: "0".repeat(64), path: sent.path.clone(), body: sent.body.clone() };
        assert_eq!(post(&mut runtime, function, &forged).await, 401, "{function}: forged");
        let path = sent.path.replace("sandbox-path-key-0123456789", "another-path-key-0123456789");
        let elsewhere = Sent { path, signature: sent.signature.clone(), body: sent.body.clone() };
        assert_eq!(post(&mut runtime, function, &elsewhere).await, 404, "{function}: wrong path key");
        assert!(aws.take(&queue).await.is_empty(), "{function}: what was refused is on the queue");

        assert_eq!(post(&mut runtime, function, &sent).await, 200, "{function}");
        let messages = aws.take(&queue).await;
        assert_eq!(messages.len(), 1, "{function}");
        let envelope: Value = serde_json::from_str(messages[0]["Body"].as_str().unwrap()).unwrap();
        assert_eq!(envelope["body"], sent.body, "{function}: the queue holds the raw body");
        assert_eq!((&envelope["v"], &envelope["source"]), (&json!(1), &json!("cleeng")), "{function}");
    }
    assert_eq!(aws.documents().await, 0, "the HTTP door writes no journal");
    let output = runtime.output();
    for secret in
        ["sandbox-path-key-0123456789", "sandbox-webhook-secret", "sandbox-publisher-token", "subscriber@example.com", "8415718415718415"]
    {
        assert!(!output.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn an_event_whose_upstreams_are_gone_goes_back_to_the_queue() {
    if !enabled("an_event_whose_upstreams_are_gone_goes_back_to_the_queue") {
        return;
    }
    let aws = Aws::prepare().await;
    let mut runtime = Runtime::start().await;
    for function in FUNCTIONS {
        let queue = aws.create_queue().await;
        let mut environment = settings(&nowhere(), &nowhere());
        environment.extend(aws.environment(&queue));
        runtime.attach(function, &binary(function), &environment);
        assert_eq!(post(&mut runtime, function, &sample(function)).await, 200, "{function}");
        let message = aws.take(&queue).await.remove(0);
        let answer = runtime.invoke(function, &sqs_event(&message)).await;
        assert_eq!(answer["batchItemFailures"][0]["itemIdentifier"], message["MessageId"], "{function}: {answer}");
    }
}

/// What reached the peers: orders, authorisations and reports.
fn effects(peers: &Peers) -> [usize; 3] {
    let reached = |peer, part| peers.road.reached(peer, &Method::POST, part);
    [reached("cleeng", "/orders"), reached("adyen", "/payments"), reached("cleeng", "/payments")]
}

#[tokio::test]
async fn a_posted_webhook_is_queued_and_its_message_authorises_once_however_often_it_is_delivered() {
    if !enabled("a_posted_webhook_is_queued_and_its_message_authorises_once_however_often_it_is_delivered") {
        return;
    }
    let function = "subscription-ready-for-payment-authorisation";
    let (aws, peers) = (Aws::prepare().await, Peers::start(0).await);
    let queue = aws.create_queue().await;
    let mut environment = settings(&peers.cleeng_url, &peers.adyen_url);
    environment.extend(aws.environment(&queue));
    let mut runtime = Runtime::start().await;
    runtime.attach(function, &binary(function), &environment);

    assert_eq!(post(&mut runtime, function, &sample(function)).await, 200);
    assert_eq!(effects(&peers), [0, 0, 0], "nothing happens before the event is durable");
    let message = aws.take(&queue).await.remove(0);
    for delivery in 1..=5 {
        let answer = runtime.invoke(function, &sqs_event(&message)).await;
        assert_eq!(answer["batchItemFailures"], json!([]), "delivery {delivery}: {answer}\n{}", runtime.output());
        assert_eq!(effects(&peers), [1, 1, 1], "delivery {delivery}");
    }
    assert!(aws.documents().await > 0, "the journal knows what was done");
    peers.assert_balanced();
    assert!(!runtime.output().contains("subscriber@example.com"), "an e-mail address is in the log");
}

/// Posts the sample webhook of a function, takes what it put on the queue, and feeds it to the same binary so many times.
async fn live_through(runtime: &mut Runtime, aws: &Aws, queue: &str, function: &str, deliveries: usize) {
    assert_eq!(post(runtime, function, &sample(function)).await, 200, "{function}");
    let message = aws.take(queue).await.remove(0);
    for delivery in 1..=deliveries {
        let answer = runtime.invoke(function, &sqs_event(&message)).await;
        assert_eq!(answer["batchItemFailures"], json!([]), "{function}, delivery {delivery}: {answer}\n{}", runtime.output());
    }
}

#[tokio::test]
async fn a_renewal_that_the_binaries_live_through_ends_with_books_that_agree() {
    if !enabled("a_renewal_that_the_binaries_live_through_ends_with_books_that_agree") {
        return;
    }
    let (aws, peers) = (Aws::prepare().await, Peers::start(0).await);
    let mut runtime = Runtime::start().await;
    let mut queues = Vec::new();
    for function in &FUNCTIONS[..2] {
        let queue = aws.create_queue().await;
        let mut environment = settings(&peers.cleeng_url, &peers.adyen_url);
        environment.extend(aws.environment(&queue));
        // The binaries have the machine's time, and nobody waits 45 minutes here.
        environment.push(("SETTLE_ON", "receipt".to_owned()));
        runtime.attach(function, &binary(function), &environment);
        queues.push(queue);
    }
    live_through(&mut runtime, &aws, &queues[0], FUNCTIONS[0], 3).await;
    peers.assert_balanced();
    peers.clock.advance_to(paid_until());
    live_through(&mut runtime, &aws, &queues[1], FUNCTIONS[1], 3).await;
    peers.assert_balanced();
    assert_eq!((peers.adyen.authorisations(), peers.adyen.total_captured("USD")), (1, 999));
    let subscription = peers.cleeng.subscriptions().remove(0);
    assert!(subscription.date_to > paid_until(), "Cleeng renewed the subscription");
}

#[tokio::test]
async fn a_termination_that_a_binary_lives_through_ends_the_subscription() {
    if !enabled("a_termination_that_a_binary_lives_through_ends_the_subscription") {
        return;
    }
    let (aws, peers) = (Aws::prepare().await, Peers::start(0).await);
    let mut runtime = Runtime::start().await;
    let queue = aws.create_queue().await;
    let mut environment = settings(&peers.cleeng_url, &peers.adyen_url);
    environment.extend(aws.environment(&queue));
    runtime.attach(FUNCTIONS[2], &binary(FUNCTIONS[2]), &environment);
    live_through(&mut runtime, &aws, &queue, FUNCTIONS[2], 3).await;
    assert_eq!(peers.cleeng.subscriptions().remove(0).terminated_as.as_deref(), Some("paymentCancel"));
    assert_eq!(peers.road.reached("cleeng", &Method::POST, "/terminate"), 1);
    peers.assert_balanced();
}

#[tokio::test]
async fn a_function_without_enough_time_gives_its_message_back_and_the_next_delivery_settles_it_once() {
    if !enabled("a_function_without_enough_time_gives_its_message_back_and_the_next_delivery_settles_it_once") {
        return;
    }
    let function = "subscription-ready-for-payment-authorisation";
    let aws = Aws::prepare().await;
    let queue = aws.create_queue().await;
    // A Cleeng that takes connections and never says a word.
    let hole = std::net::TcpListener::bind(local(0)).unwrap();
    let port = hole.local_addr().unwrap().port();
    let event = event(function, "queue.json");
    let mut environment = settings(&format!("http://127.0.0.1:{port}/3.1"), &nowhere());
    environment.extend(aws.environment(&queue));
    let mut hurried = Emulated::start(function, &binary(function), &environment, 4).await;
    let answer = hurried.invoke(&event).await;
    let given_back = answer.contains("timed out") || answer.contains("059f36b4-87a3-44ab-83d2-661975830a7d");
    assert!(given_back, "the message is neither given back nor kept by the timeout: {answer}");
    drop((hurried, hole));

    let peers = Peers::start(port).await;
    let mut environment = settings(&peers.cleeng_url, &peers.adyen_url);
    environment.extend(aws.environment(&queue));
    let function = Emulated::start(function, &binary(function), &environment, 90).await;
    let function = tokio::sync::Mutex::new(function);
    until("the event to be settled", || async {
        let answer = function.lock().await.invoke(&event).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        (answer["batchItemFailures"] == json!([])).then_some(())
    })
    .await;
    assert_eq!(effects(&peers), [1, 1, 1]);
}

#[tokio::test]
async fn a_function_that_its_timeout_kills_leaves_nothing_that_the_next_delivery_does_twice() {
    if !enabled("a_function_that_its_timeout_kills_leaves_nothing_that_the_next_delivery_does_twice") {
        return;
    }
    let function = "subscription-ready-for-payment-authorisation";
    let (aws, peers) = (Aws::prepare().await, Peers::start(0).await);
    let queue = aws.create_queue().await;
    let event = event(function, "queue.json");
    let mut environment = settings(&peers.cleeng_url, &peers.adyen_url);
    environment.extend(aws.environment(&queue));
    // A journal that takes connections and never says a word: its client is more patient than the function may be.
    let hole = std::net::TcpListener::bind(local(0)).unwrap();
    let mut stuck = environment.clone();
    stuck.push(("AWS_ENDPOINT_URL_DYNAMODB", format!("http://{}", hole.local_addr().unwrap())));
    let mut killed = Emulated::start(function, &binary(function), &stuck, 10).await;
    let answer = killed.invoke(&event).await;
    assert!(answer.contains("timed out after 10.00 seconds"), "{answer}");
    assert_eq!(effects(&peers), [0, 0, 0], "nothing is done that the journal does not know");

    let mut next = Emulated::start(function, &binary(function), &environment, 90).await;
    for _ in 0..2 {
        let answer: Value = serde_json::from_str(&next.invoke(&event).await).unwrap();
        assert_eq!(answer["batchItemFailures"], json!([]), "{answer}");
        assert_eq!(effects(&peers), [1, 1, 1]);
    }
}

/// What a binary needs to run without AWS.
fn embedded(cleeng: &str, adyen: &str) -> Vec<(&'static str, String)> {
    let mut environment = settings(cleeng, adyen);
    environment.push(("CONNECTOR_EMBEDDED", "1".to_owned()));
    environment.push(("CONNECTOR_SECRETS", support::aws::SECRET.to_owned()));
    environment
}

#[tokio::test]
async fn an_embedded_binary_answers_its_sample_events_without_aws() {
    if !enabled("an_embedded_binary_answers_its_sample_events_without_aws") {
        return;
    }
    let peers = Peers::start(0).await;
    let mut runtime = Runtime::start().await;
    for function in ["subscription-ready-for-payment-authorisation", "subscription-ready-for-termination"] {
        runtime.attach(function, &binary(function), &embedded(&peers.cleeng_url, &peers.adyen_url));
        let answer = runtime.invoke(function, &event(function, "http.json")).await;
        assert_eq!(answer["statusCode"], 200, "{function}: {answer}\n{}", runtime.output());
    }
    assert_eq!(effects(&peers), [1, 1, 1]);
    assert_eq!(peers.road.reached("cleeng", &Method::POST, "/terminate"), 1);
}

#[tokio::test]
async fn an_embedded_binary_whose_upstreams_are_gone_says_so() {
    if !enabled("an_embedded_binary_whose_upstreams_are_gone_says_so") {
        return;
    }
    let mut runtime = Runtime::start().await;
    for function in FUNCTIONS {
        runtime.attach(function, &binary(function), &embedded(&nowhere(), &nowhere()));
        let answer = runtime.invoke(function, &event(function, "http.json")).await;
        assert_eq!(answer["statusCode"], 503, "{function}: {answer}\n{}", runtime.output());
        let body = answer["body"].as_str().unwrap_or_default().to_ascii_lowercase();
        assert!(body.contains("cleeng"), "{function}: the answer does not name the upstream: {body}");
    }
}
