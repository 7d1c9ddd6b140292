//! Missed billing webhooks.

use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::clock::{Clock as _, Timestamp};
use connector::flow::Disposition;
use connector::gateway::{DeclineClass, GatewayName};
use connector::metrics::Metric;
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::simulators::simulated_gateway::SimulatedGateway as _;
use sandbox::testkit::crash::CrashTiming;
use sandbox::testkit::gateway_fixtures::payment_methods_of;
use sandbox::testkit::gateway_fixtures::{ADYEN_CAPTURE_ONLY_METHOD, ADYEN_METHOD};
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::reconciliation::HOUR;

/// How often reconciliation runs.
const RUN_INTERVAL: Duration = Duration::from_secs(300);
pub(crate) const QUARTER_HOUR: Duration = Duration::from_secs(900);

/// Time passes round by round until then. What Cleeng sends arrives, unless it is lost.
pub(crate) async fn run_until(env: &TestEnvironment, until: Timestamp, mut is_lost: impl FnMut(&SentWebhook) -> bool) {
    while env.clock.now() < until {
        env.clock.advance(RUN_INTERVAL);
        for webhook in env.cleeng.due_webhooks() {
            if !is_lost(&webhook) {
                env.enqueue(&webhook);
            }
        }
        env.run_until_idle().await;
        env.run_reconciliation().await;
        env.run_until_idle().await;
    }
}

pub(crate) const fn none_lost(_: &SentWebhook) -> bool {
    false
}

/// A subscriber who was renewed once by this connector, and when the next renewal is due.
pub(crate) async fn with_one_renewal(method: &str) -> (TestEnvironment, TestSubscriber, Timestamp) {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(method);
    run_until(&env, subscriber.due.after(4 * HOUR), none_lost).await;
    let due = env.cleeng.subscription(&subscriber.ids.subscription).unwrap().date_to;
    assert!(due > subscriber.due, "renewed");
    (env, subscriber, due)
}

pub(crate) fn statuses(env: &TestEnvironment) -> Vec<PaymentStatus> {
    env.cleeng.payments().into_iter().map(|payment| payment.status).collect()
}

#[tokio::test]
async fn a_missed_authorisation_event_is_recovered_within_fifteen_minutes() {
    for gateway in GatewayName::ALL {
        let (env, _, due) = with_one_renewal(payment_methods_of(*gateway).0).await;
        let attempt = due.before(72 * HOUR);
        run_until(&env, attempt.after(QUARTER_HOUR), |_| true).await;
        assert_eq!(statuses(&env), [PaymentStatus::Captured, PaymentStatus::Authorised], "{gateway}");
        run_until(&env, due.after(HOUR), none_lost).await;
        assert_eq!(statuses(&env), [PaymentStatus::Captured, PaymentStatus::Captured], "{gateway}");
        assert_eq!(env.metrics.count(Metric::Warning, "missed_event_recovered"), 1, "{gateway}");
        assert_eq!(env.discrepancies(), Vec::<String>::new(), "{gateway}");
    }
}

#[tokio::test]
async fn a_missed_capture_event_is_recovered_within_fifteen_minutes() {
    for gateway in GatewayName::ALL {
        let (authorised_first, at_once) = payment_methods_of(*gateway);
        for method in [authorised_first, at_once] {
            let (env, _, due) = with_one_renewal(method).await;
            let lost = |webhook: &SentWebhook| webhook.topic == Topic::SubscriptionReadyForPaymentCapture;
            // What the gateway only took is settled by its notification, a moment later.
            run_until(&env, due.after(QUARTER_HOUR), lost).await;
            assert_eq!(statuses(&env), [PaymentStatus::Captured, PaymentStatus::Captured], "{gateway} {method}");
            assert_eq!(env.discrepancies(), Vec::<String>::new(), "{gateway} {method}");
        }
    }
}

#[tokio::test]
async fn a_missed_termination_event_of_a_stopped_subscription_is_recovered_within_fifteen_minutes() {
    let (env, subscriber, due) = with_one_renewal(ADYEN_CAPTURE_ONLY_METHOD).await;
    env.cleeng.set_status(&subscriber.ids.subscription, SubscriptionStatus::Stopped);
    run_until(&env, due.after(QUARTER_HOUR), |_| true).await;
    assert_eq!(env.cleeng.subscription(&subscriber.ids.subscription).unwrap().status, SubscriptionStatus::Terminated);
    // And nobody looks at it any more.
    let looks = env.run_reconciliation().await;
    run_until(&env, due.after(48 * HOUR), none_lost).await;
    assert_eq!((looks.recovered, env.run_reconciliation().await.checked), (0, 0));
}

#[tokio::test]
async fn an_event_that_arrives_after_its_recovery_changes_nothing() {
    let (env, _, due) = with_one_renewal(ADYEN_METHOD).await;
    let mut late = Vec::new();
    run_until(&env, due.after(2 * HOUR), |webhook| {
        late.push(webhook.clone());
        true
    })
    .await;
    let (before, ledger) = (statuses(&env), env.adyen.ledger());
    assert_eq!(before, [PaymentStatus::Captured, PaymentStatus::Captured]);
    for webhook in &late {
        assert!(matches!(env.run_event(webhook).await, Disposition::Completed(_)));
    }
    assert_eq!((statuses(&env), env.adyen.ledger()), (before, ledger));
}

#[tokio::test]
async fn a_recovered_decline_is_one_decline_and_dunning_continues() {
    let (env, subscriber, due) = with_one_renewal(ADYEN_METHOD).await;
    assert!(env.gateway_of_method(ADYEN_METHOD).simulator.decline_next(&subscriber.token, DeclineClass::Soft));
    let mut late = Vec::new();
    run_until(&env, due.before(60 * HOUR), |webhook| {
        late.push(webhook.clone());
        true
    })
    .await;
    assert_eq!(statuses(&env), [PaymentStatus::Captured, PaymentStatus::Rejected]);
    env.run_event(&late[0]).await;
    assert_eq!(statuses(&env), [PaymentStatus::Captured, PaymentStatus::Rejected], "the event itself is the same attempt");
    run_until(&env, due.after(HOUR), none_lost).await;
    assert_eq!(statuses(&env), [PaymentStatus::Captured, PaymentStatus::Rejected, PaymentStatus::Captured]);
    assert!(env.cleeng.subscription(&subscriber.ids.subscription).unwrap().date_to > due);
}

#[tokio::test]
async fn a_missed_event_with_unknown_details_is_parked() {
    let (env, mut subscriber, due) = with_one_renewal(ADYEN_METHOD).await;
    env.change_card(&mut subscriber, ADYEN_METHOD);
    run_until(&env, due.before(71 * HOUR), |_| true).await;
    assert_eq!(statuses(&env), [PaymentStatus::Captured], "nothing is charged with a token of other details");
    assert!(env.metrics.count(Metric::Parked, "missed_event_of_unknown_details") > 0);
    run_until(&env, due.after(HOUR), none_lost).await;
    assert_eq!(statuses(&env), [PaymentStatus::Captured, PaymentStatus::Captured]);
}

#[tokio::test]
async fn a_recovered_event_does_not_capture_an_authorisation_with_replaced_details() {
    let (env, mut subscriber, due) = with_one_renewal(ADYEN_METHOD).await;
    run_until(&env, due.before(70 * HOUR), none_lost).await;
    assert_eq!(statuses(&env), [PaymentStatus::Captured, PaymentStatus::Authorised]);
    env.change_card(&mut subscriber, ADYEN_METHOD);
    run_until(&env, due.after(2 * HOUR), |_| true).await;
    assert_eq!(statuses(&env), [PaymentStatus::Captured, PaymentStatus::Cancelled]);
    assert!(env.metrics.count(Metric::Parked, "capture_without_authorisation") > 0);
}

#[tokio::test]
async fn the_end_of_the_period_counts_if_cleeng_names_no_time() {
    let env = TestEnvironment::default();
    env.cleeng.change_quirks(|quirks| quirks.shows_next_action = false);
    let subscriber = env.subscriber(ADYEN_CAPTURE_ONLY_METHOD);
    run_until(&env, subscriber.due.after(4 * HOUR), none_lost).await;
    let due = env.cleeng.subscription(&subscriber.ids.subscription).unwrap().date_to;
    run_until(&env, due.after(QUARTER_HOUR), |_| true).await;
    assert_eq!(statuses(&env), [PaymentStatus::Captured, PaymentStatus::Captured]);
}

#[tokio::test]
async fn a_crash_while_recovering_an_event_loses_and_doubles_nothing() {
    for when in [CrashTiming::Before, CrashTiming::After] {
        for point in 1.. {
            let (env, _, due) = with_one_renewal(ADYEN_CAPTURE_ONLY_METHOD).await;
            env.clock.advance_to(due.after(RUN_INTERVAL * 2));
            let lost = env.cleeng.due_webhooks();
            assert_eq!(lost.len(), 1);
            env.crash_point.arm(point, when);
            let survived = env.crash_point.run(env.run_reconciliation()).await.is_some();
            env.crash_point.disarm();
            run_until(&env, due.after(8 * HOUR), none_lost).await;
            assert_eq!(statuses(&env), [PaymentStatus::Captured, PaymentStatus::Captured], "{point} {when:?}");
            assert_eq!(env.discrepancies(), Vec::<String>::new(), "{point} {when:?}");
            if survived {
                assert!(point > 4, "the round makes more calls than that");
                break;
            }
        }
    }
}

#[tokio::test]
async fn months_of_missed_webhooks_end_as_if_none_had_been_missed() {
    for seed in 0_u64..4 {
        let env = TestEnvironment::default();
        let mut casts = Vec::new();
        for gateway in GatewayName::ALL {
            let (authorised_first, at_once) = payment_methods_of(*gateway);
            casts.extend([env.subscriber(authorised_first), env.subscriber(at_once)]);
        }
        let first = casts[0].due;
        run_until(&env, first.after(4 * HOUR), none_lost).await;
        // A small generator is random enough: a third of all webhooks is lost.
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
        let mut dropped = 0;
        run_until(&env, first.after(65 * 24 * HOUR), |webhook| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let lost = webhook.topic != Topic::SubscriptionReadyForTermination && (state >> 33) % 3 == 0;
            dropped += u32::from(lost);
            lost
        })
        .await;
        assert!(dropped > 0);
        for subscriber in &casts {
            let paid_until = env.cleeng.subscription(&subscriber.ids.subscription).unwrap().date_to;
            assert!(paid_until > first.after(65 * 24 * HOUR), "seed {seed}: paid until {paid_until}");
        }
        assert!(statuses(&env).iter().all(|status| *status == PaymentStatus::Captured), "seed {seed}");
        assert_eq!(statuses(&env).len(), casts.len() * 3, "seed {seed}: one payment a month and subscriber");
        assert_eq!(env.discrepancies(), Vec::<String>::new(), "seed {seed}");
    }
}
