//! A gateway's notification on its function's queue: one message per item, so that no item blocks another.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::json;

use crate::cleeng::envelope::{EnvelopeError, VERSION, read_members};
use crate::cleeng::webhook::Verified;
use crate::clock::Timestamp;
use crate::gateway::{GatewayName, GatewayNotification};

const SOURCE: &str = "gateway";
const UNVERIFIED_SOURCE: &str = "gateway-unverified";

/// A verified item as it lies on the queue. It has no `Debug`: an item can name stored details.
#[derive(Clone, PartialEq, Eq)]
pub struct NotificationEnvelope {
    gateway: GatewayName,
    received_at: Timestamp,
    item: GatewayNotification,
}

#[derive(Deserialize)]
struct Wire {
    gateway: String,
    received_at: i64,
    item: GatewayNotification,
}

impl NotificationEnvelope {
    /// Seals a verified item of this gateway.
    #[must_use]
    pub fn seal(gateway: GatewayName, item: &Verified<GatewayNotification>, received_at: Timestamp) -> Self {
        Self { gateway, received_at, item: item.get().clone() }
    }

    /// The envelope as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        json!({
            "v": VERSION,
            "source": SOURCE,
            "gateway": self.gateway.as_str(),
            "received_at": self.received_at.millis(),
            "item": self.item,
        })
        .to_string()
    }

    /// Reads an envelope from the text of a message of our own queue.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn from_text(text: &str) -> Result<Self, EnvelopeError> {
        let wire: Wire = serde_json::from_value(read_members(text, SOURCE)?).map_err(|_| EnvelopeError::Item)?;
        let gateway = GatewayName::parse(&wire.gateway).ok_or(EnvelopeError::Source)?;
        Ok(Self { gateway, received_at: Timestamp::from_millis(wire.received_at), item: wire.item })
    }

    /// Whose it is.
    #[must_use]
    pub const fn gateway(&self) -> GatewayName {
        self.gateway
    }

    /// When it first arrived.
    #[must_use]
    pub const fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// The item, whose origin the queue vouches for.
    #[must_use]
    pub fn open(self) -> Verified<GatewayNotification> {
        Verified::attest(self.item)
    }
}

/// A request to the notifications' address that could not be verified wholly: what a gateway may have sent, headers and all, to be verified
/// again. It has no `Debug`, because nobody knows what is in it.
pub struct UnverifiedNotification {
    gateway: GatewayName,
    received_at: Timestamp,
    headers: BTreeMap<String, String>,
    body: String,
}

#[derive(Deserialize)]
struct UnverifiedWire {
    gateway: String,
    received_at: i64,
    headers: BTreeMap<String, String>,
    body: String,
}

impl UnverifiedNotification {
    /// Seals a request to this gateway's address; `None` if its body is no text.
    #[must_use]
    pub fn seal(gateway: GatewayName, headers: &HeaderMap, body: &[u8], received_at: Timestamp) -> Option<Self> {
        let text = |(name, value): (&HeaderName, &HeaderValue)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()));
        let body = std::str::from_utf8(body).ok()?.to_owned();
        Some(Self { gateway, received_at, headers: headers.iter().filter_map(text).collect(), body })
    }

    /// The request as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        json!({
            "v": VERSION,
            "source": UNVERIFIED_SOURCE,
            "gateway": self.gateway.as_str(),
            "received_at": self.received_at.millis(),
            "headers": self.headers,
            "body": self.body,
        })
        .to_string()
    }

    /// Reads a request from the text of a message of our own queue; `None` if it is not one, such as a verified item.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let wire: UnverifiedWire = serde_json::from_value(read_members(text, UNVERIFIED_SOURCE).ok()?).ok()?;
        let gateway = GatewayName::parse(&wire.gateway)?;
        Some(Self { gateway, received_at: Timestamp::from_millis(wire.received_at), headers: wire.headers, body: wire.body })
    }

    /// Whose address it came to.
    #[must_use]
    pub const fn gateway(&self) -> GatewayName {
        self.gateway
    }

    /// When it first arrived.
    #[must_use]
    pub const fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        self.headers.iter().filter_map(|(name, value)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?))).collect()
    }

    /// Its body.
    #[must_use]
    pub const fn body(&self) -> &[u8] {
        self.body.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cleeng::envelope::Envelope;
    use crate::gateway::{NotificationKind, NotifiedToken, Reference};
    use crate::ids::ExternalPaymentId;
    use crate::money::{Currency, Money};

    fn item() -> GatewayNotification {
        GatewayNotification {
            kind: NotificationKind::ChargebackReversed,
            external_payment_id: ExternalPaymentId::new("AUTH0R1SAT10N001").ok(),
            reference: Reference::parse("clg-00112233-4455-8677-8899-aabbccddeeff"),
            operation_ref: Some("D1SPUTE000000001".to_owned()),
            amount: Some(Money::new(999, Currency::new("USD").unwrap())),
            at: Some(Timestamp::from_secs(1_790_000_000)),
            dedupe_key: "CHARGEBACK_REVERSED:D1SPUTE000000001:true".to_owned(),
            reason: Some("won".to_owned()),
            decline: None,
            token: Some(NotifiedToken { shopper: "123".to_owned(), token: "8415:123".to_owned() }),
        }
    }

    fn text(item: &GatewayNotification) -> String {
        NotificationEnvelope::seal(GatewayName::Adyen, &Verified::attest(item.clone()), Timestamp::from_secs(5)).to_text()
    }

    #[test]
    fn an_item_comes_out_as_it_went_in() {
        let read = NotificationEnvelope::from_text(&text(&item())).ok().unwrap();
        assert_eq!((read.gateway(), read.received_at()), (GatewayName::Adyen, Timestamp::from_secs(5)));
        assert_eq!(*read.open().get(), item());
    }

    #[test]
    fn an_item_without_anything_optional_is_read_so_that_older_messages_stay_readable() {
        let text = r#"{"v":1,"source":"gateway","gateway":"adyen","received_at":1,"item":{"kind":"captured","dedupe_key":"x"}}"#;
        let read = NotificationEnvelope::from_text(text).ok().unwrap().open();
        assert_eq!((read.get().kind, read.get().amount, read.get().reference.is_none()), (NotificationKind::Captured, None, true));
    }

    #[test]
    fn what_is_no_item_of_ours_says_why() {
        let error = |text: &str| NotificationEnvelope::from_text(text).err().unwrap();
        let good = text(&item());
        assert_eq!(error("nonsense"), EnvelopeError::Garbled);
        assert_eq!(error(&good.replace("\"v\":1", "\"v\":2")), EnvelopeError::Version);
        assert_eq!(error(&good.replace("\"source\":\"gateway\"", "\"source\":\"cleeng\"")), EnvelopeError::Source);
        assert_eq!(error(&good.replace("\"gateway\":\"adyen\"", "\"gateway\":\"nobody\"")), EnvelopeError::Source);
        assert_eq!(error(&good.replace("chargeback_reversed", "brand_new")), EnvelopeError::Item);
        assert_eq!(Envelope::from_text(&good).err(), Some(EnvelopeError::Source), "a billing function does not take it");
    }

    #[test]
    fn a_request_that_was_kept_aside_comes_out_as_it_went_in() {
        let headers = HeaderMap::from_iter([(HeaderName::from_static("stripe-signature"), HeaderValue::from_static("t=1,v1=00"))]);
        let kept = UnverifiedNotification::seal(GatewayName::Stripe, &headers, b"{ \"a\": 1 }", Timestamp::from_secs(5)).unwrap();
        let read = UnverifiedNotification::from_text(&kept.to_text()).unwrap();
        assert_eq!((read.gateway(), read.received_at(), read.body()), (GatewayName::Stripe, Timestamp::from_secs(5), &b"{ \"a\": 1 }"[..]));
        assert_eq!(read.headers(), headers);
        assert!(UnverifiedNotification::from_text(&text(&item())).is_none(), "a verified item is another message");
        assert!(UnverifiedNotification::seal(GatewayName::Stripe, &headers, b"\xff", Timestamp::from_secs(5)).is_none());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            prop_assert!(NotificationEnvelope::from_text(&text).is_err());
        }
    }
}
