//! `/payment_details`.

use connector::cleeng::webhook::Topic;
use connector::ids::PaymentDetailsId;
use serde_json::{Value, json};

use crate::simulators::cleeng::database::{Database, DetailsRow};
use crate::simulators::cleeng::request_context::{
    HandlerResult, Rejection, RequestContext, Wrapper, malformed, text, typed_id, unprocessable,
};

const FIELDS: [&str; 5] = ["customerId", "token", "paymentMethodId", "paymentMethodSpecificParams", "active"];

impl RequestContext<'_> {
    pub(super) fn create_details(&mut self) -> HandlerResult {
        let body = self.known_members(&FIELDS)?;
        let record = DetailsRow {
            customer: typed_id(&body, "customerId", true, "details_customer")?,
            method: typed_id(&body, "paymentMethodId", true, "details_method")?,
            token: text(&body, "token", "details_without_token")?.to_owned(),
            display_params: body.get("paymentMethodSpecificParams").cloned().unwrap_or(Value::Null),
            active: match body.get("active") {
                None => true,
                Some(Value::Bool(active)) => *active,
                Some(_) => return Err(malformed("details_active")),
            },
        };
        if !self.database.customers.contains_key(&record.customer) || !self.database.methods.contains_key(&record.method) {
            return Err(unprocessable("details_for_unknown_customer_or_method"));
        }
        let id = self.add_details(record)?;
        self.get_details(&id)
    }

    /// Adds details; active ones take the place of all others of the customer, each of which is announced (Cleeng, "Update payment
    /// details").
    pub(super) fn add_details(&mut self, record: DetailsRow) -> Result<PaymentDetailsId, Rejection> {
        let id: PaymentDetailsId = self.database.fresh().ok_or(Rejection::Status(500))?;
        if record.active {
            self.deactivate_other_details(&record);
            for subscription in self.database.subscriptions.values_mut().filter(|subscription| subscription.customer == record.customer) {
                subscription.details = Some(id.clone());
                subscription.method = record.method.clone();
            }
        }
        self.database.insert_details(&id, record);
        Ok(id)
    }

    fn deactivate_other_details(&mut self, successor: &DetailsRow) {
        let now = self.now;
        for (id, old) in self.database.details.iter_mut().filter(|(_, old)| old.active && old.customer == successor.customer) {
            old.active = false;
            self.database.outbox.push((now, Topic::PaymentDetailsDeactivated, deactivation_data(id, old)));
        }
    }

    pub(super) fn get_details(&self, id: &PaymentDetailsId) -> HandlerResult {
        let details = self.database.details.get(id).ok_or(Rejection::Status(404))?;
        let subscriptions = self.database.subscriptions.values().filter(|subscription| subscription.details.as_ref() == Some(id));
        let shown = json!({
            "id": self.id(id), "customerId": self.id(&details.customer), "token": details.token,
            "paymentGateway": self.database.methods.get(&details.method).map(|method| method.gateway.clone()), "paymentMethod": "card",
            "paymentMethodSpecificParams": details.display_params, "paymentMethodId": self.id(&details.method), "active": details.active,
            "bound": false, "subscriptionIds": subscriptions.map(|subscription| self.id(&subscription.id)).collect::<Vec<_>>(),
            "attemptRestrictions": { "attemptRestrictedTo": null, "attemptRejections": {} },
        });
        Ok(Self::wrapped_response(Wrapper::Data, "data", shown))
    }

    pub(super) fn delete_details(&mut self, id: &PaymentDetailsId) -> HandlerResult {
        self.database.remove_details(id).ok_or(Rejection::Status(404))?;
        Ok(Self::wrapped_response(Wrapper::Data, "data", Value::Null))
    }
}

impl Database {
    /// Removes details; what renews with them does not renew any more, and what is authorised with them is not captured any more.
    pub(super) fn remove_details(&mut self, id: &PaymentDetailsId) -> Option<DetailsRow> {
        for subscription in self.subscriptions.values_mut().filter(|subscription| subscription.details.as_ref() == Some(id)) {
            subscription.details = None;
        }
        self.details.remove(id)
    }
}

/// The data of the event about deactivated details; the payload is unpublished.
pub(super) fn deactivation_data(id: &PaymentDetailsId, details: &DetailsRow) -> Value {
    json!({
        "paymentDetailsId": id.to_json_number(), "customerId": details.customer.to_json_number(),
        "paymentMethodId": details.method.to_json_number(), "active": false, "token": details.token,
    })
}
