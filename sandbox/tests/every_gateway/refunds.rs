//! Money that goes back.

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::metrics::Metric;

use crate::scenes::{agreed, assert_balanced, authorised_and_due, charged, only_id, refund, statuses, usd};

pub(crate) async fn a_whole_refund_goes_back_once(gateway: GatewayName) {
    let (stage, _, payment) = charged(gateway).await;
    for _ in 0..3 {
        assert_eq!(stage.play(&refund(&stage, &payment, None, 1)).await, Verdict::Settled("refunded"));
    }
    assert_eq!(agreed(&stage, gateway)[0].refunded, usd(999));
    assert_eq!(statuses(&stage), [PaymentStatus::Refunded]);
    assert_balanced(&stage, "refunded");
}

pub(crate) async fn refunds_in_parts_go_back_each_once_and_never_more_than_was_taken(gateway: GatewayName) {
    let (stage, _, payment) = charged(gateway).await;
    // Two equal ones with names of their own are two.
    for (number, minor, total) in [(1, 300, 300), (2, 300, 600), (2, 300, 600), (3, 399, 999)] {
        assert_eq!(stage.play(&refund(&stage, &payment, Some(minor), number)).await, Verdict::Settled("refunded"));
        assert_eq!(agreed(&stage, gateway)[0].refunded, usd(total));
    }
    let too_much = stage.play(&refund(&stage, &payment, Some(1), 4)).await;
    assert!(matches!(too_much, Verdict::Parked(_)), "{too_much:?}");
    assert_eq!(agreed(&stage, gateway)[0].refunded, usd(999));
    assert_balanced(&stage, "in parts");
}

pub(crate) async fn a_chargeback_is_told_once(gateway: GatewayName) {
    let (stage, ..) = charged(gateway).await;
    stage.guest(gateway).house.charge_back(&only_id(&stage, gateway));
    stage.run_until_quiet().await;
    assert_eq!(statuses(&stage), [PaymentStatus::Refunded]);
    assert_eq!(stage.road.reached("cleeng", &Method::PATCH, "/payments/"), 1);
    assert_balanced(&stage, "charged back");
}

pub(crate) async fn every_movement_of_money_is_counted_once(gateway: GatewayName) {
    let (stage, cast) = authorised_and_due(gateway).await;
    stage.play(&stage.capture(&cast)).await;
    stage.play(&stage.capture(&cast)).await;
    let payment = stage.cleeng.payments()[0].id.clone();
    stage.play(&refund(&stage, &payment, Some(400), 1)).await;
    let moved = |word| stage.metrics.total(Metric::MoneyMoved, word);
    assert_eq!((moved("authorised"), moved("captured"), moved("refunded"), moved("released")), (999, 999, 400, 0));
}
