//! A gateway refuses a capture permanently: the refusal is reported to Cleeng, and the authorisation is released.

use std::sync::Arc;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::flow::Disposition;
use connector::gateway::GatewayName;
use connector::metrics::Metric;
use connector::reason::{CompletionReason, ParkReason};
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::simulators::network::Fault;
use sandbox::simulators::simulated_gateway::{LedgerEntry, LedgerStatus};
use sandbox::testkit::contract::report_skipped;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::every_gateway::crash_points::crash_every_pair;
use crate::every_gateway::faults::{AT_CLEENG, AT_THE_GATEWAY, with_each_fault};
use crate::every_gateway::renewals::deliver_twice_concurrently;
use crate::every_gateway::scenarios::{HOUR, approved_entries, assert_balanced, authorised_and_due, only_external_id, statuses};

/// A hold whose capture will be refused. Where the gateway's refusal leaves nothing held, the hold lapses unnoticed instead.
async fn capture_to_be_refused(gateway: GatewayName) -> (TestEnvironment, TestSubscriber) {
    let (env, subscriber) = authorised_and_due(gateway).await;
    let simulator = &env.gateway(gateway).simulator;
    if !simulator.decline_next_capture() {
        report_skipped(gateway, "a declined capture that leaves its authorisation");
        simulator.expire(&only_external_id(&env, gateway));
    }
    drop(simulator.take_notifications());
    (env, subscriber)
}

/// Delivers an event again and again, every ten minutes, while the gateways tell what they did.
async fn deliver_until_final(env: &TestEnvironment, event: &SentWebhook) -> Disposition {
    let mut last = Disposition::NotOurs;
    for _ in 0..200 {
        last = env.deliver(event).await;
        env.deliver_notifications().await;
        if !matches!(last, Disposition::Retry { .. } | Disposition::Postponed(_)) {
            break;
        }
        env.clock.advance(HOUR / 6);
    }
    env.run_until_idle().await;
    last
}

fn assert_released(env: &TestEnvironment, gateway: GatewayName, context: &str) {
    assert!(approved_entries(env, gateway).iter().all(LedgerEntry::is_released), "{context}: {:?}", approved_entries(env, gateway));
    assert_eq!(statuses(env), [PaymentStatus::Rejected], "{context}");
    assert_balanced(env, context);
    assert_eq!(
        (env.metrics.count(Metric::Parked, ""), env.metrics.count(Metric::Alarm, "")),
        (0, 0),
        "{context} {:?}",
        env.metrics.recorded_since(0).into_iter().filter(|m| matches!(m.0, Metric::Parked | Metric::Alarm)).collect::<Vec<_>>()
    );
}

pub(crate) async fn an_authorisation_whose_capture_is_refused_is_released_and_the_next_attempt_pays(gateway: GatewayName) {
    let (env, subscriber) = capture_to_be_refused(gateway).await;
    assert_eq!(deliver_until_final(&env, &env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Declined));
    assert_released(&env, gateway, "refused");
    for _ in 0..3 {
        assert_eq!(deliver_until_final(&env, &env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Declined));
    }
    assert!(env.release_count(gateway) <= 1, "requested once, on every repetition");
    // The next attempt holds the amount, and nothing else does.
    let at = subscriber.due.after(24 * HOUR);
    env.clock.advance_to(at);
    let event = |topic| env.billing_event(topic, &subscriber, at, subscriber.due);
    assert_eq!(
        env.run_event(&event(Topic::SubscriptionReadyForPaymentAuthorisation)).await,
        Disposition::Completed(CompletionReason::Authorised)
    );
    let held = approved_entries(&env, gateway).into_iter().filter(|entry| entry.status == LedgerStatus::Authorised).count();
    assert_eq!(held, 1);
    assert_eq!(env.run_event(&event(Topic::SubscriptionReadyForPaymentCapture)).await, Disposition::Completed(CompletionReason::Captured));
    assert_eq!(statuses(&env), [PaymentStatus::Rejected, PaymentStatus::Captured]);
    assert_balanced(&env, "paid");
}

pub(crate) async fn nothing_is_released_if_the_authorisation_is_gone(gateway: GatewayName) {
    let (env, subscriber) = authorised_and_due(gateway).await;
    env.gateway(gateway).simulator.expire(&only_external_id(&env, gateway));
    let lapsed = env.collect_notifications().await;
    // A gateway that acknowledges every request reports the expiry by notification alone.
    if matches!(env.deliver(&env.capture_event(&subscriber)).await, Disposition::Retry { .. }) {
        env.deliver_messages_until_settled(&lapsed).await;
    }
    assert_eq!(deliver_until_final(&env, &env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Declined));
    assert_released(&env, gateway, "lapsed");
    assert_eq!(env.release_count(gateway), 0);
}

pub(crate) async fn two_deliveries_of_a_refused_capture_release_once_at_every_interleaving(gateway: GatewayName) {
    for head_start in 0..30 {
        let (env, subscriber) = capture_to_be_refused(gateway).await;
        let capture = env.capture_event(&subscriber);
        deliver_twice_concurrently(&env, &capture, head_start).await;
        assert_eq!(deliver_until_final(&env, &capture).await, Disposition::Completed(CompletionReason::Declined), "{head_start}");
        assert_released(&env, gateway, &format!("head start {head_start}"));
        assert!(env.release_count(gateway) <= 1, "{head_start}");
    }
}

pub(crate) async fn a_crash_anywhere_in_a_refused_capture_leaves_nothing_held(gateway: GatewayName) {
    let scene = async || {
        let (env, subscriber) = capture_to_be_refused(gateway).await;
        if env.flow_context.gateways.get(gateway).unwrap().capabilities().settles_by_notification {
            // The order is taken, and what became of it is about to be told.
            assert!(matches!(env.deliver(&env.capture_event(&subscriber)).await, Disposition::Retry { .. }));
        } else {
            env.enqueue(&env.capture_event(&subscriber));
        }
        env
    };
    let check = async |env: &TestEnvironment, context: &str| assert_released(env, gateway, context);
    let crashes = crash_every_pair(scene, check).await;
    assert!(crashes > 50, "{crashes}");
}

pub(crate) async fn at_any_write_of_a_refused_capture(gateway: GatewayName) {
    with_each_fault(&[AT_CLEENG, AT_THE_GATEWAY], async |lay, context| {
        let (env, subscriber) = capture_to_be_refused(gateway).await;
        lay(&env);
        assert_eq!(
            deliver_until_final(&env, &env.capture_event(&subscriber)).await,
            Disposition::Completed(CompletionReason::Declined),
            "{context}"
        );
        assert_released(&env, gateway, context);
    })
    .await;
}

pub(crate) async fn a_release_that_stays_unknown_does_not_block_the_next_attempt(gateway: GatewayName) {
    let (env, subscriber) = capture_to_be_refused(gateway).await;
    for _ in 0..400 {
        let simulator = Arc::clone(&env.gateway(gateway).simulator);
        env.network.inject(Fault::StatusBefore(500), move |server, request| {
            server == simulator.name() && simulator.is_release(&request.method, &request.path)
        });
    }
    let disposition = deliver_until_final(&env, &env.capture_event(&subscriber)).await;
    if env.gateway(gateway).simulator.decline_next_capture() {
        assert_eq!(disposition, Disposition::Parked(ParkReason::AuthorisationNotReleased));
        assert_eq!(env.metrics.count(Metric::Parked, "authorisation_not_released"), 1);
    } else {
        assert_eq!(disposition, Disposition::Completed(CompletionReason::Declined));
    }
    assert_eq!(statuses(&env), [PaymentStatus::Rejected], "what Cleeng was told stands");
    let at = subscriber.due.after(48 * HOUR);
    env.clock.advance_to(at);
    let event = env.billing_event(Topic::SubscriptionReadyForPaymentAuthorisation, &subscriber, at, subscriber.due);
    assert_eq!(env.run_event(&event).await, Disposition::Completed(CompletionReason::Authorised));
}
