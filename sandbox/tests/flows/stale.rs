//! Events whose time has passed, and events of others.

use std::time::Duration;

use connector::cleeng::SubscriptionStatus;
use connector::cleeng::webhook::Topic;
use connector::flow::Verdict;
use connector::ids::Id;
use sandbox::stage::{METHOD, Stage};

use crate::{assert_balanced, at_due_date_authorised, at_first_attempt, calls, settled};

const WEEK: Duration = Duration::from_secs(7 * 86_400);

#[tokio::test]
async fn a_dead_letter_redriven_after_the_renewal_charges_nobody() {
    let (stage, cast) = at_due_date_authorised().await;
    stage.deliver_until_settled(&stage.capture(&cast)).await;
    stage.clock.advance(WEEK);
    // Attempts that never arrived: their own dates are new to the journal, the period is not.
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 24)).await, settled("captured"));
    let late = stage.event(Topic::SubscriptionReadyForPaymentCapture, &cast, cast.due.after(Duration::from_secs(3600)), cast.due);
    assert_eq!(stage.deliver(&late).await, settled("captured"));
    assert_eq!(calls(&stage), (1, 1, 1));
}

#[tokio::test]
async fn an_event_of_a_period_that_somebody_else_got_paid_is_stale() {
    let (stage, cast) = at_first_attempt();
    let early = stage.event(Topic::SubscriptionReadyForPaymentAuthorisation, &cast, cast.due.before(WEEK), cast.due.before(WEEK));
    assert_eq!(stage.deliver(&early).await, settled("stale"));
    assert_eq!(stage.deliver(&early).await, settled("stale"));
    assert_eq!(calls(&stage), (0, 0, 0));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_subscription_that_has_ended_stopped_or_paused_is_not_charged() {
    for status in [SubscriptionStatus::Terminated, SubscriptionStatus::Stopped, SubscriptionStatus::Paused] {
        let (stage, cast) = at_first_attempt();
        stage.cleeng.set_status(&cast.subscriber.subscription, status);
        assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, settled("stale"));
        assert_eq!(calls(&stage), (0, 0, 0));
    }
}

#[tokio::test]
async fn a_status_that_nobody_knows_is_for_an_operator() {
    let (stage, cast) = at_first_attempt();
    stage.cleeng.set_status(&cast.subscriber.subscription, SubscriptionStatus::Other("dreaming".to_owned()));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, Verdict::Parked("subscription_status_unknown"));
    assert_eq!(calls(&stage), (0, 0, 0));
}

#[tokio::test]
async fn an_event_for_another_connectors_payment_method_does_nothing() {
    let stage = Stage::default();
    stage.cleeng.add_method(Id::new("999").unwrap(), "other", sandbox::cleeng::DunningSettings::default());
    let cast = stage.subscriber("999");
    for event in [stage.authorisation(&cast, 72), stage.capture(&cast), stage.termination(&cast)] {
        assert_eq!(stage.deliver(&event).await, Verdict::NotOurs);
    }
    assert_eq!(stage.road.calls().len(), 0);
    assert_eq!(stage.store.writes(), 0);
}

#[tokio::test]
async fn an_event_of_another_customer_than_the_subscriptions_is_for_an_operator() {
    let (stage, cast) = at_first_attempt();
    let other = stage.subscriber(METHOD);
    let mut data: serde_json::Value = serde_json::from_slice(&stage.authorisation(&cast, 72).body).unwrap();
    data["data"]["customerId"] = other.subscriber.customer.to_json_number();
    let forged = stage.cleeng.event(Topic::SubscriptionReadyForPaymentAuthorisation, &data["data"]);
    assert_eq!(stage.deliver(&forged).await, Verdict::Parked("subscription_of_another_customer"));
    assert_eq!(calls(&stage), (0, 0, 0));
}
