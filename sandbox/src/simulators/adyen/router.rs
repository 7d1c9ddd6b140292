//! Credentials, idempotency and routes.

use std::time::Duration;

use connector::clock::Timestamp;
use connector::http::Method;
use serde_json::Value;

use crate::simulators::adyen::state::ModificationKind::{Cancel, Capture, Refund, Reversal};
use crate::simulators::adyen::state::State;
use crate::simulators::adyen::validation::{ErrorResponse, HandlerResult, error_response};
use crate::simulators::adyen::{AdyenSimulator, details, modifications, page, payments};
use crate::simulators::network::{PathParameters, Route, ServerRequest, ServerResponse, SimulatedServer, find_route};

/// How long Adyen remembers an idempotency key ("at least 7 days"; docs.adyen.com, "API idempotency").
const IDEMPOTENCY_RETENTION: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The longest idempotency key, in characters.
const MAX_KEY_LENGTH: usize = 64;

const NOT_FOUND: ErrorResponse = error_response(404, "", "", "");

type DetailsEndpoint = fn(&mut State, PathParameters<'_>, &ServerRequest) -> ServerResponse;
type Endpoint = fn(&mut State, PathParameters<'_>, &Value, Timestamp) -> HandlerResult;

/// Calls with their parameters in the query.
const ROUTES_OF_DETAILS: [Route<DetailsEndpoint>; 2] = [
    ("GET /v71/storedPaymentMethods", |state, _, request| details::list(state, request)),
    ("DELETE /v71/storedPaymentMethods/{id}", |state, [id, _], request| details::delete(state, id, request)),
];

/// Calls with their parameters in the body.
const ROUTES: [Route<Endpoint>; 9] = [
    ("POST /v71/paymentMethods", |state, _, body, _| page::list_methods(state, body)),
    ("POST /v71/sessions", |state, _, body, now| page::open_session(state, body, now)),
    ("POST /v71/payments", |state, _, body, now| payments::create_payment(state, body, now)),
    ("POST /v71/payments/details", |state, _, body, now| payments::submit_details(state, body, now)),
    ("POST /v71/payments/{payment}/captures", |state, [payment, _], body, _| modifications::create(state, payment, Capture, body)),
    ("POST /v71/payments/{payment}/cancels", |state, [payment, _], body, _| modifications::create(state, payment, Cancel, body)),
    ("POST /v71/payments/{payment}/refunds", |state, [payment, _], body, _| modifications::create(state, payment, Refund, body)),
    ("POST /v71/payments/{payment}/reversals", |state, [payment, _], body, _| modifications::create(state, payment, Reversal, body)),
    ("POST /v71/cancels", |state, _, body, _| modifications::cancel_by_reference(state, body)),
];

impl SimulatedServer for AdyenSimulator {
    fn name(&self) -> &'static str {
        "adyen"
    }

    fn handle(&self, request: &ServerRequest) -> ServerResponse {
        let mut state = self.lock();
        // Live has a segment before the version.
        let path = request.path.strip_prefix("/checkout").unwrap_or(&request.path);
        if !path.starts_with("/v71/") {
            return NOT_FOUND.response();
        }
        if let Some(seconds) = state.throttle_next.take() {
            return ServerResponse::empty(429).with_header("retry-after", &seconds.to_string());
        }
        if !request.header("x-api-key").is_some_and(|key| state.api_keys.iter().any(|known| known == key)) {
            return error_response(401, "000", "security", "HTTP Status Response - Unauthorized").response();
        }
        if let Some((endpoint, parameters)) = find_route(&ROUTES_OF_DETAILS, &request.method, path) {
            return endpoint(&mut state, parameters, request);
        }
        if request.method != Method::POST {
            return NOT_FOUND.response();
        }
        match request.header("idempotency-key").map(str::to_owned) {
            Some(key) => self.handle_idempotently(&mut state, request, path, &key),
            None => self.handle_post(&mut state, request, path),
        }
    }
}

impl AdyenSimulator {
    /// Answers a write under an idempotency key: the first answer again, as long as the key is remembered.
    fn handle_idempotently(&self, state: &mut State, request: &ServerRequest, path: &str, key: &str) -> ServerResponse {
        if key.is_empty() || key.len() > MAX_KEY_LENGTH {
            return error_response(422, "702", "validation", "Invalid idempotency key").response();
        }
        if std::mem::take(&mut state.in_progress_next) {
            return error_response(422, "704", "validation", "Request already processed or in progress").response();
        }
        let now = self.clock.now();
        let remembered = state.idempotent_responses.get(key).filter(|(_, at)| now.since(*at) < IDEMPOTENCY_RETENTION);
        if let Some((answer, _)) = remembered {
            return answer.clone();
        }
        let broken = state.server_error_next.take();
        let mut answer = error_response(500, "905", "internal", "Internal error").response();
        if broken != Some(false) {
            let done = self.handle_post(state, request, path);
            answer = if broken.is_none() { done } else { answer };
        }
        let answer = answer.with_header("idempotency-key", key);
        state.idempotent_responses.insert(key.to_owned(), (answer.clone(), now));
        answer
    }

    fn handle_post(&self, state: &mut State, request: &ServerRequest, path: &str) -> ServerResponse {
        let answer = self.route_post(state, request, path);
        if state.process_immediately {
            modifications::process(state, self.clock.now());
        }
        answer.unwrap_or_else(ErrorResponse::response)
    }

    fn route_post(&self, state: &mut State, request: &ServerRequest, path: &str) -> HandlerResult {
        let now = self.clock.now();
        let Some(body) = Some(request.json()).filter(Value::is_object) else {
            return Err(error_response(400, "702", "validation", "Unexpected input"));
        };
        let (endpoint, parameters) = find_route(&ROUTES, &request.method, path).ok_or(NOT_FOUND)?;
        endpoint(state, parameters, &body, now)
    }
}
