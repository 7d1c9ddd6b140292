//! The two ledgers of a scenario side by side: what Cleeng records, and what the gateways say.

use connector::cleeng::{PaymentOperation, PaymentStatus};
use connector::gateway::GatewayName;
use connector::money::Money;

use crate::local::LocalWorld;
use crate::simulators::cleeng::PaymentRow;
use crate::simulators::simulated_gateway::{LedgerEntry, LedgerStatus, SimulatedGateway};
use crate::testkit::balance_check::discrepancies;
use crate::testkit::fixtures::PASS;

/// How much of each ledger there is.
pub(super) struct Ledgers {
    payments: usize,
    transactions: usize,
    entries: Vec<usize>,
}

/// Both ledgers of a scenario, compared.
pub(super) struct Comparison {
    /// The table.
    pub(super) rows: Vec<String>,
    /// What disagrees, a line each.
    pub(super) disagreements: Vec<String>,
    /// The sums, in a sentence.
    pub(super) sums: String,
}

impl Ledgers {
    /// As they are now.
    pub(super) fn of(world: &LocalWorld) -> Self {
        Self {
            payments: world.cleeng.payments().len(),
            transactions: world.cleeng.transactions().len(),
            entries: world.simulated_gateways().iter().map(|simulator| simulator.ledger().len()).collect(),
        }
    }

    /// Compares what was added since then; disagreements are those of the whole ledgers.
    pub(super) fn compare(&self, world: &LocalWorld) -> Comparison {
        let simulators = world.simulated_gateways();
        let entries: Vec<(GatewayName, LedgerEntry)> = simulators
            .iter()
            .zip(&self.entries)
            .flat_map(|(simulator, seen)| simulator.ledger().into_iter().skip(*seen).map(|entry| (simulator.gateway_name(), entry)))
            .collect();
        let payments: Vec<PaymentRow> = world.cleeng.payments().into_iter().skip(self.payments).collect();
        let simulators: Vec<&dyn SimulatedGateway> = simulators.iter().map(AsRef::as_ref).collect();
        let mut disagreements = discrepancies(&world.cleeng, &simulators);
        let booked = sum(world.cleeng.transactions().iter().skip(self.transactions).map(|transaction| transaction.amount));
        let captured = entries.iter().filter(|(_, entry)| entry.status == LedgerStatus::Captured);
        let kept =
            sum(captured
                .flat_map(|(_, entry)| [entry.captured, Money::new(entry.refunded.minor.saturating_neg(), entry.refunded.currency)]));
        if booked != kept {
            disagreements.push("the sums differ".to_owned());
        }
        let waiting = world.functions.queues.len();
        if waiting > 0 {
            disagreements.push(format!("{waiting} messages are left in the queues"));
        }
        let sums = format!("Cleeng booked {}, the gateways kept {}", in_words(booked), in_words(kept));
        Comparison { rows: rows(&payments, &entries), disagreements, sums }
    }
}

fn rows(payments: &[PaymentRow], entries: &[(GatewayName, LedgerEntry)]) -> Vec<String> {
    let mut rows: Vec<(String, usize)> = Vec::new();
    let mut add = |row: String| match rows.iter_mut().find(|(known, _)| *known == row) {
        Some((_, times)) => *times = times.saturating_add(1),
        None => rows.push((row, 1)),
    };
    for payment in payments {
        let entry = entries.iter().find(|(_, entry)| entry.external_payment_id == payment.external_payment_id);
        let there = entry.map_or_else(|| "no entry".to_owned(), |(gateway, entry)| at_gateway(*gateway, entry));
        add(row(kind_of(payment), payment.total, &in_cleeng(payment), &there));
    }
    // A verification of stored details moves nothing, and Cleeng does not list it.
    for (gateway, entry) in entries.iter().filter(|(_, entry)| !entry.amount.is_zero()) {
        if !payments.iter().any(|payment| payment.external_payment_id == entry.external_payment_id) {
            add(row("not completed", entry.amount, "no entry", &at_gateway(*gateway, entry)));
        }
    }
    rows.into_iter().map(|(row, times)| format!("  {times:>2} x {row}")).collect()
}

/// The title of the rows, which names their columns.
pub(super) fn title(good: bool) -> String {
    let result = if good { "Both ledgers agree" } else { "The ledgers do NOT agree" };
    format!("{result:<28} {:>10}   {:<28} {}", "amount", "in Cleeng", "at the gateway")
}

fn row(kind: &str, amount: Money, cleeng: &str, gateway: &str) -> String {
    format!("{kind:<23} {:>10}   {cleeng:<28} {gateway}", amount.to_string())
}

fn kind_of(payment: &PaymentRow) -> &'static str {
    match payment.operation {
        PaymentOperation::Recurring => "renewal",
        _ if payment.offer.as_str() == PASS => "pass",
        _ => "first purchase",
    }
}

fn in_cleeng(payment: &PaymentRow) -> String {
    match (&payment.status, &payment.refund) {
        (PaymentStatus::Refunded, Some(refund)) => format!("{}: {}", refund.kind, refund.amount),
        (status, _) => format!("{status:?}").to_lowercase(),
    }
}

fn at_gateway(gateway: GatewayName, entry: &LedgerEntry) -> String {
    let status = match entry.status {
        LedgerStatus::Pending => "pending",
        LedgerStatus::Authorised => "authorised",
        LedgerStatus::Declined => "declined",
        LedgerStatus::Cancelled => "cancelled",
        LedgerStatus::Expired => "expired",
        LedgerStatus::Captured => "captured",
        LedgerStatus::CaptureFailed => "capture failed",
        LedgerStatus::ChargedBack => "charged back",
    };
    let refunded = if entry.refunded.is_zero() { String::new() } else { format!(", {} refunded", entry.refunded) };
    format!("{gateway}: {status}{refunded}")
}

/// The sum in the sandbox's one currency; `None` if there is nothing to add.
fn sum(amounts: impl Iterator<Item = Money>) -> Option<Money> {
    amounts.reduce(|sum, amount| sum.checked_add(amount).unwrap_or(sum))
}

fn in_words(money: Option<Money>) -> String {
    money.map_or_else(|| "nothing".to_owned(), |money| money.to_string())
}
