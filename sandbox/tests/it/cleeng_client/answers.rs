//! The clients' results for responses that the simulator never gives, written by hand.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use connector::cleeng::client::CoreApi;
use connector::cleeng::mediastore::{CustomerToken, MediaStore, MediaStoreApi, MediaStoreError, MediaStoreSettings};
use connector::cleeng::{Cleeng, CleengError, LatestPayment, TerminationType, UnknownAnswer};
use connector::clock::Timestamp;
use connector::http::{HeaderMap, Request, Response, StatusCode, Transport, TransportCause, TransportError};
use connector::ids::{CustomerId, PaymentMethodId, SubscriptionId};
use connector::secret::SecretString;
use serde_json::{Value, json};

use crate::cleeng_client::harness::{CleengHarness, TOKEN, external, offer};

/// Answers the same to everything, and keeps where calls went.
struct ConstantTransport {
    status: u16,
    total: Option<&'static str>,
    body: Value,
    paths: Mutex<Vec<String>>,
}

#[async_trait]
impl Transport for ConstantTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        self.paths.lock().unwrap().push(request.url);
        let mut headers = HeaderMap::new();
        if let Some(total) = self.total {
            headers.insert("x-total-count", total.parse().unwrap());
        }
        Ok(Response { status: StatusCode::from_u16(self.status).unwrap(), headers, body: Bytes::from(self.body.to_string()) })
    }
}

fn constant_transport(status: u16, total: Option<&'static str>, body: Value) -> Arc<ConstantTransport> {
    Arc::new(ConstantTransport { status, total, body, paths: Mutex::default() })
}

fn api(status: u16, total: Option<&'static str>, body: Value) -> CoreApi {
    CoreApi::new(CleengHarness::settings(), vec![SecretString::new(TOKEN)], constant_transport(status, total, body)).unwrap()
}

const UNREADABLE_TOTAL: CleengError = CleengError::Unknown(UnknownAnswer::Unreadable("X-Total-Count"));

fn subscription(customer: &str, offer: &str, payment: Value) -> Value {
    json!({
        "subscriptionId": "1", "status": "active", "dateTo": 1_790_000_000, "customerId": customer, "offerId": offer,
        "latestPaymentExternalId": payment, "paymentMethodId": 7, "paymentCountry": "USA",
    })
}

#[test]
fn only_a_call_whose_outcome_is_unknown_may_have_had_an_effect() {
    let unanswered = TransportError::NoResponse(TransportCause::Timeout);
    for (error, none, code) in [
        (CleengError::Unreachable(TransportError::NotSent(TransportCause::Connect)), true, "cleeng_unreachable"),
        (CleengError::Unauthorised { status: 401 }, true, "cleeng_unauthorised"),
        (CleengError::NotFound, true, "cleeng_not_found"),
        (CleengError::Throttled { retry_after: None }, true, "cleeng_throttled"),
        (CleengError::Refused { status: 422 }, true, "cleeng_refused"),
        (CleengError::Unknown(UnknownAnswer::NoAnswer(unanswered)), false, "cleeng_unknown"),
        (CleengError::Unknown(UnknownAnswer::Status(500)), false, "cleeng_unknown"),
        (UNREADABLE_TOTAL, false, "cleeng_unknown"),
    ] {
        assert_eq!((error.had_no_effect(), error.code()), (none, code));
    }
}

#[tokio::test]
async fn payments_of_another_customer_or_offer_are_left_out() {
    let own = CustomerId::new("3").unwrap();
    let listed = json!([
        subscription("3", offer().as_str(), json!("PSP1")),
        subscription("4", offer().as_str(), json!("PSP2")),
        subscription("3", "S1_OTHER", json!("PSP3")),
        subscription("4", "S1_OTHER", json!("PSP4")),
    ]);
    for total in [None, Some("3"), Some("4")] {
        let told = api(200, total, listed.clone()).latest_payments(&own, &offer()).await;
        assert_eq!(told, Ok(vec![LatestPayment::Known(external("PSP1"))]), "{total:?}");
    }
    // An entry that is not on the page may belong to the customer.
    assert_eq!(api(200, Some("5"), listed).latest_payments(&own, &offer()).await, Err(UNREADABLE_TOTAL));
}

#[tokio::test]
async fn a_list_of_subscriptions_is_read_in_every_wrapper_and_never_treated_as_empty() {
    let one = subscription("3", "S1", Value::Null);
    let method = PaymentMethodId::new("7").unwrap();
    for body in [
        json!([one]),
        json!({ "data": [one] }),
        json!({ "subscriptions": [one] }),
        json!({ "responseData": { "items": [one] } }),
        json!({ "responseData": [one] }),
    ] {
        let read = api(200, None, body.clone()).subscriptions(&method, 0).await.unwrap();
        let found: Vec<_> = read.iter().map(|read| (read.id.as_str(), read.latest_payment.clone(), read.country.clone())).collect();
        assert_eq!(found, [("1", LatestPayment::None, None)], "{body}");
    }
    for body in [json!({}), json!({ "data": {} }), json!({ "items": [one] }), json!([{}])] {
        let read = api(200, None, body.clone()).subscriptions(&method, 0).await;
        assert!(matches!(read, Err(CleengError::Unknown(UnknownAnswer::Unreadable(_)))), "{body}");
    }
}

#[tokio::test]
async fn a_termination_of_another_subscription_or_to_another_state_is_unknown() {
    let ours = SubscriptionId::new("1").unwrap();
    let terminate = |body: Value| {
        let ours = ours.clone();
        async move { api(200, None, body).terminate(&ours, TerminationType::PaymentCancel).await }
    };
    for body in
        [json!({ "subscriptionId": 1, "status": "terminated" }), json!({ "success": true }), json!({ "data": { "status": "terminated" } })]
    {
        assert_eq!(terminate(body.clone()).await, Ok(()), "{body}");
    }
    for body in
        [json!({ "subscriptionId": "2", "status": "terminated" }), json!({ "status": "active" }), json!({ "data": { "status": 7 } })]
    {
        assert!(matches!(terminate(body.clone()).await, Err(CleengError::Unknown(UnknownAnswer::Unreadable(_)))), "{body}");
    }
}

fn token() -> CustomerToken {
    let claims = json!({ "customerId": 3, "publisherId": "558186818", "exp": 1_790_000_001 }).to_string();
    let header = format!("Bearer e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
    CustomerToken::from_header(Some(&header), Timestamp::from_secs(1_790_000_000)).ok().unwrap()
}

async fn customer(status: u16, body: Value) -> Result<String, MediaStoreError> {
    let store = MediaStoreApi::new(MediaStoreSettings { url: "http://mediastore.test".to_owned() }, constant_transport(status, None, body));
    store.customer(&token()).await.map(|customer| format!("{} {}", customer.id, customer.currency))
}

#[tokio::test]
async fn a_customer_is_confirmed_by_mediastore_or_not_at_all() {
    let told = |id: &str, publisher: Value| json!({ "id": id, "publisherId": publisher, "currency": "EUR" });
    for body in [told("3", json!(558_186_818)), told("3", Value::Null), json!({ "responseData": { "customer": told("3", Value::Null) } })] {
        assert_eq!(customer(200, body.clone()).await.as_deref(), Ok("3 EUR"), "{body}");
    }
    for (body, field) in [
        (told("4", json!(558_186_818)), "customer.id"),
        (told("3", json!(1)), "customer.publisherId"),
        (json!({ "id": 3 }), "customer.currency"),
        (json!({ "errors": ["no"], "id": 3, "currency": "EUR" }), "errors"),
    ] {
        assert_eq!(customer(200, body.clone()).await, Err(MediaStoreError::Unreadable(field)), "{body}");
    }
}

#[tokio::test]
async fn the_refusals_of_mediastore_are_distinguished() {
    for (status, error, code) in [
        (401, MediaStoreError::Refused, "mediastore_refused"),
        (403, MediaStoreError::NotFound, "mediastore_not_found"),
        (404, MediaStoreError::NotFound, "mediastore_not_found"),
        (422, MediaStoreError::NotFound, "mediastore_not_found"),
        (429, MediaStoreError::Throttled, "mediastore_throttled"),
        (500, MediaStoreError::Unavailable(None), "mediastore_unavailable"),
        (302, MediaStoreError::Unavailable(None), "mediastore_unavailable"),
    ] {
        assert_eq!((customer(status, json!({})).await, error.code()), (Err(error), code), "{status}");
    }
    assert_eq!(MediaStoreError::Unreadable("body").code(), "mediastore_unreadable");
}
