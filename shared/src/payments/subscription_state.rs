//! What is known of a subscription across its periods.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::gateway::Reference;
use crate::ids::{PaymentDetailsId, PaymentMethodId, SubscriptionId};
use crate::journal::store::Key;
use crate::journal::{SCHEMA, SETTLED_RETENTION};
use crate::renewal::expected_event::{CHECK_AFTER_EVENT, CHECK_IN_FLIGHT, LastBillingEvent};

/// The head of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionState {
    /// The schema that it was written with.
    pub schema: u32,
    /// The payment method of its latest event: tells that the subscription is ours where a payload does not.
    #[serde(default)]
    pub method: Option<PaymentMethodId>,
    /// The obligation whose attempt is in flight. No other may open one.
    #[serde(default)]
    pub in_flight: Option<String>,
    /// The authorisation that is held and not captured.
    #[serde(default)]
    pub live_authorisation: Option<LiveAuthorisation>,
    /// The latest charge.
    #[serde(default)]
    pub last_charge: Option<LastCharge>,
    /// The end of the latest period that an event named.
    #[serde(default)]
    pub latest_period_end: Option<Timestamp>,
    /// What its latest billing event said, and what is expected next.
    #[serde(default)]
    pub last_billing_event: Option<LastBillingEvent>,
}

/// An authorisation that is held and not captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveAuthorisation {
    /// The payment.
    pub reference: Reference,
    /// The details that it was made with.
    pub details: PaymentDetailsId,
    /// The period that it pays.
    pub expiration: Timestamp,
}

/// A charge, or one that may have happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCharge {
    /// When.
    pub at: Timestamp,
    /// For which period.
    pub expiration: Timestamp,
    /// Whether it is known to have happened. One that may have counts like one that did.
    pub certain: bool,
}

impl SubscriptionState {
    /// Where it is kept.
    #[must_use]
    pub fn key(subscription: &SubscriptionId) -> Key {
        Key::new("subscription", &[subscription.as_str()])
    }

    /// When somebody should look whether the next event came; nothing where none is expected.
    #[must_use]
    pub fn due_at(&self, now: Timestamp) -> Option<Timestamp> {
        let wait = if self.in_flight.is_some() { CHECK_IN_FLIGHT } else { CHECK_AFTER_EVENT };
        self.last_billing_event.as_ref().map(|_| now.after(wait))
    }

    /// When it may be forgotten: not while anything is in flight, held or expected.
    #[must_use]
    pub fn expires_at(&self, now: Timestamp) -> Option<Timestamp> {
        let settled = self.in_flight.is_none() && self.live_authorisation.is_none() && self.last_billing_event.is_none();
        settled.then(|| now.after(SETTLED_RETENTION))
    }
}

impl Default for SubscriptionState {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            method: None,
            in_flight: None,
            live_authorisation: None,
            last_charge: None,
            latest_period_end: None,
            last_billing_event: None,
        }
    }
}

#[cfg(test)]
mod tests;
