//! What has to be known of a subscription to make up for a billing webhook that never came: what the latest one said, and what Cleeng expects
//! next. Kept in the subscription's head; read by reconciliation, which is due when the next event is.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::head::Head;
use crate::cleeng::webhook::{BillingEvent, Topic};
use crate::cleeng::{Subscription, SubscriptionStatus};
use crate::clock::Timestamp;
use crate::flow::Billing;
use crate::ids::{CustomerId, OfferId, PaymentDetailsId, PaymentMethodId, PublisherId, SubscriptionId};
use crate::journal::record::{AttemptKind, Obligation};
use crate::journal::store::Key;
use crate::money::Currency;
use crate::secret::SecretString;

/// How long after its time an event may still be on its way. With rounds every five minutes, one that never came is made up for within a
/// quarter of an hour.
pub const SLACK: Duration = Duration::from_secs(8 * 60);
/// After an event was settled, Cleeng is asked this much later what it expects next.
pub const LOOK_AFTER_EVENT: Duration = Duration::from_secs(10 * 60);
/// While an attempt is in flight its own due time counts; this is for one that is forgotten.
pub const LOOK_IN_FLIGHT: Duration = Duration::from_secs(3600);
/// An event whose attempt date is so much earlier than expected is the expected one.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// What the latest billing event of a subscription said.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
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
    /// `token`: as good as a key to the details, so that no `Debug` shows it.
    #[serde(default)]
    pub token: Option<String>,
    /// What Cleeng is expected to send next.
    #[serde(default)]
    pub expected: Option<Expected>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("subscription", &self.subscription).field("expected", &self.expected).finish_non_exhaustive()
    }
}

/// Stored details that came to be here, so that the first renewal with them can be made up for as well.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownDetails {
    /// The schema that it was written with.
    pub schema: u32,
    /// As good as a key to the details; this type has no `Debug`.
    pub token: String,
    /// In which currency they were first used, where something was paid.
    #[serde(default)]
    pub currency: Option<Currency>,
}

impl KnownDetails {
    /// Where it is kept.
    #[must_use]
    pub fn key(details: &PaymentDetailsId) -> Key {
        Key::new("known-details", &[details.as_str()])
    }
}

/// An event that is to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// What it asks for.
    pub action: Expectation,
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
pub enum Expectation {
    /// To hold the money of the period.
    Authorise,
    /// To take it.
    Take,
    /// To end the subscription.
    Terminate,
}

impl Watch {
    /// What an event says; what is expected is kept.
    #[must_use]
    pub fn of(event: &BillingEvent, before: Option<&Self>) -> Self {
        // A capture event need not name the token; the one before did, if the details are the same.
        let same = before.filter(|before| before.details == event.payment_details);
        Self {
            subscription: event.subscription.clone(),
            customer: event.customer.clone(),
            offer: event.offer.clone(),
            details: event.payment_details.clone(),
            currency: event.currency.or_else(|| before.and_then(|before| before.currency)),
            country: event.country.clone().or_else(|| before.and_then(|before| before.country.clone())),
            token: event.token.as_ref().map(SecretString::expose).map(str::to_owned).or_else(|| same.and_then(|same| same.token.clone())),
            expected: before.and_then(|before| before.expected.clone()),
        }
    }
}

impl Expected {
    /// What Cleeng is to send next for this subscription. Nothing for one that has ended, rests, or whose end is Cleeng's to decide.
    #[must_use]
    pub fn next(subscription: &Subscription, head: &Head, billing: Billing) -> Option<Self> {
        let expiration = subscription.paid_until;
        let pays = |action, at, exact| Some(Self { action, at, expiration, exact });
        match subscription.status {
            SubscriptionStatus::Active => {}
            SubscriptionStatus::Stopped => return pays(Expectation::Terminate, expiration, false),
            SubscriptionStatus::Terminated | SubscriptionStatus::Paused | SubscriptionStatus::Other(_) => return None,
        }
        let held = head.live.as_ref().is_some_and(|live| live.expiration.secs() == expiration.secs());
        let to_take = billing == Billing::CaptureOnly || held || subscription.next_payment_action.as_deref() == Some("capture");
        let action = if to_take { Expectation::Take } else { Expectation::Authorise };
        match subscription.next_payment_action_date {
            Some(at) => pays(action, at, true),
            None => pays(action, expiration, false),
        }
    }

    /// Whether so much time has passed that the event should have been here.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.at.after(SLACK) <= now
    }

    /// Whether it still stands, now that Cleeng says this of the subscription.
    #[must_use]
    pub fn still_stands(&self, subscription: &Subscription) -> bool {
        let status = match self.action {
            Expectation::Terminate => subscription.status == SubscriptionStatus::Stopped,
            Expectation::Authorise | Expectation::Take => subscription.status == SubscriptionStatus::Active,
        };
        status && subscription.paid_until.secs() == self.expiration.secs()
    }

    /// Whether the journal knows the event: what came of it is in the period's obligation, or the subscription's termination.
    #[must_use]
    pub fn was_heard(&self, head: &Head, obligation: Option<&Obligation>) -> bool {
        let held = head.live.as_ref().is_some_and(|live| live.expiration.secs() == self.expiration.secs());
        let from = if self.exact || self.action == Expectation::Terminate { self.at.before(TOLERANCE) } else { Timestamp::from_secs(0) };
        let attempts = obligation.map_or(&[][..], |obligation| &obligation.attempts);
        let heard = attempts.iter().any(|attempt| {
            let kind = match self.action {
                Expectation::Authorise => matches!(attempt.kind, AttemptKind::Authorise | AttemptKind::Capture | AttemptKind::Charge),
                Expectation::Take => matches!(attempt.kind, AttemptKind::Capture | AttemptKind::Charge),
                Expectation::Terminate => attempt.kind == AttemptKind::Terminate,
            };
            kind && (attempt.due >= from || attempt.opened_at >= from)
        });
        heard || (self.action == Expectation::Authorise && held)
    }

    /// The event, as Cleeng would have sent it. Nothing if the journal does not know the details that are to be charged.
    #[must_use]
    pub fn event(
        &self,
        watch: &Watch,
        head: &Head,
        subscription: &Subscription,
        publisher: &PublisherId,
        method: &PaymentMethodId,
    ) -> Option<String> {
        let held = head.live.as_ref().filter(|live| live.expiration.secs() == self.expiration.secs());
        // Cleeng names the details that count now: what is held with others is never captured, but released.
        let held_with = || held.map(|live| live.details.clone());
        let details = subscription.payment_details.clone().or_else(held_with).unwrap_or_else(|| watch.details.clone());
        let token = watch.token.as_ref().filter(|_| watch.details == details);
        let (topic, dunning) = match self.action {
            Expectation::Authorise => (Topic::SubscriptionReadyForPaymentAuthorisation, Some("authorize")),
            Expectation::Take => (Topic::SubscriptionReadyForPaymentCapture, Some("capture")),
            Expectation::Terminate => (Topic::SubscriptionReadyForTermination, None),
        };
        if dunning.is_some() && held.is_none() && token.is_none() {
            return None;
        }
        let mut data = json!({
            "subscriptionId": watch.subscription, "offerId": watch.offer, "customerId": watch.customer, "paymentMethodId": method,
            "expirationDate": self.expiration.to_rfc3339(),
        });
        if let (Some(status), Some(data)) = (dunning, data.as_object_mut()) {
            // The time that it was due: the event itself, should it come after all, is the same attempt.
            data.insert("dunningAttemptDate".to_owned(), Value::from(self.at.to_rfc3339()));
            data.insert("dunningStatus".to_owned(), Value::from(status));
            data.insert("paymentDetailsId".to_owned(), json!(details));
            for (name, value) in [
                ("currency", watch.currency.map(|currency| currency.as_str().to_owned())),
                ("paymentCountry", watch.country.clone()),
                ("token", token.cloned()),
            ] {
                data.extend(value.map(|value| (name.to_owned(), Value::from(value))));
            }
        }
        Some(json!({ "broadcasterId": publisher, "topic": topic.as_str(), "data": data }).to_string())
    }
}

#[cfg(test)]
mod tests;
