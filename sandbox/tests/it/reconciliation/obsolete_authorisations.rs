//! Authorisations for a period that was paid in another way, which no event will capture.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::flow::{BillingMode, BillingPolicy, Disposition, PaymentMethodConfig as PaymentMethod};
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::ids::ExternalPaymentId;
use connector::metrics::Metric;
use connector::reason::CompletionReason;
use sandbox::simulators::network::Fault;
use sandbox::simulators::simulated_gateway::{LedgerEntry, LedgerStatus};
use sandbox::testkit::crash::CrashTiming;
use sandbox::testkit::fixtures::id;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::reconciliation::HOUR;
use crate::reconciliation::missed_events::statuses;
use crate::support::faults::FAULTS;

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
const DRIFT: &str = "drift_obsolete_authorisation";

/// A period that is authorised, on the day when it is to be captured.
async fn authorised_and_due(gateway: GatewayName) -> (TestEnvironment, TestSubscriber) {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(env.gateway(gateway).method);
    env.clock.advance_to(subscriber.due.before(72 * HOUR));
    assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 72)).await, Disposition::Completed(CompletionReason::Authorised));
    env.clock.advance_to(subscriber.due);
    (env, subscriber)
}

/// The same, paid meanwhile by a payment that the connector knows nothing of.
pub(crate) async fn authorised_and_paid_elsewhere(gateway: GatewayName) -> (TestEnvironment, TestSubscriber) {
    let (env, subscriber) = authorised_and_due(gateway).await;
    env.cleeng.record_foreign_payment(&subscriber.ids.subscription, &id("elsewhere-1"), subscriber.due.after(MONTH));
    (env, subscriber)
}

/// Rounds every five minutes, while everything else goes on.
async fn run_for_hours(env: &TestEnvironment, hours: u32) {
    for _ in 0..hours * 12 {
        env.run_reconciliation().await;
        env.run_until_idle().await;
        env.clock.advance(HOUR / 12);
    }
}

/// As often as is needed at the most, whenever the journal says that something is due again.
async fn run_until_released(env: &TestEnvironment) {
    for _ in 0..6 {
        env.run_reconciliation().await;
        env.run_until_idle().await;
        env.clock.advance(HOUR / 3);
    }
}

fn approved_entries(env: &TestEnvironment, gateway: GatewayName) -> Vec<LedgerEntry> {
    env.gateway(gateway).simulator.ledger()
}

fn assert_released(env: &TestEnvironment, gateway: GatewayName, context: &str) {
    let standings: Vec<_> = approved_entries(env, gateway).iter().map(|entry| (entry.status, entry.captured.minor)).collect();
    assert_eq!(standings, [(LedgerStatus::Cancelled, 0)], "{gateway} {context}");
    assert_eq!(statuses(env), [PaymentStatus::Cancelled], "{gateway} {context}");
    assert_eq!(env.discrepancies(), Vec::<String>::new(), "{gateway} {context}");
    assert_eq!(env.metrics.count(Metric::Parked, ""), 0, "{gateway} {context}");
}

fn assert_kept(env: &TestEnvironment, gateway: GatewayName, context: &str) {
    assert_eq!(approved_entries(env, gateway)[0].status, LedgerStatus::Authorised, "{gateway} {context}");
    assert_eq!(env.cleeng.payments()[0].status, PaymentStatus::Authorised, "{gateway} {context}");
}

#[tokio::test]
async fn an_authorisation_for_a_period_paid_elsewhere_is_released_at_the_gateway_and_in_cleeng() {
    for gateway in GatewayName::ALL {
        let (env, subscriber) = authorised_and_paid_elsewhere(*gateway).await;
        let report = env.run_reconciliation().await;
        assert_eq!((report.released, report.deferred, report.failed), (1, 0, 0), "{gateway}: {report:?}");
        env.run_until_idle().await;
        assert_released(&env, *gateway, "at once");
        assert_eq!(env.metrics.count(Metric::Warning, DRIFT), 1, "{gateway}");
        run_for_hours(&env, 24).await;
        assert_eq!((env.release_count(*gateway), env.metrics.count(Metric::Warning, DRIFT)), (1, 1), "{gateway}: done once");
        // The period that was paid otherwise is followed by one that is paid here.
        let event = |topic, attempt| env.billing_event(topic, &subscriber, attempt, subscriber.due.after(MONTH));
        env.clock.advance_to(subscriber.due.after(MONTH).before(72 * HOUR));
        let authorisation = event(Topic::SubscriptionReadyForPaymentAuthorisation, subscriber.due.after(MONTH).before(72 * HOUR));
        assert_eq!(env.run_event(&authorisation).await, Disposition::Completed(CompletionReason::Authorised), "{gateway}");
        env.clock.advance_to(subscriber.due.after(MONTH));
        let capture = event(Topic::SubscriptionReadyForPaymentCapture, subscriber.due.after(MONTH));
        assert_eq!(env.run_event(&capture).await, Disposition::Completed(CompletionReason::Captured), "{gateway}");
        assert_eq!(statuses(&env), [PaymentStatus::Cancelled, PaymentStatus::Captured], "{gateway}");
    }
}

#[tokio::test]
async fn an_obsolete_authorisation_is_released_after_a_switch_to_capture_only_billing() {
    for gateway in GatewayName::ALL {
        let (mut env, _) = authorised_and_paid_elsewhere(*gateway).await;
        let mut rules: BillingPolicy = (*env.flow_context.policy).clone();
        let method = env.gateway(*gateway).method;
        rules.methods.insert(id(method), PaymentMethod { gateway: *gateway, billing: BillingMode::CaptureOnly });
        env.flow_context.policy = Arc::new(rules);
        run_for_hours(&env, 1).await;
        assert_released(&env, *gateway, "capture only");
    }
}

#[tokio::test]
async fn an_obsolete_authorisation_is_released_after_a_change_to_another_connectors_method() {
    for gateway in GatewayName::ALL {
        let (mut env, _) = authorised_and_paid_elsewhere(*gateway).await;
        let mut rules: BillingPolicy = (*env.flow_context.policy).clone();
        rules.methods.remove(&id(env.gateway(*gateway).method));
        env.flow_context.policy = Arc::new(rules);
        run_for_hours(&env, 1).await;
        assert_released(&env, *gateway, "another connector's");
    }
}

#[tokio::test]
async fn nothing_is_released_if_cleengs_answer_leaves_a_doubt() {
    let own = |env: &TestEnvironment| env.cleeng.payments()[0].external_payment_id.clone();
    type Doubt = fn(&TestEnvironment, &TestSubscriber, ExternalPaymentId);
    let doubts: [(&str, Doubt); 4] = [
        ("not paid", |_, _, _| {}),
        ("the end moved by three days", |env, subscriber, _| {
            env.cleeng.record_foreign_payment(&subscriber.ids.subscription, &id("elsewhere-1"), subscriber.due.after(72 * HOUR));
        }),
        ("the hold is what paid", |env, subscriber, own| {
            env.cleeng.record_foreign_payment(&subscriber.ids.subscription, &own, subscriber.due.after(MONTH));
        }),
        ("the hold moved with the period", |env, subscriber, _| {
            env.cleeng.change_quirks(|quirks| quirks.counts_every_authorisation = true);
            env.cleeng.record_foreign_payment(&subscriber.ids.subscription, &id("elsewhere-1"), subscriber.due.after(MONTH));
        }),
    ];
    for gateway in GatewayName::ALL {
        for (context, doubt) in &doubts {
            let (env, subscriber) = authorised_and_due(*gateway).await;
            doubt(&env, &subscriber, own(&env));
            for _ in 0..24 {
                env.run_reconciliation().await;
                let _ = env.requeue.take_events();
                env.clock.advance(HOUR / 12);
            }
            assert_kept(&env, *gateway, context);
            assert_eq!(env.release_count(*gateway), 0, "{gateway} {context}");
            let told = env.metrics.count(Metric::Warning, DRIFT) > 0;
            assert_eq!(told, *context != "not paid", "{gateway} {context}");
        }
    }
}

#[tokio::test]
async fn a_payment_that_cleeng_does_not_list_as_authorised_is_not_released() {
    for gateway in GatewayName::ALL {
        let (env, _) = authorised_and_paid_elsewhere(*gateway).await;
        let payment = env.cleeng.payments()[0].id.clone();
        // Somebody ended it in Cleeng by hand.
        env.flow_context.cleeng.cancel_payment(&payment).await.unwrap();
        run_for_hours(&env, 2).await;
        assert_eq!(approved_entries(&env, *gateway)[0].status, LedgerStatus::Authorised, "{gateway}");
        assert_eq!(env.release_count(*gateway), 0, "{gateway}");
        assert!(env.metrics.count(Metric::Warning, DRIFT) > 0, "{gateway}");
    }
}

#[tokio::test]
async fn an_authorisation_that_is_being_captured_is_not_released() {
    for gateway in GatewayName::ALL {
        let (env, subscriber) = authorised_and_due(*gateway).await;
        // Its worker crashes when the gateway has taken the order.
        env.crash_point.arm(1, CrashTiming::After);
        assert!(env.crash_point.run(env.deliver(&env.capture_event(&subscriber))).await.is_none(), "{gateway}");
        env.crash_point.disarm();
        env.cleeng.record_foreign_payment(&subscriber.ids.subscription, &id("elsewhere-1"), subscriber.due.after(MONTH));
        for _ in 0..24 {
            env.run_reconciliation().await;
            env.clock.advance(HOUR / 12);
        }
        assert_eq!(env.release_count(*gateway), 0, "{gateway}");
    }
}

#[tokio::test]
async fn a_run_that_crashes_anywhere_in_a_release_at_adyen_is_finished_by_a_later_one() {
    crash_every_pair(GatewayName::Adyen).await;
}

#[tokio::test]
async fn a_run_that_crashes_anywhere_in_a_release_at_paypal_is_finished_by_a_later_one() {
    crash_every_pair(GatewayName::PayPal).await;
}

#[tokio::test]
async fn a_run_that_crashes_anywhere_in_a_release_at_stripe_is_finished_by_a_later_one() {
    crash_every_pair(GatewayName::Stripe).await;
}

/// A round crashes before or after each of its calls, and the next one as well.
async fn crash_every_pair(gateway: GatewayName) {
    let mut crashes = 0;
    for (one, other) in
        [(CrashTiming::Before, CrashTiming::After), (CrashTiming::After, CrashTiming::Before), (CrashTiming::After, CrashTiming::After)]
    {
        for first in 0.. {
            let mut first_crashed = false;
            for second in 0.. {
                let (env, _) = authorised_and_paid_elsewhere(gateway).await;
                first_crashed = crashes_at(&env, first, one).await;
                if !first_crashed {
                    break;
                }
                let second_crashed = crashes_at(&env, second, other).await;
                run_until_released(&env).await;
                assert_released(&env, gateway, &format!("crash {one:?} call {first}, then {other:?} call {second}"));
                crashes += 1;
                if !second_crashed {
                    break;
                }
            }
            if !first_crashed {
                break;
            }
        }
    }
    assert!(crashes > 100, "{crashes}");
}

/// A round that crashes; the next one comes when the lease of the crashed worker has run out and the journal says that something is due.
pub(crate) async fn crashes_at(env: &TestEnvironment, nth: usize, when: CrashTiming) -> bool {
    env.crash_point.arm(nth, when);
    let survived = env.crash_point.run(env.run_reconciliation()).await.is_some();
    env.crash_point.disarm();
    env.clock.advance(HOUR / 3);
    !survived
}

#[tokio::test]
async fn every_fault_at_every_write_of_a_release_is_overcome_once_and_twice() {
    for gateway in GatewayName::ALL {
        for at_cleeng in [true, false] {
            for (kind, fault) in FAULTS.iter().enumerate() {
                for times in 1..=2 {
                    let (env, _) = authorised_and_paid_elsewhere(*gateway).await;
                    for _ in 0..times {
                        let write = move |peer: &str, request: &sandbox::simulators::network::ServerRequest| {
                            (peer == "cleeng") == at_cleeng && request.method != Method::GET
                        };
                        env.network.inject(fault.clone(), write);
                    }
                    run_until_released(&env).await;
                    assert_released(&env, *gateway, &format!("fault {kind}, {times} times, at Cleeng: {at_cleeng}"));
                }
            }
        }
    }
}

#[tokio::test]
async fn two_concurrent_runs_release_once_at_every_interleaving() {
    for gateway in GatewayName::ALL {
        for head_start in 0..30 {
            let (env, _) = authorised_and_paid_elsewhere(*gateway).await;
            let second = async {
                for _ in 0..head_start {
                    tokio::task::yield_now().await;
                }
                env.run_reconciliation().await
            };
            let (one, other) = tokio::join!(env.run_reconciliation(), second);
            assert!(one.released + other.released <= 1, "{gateway} {head_start}: {one:?} {other:?}");
            run_until_released(&env).await;
            assert_released(&env, *gateway, &format!("head start {head_start}"));
            assert_eq!(env.release_count(*gateway), 1, "{gateway} {head_start}");
        }
    }
}

#[tokio::test]
async fn a_run_and_a_capture_never_both_settle_the_authorisation_at_every_interleaving() {
    for gateway in GatewayName::ALL {
        for head_start in 0..30 {
            let (env, subscriber) = authorised_and_paid_elsewhere(*gateway).await;
            let capture = async {
                for _ in 0..head_start {
                    tokio::task::yield_now().await;
                }
                env.deliver(&env.capture_event(&subscriber)).await
            };
            tokio::join!(env.run_reconciliation(), capture);
            env.run_event(&env.capture_event(&subscriber)).await;
            run_until_released(&env).await;
            assert_released(&env, *gateway, &format!("head start {head_start}"));
        }
    }
}

#[tokio::test]
async fn a_throttling_cleeng_ends_the_run_and_the_next_one_resumes() {
    let (env, _) = authorised_and_paid_elsewhere(GatewayName::Adyen).await;
    let list = |peer: &str, request: &sandbox::simulators::network::ServerRequest| peer == "cleeng" && request.path.contains("/payments");
    env.network.inject(Fault::StatusBefore(429), list);
    let report = env.run_reconciliation().await;
    assert_eq!((report.released, report.deferred), (0, 1), "{report:?}");
    assert_kept(&env, GatewayName::Adyen, "throttled");
    run_for_hours(&env, 1).await;
    assert_released(&env, GatewayName::Adyen, "after that");
}

#[tokio::test]
async fn an_authorisation_that_the_gateway_refuses_to_release_is_parked_after_one_call() {
    // PayPal says at once that the money is taken: somebody captured it there by hand.
    let gateway = GatewayName::PayPal;
    let (env, _) = authorised_and_paid_elsewhere(gateway).await;
    env.paypal.capture_manually(approved_entries(&env, gateway)[0].external_payment_id.as_str());
    run_for_hours(&env, 24).await;
    assert_eq!(env.metrics.count(Metric::Parked, "release_refused"), 1);
    assert_eq!((env.release_count(gateway), env.gateway(gateway).simulator.ledger()[0].refunded.minor), (1, 0));
    assert_eq!(statuses(&env), [PaymentStatus::Authorised], "Cleeng is told nothing that is not so");
}

#[tokio::test]
async fn a_stopped_subscription_that_was_paid_elsewhere_has_its_authorisation_released_and_continues_until_its_end() {
    let (env, subscriber) = authorised_and_paid_elsewhere(GatewayName::Stripe).await;
    env.cleeng.set_status(&subscriber.ids.subscription, SubscriptionStatus::Stopped);
    run_for_hours(&env, 1).await;
    assert_released(&env, GatewayName::Stripe, "stopped");
    assert_eq!(env.cleeng.subscription(&subscriber.ids.subscription).unwrap().status, SubscriptionStatus::Stopped);
}
