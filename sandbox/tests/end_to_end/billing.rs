//! A subscription's renewal and its end.

use connector::http::Method;

use crate::deployment::{Deployment, sample_webhook};
use crate::support::upstreams::{Upstreams, paid_until};
use crate::{BILLING, enabled};

/// What reached the peers: orders, authorisations and reports.
pub(crate) fn effect_counts(peers: &Upstreams) -> [usize; 3] {
    let reached = |peer, part| peers.network.delivered_count(peer, &Method::POST, part);
    [reached("cleeng", "/orders"), reached("adyen", "/payments"), reached("cleeng", "/payments")]
}

/// Posts the sample webhook of a function, takes what it put on the queue, and feeds it to the same binary so many times.
pub(crate) async fn deliver_sample(deployment: &mut Deployment, function: &'static str, deliveries: usize) {
    let message = deployment.accepted(function, &sample_webhook(function)).await;
    for _ in 0..deliveries {
        deployment.settle(function, &message).await;
    }
}

#[tokio::test]
async fn a_posted_webhook_is_queued_and_its_message_authorises_once_however_often_it_is_delivered() {
    if !enabled("a_posted_webhook_is_queued_and_its_message_authorises_once_however_often_it_is_delivered") {
        return;
    }
    let peers = Upstreams::start(0).await;
    let mut deployment = Deployment::with_upstreams(&peers).await;
    deployment.deploy(BILLING[0]).await;
    let message = deployment.accepted(BILLING[0], &sample_webhook(BILLING[0])).await;
    assert_eq!(effect_counts(&peers), [0, 0, 0], "nothing happens before the event is durable");
    for delivery in 1..=5 {
        deployment.settle(BILLING[0], &message).await;
        assert_eq!(effect_counts(&peers), [1, 1, 1], "delivery {delivery}");
    }
    assert_eq!(deployment.payment_states().await, ["authorised"], "the journal knows what was done");
    peers.assert_balanced();
    deployment.assert_no_secrets_logged();
}

#[tokio::test]
async fn a_renewal_through_the_binaries_ends_with_matching_ledgers() {
    if !enabled("a_renewal_through_the_binaries_ends_with_matching_ledgers") {
        return;
    }
    let peers = Upstreams::start(0).await;
    let mut deployment = Deployment::with_upstreams(&peers).await;
    // The binaries have the machine's time, and nobody waits 45 minutes here.
    deployment.set("SETTLE_ON", "receipt");
    deployment.deploy(BILLING[0]).await;
    deployment.deploy(BILLING[1]).await;
    deliver_sample(&mut deployment, BILLING[0], 3).await;
    peers.assert_balanced();
    peers.clock.advance_to(paid_until());
    deliver_sample(&mut deployment, BILLING[1], 3).await;
    peers.assert_balanced();
    assert_eq!((peers.adyen.authorisations(), peers.adyen.total_captured("USD")), (1, 999));
    let subscription = peers.cleeng.subscriptions().remove(0);
    assert!(subscription.date_to > paid_until(), "Cleeng renewed the subscription");
}

#[tokio::test]
async fn a_termination_through_a_binary_ends_the_subscription() {
    if !enabled("a_termination_through_a_binary_ends_the_subscription") {
        return;
    }
    let peers = Upstreams::start(0).await;
    let mut deployment = Deployment::with_upstreams(&peers).await;
    deployment.deploy(BILLING[2]).await;
    deliver_sample(&mut deployment, BILLING[2], 3).await;
    assert_eq!(peers.cleeng.subscriptions().remove(0).terminated_as.as_deref(), Some("status"));
    assert_eq!(peers.network.delivered_count("cleeng", &Method::PATCH, "/subscriptions/"), 1);
    peers.assert_balanced();
}
