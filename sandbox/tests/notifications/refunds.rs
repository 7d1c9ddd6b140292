//! Refunds, settled by what the gateway tells.

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::metrics::Metric;
use sandbox::cleeng::{RefundRequest, SentWebhook};
use sandbox::stage::Stage;
use serde_json::json;

use crate::{assert_balanced, captured, record, settled, state, statuses};

fn refund(stage: &Stage) -> SentWebhook {
    let payment = stage.cleeng.payments().remove(0).id;
    let asked = RefundRequest { amount: None, id: None, reason: Some("customer asked".to_owned()) };
    stage.cleeng.refund_event(&payment, &asked).unwrap()
}

#[tokio::test]
async fn a_refund_is_reported_when_the_gateway_says_that_the_money_went_back() {
    let (stage, _) = captured().await;
    let event = refund(&stage);
    assert_eq!(stage.deliver(&event).await, settled("refund_received"));
    assert_eq!(statuses(&stage), [PaymentStatus::Captured]);
    stage.adyen.process();
    let messages = stage.take_notifications().await;
    for _ in 0..5 {
        assert_eq!(stage.settle_all(&messages).await, [settled("refunded")]);
    }
    let verdicts = stage.deliver_requeued().await;
    assert!(verdicts.iter().all(|verdict| *verdict == settled("refunded")), "{verdicts:?}");
    assert_eq!((statuses(&stage), state(&stage).await.as_str()), (vec![PaymentStatus::Refunded], "refunded"));
    assert_eq!(record(&stage).await["refunded"]["minor"], 999);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_refund_that_fails_gives_nothing_back_and_calls_an_operator() {
    let (stage, _) = captured().await;
    stage.deliver(&refund(&stage)).await;
    stage.adyen.fail_next_modification("Insufficient balance on payment");
    assert_eq!(stage.hear_gateways().await, [settled("refund_failed")]);
    assert_eq!(stage.deliver_requeued().await, [Verdict::Parked("refund_failed")]);
    assert_eq!((statuses(&stage), state(&stage).await.as_str()), (vec![PaymentStatus::Captured], "captured"));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_refund_that_failed_after_it_was_reported_is_alarmed_and_the_money_counts_as_taken() {
    let (stage, _) = captured().await;
    stage.deliver(&refund(&stage)).await;
    stage.adyen.process();
    let body = stage.adyen.take_notifications().remove(0);
    let messages = stage.accepted(&json!({}), body.as_bytes()).await;
    stage.settle_all(&messages).await;
    assert_eq!(stage.deliver_requeued().await, [settled("refunded")]);
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    let item = &told["notificationItems"][0]["NotificationRequestItem"];
    let text = |name: &str| item[name].as_str().unwrap().to_owned();
    let (own, payment, reference) = (text("pspReference"), text("originalReference"), text("merchantReference"));
    let failed = stage.adyen.notification_of("REFUND_FAILED", &own, &payment, &reference, ("USD", 999));
    let messages = stage.accepted(&json!({}), failed.as_bytes()).await;
    for _ in 0..5 {
        assert_eq!(stage.settle_all(&messages).await, [settled("refund_failed")]);
    }
    assert_eq!((state(&stage).await.as_str(), stage.metrics.count(Metric::Alarm, "refund_failed_later")), ("captured", 1));
    // Of another amount than was asked for: nobody's refund.
    let odd = stage.adyen.notification_of("REFUND", &own, &payment, &reference, ("USD", 998));
    let messages = stage.accepted(&json!({}), odd.as_bytes()).await;
    assert_eq!(stage.settle_all(&messages).await, [Verdict::Parked("notification_names_another_amount")]);
}

#[tokio::test]
async fn a_refund_that_nobody_here_asked_for_is_waited_for_and_then_parked() {
    let (stage, _) = captured().await;
    let (psp, _) = crate::names(&stage);
    let body = stage.adyen.notification_of("REFUND", "0PERAT0R00000001", &psp, &crate::names(&stage).1, ("USD", 999));
    let messages = stage.accepted(&json!({}), body.as_bytes()).await;
    assert_eq!(stage.settle(&messages[0]).await, Verdict::Later { after: None, reason: "notification_early" });
    assert_eq!(stage.settle_all(&messages).await, [Verdict::Parked("refund_without_our_order")]);
    assert_eq!(state(&stage).await, "captured");
}
