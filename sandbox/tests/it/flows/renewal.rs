//! The main job.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::SettleOn;
use connector::metrics::Metric;
use sandbox::testkit::gateway_fixtures::{ADYEN_CAPTURE_ONLY_METHOD, ADYEN_METHOD};
use sandbox::testkit::harness::TestEnvironment;

use crate::flows::{assert_balanced, at_due_date_authorised, at_first_attempt, call_counts, completed, statuses};

#[tokio::test]
async fn a_renewal_is_authorised_then_captured_and_reported_to_cleeng() {
    let (env, subscriber) = at_first_attempt();
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
    assert_eq!(statuses(&env), [PaymentStatus::Authorised]);
    assert_balanced(&env);
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_eq!(statuses(&env), [PaymentStatus::Captured]);
    assert_eq!(env.adyen.total_captured("USD"), 999);
    let subscription = env.cleeng.subscription(&subscriber.ids.subscription).unwrap();
    assert!(subscription.date_to > subscriber.due);
    assert_eq!(call_counts(&env), (1, 1, 1));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_billing_webhook_costs_at_most_four_journal_writes() {
    let (env, subscriber) = at_first_attempt();
    env.deliver(&env.authorisation_event(&subscriber, 72)).await;
    assert_eq!(env.store.writes(), 4);
    env.clock.advance_to(subscriber.due);
    env.deliver_until_settled(&env.capture_event(&subscriber)).await;
    assert_eq!(env.store.writes(), 4 + 4);
}

#[tokio::test]
async fn an_acknowledged_capture_is_reported_at_the_deadline_and_not_before() {
    let (env, subscriber) = at_due_date_authorised().await;
    let capture = env.capture_event(&subscriber);
    assert!(!crate::flows::IS_COMPLETED(&env.deliver(&capture).await));
    env.adyen.process();
    env.clock.advance(Duration::from_secs(44 * 60));
    assert!(!crate::flows::IS_COMPLETED(&env.deliver(&capture).await));
    assert_eq!(statuses(&env), [PaymentStatus::Authorised]);
    env.clock.advance(Duration::from_secs(60));
    assert_eq!(env.deliver(&capture).await, completed("captured"));
    assert_eq!(statuses(&env), [PaymentStatus::Captured]);
    assert_eq!(call_counts(&env), (1, 1, 1));
}

#[tokio::test]
async fn with_settle_on_receipt_an_acknowledged_capture_is_reported_at_once() {
    let env = TestEnvironment::new(|rules| rules.settle_on = SettleOn::Receipt);
    let subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(Duration::from_secs(72 * 3600)));
    env.deliver(&env.authorisation_event(&subscriber, 72)).await;
    env.clock.advance_to(subscriber.due);
    let before = env.store.writes();
    assert_eq!(env.deliver(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_eq!(env.store.writes() - before, 3);
    env.adyen.process();
    assert_balanced(&env);
}

#[tokio::test]
async fn capture_only_billing_charges_when_the_capture_event_comes() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_CAPTURE_ONLY_METHOD);
    env.clock.advance_to(subscriber.due);
    let before = env.store.writes();
    assert_eq!(env.deliver(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_eq!(env.store.writes() - before, 4);
    env.adyen.process();
    assert_eq!(statuses(&env), [PaymentStatus::Captured]);
    assert_eq!(env.adyen.total_captured("USD"), 999);
    assert_eq!(call_counts(&env), (1, 0, 1));
    assert_balanced(&env);
}

#[tokio::test]
async fn an_authorisation_event_in_capture_only_billing_charges_nothing() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_CAPTURE_ONLY_METHOD);
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, completed("billed_at_capture"));
    assert_eq!(call_counts(&env), (0, 0, 0));
    assert_eq!(env.metrics.count(Metric::Warning, "authorisation_event_in_capture_only_billing"), 1);
}

#[tokio::test]
async fn the_same_period_written_with_z_and_with_an_offset_is_one_period() {
    // The simulator writes authorisation events with Z and capture events with +01:00; a whole renewal passes only if they are one period.
    let (env, subscriber) = at_due_date_authorised().await;
    let capture = env.capture_event(&subscriber);
    assert!(String::from_utf8_lossy(&capture.body).contains("+01:00"));
    assert!(String::from_utf8_lossy(&env.authorisation_event(&subscriber, 72).body).contains("Z\""));
    assert_eq!(env.deliver_until_settled(&capture).await, completed("captured"));
    assert_eq!(call_counts(&env), (1, 1, 1));
}

#[tokio::test]
async fn a_renewal_costs_no_more_journal_capacity_than_documented() {
    let (env, subscriber) = at_first_attempt();
    env.deliver(&env.authorisation_event(&subscriber, 72)).await;
    let authorisation = env.store.request_units();
    env.clock.advance_to(subscriber.due);
    env.run_until_idle().await;
    let before = env.store.request_units();
    env.run_event(&env.capture_event(&subscriber)).await;
    let after = env.store.request_units();
    let capture = (after.0 - before.0, after.1 - before.1);
    // Write and read request units, in docs/cost.md.
    assert_eq!((authorisation, capture), ((26, 6), (32, 16)));
}
