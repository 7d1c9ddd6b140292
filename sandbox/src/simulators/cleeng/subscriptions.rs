//! `/subscriptions`.

use connector::cleeng::webhook::Topic;
use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::clock::Timestamp;
use connector::ids::{PaymentDetailsId, SubscriptionId};
use serde_json::{Value, json};

use crate::simulators::cleeng::database::SubscriptionRow;
use crate::simulators::cleeng::request_context::{HandlerResult, Rejection, RequestContext, Wrapper, id, malformed, text, unprocessable};

const PATCHABLE_FIELDS: [&str; 6] = ["status", "expiresAt", "couponCode", "paymentDetailsId", "inTrial", "externalProperties"];
const TERMINATION_TYPES: [&str; 4] = ["paymentCancel", "userCancel", "publisherCancel", "policyViolation"];

impl RequestContext<'_> {
    pub(super) fn get_subscription(&self, id: &SubscriptionId) -> HandlerResult {
        let subscription = self.database.subscriptions.get(id).ok_or(Rejection::Status(404))?;
        Ok(Self::wrapped_response(Wrapper::Bare, "subscription", self.subscription_json(subscription)))
    }

    /// Without a filter the list is empty (Cleeng, "List subscriptions").
    pub(super) fn list_subscriptions(&self) -> HandlerResult {
        let wanted = |name: &str, actual: &str| self.request.query(name).is_none_or(|text| text == actual);
        let filtered = ["customerId", "paymentMethodId"].iter().any(|name| self.request.query(name).is_some());
        let matching = self.database.subscriptions.values().filter(|subscription| {
            let whose = wanted("customerId", subscription.customer.as_str()) && wanted("offerId", subscription.offer.as_str());
            filtered && whose && wanted("paymentMethodId", subscription.method.as_str())
        });
        let items = matching.map(|subscription| self.subscription_json(subscription)).collect();
        Ok(self.page_response(Wrapper::Data, "data", items))
    }

    pub(super) fn terminate(&mut self, id: &SubscriptionId) -> HandlerResult {
        if let Some(status) = self.quirks.terminate {
            return Err(Rejection::Status(status));
        }
        let known = self.database.subscriptions.contains_key(id);
        let body = self.known_members(&["terminationType"])?;
        let why = text(&body, "terminationType", "termination_type")?;
        if !TERMINATION_TYPES.contains(&why) {
            return Err(malformed("termination_type"));
        }
        if known { self.terminate_as(id, why) } else { Err(Rejection::Status(404)) }
    }

    pub(super) fn patch_subscription(&mut self, subscription_id: &SubscriptionId) -> HandlerResult {
        let body = self.known_members(&PATCHABLE_FIELDS)?;
        if body.len() != 1 {
            return Err(malformed("subscription_patch_of_one_field"));
        }
        if let Some(status) = self.quirks.patch_status.filter(|_| body.contains_key("status")) {
            return Err(Rejection::Status(status));
        }
        if !self.database.subscriptions.contains_key(subscription_id) {
            return Err(Rejection::Status(404));
        }
        if body.contains_key("status") {
            return match text(&body, "status", "subscription_status")? {
                "terminated" => self.terminate_as(subscription_id, "status"),
                "stopped" => self.update_subscription(subscription_id, |subscription| subscription.status = SubscriptionStatus::Stopped),
                "active" => self.update_subscription(subscription_id, |subscription| subscription.status = SubscriptionStatus::Active),
                _ => Err(malformed("subscription_status")),
            };
        }
        if body.contains_key("paymentDetailsId") {
            let details: PaymentDetailsId = id(&body, "paymentDetailsId", "subscription_details")?;
            if !self.database.details.contains_key(&details) {
                return Err(unprocessable("subscription_with_unknown_details"));
            }
            return self.update_subscription(subscription_id, |subscription| subscription.details = Some(details));
        }
        if let Some(expires) = body.get("expiresAt") {
            let expires = expires.as_i64().map(Timestamp::from_secs).ok_or(malformed("subscription_expiry"))?;
            return self.update_subscription(subscription_id, |subscription| subscription.date_to = subscription.date_to.max(expires));
        }
        self.update_subscription(subscription_id, |_| {})
    }

    fn terminate_as(&mut self, id: &SubscriptionId, why: &str) -> HandlerResult {
        if self.database.subscriptions.get(id).is_some_and(|subscription| subscription.status == SubscriptionStatus::Terminated) {
            return Err(Rejection::Status(422));
        }
        self.update_subscription(id, |subscription| {
            subscription.status = SubscriptionStatus::Terminated;
            subscription.terminated_as = Some(why.to_owned());
        })
    }

    fn update_subscription(&mut self, id: &SubscriptionId, change: impl FnOnce(&mut SubscriptionRow)) -> HandlerResult {
        change(self.database.subscriptions.get_mut(id).ok_or(Rejection::Status(404))?);
        self.get_subscription(id)
    }

    /// When the next billing event is planned; one that was sent is not planned any more.
    fn next_action_date(&self, subscription: &SubscriptionRow) -> Option<i64> {
        let mut planned = crate::simulators::cleeng::dunning::planned_events(self.database)
            .into_iter()
            .filter(|planned| planned.subscription == subscription.id);
        planned
            .find(|planned| self.quirks.shows_next_action && planned.topic != Topic::SubscriptionReadyForTermination)
            .map(|planned| planned.at.secs())
    }

    fn subscription_json(&self, subscription: &SubscriptionRow) -> Value {
        let live = self.database.live_payment(&subscription.id, subscription.date_to);
        let any = self.database.payments.values().filter(|payment| payment.subscription.as_ref() == Some(&subscription.id));
        let any = any.filter(|_| self.quirks.counts_every_authorisation);
        let held = live.into_iter().chain(any).any(|payment| payment.status == PaymentStatus::Authorised);
        let first = self.database.methods.get(&subscription.method).is_some_and(|method| method.dunning.authorised_first);
        let action = match subscription.status {
            SubscriptionStatus::Active if self.quirks.shows_next_action => json!(if first && !held { "authorise" } else { "capture" }),
            _ => Value::Null,
        };
        json!({
            "publisherId": self.optional(self.database.publisher.as_ref()),
            "subscriptionId": self.id(&subscription.id), "customerId": self.id(&subscription.customer),
            "status": status_text(&subscription.status), "dateFrom": subscription.date_from.secs(), "dateTo": subscription.date_to.secs(),
            "nextPaymentAction": action, "nextPaymentActionDate": self.next_action_date(subscription), "paymentDetailsId": self.optional(subscription.details.as_ref().filter(|_| self.quirks.shows_details)),
            "paymentMethodId": self.id(&subscription.method), "offerId": self.id(&subscription.offer), "ipAddress": null,
            "inTrial": false, "couponCode": null, "pendingSwitchId": self.optional(subscription.pending_switch.as_ref()), "subscriptionExternalId": null,
            "latestPaymentExternalId": subscription.latest_payment.as_ref().map(|id| id.as_str().to_owned()),
            "isExternallyManaged": false, "paymentCountry": "US", "externalProperties": {}, "source": null, "pause": null,
            "renewalCycle":
                { "completed": subscription.completed, "unit": subscription.cycle.unit_name(), "amount": subscription.cycle.amount },
        })
    }
}

fn status_text(status: &SubscriptionStatus) -> String {
    match status {
        SubscriptionStatus::Active => "active".to_owned(),
        SubscriptionStatus::Stopped => "stopped".to_owned(),
        SubscriptionStatus::Terminated => "terminated".to_owned(),
        SubscriptionStatus::Paused => "paused".to_owned(),
        SubscriptionStatus::Other(word) => word.clone(),
    }
}
