//! `cargo run -- serve`: the local world in real time, until it is interrupted.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::cleeng::{PaymentOperation, PaymentStatus};
use connector::clock::{Clock, SystemClock, Timestamp};
use connector::money::{Currency, Money};
use serde_json::json;

use crate::expect::expect_fixture;
use crate::local::demo::DemoError;
use crate::local::{Addresses, LocalWorld};
use crate::simulators::adyen::{Payment, PaymentState};
use crate::simulators::cleeng::{PaidPurchase, SubscriberIds};
use crate::testkit::fixtures::{PASS, SAMPLE_OFFER, flow_for, id};
use crate::testkit::gateway_fixtures::ADYEN_METHOD;

/// How often time is passed on to the simulators.
const TICK: Duration = Duration::from_millis(200);
/// The interval of reconciliation runs, in ticks: five minutes.
const RECONCILIATION_TICKS: u32 = 1_500;
/// The subscriber of `events/`, and its ids.
const SAMPLE_SUBSCRIPTION: &str = "332332332";
const SAMPLE_CUSTOMER: &str = "123321123";
const SAMPLE_DETAILS: &str = "665665665";
const SAMPLE_STORED_ID: &str = "8415718415718415";
const SAMPLE_ORDER: &str = "123456789";
/// Its payments: id and order in Cleeng, id at Adyen. The first was a renewal and is captured; the others are single purchases that wait for it.
const SAMPLE_PAYMENTS: [(&str, &str, &str); 3] = [
    ("1536331075", "123456788", "D2RGHBT7PGNG5S82"),
    ("1536331076", "123456790", "D2RGHBT7PGNG5S83"),
    ("1536331077", "123456791", "D2RGHBT7PGNG5S84"),
];
/// Where `sam local start-api` listens (README, "Try a function alone").
const SAM_LOCAL_URL: &str = "http://127.0.0.1:3001";

/// Keeps the world open until Ctrl-C. With `env_vars` for functions that run elsewhere: their settings are written there, and none runs here.
///
/// # Errors
/// [`DemoError`] if a port is taken, or nothing can be written.
pub async fn serve(out: &mut impl Write, addresses: Addresses, env_vars: Option<&Path>) -> Result<(), DemoError> {
    let world = LocalWorld::open(SystemClock.now(), addresses).await?;
    insert_sample_subscriber(&world);
    writeln!(out, "Cleeng     {}/3.1   (CLEENG_API_URL)", world.cleeng_url())?;
    for (gateway, url) in world.gateway_urls() {
        writeln!(out, "{:<10} {url}       ({}_BASE_URL)", gateway.as_str(), gateway.as_str().to_ascii_uppercase())?;
    }
    match env_vars {
        None => print_routes(&world, out)?,
        Some(file) => {
            std::fs::write(file, json!({ "Parameters": world.embedded_settings(SAM_LOCAL_URL) }).to_string())?;
            writeln!(out, "functions  elsewhere, with --env-vars {}", file.display())?;
        }
    }
    writeln!(out, "customer   Bearer {}", world.cleeng.customer_token(&id(SAMPLE_CUSTOMER)))?;
    writeln!(out, "The sample subscriber of events/ is subscription {SAMPLE_SUBSCRIPTION}. Ctrl-C ends it.")?;
    let mut tick = tokio::time::interval(TICK);
    let mut ticks = 0_u32;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                if env_vars.is_some() {
                    run_tick_without_functions(&world);
                    continue;
                }
                run_tick(&world).await;
                ticks = ticks.wrapping_add(1);
                if ticks.is_multiple_of(RECONCILIATION_TICKS) {
                    world.functions.run_reconciliation().await;
                }
            }
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

fn print_routes(world: &LocalWorld, out: &mut impl Write) -> Result<(), DemoError> {
    for topic in Topic::ALL.into_iter().filter(|topic| flow_for(*topic).is_some()) {
        writeln!(out, "connector  {}", world.webhook_url(topic))?;
    }
    writeln!(out, "pages      {}/connectors/adyen/initial-payment, .../payment-details, each with /finalize;", world.connector_url())?;
    writeln!(out, "           {}/connectors/paypal/v1/tokens, .../v1/payment_details/tokens", world.connector_url())?;
    writeln!(out, "gateways   {}/gateways/adyen/notifications", world.connector_url())?;
    Ok(())
}

async fn run_tick(world: &LocalWorld) {
    world.clock.advance_to(SystemClock.now());
    for webhook in world.due_webhooks() {
        // Cleeng's simulator does not send again; the function's log shows the failure.
        let _ = world.post_webhook(&webhook).await;
    }
    while let Some(message) = world.functions.queues.receive() {
        world.functions.deliver_message(&message).await;
    }
    for simulator in world.simulated_gateways() {
        simulator.process();
        // A gateway sends again what was not taken; here it is seen in the function's log.
        let _ = world.post_notifications(simulator.as_ref()).await;
    }
}

/// The same if the functions run elsewhere: webhooks and notifications are dropped, since a developer who runs a function alone sends it
/// the events.
fn run_tick_without_functions(world: &LocalWorld) {
    world.clock.advance_to(SystemClock.now());
    let _ = world.due_webhooks();
    for simulator in world.simulated_gateways() {
        simulator.process();
        let _ = simulator.take_notifications();
    }
}

/// The subscriber of the sample events, with the order and the payments that they name, so that a function in embedded mode can
/// answer them.
pub fn insert_sample_subscriber(world: &LocalWorld) {
    world.adyen.insert_method(SAMPLE_STORED_ID, SAMPLE_CUSTOMER);
    let due = Timestamp::parse_rfc3339("2026-11-07T19:55:41Z").unwrap_or(SystemClock.now());
    world.cleeng.insert_subscriber(
        SubscriberIds { customer: id(SAMPLE_CUSTOMER), details: id(SAMPLE_DETAILS), subscription: id(SAMPLE_SUBSCRIPTION) },
        &id(SAMPLE_OFFER),
        &id(ADYEN_METHOD),
        &format!("{SAMPLE_STORED_ID}:{SAMPLE_CUSTOMER}"),
        due,
    );
    world.cleeng.insert_order(&id(SAMPLE_ORDER), &id(SAMPLE_CUSTOMER), &id(SAMPLE_OFFER), &id(ADYEN_METHOD));
    let operations = [PaymentOperation::Recurring, PaymentOperation::Initial, PaymentOperation::Initial];
    for (payment, operation) in SAMPLE_PAYMENTS.into_iter().zip(operations) {
        insert_sample_payment(world, payment, operation);
    }
}

/// A payment of 9.99 on both sides; a renewal was captured, a single purchase waits for it.
fn insert_sample_payment(world: &LocalWorld, (payment, order, external): (&str, &str, &str), operation: PaymentOperation) {
    let captured = operation == PaymentOperation::Recurring;
    let offer = if captured { SAMPLE_OFFER } else { PASS };
    let total = Money::new(999, expect_fixture(Currency::new("USD").ok()));
    world.adyen.insert_payment(Payment {
        psp_reference: external.to_owned(),
        reference: format!("order-{order}"),
        shopper_reference: SAMPLE_CUSTOMER.to_owned(),
        stored_payment_method_id: Some(SAMPLE_STORED_ID.to_owned()),
        currency: "USD".to_owned(),
        amount: total.minor,
        authorised: total.minor,
        captured: if captured { total.minor } else { 0 },
        cancelled: 0,
        refunded: 0,
        state: if captured { PaymentState::Captured } else { PaymentState::Authorised },
        automatic_capture: captured,
        decided: None,
    });
    let purchase = PaidPurchase {
        customer: id(SAMPLE_CUSTOMER),
        offer: id(offer),
        method: id(ADYEN_METHOD),
        details: Some(id(SAMPLE_DETAILS)),
        total,
        external_payment_id: id(external),
        status: if captured { PaymentStatus::Captured } else { PaymentStatus::Authorised },
    };
    world.cleeng.insert_payment(&id(payment), &id(order), operation, purchase);
}
