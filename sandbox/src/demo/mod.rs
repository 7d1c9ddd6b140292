//! `cargo run`: a customer's whole life with each gateway, every call of it, and the balance of both sides.
//!
//! | room | duty |
//! |---|---|
//! | `mod.rs` | the play: opening, lives, balance |
//! | `life.rs` | the scenes of one life |
//! | `telling.rs` | time, deliveries, and the table that is printed |

mod life;
mod telling;

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;

use connector::http::TransportError;

use crate::books::disagreements;
use crate::house::{House, LedgerEntry, Standing};
use crate::local::{Addresses, LocalWorld, StartError};
use crate::stage::START;
use life::Life;
use telling::Telling;

/// Why the demo did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The world did not open.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Nothing can be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// Nobody answers on loopback.
    #[error("the connector does not answer: {0}")]
    Silent(#[from] TransportError),
    /// The sandbox contradicts itself.
    #[error("the sandbox is broken: {0}")]
    Broken(&'static str),
}

/// Plays and prints. Tells whether every scene went as it should, and both sides agree at the end.
///
/// # Errors
/// [`DemoError`].
pub async fn play(out: &mut impl Write) -> Result<bool, DemoError> {
    let world = LocalWorld::open(START, Addresses::free(Ipv4Addr::LOCALHOST.into())).await?;
    writeln!(out, "Cleeng at {}, the connector at {}", world.cleeng_url(), world.connector_url())?;
    writeln!(out, "(simulated, on this machine only; time is virtual)")?;
    let mut telling = Telling::new(&world, out);
    for house in world.houses() {
        Life::new(house).live(&mut telling).await?;
    }
    let houses = world.houses();
    for (from, to) in houses.iter().zip(houses.iter().skip(1)) {
        life::moves(&mut telling, Arc::clone(from), Arc::clone(to)).await?;
    }
    let as_expected = telling.unexpected == 0;
    Ok(balance(&world, out)? && as_expected)
}

fn balance(world: &LocalWorld, out: &mut impl Write) -> Result<bool, DemoError> {
    let houses = world.houses();
    let ledger: Vec<LedgerEntry> = houses.iter().flat_map(|house| house.ledger()).collect();
    writeln!(out, "\nThe books")?;
    writeln!(out, "{:<12}  {:<40}  {:>10}  {:<12}  {:<14}  given back", "payment", "at the gateway", "amount", "Cleeng", "gateway")?;
    for payment in world.cleeng.payments() {
        let there = ledger.iter().find(|entry| entry.external_payment_id == payment.external_payment_id);
        let (state, back) =
            there.map_or_else(|| ("-".to_owned(), "-".to_owned()), |there| (format!("{:?}", there.standing), there.refunded.to_string()));
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
    let kept = ledger.iter().filter(|entry| entry.standing == Standing::Captured);
    let kept = kept.fold(0_i64, |sum, entry| sum.saturating_add(entry.captured.minor.saturating_sub(entry.refunded.minor)));
    let left = world.functions.queues.len();
    writeln!(out, "Cleeng booked {booked} minor units of USD, the gateways kept {kept}; {left} messages are left")?;
    let houses: Vec<&dyn House> = houses.iter().map(AsRef::as_ref).collect();
    let found = disagreements(&world.cleeng, &houses);
    for line in &found {
        writeln!(out, "DISAGREEMENT: {line}")?;
    }
    let good = found.is_empty() && booked == kept && left == 0;
    writeln!(out, "{}", if good { "Both sides agree." } else { "The two sides do NOT agree." })?;
    Ok(good)
}
