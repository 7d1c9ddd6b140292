//! The redirect style, with the calls of the sample events: the page, the gateway's page, the return, each handled by another process.

use connector::cleeng::PaymentStatus;
use connector::http::Method;
use sandbox::simulators::simulated_gateway::SimulatedGateway as _;
use serde_json::{Value, json};

use crate::deployment::{Deployment, ORIGIN, event};
use crate::page::{CheckoutPage, REDIRECTING};
use crate::support::upstreams::Upstreams;
use crate::{NOTIFICATION, details, enabled, purchase};

/// A function with a page of the redirect style.
struct RedirectCheckout {
    function: &'static str,
    peers: Upstreams,
    deployment: Deployment,
}

impl RedirectCheckout {
    async fn deploy(function: &'static str) -> Self {
        let peers = Upstreams::start_now().await;
        let mut deployment = Deployment::with_upstreams(&peers).await;
        deployment.deploy(function).await;
        Self { function, peers, deployment }
    }

    /// The page's call, whose customer has a card that asks for authentication at the bank. Status and body.
    async fn start(&mut self) -> (u64, Value) {
        let mut call = event(self.function, "tokens.json");
        call["headers"]["authorization"] = json!(CheckoutPage::for_customer(self.function, &self.peers).bearer());
        let mut body: Value = serde_json::from_str(call["body"].as_str().unwrap()).unwrap();
        body["paymentMethod"]["encryptedCardNumber"] = json!(REDIRECTING);
        call["body"] = json!(body.to_string());
        let answer = self.deployment.runtime.invoke(self.function, &call).await;
        (answer["statusCode"].as_u64().unwrap_or(0), serde_json::from_str(answer["body"].as_str().unwrap_or("null")).unwrap())
    }

    /// Where the page sends the customer.
    async fn redirect_url(&mut self) -> String {
        let (status, body) = self.start().await;
        assert_eq!(status, 200, "{body}\n{}", self.deployment.runtime.output());
        body["responseData"]["redirectUrl"].as_str().unwrap().to_owned()
    }

    /// The customer completes or cancels the gateway's page; the address that it redirects to.
    fn leave_gateway_page(&self, page: &str, agrees: bool) -> String {
        self.peers.adyen.complete_redirect(page, agrees).unwrap()
    }

    /// The customer's browser follows the address; the address that it is redirected to.
    async fn follow(&mut self, file: &str, address: &str) -> String {
        let mut call = event(self.function, file);
        let host = format!("https://{}", call["requestContext"]["domainName"].as_str().unwrap());
        let path = address.strip_prefix(&host).unwrap_or_else(|| panic!("{address} is not ours"));
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        (call["rawPath"], call["rawQueryString"]) = (json!(path), json!(query));
        let answer = self.deployment.runtime.invoke(self.function, &call).await;
        assert_eq!(answer["statusCode"], 303, "{answer}\n{}", self.deployment.runtime.output());
        answer["headers"]["location"].as_str().unwrap().to_owned()
    }

    fn write_counts(&self, to_cleeng: &str) -> (usize, usize) {
        let network = &self.peers.network;
        (network.delivered_count("adyen", &Method::POST, "/payments/details"), network.delivered_count("cleeng", &Method::POST, to_cleeng))
    }

    fn assert_no_secrets_logged(&self) {
        self.deployment.assert_no_secrets_logged();
        assert!(!self.deployment.runtime.output().contains(ORIGIN), "an address of the page is in the log");
    }
}

fn at(place: &str) -> String {
    format!("{ORIGIN}/{place}")
}

#[tokio::test]
async fn an_order_is_paid_once_by_redirect_and_repeated_returns() {
    if !enabled("an_order_is_paid_once_by_redirect_and_repeated_returns") {
        return;
    }
    let mut shop = RedirectCheckout::deploy(purchase::FUNCTION).await;
    let page = shop.redirect_url().await;
    shop.deployment.restart(purchase::FUNCTION);
    assert_eq!(shop.redirect_url().await, page, "the same click");
    let back = shop.leave_gateway_page(&page, true);
    for _ in 0..3 {
        assert!(shop.follow("return.json", &back).await.starts_with(&at("thankyou")));
        shop.deployment.restart(purchase::FUNCTION);
    }
    assert!(shop.redirect_url().await.starts_with(&at("thankyou")));
    assert_eq!((shop.write_counts("/payments"), shop.peers.statuses()), ((1, 1), vec![PaymentStatus::Captured]));
    assert_eq!(shop.peers.adyen.total_captured("USD"), 999);
    shop.peers.assert_balanced();
    shop.assert_no_secrets_logged();
}

#[tokio::test]
async fn a_customer_who_cancelled_pays_at_the_next_try() {
    if !enabled("a_customer_who_cancelled_pays_at_the_next_try") {
        return;
    }
    let mut shop = RedirectCheckout::deploy(purchase::FUNCTION).await;
    let first = shop.redirect_url().await;
    let given_up = shop.leave_gateway_page(&first, false);
    assert_eq!(shop.follow("return.json", &given_up).await, at("offer"));
    let second = shop.redirect_url().await;
    assert_ne!(first, second);
    // The other way to give up: by an address of its own.
    let cancel = shop.leave_gateway_page(&second, true).replace("/return/", "/cancel/");
    assert_eq!(shop.follow("cancel.json", cancel.split_once('?').unwrap().0).await, at("offer"));
    shop.deployment.restart(purchase::FUNCTION);
    let third = shop.redirect_url().await;
    assert_ne!(second, third);
    let back = shop.leave_gateway_page(&third, true);
    assert!(shop.follow("return.json", &back).await.starts_with(&at("thankyou")));
    assert_eq!(shop.peers.statuses().iter().filter(|status| **status == PaymentStatus::Captured).count(), 1);
    shop.assert_no_secrets_logged();
}

#[tokio::test]
async fn a_customer_whose_payment_was_settled_by_notification_is_redirected_on_return() {
    if !enabled("a_customer_whose_payment_was_settled_by_notification_is_redirected_on_return") {
        return;
    }
    let mut shop = RedirectCheckout::deploy(purchase::FUNCTION).await;
    shop.deployment.deploy(NOTIFICATION).await;
    let page = shop.redirect_url().await;
    let back = shop.leave_gateway_page(&page, true);
    assert_eq!(shop.deployment.deliver_notifications(&shop.peers, 2).await, 2);
    assert_eq!(shop.peers.statuses(), [PaymentStatus::Captured]);
    assert!(shop.follow("return.json", &back).await.starts_with(&at("thankyou")));
    assert_eq!((shop.write_counts("/payments"), shop.peers.adyen.total_captured("USD")), ((0, 1), 999));
    shop.peers.assert_balanced();
}

#[tokio::test]
async fn details_are_stored_by_redirect_and_return() {
    if !enabled("details_are_stored_by_redirect_and_return") {
        return;
    }
    let mut shop = RedirectCheckout::deploy(details::FUNCTION).await;
    let page = shop.redirect_url().await;
    let back = shop.leave_gateway_page(&page, true);
    for _ in 0..2 {
        shop.deployment.restart(details::FUNCTION);
        assert!(shop.follow("return.json", &back).await.starts_with(&at("thankyou")));
    }
    assert_eq!(shop.write_counts("/payment_details"), (1, 1));
    let stored = shop.peers.cleeng.details_of(&sandbox::testkit::fixtures::id("123321123"));
    assert_eq!(stored.iter().filter(|details| details.active).count(), 1);
    assert_eq!(stored.len(), 2, "beside those of the sample subscriber");
    shop.peers.assert_balanced();
    shop.assert_no_secrets_logged();
}

#[tokio::test]
async fn a_return_address_that_was_not_issued_and_a_forged_token_are_refused() {
    if !enabled("a_return_address_that_was_not_issued_and_a_forged_token_are_refused") {
        return;
    }
    let mut shop = RedirectCheckout::deploy(purchase::FUNCTION).await;
    for file in ["return.json", "cancel.json"] {
        let answer = shop.deployment.runtime.invoke(purchase::FUNCTION, &event(purchase::FUNCTION, file)).await;
        assert_eq!((&answer["statusCode"], &answer["headers"]["location"]), (&json!(404), &Value::Null), "{file}: {answer}");
    }
    let forged = shop.deployment.runtime.invoke(purchase::FUNCTION, &event(purchase::FUNCTION, "tokens.json")).await;
    assert_eq!(forged["statusCode"], 401, "{forged}");
    assert_eq!((shop.write_counts("/payments"), shop.deployment.aws.documents().await), ((0, 0), 0));
    shop.assert_no_secrets_logged();
}
