//! Rule 2: a hold that somebody else captured counts where it is.

use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::gateway::GatewayName;
use connector::ids::PaymentId;
use connector::metrics::Metric;
use sandbox::testkit::harness::TestEnvironment;

use super::{DAY, Renewal, capture_by_hand};
use crate::every_gateway::scenarios::{approved_entries, assert_balanced, assert_once, single_purchase, statuses, usd};

#[tokio::test]
async fn rule_2_a_hold_of_a_renewal_that_somebody_captured_is_reported_as_its_payment() {
    for gateway in GatewayName::ALL {
        let renewal = Renewal::authorised_and_due(*gateway).await;
        capture_by_hand(&renewal.env, *gateway).await;
        renewal.settle().await;
        assert_eq!((renewal.kept(), renewal.statuses()), (1, vec![PaymentStatus::Captured]), "{gateway}");
        assert_eq!(renewal.env.metrics.count(Metric::Alarm, "captured_without_our_request"), 1, "{gateway}");
        // The event that asks for the money finds it taken.
        renewal.env.run_event(&renewal.env.capture_event(&renewal.subscriber)).await;
        renewal.settle().await;
        assert_eq!(renewal.env.metrics.count(Metric::Parked, ""), 0, "{gateway}");
        assert_once(&renewal.env, *gateway, &PaymentStatus::Captured, gateway.as_str());
    }
}

#[tokio::test]
async fn rule_2_a_hold_of_a_renewal_that_somebody_captured_after_its_end_is_given_back() {
    for gateway in GatewayName::ALL {
        let renewal = Renewal::authorised_and_due(*gateway).await;
        renewal.env.cleeng.set_status(&renewal.subscriber.ids.subscription, SubscriptionStatus::Stopped);
        capture_by_hand(&renewal.env, *gateway).await;
        renewal.settle().await;
        assert_eq!((renewal.kept(), renewal.statuses()), (0, vec![PaymentStatus::Cancelled]), "{gateway}");
        assert_eq!(approved_entries(&renewal.env, *gateway)[0].refunded, usd(999), "{gateway}");
        assert_eq!(renewal.env.metrics.count(Metric::Parked, ""), 0, "{gateway}");
        assert_balanced(&renewal.env, gateway.as_str());
    }
}

async fn settle(env: &TestEnvironment) {
    env.run_until_idle().await;
    env.clock.advance(DAY);
    env.run_reconciliation().await;
    env.run_until_idle().await;
}

fn assert_captured(env: &TestEnvironment, gateway: GatewayName) {
    assert_eq!(env.metrics.count(Metric::Parked, ""), 0, "{gateway}");
    assert_once(env, gateway, &PaymentStatus::Captured, gateway.as_str());
}

#[tokio::test]
async fn rule_2_a_single_purchase_that_somebody_captured_is_reported_and_not_captured_again() {
    for gateway in GatewayName::ALL {
        let (env, payment) = single_purchase(*gateway).await;
        let event = env.cleeng.capture_payment_event(&payment).unwrap();
        capture_by_hand(&env, *gateway).await;
        settle(&env).await;
        assert_captured(&env, *gateway);
        env.run_event(&event).await;
        settle(&env).await;
        assert_captured(&env, *gateway);
    }
}

fn remove_details(env: &TestEnvironment, payment: &PaymentId) {
    let details = env.cleeng.payments().into_iter().find(|known| known.id == *payment).unwrap().details.unwrap();
    env.cleeng.remove_details(&details).unwrap();
}

/// What Cleeng dropped with its details is not to be paid.
#[tokio::test]
async fn rule_2_a_single_purchase_that_somebody_captured_and_cleeng_does_not_have_any_more_is_given_back() {
    for gateway in GatewayName::ALL {
        let (env, payment) = single_purchase(*gateway).await;
        // That Cleeng lists others' shows that these are gone.
        drop(env.subscriber(env.gateway(*gateway).method));
        remove_details(&env, &payment);
        capture_by_hand(&env, *gateway).await;
        settle(&env).await;
        let entry = approved_entries(&env, *gateway).remove(0);
        assert_eq!((entry.captured, entry.refunded), (usd(999), usd(999)), "{gateway}");
        assert_ne!(statuses(&env), [PaymentStatus::Captured], "{gateway}");
        assert_eq!(env.metrics.count(Metric::Parked, ""), 0, "{gateway}");
        assert_balanced(&env, gateway.as_str());
    }
}
