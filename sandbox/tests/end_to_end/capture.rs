//! A single purchase that was authorised is captured.

use connector::cleeng::{PaymentOperation, PaymentStatus};
use connector::http::Method;

use crate::deployment::{Deployment, sample};
use crate::support::peers::Peers;
use crate::{NOTIFICATION, enabled};

pub(crate) const FUNCTION: &str = "capture-payment";

/// The authorised payment of the sample event, and the binaries that capture it.
async fn authorised() -> (Peers, Deployment) {
    let peers = Peers::start(0).await;
    peers.made_before("1536331076", "123456790", "D2RGHBT7PGNG5S83", PaymentOperation::Initial, PaymentStatus::Authorised);
    let mut deployment = Deployment::beside(&peers).await;
    deployment.deploy(FUNCTION).await;
    deployment.deploy(NOTIFICATION).await;
    (peers, deployment)
}

/// How often the gateway was asked and Cleeng was told.
fn writes(peers: &Peers) -> (usize, usize) {
    (peers.road.reached("adyen", &Method::POST, "/captures"), peers.road.reached("cleeng", &Method::PATCH, "/payments/"))
}

#[tokio::test]
async fn a_single_purchase_is_captured_once_and_reported_when_the_gateway_says_so() {
    if !enabled("a_single_purchase_is_captured_once_and_reported_when_the_gateway_says_so") {
        return;
    }
    let (peers, mut deployment) = authorised().await;
    let message = deployment.accepted(FUNCTION, &sample(FUNCTION)).await;
    for _ in 0..2 {
        assert!(!deployment.deliver(FUNCTION, &message).await, "taken is not captured");
        assert_eq!((writes(&peers), peers.statuses()), ((1, 0), vec![PaymentStatus::Authorised]));
        assert_eq!(deployment.states().await, ["capturing"]);
        // Whoever comes next finds in the journal what was done.
        deployment.restart(FUNCTION);
    }
    assert_eq!(deployment.hear(&peers, 2).await, 1);
    deployment.restart(NOTIFICATION);
    let mut messages = deployment.take(FUNCTION).await;
    assert!(!messages.is_empty(), "the event that waited is back");
    messages.push(message);
    for message in &messages {
        deployment.settle(FUNCTION, message).await;
        assert_eq!((writes(&peers), peers.statuses()), ((1, 1), vec![PaymentStatus::Captured]));
    }
    assert_eq!((peers.adyen.total_captured("USD"), deployment.states().await), (999, vec!["captured".to_owned()]));
    peers.assert_balanced();
    deployment.assert_discreet();
}

#[tokio::test]
async fn a_capture_that_fails_is_reported_as_rejected() {
    if !enabled("a_capture_that_fails_is_reported_as_rejected") {
        return;
    }
    let (peers, mut deployment) = authorised().await;
    peers.adyen.fail_next_modification("Insufficient balance on payment");
    let message = deployment.accepted(FUNCTION, &sample(FUNCTION)).await;
    assert!(!deployment.deliver(FUNCTION, &message).await);
    assert_eq!(deployment.hear(&peers, 1).await, 1);
    for _ in 0..2 {
        deployment.settle(FUNCTION, &message).await;
    }
    assert_eq!((writes(&peers), peers.adyen.total_captured("USD")), ((1, 1), 0));
    assert_eq!(peers.statuses(), [PaymentStatus::Rejected]);
}
