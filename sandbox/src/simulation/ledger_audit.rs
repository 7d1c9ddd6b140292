//! What the gateways' ledgers and Cleeng's say about each other, without the journal: whose money is held or kept, for which period or
//! order, and whether it is more than one price.
//!
//! A payment belongs to what its customer had to pay when it was first seen: with stored details that Cleeng knows, to the period that their
//! subscription had to pay then; else to the order of its customer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use connector::cleeng::SubscriptionStatus;
use connector::clock::Timestamp;
use connector::gateway::GatewayName;
use connector::ids::{CustomerId, OrderId, PaymentDetailsId, SubscriptionId};

use super::behaviour::Behaviour;
use super::context::SimulationContext;
use crate::simulators::cleeng::CleengSimulator;
use crate::simulators::simulated_gateway::{LedgerEntry, LedgerStatus};
use crate::testkit::gateway_fixtures::GatewayFixture;
use crate::testkit::harness::TestEnvironment;

/// What a payment is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// The renewal of a subscription for the period that begins then.
    Period(SubscriptionId, Timestamp),
    /// A first or single purchase.
    Order(OrderId),
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Period(subscription, from) => write!(f, "the period of subscription {subscription} from {}", from.to_rfc3339()),
            Self::Order(order) => write!(f, "order {order}"),
        }
    }
}

/// A payment of a ledger: the gateway, and its place there.
type PaymentId = (GatewayName, usize);

/// What was found out about the payments so far.
#[derive(Default)]
pub(super) struct LedgerAudit {
    purposes: BTreeMap<PaymentId, Option<Purpose>>,
    /// Payments that were refused: nobody can keep them from succeeding later.
    refused: BTreeSet<PaymentId>,
    /// Where each payment stood last, and since when.
    standing: BTreeMap<PaymentId, (LedgerStatus, Timestamp)>,
    /// Payments of which a dispute was won.
    won: BTreeSet<PaymentId>,
}

impl LedgerAudit {
    /// What must be true at any time: one payment at the most holds or keeps the money of a period, but for what the gateway was asked to give
    /// back, and for a refusal that became a success. Customers who are present may complete two payments of an order, which is known afterwards.
    pub(super) fn check_step(&mut self, env: &TestEnvironment, context: &SimulationContext) {
        let entries = numbered_entries(env);
        for (id, entry) in &entries {
            if !self.purposes.contains_key(id) {
                let purpose = find_purpose(&env.cleeng, id.0, entry);
                self.purposes.insert(*id, purpose);
            }
            self.note_standing(*id, entry.status, context);
        }
        for (purpose, holding) in self.by_purpose(&entries, |id, entry| entry.kept() > 0 && !self.refused.contains(id)) {
            if holding.len() > 1 && matches!(purpose, Purpose::Period(..)) {
                context.report_violation(format!("{} payments hold or keep the money of {purpose} at once", holding.len()));
            }
        }
    }

    /// Notes where a payment stands, and counts what is rare about how it got there.
    fn note_standing(&mut self, id: PaymentId, now: LedgerStatus, context: &SimulationContext) {
        let at = context.now();
        let (before, since) = self.standing.get(&id).copied().unwrap_or((now, at));
        if before == now {
            self.standing.insert(id, (now, since));
        } else {
            self.standing.insert(id, (now, at));
            count_change(before, now, at.since(since), self.won.contains(&id)).into_iter().flatten().for_each(|one| context.count(one));
        }
        if now == LedgerStatus::Declined {
            self.refused.insert(id);
        }
        if (before, now) == (LedgerStatus::ChargedBack, LedgerStatus::Captured) {
            self.won.insert(id);
        }
    }

    /// What must be true when all is quiet: whatever was asked for or foreseen, no more than one price is held or kept. Where it is more, the
    /// obligation is parked: an operator was called for it.
    pub(super) fn check_final_state(
        &self,
        env: &TestEnvironment,
        context: &SimulationContext,
        is_parked: impl Fn(&Purpose, &LedgerEntry) -> bool,
    ) {
        for (purpose, holding) in self.by_purpose(&numbered_entries(env), |_, entry| entry.holds_money()) {
            if holding.len() > 1 && !holding.iter().any(|entry| is_parked(&purpose, entry)) {
                context.report_violation(format!("{} payments hold or keep the money of {purpose} for ever", holding.len()));
            }
        }
    }

    /// What the payment at this place of its gateway's ledger is for.
    pub(super) fn purpose(&self, id: PaymentId) -> Option<&Purpose> {
        self.purposes.get(&id)?.as_ref()
    }

    fn by_purpose(
        &self,
        entries: &[(PaymentId, LedgerEntry)],
        counts: impl Fn(&PaymentId, &LedgerEntry) -> bool,
    ) -> BTreeMap<Purpose, Vec<LedgerEntry>> {
        let mut found: BTreeMap<Purpose, Vec<LedgerEntry>> = BTreeMap::new();
        for (id, entry) in entries.iter().filter(|(id, entry)| counts(id, entry)) {
            if let Some(purpose) = self.purpose(*id) {
                found.entry(purpose.clone()).or_default().push(entry.clone());
            }
        }
        found
    }
}

/// What is rare about a payment that stood like this for so long, and stands like that now.
fn count_change(before: LedgerStatus, now: LedgerStatus, after: Duration, was_won: bool) -> [Option<Behaviour>; 2] {
    let is_long = before == LedgerStatus::Pending && after > Duration::from_secs(3 * 86_400);
    let change = match (before, now) {
        (LedgerStatus::Declined, LedgerStatus::Authorised | LedgerStatus::Captured) => Some(Behaviour::SuccessAfterRefusal),
        (LedgerStatus::Captured, LedgerStatus::ChargedBack) if was_won => Some(Behaviour::SecondDispute),
        (LedgerStatus::Captured, LedgerStatus::ChargedBack) => Some(Behaviour::Dispute),
        (LedgerStatus::ChargedBack, LedgerStatus::Captured) => Some(Behaviour::DisputeWon),
        (LedgerStatus::Pending, _) if after < Duration::from_secs(3_600) => None,
        (LedgerStatus::Pending, LedgerStatus::Authorised | LedgerStatus::Captured) => Some(Behaviour::UndecidedApproved),
        (LedgerStatus::Pending, LedgerStatus::Declined) => Some(Behaviour::UndecidedRefused),
        _ => None,
    };
    [change, is_long.then_some(Behaviour::UndecidedForDays)]
}

/// Every payment of every gateway. A ledger never loses one, and never changes their order.
pub(super) fn numbered_entries(env: &TestEnvironment) -> Vec<(PaymentId, LedgerEntry)> {
    let of_gateway = |fixture: &GatewayFixture| {
        let gateway = fixture.simulator.gateway_name();
        fixture.simulator.ledger().into_iter().enumerate().map(move |(place, entry)| ((gateway, place), entry))
    };
    env.gateways.iter().flat_map(of_gateway).collect()
}

/// What a payment is for that was just made; `None` for a verification of details, which costs nothing.
fn find_purpose(cleeng: &CleengSimulator, gateway: GatewayName, entry: &LedgerEntry) -> Option<Purpose> {
    if entry.amount.is_zero() {
        return None;
    }
    // A purchase from before the run is in Cleeng already.
    if let Some(payment) = cleeng.payments().into_iter().find(|payment| payment.external_payment_id == entry.external_payment_id) {
        return Some(Purpose::Order(payment.order));
    }
    match entry.stored_details.as_ref().and_then(|stored| cleeng.owner_of_details(gateway, stored)) {
        Some(owner) => period_to_pay(cleeng, &owner),
        None => order_to_pay(cleeng, &entry.customer).map(Purpose::Order),
    }
}

/// The period that the owner of these details has to pay next.
pub(super) fn period_to_pay(cleeng: &CleengSimulator, (customer, _): &(CustomerId, PaymentDetailsId)) -> Option<Purpose> {
    // One at the most is not ended.
    let of_customer = cleeng.subscriptions().into_iter().filter(|subscription| subscription.customer == *customer);
    let subscription = of_customer.max_by_key(|subscription| subscription.status != SubscriptionStatus::Terminated)?;
    Some(Purpose::Period(subscription.id, subscription.date_to))
}

/// The order of a customer that is no renewal; a customer of the simulation has one.
pub(super) fn order_to_pay(cleeng: &CleengSimulator, customer: &str) -> Option<OrderId> {
    let mut of_customer = cleeng.orders().into_iter().filter(|order| order.customer.as_str() == customer && order.subscription.is_none());
    of_customer.next_back().map(|order| order.id)
}
