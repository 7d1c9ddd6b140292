//! Workers that crash at any call, and two at once.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::http::Method;
use sandbox::testkit::crash::CrashTiming;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::notifications::{assert_balanced, authorised, captured, capturing, only_payment_ids, payment_state, statuses};

/// Settles a notification, brings events back and delivers them, until nothing is left.
async fn settle_everything(env: &TestEnvironment, messages: &[String]) {
    for _ in 0..20 {
        env.deliver_messages_until_settled(messages).await;
        let dispositions = env.deliver_requeued().await;
        if dispositions.iter().all(|disposition| !matches!(disposition, Disposition::Retry { .. })) {
            return;
        }
        env.clock.advance(Duration::from_secs(100));
    }
}

/// Runs the last notification of a scene with a crash at every call, before and after it, and then again. Returns how many crashes there were.
async fn crash_at_every_call<F: Future<Output = (TestEnvironment, TestSubscriber)>>(
    scene: fn() -> F,
    happens: fn(&TestEnvironment),
    check: impl AsyncFn(&TestEnvironment, &str),
) -> usize {
    let mut crashes = 0;
    for when in [CrashTiming::Before, CrashTiming::After] {
        for nth in 0.. {
            let (env, subscriber) = scene().await;
            env.deliver_notifications().await;
            env.deliver_requeued().await;
            happens(&env);
            env.adyen.process();
            let messages = env.collect_notifications().await;
            env.crash_point.arm(nth, when);
            let survived = env.crash_point.run(settle_everything(&env, &messages)).await;
            env.crash_point.disarm();
            if survived.is_some() {
                break;
            }
            crashes += 1;
            // The leases of the crashed worker run out; the queues deliver again.
            env.clock.advance(Duration::from_secs(100));
            settle_everything(&env, &messages).await;
            // A capture event that lay on its queue all the time.
            if env.now() >= subscriber.due {
                env.deliver_until_settled(&env.capture_event(&subscriber)).await;
            }
            check(&env, &format!("{when:?} call {nth}")).await;
        }
    }
    crashes
}

/// A scene whose capture is ordered when the notification comes.
async fn before_the_capture() -> (TestEnvironment, TestSubscriber) {
    let (env, subscriber) = authorised().await;
    env.clock.advance_to(subscriber.due);
    (env, subscriber)
}

#[tokio::test]
async fn a_crash_at_any_call_leaves_one_capture() {
    let mut crashes = 0;
    for when in [CrashTiming::Before, CrashTiming::After] {
        for nth in 0.. {
            let (env, subscriber) = before_the_capture().await;
            env.deliver(&env.capture_event(&subscriber)).await;
            env.adyen.process();
            let messages = env.collect_notifications().await;
            env.crash_point.arm(nth, when);
            let survived = env.crash_point.run(settle_everything(&env, &messages)).await;
            env.crash_point.disarm();
            if survived.is_some() {
                break;
            }
            crashes += 1;
            env.clock.advance(Duration::from_secs(100));
            settle_everything(&env, &messages).await;
            env.deliver_until_settled(&env.capture_event(&subscriber)).await;
            assert_eq!(
                (statuses(&env), payment_state(&env).await.as_str()),
                (vec![PaymentStatus::Captured], "captured"),
                "{when:?} call {nth}"
            );
            assert_eq!(env.adyen.total_captured("USD"), 999);
            assert_balanced(&env);
        }
    }
    assert!(crashes >= 2 * 4, "the record, the requeue, the report, its two journal writes: {crashes}");
}

#[tokio::test]
async fn a_crash_at_any_call_of_a_chargeback_reports_at_most_once_and_loses_no_alarm() {
    let check = async |env: &TestEnvironment, context: &str| {
        assert_eq!(payment_state(env).await, "charged_back", "{context}");
        let parked = env.metrics.count(connector::metrics::Metric::Parked, "loss_report_unknown");
        assert!(statuses(env) == [PaymentStatus::Refunded] || parked == 1, "{context}: {:?}", statuses(env));
        let told = env.network.delivered_count("cleeng", &Method::PATCH, "/payments");
        assert!(told <= 2, "{context}: captured once, refunded once: {told}");
        assert!(env.metrics.count(connector::metrics::Metric::Alarm, "chargeback") >= 1, "{context}");
        assert_balanced(env);
    };
    let crashes = crash_at_every_call(captured, |env| env.adyen.charge_back(&only_payment_ids(env).0), check).await;
    assert_eq!(crashes, 2 * 3, "the intent, the report, the result, each before and after");
}

#[tokio::test]
async fn a_crash_at_any_call_of_a_late_failure_reports_at_most_once() {
    let check = async |env: &TestEnvironment, context: &str| {
        assert_eq!(payment_state(env).await, "capture_failed", "{context}");
        let parked = env.metrics.count(connector::metrics::Metric::Parked, "loss_report_unknown");
        assert!(statuses(env) == [PaymentStatus::Refunded] || parked == 1, "{context}: {:?}", statuses(env));
        assert!(env.network.delivered_count("cleeng", &Method::PATCH, "/payments") <= 2, "{context}");
    };
    let crashes = crash_at_every_call(captured, |env| env.adyen.capture_fails_later(&only_payment_ids(env).0), check).await;
    assert_eq!(crashes, 2 * 3);
}

#[tokio::test]
async fn a_crash_at_any_call_of_an_expiry_leaves_it_expired() {
    let check = async |env: &TestEnvironment, context: &str| {
        assert_eq!(payment_state(env).await, "expired", "{context}");
    };
    let crashes = crash_at_every_call(authorised, |env| env.adyen.expire(&only_payment_ids(env).0), check).await;
    assert_eq!(crashes, 2);
}

#[tokio::test]
async fn two_concurrent_deliveries_of_a_notification_have_the_effect_of_one_at_every_interleaving() {
    for head_start in 0..20 {
        let (env, _) = captured().await;
        let before = env.network.delivered_count("cleeng", &Method::PATCH, "/payments");
        env.adyen.charge_back(&only_payment_ids(&env).0);
        let messages = env.collect_notifications().await;
        let second = async {
            for _ in 0..head_start {
                tokio::task::yield_now().await;
            }
            env.deliver_notification(&messages[0]).await
        };
        let _ = tokio::join!(env.deliver_notification(&messages[0]), second);
        env.clock.advance(Duration::from_secs(100));
        env.deliver_messages_until_settled(&messages).await;
        assert_eq!(statuses(&env), [PaymentStatus::Refunded], "after {head_start} turns");
        assert_eq!(env.network.delivered_count("cleeng", &Method::PATCH, "/payments") - before, 1);
        assert_balanced(&env);
    }
}

#[tokio::test]
async fn a_notification_and_the_waiting_event_report_once_at_every_interleaving() {
    for head_start in 0..30 {
        let (env, subscriber) = capturing().await;
        env.adyen.process();
        let messages = env.collect_notifications().await;
        env.clock.advance(Duration::from_secs(45 * 60));
        let event = env.capture_event(&subscriber);
        let notification = async {
            for _ in 0..head_start {
                tokio::task::yield_now().await;
            }
            env.deliver_notification(&messages[1]).await
        };
        let _ = tokio::join!(env.deliver(&event), notification);
        env.clock.advance(Duration::from_secs(100));
        settle_everything(&env, &messages).await;
        env.deliver_until_settled(&event).await;
        assert_eq!(
            (statuses(&env), payment_state(&env).await.as_str()),
            (vec![PaymentStatus::Captured], "captured"),
            "after {head_start} turns"
        );
        assert_eq!(env.network.delivered_count("adyen", &Method::POST, "/captures"), 1);
        assert_balanced(&env);
    }
}
