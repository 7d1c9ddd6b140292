//! New payment details without a charge, as the page of the sample events stores them.

use connector::cleeng::webhook::Topic;
use connector::http::Method;
use sandbox::testkit::fixtures::id;
use serde_json::json;

use crate::deployment::Deployment;
use crate::enabled;
use crate::page::{CheckoutPage, PageResponse, REDIRECTING};
use crate::support::upstreams::Upstreams;

pub(crate) const FUNCTION: &str = "payment-details";

async fn deployed_details() -> (Upstreams, Deployment, CheckoutPage) {
    let peers = Upstreams::start_now().await;
    let mut deployment = Deployment::with_upstreams(&peers).await;
    deployment.deploy(FUNCTION).await;
    let page = CheckoutPage::for_customer(FUNCTION, &peers);
    (peers, deployment, page)
}

/// How often the gateway was asked to verify a card and Cleeng was told of details.
fn write_counts(peers: &Upstreams) -> (usize, usize) {
    (
        peers.network.delivered_count("adyen", &Method::POST, "/payments"),
        peers.network.delivered_count("cleeng", &Method::POST, "/payment_details"),
    )
}

/// The details are in Cleeng, at the gateway and with the subscription; the old ones are announced; nothing was charged.
async fn assert_stored_once(peers: &Upstreams, deployment: &Deployment, told: &PageResponse) {
    let shown = &told.body["responseData"]["paymentDetails"];
    assert_eq!((told.status, &shown["active"], shown.get("token")), (200, &json!(true), None), "{}", told.body);
    assert_eq!((write_counts(peers).1, peers.adyen.total_captured("USD")), (1, 0));
    let renews = peers.cleeng.subscriptions().remove(0).details.unwrap();
    assert_ne!(renews, id("665665665"));
    let details = peers.cleeng.details(&renews).unwrap();
    let (stored, shopper) = details.token.split_once(':').unwrap();
    assert!(details.active && peers.adyen.has_method(stored) && shopper == "123321123");
    assert!(!peers.cleeng.details(&id("665665665")).unwrap().active);
    peers.assert_balanced();
    deployment.assert_no_secrets_logged();
}

#[tokio::test]
async fn details_are_stored_once_for_repeated_requests() {
    if !enabled("details_are_stored_once_for_repeated_requests") {
        return;
    }
    let (peers, mut deployment, page) = deployed_details().await;
    let stored = page.start(&mut deployment).await;
    assert_stored_once(&peers, &deployment, &stored).await;
    for _ in 0..2 {
        deployment.restart(FUNCTION);
        assert_eq!(page.start(&mut deployment).await, stored);
    }
    assert_eq!(write_counts(&peers), (1, 1));
    assert!(deployment.aws.documents().await > 0, "the journal knows what was done");
    // Cleeng announces the old ones to another function.
    let announced = peers.cleeng.due_webhooks().into_iter().filter(|sent| sent.topic == Topic::PaymentDetailsDeactivated).count();
    assert_eq!(announced, 1);
}

#[tokio::test]
async fn details_that_need_the_customer_are_stored_by_another_binary_after_the_return() {
    if !enabled("details_that_need_the_customer_are_stored_by_another_binary_after_the_return") {
        return;
    }
    let (peers, mut deployment, page) = deployed_details().await;
    let action = page.start_with(&mut deployment, "encryptedCardNumber", REDIRECTING).await;
    let back = action.redirect_result();
    assert_eq!(write_counts(&peers), (1, 0));
    deployment.restart(FUNCTION);
    let stored = page.finalize(&mut deployment, back).await;
    assert_stored_once(&peers, &deployment, &stored).await;
    deployment.restart(FUNCTION);
    assert_eq!(page.finalize(&mut deployment, back).await, stored);
    assert_eq!(write_counts(&peers), (2, 1));
}

#[tokio::test]
async fn refused_details_are_reported_to_the_page_and_change_nothing() {
    if !enabled("refused_details_are_reported_to_the_page_and_change_nothing") {
        return;
    }
    let (peers, mut deployment, page) = deployed_details().await;
    for _ in 0..2 {
        let refused = page.start_with(&mut deployment, "holderName", "DECLINED").await;
        assert_eq!(refused.code(), (422, "ADYEN0002"), "{}", refused.body);
        deployment.restart(FUNCTION);
    }
    assert_eq!(write_counts(&peers), (1, 0));
    assert!(peers.cleeng.details(&id("665665665")).unwrap().active, "renewals go on with the old ones");
    peers.assert_balanced();
}

#[tokio::test]
async fn a_card_number_and_a_forged_token_are_refused_before_details_are_looked_at() {
    if !enabled("a_card_number_and_a_forged_token_are_refused_before_details_are_looked_at") {
        return;
    }
    let (peers, mut deployment, page) = deployed_details().await;
    for file in ["http.json", "finalize.json"] {
        let carded = page.call(&mut deployment, file, |body| body["cardNumber"] = json!("4111111111111111")).await;
        assert_eq!(carded.code(), (400, "REQ0004"), "{file}: {}", carded.body);
        let forged = CheckoutPage::with_unsigned_token(FUNCTION).call(&mut deployment, file, |_| {}).await;
        assert_eq!(forged.status, 401, "{file}: {}", forged.body);
    }
    assert_eq!((write_counts(&peers), deployment.aws.documents().await), ((0, 0), 0));
    assert!(!deployment.runtime.output().contains("4111111111111111"), "a card number is in the log");
    deployment.assert_no_secrets_logged();
}
