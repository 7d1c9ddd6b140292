use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::cleeng::{CALL_TIMEOUT, CALL_WITH_FALLBACK_TIMEOUT};
use crate::clock::Timestamp;
use crate::journal::session::SAFETY_MARGIN;
use crate::lambda::queue::QueueError;
use crate::lambda::state::FUNCTION_TIMEOUT;
use crate::lambda::testing::*;
use crate::reason::ParkReason;
use crate::reason::RetryReason;

fn body_of(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

fn changed(path: &str, value: Value) -> String {
    let mut event = authorisation_event();
    *event.pointer_mut(path).unwrap() = value;
    event.to_string()
}

/// Sends a body with a good signature.
async fn send(harness: &TestHarness, body: &str) -> (u64, Value) {
    let answer = harness.handle(&http_event(ROUTE, SIGNING_SECRET, body, false)).await;
    (answer["statusCode"].as_u64().unwrap(), body_of(&answer))
}

fn nothing_happened(harness: &TestHarness) {
    assert!(harness.queue.sent().is_empty());
    assert!(harness.seen().is_empty());
}

#[tokio::test]
async fn a_good_webhook_is_on_the_queue_before_200_is_answered() {
    let harness = harness(Mode::Lambda).await;
    let body = authorisation_event().to_string();
    let answer = harness.handle(&http_event(ROUTE, SIGNING_SECRET, &body, false)).await;
    assert_eq!(answer["statusCode"], 200);
    assert_eq!(answer["headers"]["content-type"], "application/json");
    assert_eq!(body_of(&answer), json!({ "status": "accepted" }));
    let sent = harness.queue.sent();
    assert_eq!(sent.len(), 1);
    let envelope: Value = serde_json::from_str(&sent[0]).unwrap();
    assert_eq!(envelope["v"], 1);
    assert_eq!(envelope["source"], "cleeng");
    assert_eq!(envelope["topic"], "subscriptionReadyForPaymentAuthorisation");
    assert_eq!(envelope["received_at"], NOW.millis());
    assert_eq!(envelope["body"], body);
    assert!(harness.seen().is_empty(), "the flow is the other door's business");
    assert_eq!(harness.sink.metrics(), [("EventAccepted".to_owned(), 1, vec![])]);
}

#[tokio::test]
async fn a_body_in_base64_is_the_same_body() {
    let harness = harness(Mode::Lambda).await;
    let body = authorisation_event().to_string();
    let answer = harness.handle(&http_event(ROUTE, SIGNING_SECRET, &STANDARD.encode(&body), true)).await;
    assert_eq!(answer["statusCode"], 200);
    let envelope: Value = serde_json::from_str(&harness.queue.sent()[0]).unwrap();
    assert_eq!(envelope["body"], body);
}

#[tokio::test]
async fn a_stage_before_the_route_and_the_previous_key_are_taken() {
    let harness = harness(Mode::Lambda).await;
    let route = "/prod/webhooks/path-key-for-the-tests-0000/subscription-ready-for-payment-authorisation";
    let answer = harness.handle(&http_event(route, SIGNING_SECRET, &authorisation_event().to_string(), false)).await;
    assert_eq!(answer["statusCode"], 200);
}

#[tokio::test]
async fn another_address_is_not_found_whatever_is_sent_there() {
    let harness = harness(Mode::Lambda).await;
    let wrong = ROUTE.replace("0001", "0002");
    let routes = [
        wrong.as_str(),
        "/webhooks/subscription-ready-for-payment-authorisation",
        "/webhooks//subscription-ready-for-payment-authorisation",
        "/webhooks/path-key-for-the-tests-0001/subscription-ready-for-payment-capture",
        "/webhooks/path-key-for-the-tests-0001/subscriptionReadyForPaymentAuthorisation",
        "/other/path-key-for-the-tests-0001/subscription-ready-for-payment-authorisation",
        "/",
        "",
    ];
    for route in routes {
        for method in ["POST", "GET"] {
            let mut event = http_event(route, SIGNING_SECRET, &authorisation_event().to_string(), false);
            event["requestContext"]["http"]["method"] = json!(method);
            let answer = harness.handle(&event).await;
            assert_eq!(answer["statusCode"], 404, "{method} {route}");
            assert_eq!(body_of(&answer)["error"], "not_found");
        }
    }
    nothing_happened(&harness);
}

#[tokio::test]
async fn another_method_is_told_which_one_is_taken() {
    let harness = harness(Mode::Lambda).await;
    let mut event = http_event(ROUTE, SIGNING_SECRET, &authorisation_event().to_string(), false);
    event["requestContext"]["http"]["method"] = json!("GET");
    let answer = harness.handle(&event).await;
    assert_eq!(answer["statusCode"], 405);
    assert_eq!(answer["headers"]["allow"], "POST");
    nothing_happened(&harness);
}

#[tokio::test]
async fn a_forged_or_unsigned_webhook_is_401_and_has_no_effect() {
    let harness = harness(Mode::Lambda).await;
    for signature in ["", "forged", NEXT_SIGNING_SECRET] {
        let answer = harness.handle(&http_event(ROUTE, signature, &authorisation_event().to_string(), false)).await;
        assert_eq!(answer["statusCode"], 401);
        assert_eq!(body_of(&answer)["error"], "bad_signature");
    }
    nothing_happened(&harness);
    let metrics = harness.sink.metrics();
    assert_eq!(metrics.iter().filter(|(name, ..)| name == "SignatureFailure").count(), 3);
    assert_eq!(metrics.iter().filter(|(name, _, words)| name == "EventRefused" && words == &["bad_signature"]).count(), 3);
}

#[tokio::test]
async fn a_rotated_secret_is_fetched_and_the_signature_checked_again() {
    let harness = harness(Mode::Lambda).await;
    *harness.secrets.0.lock().unwrap() = secret_json(NEXT_SIGNING_SECRET);
    let event = http_event(ROUTE, NEXT_SIGNING_SECRET, &authorisation_event().to_string(), false);
    assert_eq!(harness.handle(&event).await["statusCode"], 401, "the secrets were read within this minute");
    harness.clock.advance(Duration::from_secs(60));
    assert_eq!(harness.handle(&event).await["statusCode"], 200);
    assert_eq!(harness.queue.sent().len(), 1);
    assert!(harness.sink.text().lines().all(|line| !line.contains(NEXT_SIGNING_SECRET)));
}

/// Signed bodies that this release cannot act on, with the reason that they are parked for.
pub(in crate::lambda) fn not_understood() -> Vec<(String, ParkReason)> {
    let renamed = authorisation_event().to_string().replace("expirationDate", "expiration_date");
    let nested = changed("/data/offerId", serde_json::from_str(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap());
    vec![
        (String::new(), ParkReason::EventUnreadable),
        ("{".to_owned(), ParkReason::EventUnreadable),
        ("[]".to_owned(), ParkReason::EventUnreadable),
        (nested, ParkReason::EventUnreadable),
        (renamed, ParkReason::EventUnreadable),
        (changed("/topic", json!("subscriptionReadyForPaymentAuthorisationV2")), ParkReason::EventUnreadable),
        (changed("/topic", json!("refundPayment")), ParkReason::EventOfAnotherTopic),
        (changed("/broadcasterId", json!(1)), ParkReason::EventOfAnotherPublisher),
        (changed("/broadcasterId", json!({})), ParkReason::EventUnreadable),
        (changed("/data", json!(null)), ParkReason::EventUnreadable),
        (changed("/data/token", json!("")), ParkReason::EventUnreadable),
        (changed("/data/subscriptionId", json!(null)), ParkReason::EventUnreadable),
        (changed("/data/expirationDate", json!("07.11.2026")), ParkReason::EventUnreadable),
        (changed("/data/paymentMethodId", json!([])), ParkReason::EventUnreadable),
    ]
}

#[tokio::test]
async fn what_cleeng_signed_and_nobody_understands_is_durable_before_200_is_answered() {
    for (number, (body, _)) in not_understood().into_iter().enumerate() {
        let harness = harness(Mode::Lambda).await;
        let (status, answer) = send(&harness, &body).await;
        assert_eq!((status, answer["status"].as_str()), (200, Some("accepted")), "{number}: {body}");
        let envelope: Value = serde_json::from_str(&harness.queue.sent()[0]).unwrap();
        assert_eq!((envelope["source"].as_str(), envelope["body"].as_str()), (Some("cleeng"), Some(body.as_str())));
        assert!(harness.seen().is_empty());
        assert!(harness.sink.metrics().contains(&("Warning".to_owned(), 1, vec!["signed_event_not_understood".to_owned()])));
        for value in ["expiration_date", "07.11.2026", EMAIL, CARD_TOKEN] {
            assert!(!harness.sink.text().contains(value), "{value} is quoted");
        }
    }
}

#[tokio::test]
async fn the_same_without_a_signature_is_refused_and_kept_nowhere() {
    for (body, _) in not_understood() {
        let harness = harness(Mode::Lambda).await;
        let answer = harness.handle(&http_event(ROUTE, "forged", &body, false)).await;
        assert_eq!(answer["statusCode"], 401, "{body}");
        nothing_happened(&harness);
    }
}

#[tokio::test]
async fn a_byte_order_mark_does_not_keep_an_event_from_being_taken() {
    let harness = harness(Mode::Lambda).await;
    let (status, _) = send(&harness, &format!("\u{feff}{}", authorisation_event())).await;
    assert_eq!((status, harness.queue.sent().len()), (200, 1));
    assert!(harness.sink.metrics().iter().all(|(name, ..)| name != "Warning"));
}

#[tokio::test]
async fn a_signed_body_that_is_not_utf8_is_kept_and_one_that_is_not_base64_is_400() {
    let harness = harness(Mode::Lambda).await;
    let mut bytes = authorisation_event().to_string().into_bytes();
    let at = bytes.iter().position(|byte| *byte == b'S').unwrap();
    bytes[at] = 0xFF;
    let answer = harness.handle(&http_event(ROUTE, SIGNING_SECRET, &STANDARD.encode(&bytes), true)).await;
    assert_eq!((answer["statusCode"].as_u64(), harness.queue.sent().len()), (Some(200), 1));
    let answer = harness.handle(&http_event(ROUTE, SIGNING_SECRET, "%%%", true)).await;
    assert_eq!((answer["statusCode"].as_u64(), body_of(&answer)["error"].as_str()), (Some(400), Some("invalid_body")));
}

#[tokio::test]
async fn an_event_that_grows_by_escaping_past_what_a_record_holds_is_413_with_an_alarm() {
    let harness = harness(Mode::Lambda).await;
    let (status, answer) = send(&harness, &changed("/data/offerId", json!("\"".repeat(10_000)))).await;
    assert_eq!((status, answer["error"].as_str()), (413, Some("event_too_large")));
    nothing_happened(&harness);
    assert!(harness.sink.metrics().contains(&("Alarm".to_owned(), 1, vec!["event_too_large".to_owned()])));
}

#[tokio::test]
async fn a_header_that_was_mistyped_in_the_settings_loses_no_event() {
    let harness = harness(Mode::Lambda).await;
    let mut event = http_event(ROUTE, SIGNING_SECRET, &authorisation_event().to_string(), false);
    let signature = event["headers"]["x-signature"].take();
    event["headers"] = json!({ "x-cleeng-hmac": signature, "authorization": "Bearer secret", "user-agent": "Cleeng" });
    assert_eq!(harness.handle(&event).await["statusCode"], 401);
    let kept: Value = serde_json::from_str(&harness.quarantine.sent()[0]).unwrap();
    assert_eq!(kept["headers"], json!({ "x-cleeng-hmac": SIGNING_SECRET, "user-agent": "Cleeng" }));
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_before_its_signature_is_looked_at() {
    let harness = harness(Mode::Lambda).await;
    let body = "x".repeat(32_769);
    for (body, is_base64) in [(body.clone(), false), (STANDARD.encode(&body), true)] {
        let answer = harness.handle(&http_event(ROUTE, "forged", &body, is_base64)).await;
        assert_eq!(answer["statusCode"], 413);
        assert!(body_of(&answer)["message"].as_str().unwrap().contains("MAX_BODY_BYTES"));
    }
    nothing_happened(&harness);
}

#[tokio::test]
async fn an_event_of_another_connectors_payment_method_is_ignored_with_200() {
    let harness = harness(Mode::Lambda).await;
    let (status, answer) = send(&harness, &changed("/data/paymentMethodId", json!("999"))).await;
    assert_eq!((status, answer), (200, json!({ "status": "ignored" })));
    nothing_happened(&harness);
    assert_eq!(harness.sink.metrics(), [("EventNotOurs".to_owned(), 1, vec![])]);
}

#[tokio::test]
async fn an_event_that_names_no_payment_method_goes_on_the_queue() {
    let harness = harness(Mode::Lambda).await;
    let (status, _) = send(&harness, &changed("/data/paymentMethodId", json!(null))).await;
    assert_eq!(status, 200);
    assert_eq!(harness.queue.sent().len(), 1);
}

#[tokio::test]
async fn a_queue_that_does_not_take_the_event_is_503_and_never_200() {
    let harness = harness(Mode::Lambda).await;
    for failure in [QueueError::Unavailable, QueueError::Refused("access denied")] {
        harness.queue.fail_with(Some(failure));
        let answer = harness.handle(&http_event(ROUTE, SIGNING_SECRET, &authorisation_event().to_string(), false)).await;
        assert_eq!(answer["statusCode"], 503);
        assert_eq!(answer["headers"]["retry-after"], "5");
        assert_eq!(body_of(&answer)["error"], "queue_unavailable");
    }
    assert!(harness.sink.metrics().iter().all(|(name, ..)| name != "EventAccepted"));
}

#[tokio::test]
async fn embedded_mode_runs_the_flow_at_once_and_answers_its_verdict() {
    let harness = harness(Mode::Embedded).await;
    let later = |reason| Disposition::Retry { after: None, reason };
    let dispositions = [
        Disposition::Parked(ParkReason::OutcomeUnknown),
        Disposition::NotOurs,
        later(RetryReason::CleengUnreachable),
        later(RetryReason::Leased),
    ];
    harness.flow.dispositions.lock().unwrap().extend(dispositions);
    let mut answers = Vec::new();
    for _ in 0..5 {
        let (status, answer) = send(&harness, &authorisation_event().to_string()).await;
        let word = answer.get("status").or_else(|| answer.get("error")).unwrap().as_str().unwrap().to_owned();
        answers.push((status, word));
        if reason_is_unreachable(&answer) {
            assert!(answer["message"].as_str().unwrap().starts_with("Cleeng cannot be reached"));
        }
    }
    let expected = [(200, "parked"), (200, "ignored"), (503, "cleeng_unreachable"), (503, "leased"), (200, "settled")];
    assert_eq!(answers, expected.map(|(status, word)| (status, word.to_owned())));
    assert!(harness.queue.sent().is_empty());
    let seen = harness.seen();
    assert_eq!(seen.len(), 5);
    let delivery = &seen[0].1;
    assert_eq!((delivery.id.as_str(), delivery.count, delivery.received_at), ("request-1", 1, NOW));
    assert_eq!(delivery.deadline, NOW.after(Duration::from_secs(89)));
}

fn reason_is_unreachable(answer: &Value) -> bool {
    answer["error"] == "cleeng_unreachable"
}

#[test]
fn every_topic_has_a_route_of_its_own() {
    let routes: Vec<String> = Topic::ALL.into_iter().map(route_for_topic).collect();
    assert_eq!(routes[0], "subscription-ready-for-payment-authorisation");
    assert_eq!(routes[3], "payment-details-deactivated");
    assert!(routes.iter().all(|route| route.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
}

#[test]
fn without_a_deadline_a_flow_gets_the_time_that_it_is_deployed_with_and_every_call_fits_into_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let harness = runtime.block_on(harness(Mode::Lambda));
    let none = Invocation { request_id: String::new(), deadline: Timestamp::from_millis(600_000) };
    let deadline = none.flow_deadline(&harness.clock, FUNCTION_TIMEOUT);
    assert_eq!(deadline, NOW.after(Duration::from_secs(89)));
    // A termination, after it has read the subscription.
    let longest = CALL_TIMEOUT.saturating_add(CALL_WITH_FALLBACK_TIMEOUT).saturating_add(SAFETY_MARGIN);
    assert!(NOW.after(longest) <= deadline);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_request_makes_it_panic_and_no_strangers_is_answered_with_200(body in ".*", signature in ".*", path in ".*", base64: bool, known: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let status = runtime.block_on(async {
            let harness = harness(Mode::Lambda).await;
            let (path, signature) = if known { (ROUTE, SIGNING_SECRET) } else { (path.as_str(), signature.as_str()) };
            harness.handle(&http_event(path, signature, &body, base64)).await["statusCode"].as_u64().unwrap()
        });
        let expected = if known { 200..500 } else { 400..500 };
        prop_assert!(expected.contains(&status), "{status}");
    }

    #[test]
    fn no_event_makes_it_panic(bytes: Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let refused = runtime.block_on(async {
            let harness = harness(Mode::Lambda).await;
            harness.app.handle(&String::from_utf8_lossy(&bytes), &harness.invocation(90)).await.is_err()
        });
        prop_assert!(refused);
    }
}
