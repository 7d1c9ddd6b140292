//! A deactivation concurrent with a capture or an authorisation of the same subscription: the payment is captured or released, never both,
//! and both sides agree.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::flow::{Disposition, SettleOn};
use connector::metrics::Metric;
use connector::reason::{CompletionReason, ParkReason, RetryReason};
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::money::deactivation::authorised_then_changed_card;
use crate::money::fixtures::{assert_balanced, completed, deliver_concurrently, statuses};

/// At the due date: the capture with the old card is on its way, and so is the announcement that it is gone.
async fn capture_and_deactivation_in_flight(settle_on: SettleOn) -> (TestEnvironment, SentWebhook, SentWebhook) {
    let env = TestEnvironment::new(|rules| rules.settle_on = settle_on);
    // Cleeng need not name the details, and then the journal alone keeps the two apart.
    env.cleeng.change_quirks(|quirks| quirks.shows_details = false);
    let mut subscriber: TestSubscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(Duration::from_secs(72 * 3600)));
    env.deliver(&env.authorisation_event(&subscriber, 72)).await;
    env.clock.advance_to(subscriber.due);
    let capture = env.capture_event(&subscriber);
    env.change_card(&mut subscriber, ADYEN_METHOD);
    let due = env.cleeng.due_webhooks();
    let gone = due.into_iter().find(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated).unwrap();
    (env, capture, gone)
}

/// Captured or cancelled, on both sides alike.
async fn assert_captured_or_released(env: &TestEnvironment, capture: &SentWebhook, gone: &SentWebhook, context: &str) -> PaymentStatus {
    env.clock.advance(Duration::from_secs(100));
    assert_eq!(env.deliver_until_settled(gone).await, completed("deactivated"), "{context}");
    let last = env.deliver_until_settled(capture).await;
    env.adyen.process();
    let status = statuses(env).remove(0);
    match status {
        PaymentStatus::Captured => {
            assert!(matches!(last, Disposition::Completed(CompletionReason::Captured)), "{context}: {last:?}");
            assert_eq!(env.adyen.total_captured("USD"), 999, "{context}");
        }
        PaymentStatus::Cancelled => {
            // Nothing is held any more, so the capture event calls an operator instead of charging a card that is gone.
            assert_eq!(last, Disposition::Parked(ParkReason::CaptureWithoutAuthorisation), "{context}");
            assert_eq!(env.adyen.total_captured("USD"), 0, "{context}");
        }
        ref other => panic!("{context}: {other:?}"),
    }
    assert_eq!(statuses(env).len(), 1);
    assert_balanced(env);
    status
}

#[tokio::test]
async fn a_deactivation_racing_with_a_capture_captures_or_releases_at_every_interleaving() {
    let mut ends = Vec::new();
    for settle_on in [SettleOn::Receipt, SettleOn::Notification] {
        for capture_first in [true, false] {
            for head_start in 0..40 {
                let (env, capture, gone) = capture_and_deactivation_in_flight(settle_on).await;
                let (one, other) = if capture_first { (&capture, &gone) } else { (&gone, &capture) };
                let _ = deliver_concurrently(&env, one, other, head_start).await;
                let context = format!("{settle_on:?}, capture first: {capture_first}, {head_start}");
                ends.push(assert_captured_or_released(&env, &capture, &gone, &context).await);
            }
        }
    }
    // The race has two ends, and both were seen.
    assert!(ends.contains(&PaymentStatus::Captured) && ends.contains(&PaymentStatus::Cancelled));
}

#[tokio::test]
async fn a_payment_that_is_being_captured_is_not_released() {
    let (env, capture, gone) = capture_and_deactivation_in_flight(SettleOn::Notification).await;
    assert!(matches!(env.deliver(&capture).await, Disposition::Retry { reason: RetryReason::CaptureReceived, .. }));
    assert_eq!(env.deliver(&gone).await, completed("deactivated"));
    assert_eq!(env.metrics.count(Metric::Warning, "capture_in_progress"), 1);
    assert_eq!(env.deliver_until_settled(&capture).await, completed("captured"));
    env.adyen.process();
    assert_eq!(statuses(&env), [PaymentStatus::Captured]);
    assert_eq!(env.network.delivered_count("adyen", &connector::http::Method::POST, "/cancels"), 0);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_deactivation_and_the_authorisation_with_the_new_card_leave_one_authorisation_at_every_interleaving() {
    for deactivation_first in [true, false] {
        for head_start in 0..40 {
            let env = TestEnvironment::default();
            let (subscriber, gone) = authorised_then_changed_card(&env, ADYEN_METHOD).await;
            env.clock.advance_to(subscriber.due.before(Duration::from_secs(48 * 3600)));
            let authorisation = env.authorisation_event(&subscriber, 48);
            let (one, other) = if deactivation_first { (&gone, &authorisation) } else { (&authorisation, &gone) };
            let _ = deliver_concurrently(&env, one, other, head_start).await;
            env.clock.advance(Duration::from_secs(100));
            assert_eq!(env.deliver_until_settled(&gone).await, completed("deactivated"), "{head_start}");
            assert_eq!(env.deliver_until_settled(&authorisation).await, completed("authorised"), "{head_start}");
            env.adyen.process();
            assert_eq!(statuses(&env), [PaymentStatus::Cancelled, PaymentStatus::Authorised], "{head_start}");
            assert_balanced(&env);
            env.clock.advance_to(subscriber.due);
            assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"), "{head_start}");
            assert_balanced(&env);
        }
    }
}

#[tokio::test]
async fn a_release_by_another_event_during_a_deactivation_is_not_repeated() {
    for turns in 0..60 {
        let env = TestEnvironment::default();
        let (subscriber, gone) = authorised_then_changed_card(&env, ADYEN_METHOD).await;
        env.clock.advance_to(subscriber.due);
        // It names the new details, so that what is held with the old ones is released.
        let capture = env.capture_event(&subscriber);
        env.clock.advance(Duration::from_secs(2 * 3600));
        let mut deactivation = std::pin::pin!(env.deliver(&gone));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        if (0..turns).any(|_| deactivation.as_mut().poll(&mut context).is_ready()) {
            // It came to its end by itself, and so would every later one.
            assert!(turns > 10, "{turns}");
            break;
        }
        env.deliver(&capture).await;
        deactivation.await;
        env.clock.advance(Duration::from_secs(100));
        assert_eq!(env.deliver_until_settled(&gone).await, completed("deactivated"), "{turns}");
        env.deliver_until_settled(&capture).await;
        assert_eq!(env.metrics.count(Metric::Parked, "capture_without_authorisation"), 1, "{turns}");
        env.adyen.process();
        assert_eq!(statuses(&env), [PaymentStatus::Cancelled], "{turns}");
        assert_eq!(env.network.delivered_count("adyen", &connector::http::Method::POST, "/cancels"), 1, "{turns}");
        assert_eq!(env.cleeng.violations(), [], "{turns}");
        assert_balanced(&env);
    }
}
