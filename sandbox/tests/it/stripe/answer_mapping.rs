//! The outcome of responses that the simulator never gives, written by hand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use connector::clock::SystemClock;
use connector::gateway::stripe::{Stripe, StripeEnvironment, StripeSecrets, StripeSettings};
use connector::gateway::{
    CancelRequest, CancelTarget, DeclineClass, DeleteDetailsRequest, Gateway, GatewayError, InquiryRequest, OperationKind, Outcome,
    PurchaseRequest, StoreDetailsRequest, UnknownCause,
};
use connector::http::{HeaderMap, Method, Request, Response, StatusCode, Transport, TransportError};
use connector::secret::SecretString;
use serde_json::{Value, json};

use super::harness::{API, API_KEY, WEBHOOK_SECRET, money, token};
use super::requests::{cancel, capture, customer, declined, done, finalize, id, key, payment, purchase, received, refund, unknown};

const INTENT: &str = "pi_1Gt0RP2eZvKYlo2C";
const SETUP: &str = "seti_1Gt0RP2eZvKYlo2C";
const FOREIGN_REFERENCE: &str = "clg-ffeeddcc-bbaa-8988-8766-554433221100";
const DETAILS: &str = "pm_1MqLiJLkdIwHu7ix:cus_9s6XKzkNRiz8i3";

/// Answers with what was put in, and keeps what was sent.
#[derive(Default)]
struct ScriptedTransport {
    answers: Mutex<VecDeque<(u16, Value)>>,
    retry: Mutex<Option<&'static str>>,
    sent: Mutex<Vec<Request>>,
}

#[async_trait]
impl Transport for ScriptedTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        self.sent.lock().unwrap().push(request);
        let (status, body) = self.answers.lock().unwrap().pop_front().unwrap_or((500, Value::Null));
        let mut headers = HeaderMap::new();
        if let Some(word) = *self.retry.lock().unwrap() {
            headers.insert("stripe-should-retry", word.parse().unwrap());
        }
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        Ok(Response { status: StatusCode::from_u16(status).unwrap(), headers, body })
    }
}

struct ScriptedAdapter {
    adapter: Stripe,
    recorder: Arc<ScriptedTransport>,
}

impl ScriptedAdapter {
    fn answering(answers: &[(u16, Value)]) -> Self {
        let recorder =
            Arc::new(ScriptedTransport { answers: Mutex::new(answers.iter().cloned().collect()), ..ScriptedTransport::default() });
        let transport: Arc<ScriptedTransport> = Arc::clone(&recorder);
        let settings = StripeSettings { environment: StripeEnvironment::Test, base_url: API.to_owned() };
        let secrets = StripeSecrets {
            api_key: SecretString::new(API_KEY),
            previous_api_key: None,
            webhook_secrets: vec![SecretString::new(WEBHOOK_SECRET)],
        };
        Self { adapter: Stripe::new(settings, secrets, transport, Arc::new(SystemClock)).unwrap(), recorder }
    }

    /// Where each call went.
    fn paths(&self) -> Vec<(Method, String)> {
        let sent = self.recorder.sent.lock().unwrap();
        let path = |request: &Request| request.url.strip_prefix(API).unwrap().split('?').next().unwrap().to_owned();
        sent.iter().map(|request| (request.method.clone(), path(request))).collect()
    }
}

fn error(kind: &str, code: &str) -> Value {
    json!({ "error": { "type": kind, "code": code, "message": "Jane Doe" } })
}

/// An intent of the first attempt.
fn intent(status: &str) -> Value {
    let reference = payment(money(999, "EUR"), DETAILS, "1").reference;
    json!({
        "id": INTENT, "object": "payment_intent", "status": status, "amount": 999, "currency": "eur", "capture_method": "manual",
        "metadata": { "reference": reference.as_str(), "cleengCustomerId": "332332332" },
    })
}

/// An intent of the first purchase.
fn paid_intent(status: &str) -> Value {
    let reference = request().reference;
    json!({
        "id": INTENT, "object": "payment_intent", "status": status, "amount": 999, "currency": "eur", "capture_method": "automatic",
        "metadata": { "reference": reference.as_str(), "cleengCustomerId": "332332332" },
    })
}

fn with_member(mut object: Value, name: &str, value: Value) -> Value {
    object.as_object_mut().unwrap().insert(name.to_owned(), value);
    object
}

/// An error with the intent that it is about.
fn error_about(kind: &str, code: &str, intent: Value) -> Value {
    json!({ "error": { "type": kind, "code": code, "payment_intent": intent } })
}

fn request() -> PurchaseRequest {
    purchase(money(999, "EUR"), "pm_1MqLiJLkdIwHu7ix", "1")
}

fn found_customer() -> (u16, Value) {
    (200, json!({ "data": [{ "id": "cus_9s6XKzkNRiz8i3", "metadata": { "cleengCustomerId": "332332332" } }] }))
}

fn malformed(code: &str) -> Option<GatewayError> {
    Some(GatewayError::Malformed { code: code.to_owned() })
}

async fn charge(status: u16, body: Value) -> Result<Outcome, GatewayError> {
    ScriptedAdapter::answering(&[(status, body)]).adapter.authorise(&payment(money(999, "EUR"), DETAILS, "1")).await
}

#[tokio::test]
async fn only_a_card_error_with_402_is_a_decline() {
    assert_eq!(declined(charge(402, error("card_error", "card_declined")).await).code, "card_declined");
    for (status, kind) in [(400, "card_error"), (404, "card_error"), (402, "invalid_request_error"), (400, "invalid_request_error")] {
        assert_eq!(
            charge(status, error(kind, "parameter_invalid_integer")).await.err(),
            malformed("parameter_invalid_integer"),
            "{status} {kind}"
        );
    }
}

#[tokio::test]
async fn a_refusal_marked_for_retry_is_no_decline() {
    for (word, again) in [("true", true), ("false", false)] {
        let scripted = ScriptedAdapter::answering(&[(400, error("invalid_request_error", "lock_timeout"))]);
        *scripted.recorder.retry.lock().unwrap() = Some(word);
        let answered = scripted.adapter.authorise(&payment(money(999, "EUR"), DETAILS, "1")).await;
        match again {
            true => assert_eq!(unknown(answered), UnknownCause::InProgress),
            false => assert_eq!(answered.err(), malformed("lock_timeout")),
        }
    }
}

#[tokio::test]
async fn a_refusal_of_another_payment_or_of_an_authorised_one_is_no_decline() {
    let refused = |intent| error_about("card_error", "card_declined", intent);
    let own = declined(charge(402, refused(intent("requires_payment_method"))).await);
    assert_eq!(own.payment, Some(id(INTENT)));
    let other = with_member(intent("requires_payment_method"), "metadata", json!({ "reference": FOREIGN_REFERENCE }));
    assert_eq!(unknown(charge(402, refused(other)).await), UnknownCause::AnotherPayment);
    for status in ["succeeded", "requires_capture", "processing"] {
        assert_eq!(unknown(charge(402, refused(intent(status))).await), UnknownCause::Unreadable, "{status}");
    }
}

#[tokio::test]
async fn the_state_of_an_intent_counts_only_where_the_refusal_is_about_it() {
    for (status, word) in [("succeeded", "done"), ("canceled", "declined"), ("processing", "received"), ("requires_capture", "unknown")] {
        let refusal = error_about("invalid_request_error", "payment_intent_unexpected_state", intent(status));
        let scripted = ScriptedAdapter::answering(&[(400, refusal)]);
        let answered = scripted.adapter.capture(&capture(money(999, "EUR"), &id(INTENT), "1")).await;
        assert_eq!(answered.unwrap().as_str(), word, "{status}");
    }
    for status in ["succeeded", "canceled"] {
        let refusal = error_about("invalid_request_error", "amount_too_large", intent(status));
        let scripted = ScriptedAdapter::answering(&[(400, refusal.clone()), (400, refusal)]);
        let taken = scripted.adapter.capture(&capture(money(999, "EUR"), &id(INTENT), "1")).await;
        assert_eq!(taken.err(), malformed("amount_too_large"), "{status}");
        let released = scripted.adapter.cancel(&cancel("1", CancelTarget::Payment(id(INTENT)))).await;
        assert_eq!(released.err(), malformed("amount_too_large"), "{status}");
    }
}

/// What a release of this object comes to, and of what was reported under another id.
async fn release(name: &str, object: Value) -> Result<Outcome, GatewayError> {
    let order =
        CancelRequest { reference: payment(money(999, "EUR"), DETAILS, "1").reference, ..cancel("1", CancelTarget::Payment(id(name))) };
    ScriptedAdapter::answering(&[(200, object)]).adapter.cancel(&order).await
}

#[tokio::test]
async fn a_release_is_done_if_nothing_is_authorised_and_never_while_the_bank_is_processing() {
    assert_eq!(done(release(INTENT, intent("canceled")).await).external_payment_id, Some(id(INTENT)));
    assert_eq!(declined(release(INTENT, intent("succeeded")).await).class, DeclineClass::Hard);
    assert_eq!(unknown(release(INTENT, intent("processing")).await), UnknownCause::InProgress);
    assert_eq!(unknown(release(INTENT, intent("requires_capture")).await), UnknownCause::Unreadable);
    assert_eq!(unknown(release("pi_1Other", intent("canceled")).await), UnknownCause::Unreadable);
    // Stored details hold no money.
    let stored = with_member(intent("succeeded"), "id", json!(SETUP));
    assert_eq!(done(release(SETUP, stored).await).external_payment_id, Some(id(SETUP)));
}

#[tokio::test]
async fn the_outcome_of_a_release_is_read_from_the_intent() {
    let reference = payment(money(999, "EUR"), DETAILS, "1").reference;
    let question = InquiryRequest {
        operation: OperationKind::Cancel,
        key: key(OperationKind::Cancel, "1"),
        reference,
        external_payment_id: None,
        operation_ref: None,
        amount: None,
    };
    let list = |intent: &Value| (200, json!({ "data": [intent], "has_more": false }));
    for (status, expected) in
        [("canceled", Some("done")), ("succeeded", Some("declined")), ("requires_capture", None), ("processing", None)]
    {
        let scripted = ScriptedAdapter::answering(&[list(&intent(status)), (200, intent(status))]);
        let asked = scripted.adapter.inquire(&question).await.unwrap();
        assert_eq!(asked.as_ref().map(Outcome::as_str), expected, "{status}");
    }
    let unanswered = ScriptedAdapter::answering(&[(500, Value::Null)]).adapter.inquire(&question).await.unwrap();
    assert!(matches!(unanswered, Some(Outcome::Unknown(UnknownCause::ServerError(500)))));
    // Without an amount nothing else can be asked about.
    let other = InquiryRequest { operation: OperationKind::Charge, ..question };
    let scripted = ScriptedAdapter::answering(&[list(&intent("canceled")), (200, intent("canceled"))]);
    assert!(scripted.adapter.inquire(&other).await.unwrap().is_none());
    assert!(scripted.paths().is_empty());
}

#[tokio::test]
async fn an_authorisation_that_still_exists_was_not_captured() {
    let question = |intent: Value| async move {
        let reference = payment(money(999, "EUR"), DETAILS, "1").reference;
        let question = InquiryRequest {
            operation: OperationKind::Capture,
            key: key(OperationKind::Capture, "1"),
            reference,
            external_payment_id: Some(id(INTENT)),
            operation_ref: None,
            amount: Some(money(999, "EUR")),
        };
        ScriptedAdapter::answering(&[(200, intent)]).adapter.inquire(&question).await.unwrap().map(|outcome| outcome.as_str())
    };
    assert_eq!(question(intent("requires_capture")).await, None);
    assert_eq!(question(intent("succeeded")).await, Some("done"));
    assert_eq!(question(with_member(intent("succeeded"), "id", json!("pi_1Other"))).await, Some("unknown"), "another intent was answered");
}

#[tokio::test]
async fn a_refund_that_may_be_on_a_later_page_is_unknown() {
    let request = refund(money(999, "EUR"), money(999, "EUR"), &id(INTENT), "1");
    let refused = || (400, error("invalid_request_error", "charge_already_refunded"));
    for (more, word) in [(true, "unknown"), (false, "declined")] {
        let scripted = ScriptedAdapter::answering(&[refused(), (200, json!({ "data": [], "has_more": more }))]);
        assert_eq!(scripted.adapter.refund(&request).await.unwrap().as_str(), word, "{more}");
    }
}

#[tokio::test]
async fn details_are_missing_only_if_stripe_says_so() {
    let method = "pm_1MqLiJLkdIwHu7ix";
    let delete = || DeleteDetailsRequest { key: key(OperationKind::Delete, "1"), token: token(DETAILS), customer: customer() };
    let gone = || json!({ "id": method, "customer": null });
    let kept = || json!({ "id": method, "customer": "cus_9s6XKzkNRiz8i3" });
    let refused = || (400, error("invalid_request_error", "parameter_invalid_empty"));
    let missing = || (404, error("invalid_request_error", "resource_missing"));
    for answers in [vec![(200, gone())], vec![missing()], vec![refused(), (200, gone())], vec![refused(), missing()]] {
        done(ScriptedAdapter::answering(&answers).adapter.delete_details(&delete()).await);
    }
    for body in [kept(), json!({ "id": method }), json!({ "id": "pm_1Other", "customer": null })] {
        assert_eq!(unknown(ScriptedAdapter::answering(&[(200, body)]).adapter.delete_details(&delete()).await), UnknownCause::Unreadable);
    }
    for second in [(200, kept()), (200, json!({ "id": "pm_1Other", "customer": null })), refused()] {
        let answered = ScriptedAdapter::answering(&[refused(), second]).adapter.delete_details(&delete()).await;
        assert_eq!(answered.err(), malformed("parameter_invalid_empty"));
    }
}

#[tokio::test]
async fn access_is_confirmed_if_only_the_request_is_wrong() {
    let missing = (404, error("invalid_request_error", "resource_missing"));
    assert_eq!(ScriptedAdapter::answering(&[missing]).adapter.check_access().await, Ok(()));
    let other = (400, error("invalid_request_error", "testmode_charges_only"));
    assert_eq!(ScriptedAdapter::answering(&[other]).adapter.check_access().await.err(), malformed("testmode_charges_only"));
}

#[tokio::test]
async fn a_purchase_that_is_only_authorised_is_not_paid() {
    let scripted = ScriptedAdapter::answering(&[
        found_customer(),
        (200, with_member(paid_intent("requires_capture"), "capture_method", json!("manual"))),
    ]);
    assert_eq!(unknown(scripted.adapter.start_purchase(&request()).await), UnknownCause::Unreadable);
    // Nor where the answer does not say how it was to be taken.
    let mut silent = paid_intent("requires_capture");
    silent.as_object_mut().unwrap().remove("capture_method");
    let scripted = ScriptedAdapter::answering(&[found_customer(), (200, silent)]);
    assert_eq!(unknown(scripted.adapter.start_purchase(&request()).await), UnknownCause::Unreadable);
    let scripted = ScriptedAdapter::answering(&[found_customer(), (200, paid_intent("succeeded"))]);
    assert_eq!(done(scripted.adapter.start_purchase(&request()).await).amount, Some(money(999, "EUR")));
    let scripted = ScriptedAdapter::answering(&[found_customer(), (200, paid_intent("processing"))]);
    let waiting = received(scripted.adapter.start_purchase(&request()).await);
    assert_eq!((waiting.external_payment_id, waiting.amount), (Some(id(INTENT)), Some(money(999, "EUR"))));
}

#[tokio::test]
async fn a_foreign_or_deleted_customer_is_never_used() {
    let others = json!({ "id": "cus_1Other", "metadata": { "cleengCustomerId": "7" } });
    let deleted = json!({ "id": "cus_1Gone", "deleted": true, "metadata": { "cleengCustomerId": "332332332" } });
    for stranger in [others, deleted] {
        let own = json!({ "id": "cus_9s6XKzkNRiz8i3", "metadata": { "cleengCustomerId": "332332332" } });
        let answers = [(200, json!({ "data": [stranger] })), (200, own), (200, paid_intent("succeeded"))];
        let scripted = ScriptedAdapter::answering(&answers);
        done(scripted.adapter.start_purchase(&request()).await);
        let sent = scripted.recorder.sent.lock().unwrap().clone();
        let pairs: Vec<(String, String)> = form_urlencoded::parse(&sent[2].body).into_owned().collect();
        assert!(pairs.contains(&("customer".to_owned(), "cus_9s6XKzkNRiz8i3".to_owned())), "{stranger}");
        // The response to a created customer must name that customer too.
        let scripted = ScriptedAdapter::answering(&[(200, json!({ "data": [] })), (200, stranger)]);
        assert_eq!(unknown(scripted.adapter.start_purchase(&request()).await), UnknownCause::Unreadable);
    }
}

#[tokio::test]
async fn an_intent_that_requires_confirmation_is_confirmed_under_one_key() {
    let request = request();
    for details in [Value::Null, json!({ "payment_intent": INTENT })] {
        let scripted = ScriptedAdapter::answering(&[(200, paid_intent("requires_confirmation")), (200, paid_intent("succeeded"))]);
        done(scripted.adapter.finalize(&finalize(&request, Some(INTENT), details)).await);
        let path = format!("/v1/payment_intents/{INTENT}");
        assert_eq!(scripted.paths(), [(Method::GET, path.clone()), (Method::POST, format!("{path}/confirm"))]);
        let sent = scripted.recorder.sent.lock().unwrap()[1].clone();
        assert_eq!(sent.headers.get("idempotency-key").unwrap(), format!("{}-confirm", request.reference).as_str());
    }
    let storing = StoreDetailsRequest { purchase: purchase(money(0, "EUR"), "pm_1MqLiJLkdIwHu7ix", "1") }.purchase;
    let setup = |status: &str| {
        let details = with_member(with_member(paid_intent(status), "id", json!(SETUP)), "payment_method", json!("pm_1MqLiJLkdIwHu7ix"));
        with_member(details, "customer", json!("cus_9s6XKzkNRiz8i3"))
    };
    let scripted = ScriptedAdapter::answering(&[(200, setup("requires_confirmation")), (200, setup("succeeded"))]);
    let stored = done(scripted.adapter.finalize(&finalize(&storing, Some(SETUP), Value::Null)).await);
    assert_eq!(stored.token.unwrap().0.expose(), DETAILS);
    let path = format!("/v1/setup_intents/{SETUP}");
    assert_eq!(scripted.paths(), [(Method::GET, path.clone()), (Method::POST, format!("{path}/confirm"))]);
}

#[tokio::test]
async fn a_finalize_must_match_its_start() {
    let (paid, stored) = (request(), purchase(money(0, "EUR"), "pm_1MqLiJLkdIwHu7ix", "1"));
    for (request, started) in [(&paid, SETUP), (&stored, INTENT), (&paid, "cus_9s6XKzkNRiz8i3"), (&stored, "cus_9s6XKzkNRiz8i3")] {
        let scripted = ScriptedAdapter::answering(&[(200, paid_intent("succeeded"))]);
        assert_eq!(
            scripted.adapter.finalize(&finalize(request, Some(started), Value::Null)).await.err(),
            malformed("pending_id"),
            "{started}"
        );
        assert!(scripted.paths().is_empty());
    }
}
