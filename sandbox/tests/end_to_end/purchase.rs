//! The first purchase, as the page of the sample events makes it.

use connector::cleeng::PaymentStatus;
use connector::http::Method;
use sandbox::testkit::fixtures::id;
use serde_json::json;

use crate::deployment::Deployment;
use crate::page::{CheckoutPage, NATIVE, PageResponse, REDIRECTING};
use crate::support::process::kill;
use crate::support::upstreams::Upstreams;
use crate::{NOTIFICATION, enabled};

pub(crate) const FUNCTION: &str = "initial-purchase";

async fn deployed_purchase() -> (Upstreams, Deployment, CheckoutPage) {
    let peers = Upstreams::start_now().await;
    let mut deployment = Deployment::with_upstreams(&peers).await;
    deployment.deploy(FUNCTION).await;
    let page = CheckoutPage::for_customer(FUNCTION, &peers);
    (peers, deployment, page)
}

/// How often the gateway was asked for money and Cleeng was told of a payment.
fn write_counts(peers: &Upstreams) -> (usize, usize) {
    (
        peers.network.delivered_count("adyen", &Method::POST, "/payments"),
        peers.network.delivered_count("cleeng", &Method::POST, "/payments"),
    )
}

/// One charge of the order's amount, one captured payment in Cleeng, with stored details that renew, and the journal knows it.
async fn assert_paid_once(peers: &Upstreams, deployment: &Deployment, told: &PageResponse) {
    assert_eq!((told.status, &told.body["responseData"]["payment"]["status"]), (200, &json!("captured")), "{}", told.body);
    let captured: Vec<_> = peers.cleeng.payments().into_iter().filter(|payment| payment.status == PaymentStatus::Captured).collect();
    assert_eq!((captured.len(), &captured[0].order), (1, &id("123456789")));
    assert_eq!(told.body["responseData"]["payment"]["externalPaymentId"], captured[0].external_payment_id.as_str());
    assert_eq!(peers.adyen.total_captured("USD"), 999);
    let details = peers.cleeng.details(captured[0].details.as_ref().unwrap()).unwrap();
    assert!(details.active && peers.adyen.has_method(details.token.split(':').next().unwrap()));
    assert_eq!(deployment.payment_states().await.iter().filter(|state| *state == "captured").count(), 1);
    peers.assert_balanced();
    deployment.assert_no_secrets_logged();
}

#[tokio::test]
async fn an_order_is_paid_once_for_repeated_requests() {
    if !enabled("an_order_is_paid_once_for_repeated_requests") {
        return;
    }
    let (peers, mut deployment, page) = deployed_purchase().await;
    let paid = page.start(&mut deployment).await;
    assert_paid_once(&peers, &deployment, &paid).await;
    for _ in 0..2 {
        assert_eq!(page.start(&mut deployment).await, paid);
        deployment.restart(FUNCTION);
    }
    assert_eq!(page.start_with(&mut deployment, "encryptedSecurityCode", "test_999").await, paid, "another entry");
    assert_eq!(write_counts(&peers), (1, 1));
    assert_paid_once(&peers, &deployment, &paid).await;
}

#[tokio::test]
async fn a_redirect_started_by_one_binary_is_finished_by_another() {
    if !enabled("a_redirect_started_by_one_binary_is_finished_by_another") {
        return;
    }
    let (peers, mut deployment, page) = deployed_purchase().await;
    let action = page.start_with(&mut deployment, "encryptedCardNumber", REDIRECTING).await;
    let back = action.redirect_result();
    assert_eq!((write_counts(&peers), peers.adyen.authorisations()), ((1, 0), 0));
    deployment.restart(FUNCTION);
    assert_eq!(page.start_with(&mut deployment, "encryptedCardNumber", REDIRECTING).await, action, "a reload before the customer leaves");
    let paid = page.finalize(&mut deployment, back).await;
    assert_paid_once(&peers, &deployment, &paid).await;
    deployment.restart(FUNCTION);
    assert_eq!(page.finalize(&mut deployment, back).await, paid);
    assert_eq!(page.start_with(&mut deployment, "encryptedCardNumber", REDIRECTING).await, paid);
    assert_eq!(write_counts(&peers), (2, 1));
    assert_paid_once(&peers, &deployment, &paid).await;
}

#[tokio::test]
async fn in_page_authentication_continues_across_binaries() {
    if !enabled("in_page_authentication_continues_across_binaries") {
        return;
    }
    let (peers, mut deployment, page) = deployed_purchase().await;
    let first = page.start_with(&mut deployment, "encryptedCardNumber", NATIVE).await;
    assert_eq!(first.body["responseData"]["action"]["subtype"], "fingerprint", "{}", first.body);
    deployment.restart(FUNCTION);
    let second = page.authenticate(&mut deployment, &first).await;
    assert_eq!(second.body["responseData"]["action"]["subtype"], "challenge", "{}", second.body);
    deployment.restart(FUNCTION);
    assert_eq!(page.authenticate(&mut deployment, &first).await, second, "the same click again");
    let paid = page.authenticate(&mut deployment, &second).await;
    assert_paid_once(&peers, &deployment, &paid).await;
}

#[tokio::test]
async fn a_purchase_without_a_return_is_finished_by_the_notification_binary() {
    if !enabled("a_purchase_without_a_return_is_finished_by_the_notification_binary") {
        return;
    }
    let (peers, mut deployment, page) = deployed_purchase().await;
    deployment.deploy(NOTIFICATION).await;
    let action = page.start_with(&mut deployment, "encryptedCardNumber", REDIRECTING).await;
    peers.adyen.finish_without_returning(action.redirect_result());
    assert_eq!(peers.statuses(), []);
    // The payment is told, and the details that it stored.
    assert_eq!(deployment.deliver_notifications(&peers, 3).await, 2);
    assert_eq!((write_counts(&peers), peers.statuses()), ((1, 1), vec![PaymentStatus::Captured]));
    let paid = page.start_with(&mut deployment, "encryptedCardNumber", REDIRECTING).await;
    assert_paid_once(&peers, &deployment, &paid).await;
    assert_eq!(write_counts(&peers), (1, 1));
}

#[tokio::test]
async fn a_chargeback_is_reported_once_by_the_notification_binary() {
    if !enabled("a_chargeback_is_reported_once_by_the_notification_binary") {
        return;
    }
    let (peers, mut deployment, page) = deployed_purchase().await;
    deployment.deploy(NOTIFICATION).await;
    let paid = page.start(&mut deployment).await;
    assert_paid_once(&peers, &deployment, &paid).await;
    deployment.deliver_notifications(&peers, 1).await;
    peers.adyen.charge_back(&peers.adyen.payments()[0].psp_reference);
    assert_eq!(deployment.deliver_notifications(&peers, 3).await, 1);
    let payment = peers.cleeng.payments().remove(0);
    assert_eq!((payment.status, payment.refund.unwrap().kind.as_str()), (PaymentStatus::Refunded, "chargeback"));
    assert_eq!(peers.network.delivered_count("cleeng", &Method::PATCH, "/payments/"), 1);
    assert_eq!(deployment.payment_states().await, ["charged_back"]);
    peers.assert_balanced();
}

#[tokio::test]
async fn a_binary_killed_before_the_payments_answer_does_not_charge_twice() {
    if !enabled("a_binary_killed_before_the_payments_answer_does_not_charge_twice") {
        return;
    }
    let (peers, mut deployment, page) = deployed_purchase().await;
    let process = deployment.runtime.process(FUNCTION);
    peers.kill_on(|peer, request| peer == "adyen" && request.path.ends_with("/payments"), move || kill(process));
    page.start_and_kill(&mut deployment).await;
    assert_eq!((peers.adyen.total_captured("USD"), peers.statuses().len()), (999, 0), "it is paid and nobody here knows it");
    deployment.start(FUNCTION);
    let paid = page.start_until_final(&mut deployment).await;
    assert_paid_once(&peers, &deployment, &paid).await;
    assert_eq!((write_counts(&peers).1, peers.adyen.payments().len()), (1, 1));
}

#[tokio::test]
async fn a_refusal_is_shown_and_reported_once_and_another_card_pays() {
    if !enabled("a_refusal_is_shown_and_reported_once_and_another_card_pays") {
        return;
    }
    let (peers, mut deployment, page) = deployed_purchase().await;
    let refused = page.start_with(&mut deployment, "holderName", "NOT_ENOUGH_BALANCE").await;
    assert_eq!(refused.code(), (422, "ADYEN0002"), "{}", refused.body);
    deployment.restart(FUNCTION);
    assert_eq!(page.start_with(&mut deployment, "holderName", "NOT_ENOUGH_BALANCE").await, refused);
    assert_eq!((write_counts(&peers), peers.statuses()), ((1, 1), vec![PaymentStatus::Rejected]));
    let paid = page.start(&mut deployment).await;
    assert_paid_once(&peers, &deployment, &paid).await;
}

#[tokio::test]
async fn a_card_number_a_forged_token_and_a_foreign_address_are_refused_before_any_call() {
    if !enabled("a_card_number_a_forged_token_and_a_foreign_address_are_refused_before_any_call") {
        return;
    }
    let (peers, mut deployment, page) = deployed_purchase().await;
    for file in ["http.json", "finalize.json"] {
        let carded = page.call(&mut deployment, file, |body| body["note"] = json!("4111 1111 1111 1111")).await;
        assert_eq!(carded.code(), (400, "REQ0004"), "{file}: {}", carded.body);
        let forged = CheckoutPage::with_unsigned_token(FUNCTION).call(&mut deployment, file, |_| {}).await;
        assert_eq!(forged.status, 401, "{file}: {}", forged.body);
    }
    let strange = page.call(&mut deployment, "http.json", |body| body["returnUrl"] = json!("https://evil.example/checkout")).await;
    assert_eq!(strange.code(), (400, "REQ0008"), "{}", strange.body);
    assert_eq!((write_counts(&peers), deployment.aws.documents().await), ((0, 0), 0));
    assert!(!deployment.runtime.output().contains("4111"), "a card number is in the log");
    deployment.assert_no_secrets_logged();
}
