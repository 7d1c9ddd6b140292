//! What is known of a subscription across its periods.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::gateway::Reference;
use crate::ids::{CustomerId, OfferId, PaymentDetailsId, PaymentMethodId, SubscriptionId};
use crate::journal::store::Key;
use crate::journal::{SCHEMA, SETTLED_RETENTION};
use crate::money::Currency;

/// After an event was settled, Cleeng is asked this much later what it expects next.
pub const CHECK_AFTER_EVENT: Duration = Duration::from_secs(10 * 60);
/// While an attempt is in flight its own due time counts; this applies if the attempt is forgotten.
pub const CHECK_IN_FLIGHT: Duration = Duration::from_secs(3600);
/// What is known of a subscription across its periods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionState {
    /// The schema that it was written with.
    pub schema: u32,
    /// The payment method of its latest event: shows that the subscription is ours if a payload does not.
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

/// What the latest billing event of a subscription said.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBillingEvent {
    /// `subscriptionId`.
    pub subscription: SubscriptionId,
    /// `customerId`.
    pub customer: CustomerId,
    /// `offerId`.
    pub offer: OfferId,
    /// `paymentDetailsId`.
    pub details: PaymentDetailsId,
    /// `currency`.
    #[serde(default)]
    pub currency: Option<Currency>,
    /// `paymentCountry`.
    #[serde(default)]
    pub country: Option<String>,
    /// `token`: gives access to the details, so that no `Debug` shows it.
    #[serde(default)]
    pub token: Option<String>,
    /// What Cleeng is expected to send next.
    #[serde(default)]
    pub expected_event: Option<ExpectedEvent>,
}

impl fmt::Debug for LastBillingEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastBillingEvent")
            .field("subscription", &self.subscription)
            .field("expected_event", &self.expected_event)
            .finish_non_exhaustive()
    }
}

/// An event that is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedEvent {
    /// What it asks for.
    pub action: BillingAction,
    /// When.
    pub at: Timestamp,
    /// For which period.
    pub expiration: Timestamp,
    /// Whether Cleeng named the time (`nextPaymentActionDate`). Else it is the end of the period, and any attempt of the period will do.
    pub exact: bool,
}

/// What an event asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BillingAction {
    /// To hold the money of the period.
    Authorise,
    /// To take it.
    Capture,
    /// To end the subscription.
    Terminate,
}

impl SubscriptionState {
    /// Its key in the journal.
    #[must_use]
    pub fn key(subscription: &SubscriptionId) -> Key {
        Key::new("subscription", &[subscription.as_str()])
    }

    /// When to check whether the next event came; `None` if none is expected.
    #[must_use]
    pub fn due_at(&self, now: Timestamp) -> Option<Timestamp> {
        let wait = if self.in_flight.is_some() { CHECK_IN_FLIGHT } else { CHECK_AFTER_EVENT };
        self.last_billing_event.as_ref().map(|_| now.after(wait))
    }

    /// When it may be deleted: not while anything is in flight, held or expected.
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

/// Stored details that were created here, so that a missed event of the first renewal with them can be recovered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDetails {
    /// The schema that it was written with.
    pub schema: u32,
    /// Gives access to the details; this type has no `Debug`.
    pub token: String,
    /// The currency of the order that was paid with them; `None` if they were stored without an order.
    #[serde(default)]
    pub currency: Option<Currency>,
}

impl StoredDetails {
    /// Its key in the journal.
    #[must_use]
    pub fn key(details: &PaymentDetailsId) -> Key {
        Key::new("stored-details", &[details.as_str()])
    }
}

#[cfg(test)]
mod tests;
