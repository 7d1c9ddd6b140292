//! Subscriptions that the journal did not know, and differences between the journal and Cleeng.

use std::time::Duration;

use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::journal::transaction::{Retention, Transaction};
use connector::metrics::Metric;
use connector::payments::subscription_state::SubscriptionState;
use connector::reason::CompletionReason;
use sandbox::simulators::simulated_gateway::{EnteredDetails, LedgerStatus, SimulatedGateway as _};
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;

use crate::reconciliation::missed_events::{QUARTER_HOUR, none_lost, run_until, statuses, with_one_renewal};
use crate::reconciliation::{Buyer, HOUR};

/// Whether somebody looks after this many subscriptions.
async fn watched_count(env: &TestEnvironment) -> usize {
    let mut count = 0;
    for subscription in env.cleeng.subscriptions() {
        let stored = env.flow_context.store.load(&[SubscriptionState::key(&subscription.id)]).await.unwrap().remove(0);
        let head = stored.map(|stored| serde_json::from_str::<SubscriptionState>(&stored.body).unwrap());
        count += usize::from(head.is_some_and(|head| head.last_billing_event.is_some()));
    }
    count
}

#[tokio::test]
async fn the_missed_first_renewal_of_a_purchase_is_recovered() {
    let env = TestEnvironment::default();
    let buyer = Buyer::new(&env);
    assert!(buyer.start(&env, EnteredDetails::Frictionless, 1).await.is_none());
    env.run_until_idle().await;
    let due = env.cleeng.subscriptions()[0].date_to;
    run_until(&env, due.before(72 * HOUR).after(QUARTER_HOUR), |_| true).await;
    assert_eq!(statuses(&env), [PaymentStatus::Captured, PaymentStatus::Authorised]);
    run_until(&env, due.after(QUARTER_HOUR), |_| true).await;
    assert_eq!(statuses(&env), [PaymentStatus::Captured, PaymentStatus::Captured]);
    assert_eq!(env.discrepancies(), Vec::<String>::new());
}

#[tokio::test]
async fn a_preexisting_subscription_is_watched_and_its_events_work_as_usual() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    assert_eq!((env.run_reconciliation().await.discovered, watched_count(&env).await), (1, 1));
    // Nobody here knows its details, so that a lost event is an operator's.
    run_until(&env, subscriber.due.before(71 * HOUR), |_| true).await;
    assert_eq!(statuses(&env), []);
    assert!(env.metrics.count(Metric::Parked, "missed_event_of_unknown_details") > 0);
    run_until(&env, subscriber.due.after(HOUR), none_lost).await;
    assert_eq!(statuses(&env), [PaymentStatus::Captured]);
}

#[tokio::test]
async fn a_known_but_unwatched_subscription_is_watched_and_keeps_its_state() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(72 * HOUR));
    assert_eq!(
        env.deliver(&env.authorisation_event(&subscriber, 72)).await,
        connector::flow::Disposition::Completed(CompletionReason::Authorised)
    );
    let key = SubscriptionState::key(&subscriber.ids.subscription);
    let mut work = Transaction::new(env.flow_context.store.clone());
    work.load(std::slice::from_ref(&key)).await.unwrap();
    let known: SubscriptionState = work.read(&key).unwrap().unwrap();
    let unwatched = SubscriptionState { last_billing_event: None, method: None, ..known.clone() };
    work.stage(&key, &unwatched, Retention::default()).unwrap();
    work.commit().await.unwrap();
    assert_eq!(env.run_reconciliation().await.discovered, 1);
    work = Transaction::new(env.flow_context.store.clone());
    work.load(std::slice::from_ref(&key)).await.unwrap();
    let found: SubscriptionState = work.read(&key).unwrap().unwrap();
    assert!(found.last_billing_event.is_some() && found.live_authorisation.is_some());
    assert_eq!(
        (found.live_authorisation, found.latest_period_end, found.method),
        (known.live_authorisation, known.latest_period_end, known.method)
    );
}

#[tokio::test]
async fn every_subscription_is_found_once_by_concurrent_scans_of_many() {
    let env = TestEnvironment::default();
    for _ in 0..250 {
        let _ = env.subscriber(ADYEN_METHOD);
    }
    let (one, other) = tokio::join!(env.run_reconciliation(), env.run_reconciliation());
    let mut found = one.discovered + other.discovered;
    // The next reading comes hours later and finds nothing new.
    for _ in 0..3 {
        env.clock.advance(7 * HOUR);
        found += env.run_reconciliation().await.discovered;
    }
    assert_eq!((found, watched_count(&env).await), (250, 250));
}

#[tokio::test]
async fn a_failing_subscription_list_is_retried_seldom_and_everything_else_continues() {
    let env = TestEnvironment::default();
    let _ = env.subscriber(ADYEN_METHOD);
    for _ in 0..5 {
        // One fault for each payment method; what is laid and not met stays.
        for _ in 0..env.flow_context.policy.methods.len() {
            env.network.inject(sandbox::simulators::cleeng::refusal(404), |_, request| request.path.ends_with("/subscriptions"));
        }
        env.clock.advance(Duration::from_secs(300));
        assert_eq!(env.run_reconciliation().await.discovered, 0);
    }
    let methods = env.flow_context.policy.methods.len();
    let asked = env.network.calls().into_iter().filter(|call| call.path.ends_with("/subscriptions")).count();
    assert_eq!(asked, methods);
}

#[tokio::test]
async fn an_authorisation_of_a_subscription_that_cleeng_ended_is_released() {
    let (env, subscriber, due) = with_one_renewal(ADYEN_METHOD).await;
    run_until(&env, due.before(70 * HOUR), none_lost).await;
    assert_eq!(statuses(&env), [PaymentStatus::Captured, PaymentStatus::Authorised]);
    env.cleeng.set_status(&subscriber.ids.subscription, SubscriptionStatus::Terminated);
    run_until(&env, due.after(QUARTER_HOUR), none_lost).await;
    let held = env.adyen.ledger().into_iter().filter(|entry| entry.status == LedgerStatus::Authorised).count();
    assert_eq!((held, statuses(&env)), (0, vec![PaymentStatus::Captured, PaymentStatus::Cancelled]));
    assert!(env.metrics.count(Metric::Warning, "drift_authorisation_of_an_ended_subscription") > 0);
    assert_eq!(env.discrepancies(), Vec::<String>::new());
}
