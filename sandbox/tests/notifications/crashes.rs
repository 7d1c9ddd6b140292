//! Workers that die at any call, and two at once.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::http::Method;
use sandbox::crash::When;
use sandbox::stage::{Cast, Stage};

use crate::{assert_balanced, authorised, captured, capturing, names, state, statuses};

/// Settles a notification, brings events back and delivers them, until nothing is left.
async fn live_on(stage: &Stage, messages: &[String]) {
    for _ in 0..20 {
        stage.settle_all(messages).await;
        let verdicts = stage.deliver_requeued().await;
        if verdicts.iter().all(|verdict| !matches!(verdict, Verdict::Later { .. })) {
            return;
        }
        stage.clock.advance(Duration::from_secs(100));
    }
}

/// Plays the last notification of a scene with a death at every call, before and after it, and then again. Returns how many deaths there were.
async fn die_everywhere<F: Future<Output = (Stage, Cast)>>(
    scene: fn() -> F,
    happens: fn(&Stage),
    check: impl AsyncFn(&Stage, &str),
) -> usize {
    let mut deaths = 0;
    for when in [When::Before, When::After] {
        for nth in 0.. {
            let (stage, cast) = scene().await;
            stage.hear_gateways().await;
            stage.deliver_requeued().await;
            happens(&stage);
            stage.adyen.process();
            let messages = stage.take_notifications().await;
            stage.switch.arm(nth, when);
            let survived = stage.switch.run(live_on(&stage, &messages)).await;
            stage.switch.disarm();
            if survived.is_some() {
                break;
            }
            deaths += 1;
            // The leases of the dead run out; the queues deliver again.
            stage.clock.advance(Duration::from_secs(100));
            live_on(&stage, &messages).await;
            // A capture event that lay on its queue all the time.
            if stage.now() >= cast.due {
                stage.deliver_until_settled(&stage.capture(&cast)).await;
            }
            check(&stage, &format!("{when:?} call {nth}")).await;
        }
    }
    deaths
}

/// A scene whose capture is ordered when the notification comes.
async fn before_the_capture() -> (Stage, Cast) {
    let (stage, cast) = authorised().await;
    stage.clock.advance_to(cast.due);
    (stage, cast)
}

#[tokio::test]
async fn a_death_at_any_call_leaves_one_capture() {
    let mut deaths = 0;
    for when in [When::Before, When::After] {
        for nth in 0.. {
            let (stage, cast) = before_the_capture().await;
            stage.deliver(&stage.capture(&cast)).await;
            stage.adyen.process();
            let messages = stage.take_notifications().await;
            stage.switch.arm(nth, when);
            let survived = stage.switch.run(live_on(&stage, &messages)).await;
            stage.switch.disarm();
            if survived.is_some() {
                break;
            }
            deaths += 1;
            stage.clock.advance(Duration::from_secs(100));
            live_on(&stage, &messages).await;
            stage.deliver_until_settled(&stage.capture(&cast)).await;
            assert_eq!(
                (statuses(&stage), state(&stage).await.as_str()),
                (vec![PaymentStatus::Captured], "captured"),
                "{when:?} call {nth}"
            );
            assert_eq!(stage.adyen.total_captured("USD"), 999);
            assert_balanced(&stage);
        }
    }
    assert!(deaths >= 2 * 4, "the record, the requeue, the report, its two journal writes: {deaths}");
}

#[tokio::test]
async fn a_death_at_any_call_of_a_chargeback_tells_cleeng_at_most_once_and_loses_no_alarm() {
    let check = async |stage: &Stage, context: &str| {
        assert_eq!(state(stage).await, "charged_back", "{context}");
        let parked = stage.metrics.count(connector::metrics::Metric::Parked, "loss_report_unknown");
        assert!(statuses(stage) == [PaymentStatus::Refunded] || parked == 1, "{context}: {:?}", statuses(stage));
        let told = stage.road.reached("cleeng", &Method::PATCH, "/payments");
        assert!(told <= 2, "{context}: captured once, refunded once: {told}");
        assert!(stage.metrics.count(connector::metrics::Metric::Alarm, "chargeback") >= 1, "{context}");
        assert_balanced(stage);
    };
    let deaths = die_everywhere(captured, |stage| stage.adyen.charge_back(&names(stage).0), check).await;
    assert_eq!(deaths, 2 * 3, "the intent, the report, the result, each before and after");
}

#[tokio::test]
async fn a_death_at_any_call_of_a_late_failure_tells_cleeng_at_most_once() {
    let check = async |stage: &Stage, context: &str| {
        assert_eq!(state(stage).await, "capture_failed", "{context}");
        let parked = stage.metrics.count(connector::metrics::Metric::Parked, "loss_report_unknown");
        assert!(statuses(stage) == [PaymentStatus::Refunded] || parked == 1, "{context}: {:?}", statuses(stage));
        assert!(stage.road.reached("cleeng", &Method::PATCH, "/payments") <= 2, "{context}");
    };
    let deaths = die_everywhere(captured, |stage| stage.adyen.capture_fails_later(&names(stage).0), check).await;
    assert_eq!(deaths, 2 * 3);
}

#[tokio::test]
async fn a_death_at_any_call_of_an_expiry_leaves_it_expired() {
    let check = async |stage: &Stage, context: &str| {
        assert_eq!(state(stage).await, "expired", "{context}");
    };
    let deaths = die_everywhere(authorised, |stage| stage.adyen.expire(&names(stage).0), check).await;
    assert_eq!(deaths, 2);
}

#[tokio::test]
async fn two_deliveries_of_a_notification_at_once_have_the_effect_of_one_wherever_they_meet() {
    for head_start in 0..20 {
        let (stage, _) = captured().await;
        let before = stage.road.reached("cleeng", &Method::PATCH, "/payments");
        stage.adyen.charge_back(&names(&stage).0);
        let messages = stage.take_notifications().await;
        let second = async {
            for _ in 0..head_start {
                tokio::task::yield_now().await;
            }
            stage.settle(&messages[0]).await
        };
        let _ = tokio::join!(stage.settle(&messages[0]), second);
        stage.clock.advance(Duration::from_secs(100));
        stage.settle_all(&messages).await;
        assert_eq!(statuses(&stage), [PaymentStatus::Refunded], "after {head_start} turns");
        assert_eq!(stage.road.reached("cleeng", &Method::PATCH, "/payments") - before, 1);
        assert_balanced(&stage);
    }
}

#[tokio::test]
async fn a_notification_and_the_waiting_event_at_once_report_once_wherever_they_meet() {
    for head_start in 0..30 {
        let (stage, cast) = capturing().await;
        stage.adyen.process();
        let messages = stage.take_notifications().await;
        stage.clock.advance(Duration::from_secs(45 * 60));
        let event = stage.capture(&cast);
        let notification = async {
            for _ in 0..head_start {
                tokio::task::yield_now().await;
            }
            stage.settle(&messages[1]).await
        };
        let _ = tokio::join!(stage.deliver(&event), notification);
        stage.clock.advance(Duration::from_secs(100));
        live_on(&stage, &messages).await;
        stage.deliver_until_settled(&event).await;
        assert_eq!(
            (statuses(&stage), state(&stage).await.as_str()),
            (vec![PaymentStatus::Captured], "captured"),
            "after {head_start} turns"
        );
        assert_eq!(stage.road.reached("adyen", &Method::POST, "/captures"), 1);
        assert_balanced(&stage);
    }
}
