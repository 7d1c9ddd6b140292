//! Refunds and chargebacks.

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::metrics::Metric;
use connector::reason::CompletionReason;

use crate::every_gateway::scenarios::{
    approved_entries, assert_balanced, authorised_and_due, charged, only_external_id, refund, statuses, usd,
};

pub(crate) async fn a_full_refund_is_made_once(gateway: GatewayName) {
    let (env, _, payment) = charged(gateway).await;
    for _ in 0..3 {
        assert_eq!(env.run_event(&refund(&env, &payment, None, 1)).await, Disposition::Completed(CompletionReason::Refunded));
    }
    assert_eq!(approved_entries(&env, gateway)[0].refunded, usd(999));
    assert_eq!(statuses(&env), [PaymentStatus::Refunded]);
    assert_balanced(&env, "refunded");
}

pub(crate) async fn partial_refunds_are_made_once_each_and_never_exceed_the_captured_amount(gateway: GatewayName) {
    let (env, _, payment) = charged(gateway).await;
    // Two equal ones with names of their own are two.
    for (number, minor, total) in [(1, 300, 300), (2, 300, 600), (2, 300, 600), (3, 399, 999)] {
        assert_eq!(env.run_event(&refund(&env, &payment, Some(minor), number)).await, Disposition::Completed(CompletionReason::Refunded));
        assert_eq!(approved_entries(&env, gateway)[0].refunded, usd(total));
    }
    let too_much = env.run_event(&refund(&env, &payment, Some(1), 4)).await;
    assert!(matches!(too_much, Disposition::Parked(_)), "{too_much:?}");
    assert_eq!(approved_entries(&env, gateway)[0].refunded, usd(999));
    assert_balanced(&env, "in parts");
}

pub(crate) async fn a_chargeback_is_reported_once(gateway: GatewayName) {
    let (env, ..) = charged(gateway).await;
    env.gateway(gateway).simulator.charge_back(&only_external_id(&env, gateway));
    env.run_until_idle().await;
    assert_eq!(statuses(&env), [PaymentStatus::Refunded]);
    assert_eq!(env.network.delivered_count("cleeng", &Method::PATCH, "/payments/"), 1);
    assert_balanced(&env, "charged back");
}

pub(crate) async fn every_movement_of_money_is_counted_once(gateway: GatewayName) {
    let (env, subscriber) = authorised_and_due(gateway).await;
    env.run_event(&env.capture_event(&subscriber)).await;
    env.run_event(&env.capture_event(&subscriber)).await;
    let payment = env.cleeng.payments()[0].id.clone();
    env.run_event(&refund(&env, &payment, Some(400), 1)).await;
    let moved = |word| env.metrics.total(Metric::MoneyMoved, word);
    assert_eq!((moved("authorised"), moved("captured"), moved("refunded"), moved("released")), (999, 999, 400, 0));
}
