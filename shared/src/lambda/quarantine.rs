//! Events whose signature does not fit, and may yet: Cleeng drops an old webhook secret at once, and ours is changed a little later. The door
//! answers 401 and keeps the event aside, on an encrypted queue for 14 days; reconciliation verifies it again with the secrets of then, and only
//! then is it queued. Must never give an event on that did not verify, nor believe a word of it before.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{error, info, warn};

use super::app::{App, Invocation};
use crate::cleeng::envelope::{Envelope, EnvelopeError, VERSION, read_members};
use crate::cleeng::webhook::{Topic, Webhook};
use crate::clock::Timestamp;
use crate::metrics::Metric;

const SOURCE: &str = "quarantine";
/// A function keeps aside no more than this in a minute: whoever learns the path's key cannot fill the queue.
const MAX_PER_MINUTE: u32 = 60;
/// A minute, in milliseconds.
const MINUTE: i64 = 60_000;
/// What did not verify is looked at again so much later, until the queue forgets it.
const RECHECK_INTERVAL: Duration = Duration::from_secs(3600);
/// What could not be given on is looked at again soon.
const REQUEUE_RETRY_INTERVAL: Duration = Duration::from_secs(120);

/// An event as it came, unverified: its bytes and its signature.
pub struct QuarantinedWebhook {
    topic: Topic,
    received_at: Timestamp,
    header: String,
    signature: String,
    body: String,
}

#[derive(Deserialize)]
struct Wire {
    topic: String,
    received_at: i64,
    header: String,
    signature: String,
    body: String,
}

impl QuarantinedWebhook {
    fn to_text(&self) -> String {
        json!({
            "v": VERSION,
            "source": SOURCE,
            "topic": self.topic.as_str(),
            "received_at": self.received_at.millis(),
            "header": self.header,
            "signature": self.signature,
            "body": self.body,
        })
        .to_string()
    }

    fn from_text(text: &str) -> Result<Self, EnvelopeError> {
        let wire: Wire = serde_json::from_value(read_members(text, SOURCE)?).map_err(|_| EnvelopeError::Garbled)?;
        Ok(Self {
            topic: Topic::parse(&wire.topic).ok_or(EnvelopeError::Topic)?,
            received_at: Timestamp::from_millis(wire.received_at),
            header: wire.header,
            signature: wire.signature,
            body: wire.body,
        })
    }

    fn headers(&self) -> Result<HeaderMap, EnvelopeError> {
        let name: HeaderName = self.header.parse().map_err(|_| EnvelopeError::Garbled)?;
        let value = HeaderValue::from_str(&self.signature).map_err(|_| EnvelopeError::Garbled)?;
        Ok(HeaderMap::from_iter([(name, value)]))
    }
}

/// How much was kept aside in this minute.
#[derive(Default)]
pub(super) struct RateLimiter(Mutex<(i64, u32)>);

impl RateLimiter {
    fn allows(&self, now: Timestamp) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now.millis().div_euclid(MINUTE);
        if seen.0 != minute {
            *seen = (minute, 0);
        }
        seen.1 = seen.1.saturating_add(1);
        seen.1 <= MAX_PER_MINUTE
    }
}

/// Keeps an event aside whose signature does not fit, if it could be Cleeng's: for this publisher, of this topic, with a signature at all.
/// Whatever fails here, the answer is the same.
pub(super) async fn quarantine(app: &App, topic: Topic, headers: &HeaderMap, body: &[u8], invocation: &Invocation) {
    let dependencies = app.dependencies();
    let Some((header, signature)) = dependencies.verifier.signature_header(headers) else { return };
    let (Ok(webhook), Ok(text)) = (Webhook::parse(body), std::str::from_utf8(body)) else { return };
    if webhook.topic != topic || webhook.publisher != dependencies.flow_context.policy.publisher {
        return;
    }
    let received_at = app.state.clock.now();
    if !app.state.rate_limiter.allows(received_at) {
        app.state.metrics.count(Metric::Warning, &[("reason", "quarantine_full")]);
        return;
    }
    let quarantined = QuarantinedWebhook { topic, received_at, header, signature, body: text.to_owned() };
    match app.state.quarantine.send(&quarantined.to_text()).await {
        Ok(()) => app.state.metrics.count(Metric::Warning, &[("reason", "quarantined_webhook")]),
        Err(queue) => error!(request_id = invocation.request_id, %queue, "webhook could not be quarantined"),
    }
}

/// Verifies a batch again, and names the messages that stay where they are (Lambda, "Reporting batch item failures").
pub(super) async fn recheck(app: &App, batch: SqsEvent, invocation: &Invocation) -> Value {
    let mut failed = Vec::new();
    // The secret may have been changed since the last look.
    app.refresh("quarantine").await;
    for message in batch.records {
        let id = message.message_id.clone().unwrap_or_default();
        if let Err(wait) = release_if_verified(app, &message, &id).await {
            if let Some(handle) = message.receipt_handle.as_deref()
                && let Err(queue) = app.state.queue.delay(handle, wait).await
            {
                warn!(request_id = invocation.request_id, message_id = id, %queue, "message could not be deferred");
            }
            failed.push(json!({ "itemIdentifier": id }));
        }
    }
    json!({ "batchItemFailures": failed })
}

/// Gives an event on if it verifies now. `Err` with the time until it is looked at again.
async fn release_if_verified(app: &App, message: &SqsMessage, id: &str) -> Result<(), Duration> {
    let read = QuarantinedWebhook::from_text(message.body.as_deref().unwrap_or_default());
    let (quarantined, headers) =
        read.and_then(|quarantined| quarantined.headers().map(|headers| (quarantined, headers))).map_err(|unreadable| {
            error!(message_id = id, code = unreadable.code(), "quarantined message unreadable");
            RECHECK_INTERVAL
        })?;
    let dependencies = app.dependencies();
    let verified = dependencies.verifier.verify(&headers, quarantined.body.as_bytes()).map_err(|_| RECHECK_INTERVAL)?;
    if verified.get().topic != quarantined.topic {
        return Err(RECHECK_INTERVAL);
    }
    let envelope = Envelope::seal(&verified, quarantined.body.as_bytes(), quarantined.received_at).map_err(|_| RECHECK_INTERVAL)?;
    dependencies.flow_context.requeue.requeue(&envelope.to_text()).await.map_err(|queue| {
        error!(message_id = id, %queue, "quarantined webhook verified but could not be queued");
        REQUEUE_RETRY_INTERVAL
    })?;
    app.state.metrics.count(Metric::Warning, &[("reason", "released_from_quarantine")]);
    info!(message_id = id, topic = quarantined.topic.as_str(), "quarantined webhook verified and queued");
    Ok(())
}

#[cfg(test)]
mod tests;
