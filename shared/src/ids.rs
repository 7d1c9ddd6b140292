//! Identifiers. Cleeng writes the same id as a string in one payload and as a number in the next, so an [`Id`] accepts both and compares
//! by its normalised text (Cleeng, "Webhook subscription topics": `subscriptionId` is `"332332332"` and `121780131`).

use std::fmt;
use std::marker::PhantomData;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use thiserror::Error;

/// What an [`Id`] identifies; only ever used as a type.
pub mod kind {
    /// A Cleeng subscription.
    #[derive(Debug)]
    pub enum Subscription {}
    /// A Cleeng customer.
    #[derive(Debug)]
    pub enum Customer {}
    /// A Cleeng offer.
    #[derive(Debug)]
    pub enum Offer {}
    /// A Cleeng order.
    #[derive(Debug)]
    pub enum Order {}
    /// A Cleeng payment.
    #[derive(Debug)]
    pub enum Payment {}
    /// A set of payment details in Cleeng: the stored instrument.
    #[derive(Debug)]
    pub enum PaymentDetails {}
    /// A payment method in Cleeng: decides the connector and the gateway.
    #[derive(Debug)]
    pub enum PaymentMethod {}
    /// A publisher (`broadcasterId` in webhooks).
    #[derive(Debug)]
    pub enum Publisher {}
    /// A refund that was asked for in Cleeng.
    #[derive(Debug)]
    pub enum Refund {}
    /// The id by which the gateway and Cleeng know a payment together (`externalPaymentId`).
    #[derive(Debug)]
    pub enum ExternalPayment {}
}

/// A Cleeng subscription id.
pub type SubscriptionId = Id<kind::Subscription>;
/// A Cleeng customer id.
pub type CustomerId = Id<kind::Customer>;
/// A Cleeng offer id such as `S619117184_US`.
pub type OfferId = Id<kind::Offer>;
/// A Cleeng order id.
pub type OrderId = Id<kind::Order>;
/// A Cleeng payment id.
pub type PaymentId = Id<kind::Payment>;
/// A Cleeng payment details id.
pub type PaymentDetailsId = Id<kind::PaymentDetails>;
/// A Cleeng payment method id.
pub type PaymentMethodId = Id<kind::PaymentMethod>;
/// A Cleeng publisher id.
pub type PublisherId = Id<kind::Publisher>;
/// The id of a refund that was asked for in Cleeng.
pub type RefundId = Id<kind::Refund>;
/// The gateway's own payment id as Cleeng stores it (`externalPaymentId`).
pub type ExternalPaymentId = Id<kind::ExternalPayment>;

/// The longest id that is accepted, in bytes.
pub const MAX_ID_LENGTH: usize = 256;

/// A text or number that cannot be an id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not an id: expected a string or a whole number of 1 to 256 visible ASCII characters without '#'")]
pub struct InvalidId;

/// An identifier of one kind of thing, as normalised text.
pub struct Id<K>(String, PhantomData<fn() -> K>);

impl<K> Id<K> {
    /// Reads an id from text; spaces around it are dropped.
    ///
    /// # Errors
    /// [`InvalidId`] if it is empty, too long, or holds anything but visible ASCII. `#` is refused because journal keys are joined with it.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
        let text = text.as_ref().trim();
        let visible = text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        if text.is_empty() || text.len() > MAX_ID_LENGTH || !visible {
            return Err(InvalidId);
        }
        Ok(Self(text.to_owned(), PhantomData))
    }

    /// Reads an id from a JSON string or whole number.
    ///
    /// # Errors
    /// [`InvalidId`] for null, booleans, containers, negative or fractional numbers.
    pub fn from_json(value: &Value) -> Result<Self, InvalidId> {
        match value {
            Value::String(text) => Self::new(text),
            Value::Number(number) => {
                let text = number.to_string();
                if text.bytes().all(|b| b.is_ascii_digit()) { Self::new(text) } else { Err(InvalidId) }
            }
            _ => Err(InvalidId),
        }
    }

    /// The normalised text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A JSON number if the id is one, else a string: Cleeng's reference asks for integers in request bodies (Cleeng, "Create an order":
    /// `customerId` int). A text that a number would not reproduce (`0012`, `+5`) stays a text, or it would be another customer's id.
    #[must_use]
    pub fn to_json_number(&self) -> Value {
        let number = self.0.parse::<u64>().ok().filter(|number| number.to_string() == self.0);
        number.map_or_else(|| Value::from(self.0.as_str()), Value::from)
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K> Eq for Id<K> {}

impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<K> std::hash::Hash for Id<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, K> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_json(&value).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_is_the_same_as_string_and_as_number() {
        let from_text: SubscriptionId = serde_json::from_value(json!("332332332")).unwrap();
        let from_number: SubscriptionId = serde_json::from_value(json!(332_332_332)).unwrap();
        assert_eq!(from_text, from_number);
        assert_eq!(from_number.to_json_number(), json!(332_332_332));
    }

    #[test]
    fn an_id_never_becomes_another_one_as_a_number() {
        for text in ["0012", "+5", "00", "18446744073709551616"] {
            let id = SubscriptionId::new(text).unwrap();
            assert_eq!(SubscriptionId::from_json(&id.to_json_number()), Ok(id), "{text}");
        }
        assert_eq!(SubscriptionId::new("0").unwrap().to_json_number(), json!(0));
    }

    #[test]
    fn an_invalid_id_is_refused() {
        for value in
            [json!(null), json!(true), json!(1.5), json!(-3), json!(""), json!(" "), json!("a#b"), json!("a b"), json!([1]), json!({})]
        {
            assert_eq!(SubscriptionId::from_json(&value), Err(InvalidId), "{value}");
        }
        assert_eq!(SubscriptionId::new("x".repeat(MAX_ID_LENGTH + 1)), Err(InvalidId));
    }

    #[test]
    fn ids_are_ordered_hashed_and_written_by_their_text() {
        let id = |text: &str| OrderId::new(text).unwrap();
        assert_eq!(id("10").partial_cmp(&id("9")), Some(std::cmp::Ordering::Less), "by text, as keys of the journal are");
        let distinct: std::collections::HashSet<_> = (0..1_000).map(|number| id(&number.to_string())).collect();
        assert_eq!(distinct.len(), 1_000);
        let hashed = |id: &OrderId| {
            use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
            BuildHasherDefault::<DefaultHasher>::default().hash_one(id)
        };
        assert_ne!(hashed(&id("1")), hashed(&id("2")));
        assert_eq!(id("a-1").to_string(), "a-1");
    }

    proptest! {
        #[test]
        fn every_number_survives_the_round_trip(number: u64) {
            let id = OrderId::from_json(&json!(number)).unwrap();
            prop_assert_eq!(id.to_json_number(), json!(number));
            let again: OrderId = serde_json::from_str(&serde_json::to_string(&id).unwrap()).unwrap();
            prop_assert_eq!(id, again);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = OrderId::new(&text);
        }
    }
}
