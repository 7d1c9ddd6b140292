//! `cargo run -- serve`: the local world in real time, until it is interrupted.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::clock::{Clock, SystemClock, Timestamp};

use crate::demo::DemoError;
use crate::local::{Addresses, LocalWorld};
use crate::stage::{METHOD, SAMPLE_OFFER, flow, id};

/// How often time is passed on to the simulators.
const TICK: Duration = Duration::from_millis(200);
/// How often reconciliation's schedule strikes, in ticks: five minutes.
const ROUND: u32 = 1_500;
/// The subscriber of `events/`.
const SAMPLE_SUBSCRIPTION: &str = "332332332";

/// Keeps the world open until Ctrl-C.
///
/// # Errors
/// [`DemoError`] if a port is taken, or nothing can be written.
pub async fn keep_open(out: &mut impl Write, bind: IpAddr, port: u16) -> Result<(), DemoError> {
    let world = LocalWorld::open(SystemClock.now(), Addresses::in_a_row(bind, port)).await?;
    seat_sample_subscriber(&world);
    writeln!(out, "Cleeng     {}/3.1   (CLEENG_API_URL)", world.cleeng_url())?;
    for (gateway, url) in world.gateway_urls() {
        writeln!(out, "{:<10} {url}       ({}_BASE_URL)", gateway.as_str(), gateway.as_str().to_ascii_uppercase())?;
    }
    for topic in Topic::ALL.into_iter().filter(|topic| flow(*topic).is_some()) {
        writeln!(out, "connector  {}", world.webhook_url(topic))?;
    }
    writeln!(out, "pages      {}/connectors/adyen/initial-payment, .../payment-details, each with /finalize;", world.connector_url())?;
    writeln!(out, "           {}/connectors/paypal/v1/tokens, .../v1/payment_details/tokens", world.connector_url())?;
    writeln!(out, "gateways   {}/gateways/adyen/notifications", world.connector_url())?;
    writeln!(out, "The sample subscriber of events/ is subscription {SAMPLE_SUBSCRIPTION}. Ctrl-C ends it.")?;
    let mut tick = tokio::time::interval(TICK);
    let mut ticks = 0_u32;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                pass_time(&world).await;
                ticks = ticks.wrapping_add(1);
                if ticks.is_multiple_of(ROUND) {
                    world.functions.go_round().await;
                }
            }
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

async fn pass_time(world: &LocalWorld) {
    world.clock.advance_to(SystemClock.now());
    for webhook in world.due_webhooks() {
        // Cleeng's simulator does not send again: whoever looks here sees the gap in the function's log.
        let _ = world.post(&webhook).await;
    }
    while let Some(message) = world.functions.queues.receive() {
        world.functions.work(&message).await;
    }
    for house in world.houses() {
        house.process();
        // A gateway sends again what was not taken; here it is seen in the function's log.
        let _ = world.notify(house.as_ref()).await;
    }
}

/// The subscriber whom the sample events speak of, so that a function in embedded mode can answer them.
fn seat_sample_subscriber(world: &LocalWorld) {
    let (stored, shopper) = ("8415718415718415", "123321123");
    world.adyen.put_method(stored, shopper);
    let due = Timestamp::parse_rfc3339("2026-11-07T19:55:41Z").unwrap_or(SystemClock.now());
    world.cleeng.seat(
        crate::cleeng::Subscriber { customer: id("123321123"), details: id("665665665"), subscription: id(SAMPLE_SUBSCRIPTION) },
        &id(SAMPLE_OFFER),
        &id(METHOD),
        &format!("{stored}:{shopper}"),
        due,
    );
}
