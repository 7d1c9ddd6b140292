//! Reconciliation: what nobody asks for any more comes to its end all the same.

#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod customers;
#[path = "../support/faults.rs"]
mod faults;
mod holds;
mod lost;
mod rounds;
mod scan;

use std::time::Duration;

use connector::ids::{CustomerId, OrderId};
use sandbox::house::{Entry, House as _};
use sandbox::stage::{METHOD, OFFER, ORIGIN, Stage, id};
use serde_json::{Value, json};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A customer with an order, at a page.
pub(crate) struct Buyer {
    pub(crate) customer: CustomerId,
    pub(crate) order: OrderId,
}

impl Buyer {
    pub(crate) fn new(stage: &Stage) -> Self {
        let customer = stage.cleeng.new_customer().unwrap();
        let order = stage.cleeng.new_order(&customer, &id(OFFER), &id(METHOD)).unwrap();
        Self { customer, order }
    }

    /// A start of the order's payment; what the gateway asks of him, if it does.
    pub(crate) async fn start(&self, stage: &Stage, entry: Entry, number: u32) -> Option<Value> {
        let mut body = json!({ "orderId": self.order, "origin": ORIGIN, "returnUrl": format!("{ORIGIN}/checkout"), "captchaValue": "x" });
        if let (Some(body), Value::Object(entered)) = (body.as_object_mut(), stage.adyen.entered(entry, number)) {
            body.extend(entered);
        }
        let token = stage.cleeng.customer_token(&self.customer);
        let reply = stage.call("initial-payment", &token, &body).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        Some(reply.body["responseData"]["action"].clone()).filter(Value::is_object)
    }
}
