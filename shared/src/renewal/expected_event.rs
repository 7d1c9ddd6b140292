//! What has to be known of a subscription to recover a billing webhook that never came: what the latest one said, and what Cleeng expects
//! next. Kept in the subscription's state; read by reconciliation, which is due when the next event is.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cleeng::webhook::{BillingEvent, RECOVERED, Topic};
use crate::cleeng::{Subscription, SubscriptionStatus};
use crate::clock::Timestamp;
use crate::flow::BillingMode;
use crate::ids::{PaymentMethodId, PublisherId};
use crate::journal::record::{Attempt, AttemptKind, Finish, Obligation};
use crate::payments::subscription_state::{BillingAction, ExpectedEvent, LastBillingEvent, StoredDetails, SubscriptionState};
use crate::reason::CompletionReason;
use crate::secret::SecretString;

/// How long after its time an event may still be on its way. With runs every five minutes, a missed event is recovered within a quarter of
/// an hour.
pub const DELIVERY_SLACK: Duration = Duration::from_secs(8 * 60);
/// An event whose attempt date is so much earlier than expected is the expected one.
const DATE_TOLERANCE: Duration = Duration::from_secs(5 * 60);

impl LastBillingEvent {
    /// What an event says; what is expected is kept.
    #[must_use]
    pub fn from_event(event: &BillingEvent, before: Option<&Self>) -> Self {
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
            expected_event: before.and_then(|before| before.expected_event.clone()),
        }
    }

    /// As it is now, by what Cleeng says of the subscription and what is kept of its details: the next event is about these details.
    #[must_use]
    pub fn updated(&self, subscription: &Subscription, stored: Option<StoredDetails>) -> Self {
        let details = subscription.payment_details.clone().unwrap_or_else(|| self.details.clone());
        let own_token = self.token.clone().filter(|_| details == self.details);
        let (token, currency) = stored.map_or((None, None), |stored| (Some(stored.token), stored.currency));
        Self {
            details,
            token: own_token.or(token),
            currency: self.currency.or(currency),
            country: self.country.clone().or_else(|| subscription.country.clone()),
            ..self.clone()
        }
    }
}

impl ExpectedEvent {
    /// What Cleeng is to send next for this subscription. `None` if the subscription has ended or is paused, or if its end is Cleeng's to
    /// decide.
    #[must_use]
    pub fn next(subscription: &Subscription, head: &SubscriptionState, billing: BillingMode) -> Option<Self> {
        let expiration = subscription.paid_until;
        let expected = |action, at, exact| Some(Self { action, at, expiration, exact });
        match subscription.status {
            SubscriptionStatus::Active => {}
            SubscriptionStatus::Stopped => return expected(BillingAction::Terminate, expiration, false),
            SubscriptionStatus::Terminated | SubscriptionStatus::Paused | SubscriptionStatus::Other(_) => return None,
        }
        let is_authorised = head.live_authorisation.as_ref().is_some_and(|live| live.expiration.secs() == expiration.secs());
        let to_capture =
            billing == BillingMode::CaptureOnly || is_authorised || subscription.next_payment_action.as_deref() == Some("capture");
        let action = if to_capture { BillingAction::Capture } else { BillingAction::Authorise };
        match subscription.next_payment_action_date {
            Some(at) => expected(action, at, true),
            None => expected(action, expiration, false),
        }
    }

    /// Whether so much time has passed that the event should have been here.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.at.after(DELIVERY_SLACK) <= now
    }

    /// Whether it is still expected, given what Cleeng says now about the subscription.
    #[must_use]
    pub fn is_still_expected(&self, subscription: &Subscription) -> bool {
        let has_status = match self.action {
            BillingAction::Terminate => subscription.status == SubscriptionStatus::Stopped,
            BillingAction::Authorise | BillingAction::Capture => subscription.status == SubscriptionStatus::Active,
        };
        has_status && subscription.paid_until.secs() == self.expiration.secs()
    }

    /// Whether the journal knows the event: its result is in the period's obligation, or the subscription's termination.
    #[must_use]
    pub fn was_received(&self, head: &SubscriptionState, obligation: Option<&Obligation>) -> bool {
        let is_authorised = head.live_authorisation.as_ref().is_some_and(|live| live.expiration.secs() == self.expiration.secs());
        let from =
            if self.exact || self.action == BillingAction::Terminate { self.at.before(DATE_TOLERANCE) } else { Timestamp::from_secs(0) };
        let attempts = obligation.map_or(&[][..], |obligation| &obligation.attempts);
        // Nothing counts that came before Cleeng's subscription named other details: the period is still to be paid, with those.
        let replaced =
            |attempt: &Attempt| attempt.finish.as_ref().and_then(Finish::stale_reason) == Some(CompletionReason::DetailsReplaced);
        let since = attempts.iter().rposition(replaced).map_or(0, |last| last.saturating_add(1));
        let received = attempts.iter().skip(since).any(|attempt| {
            let kind = match self.action {
                BillingAction::Authorise => matches!(attempt.kind, AttemptKind::Authorise | AttemptKind::Capture | AttemptKind::Charge),
                BillingAction::Capture => matches!(attempt.kind, AttemptKind::Capture | AttemptKind::Charge),
                BillingAction::Terminate => attempt.kind == AttemptKind::Terminate,
            };
            kind && (attempt.due >= from || attempt.opened_at >= from)
        });
        received || (self.action == BillingAction::Authorise && is_authorised)
    }

    /// The event, as Cleeng would have sent it, and marked as recovered. `None` if the journal does not know the details that are to be
    /// charged, the currency or the country, so that it could not be processed.
    #[must_use]
    pub fn to_webhook(
        &self,
        watch: &LastBillingEvent,
        head: &SubscriptionState,
        subscription: &Subscription,
        publisher: &PublisherId,
        method: &PaymentMethodId,
    ) -> Option<String> {
        let current = head.live_authorisation.as_ref().filter(|live| live.expiration.secs() == self.expiration.secs());
        // Cleeng names the current details: an authorisation with other details is never captured, but released.
        let authorised_with = || current.map(|live| live.details.clone());
        let details = subscription.payment_details.clone().or_else(authorised_with).unwrap_or_else(|| watch.details.clone());
        let token = watch.token.as_ref().filter(|_| watch.details == details);
        let (topic, dunning) = match self.action {
            BillingAction::Authorise => (Topic::SubscriptionReadyForPaymentAuthorisation, Some("authorize")),
            BillingAction::Capture => (Topic::SubscriptionReadyForPaymentCapture, Some("capture")),
            BillingAction::Terminate => (Topic::SubscriptionReadyForTermination, None),
        };
        let is_complete = token.is_some() && watch.currency.is_some() && watch.country.is_some();
        if dunning.is_some() && current.is_none() && !is_complete {
            return None;
        }
        let mut data = json!({
            "subscriptionId": watch.subscription, "offerId": watch.offer, "customerId": watch.customer, "paymentMethodId": method,
            "expirationDate": self.expiration.to_rfc3339(),
        });
        if let (Some(status), Some(data)) = (dunning, data.as_object_mut()) {
            // The time that it was due: if the event itself comes after all, it is the same attempt.
            data.insert("dunningAttemptDate".to_owned(), Value::from(self.at.to_rfc3339()));
            data.insert(RECOVERED.to_owned(), Value::from(true));
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
