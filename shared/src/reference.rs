//! The identity of a write and of a payment: names that the connector makes, records before it calls, and finds again.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;
use uuid::Builder;

use crate::keyed_hash::keyed_hash;
use crate::secret::SecretString;

/// A key under which a gateway does a write once: a UUID of 36 characters, which fits every gateway.
///
/// It is derived from what is done, so that a crashed worker finds it again, and salted, because a guessed key could read another
/// payment's answer. It begins with a mark of the deployment. The key in a recorded intent wins; it is never derived a second time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Derives the key of one try of one operation of one obligation.
    #[must_use]
    pub fn derive(salt: &SecretString, gateway: GatewayText<'_>, operation: OperationKind, obligation: &str, attempt: &str) -> Self {
        let mut bytes: [u8; 16] = keyed_hash(salt, &[gateway.0, operation.as_str(), obligation, attempt]);
        bytes.iter_mut().zip(deployment_mark(salt)).for_each(|(byte, mark)| *byte = mark);
        // Version 8 of RFC 9562: bytes of our own making.
        Self(Builder::from_custom_bytes(bytes).into_uuid().to_string())
    }

    /// The UUID text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Four bytes that tell one deployment from another on the same account: the salt is a deployment's own, and never rotated.
fn deployment_mark(salt: &SecretString) -> [u8; 4] {
    keyed_hash(salt, &["deployment-mark"])
}

/// A gateway's name as text, so that two strings cannot be swapped in [`IdempotencyKey::derive`].
#[derive(Clone, Copy)]
pub struct GatewayText<'a>(pub &'a str);

/// The kinds of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
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
    /// A stable code for keys, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Our own name of a payment at the gateway: unique, written with the intent, echoed in notifications. It starts with
/// [`Reference::PREFIX`], which distinguishes our payments from those of other systems on the same merchant account; then comes the key, whose
/// mark distinguishes them from those of another deployment there.
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

    /// Whether the deployment with this salt made it.
    #[must_use]
    pub fn is_made_with(&self, salt: &SecretString) -> bool {
        self.0.strip_prefix(Self::PREFIX).is_some_and(|key| key.starts_with(&hex::encode(deployment_mark(salt))))
    }

    /// Reads a reference that a gateway echoes; `None` if it is not one of ours.
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
    fn a_key_never_changes_from_one_release_to_the_next() {
        assert_eq!(key("adyen", "period#1", "1").as_str(), "55981e20-9cab-8657-802a-8ad35aad9b01");
    }

    #[test]
    fn a_reference_tells_which_deployment_made_it() {
        let (one, other) = (SecretString::new("salt"), SecretString::new("salz"));
        let reference = Reference::from_key(&key("adyen", "period#1", "1"));
        assert!(reference.is_made_with(&one) && !reference.is_made_with(&other));
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
