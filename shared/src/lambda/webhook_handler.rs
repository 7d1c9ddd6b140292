//! The first door: a webhook comes in over HTTP. It is verified and put on the queue, and only then is 200 answered.
//!
//! It must never act on an event, except in embedded mode; never answer 200 for an event of ours that is not durable; and never quote what
//! came in.

use http::header::{ALLOW, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tracing::{error, info, warn};

use super::app::{App, Invocation};
use super::event::{HttpRequest, HttpResponse};
use super::quarantine;
use super::queue_consumer::{FUNCTION_TIMEOUT, deadline};
use super::settings::Mode;
use crate::cleeng::envelope::Envelope;
use crate::cleeng::webhook::{Topic, Verified, Webhook};
use crate::delivery::Delivery;
use crate::flow::{Disposition, Flow};
use crate::metrics::Metric;
use crate::reason::RetryReason;

/// Tells whether Cleeng sent a body.
pub trait Verify: Send + Sync {
    /// Checks the signature over the raw bytes, before anything else is believed about them.
    ///
    /// # Errors
    /// [`Rejection`].
    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<Verified<Webhook>, Rejection>;

    /// The header that holds the signature, and what it holds; nothing where there is none.
    fn signature_header(&self, headers: &HeaderMap) -> Option<(String, String)>;
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// 401 for a bad or missing signature.
    pub status: StatusCode,
    /// A stable code.
    pub code: &'static str,
    /// Names the field and the fix, and quotes nothing that came in.
    pub message: String,
}

impl Rejection {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
}

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
pub async fn handle_request(app: &App, flow: &dyn Flow, request: &HttpRequest, invocation: &Invocation) -> HttpResponse {
    accept(app, flow, request, invocation).await.unwrap_or_else(|refused| reject(app, &refused, invocation))
}

/// The answer to a request that is refused, which is also counted.
pub(super) fn reject(app: &App, refused: &Rejection, invocation: &Invocation) -> HttpResponse {
    app.state.metrics.count(Metric::EventRefused, &[("reason", refused.code)]);
    if refused.status == StatusCode::UNAUTHORIZED {
        app.state.metrics.count(Metric::SignatureFailure, &[]);
    }
    warn!(request_id = invocation.request_id, code = refused.code, status = refused.status.as_u16(), "webhook refused");
    let answer = HttpResponse::error(refused.status, refused.code, &refused.message);
    match refused.status {
        StatusCode::METHOD_NOT_ALLOWED => answer.with(ALLOW, "POST"),
        StatusCode::SERVICE_UNAVAILABLE => answer.with(RETRY_AFTER, "5"),
        _ => answer,
    }
}

async fn accept(app: &App, flow: &dyn Flow, request: &HttpRequest, invocation: &Invocation) -> Result<HttpResponse, Rejection> {
    check_path(app, flow, request)?;
    let body = check_body(app, request)?;
    let received_at = app.state.clock.now();
    let event = match verify(app, &request.headers, body).await {
        Err(refused) if refused.status == StatusCode::UNAUTHORIZED && app.state.mode == Mode::Lambda => {
            quarantine::quarantine(app, flow.topic(), &request.headers, body, invocation).await;
            return Err(refused);
        }
        verified => verified?,
    };
    let ours = check_event(app, flow, event.get())?;
    if !ours {
        app.state.metrics.count(Metric::EventNotOurs, &[]);
        info!(request_id = invocation.request_id, "webhook is for another connector's payment method");
        return Ok(HttpResponse::new(StatusCode::OK, json!({ "status": "ignored" })));
    }
    if app.state.mode == Mode::Embedded {
        let deadline = deadline(app.state.clock.as_ref(), invocation, FUNCTION_TIMEOUT);
        let delivery = Delivery { id: invocation.request_id.clone(), deadline, received_at, count: 1 };
        return Ok(respond_with_disposition(app, flow.handle(&app.dependencies().flow_context, &event, &delivery).await).await);
    }
    let envelope = Envelope::seal(&event, body, received_at).map_err(|_| not_utf8())?;
    enqueue(app, &envelope.to_text(), invocation).await?;
    info!(request_id = invocation.request_id, "webhook accepted");
    Ok(HttpResponse::new(StatusCode::OK, json!({ "status": "accepted" })))
}

/// Makes a message durable.
pub(super) async fn enqueue(app: &App, message: &str, invocation: &Invocation) -> Result<(), Rejection> {
    app.state.queue.send(message).await.map_err(|queue| {
        error!(request_id = invocation.request_id, %queue, "webhook could not be queued");
        Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "queue_unavailable", "the event could not be stored: send it again")
    })?;
    app.state.metrics.count(Metric::EventAccepted, &[]);
    Ok(())
}

fn not_utf8() -> Rejection {
    Rejection::new(StatusCode::BAD_REQUEST, "invalid_body", "body is not a JSON object in UTF-8")
}

/// Whoever does not know the route's key learns nothing about what is behind it.
fn check_path(app: &App, flow: &dyn Flow, request: &HttpRequest) -> Result<(), Rejection> {
    let mut segments = request.path.rsplit('/');
    let (topic, key, room) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default(), segments.next());
    let known = app.reloadable.secrets().is_path_key(key);
    if !known || room != Some("webhooks") || topic != route_for_topic(flow.topic()) {
        return Err(Rejection::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is nothing at this address: check the webhook's URL in Cleeng",
        ));
    }
    Ok(())
}

/// Method and size.
pub(super) fn check_body<'a>(app: &App, request: &'a HttpRequest) -> Result<&'a [u8], Rejection> {
    if request.method != "POST" {
        return Err(Rejection::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "webhooks are sent with POST"));
    }
    let Some(body) = &request.body else {
        return Err(Rejection::new(StatusCode::BAD_REQUEST, "invalid_body", "body is announced as base64 and is not"));
    };
    if body.len() > app.state.max_body_bytes {
        let message =
            format!("body is larger than {} bytes: raise MAX_BODY_BYTES if the sender's events have grown", app.state.max_body_bytes);
        return Err(Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message));
    }
    Ok(body)
}

/// Verifies, and once more with secrets that were read anew, because a rotation may have passed us by.
async fn verify(app: &App, headers: &HeaderMap, body: &[u8]) -> Result<Verified<Webhook>, Rejection> {
    match app.dependencies().verifier.verify(headers, body) {
        Err(refused) if refused.status == StatusCode::UNAUTHORIZED && app.refresh("signature").await => {
            app.dependencies().verifier.verify(headers, body)
        }
        first => first,
    }
}

/// Whether the event is one that this function acts on, and if so whether its payment method is ours.
fn check_event(app: &App, flow: &dyn Flow, event: &Webhook) -> Result<bool, Rejection> {
    let dependencies = app.dependencies();
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

/// Embedded mode: no queue, so the flow runs at the door and its verdict is the answer.
pub(super) async fn respond_with_disposition(app: &App, disposition: Disposition) -> HttpResponse {
    match disposition {
        Disposition::Completed(outcome) => {
            app.state.metrics.count(Metric::Settled, &[("outcome", outcome.as_str())]);
            HttpResponse::new(StatusCode::OK, json!({ "status": "settled", "outcome": outcome.as_str() }))
        }
        Disposition::NotOurs => {
            app.state.metrics.count(Metric::EventNotOurs, &[]);
            HttpResponse::new(StatusCode::OK, json!({ "status": "ignored" }))
        }
        Disposition::Parked(reason) => HttpResponse::new(StatusCode::OK, json!({ "status": "parked", "reason": reason.as_str() })),
        Disposition::Retry { reason, .. } => {
            app.state.metrics.count(Metric::Deferred, &[("reason", reason.as_str())]);
            if reason.is_about_credentials() {
                app.refresh("credentials").await;
            }
            HttpResponse::error(StatusCode::SERVICE_UNAVAILABLE, reason.as_str(), advice_for(reason)).with(RETRY_AFTER, "30")
        }
    }
}

/// What somebody at a keyboard should do about a verdict of "later".
fn advice_for(reason: RetryReason) -> &'static str {
    match reason {
        RetryReason::CleengUnreachable => "Cleeng cannot be reached: start its simulator, and check CLEENG_API_URL",
        RetryReason::GatewayUnreachable => "the gateway cannot be reached: start its simulator, and check the gateway's base URL",
        _ if reason.is_about_credentials() => "an upstream refused our credentials: check CONNECTOR_SECRETS",
        _ => "the event cannot be settled now: send it again later",
    }
}

#[cfg(test)]
mod tests;
