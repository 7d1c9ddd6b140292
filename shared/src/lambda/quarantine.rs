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
use super::queue::{Envelope, EnvelopeError, VERSION, unwrap};
use crate::cleeng::webhook::{Topic, Webhook};
use crate::clock::Timestamp;
use crate::metrics::Metric;

const SOURCE: &str = "quarantine";
/// A function keeps aside no more than this in a minute: whoever learns the path's key cannot fill the queue.
const MOST_A_MINUTE: u32 = 60;
/// A minute, in milliseconds.
const MINUTE: i64 = 60_000;
/// What did not verify is looked at again so much later, until the queue forgets it.
const AGAIN: Duration = Duration::from_secs(3600);
/// What could not be given on is looked at again soon.
const SOON: Duration = Duration::from_secs(120);

/// An event as it came, unverified: its bytes and its signature.
pub struct Suspect {
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

impl Suspect {
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
        let wire: Wire = serde_json::from_value(unwrap(text, SOURCE)?).map_err(|_| EnvelopeError::Garbled)?;
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
pub(super) struct Meter(Mutex<(i64, u32)>);

impl Meter {
    fn admits(&self, now: Timestamp) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now.millis().div_euclid(MINUTE);
        if seen.0 != minute {
            *seen = (minute, 0);
        }
        seen.1 = seen.1.saturating_add(1);
        seen.1 <= MOST_A_MINUTE
    }
}

/// Keeps an event aside whose signature does not fit, if it could be Cleeng's: for this publisher, of this topic, with a signature at all.
/// Whatever fails here, the answer is the same.
pub(super) async fn keep(app: &App, topic: Topic, headers: &HeaderMap, body: &[u8], invocation: &Invocation) {
    let wired = app.wired();
    let Some((header, signature)) = wired.verify.signature(headers) else { return };
    let (Ok(webhook), Ok(text)) = (Webhook::parse(body), std::str::from_utf8(body)) else { return };
    if webhook.topic != topic || webhook.publisher != wired.world.rules.publisher {
        return;
    }
    let received_at = app.parts.clock.now();
    if !app.parts.meter.admits(received_at) {
        app.parts.metrics.count(Metric::Warning, &[("reason", "quarantine_is_full")]);
        return;
    }
    let suspect = Suspect { topic, received_at, header, signature, body: text.to_owned() };
    match app.parts.quarantine.send(&suspect.to_text()).await {
        Ok(()) => app.parts.metrics.count(Metric::Warning, &[("reason", "kept_in_quarantine")]),
        Err(queue) => error!(request_id = invocation.request_id, %queue, "an event could not be kept in quarantine"),
    }
}

/// Verifies a batch again, and names the messages that stay where they are (Lambda, "Reporting batch item failures").
pub(super) async fn look_again(app: &App, batch: SqsEvent, invocation: &Invocation) -> Value {
    let mut failed = Vec::new();
    // The secret may have been changed since the last look.
    app.refresh("quarantine").await;
    for message in batch.records {
        let id = message.message_id.clone().unwrap_or_default();
        if let Err(wait) = release(app, &message, &id).await {
            if let Some(handle) = message.receipt_handle.as_deref()
                && let Err(queue) = app.parts.queue.delay(handle, wait).await
            {
                warn!(request_id = invocation.request_id, message_id = id, %queue, "message could not be put off");
            }
            failed.push(json!({ "itemIdentifier": id }));
        }
    }
    json!({ "batchItemFailures": failed })
}

/// Gives an event on if it verifies now. `Err` with the time until it is looked at again.
async fn release(app: &App, message: &SqsMessage, id: &str) -> Result<(), Duration> {
    let read = Suspect::from_text(message.body.as_deref().unwrap_or_default());
    let (suspect, headers) = read.and_then(|suspect| suspect.headers().map(|headers| (suspect, headers))).map_err(|unreadable| {
        error!(message_id = id, code = unreadable.code(), "what lies in quarantine cannot be read");
        AGAIN
    })?;
    let wired = app.wired();
    let verified = wired.verify.verify(&headers, suspect.body.as_bytes()).map_err(|_| AGAIN)?;
    if verified.get().topic != suspect.topic {
        return Err(AGAIN);
    }
    let envelope = Envelope::seal(&verified, suspect.body.as_bytes(), suspect.received_at).map_err(|_| AGAIN)?;
    wired.world.requeue.requeue(&envelope.to_text()).await.map_err(|queue| {
        error!(message_id = id, %queue, "an event that verifies now could not be queued");
        SOON
    })?;
    app.parts.metrics.count(Metric::Warning, &[("reason", "released_from_quarantine")]);
    info!(message_id = id, topic = suspect.topic.as_str(), "an event from quarantine verifies now and is queued");
    Ok(())
}

#[cfg(test)]
mod tests;
