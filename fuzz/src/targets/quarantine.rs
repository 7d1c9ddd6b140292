//! Any message in quarantine: only an event that verifies with the current secrets is released, unchanged; every other message stays.

use std::sync::Arc;

use connector::cleeng::envelope::Envelope;
use connector::cleeng::webhook::Webhook;
use connector::clock::Clock;
use connector::lambda::state::{FunctionKind, Invocation};
use reconciliation::Reconciliation;
use sandbox::testkit::fixtures::{PUBLISHER, WEBHOOK_SECRET, id};
use serde_json::{Value, json};

use crate::tools::{block_on, functions};

const SIGNATURE_HEADER: &str = "x-cleeng-signature";

pub(super) fn body(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let kept: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    // The same with a valid signature, and any other content.
    let mut signed = kept.clone();
    let fits = kept["body"].as_str().map(|body| sandbox::simulators::cleeng::sign(WEBHOOK_SECRET, body.as_bytes()));
    if let (Some(headers), Some(fits)) = (signed.get_mut("headers").and_then(Value::as_object_mut), &fits) {
        headers.retain(|name, _| !name.eq_ignore_ascii_case(SIGNATURE_HEADER));
        headers.insert(SIGNATURE_HEADER.to_owned(), Value::from(fits.as_str()));
    }
    let messages = [text.into_owned(), signed.to_string()];
    let records: Vec<Value> = (0..2)
        .map(|number| json!({ "messageId": number.to_string(), "receiptHandle": number.to_string(), "body": messages[number], "eventSource": "aws:sqs" }))
        .collect();
    let invocation =
        Invocation { request_id: "request-1".to_owned(), deadline: functions::clock().now().after(std::time::Duration::from_secs(90)) };
    block_on(async {
        let function = functions::start_function(FunctionKind::Scheduled(Arc::new(Reconciliation))).await;
        let event = json!({ "Records": records }).to_string();
        let answer = function.app.handle(&event, &invocation).await.expect("a batch");
        let left = answer["batchItemFailures"].as_array().expect("a list");
        let given = function.requeued.0.sent();
        assert_eq!(given.len() + left.len(), 2, "a message is lost, or there twice");
        for envelope in given {
            let text: Value = serde_json::from_str(&envelope).expect("JSON");
            assert!(text["body"] == kept["body"] && text["received_at"] == kept["received_at"], "another event is released");
            assert!(Envelope::from_text(&envelope).is_ok_and(|envelope| envelope.open().is_ok()), "a released event does not open");
        }
        // Whose signature it is, is for the verifier to say: the same bytes with another signature stay.
        let is_signature = |text: &str, fits: &str| text.to_ascii_lowercase().contains(fits) || text.contains('=');
        let mut values = kept["headers"].as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str());
        let held = fits.as_deref().is_some_and(|fits| values.any(|text| is_signature(text, fits)));
        let forged = left.iter().any(|failure| failure["itemIdentifier"] == "0");
        assert!(held || forged, "a forged event is released");
        let ours = kept["body"]
            .as_str()
            .and_then(|body| Webhook::parse(body.as_bytes()).ok())
            .is_some_and(|event| event.publisher == id(PUBLISHER));
        assert!(ours || left.len() == 2, "another publisher's event is released");
        let stays = left.iter().any(|failure| failure["itemIdentifier"] == "1");
        assert!(!stays || !is_genuine(&kept), "a genuine event is not released");
    });
}

/// Whether it would verify under a signature that fits.
fn is_genuine(kept: &Value) -> bool {
    let event = kept["body"].as_str().and_then(|body| Webhook::parse(body.as_bytes()).ok());
    let is_ours = kept["v"] == json!(1) && kept["source"] == json!("quarantine");
    let has_headers = kept["headers"].as_object().is_some_and(|headers| headers.values().all(Value::is_string));
    let same_topic = event.is_some_and(|event| event.publisher == id(PUBLISHER) && kept["topic"] == event.topic.as_str());
    is_ours && has_headers && same_topic && kept["received_at"].is_i64()
}
