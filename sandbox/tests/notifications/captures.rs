//! The capture of a renewal, settled by what the gateway tells.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::flow::Verdict;
use connector::http::Method;
use connector::metrics::Metric;

use crate::{assert_balanced, authorised, captured, capturing, later_attempt, names, record, settled, state, statuses};

#[tokio::test]
async fn a_capture_is_settled_by_its_notification_at_once_and_not_at_the_deadline() {
    let (stage, cast) = capturing().await;
    assert_eq!(stage.hear_gateways().await, [settled("authorised"), settled("captured")]);
    assert_eq!(statuses(&stage), [PaymentStatus::Authorised], "the owning flow alone tells Cleeng");
    assert_eq!(stage.deliver_requeued().await, [settled("captured")]);
    assert_eq!(stage.now(), cast.due, "nobody waited");
    assert_eq!(statuses(&stage), [PaymentStatus::Captured]);
    assert_eq!(stage.metrics.count(Metric::Warning, "capture_settled_by_deadline"), 0);
    // The message that waited on the queue, and another copy.
    assert_eq!(stage.deliver(&stage.capture(&cast)).await, settled("captured"));
    assert_eq!(stage.road.reached("adyen", &Method::POST, "/captures"), 1);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_notification_of_an_authorisation_that_is_known_writes_nothing() {
    let (stage, _) = authorised().await;
    let before = stage.store.writes();
    assert_eq!(stage.hear_gateways().await, [settled("authorised")]);
    assert_eq!(stage.store.writes(), before, "a write would fence off the flow that is just reporting");
}

#[tokio::test]
async fn a_failed_capture_is_rejected_and_the_next_attempt_authorises_anew() {
    let (stage, cast) = capturing().await;
    stage.adyen.fail_next_modification("Insufficient balance on payment");
    assert_eq!(stage.hear_gateways().await, [settled("authorised"), settled("capture_failed")]);
    assert_eq!(stage.deliver_requeued().await, [settled("declined")]);
    assert_eq!(statuses(&stage), [PaymentStatus::Rejected]);
    assert_eq!(stage.hear_gateways().await, [settled("cancelled")], "what was held goes back");
    assert_balanced(&stage);
    stage.clock.advance(Duration::from_secs(24 * 3600));
    let authorisation = later_attempt(&stage, Topic::SubscriptionReadyForPaymentAuthorisation, &cast, 24);
    assert_eq!(stage.deliver(&authorisation).await, settled("authorised"));
    let capture = later_attempt(&stage, Topic::SubscriptionReadyForPaymentCapture, &cast, 24);
    assert!(matches!(stage.deliver(&capture).await, Verdict::Later { .. }));
    stage.hear_gateways().await;
    assert_eq!(stage.deliver_requeued().await, [settled("captured")]);
    assert_eq!(statuses(&stage), [PaymentStatus::Rejected, PaymentStatus::Captured]);
    assert_eq!(stage.adyen.total_captured("USD"), 999);
}

#[tokio::test]
async fn a_hold_that_was_refused_to_be_captured_and_is_not_released_either_is_alarmed_once() {
    let (stage, _) = capturing().await;
    stage.adyen.fail_next_modification("Insufficient balance on payment");
    stage.hear_gateways().await;
    assert_eq!(stage.deliver_requeued().await, [settled("declined")]);
    stage.adyen.fail_next_modification("Transaction cannot be cancelled");
    stage.adyen.process();
    let messages = stage.take_notifications().await;
    for _ in 0..3 {
        assert_eq!(stage.settle_all(&messages).await, [settled("cancel_failed")]);
    }
    assert_eq!(stage.metrics.count(Metric::Alarm, "cancel_failed"), 1);
    assert_eq!((statuses(&stage), state(&stage).await.as_str()), (vec![PaymentStatus::Rejected], "capture_failed"));
}

#[tokio::test]
async fn a_capture_that_fails_after_it_succeeded_is_not_released_because_the_gateway_may_repeat_it() {
    let (stage, _) = capturing().await;
    assert_eq!(stage.hear_gateways().await, [settled("authorised"), settled("captured")]);
    stage.adyen.capture_fails_later(&names(&stage).0);
    assert_eq!(stage.hear_gateways().await, [settled("capture_failed")]);
    assert!(stage.deliver_requeued().await.contains(&settled("declined")));
    assert_eq!((statuses(&stage), stage.road.reached("adyen", &Method::POST, "/cancels")), (vec![PaymentStatus::Rejected], 0));
}

#[tokio::test]
async fn an_expired_authorisation_is_given_up_in_cleeng_and_authorised_anew() {
    let (stage, cast) = authorised().await;
    stage.adyen.expire(&names(&stage).0);
    assert_eq!(stage.hear_gateways().await, [settled("authorised"), settled("expired")]);
    assert_eq!(state(&stage).await, "expired");
    stage.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 48)).await, settled("authorised"));
    assert_eq!(statuses(&stage), [PaymentStatus::Cancelled, PaymentStatus::Authorised]);
    assert_eq!(stage.road.reached("adyen", &Method::POST, "/cancels"), 0, "there is nothing to cancel");
    assert_balanced(&stage);
}

#[tokio::test]
async fn an_expiry_during_a_capture_leaves_the_decision_to_the_capture() {
    let (stage, cast) = capturing().await;
    let (psp, reference) = names(&stage);
    let expired = stage.adyen.notification("EXPIRE", true, &psp, "", &reference);
    let messages = stage.accepted(&serde_json::json!({}), expired.as_bytes()).await;
    assert_eq!(stage.settle_all(&messages).await, [settled("expired")]);
    assert_eq!((state(&stage).await.as_str(), stage.requeue.take().len()), ("capturing", 0));
    // The gateway stays silent: nobody may say that the money was taken.
    stage.clock.advance(Duration::from_secs(45 * 60));
    assert_eq!(stage.deliver(&stage.capture(&cast)).await, Verdict::Parked("capture_of_an_expired_authorisation"));
    assert_eq!(statuses(&stage), [PaymentStatus::Authorised]);
}

#[tokio::test]
async fn a_cancel_that_won_against_the_capture_is_reported_rejected() {
    let (stage, _) = capturing().await;
    let (psp, reference) = names(&stage);
    let cancelled = stage.adyen.notification("CANCELLATION", true, "C4NCEL0000000001", &psp, &reference);
    let messages = stage.accepted(&serde_json::json!({}), cancelled.as_bytes()).await;
    assert_eq!(stage.settle_all(&messages).await, [settled("cancelled")]);
    assert_eq!(stage.deliver_requeued().await, [settled("declined")]);
    assert_eq!(statuses(&stage), [PaymentStatus::Rejected]);
}

#[tokio::test]
async fn a_capture_that_fails_after_it_was_reported_is_told_to_cleeng_once_and_alarmed() {
    let (stage, cast) = captured().await;
    stage.adyen.capture_fails_later(&names(&stage).0);
    let messages = stage.take_notifications().await;
    for repetition in 0..5 {
        let word = if repetition == 0 { "capture_failed" } else { "loss_reported" };
        assert_eq!(stage.settle_all(&messages).await, [settled(word)]);
    }
    assert_eq!(statuses(&stage), [PaymentStatus::Refunded]);
    let refund = stage.cleeng.payments().remove(0).refund.unwrap();
    assert_eq!((refund.reason.as_str(), refund.kind.as_str()), ("capture_failed", "refund"));
    assert_eq!(stage.metrics.count(Metric::Alarm, "capture_failed"), 1);
    assert_eq!((state(&stage).await.as_str(), &record(&stage).await["captured"]["minor"]), ("capture_failed", &0.into()));
    assert_eq!(stage.deliver(&stage.capture(&cast)).await, settled("captured"));
    assert_balanced(&stage);
    // Captured once more by the scheme: Cleeng cannot be told, an operator can.
    stage.adyen.capture_again(&names(&stage).0);
    assert_eq!(stage.hear_gateways().await, [settled("captured")]);
    assert_eq!((state(&stage).await.as_str(), stage.metrics.count(Metric::Alarm, "captured_after_a_failed_capture")), ("captured", 1));
    assert_eq!(statuses(&stage), [PaymentStatus::Refunded]);
}

#[tokio::test]
async fn a_release_that_failed_is_alarmed_and_the_money_counts_as_held() {
    let (stage, mut cast) = authorised().await;
    stage.clock.advance(Duration::from_secs(24 * 3600));
    stage.change_card(&mut cast, sandbox::stage::METHOD);
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 48)).await, settled("authorised"));
    stage.adyen.fail_next_modification("Transaction cannot be cancelled");
    let verdicts = stage.hear_gateways().await;
    assert!(verdicts.contains(&settled("cancel_failed")), "{verdicts:?}");
    assert_eq!((state(&stage).await.as_str(), stage.metrics.count(Metric::Alarm, "cancel_failed")), ("authorised", 1));
}

#[tokio::test]
async fn a_release_is_final_when_the_gateway_says_so() {
    let (stage, mut cast) = authorised().await;
    stage.clock.advance(Duration::from_secs(24 * 3600));
    stage.change_card(&mut cast, sandbox::stage::METHOD);
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 48)).await, settled("authorised"));
    assert_eq!(state(&stage).await, "cancelling");
    stage.hear_gateways().await;
    assert_eq!(state(&stage).await, "cancelled");
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_waiting_event_that_cannot_be_brought_back_keeps_the_notification_on_its_queue() {
    let (stage, _) = capturing().await;
    stage.adyen.process();
    let messages = stage.take_notifications().await;
    stage.requeue.fail_with(Some(connector::flow::RequeueError::Unavailable));
    let capture = messages.last().unwrap();
    for _ in 0..3 {
        assert_eq!(stage.settle(capture).await, Verdict::Later { after: None, reason: "event_queue_unavailable" });
    }
    assert_eq!(state(&stage).await, "captured", "what is known is kept");
    stage.requeue.fail_with(None);
    assert_eq!(stage.settle(capture).await, settled("captured"));
    assert_eq!(stage.deliver_requeued().await, [settled("captured")]);
    assert_balanced(&stage);
}
