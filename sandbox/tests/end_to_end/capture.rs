//! A single purchase that was authorised is captured.

use connector::cleeng::{PaymentOperation, PaymentStatus};
use connector::http::Method;

use crate::deployment::{Deployment, sample_webhook};
use crate::support::upstreams::Upstreams;
use crate::{NOTIFICATION, enabled};

pub(crate) const FUNCTION: &str = "capture-payment";

/// The authorised payment of the sample event, and the binaries that capture it.
async fn with_authorised_payment() -> (Upstreams, Deployment) {
    let peers = Upstreams::start(0).await;
    peers.seed_earlier_payment("1536331076", "123456790", "D2RGHBT7PGNG5S83", PaymentOperation::Initial, PaymentStatus::Authorised);
    let mut deployment = Deployment::with_upstreams(&peers).await;
    deployment.deploy(FUNCTION).await;
    deployment.deploy(NOTIFICATION).await;
    (peers, deployment)
}

/// How often the gateway was asked and Cleeng was told.
fn write_counts(peers: &Upstreams) -> (usize, usize) {
    (
        peers.network.delivered_count("adyen", &Method::POST, "/captures"),
        peers.network.delivered_count("cleeng", &Method::PATCH, "/payments/"),
    )
}

#[tokio::test]
async fn a_single_purchase_is_captured_once_and_reported_when_the_gateway_says_so() {
    if !enabled("a_single_purchase_is_captured_once_and_reported_when_the_gateway_says_so") {
        return;
    }
    let (peers, mut deployment) = with_authorised_payment().await;
    let message = deployment.accepted(FUNCTION, &sample_webhook(FUNCTION)).await;
    for _ in 0..2 {
        assert!(!deployment.deliver(FUNCTION, &message).await, "taken is not captured");
        assert_eq!((write_counts(&peers), peers.statuses()), ((1, 0), vec![PaymentStatus::Authorised]));
        assert_eq!(deployment.payment_states().await, ["capturing"]);
        // The next delivery finds the finished steps in the journal.
        deployment.restart(FUNCTION);
    }
    assert_eq!(deployment.deliver_notifications(&peers, 2).await, 1);
    deployment.restart(NOTIFICATION);
    let mut messages = deployment.receive_all(FUNCTION).await;
    assert!(!messages.is_empty(), "the event that waited is back");
    messages.push(message);
    for message in &messages {
        deployment.settle(FUNCTION, message).await;
        assert_eq!((write_counts(&peers), peers.statuses()), ((1, 1), vec![PaymentStatus::Captured]));
    }
    assert_eq!((peers.adyen.total_captured("USD"), deployment.payment_states().await), (999, vec!["captured".to_owned()]));
    peers.assert_balanced();
    deployment.assert_no_secrets_logged();
}

#[tokio::test]
async fn a_capture_that_fails_is_reported_as_rejected() {
    if !enabled("a_capture_that_fails_is_reported_as_rejected") {
        return;
    }
    let (peers, mut deployment) = with_authorised_payment().await;
    peers.adyen.fail_next_modification("Insufficient balance on payment");
    let message = deployment.accepted(FUNCTION, &sample_webhook(FUNCTION)).await;
    assert!(!deployment.deliver(FUNCTION, &message).await);
    assert_eq!(deployment.deliver_notifications(&peers, 1).await, 1);
    for _ in 0..2 {
        deployment.settle(FUNCTION, &message).await;
    }
    assert_eq!((write_counts(&peers), peers.adyen.total_captured("USD")), ((1, 1), 0));
    assert_eq!(peers.statuses(), [PaymentStatus::Rejected]);
}
