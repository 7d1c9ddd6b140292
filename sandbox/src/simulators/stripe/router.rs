//! Keys, versions, idempotency and routes.

use std::time::Duration;

use connector::clock::Timestamp;
use connector::http::Method;
use serde_json::json;

use crate::simulators::network::{ServerRequest, ServerResponse, SimulatedServer};
use crate::simulators::stripe::error::{ErrorResponse, HandlerResult, error_of_type, invalid, invalid_param};
use crate::simulators::stripe::form::{self, Params};
use crate::simulators::stripe::state::{IdempotentResponse, State};
use crate::simulators::stripe::{StripeSimulator, details, intents, reads, refunds, render, setups};

/// How long an answer is kept under its key (docs.stripe.com/api/idempotent_requests: "at least 24 hours").
const IDEMPOTENCY_RETENTION: Duration = Duration::from_secs(24 * 3_600);
/// The longest key, in characters.
const MAX_KEY_LENGTH: usize = 255;

impl SimulatedServer for StripeSimulator {
    fn name(&self) -> &'static str {
        "stripe"
    }

    fn handle(&self, request: &ServerRequest) -> ServerResponse {
        let now = self.clock.now();
        let mut state = self.lock();
        refunds::expire_authorisations(&mut state, now);
        let id = state.next_id("req");
        let key = request.header("idempotency-key").filter(|_| request.method == Method::POST).map(str::to_owned);
        state.request = (Some(id.clone()), key);
        let mut answer = authenticate_and_route(&mut state, request, now).unwrap_or_else(|refused| refused.response());
        state.request = (None, None);
        if let Some(retry) = state.should_retry_next.take() {
            answer = answer.with_header("stripe-should-retry", if retry { "true" } else { "false" });
        }
        answer.with_header("request-id", &id)
    }
}

/// What every request has to have.
fn authenticate_and_route(state: &mut State, request: &ServerRequest, now: Timestamp) -> HandlerResult {
    if let Some(seconds) = state.throttle_next.take() {
        let refused = error_of_type(429, "invalid_request_error", Some("rate_limit"), "Request rate limit exceeded.");
        return Ok(refused.response().with_header("retry-after", &seconds.to_string()));
    }
    let key = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if !key.is_some_and(|key| state.config.api_keys.iter().any(|known| known == key)) {
        return Err(error_of_type(401, "invalid_request_error", None, "Invalid API Key provided"));
    }
    match request.header("stripe-version") {
        Some(version) if version == state.config.api_version => {}
        Some(version) => return Err(error_of_type(400, "invalid_request_error", None, &format!("Invalid Stripe API version: {version}"))),
        // The real one takes the account's default, which changes without notice.
        None => return Err(error_of_type(400, "invalid_request_error", None, "The sandbox wants a Stripe-Version in every request")),
    }
    let segments = request.segments();
    let Some(("v1", route)) = segments.split_first().map(|(first, rest)| (*first, rest)) else { return Err(unknown_url(request)) };
    match request.method {
        Method::GET if request.body.is_empty() => route_get(state, request, route, now),
        Method::POST => handle_post(state, request, route, now),
        _ => Err(unknown_url(request)),
    }
}

fn unknown_url(request: &ServerRequest) -> ErrorResponse {
    error_of_type(404, "invalid_request_error", None, &format!("Unrecognized request URL ({}: {}).", request.method, request.path))
}

fn route_get(state: &State, request: &ServerRequest, route: &[&str], now: Timestamp) -> HandlerResult {
    let params = Params::parse(&request.query)?;
    match route {
        ["payment_intents"] => reads::intents(state, &params),
        ["payment_intents", "search"] => reads::search(state, &params, now),
        ["payment_intents", id] => {
            params.allow_only(&["client_secret", "expand"])?;
            intents::intent_response(state, id, &intents::expand(&params)?)
        }
        ["setup_intents"] => reads::setups(state, &params),
        ["setup_intents", id] => {
            params.allow_only(&["client_secret", "expand"])?;
            setups::setup_response(state, id, &setups::expand(&params)?)
        }
        ["refunds"] => reads::refunds(state, &params),
        ["refunds", id] => refunds::read(state, id),
        ["customers", "search"] => reads::customers(state, &params, now),
        ["customers", id] => details::read_customer(state, id),
        ["payment_methods", id] => details::read_method(state, id),
        ["balance"] => Ok(ServerResponse::json(200, &json!({ "object": "balance", "available": [], "pending": [], "livemode": false }))),
        ["account"] => Ok(ServerResponse::json(200, &render::account())),
        _ => Err(unknown_url(request)),
    }
}

/// A write: the first answer again under a known key; else it is executed.
fn handle_post(state: &mut State, request: &ServerRequest, route: &[&str], now: Timestamp) -> HandlerResult {
    if request.header("content-type").and_then(|kind| kind.split(';').next()) != Some("application/x-www-form-urlencoded") {
        return Err(error_of_type(
            400,
            "invalid_request_error",
            None,
            "Invalid request (check that your POST content type is application/x-www-form-urlencoded).",
        ));
    }
    let pairs = form::pairs(&request.body).ok_or_else(|| invalid_param("body", "Invalid form"))?;
    if !request.query.is_empty() {
        return Err(invalid("parameter_unknown", None, "The sandbox wants the parameters of a POST in its body"));
    }
    let params = Params::parse(&pairs)?;
    let key = state.request.1.clone();
    if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > MAX_KEY_LENGTH) {
        return Err(error_of_type(400, "invalid_request_error", None, "Idempotency keys are of 1 to 255 characters"));
    }
    if std::mem::take(&mut state.in_progress_next) {
        let message = "There is currently another in-progress request using this Idempotent Key.";
        return Err(error_of_type(409, "idempotency_error", Some("idempotency_key_in_use"), message));
    }
    if let Some(kept) =
        key.as_ref().and_then(|key| state.idempotent_responses.get(key)).filter(|kept| now.since(kept.at) < IDEMPOTENCY_RETENTION)
    {
        if kept.path != request.path || kept.params != params {
            let message = "Keys for idempotent requests can only be used with the same parameters they were first used with.";
            return Err(error_of_type(400, "idempotency_error", None, message));
        }
        return Ok(kept.answer.clone().with_header("idempotent-replayed", "true"));
    }
    let broken = state.server_error_next.take();
    let done = if broken == Some(false) { Err(internal_error()) } else { route_post(state, request, route, &params, now) };
    let done = if broken.is_some() { Err(internal_error()) } else { done };
    let (answer, keep) = match done {
        Ok(answer) => (answer, true),
        Err(refused) => (refused.response(), refused.executed),
    };
    if let Some(key) = key.filter(|_| keep) {
        state.idempotent_responses.insert(key, IdempotentResponse { path: request.path.clone(), params, answer: answer.clone(), at: now });
    }
    Ok(answer)
}

fn internal_error() -> ErrorResponse {
    ErrorResponse { executed: true, ..error_of_type(500, "api_error", None, "An error occurred while processing the request.") }
}

fn route_post(state: &mut State, request: &ServerRequest, route: &[&str], params: &Params, now: Timestamp) -> HandlerResult {
    match route {
        ["customers"] => details::create_customer(state, params, now),
        ["payment_intents"] => intents::create(state, params, now),
        ["payment_intents", id, "confirm"] => intents::confirm(state, id, params, now),
        ["payment_intents", id, "capture"] => intents::capture(state, id, params, now),
        ["payment_intents", id, "cancel"] => intents::cancel(state, id, params, now),
        ["setup_intents"] => setups::create(state, params, now),
        ["setup_intents", id, "confirm"] => setups::confirm(state, id, params, now),
        ["setup_intents", id, "cancel"] => setups::cancel(state, id, params, now),
        ["refunds"] => refunds::create(state, params, now),
        ["payment_methods", id, "detach"] => details::detach(state, id, params, now),
        _ => Err(unknown_url(request)),
    }
}
