//! What the journal keeps of a purchase: the snapshot, and the gateway's results. Tokens, actions and returned data are kept only while the
//! attempt is open. None of it has a `Debug`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::frontend_api::redirect_urls::RedirectUrls;
use crate::gateway::{Decline, GatewayName, Outcome};
use crate::ids::{CustomerId, ExternalPaymentId, OfferId, OrderId, PaymentMethodId};
use crate::keyed_hash::keyed_hash;
use crate::money::Money;
use crate::payments::gateway_step::FromOutcome;
use crate::secret::SecretString;

/// The step that holds the snapshot. It is no call, so it is done as soon as it is begun.
pub const SNAPSHOT: &str = "snapshot";
/// The step of the first call.
pub const START: &str = "start";
/// The steps of the calls after the customer returned: a fingerprint of the device, a challenge, and two in reserve.
pub const FINALIZE_STEPS: [&str; 4] = ["finalize", "finalize_2", "finalize_3", "finalize_4"];
/// The step that holds the result of a notification. It is no call either.
pub const NOTIFIED: &str = "notified";
/// The step of the report to Cleeng.
pub const REPORT: &str = "report";

/// What is to be paid or stored, as it was when the attempt was opened.
#[derive(Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// The order; `None` if details are stored.
    #[serde(default)]
    pub order: Option<OrderId>,
    /// What the order is for.
    #[serde(default)]
    pub offer: Option<OfferId>,
    /// The customer.
    pub customer: CustomerId,
    /// The payment method in Cleeng.
    pub method: PaymentMethodId,
    /// What the customer pays with, in the words of Cleeng's media store SDK.
    #[serde(default)]
    pub method_name: String,
    /// Its gateway.
    pub gateway: GatewayName,
    /// The amount, exactly; zero verifies and stores.
    pub amount: Money,
    /// When the order or the setup expires.
    pub expires_at: Timestamp,
    /// Distinguishes this payment data from other data.
    pub fingerprint: String,
    /// Whether stored details are to be used for renewals.
    #[serde(default)]
    pub active: bool,
    /// The data that the customer returned with, one entry per round.
    #[serde(default)]
    pub returned_data: Vec<ReturnedData>,
    /// Where the connector redirects a returning customer; `None` if they return to the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_urls: Option<RedirectUrls>,
    /// The customer cancelled at the gateway: they may still return with their agreement, but their next start gets a page of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelled_at_gateway: bool,
}

/// The data of one round.
#[derive(Clone, Serialize, Deserialize)]
pub struct ReturnedData {
    /// Distinguishes this data from other data.
    pub fingerprint: String,
    /// The data; erased when the attempt ends.
    #[serde(default, with = "crate::json::as_text")]
    pub details: Value,
}

/// The gateway's result, as the journal keeps it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseResult {
    /// It succeeded: the money is captured, or with a zero amount the details are stored.
    Done {
        /// The payment at the gateway.
        external: ExternalPaymentId,
        /// The stored details; they may come later than the rest.
        #[serde(default)]
        token: Option<String>,
        /// What "my account" may show of them.
        #[serde(default, with = "crate::json::as_text")]
        display_params: Value,
        /// Whose details are being stored, as the gateway knows the customer, where they come later than the rest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        details_owner: Option<String>,
        /// When that was known.
        at: Timestamp,
    },
    /// The gateway acknowledged the request and has not decided.
    Received {
        /// The payment at the gateway, if it is named.
        external: Option<ExternalPaymentId>,
        /// When.
        at: Timestamp,
    },
    /// The customer has to do something.
    ActionRequired {
        /// For the gateway's component, unchanged.
        #[serde(with = "crate::json::as_text")]
        payload: Value,
        /// The gateway's id of what waits for the customer.
        #[serde(default)]
        pending_id: Option<String>,
    },
    /// It failed for good.
    Declined(Decline),
}

impl Snapshot {
    /// Whether the order buys a subscription, which renews with the stored details; ids of offers begin with their kind. Details that are
    /// stored without an order are for renewals.
    #[must_use]
    pub fn renews(&self) -> bool {
        self.offer.as_ref().is_none_or(|offer| offer.as_str().starts_with('S'))
    }
}

impl FromOutcome for PurchaseResult {
    fn from_outcome(outcome: Outcome, at: Timestamp) -> Option<Self> {
        Some(match outcome {
            Outcome::Done(operation) => {
                let token = operation.token.map(|token| token.0.expose().to_owned());
                let (external, details_owner) = (operation.external_payment_id?, operation.details_owner);
                Self::Done { external, token, display_params: operation.display_params, details_owner, at }
            }
            Outcome::Received(operation) => Self::Received { external: operation.external_payment_id, at },
            Outcome::ActionRequired(action, operation) => {
                Self::ActionRequired { payload: action.payload, pending_id: operation.pending_id }
            }
            Outcome::Declined(decline) => Self::Declined(decline),
            Outcome::Unknown(_) => return None,
        })
    }
}

impl PurchaseResult {
    /// The same without what must not outlive the attempt.
    #[must_use]
    pub fn without_sensitive_data(self) -> Self {
        match self {
            Self::Done { external, at, .. } => Self::Done { external, token: None, display_params: Value::Null, details_owner: None, at },
            Self::ActionRequired { pending_id, .. } => Self::ActionRequired { payload: Value::Null, pending_id },
            other => other,
        }
    }
}

/// A keyed hash of parts, in hex: the same for the same parts, and no way back to them.
#[must_use]
pub fn fingerprint(salt: &SecretString, parts: &[&str]) -> String {
    hex::encode(keyed_hash::<16>(salt, parts))
}

/// JSON with the members of every object in order, so that the same data written in another order is the same.
#[must_use]
pub fn canonical_json(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let ordered: std::collections::BTreeMap<_, _> =
                    members.iter().map(|(name, member)| (name.clone(), sorted(member))).collect();
                Value::Object(ordered.into_iter().collect())
            }
            Value::Array(items) => items.iter().map(sorted).collect(),
            other => other.clone(),
        }
    }
    sorted(value).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_same_data_has_the_same_fingerprint_in_any_order_of_its_members() {
        let salt = SecretString::new("salt");
        let of = |value: &Value| fingerprint(&salt, &[&canonical_json(value)]);
        assert_eq!(of(&json!({"a": 1, "b": {"c": 2, "d": 3}})), of(&json!({"b": {"d": 3, "c": 2}, "a": 1})));
        assert_ne!(of(&json!({"a": 1})), of(&json!({"a": "1"})));
        assert_ne!(fingerprint(&salt, &["ab", "c"]), fingerprint(&salt, &["a", "bc"]));
        assert_ne!(fingerprint(&salt, &["a"]), fingerprint(&SecretString::new("other"), &["a"]));
    }

    #[test]
    fn what_the_gateway_answered_does_not_outlive_the_attempt() {
        let done = PurchaseResult::Done {
            external: ExternalPaymentId::new("X").unwrap(),
            token: Some("card:shopper".to_owned()),
            display_params: json!({ "holderName": "the shopper" }),
            details_owner: Some("shopper-1".to_owned()),
            at: Timestamp::from_secs(1),
        };
        for result in [done, PurchaseResult::ActionRequired { payload: json!({ "token": "secret" }), pending_id: None }] {
            let text = serde_json::to_string(&result.without_sensitive_data()).unwrap();
            assert!(!text.contains("shopper") && !text.contains("secret"), "{text}");
        }
    }
}
