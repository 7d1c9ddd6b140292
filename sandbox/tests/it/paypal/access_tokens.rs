//! Access tokens: cached, renewed before they expire and once if PayPal refuses them, by one caller at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use connector::clock::SystemClock;
use connector::gateway::paypal::PayPal;
use connector::gateway::{Gateway, GatewayError};
use connector::http::{HeaderMap, Method, Request, Response, StatusCode, Transport, TransportError};
use sandbox::simulators::network::Fault;
use serde_json::json;

use super::harness::{PayPalHarness, money, secrets, settings};
use super::requests::{authorise, payment};

fn harness() -> PayPalHarness {
    PayPalHarness::new(money(999, "EUR"))
}

fn token_requests(harness: &PayPalHarness) -> usize {
    harness.network.delivered_count("paypal", &Method::POST, "/oauth2/token")
}

#[tokio::test]
async fn one_token_serves_many_calls() {
    let harness = harness();
    for attempt in 0..5 {
        authorise(&harness, &attempt.to_string()).await;
    }
    assert_eq!(token_requests(&harness), 1);
}

#[tokio::test]
async fn a_token_is_renewed_after_nine_tenths_of_its_lifetime() {
    let harness = harness();
    harness.simulator.set_access_token_lifetime(Duration::from_secs(32_400));
    authorise(&harness, "1").await;
    harness.clock.advance(Duration::from_secs(29_159));
    authorise(&harness, "2").await;
    assert_eq!(token_requests(&harness), 1);
    harness.clock.advance(Duration::from_secs(1));
    authorise(&harness, "3").await;
    assert_eq!(token_requests(&harness), 2);
}

#[tokio::test]
async fn a_token_that_is_revoked_is_renewed_once_and_the_call_repeated_under_its_key() {
    let harness = harness();
    authorise(&harness, "1").await;
    harness.simulator.revoke_access_tokens();
    authorise(&harness, "2").await;
    assert_eq!((token_requests(&harness), harness.simulator.orders()), (2, 2));
    let creates = |_: &str, request: &sandbox::simulators::network::ServerRequest| request.path.ends_with("/orders");
    harness.network.inject(Fault::StatusBefore(401), creates);
    harness.network.inject(Fault::StatusBefore(401), creates);
    let answered = harness.adapter.authorise(&payment(harness.amount, &harness.token, "3")).await;
    assert_eq!(answered.err(), Some(GatewayError::Credentials { code: "401".to_owned() }));
    assert_eq!((token_requests(&harness), harness.simulator.orders()), (3, 2));
}

#[tokio::test]
async fn a_token_that_is_older_than_a_permission_is_renewed_once() {
    let harness = harness();
    authorise(&harness, "1").await;
    harness.simulator.make_access_tokens_stale();
    authorise(&harness, "2").await;
    assert_eq!((token_requests(&harness), harness.simulator.orders()), (2, 2));
    let every_call = |_: &str, request: &sandbox::simulators::network::ServerRequest| request.path.ends_with("/orders");
    harness.network.inject(Fault::StatusBefore(403), every_call);
    harness.network.inject(Fault::StatusBefore(403), every_call);
    let answered = harness.adapter.authorise(&payment(harness.amount, &harness.token, "3")).await;
    assert_eq!(answered.err(), Some(GatewayError::Credentials { code: "403".to_owned() }), "a permission that is missing");
    assert_eq!((token_requests(&harness), harness.simulator.orders()), (3, 2));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_outcome_is_known() {
    for (fault, expected) in [
        (Fault::NotSent, "gateway_unreachable"),
        (Fault::TimeoutAfter, "gateway_unreachable"),
        (Fault::StatusAfter(500), "gateway_unreachable"),
        (Fault::StatusAfter(200), "gateway_unreachable"),
        (Fault::StatusBefore(429), "gateway_throttled"),
        (Fault::StatusBefore(403), "gateway_credentials"),
        (Fault::Mutate(Arc::new(|body| body["access_token"] = json!("two words"))), "gateway_unreachable"),
        (Fault::Mutate(Arc::new(|body| body["access_token"] = json!(null))), "gateway_unreachable"),
        (Fault::Mutate(Arc::new(|body| body["token_type"] = json!("mac"))), "gateway_unreachable"),
    ] {
        let harness = harness();
        harness.network.inject(fault, |_, request| request.path == "/v1/oauth2/token");
        let answered = harness.adapter.authorise(&payment(harness.amount, &harness.token, "1")).await;
        assert_eq!(answered.err().map(|error| error.code()), Some(expected));
        assert_eq!(harness.simulator.orders(), 0);
        authorise(&harness, "1").await;
    }
}

#[tokio::test]
async fn a_token_without_a_lifetime_is_used_once() {
    let harness = harness();
    harness
        .network
        .inject(Fault::Mutate(Arc::new(|body| body["expires_in"] = json!("soon"))), |_, request| request.path == "/v1/oauth2/token");
    authorise(&harness, "1").await;
    authorise(&harness, "2").await;
    assert_eq!(token_requests(&harness), 2);
}

#[tokio::test]
async fn the_secret_that_worked_last_is_tried_first() {
    let harness = harness();
    harness.simulator.accept_secrets(&[super::harness::PREVIOUS_SECRET]);
    authorise(&harness, "1").await;
    assert_eq!(token_requests(&harness), 2);
    harness.simulator.revoke_access_tokens();
    authorise(&harness, "2").await;
    assert_eq!(token_requests(&harness), 3);
    harness.simulator.accept_secrets(&[super::harness::SECRET]);
    harness.simulator.revoke_access_tokens();
    authorise(&harness, "3").await;
    assert_eq!(token_requests(&harness), 5);
}

/// Gives out a new token each time, and lets others go first before it answers.
#[derive(Default)]
struct SlowTokenEndpoint {
    tokens: AtomicUsize,
    concurrent: AtomicUsize,
    max_concurrent: AtomicUsize,
}

#[async_trait]
impl Transport for SlowTokenEndpoint {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let (status, body) = if request.url.ends_with("/v1/oauth2/token") {
            let at_once = self.concurrent.fetch_add(1, Ordering::SeqCst) + 1;
            self.max_concurrent.fetch_max(at_once, Ordering::SeqCst);
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            self.concurrent.fetch_sub(1, Ordering::SeqCst);
            let number = self.tokens.fetch_add(1, Ordering::SeqCst);
            (200, json!({ "access_token": format!("A21AA{number}"), "token_type": "Bearer", "expires_in": 32_400 }))
        } else {
            tokio::task::yield_now().await;
            // The first token is not taken any more.
            let refused = request.secret_headers.iter().any(|(_, value)| value.expose() == "Bearer A21AA0");
            if refused { (401, json!({})) } else { (422, json!({ "details": [{ "issue": "INSTRUMENT_DECLINED" }] })) }
        };
        Ok(Response { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body: Bytes::from(body.to_string()) })
    }
}

#[tokio::test]
async fn concurrent_calls_request_one_token_and_renew_it_once() {
    let transport = Arc::new(SlowTokenEndpoint::default());
    let way_out: Arc<SlowTokenEndpoint> = Arc::clone(&transport);
    let adapter = Arc::new(PayPal::new(settings(), secrets(), way_out, Arc::new(SystemClock)).unwrap());
    let tasks: Vec<_> = (0..20)
        .map(|attempt| {
            let adapter = Arc::clone(&adapter);
            tokio::spawn(async move { adapter.authorise(&payment(money(999, "EUR"), "vault:customer", &attempt.to_string())).await })
        })
        .collect();
    for task in tasks {
        super::requests::declined(task.await.unwrap());
    }
    assert_eq!(transport.max_concurrent.load(Ordering::SeqCst), 1);
    assert_eq!(transport.tokens.load(Ordering::SeqCst), 2, "one for all, and one more when that was refused");
}

/// Refuses the first question for a token like this, then gives one out and refuses payments.
struct RefusingTokenEndpoint {
    status: u16,
    body: serde_json::Value,
    requests: AtomicUsize,
}

#[async_trait]
impl Transport for RefusingTokenEndpoint {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let (status, body) = match request.url.ends_with("/v1/oauth2/token") {
            true if self.requests.fetch_add(1, Ordering::SeqCst) == 0 => (self.status, self.body.clone()),
            true => (200, json!({ "access_token": "A21AA1", "token_type": "Bearer", "expires_in": 32_400 })),
            false => (422, json!({ "details": [{ "issue": "INSTRUMENT_DECLINED" }] })),
        };
        Ok(Response { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body: Bytes::from(body.to_string()) })
    }
}

#[tokio::test]
async fn the_other_secret_is_tried_only_where_paypal_does_not_know_the_first() {
    for (status, error, questions) in [
        (401, json!({ "error": "invalid_client" }), 2),
        (400, json!({ "error": "invalid_client" }), 2),
        (400, json!({ "error": "unsupported_grant_type" }), 1),
        (400, json!({ "error": 7 }), 1),
        (400, json!({}), 1),
        (403, json!({ "error": "invalid_client" }), 1),
    ] {
        let transport = Arc::new(RefusingTokenEndpoint { status, body: error.clone(), requests: AtomicUsize::new(0) });
        let way_out: Arc<RefusingTokenEndpoint> = Arc::clone(&transport);
        let adapter = PayPal::new(settings(), secrets(), way_out, Arc::new(SystemClock)).unwrap();
        let answered = adapter.authorise(&payment(money(999, "EUR"), "vault:customer", "1")).await;
        assert_eq!(transport.requests.load(Ordering::SeqCst), questions, "{status} {error}");
        match questions {
            2 => assert_eq!(super::requests::declined(answered).code, "INSTRUMENT_DECLINED"),
            _ => assert_eq!(answered.err(), Some(GatewayError::Credentials { code: status.to_string() })),
        }
    }
}
