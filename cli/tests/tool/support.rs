//! A deployment with nothing wrong, for tests to spoil.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Parser;
use connector::cleeng::envelope::Envelope;
use connector::flow::Disposition;
use connector::lambda::queue::CapturingQueue;
use connector::secret::SecretString;
use connectorctl::arguments::Arguments;
use connectorctl::command_env::CommandEnv;
use connectorctl::output::CommandOutput;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::{Value, json};

/// A token that looks like a real one.
pub(crate) const PUBLISHER_TOKEN: &str = "kT9vQ2mmZ81LwPq00cXr7BnY3sJd6HfG5aKe8UiO1zVtWxMb";
/// A path key that looks like a real one.
pub(crate) const PATH_KEY: &str = "pQ7rT2xW9kL4mN8vB3zC6yH1dF5gJ0sA";
/// A webhook secret that looks like a real one.
pub(crate) const WEBHOOK_SECRET: &str = "zX8cV5bN2mQ9wE6rT3yU0iO7pA4sD1fG";
/// An Adyen key that looks like a real one.
pub(crate) const ADYEN_KEY: &str = "AQEyhmfxK4rJbBZDw0m/n3Q5qf3VaY9UCJ14XWZE03G/k2NFitRvbe4N1XqH1eHaH2AksaEQwV1bDb7kfNy1WIxIIkxgBw";

/// The secret.
pub(crate) fn secret() -> Value {
    json!({
        "idempotency_salt": "h4Kd9sLq2Wm7Xz5Vb8Nc3Rt6Yp1Jf0Ga",
        "webhook_path_keys": [PATH_KEY],
        "cleeng": { "publisher_token": [PUBLISHER_TOKEN], "webhook_secrets": [WEBHOOK_SECRET] },
        "adyen": { "api_key": [ADYEN_KEY], "hmac_keys": ["9F3A6C1E8B2D7054F1A9C3E6B8D2407195AC3E7F0B6D8241C5E9A7F30B1D6842"] },
        "paypal": { "client_secret": ["EGnHDxD_qRPdaLdZz8iCr8N7_MzF-YHPTkjs6NKYQvQSBngp4PTTVWkPZRbL"] },
    })
}

/// The settings that are the same in AWS and without it.
fn common() -> BTreeMap<String, String> {
    let pairs = [
        ("CONNECTOR_PUBLISHER_ID", "558186818"),
        ("PAYMENT_METHODS", "123123123=adyen:authorise_then_capture,125125125=paypal:capture_only"),
        ("CLEENG_ENVIRONMENT", "sandbox"),
        ("ALLOWED_ORIGINS", "https://shop.example.com"),
        ("ADYEN_ENVIRONMENT", "test"),
        ("ADYEN_MERCHANT_ACCOUNT", "StreamCoECOM"),
        ("ADYEN_CAPTURE", "manual"),
        ("ADYEN_CLIENT_KEY", "test_870BE2ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        ("PAYPAL_ENVIRONMENT", "sandbox"),
        ("PAYPAL_CLIENT_ID", "AZDxjDScFpQtjWTOUtWKbyN_bDt4OgqaF4eYXlewfBP4"),
        ("PAYPAL_WEBHOOK_ID", "8PT597110X687430LKGECATA"),
        ("GRACE_PERIOD_MINUTES", "120"),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A deployment in AWS, with the settings of reconciliation.
pub(crate) fn deployed() -> BTreeMap<String, String> {
    let queue = |topic: &str| format!("{topic}=https://sqs.eu-west-1.amazonaws.com/123456789012/{topic}");
    let topics = [
        "subscriptionReadyForPaymentAuthorisation",
        "subscriptionReadyForPaymentCapture",
        "subscriptionReadyForTermination",
        "paymentDetailsDeactivated",
        "refundPayment",
        "capturePayment",
    ];
    let mut settings = common();
    settings.insert("JOURNAL_TABLE".to_owned(), "connector-journal".to_owned());
    settings.insert("CONNECTOR_SECRET_ID".to_owned(), "connector-secret".to_owned());
    settings.insert("AWS_REGION".to_owned(), "eu-west-1".to_owned());
    settings.insert("EVENT_QUEUE_URLS".to_owned(), topics.map(queue).join(","));
    settings
}

/// A deployment without AWS, whose secret is in the environment.
pub(crate) fn embedded() -> BTreeMap<String, String> {
    let mut settings = common();
    settings.insert("CONNECTOR_EMBEDDED".to_owned(), "1".to_owned());
    settings.insert("CONNECTOR_SECRETS".to_owned(), secret().to_string());
    settings
}

/// Runs a command of a deployment in AWS whose journal and queues these are.
pub(crate) async fn run_command(stage: &TestEnvironment, queue: &Arc<CapturingQueue>, words: &[&str]) -> CommandOutput {
    run_command_with(stage, queue, deployed(), "", words).await
}

/// The same with other settings and something on standard input.
pub(crate) async fn run_command_with(
    stage: &TestEnvironment,
    queue: &Arc<CapturingQueue>,
    settings: BTreeMap<String, String>,
    input: &str,
    words: &[&str],
) -> CommandOutput {
    let mut settings = settings;
    // No server answers unless a test provides one; the real one is never called.
    settings.entry("CLEENG_API_URL".to_owned()).or_insert_with(|| "http://127.0.0.1:1/3.1".to_owned());
    let mut env = CommandEnv::new(settings);
    env.clock = Arc::new(stage.clock.clone());
    env.store = Some(stage.store.clone());
    env.queue = Some(queue.clone());
    let mut kept = secret();
    if let (Some(kept), Value::Object(houses)) = (kept.as_object_mut(), sandbox::testkit::gateway_fixtures::gateway_secrets()) {
        kept.extend(houses);
    }
    kept["cleeng"]["publisher_token"] = json!(sandbox::testkit::fixtures::PUBLISHER_TOKEN);
    env.secret = Some(SecretString::new(kept.to_string()));
    input.clone_into(&mut env.stdin);
    let arguments = Arguments::try_parse_from([&["connectorctl"], words].concat()).unwrap();
    connectorctl::run(&arguments, &env).await
}

/// Delivers everything that was put on the queues, as each function would get it.
pub(crate) async fn deliver_queued(stage: &TestEnvironment, queue: &CapturingQueue) -> Vec<Disposition> {
    let mut verdicts = Vec::new();
    for text in queue.sent() {
        let envelope = Envelope::from_text(&text).unwrap();
        let event = envelope.open().unwrap();
        verdicts.push(stage.deliver_event(&event, envelope.received_at()).await);
    }
    verdicts
}
