//! Single purchases.

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::gateway::GatewayName;

use crate::scenes::{assert_once, single_purchase};

pub(crate) async fn an_authorised_single_purchase_is_captured_when_cleeng_asks(gateway: GatewayName) {
    let (stage, payment) = single_purchase(gateway).await;
    for _ in 0..3 {
        let event = stage.cleeng.capture_payment_event(&payment).unwrap();
        assert_eq!(stage.play(&event).await, Verdict::Settled("captured"));
    }
    assert_once(&stage, gateway, &PaymentStatus::Captured, "single purchase");
}
