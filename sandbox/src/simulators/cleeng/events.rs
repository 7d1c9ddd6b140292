//! Webhooks as Cleeng writes and signs them (Cleeng, "Webhook subscription topics", "Webhook verification").

use connector::cleeng::webhook::Topic;
use connector::clock::Timestamp;
use connector::ids::{PublisherId, SubscriptionId};
use ring::hmac;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::simulators::cleeng::database::Database;

/// A webhook on its way.
#[derive(Clone, Debug)]
pub struct SentWebhook {
    /// Its topic, which decides the address.
    pub topic: Topic,
    /// The raw body.
    pub body: Vec<u8>,
    /// The value of the signature header: HMAC-SHA256 of the body in lower-case hexadecimal digits.
    pub signature: String,
    /// When it was due.
    pub at: Timestamp,
}

/// Signs a body as Cleeng does: HMAC-SHA256 in lower-case hexadecimal digits.
#[must_use]
pub fn sign(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Puts data into the envelope and signs it.
pub(super) fn signed_webhook(publisher: &PublisherId, secret: &str, topic: Topic, data: &Value, at: Timestamp) -> SentWebhook {
    let envelope = json!({ "broadcasterId": publisher.to_json_number(), "topic": topic.as_str(), "data": data });
    let body = envelope.to_string().into_bytes();
    SentWebhook { topic, signature: sign(secret, &body), body, at }
}

/// The data of a billing or termination event. As in Cleeng's examples, the authorisation event has its `subscriptionId` as a string and
/// its dates with `Z`, the capture event has a number and an offset. The payload of the termination is unpublished: ids and the date alone.
/// A subscription without details has no token, so that no billing event can be written for it.
pub(super) fn billing_data(
    database: &Database,
    topic: Topic,
    id: &SubscriptionId,
    attempt: Timestamp,
    expiration: Timestamp,
) -> Option<Value> {
    let subscription = database.subscriptions.get(id)?;
    if topic == Topic::SubscriptionReadyForTermination {
        return Some(json!({
            "subscriptionId": id.to_json_number(), "offerId": subscription.offer.as_str(),
            "customerId": subscription.customer.to_json_number(), "expirationDate": in_utc(expiration),
            "paymentMethodId": subscription.method.to_json_number(),
        }));
    }
    let capture = topic == Topic::SubscriptionReadyForPaymentCapture;
    let date = |at: Timestamp| if capture { with_offset(at) } else { in_utc(at) };
    let customer = database.customers.get(&subscription.customer)?;
    let details_id = subscription.details.as_ref()?;
    let details = database.details.get(details_id)?;
    Some(json!({
        "subscriptionId": if capture { id.to_json_number() } else { Value::from(id.as_str()) },
        "offerId": subscription.offer.as_str(), "customerId": subscription.customer.to_json_number(), "customerEmail": customer.email,
        "paymentDetailsId": details_id.to_json_number(), "active": details.active, "dunningAttemptDate": date(attempt),
        "dunningStatus": if capture { "capture" } else { "authorize" }, "expirationDate": date(expiration),
        "currency": database.offers.get(&subscription.offer)?.price.currency, "paymentCountry": customer.country,
        "paymentMethodId": subscription.method.to_json_number(), "token": details.token,
        "paymentGateway": database.methods.get(&subscription.method)?.gateway,
    }))
}

fn in_utc(at: Timestamp) -> String {
    at.to_rfc3339()
}

fn with_offset(at: Timestamp) -> String {
    let offset = UtcOffset::from_hms(1, 0, 0).unwrap_or(UtcOffset::UTC);
    let text = OffsetDateTime::from_unix_timestamp(at.secs()).ok().and_then(|at| at.to_offset(offset).format(&Rfc3339).ok());
    text.unwrap_or_else(|| in_utc(at))
}
