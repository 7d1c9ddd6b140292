//! Payment details that are deactivated: what is held with them goes back.

use connector::cleeng::PaymentStatus;
use connector::http::Method;
use sandbox::adyen::PaymentState;
use sandbox::peer::{Call, Fault};
use sandbox::stage::id;

use crate::billing::live_through;
use crate::deployment::{Deployment, sample};
use crate::support::peers::Peers;
use crate::{BILLING, NOTIFICATION, enabled};

pub(crate) const FUNCTION: &str = "payment-details-deactivated";

/// The sample subscriber, authorised by one binary, and the binary that cleans up.
async fn authorised(delete: &str) -> (Peers, Deployment) {
    let peers = Peers::start(0).await;
    let mut deployment = Deployment::beside(&peers).await;
    deployment.set("DELETE_DEACTIVATED_DETAILS", delete);
    deployment.deploy(BILLING[0]).await;
    deployment.deploy(FUNCTION).await;
    live_through(&mut deployment, BILLING[0], 1).await;
    assert_eq!(peers.statuses(), [PaymentStatus::Authorised]);
    (peers, deployment)
}

fn cancels(peers: &Peers) -> (usize, usize) {
    (peers.road.reached("adyen", &Method::POST, "/cancels"), peers.road.reached("cleeng", &Method::PATCH, "/cancel"))
}

fn assert_released(peers: &Peers) {
    assert_eq!((cancels(peers), peers.statuses()), ((1, 1), vec![PaymentStatus::Cancelled]));
    assert!(peers.adyen.payments().iter().all(|payment| payment.state == PaymentState::Cancelled));
    peers.assert_balanced();
}

#[tokio::test]
async fn what_one_binary_authorised_another_releases_once_however_often_the_announcement_comes() {
    if !enabled("what_one_binary_authorised_another_releases_once_however_often_the_announcement_comes") {
        return;
    }
    let (peers, mut deployment) = authorised("no").await;
    for _ in 0..2 {
        live_through(&mut deployment, FUNCTION, 3).await;
        assert_released(&peers);
    }
    assert!(peers.adyen.has_method("8415718415718415"), "nobody wanted the details deleted");
    assert_eq!(deployment.states().await, ["cancelling"], "the gateway's notification has not come");
    deployment.assert_discreet();
}

#[tokio::test]
async fn a_clean_up_whose_worker_is_killed_between_gateway_and_cleeng_is_finished_by_the_next_one() {
    if !enabled("a_clean_up_whose_worker_is_killed_between_gateway_and_cleeng_is_finished_by_the_next_one") {
        return;
    }
    let (peers, mut deployment) = authorised("no").await;
    let message = deployment.accepted(FUNCTION, &sample(FUNCTION)).await;
    peers.road.lay(Fault::StatusBefore(503), |peer, request| peer == "cleeng" && request.path.ends_with("/cancel"));
    assert!(!deployment.deliver(FUNCTION, &message).await, "Cleeng was not told, and yet it is done with it");
    assert_eq!((cancels(&peers), peers.statuses()), ((1, 0), vec![PaymentStatus::Authorised]));
    deployment.restart(FUNCTION);
    deployment.settle(FUNCTION, &message).await;
    assert_released(&peers);
}

#[tokio::test]
async fn details_that_are_to_be_deleted_are_deleted_at_both_sides_after_the_release() {
    if !enabled("details_that_are_to_be_deleted_are_deleted_at_both_sides_after_the_release") {
        return;
    }
    let (peers, mut deployment) = authorised("yes").await;
    deployment.deploy(NOTIFICATION).await;
    let before = peers.road.calls().len();
    let message = deployment.accepted(FUNCTION, &sample(FUNCTION)).await;
    assert!(!deployment.deliver(FUNCTION, &message).await, "the gateway has not said that the hold is gone");
    assert!(peers.adyen.has_method("8415718415718415"));
    // It tells of the authorisation and of its end, and the event that waited comes back beside its own message.
    assert_eq!(deployment.hear(&peers, 2).await, 2);
    deployment.restart(FUNCTION);
    deployment.settle(FUNCTION, &message).await;
    // The list is asked for by POST as well, where GET knows nothing.
    let is_write = |call: &Call| call.method != Method::GET && !call.path.ends_with("/authorised_payments");
    let writes = peers.road.calls().into_iter().skip(before).filter(is_write);
    let writes: Vec<_> = writes.map(|call| (call.peer, call.method)).collect();
    let (cancel, tell, delete) = (Method::POST, Method::PATCH, Method::DELETE);
    assert_eq!(writes, [("adyen", cancel), ("cleeng", tell), ("adyen", delete.clone()), ("cleeng", delete)]);
    assert_released(&peers);
    assert!(!peers.adyen.has_method("8415718415718415") && peers.cleeng.details(&id("665665665")).is_none());
    // A copy too many changes nothing.
    deployment.settle(FUNCTION, &message).await;
    assert_eq!(deployment.states().await, ["cancelled"]);
    assert_released(&peers);
    deployment.assert_discreet();
}
