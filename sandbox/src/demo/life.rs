//! The scenes of one customer's life: he subscribes, is renewed, changes his details, buys something besides, gets money back, takes some back
//! himself, and leaves when his bank refuses for good.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::clock::{Clock, Timestamp};
use connector::gateway::{DeclineClass, GatewayName};
use connector::ids::{CustomerId, OrderId, PaymentId};
use connector::money::Money;
use serde_json::{Value, json};

use super::DemoError;
use super::telling::Telling;
use crate::cleeng::{PaymentRecord, RefundRequest, SubscriptionRecord};
use crate::guests::methods_of;
use crate::house::{Entry, House, LedgerEntry, Standing};
use crate::stage::{OFFER, ORIGIN, PASS, id};

/// More refusals than dunning has attempts.
const FOR_GOOD: usize = 12;

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours.saturating_mul(3_600))
}

/// One customer at one gateway.
pub(super) struct Life {
    house: Arc<dyn House>,
    gateway: GatewayName,
    entries: u32,
}

/// A customer who moves from one gateway to another in the middle of an authorised period.
pub(super) async fn moves<W: Write>(telling: &mut Telling<'_, W>, from: Arc<dyn House>, to: Arc<dyn House>) -> Result<(), DemoError> {
    let (mut old, mut new) = (Life::new(from), Life::new(to));
    telling.scene(&format!("a customer who moves from {} to {}", old.gateway, new.gateway))?;
    let customer = telling.world.cleeng.new_customer().ok_or(DemoError::Broken("no customer"))?;
    old.subscribes(telling, &customer).await?;
    telling.scene("authorised with the old gateway, then he stores details at the new one")?;
    let due = old.due(telling, &customer)?;
    telling.until(due.before(hours(60))).await?;
    new.stores(telling, &customer).await?;
    telling.until(due.after(hours(3))).await?;
    let payments = new.payments(telling, &customer);
    let statuses: Vec<_> = payments.iter().map(|payment| payment.status.clone()).collect();
    let paid_there =
        payments.last().is_some_and(|payment| new.ledger_of(payment).is_some_and(|entry| entry.standing == Standing::Captured));
    let as_told = statuses == [PaymentStatus::Captured, PaymentStatus::Cancelled, PaymentStatus::Captured];
    telling.expect(as_told && paid_there, "what the old gateway held is released, the next period is paid through the new one")
}

impl Life {
    pub(super) fn new(house: Arc<dyn House>) -> Self {
        Self { gateway: house.gateway(), house, entries: 0 }
    }

    pub(super) async fn live<W: Write>(mut self, telling: &mut Telling<'_, W>) -> Result<(), DemoError> {
        telling.scene(&format!("a life with {}", self.gateway))?;
        let customer = telling.world.cleeng.new_customer().ok_or(DemoError::Broken("no customer"))?;
        self.subscribes(telling, &customer).await?;
        self.is_renewed(telling, &customer).await?;
        self.lacks_money_once(telling, &customer).await?;
        self.changes_details(telling, &customer).await?;
        self.buys_something_besides(telling, &customer).await?;
        self.takes_a_renewal_back(telling, &customer).await?;
        self.leaves_a_page_open(telling, &customer).await?;
        self.cannot_be_charged_any_more(telling, &customer).await
    }

    async fn subscribes<W: Write>(&mut self, telling: &mut Telling<'_, W>, customer: &CustomerId) -> Result<(), DemoError> {
        telling.scene("first purchase: the customer has to do something at his bank or gateway first")?;
        let order = self.order(telling, customer, OFFER)?;
        let paid = self.pays(telling, customer, &order, Entry::Asked).await?;
        self.settle(telling).await?;
        let renews =
            self.subscription(telling, customer).is_some_and(|one| one.status == SubscriptionStatus::Active && one.details.is_some());
        telling.expect(paid && renews, "the order is paid, the subscription is active and can be renewed")
    }

    async fn is_renewed<W: Write>(&mut self, telling: &mut Telling<'_, W>, customer: &CustomerId) -> Result<(), DemoError> {
        telling.scene("first renewal: it goes well")?;
        let due = self.due(telling, customer)?;
        telling.until(due.after(hours(3))).await?;
        telling.expect(self.due(telling, customer)? > due, "the next period is paid")
    }

    async fn lacks_money_once<W: Write>(&mut self, telling: &mut Telling<'_, W>, customer: &CustomerId) -> Result<(), DemoError> {
        telling.scene("second renewal: refused at the first attempt, then it goes well")?;
        let due = self.due(telling, customer)?;
        self.house.refuse_next(&self.token(telling, customer)?, DeclineClass::Soft);
        telling.until(due.after(hours(3))).await?;
        let rejected = self.payments(telling, customer).iter().filter(|payment| payment.status == PaymentStatus::Rejected).count();
        telling.expect(rejected == 1 && self.due(telling, customer)? > due, "one payment is rejected, and the next period is paid")
    }

    async fn changes_details<W: Write>(&mut self, telling: &mut Telling<'_, W>, customer: &CustomerId) -> Result<(), DemoError> {
        telling.scene("third renewal: authorised with the old details, which are then replaced by new ones")?;
        let due = self.due(telling, customer)?;
        telling.until(due.before(hours(60))).await?;
        let old = self.token(telling, customer)?;
        self.stores(telling, customer).await?;
        telling.until(due.after(hours(3))).await?;
        let cancelled = self.payments(telling, customer).iter().filter(|payment| payment.status == PaymentStatus::Cancelled).count();
        let good = cancelled == 1 && old != self.token(telling, customer)? && self.due(telling, customer)? > due;
        telling.expect(good, "what was held with the old details is released, and the new ones paid the next period")
    }

    /// Stores details without a charge, as a page and its customer do.
    async fn stores<W: Write>(&mut self, telling: &mut Telling<'_, W>, customer: &CustomerId) -> Result<(), DemoError> {
        let token = telling.world.cleeng.customer_token(customer);
        let facts = json!({ "paymentMethodId": methods_of(self.gateway).0, "returnUrl": format!("{ORIGIN}/account") });
        let mut answer = telling.call(self.gateway, "payment-details", &token, &self.body(&facts, Entry::Good)).await?;
        while let Some(details) = self.does(&answer) {
            let facts = json!({ "paymentMethodId": methods_of(self.gateway).0, "details": details });
            answer = telling.call(self.gateway, "payment-details/finalize", &token, &facts).await?;
        }
        Ok(())
    }

    async fn buys_something_besides<W: Write>(&mut self, telling: &mut Telling<'_, W>, customer: &CustomerId) -> Result<(), DemoError> {
        telling.scene("two single purchases: one is given back in part, the other as a whole")?;
        for (number, minor) in [(1, Some(400)), (2, None)] {
            let order = self.order(telling, customer, PASS)?;
            let paid = self.pays(telling, customer, &order, Entry::Good).await?;
            let payment = self.payments(telling, customer).into_iter().find(|payment| payment.order == order);
            let payment = payment.ok_or(DemoError::Broken("the purchase is not in the books"))?;
            self.refund(telling, &payment.id, minor.map(|minor| Money::new(minor, payment.total.currency)), number)?;
            self.settle(telling).await?;
            let back = self.ledger_of(&payment).map(|entry| entry.refunded.minor);
            telling.expect(paid && back == Some(minor.unwrap_or(payment.total.minor)), "as much went back as was asked for")?;
        }
        Ok(())
    }

    async fn takes_a_renewal_back<W: Write>(&mut self, telling: &mut Telling<'_, W>, customer: &CustomerId) -> Result<(), DemoError> {
        telling.scene("chargeback: his bank takes the last renewal back")?;
        let captured = |payment: &PaymentRecord| payment.status == PaymentStatus::Captured && payment.subscription.is_some();
        let last = self.payments(telling, customer).into_iter().rfind(captured).ok_or(DemoError::Broken("no renewal to take back"))?;
        self.house.charge_back(&last.external_payment_id);
        self.settle(telling).await?;
        let told = self.payments(telling, customer).into_iter().find(|payment| payment.id == last.id);
        telling.expect(told.is_some_and(|payment| payment.status == PaymentStatus::Refunded), "Cleeng knows that the money is gone")
    }

    async fn leaves_a_page_open<W: Write>(&mut self, telling: &mut Telling<'_, W>, customer: &CustomerId) -> Result<(), DemoError> {
        telling.scene("a page that is left open: nothing hangs when the order's time is over")?;
        let order = self.order(telling, customer, PASS)?;
        self.start(telling, customer, &order, Entry::Asked).await?;
        telling.until(telling.world.clock.now().after(hours(40))).await?;
        let known = self.payments(telling, customer).iter().any(|payment| payment.order == order);
        let held = self.house.ledger().iter().any(|entry| entry.standing == Standing::Authorised && entry.holds_money());
        telling.expect(!known && !held, "nothing is held, and Cleeng was told nothing")
    }

    async fn cannot_be_charged_any_more<W: Write>(&mut self, telling: &mut Telling<'_, W>, customer: &CustomerId) -> Result<(), DemoError> {
        telling.scene("the last renewal: the bank refuses every attempt, and the subscription is terminated")?;
        let Some(subscription) = self.subscription(telling, customer) else { return Err(DemoError::Broken("no subscription")) };
        if subscription.status != SubscriptionStatus::Active {
            return telling.expect(true, "the subscription has ended already, with the money that went back");
        }
        let token = self.token(telling, customer)?;
        for _ in 0..FOR_GOOD {
            self.house.refuse_next(&token, DeclineClass::Soft);
        }
        let due = self.due(telling, customer)?;
        telling.until(due.after(hours(5))).await?;
        let ended = self.subscription(telling, customer).is_some_and(|one| one.terminated_as.is_some());
        telling.expect(ended, "the subscription is terminated")
    }

    fn order<W: Write>(&self, telling: &Telling<'_, W>, customer: &CustomerId, offer: &str) -> Result<OrderId, DemoError> {
        let order = telling.world.cleeng.new_order(customer, &id(offer), &id(methods_of(self.gateway).0));
        order.ok_or(DemoError::Broken("an order cannot be made"))
    }

    /// Everything that follows at once.
    async fn settle<W: Write>(&self, telling: &mut Telling<'_, W>) -> Result<(), DemoError> {
        let soon = telling.world.clock.now().after(Duration::from_secs(1_800));
        telling.until(soon).await
    }

    async fn start<W: Write>(
        &mut self,
        telling: &mut Telling<'_, W>,
        customer: &CustomerId,
        order: &OrderId,
        entry: Entry,
    ) -> Result<Value, DemoError> {
        let token = telling.world.cleeng.customer_token(customer);
        let facts = json!({ "orderId": order, "returnUrl": format!("{ORIGIN}/checkout?orderId={order}") });
        let body = self.body(&facts, entry);
        telling.call(self.gateway, "initial-payment", &token, &body).await
    }

    /// Pays an order as a page and its customer do. Tells whether it is paid.
    async fn pays<W: Write>(
        &mut self,
        telling: &mut Telling<'_, W>,
        customer: &CustomerId,
        order: &OrderId,
        entry: Entry,
    ) -> Result<bool, DemoError> {
        let token = telling.world.cleeng.customer_token(customer);
        let mut answer = self.start(telling, customer, order, entry).await?;
        while let Some(details) = self.does(&answer) {
            let facts = json!({ "orderId": order, "details": details });
            answer = telling.call(self.gateway, "initial-payment/finalize", &token, &facts).await?;
        }
        Ok(answer.pointer("/responseData/payment/status").and_then(Value::as_str) == Some("captured"))
    }

    /// What the customer hands in after he did what the answer asks of him; nothing if it asks nothing.
    fn does(&self, answer: &Value) -> Option<Value> {
        let action = answer.pointer("/responseData/action").filter(|action| action.is_object())?;
        Some(self.house.agree(action))
    }

    /// The body of a start. Every entry of details is a new one.
    fn body(&mut self, facts: &Value, entry: Entry) -> Value {
        self.entries = self.entries.saturating_add(1);
        let fixed = json!({ "origin": ORIGIN, "captchaValue": "x" });
        let entered = self.house.entered(entry, self.entries);
        let members = [&fixed, facts, &entered].into_iter().filter_map(Value::as_object).flatten();
        members.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into()
    }

    fn refund<W: Write>(&self, telling: &Telling<'_, W>, payment: &PaymentId, amount: Option<Money>, number: i64) -> Result<(), DemoError> {
        let asked = RefundRequest { amount, id: Some(id(&number.to_string())), reason: None };
        let asked = telling.world.cleeng.ask_refund(payment, &asked);
        if asked { Ok(()) } else { Err(DemoError::Broken("a payment to be refunded is unknown")) }
    }

    fn ledger_of(&self, payment: &PaymentRecord) -> Option<LedgerEntry> {
        self.house.ledger().into_iter().find(|entry| entry.external_payment_id == payment.external_payment_id)
    }

    fn payments<W: Write>(&self, telling: &Telling<'_, W>, customer: &CustomerId) -> Vec<PaymentRecord> {
        telling.world.cleeng.payments().into_iter().filter(|payment| payment.customer == *customer).collect()
    }

    fn subscription<W: Write>(&self, telling: &Telling<'_, W>, customer: &CustomerId) -> Option<SubscriptionRecord> {
        telling.world.cleeng.subscriptions().into_iter().find(|subscription| subscription.customer == *customer)
    }

    fn due<W: Write>(&self, telling: &Telling<'_, W>, customer: &CustomerId) -> Result<Timestamp, DemoError> {
        self.subscription(telling, customer).map(|subscription| subscription.date_to).ok_or(DemoError::Broken("no subscription"))
    }

    fn token<W: Write>(&self, telling: &Telling<'_, W>, customer: &CustomerId) -> Result<String, DemoError> {
        let details = self.subscription(telling, customer).and_then(|subscription| subscription.details);
        let details = details.and_then(|details| telling.world.cleeng.details(&details));
        details.map(|details| details.token).ok_or(DemoError::Broken("the subscription has no details"))
    }
}
