//! A customer of one gateway: what they do at the checkout page and in "my account", and what Cleeng and the gateway know of them.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::clock::{Clock, Timestamp};
use connector::gateway::{DeclineClass, GatewayName};
use connector::ids::{CustomerId, OrderId};
use connector::money::Money;
use serde_json::{Map, Value, json};

use super::DemoError;
use super::narration::Narration;
use super::observer::Observation;
use super::transcript::Line;
use crate::simulators::cleeng::{OperatorRefund, PaymentRow, SubscriptionRow};
use crate::simulators::simulated_gateway::{EnteredDetails, LedgerEntry, LedgerStatus, SimulatedGateway};
use crate::testkit::fixtures::{OFFER, PASS, SHOP_ORIGIN, id};
use crate::testkit::gateway_fixtures::{GatewayFixture, charges_settle_later};

const CUSTOMER: &str = "customer";
const BUYS_A_PASS: &str = "buys a pass (no renewal)";
/// What follows at once is over by then.
const FOLLOW_UPS: Duration = Duration::from_secs(1_800);

/// One customer at one gateway.
pub(super) struct Customer {
    id: CustomerId,
    pub(super) gateway: GatewayName,
    pub(super) simulator: Arc<dyn SimulatedGateway>,
    /// The payment method in Cleeng that they pay with.
    method: &'static str,
}

impl Customer {
    /// A new customer who pays with this method.
    pub(super) fn new(narration: &Narration<'_>, at: &GatewayFixture, method: &'static str) -> Result<Self, DemoError> {
        let id = narration.world.cleeng.new_customer().ok_or(DemoError::Inconsistent("no customer"))?;
        Ok(Self { id, gateway: at.simulator.gateway_name(), simulator: Arc::clone(&at.simulator), method })
    }

    /// The same customer with another gateway.
    pub(super) fn at(&self, other: &GatewayFixture) -> Self {
        Self { gateway: other.simulator.gateway_name(), simulator: Arc::clone(&other.simulator), method: other.method, id: self.id.clone() }
    }

    /// Buys the subscription with details that the customer has to confirm first. Returns whether it is paid and can be renewed.
    pub(super) async fn subscribe(&self, narration: &mut Narration<'_>) -> Result<bool, DemoError> {
        let (_, paid) = self.buy(narration, OFFER, EnteredDetails::ActionRequired).await?;
        self.run_follow_ups(narration).await?;
        let subscription = self.subscription(narration)?;
        Ok(paid && subscription.status == SubscriptionStatus::Active && subscription.details.is_some())
    }

    /// Buys a pass, and returns its order and whether it is paid.
    pub(super) async fn buy_pass(&self, narration: &mut Narration<'_>) -> Result<(OrderId, bool), DemoError> {
        self.buy(narration, PASS, EnteredDetails::Frictionless).await
    }

    /// Begins to buy a pass, and closes the page instead of confirming. Returns the order.
    pub(super) async fn abandon_checkout(&self, narration: &mut Narration<'_>) -> Result<OrderId, DemoError> {
        let order = self.create_order(narration, PASS)?;
        let token = narration.world.cleeng.customer_token(&self.id);
        let body = self.start_body(narration, &order_facts(&order), EnteredDetails::ActionRequired);
        let (_, seen) = narration.call_frontend(self.gateway, "initial-payment", &token, &body).await?;
        tell(narration, BUYS_A_PASS, "closes the page", seen);
        Ok(order)
    }

    /// Stores new details without a charge.
    pub(super) async fn store_details(&self, narration: &mut Narration<'_>) -> Result<(), DemoError> {
        let facts = json!({ "paymentMethodId": self.method, "returnUrl": format!("{SHOP_ORIGIN}/account") });
        let body = self.start_body(narration, &facts, EnteredDetails::Frictionless);
        let facts = json!({ "paymentMethodId": self.method });
        let (answer, seen) = self.call_until_done(narration, "payment-details", body, &facts).await?;
        let stored = answer.pointer("/responseData/action").is_none_or(Value::is_null);
        let what = format!("stores new details at {}", self.gateway);
        tell(narration, &what, if stored { "stored" } else { "not stored" }, seen);
        Ok(())
    }

    async fn buy(&self, narration: &mut Narration<'_>, offer: &str, entry: EnteredDetails) -> Result<(OrderId, bool), DemoError> {
        let order = self.create_order(narration, offer)?;
        let body = self.start_body(narration, &order_facts(&order), entry);
        let (answer, seen) = self.call_until_done(narration, "initial-payment", body, &json!({ "orderId": order })).await?;
        let status = answer.pointer("/responseData/payment/status").and_then(Value::as_str).unwrap_or("not paid yet");
        tell(narration, if offer == PASS { BUYS_A_PASS } else { "buys a subscription" }, status, seen);
        if !charges_settle_later(self.gateway, &narration.world.clock) {
            return Ok((order, status == "captured"));
        }
        self.run_follow_ups(narration).await?;
        let paid = self.payments(narration).iter().any(|payment| payment.order == order && payment.status == PaymentStatus::Captured);
        Ok((order, paid))
    }

    /// Calls a front-end route, and its `/finalize` for as long as there is something for the customer to do.
    async fn call_until_done(
        &self,
        narration: &mut Narration<'_>,
        path: &str,
        body: Value,
        facts: &Value,
    ) -> Result<(Value, Observation), DemoError> {
        let token = narration.world.cleeng.customer_token(&self.id);
        let (mut answer, mut seen) = narration.call_frontend(self.gateway, path, &token, &body).await?;
        while let Some(action) = answer.pointer("/responseData/action").filter(|action| action.is_object()) {
            let details = json!({ "details": self.simulator.complete_action(action) });
            let (next, after) =
                narration.call_frontend(self.gateway, &format!("{path}/finalize"), &token, &merged([facts, &details])).await?;
            seen.steps.push("(customer confirms)".to_owned());
            // The connector measures both calls as one kind of operation.
            seen.steps.extend(after.steps.into_iter().map(|step| if step == "purchase" { "finalize".to_owned() } else { step }));
            seen.details.extend(after.details);
            answer = next;
        }
        Ok((answer, seen))
    }

    fn create_order(&self, narration: &Narration<'_>, offer: &str) -> Result<OrderId, DemoError> {
        let order = narration.world.cleeng.new_order(&self.id, &id(offer), &id(self.method));
        order.ok_or(DemoError::Inconsistent("an order cannot be made"))
    }

    /// The body of a start. Every entry of details is a new one.
    fn start_body(&self, narration: &mut Narration<'_>, facts: &Value, entry: EnteredDetails) -> Value {
        let number = narration.number_entered_details();
        let fixed = json!({ "origin": SHOP_ORIGIN, "captchaValue": "x" });
        merged([&fixed, facts, &self.simulator.payment_data(entry, number)])
    }

    /// Everything that follows at once.
    pub(super) async fn run_follow_ups(&self, narration: &mut Narration<'_>) -> Result<(), DemoError> {
        narration.run_until(narration.world.clock.now().after(FOLLOW_UPS)).await
    }

    /// An operator refunds the payment of this order, in part if there is an amount in minor units. Returns whether the gateway refunded that
    /// much.
    pub(super) async fn refund(
        &self,
        narration: &mut Narration<'_>,
        order: &OrderId,
        minor: Option<i64>,
        number: &str,
    ) -> Result<bool, DemoError> {
        let payment = self.payments(narration).into_iter().find(|payment| payment.order == *order);
        let payment = payment.ok_or(DemoError::Inconsistent("Cleeng does not list the purchase"))?;
        let amount = minor.map(|minor| Money::new(minor, payment.total.currency));
        let refund = OperatorRefund { amount, id: Some(id(number)), reason: None };
        if !narration.world.cleeng.request_refund(&payment.id, &refund) {
            return Err(DemoError::Inconsistent("a payment to be refunded is unknown"));
        }
        self.run_follow_ups(narration).await?;
        Ok(self.ledger_entry(&payment).is_some_and(|entry| entry.refunded == amount.unwrap_or(payment.total)))
    }

    /// The bank refuses the next so many payments with the stored details.
    pub(super) fn decline_next(&self, narration: &Narration<'_>, times: u32) -> Result<(), DemoError> {
        let token = self.stored_token(narration)?;
        for _ in 0..times {
            self.simulator.decline_next(&token, DeclineClass::Soft);
        }
        Ok(())
    }

    /// The publisher ends the subscription, so that it has no renewals in later scenes.
    pub(super) fn leave(&self, narration: &Narration<'_>) -> Result<(), DemoError> {
        narration.world.cleeng.set_status(&self.subscription(narration)?.id, SubscriptionStatus::Terminated);
        Ok(())
    }

    pub(super) fn ledger_entry(&self, payment: &PaymentRow) -> Option<LedgerEntry> {
        self.simulator.ledger().into_iter().find(|entry| entry.external_payment_id == payment.external_payment_id)
    }

    /// Whether the gateway took the money of this payment.
    pub(super) fn took(&self, payment: &PaymentRow) -> bool {
        self.ledger_entry(payment).is_some_and(|entry| entry.status == LedgerStatus::Captured)
    }

    pub(super) fn payments(&self, narration: &Narration<'_>) -> Vec<PaymentRow> {
        narration.world.cleeng.payments().into_iter().filter(|payment| payment.customer == self.id).collect()
    }

    pub(super) fn subscription(&self, narration: &Narration<'_>) -> Result<SubscriptionRow, DemoError> {
        let mut subscriptions = narration.world.cleeng.subscriptions().into_iter();
        subscriptions.find(|subscription| subscription.customer == self.id).ok_or(DemoError::Inconsistent("no subscription"))
    }

    pub(super) fn due_date(&self, narration: &Narration<'_>) -> Result<Timestamp, DemoError> {
        Ok(self.subscription(narration)?.date_to)
    }

    pub(super) fn stored_token(&self, narration: &Narration<'_>) -> Result<String, DemoError> {
        let details = self.subscription(narration)?.details.and_then(|details| narration.world.cleeng.details(&details));
        details.map(|details| details.token).ok_or(DemoError::Inconsistent("the subscription has no details"))
    }
}

fn tell(narration: &mut Narration<'_>, what: &str, result: &str, seen: Observation) {
    let mut line = Line::new(narration.world.clock.now(), CUSTOMER, what, result);
    (line.steps, line.details) = (seen.steps, seen.details);
    narration.transcript.tell(line);
}

fn order_facts(order: &OrderId) -> Value {
    json!({ "orderId": order, "returnUrl": format!("{SHOP_ORIGIN}/checkout?orderId={order}") })
}

/// One object with the members of all.
fn merged<const N: usize>(objects: [&Value; N]) -> Value {
    let members = objects.into_iter().filter_map(Value::as_object).flatten();
    members.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>().into()
}
