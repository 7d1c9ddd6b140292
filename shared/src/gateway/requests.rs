//! What is asked of a gateway.

use std::fmt;

use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{CustomerId, ExternalPaymentId};
use crate::money::Money;
use crate::secret::SecretString;

/// A key under which a gateway does a write once: a UUID of 36 characters, which fits every gateway.
///
/// It is derived from what is done, so that a crashed worker finds it again, and salted, because a guessed key could read another
/// payment's answer. The key in a recorded intent wins; it is never derived anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Derives the key of one try of one operation of one obligation.
    #[must_use]
    pub fn derive(salt: &SecretString, gateway: GatewayText<'_>, operation: OperationKind, obligation: &str, attempt: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, salt.expose().as_bytes());
        let mut context = hmac::Context::with_key(&key);
        for part in [gateway.0, operation.as_str(), obligation, attempt] {
            // Lengths keep ("ab", "c") apart from ("a", "bc").
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part.as_bytes());
        }
        let tag = context.sign();
        let mut hex = String::with_capacity(36);
        for (index, byte) in tag.as_ref().iter().take(16).enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                hex.push('-');
            }
            // Version 8 (own making) and variant bits of RFC 9562.
            let byte = match index {
                6 => (byte & 0x0f) | 0x80,
                8 => (byte & 0x3f) | 0x80,
                _ => *byte,
            };
            hex.push_str(&format!("{byte:02x}"));
        }
        Self(hex)
    }

    /// The UUID text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A gateway's name as text, so that two strings cannot be swapped in [`IdempotencyKey::derive`].
#[derive(Clone, Copy)]
pub struct GatewayText<'a>(pub &'a str);

/// The kinds of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Authorise only.
    Authorise,
    /// Authorise and capture.
    Charge,
    /// Capture.
    Capture,
    /// Cancel.
    Cancel,
    /// Refund.
    Refund,
    /// A purchase with the customer present.
    Purchase,
    /// Storing details.
    Store,
    /// Deleting details.
    Delete,
}

impl OperationKind {
    /// A stable word for keys, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorise => "authorise",
            Self::Charge => "charge",
            Self::Capture => "capture",
            Self::Cancel => "cancel",
            Self::Refund => "refund",
            Self::Purchase => "purchase",
            Self::Store => "store",
            Self::Delete => "delete",
        }
    }
}

/// Our own name of a payment at the gateway: unique, written with the intent, echoed in notifications. It starts with [`Reference::PREFIX`],
/// by which payments of other systems on the same merchant account are told apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reference(String);

impl Reference {
    /// The prefix of every reference.
    pub const PREFIX: &'static str = "clg-";

    /// The reference of the payment that this key makes. Unique because the key is.
    #[must_use]
    pub fn from_key(key: &IdempotencyKey) -> Self {
        Self(format!("{}{}", Self::PREFIX, key.as_str()))
    }

    /// Reads a reference that a gateway echoes; nothing if it is not one of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(Self::PREFIX)?;
        let ours = rest.len() == 36 && rest.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        ours.then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Stored details as Cleeng keeps them in `token`: one reversible text of the adapter's own form that holds everything the gateway needs.
#[derive(Clone)]
pub struct StoredToken(pub SecretString);

/// A payment without the customer present, with stored details.
#[derive(Clone)]
pub struct MerchantInitiated {
    /// The key.
    pub key: IdempotencyKey,
    /// Our reference.
    pub reference: Reference,
    /// Exactly the order's amount.
    pub amount: Money,
    /// The details.
    pub token: StoredToken,
    /// Cleeng's customer.
    pub customer: CustomerId,
}

/// A capture of the whole authorised amount.
#[derive(Clone)]
pub struct CaptureRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// Our reference of the payment.
    pub reference: Reference,
    /// The authorisation.
    pub external_payment_id: ExternalPaymentId,
    /// The authorised amount.
    pub amount: Money,
    /// When it was authorised, where that is known: an old authorisation may have to be renewed first.
    pub authorised_at: Option<Timestamp>,
}

/// What a cancel is aimed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelTarget {
    /// The payment with this gateway id.
    Payment(ExternalPaymentId),
    /// The payment that we named so, when its gateway id never reached us.
    Reference {
        /// Our name of it.
        reference: Reference,
        /// What the gateway called it while it waited for the customer, if it got that far ([`super::Operation::pending_id`]).
        pending_id: Option<String>,
    },
}

/// A release of an authorised payment.
#[derive(Clone)]
pub struct CancelRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// Our reference of the payment.
    pub reference: Reference,
    /// What to cancel.
    pub target: CancelTarget,
}

/// A refund, whole or partial.
#[derive(Clone)]
pub struct RefundRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// Our reference of this refund.
    pub reference: Reference,
    /// The payment as Cleeng knows it now.
    pub external_payment_id: ExternalPaymentId,
    /// How much to give back.
    pub amount: Money,
    /// How much was captured in all.
    pub captured: Money,
}

/// A question about a write whose outcome is unknown.
#[derive(Clone)]
pub struct InquiryRequest {
    /// What was attempted.
    pub operation: OperationKind,
    /// The key that it was attempted under.
    pub key: IdempotencyKey,
    /// Our reference of the payment or refund.
    pub reference: Reference,
    /// The payment, where its id is known.
    pub external_payment_id: Option<ExternalPaymentId>,
    /// The amount that was asked for.
    pub amount: Option<Money>,
}

/// Stored details to delete.
#[derive(Clone)]
pub struct DeleteDetailsRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// The details.
    pub token: StoredToken,
    /// Cleeng's customer.
    pub customer: CustomerId,
}

/// A purchase with the customer present.
#[derive(Clone)]
pub struct PurchaseRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// Our reference.
    pub reference: Reference,
    /// Exactly the order's amount; zero verifies and stores the details without a charge.
    pub amount: Money,
    /// Cleeng's customer.
    pub customer: CustomerId,
    /// What the gateway's front-end component collected, checked for card numbers before it gets here.
    pub payment_data: serde_json::Value,
    /// Whether the details are kept for renewals.
    pub store: bool,
    /// Where the customer comes back to.
    pub return_url: String,
    /// Where the customer comes back to after he gave up, if that is another place.
    pub cancel_url: Option<String>,
    /// The page's origin.
    pub origin: Option<String>,
    /// The customer's address on the network.
    pub customer_ip: Option<String>,
}

/// The customer came back.
#[derive(Clone)]
pub struct FinalizeRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// Our reference of what is finished.
    pub reference: Reference,
    /// The amount that was asked for.
    pub amount: Money,
    /// Cleeng's customer.
    pub customer: CustomerId,
    /// The payment at the gateway, where the start told its id.
    pub external_payment_id: Option<ExternalPaymentId>,
    /// What the gateway called what waits for the customer ([`super::Operation::pending_id`]).
    pub pending_id: Option<String>,
    /// What the gateway's front-end component or redirect brought back; null where the gateway told by itself that the customer agreed.
    pub details: serde_json::Value,
}

/// Details to store without a charge.
#[derive(Clone)]
pub struct StoreDetailsRequest {
    /// Everything that a purchase has; its amount is zero in the currency of the customer.
    pub purchase: PurchaseRequest,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn key(gateway: &str, obligation: &str, attempt: &str) -> IdempotencyKey {
        IdempotencyKey::derive(&SecretString::new("salt"), GatewayText(gateway), OperationKind::Authorise, obligation, attempt)
    }

    #[test]
    fn the_same_try_has_the_same_key_and_any_other_has_another() {
        let one = key("adyen", "period#1", "1");
        assert_eq!(one, key("adyen", "period#1", "1"));
        assert_ne!(one, key("adyen", "period#1", "2"));
        assert_ne!(one, key("adyen", "period#", "11"));
        assert_ne!(one, key("paypal", "period#1", "1"));
        let other_salt =
            IdempotencyKey::derive(&SecretString::new("salz"), GatewayText("adyen"), OperationKind::Authorise, "period#1", "1");
        assert_ne!(one, other_salt);
    }

    #[test]
    fn a_key_is_a_uuid_that_fits_every_gateway() {
        let (mut versions, mut variants) = (BTreeSet::new(), BTreeSet::new());
        for attempt in 0..200 {
            let one = key("adyen", "period#1", &attempt.to_string());
            assert_eq!(one.as_str().len(), 36);
            versions.insert(one.as_str()[14..16].to_owned());
            variants.insert(one.as_str()[19..20].to_owned());
        }
        assert!(versions.iter().all(|byte| byte.starts_with('8')) && versions.len() > 10, "{versions:?}");
        assert!(variants.iter().map(String::as_str).eq(["8", "9", "a", "b"]), "{variants:?}");
    }

    #[test]
    fn a_reference_of_another_system_is_not_ours() {
        let ours = Reference::from_key(&key("adyen", "period#1", "1"));
        assert_eq!(Reference::parse(ours.as_str()), Some(ours));
        assert_eq!(Reference::parse("order-17"), None);
        assert_eq!(Reference::parse("clg-order-17"), None);
        assert_eq!(Reference::parse("clg-order-17-of-another-system-of-ours--"), None);
        assert_eq!(Reference::parse("clg-00112233-4455-8677-8899-aabbccddeef"), None);
    }
}
