//! Money that is given back, and the gateway's word that settles it.

use connector::cleeng::{PaymentOperation, PaymentStatus};
use connector::http::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::deployment::{Deployment, binary, sample, sample_about};
use crate::page::Page;
use crate::support::aws::sqs_event;
use crate::support::peers::Peers;
use crate::support::process::{kill_children, until};
use crate::support::runtime::Emulated;
use crate::{NOTIFICATION, enabled};

pub(crate) const FUNCTION: &str = "refund-payment";

/// The payment of the sample event, and the binaries that give it back.
async fn paid() -> (Peers, Deployment) {
    let peers = Peers::start(0).await;
    peers.made_before("1536331075", "123456788", "D2RGHBT7PGNG5S82", PaymentOperation::Recurring, PaymentStatus::Captured);
    let mut deployment = Deployment::beside(&peers).await;
    deployment.deploy(FUNCTION).await;
    deployment.deploy(NOTIFICATION).await;
    (peers, deployment)
}

/// How often the gateway was asked and Cleeng was told.
fn writes(peers: &Peers) -> (usize, usize) {
    (peers.road.reached("adyen", &Method::POST, "/refunds"), peers.road.reached("cleeng", &Method::PATCH, "/payments/"))
}

fn assert_refunded(peers: &Peers) {
    assert_eq!((writes(peers), peers.adyen.total_refunded("USD")), ((1, 1), 999));
    assert!(peers.statuses().contains(&PaymentStatus::Refunded), "{:?}", peers.statuses());
    peers.assert_balanced();
}

#[tokio::test]
async fn a_refund_is_settled_by_the_notification_that_another_binary_takes() {
    if !enabled("a_refund_is_settled_by_the_notification_that_another_binary_takes") {
        return;
    }
    let (peers, mut deployment) = paid().await;
    let message = deployment.accepted(FUNCTION, &sample(FUNCTION)).await;
    for _ in 0..3 {
        deployment.settle(FUNCTION, &message).await;
        assert_eq!((writes(&peers), peers.statuses()), ((1, 0), vec![PaymentStatus::Captured]), "taken is not given back");
    }
    assert_eq!(deployment.states().await, ["captured"]);
    assert_eq!(deployment.hear(&peers, 1).await, 1);
    let waiting = deployment.take(FUNCTION).await;
    assert_eq!(waiting.len(), 1, "the event that waited is back");
    for message in [&waiting[0], &waiting[0], &message] {
        deployment.settle(FUNCTION, message).await;
        assert_refunded(&peers);
    }
    assert_eq!(deployment.states().await, ["refunded"]);
    deployment.assert_discreet();
}

#[tokio::test]
async fn a_refund_outlives_both_binaries_between_any_two_steps() {
    if !enabled("a_refund_outlives_both_binaries_between_any_two_steps") {
        return;
    }
    let (peers, mut deployment) = paid().await;
    let message = deployment.accepted(FUNCTION, &sample(FUNCTION)).await;
    deployment.restart(FUNCTION);
    deployment.settle(FUNCTION, &message).await;
    deployment.restart(FUNCTION);
    let told = peers.adyen.take_notifications();
    assert_eq!(deployment.notify("/gateways/adyen/notifications", &told[0]).await.status, 200);
    deployment.restart(NOTIFICATION);
    let heard = deployment.take(NOTIFICATION).await;
    deployment.settle(NOTIFICATION, &heard[0]).await;
    deployment.restart(NOTIFICATION);
    // Adyen tells everything more than once.
    deployment.settle(NOTIFICATION, &heard[0]).await;
    for waiting in deployment.take(FUNCTION).await {
        deployment.settle(FUNCTION, &waiting).await;
        deployment.restart(FUNCTION);
    }
    deployment.settle(FUNCTION, &message).await;
    assert_refunded(&peers);
    assert_eq!(deployment.states().await, ["refunded"]);
}

#[tokio::test]
async fn a_worker_that_is_killed_before_it_hears_that_the_gateway_took_the_refund_does_not_refund_twice() {
    if !enabled("a_worker_that_is_killed_before_it_hears_that_the_gateway_took_the_refund_does_not_refund_twice") {
        return;
    }
    let (peers, mut deployment) = paid().await;
    let message = deployment.accepted(FUNCTION, &sample(FUNCTION)).await;
    // A function has a lease for as long as it may run; here it may run just long enough for its longest call.
    let mut worker = Emulated::start(FUNCTION, &binary(FUNCTION), &deployment.environment(FUNCTION), 30).await;
    let emulator = worker.process();
    peers.kill_on(|peer, request| peer == "adyen" && request.path.ends_with("/refunds"), move || kill_children(emulator));
    let answer = worker.invoke(&sqs_event(&message)).await;
    assert!(answer.contains("errorType"), "the worker is not dead: {answer}");
    assert_eq!((writes(&peers), peers.adyen.total_refunded("USD")), ((1, 0), 999), "the money is back and nobody here knows it");
    // The notification is faster than the next worker, whom the dead one's lease keeps waiting.
    let told = peers.adyen.take_notifications();
    assert_eq!(deployment.notify("/gateways/adyen/notifications", &told[0]).await.status, 200);
    let heard = deployment.take(NOTIFICATION).await;
    let deployment = Mutex::new(deployment);
    until("the notification to be settled", || async { deployment.lock().await.deliver(NOTIFICATION, &heard[0]).await.then_some(()) })
        .await;
    let worker = Mutex::new(worker);
    until("the refund to be settled", || async {
        let answer: Value = serde_json::from_str(&worker.lock().await.invoke(&sqs_event(&message)).await).unwrap();
        (answer["batchItemFailures"] == json!([])).then_some(())
    })
    .await;
    // Asked for a second time under the same key, the gateway gives the first answer again.
    assert_eq!(peers.adyen.total_refunded("USD"), 999);
    assert_eq!(peers.adyen.take_notifications(), Vec::<String>::new(), "a second refund was asked for");
    assert_eq!((peers.statuses(), deployment.lock().await.states().await), (vec![PaymentStatus::Refunded], vec!["refunded".to_owned()]));
    assert_eq!(writes(&peers).1, 1);
    peers.assert_balanced();
}

#[tokio::test]
async fn what_one_binary_sold_another_gives_back() {
    if !enabled("what_one_binary_sold_another_gives_back") {
        return;
    }
    let peers = Peers::today().await;
    let mut deployment = Deployment::beside(&peers).await;
    for function in [crate::purchase::FUNCTION, FUNCTION, NOTIFICATION] {
        deployment.deploy(function).await;
    }
    let sold = Page::of(crate::purchase::FUNCTION, &peers).start(&mut deployment).await;
    assert_eq!(sold.status, 200, "{}", sold.body);
    let payment = peers.cleeng.payments().remove(0);
    assert_eq!(deployment.states().await, ["captured"]);
    // The gateway tells of the authorisation and of the stored details as well, which changes nothing.
    assert_eq!(deployment.hear(&peers, 2).await, 2);
    assert_eq!((peers.statuses(), deployment.states().await), (vec![PaymentStatus::Captured], vec!["captured".to_owned()]));

    let refund = sample_about(FUNCTION, |data| {
        data["paymentId"] = payment.id.to_json_number();
        data["orderId"] = payment.order.to_json_number();
        data["externalPaymentId"] = json!(payment.external_payment_id.as_str());
        data["paymentOperation"] = json!("initial-payment");
    });
    let message = deployment.accepted(FUNCTION, &refund).await;
    deployment.settle(FUNCTION, &message).await;
    assert_eq!(deployment.hear(&peers, 2).await, 1);
    for waiting in deployment.take(FUNCTION).await {
        deployment.settle(FUNCTION, &waiting).await;
    }
    assert_refunded(&peers);
    assert_eq!(deployment.states().await, ["refunded"]);
    deployment.assert_discreet();
}

#[tokio::test]
async fn a_refund_above_what_was_captured_is_left_to_an_operator() {
    if !enabled("a_refund_above_what_was_captured_is_left_to_an_operator") {
        return;
    }
    let (peers, mut deployment) = paid().await;
    let too_much = sample_about(FUNCTION, |data| data["amount"] = json!(10.99));
    let message = deployment.accepted(FUNCTION, &too_much).await;
    deployment.settle(FUNCTION, &message).await;
    deployment.settle(FUNCTION, &message).await;
    assert_eq!((writes(&peers), peers.adyen.total_refunded("USD"), peers.statuses()), ((0, 0), 0, vec![PaymentStatus::Captured]));
    peers.assert_balanced();
}
