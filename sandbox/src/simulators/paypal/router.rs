//! Access tokens, request ids and routes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use connector::clock::Timestamp;
use connector::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::simulators::network::{PathParameters, Route, ServerRequest, ServerResponse, SimulatedServer, find_route};
use crate::simulators::paypal::state::{CreatedResource, ErrorResponse, HandlerResult, State, error_response, not_found};
use crate::simulators::paypal::{CERTIFICATE, PayPalSimulator, notifications, orders, payments, render, vault};

/// The longest request id, in characters (Orders 2.13).
const MAX_REQUEST_ID_LENGTH: usize = 108;

/// Calls that need no access token.
const OPEN_ROUTES: [Route<Endpoint>; 2] = [
    ("POST /v1/oauth2/token", |state, _, request, now| Ok(issue_access_token(state, request, now))),
    ("GET /v1/notifications/certs/{name}", |state, [name, _], _, _| Ok(certificate(state, name))),
];

/// Calls that create nothing, so that no request id counts.
const ROUTES: [Route<Endpoint>; 8] = [
    ("GET /v2/checkout/orders/{id}", |state, [id, _], _, now| {
        found(Some(render::order(state, orders::find_unexpired(state, id, now)?, true)))
    }),
    ("GET /v2/payments/authorizations/{id}", |state, [id, _], _, _| {
        found(state.authorisation(id).map(|one| render::authorisation(state, one)))
    }),
    ("GET /v2/payments/captures/{id}", |state, [id, _], _, _| found(state.capture(id).map(|one| render::capture(state, one)))),
    ("GET /v2/payments/refunds/{id}", |state, [id, _], _, _| found(state.refund(id).map(render::refund))),
    ("GET /v3/vault/setup-tokens/{id}", |state, [id, _], _, _| found(Some(render::setup(state, id)))),
    ("GET /v3/vault/payment-tokens/{id}", |state, [id, _], _, _| found(Some(render::token(state, id)))),
    ("DELETE /v3/vault/payment-tokens/{id}", |state, [id, _], _, now| Ok(vault::delete(state, id, now))),
    ("POST /v1/notifications/verify-webhook-signature", |state, _, request, _| Ok(verify_signature(state, request))),
];

/// Calls that create a resource, or change one.
const WRITES: [Route<WriteEndpoint>; 6] = [
    ("POST /v2/checkout/orders", |state, _, write| orders::create(state, write.body, write.request_id, write.now)),
    ("POST /v2/checkout/orders/{id}/{step}", |state, [id, step], write| orders::second_step(state, id, step, write.now)),
    ("POST /v2/payments/authorizations/{id}/{what}", |state, [id, what], write| {
        payments::act_on_authorisation(state, id, what, write.body, write.now)
    }),
    ("POST /v2/payments/captures/{id}/refund", |state, [id, _], write| payments::refund(state, id, write.body, write.now)),
    ("POST /v3/vault/setup-tokens", |state, _, write| vault::create_setup_token(state, write.body)),
    ("POST /v3/vault/payment-tokens", |state, _, write| vault::create_payment_token(state, write.body, write.now)),
];

type Endpoint = fn(&mut State, PathParameters<'_>, &ServerRequest, Timestamp) -> HandlerResult;
type WriteEndpoint = fn(&mut State, PathParameters<'_>, Write<'_>) -> Result<CreatedResource, ErrorResponse>;

/// What a call that creates a resource says.
struct Write<'a> {
    body: &'a Value,
    request_id: Option<&'a str>,
    now: Timestamp,
}

/// POST `/v1/oauth2/token`.
fn issue_access_token(state: &mut State, request: &ServerRequest, now: Timestamp) -> ServerResponse {
    let basic = request.header("authorization").and_then(|value| value.strip_prefix("Basic "));
    let basic = basic.and_then(|basic| STANDARD.decode(basic).ok()).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let known = basic.split_once(':').is_some_and(|(id, secret)| id == state.config.client_id && state.secrets.iter().any(|s| s == secret));
    if !known {
        return ServerResponse::json(401, &json!({ "error": "invalid_client", "error_description": "Client Authentication failed" }));
    }
    if request.body.as_ref() != b"grant_type=client_credentials" {
        return ServerResponse::json(400, &json!({ "error": "unsupported_grant_type" }));
    }
    let token = format!("A21AA{}", state.next_id());
    state.access_tokens.insert(token.clone(), now.after(Duration::from_secs(state.access_token_seconds)));
    ServerResponse::json(
        200,
        &json!({ "access_token": token, "token_type": "Bearer", "app_id": "APP-80W284485P519543T", "expires_in": state.access_token_seconds }),
    )
}

/// Why the access token is not taken, if it is not.
fn refuse_access(state: &State, request: &ServerRequest, now: Timestamp) -> Option<ServerResponse> {
    let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if state.access_tokens.get(token).is_none_or(|until| now >= *until) {
        let body = json!({ "error": "invalid_token", "error_description": "Token signature verification failed" });
        return Some(ServerResponse::json(401, &body));
    }
    state.stale_access_tokens.contains(token).then(|| error_response(403, "PERMISSION_DENIED").response())
}

impl SimulatedServer for PayPalSimulator {
    fn name(&self) -> &'static str {
        "paypal"
    }

    fn handle(&self, request: &ServerRequest) -> ServerResponse {
        let now = self.clock.now();
        let mut state = self.lock();
        if let Some((endpoint, parameters)) = find_route(&OPEN_ROUTES, &request.method, &request.path) {
            return endpoint(&mut state, parameters, request, now).unwrap_or_else(ErrorResponse::response);
        }
        if let Some(seconds) = state.throttle_next.take() {
            let body =
                json!({ "name": "RATE_LIMIT_REACHED", "message": "Too many requests. Blocked due to rate limiting.", "debug_id": "1" });
            return ServerResponse::json(429, &body).with_header("retry-after", &seconds.to_string());
        }
        if let Some(refused) = refuse_access(&state, request, now) {
            return refused;
        }
        if let Some((endpoint, parameters)) = find_route(&ROUTES, &request.method, &request.path) {
            return endpoint(&mut state, parameters, request, now).unwrap_or_else(ErrorResponse::response);
        }
        if request.method == Method::POST { handle_post(&mut state, request, now) } else { not_found().response() }
    }
}

fn verify_signature(state: &State, request: &ServerRequest) -> ServerResponse {
    let status = if notifications::verify(state, request) { "SUCCESS" } else { "FAILURE" };
    ServerResponse::json(200, &json!({ "verification_status": status }))
}

fn certificate(state: &State, name: &str) -> ServerResponse {
    match state.certificate.filter(|_| name == CERTIFICATE) {
        Some(pem) => {
            let mut answer = ServerResponse::empty(200).with_header("content-type", "application/x-pem-file");
            answer.body = Bytes::from_static(pem.as_bytes());
            answer
        }
        None => ServerResponse::empty(404),
    }
}

/// The resource, if it is there.
fn found(body: Option<Value>) -> HandlerResult {
    body.filter(|body| !body.is_null()).map(|body| ServerResponse::json(200, &body)).ok_or_else(not_found)
}

/// A write: under a request id that is known, the latest state of what it made; else it is done.
fn handle_post(state: &mut State, request: &ServerRequest, now: Timestamp) -> ServerResponse {
    if request.header("content-type") != Some("application/json") {
        return error_response(415, "INVALID_CONTENT_TYPE").response();
    }
    let request_id = request.header("paypal-request-id").map(str::to_owned);
    if request_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > MAX_REQUEST_ID_LENGTH) {
        return error_response(400, "INVALID_STRING_LENGTH").response();
    }
    if std::mem::take(&mut state.in_progress_next) {
        return error_response(409, "PREVIOUS_REQUEST_IN_PROGRESS").response();
    }
    let whole = request.header("prefer") == Some("return=representation");
    let remembered =
        request_id.as_ref().and_then(|id| state.request_ids.get(id)).filter(|(made, at)| now.since(*at) < made.request_id_lifetime());
    if let Some((made, _)) = remembered.cloned() {
        return created_response(state, &made, 200, whole, &request.path).unwrap_or_else(ErrorResponse::response);
    }
    let broken = state.server_error_next.take();
    if broken == Some(false) {
        return error_response(500, "INTERNAL_SERVER_ERROR").response();
    }
    let made = match create_resource(state, request, request_id.as_deref(), now) {
        Ok(made) => made,
        // A refusal made nothing, so there is nothing to remember.
        Err(refused) => return refused.response(),
    };
    if let Some(id) = request_id {
        state.request_ids.insert(id, (made.clone(), now));
    }
    if broken.is_some() {
        return error_response(500, "INTERNAL_SERVER_ERROR").response();
    }
    created_response(state, &made, 201, whole, &request.path).unwrap_or_else(ErrorResponse::response)
}

fn create_resource(
    state: &mut State,
    request: &ServerRequest,
    request_id: Option<&str>,
    now: Timestamp,
) -> Result<CreatedResource, ErrorResponse> {
    let body = if request.body.is_empty() { json!({}) } else { request.json() };
    if !body.is_object() {
        return Err(error_response(400, "MALFORMED_REQUEST_JSON"));
    }
    let (endpoint, parameters) = find_route(&WRITES, &request.method, &request.path).ok_or_else(not_found)?;
    endpoint(state, parameters, Write { body: &body, request_id, now })
}

fn created_response(state: &State, made: &CreatedResource, status: u16, whole: bool, path: &str) -> HandlerResult {
    let short = |body: Value| if whole { body } else { minimal_json(&body) };
    let body = match made {
        CreatedResource::Order(id) => {
            let answer = orders::new_order_response(state, id, whole)?;
            let status = StatusCode::from_u16(status).unwrap_or(answer.status);
            // What is left out is left out of the create call's own answer only.
            return if path == "/v2/checkout/orders" {
                Ok(ServerResponse { status, ..answer })
            } else {
                stored_order_response(state, id, status, whole)
            };
        }
        CreatedResource::Authorisation(id) => {
            short(state.authorisation(id).map(|one| render::authorisation(state, one)).unwrap_or_default())
        }
        CreatedResource::Capture(id) => short(state.capture(id).map(|one| render::capture(state, one)).unwrap_or_default()),
        CreatedResource::Refund(id) => short(state.refund(id).map(render::refund).unwrap_or_default()),
        CreatedResource::SetupToken(id) => render::setup(state, id),
        CreatedResource::PaymentToken(id) => render::token(state, id),
    };
    match (path.ends_with("/void"), whole) {
        (true, true) => Ok(ServerResponse::json(200, &body)),
        (true, false) => Ok(ServerResponse::empty(204)),
        (false, _) => Ok(ServerResponse::json(status, &body)),
    }
}

/// The short answer: id, status and links.
fn minimal_json(body: &Value) -> Value {
    let fields = ["id", "status", "links"].into_iter().filter_map(|name| Some((name.to_owned(), body.get(name)?.clone())));
    Value::Object(fields.collect())
}

fn stored_order_response(state: &State, id: &str, status: StatusCode, whole: bool) -> HandlerResult {
    let order = state.order(id).ok_or_else(not_found)?;
    Ok(ServerResponse { status, ..ServerResponse::json(201, &render::order(state, order, whole)) })
}
