//! Refunds, completed by notification.

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::metrics::Metric;
use connector::reason::{ParkReason, RetryReason};
use sandbox::simulators::cleeng::{OperatorRefund, SentWebhook};
use sandbox::testkit::harness::TestEnvironment;
use serde_json::json;

use crate::notifications::{assert_balanced, captured, completed, payment_record, payment_state, statuses};

fn refund(env: &TestEnvironment) -> SentWebhook {
    let payment = env.cleeng.payments().remove(0).id;
    let asked = OperatorRefund { amount: None, id: None, reason: Some("customer asked".to_owned()) };
    env.cleeng.refund_event(&payment, &asked).unwrap()
}

#[tokio::test]
async fn a_refund_is_reported_when_its_notification_arrives() {
    let (env, _) = captured().await;
    let event = refund(&env);
    assert_eq!(env.deliver(&event).await, completed("refund_received"));
    assert_eq!(statuses(&env), [PaymentStatus::Captured]);
    env.adyen.process();
    let messages = env.collect_notifications().await;
    for _ in 0..5 {
        assert_eq!(env.deliver_messages_until_settled(&messages).await, [completed("refunded")]);
    }
    let dispositions = env.deliver_requeued().await;
    assert!(dispositions.iter().all(|disposition| *disposition == completed("refunded")), "{dispositions:?}");
    assert_eq!((statuses(&env), payment_state(&env).await.as_str()), (vec![PaymentStatus::Refunded], "refunded"));
    assert_eq!(payment_record(&env).await["refunded"]["minor"], 999);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_failed_refund_refunds_nothing_and_is_parked() {
    let (env, _) = captured().await;
    env.deliver(&refund(&env)).await;
    env.adyen.fail_next_modification("Insufficient balance on payment");
    assert_eq!(env.deliver_notifications().await, [completed("refund_failed")]);
    assert_eq!(env.deliver_requeued().await, [Disposition::Parked(ParkReason::RefundFailed)]);
    assert_eq!((statuses(&env), payment_state(&env).await.as_str()), (vec![PaymentStatus::Captured], "captured"));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_refund_that_failed_after_its_report_raises_an_alarm_and_the_money_counts_as_captured() {
    let (env, _) = captured().await;
    env.deliver(&refund(&env)).await;
    env.adyen.process();
    let body = env.adyen.take_notifications().remove(0);
    let messages = env.post_accepted_notification(&json!({}), body.as_bytes()).await;
    env.deliver_messages_until_settled(&messages).await;
    assert_eq!(env.deliver_requeued().await, [completed("refunded")]);
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    let item = &told["notificationItems"][0]["NotificationRequestItem"];
    let text = |name: &str| item[name].as_str().unwrap().to_owned();
    let (own, payment, reference) = (text("pspReference"), text("originalReference"), text("merchantReference"));
    let failed = env.adyen.notification_with_amount("REFUND_FAILED", &own, &payment, &reference, ("USD", 999));
    let messages = env.post_accepted_notification(&json!({}), failed.as_bytes()).await;
    for _ in 0..5 {
        assert_eq!(env.deliver_messages_until_settled(&messages).await, [completed("refund_failed")]);
    }
    assert_eq!((payment_state(&env).await.as_str(), env.metrics.count(Metric::Alarm, "refund_failed_later")), ("captured", 1));
    // Of another amount than was asked for: nobody's refund.
    let odd = env.adyen.notification_with_amount("REFUND", &own, &payment, &reference, ("USD", 998));
    let messages = env.post_accepted_notification(&json!({}), odd.as_bytes()).await;
    assert_eq!(env.deliver_messages_until_settled(&messages).await, [Disposition::Parked(ParkReason::NotificationNamesAnotherAmount)]);
}

#[tokio::test]
async fn a_refund_unknown_to_the_journal_is_awaited_and_then_parked() {
    let (env, _) = captured().await;
    let (psp, _) = crate::notifications::only_payment_ids(&env);
    let body = env.adyen.notification_with_amount(
        "REFUND",
        "0PERAT0R00000001",
        &psp,
        &crate::notifications::only_payment_ids(&env).1,
        ("USD", 999),
    );
    let messages = env.post_accepted_notification(&json!({}), body.as_bytes()).await;
    assert_eq!(env.deliver_notification(&messages[0]).await, Disposition::Retry { after: None, reason: RetryReason::NotificationEarly });
    assert_eq!(env.deliver_messages_until_settled(&messages).await, [Disposition::Parked(ParkReason::RefundWithoutOurRequest)]);
    assert_eq!(payment_state(&env).await, "captured");
}
