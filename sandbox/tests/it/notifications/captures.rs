//! Captures of renewals, completed by notification.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::flow::Disposition;
use connector::http::Method;
use connector::metrics::Metric;
use connector::reason::{ParkReason, RetryReason};

use crate::notifications::{
    assert_balanced, authorised, captured, capturing, completed, dunning_attempt, only_payment_ids, payment_record, payment_state, statuses,
};

#[tokio::test]
async fn a_capture_is_settled_by_its_notification_and_not_at_the_deadline() {
    let (env, subscriber) = capturing().await;
    assert_eq!(env.deliver_notifications().await, [completed("authorised"), completed("captured")]);
    assert_eq!(statuses(&env), [PaymentStatus::Authorised], "the owning flow alone tells Cleeng");
    assert_eq!(env.deliver_requeued().await, [completed("captured")]);
    assert_eq!(env.now(), subscriber.due, "nobody waited");
    assert_eq!(statuses(&env), [PaymentStatus::Captured]);
    assert_eq!(env.metrics.count(Metric::Warning, "capture_settled_by_deadline"), 0);
    // The message that waited on the queue, and another copy.
    assert_eq!(env.deliver(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_eq!(env.network.delivered_count("adyen", &Method::POST, "/captures"), 1);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_notification_of_an_authorisation_that_is_known_writes_nothing() {
    let (env, _) = authorised().await;
    let before = env.store.writes();
    assert_eq!(env.deliver_notifications().await, [completed("authorised")]);
    assert_eq!(env.store.writes(), before, "a write would fence off the flow that is just reporting");
}

#[tokio::test]
async fn a_failed_capture_is_rejected_and_the_next_attempt_authorises_again() {
    let (env, subscriber) = capturing().await;
    env.adyen.fail_next_modification("Insufficient balance on payment");
    assert_eq!(env.deliver_notifications().await, [completed("authorised"), completed("capture_failed")]);
    assert_eq!(env.deliver_requeued().await, [completed("declined")]);
    assert_eq!(statuses(&env), [PaymentStatus::Rejected]);
    assert_eq!(env.deliver_notifications().await, [completed("cancelled")], "what was held goes back");
    assert_balanced(&env);
    env.clock.advance(Duration::from_secs(24 * 3600));
    let authorisation = dunning_attempt(&env, Topic::SubscriptionReadyForPaymentAuthorisation, &subscriber, 24);
    assert_eq!(env.deliver(&authorisation).await, completed("authorised"));
    let capture = dunning_attempt(&env, Topic::SubscriptionReadyForPaymentCapture, &subscriber, 24);
    assert!(matches!(env.deliver(&capture).await, Disposition::Retry { .. }));
    env.deliver_notifications().await;
    assert_eq!(env.deliver_requeued().await, [completed("captured")]);
    assert_eq!(statuses(&env), [PaymentStatus::Rejected, PaymentStatus::Captured]);
    assert_eq!(env.adyen.total_captured("USD"), 999);
}

#[tokio::test]
async fn an_authorisation_that_is_neither_captured_nor_released_raises_one_alarm() {
    let (env, _) = capturing().await;
    env.adyen.fail_next_modification("Insufficient balance on payment");
    env.deliver_notifications().await;
    assert_eq!(env.deliver_requeued().await, [completed("declined")]);
    env.adyen.fail_next_modification("Transaction cannot be cancelled");
    env.adyen.process();
    let messages = env.collect_notifications().await;
    for _ in 0..3 {
        assert_eq!(env.deliver_messages_until_settled(&messages).await, [completed("cancel_failed")]);
    }
    assert_eq!(env.metrics.count(Metric::Alarm, "cancel_failed"), 1);
    assert_eq!((statuses(&env), payment_state(&env).await.as_str()), (vec![PaymentStatus::Rejected], "capture_failed"));
}

#[tokio::test]
async fn a_capture_that_fails_after_it_succeeded_is_not_released_because_the_gateway_may_repeat_it() {
    let (env, _) = capturing().await;
    assert_eq!(env.deliver_notifications().await, [completed("authorised"), completed("captured")]);
    env.adyen.capture_fails_later(&only_payment_ids(&env).0);
    assert_eq!(env.deliver_notifications().await, [completed("capture_failed")]);
    assert!(env.deliver_requeued().await.contains(&completed("declined")));
    assert_eq!((statuses(&env), env.network.delivered_count("adyen", &Method::POST, "/cancels")), (vec![PaymentStatus::Rejected], 0));
}

#[tokio::test]
async fn an_expired_authorisation_is_cancelled_in_cleeng_and_authorised_again() {
    let (env, subscriber) = authorised().await;
    env.adyen.expire(&only_payment_ids(&env).0);
    assert_eq!(env.deliver_notifications().await, [completed("authorised"), completed("expired")]);
    assert_eq!(payment_state(&env).await, "expired");
    env.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"));
    assert_eq!(statuses(&env), [PaymentStatus::Cancelled, PaymentStatus::Authorised]);
    assert_eq!(env.network.delivered_count("adyen", &Method::POST, "/cancels"), 0, "there is nothing to cancel");
    assert_balanced(&env);
}

#[tokio::test]
async fn an_expiry_during_a_capture_leaves_the_decision_to_the_capture() {
    let (env, subscriber) = capturing().await;
    let (psp, reference) = only_payment_ids(&env);
    let expired = env.adyen.notification("EXPIRE", true, &psp, "", &reference);
    let messages = env.post_accepted_notification(&serde_json::json!({}), expired.as_bytes()).await;
    assert_eq!(env.deliver_messages_until_settled(&messages).await, [completed("expired")]);
    assert_eq!((payment_state(&env).await.as_str(), env.requeue.take_events().len()), ("capturing", 0));
    // The gateway stays silent: nobody may say that the money was taken.
    env.clock.advance(Duration::from_secs(45 * 60));
    assert_eq!(env.deliver(&env.capture_event(&subscriber)).await, Disposition::Parked(ParkReason::CaptureOfAnExpiredAuthorisation));
    assert_eq!(statuses(&env), [PaymentStatus::Authorised]);
}

#[tokio::test]
async fn a_cancel_that_won_against_the_capture_is_reported_rejected() {
    let (env, _) = capturing().await;
    let (psp, reference) = only_payment_ids(&env);
    let cancelled = env.adyen.notification("CANCELLATION", true, "C4NCEL0000000001", &psp, &reference);
    let messages = env.post_accepted_notification(&serde_json::json!({}), cancelled.as_bytes()).await;
    assert_eq!(env.deliver_messages_until_settled(&messages).await, [completed("cancelled")]);
    assert_eq!(env.deliver_requeued().await, [completed("declined")]);
    assert_eq!(statuses(&env), [PaymentStatus::Rejected]);
}

#[tokio::test]
async fn a_capture_that_fails_after_it_was_reported_is_corrected_once_and_raises_an_alarm() {
    let (env, subscriber) = captured().await;
    env.adyen.capture_fails_later(&only_payment_ids(&env).0);
    let messages = env.collect_notifications().await;
    for repetition in 0..5 {
        let word = if repetition == 0 { "capture_failed" } else { "loss_reported" };
        assert_eq!(env.deliver_messages_until_settled(&messages).await, [completed(word)]);
    }
    assert_eq!(statuses(&env), [PaymentStatus::Refunded]);
    let refund = env.cleeng.payments().remove(0).refund.unwrap();
    assert_eq!((refund.reason.as_str(), refund.kind.as_str()), ("capture_failed", "refund"));
    assert_eq!(env.metrics.count(Metric::Alarm, "capture_failed"), 1);
    assert_eq!((payment_state(&env).await.as_str(), &payment_record(&env).await["captured"]["minor"]), ("capture_failed", &0.into()));
    assert_eq!(env.deliver(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_balanced(&env);
    // Captured once more by the scheme: Cleeng cannot be told, an operator can.
    env.adyen.recapture(&only_payment_ids(&env).0);
    assert_eq!(env.deliver_notifications().await, [completed("captured")]);
    assert_eq!((payment_state(&env).await.as_str(), env.metrics.count(Metric::Alarm, "captured_after_a_failed_capture")), ("captured", 1));
    assert_eq!(statuses(&env), [PaymentStatus::Refunded]);
}

#[tokio::test]
async fn a_failed_release_raises_an_alarm_and_the_authorisation_counts_as_live() {
    let (env, mut subscriber) = authorised().await;
    env.clock.advance(Duration::from_secs(24 * 3600));
    env.change_card(&mut subscriber, sandbox::testkit::gateway_fixtures::ADYEN_METHOD);
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"));
    env.adyen.fail_next_modification("Transaction cannot be cancelled");
    let dispositions = env.deliver_notifications().await;
    assert!(dispositions.contains(&completed("cancel_failed")), "{dispositions:?}");
    assert_eq!((payment_state(&env).await.as_str(), env.metrics.count(Metric::Alarm, "cancel_failed")), ("authorised", 1));
}

#[tokio::test]
async fn a_release_is_final_when_the_gateway_confirms_it() {
    let (env, mut subscriber) = authorised().await;
    env.clock.advance(Duration::from_secs(24 * 3600));
    env.change_card(&mut subscriber, sandbox::testkit::gateway_fixtures::ADYEN_METHOD);
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"));
    assert_eq!(payment_state(&env).await, "cancelling");
    env.deliver_notifications().await;
    assert_eq!(payment_state(&env).await, "cancelled");
    assert_balanced(&env);
}

#[tokio::test]
async fn a_waiting_event_that_cannot_be_requeued_keeps_the_notification_on_its_queue() {
    let (env, _) = capturing().await;
    env.adyen.process();
    let messages = env.collect_notifications().await;
    env.requeue.fail_with(Some(connector::flow::RequeueError::Unavailable));
    let capture = messages.last().unwrap();
    for _ in 0..3 {
        assert_eq!(env.deliver_notification(capture).await, Disposition::Retry { after: None, reason: RetryReason::EventQueueUnavailable });
    }
    assert_eq!(payment_state(&env).await, "captured", "what is known is kept");
    env.requeue.fail_with(None);
    assert_eq!(env.deliver_notification(capture).await, completed("captured"));
    assert_eq!(env.deliver_requeued().await, [completed("captured")]);
    assert_balanced(&env);
}
