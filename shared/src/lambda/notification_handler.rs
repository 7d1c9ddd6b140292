//! The HTTP handler of the gateways' notifications: `POST /gateways/{gateway}/notifications`. Each item is verified, and each that concerns
//! us is put on the queue as a message of its own; only then is `[accepted]` answered (docs.adyen.com, "Accept webhooks"; any gateway takes
//! it).
//!
//! It must never act on an item, except in embedded mode; never answer 200 while an item that could be ours is not durable; never refuse an
//! item for its kind, its account or its payment, because a gateway repeats what is refused for days and holds back what comes after it.

use http::{HeaderMap, StatusCode};
use lambda_http::{Body, Request, Response};
use tracing::info;

use super::event::InvalidRequest;
use super::queue::NotificationEnvelope;
use super::response::text_response;
use super::settings::Mode;
use super::state::{AppState, Invocation};
use super::verifier::Rejection;
use super::webhook_handler::{check_body, enqueue, reject, respond_with_disposition};
use crate::cleeng::webhook::Verified;
use crate::flow::NotificationFlow;
use crate::gateway::{GatewayName, NotificationError, NotificationItem, NotificationKind};
use crate::metrics::Metric;

/// Answers one request.
pub(super) async fn handle_request(
    state: &AppState,
    flow: &dyn NotificationFlow,
    request: Result<Box<Request>, InvalidRequest>,
    invocation: &Invocation,
) -> Response<Body> {
    let accepted = match request {
        Ok(request) => accept(state, flow, &request, invocation).await,
        Err(invalid) => Err(invalid.into()),
    };
    accepted.unwrap_or_else(|rejection| reject(state, &rejection, invocation))
}

async fn accept(
    state: &AppState,
    flow: &dyn NotificationFlow,
    request: &Request,
    invocation: &Invocation,
) -> Result<Response<Body>, Rejection> {
    let gateway = gateway_from_path(state, request.uri().path())?;
    let body = check_body(state, request)?;
    let received_at = state.clock.now();
    let items = read_items(state, gateway, request.headers(), body).await.map_err(rejection_for)?;
    let (mut bad, mut deferred) = (None, None);
    for (item, number) in items.into_iter().zip(1_u32..) {
        match item {
            Err(error) => bad = bad.or(Some(error)),
            Ok(item) if item.kind == NotificationKind::Ignored => {
                state.metrics.count(Metric::EventNotOurs, &[]);
                info!(request_id = invocation.request_id, gateway = gateway.as_str(), "notification does not concern the connector");
            }
            Ok(item) if state.mode == Mode::Embedded => {
                let delivery = state.first_delivery(invocation, format!("{}/{number}", invocation.request_id));
                let item = Verified::attest(item);
                let disposition = flow.handle(&state.dependencies().flow_context, gateway, &item, &delivery).await;
                let response = respond_with_disposition(state, disposition).await;
                deferred = deferred.or(Some(response).filter(|response| response.status() != StatusCode::OK));
            }
            Ok(item) => {
                let envelope = NotificationEnvelope::seal(gateway, &Verified::attest(item), received_at);
                enqueue(state, &envelope.to_text(), invocation).await?;
                info!(request_id = invocation.request_id, gateway = gateway.as_str(), "notification accepted");
            }
        }
    }
    // The gateway repeats the body: by then what is good in it is known, and what is bad gets another chance.
    match bad {
        Some(error) => Err(rejection_for(error)),
        None => Ok(deferred.unwrap_or_else(|| text_response(StatusCode::OK, "[accepted]"))),
    }
}

/// The gateway that the path names, if it is one of this deployment.
fn gateway_from_path(state: &AppState, path: &str) -> Result<GatewayName, Rejection> {
    let mut segments = path.rsplit('/');
    let (last, name, folder) = (segments.next(), segments.next().unwrap_or_default(), segments.next());
    let gateway = GatewayName::parse(name).filter(|_| last == Some("notifications") && folder == Some("gateways"));
    let configured = gateway.filter(|gateway| state.dependencies().flow_context.gateways.get(*gateway).is_some());
    let message = "there is no such gateway in this deployment: check the URL in the gateway's settings, and PAYMENT_METHODS";
    configured.ok_or_else(|| Rejection::new(StatusCode::NOT_FOUND, "not_found", message))
}

/// Verifies and reads. On failure it tries again with newly read secrets, because they may have been rotated meanwhile.
async fn read_items(
    state: &AppState,
    gateway: GatewayName,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Vec<NotificationItem>, NotificationError> {
    let first = read_items_once(state, gateway, headers, body).await;
    let unproven = match &first {
        Err(error) => is_unproven(*error),
        Ok(items) => items.iter().any(|item| item.as_ref().is_err_and(|error| is_unproven(*error))),
    };
    if unproven && state.dependencies.refresh("signature").await { read_items_once(state, gateway, headers, body).await } else { first }
}

async fn read_items_once(
    state: &AppState,
    gateway: GatewayName,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Vec<NotificationItem>, NotificationError> {
    let dependencies = state.dependencies();
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
            let message = "it cannot be verified now whether the gateway sent it: its certificate and its verification were not reached";
            (StatusCode::SERVICE_UNAVAILABLE, "signature_undecided", message)
        }
    };
    Rejection::new(status, code, message)
}

#[cfg(test)]
mod tests;
