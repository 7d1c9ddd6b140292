//! Cleeng's webhooks: the envelope of exactly three members, `broadcasterId`, `topic` and `data` (Cleeng, "Webhook subscription topics"),
//! and what a billing event says.
//!
//! Bytes become a [`Webhook`] by parsing, which proves nothing. Only a [`Verified`] one is taken by a flow, and only this crate makes one:
//! from a signature that fits, and from an envelope of our own queue.

mod payment_events;

pub use payment_events::{CapturePaymentEvent, DeactivationEvent, NamedPayment, REQUESTED_BY_OPERATOR, RefundEvent, RefundOperator};
use serde_json::Value;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::ids::{CustomerId, Id, OfferId, PaymentDetailsId, PaymentMethodId, PublisherId, SubscriptionId};
use crate::json;
use crate::money::Currency;
use crate::secret::SecretString;

/// The topics that a connector handles (Cleeng, "Webhooks - Payments").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// An authorisation attempt is due.
    SubscriptionReadyForPaymentAuthorisation,
    /// A capture, or a charge in capture-only billing, is due.
    SubscriptionReadyForPaymentCapture,
    /// The subscription is to end.
    SubscriptionReadyForTermination,
    /// Payment details were deactivated.
    PaymentDetailsDeactivated,
    /// A refund is asked for.
    RefundPayment,
    /// An authorised single purchase is to be captured.
    CapturePayment,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SubscriptionReadyForPaymentAuthorisation,
        Self::SubscriptionReadyForPaymentCapture,
        Self::SubscriptionReadyForTermination,
        Self::PaymentDetailsDeactivated,
        Self::RefundPayment,
        Self::CapturePayment,
    ];

    /// The name as Cleeng lists it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SubscriptionReadyForPaymentAuthorisation => "subscriptionReadyForPaymentAuthorisation",
            Self::SubscriptionReadyForPaymentCapture => "subscriptionReadyForPaymentCapture",
            Self::SubscriptionReadyForTermination => "subscriptionReadyForTermination",
            Self::PaymentDetailsDeactivated => "paymentDetailsDeactivated",
            Self::RefundPayment => "refundPayment",
            Self::CapturePayment => "capturePayment",
        }
    }

    /// Reads a topic in any case: Cleeng's tutorials write `PaymentDetailsDeactivated`, its topic list `paymentDetailsDeactivated`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.as_str().eq_ignore_ascii_case(text))
    }
}

/// A webhook that was parsed. Whether Cleeng sent it is another question.
#[derive(Clone)]
pub struct Webhook {
    /// Whose it is.
    pub publisher: PublisherId,
    /// What it is about.
    pub topic: Topic,
    /// The rest, as it came. Holds an e-mail address and a token: never logged.
    pub data: Value,
}

/// Why a body is no webhook, or lacks what its topic needs. Names the field and never quotes its value.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WebhookError {
    /// The body is no JSON object.
    #[error("body is not a JSON object in UTF-8")]
    NotJson,
    /// A field is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field is there and cannot be used.
    #[error("{field} is not {expected}")]
    Invalid {
        /// Its path.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The topic is not one that a connector handles.
    #[error("topic is not one that this connector takes")]
    UnknownTopic,
}

impl Webhook {
    /// Parses raw bytes.
    ///
    /// # Errors
    /// [`WebhookError`], naming the first field that is wrong.
    pub fn parse(body: &[u8]) -> Result<Self, WebhookError> {
        let Ok(Value::Object(mut members)) = json::parse(body) else { return Err(WebhookError::NotJson) };
        let publisher = members.get("broadcasterId").or_else(|| members.get("publisherId"));
        let publisher = publisher.filter(|value| !value.is_null()).ok_or(WebhookError::Missing("broadcasterId"))?;
        let publisher = PublisherId::from_json(publisher).map_err(|_| invalid_id("broadcasterId"))?;
        let topic = match members.get("topic") {
            Some(Value::String(topic)) => Topic::parse(topic).ok_or(WebhookError::UnknownTopic)?,
            Some(_) => return Err(WebhookError::Invalid { field: "topic", expected: "a string" }),
            None => return Err(WebhookError::Missing("topic")),
        };
        match members.remove("data") {
            Some(data @ Value::Object(_)) => Ok(Self { publisher, topic, data }),
            Some(_) => Err(WebhookError::Invalid { field: "data", expected: "an object" }),
            None => Err(WebhookError::Missing("data")),
        }
    }

    /// The payment method that the event is about, which says whose event it is; `None` if the payload has none (four payloads are
    /// unpublished).
    ///
    /// # Errors
    /// [`WebhookError::Invalid`] if it is there and no id.
    pub fn payment_method(&self) -> Result<Option<PaymentMethodId>, WebhookError> {
        optional_id(&self.data, "paymentMethodId", "data.paymentMethodId")
    }

    /// Checks that the event has what its topic needs, so that the handler rejects a body that can never be acted on.
    ///
    /// # Errors
    /// [`WebhookError`], naming the field.
    pub fn validate(&self) -> Result<(), WebhookError> {
        self.payment_method()?;
        match self.topic {
            Topic::SubscriptionReadyForPaymentAuthorisation | Topic::SubscriptionReadyForPaymentCapture => {
                BillingEvent::read(self).map(|_| ())
            }
            Topic::SubscriptionReadyForTermination => TerminationEvent::read(self).map(|_| ()),
            Topic::PaymentDetailsDeactivated => DeactivationEvent::read(self).map(|_| ()),
            Topic::RefundPayment => RefundEvent::read(self).map(|_| ()),
            Topic::CapturePayment => CapturePaymentEvent::read(self).map(|_| ()),
        }
    }
}

/// Something whose origin is proven. Cannot be made outside this crate, so no flow can be called with an unverified event:
///
/// ```compile_fail
/// use connector::cleeng::webhook::{Verified, Webhook};
/// fn forge(webhook: Webhook) -> Verified<Webhook> {
///     Verified::attest(webhook)
/// }
/// ```
///
/// ```compile_fail
/// use connector::cleeng::webhook::{Verified, Webhook};
/// fn forge(webhook: Webhook) -> Verified<Webhook> {
///     Verified(webhook)
/// }
/// ```
#[derive(Clone)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// States that the origin of `inner` is proven. Called in two places only: by the verifier, and when an envelope of our own queue (or
    /// the copy of one in our journal) is opened.
    pub(crate) const fn attest(inner: T) -> Self {
        Self(inner)
    }

    /// What was verified.
    #[must_use]
    pub const fn get(&self) -> &T {
        &self.0
    }
}

/// A billing event: `subscriptionReadyForPaymentAuthorisation` or `subscriptionReadyForPaymentCapture`.
///
/// The first payload is documented in full; of the second only the fields up to `expirationDate` are, so the rest is optional here and
/// each flow says what it cannot do without.
#[derive(Clone)]
pub struct BillingEvent {
    /// `subscriptionId`.
    pub subscription: SubscriptionId,
    /// `offerId`.
    pub offer: OfferId,
    /// `customerId`.
    pub customer: CustomerId,
    /// `paymentDetailsId`.
    pub payment_details: PaymentDetailsId,
    /// `dunningAttemptDate`: which attempt this is, and when it was due.
    pub attempt: Timestamp,
    /// `expirationDate`: the end of what is paid, which names the period.
    pub expiration: Timestamp,
    /// `currency`.
    pub currency: Option<Currency>,
    /// `paymentCountry`, two letters.
    pub country: Option<String>,
    /// `paymentMethodId`.
    pub payment_method: Option<PaymentMethodId>,
    /// `token`: the stored details in the adapter's own form.
    pub token: Option<SecretString>,
    /// Whether reconciliation made it in place of an event that never came ([`RECOVERED`]).
    pub recovered: bool,
}

/// The member of the data of a billing event that reconciliation made. Cleeng sends none of this name.
pub const RECOVERED: &str = "recoveredByReconciliation";

impl BillingEvent {
    /// Reads the event's data.
    ///
    /// # Errors
    /// [`WebhookError`], naming the field.
    pub fn read(webhook: &Webhook) -> Result<Self, WebhookError> {
        let data = &webhook.data;
        Ok(Self {
            subscription: id(data, "subscriptionId", "data.subscriptionId")?,
            offer: id(data, "offerId", "data.offerId")?,
            customer: id(data, "customerId", "data.customerId")?,
            payment_details: id(data, "paymentDetailsId", "data.paymentDetailsId")?,
            attempt: date(data, "dunningAttemptDate", "data.dunningAttemptDate")?
                .ok_or(WebhookError::Missing("data.dunningAttemptDate"))?,
            expiration: date(data, "expirationDate", "data.expirationDate")?.ok_or(WebhookError::Missing("data.expirationDate"))?,
            currency: currency(data)?,
            country: text(data, "paymentCountry", "data.paymentCountry")?.map(str::to_owned),
            payment_method: optional_id(data, "paymentMethodId", "data.paymentMethodId")?,
            token: text(data, "token", "data.token")?.map(SecretString::new),
            recovered: data.get(RECOVERED).and_then(Value::as_bool).unwrap_or(false),
        })
    }
}

/// `subscriptionReadyForTermination`. Its payload is unpublished: only the subscription is needed.
#[derive(Clone)]
pub struct TerminationEvent {
    /// `subscriptionId`.
    pub subscription: SubscriptionId,
    /// `expirationDate`, if reported.
    pub expiration: Option<Timestamp>,
    /// `paymentMethodId`, if reported.
    pub payment_method: Option<PaymentMethodId>,
}

impl TerminationEvent {
    /// Reads the event's data.
    ///
    /// # Errors
    /// [`WebhookError`], naming the field.
    pub fn read(webhook: &Webhook) -> Result<Self, WebhookError> {
        let data = &webhook.data;
        Ok(Self {
            subscription: id(data, "subscriptionId", "data.subscriptionId")?,
            expiration: date(data, "expirationDate", "data.expirationDate")?,
            payment_method: optional_id(data, "paymentMethodId", "data.paymentMethodId")?,
        })
    }
}

const fn invalid_id(field: &'static str) -> WebhookError {
    WebhookError::Invalid { field, expected: "an id (string or whole number)" }
}

fn present<'a>(data: &'a Value, name: &str) -> Option<&'a Value> {
    data.get(name).filter(|value| !value.is_null())
}

fn optional_id<K>(data: &Value, name: &str, field: &'static str) -> Result<Option<Id<K>>, WebhookError> {
    present(data, name).map(|value| Id::from_json(value).map_err(|_| invalid_id(field))).transpose()
}

fn id<K>(data: &Value, name: &str, field: &'static str) -> Result<Id<K>, WebhookError> {
    optional_id(data, name, field)?.ok_or(WebhookError::Missing(field))
}

fn text<'a>(data: &'a Value, name: &str, field: &'static str) -> Result<Option<&'a str>, WebhookError> {
    match present(data, name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(WebhookError::Invalid { field, expected: "a string that is not empty" }),
    }
}

fn currency(data: &Value) -> Result<Option<Currency>, WebhookError> {
    let invalid = |_| WebhookError::Invalid { field: "data.currency", expected: "an ISO 4217 currency" };
    text(data, "currency", "data.currency")?.map(|code| Currency::new(code).map_err(invalid)).transpose()
}

/// RFC 3339 with any offset, or unix seconds (Cleeng's resources use those).
fn date(data: &Value, name: &str, field: &'static str) -> Result<Option<Timestamp>, WebhookError> {
    let invalid = WebhookError::Invalid { field, expected: "a date (RFC 3339 or unix seconds)" };
    match present(data, name) {
        None => Ok(None),
        Some(Value::String(text)) => Timestamp::parse_rfc3339(text).map(Some).map_err(|_| invalid),
        Some(Value::Number(number)) => number.as_i64().map(Timestamp::from_secs).map(Some).ok_or(invalid),
        Some(_) => Err(invalid),
    }
}

#[cfg(test)]
mod tests;
