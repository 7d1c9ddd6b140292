//! The door: keys, versions, idempotency and routes.

use std::time::Duration;

use connector::clock::Timestamp;
use connector::http::Method;
use serde_json::json;

use super::form::{self, Params};
use super::state::{Answer, Kept, Refused, State, invalid, other, wrong};
use super::{Stripe, details, intents, reads, refunds, render, setups};
use crate::peer::{Peer, PeerAnswer, PeerRequest};

/// How long an answer is kept under its key (docs.stripe.com/api/idempotent_requests: "at least 24 hours").
const KEPT: Duration = Duration::from_secs(24 * 3_600);
/// The longest key, in characters.
const LONGEST_KEY: usize = 255;

impl Peer for Stripe {
    fn name(&self) -> &'static str {
        "stripe"
    }

    fn handle(&self, request: &PeerRequest) -> PeerAnswer {
        let now = self.clock.now();
        let mut state = self.lock();
        refunds::lapse(&mut state, now);
        let id = state.next_id("req");
        let key = request.header("idempotency-key").filter(|_| request.method == Method::POST).map(str::to_owned);
        state.request = (Some(id.clone()), key);
        let mut answer = enter(&mut state, request, now).unwrap_or_else(|refused| refused.answer());
        state.request = (None, None);
        if let Some(retry) = state.should_retry_next.take() {
            answer = answer.with_header("stripe-should-retry", if retry { "true" } else { "false" });
        }
        answer.with_header("request-id", &id)
    }
}

/// What every request has to have.
fn enter(state: &mut State, request: &PeerRequest, now: Timestamp) -> Answer {
    if let Some(seconds) = state.throttle_next.take() {
        let refused = other(429, "invalid_request_error", Some("rate_limit"), "Request rate limit exceeded.");
        return Ok(refused.answer().with_header("retry-after", &seconds.to_string()));
    }
    let key = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if !key.is_some_and(|key| state.config.api_keys.iter().any(|known| known == key)) {
        return Err(other(401, "invalid_request_error", None, "Invalid API Key provided"));
    }
    match request.header("stripe-version") {
        Some(version) if version == state.config.api_version => {}
        Some(version) => return Err(other(400, "invalid_request_error", None, &format!("Invalid Stripe API version: {version}"))),
        // The real one takes the account's default, which changes under whoever relies on it.
        None => return Err(other(400, "invalid_request_error", None, "The sandbox wants a Stripe-Version in every request")),
    }
    let segments = request.segments();
    let Some(("v1", route)) = segments.split_first().map(|(first, rest)| (*first, rest)) else { return Err(nowhere(request)) };
    match request.method {
        Method::GET if request.body.is_empty() => get(state, request, route, now),
        Method::POST => post(state, request, route, now),
        _ => Err(nowhere(request)),
    }
}

fn nowhere(request: &PeerRequest) -> Refused {
    other(404, "invalid_request_error", None, &format!("Unrecognized request URL ({}: {}).", request.method, request.path))
}

fn get(state: &State, request: &PeerRequest, route: &[&str], now: Timestamp) -> Answer {
    let params = Params::read(&request.query)?;
    match route {
        ["payment_intents"] => reads::intents(state, &params),
        ["payment_intents", "search"] => reads::search(state, &params, now),
        ["payment_intents", id] => {
            params.only(&["client_secret", "expand"])?;
            intents::answer(state, id, &intents::expand(&params)?)
        }
        ["setup_intents"] => reads::setups(state, &params),
        ["setup_intents", id] => {
            params.only(&["client_secret", "expand"])?;
            setups::answer(state, id, &setups::expand(&params)?)
        }
        ["refunds"] => reads::refunds(state, &params),
        ["refunds", id] => refunds::read(state, id),
        ["customers", "search"] => reads::customers(state, &params, now),
        ["customers", id] => details::read_customer(state, id),
        ["payment_methods", id] => details::read_method(state, id),
        ["balance"] => Ok(PeerAnswer::json(200, &json!({ "object": "balance", "available": [], "pending": [], "livemode": false }))),
        ["account"] => Ok(PeerAnswer::json(200, &render::account())),
        _ => Err(nowhere(request)),
    }
}

/// A write: under a key that is known the first answer, whatever it was; else it is done.
fn post(state: &mut State, request: &PeerRequest, route: &[&str], now: Timestamp) -> Answer {
    if request.header("content-type").and_then(|kind| kind.split(';').next()) != Some("application/x-www-form-urlencoded") {
        return Err(other(
            400,
            "invalid_request_error",
            None,
            "Invalid request (check that your POST content type is application/x-www-form-urlencoded).",
        ));
    }
    let pairs = form::pairs(&request.body).ok_or_else(|| wrong("body", "Invalid form"))?;
    if !request.query.is_empty() {
        return Err(invalid("parameter_unknown", None, "The sandbox wants the parameters of a POST in its body"));
    }
    let params = Params::read(&pairs)?;
    let key = state.request.1.clone();
    if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > LONGEST_KEY) {
        return Err(other(400, "invalid_request_error", None, "Idempotency keys are of 1 to 255 characters"));
    }
    if std::mem::take(&mut state.in_progress_next) {
        let message = "There is currently another in-progress request using this Idempotent Key.";
        return Err(other(409, "idempotency_error", Some("idempotency_key_in_use"), message));
    }
    if let Some(kept) = key.as_ref().and_then(|key| state.kept.get(key)).filter(|kept| now.since(kept.at) < KEPT) {
        if kept.path != request.path || kept.params != params {
            let message = "Keys for idempotent requests can only be used with the same parameters they were first used with.";
            return Err(other(400, "idempotency_error", None, message));
        }
        return Ok(kept.answer.clone().with_header("idempotent-replayed", "true"));
    }
    let broken = state.server_error_next.take();
    let done = if broken == Some(false) { Err(broke()) } else { write(state, request, route, &params, now) };
    let done = if broken.is_some() { Err(broke()) } else { done };
    let (answer, keep) = match done {
        Ok(answer) => (answer, true),
        Err(refused) => (refused.answer(), refused.executed),
    };
    if let Some(key) = key.filter(|_| keep) {
        state.kept.insert(key, Kept { path: request.path.clone(), params, answer: answer.clone(), at: now });
    }
    Ok(answer)
}

fn broke() -> Refused {
    Refused { executed: true, ..other(500, "api_error", None, "An error occurred while processing the request.") }
}

fn write(state: &mut State, request: &PeerRequest, route: &[&str], params: &Params, now: Timestamp) -> Answer {
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
        _ => Err(nowhere(request)),
    }
}
