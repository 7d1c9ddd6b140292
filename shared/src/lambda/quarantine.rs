//! Events whose signature does not fit yet: Cleeng drops an old webhook secret at once, and ours is changed a little later. The webhook
//! handler answers 401 and quarantines the event on an encrypted queue for 14 days; reconciliation verifies it again with the secrets in
//! force then, and only then queues it. Must never queue an event that did not verify, nor believe anything in it before.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{debug, error, info, warn};

use super::state::{AppState, Invocation};
use crate::cleeng::envelope::{Envelope, EnvelopeError, VERSION, read_members};
use crate::cleeng::webhook::{Topic, Webhook};
use crate::clock::Timestamp;
use crate::metrics::Metric;
use crate::rate_limit::WindowLimiter;

const SOURCE: &str = "quarantine";
/// A function quarantines no more than this in a minute: a caller that knows the path's key cannot fill the queue.
const MAX_PER_MINUTE: u32 = 60;
/// What did not verify is checked again after this time, until the queue forgets it.
const RECHECK_INTERVAL: Duration = Duration::from_secs(3600);
/// What verified and could not be queued is tried again soon.
const REQUEUE_RETRY_INTERVAL: Duration = Duration::from_secs(120);

/// Headers that hold a caller's credentials, and no signature.
const CREDENTIALS: [HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];
/// The longest value of a header that can be a signature, in bytes.
const LONGEST_SIGNATURE: usize = 512;
/// No more headers than this are kept of a webhook.
const MAX_HEADERS: usize = 48;

/// An event as it arrived, unverified: its bytes and its headers. Which of them has the signature is a setting, which may be wrong.
pub(super) struct QuarantinedWebhook {
    topic: Topic,
    received_at: Timestamp,
    headers: BTreeMap<String, String>,
    body: String,
}

#[derive(Deserialize)]
struct Wire {
    topic: String,
    received_at: i64,
    headers: BTreeMap<String, String>,
    body: String,
}

impl QuarantinedWebhook {
    fn to_text(&self) -> String {
        json!({
            "v": VERSION,
            "source": SOURCE,
            "topic": self.topic.as_str(),
            "received_at": self.received_at.millis(),
            "headers": self.headers,
            "body": self.body,
        })
        .to_string()
    }

    fn from_text(text: &str) -> Result<Self, EnvelopeError> {
        let wire: Wire = serde_json::from_value(read_members(text, SOURCE)?).map_err(|_| EnvelopeError::Garbled)?;
        Ok(Self {
            topic: Topic::parse(&wire.topic).ok_or(EnvelopeError::Topic)?,
            received_at: Timestamp::from_millis(wire.received_at),
            headers: wire.headers,
            body: wire.body,
        })
    }

    fn headers(&self) -> HeaderMap {
        self.headers.iter().filter_map(|(name, value)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?))).collect()
    }
}

/// The headers that can hold a signature, several values of one joined by commas as an HTTP API does it.
fn headers_to_keep(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut kept: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| !CREDENTIALS.contains(name)).take(MAX_HEADERS) {
        let Some(text) = value.to_str().ok().filter(|text| text.len() <= LONGEST_SIGNATURE) else { continue };
        kept.entry(name.as_str().to_owned()).and_modify(|values| *values = format!("{values},{text}")).or_insert_with(|| text.to_owned());
    }
    kept
}

/// The limit of what one function quarantines.
pub(super) const fn limiter() -> WindowLimiter {
    WindowLimiter::new(MAX_PER_MINUTE, Duration::from_secs(60))
}

/// Quarantines an event whose signature does not fit or is not where it is looked for, if it could be Cleeng's: for this publisher and of
/// this topic. With `LOG_LEVEL=debug` the names of its headers are logged, so that the signature's can be found. A failure here does not
/// change the response.
pub(super) async fn quarantine(state: &AppState, topic: Topic, headers: &HeaderMap, body: &[u8], invocation: &Invocation) {
    let dependencies = state.dependencies();
    let headers = headers_to_keep(headers);
    let (Ok(webhook), Ok(text)) = (Webhook::parse(body), std::str::from_utf8(body)) else { return };
    if webhook.topic != topic || webhook.publisher != dependencies.flow_context.policy.publisher {
        return;
    }
    state.count_fault("signature");
    let names: Vec<&str> = headers.keys().map(String::as_str).collect();
    debug!(request_id = invocation.request_id, headers = names.join(","), "headers of a webhook whose signature does not fit");
    let received_at = state.clock.now();
    if !state.quarantine_limiter.allows(received_at) {
        state.metrics.count(Metric::Warning, &[("reason", "quarantine_full")]);
        return;
    }
    let quarantined = QuarantinedWebhook { topic, received_at, headers, body: text.to_owned() };
    match state.quarantine.send(&quarantined.to_text()).await {
        Ok(()) => state.metrics.count(Metric::Warning, &[("reason", "quarantined_webhook")]),
        Err(queue) => error!(request_id = invocation.request_id, %queue, "webhook could not be quarantined"),
    }
}

/// Verifies a batch again, and names the messages that stay where they are (Lambda, "Reporting batch item failures").
pub(super) async fn recheck(state: &AppState, batch: SqsEvent, invocation: &Invocation) -> Value {
    let mut failed = Vec::new();
    // The secret may have changed since the last check.
    state.dependencies.refresh("quarantine").await;
    for message in batch.records {
        let id = message.message_id.clone().unwrap_or_default();
        if let Err(wait) = release_if_verified(state, &message, &id).await {
            if let Some(handle) = message.receipt_handle.as_deref()
                && let Err(queue) = state.queue.delay(handle, wait).await
            {
                warn!(request_id = invocation.request_id, message_id = id, %queue, "message could not be deferred");
            }
            failed.push(json!({ "itemIdentifier": id }));
        }
    }
    json!({ "batchItemFailures": failed })
}

/// Queues an event if it verifies now. `Err` with the time until the next check.
async fn release_if_verified(state: &AppState, message: &SqsMessage, id: &str) -> Result<(), Duration> {
    let quarantined = QuarantinedWebhook::from_text(message.body.as_deref().unwrap_or_default()).map_err(|unreadable| {
        error!(message_id = id, code = unreadable.code(), "quarantined message unreadable");
        RECHECK_INTERVAL
    })?;
    let dependencies = state.dependencies();
    let verified = dependencies.verifier.verify(&quarantined.headers(), quarantined.body.as_bytes()).map_err(|_| RECHECK_INTERVAL)?;
    if verified.get().topic != quarantined.topic {
        return Err(RECHECK_INTERVAL);
    }
    let envelope = Envelope::seal(&verified, quarantined.body.as_bytes(), quarantined.received_at).map_err(|_| RECHECK_INTERVAL)?;
    dependencies.flow_context.requeue.requeue(&envelope.to_text()).await.map_err(|queue| {
        error!(message_id = id, %queue, "quarantined webhook verified but could not be queued");
        REQUEUE_RETRY_INTERVAL
    })?;
    state.metrics.count(Metric::Warning, &[("reason", "released_from_quarantine")]);
    info!(message_id = id, topic = quarantined.topic.as_str(), "quarantined webhook verified and queued");
    Ok(())
}

#[cfg(test)]
mod tests;
