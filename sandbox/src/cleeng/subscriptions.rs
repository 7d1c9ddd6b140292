//! `/subscriptions`.

use connector::cleeng::webhook::Topic;
use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::clock::Timestamp;
use connector::ids::{PaymentDetailsId, SubscriptionId};
use serde_json::{Value, json};

use super::books::SubscriptionRecord;
use super::desk::{Desk, No, Served, Wrapper, against, id, malformed, text};

const PATCHED: [&str; 6] = ["status", "expiresAt", "couponCode", "paymentDetailsId", "inTrial", "externalProperties"];
const TERMINATIONS: [&str; 4] = ["paymentCancel", "userCancel", "publisherCancel", "policyViolation"];

impl Desk<'_> {
    pub(super) fn get_subscription(&self, id: &SubscriptionId) -> Served {
        let subscription = self.books.subscriptions.get(id).ok_or(No::Status(404))?;
        Ok(Self::wrapped(Wrapper::Bare, "subscription", self.show_subscription(subscription)))
    }

    /// Without a filter the list is empty (Cleeng, "List subscriptions").
    pub(super) fn list_subscriptions(&self) -> Served {
        let wanted = |name: &str, actual: &str| self.request.query(name).is_none_or(|text| text == actual);
        let filtered = ["customerId", "paymentMethodId"].iter().any(|name| self.request.query(name).is_some());
        let matching = self.books.subscriptions.values().filter(|subscription| {
            let whose = wanted("customerId", subscription.customer.as_str()) && wanted("offerId", subscription.offer.as_str());
            filtered && whose && wanted("paymentMethodId", subscription.method.as_str())
        });
        let items = matching.map(|subscription| self.show_subscription(subscription)).collect();
        Ok(self.page(Wrapper::Data, "data", items))
    }

    pub(super) fn terminate(&mut self, id: &SubscriptionId) -> Served {
        if let Some(status) = self.quirks.terminate {
            return Err(No::Status(status));
        }
        let known = self.books.subscriptions.contains_key(id);
        let body = self.body(&["terminationType"])?;
        let why = text(&body, "terminationType", "termination_type")?;
        if !TERMINATIONS.contains(&why) {
            return Err(malformed("termination_type"));
        }
        if known { self.end(id, why) } else { Err(No::Status(404)) }
    }

    pub(super) fn patch_subscription(&mut self, subscription_id: &SubscriptionId) -> Served {
        let body = self.body(&PATCHED)?;
        if body.len() != 1 {
            return Err(malformed("subscription_patch_of_one_field"));
        }
        if let Some(status) = self.quirks.patch_status.filter(|_| body.contains_key("status")) {
            return Err(No::Status(status));
        }
        if !self.books.subscriptions.contains_key(subscription_id) {
            return Err(No::Status(404));
        }
        if body.contains_key("status") {
            return match text(&body, "status", "subscription_status")? {
                "terminated" => self.end(subscription_id, "status"),
                "stopped" => self.change(subscription_id, |subscription| subscription.status = SubscriptionStatus::Stopped),
                "active" => self.change(subscription_id, |subscription| subscription.status = SubscriptionStatus::Active),
                _ => Err(malformed("subscription_status")),
            };
        }
        if body.contains_key("paymentDetailsId") {
            let details: PaymentDetailsId = id(&body, "paymentDetailsId", "subscription_details")?;
            if !self.books.details.contains_key(&details) {
                return Err(against("subscription_with_unknown_details"));
            }
            return self.change(subscription_id, |subscription| subscription.details = Some(details));
        }
        if let Some(expires) = body.get("expiresAt") {
            let expires = expires.as_i64().map(Timestamp::from_secs).ok_or(malformed("subscription_expiry"))?;
            return self.change(subscription_id, |subscription| subscription.date_to = subscription.date_to.max(expires));
        }
        self.change(subscription_id, |_| {})
    }

    fn end(&mut self, id: &SubscriptionId, why: &str) -> Served {
        if self.books.subscriptions.get(id).is_some_and(|subscription| subscription.status == SubscriptionStatus::Terminated) {
            return Err(No::Status(422));
        }
        self.change(id, |subscription| {
            subscription.status = SubscriptionStatus::Terminated;
            subscription.terminated_as = Some(why.to_owned());
        })
    }

    fn change(&mut self, id: &SubscriptionId, change: impl FnOnce(&mut SubscriptionRecord)) -> Served {
        change(self.books.subscriptions.get_mut(id).ok_or(No::Status(404))?);
        self.get_subscription(id)
    }

    /// When the next billing event is planned; one that was sent is not planned any more, whatever became of it.
    fn next_action_date(&self, subscription: &SubscriptionRecord) -> Option<i64> {
        let mut planned = super::dunning::planned(self.books).into_iter().filter(|planned| planned.subscription == subscription.id);
        planned
            .find(|planned| self.quirks.tells_next && planned.topic != Topic::SubscriptionReadyForTermination)
            .map(|planned| planned.at.secs())
    }

    fn show_subscription(&self, subscription: &SubscriptionRecord) -> Value {
        let live = self.books.live_payment(&subscription.id, subscription.date_to);
        let any = self.books.payments.values().filter(|payment| payment.subscription.as_ref() == Some(&subscription.id));
        let any = any.filter(|_| self.quirks.counts_every_hold);
        let held = live.into_iter().chain(any).any(|payment| payment.status == PaymentStatus::Authorised);
        let first = self.books.methods.get(&subscription.method).is_some_and(|method| method.dunning.authorised_first);
        let action = match subscription.status {
            SubscriptionStatus::Active if self.quirks.tells_next => json!(if first && !held { "authorise" } else { "capture" }),
            _ => Value::Null,
        };
        json!({
            "publisherId": self.optional(self.books.publisher.as_ref()),
            "subscriptionId": self.id(&subscription.id), "customerId": self.id(&subscription.customer),
            "status": status_word(&subscription.status), "dateFrom": subscription.date_from.secs(), "dateTo": subscription.date_to.secs(),
            "nextPaymentAction": action, "nextPaymentActionDate": self.next_action_date(subscription), "paymentDetailsId": self.optional(subscription.details.as_ref()),
            "paymentMethodId": self.id(&subscription.method), "offerId": self.id(&subscription.offer), "ipAddress": null,
            "inTrial": false, "couponCode": null, "pendingSwitchId": null, "subscriptionExternalId": null,
            "latestPaymentExternalId": subscription.latest_payment.as_ref().map(|id| id.as_str().to_owned()),
            "isExternallyManaged": false, "paymentCountry": "US", "externalProperties": {}, "source": null, "pause": null,
            "renewalCycle":
                { "completed": subscription.completed, "unit": subscription.cycle.unit_name(), "amount": subscription.cycle.amount },
        })
    }
}

fn status_word(status: &SubscriptionStatus) -> String {
    match status {
        SubscriptionStatus::Active => "active".to_owned(),
        SubscriptionStatus::Stopped => "stopped".to_owned(),
        SubscriptionStatus::Terminated => "terminated".to_owned(),
        SubscriptionStatus::Paused => "paused".to_owned(),
        SubscriptionStatus::Other(word) => word.clone(),
    }
}
