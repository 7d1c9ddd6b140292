//! `cargo run`: an end-to-end scenario for one customer per gateway, every call of it, and the comparison of both ledgers.
//!
//! | module | purpose |
//! |---|---|
//! | `mod.rs` | start, scenarios, ledger comparison |
//! | `scenario.rs` | the scenes of one customer's scenario |
//! | `narration.rs` | time, deliveries, and the table that is printed |

mod narration;
mod scenario;

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;

use connector::http::TransportError;

use crate::local::{Addresses, LocalWorld, StartError};
use crate::simulators::simulated_gateway::{LedgerEntry, LedgerStatus, SimulatedGateway};
use crate::testkit::balance_check::discrepancies;
use crate::testkit::fixtures::START;
use narration::Narration;
use scenario::CustomerScenario;

/// Why the demo did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The world did not open.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Nothing can be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// There is no response on loopback.
    #[error("the connector does not answer: {0}")]
    NoResponse(#[from] TransportError),
    /// The sandbox contradicts itself.
    #[error("the sandbox is broken: {0}")]
    Inconsistent(&'static str),
}

/// Runs the scenarios and prints them. True if every check holds and both ledgers agree at the end.
///
/// # Errors
/// [`DemoError`].
pub async fn run(out: &mut impl Write) -> Result<bool, DemoError> {
    let world = LocalWorld::open(START, Addresses::ephemeral(Ipv4Addr::LOCALHOST.into())).await?;
    writeln!(out, "Cleeng at {}, the connector at {}", world.cleeng_url(), world.connector_url())?;
    writeln!(out, "(simulated, on this machine only; time is virtual)")?;
    let mut narration = Narration::new(&world, out);
    for simulator in world.simulated_gateways() {
        CustomerScenario::new(simulator).run(&mut narration).await?;
    }
    let simulators = world.simulated_gateways();
    for (from, to) in simulators.iter().zip(simulators.iter().skip(1)) {
        scenario::run_gateway_switch(&mut narration, Arc::clone(from), Arc::clone(to)).await?;
    }
    let as_expected = narration.failed_checks == 0;
    Ok(print_ledger_comparison(&world, out)? && as_expected)
}

fn print_ledger_comparison(world: &LocalWorld, out: &mut impl Write) -> Result<bool, DemoError> {
    let simulators = world.simulated_gateways();
    let ledger: Vec<LedgerEntry> = simulators.iter().flat_map(|simulator| simulator.ledger()).collect();
    writeln!(out, "\nLedger comparison")?;
    writeln!(out, "{:<12}  {:<40}  {:>10}  {:<12}  {:<14}  refunded", "payment", "at the gateway", "amount", "Cleeng", "gateway")?;
    for payment in world.cleeng.payments() {
        let there = ledger.iter().find(|entry| entry.external_payment_id == payment.external_payment_id);
        let (state, back) =
            there.map_or_else(|| ("-".to_owned(), "-".to_owned()), |there| (format!("{:?}", there.status), there.refunded.to_string()));
        writeln!(
            out,
            "{:<12}  {:<40}  {:>10}  {:<12}  {state:<14}  {back}",
            payment.id.to_string(),
            payment.external_payment_id.to_string(),
            payment.total.to_string(),
            format!("{:?}", payment.status),
        )?;
    }
    let booked = world.cleeng.transactions().iter().fold(0_i64, |sum, transaction| sum.saturating_add(transaction.amount.minor));
    let kept = ledger.iter().filter(|entry| entry.status == LedgerStatus::Captured);
    let kept = kept.fold(0_i64, |sum, entry| sum.saturating_add(entry.captured.minor.saturating_sub(entry.refunded.minor)));
    let left = world.functions.queues.len();
    writeln!(out, "Cleeng booked {booked} minor units of USD, the gateways kept {kept}; {left} messages are left in the queues")?;
    let simulators: Vec<&dyn SimulatedGateway> = simulators.iter().map(AsRef::as_ref).collect();
    let found = discrepancies(&world.cleeng, &simulators);
    for line in &found {
        writeln!(out, "DISAGREEMENT: {line}")?;
    }
    let good = found.is_empty() && booked == kept && left == 0;
    writeln!(out, "{}", if good { "Both sides agree." } else { "The two sides do NOT agree." })?;
    Ok(good)
}
