//! A deactivation that meets a capture or an authorisation of the same subscription: the money is taken or released, never both, and both
//! sides agree.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::flow::{SettleOn, Verdict};
use connector::metrics::Metric;
use sandbox::cleeng::SentWebhook;
use sandbox::stage::{Cast, METHOD, Stage};

use crate::deactivation::changed_card;
use crate::world::{assert_balanced, at_once, settled, statuses};

/// At the due date: the capture with the old card is on its way, and so is the announcement that it is gone.
async fn at_the_crossing(settle_on: SettleOn) -> (Stage, SentWebhook, SentWebhook) {
    let stage = Stage::new(|rules| rules.settle_on = settle_on);
    let mut cast: Cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3600)));
    stage.deliver(&stage.authorisation(&cast, 72)).await;
    stage.clock.advance_to(cast.due);
    let capture = stage.capture(&cast);
    stage.change_card(&mut cast, METHOD);
    let due = stage.cleeng.due_webhooks();
    let gone = due.into_iter().find(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated).unwrap();
    (stage, capture, gone)
}

/// Captured or cancelled, on both sides alike.
async fn assert_one_of_the_two(stage: &Stage, capture: &SentWebhook, gone: &SentWebhook, context: &str) -> PaymentStatus {
    stage.clock.advance(Duration::from_secs(100));
    assert_eq!(stage.deliver_until_settled(gone).await, settled("deactivated"), "{context}");
    let last = stage.deliver_until_settled(capture).await;
    stage.adyen.process();
    let status = statuses(stage).remove(0);
    match status {
        PaymentStatus::Captured => {
            assert!(matches!(last, Verdict::Settled("captured")), "{context}: {last:?}");
            assert_eq!(stage.adyen.total_captured("USD"), 999, "{context}");
        }
        PaymentStatus::Cancelled => {
            // Nothing is held any more, so the capture event calls an operator instead of charging a card that is gone.
            assert_eq!(last, Verdict::Parked("capture_without_authorisation"), "{context}");
            assert_eq!(stage.adyen.total_captured("USD"), 0, "{context}");
        }
        ref other => panic!("{context}: {other:?}"),
    }
    assert_eq!(statuses(stage).len(), 1);
    assert_balanced(stage);
    status
}

#[tokio::test]
async fn a_deactivation_that_races_with_a_capture_takes_the_money_or_releases_it_wherever_they_meet() {
    let mut ends = Vec::new();
    for settle_on in [SettleOn::Receipt, SettleOn::Notification] {
        for capture_first in [true, false] {
            for head_start in 0..40 {
                let (stage, capture, gone) = at_the_crossing(settle_on).await;
                let (one, other) = if capture_first { (&capture, &gone) } else { (&gone, &capture) };
                let _ = at_once(&stage, one, other, head_start).await;
                let context = format!("{settle_on:?}, capture first: {capture_first}, {head_start}");
                ends.push(assert_one_of_the_two(&stage, &capture, &gone, &context).await);
            }
        }
    }
    // The race has two ends, and both were seen.
    assert!(ends.contains(&PaymentStatus::Captured) && ends.contains(&PaymentStatus::Cancelled));
}

#[tokio::test]
async fn a_payment_that_is_being_captured_is_left_alone() {
    let (stage, capture, gone) = at_the_crossing(SettleOn::Notification).await;
    assert!(matches!(stage.deliver(&capture).await, Verdict::Later { reason: "capture_received", .. }));
    assert_eq!(stage.deliver(&gone).await, settled("deactivated"));
    assert_eq!(stage.metrics.count(Metric::Warning, "capture_in_progress"), 1);
    assert_eq!(stage.deliver_until_settled(&capture).await, settled("captured"));
    stage.adyen.process();
    assert_eq!(statuses(&stage), [PaymentStatus::Captured]);
    assert_eq!(stage.road.reached("adyen", &connector::http::Method::POST, "/cancels"), 0);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_deactivation_and_the_authorisation_with_the_new_card_leave_one_authorisation_wherever_they_meet() {
    for deactivation_first in [true, false] {
        for head_start in 0..40 {
            let stage = Stage::default();
            let (cast, gone) = changed_card(&stage, METHOD).await;
            stage.clock.advance_to(cast.due.before(Duration::from_secs(48 * 3600)));
            let authorisation = stage.authorisation(&cast, 48);
            let (one, other) = if deactivation_first { (&gone, &authorisation) } else { (&authorisation, &gone) };
            let _ = at_once(&stage, one, other, head_start).await;
            stage.clock.advance(Duration::from_secs(100));
            assert_eq!(stage.deliver_until_settled(&gone).await, settled("deactivated"), "{head_start}");
            assert_eq!(stage.deliver_until_settled(&authorisation).await, settled("authorised"), "{head_start}");
            stage.adyen.process();
            assert_eq!(statuses(&stage), [PaymentStatus::Cancelled, PaymentStatus::Authorised], "{head_start}");
            assert_balanced(&stage);
            stage.clock.advance_to(cast.due);
            assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"), "{head_start}");
            assert_balanced(&stage);
        }
    }
}

#[tokio::test]
async fn what_another_event_released_while_a_deactivation_looked_is_not_released_again() {
    for turns in 0..60 {
        let stage = Stage::default();
        let (cast, gone) = changed_card(&stage, METHOD).await;
        stage.clock.advance_to(cast.due);
        // It names the new details, so that what is held with the old ones is released.
        let capture = stage.capture(&cast);
        stage.clock.advance(Duration::from_secs(2 * 3600));
        let mut deactivation = std::pin::pin!(stage.deliver(&gone));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        if (0..turns).any(|_| deactivation.as_mut().poll(&mut context).is_ready()) {
            // It came to its end by itself, and so would every later one.
            assert!(turns > 10, "{turns}");
            break;
        }
        stage.deliver(&capture).await;
        deactivation.await;
        stage.clock.advance(Duration::from_secs(100));
        assert_eq!(stage.deliver_until_settled(&gone).await, settled("deactivated"), "{turns}");
        stage.deliver_until_settled(&capture).await;
        assert_eq!(stage.metrics.count(Metric::Parked, "capture_without_authorisation"), 1, "{turns}");
        stage.adyen.process();
        assert_eq!(statuses(&stage), [PaymentStatus::Cancelled], "{turns}");
        assert_eq!(stage.road.reached("adyen", &connector::http::Method::POST, "/cancels"), 1, "{turns}");
        assert_eq!(stage.cleeng.violations(), [], "{turns}");
        assert_balanced(&stage);
    }
}
