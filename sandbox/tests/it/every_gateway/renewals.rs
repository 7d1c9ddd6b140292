//! Renewals: authorise and capture, charge, declines, termination.

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::gateway::{DeclineClass, GatewayName};
use connector::reason::CompletionReason;
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::simulators::simulated_gateway::LedgerStatus;
use sandbox::testkit::harness::TestEnvironment;

use crate::every_gateway::scenarios::{
    HOUR, approved_entries, assert_balanced, assert_once, at_first_attempt, authorised_and_due, due_to_be_charged, only_external_id,
    statuses,
};

const CLASSES: [DeclineClass; 6] = [
    DeclineClass::Soft,
    DeclineClass::NeedsCustomer,
    DeclineClass::NeedsNewDetails,
    DeclineClass::Hard,
    DeclineClass::Risk,
    DeclineClass::Cancelled,
];

pub(crate) async fn a_renewal_is_authorised_then_captured_and_both_sides_agree(gateway: GatewayName) {
    let (env, subscriber) = authorised_and_due(gateway).await;
    assert_once(&env, gateway, &PaymentStatus::Authorised, "authorised");
    assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Captured));
    assert_once(&env, gateway, &PaymentStatus::Captured, "captured");
    assert!(env.cleeng.subscription(&subscriber.ids.subscription).unwrap().date_to > subscriber.due);
}

pub(crate) async fn a_renewal_is_charged_at_once(gateway: GatewayName) {
    let (env, subscriber) = due_to_be_charged(gateway);
    assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Captured));
    assert_once(&env, gateway, &PaymentStatus::Captured, "charged");
}

pub(crate) async fn an_event_delivered_five_times_has_the_effect_of_one(gateway: GatewayName) {
    let (env, subscriber) = at_first_attempt(gateway);
    for _ in 0..5 {
        assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 72)).await, Disposition::Completed(CompletionReason::Authorised));
    }
    assert_once(&env, gateway, &PaymentStatus::Authorised, "authorised");
    env.clock.advance_to(subscriber.due);
    for _ in 0..5 {
        assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Captured));
    }
    assert_once(&env, gateway, &PaymentStatus::Captured, "captured");
}

/// Two deliveries of one event run at the same time, the second starting after so many turns of the first.
pub(crate) async fn deliver_twice_concurrently(env: &TestEnvironment, event: &SentWebhook, head_start: usize) {
    let second = async {
        for _ in 0..head_start {
            tokio::task::yield_now().await;
        }
        env.deliver(event).await
    };
    let (first, second) = tokio::join!(env.deliver(event), second);
    assert!(first != Disposition::NotOurs && second != Disposition::NotOurs);
}

pub(crate) async fn two_concurrent_deliveries_have_the_effect_of_one_at_every_interleaving(gateway: GatewayName) {
    for head_start in 0..30 {
        let (env, subscriber) = at_first_attempt(gateway);
        let (authorisation, capture) = (env.authorisation_event(&subscriber, 72), env.capture_event(&subscriber));
        deliver_twice_concurrently(&env, &authorisation, head_start).await;
        assert_eq!(env.run_event(&authorisation).await, Disposition::Completed(CompletionReason::Authorised));
        assert_once(&env, gateway, &PaymentStatus::Authorised, "authorised");
        env.clock.advance_to(subscriber.due);
        deliver_twice_concurrently(&env, &capture, head_start).await;
        assert_eq!(env.run_event(&capture).await, Disposition::Completed(CompletionReason::Captured));
        assert_once(&env, gateway, &PaymentStatus::Captured, "captured");
    }
}

pub(crate) async fn a_decline_of_any_class_is_reported_and_the_next_attempt_pays(gateway: GatewayName) {
    let mut seen = 0;
    for class in CLASSES {
        let (env, subscriber) = at_first_attempt(gateway);
        if !env.gateway(gateway).simulator.decline_next(&subscriber.token, class) {
            continue;
        }
        seen += 1;
        assert_eq!(
            env.run_event(&env.authorisation_event(&subscriber, 72)).await,
            Disposition::Completed(CompletionReason::Declined),
            "{class:?}"
        );
        let rejected = env.cleeng.payments().remove(0);
        assert_eq!(rejected.status, PaymentStatus::Rejected);
        let reason = rejected.rejected_reason.unwrap_or_default();
        assert!(reason.starts_with(&format!("{}: ", class.as_str())), "{class:?}: {reason}");
        env.clock.advance_to(subscriber.due.before(48 * HOUR));
        assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 48)).await, Disposition::Completed(CompletionReason::Authorised));
        env.clock.advance_to(subscriber.due);
        assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Captured));
        assert_eq!(statuses(&env), [PaymentStatus::Rejected, PaymentStatus::Captured]);
        assert_once(&env, gateway, &PaymentStatus::Captured, "second attempt");
    }
    assert!(seen >= 3, "the gateway knows {seen} classes of declines");
}

pub(crate) async fn a_subscription_that_cannot_be_paid_is_terminated(gateway: GatewayName) {
    let (env, subscriber) = at_first_attempt(gateway);
    assert!(env.gateway(gateway).simulator.decline_next(&subscriber.token, DeclineClass::Soft));
    assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 72)).await, Disposition::Completed(CompletionReason::Declined));
    env.clock.advance_to(subscriber.due.after(2 * HOUR));
    assert_eq!(env.run_event(&env.termination_event(&subscriber)).await, Disposition::Completed(CompletionReason::Terminated));
    assert_eq!(env.cleeng.subscription(&subscriber.ids.subscription).unwrap().terminated_as.as_deref(), Some("status"));
    assert_eq!(approved_entries(&env, gateway), []);
    assert_balanced(&env, "terminated");
}

pub(crate) async fn a_lapsed_authorisation_is_never_reported_as_captured(gateway: GatewayName) {
    let (env, subscriber) = authorised_and_due(gateway).await;
    env.gateway(gateway).simulator.expire(&only_external_id(&env, gateway));
    let disposition = env.run_event(&env.capture_event(&subscriber)).await;
    assert!(!matches!(disposition, Disposition::Completed(CompletionReason::Captured) | Disposition::NotOurs), "{disposition:?}");
    assert_eq!(approved_entries(&env, gateway)[0].status, LedgerStatus::Expired);
    assert!(!statuses(&env).contains(&PaymentStatus::Captured), "{:?}", statuses(&env));
}
