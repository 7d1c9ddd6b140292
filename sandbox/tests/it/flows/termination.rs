//! The end of a subscription, and what keeps it from ending.

use std::time::Duration;

use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::clock::Clock as _;
use connector::flow::Disposition;
use connector::metrics::Metric;
use connector::reason::{ParkReason, RetryReason};
use sandbox::simulators::cleeng::refusal;
use sandbox::simulators::network::Fault;

use crate::flows::{IS_COMPLETED, assert_balanced, at_due_date_authorised, at_first_attempt, completed, statuses};

const GRACE: Duration = Duration::from_secs(2 * 3600);

#[tokio::test]
async fn an_unpaid_subscription_is_terminated_once() {
    let (env, subscriber) = at_first_attempt();
    env.clock.advance_to(subscriber.due.after(GRACE));
    for _ in 0..3 {
        assert_eq!(env.deliver(&env.termination_event(&subscriber)).await, completed("terminated"));
    }
    let subscription = env.cleeng.subscription(&subscriber.ids.subscription).unwrap();
    assert_eq!((subscription.status, subscription.terminated_as.as_deref()), (SubscriptionStatus::Terminated, Some("status")));
    assert_eq!(env.network.delivered_count("cleeng", &connector::http::Method::PATCH, "/subscriptions/"), 1);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_stopped_subscription_ends_as_cancelled_by_the_customer_where_the_status_cannot_be_patched() {
    let (env, subscriber) = at_first_attempt();
    env.cleeng.change_quirks(|quirks| quirks.patch_status = Some(422));
    env.cleeng.set_status(&subscriber.ids.subscription, SubscriptionStatus::Stopped);
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.deliver(&env.termination_event(&subscriber)).await, completed("terminated"));
    let subscription = env.cleeng.subscription(&subscriber.ids.subscription).unwrap();
    assert_eq!(subscription.terminated_as.as_deref(), Some("userCancel"));
}

#[tokio::test]
async fn an_open_authorisation_is_released_when_the_subscription_ends() {
    let (env, subscriber) = at_due_date_authorised().await;
    env.clock.advance(GRACE);
    assert_eq!(env.deliver_until_settled(&env.termination_event(&subscriber)).await, completed("terminated"));
    env.adyen.process();
    assert_eq!(statuses(&env), [PaymentStatus::Cancelled]);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_capture_under_way_is_settled_instead_of_terminating() {
    let (env, subscriber) = at_due_date_authorised().await;
    env.clock.advance(GRACE);
    assert!(!IS_COMPLETED(&env.deliver(&env.capture_event(&subscriber)).await));
    assert_eq!(
        env.deliver(&env.termination_event(&subscriber)).await,
        Disposition::Retry { after: None, reason: RetryReason::PaymentInFlight }
    );
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_eq!(env.deliver(&env.termination_event(&subscriber)).await, completed("stale"));
    let subscription = env.cleeng.subscription(&subscriber.ids.subscription).unwrap();
    assert_eq!(subscription.status, SubscriptionStatus::Active);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_period_that_is_captured_but_not_renewed_in_cleeng_is_parked() {
    let (env, subscriber) = at_due_date_authorised().await;
    let capture = env.capture_event(&subscriber);
    let is_report = |peer: &str, request: &sandbox::simulators::network::ServerRequest| {
        peer == "cleeng" && request.method == connector::http::Method::PATCH
    };
    env.network.inject(refusal(422), is_report);
    assert_eq!(env.deliver_until_settled(&capture).await, Disposition::Parked(ParkReason::CleengRefusedReport));
    env.clock.advance(GRACE);
    assert_eq!(env.deliver(&env.termination_event(&subscriber)).await, Disposition::Parked(ParkReason::CapturedButToBeTerminated));
    assert_eq!(env.metrics.count(Metric::Parked, "captured_but_to_be_terminated"), 1);
    let subscription = env.cleeng.subscription(&subscriber.ids.subscription).unwrap();
    assert_eq!(subscription.status, SubscriptionStatus::Active);
}

#[tokio::test]
async fn an_unknown_outcome_of_a_payment_makes_the_termination_wait() {
    let (env, subscriber) = at_first_attempt();
    env.clock.advance_to(subscriber.due);
    let is_authorise =
        |peer: &str, request: &sandbox::simulators::network::ServerRequest| peer == "adyen" && request.path.ends_with("/payments");
    env.network.inject(Fault::TimeoutAfter, is_authorise);
    assert!(!IS_COMPLETED(&env.deliver(&env.authorisation_event(&subscriber, 0)).await));
    env.clock.advance(GRACE);
    assert_eq!(
        env.deliver(&env.termination_event(&subscriber)).await,
        Disposition::Retry { after: None, reason: RetryReason::PaymentInFlight }
    );
}

/// What waits was not worked on either while nobody worked behind the queues.
#[tokio::test]
async fn a_termination_that_lay_in_a_queue_for_days_waits_for_a_payment_as_long_as_any_other() {
    let (env, subscriber) = at_first_attempt();
    env.clock.advance_to(subscriber.due.after(GRACE));
    let sent = env.verify(&env.termination_event(&subscriber));
    let received_at = env.clock.now();
    env.clock.advance(Duration::from_secs(3 * 86_400));
    let is_authorise =
        |peer: &str, request: &sandbox::simulators::network::ServerRequest| peer == "adyen" && request.path.ends_with("/payments");
    env.network.inject(Fault::TimeoutAfter, is_authorise);
    assert!(!IS_COMPLETED(&env.deliver(&env.authorisation_event(&subscriber, 0)).await));
    assert_eq!(env.deliver_event(&sent, received_at).await, Disposition::Postponed(RetryReason::PaymentInFlight));
    assert_eq!(env.cleeng.subscription(&subscriber.ids.subscription).unwrap().status, SubscriptionStatus::Active);
}

#[tokio::test]
async fn a_termination_redriven_after_a_renewal_ends_nothing() {
    let (env, subscriber) = at_due_date_authorised().await;
    env.deliver_until_settled(&env.capture_event(&subscriber)).await;
    env.clock.advance(Duration::from_secs(7 * 86_400));
    assert_eq!(env.deliver(&env.termination_event(&subscriber)).await, completed("stale"));
    let subscription = env.cleeng.subscription(&subscriber.ids.subscription).unwrap();
    assert_eq!(subscription.status, SubscriptionStatus::Active);
}

#[tokio::test]
async fn the_outcome_of_a_termination_with_a_lost_answer_is_queried() {
    let is_terminate = |peer: &str, request: &sandbox::simulators::network::ServerRequest| {
        peer == "cleeng" && request.method == connector::http::Method::PATCH && request.path.contains("/subscriptions/")
    };
    for fault in [Fault::TimeoutAfter, Fault::TimeoutBefore, Fault::StatusAfter(500), Fault::StatusBefore(503), Fault::StatusBefore(429)] {
        let (env, subscriber) = at_first_attempt();
        env.clock.advance_to(subscriber.due.after(GRACE));
        env.network.inject(fault, is_terminate);
        assert_eq!(env.deliver_until_settled(&env.termination_event(&subscriber)).await, completed("terminated"));
        let subscription = env.cleeng.subscription(&subscriber.ids.subscription).unwrap();
        assert_eq!(subscription.status, SubscriptionStatus::Terminated);
        assert_balanced(&env);
    }
}

#[tokio::test]
async fn a_subscription_that_terminated_itself_counts_as_done() {
    let (env, subscriber) = at_first_attempt();
    env.clock.advance_to(subscriber.due.after(GRACE));
    env.cleeng.set_status(&subscriber.ids.subscription, SubscriptionStatus::Terminated);
    for _ in 0..2 {
        assert_eq!(env.deliver(&env.termination_event(&subscriber)).await, completed("terminated"));
        assert_eq!(env.store.writes(), 1, "noted once");
    }
    assert_eq!(env.network.delivered_count("cleeng", &connector::http::Method::PATCH, "/subscriptions/"), 0);
}

#[tokio::test]
async fn a_termination_that_cleeng_refuses_is_done_if_the_subscription_has_ended_and_is_parked_otherwise() {
    // Both ways, because the second follows the first.
    let is_terminate = |peer: &str, request: &sandbox::simulators::network::ServerRequest| {
        peer == "cleeng" && request.method != connector::http::Method::GET && request.path.contains("/subscriptions/")
    };
    for (faults, disposition, status) in [
        (vec![refusal(422), refusal(422)], Disposition::Parked(ParkReason::TerminationRefused), SubscriptionStatus::Active),
        (vec![Fault::StatusAfter(422)], completed("terminated"), SubscriptionStatus::Terminated),
    ] {
        let (env, subscriber) = at_first_attempt();
        env.clock.advance_to(subscriber.due.after(GRACE));
        faults.into_iter().for_each(|fault| env.network.inject(fault, is_terminate));
        assert_eq!(env.deliver(&env.termination_event(&subscriber)).await, disposition);
        assert_eq!(env.cleeng.subscription(&subscriber.ids.subscription).unwrap().status, status);
    }
}

/// Seed 86739: one message, delivered twice.
#[tokio::test]
async fn a_termination_by_a_delivery_that_crashed_is_not_treated_as_settled() {
    for turns in 0..20 {
        let (env, subscriber) = at_first_attempt();
        env.clock.advance_to(subscriber.due.after(GRACE));
        let event = env.termination_event(&subscriber);
        let mut early = std::pin::pin!(env.deliver(&event));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        if (0..turns).any(|_| early.as_mut().poll(&mut context).is_ready()) {
            assert!(turns > 5, "{turns}");
            break;
        }
        // Crashes at the write after Cleeng has ended it.
        let is_ended = || env.cleeng.subscription(&subscriber.ids.subscription).unwrap().status == SubscriptionStatus::Terminated;
        let mut late = Box::pin(env.deliver(&event));
        while !is_ended() && late.as_mut().poll(&mut context).is_pending() {}
        drop(late);
        let disposition = early.await;
        env.clock.advance(Duration::from_secs(100));
        if matches!(disposition, Disposition::Retry { .. }) {
            assert_eq!(env.deliver_until_settled(&event).await, completed("terminated"), "{turns}");
        }
        let unsettled = env.flow_context.store.due(env.clock.now().after(Duration::from_secs(7 * 86_400)), 100).await.unwrap();
        assert!(unsettled.iter().all(|key| !key.as_str().starts_with("termination#")), "{turns}: {disposition:?} {unsettled:?}");
    }
}
