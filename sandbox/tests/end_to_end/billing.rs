//! A subscription's renewal and its end.

use connector::http::Method;

use crate::deployment::{Deployment, sample};
use crate::support::peers::{Peers, paid_until};
use crate::{BILLING, enabled};

/// What reached the peers: orders, authorisations and reports.
pub(crate) fn effects(peers: &Peers) -> [usize; 3] {
    let reached = |peer, part| peers.road.reached(peer, &Method::POST, part);
    [reached("cleeng", "/orders"), reached("adyen", "/payments"), reached("cleeng", "/payments")]
}

/// Posts the sample webhook of a function, takes what it put on the queue, and feeds it to the same binary so many times.
pub(crate) async fn live_through(deployment: &mut Deployment, function: &'static str, deliveries: usize) {
    let message = deployment.accepted(function, &sample(function)).await;
    for _ in 0..deliveries {
        deployment.settle(function, &message).await;
    }
}

#[tokio::test]
async fn a_posted_webhook_is_queued_and_its_message_authorises_once_however_often_it_is_delivered() {
    if !enabled("a_posted_webhook_is_queued_and_its_message_authorises_once_however_often_it_is_delivered") {
        return;
    }
    let peers = Peers::start(0).await;
    let mut deployment = Deployment::beside(&peers).await;
    deployment.deploy(BILLING[0]).await;
    let message = deployment.accepted(BILLING[0], &sample(BILLING[0])).await;
    assert_eq!(effects(&peers), [0, 0, 0], "nothing happens before the event is durable");
    for delivery in 1..=5 {
        deployment.settle(BILLING[0], &message).await;
        assert_eq!(effects(&peers), [1, 1, 1], "delivery {delivery}");
    }
    assert_eq!(deployment.states().await, ["authorised"], "the journal knows what was done");
    peers.assert_balanced();
    deployment.assert_discreet();
}

#[tokio::test]
async fn a_renewal_that_the_binaries_live_through_ends_with_books_that_agree() {
    if !enabled("a_renewal_that_the_binaries_live_through_ends_with_books_that_agree") {
        return;
    }
    let peers = Peers::start(0).await;
    let mut deployment = Deployment::beside(&peers).await;
    // The binaries have the machine's time, and nobody waits 45 minutes here.
    deployment.set("SETTLE_ON", "receipt");
    deployment.deploy(BILLING[0]).await;
    deployment.deploy(BILLING[1]).await;
    live_through(&mut deployment, BILLING[0], 3).await;
    peers.assert_balanced();
    peers.clock.advance_to(paid_until());
    live_through(&mut deployment, BILLING[1], 3).await;
    peers.assert_balanced();
    assert_eq!((peers.adyen.authorisations(), peers.adyen.total_captured("USD")), (1, 999));
    let subscription = peers.cleeng.subscriptions().remove(0);
    assert!(subscription.date_to > paid_until(), "Cleeng renewed the subscription");
}

#[tokio::test]
async fn a_termination_that_a_binary_lives_through_ends_the_subscription() {
    if !enabled("a_termination_that_a_binary_lives_through_ends_the_subscription") {
        return;
    }
    let peers = Peers::start(0).await;
    let mut deployment = Deployment::beside(&peers).await;
    deployment.deploy(BILLING[2]).await;
    live_through(&mut deployment, BILLING[2], 3).await;
    assert_eq!(peers.cleeng.subscriptions().remove(0).terminated_as.as_deref(), Some("paymentCancel"));
    assert_eq!(peers.road.reached("cleeng", &Method::POST, "/terminate"), 1);
    peers.assert_balanced();
}
