//! The campaign of faults.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use connector::metrics::Metric;
use sandbox::simulators::simulated_gateway::{EnteredDetails, LedgerEntry};
use sandbox::testkit::balance_check::discrepancies;
use sandbox::testkit::fixtures::{PASS, SHOP_ORIGIN, id};
use serde_json::{Value, json};

use crate::Report;
use crate::proxy::{FaultDraw, FaultKind};
use crate::world::CampaignWorld;

const DAY: Duration = Duration::from_secs(86_400);
/// A customer whose page gets no answer presses the button again so often.
const CLICKS: usize = 6;

/// So many worlds, each with faults for a renewal and a purchase at every gateway, and then without.
///
/// # Errors
/// If a port cannot be bound, or a door gives no answer.
pub(crate) async fn run(rounds: u64, seed: u64, per_mille: u16) -> Result<Report, Box<dyn Error>> {
    let (mut counts, mut calls, mut parked, mut payments) = (BTreeMap::<FaultKind, u64>::new(), 0, 0, 0);
    let mut violations = Vec::new();
    for round in 0..rounds {
        let draw = FaultDraw::new(seed.wrapping_add(round), per_mille);
        let mut world = CampaignWorld::open(Some(&draw)).await?;
        world.add_subscribers();
        buy_passes(&world).await?;
        world.pass(8 * DAY).await?;
        draw.end();
        // Everything that was unknown is found out, or parked after its deadline.
        world.pass(4 * DAY).await?;
        let (seen, of_round) = draw.counts();
        calls += seen;
        of_round.into_iter().for_each(|(kind, count)| *counts.entry(kind).or_default() += count);
        let metrics = &world.local.functions.metrics;
        let parked_here = metrics.count(Metric::Parked, "");
        parked += parked_here;
        payments += world.local.cleeng.payments().len();
        let found = check(&world, parked_here);
        violations.extend(found.into_iter().map(|line| format!("seed {}: {line}", seed.wrapping_add(round))));
    }
    let met: u64 = counts.values().sum();
    let kinds = counts.iter().map(|(kind, count)| format!("{kind:?} {count}")).collect::<Vec<_>>().join(", ");
    let lines = vec![
        format!("{rounds} worlds, {calls} calls through the proxies, {met} faults of {} kinds", counts.len()),
        kinds,
        format!("{payments} payments in Cleeng, {parked} obligations parked for an operator"),
    ];
    Ok(Report { lines, violations })
}

/// One customer of each gateway buys a pass, and presses the button until there is an answer.
async fn buy_passes(world: &CampaignWorld) -> Result<(), Box<dyn Error>> {
    let local = &world.local;
    for (number, fixture) in (1..).zip(&local.gateways) {
        let (Some(customer), method) = (local.cleeng.new_customer(), id(fixture.method)) else { continue };
        let Some(order) = local.cleeng.new_order(&customer, &id(PASS), &method) else { continue };
        let mut body = json!({ "orderId": order, "origin": SHOP_ORIGIN, "returnUrl": format!("{SHOP_ORIGIN}/checkout") });
        if let (Some(body), Value::Object(entered)) =
            (body.as_object_mut(), fixture.simulator.payment_data(EnteredDetails::Frictionless, number))
        {
            body.extend(entered);
        }
        let (gateway, token) = (fixture.simulator.gateway_name(), local.cleeng.customer_token(&customer));
        for _ in 0..CLICKS {
            let (status, _) = local.call_frontend(gateway, "initial-payment", &token, &body).await?;
            if status < 429 {
                break;
            }
        }
    }
    Ok(())
}

/// What does not hold when everything has come to its end.
fn check(world: &CampaignWorld, parked: usize) -> Vec<String> {
    let local = &world.local;
    let simulators: Vec<_> = local.gateways.iter().map(|fixture| fixture.simulator.as_ref()).collect();
    let mut found = Vec::new();
    // Cleeng's own checks of our requests are the simulation's matter: here a call may come twice without our doing.
    let differences: Vec<String> =
        discrepancies(&local.cleeng, &simulators).into_iter().filter(|line| !line.starts_with("Cleeng's contract")).collect();
    let is_double = |line: &&String| line.contains("twice");
    found.extend(differences.iter().filter(is_double).cloned());
    let others = differences.iter().filter(|line| !is_double(line)).count();
    if others > parked {
        found.push(format!("{others} differences and only {parked} parked: {}", differences.join("; ")));
    }
    let entries: Vec<LedgerEntry> = simulators.iter().flat_map(|simulator| simulator.ledger()).collect();
    for entry in entries.iter().filter(|entry| entry.captured.minor > entry.amount.minor || entry.refunded.minor > entry.captured.minor) {
        found.push(format!("{} of {} taken and {} refunded", entry.captured, entry.amount, entry.refunded));
    }
    if world.unaccepted() > 0 {
        found.push(format!("{} webhooks and notifications were never accepted", world.unaccepted()));
    }
    if !local.functions.queues.is_empty() {
        found.push(format!("{} messages never left their queues", local.functions.queues.len()));
    }
    found
}
