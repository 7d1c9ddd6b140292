//! The HTTP handler of the gateways' notifications: `POST /gateways/{gateway}/notifications`. Each item is verified, and each that concerns
//! us is put on the queue as a message of its own; only then is `[accepted]` answered (docs.adyen.com, "Accept webhooks"; any gateway takes
//! it).
//!
//! It must never act on an item, except in embedded mode; never answer 200 while an item that could be ours is not durable; never refuse an
//! item for its kind, its account or its payment, because a gateway repeats what is refused for days and holds back what comes after it.
//! For the same reason a body with an item that does not verify among others that do is accepted, with an alarm: it is kept aside on the
//! queue and verified again. So is a body that the gateway signed and that cannot be read.

use http::{HeaderMap, StatusCode};
use lambda_http::{Body, Request, Response};
use tracing::{error, info};

use super::event::InvalidRequest;
use super::queue::{MAX_MESSAGE_BYTES, NotificationEnvelope, UnverifiedNotification};
use super::response::text_response;
use super::settings::Mode;
use super::state::{AppState, Invocation};
use super::verifier::Rejection;
use super::webhook_handler::{check_body, enqueue, reject, respond_with_disposition};
use crate::cleeng::webhook::Verified;
use crate::clock::Timestamp;
use crate::flow::{Disposition, NotificationFlow};
use crate::gateway::{GatewayName, NotificationError, NotificationItem, NotificationKind};
use crate::metrics::Metric;
use crate::reason::{AlarmReason, CompletionReason, RetryReason};

/// The largest notification, in bytes. A dispute carries every transaction and message of the case, 150 KB have been seen.
const MAX_NOTIFICATION_BYTES: usize = 1_048_576;

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
    let body = match check_body(request, MAX_NOTIFICATION_BYTES) {
        Err(too_large) if read_items(state, gateway, request.headers(), request.body()).await.is_ok_and(|items| !items.is_empty()) => {
            raise_alarm(state, AlarmReason::NotificationTooLarge, gateway, invocation);
            return Err(too_large);
        }
        checked => checked?,
    };
    let received_at = state.clock.now();
    let items = match read_items(state, gateway, request.headers(), body).await {
        Err(NotificationError::NotUnderstood) => vec![Err(NotificationError::NotUnderstood)],
        read => read.map_err(rejection_for)?,
    };
    if let Some(error) = items.iter().find_map(|item| item.as_ref().err()) {
        keep_aside(state, gateway, request, *error, received_at, invocation).await?;
    }
    let mut deferred = None;
    for (item, number) in items.into_iter().flatten().zip(1_u32..) {
        if item.kind == NotificationKind::Ignored {
            state.metrics.count(Metric::EventNotOurs, &[]);
            info!(request_id = invocation.request_id, gateway = gateway.as_str(), "notification does not concern the connector");
        } else if state.mode == Mode::Embedded {
            let delivery = state.first_delivery(invocation, format!("{}/{number}", invocation.request_id));
            let item = Verified::attest(item);
            let disposition = flow.handle(&state.dependencies().flow_context, gateway, &item, &delivery).await;
            let response = respond_with_disposition(state, disposition).await;
            deferred = deferred.or(Some(response).filter(|response| response.status() != StatusCode::OK));
        } else {
            let envelope = NotificationEnvelope::seal(gateway, &Verified::attest(item), received_at);
            enqueue(state, &envelope.to_text(), invocation).await?;
            info!(request_id = invocation.request_id, gateway = gateway.as_str(), "notification accepted");
        }
    }
    Ok(deferred.unwrap_or_else(|| text_response(StatusCode::OK, "[accepted]")))
}

/// Keeps a request aside, with an alarm: on the queue, to be verified again with the secrets and by the release of then. What floods in is
/// refused as it is.
async fn keep_aside(
    state: &AppState,
    gateway: GatewayName,
    request: &Request,
    error: NotificationError,
    received_at: Timestamp,
    invocation: &Invocation,
) -> Result<(), Rejection> {
    raise_alarm(state, AlarmReason::NotificationKeptAside, gateway, invocation);
    let kept = UnverifiedNotification::seal(gateway, request.headers(), request.body(), received_at);
    match kept.filter(|_| state.mode == Mode::Lambda && state.quarantine_limiter.allows(received_at)) {
        Some(kept) => {
            let text = kept.to_text();
            if text.len() > MAX_MESSAGE_BYTES {
                raise_alarm(state, AlarmReason::NotificationTooLarge, gateway, invocation);
                return Err(Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "written as a message, the body is too large"));
            }
            enqueue(state, &text, invocation).await
        }
        None if state.mode == Mode::Embedded => Ok(()),
        None => Err(rejection_for(error)),
    }
}

/// Verifies what was kept aside again, and queues its items once all of them verify.
pub(super) async fn recheck(state: &AppState, kept: &UnverifiedNotification, invocation: &Invocation) -> Disposition {
    let still_unverified = Disposition::Retry { after: None, reason: RetryReason::NotificationUnverified };
    let Ok(items) = read_items(state, kept.gateway(), &kept.headers(), kept.body()).await else { return still_unverified };
    let Ok(items) = items.into_iter().collect::<Result<Vec<_>, _>>() else { return still_unverified };
    for item in items.into_iter().filter(|item| item.kind != NotificationKind::Ignored) {
        let envelope = NotificationEnvelope::seal(kept.gateway(), &Verified::attest(item), kept.received_at());
        if enqueue(state, &envelope.to_text(), invocation).await.is_err() {
            return Disposition::Retry { after: None, reason: RetryReason::EventQueueUnavailable };
        }
    }
    Disposition::Completed(CompletionReason::Finished)
}

fn raise_alarm(state: &AppState, reason: AlarmReason, gateway: GatewayName, invocation: &Invocation) {
    state.metrics.count(Metric::Alarm, &[("reason", reason.as_str())]);
    error!(request_id = invocation.request_id, gateway = gateway.as_str(), reason = reason.as_str(), "notification not taken as it is");
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
        NotificationError::NotUnderstood => (StatusCode::BAD_REQUEST, "not_understood", "the body is signed and cannot be read"),
        NotificationError::Unverifiable => {
            let message = "it cannot be verified now whether the gateway sent it: its certificate and its verification were not reached";
            (StatusCode::SERVICE_UNAVAILABLE, "signature_undecided", message)
        }
    };
    Rejection::new(status, code, message)
}

#[cfg(test)]
mod tests;
