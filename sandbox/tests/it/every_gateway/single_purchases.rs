//! Single purchases.

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::gateway::GatewayName;
use connector::reason::CompletionReason;

use crate::every_gateway::scenarios::{assert_once, single_purchase};

pub(crate) async fn an_authorised_single_purchase_is_captured_when_cleeng_asks(gateway: GatewayName) {
    let (env, payment) = single_purchase(gateway).await;
    for _ in 0..3 {
        let event = env.cleeng.capture_payment_event(&payment).unwrap();
        assert_eq!(env.run_event(&event).await, Disposition::Completed(CompletionReason::Captured));
    }
    assert_once(&env, gateway, &PaymentStatus::Captured, "single purchase");
}
