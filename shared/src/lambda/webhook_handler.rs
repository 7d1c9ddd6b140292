//! The HTTP handler of webhooks. A webhook is verified and put on the queue, and only then answered with 200.
//!
//! It must never act on an event, except in embedded mode; never answer 200 for an event of ours that is not durable; never refuse what
//! Cleeng signed for what is in it; and never quote what came in.

use http::header::{ALLOW, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use lambda_http::{Body, Request, Response};
use serde_json::json;
use tracing::{error, info, warn};

use super::event::InvalidRequest;
use super::response::{error_response, json_response, with_header};
use super::settings::Mode;
use super::state::{AppState, FunctionKind, Invocation};
use super::verifier::Rejection;
use super::{quarantine, unreadable_event};
use crate::cleeng::envelope::Envelope;
use crate::cleeng::webhook::{Topic, Verified, Webhook};
use crate::flow::{Disposition, Flow};
use crate::journal::record::postponed::fits_record;
use crate::metrics::Metric;
use crate::reason::{AlarmReason, ParkReason, RetryReason};

/// The route's last segment: the topic in lower case with hyphens, which is also the function's name.
#[must_use]
pub fn route_for_topic(topic: Topic) -> String {
    let mut route = String::with_capacity(48);
    for c in topic.as_str().chars() {
        if c.is_ascii_uppercase() {
            route.push('-');
        }
        route.push(c.to_ascii_lowercase());
    }
    route
}

/// Answers one request.
pub(super) async fn handle_request(
    state: &AppState,
    flow: &dyn Flow,
    request: Result<Box<Request>, InvalidRequest>,
    invocation: &Invocation,
) -> Response<Body> {
    let accepted = match request {
        Ok(request) => accept(state, flow, &request, invocation).await,
        Err(invalid) => Err(invalid.into()),
    };
    accepted.unwrap_or_else(|rejection| reject(state, &rejection, invocation))
}

/// The response to a request that is rejected, which is also counted.
pub(super) fn reject(state: &AppState, rejection: &Rejection, invocation: &Invocation) -> Response<Body> {
    state.metrics.count(Metric::EventRefused, &[("reason", rejection.code)]);
    if rejection.status == StatusCode::UNAUTHORIZED {
        let door = if matches!(state.kind, FunctionKind::Notifications(_)) { "notifications" } else { "webhooks" };
        state.metrics.count(Metric::SignatureFailure, &[("door", door)]);
    }
    warn!(request_id = invocation.request_id, code = rejection.code, status = rejection.status.as_u16(), "webhook refused");
    let response = error_response(rejection.status, rejection.code, &rejection.message);
    match rejection.status {
        StatusCode::METHOD_NOT_ALLOWED => with_header(response, ALLOW, HeaderValue::from_static("POST")),
        StatusCode::SERVICE_UNAVAILABLE => with_header(response, RETRY_AFTER, 5),
        _ => response,
    }
}

async fn accept(state: &AppState, flow: &dyn Flow, request: &Request, invocation: &Invocation) -> Result<Response<Body>, Rejection> {
    check_path(state, flow, request.uri().path())?;
    let body = check_body(request, state.max_body_bytes)?;
    let received_at = state.clock.now();
    let event = match verify(state, request.headers(), body).await {
        Err(rejection) if rejection.status == StatusCode::UNAUTHORIZED && state.mode == Mode::Lambda => {
            quarantine::quarantine(state, flow.topic(), request.headers(), body, invocation).await;
            return Err(rejection);
        }
        Err(rejection) if state.dependencies().verifier.is_signed(request.headers(), body) => {
            return keep_unread(state, flow, body, &rejection, invocation).await;
        }
        verified => verified?,
    };
    let is_ours = match check_event(state, flow, event.get()) {
        Err(rejection) if state.dependencies().verifier.is_signed(request.headers(), body) => {
            return keep_unread(state, flow, body, &rejection, invocation).await;
        }
        checked => checked?,
    };
    if !is_ours {
        state.metrics.count(Metric::EventNotOurs, &[]);
        info!(request_id = invocation.request_id, "webhook is for another connector's payment method");
        return Ok(json_response(StatusCode::OK, &json!({ "status": "ignored" })));
    }
    if state.mode == Mode::Embedded {
        let delivery = state.first_delivery(invocation, invocation.request_id.clone());
        let disposition = flow.handle(&state.dependencies().flow_context, &event, &delivery).await;
        return Ok(respond_with_disposition(state, disposition).await);
    }
    let envelope = Envelope::seal(&event, body, received_at).map_err(|_| not_utf8())?;
    enqueue_event(state, &envelope, invocation).await
}

/// Makes an event durable that the journal can keep.
async fn enqueue_event(state: &AppState, envelope: &Envelope, invocation: &Invocation) -> Result<Response<Body>, Rejection> {
    let text = envelope.to_text();
    if !fits_record(&text) {
        state.metrics.count(Metric::Alarm, &[("reason", AlarmReason::EventTooLarge.as_str())]);
        let message = "written as the journal keeps it, the event is too large: inform the maintainers";
        return Err(Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, "event_too_large", message));
    }
    enqueue(state, &text, invocation).await?;
    info!(request_id = invocation.request_id, "webhook accepted");
    Ok(json_response(StatusCode::OK, &json!({ "status": "accepted" })))
}

/// Keeps what Cleeng signed and this function cannot act on: the queue consumer parks it, with an alarm.
async fn keep_unread(
    state: &AppState,
    flow: &dyn Flow,
    body: &[u8],
    rejection: &Rejection,
    invocation: &Invocation,
) -> Result<Response<Body>, Rejection> {
    state.metrics.count(Metric::Warning, &[("reason", "signed_event_not_understood")]);
    state.count_fault(rejection.code);
    warn!(request_id = invocation.request_id, code = rejection.code, problem = rejection.message, "signed webhook cannot be acted on");
    let topic = Webhook::parse(body).map_or_else(|_| flow.topic(), |event| event.topic);
    let envelope = Envelope::seal_unread(topic, body, state.clock.now());
    if state.mode == Mode::Lambda {
        return enqueue_event(state, &envelope, invocation).await;
    }
    let dependencies = state.dependencies();
    let delivery = state.first_delivery(invocation, invocation.request_id.clone());
    let reason = unreadable_event::open(&envelope, flow.topic(), &dependencies.flow_context.policy.publisher).err();
    let reason = reason.unwrap_or(ParkReason::EventUnreadable);
    let disposition = unreadable_event::park(&dependencies.flow_context, &envelope, reason, &delivery).await;
    Ok(respond_with_disposition(state, disposition).await)
}

/// Makes a message durable.
pub(super) async fn enqueue(state: &AppState, message: &str, invocation: &Invocation) -> Result<(), Rejection> {
    state.queue.send(message).await.map_err(|queue| {
        error!(request_id = invocation.request_id, %queue, "webhook could not be queued");
        state.count_fault("queue_unavailable");
        Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "queue_unavailable", "the event could not be stored: send it again")
    })?;
    state.metrics.count(Metric::EventAccepted, &[]);
    Ok(())
}

fn not_utf8() -> Rejection {
    Rejection::new(StatusCode::BAD_REQUEST, "invalid_body", "body is not a JSON object in UTF-8")
}

/// A caller that does not know the route's key learns nothing about what is behind it.
fn check_path(state: &AppState, flow: &dyn Flow, path: &str) -> Result<(), Rejection> {
    let mut segments = path.rsplit('/');
    let (topic, key, folder) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default(), segments.next());
    let known = state.dependencies.secrets().is_path_key(key);
    if !known || folder != Some("webhooks") || topic != route_for_topic(flow.topic()) {
        let message = "there is nothing at this address: check the webhook's URL in Cleeng";
        return Err(Rejection::new(StatusCode::NOT_FOUND, "not_found", message));
    }
    Ok(())
}

/// Checks method and size, in bytes.
pub(super) fn check_body(request: &Request, max_bytes: usize) -> Result<&[u8], Rejection> {
    if request.method() != Method::POST {
        return Err(Rejection::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "webhooks are sent with POST"));
    }
    let body = request.body();
    if body.len() > max_bytes {
        let message = format!("body is larger than {max_bytes} bytes: raise MAX_BODY_BYTES if Cleeng's events have grown");
        return Err(Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message));
    }
    Ok(body)
}

/// Verifies. On failure it tries again with newly read secrets, because they may have been rotated meanwhile.
async fn verify(state: &AppState, headers: &HeaderMap, body: &[u8]) -> Result<Verified<Webhook>, Rejection> {
    match state.dependencies().verifier.verify(headers, body) {
        Err(rejection) if rejection.status == StatusCode::UNAUTHORIZED && state.dependencies.refresh("signature").await => {
            state.dependencies().verifier.verify(headers, body)
        }
        first => first,
    }
}

/// Whether the event is one that this function acts on, and if so whether its payment method is ours.
fn check_event(state: &AppState, flow: &dyn Flow, event: &Webhook) -> Result<bool, Rejection> {
    let dependencies = state.dependencies();
    let policy = &dependencies.flow_context.policy;
    let bad = |code, message: String| Rejection::new(StatusCode::BAD_REQUEST, code, message);
    if event.topic != flow.topic() {
        return Err(bad("wrong_topic", format!("topic is not {}: check the webhook's URL in Cleeng", flow.topic().as_str())));
    }
    if event.publisher != policy.publisher {
        return Err(bad("wrong_publisher", "broadcasterId is not the publisher of CONNECTOR_PUBLISHER_ID".to_owned()));
    }
    let method = event.payment_method().map_err(|error| bad("invalid_event", error.to_string()))?;
    if method.is_some_and(|method| !policy.methods.contains_key(&method)) {
        return Ok(false);
    }
    event.validate().map_err(|error| bad("invalid_event", error.to_string()))?;
    Ok(true)
}

/// The response in embedded mode, which has no queue: the flow has run in the handler.
pub(super) async fn respond_with_disposition(state: &AppState, disposition: Disposition) -> Response<Body> {
    match disposition {
        Disposition::Completed(outcome) => {
            state.metrics.count(Metric::Settled, &[("outcome", outcome.as_str())]);
            json_response(StatusCode::OK, &json!({ "status": "settled", "outcome": outcome.as_str() }))
        }
        Disposition::NotOurs => {
            state.metrics.count(Metric::EventNotOurs, &[]);
            json_response(StatusCode::OK, &json!({ "status": "ignored" }))
        }
        Disposition::Parked(reason) => json_response(StatusCode::OK, &json!({ "status": "parked", "reason": reason.as_str() })),
        Disposition::Postponed(reason) | Disposition::Retry { reason, .. } => {
            state.metrics.count(Metric::Deferred, &[("reason", reason.as_str())]);
            if reason.is_about_credentials() {
                state.dependencies.refresh("credentials").await;
            }
            with_header(error_response(StatusCode::SERVICE_UNAVAILABLE, reason.as_str(), advice_for(reason)), RETRY_AFTER, 30)
        }
    }
}

/// What a developer should do about a retry.
fn advice_for(reason: RetryReason) -> &'static str {
    match reason {
        RetryReason::CleengUnreachable => "Cleeng cannot be reached: start its simulator, and check CLEENG_API_URL",
        RetryReason::GatewayUnreachable => "the gateway cannot be reached: start its simulator, and check the gateway's base URL",
        _ if reason.is_about_credentials() => "an upstream refused our credentials: check CONNECTOR_SECRETS",
        _ => "the event cannot be settled now: send it again later",
    }
}

#[cfg(test)]
pub(super) mod tests;
