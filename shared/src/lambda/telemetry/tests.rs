use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt;

use super::*;
use crate::cleeng::envelope::Envelope;
use crate::flow::Disposition;
use crate::lambda::queue::QueueError;
use crate::lambda::settings::Mode;
use crate::lambda::testing::*;
use crate::metrics::{Metric, Metrics};
use crate::reason::ParkReason;
use crate::reason::RetryReason;
use crate::secret::SecretString;

/// Text that must never be in a log line, from any code.
const PLANTED: [&str; 8] = [PATH_KEY, SALT, PUBLISHER_TOKEN, SIGNING_SECRET, NEXT_SIGNING_SECRET, API_KEY, CARD_TOKEN, EMAIL];

fn output() -> (Output, LogSink) {
    let sink = LogSink::default();
    (Output::new(Box::new(sink.clone()), Arc::new(Redactor::default())), sink)
}

fn lines(sink: &LogSink) -> Vec<Value> {
    sink.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_log_line_is_one_json_object_with_a_constant_message_and_fields() {
    let (output, sink) = output();
    let _logs = subscriber(output, LevelFilter::INFO).set_default();
    let span = tracing::info_span!("noise", secret = "in a span");
    let _in_span = span.enter();
    tracing::info!(obligation = "period#1", duration_ms = 12, "step finished\nwith a second line");
    tracing::debug!("not at this level");
    tracing::info!(target: "lambda_runtime::api", "noise of a library");
    tracing::error!(target: "lambda_runtime::api", "an error of a library");
    let lines = lines(&sink);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["message"], "step finished\nwith a second line");
    assert_eq!(lines[0]["obligation"], "period#1");
    assert_eq!(lines[0]["duration_ms"], 12);
    assert_eq!(lines[0]["level"], "INFO");
    assert!(lines[0].get("span").is_none() && lines[0].get("spans").is_none());
}

#[test]
fn a_metric_is_written_in_the_embedded_format() {
    let (output, sink) = output();
    let metrics = Metrics::new(Arc::new(EmfSink::new(output, "stack", "capture", "7", Arc::new(TestClock::default()))));
    metrics.count(Metric::Settled, &[("outcome", "captured")]);
    metrics.duration(Metric::UnsettledAge, Duration::from_millis(61_500), &[]);
    let expected = [
        json!({
            "_aws": { "Timestamp": NOW.millis(), "CloudWatchMetrics": [{
                "Namespace": "CleengPaymentConnector",
                "Dimensions": [["function"], ["deployment"], ["deployment", "outcome"]],
                "Metrics": [{ "Name": "Settled", "Unit": "Count" }]
            }] },
            "deployment": "stack", "function": "capture", "outcome": "captured", "Settled": 1
        }),
        json!({
            "_aws": { "Timestamp": NOW.millis(), "CloudWatchMetrics": [{
                "Namespace": "CleengPaymentConnector",
                "Dimensions": [["function"], ["deployment"]],
                "Metrics": [{ "Name": "UnsettledAge", "Unit": "Seconds" }]
            }] },
            "deployment": "stack", "function": "capture", "UnsettledAge": 61
        }),
    ];
    assert_eq!(lines(&sink), expected);
}

#[tokio::test]
async fn secrets_and_addresses_that_somebody_logs_all_the_same_are_taken_out() {
    let harness = harness(Mode::Lambda).await;
    let _logs = subscriber(harness.output.clone(), LevelFilter::DEBUG).set_default();
    let wrapped = format!("SdkError {{ raw: \"x-api-key: {API_KEY}; {PUBLISHER_TOKEN}\", user: <{EMAIL}> }}");
    tracing::error!(error = ?wrapped, salt = SALT, "planted in a field {PATH_KEY}");
    tracing::warn!(target: "lambda_runtime", "{SIGNING_SECRET} {EMAIL}");
    harness.output.line(&json!({ "metric": API_KEY, EMAIL: SIGNING_SECRET }).to_string());
    let text = harness.sink.text();
    assert_eq!(lines(&harness.sink).len(), 3);
    for planted in [PATH_KEY, SALT, PUBLISHER_TOKEN, SIGNING_SECRET, API_KEY, EMAIL] {
        assert!(!text.contains(planted), "{planted} is in {text}");
    }
    assert!(text.matches("[redacted]").count() >= 8, "{text}");
}

/// Every path through both handlers, with secrets and personal data in every place where they can be, at the most verbose level.
#[tokio::test]
async fn no_way_through_the_doors_writes_a_secret_or_an_address() {
    let harness = harness(Mode::Lambda).await;
    let _logs = subscriber(harness.output.clone(), LevelFilter::DEBUG).set_default();
    let good = authorisation_event().to_string();
    let mut seen = String::new();
    let poisoned = |path: &str, value: &str| {
        let mut event = authorisation_event();
        *event.pointer_mut(path).unwrap() = json!(value);
        event.to_string()
    };
    let bodies = [
        good.clone(),
        format!("{{\"topic\": \"{EMAIL}\", \"x\": \"{CARD_TOKEN}\""),
        poisoned("/topic", CARD_TOKEN),
        poisoned("/broadcasterId", CARD_TOKEN),
        poisoned("/data/expirationDate", EMAIL),
        poisoned("/data/paymentMethodId", CARD_TOKEN),
        poisoned("/data/currency", CARD_TOKEN),
        "x".repeat(5000) + EMAIL,
    ];
    for body in &bodies {
        for (route, signature) in [(ROUTE, SIGNING_SECRET), (ROUTE, CARD_TOKEN), ("/webhooks/viewer.one@example.com/x", SIGNING_SECRET)] {
            seen.push_str(&harness.handle(&http_event(route, signature, body, false)).await.to_string());
        }
    }
    harness.queue.fail_with(Some(QueueError::Refused("access denied")));
    seen.push_str(&harness.handle(&http_event(ROUTE, SIGNING_SECRET, &good, false)).await.to_string());
    *harness.secrets.0.lock().unwrap() = json!({ "idempotency_salt": EMAIL, "cleeng": CARD_TOKEN });
    harness.clock.advance(Duration::from_secs(61));
    seen.push_str(&harness.handle(&http_event(ROUTE, "forged", &good, false)).await.to_string());
    *harness.secrets.0.lock().unwrap() = secret_json(NEXT_SIGNING_SECRET);
    harness.clock.advance(Duration::from_secs(61));
    seen.push_str(&harness.handle(&http_event(ROUTE, NEXT_SIGNING_SECRET, &good, false)).await.to_string());

    let envelope = Envelope::seal(&verified(good.as_bytes()), good.as_bytes(), NOW).unwrap().to_text();
    let later = |reason| Disposition::Retry { after: None, reason };
    harness.flow.dispositions.lock().unwrap().extend([
        later(RetryReason::CleengUnauthorised),
        Disposition::Parked(ParkReason::OutcomeUnknown),
        Disposition::NotOurs,
    ]);
    for body in [envelope.as_str(), envelope.as_str(), envelope.as_str(), envelope.as_str(), good.as_str(), EMAIL, CARD_TOKEN] {
        seen.push_str(&harness.handle(&json!({ "Records": [record("m1", 1, body)] })).await.to_string());
    }
    let odd = json!({ "unknown": [EMAIL, CARD_TOKEN, SALT] }).to_string();
    seen.push_str(&format!("{:?}", harness.app.handle(&odd, &harness.invocation(90)).await));

    let text = harness.sink.text();
    assert!(text.lines().count() > 40, "the doors said too little to prove anything");
    assert!(!text.contains(REDACTED), "the second line of defence was needed: {text}");
    for planted in PLANTED {
        assert!(!text.contains(planted), "{planted} was written: {text}");
        assert!(!seen.contains(planted), "{planted} was answered: {seen}");
    }
}

#[tokio::test]
async fn an_error_of_the_aws_sdk_never_reaches_a_line_or_an_error_of_ours() {
    use crate::lambda::queue::{Queue, SqsQueue};
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    // An answer as full of what must not be seen as an answer can be.
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut buffer = [0_u8; 8192];
        let _ = std::io::Read::read(&mut stream, &mut buffer);
        let body = format!("{{\"__type\":\"AccessDeniedException\",\"message\":\"{EMAIL} {CARD_TOKEN}\"}}");
        let head = format!("HTTP/1.1 400 Bad Request\r\nx-secret: {API_KEY}\r\ncontent-type: application/x-amz-json-1.0\r\n");
        let answer = format!("{head}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
    });
    let (output, sink) = output();
    let _logs = subscriber(output, LevelFilter::DEBUG).set_default();
    let config = crate::lambda::aws::load().await.into_builder().endpoint_url(&url).region(aws_config::Region::new("eu-west-1"));
    let credentials = aws_sdk_sqs::config::Credentials::new("AKIATEST", API_KEY, Some(CARD_TOKEN.to_owned()), None, "test");
    let credentials = aws_sdk_sqs::config::SharedCredentialsProvider::new(credentials);
    let queue = SqsQueue::new(aws_sdk_sqs::Client::new(&config.credentials_provider(credentials).build()), url);
    let raw = authorisation_event().to_string().into_bytes();
    let failure = queue.send(&Envelope::seal(&verified(&raw), &raw, NOW).unwrap().to_text()).await.unwrap_err();
    answering.join().unwrap();
    assert_eq!(failure, QueueError::Refused("access denied"));
    let text = format!("{failure:?} {failure} {}", sink.text());
    for planted in PLANTED {
        assert!(!text.contains(planted), "{planted} is in {text}");
    }
}

#[test]
fn mistakes_in_settings_and_secrets_never_quote_what_was_set() {
    let get = |name: &str| Some(format!("{CARD_TOKEN} {EMAIL} {name}"));
    let mut reader = crate::settings::SettingsReader::new(&get);
    let read = crate::lambda::settings::Settings::read(&mut reader);
    let problems = reader.finish(read).unwrap_err();
    let secret =
        json!({ "idempotency_salt": [CARD_TOKEN, EMAIL], "webhook_path_keys": EMAIL, "cleeng": { "publisher_token": [CARD_TOKEN, 1] } });
    let secrets = crate::lambda::secrets::Secrets::parse(&secret.to_string(), &[crate::gateway::GatewayName::Adyen].into());
    let told = format!("{problems} {problems:?} {:?}", secrets.err().unwrap());
    for planted in PLANTED {
        assert!(!told.contains(planted), "{planted} is in {told}");
    }
    let redactor = Redactor::default();
    redactor.register(&[SecretString::new("")]);
    assert_eq!(redactor.redact("an empty secret hides nothing"), "an empty secret hides nothing");
}
