//! A verified event as it lies on a queue and in the journal.
//!
//! An [`Envelope`] is only ever made from an event that was verified, and only our own functions write queue and journal (their policies
//! name the roles). Opening one is therefore the second place, after the verifiers of the HTTP handlers, that makes a [`Verified`] event.

use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use super::webhook::{Topic, Verified, Webhook, WebhookError};
use crate::clock::Timestamp;
use crate::json;

/// The version that is written. A release reads its own and every older one.
pub(crate) const VERSION: u64 = 1;
const SOURCE: &str = "cleeng";

/// A verified event, sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    topic: Topic,
    received_at: Timestamp,
    body: String,
}

/// Why a text is no envelope.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// The text is no envelope at all.
    #[error("not an envelope of this connector")]
    Garbled,
    /// It was written by a later release.
    #[error("the envelope's version is newer than this release: deploy that release again, or redrive later")]
    Version,
    /// It came from somewhere else.
    #[error("the envelope's source is not one that this function takes")]
    Source,
    /// The envelope says another topic than the event in it.
    #[error("the envelope's topic is not the event's")]
    Topic,
    /// The event in it cannot be read.
    #[error("the event in the envelope cannot be read: {0}")]
    Event(WebhookError),
    /// The event in it is one of another function.
    #[error("the event is one of another function's topic")]
    WrongQueue,
    /// The notification in it cannot be read.
    #[error("the notification in the envelope cannot be read")]
    Item,
}

impl EnvelopeError {
    /// A stable code for alarms.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Garbled => "envelope_garbled",
            Self::Version => "envelope_version",
            Self::Source => "envelope_source",
            Self::Topic => "envelope_topic",
            Self::Event(_) => "envelope_event",
            Self::WrongQueue => "wrong_topic",
            Self::Item => "envelope_item",
        }
    }
}

#[derive(Deserialize)]
struct Wire {
    topic: String,
    received_at: i64,
    body: String,
}

impl Envelope {
    /// Seals a verified event with the bytes that it was read from.
    ///
    /// # Errors
    /// [`EnvelopeError::Event`] if the bytes are not UTF-8, which a verified event's cannot be.
    pub fn seal(event: &Verified<Webhook>, raw: &[u8], received_at: Timestamp) -> Result<Self, EnvelopeError> {
        let body = std::str::from_utf8(raw).map_err(|_| EnvelopeError::Event(WebhookError::NotJson))?;
        Ok(Self { topic: event.get().topic, received_at, body: body.to_owned() })
    }

    /// Seals the bytes of an event whose signature fits and which this release cannot read, for the function of this topic. What is no UTF-8
    /// in it is replaced: it is no JSON either.
    #[must_use]
    pub fn seal_unread(topic: Topic, raw: &[u8], received_at: Timestamp) -> Self {
        Self { topic, received_at, body: String::from_utf8_lossy(raw).into_owned() }
    }

    /// Seals an event whose bytes are gone: the same members, written again. For a flow that keeps its own event to continue later.
    #[must_use]
    pub fn reseal(event: &Verified<Webhook>, received_at: Timestamp) -> Self {
        let webhook = event.get();
        let body = json!({ "broadcasterId": webhook.publisher, "topic": webhook.topic.as_str(), "data": webhook.data });
        Self { topic: webhook.topic, received_at, body: body.to_string() }
    }

    /// The envelope as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        json!({
            "v": VERSION,
            "source": SOURCE,
            "topic": self.topic.as_str(),
            "received_at": self.received_at.millis(),
            "body": self.body,
        })
        .to_string()
    }

    /// Reads an envelope from the text of a message of our own queue or of a document of our own journal.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn from_text(text: &str) -> Result<Self, EnvelopeError> {
        let wire: Wire = serde_json::from_value(read_members(text, SOURCE)?).map_err(|_| EnvelopeError::Garbled)?;
        let topic = Topic::parse(&wire.topic).ok_or(EnvelopeError::Topic)?;
        Ok(Self { topic, received_at: Timestamp::from_millis(wire.received_at), body: wire.body })
    }

    /// Reads what an attempt in our own journal keeps while it waits: an envelope, or the webhook alone, which is then sealed as of now.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn from_waiting_event(text: &str, now: Timestamp) -> Result<Self, EnvelopeError> {
        Self::from_text(text).or_else(|_| {
            let webhook = Webhook::parse(text.as_bytes()).map_err(EnvelopeError::Event)?;
            Ok(Self::reseal(&Verified::attest(webhook), now))
        })
    }

    /// The text of the event.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }

    /// What the event is about.
    #[must_use]
    pub const fn topic(&self) -> Topic {
        self.topic
    }

    /// When the webhook first arrived.
    #[must_use]
    pub const fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// The event, whose origin the queue vouches for.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn open(&self) -> Result<Verified<Webhook>, EnvelopeError> {
        let webhook = Webhook::parse(self.body.as_bytes()).map_err(EnvelopeError::Event)?;
        if webhook.topic != self.topic {
            return Err(EnvelopeError::Topic);
        }
        Ok(Verified::attest(webhook))
    }
}

/// Reads the members of an envelope of this source. The version first: a later release may have changed everything else.
pub(crate) fn read_members(text: &str, source: &str) -> Result<Value, EnvelopeError> {
    let value = json::parse(text.as_bytes()).map_err(|_| EnvelopeError::Garbled)?;
    match value.get("v").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(newer) if newer > VERSION => return Err(EnvelopeError::Version),
        _ => return Err(EnvelopeError::Garbled),
    }
    match value.get("source").and_then(Value::as_str) {
        Some(told) if told == source => Ok(value),
        Some(_) => Err(EnvelopeError::Source),
        None => Err(EnvelopeError::Garbled),
    }
}

#[cfg(test)]
mod tests;
