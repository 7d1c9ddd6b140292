//! The end of a subscription, and what keeps it from ending.

use std::time::Duration;

use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::clock::Clock as _;
use connector::flow::Verdict;
use connector::metrics::Metric;
use sandbox::peer::Fault;

use crate::{SETTLED, assert_balanced, at_due_date_authorised, at_first_attempt, settled, statuses};

const GRACE: Duration = Duration::from_secs(2 * 3600);

#[tokio::test]
async fn a_subscription_that_nobody_paid_is_terminated_once() {
    let (stage, cast) = at_first_attempt();
    stage.clock.advance_to(cast.due.after(GRACE));
    for _ in 0..3 {
        assert_eq!(stage.deliver(&stage.termination(&cast)).await, settled("terminated"));
    }
    let subscription = stage.cleeng.subscription(&cast.subscriber.subscription).unwrap();
    assert_eq!((subscription.status, subscription.terminated_as.as_deref()), (SubscriptionStatus::Terminated, Some("paymentCancel")));
    assert_eq!(stage.road.reached("cleeng", &connector::http::Method::POST, "/terminate"), 1);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_stopped_subscription_ends_as_the_customers_own_wish() {
    let (stage, cast) = at_first_attempt();
    stage.cleeng.set_status(&cast.subscriber.subscription, SubscriptionStatus::Stopped);
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver(&stage.termination(&cast)).await, settled("terminated"));
    let subscription = stage.cleeng.subscription(&cast.subscriber.subscription).unwrap();
    assert_eq!(subscription.terminated_as.as_deref(), Some("userCancel"));
}

#[tokio::test]
async fn what_is_held_when_a_subscription_ends_is_released() {
    let (stage, cast) = at_due_date_authorised().await;
    stage.clock.advance(GRACE);
    assert_eq!(stage.deliver_until_settled(&stage.termination(&cast)).await, settled("terminated"));
    stage.adyen.process();
    assert_eq!(statuses(&stage), [PaymentStatus::Cancelled]);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_capture_under_way_is_settled_instead_of_terminating() {
    let (stage, cast) = at_due_date_authorised().await;
    stage.clock.advance(GRACE);
    assert!(!SETTLED(&stage.deliver(&stage.capture(&cast)).await));
    assert_eq!(stage.deliver(&stage.termination(&cast)).await, Verdict::Later { after: None, reason: "payment_in_flight" });
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    assert_eq!(stage.deliver(&stage.termination(&cast)).await, settled("stale"));
    let subscription = stage.cleeng.subscription(&cast.subscriber.subscription).unwrap();
    assert_eq!(subscription.status, SubscriptionStatus::Active);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_period_that_is_captured_but_not_renewed_in_cleeng_is_for_an_operator() {
    let (stage, cast) = at_due_date_authorised().await;
    let capture = stage.capture(&cast);
    let is_report = |peer: &str, request: &sandbox::peer::PeerRequest| peer == "cleeng" && request.method == connector::http::Method::PATCH;
    stage.road.lay(Fault::StatusBefore(422), is_report);
    assert_eq!(stage.deliver_until_settled(&capture).await, Verdict::Parked("cleeng_refused_report"));
    stage.clock.advance(GRACE);
    assert_eq!(stage.deliver(&stage.termination(&cast)).await, Verdict::Parked("captured_but_to_be_terminated"));
    assert_eq!(stage.metrics.count(Metric::Parked, "captured_but_to_be_terminated"), 1);
    let subscription = stage.cleeng.subscription(&cast.subscriber.subscription).unwrap();
    assert_eq!(subscription.status, SubscriptionStatus::Active);
}

#[tokio::test]
async fn an_unknown_outcome_of_a_payment_makes_the_termination_wait() {
    let (stage, cast) = at_first_attempt();
    stage.clock.advance_to(cast.due);
    let is_authorise = |peer: &str, request: &sandbox::peer::PeerRequest| peer == "adyen" && request.path.ends_with("/payments");
    stage.road.lay(Fault::TimeoutAfter, is_authorise);
    assert!(!SETTLED(&stage.deliver(&stage.authorisation(&cast, 0)).await));
    stage.clock.advance(GRACE);
    assert_eq!(stage.deliver(&stage.termination(&cast)).await, Verdict::Later { after: None, reason: "payment_in_flight" });
}

#[tokio::test]
async fn a_termination_redriven_after_a_renewal_ends_nothing() {
    let (stage, cast) = at_due_date_authorised().await;
    stage.deliver_until_settled(&stage.capture(&cast)).await;
    stage.clock.advance(Duration::from_secs(7 * 86_400));
    assert_eq!(stage.deliver(&stage.termination(&cast)).await, settled("stale"));
    let subscription = stage.cleeng.subscription(&cast.subscriber.subscription).unwrap();
    assert_eq!(subscription.status, SubscriptionStatus::Active);
}

#[tokio::test]
async fn lost_answers_to_a_termination_are_found_out_by_asking() {
    let is_terminate = |peer: &str, request: &sandbox::peer::PeerRequest| peer == "cleeng" && request.path.ends_with("/terminate");
    for fault in [Fault::TimeoutAfter, Fault::TimeoutBefore, Fault::StatusAfter(500), Fault::StatusBefore(503), Fault::StatusBefore(429)] {
        let (stage, cast) = at_first_attempt();
        stage.clock.advance_to(cast.due.after(GRACE));
        stage.road.lay(fault, is_terminate);
        assert_eq!(stage.deliver_until_settled(&stage.termination(&cast)).await, settled("terminated"));
        let subscription = stage.cleeng.subscription(&cast.subscriber.subscription).unwrap();
        assert_eq!(subscription.status, SubscriptionStatus::Terminated);
        assert_balanced(&stage);
    }
}

#[tokio::test]
async fn a_subscription_that_terminated_itself_counts_as_done() {
    let (stage, cast) = at_first_attempt();
    stage.clock.advance_to(cast.due.after(GRACE));
    stage.cleeng.set_status(&cast.subscriber.subscription, SubscriptionStatus::Terminated);
    for _ in 0..2 {
        assert_eq!(stage.deliver(&stage.termination(&cast)).await, settled("terminated"));
        assert_eq!(stage.store.writes(), 1, "noted once");
    }
    assert_eq!(stage.road.reached("cleeng", &connector::http::Method::POST, "/terminate"), 0);
}

#[tokio::test]
async fn a_termination_that_cleeng_refuses_is_done_if_the_subscription_has_ended_and_else_for_an_operator() {
    let is_terminate = |peer: &str, request: &sandbox::peer::PeerRequest| peer == "cleeng" && request.path.ends_with("/terminate");
    for (fault, verdict, status) in [
        (Fault::StatusBefore(422), Verdict::Parked("termination_refused"), SubscriptionStatus::Active),
        (Fault::StatusAfter(422), settled("terminated"), SubscriptionStatus::Terminated),
    ] {
        let (stage, cast) = at_first_attempt();
        stage.clock.advance_to(cast.due.after(GRACE));
        stage.road.lay(fault, is_terminate);
        assert_eq!(stage.deliver(&stage.termination(&cast)).await, verdict);
        assert_eq!(stage.cleeng.subscription(&cast.subscriber.subscription).unwrap().status, status);
    }
}

/// Seed 86739: one message, delivered twice.
#[tokio::test]
async fn a_termination_that_another_delivery_made_and_died_over_is_not_taken_for_settled() {
    for turns in 0..20 {
        let (stage, cast) = at_first_attempt();
        stage.clock.advance_to(cast.due.after(GRACE));
        let event = stage.termination(&cast);
        let mut early = std::pin::pin!(stage.deliver(&event));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        if (0..turns).any(|_| early.as_mut().poll(&mut context).is_ready()) {
            assert!(turns > 5, "{turns}");
            break;
        }
        // Dies at the write after Cleeng has ended it.
        let is_ended = || stage.cleeng.subscription(&cast.subscriber.subscription).unwrap().status == SubscriptionStatus::Terminated;
        let mut late = Box::pin(stage.deliver(&event));
        while !is_ended() && late.as_mut().poll(&mut context).is_pending() {}
        drop(late);
        let verdict = early.await;
        stage.clock.advance(Duration::from_secs(100));
        if matches!(verdict, Verdict::Later { .. }) {
            assert_eq!(stage.deliver_until_settled(&event).await, settled("terminated"), "{turns}");
        }
        let unsettled = stage.world.store.due(stage.clock.now().after(Duration::from_secs(7 * 86_400)), 100).await.unwrap();
        assert!(unsettled.iter().all(|key| !key.as_str().starts_with("termination#")), "{turns}: {verdict:?} {unsettled:?}");
    }
}
