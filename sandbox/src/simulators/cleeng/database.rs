//! The database of the simulator and its rows. Must never delete anything: tests read the history here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::cleeng::{PaymentOperation, PaymentStatus, SubscriptionStatus};
use connector::clock::Timestamp;
use connector::ids::{
    CustomerId, ExternalPaymentId, Id, OfferId, OrderId, PaymentDetailsId, PaymentId, PaymentMethodId, PublisherId, SubscriptionId,
};
use connector::money::Money;
use serde_json::Value;
use time::OffsetDateTime;

/// The unit of a renewal cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Days.
    Day,
    /// Weeks.
    Week,
    /// Calendar months; the last day of a shorter month where the day does not exist.
    Month,
    /// Seasons, of three calendar months here.
    Season,
    /// Calendar years.
    Year,
}

/// How often a subscription renews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// The unit.
    pub unit: Unit,
    /// How many of them, at least 1.
    pub amount: u16,
}

impl Cycle {
    /// Every month.
    pub const MONTHLY: Self = Self { unit: Unit::Month, amount: 1 };
    /// Every day, as Cleeng's sandbox offers for tests.
    pub const DAILY: Self = Self { unit: Unit::Day, amount: 1 };

    pub(super) const fn unit_name(self) -> &'static str {
        match self.unit {
            Unit::Day => "day",
            Unit::Week => "week",
            Unit::Month => "month",
            Unit::Season => "season",
            Unit::Year => "year",
        }
    }

    /// One cycle after this point.
    #[must_use]
    pub fn after(self, from: Timestamp) -> Timestamp {
        let amount = u64::from(self.amount);
        match self.unit {
            Unit::Day => from.after(Duration::from_secs(amount.saturating_mul(86_400))),
            Unit::Week => from.after(Duration::from_secs(amount.saturating_mul(7 * 86_400))),
            Unit::Month => months_after(from, i32::from(self.amount)),
            Unit::Season => months_after(from, i32::from(self.amount).saturating_mul(3)),
            Unit::Year => months_after(from, i32::from(self.amount).saturating_mul(12)),
        }
    }
}

fn months_after(from: Timestamp, months: i32) -> Timestamp {
    let moved = OffsetDateTime::from_unix_timestamp(from.secs()).ok().and_then(|at| {
        let index = i32::from(u8::from(at.month())).saturating_sub(1).saturating_add(months);
        let year = at.year().saturating_add(index.div_euclid(12));
        let month = time::Month::try_from(u8::try_from(index.rem_euclid(12).saturating_add(1)).ok()?).ok()?;
        let day = at.day().min(month.length(year));
        Some(at.replace_date(time::Date::from_calendar_date(year, month, day).ok()?))
    });
    moved.map_or(from, |at| Timestamp::from_secs(at.unix_timestamp()))
}

/// When billing webhooks are sent, per payment method (Cleeng, "Dunning action settings").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DunningSettings {
    /// Authorisation events at the attempts and a capture event at the due date; else capture events at the attempts.
    pub authorised_first: bool,
    /// Hours relative to the due date: positive is before, negative after.
    pub attempts: Vec<i64>,
    /// Hours after the due date until the subscription is ready for termination.
    pub grace: i64,
}

impl Default for DunningSettings {
    /// The defaults that Cleeng's documentation shows: 72, 48, 24 and 0 hours before, 2 hours of grace.
    fn default() -> Self {
        Self { authorised_first: true, attempts: vec![72, 48, 24, 0], grace: 2 }
    }
}

/// A payment method.
#[derive(Clone, Debug)]
pub struct MethodRow {
    /// The gateway's name as Cleeng has it.
    pub gateway: String,
    /// Its dunning.
    pub dunning: DunningSettings,
}

/// A customer.
#[derive(Clone, Debug)]
pub struct CustomerRow {
    /// The e-mail address that webhooks carry.
    pub email: String,
    /// Country of purchase.
    pub country: String,
}

/// An offer.
#[derive(Clone, Debug)]
pub struct OfferRow {
    /// Its price, tax included.
    pub price: Money,
    /// Its cycle.
    pub cycle: Cycle,
}

/// Payment details.
#[derive(Clone, Debug)]
pub struct DetailsRow {
    /// The customer.
    pub customer: CustomerId,
    /// The payment method.
    pub method: PaymentMethodId,
    /// The gateway's token.
    pub token: String,
    /// What "my account" shows.
    pub display_params: Value,
    /// Whether renewals use them.
    pub active: bool,
}

impl DetailsRow {
    /// The gateway's own id of the stored details, without the customer's that tokens of the connector hold as well.
    #[must_use]
    pub fn stored_id(&self) -> &str {
        self.token.split(':').next().unwrap_or_default()
    }
}

/// A subscription.
#[derive(Clone, Debug)]
pub struct SubscriptionRow {
    /// Its id.
    pub id: SubscriptionId,
    /// The customer.
    pub customer: CustomerId,
    /// The offer.
    pub offer: OfferId,
    /// The offer that the next renewal switches to.
    pub pending_switch: Option<OfferId>,
    /// The payment method.
    pub method: PaymentMethodId,
    /// The details that the next renewal uses.
    pub details: Option<PaymentDetailsId>,
    /// Its status.
    pub status: SubscriptionStatus,
    /// The start of the period that is paid.
    pub date_from: Timestamp,
    /// The end of what is paid.
    pub date_to: Timestamp,
    /// Its cycle.
    pub cycle: Cycle,
    /// The latest captured payment.
    pub latest_payment: Option<ExternalPaymentId>,
    /// How many renewals were paid.
    pub completed: u32,
    /// The `terminationType` of its end, or `status` where it was patched.
    pub terminated_as: Option<String>,
}

/// An order.
#[derive(Clone, Debug)]
pub struct OrderRow {
    /// Its id.
    pub id: OrderId,
    /// The customer.
    pub customer: CustomerId,
    /// The offer.
    pub offer: OfferId,
    /// The payment method.
    pub method: PaymentMethodId,
    /// What is to be paid.
    pub total: Money,
    /// Country of purchase.
    pub country: String,
    /// When it lapses.
    pub expires: Timestamp,
    /// The subscription that it renews.
    pub subscription: Option<SubscriptionId>,
    /// Whether payment details are wanted even where nothing is to be paid.
    pub needs_details: bool,
    /// Whether another connector's payment has paid it.
    pub paid_elsewhere: bool,
}

/// Refunded money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// How much in all; each part is a transaction.
    pub amount: Money,
    /// Why.
    pub reason: String,
    /// `refund` or `chargeback`.
    pub kind: String,
}

/// A payment.
#[derive(Clone, Debug)]
pub struct PaymentRow {
    /// Its id.
    pub id: PaymentId,
    /// The order that it pays.
    pub order: OrderId,
    /// Its status.
    pub status: PaymentStatus,
    /// First purchase or renewal.
    pub operation: PaymentOperation,
    /// How much.
    pub total: Money,
    /// The customer.
    pub customer: CustomerId,
    /// The offer.
    pub offer: OfferId,
    /// With which details.
    pub details: Option<PaymentDetailsId>,
    /// The subscription that it renews.
    pub subscription: Option<SubscriptionId>,
    /// The period that it renews, by the `dateTo` before it.
    pub period: Option<Timestamp>,
    /// The gateway's id.
    pub external_payment_id: ExternalPaymentId,
    /// Why it was rejected.
    pub rejected_reason: Option<String>,
    /// What was refunded.
    pub refund: Option<Refund>,
    /// When it got into each status.
    pub history: Vec<(Timestamp, PaymentStatus)>,
}

impl PaymentRow {
    /// Whether it holds or has taken money.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self.status, PaymentStatus::Authorised | PaymentStatus::Captured)
    }
}

/// Money that Cleeng has booked as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionRow {
    /// For which payment.
    pub payment: PaymentId,
    /// For which subscription.
    pub subscription: Option<SubscriptionId>,
    /// The gateway's id.
    pub external_payment_id: ExternalPaymentId,
    /// How much; negative for a refund.
    pub amount: Money,
    /// When.
    pub at: Timestamp,
}

/// A rule of the contract that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When.
    pub at: Timestamp,
    /// Which rule, as a stable word such as `double_charge`.
    pub rule: &'static str,
    /// Method and path of the request.
    pub request: String,
}

/// Everything that the simulator knows.
#[derive(Default)]
pub(super) struct Database {
    serial: u64,
    pub(super) methods: BTreeMap<PaymentMethodId, MethodRow>,
    pub(super) customers: BTreeMap<CustomerId, CustomerRow>,
    pub(super) offers: BTreeMap<OfferId, OfferRow>,
    pub(super) details: BTreeMap<PaymentDetailsId, DetailsRow>,
    /// Who had which details, by the gateway's name and its id of them: also of details that are gone.
    pub(super) owners: BTreeMap<(String, String), (CustomerId, PaymentDetailsId)>,
    /// Details that a customer removed: who reports a payment with them breaks no rule, because nobody was told in time.
    pub(super) removed_details: BTreeSet<PaymentDetailsId>,
    pub(super) subscriptions: BTreeMap<SubscriptionId, SubscriptionRow>,
    pub(super) orders: BTreeMap<OrderId, OrderRow>,
    pub(super) payments: BTreeMap<PaymentId, PaymentRow>,
    pub(super) transactions: Vec<TransactionRow>,
    pub(super) violations: Vec<Violation>,
    /// The publisher that owns the database.
    pub(super) publisher: Option<PublisherId>,
    /// The webhook endpoints by topic, as they were written.
    pub(super) webhooks: BTreeMap<String, Vec<Value>>,
    /// Billing webhooks that were sent: subscription, due date, topic, attempt.
    pub(super) sent: BTreeSet<(SubscriptionId, Timestamp, Topic, Timestamp)>,
    /// Other webhooks that wait to be sent.
    pub(super) outbox: Vec<(Timestamp, Topic, Value)>,
}

impl Database {
    /// A new id: nine digits that no other kind of thing has, so that a mix-up is noticed. `None` only if the text were no id.
    pub(super) fn fresh<T>(&mut self) -> Option<Id<T>> {
        self.serial = self.serial.saturating_add(1);
        Id::new(self.serial.saturating_mul(7).saturating_add(300_000_000).to_string()).ok()
    }

    /// Adds payment details.
    pub(super) fn insert_details(&mut self, id: &PaymentDetailsId, record: DetailsRow) {
        let gateway = self.methods.get(&record.method).map(|method| method.gateway.clone()).unwrap_or_default();
        self.owners.insert((gateway, record.stored_id().to_owned()), (record.customer.clone(), id.clone()));
        self.details.insert(id.clone(), record);
    }

    /// The live payment of a subscription's period.
    pub(super) fn live_payment(&self, subscription: &SubscriptionId, period: Timestamp) -> Option<&PaymentRow> {
        self.payments
            .values()
            .find(|payment| payment.is_live() && payment.subscription.as_ref() == Some(subscription) && payment.period == Some(period))
    }

    /// Books a captured payment: the transaction, and the period that it pays for.
    pub(super) fn record_capture(&mut self, id: &PaymentId, now: Timestamp) {
        let Some(payment) = self.payments.get(id).cloned() else { return };
        let (external_payment_id, subscription) = (payment.external_payment_id.clone(), payment.subscription.clone());
        self.transactions.push(TransactionRow {
            payment: id.clone(),
            subscription: subscription.clone(),
            external_payment_id: external_payment_id.clone(),
            amount: payment.total,
            at: now,
        });
        match subscription.and_then(|id| self.subscriptions.get_mut(&id)) {
            Some(renewed) if renewed.status != SubscriptionStatus::Terminated => {
                renewed.date_from = renewed.date_to;
                renewed.date_to = renewed.cycle.after(renewed.date_to);
                renewed.latest_payment = Some(external_payment_id);
                renewed.offer = renewed.pending_switch.take().unwrap_or_else(|| renewed.offer.clone());
                renewed.completed = renewed.completed.saturating_add(1);
            }
            Some(_) => {}
            None => self.start_subscription(&payment, now),
        }
    }

    /// Cleeng creates the subscription of a first purchase.
    pub(super) fn start_subscription(&mut self, payment: &PaymentRow, now: Timestamp) {
        // Ids of offers begin with their kind; a pass is bought once.
        if !payment.offer.as_str().starts_with('S') {
            return;
        }
        let order = self.orders.get(&payment.order).cloned();
        let cycle = self.offers.get(&payment.offer).map(|offer| offer.cycle);
        let (Some(order), Some(cycle), Some(id)) = (order, cycle, self.fresh()) else { return };
        let record = SubscriptionRow {
            id,
            customer: order.customer,
            offer: order.offer,
            pending_switch: None,
            method: order.method,
            details: payment.details.clone(),
            status: SubscriptionStatus::Active,
            date_from: now,
            date_to: cycle.after(now),
            cycle,
            latest_payment: Some(payment.external_payment_id.clone()),
            completed: 0,
            terminated_as: None,
        };
        self.subscriptions.insert(record.id.clone(), record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_later_is_the_same_day_or_the_last_one() {
        let after = |text: &str, cycle: Cycle| cycle.after(Timestamp::parse_rfc3339(text).unwrap()).to_rfc3339();
        assert_eq!(after("2026-01-31T10:00:00Z", Cycle::MONTHLY), "2026-02-28T10:00:00Z");
        assert_eq!(after("2026-12-15T10:00:00Z", Cycle { unit: Unit::Month, amount: 3 }), "2027-03-15T10:00:00Z");
        assert_eq!(after("2024-02-29T10:00:00Z", Cycle { unit: Unit::Year, amount: 1 }), "2025-02-28T10:00:00Z");
        assert_eq!(after("2026-03-01T10:00:00Z", Cycle::DAILY), "2026-03-02T10:00:00Z");
    }
}
