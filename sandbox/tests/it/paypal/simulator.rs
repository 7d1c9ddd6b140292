//! The simulator is as strict as PayPal.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector::gateway::{Gateway, OperationKind, UnknownCause};
use connector::http::{HeaderMap, Method};
use sandbox::simulators::network::{ServerRequest, SimulatedServer};
use sandbox::simulators::simulated_gateway::{LedgerStatus, SimulatedGateway};
use serde_json::{Value, json};

use super::harness::{CLIENT_ID, PayPalHarness, SECRET, money};
use super::requests::{authorise, captured, done, key, payment, taken, unknown};

fn harness() -> PayPalHarness {
    PayPalHarness::new(money(999, "EUR"))
}

/// Asks the simulator for access, as a client would.
fn access(harness: &PayPalHarness) -> String {
    let mut headers = HeaderMap::new();
    let basic = STANDARD.encode(format!("{CLIENT_ID}:{SECRET}"));
    headers.insert("authorization", format!("Basic {basic}").parse().unwrap());
    let (path, body) = ("/v1/oauth2/token".to_owned(), "grant_type=client_credentials".into());
    let answer = harness.simulator.handle(&ServerRequest { method: Method::POST, path, query: Vec::new(), headers, body });
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    body["access_token"].as_str().unwrap().to_owned()
}

fn post(harness: &PayPalHarness, path: &str, request_id: Option<&str>, body: &Value) -> (u16, Value) {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", access(harness)).parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    headers.insert("prefer", "return=representation".parse().unwrap());
    if let Some(id) = request_id {
        headers.insert("paypal-request-id", id.parse().unwrap());
    }
    let request = ServerRequest { method: Method::POST, path: path.to_owned(), query: Vec::new(), headers, body: body.to_string().into() };
    let answer = harness.simulator.handle(&request);
    (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap_or_default())
}

fn issue(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["details"][0]["issue"].as_str().unwrap_or_default())
}

fn order(harness: &PayPalHarness, currency: &str, value: &str) -> Value {
    let vault_id = harness.token.split(':').next().unwrap();
    json!({
        "intent": "AUTHORIZE",
        "purchase_units": [{ "custom_id": "order-1", "amount": { "currency_code": currency, "value": value } }],
        "payment_source": { "paypal": { "vault_id": vault_id } },
    })
}

#[test]
fn a_vault_order_without_a_request_id_is_refused() {
    let harness = harness();
    assert_eq!(issue(&post(&harness, "/v2/checkout/orders", None, &order(&harness, "EUR", "9.99"))), (400, "PAYPAL_REQUEST_ID_REQUIRED"));
}

#[test]
fn amounts_have_to_be_written_by_the_rules() {
    let harness = harness();
    for (currency, value, expected) in [
        ("HUF", "1990.00", (422, "DECIMALS_NOT_SUPPORTED")),
        ("JPY", "500.0", (422, "DECIMALS_NOT_SUPPORTED")),
        ("EUR", "9.999", (422, "DECIMAL_PRECISION")),
        ("EUR", "0.00", (422, "CANNOT_BE_ZERO_OR_NEGATIVE")),
        ("EUR", "-1", (400, "INVALID_PARAMETER_SYNTAX")),
        ("EUR", "1e2", (400, "INVALID_PARAMETER_SYNTAX")),
        ("KWD", "1.250", (422, "INVALID_CURRENCY_CODE")),
    ] {
        assert_eq!(
            issue(&post(&harness, "/v2/checkout/orders", Some("1"), &order(&harness, currency, value))),
            expected,
            "{currency} {value}"
        );
    }
    assert_eq!(harness.simulator.orders(), 0);
}

#[test]
fn a_request_id_answers_200_with_the_current_state_until_it_is_forgotten() {
    let harness = harness();
    let first = post(&harness, "/v2/checkout/orders", Some("1"), &order(&harness, "EUR", "9.99"));
    assert_eq!(first.0, 201);
    let authorisation = first.1.pointer("/purchase_units/0/payments/authorizations/0/id").unwrap().as_str().unwrap().to_owned();
    post(&harness, &format!("/v2/payments/authorizations/{authorisation}/void"), Some("2"), &json!({}));
    let again = post(&harness, "/v2/checkout/orders", Some("1"), &order(&harness, "EUR", "9.99"));
    assert_eq!(again.0, 200);
    assert_eq!(again.1.pointer("/purchase_units/0/payments/authorizations/0/status").unwrap(), "VOIDED");
    harness.clock.advance(Duration::from_secs(6 * 3_600));
    assert_eq!(post(&harness, "/v2/checkout/orders", Some("1"), &order(&harness, "EUR", "9.99")).0, 201);
    assert_eq!(harness.simulator.orders(), 2);
}

#[tokio::test]
async fn a_call_that_is_in_progress_or_breaks_off_is_unknown_and_settles_under_its_key() {
    let harness = harness();
    let request = payment(harness.amount, &harness.token, "1");
    harness.simulator.in_progress_next();
    assert_eq!(unknown(harness.adapter.charge(&request).await), UnknownCause::InProgress);
    for effect in [false, true] {
        harness.simulator.server_error_next(effect);
        assert_eq!(unknown(harness.adapter.charge(&request).await), UnknownCause::ServerError(500));
    }
    done(harness.adapter.charge(&request).await);
    assert_eq!((harness.simulator.orders(), taken(&harness)), (1, 999));
}

#[tokio::test]
async fn an_authorisation_stays_open_unless_its_capture_is_the_final_one() {
    let harness = harness();
    let authorisation = authorise(&harness, "1").await;
    let path = format!("/v2/payments/authorizations/{}/capture", authorisation.as_str());
    let part = json!({ "amount": { "currency_code": "EUR", "value": "1.00" } });
    assert_eq!(post(&harness, &path, Some("a"), &part).0, 201);
    assert_eq!(harness.simulator.authorisations()[0].1, "CREATED");
    assert_eq!(post(&harness, &path, Some("b"), &json!({ "final_capture": true, "amount": part["amount"] })).0, 201);
    assert_eq!(issue(&post(&harness, &path, Some("c"), &part)), (422, "AUTHORIZATION_ALREADY_CAPTURED"));
}

#[tokio::test]
async fn more_than_was_captured_is_never_refunded() {
    let harness = harness();
    let path = format!("/v2/payments/captures/{}/refund", captured(&harness, "1").await.as_str());
    let more = json!({ "amount": { "currency_code": "EUR", "value": "10.00" } });
    assert_eq!(issue(&post(&harness, &path, Some("a"), &more)), (422, "REFUND_AMOUNT_EXCEEDED"));
    assert_eq!(post(&harness, &path, Some("b"), &json!({})).0, 201);
    assert_eq!(issue(&post(&harness, &path, Some("c"), &json!({}))), (422, "CAPTURE_FULLY_REFUNDED"));
    assert_eq!(taken(&harness), 0);
}

#[tokio::test]
async fn the_ledger_follows_a_payment_through_all_its_ids() {
    let harness = harness();
    let authorisation = authorise(&harness, "1").await;
    let entry = harness.simulator.ledger().remove(0);
    assert_eq!((entry.external_payment_id, entry.status), (authorisation, LedgerStatus::Authorised));
    assert_eq!(entry.reference, payment(harness.amount, "x", "1").reference.as_str());
    let other = captured(&harness, "2").await;
    let entry = harness.simulator.ledger().remove(1);
    assert_eq!((&entry.external_payment_id, entry.status, entry.captured), (&other, LedgerStatus::Captured, harness.amount));
    harness.simulator.charge_back(other.as_str());
    assert_eq!(harness.simulator.ledger()[1].status, LedgerStatus::ChargedBack);
    assert_eq!(key(OperationKind::Authorise, "1").as_str().len(), 36);
}

#[test]
fn a_token_is_issued_for_the_right_secret_only() {
    let harness = harness();
    harness.simulator.accept_secrets(&["another"]);
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{SECRET}"))).parse().unwrap());
    let (path, body) = ("/v1/oauth2/token".to_owned(), "grant_type=client_credentials".into());
    let answer = harness.simulator.handle(&ServerRequest { method: Method::POST, path, query: Vec::new(), headers, body });
    assert_eq!(answer.status.as_u16(), 401);
    let bare = ServerRequest {
        method: Method::GET,
        path: "/v2/checkout/orders/1".to_owned(),
        query: Vec::new(),
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
    };
    assert_eq!(harness.simulator.handle(&bare).status.as_u16(), 401);
}
