//! Reconciliation: everything that no event will complete.

mod abandoned_purchases;
mod dry_run;
mod missed_events;
mod newer_schema;
mod obsolete_authorisations;
pub(crate) mod poison;
mod recovered_events;
mod runs;
mod subscription_scan;

use std::time::Duration;

use connector::ids::{CustomerId, OrderId};
use connector::payments::subscription_state::{LastBillingEvent, SubscriptionState};
use sandbox::simulators::simulated_gateway::{EnteredDetails, SimulatedGateway as _};
use sandbox::testkit::fixtures::{OFFER, SHOP_ORIGIN, id};
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::{Value, json};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A subscription of which an event is expected.
pub(crate) fn watched() -> SubscriptionState {
    let last_billing_event = LastBillingEvent {
        subscription: id("999999"),
        customer: id("1"),
        offer: id(OFFER),
        details: id("2"),
        currency: None,
        country: None,
        token: None,
        expected_event: None,
    };
    SubscriptionState { last_billing_event: Some(last_billing_event), ..SubscriptionState::default() }
}

/// A customer with an order, at a page.
pub(crate) struct Buyer {
    pub(crate) customer: CustomerId,
    pub(crate) order: OrderId,
}

impl Buyer {
    pub(crate) fn new(env: &TestEnvironment) -> Self {
        let customer = env.cleeng.new_customer().unwrap();
        let order = env.cleeng.new_order(&customer, &id(OFFER), &id(ADYEN_METHOD)).unwrap();
        Self { customer, order }
    }

    /// Starts the order's payment; the gateway's action, if there is one.
    pub(crate) async fn start(&self, env: &TestEnvironment, entry: EnteredDetails, number: u32) -> Option<Value> {
        let mut body =
            json!({ "orderId": self.order, "origin": SHOP_ORIGIN, "returnUrl": format!("{SHOP_ORIGIN}/checkout"), "captchaValue": "x" });
        if let (Some(body), Value::Object(entered)) = (body.as_object_mut(), env.adyen.payment_data(entry, number)) {
            body.extend(entered);
        }
        let token = env.cleeng.customer_token(&self.customer);
        let reply = env.call("initial-payment", &token, &body).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        Some(reply.body["responseData"]["action"].clone()).filter(Value::is_object)
    }
}
