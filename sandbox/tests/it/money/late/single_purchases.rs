//! Rule 2 for single purchases: a capture that succeeds late is reported if Cleeng still waits for it, else given back.

use connector::cleeng::PaymentStatus;
use connector::clock::Clock as _;
use connector::flow::Disposition;
use connector::gateway::{GatewayName, OperationKind};
use connector::metrics::Metric;
use connector::reason::{CompletionReason, ParkReason, RetryReason};
use sandbox::simulators::network::Fault;
use sandbox::testkit::harness::TestEnvironment;
use sandbox::testkit::purchases::SeededPurchase;
use sandbox::testkit::queue_worker::time_to_come_back;

use super::{DAY, HOUR};
use crate::every_gateway::scenarios::{approved_entries, assert_balanced, assert_once, statuses, usd};

async fn authorised(gateway: GatewayName) -> (TestEnvironment, SeededPurchase, String) {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(env.gateway(gateway).method);
    // That Cleeng lists others' shows that details are gone.
    drop(env.subscriber(env.gateway(gateway).method));
    let bought = env.seed_purchase(&subscriber, PaymentStatus::Authorised, "1").await;
    (env, bought, subscriber.token)
}

async fn settle(env: &TestEnvironment) {
    env.run_until_idle().await;
    env.run_reconciliation().await;
    env.run_until_idle().await;
}

fn assert_given_back(env: &TestEnvironment, gateway: GatewayName) {
    let entry = approved_entries(env, gateway).remove(0);
    assert_eq!((entry.captured, entry.refunded), (usd(999), usd(999)), "{gateway}");
    assert_eq!(env.metrics.count(Metric::Parked, "reported_payment_to_be_reversed"), 0, "{gateway}");
    assert_balanced(env, gateway.as_str());
}

#[tokio::test]
async fn rule_2_a_capture_that_was_parked_as_unknown_and_succeeded_is_reported() {
    for gateway in GatewayName::ALL {
        for wanted in [true, false] {
            let (env, bought, _) = authorised(*gateway).await;
            let event = env.cleeng.capture_payment_event(&bought.payment).unwrap();
            let name = env.gateway(*gateway).simulator.name();
            for _ in 0..600 {
                env.network.inject(Fault::TimeoutAfter, move |server, request| server == name && !request.path.contains("oauth2"));
            }
            let mut last = env.deliver(&event).await;
            while time_to_come_back(&last).is_some() {
                env.clock.advance(HOUR);
                last = env.deliver(&event).await;
            }
            assert_eq!(last, Disposition::Parked(ParkReason::OutcomeUnknown), "{gateway}");
            env.network.clear_faults();
            if !wanted {
                let details = env.cleeng.payments()[0].details.clone().unwrap();
                env.cleeng.remove_details(&details).unwrap();
            }
            settle(&env).await;
            if wanted {
                assert_once(&env, *gateway, &PaymentStatus::Captured, gateway.as_str());
            } else {
                assert_given_back(&env, *gateway);
            }
            // The event again takes nothing, and says nothing.
            env.run_event(&event).await;
            settle(&env).await;
            assert_eq!(env.metrics.count(Metric::Parked, ""), 1, "{gateway}: once, while it was unknown");
            assert_balanced(&env, gateway.as_str());
        }
    }
}

#[tokio::test]
async fn rules_2_and_4_a_capture_that_stays_undecided_is_reported_only_if_cleeng_still_waits_for_it() {
    let mut seen = 0;
    for gateway in GatewayName::ALL {
        for wanted in [true, false] {
            let (env, bought, token) = authorised(*gateway).await;
            let (simulator, until) = (env.gateway(*gateway).simulator.clone(), env.clock.now().after(2 * DAY));
            if !simulator.leave_next_undecided(&token, OperationKind::Capture, until, true) {
                continue;
            }
            seen += 1;
            let event = env.cleeng.capture_payment_event(&bought.payment).unwrap();
            assert_eq!(env.run_event(&event).await, Disposition::Completed(CompletionReason::CapturePending), "{gateway}");
            if !wanted {
                let details = env.cleeng.payments()[0].details.clone().unwrap();
                env.cleeng.remove_details(&details).unwrap();
            }
            for _ in 0..10 {
                env.clock.advance(7 * HOUR);
                settle(&env).await;
            }
            if wanted {
                assert_once(&env, *gateway, &PaymentStatus::Captured, gateway.as_str());
            } else {
                assert_given_back(&env, *gateway);
            }
            assert_eq!(env.metrics.count(Metric::Parked, ""), 0, "{gateway}");
        }
    }
    assert!(seen > 0, "some gateway decides captures later");
}

/// Adyen takes a capture back, and makes it all the same.
#[tokio::test]
async fn rule_2_a_capture_that_succeeds_after_its_failure_pays_the_order_until_it_lapses() {
    for order_lapsed in [false, true] {
        let (env, bought, _) = authorised(GatewayName::Adyen).await;
        let event = env.cleeng.capture_payment_event(&bought.payment).unwrap();
        assert!(matches!(env.deliver(&event).await, Disposition::Retry { reason: RetryReason::CaptureReceived, .. }));
        env.process_gateways();
        env.adyen.capture_fails_later(bought.external_payment_id.as_str());
        env.deliver_notifications().await;
        assert_eq!(env.deliver(&event).await, Disposition::Completed(CompletionReason::Declined));
        assert_eq!(statuses(&env), [PaymentStatus::Rejected]);
        if order_lapsed {
            env.clock.advance(25 * HOUR);
        }
        env.adyen.recapture(bought.external_payment_id.as_str());
        settle(&env).await;
        if order_lapsed {
            assert_given_back(&env, GatewayName::Adyen);
            assert_eq!(statuses(&env), [PaymentStatus::Rejected]);
        } else {
            assert_eq!(statuses(&env), [PaymentStatus::Rejected, PaymentStatus::Captured]);
            assert_eq!((env.adyen.total_captured("USD"), env.adyen.total_refunded("USD")), (999, 0));
            assert_balanced(&env, "paid by a new payment");
        }
        assert_eq!(env.metrics.count(Metric::Parked, ""), 0);
    }
}
