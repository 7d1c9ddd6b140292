//! After a rollback the journal holds documents of the newer release: a run changes none of them.

use std::collections::BTreeSet;

use connector::clock::Clock as _;
use connector::gateway::GatewayName;
use connector::journal::store::{Key, Store as _};
use connector::journal::transaction::{Retention, Transaction};
use connector::manual_review::list_parked;
use connector::metrics::Metric;
use connector::payments::subscription_state::SubscriptionState;
use sandbox::simulators::simulated_gateway::EnteredDetails;
use sandbox::testkit::crash::CrashTiming;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;

use crate::reconciliation::obsolete_authorisations::{authorised_and_paid_elsewhere, crashes_at};
use crate::reconciliation::runs::with_lost_capture;
use crate::reconciliation::{Buyer, HOUR};
use crate::support::newer_release::{bodies, rewrite_as_newer};

/// Everything that is due within a month.
async fn due_keys(env: &TestEnvironment) -> Vec<Key> {
    env.store.due(env.clock.now().after(30 * 24 * HOUR), 100).await.unwrap()
}

/// Everything that is due comes from a newer release. A run changes nothing of it, and nothing outside the journal.
async fn assert_kept(env: &TestEnvironment, kinds: &[&str]) {
    env.clock.advance(HOUR);
    let keys = due_keys(env).await;
    let found: Vec<&str> = keys.iter().filter_map(|key| key.as_str().split('#').next()).collect();
    assert!(kinds.iter().all(|kind| found.contains(kind)), "{found:?}");
    rewrite_as_newer(&env.flow_context.store, &keys, Some(env.clock.now())).await;
    let (before, calls) = (bodies(&env.flow_context.store, &keys).await, writes_outside(env));
    let report = env.run_reconciliation().await;
    assert_eq!(bodies(&env.flow_context.store, &keys).await, before, "{kinds:?}");
    assert_eq!((report.requeued, report.recovered, report.released, report.finished), (0, 0, 0, 0), "{kinds:?}: {report:?}");
    assert_eq!(usize::try_from(report.deferred), Ok(keys.len()), "{kinds:?}: {report:?}");
    assert_eq!((writes_outside(env), env.requeue.take_events().len()), (calls, 0), "{kinds:?}");
    assert_eq!(env.metrics.count(Metric::Parked, "due_document_unreadable"), keys.len(), "{kinds:?}");
    let listed = list_parked(env.flow_context.store.as_ref(), 100).await.unwrap();
    assert!(listed.iter().all(|parked| parked.reason == "due_document_unreadable"), "{listed:?}");
    assert_eq!(listed.into_iter().map(|parked| parked.key).collect::<BTreeSet<_>>(), keys.into_iter().collect(), "what rings is listed");
}

fn writes_outside(env: &TestEnvironment) -> usize {
    env.network.calls().into_iter().filter(|call| call.method != connector::http::Method::GET).count()
}

#[tokio::test]
async fn a_waiting_event_and_its_subscription_keep_what_a_newer_release_wrote() {
    assert_kept(&with_lost_capture().await, &["period", "subscription"]).await;
}

#[tokio::test]
async fn an_order_whose_customer_is_away_keeps_what_a_newer_release_wrote() {
    let env = TestEnvironment::default();
    Buyer::new(&env).start(&env, EnteredDetails::ActionRequired, 1).await.unwrap();
    env.clock.advance(25 * HOUR);
    assert_kept(&env, &["order"]).await;
}

#[tokio::test]
async fn an_obsolete_authorisation_keeps_what_a_newer_release_wrote() {
    let (env, _) = authorised_and_paid_elsewhere(GatewayName::Adyen).await;
    assert_kept(&env, &["subscription"]).await;
    for nth in 0.. {
        let (env, _) = authorised_and_paid_elsewhere(GatewayName::Adyen).await;
        assert!(crashes_at(&env, nth, CrashTiming::After).await, "no crash leaves a release open");
        if due_keys(&env).await.iter().any(|key| key.as_str().starts_with("obsolete-authorisation#")) {
            return assert_kept(&env, &["subscription", "obsolete-authorisation"]).await;
        }
    }
}

#[tokio::test]
async fn a_scan_neither_watches_a_subscription_of_a_newer_release_nor_moves_its_position() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    assert_eq!(env.run_reconciliation().await.discovered, 1);
    let subscription = SubscriptionState::key(&subscriber.ids.subscription);
    let mut transaction = Transaction::new(env.flow_context.store.clone());
    transaction.load(std::slice::from_ref(&subscription)).await.unwrap();
    transaction.stage(&subscription, &SubscriptionState::default(), Retention::default()).unwrap();
    transaction.commit().await.unwrap();
    let position = Key::new("scan", &[ADYEN_METHOD]);
    for keys in [vec![subscription.clone()], vec![subscription, position]] {
        rewrite_as_newer(&env.flow_context.store, &keys, None).await;
        let before = bodies(&env.flow_context.store, &keys).await;
        env.clock.advance(7 * HOUR);
        assert_eq!(env.run_reconciliation().await.discovered, 0);
        assert_eq!(bodies(&env.flow_context.store, &keys).await, before);
    }
}

#[tokio::test]
async fn documents_of_a_newer_release_do_not_keep_older_ones_from_being_processed() {
    let env = TestEnvironment::default();
    for _ in 0..60 {
        Buyer::new(&env).start(&env, EnteredDetails::ActionRequired, 1).await.unwrap();
    }
    let newer = due_keys(&env).await;
    rewrite_as_newer(&env.flow_context.store, &newer, Some(env.clock.now())).await;
    env.clock.advance(HOUR);
    Buyer::new(&env).start(&env, EnteredDetails::ActionRequired, 1).await.unwrap();
    env.clock.advance(25 * HOUR);
    let report = env.run_reconciliation().await;
    assert_eq!((report.due, report.finished, report.deferred), (61, 1, 60), "{report:?}");
}
