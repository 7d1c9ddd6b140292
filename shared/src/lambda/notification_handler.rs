//! The first door for the gateways: `POST /gateways/{gateway}/notifications`. Each item is verified, and each that says something to us is put
//! on the queue as a message of its own; only then is `[accepted]` answered (docs.adyen.com, "Accept webhooks"; any gateway takes it).
//!
//! It must never act on an item, except in embedded mode; never answer 200 while an item that could be ours is not durable; never refuse an
//! item for its kind, its account or its payment, because a gateway repeats what is refused for days and holds back what comes after it.

use http::{HeaderMap, StatusCode};
use tracing::info;

use super::app::{App, Invocation};
use super::event::{HttpRequest, HttpResponse};
use super::queue::NotificationEnvelope;
use super::queue_consumer::{FUNCTION_TIMEOUT, deadline};
use super::settings::Mode;
use super::webhook_handler::{self, Rejection};
use crate::cleeng::webhook::Verified;
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::flow::NotificationFlow;
use crate::gateway::{GatewayName, GatewayNotification, NotificationError, NotificationItem, NotificationKind};
use crate::metrics::Metric;

/// Answers one request.
pub async fn handle_request(app: &App, flow: &dyn NotificationFlow, request: &HttpRequest, invocation: &Invocation) -> HttpResponse {
    accept(app, flow, request, invocation).await.unwrap_or_else(|refused| webhook_handler::reject(app, &refused, invocation))
}

async fn accept(app: &App, flow: &dyn NotificationFlow, request: &HttpRequest, invocation: &Invocation) -> Result<HttpResponse, Rejection> {
    let gateway = gateway_from_path(app, &request.path)?;
    let body = webhook_handler::check_body(app, request)?;
    let received_at = app.state.clock.now();
    let items = read_items(app, gateway, &request.headers, body).await.map_err(rejection_for)?;
    let (mut bad, mut deferred) = (None, None);
    for (item, number) in items.into_iter().zip(1_u32..) {
        match item {
            Err(error) => bad = bad.or(Some(error)),
            Ok(item) if item.kind == NotificationKind::Ignored => {
                app.state.metrics.count(Metric::EventNotOurs, &[]);
                info!(request_id = invocation.request_id, gateway = gateway.as_str(), "notification has nothing to tell us");
            }
            Ok(item) if app.state.mode == Mode::Embedded => {
                let answer = run_flow_inline(app, flow, gateway, item, invocation, received_at, number).await;
                deferred = deferred.or(Some(answer).filter(|answer| answer.status != StatusCode::OK));
            }
            Ok(item) => {
                let envelope = NotificationEnvelope::seal(gateway, &Verified::attest(item), received_at);
                webhook_handler::enqueue(app, &envelope.to_text(), invocation).await?;
                info!(request_id = invocation.request_id, gateway = gateway.as_str(), "notification accepted");
            }
        }
    }
    // The gateway repeats the body: what is good in it is known by then, and what is bad gets another chance.
    match bad {
        Some(error) => Err(rejection_for(error)),
        None => Ok(deferred.unwrap_or_else(|| HttpResponse::text(StatusCode::OK, "[accepted]"))),
    }
}

/// The gateway that the path names, if it is one of this deployment.
fn gateway_from_path(app: &App, path: &str) -> Result<GatewayName, Rejection> {
    let mut segments = path.rsplit('/');
    let (last, name, room) = (segments.next(), segments.next().unwrap_or_default(), segments.next());
    let gateway = GatewayName::parse(name).filter(|_| last == Some("notifications") && room == Some("gateways"));
    let configured = gateway.filter(|gateway| app.dependencies().flow_context.gateways.get(*gateway).is_some());
    let message = "there is no such gateway in this deployment: check the URL in the gateway's settings, and PAYMENT_METHODS";
    configured.ok_or_else(|| Rejection::new(StatusCode::NOT_FOUND, "not_found", message))
}

/// Verifies and reads, and once more with secrets that were read anew, because a rotation may have passed us by.
async fn read_items(app: &App, gateway: GatewayName, headers: &HeaderMap, body: &[u8]) -> Result<Vec<NotificationItem>, NotificationError> {
    let first = read_items_once(app, gateway, headers, body).await;
    let unproven = match &first {
        Err(error) => is_unproven(*error),
        Ok(items) => items.iter().any(|item| item.as_ref().is_err_and(|error| is_unproven(*error))),
    };
    if unproven && app.refresh("signature").await { read_items_once(app, gateway, headers, body).await } else { first }
}

async fn read_items_once(
    app: &App,
    gateway: GatewayName,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Vec<NotificationItem>, NotificationError> {
    let dependencies = app.dependencies();
    match dependencies.flow_context.gateways.get(gateway) {
        Some(adapter) => adapter.read_notification(headers, body).await,
        None => Err(NotificationError::Malformed),
    }
}

const fn is_unproven(error: NotificationError) -> bool {
    // A question that was not answered may have been asked with credentials that were changed.
    matches!(error, NotificationError::Unsigned | NotificationError::BadSignature | NotificationError::Unverifiable)
}

fn rejection_for(error: NotificationError) -> Rejection {
    let (status, code, message) = match error {
        NotificationError::Malformed => (StatusCode::BAD_REQUEST, "invalid_body", "body is no notification of this gateway"),
        NotificationError::Unsigned => (StatusCode::UNAUTHORIZED, "unsigned", "an item has no signature: switch HMAC on at the gateway"),
        NotificationError::BadSignature => {
            let message = "a signature does not fit: put the gateway's current HMAC key into the secret";
            (StatusCode::UNAUTHORIZED, "bad_signature", message)
        }
        NotificationError::Unverifiable => {
            let message = "it cannot be told now whether the gateway sent it: its certificate and its verification were not reached";
            (StatusCode::SERVICE_UNAVAILABLE, "signature_undecided", message)
        }
    };
    Rejection::new(status, code, message)
}

/// Embedded mode: no queue, so the flow runs here.
async fn run_flow_inline(
    app: &App,
    flow: &dyn NotificationFlow,
    gateway: GatewayName,
    item: GatewayNotification,
    invocation: &Invocation,
    received_at: Timestamp,
    number: u32,
) -> HttpResponse {
    let id = format!("{}/{number}", invocation.request_id);
    let delivery = Delivery { id, deadline: deadline(app.state.clock.as_ref(), invocation, FUNCTION_TIMEOUT), received_at, count: 1 };
    let disposition = flow.handle(&app.dependencies().flow_context, gateway, &Verified::attest(item), &delivery).await;
    webhook_handler::respond_with_disposition(app, disposition).await
}

#[cfg(test)]
mod tests;
