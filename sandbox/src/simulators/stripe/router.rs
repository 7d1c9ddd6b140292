//! Keys, versions, idempotency and routes.

use std::time::Duration;

use connector::clock::Timestamp;
use connector::http::Method;
use serde_json::json;

use crate::simulators::network::{PathParameters, Route, ServerRequest, ServerResponse, SimulatedServer, find_route};
use crate::simulators::stripe::error::{ErrorResponse, HandlerResult, error_of_type, invalid};
use crate::simulators::stripe::form::Params;
use crate::simulators::stripe::state::{IdempotentResponse, State};
use crate::simulators::stripe::{StripeSimulator, details, intents, reads, refunds, render, setups};

/// How long an answer is kept under its key (docs.stripe.com/api/idempotent_requests: "at least 24 hours").
const IDEMPOTENCY_RETENTION: Duration = Duration::from_secs(24 * 3_600);
/// The longest key, in characters.
const MAX_KEY_LENGTH: usize = 255;

type ReadEndpoint = fn(&State, PathParameters<'_>, &Params, Timestamp) -> HandlerResult;
type WriteEndpoint = fn(&mut State, PathParameters<'_>, &Params, Timestamp) -> HandlerResult;

const READS: [Route<ReadEndpoint>; 12] = [
    ("GET /v1/payment_intents", |state, _, params, _| reads::intents(state, params)),
    ("GET /v1/payment_intents/search", |state, _, params, now| reads::search(state, params, now)),
    ("GET /v1/payment_intents/{id}", |state, [id, _], params, _| {
        params.allow_only(&["client_secret", "expand"])?;
        intents::intent_response(state, id, &intents::expand(params)?)
    }),
    ("GET /v1/setup_intents", |state, _, params, _| reads::setups(state, params)),
    ("GET /v1/setup_intents/{id}", |state, [id, _], params, _| {
        params.allow_only(&["client_secret", "expand"])?;
        setups::setup_response(state, id, &setups::expand(params)?)
    }),
    ("GET /v1/refunds", |state, _, params, _| reads::refunds(state, params)),
    ("GET /v1/refunds/{id}", |state, [id, _], _, _| refunds::read(state, id)),
    ("GET /v1/customers/search", |state, _, params, now| reads::customers(state, params, now)),
    ("GET /v1/customers/{id}", |state, [id, _], _, _| details::read_customer(state, id)),
    ("GET /v1/payment_methods/{id}", |state, [id, _], _, _| details::read_method(state, id)),
    ("GET /v1/balance", |_, _, _, _| {
        Ok(ServerResponse::json(200, &json!({ "object": "balance", "available": [], "pending": [], "livemode": false })))
    }),
    ("GET /v1/account", |_, _, _, _| Ok(ServerResponse::json(200, &render::account()))),
];

const WRITES: [Route<WriteEndpoint>; 10] = [
    ("POST /v1/customers", |state, _, params, now| details::create_customer(state, params, now)),
    ("POST /v1/payment_intents", |state, _, params, now| intents::create(state, params, now)),
    ("POST /v1/payment_intents/{id}/confirm", |state, [id, _], params, now| intents::confirm(state, id, params, now)),
    ("POST /v1/payment_intents/{id}/capture", |state, [id, _], params, now| intents::capture(state, id, params, now)),
    ("POST /v1/payment_intents/{id}/cancel", |state, [id, _], params, now| intents::cancel(state, id, params, now)),
    ("POST /v1/setup_intents", |state, _, params, now| setups::create(state, params, now)),
    ("POST /v1/setup_intents/{id}/confirm", |state, [id, _], params, now| setups::confirm(state, id, params, now)),
    ("POST /v1/setup_intents/{id}/cancel", |state, [id, _], params, now| setups::cancel(state, id, params, now)),
    ("POST /v1/refunds", |state, _, params, now| refunds::create(state, params, now)),
    ("POST /v1/payment_methods/{id}/detach", |state, [id, _], params, now| details::detach(state, id, params, now)),
];

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
    match request.method {
        _ if !request.path.starts_with("/v1/") => Err(unknown_url(request)),
        Method::GET if request.body.is_empty() => handle_get(state, request, now),
        Method::POST => handle_post(state, request, now),
        _ => Err(unknown_url(request)),
    }
}

fn unknown_url(request: &ServerRequest) -> ErrorResponse {
    error_of_type(404, "invalid_request_error", None, &format!("Unrecognized request URL ({}: {}).", request.method, request.path))
}

fn handle_get(state: &State, request: &ServerRequest, now: Timestamp) -> HandlerResult {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&request.query).finish();
    let params = Params::parse(query.as_bytes())?;
    let (endpoint, parameters) = find_route(&READS, &request.method, &request.path).ok_or_else(|| unknown_url(request))?;
    endpoint(state, parameters, &params, now)
}

/// A write: the first answer again under a known key; else it is executed.
fn handle_post(state: &mut State, request: &ServerRequest, now: Timestamp) -> HandlerResult {
    if request.header("content-type").and_then(|kind| kind.split(';').next()) != Some("application/x-www-form-urlencoded") {
        return Err(error_of_type(
            400,
            "invalid_request_error",
            None,
            "Invalid request (check that your POST content type is application/x-www-form-urlencoded).",
        ));
    }
    if !request.query.is_empty() {
        return Err(invalid("parameter_unknown", None, "The sandbox wants the parameters of a POST in its body"));
    }
    let params = Params::parse(&request.body)?;
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
    let done = if broken == Some(false) { Err(internal_error()) } else { route_post(state, request, &params, now) };
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

fn route_post(state: &mut State, request: &ServerRequest, params: &Params, now: Timestamp) -> HandlerResult {
    let (endpoint, parameters) = find_route(&WRITES, &request.method, &request.path).ok_or_else(|| unknown_url(request))?;
    endpoint(state, parameters, params, now)
}
