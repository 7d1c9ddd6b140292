//! Billing webhooks that never came.

use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::clock::{Clock as _, Timestamp};
use connector::flow::Verdict;
use connector::gateway::{DeclineClass, GatewayName};
use connector::metrics::Metric;
use sandbox::cleeng::SentWebhook;
use sandbox::crash::When;
use sandbox::guests::methods_of;
use sandbox::house::House as _;
use sandbox::stage::{CAPTURE_ONLY_METHOD, Cast, METHOD, Stage};

use crate::HOUR;

/// How often reconciliation goes round.
const ROUND: Duration = Duration::from_secs(300);
pub(crate) const QUARTER: Duration = Duration::from_secs(900);

/// Time passes round by round until then. What Cleeng sends arrives, unless it is lost.
pub(crate) async fn live_until(stage: &Stage, until: Timestamp, mut is_lost: impl FnMut(&SentWebhook) -> bool) {
    while stage.clock.now() < until {
        stage.clock.advance(ROUND);
        for webhook in stage.cleeng.due_webhooks() {
            if !is_lost(&webhook) {
                stage.post(&webhook);
            }
        }
        stage.run_until_quiet().await;
        stage.go_round().await;
        stage.run_until_quiet().await;
    }
}

pub(crate) const fn nothing(_: &SentWebhook) -> bool {
    false
}

/// A subscriber who was renewed once by this connector, and when the next renewal is due.
pub(crate) async fn renewed(method: &str) -> (Stage, Cast, Timestamp) {
    let stage = Stage::default();
    let cast = stage.subscriber(method);
    live_until(&stage, cast.due.after(4 * HOUR), nothing).await;
    let due = stage.cleeng.subscription(&cast.subscriber.subscription).unwrap().date_to;
    assert!(due > cast.due, "renewed");
    (stage, cast, due)
}

pub(crate) fn statuses(stage: &Stage) -> Vec<PaymentStatus> {
    stage.cleeng.payments().into_iter().map(|payment| payment.status).collect()
}

#[tokio::test]
async fn a_lost_authorisation_is_made_up_for_within_a_quarter_of_an_hour() {
    for gateway in GatewayName::ALL {
        let (stage, _, due) = renewed(methods_of(*gateway).0).await;
        let attempt = due.before(72 * HOUR);
        live_until(&stage, attempt.after(QUARTER), |_| true).await;
        assert_eq!(statuses(&stage), [PaymentStatus::Captured, PaymentStatus::Authorised], "{gateway}");
        live_until(&stage, due.after(HOUR), nothing).await;
        assert_eq!(statuses(&stage), [PaymentStatus::Captured, PaymentStatus::Captured], "{gateway}");
        assert_eq!(stage.metrics.count(Metric::Warning, "lost_event_made_up"), 1, "{gateway}");
        assert_eq!(stage.disagreements(), Vec::<String>::new(), "{gateway}");
    }
}

#[tokio::test]
async fn a_lost_capture_is_made_up_for_within_a_quarter_of_an_hour() {
    for gateway in GatewayName::ALL {
        let (authorised_first, at_once) = methods_of(*gateway);
        for method in [authorised_first, at_once] {
            let (stage, _, due) = renewed(method).await;
            let lost = |webhook: &SentWebhook| webhook.topic == Topic::SubscriptionReadyForPaymentCapture;
            // What the gateway only took is settled by its notification, a moment later.
            live_until(&stage, due.after(QUARTER), lost).await;
            assert_eq!(statuses(&stage), [PaymentStatus::Captured, PaymentStatus::Captured], "{gateway} {method}");
            assert_eq!(stage.disagreements(), Vec::<String>::new(), "{gateway} {method}");
        }
    }
}

#[tokio::test]
async fn a_lost_termination_of_a_stopped_subscription_is_made_up_for_within_a_quarter_of_an_hour() {
    let (stage, cast, due) = renewed(CAPTURE_ONLY_METHOD).await;
    stage.cleeng.set_status(&cast.subscriber.subscription, SubscriptionStatus::Stopped);
    live_until(&stage, due.after(QUARTER), |_| true).await;
    assert_eq!(stage.cleeng.subscription(&cast.subscriber.subscription).unwrap().status, SubscriptionStatus::Terminated);
    // And nobody looks at it any more.
    let looks = stage.go_round().await;
    live_until(&stage, due.after(48 * HOUR), nothing).await;
    assert_eq!((looks.made_up, stage.go_round().await.watched), (0, 0));
}

#[tokio::test]
async fn an_event_that_comes_after_it_was_made_up_for_changes_nothing() {
    let (stage, _, due) = renewed(METHOD).await;
    let mut late = Vec::new();
    live_until(&stage, due.after(2 * HOUR), |webhook| {
        late.push(webhook.clone());
        true
    })
    .await;
    let (before, ledger) = (statuses(&stage), stage.adyen.ledger());
    assert_eq!(before, [PaymentStatus::Captured, PaymentStatus::Captured]);
    for webhook in &late {
        assert!(matches!(stage.play(webhook).await, Verdict::Settled(_)));
    }
    assert_eq!((statuses(&stage), stage.adyen.ledger()), (before, ledger));
}

#[tokio::test]
async fn a_decline_that_was_made_up_for_is_one_decline_and_dunning_goes_on() {
    let (stage, cast, due) = renewed(METHOD).await;
    assert!(stage.guest_of(METHOD).house.refuse_next(&cast.token, DeclineClass::Soft));
    let mut late = Vec::new();
    live_until(&stage, due.before(60 * HOUR), |webhook| {
        late.push(webhook.clone());
        true
    })
    .await;
    assert_eq!(statuses(&stage), [PaymentStatus::Captured, PaymentStatus::Rejected]);
    stage.play(&late[0]).await;
    assert_eq!(statuses(&stage), [PaymentStatus::Captured, PaymentStatus::Rejected], "the event itself is the same attempt");
    live_until(&stage, due.after(HOUR), nothing).await;
    assert_eq!(statuses(&stage), [PaymentStatus::Captured, PaymentStatus::Rejected, PaymentStatus::Captured]);
    assert!(stage.cleeng.subscription(&cast.subscriber.subscription).unwrap().date_to > due);
}

#[tokio::test]
async fn an_event_of_details_that_nobody_knows_here_is_an_operators() {
    let (stage, mut cast, due) = renewed(METHOD).await;
    stage.change_card(&mut cast, METHOD);
    live_until(&stage, due.before(71 * HOUR), |_| true).await;
    assert_eq!(statuses(&stage), [PaymentStatus::Captured], "nothing is charged with a token of other details");
    assert!(stage.metrics.count(Metric::Parked, "lost_event_of_unknown_details") > 0);
    live_until(&stage, due.after(HOUR), nothing).await;
    assert_eq!(statuses(&stage), [PaymentStatus::Captured, PaymentStatus::Captured]);
}

#[tokio::test]
async fn what_is_held_with_details_that_were_replaced_is_not_captured_by_an_event_that_was_made_up_for() {
    let (stage, mut cast, due) = renewed(METHOD).await;
    live_until(&stage, due.before(70 * HOUR), nothing).await;
    assert_eq!(statuses(&stage), [PaymentStatus::Captured, PaymentStatus::Authorised]);
    stage.change_card(&mut cast, METHOD);
    live_until(&stage, due.after(2 * HOUR), |_| true).await;
    assert_eq!(statuses(&stage), [PaymentStatus::Captured, PaymentStatus::Cancelled]);
    assert!(stage.metrics.count(Metric::Parked, "capture_without_authorisation") > 0);
}

#[tokio::test]
async fn where_cleeng_names_no_time_the_end_of_the_period_counts() {
    let stage = Stage::default();
    stage.cleeng.quirks(|quirks| quirks.tells_next = false);
    let cast = stage.subscriber(CAPTURE_ONLY_METHOD);
    live_until(&stage, cast.due.after(4 * HOUR), nothing).await;
    let due = stage.cleeng.subscription(&cast.subscriber.subscription).unwrap().date_to;
    live_until(&stage, due.after(QUARTER), |_| true).await;
    assert_eq!(statuses(&stage), [PaymentStatus::Captured, PaymentStatus::Captured]);
}

#[tokio::test]
async fn a_worker_who_dies_over_a_lost_event_loses_and_doubles_nothing() {
    for when in [When::Before, When::After] {
        for point in 1.. {
            let (stage, _, due) = renewed(CAPTURE_ONLY_METHOD).await;
            stage.clock.advance_to(due.after(ROUND * 2));
            let lost = stage.cleeng.due_webhooks();
            assert_eq!(lost.len(), 1);
            stage.switch.arm(point, when);
            let survived = stage.switch.run(stage.go_round()).await.is_some();
            stage.switch.disarm();
            live_until(&stage, due.after(8 * HOUR), nothing).await;
            assert_eq!(statuses(&stage), [PaymentStatus::Captured, PaymentStatus::Captured], "{point} {when:?}");
            assert_eq!(stage.disagreements(), Vec::<String>::new(), "{point} {when:?}");
            if survived {
                assert!(point > 4, "the round makes more calls than that");
                break;
            }
        }
    }
}

#[tokio::test]
async fn months_of_lost_webhooks_end_as_if_none_had_been_lost() {
    for seed in 0_u64..4 {
        let stage = Stage::default();
        let mut casts = Vec::new();
        for gateway in GatewayName::ALL {
            let (authorised_first, at_once) = methods_of(*gateway);
            casts.extend([stage.subscriber(authorised_first), stage.subscriber(at_once)]);
        }
        let first = casts[0].due;
        live_until(&stage, first.after(4 * HOUR), nothing).await;
        // A small generator is random enough: a third of all webhooks is lost.
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
        let mut dropped = 0;
        live_until(&stage, first.after(65 * 24 * HOUR), |webhook| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let lost = webhook.topic != Topic::SubscriptionReadyForTermination && (state >> 33) % 3 == 0;
            dropped += u32::from(lost);
            lost
        })
        .await;
        assert!(dropped > 0);
        for cast in &casts {
            let paid_until = stage.cleeng.subscription(&cast.subscriber.subscription).unwrap().date_to;
            assert!(paid_until > first.after(65 * 24 * HOUR), "seed {seed}: paid until {paid_until}");
        }
        assert!(statuses(&stage).iter().all(|status| *status == PaymentStatus::Captured), "seed {seed}");
        assert_eq!(statuses(&stage).len(), casts.len() * 3, "seed {seed}: one payment a month and subscriber");
        assert_eq!(stage.disagreements(), Vec::<String>::new(), "seed {seed}");
    }
}
