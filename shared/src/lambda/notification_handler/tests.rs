use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use ring::hmac;
use serde_json::{Value, json};

use super::*;
use crate::flow::Disposition;
use crate::lambda::queue::QueueError;
use crate::lambda::testing::*;
use crate::reason::RetryReason;

const OTHER_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const ROUTE: &str = "/gateways/adyen/notifications";
const REFERENCE: &str = "clg-00112233-4455-8677-8899-aabbccddeeff";

/// A signed item about a payment of ours.
fn item(key: &str, event_code: &str, psp: &str) -> Value {
    let message = format!("{psp}:AUTH0R1SAT10N001:{MERCHANT_ACCOUNT}:{REFERENCE}:999:USD:{event_code}:true");
    let bytes: Vec<u8> = key.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
    let signature = STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &bytes), message.as_bytes()));
    json!({ "NotificationRequestItem": {
        "eventCode": event_code, "success": "true", "pspReference": psp, "originalReference": "AUTH0R1SAT10N001",
        "merchantAccountCode": MERCHANT_ACCOUNT, "merchantReference": REFERENCE, "amount": { "currency": "USD", "value": 999 },
        "eventDate": "2026-11-07T20:00:00Z", "reason": "", "additionalData": { "hmacSignature": signature },
    } })
}

fn body(items: &[Value]) -> String {
    json!({ "live": "false", "notificationItems": items }).to_string()
}

/// Status, and the body as text.
async fn post_to(harness: &TestHarness, path: &str, body: &str, is_base64: bool) -> (u64, String) {
    let answer = harness.handle(&http_event(path, "", body, is_base64)).await;
    (answer["statusCode"].as_u64().unwrap(), answer["body"].as_str().unwrap().to_owned())
}

async fn post(harness: &TestHarness, body: &str) -> (u64, String) {
    post_to(harness, ROUTE, body, false).await
}

/// The items on the queue, and what was kept aside.
fn queued(harness: &TestHarness) -> Vec<String> {
    let read = |text: &String| match NotificationEnvelope::from_text(text) {
        Ok(envelope) => envelope.open().get().dedupe_key.clone(),
        Err(_) => UnverifiedNotification::from_text(text).map(|_| "kept aside".to_owned()).unwrap(),
    };
    harness.queue.sent().iter().map(read).collect()
}

fn alarms(harness: &TestHarness) -> usize {
    harness.sink.metrics().iter().filter(|(name, ..)| name == "Alarm").count()
}

fn accepted() -> (u64, String) {
    (200, "[accepted]".to_owned())
}

#[tokio::test]
async fn every_item_is_a_message_of_its_own_before_the_body_is_accepted() {
    let harness = notification_harness(Mode::Lambda).await;
    let items = [item(HMAC_KEY, "CAPTURE", "A"), item(HMAC_KEY, "REFUND", "B"), item(HMAC_KEY, "CHARGEBACK", "C")];
    assert_eq!(post(&harness, &body(&items)).await, accepted());
    assert_eq!(queued(&harness), ["CAPTURE:A:true", "REFUND:B:true", "CHARGEBACK:C:true"]);
    let envelope: Value = serde_json::from_str(&harness.queue.sent()[0]).unwrap();
    assert_eq!((&envelope["v"], &envelope["source"], &envelope["gateway"]), (&json!(1), &json!("gateway"), &json!("adyen")));
    assert!(harness.notifications.seen.lock().unwrap().is_empty(), "nothing happens at the door");
}

#[tokio::test]
async fn a_queued_item_reaches_the_flow_and_leaves_the_queue_as_the_flow_says() {
    let harness = notification_harness(Mode::Lambda).await;
    post(&harness, &body(&[item(HMAC_KEY, "CAPTURE", "A"), item(HMAC_KEY, "REFUND", "B")])).await;
    harness
        .notifications
        .dispositions
        .lock()
        .unwrap()
        .push_back(Disposition::Retry { after: None, reason: RetryReason::PaymentNotRecorded });
    let records: Vec<Value> = harness.queue.sent().iter().enumerate().map(|(n, text)| record(&format!("m{n}"), 2, text)).collect();
    let answer = harness.handle(&json!({ "Records": records })).await;
    assert_eq!(answer, json!({ "batchItemFailures": [{ "itemIdentifier": "m0" }] }));
    let seen = harness.notifications.seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].0.dedupe_key.as_str(), seen[0].1.count, seen[0].1.received_at), ("CAPTURE:A:true", 2, NOW));
}

#[tokio::test]
async fn a_webhook_of_cleeng_on_this_queue_becomes_a_dead_letter() {
    let harness = notification_harness(Mode::Lambda).await;
    let raw = authorisation_event().to_string();
    let text = crate::cleeng::envelope::Envelope::seal(&verified(raw.as_bytes()), raw.as_bytes(), NOW).unwrap().to_text();
    for text in [text.as_str(), "nonsense"] {
        let answer = harness.handle(&json!({ "Records": [record("m", 1, text)] })).await;
        assert_eq!(answer["batchItemFailures"][0]["itemIdentifier"], "m");
    }
    assert!(harness.notifications.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn forged_unsigned_and_broken_bodies_have_no_effect() {
    let harness = notification_harness(Mode::Lambda).await;
    let mut unsigned = item(HMAC_KEY, "CAPTURE", "A");
    unsigned["NotificationRequestItem"]["additionalData"] = json!({});
    let good = body(&[item(HMAC_KEY, "CAPTURE", "A")]);
    let cases = [
        (body(&[item(OTHER_KEY, "CAPTURE", "A")]), 401, "bad_signature"),
        (good.replace("999", "998"), 401, "bad_signature"),
        (body(&[unsigned]), 401, "unsigned"),
        (good[..good.len() - 3].to_owned(), 400, "invalid_body"),
        (String::new(), 400, "invalid_body"),
        ("[]".to_owned(), 400, "invalid_body"),
        (body(&[]), 400, "invalid_body"),
        (format!("{good}{}", " ".repeat(MAX_NOTIFICATION_BYTES)), 413, "body_too_large"),
    ];
    for (body, status, code) in cases {
        let (told, answer) = post(&harness, &body).await;
        assert_eq!((told, answer.contains(code)), (status, true), "{answer}");
    }
    let not_text = STANDARD.encode(b"\xff\xfe{}");
    assert_eq!(post_to(&harness, ROUTE, &not_text, true).await.0, 400);
    assert_eq!(post_to(&harness, ROUTE, "%%%", true).await.0, 400);
    assert!(harness.queue.sent().is_empty());
    let failures = harness.sink.metrics().into_iter().filter(|(name, ..)| name == "SignatureFailure").count();
    assert_eq!(failures, 3);
}

#[tokio::test]
async fn one_bad_item_among_good_ones_is_kept_aside_with_an_alarm_and_nothing_is_sent_again() {
    let harness = notification_harness(Mode::Lambda).await;
    let good = |psp| item(HMAC_KEY, "CAPTURE", psp);
    assert_eq!(post(&harness, &body(&[good("A"), item(OTHER_KEY, "CAPTURE", "B"), good("C")])).await, accepted());
    assert_eq!(post(&harness, &body(&[json!({}), good("D")])).await, accepted());
    assert_eq!(queued(&harness), ["kept aside", "CAPTURE:A:true", "CAPTURE:C:true", "kept aside", "CAPTURE:D:true"]);
    assert_eq!(alarms(&harness), 2);
}

#[tokio::test]
async fn what_is_kept_aside_is_verified_again_and_queued_once_all_of_it_verifies() {
    let harness = notification_harness(Mode::Lambda).await;
    post(&harness, &body(&[item(HMAC_KEY, "CAPTURE", "A"), item(OTHER_KEY, "CAPTURE", "B")])).await;
    let kept = harness.queue.sent().remove(0);
    let batch = json!({ "Records": [record("m", 1, &kept)] });
    assert_eq!(harness.handle(&batch).await, json!({ "batchItemFailures": [{ "itemIdentifier": "m" }] }));
    harness.secrets.0.lock().unwrap()["adyen"]["hmac_keys"] = json!([HMAC_KEY, OTHER_KEY]);
    harness.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(harness.handle(&batch).await, json!({ "batchItemFailures": [] }));
    assert_eq!(queued(&harness)[2..], ["CAPTURE:A:true", "CAPTURE:B:true"], "the first was queued before, and its flow knows it");
    assert!(harness.notifications.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_floods_in_unverified_among_good_items_is_refused() {
    let harness = notification_harness(Mode::Lambda).await;
    let mixed = body(&[item(HMAC_KEY, "CAPTURE", "A"), item(OTHER_KEY, "CAPTURE", "B")]);
    for _ in 0..60 {
        assert_eq!(post(&harness, &mixed).await, accepted());
    }
    assert_eq!(post(&harness, &mixed).await.0, 401);
}

#[tokio::test]
async fn kinds_without_effect_are_accepted_and_ignored_and_unknown_ones_are_queued() {
    let harness = notification_harness(Mode::Lambda).await;
    let items = ["REPORT_AVAILABLE", "NOTIFICATION_OF_FRAUD", "BRAND_NEW"].map(|code| item(HMAC_KEY, code, "A"));
    assert_eq!(post(&harness, &body(&items)).await, accepted());
    assert_eq!(queued(&harness), ["BRAND_NEW:A:true"]);
    assert_eq!(harness.sink.metrics().iter().filter(|(name, ..)| name == "EventNotOurs").count(), 1);
}

#[tokio::test]
async fn only_the_address_of_a_gateway_of_this_deployment_is_known() {
    let harness = notification_harness(Mode::Lambda).await;
    let good = body(&[item(HMAC_KEY, "CAPTURE", "A")]);
    for path in
        ["/gateways/paypal/notifications", "/gateways//notifications", "/gateways/adyen", "/adyen/notifications", "/", ROUTE_OF_CLEENG]
    {
        assert_eq!(post_to(&harness, path, &good, false).await.0, 404, "{path}");
    }
    assert_eq!(post_to(&harness, "/stage/gateways/adyen/notifications", &good, false).await, accepted());
    let mut get = http_event(ROUTE, "", &good, false);
    get["requestContext"]["http"]["method"] = json!("GET");
    assert_eq!(harness.handle(&get).await["statusCode"], 405);
    assert_eq!(harness.queue.sent().len(), 1);
}

const ROUTE_OF_CLEENG: &str = crate::lambda::testing::ROUTE;

#[tokio::test]
async fn a_rotated_key_is_fetched_and_the_body_read_again() {
    let harness = notification_harness(Mode::Lambda).await;
    let next = body(&[item(OTHER_KEY, "CAPTURE", "A")]);
    harness.secrets.0.lock().unwrap()["adyen"]["hmac_keys"] = json!([OTHER_KEY]);
    assert_eq!(post(&harness, &next).await.0, 401, "the secrets were read within this minute");
    harness.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(post(&harness, &next).await, accepted());
    assert_eq!(queued(&harness), ["CAPTURE:A:true"]);
}

#[tokio::test]
async fn a_queue_that_does_not_take_an_item_is_503_and_the_gateway_repeats_it() {
    let harness = notification_harness(Mode::Lambda).await;
    let good = body(&[item(HMAC_KEY, "CAPTURE", "A")]);
    harness.queue.fail_with(Some(QueueError::Unavailable));
    let answer = harness.handle(&http_event(ROUTE, "", &good, false)).await;
    assert_eq!((&answer["statusCode"], &answer["headers"]["retry-after"]), (&json!(503), &json!("5")));
    harness.queue.fail_with(None);
    assert_eq!(post(&harness, &good).await, accepted());
    assert_eq!(harness.queue.sent().len(), 1);
}

#[tokio::test]
async fn embedded_mode_runs_the_flow_for_every_item_and_one_put_off_is_asked_for_again() {
    let harness = notification_harness(Mode::Embedded).await;
    let items = body(&[item(HMAC_KEY, "CAPTURE", "A"), item(HMAC_KEY, "REFUND", "B")]);
    assert_eq!(post(&harness, &items).await, accepted());
    harness.notifications.dispositions.lock().unwrap().push_back(Disposition::Retry { after: None, reason: RetryReason::Leased });
    let (status, answer) = post(&harness, &items).await;
    assert_eq!((status, answer.contains("leased")), (503, true));
    let ids: Vec<_> = harness.notifications.seen.lock().unwrap().iter().map(|(_, delivery)| delivery.id.clone()).collect();
    assert_eq!(ids, ["request-1/1", "request-1/2", "request-1/1", "request-1/2"]);
    assert!(harness.queue.sent().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_request_makes_it_panic_or_reaches_the_queue(body in ".*", path in ".*", base64: bool, known: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (status, sent) = runtime.block_on(async {
            let harness = notification_harness(Mode::Lambda).await;
            let (status, _) = post_to(&harness, if known { ROUTE } else { &path }, &body, base64).await;
            (status, harness.queue.sent().len())
        });
        prop_assert!((400..500).contains(&status) && sent == 0, "{}", status);
    }
}
