//! Customers who do not return.

use connector::cleeng::PaymentStatus;
use connector::metrics::Metric;
use sandbox::simulators::simulated_gateway::{EnteredDetails, SimulatedGateway as _};
use sandbox::testkit::crash::CrashTiming;
use sandbox::testkit::harness::TestEnvironment;

use crate::reconciliation::{Buyer, HOUR};

/// Runs reconciliation every five minutes for so many hours, beside everything else.
async fn run_for_hours(env: &TestEnvironment, hours: u32) {
    for _ in 0..hours * 12 {
        env.run_reconciliation().await;
        env.run_until_idle().await;
        env.clock.advance(HOUR / 12);
    }
}

fn assert_nothing_open(env: &TestEnvironment) {
    assert_eq!(env.discrepancies(), Vec::<String>::new());
    assert!(env.adyen.ledger().iter().all(|entry| !entry.holds_money()));
    assert!(env.cleeng.payments().is_empty());
    assert_eq!((env.metrics.count(Metric::Parked, ""), env.metrics.count(Metric::Alarm, "")), (0, 0));
}

#[tokio::test]
async fn an_abandoned_order_is_cancelled_when_it_expires_and_not_again() {
    let env = TestEnvironment::default();
    Buyer::new(&env).start(&env, EnteredDetails::ActionRequired, 1).await.unwrap();
    run_for_hours(&env, 23).await;
    assert_eq!(env.network.delivered_count("adyen", &connector::http::Method::POST, "/cancels"), 0, "called off before its time");
    run_for_hours(&env, 9).await;
    assert_eq!(env.network.delivered_count("adyen", &connector::http::Method::POST, "/cancels"), 1);
    assert_nothing_open(&env);
    // Nobody looks at it any more.
    env.clock.advance(48 * HOUR);
    assert_eq!(env.run_reconciliation().await.due, 0);
}

#[tokio::test]
async fn a_payment_approved_after_its_order_was_cancelled_is_reversed() {
    let env = TestEnvironment::default();
    let action = Buyer::new(&env).start(&env, EnteredDetails::ActionRequired, 1).await.unwrap();
    run_for_hours(&env, 32).await;
    env.adyen.complete_action(&action);
    run_for_hours(&env, 1).await;
    let entry = env.adyen.ledger().into_iter().next_back().unwrap();
    assert_eq!((entry.captured, entry.refunded), (entry.amount, entry.amount));
    assert_nothing_open(&env);
}

#[tokio::test]
async fn an_attempt_replaced_by_another_tab_is_cancelled_when_it_expires() {
    let env = TestEnvironment::default();
    let buyer = Buyer::new(&env);
    buyer.start(&env, EnteredDetails::ActionRequired, 1).await.unwrap();
    assert!(buyer.start(&env, EnteredDetails::Frictionless, 2).await.is_none());
    run_for_hours(&env, 32).await;
    assert_eq!(env.network.delivered_count("adyen", &connector::http::Method::POST, "/cancels"), 1);
    let statuses: Vec<_> = env.cleeng.payments().into_iter().map(|payment| payment.status).collect();
    assert_eq!(statuses, [PaymentStatus::Captured]);
    assert_eq!(env.discrepancies(), Vec::<String>::new());
    env.clock.advance(48 * HOUR);
    assert_eq!((env.run_reconciliation().await.due, env.metrics.count(Metric::Parked, "")), (0, 0));
}

#[tokio::test]
async fn a_run_that_crashes_anywhere_is_finished_by_the_next_one() {
    let mut crashes = 0;
    for when in [CrashTiming::Before, CrashTiming::After] {
        for nth in 0.. {
            let env = TestEnvironment::default();
            Buyer::new(&env).start(&env, EnteredDetails::ActionRequired, 1).await.unwrap();
            env.clock.advance(25 * HOUR);
            env.crash_point.arm(nth, when);
            let survived = env.crash_point.run(env.run_reconciliation()).await.is_some();
            env.crash_point.disarm();
            env.clock.advance(HOUR / 12);
            run_for_hours(&env, 10).await;
            assert_eq!(
                env.network.delivered_count("adyen", &connector::http::Method::POST, "/cancels").min(1),
                1,
                "crash {when:?} call {nth}"
            );
            assert_nothing_open(&env);
            if survived {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes >= 2 * 5, "{crashes}");
}
