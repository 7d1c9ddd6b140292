//! Declines, the next attempt, and cards that change in between.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::metrics::Metric;
use connector::reason::{ParkReason, RetryReason};
use sandbox::simulators::adyen::PaymentState;
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::testkit::gateway_fixtures::{ADYEN_CAPTURE_ONLY_METHOD, ADYEN_METHOD};
use sandbox::testkit::harness::TestEnvironment;

use crate::flows::{assert_balanced, at_first_attempt, call_counts, completed, statuses};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn a_declined_attempt_delivered_five_times_is_one_decline_and_one_rejected_payment() {
    let (env, subscriber) = at_first_attempt();
    env.adyen.decline_next_with(&subscriber.stored_id, "12");
    for _ in 0..5 {
        assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, completed("declined"));
    }
    assert_eq!(statuses(&env), [PaymentStatus::Rejected]);
    assert_eq!(env.cleeng.payments()[0].rejected_reason.as_deref(), Some("soft: 12"));
    assert_eq!(call_counts(&env), (1, 0, 1));
    assert_balanced(&env);
}

#[tokio::test]
async fn the_next_dunning_attempt_after_a_decline_authorises_once() {
    let (env, subscriber) = at_first_attempt();
    env.adyen.decline_next_with(&subscriber.stored_id, "12");
    env.deliver(&env.authorisation_event(&subscriber, 72)).await;
    env.clock.advance(DAY);
    for _ in 0..3 {
        assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"));
    }
    // The first attempt comes back out of order: its decline is history.
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
    assert_eq!(statuses(&env), [PaymentStatus::Rejected, PaymentStatus::Authorised]);
    assert_eq!(call_counts(&env).0, 2);
    assert_eq!(env.cleeng.orders().len(), 2, "each attempt has a fresh order");
    assert_balanced(&env);
}

#[tokio::test]
async fn an_attempt_that_the_next_event_resumes_and_parks_leaves_the_next_attempt_to_its_event() {
    let (env, subscriber) = at_first_attempt();
    let is_order = |peer: &str, request: &ServerRequest| peer == "cleeng" && request.path.ends_with("/orders");
    env.network.inject(Fault::StatusBefore(503), is_order);
    assert!(matches!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, Disposition::Retry { .. }));
    env.clock.advance(DAY);
    env.network.inject(sandbox::simulators::cleeng::refusal(422), is_order);
    let next = env.authorisation_event(&subscriber, 48);
    let resumed = Disposition::Retry { after: Some(Duration::from_secs(1)), reason: RetryReason::ResumedAnEarlierAttempt };
    assert_eq!(env.deliver(&next).await, resumed);
    assert_eq!(env.metrics.count(Metric::Parked, "order_refused"), 1);
    assert_eq!(env.deliver(&next).await, completed("authorised"));
    assert_eq!(statuses(&env), [PaymentStatus::Authorised]);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_later_attempt_of_an_authorised_period_changes_nothing() {
    let (env, subscriber) = at_first_attempt();
    env.deliver(&env.authorisation_event(&subscriber, 72)).await;
    env.clock.advance(DAY);
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"));
    assert_eq!(call_counts(&env), (1, 0, 1));
    assert_eq!(env.metrics.count(Metric::Duplicate, "authorised"), 1);
}

#[tokio::test]
async fn a_card_changed_in_mid_period_leads_to_a_new_authorisation_and_releases_the_previous_one() {
    let (env, mut subscriber) = at_first_attempt();
    env.deliver(&env.authorisation_event(&subscriber, 72)).await;
    env.clock.advance(DAY);
    env.change_card(&mut subscriber, ADYEN_METHOD);
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"));
    env.adyen.process();
    assert_eq!(statuses(&env), [PaymentStatus::Cancelled, PaymentStatus::Authorised]);
    assert_balanced(&env);
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_eq!(statuses(&env), [PaymentStatus::Cancelled, PaymentStatus::Captured]);
    assert_eq!(env.adyen.total_captured("USD"), 999);
    assert_balanced(&env);
}

#[tokio::test]
async fn an_expiry_that_moved_uses_the_live_authorisation_and_never_doubles_it() {
    let (env, mut subscriber) = at_first_attempt();
    env.deliver(&env.authorisation_event(&subscriber, 72)).await;
    subscriber.due = subscriber.due.after(Duration::from_secs(6 * 3600));
    env.clock.advance(DAY);
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"));
    assert_eq!(call_counts(&env).0, 1);
    assert_eq!(env.metrics.count(Metric::Warning, "expiry_moved_under_an_authorisation"), 1);
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_eq!(env.adyen.total_captured("USD"), 999);
}

#[tokio::test]
async fn an_expiry_that_moved_after_a_charge_is_parked_instead_of_charged_again() {
    let env = TestEnvironment::default();
    let mut subscriber = env.subscriber(ADYEN_CAPTURE_ONLY_METHOD);
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.deliver(&env.capture_event(&subscriber)).await, completed("captured"));
    // Cleeng asks again for a period that ends a few hours after the one that was just extended.
    let extended = env.cleeng.subscription(&subscriber.ids.subscription).unwrap().date_to;
    subscriber.due = extended.after(Duration::from_secs(3 * 3600));
    env.clock.advance(Duration::from_secs(3600));
    let disposition = env.deliver(&env.capture_event(&subscriber)).await;
    assert_eq!(disposition, connector::flow::Disposition::Parked(ParkReason::ChargedRecently));
    assert_eq!(env.metrics.count(Metric::Parked, "charged_recently"), 1);
    env.adyen.process();
    assert_eq!(env.adyen.total_captured("USD"), 999);
}

#[tokio::test]
async fn capture_only_billing_charges_once_at_the_attempt_that_succeeds() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_CAPTURE_ONLY_METHOD);
    env.adyen.decline_next_with(&subscriber.stored_id, "2");
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.deliver(&env.capture_event(&subscriber)).await, completed("declined"));
    env.clock.advance(DAY);
    let topic = connector::cleeng::webhook::Topic::SubscriptionReadyForPaymentCapture;
    let second = env.billing_event(topic, &subscriber, subscriber.due.after(DAY), subscriber.due);
    for _ in 0..3 {
        assert_eq!(env.deliver(&second).await, completed("captured"));
    }
    env.adyen.process();
    assert_eq!(statuses(&env), [PaymentStatus::Rejected, PaymentStatus::Captured]);
    assert_eq!(env.adyen.total_captured("USD"), 999);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_capture_that_the_gateway_refuses_is_rejected_and_the_next_attempt_authorises_again() {
    let (env, subscriber) = crate::flows::at_due_date_authorised().await;
    let held = env.adyen.payments()[0].clone();
    env.adyen.expire(&held.psp_reference);
    let capture = env.capture_event(&subscriber);
    let disposition = env.deliver_until_settled(&capture).await;
    // Adyen takes the order and refuses it only by notification, so the deadline settles it; or it refuses at once.
    assert!(crate::flows::IS_COMPLETED(&disposition), "{disposition:?}");
    assert_eq!(env.adyen.payment(&held.psp_reference).map(|payment| payment.state), Some(PaymentState::Expired));
    assert_eq!(env.adyen.total_captured("USD"), 0);
}
