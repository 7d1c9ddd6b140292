//! `/payment_details`.

use connector::cleeng::webhook::Topic;
use connector::ids::PaymentDetailsId;
use serde_json::{Value, json};

use super::books::DetailsRecord;
use super::desk::{Desk, No, Served, Wrapper, against, malformed, text, typed_id};

const FIELDS: [&str; 5] = ["customerId", "token", "paymentMethodId", "paymentMethodSpecificParams", "active"];

impl Desk<'_> {
    pub(super) fn create_details(&mut self) -> Served {
        let body = self.body(&FIELDS)?;
        let record = DetailsRecord {
            customer: typed_id(&body, "customerId", true, "details_customer")?,
            method: typed_id(&body, "paymentMethodId", true, "details_method")?,
            token: text(&body, "token", "details_without_token")?.to_owned(),
            shown: body.get("paymentMethodSpecificParams").cloned().unwrap_or(Value::Null),
            active: match body.get("active") {
                None => true,
                Some(Value::Bool(active)) => *active,
                Some(_) => return Err(malformed("details_active")),
            },
        };
        if !self.books.customers.contains_key(&record.customer) || !self.books.methods.contains_key(&record.method) {
            return Err(against("details_for_unknown_customer_or_method"));
        }
        let id = self.add_details(record)?;
        self.get_details(&id)
    }

    /// Adds details; active ones take the place of all others of the customer, each of which is announced (Cleeng, "Update payment
    /// details").
    pub(super) fn add_details(&mut self, record: DetailsRecord) -> Result<PaymentDetailsId, No> {
        let id: PaymentDetailsId = self.books.fresh().ok_or(No::Status(500))?;
        if record.active {
            self.deactivate_details_of(&record);
            for subscription in self.books.subscriptions.values_mut().filter(|subscription| subscription.customer == record.customer) {
                subscription.details = Some(id.clone());
                subscription.method = record.method.clone();
            }
        }
        self.books.details.insert(id.clone(), record);
        Ok(id)
    }

    fn deactivate_details_of(&mut self, successor: &DetailsRecord) {
        let now = self.now;
        for (id, old) in self.books.details.iter_mut().filter(|(_, old)| old.active && old.customer == successor.customer) {
            old.active = false;
            self.books.outbox.push((now, Topic::PaymentDetailsDeactivated, deactivation_data(id, old)));
        }
    }

    pub(super) fn get_details(&self, id: &PaymentDetailsId) -> Served {
        let details = self.books.details.get(id).ok_or(No::Status(404))?;
        let subscriptions = self.books.subscriptions.values().filter(|subscription| subscription.details.as_ref() == Some(id));
        let shown = json!({
            "id": self.id(id), "customerId": self.id(&details.customer), "token": details.token,
            "paymentGateway": self.books.methods.get(&details.method).map(|method| method.gateway.clone()), "paymentMethod": "card",
            "paymentMethodSpecificParams": details.shown, "paymentMethodId": self.id(&details.method), "active": details.active,
            "bound": false, "subscriptionIds": subscriptions.map(|subscription| self.id(&subscription.id)).collect::<Vec<_>>(),
            "attemptRestrictions": { "attemptRestrictedTo": null, "attemptRejections": {} },
        });
        Ok(Self::wrapped(Wrapper::Data, "data", shown))
    }

    pub(super) fn delete_details(&mut self, id: &PaymentDetailsId) -> Served {
        self.books.details.remove(id).ok_or(No::Status(404))?;
        for subscription in self.books.subscriptions.values_mut().filter(|subscription| subscription.details.as_ref() == Some(id)) {
            subscription.details = None;
        }
        Ok(Self::wrapped(Wrapper::Data, "data", Value::Null))
    }
}

/// What is told about details that were deactivated; the payload is unpublished.
pub(super) fn deactivation_data(id: &PaymentDetailsId, details: &DetailsRecord) -> Value {
    json!({
        "paymentDetailsId": id.to_json_number(), "customerId": details.customer.to_json_number(),
        "paymentMethodId": details.method.to_json_number(), "active": false, "token": details.token,
    })
}
