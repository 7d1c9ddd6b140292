//! Events whose time has passed, and events of others.

use std::time::Duration;

use connector::cleeng::SubscriptionStatus;
use connector::cleeng::webhook::Topic;
use connector::flow::Disposition;
use connector::ids::Id;
use connector::reason::ParkReason;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;

use crate::flows::{assert_balanced, at_due_date_authorised, at_first_attempt, call_counts, completed};

const WEEK: Duration = Duration::from_secs(7 * 86_400);

#[tokio::test]
async fn a_dead_letter_redriven_after_the_renewal_charges_nothing() {
    let (env, subscriber) = at_due_date_authorised().await;
    env.deliver_until_settled(&env.capture_event(&subscriber)).await;
    env.clock.advance(WEEK);
    // Attempts that never arrived: their own dates are new to the journal, the period is not.
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 24)).await, completed("captured"));
    let late = env.billing_event(
        Topic::SubscriptionReadyForPaymentCapture,
        &subscriber,
        subscriber.due.after(Duration::from_secs(3600)),
        subscriber.due,
    );
    assert_eq!(env.deliver(&late).await, completed("captured"));
    assert_eq!(call_counts(&env), (1, 1, 1));
}

#[tokio::test]
async fn an_event_of_a_period_that_was_paid_elsewhere_is_stale() {
    let (env, subscriber) = at_first_attempt();
    let early = env.billing_event(
        Topic::SubscriptionReadyForPaymentAuthorisation,
        &subscriber,
        subscriber.due.before(WEEK),
        subscriber.due.before(WEEK),
    );
    assert_eq!(env.deliver(&early).await, completed("stale"));
    assert_eq!(env.deliver(&early).await, completed("stale"));
    assert_eq!(call_counts(&env), (0, 0, 0));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_subscription_that_has_ended_stopped_or_paused_is_not_charged() {
    for status in [SubscriptionStatus::Terminated, SubscriptionStatus::Stopped, SubscriptionStatus::Paused] {
        let (env, subscriber) = at_first_attempt();
        env.cleeng.set_status(&subscriber.ids.subscription, status);
        assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, completed("stale"));
        assert_eq!(call_counts(&env), (0, 0, 0));
    }
}

#[tokio::test]
async fn an_unknown_status_is_parked() {
    let (env, subscriber) = at_first_attempt();
    env.cleeng.set_status(&subscriber.ids.subscription, SubscriptionStatus::Other("dreaming".to_owned()));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, Disposition::Parked(ParkReason::SubscriptionStatusUnknown));
    assert_eq!(call_counts(&env), (0, 0, 0));
}

#[tokio::test]
async fn an_event_for_another_connectors_payment_method_does_nothing() {
    let env = TestEnvironment::default();
    env.cleeng.add_method(Id::new("999").unwrap(), "other", sandbox::simulators::cleeng::DunningSettings::default());
    let subscriber = env.subscriber("999");
    for event in [env.authorisation_event(&subscriber, 72), env.capture_event(&subscriber), env.termination_event(&subscriber)] {
        assert_eq!(env.deliver(&event).await, Disposition::NotOurs);
    }
    assert_eq!(env.network.calls().len(), 0);
    assert_eq!(env.store.writes(), 0);
}

#[tokio::test]
async fn an_event_of_another_customer_than_the_subscriptions_is_parked() {
    let (env, subscriber) = at_first_attempt();
    let other = env.subscriber(ADYEN_METHOD);
    let mut data: serde_json::Value = serde_json::from_slice(&env.authorisation_event(&subscriber, 72).body).unwrap();
    data["data"]["customerId"] = other.ids.customer.to_json_number();
    let forged = env.cleeng.event(Topic::SubscriptionReadyForPaymentAuthorisation, &data["data"]);
    assert_eq!(env.deliver(&forged).await, Disposition::Parked(ParkReason::SubscriptionOfAnotherCustomer));
    assert_eq!(call_counts(&env), (0, 0, 0));
}
