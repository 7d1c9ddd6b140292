//! The requests of the adapter, and its outcome for each response; responses are written by hand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use connector::clock::SystemClock;
use connector::gateway::paypal::{CALL_TIMEOUT, PayPal, PayPalSettings};
use connector::gateway::{DeclineClass, DeleteDetailsRequest, Gateway, GatewayError, OperationKind, Outcome, Reference, UnknownCause};
use connector::http::{HeaderMap, Method, Request, Response, StatusCode, Transport, TransportError};
use serde_json::{Value, json};

use super::harness::{API, money, secrets, settings, token};
use super::requests::{capture, customer, declined, done, finalize, id, key, payment, purchase, refund, unknown};

pub(super) const AUTHORISATION: &str = "0AW2184448108334S";
pub(super) const CAPTURE: &str = "2GG279541U471931P";
pub(super) const ORDER: &str = "5O190127TN364715T";

/// Gives out access, answers with what was put in, and keeps what was sent.
#[derive(Default)]
struct ScriptedTransport {
    answers: Mutex<VecDeque<(u16, Value)>>,
    sent: Mutex<Vec<Request>>,
}

#[async_trait]
impl Transport for ScriptedTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let (status, body) = if request.url.ends_with("/v1/oauth2/token") {
            (200, json!({ "access_token": "A21AAtoken", "token_type": "Bearer", "expires_in": 32_400 }))
        } else {
            self.sent.lock().unwrap().push(request);
            self.answers.lock().unwrap().pop_front().unwrap_or((500, Value::Null))
        };
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        Ok(Response { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body })
    }
}

pub(super) struct ScriptedAdapter {
    pub(super) adapter: PayPal,
    transport: Arc<ScriptedTransport>,
}

impl ScriptedAdapter {
    fn with(settings: PayPalSettings, answers: &[(u16, Value)]) -> Self {
        let recorder =
            Arc::new(ScriptedTransport { answers: Mutex::new(answers.iter().cloned().collect()), ..ScriptedTransport::default() });
        let transport: Arc<ScriptedTransport> = Arc::clone(&recorder);
        Self { adapter: PayPal::new(settings, secrets(), transport, Arc::new(SystemClock)).unwrap(), transport: recorder }
    }

    pub(super) fn answering(answers: &[(u16, Value)]) -> Self {
        Self::with(settings(), answers)
    }

    pub(super) fn sent(&self) -> Vec<Request> {
        self.transport.sent.lock().unwrap().clone()
    }

    pub(super) fn body(&self, index: usize) -> Value {
        serde_json::from_slice(&self.sent()[index].body).unwrap()
    }
}

pub(super) fn reference() -> Reference {
    Reference::from_key(&key(OperationKind::Authorise, "1"))
}

pub(super) fn euros(value: &str) -> Value {
    json!({ "currency_code": "EUR", "value": value })
}

pub(super) fn order(status: &str, payments: Value) -> Value {
    json!({
        "id": ORDER, "intent": "AUTHORIZE", "status": status,
        "purchase_units": [{ "custom_id": reference().as_str(), "amount": euros("9.99"), "payments": payments }],
    })
}

pub(super) fn authorised(status: &str) -> Value {
    let authorisation =
        json!({ "id": AUTHORISATION, "status": status, "amount": euros("9.99"), "expiration_time": "2026-12-20T10:00:00Z" });
    order("COMPLETED", json!({ "authorizations": [authorisation] }))
}

pub(super) fn error(issue: &str) -> Value {
    let details = json!([{ "issue": issue, "description": "Jane Doe has no money" }]);
    json!({ "name": "UNPROCESSABLE_ENTITY", "message": "Jane Doe", "debug_id": "90957fca61718", "details": details })
}

async fn authorise(status: u16, body: Value) -> Result<Outcome, GatewayError> {
    ScriptedAdapter::answering(&[(status, body.clone()), (status, body)])
        .adapter
        .authorise(&payment(money(999, "EUR"), "vault1:customer1", "1"))
        .await
}

#[tokio::test]
async fn an_authorisation_says_that_the_merchant_asks_for_it_under_its_own_request_id() {
    let scripted = ScriptedAdapter::answering(&[(201, authorised("CREATED"))]);
    let operation = done(scripted.adapter.authorise(&payment(money(999, "EUR"), "vault1:customer1", "1")).await);
    assert_eq!(operation.external_payment_id, Some(id(AUTHORISATION)));
    assert_eq!(operation.expires_at.unwrap().to_rfc3339(), "2026-12-20T10:00:00Z");
    let expected = json!({
        "intent": "AUTHORIZE",
        "purchase_units": [{ "custom_id": reference().as_str(), "invoice_id": reference().as_str(), "amount": euros("9.99") }],
        "payment_source": { "paypal": {
            "vault_id": "vault1",
            "stored_credential": { "payment_initiator": "MERCHANT", "usage": "SUBSEQUENT", "usage_pattern": "SUBSCRIPTION_PREPAID" },
        } },
    });
    assert_eq!(scripted.body(0), expected);
    let sent = scripted.sent()[0].clone();
    assert_eq!((sent.method, sent.url), (Method::POST, format!("{API}/v2/checkout/orders")));
    assert!(sent.repeatable && sent.timeout <= CALL_TIMEOUT);
    assert_eq!(sent.headers.get("paypal-request-id").unwrap(), key(OperationKind::Authorise, "1").as_str());
    assert_eq!(sent.headers.get("prefer").unwrap(), "return=representation");
    assert!(sent.headers.get("authorization").is_none(), "the token travels as a secret header");
    assert_eq!(sent.secret_headers[0].1.expose(), "Bearer A21AAtoken");
}

#[tokio::test]
async fn fields_that_an_account_does_not_allow_are_left_out() {
    let bare = PayPalSettings { usage_pattern: None, stored_credential: false, ..settings() };
    let scripted = ScriptedAdapter::with(bare, &[(201, authorised("CREATED"))]);
    done(scripted.adapter.authorise(&payment(money(999, "EUR"), "vault1", "1")).await);
    assert_eq!(scripted.body(0)["payment_source"], json!({ "paypal": { "vault_id": "vault1" } }));
}

#[tokio::test]
async fn every_further_call_has_a_request_id_of_its_own_made_of_the_same_key() {
    let mut paid = authorised("CREATED");
    paid["purchase_units"][0]["payments"] = Value::Null;
    let mut open = paid.clone();
    open["status"] = json!("CREATED");
    let scripted = ScriptedAdapter::answering(&[(201, open), (201, paid), (200, authorised("CREATED"))]);
    done(scripted.adapter.authorise(&payment(money(999, "EUR"), "vault1", "1")).await);
    let sent = scripted.sent();
    let paths: Vec<_> = sent.iter().map(|request| request.url.strip_prefix(API).unwrap()).collect();
    let (step, read) = (format!("/v2/checkout/orders/{ORDER}/authorize"), format!("/v2/checkout/orders/{ORDER}"));
    assert_eq!(paths, ["/v2/checkout/orders", &step, &read]);
    let ids: Vec<_> = sent.iter().filter_map(|request| request.headers.get("paypal-request-id")?.to_str().ok()).collect();
    let own = key(OperationKind::Authorise, "1");
    assert_eq!(ids, [own.as_str().to_owned(), format!("{}-authorize", own.as_str())]);
    assert_eq!((scripted.body(1), sent[1].headers.get("content-type").unwrap().to_str().unwrap()), (json!({}), "application/json"));

    let renewed = json!({ "id": "7NB12345AB678901C", "status": "CREATED", "amount": euros("9.99") });
    let taken = json!({ "id": CAPTURE, "status": "COMPLETED", "amount": euros("9.99") });
    let scripted = ScriptedAdapter::answering(&[(201, renewed), (201, taken)]);
    let mut request = capture(money(999, "EUR"), &id(AUTHORISATION), "1");
    request.authorised_at = Some(connector::clock::Timestamp::from_secs(0));
    assert_eq!(done(scripted.adapter.capture(&request).await).external_payment_id, Some(id(CAPTURE)));
    let urls: Vec<_> = scripted.sent().iter().map(|request| request.url.clone()).collect();
    let authorisations = format!("{API}/v2/payments/authorizations");
    assert_eq!(urls, [format!("{authorisations}/{AUTHORISATION}/reauthorize"), format!("{authorisations}/7NB12345AB678901C/capture")]);
    let ids: Vec<_> =
        scripted.sent().iter().map(|request| request.headers.get("paypal-request-id").unwrap().to_str().unwrap().to_owned()).collect();
    let own = key(OperationKind::Capture, "1");
    // An authorisation is renewed once, whichever operation needs it.
    assert_eq!(ids, [format!("{}-reauthorize", request.reference), own.as_str().to_owned()]);
    assert_eq!(scripted.body(0), json!({ "amount": euros("9.99") }));
}

#[tokio::test]
async fn every_return_path_leads_to_the_same_capture_at_paypal() {
    let scripted = ScriptedAdapter::answering(&[(500, Value::Null), (500, Value::Null)]);
    let request = purchase(money(999, "EUR"), "1");
    for details in [Value::Null, json!({ "token": ORDER, "PayerID": "QYR5Z8XDVJNXQ" })] {
        unknown(scripted.adapter.finalize(&finalize(&request, Some(ORDER), details)).await);
    }
    let expected = format!("{}-capture", request.reference.as_str());
    for sent in scripted.sent() {
        assert_eq!(sent.url, format!("{API}/v2/checkout/orders/{ORDER}/capture"));
        assert_eq!(sent.headers.get("paypal-request-id").unwrap(), expected.as_str());
        assert!(sent.timeout <= connector::frontend_api::GATEWAY_TIMEOUT, "a customer waits for it");
    }
    assert_eq!(scripted.sent().len(), 2);
}

#[tokio::test]
async fn the_status_inside_decides_and_the_orders_does_not() {
    for (status, outcome) in [
        ("CREATED", "done"),
        ("CAPTURED", "done"),
        ("PARTIALLY_CAPTURED", "done"),
        ("PENDING", "received"),
        ("DENIED", "declined"),
        ("VOIDED", "declined"),
        ("COMPLETED", "unknown"),
        ("created", "unknown"),
        ("", "unknown"),
    ] {
        for order_status in ["COMPLETED", "CREATED", "APPROVED", "VOIDED", "SOMETHING_NEW"] {
            let mut answer = authorised(status);
            answer["status"] = json!(order_status);
            assert_eq!(authorise(201, answer).await.unwrap().as_str(), outcome, "{status} in {order_status}");
        }
    }
}

#[tokio::test]
async fn of_several_payments_in_one_order_the_one_that_was_not_refused_counts_and_two_are_too_many() {
    let one = |id: &str, status: &str| json!({ "id": id, "status": status, "amount": euros("9.99") });
    let with = |payments: Value| order("COMPLETED", json!({ "authorizations": payments }));
    let good = one(AUTHORISATION, "CREATED");
    let refused = one("1DENIED1234567890", "DENIED");
    assert_eq!(done(authorise(201, with(json!([refused, good]))).await).external_payment_id, Some(id(AUTHORISATION)));
    assert_eq!(declined(authorise(201, with(json!([refused]))).await).payment, Some(id("1DENIED1234567890")));
    for payments in [json!([good, one("9OTHER1234567890A", "CREATED")]), json!([good, one("9OTHER1234567890A", "PENDING")])] {
        assert!(matches!(authorise(201, with(payments)).await, Ok(Outcome::Unknown(UnknownCause::Unreadable))));
    }
}

#[tokio::test]
async fn risk_has_its_own_class_where_the_status_says_why() {
    let mut answer = authorised("DENIED");
    answer["purchase_units"][0]["payments"]["authorizations"][0]["status_details"] = json!({ "reason": "DECLINED_BY_RISK_FRAUD_FILTERS" });
    assert_eq!(declined(authorise(201, answer).await).class, DeclineClass::Risk);
}

#[tokio::test]
async fn statuses_and_issues_decide_and_messages_do_not() {
    let credentials = |code: &str| Err(GatewayError::Credentials { code: code.to_owned() });
    let malformed = |code: &str| Err(GatewayError::Malformed { code: code.to_owned() });
    let bare = |name: &str| json!({ "name": name, "message": "Jane Doe" });
    let table: Vec<(u16, Value, Result<&str, GatewayError>)> = vec![
        (422, error("INSTRUMENT_DECLINED"), Ok("declined soft: INSTRUMENT_DECLINED")),
        (422, error("PAYER_ACTION_REQUIRED"), Ok("declined needs_customer: PAYER_ACTION_REQUIRED")),
        (422, error("AGREEMENT_ALREADY_CANCELLED"), Ok("declined needs_new_details: AGREEMENT_ALREADY_CANCELLED")),
        (404, error("INVALID_RESOURCE_ID"), Ok("declined needs_new_details: INVALID_RESOURCE_ID")),
        (422, error("PAYER_ACCOUNT_RESTRICTED"), Ok("declined hard: PAYER_ACCOUNT_RESTRICTED")),
        (422, error("TRANSACTION_BLOCKED_BY_PAYEE"), Ok("declined risk: TRANSACTION_BLOCKED_BY_PAYEE")),
        (422, error("SOMETHING_NEW"), Ok("declined soft: SOMETHING_NEW")),
        (422, error("DUPLICATE_INVOICE_ID"), Ok("unknown answer not understood")),
        (422, error("ORDER_COMPLETION_IN_PROGRESS"), Ok("unknown still in progress")),
        (409, error("PREVIOUS_REQUEST_IN_PROGRESS"), Ok("unknown still in progress")),
        (409, bare("RESOURCE_CONFLICT"), Ok("unknown still in progress")),
        (422, error("Jane Doe"), Ok("unknown answer not understood")),
        (422, bare("UNPROCESSABLE_ENTITY"), Ok("unknown answer not understood")),
        (422, json!({ "message": "declined" }), Ok("unknown answer not understood")),
        (400, error("SOMETHING_NEW"), malformed("SOMETHING_NEW")),
        (400, error("PAYPAL_REQUEST_ID_REQUIRED"), malformed("PAYPAL_REQUEST_ID_REQUIRED")),
        (422, error("DECIMALS_NOT_SUPPORTED"), malformed("DECIMALS_NOT_SUPPORTED")),
        (422, error("PAYEE_ACCOUNT_RESTRICTED"), malformed("PAYEE_ACCOUNT_RESTRICTED")),
        (403, error("PERMISSION_DENIED"), credentials("PERMISSION_DENIED")),
        (403, Value::Null, credentials("403")),
        (429, Value::Null, Err(GatewayError::Throttled { retry_after: None })),
        (500, error("INSTRUMENT_DECLINED"), Ok("unknown status 500")),
        (503, Value::Null, Ok("unknown status 503")),
        (302, Value::Null, Ok("unknown answer not understood")),
        (204, Value::Null, Ok("unknown answer not understood")),
        (200, json!([authorised("CREATED")]), Ok("unknown answer not understood")),
    ];
    for (status, body, expected) in table {
        let got = authorise(status, body.clone()).await;
        assert!(!format!("{:?}", got.as_ref().err()).contains("Jane"), "{status} {body}");
        let got = got.map(|outcome| match outcome {
            Outcome::Unknown(cause) => format!("unknown {cause}"),
            Outcome::Declined(decline) => format!("declined {decline}"),
            other => other.as_str().to_owned(),
        });
        assert_eq!(got.as_deref(), expected.as_ref().copied(), "{status} {body}");
    }
}

#[tokio::test]
async fn a_capture_or_refund_of_something_else_is_unknown() {
    let taken = json!({
        "id": CAPTURE, "status": "COMPLETED", "amount": euros("9.99"), "custom_id": reference().as_str(),
        "supplementary_data": { "related_ids": { "authorization_id": AUTHORISATION } },
    });
    let request = capture(money(999, "EUR"), &id(AUTHORISATION), "1");
    done(ScriptedAdapter::answering(&[(201, taken.clone())]).adapter.capture(&request).await);
    for (place, value) in [
        ("/amount/value", json!("9.98")),
        ("/amount", json!(null)),
        ("/custom_id", json!("order-17")),
        ("/supplementary_data/related_ids/authorization_id", json!("1OTHER1234567890A")),
        ("/id", json!("no-such-value")),
        ("/status", json!("DONE")),
    ] {
        let mut answer = taken.clone();
        *answer.pointer_mut(place).unwrap() = value;
        let got = ScriptedAdapter::answering(&[(201, answer)]).adapter.capture(&request).await;
        assert!(matches!(got, Ok(Outcome::Unknown(UnknownCause::Unreadable))), "{place}");
    }
    let request = refund(money(999, "EUR"), money(999, "EUR"), &id(CAPTURE), "1");
    let back = json!({
        "id": "1JU08902781691411", "status": "COMPLETED", "amount": euros("9.99"), "invoice_id": request.reference.as_str(),
        "links": [{ "rel": "up", "href": format!("{API}/v2/payments/captures/{CAPTURE}") }],
    });
    assert_eq!(
        done(ScriptedAdapter::answering(&[(201, back.clone())]).adapter.refund(&request).await).external_payment_id,
        Some(id(CAPTURE))
    );
    for (place, value) in [
        ("/amount/value", json!("99.9")),
        ("/invoice_id", json!(reference().as_str())),
        ("/links/0/href", json!(format!("{API}/v2/payments/captures/9OTHER1234567890A"))),
        ("/status", json!("COMPLETE")),
        ("/id", json!(null)),
    ] {
        let mut answer = back.clone();
        *answer.pointer_mut(place).unwrap() = value;
        let got = ScriptedAdapter::answering(&[(201, answer)]).adapter.refund(&request).await;
        assert!(matches!(got, Ok(Outcome::Unknown(UnknownCause::Unreadable))), "{place}");
    }
}

#[tokio::test]
async fn missing_details_count_as_deleted_for_every_paypal_error_code() {
    let delete = DeleteDetailsRequest { key: key(OperationKind::Delete, "1"), token: token("vault1:customer1"), customer: customer() };
    for (status, body) in [(204, Value::Null), (404, error("INVALID_RESOURCE_ID")), (422, error("TOKEN_ID_NOT_FOUND"))] {
        let scripted = ScriptedAdapter::answering(&[(status, body)]);
        done(scripted.adapter.delete_details(&delete).await);
        let sent = scripted.sent()[0].clone();
        assert_eq!((sent.method, sent.url), (Method::DELETE, format!("{API}/v3/vault/payment-tokens/vault1")));
    }
    for (status, body) in [(404, Value::Null), (500, Value::Null)] {
        let got = ScriptedAdapter::answering(&[(status, body)]).adapter.delete_details(&delete).await;
        assert!(matches!(got, Ok(Outcome::Unknown(_))), "{status}");
    }
    let got = ScriptedAdapter::answering(&[(400, error("INVALID_PARAMETER_VALUE"))]).adapter.delete_details(&delete).await;
    assert!(matches!(got, Err(GatewayError::Malformed { .. })));
}

#[tokio::test]
async fn the_capabilities_are_declared_correctly() {
    let capabilities = ScriptedAdapter::answering(&[]).adapter.capabilities();
    assert!(!capabilities.charges_settle_later && !capabilities.settles_by_notification);
    assert!(!capabilities.inquiry && !capabilities.cancel_by_reference);
    assert_eq!(capabilities.call_timeout, CALL_TIMEOUT);
}
