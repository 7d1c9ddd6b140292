//! The first door for the gateways: `POST /gateways/{gateway}/notifications`. Each item is verified, and each that says something to us is put
//! on the queue as a message of its own; only then is `[accepted]` answered (docs.adyen.com, "Accept webhooks"; any gateway takes it).
//!
//! It must never act on an item, except in embedded mode; never answer 200 while an item that could be ours is not durable; never refuse an
//! item for its kind, its account or its payment, because a gateway repeats what is refused for days and holds back what comes after it.

use http::{HeaderMap, StatusCode};
use tracing::info;

use super::app::{App, Invocation};
use super::event::{Answer, HttpRequest};
use super::http_door::{self, Refused};
use super::queue::NotificationEnvelope;
use super::queue_door::{DEPLOYED_TIME, deadline};
use super::settings::Mode;
use crate::cleeng::webhook::Verified;
use crate::clock::Timestamp;
use crate::flow::{Delivery, NotificationFlow};
use crate::gateway::{GatewayName, GatewayNotification, NotificationError, NotificationItem, NotificationKind};
use crate::metrics::Metric;

/// Answers one request.
pub async fn answer(app: &App, flow: &dyn NotificationFlow, request: &HttpRequest, invocation: &Invocation) -> Answer {
    take(app, flow, request, invocation).await.unwrap_or_else(|refused| http_door::refuse(app, &refused, invocation))
}

async fn take(app: &App, flow: &dyn NotificationFlow, request: &HttpRequest, invocation: &Invocation) -> Result<Answer, Refused> {
    let gateway = addressed(app, &request.path)?;
    let body = http_door::check_body(app, request)?;
    let received_at = app.parts.clock.now();
    let items = read(app, gateway, &request.headers, body).await.map_err(refused)?;
    let (mut bad, mut put_off) = (None, None);
    for (item, number) in items.into_iter().zip(1_u32..) {
        match item {
            Err(error) => bad = bad.or(Some(error)),
            Ok(item) if item.kind == NotificationKind::Ignored => {
                app.parts.metrics.count(Metric::EventNotOurs, &[]);
                info!(request_id = invocation.request_id, gateway = gateway.as_str(), "notification has nothing to tell us");
            }
            Ok(item) if app.parts.mode == Mode::Embedded => {
                let answer = settle_now(app, flow, gateway, item, invocation, received_at, number).await;
                put_off = put_off.or(Some(answer).filter(|answer| answer.status != StatusCode::OK));
            }
            Ok(item) => {
                let envelope = NotificationEnvelope::seal(gateway, &Verified::attest(item), received_at);
                http_door::enqueue(app, &envelope.to_text(), invocation).await?;
                info!(request_id = invocation.request_id, gateway = gateway.as_str(), "notification accepted");
            }
        }
    }
    // The gateway repeats the body: what is good in it is known by then, and what is bad gets another chance.
    match bad {
        Some(error) => Err(refused(error)),
        None => Ok(put_off.unwrap_or_else(|| Answer::text(StatusCode::OK, "[accepted]"))),
    }
}

/// The gateway that the path names, if it is one of this deployment.
fn addressed(app: &App, path: &str) -> Result<GatewayName, Refused> {
    let mut segments = path.rsplit('/');
    let (last, name, room) = (segments.next(), segments.next().unwrap_or_default(), segments.next());
    let gateway = GatewayName::parse(name).filter(|_| last == Some("notifications") && room == Some("gateways"));
    let configured = gateway.filter(|gateway| app.wired().world.gateways.get(*gateway).is_some());
    let message = "there is no such gateway in this deployment: check the URL in the gateway's settings, and PAYMENT_METHODS";
    configured.ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "not_found", message))
}

/// Verifies and reads, and once more with secrets that were read anew, because a rotation may have passed us by.
async fn read(app: &App, gateway: GatewayName, headers: &HeaderMap, body: &[u8]) -> Result<Vec<NotificationItem>, NotificationError> {
    let first = read_once(app, gateway, headers, body).await;
    let unproven = match &first {
        Err(error) => is_unproven(*error),
        Ok(items) => items.iter().any(|item| item.as_ref().is_err_and(|error| is_unproven(*error))),
    };
    if unproven && app.refresh("signature").await { read_once(app, gateway, headers, body).await } else { first }
}

async fn read_once(app: &App, gateway: GatewayName, headers: &HeaderMap, body: &[u8]) -> Result<Vec<NotificationItem>, NotificationError> {
    let wired = app.wired();
    match wired.world.gateways.get(gateway) {
        Some(adapter) => adapter.read_notification(headers, body).await,
        None => Err(NotificationError::Malformed),
    }
}

const fn is_unproven(error: NotificationError) -> bool {
    // A question that was not answered may have been asked with credentials that were changed.
    matches!(error, NotificationError::Unsigned | NotificationError::BadSignature | NotificationError::Undecided)
}

fn refused(error: NotificationError) -> Refused {
    let (status, code, message) = match error {
        NotificationError::Malformed => (StatusCode::BAD_REQUEST, "invalid_body", "body is no notification of this gateway"),
        NotificationError::Unsigned => (StatusCode::UNAUTHORIZED, "unsigned", "an item has no signature: switch HMAC on at the gateway"),
        NotificationError::BadSignature => {
            let message = "a signature does not fit: put the gateway's current HMAC key into the secret";
            (StatusCode::UNAUTHORIZED, "bad_signature", message)
        }
        NotificationError::Undecided => {
            let message = "it cannot be told now whether the gateway sent it: its certificate and its verification were not reached";
            (StatusCode::SERVICE_UNAVAILABLE, "signature_undecided", message)
        }
    };
    Refused::new(status, code, message)
}

/// Embedded mode: no queue, so the flow runs here.
async fn settle_now(
    app: &App,
    flow: &dyn NotificationFlow,
    gateway: GatewayName,
    item: GatewayNotification,
    invocation: &Invocation,
    received_at: Timestamp,
    number: u32,
) -> Answer {
    let id = format!("{}/{number}", invocation.request_id);
    let delivery = Delivery { id, deadline: deadline(app.parts.clock.as_ref(), invocation, DEPLOYED_TIME), received_at, count: 1 };
    let verdict = flow.settle(&app.wired().world, gateway, &Verified::attest(item), &delivery).await;
    http_door::answer_verdict(app, verdict).await
}

#[cfg(test)]
mod tests;
