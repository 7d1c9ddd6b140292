//! Credentials, idempotency and routes.

use std::time::Duration;

use connector::http::Method;
use serde_json::Value;

use crate::simulators::adyen::state::State;
use crate::simulators::adyen::validation::{ErrorResponse, HandlerResult, NOT_FOUND, check_account, error_response};
use crate::simulators::adyen::{AdyenSimulator, details, modifications, payments};
use crate::simulators::network::{ServerRequest, ServerResponse, SimulatedServer};

/// How long Adyen remembers an idempotency key ("at least 7 days"; docs.adyen.com, "API idempotency").
const IDEMPOTENCY_RETENTION: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The longest idempotency key, in characters.
const MAX_KEY_LENGTH: usize = 64;

impl SimulatedServer for AdyenSimulator {
    fn name(&self) -> &'static str {
        "adyen"
    }

    fn handle(&self, request: &ServerRequest) -> ServerResponse {
        let mut state = self.lock();
        let segments = request.segments();
        // Live has a segment before the version.
        let route = match segments.as_slice() {
            ["checkout", "v71", route @ ..] | ["v71", route @ ..] => route,
            _ => return NOT_FOUND.response(),
        };
        if let Some(seconds) = state.throttle_next.take() {
            return ServerResponse::empty(429).with_header("retry-after", &seconds.to_string());
        }
        if !request.header("x-api-key").is_some_and(|key| state.api_keys.iter().any(|known| known == key)) {
            return error_response(401, "000", "security", "HTTP Status Response - Unauthorized").response();
        }
        if request.method == Method::GET && route == ["storedPaymentMethods"] {
            return details::list(&state, request);
        }
        match (&request.method, route) {
            (&Method::POST, _) => {}
            (&Method::DELETE, ["storedPaymentMethods", id]) => return details::delete(&mut state, id, request),
            _ => return NOT_FOUND.response(),
        }
        match request.header("idempotency-key").map(str::to_owned) {
            Some(key) => self.handle_idempotently(&mut state, request, route, &key),
            None => self.handle_post(&mut state, request, route),
        }
    }
}

impl AdyenSimulator {
    /// Answers a write under an idempotency key: the first answer again, as long as the key is remembered.
    fn handle_idempotently(&self, state: &mut State, request: &ServerRequest, route: &[&str], key: &str) -> ServerResponse {
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
            let done = self.handle_post(state, request, route);
            answer = if broken.is_none() { done } else { answer };
        }
        let answer = answer.with_header("idempotency-key", key);
        state.idempotent_responses.insert(key.to_owned(), (answer.clone(), now));
        answer
    }

    fn handle_post(&self, state: &mut State, request: &ServerRequest, route: &[&str]) -> ServerResponse {
        let answer = self.route_post(state, request, route);
        if state.process_immediately {
            modifications::process(state, self.clock.now());
        }
        answer.unwrap_or_else(ErrorResponse::response)
    }

    fn route_post(&self, state: &mut State, request: &ServerRequest, route: &[&str]) -> HandlerResult {
        let now = self.clock.now();
        let Some(body) = Some(request.json()).filter(Value::is_object) else {
            return Err(error_response(400, "702", "validation", "Unexpected input"));
        };
        match route {
            // Nothing but whether the key may ask about the account.
            ["paymentMethods"] => {
                check_account(state, &body).map(|()| ServerResponse::json(200, &serde_json::json!({ "paymentMethods": [] })))
            }
            ["payments"] => payments::create_payment(state, &body, now),
            ["payments", "details"] => payments::submit_details(state, &body, now),
            ["payments", payment, kind] => modifications::create(state, payment, kind, &body),
            ["cancels"] => modifications::cancel_by_reference(state, &body),
            _ => Err(NOT_FOUND),
        }
    }
}
