//! The door: access tokens, request ids and routes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use connector::clock::Timestamp;
use connector::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::state::{Answer, Made, Refused, State, not_found, refusal};
use super::{CERTIFICATE, PayPal, notifications, orders, payments, render, vault};
use crate::peer::{Peer, PeerAnswer, PeerRequest};

/// The longest request id, in characters (Orders 2.13).
const LONGEST_REQUEST_ID: usize = 108;

/// POST `/v1/oauth2/token`.
fn give_access(state: &mut State, request: &PeerRequest, now: Timestamp) -> PeerAnswer {
    let basic = request.header("authorization").and_then(|value| value.strip_prefix("Basic "));
    let basic = basic.and_then(|basic| STANDARD.decode(basic).ok()).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let known = basic.split_once(':').is_some_and(|(id, secret)| id == state.config.client_id && state.secrets.iter().any(|s| s == secret));
    if !known {
        return PeerAnswer::json(401, &json!({ "error": "invalid_client", "error_description": "Client Authentication failed" }));
    }
    if request.body.as_ref() != b"grant_type=client_credentials" {
        return PeerAnswer::json(400, &json!({ "error": "unsupported_grant_type" }));
    }
    let token = format!("A21AA{}", state.next_id());
    state.access.insert(token.clone(), now.after(Duration::from_secs(state.token_life)));
    PeerAnswer::json(
        200,
        &json!({ "access_token": token, "token_type": "Bearer", "app_id": "APP-80W284485P519543T", "expires_in": state.token_life }),
    )
}

fn has_access(state: &State, request: &PeerRequest, now: Timestamp) -> bool {
    let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    bearer.and_then(|token| state.access.get(token)).is_some_and(|until| now < *until)
}

impl Peer for PayPal {
    fn name(&self) -> &'static str {
        "paypal"
    }

    fn handle(&self, request: &PeerRequest) -> PeerAnswer {
        let now = self.clock.now();
        let mut state = self.lock();
        let segments = request.segments();
        match (&request.method, segments.as_slice()) {
            (&Method::POST, ["v1", "oauth2", "token"]) => return give_access(&mut state, request, now),
            (&Method::GET, ["v1", "notifications", "certs", name]) => return certificate(&state, name),
            _ => {}
        }
        if let Some(seconds) = state.throttle_next.take() {
            let body =
                json!({ "name": "RATE_LIMIT_REACHED", "message": "Too many requests. Blocked due to rate limiting.", "debug_id": "1" });
            return PeerAnswer::json(429, &body).with_header("retry-after", &seconds.to_string());
        }
        if !has_access(&state, request, now) {
            return PeerAnswer::json(401, &json!({ "error": "invalid_token", "error_description": "Token signature verification failed" }));
        }
        match request.method {
            Method::GET => read(&state, &segments, now).unwrap_or_else(Refused::answer),
            Method::POST if segments == ["v1", "notifications", "verify-webhook-signature"] => {
                let status = if notifications::verify(&state, request) { "SUCCESS" } else { "FAILURE" };
                PeerAnswer::json(200, &json!({ "verification_status": status }))
            }
            Method::POST => post(&mut state, request, &segments, now),
            Method::DELETE => match segments.as_slice() {
                ["v3", "vault", "payment-tokens", id] => vault::delete(&mut state, id, now),
                _ => not_found().answer(),
            },
            _ => not_found().answer(),
        }
    }
}

fn certificate(state: &State, name: &str) -> PeerAnswer {
    match state.certificate.filter(|_| name == CERTIFICATE) {
        Some(pem) => {
            let mut answer = PeerAnswer::empty(200).with_header("content-type", "application/x-pem-file");
            answer.body = Bytes::from_static(pem.as_bytes());
            answer
        }
        None => PeerAnswer::empty(404),
    }
}

fn read(state: &State, route: &[&str], now: Timestamp) -> Answer {
    let found = |body: Option<Value>| body.filter(|body| !body.is_null()).map(|body| PeerAnswer::json(200, &body)).ok_or_else(not_found);
    match route {
        ["v2", "checkout", "orders", id] => found(Some(render::order(state, orders::find(state, id, now)?, true))),
        ["v2", "payments", "authorizations", id] => found(state.authorisation(id).map(|one| render::authorisation(state, one))),
        ["v2", "payments", "captures", id] => found(state.capture(id).map(|one| render::capture(state, one))),
        ["v2", "payments", "refunds", id] => found(state.refund(id).map(render::refund)),
        ["v3", "vault", "setup-tokens", id] => found(Some(render::setup(state, id))),
        ["v3", "vault", "payment-tokens", id] => found(Some(render::token(state, id))),
        _ => Err(not_found()),
    }
}

/// A write: under a request id that is known, the latest state of what it made; else it is done.
fn post(state: &mut State, request: &PeerRequest, route: &[&str], now: Timestamp) -> PeerAnswer {
    if request.header("content-type") != Some("application/json") {
        return refusal(415, "INVALID_CONTENT_TYPE").answer();
    }
    let request_id = request.header("paypal-request-id").map(str::to_owned);
    if request_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > LONGEST_REQUEST_ID) {
        return refusal(400, "INVALID_STRING_LENGTH").answer();
    }
    if std::mem::take(&mut state.in_progress_next) {
        return refusal(409, "PREVIOUS_REQUEST_IN_PROGRESS").answer();
    }
    let whole = request.header("prefer") == Some("return=representation");
    let remembered = request_id.as_ref().and_then(|id| state.replays.get(id)).filter(|(made, at)| now.since(*at) < made.remembered());
    if let Some((made, _)) = remembered.cloned() {
        return answer(state, &made, 200, whole, route).unwrap_or_else(Refused::answer);
    }
    let broken = state.server_error_next.take();
    if broken == Some(false) {
        return refusal(500, "INTERNAL_SERVER_ERROR").answer();
    }
    let made = match write(state, request, route, request_id.as_deref(), now) {
        Ok(made) => made,
        // A refusal made nothing, so there is nothing to remember.
        Err(refused) => return refused.answer(),
    };
    if let Some(id) = request_id {
        state.replays.insert(id, (made.clone(), now));
    }
    if broken.is_some() {
        return refusal(500, "INTERNAL_SERVER_ERROR").answer();
    }
    answer(state, &made, 201, whole, route).unwrap_or_else(Refused::answer)
}

fn write(state: &mut State, request: &PeerRequest, route: &[&str], request_id: Option<&str>, now: Timestamp) -> Result<Made, Refused> {
    let body = if request.body.is_empty() { json!({}) } else { request.json() };
    if !body.is_object() {
        return Err(refusal(400, "MALFORMED_REQUEST_JSON"));
    }
    match route {
        ["v2", "checkout", "orders"] => orders::create(state, &body, request_id, now),
        ["v2", "checkout", "orders", id, step] => orders::second_step(state, id, step, now),
        ["v2", "payments", "authorizations", id, what] => payments::on_authorisation(state, id, what, &body, now),
        ["v2", "payments", "captures", id, "refund"] => payments::refund(state, id, &body, now),
        ["v3", "vault", "setup-tokens"] => vault::set_up(state, &body),
        ["v3", "vault", "payment-tokens"] => vault::store(state, &body, now),
        _ => Err(not_found()),
    }
}

fn answer(state: &State, made: &Made, status: u16, whole: bool, route: &[&str]) -> Answer {
    let short = |body: Value| if whole { body } else { minimal(&body) };
    let body = match made {
        Made::Order(id) => {
            let answer = orders::answer(state, id, whole)?;
            let status = StatusCode::from_u16(status).unwrap_or(answer.status);
            // What is left out is left out of the create call's own answer only.
            return if route.len() == 3 { Ok(PeerAnswer { status, ..answer }) } else { read_order(state, id, status, whole) };
        }
        Made::Authorisation(id) => short(state.authorisation(id).map(|one| render::authorisation(state, one)).unwrap_or_default()),
        Made::Capture(id) => short(state.capture(id).map(|one| render::capture(state, one)).unwrap_or_default()),
        Made::Refund(id) => short(state.refund(id).map(render::refund).unwrap_or_default()),
        Made::Setup(id) => render::setup(state, id),
        Made::Token(id) => render::token(state, id),
    };
    match route.last() {
        Some(&"void") if whole => Ok(PeerAnswer::json(200, &body)),
        Some(&"void") => Ok(PeerAnswer::empty(204)),
        _ => Ok(PeerAnswer::json(status, &body)),
    }
}

/// The short answer: id, status and links.
fn minimal(body: &Value) -> Value {
    let fields = ["id", "status", "links"].into_iter().filter_map(|name| Some((name.to_owned(), body.get(name)?.clone())));
    Value::Object(fields.collect())
}

fn read_order(state: &State, id: &str, status: StatusCode, whole: bool) -> Answer {
    let order = state.order(id).ok_or_else(not_found)?;
    Ok(PeerAnswer { status, ..PeerAnswer::json(201, &render::order(state, order, whole)) })
}
