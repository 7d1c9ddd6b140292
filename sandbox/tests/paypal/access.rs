//! Access tokens: kept, renewed before their end and once when PayPal does not take them, by one asker at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use connector::clock::SystemClock;
use connector::gateway::paypal::PayPal;
use connector::gateway::{Gateway, GatewayError};
use connector::http::{HeaderMap, Method, Request, Response, StatusCode, Transport, TransportError};
use sandbox::peer::Fault;
use serde_json::json;

use super::requests::{authorise, payment};
use super::world::{World, money, secrets, settings};

fn world() -> World {
    World::new(money(999, "EUR"))
}

fn asked(world: &World) -> usize {
    world.road.reached("paypal", &Method::POST, "/oauth2/token")
}

#[tokio::test]
async fn one_token_serves_many_calls() {
    let world = world();
    for attempt in 0..5 {
        authorise(&world, &attempt.to_string()).await;
    }
    assert_eq!(asked(&world), 1);
}

#[tokio::test]
async fn a_token_is_renewed_when_nine_tenths_of_its_life_are_over() {
    let world = world();
    world.simulator.let_access_live(Duration::from_secs(32_400));
    authorise(&world, "1").await;
    world.clock.advance(Duration::from_secs(29_159));
    authorise(&world, "2").await;
    assert_eq!(asked(&world), 1);
    world.clock.advance(Duration::from_secs(1));
    authorise(&world, "3").await;
    assert_eq!(asked(&world), 2);
}

#[tokio::test]
async fn a_token_that_is_revoked_is_renewed_once_and_the_call_repeated_under_its_key() {
    let world = world();
    authorise(&world, "1").await;
    world.simulator.revoke_access();
    authorise(&world, "2").await;
    assert_eq!((asked(&world), world.simulator.orders()), (2, 2));
    let creates = |_: &str, request: &sandbox::peer::PeerRequest| request.path.ends_with("/orders");
    world.road.lay(Fault::StatusBefore(401), creates);
    world.road.lay(Fault::StatusBefore(401), creates);
    let answered = world.adapter.authorise(&payment(world.amount, &world.token, "3")).await;
    assert_eq!(answered.err(), Some(GatewayError::Credentials { code: "401".to_owned() }));
    assert_eq!((asked(&world), world.simulator.orders()), (3, 2));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_that_is_known() {
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
        let world = world();
        world.road.lay(fault, |_, request| request.path == "/v1/oauth2/token");
        let answered = world.adapter.authorise(&payment(world.amount, &world.token, "1")).await;
        assert_eq!(answered.err().map(|error| error.code()), Some(expected));
        assert_eq!(world.simulator.orders(), 0);
        authorise(&world, "1").await;
    }
}

#[tokio::test]
async fn a_token_without_a_life_is_used_once() {
    let world = world();
    world.road.lay(Fault::Mutate(Arc::new(|body| body["expires_in"] = json!("soon"))), |_, request| request.path == "/v1/oauth2/token");
    authorise(&world, "1").await;
    authorise(&world, "2").await;
    assert_eq!(asked(&world), 2);
}

#[tokio::test]
async fn the_secret_that_worked_last_is_tried_first() {
    let world = world();
    world.simulator.accept_secrets(&[super::world::PREVIOUS_SECRET]);
    authorise(&world, "1").await;
    assert_eq!(asked(&world), 2);
    world.simulator.revoke_access();
    authorise(&world, "2").await;
    assert_eq!(asked(&world), 3);
    world.simulator.accept_secrets(&[super::world::SECRET]);
    world.simulator.revoke_access();
    authorise(&world, "3").await;
    assert_eq!(asked(&world), 5);
}

/// Gives out a new token each time, and lets others go first before it answers.
#[derive(Default)]
struct Slow {
    tokens: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

#[async_trait]
impl Transport for Slow {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let (status, body) = if request.url.ends_with("/v1/oauth2/token") {
            let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            self.at_once.fetch_sub(1, Ordering::SeqCst);
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
async fn many_at_once_ask_for_one_token_and_renew_it_once() {
    let transport = Arc::new(Slow::default());
    let way_out: Arc<Slow> = Arc::clone(&transport);
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
    assert_eq!(transport.most_at_once.load(Ordering::SeqCst), 1);
    assert_eq!(transport.tokens.load(Ordering::SeqCst), 2, "one for all, and one more when that was refused");
}

/// Refuses the first question for a token like this, then gives one out and refuses payments.
struct Doorkeeper {
    status: u16,
    body: serde_json::Value,
    asked: AtomicUsize,
}

#[async_trait]
impl Transport for Doorkeeper {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let (status, body) = match request.url.ends_with("/v1/oauth2/token") {
            true if self.asked.fetch_add(1, Ordering::SeqCst) == 0 => (self.status, self.body.clone()),
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
        let transport = Arc::new(Doorkeeper { status, body: error.clone(), asked: AtomicUsize::new(0) });
        let way_out: Arc<Doorkeeper> = Arc::clone(&transport);
        let adapter = PayPal::new(settings(), secrets(), way_out, Arc::new(SystemClock)).unwrap();
        let answered = adapter.authorise(&payment(money(999, "EUR"), "vault:customer", "1")).await;
        assert_eq!(transport.asked.load(Ordering::SeqCst), questions, "{status} {error}");
        match questions {
            2 => assert_eq!(super::requests::declined(answered).code, "INSTRUMENT_DECLINED"),
            _ => assert_eq!(answered.err(), Some(GatewayError::Credentials { code: status.to_string() })),
        }
    }
}
