//! The requests of the adapter, and its outcome for each response; responses are written by hand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use connector::gateway::adyen::{Adyen, AdyenEnvironment, AdyenPageSettings, AdyenSecrets, AdyenSettings, CALL_TIMEOUT, CaptureMode};
use connector::gateway::{
    CancelRequest, CancelTarget, CaptureRequest, DeclineClass, DeleteDetailsRequest, Gateway, GatewayError, GatewayText, IdempotencyKey,
    MerchantInitiated, OperationKind, Outcome, Reference, RefundRequest, StoredToken, UnknownCause,
};
use connector::http::{HeaderMap, Method, Request, Response, StatusCode, Transport, TransportError};
use connector::ids::{CustomerId, ExternalPaymentId};
use connector::money::Money;
use connector::secret::SecretString;
use serde_json::{Value, json};

use super::harness::{API_KEY, HMAC_KEY, MERCHANT, PREVIOUS_API_KEY, SHOPPER, money};

/// Answers with what was put in, and keeps what was sent.
#[derive(Default)]
struct ScriptedTransport {
    answers: Mutex<VecDeque<(u16, Value)>>,
    sent: Mutex<Vec<Request>>,
}

#[async_trait]
impl Transport for ScriptedTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        self.sent.lock().unwrap().push(request);
        let (status, body) = self.answers.lock().unwrap().pop_front().unwrap_or((500, Value::Null));
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        Ok(Response { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body })
    }
}

pub(super) struct ScriptedAdapter {
    pub(super) adapter: Adyen,
    transport: Arc<ScriptedTransport>,
}

impl ScriptedAdapter {
    fn with(capture_mode: CaptureMode, previous: bool, answers: &[(u16, Value)]) -> Self {
        let recorder =
            Arc::new(ScriptedTransport { answers: Mutex::new(answers.iter().cloned().collect()), ..ScriptedTransport::default() });
        let settings = AdyenSettings {
            page: AdyenPageSettings::default(),
            environment: AdyenEnvironment::Test,
            base_url: "https://adyen.test/v71".to_owned(),
            merchant_account: MERCHANT.to_owned(),
            capture_mode,
            return_url: "https://shop.test/back".to_owned(),
        };
        let secrets = AdyenSecrets {
            api_key: SecretString::new(API_KEY),
            previous_api_key: previous.then(|| SecretString::new(PREVIOUS_API_KEY)),
            hmac_keys: vec![SecretString::new(HMAC_KEY)],
        };
        let transport: Arc<ScriptedTransport> = Arc::clone(&recorder);
        Self { adapter: Adyen::new(settings, secrets, transport).unwrap(), transport: recorder }
    }

    pub(super) fn answering(status: u16, body: Value) -> Self {
        Self::with(CaptureMode::Manual, false, &[(status, body)])
    }

    fn sent(&self) -> Request {
        self.transport.sent.lock().unwrap()[0].clone()
    }

    pub(super) fn sent_body(&self) -> Value {
        serde_json::from_slice(&self.sent().body).unwrap()
    }

    fn headers_sent(&self, name: &str) -> Vec<String> {
        let sent = self.transport.sent.lock().unwrap();
        sent.iter().map(|request| request.headers.get(name).unwrap().to_str().unwrap().to_owned()).collect()
    }

    fn keys_sent(&self) -> Vec<String> {
        let sent = self.transport.sent.lock().unwrap();
        sent.iter().map(|request| request.secret_headers[0].1.expose().to_owned()).collect()
    }
}

pub(super) fn key() -> IdempotencyKey {
    IdempotencyKey::derive(&SecretString::new("salt"), GatewayText("adyen"), OperationKind::Authorise, "period", "1")
}

pub(super) fn reference() -> Reference {
    Reference::from_key(&key())
}

pub(super) fn request(amount: Money) -> MerchantInitiated {
    let token = StoredToken(SecretString::new(format!("M5N7TQ4TG5PFWR50:{SHOPPER}")));
    MerchantInitiated { key: key(), reference: reference(), amount, token, customer: CustomerId::new("77").unwrap() }
}

pub(super) fn psp(id: &str) -> ExternalPaymentId {
    ExternalPaymentId::new(id).unwrap()
}

pub(super) fn authorised() -> Value {
    json!({ "resultCode": "Authorised", "pspReference": "993617895199574A" })
}

fn error(code: &str, kind: &str) -> Value {
    json!({ "status": 422, "errorCode": code, "errorType": kind, "message": "Jane Doe, card 4111" })
}

async fn authorise(status: u16, body: Value) -> Result<Outcome, GatewayError> {
    ScriptedAdapter::answering(status, body).adapter.authorise(&request(money(999, "EUR"))).await
}

#[tokio::test]
async fn an_authorisation_says_that_it_is_a_subscription_without_the_customer_and_is_captured_later() {
    let scripted = ScriptedAdapter::answering(200, authorised());
    scripted.adapter.authorise(&request(money(4_990, "CLP"))).await.unwrap();
    let expected = json!({
        "merchantAccount": MERCHANT,
        "reference": reference().as_str(),
        "amount": { "currency": "CLP", "value": 499_000 },
        "returnUrl": "https://shop.test/back",
        "paymentMethod": { "type": "scheme", "storedPaymentMethodId": "M5N7TQ4TG5PFWR50" },
        "shopperReference": SHOPPER,
        "shopperInteraction": "ContAuth",
        "recurringProcessingModel": "Subscription",
        "additionalData": { "manualCapture": "true" },
    });
    assert_eq!(scripted.sent_body(), expected);
    let sent = scripted.sent();
    assert_eq!((sent.method, sent.url.as_str()), (Method::POST, "https://adyen.test/v71/payments"));
    // What the adapter itself needs is counted.
    let used = CALL_TIMEOUT.saturating_sub(sent.timeout);
    assert!(sent.repeatable && sent.timeout <= CALL_TIMEOUT && used < std::time::Duration::from_secs(5), "{used:?}");
    assert_eq!(sent.headers.get("idempotency-key").unwrap(), key().as_str());
    assert!(sent.headers.get("x-api-key").is_none(), "the key travels as a secret header");
    assert_eq!(scripted.keys_sent(), [API_KEY]);
}

#[tokio::test]
async fn a_charge_is_captured_at_once_by_an_automatic_account_and_a_manual_one_is_not_overridden() {
    for (mode, delay) in [(CaptureMode::Manual, None), (CaptureMode::Automatic, Some(0))] {
        let scripted = ScriptedAdapter::with(mode, false, &[(200, authorised())]);
        scripted.adapter.charge(&request(money(999, "EUR"))).await.unwrap();
        assert_eq!(scripted.sent_body()["captureDelayHours"].as_i64(), delay);
        assert!(scripted.sent_body().get("additionalData").is_none());
        assert_eq!(scripted.adapter.capabilities().takes_by_capture, mode == CaptureMode::Manual);
    }
}

#[tokio::test]
async fn modifications_name_the_authorisation_and_keep_its_id() {
    let receipt = json!({ "status": "received", "pspReference": "993617894906488A", "paymentPspReference": "993617894903480A" });
    let amount = json!({ "currency": "EUR", "value": 999 });
    let (payment, euros) = (psp("993617894903480A"), money(999, "EUR"));

    let scripted = ScriptedAdapter::answering(201, receipt.clone());
    let capture =
        CaptureRequest { key: key(), reference: reference(), external_payment_id: payment.clone(), amount: euros, authorised_at: None };
    let Ok(Outcome::Received(operation)) = scripted.adapter.capture(&capture).await else { panic!("a receipt is received") };
    assert_eq!(operation.external_payment_id, Some(payment.clone()));
    assert_eq!(operation.operation_ref.as_deref(), Some("993617894906488A"));
    assert_eq!(scripted.sent().url, "https://adyen.test/v71/payments/993617894903480A/captures");
    assert_eq!(scripted.sent_body(), json!({ "merchantAccount": MERCHANT, "amount": amount, "reference": reference().as_str() }));

    let scripted = ScriptedAdapter::answering(201, receipt.clone());
    let refund = RefundRequest { key: key(), reference: reference(), external_payment_id: payment.clone(), amount: euros, captured: euros };
    assert!(matches!(scripted.adapter.refund(&refund).await, Ok(Outcome::Received(_))));
    assert_eq!(scripted.sent().url, "https://adyen.test/v71/payments/993617894903480A/refunds");

    let scripted = ScriptedAdapter::answering(201, receipt);
    let cancel = CancelRequest { key: key(), reference: reference(), target: CancelTarget::Payment(payment) };
    assert!(matches!(scripted.adapter.cancel(&cancel).await, Ok(Outcome::Received(_))));
    assert_eq!(scripted.sent().url, "https://adyen.test/v71/payments/993617894903480A/cancels");
    assert_eq!(scripted.sent_body(), json!({ "merchantAccount": MERCHANT, "reference": reference().as_str() }));
}

#[tokio::test]
async fn a_cancel_by_reference_names_no_payment_id() {
    let receipt = json!({ "status": "received", "pspReference": "993617894906488A", "paymentReference": reference().as_str() });
    let scripted = ScriptedAdapter::answering(201, receipt);
    let cancel =
        CancelRequest { key: key(), reference: reference(), target: CancelTarget::Reference { reference: reference(), pending_id: None } };
    let Ok(Outcome::Received(operation)) = scripted.adapter.cancel(&cancel).await else { panic!("a receipt is received") };
    assert_eq!(operation.external_payment_id, None);
    assert_eq!(scripted.sent().url, "https://adyen.test/v71/cancels");
    assert_eq!(scripted.sent_body()["paymentReference"], json!(reference().as_str()));
}

#[tokio::test]
async fn a_receipt_about_something_else_is_unknown() {
    let receipt = json!({
        "status": "received", "pspReference": "993617894906488A", "paymentPspReference": "993617894903480A",
        "merchantAccount": MERCHANT, "amount": { "currency": "EUR", "value": 999 },
    });
    let capture = CaptureRequest {
        key: key(),
        reference: reference(),
        external_payment_id: psp("993617894903480A"),
        amount: money(999, "EUR"),
        authorised_at: None,
    };
    assert!(matches!(ScriptedAdapter::answering(201, receipt.clone()).adapter.capture(&capture).await, Ok(Outcome::Received(_))));
    for (field, value) in [
        ("status", json!("refused")),
        ("status", json!(null)),
        ("pspReference", json!("no-such-value")),
        ("paymentPspReference", json!("993617894903480B")),
        ("paymentPspReference", json!(null)),
        ("merchantAccount", json!("SomebodyElse")),
        ("amount", json!({ "currency": "EUR", "value": 99 })),
        ("amount", json!({ "currency": "USD", "value": 999 })),
    ] {
        let mut answer = receipt.clone();
        answer[field] = value.clone();
        let outcome = ScriptedAdapter::answering(201, answer).adapter.capture(&capture).await;
        assert!(matches!(outcome, Ok(Outcome::Unknown(UnknownCause::Unreadable))), "{field} {value}");
    }
}

#[tokio::test]
async fn result_codes_are_mapped_as_specified() {
    let with = |result: &str| json!({ "resultCode": result, "pspReference": "993617895199574A", "action": { "type": "redirect" } });
    for (result, outcome) in [
        ("Authorised", "done"),
        ("Pending", "received"),
        ("Received", "received"),
        ("RedirectShopper", "action_required"),
        ("IdentifyShopper", "action_required"),
        ("ChallengeShopper", "action_required"),
        ("PresentToShopper", "action_required"),
        ("Refused", "declined"),
        ("Error", "declined"),
        ("Cancelled", "declined"),
        ("PartiallyAuthorised", "unknown"),
        ("AuthenticationFinished", "unknown"),
        ("AuthenticationNotRequired", "unknown"),
        ("Success", "unknown"),
        ("authorised", "unknown"),
        ("", "unknown"),
    ] {
        assert_eq!(authorise(200, with(result)).await.unwrap().as_str(), outcome, "{result}");
    }
}

#[tokio::test]
async fn a_refusal_is_a_decline_by_its_code_and_a_mistake_of_ours_is_an_error() {
    let refused = |code: &str| json!({ "resultCode": "Refused", "refusalReasonCode": code, "refusalReason": "Jane Doe" });
    let Ok(Outcome::Declined(decline)) = authorise(200, refused("26")).await else { panic!("a refusal is a decline") };
    assert_eq!((decline.class, decline.code.as_str()), (DeclineClass::Hard, "26"));
    let mut advised = refused("2");
    advised["additionalData"] = json!({ "merchantAdviceCode": "03" });
    assert!(matches!(authorise(200, advised).await, Ok(Outcome::Declined(decline)) if decline.class == DeclineClass::Hard));
    assert_eq!(authorise(200, refused("7")).await.err(), Some(GatewayError::BelowMinimum { code: "refusal_7".to_owned() }));
    let technical = json!({ "resultCode": "Error", "refusalReasonCode": "4" });
    assert!(matches!(authorise(200, technical).await, Ok(Outcome::Declined(decline)) if decline.class == DeclineClass::Soft));
}

#[tokio::test]
async fn an_answer_about_another_payment_or_amount_is_unknown() {
    for (field, value) in [
        ("merchantReference", json!("clg-00112233-4455-8677-8899-aabbccddeeff")),
        ("merchantReference", json!(null)),
        ("amount", json!({ "currency": "EUR", "value": 998 })),
        ("amount", json!({ "currency": "USD", "value": 999 })),
        ("amount", json!({ "currency": "EUR", "value": 999.5 })),
        ("amount", json!(999)),
        ("pspReference", json!(null)),
        ("pspReference", json!("no such value")),
        ("pspReference", json!("../cancels")),
        ("pspReference", json!("short")),
    ] {
        for result in ["Authorised", "Received"] {
            let mut answer = authorised();
            answer["resultCode"] = json!(result);
            answer[field] = value.clone();
            let outcome = authorise(200, answer).await;
            assert!(matches!(outcome, Ok(Outcome::Unknown(UnknownCause::Unreadable))), "{result} {field} {value}");
        }
    }
}

#[tokio::test]
async fn statuses_and_error_codes_decide_and_messages_do_not() {
    let credentials = |code: &str| Err(GatewayError::Credentials { code: code.to_owned() });
    let malformed = |code: &str| Err(GatewayError::Malformed { code: code.to_owned() });
    let table: Vec<(u16, Value, Result<UnknownCause, GatewayError>)> = vec![
        (401, error("000", "security"), credentials("000")),
        (401, Value::Null, credentials("401")),
        (403, error("901", "security"), credentials("901")),
        (400, error("702", "validation"), malformed("702")),
        (422, error("14_030", "validation"), malformed("14_030")),
        (422, error("905", "configuration"), malformed("905")),
        (422, error("010", "security"), credentials("010")),
        (422, error("704", "validation"), Ok(UnknownCause::InProgress)),
        (409, error("704", "validation"), Ok(UnknownCause::InProgress)),
        (422, error("999", "internal"), Ok(UnknownCause::Unreadable)),
        (422, error("Jane Doe", "validation"), Ok(UnknownCause::Unreadable)),
        (422, json!({ "message": "already in progress" }), Ok(UnknownCause::Unreadable)),
        (429, Value::Null, Err(GatewayError::Throttled { retry_after: None })),
        (500, error("905", "configuration"), Ok(UnknownCause::ServerError(500))),
        (503, error("703", "internal"), Ok(UnknownCause::ServerError(503))),
        (302, Value::Null, Ok(UnknownCause::Unreadable)),
        (404, Value::Null, Ok(UnknownCause::Unreadable)),
        (200, json!([authorised()]), Ok(UnknownCause::Unreadable)),
    ];
    for (status, body, expected) in table {
        let got = authorise(status, body.clone()).await.map(|outcome| match outcome {
            Outcome::Unknown(cause) => cause,
            other => panic!("{status} {body}: {}", other.as_str()),
        });
        assert_eq!(got, expected, "{status} {body}");
        assert!(!format!("{got:?}").contains("Jane"), "{status} {body}");
    }
}

#[tokio::test]
async fn details_that_adyen_does_not_have_or_take_need_new_ones() {
    for code in ["101", "103", "129", "800", "802", "803", "805", "806"] {
        let outcome = authorise(422, error(code, "validation")).await;
        let Ok(Outcome::Declined(decline)) = outcome else { panic!("{code} is a decline") };
        assert_eq!((decline.class, decline.code.as_str(), decline.details_unknown), (DeclineClass::NeedsNewDetails, code, true));
    }
}

#[tokio::test]
async fn an_amount_that_adyen_cannot_express_is_never_sent() {
    let scripted = ScriptedAdapter::answering(200, authorised());
    assert!(matches!(scripted.adapter.authorise(&request(money(1_500_050, "IDR"))).await, Err(GatewayError::Amount(_))));
    assert!(scripted.transport.sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_previous_api_key_is_tried_once_and_remembered_while_it_is_the_one() {
    let unauthorised = || (401, error("000", "security"));
    let scripted = ScriptedAdapter::with(CaptureMode::Manual, true, &[unauthorised(), (200, authorised()), (200, authorised())]);
    for _ in 0..2 {
        assert!(matches!(scripted.adapter.authorise(&request(money(999, "EUR"))).await, Ok(Outcome::Done(_))));
    }
    assert_eq!(scripted.keys_sent(), [API_KEY, PREVIOUS_API_KEY, PREVIOUS_API_KEY]);
    let idempotency_keys = scripted.headers_sent("idempotency-key");
    assert_eq!(idempotency_keys, [key().as_str(); 3]);

    let scripted = ScriptedAdapter::with(CaptureMode::Manual, true, &[unauthorised(), unauthorised(), unauthorised(), (200, authorised())]);
    assert!(matches!(scripted.adapter.authorise(&request(money(999, "EUR"))).await, Err(GatewayError::Credentials { .. })));
    assert!(matches!(scripted.adapter.authorise(&request(money(999, "EUR"))).await, Ok(Outcome::Done(_))));
    assert_eq!(scripted.keys_sent(), [API_KEY, PREVIOUS_API_KEY, API_KEY, PREVIOUS_API_KEY]);
}

#[tokio::test]
async fn missing_details_count_as_deleted_for_every_adyen_error_code() {
    let token = StoredToken(SecretString::new("M5N7TQ4TG5PFWR50:a%2Fb"));
    let delete = DeleteDetailsRequest { key: key(), token, customer: CustomerId::new(SHOPPER).unwrap() };
    for (status, body) in [(204, Value::Null), (404, Value::Null), (422, error("803", "validation")), (500, error("800", "internal"))] {
        let scripted = ScriptedAdapter::answering(status, body);
        assert!(matches!(scripted.adapter.delete_details(&delete).await, Ok(Outcome::Done(_))), "{status}");
        let sent = scripted.sent();
        assert_eq!(sent.method, Method::DELETE);
        let url = "https://adyen.test/v71/storedPaymentMethods/M5N7TQ4TG5PFWR50?merchantAccount=StreamCoECOM&shopperReference=a%2Fb";
        assert_eq!(sent.url, url);
        assert!(sent.headers.get("idempotency-key").is_none(), "Adyen takes keys with POST only");
    }
    let scripted = ScriptedAdapter::answering(500, Value::Null);
    assert!(matches!(scripted.adapter.delete_details(&delete).await, Ok(Outcome::Unknown(UnknownCause::ServerError(500)))));
    let scripted = ScriptedAdapter::answering(403, error("010", "security"));
    assert!(matches!(scripted.adapter.delete_details(&delete).await, Err(GatewayError::Credentials { .. })));
}

#[test]
fn the_assumed_key_retention_is_below_adyens() {
    let capabilities = ScriptedAdapter::answering(200, authorised()).adapter.capabilities();
    assert!(capabilities.idempotency_window < Duration::from_secs(7 * 24 * 3_600));
    assert!(capabilities.settles_by_notification && capabilities.cancel_by_reference && !capabilities.inquiry);
}
