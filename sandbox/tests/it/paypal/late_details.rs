//! Details that PayPal stores later than it takes the money of a purchase, or never.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::gateway::GatewayName;
use connector::metrics::Metric;
use sandbox::simulators::simulated_gateway::EnteredDetails;
use sandbox::testkit::fixtures::{PASS, id};
use sandbox::testkit::harness::TestEnvironment;

use crate::every_gateway::scenarios::{Buyer, assert_balanced, assert_paid_once, is_paid, statuses};

const GATEWAY: GatewayName = GatewayName::PayPal;

/// A buyer who has paid, and whose details are not stored yet; with the answer to the page.
async fn paid_without_details(env: &TestEnvironment) -> (Buyer, connector::frontend_api::Reply) {
    let buyer = Buyer::new(env, GATEWAY);
    let reply = pay(env, &buyer).await;
    assert_eq!(env.paypal.captures().len(), 1);
    (buyer, reply)
}

async fn pay(env: &TestEnvironment, buyer: &Buyer) -> connector::frontend_api::Reply {
    let started = buyer.start(env, EnteredDetails::Frictionless, 1).await;
    let details = buyer.complete_action(env, &started).unwrap();
    // PayPal tells that the payer agreed; here the customer is faster.
    env.paypal.take_notifications();
    buyer.finalize(env, &details).await
}

#[tokio::test]
async fn details_that_come_later_are_found_by_reading_the_order_though_their_notification_is_lost() {
    let env = TestEnvironment::default();
    env.paypal.delay_vaulting();
    let (buyer, reply) = paid_without_details(&env).await;
    assert_eq!((reply.status.as_u16(), &reply.body["responseData"]["paid"]), (202, &true.into()), "{}", reply.body);
    assert_eq!(statuses(&env), []);
    env.paypal.process();
    env.paypal.take_notifications();
    env.clock.advance(Duration::from_secs(3600));
    env.run_reconciliation().await;
    assert_paid_once(&env, &buyer, "read again");
    assert!(is_paid(&buyer.start(&env, EnteredDetails::Frictionless, 1).await));
}

#[tokio::test]
async fn details_that_come_later_finish_the_purchase_by_the_notification_as_paypal_prints_it() {
    let env = TestEnvironment::default();
    env.paypal.delay_vaulting();
    let (buyer, _) = paid_without_details(&env).await;
    env.clock.advance(Duration::from_secs(60));
    env.run_until_idle().await;
    assert_paid_once(&env, &buyer, "notified");
}

#[tokio::test]
async fn a_subscription_whose_details_never_come_says_so_and_rings_after_half_an_hour() {
    let env = TestEnvironment::default();
    env.paypal.never_vault();
    let (mut buyer, _) = paid_without_details(&env).await;
    for minutes in [20, 20] {
        env.clock.advance(Duration::from_secs(minutes * 60));
        env.run_reconciliation().await;
    }
    assert_eq!(env.metrics.count(Metric::Alarm, "stored_details_missing"), 1, "after twenty minutes it is too early");
    env.clock.advance(Duration::from_secs(25 * 3600));
    env.run_reconciliation().await;
    assert_eq!(env.metrics.count(Metric::Parked, "token_missing"), 1);
    buyer.token = env.cleeng.customer_token(&buyer.customer);
    let reply = buyer.start(&env, EnteredDetails::Frictionless, 1).await;
    assert_eq!((reply.status.as_u16(), reply.body["code"].as_str()), (409, Some("ORDER0009")), "{}", reply.body);
    assert!(reply.body["detail"].as_str().unwrap().starts_with("the payment is taken"));
}

#[tokio::test]
async fn a_single_purchase_needs_no_details_and_is_reported_at_once() {
    let env = TestEnvironment::default();
    env.paypal.never_vault();
    let mut buyer = Buyer::new(&env, GATEWAY);
    buyer.order = env.cleeng.new_order(&buyer.customer, &id(PASS), &id(env.gateway(GATEWAY).method)).unwrap();
    let reply = pay(&env, &buyer).await;
    assert!(is_paid(&reply), "{}", reply.body);
    assert_eq!(statuses(&env), [PaymentStatus::Captured]);
    assert_balanced(&env, "single purchase");
}
