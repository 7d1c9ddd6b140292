//! The main job.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::SettleOn;
use connector::metrics::Metric;
use sandbox::stage::{CAPTURE_ONLY_METHOD, METHOD, Stage};

use crate::{assert_balanced, at_due_date_authorised, at_first_attempt, calls, settled, statuses};

#[tokio::test]
async fn a_renewal_is_authorised_then_captured_and_cleeng_is_told() {
    let (stage, cast) = at_first_attempt();
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, settled("authorised"));
    assert_eq!(statuses(&stage), [PaymentStatus::Authorised]);
    assert_balanced(&stage);
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    assert_eq!(statuses(&stage), [PaymentStatus::Captured]);
    assert_eq!(stage.adyen.total_captured("USD"), 999);
    let subscription = stage.cleeng.subscription(&cast.subscriber.subscription).unwrap();
    assert!(subscription.date_to > cast.due);
    assert_eq!(calls(&stage), (1, 1, 1));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_billing_webhook_costs_at_most_four_journal_writes() {
    let (stage, cast) = at_first_attempt();
    stage.deliver(&stage.authorisation(&cast, 72)).await;
    assert_eq!(stage.store.writes(), 4);
    stage.clock.advance_to(cast.due);
    stage.deliver_until_settled(&stage.capture(&cast)).await;
    assert_eq!(stage.store.writes(), 4 + 4);
}

#[tokio::test]
async fn an_acknowledged_capture_is_reported_at_the_deadline_and_not_before() {
    let (stage, cast) = at_due_date_authorised().await;
    let capture = stage.capture(&cast);
    assert!(!crate::SETTLED(&stage.deliver(&capture).await));
    stage.adyen.process();
    stage.clock.advance(Duration::from_secs(44 * 60));
    assert!(!crate::SETTLED(&stage.deliver(&capture).await));
    assert_eq!(statuses(&stage), [PaymentStatus::Authorised]);
    stage.clock.advance(Duration::from_secs(60));
    assert_eq!(stage.deliver(&capture).await, settled("captured"));
    assert_eq!(statuses(&stage), [PaymentStatus::Captured]);
    assert_eq!(calls(&stage), (1, 1, 1));
}

#[tokio::test]
async fn with_settle_on_receipt_an_acknowledged_capture_is_reported_at_once() {
    let stage = Stage::new(|rules| rules.settle_on = SettleOn::Receipt);
    let cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3600)));
    stage.deliver(&stage.authorisation(&cast, 72)).await;
    stage.clock.advance_to(cast.due);
    let before = stage.store.writes();
    assert_eq!(stage.deliver(&stage.capture(&cast)).await, settled("captured"));
    assert_eq!(stage.store.writes() - before, 3);
    stage.adyen.process();
    assert_balanced(&stage);
}

#[tokio::test]
async fn capture_only_billing_charges_when_the_capture_event_comes() {
    let stage = Stage::default();
    let cast = stage.subscriber(CAPTURE_ONLY_METHOD);
    stage.clock.advance_to(cast.due);
    let before = stage.store.writes();
    assert_eq!(stage.deliver(&stage.capture(&cast)).await, settled("captured"));
    assert_eq!(stage.store.writes() - before, 4);
    stage.adyen.process();
    assert_eq!(statuses(&stage), [PaymentStatus::Captured]);
    assert_eq!(stage.adyen.total_captured("USD"), 999);
    assert_eq!(calls(&stage), (1, 0, 1));
    assert_balanced(&stage);
}

#[tokio::test]
async fn an_authorisation_event_in_capture_only_billing_charges_nobody() {
    let stage = Stage::default();
    let cast = stage.subscriber(CAPTURE_ONLY_METHOD);
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, settled("billed_at_capture"));
    assert_eq!(calls(&stage), (0, 0, 0));
    assert_eq!(stage.metrics.count(Metric::Warning, "authorisation_event_in_capture_only_billing"), 1);
}

#[tokio::test]
async fn the_same_period_written_with_z_and_with_an_offset_is_one_period() {
    // The simulator writes authorisation events with Z and capture events with +01:00; a whole renewal passes only if they are one period.
    let (stage, cast) = at_due_date_authorised().await;
    let capture = stage.capture(&cast);
    assert!(String::from_utf8_lossy(&capture.body).contains("+01:00"));
    assert!(String::from_utf8_lossy(&stage.authorisation(&cast, 72).body).contains("Z\""));
    assert_eq!(stage.deliver_until_settled(&capture).await, settled("captured"));
    assert_eq!(calls(&stage), (1, 1, 1));
}

#[tokio::test]
async fn a_renewal_costs_no_more_of_the_journal_than_the_cost_page_says() {
    let (stage, cast) = at_first_attempt();
    stage.deliver(&stage.authorisation(&cast, 72)).await;
    let authorisation = stage.store.request_units();
    stage.clock.advance_to(cast.due);
    stage.run_until_quiet().await;
    let before = stage.store.request_units();
    stage.play(&stage.capture(&cast)).await;
    let after = stage.store.request_units();
    let capture = (after.0 - before.0, after.1 - before.1);
    // Write and read request units, in docs/cost.md.
    assert_eq!((authorisation, capture), ((26, 5), (30, 15)));
}
