//! Refunds, and the notification that completes them.

use connector::cleeng::{PaymentOperation, PaymentStatus};
use connector::http::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::deployment::{Deployment, binary, edited_sample_webhook, sample_webhook};
use crate::page::CheckoutPage;
use crate::support::aws::sqs_event;
use crate::support::process::{kill_children, wait_for};
use crate::support::runtime::EmulatedFunction;
use crate::support::upstreams::Upstreams;
use crate::{NOTIFICATION, enabled};

pub(crate) const FUNCTION: &str = "refund-payment";

/// The payment of the sample event, and the binaries that give it back.
async fn with_captured_payment() -> (Upstreams, Deployment) {
    let peers = Upstreams::start(0).await;
    peers.seed_earlier_payment("1536331075", "123456788", "D2RGHBT7PGNG5S82", PaymentOperation::Recurring, PaymentStatus::Captured);
    let mut deployment = Deployment::with_upstreams(&peers).await;
    deployment.deploy(FUNCTION).await;
    deployment.deploy(NOTIFICATION).await;
    (peers, deployment)
}

/// How often the gateway was asked and Cleeng was told.
fn write_counts(peers: &Upstreams) -> (usize, usize) {
    (
        peers.network.delivered_count("adyen", &Method::POST, "/refunds"),
        peers.network.delivered_count("cleeng", &Method::PATCH, "/payments/"),
    )
}

fn assert_refunded(peers: &Upstreams) {
    assert_eq!((write_counts(peers), peers.adyen.total_refunded("USD")), ((1, 1), 999));
    assert!(peers.statuses().contains(&PaymentStatus::Refunded), "{:?}", peers.statuses());
    peers.assert_balanced();
}

#[tokio::test]
async fn a_refund_is_settled_by_a_notification_to_another_binary() {
    if !enabled("a_refund_is_settled_by_a_notification_to_another_binary") {
        return;
    }
    let (peers, mut deployment) = with_captured_payment().await;
    let message = deployment.accepted(FUNCTION, &sample_webhook(FUNCTION)).await;
    for _ in 0..3 {
        deployment.settle(FUNCTION, &message).await;
        assert_eq!((write_counts(&peers), peers.statuses()), ((1, 0), vec![PaymentStatus::Captured]), "acknowledged is not refunded");
    }
    assert_eq!(deployment.payment_states().await, ["captured"]);
    assert_eq!(deployment.deliver_notifications(&peers, 1).await, 1);
    let waiting = deployment.receive_all(FUNCTION).await;
    assert_eq!(waiting.len(), 1, "the event that waited is back");
    for message in [&waiting[0], &waiting[0], &message] {
        deployment.settle(FUNCTION, message).await;
        assert_refunded(&peers);
    }
    assert_eq!(deployment.payment_states().await, ["refunded"]);
    deployment.assert_no_secrets_logged();
}

#[tokio::test]
async fn a_refund_survives_a_restart_of_both_binaries_between_any_two_steps() {
    if !enabled("a_refund_survives_a_restart_of_both_binaries_between_any_two_steps") {
        return;
    }
    let (peers, mut deployment) = with_captured_payment().await;
    let message = deployment.accepted(FUNCTION, &sample_webhook(FUNCTION)).await;
    deployment.restart(FUNCTION);
    deployment.settle(FUNCTION, &message).await;
    deployment.restart(FUNCTION);
    let told = peers.adyen.take_notifications();
    assert_eq!(deployment.notify("/gateways/adyen/notifications", &told[0]).await.status, 200);
    deployment.restart(NOTIFICATION);
    let heard = deployment.receive_all(NOTIFICATION).await;
    deployment.settle(NOTIFICATION, &heard[0]).await;
    deployment.restart(NOTIFICATION);
    // Adyen tells everything more than once.
    deployment.settle(NOTIFICATION, &heard[0]).await;
    for waiting in deployment.receive_all(FUNCTION).await {
        deployment.settle(FUNCTION, &waiting).await;
        deployment.restart(FUNCTION);
    }
    deployment.settle(FUNCTION, &message).await;
    assert_refunded(&peers);
    assert_eq!(deployment.payment_states().await, ["refunded"]);
}

#[tokio::test]
async fn a_worker_killed_before_the_refunds_answer_does_not_refund_twice() {
    if !enabled("a_worker_killed_before_the_refunds_answer_does_not_refund_twice") {
        return;
    }
    let (peers, mut deployment) = with_captured_payment().await;
    let message = deployment.accepted(FUNCTION, &sample_webhook(FUNCTION)).await;
    // A function has a lease for as long as it may run; here it may run just long enough for its longest call.
    let mut worker = EmulatedFunction::start(FUNCTION, &binary(FUNCTION), &deployment.environment(FUNCTION), 30).await;
    let emulator = worker.process();
    peers.kill_on(|peer, request| peer == "adyen" && request.path.ends_with("/refunds"), move || kill_children(emulator));
    let answer = worker.invoke(&sqs_event(&message)).await;
    assert!(answer.contains("errorType"), "the worker is not dead: {answer}");
    assert_eq!((write_counts(&peers), peers.adyen.total_refunded("USD")), ((1, 0), 999), "the money is back and nobody here knows it");
    // The notification is faster than the next worker, whom the crashed worker one's lease keeps waiting.
    let told = peers.adyen.take_notifications();
    assert_eq!(deployment.notify("/gateways/adyen/notifications", &told[0]).await.status, 200);
    let heard = deployment.receive_all(NOTIFICATION).await;
    let deployment = Mutex::new(deployment);
    wait_for("the notification to be settled", || async { deployment.lock().await.deliver(NOTIFICATION, &heard[0]).await.then_some(()) })
        .await;
    let worker = Mutex::new(worker);
    wait_for("the refund to be settled", || async {
        let answer: Value = serde_json::from_str(&worker.lock().await.invoke(&sqs_event(&message)).await).unwrap();
        (answer["batchItemFailures"] == json!([])).then_some(())
    })
    .await;
    // Asked for a second time under the same key, the gateway gives the first answer again.
    assert_eq!(peers.adyen.total_refunded("USD"), 999);
    assert_eq!(peers.adyen.take_notifications(), Vec::<String>::new(), "a second refund was asked for");
    assert_eq!(
        (peers.statuses(), deployment.lock().await.payment_states().await),
        (vec![PaymentStatus::Refunded], vec!["refunded".to_owned()])
    );
    assert_eq!(write_counts(&peers).1, 1);
    peers.assert_balanced();
}

#[tokio::test]
async fn a_sale_by_one_binary_is_refunded_by_another() {
    if !enabled("a_sale_by_one_binary_is_refunded_by_another") {
        return;
    }
    let peers = Upstreams::start_now().await;
    let mut deployment = Deployment::with_upstreams(&peers).await;
    for function in [crate::purchase::FUNCTION, FUNCTION, NOTIFICATION] {
        deployment.deploy(function).await;
    }
    let sold = CheckoutPage::for_customer(crate::purchase::FUNCTION, &peers).start(&mut deployment).await;
    assert_eq!(sold.status, 200, "{}", sold.body);
    let payment = peers.cleeng.payments().remove(0);
    assert_eq!(deployment.payment_states().await, ["captured"]);
    // The gateway tells of the authorisation and of the stored details as well, which changes nothing.
    assert_eq!(deployment.deliver_notifications(&peers, 2).await, 2);
    assert_eq!((peers.statuses(), deployment.payment_states().await), (vec![PaymentStatus::Captured], vec!["captured".to_owned()]));

    let refund = edited_sample_webhook(FUNCTION, |data| {
        data["paymentId"] = payment.id.to_json_number();
        data["orderId"] = payment.order.to_json_number();
        data["externalPaymentId"] = json!(payment.external_payment_id.as_str());
        data["paymentOperation"] = json!("initial-payment");
    });
    let message = deployment.accepted(FUNCTION, &refund).await;
    deployment.settle(FUNCTION, &message).await;
    assert_eq!(deployment.deliver_notifications(&peers, 2).await, 1);
    for waiting in deployment.receive_all(FUNCTION).await {
        deployment.settle(FUNCTION, &waiting).await;
    }
    assert_refunded(&peers);
    assert_eq!(deployment.payment_states().await, ["refunded"]);
    deployment.assert_no_secrets_logged();
}

#[tokio::test]
async fn a_refund_above_what_was_captured_is_left_to_an_operator() {
    if !enabled("a_refund_above_what_was_captured_is_left_to_an_operator") {
        return;
    }
    let (peers, mut deployment) = with_captured_payment().await;
    let too_much = edited_sample_webhook(FUNCTION, |data| data["amount"] = json!(10.99));
    let message = deployment.accepted(FUNCTION, &too_much).await;
    deployment.settle(FUNCTION, &message).await;
    deployment.settle(FUNCTION, &message).await;
    assert_eq!((write_counts(&peers), peers.adyen.total_refunded("USD"), peers.statuses()), ((0, 0), 0, vec![PaymentStatus::Captured]));
    peers.assert_balanced();
}
