//! The simulator is as strict as Adyen.

use std::time::Duration;

use connector::gateway::adyen::CaptureMode;
use connector::gateway::{
    CancelRequest, CancelTarget, Gateway, GatewayText, IdempotencyKey, MerchantInitiated, NotificationKind, OperationKind, Outcome,
    Reference, UnknownCause,
};
use connector::http::{HeaderMap, Method};
use connector::ids::CustomerId;
use connector::secret::SecretString;
use sandbox::simulators::adyen::PaymentState;
use sandbox::simulators::network::{ServerRequest, ServerResponse, SimulatedServer};
use serde_json::{Value, json};

use super::harness::{API_KEY, AdyenHarness, MERCHANT, SHOPPER, money};

fn harness() -> AdyenHarness {
    AdyenHarness::new(CaptureMode::Manual, money(1_000, "EUR"))
}

fn call(harness: &AdyenHarness, method: Method, path: &str, key: Option<&str>, body: &Value) -> ServerResponse {
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", API_KEY.parse().unwrap());
    if let Some(key) = key {
        headers.insert("idempotency-key", key.parse().unwrap());
    }
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    harness.simulator.handle(&ServerRequest { method, path: path.to_owned(), query, headers, body: body.to_string().into() })
}

fn post(harness: &AdyenHarness, path: &str, key: Option<&str>, body: &Value) -> (u16, Value) {
    let answer = call(harness, Method::POST, path, key, body);
    (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap_or_default())
}

fn payment(harness: &AdyenHarness, value: i64) -> Value {
    json!({
        "merchantAccount": MERCHANT, "reference": "order-1", "amount": { "currency": "EUR", "value": value }, "returnUrl": "https://shop.test",
        "paymentMethod": { "type": "scheme", "storedPaymentMethodId": harness.working_method() }, "shopperReference": SHOPPER,
        "shopperInteraction": "ContAuth", "recurringProcessingModel": "Subscription",
    })
}

fn pay(harness: &AdyenHarness) -> String {
    let (status, answer) = post(harness, "/v71/payments", None, &payment(harness, 1_000));
    assert_eq!((status, answer["resultCode"].as_str()), (200, Some("Authorised")));
    answer["pspReference"].as_str().unwrap().to_owned()
}

fn capture(harness: &AdyenHarness, psp_reference: &str, value: i64) -> u16 {
    let body = json!({ "merchantAccount": MERCHANT, "amount": { "currency": "EUR", "value": value }, "reference": "capture-1" });
    post(harness, &format!("/v71/payments/{psp_reference}/captures"), None, &body).0
}

/// The events since the last time, as (code, success, reason).
fn events(harness: &AdyenHarness) -> Vec<(String, String, String)> {
    let text = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
    let read = |body: String| {
        let body: Value = serde_json::from_str(&body).unwrap();
        let item = &body["notificationItems"][0]["NotificationRequestItem"];
        (text(item, "eventCode"), text(item, "success"), text(item, "reason"))
    };
    harness.simulator.take_notifications().into_iter().map(read).collect()
}

fn event(code: &str, success: &str, reason: &str) -> (String, String, String) {
    (code.to_owned(), success.to_owned(), reason.to_owned())
}

#[test]
fn ids_look_like_adyens_and_are_the_same_in_every_run() {
    let ids: Vec<_> = {
        let harness = harness();
        (0..500).map(|_| pay(&harness)).collect()
    };
    assert!(ids.iter().all(|id| id.len() == 16 && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())));
    let again = harness();
    assert_eq!(ids[..5], (0..5).map(|_| pay(&again)).collect::<Vec<_>>()[..]);
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len());
}

#[test]
fn a_key_gets_its_first_answer_for_any_body_until_it_is_forgotten() {
    let harness = harness();
    let first = post(&harness, "/v71/payments", Some("key-1"), &payment(&harness, 1_000));
    assert_eq!(post(&harness, "/v71/payments", Some("key-1"), &payment(&harness, 2_000)), first);
    let echoed = call(&harness, Method::POST, "/v71/payments", Some("key-1"), &payment(&harness, 1_000));
    assert_eq!(echoed.headers.get("idempotency-key").unwrap(), "key-1");
    assert_eq!(harness.simulator.authorisations(), 1);
    harness.clock.advance(Duration::from_secs(7 * 24 * 3_600));
    assert_ne!(post(&harness, "/v71/payments", Some("key-1"), &payment(&harness, 1_000)), first);
    assert_eq!(harness.simulator.authorisations(), 2);
    assert_eq!(post(&harness, "/v71/payments", Some(&"k".repeat(65)), &payment(&harness, 1_000)).0, 422);
}

#[test]
fn wrong_requests_are_refused_and_do_nothing() {
    let harness = harness();
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", "wrong".parse().unwrap());
    let body = payment(&harness, 1).to_string().into();
    let request = ServerRequest { method: Method::POST, path: "/v71/payments".to_owned(), query: Vec::new(), headers, body };
    assert_eq!(harness.simulator.handle(&request).json_code(), (401, json!("000")));
    for (field, value, expected) in [
        ("merchantAccount", json!("Somebody"), (403, "901")),
        ("returnUrl", json!(null), (422, "14_030")),
        ("reference", json!(null), (422, "130")),
        ("amount", json!(null), (422, "138")),
        ("amount", json!({ "currency": "EUR", "value": -1 }), (422, "137")),
        ("amount", json!({ "currency": "EUR", "value": "1000" }), (422, "137")),
        ("paymentMethod", json!({ "type": "scheme", "storedPaymentMethodId": "NOSUCHMETHOD0000" }), (422, "803")),
        ("shopperReference", json!("somebody-else"), (422, "803")),
        ("recurringProcessingModel", json!(null), (422, "107")),
    ] {
        let mut body = payment(&harness, 1_000);
        body[field] = value.clone();
        let (status, answer) = post(&harness, "/v71/payments", None, &body);
        assert_eq!((status, answer["errorCode"].as_str()), (expected.0, Some(expected.1)), "{field} {value}");
    }
    assert!(harness.simulator.payments().is_empty());
}

trait JsonCode {
    fn json_code(&self) -> (u16, Value);
}

impl JsonCode for ServerResponse {
    fn json_code(&self) -> (u16, Value) {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        (self.status.as_u16(), body["errorCode"].clone())
    }
}

#[test]
fn more_than_the_authorised_amount_is_received_and_then_fails() {
    let harness = harness();
    let psp_reference = pay(&harness);
    events(&harness);
    assert_eq!(capture(&harness, &psp_reference, 1_001), 201);
    assert_eq!(harness.simulator.pending_modifications(), 1);
    harness.simulator.process();
    assert_eq!(events(&harness), [event("CAPTURE", "false", "Insufficient balance on payment")]);
    assert_eq!(harness.simulator.total_captured("EUR"), 0);
}

#[test]
fn a_capture_counts_once_it_is_processed_and_two_captures_take_the_money_once() {
    let harness = harness();
    let psp_reference = pay(&harness);
    capture(&harness, &psp_reference, 1_000);
    capture(&harness, &psp_reference, 1_000);
    assert_eq!(harness.simulator.total_captured("EUR"), 0);
    harness.simulator.process();
    assert_eq!(harness.simulator.total_captured("EUR"), 1_000);
    let captures: Vec<_> = events(&harness).into_iter().filter(|(code, _, _)| code == "CAPTURE").map(|(_, success, _)| success).collect();
    assert_eq!(captures, ["true", "false"]);
}

#[test]
fn immediate_processing_needs_no_push() {
    let harness = harness();
    harness.simulator.process_immediately(true);
    let psp_reference = pay(&harness);
    capture(&harness, &psp_reference, 400);
    let payment = harness.simulator.payment(&psp_reference).unwrap();
    assert_eq!((payment.captured, payment.cancelled, payment.state), (400, 600, PaymentState::Captured));
}

#[test]
fn an_automatic_capture_account_captures_unless_the_payment_says_otherwise() {
    let harness = AdyenHarness::new(CaptureMode::Automatic, money(1_000, "EUR"));
    pay(&harness);
    assert_eq!(harness.simulator.total_captured("EUR"), 1_000);
    let mut manual = payment(&harness, 1_000);
    manual["additionalData"] = json!({ "manualCapture": "true" });
    post(&harness, "/v71/payments", None, &manual);
    assert_eq!(harness.simulator.total_captured("EUR"), 1_000);
}

#[test]
fn refusals_are_selected_by_card_number_or_configured_for_details() {
    let harness = harness();
    let mut body = payment(&harness, 1_000);
    body["additionalData"] = json!({ "RequestedTestAcquirerResponseCode": "6" });
    assert_eq!(post(&harness, "/v71/payments", None, &body).1["refusalReasonCode"], json!("6"));
    harness.simulator.decline_next_with(harness.working_method(), "12");
    let (_, refused) = post(&harness, "/v71/payments", None, &payment(&harness, 1_000));
    assert_eq!((&refused["resultCode"], &refused["refusalReasonCode"]), (&json!("Refused"), &json!("12")));
    pay(&harness);
    let news: Vec<_> = events(&harness).into_iter().map(|(code, success, _)| (code, success)).collect();
    let authorisation = |success: &str| ("AUTHORISATION".to_owned(), success.to_owned());
    assert_eq!(news, [authorisation("false"), authorisation("false"), authorisation("true")]);
}

#[test]
fn stored_details_are_listed_for_their_shopper_only() {
    let harness = harness();
    let list = |shopper: &str| {
        let path = format!("/v71/storedPaymentMethods?merchantAccount={MERCHANT}&shopperReference={shopper}");
        let answer = call(&harness, Method::GET, &path, None, &Value::Null);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        body["storedPaymentMethods"].as_array().unwrap().len()
    };
    assert_eq!((list(SHOPPER), list("somebody-else")), (1, 0));
}

#[test]
fn a_modification_with_a_field_that_does_not_exist_is_refused() {
    let harness = harness();
    let psp_reference = pay(&harness);
    let body = json!({ "merchantAccount": MERCHANT, "amount": { "currency": "EUR", "value": 1 }, "referense": "typo" });
    assert_eq!(post(&harness, &format!("/v71/payments/{psp_reference}/captures"), None, &body).0, 400);
    assert_eq!(harness.simulator.pending_modifications(), 0);
}

async fn notification_kinds(harness: &AdyenHarness) -> Vec<NotificationKind> {
    let mut kinds = Vec::new();
    for body in harness.simulator.take_notifications() {
        let read = harness.adapter.read_notification(&HeaderMap::new(), body.as_bytes()).await.unwrap();
        kinds.extend(read.into_iter().map(|one| one.unwrap().kind));
    }
    kinds
}

fn merchant_initiated(harness: &AdyenHarness) -> MerchantInitiated {
    let key = IdempotencyKey::derive(&SecretString::new("salt"), GatewayText("adyen"), OperationKind::Authorise, "period", "1");
    let token = harness.token(harness.working_method());
    let customer = CustomerId::new(SHOPPER).unwrap();
    MerchantInitiated { reference: Reference::from_key(&key), key, amount: harness.amount, token, customer }
}

#[tokio::test]
async fn later_events_are_sent_as_notifications_that_the_adapter_reads() {
    let harness = AdyenHarness::new(CaptureMode::Automatic, money(1_000, "EUR"));
    let charged = harness.adapter.charge(&merchant_initiated(&harness)).await;
    assert!(matches!(charged, Ok(Outcome::Done(_))));
    let psp_reference = harness.simulator.payments()[0].psp_reference.clone();
    harness.simulator.charge_back(&psp_reference);
    assert_eq!(notification_kinds(&harness).await, [NotificationKind::Authorised, NotificationKind::ChargedBack]);

    let harness = AdyenHarness::new(CaptureMode::Automatic, money(1_000, "EUR"));
    assert!(matches!(harness.adapter.charge(&merchant_initiated(&harness)).await, Ok(Outcome::Done(_))));
    let psp_reference = harness.simulator.payments()[0].psp_reference.clone();
    harness.simulator.capture_fails_later(&psp_reference);
    assert_eq!(notification_kinds(&harness).await, [NotificationKind::Authorised, NotificationKind::CaptureFailed]);
    assert_eq!(harness.simulator.total_captured("EUR"), 0);

    let harness = self::harness();
    assert!(matches!(harness.adapter.authorise(&merchant_initiated(&harness)).await, Ok(Outcome::Done(_))));
    let psp_reference = harness.simulator.payments()[0].psp_reference.clone();
    harness.simulator.expire(&psp_reference);
    assert_eq!(notification_kinds(&harness).await, [NotificationKind::Authorised, NotificationKind::Expired]);
    assert_eq!(harness.simulator.payment(&psp_reference).unwrap().state, PaymentState::Expired);
}

#[tokio::test]
async fn a_call_that_is_still_in_progress_is_unknown_and_settles_under_its_key() {
    let harness = harness();
    harness.simulator.in_progress_next();
    let request = merchant_initiated(&harness);
    assert!(matches!(harness.adapter.authorise(&request).await, Ok(Outcome::Unknown(UnknownCause::InProgress))));
    assert!(matches!(harness.adapter.authorise(&request).await, Ok(Outcome::Done(_))));
    assert_eq!(harness.simulator.authorisations(), 1);
}

#[tokio::test]
async fn a_server_error_that_adyen_keeps_stays_unknown_under_its_key() {
    for effect in [false, true] {
        let harness = harness();
        harness.simulator.server_error_next(effect);
        for _ in 0..3 {
            assert!(matches!(
                harness.adapter.authorise(&merchant_initiated(&harness)).await,
                Ok(Outcome::Unknown(UnknownCause::ServerError(500)))
            ));
        }
        assert_eq!(harness.simulator.authorisations(), usize::from(effect));
    }
}

#[tokio::test]
async fn a_pending_payment_is_received_and_settled_when_it_is_processed() {
    let harness = harness();
    harness.simulator.set_next_result_code(harness.working_method(), "Pending");
    assert!(matches!(harness.adapter.authorise(&merchant_initiated(&harness)).await, Ok(Outcome::Received(_))));
    assert!(notification_kinds(&harness).await.is_empty());
    harness.simulator.process();
    assert_eq!(notification_kinds(&harness).await, [NotificationKind::Authorised]);
}

#[tokio::test]
async fn half_an_authorisation_is_unknown_and_can_be_released_by_reference() {
    let harness = harness();
    harness.simulator.set_next_result_code(harness.working_method(), "PartiallyAuthorised");
    assert!(matches!(harness.adapter.authorise(&merchant_initiated(&harness)).await, Ok(Outcome::Unknown(UnknownCause::Unreadable))));
    assert_eq!(harness.simulator.payments()[0].authorised, 500);
    let reference = merchant_initiated(&harness).reference;
    let key = IdempotencyKey::derive(&SecretString::new("salt"), GatewayText("adyen"), OperationKind::Cancel, "period", "1");
    let cancel = CancelRequest { key, reference: reference.clone(), target: CancelTarget::Reference { reference, pending_id: None } };
    assert!(matches!(harness.adapter.cancel(&cancel).await, Ok(Outcome::Received(_))));
    harness.simulator.process();
    assert_eq!(harness.simulator.payments()[0].state, PaymentState::Cancelled);
}
