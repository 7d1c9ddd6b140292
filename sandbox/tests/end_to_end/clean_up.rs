//! Payment details that are deactivated: their open authorisations are released.

use connector::cleeng::PaymentStatus;
use connector::http::Method;
use sandbox::simulators::adyen::PaymentState;
use sandbox::simulators::network::{Fault, NetworkCall};
use sandbox::testkit::fixtures::id;

use crate::billing::deliver_sample;
use crate::deployment::{Deployment, sample_webhook};
use crate::support::upstreams::Upstreams;
use crate::{BILLING, NOTIFICATION, enabled};

pub(crate) const FUNCTION: &str = "payment-details-deactivated";

/// The sample subscriber, authorised by one binary, and the binary that cleans up.
async fn with_authorised_subscriber(delete: &str) -> (Upstreams, Deployment) {
    let peers = Upstreams::start(0).await;
    let mut deployment = Deployment::with_upstreams(&peers).await;
    deployment.set("DELETE_DEACTIVATED_DETAILS", delete);
    deployment.deploy(BILLING[0]).await;
    deployment.deploy(FUNCTION).await;
    deliver_sample(&mut deployment, BILLING[0], 1).await;
    assert_eq!(peers.statuses(), [PaymentStatus::Authorised]);
    (peers, deployment)
}

fn cancel_counts(peers: &Upstreams) -> (usize, usize) {
    (peers.network.delivered_count("adyen", &Method::POST, "/cancels"), peers.network.delivered_count("cleeng", &Method::PATCH, "/cancel"))
}

fn assert_released(peers: &Upstreams) {
    assert_eq!((cancel_counts(peers), peers.statuses()), ((1, 1), vec![PaymentStatus::Cancelled]));
    assert!(peers.adyen.payments().iter().all(|payment| payment.state == PaymentState::Cancelled));
    peers.assert_balanced();
}

#[tokio::test]
async fn an_authorisation_by_one_binary_is_released_once_by_another_for_repeated_deactivations() {
    if !enabled("an_authorisation_by_one_binary_is_released_once_by_another_for_repeated_deactivations") {
        return;
    }
    let (peers, mut deployment) = with_authorised_subscriber("no").await;
    for _ in 0..2 {
        deliver_sample(&mut deployment, FUNCTION, 3).await;
        assert_released(&peers);
    }
    assert!(peers.adyen.has_method("8415718415718415"), "nobody wanted the details deleted");
    assert_eq!(deployment.payment_states().await, ["cancelling"], "the gateway's notification has not come");
    deployment.assert_no_secrets_logged();
}

#[tokio::test]
async fn a_clean_up_killed_between_gateway_and_cleeng_is_finished_by_the_next_delivery() {
    if !enabled("a_clean_up_killed_between_gateway_and_cleeng_is_finished_by_the_next_delivery") {
        return;
    }
    let (peers, mut deployment) = with_authorised_subscriber("no").await;
    let message = deployment.accepted(FUNCTION, &sample_webhook(FUNCTION)).await;
    peers.network.inject(Fault::StatusBefore(503), |peer, request| peer == "cleeng" && request.path.ends_with("/cancel"));
    assert!(!deployment.deliver(FUNCTION, &message).await, "Cleeng was not told, and yet it is done with it");
    assert_eq!((cancel_counts(&peers), peers.statuses()), ((1, 0), vec![PaymentStatus::Authorised]));
    deployment.restart(FUNCTION);
    deployment.settle(FUNCTION, &message).await;
    assert_released(&peers);
}

#[tokio::test]
async fn details_that_are_to_be_deleted_are_deleted_at_both_sides_after_the_release() {
    if !enabled("details_that_are_to_be_deleted_are_deleted_at_both_sides_after_the_release") {
        return;
    }
    let (peers, mut deployment) = with_authorised_subscriber("yes").await;
    deployment.deploy(NOTIFICATION).await;
    let before = peers.network.calls().len();
    let message = deployment.accepted(FUNCTION, &sample_webhook(FUNCTION)).await;
    assert!(!deployment.deliver(FUNCTION, &message).await, "the gateway has not said that the hold is gone");
    assert!(peers.adyen.has_method("8415718415718415"));
    // It tells of the authorisation and of its end, and the event that waited comes back beside its own message.
    assert_eq!(deployment.deliver_notifications(&peers, 2).await, 2);
    deployment.restart(FUNCTION);
    deployment.settle(FUNCTION, &message).await;
    // The list is asked for by POST as well, where GET knows nothing.
    let is_write = |call: &NetworkCall| call.method != Method::GET && !call.path.ends_with("/authorised_payments");
    let writes = peers.network.calls().into_iter().skip(before).filter(is_write);
    let writes: Vec<_> = writes.map(|call| (call.server, call.method)).collect();
    let (cancel, tell, delete) = (Method::POST, Method::PATCH, Method::DELETE);
    assert_eq!(writes, [("adyen", cancel), ("cleeng", tell), ("adyen", delete.clone()), ("cleeng", delete)]);
    assert_released(&peers);
    assert!(!peers.adyen.has_method("8415718415718415") && peers.cleeng.details(&id("665665665")).is_none());
    // A copy too many changes nothing.
    deployment.settle(FUNCTION, &message).await;
    assert_eq!(deployment.payment_states().await, ["cancelled"]);
    assert_released(&peers);
    deployment.assert_no_secrets_logged();
}
