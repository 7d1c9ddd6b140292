//! The scenes of one customer's scenario: first purchase, renewals, new details, single purchases, refunds, a chargeback, an abandoned
//! checkout, and termination after declines.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::clock::{Clock, Timestamp};
use connector::gateway::{DeclineClass, GatewayName};
use connector::ids::{CustomerId, OrderId, PaymentId};
use connector::money::Money;
use serde_json::{Value, json};

use crate::local::demo::DemoError;
use crate::local::demo::narration::Narration;
use crate::simulators::cleeng::{OperatorRefund, PaymentRow, SubscriptionRow};
use crate::simulators::simulated_gateway::{EnteredDetails, LedgerEntry, LedgerStatus, SimulatedGateway};
use crate::testkit::fixtures::{OFFER, PASS, SHOP_ORIGIN, id};
use crate::testkit::gateway_fixtures::{charges_settle_later, payment_methods_of};

/// More declines than dunning has attempts.
const DECLINES_UNTIL_TERMINATION: usize = 12;

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours.saturating_mul(3_600))
}

/// One customer at one gateway.
pub(super) struct CustomerScenario {
    simulator: Arc<dyn SimulatedGateway>,
    gateway: GatewayName,
    entry_count: u32,
}

/// A customer who switches to another gateway while a renewal is authorised.
pub(super) async fn run_gateway_switch<W: Write>(
    narration: &mut Narration<'_, W>,
    from: Arc<dyn SimulatedGateway>,
    to: Arc<dyn SimulatedGateway>,
) -> Result<(), DemoError> {
    let (mut old, mut new) = (CustomerScenario::new(from), CustomerScenario::new(to));
    narration.begin_scene(&format!("Scenario: a customer switches from {} to {}", old.gateway, new.gateway))?;
    let customer = narration.world.cleeng.new_customer().ok_or(DemoError::Inconsistent("no customer"))?;
    old.first_purchase(narration, &customer).await?;
    narration.begin_scene("authorised at the old gateway, then details are stored at the new one")?;
    let due = old.due_date(narration, &customer)?;
    narration.run_until(due.before(hours(60))).await?;
    new.store_details(narration, &customer).await?;
    narration.run_until(due.after(hours(3))).await?;
    let payments = new.payments(narration, &customer);
    let statuses: Vec<_> = payments.iter().map(|payment| payment.status.clone()).collect();
    let paid_there =
        payments.last().is_some_and(|payment| new.ledger_entry(payment).is_some_and(|entry| entry.status == LedgerStatus::Captured));
    let as_told = statuses == [PaymentStatus::Captured, PaymentStatus::Cancelled, PaymentStatus::Captured];
    narration.check(as_told && paid_there, "the authorisation at the old gateway is released, the next period is paid through the new one")
}

impl CustomerScenario {
    pub(super) fn new(simulator: Arc<dyn SimulatedGateway>) -> Self {
        Self { gateway: simulator.gateway_name(), simulator, entry_count: 0 }
    }

    pub(super) async fn run<W: Write>(mut self, narration: &mut Narration<'_, W>) -> Result<(), DemoError> {
        narration.begin_scene(&format!("Scenario: {}", self.gateway))?;
        let customer = narration.world.cleeng.new_customer().ok_or(DemoError::Inconsistent("no customer"))?;
        self.first_purchase(narration, &customer).await?;
        self.renewal(narration, &customer).await?;
        self.renewal_after_soft_decline(narration, &customer).await?;
        self.renewal_after_details_change(narration, &customer).await?;
        self.purchases_and_refunds(narration, &customer).await?;
        self.chargeback(narration, &customer).await?;
        self.abandoned_checkout(narration, &customer).await?;
        self.termination_after_declines(narration, &customer).await
    }

    async fn first_purchase<W: Write>(&mut self, narration: &mut Narration<'_, W>, customer: &CustomerId) -> Result<(), DemoError> {
        narration.begin_scene("first purchase: the customer has to authenticate or approve first")?;
        let order = self.create_order(narration, customer, OFFER)?;
        let paid = self.pay_order(narration, customer, &order, EnteredDetails::ActionRequired).await?;
        self.run_follow_ups(narration).await?;
        let renews =
            self.subscription(narration, customer).is_some_and(|one| one.status == SubscriptionStatus::Active && one.details.is_some());
        narration.check(paid && renews, "the order is paid, the subscription is active and can be renewed")
    }

    async fn renewal<W: Write>(&mut self, narration: &mut Narration<'_, W>, customer: &CustomerId) -> Result<(), DemoError> {
        narration.begin_scene("first renewal: captured")?;
        let due = self.due_date(narration, customer)?;
        narration.run_until(due.after(hours(3))).await?;
        narration.check(self.due_date(narration, customer)? > due, "the next period is paid")
    }

    async fn renewal_after_soft_decline<W: Write>(
        &mut self,
        narration: &mut Narration<'_, W>,
        customer: &CustomerId,
    ) -> Result<(), DemoError> {
        narration.begin_scene("second renewal: declined at the first attempt, then captured")?;
        let due = self.due_date(narration, customer)?;
        self.simulator.decline_next(&self.stored_token(narration, customer)?, DeclineClass::Soft);
        narration.run_until(due.after(hours(3))).await?;
        let rejected = self.payments(narration, customer).iter().filter(|payment| payment.status == PaymentStatus::Rejected).count();
        narration.check(rejected == 1 && self.due_date(narration, customer)? > due, "one payment is rejected, and the next period is paid")
    }

    async fn renewal_after_details_change<W: Write>(
        &mut self,
        narration: &mut Narration<'_, W>,
        customer: &CustomerId,
    ) -> Result<(), DemoError> {
        narration.begin_scene("third renewal: authorised with the old details, which are then replaced")?;
        let due = self.due_date(narration, customer)?;
        narration.run_until(due.before(hours(60))).await?;
        let old = self.stored_token(narration, customer)?;
        self.store_details(narration, customer).await?;
        narration.run_until(due.after(hours(3))).await?;
        let cancelled = self.payments(narration, customer).iter().filter(|payment| payment.status == PaymentStatus::Cancelled).count();
        let good = cancelled == 1 && old != self.stored_token(narration, customer)? && self.due_date(narration, customer)? > due;
        narration.check(good, "the authorisation with the old details is released, and the new details paid the next period")
    }

    /// Stores details without a charge, as a page and its customer do.
    async fn store_details<W: Write>(&mut self, narration: &mut Narration<'_, W>, customer: &CustomerId) -> Result<(), DemoError> {
        let token = narration.world.cleeng.customer_token(customer);
        let facts = json!({ "paymentMethodId": payment_methods_of(self.gateway).0, "returnUrl": format!("{SHOP_ORIGIN}/account") });
        let mut answer = narration
            .call_frontend(self.gateway, "payment-details", &token, &self.start_body(&facts, EnteredDetails::Frictionless))
            .await?;
        while let Some(details) = self.complete_action(&answer) {
            let facts = json!({ "paymentMethodId": payment_methods_of(self.gateway).0, "details": details });
            answer = narration.call_frontend(self.gateway, "payment-details/finalize", &token, &facts).await?;
        }
        Ok(())
    }

    async fn purchases_and_refunds<W: Write>(&mut self, narration: &mut Narration<'_, W>, customer: &CustomerId) -> Result<(), DemoError> {
        narration.begin_scene("two single purchases: one is refunded in part, the other in full")?;
        for (number, minor) in [(1, Some(400)), (2, None)] {
            let order = self.create_order(narration, customer, PASS)?;
            let paid = self.pay_order(narration, customer, &order, EnteredDetails::Frictionless).await?;
            let payment = self.payments(narration, customer).into_iter().find(|payment| payment.order == order);
            let payment = payment.ok_or(DemoError::Inconsistent("Cleeng does not list the purchase"))?;
            self.request_refund(narration, &payment.id, minor.map(|minor| Money::new(minor, payment.total.currency)), number)?;
            self.run_follow_ups(narration).await?;
            let back = self.ledger_entry(&payment).map(|entry| entry.refunded.minor);
            narration.check(paid && back == Some(minor.unwrap_or(payment.total.minor)), "the requested amount is refunded")?;
        }
        Ok(())
    }

    async fn chargeback<W: Write>(&mut self, narration: &mut Narration<'_, W>, customer: &CustomerId) -> Result<(), DemoError> {
        narration.begin_scene("chargeback: the bank reverses the last renewal")?;
        let captured = |payment: &PaymentRow| payment.status == PaymentStatus::Captured && payment.subscription.is_some();
        let last =
            self.payments(narration, customer).into_iter().rfind(captured).ok_or(DemoError::Inconsistent("no renewal to charge back"))?;
        self.simulator.charge_back(&last.external_payment_id);
        self.run_follow_ups(narration).await?;
        let reported = self.payments(narration, customer).into_iter().find(|payment| payment.id == last.id);
        narration.check(reported.is_some_and(|payment| payment.status == PaymentStatus::Refunded), "Cleeng records the payment as refunded")
    }

    async fn abandoned_checkout<W: Write>(&mut self, narration: &mut Narration<'_, W>, customer: &CustomerId) -> Result<(), DemoError> {
        narration.begin_scene("an abandoned checkout: nothing is left open after the order expires")?;
        let order = self.create_order(narration, customer, PASS)?;
        self.start_payment(narration, customer, &order, EnteredDetails::ActionRequired).await?;
        narration.run_until(narration.world.clock.now().after(hours(40))).await?;
        let known = self.payments(narration, customer).iter().any(|payment| payment.order == order);
        let held = self.simulator.ledger().iter().any(|entry| entry.status == LedgerStatus::Authorised && entry.holds_money());
        narration.check(!known && !held, "no authorisation is left, and nothing was reported to Cleeng")
    }

    async fn termination_after_declines<W: Write>(
        &mut self,
        narration: &mut Narration<'_, W>,
        customer: &CustomerId,
    ) -> Result<(), DemoError> {
        narration.begin_scene("last renewal: every attempt is declined, and the subscription is terminated")?;
        let Some(subscription) = self.subscription(narration, customer) else { return Err(DemoError::Inconsistent("no subscription")) };
        if subscription.status != SubscriptionStatus::Active {
            return narration.check(true, "the subscription has ended already, with the refunded money");
        }
        let token = self.stored_token(narration, customer)?;
        for _ in 0..DECLINES_UNTIL_TERMINATION {
            self.simulator.decline_next(&token, DeclineClass::Soft);
        }
        let due = self.due_date(narration, customer)?;
        narration.run_until(due.after(hours(5))).await?;
        let ended = self.subscription(narration, customer).is_some_and(|one| one.terminated_as.is_some());
        narration.check(ended, "the subscription is terminated")
    }

    fn create_order<W: Write>(&self, narration: &Narration<'_, W>, customer: &CustomerId, offer: &str) -> Result<OrderId, DemoError> {
        let order = narration.world.cleeng.new_order(customer, &id(offer), &id(payment_methods_of(self.gateway).0));
        order.ok_or(DemoError::Inconsistent("an order cannot be made"))
    }

    /// Everything that follows at once.
    async fn run_follow_ups<W: Write>(&self, narration: &mut Narration<'_, W>) -> Result<(), DemoError> {
        let soon = narration.world.clock.now().after(Duration::from_secs(1_800));
        narration.run_until(soon).await
    }

    async fn start_payment<W: Write>(
        &mut self,
        narration: &mut Narration<'_, W>,
        customer: &CustomerId,
        order: &OrderId,
        entry: EnteredDetails,
    ) -> Result<Value, DemoError> {
        let token = narration.world.cleeng.customer_token(customer);
        let facts = json!({ "orderId": order, "returnUrl": format!("{SHOP_ORIGIN}/checkout?orderId={order}") });
        let body = self.start_body(&facts, entry);
        narration.call_frontend(self.gateway, "initial-payment", &token, &body).await
    }

    /// Pays an order as a page and its customer do. Returns whether it is paid: in the answer, or afterwards if the gateway settles charges later.
    async fn pay_order<W: Write>(
        &mut self,
        narration: &mut Narration<'_, W>,
        customer: &CustomerId,
        order: &OrderId,
        entry: EnteredDetails,
    ) -> Result<bool, DemoError> {
        let token = narration.world.cleeng.customer_token(customer);
        let mut answer = self.start_payment(narration, customer, order, entry).await?;
        while let Some(details) = self.complete_action(&answer) {
            let facts = json!({ "orderId": order, "details": details });
            answer = narration.call_frontend(self.gateway, "initial-payment/finalize", &token, &facts).await?;
        }
        if charges_settle_later(self.gateway, &narration.world.clock) {
            self.run_follow_ups(narration).await?;
            let paid = |payment: &PaymentRow| payment.order == *order && payment.status == PaymentStatus::Captured;
            return Ok(self.payments(narration, customer).iter().any(paid));
        }
        Ok(answer.pointer("/responseData/payment/status").and_then(Value::as_str) == Some("captured"))
    }

    /// The details that the page sends after the customer completed the action; `None` if there is no action.
    fn complete_action(&self, answer: &Value) -> Option<Value> {
        let action = answer.pointer("/responseData/action").filter(|action| action.is_object())?;
        Some(self.simulator.complete_action(action))
    }

    /// The body of a start. Every entry of details is a new one.
    fn start_body(&mut self, facts: &Value, entry: EnteredDetails) -> Value {
        self.entry_count = self.entry_count.saturating_add(1);
        let fixed = json!({ "origin": SHOP_ORIGIN, "captchaValue": "x" });
        let entered = self.simulator.payment_data(entry, self.entry_count);
        let members = [&fixed, facts, &entered].into_iter().filter_map(Value::as_object).flatten();
        members.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into()
    }

    fn request_refund<W: Write>(
        &self,
        narration: &Narration<'_, W>,
        payment: &PaymentId,
        amount: Option<Money>,
        number: i64,
    ) -> Result<(), DemoError> {
        let refund = OperatorRefund { amount, id: Some(id(&number.to_string())), reason: None };
        let accepted = narration.world.cleeng.request_refund(payment, &refund);
        if accepted { Ok(()) } else { Err(DemoError::Inconsistent("a payment to be refunded is unknown")) }
    }

    fn ledger_entry(&self, payment: &PaymentRow) -> Option<LedgerEntry> {
        self.simulator.ledger().into_iter().find(|entry| entry.external_payment_id == payment.external_payment_id)
    }

    fn payments<W: Write>(&self, narration: &Narration<'_, W>, customer: &CustomerId) -> Vec<PaymentRow> {
        narration.world.cleeng.payments().into_iter().filter(|payment| payment.customer == *customer).collect()
    }

    fn subscription<W: Write>(&self, narration: &Narration<'_, W>, customer: &CustomerId) -> Option<SubscriptionRow> {
        narration.world.cleeng.subscriptions().into_iter().find(|subscription| subscription.customer == *customer)
    }

    fn due_date<W: Write>(&self, narration: &Narration<'_, W>, customer: &CustomerId) -> Result<Timestamp, DemoError> {
        self.subscription(narration, customer).map(|subscription| subscription.date_to).ok_or(DemoError::Inconsistent("no subscription"))
    }

    fn stored_token<W: Write>(&self, narration: &Narration<'_, W>, customer: &CustomerId) -> Result<String, DemoError> {
        let details = self.subscription(narration, customer).and_then(|subscription| subscription.details);
        let details = details.and_then(|details| narration.world.cleeng.details(&details));
        details.map(|details| details.token).ok_or(DemoError::Inconsistent("the subscription has no details"))
    }
}
