//! The redirect style: the page sends the customer to the gateway, the gateway redirects to the connector, and the connector to the page.
//! With PayPal, which needs no data from the page, and with Adyen, whose payment data a page may send along.

mod addresses;
mod crashes;
mod details;
mod foreign_returns;
mod orders;
mod races;

use connector::frontend_api::Reply;
use connector::gateway::GatewayName;
use connector::ids::{CustomerId, OrderId};
use sandbox::testkit::fixtures::{OFFER, PUBLIC_URL, SHOP_ORIGIN, id};
use sandbox::testkit::harness::TestEnvironment;
use serde_json::{Value, json};

use crate::front::assert_balanced;

/// A customer with an order, at a page of the redirect style.
#[derive(Clone)]
pub(crate) struct Shopper {
    pub(crate) gateway: GatewayName,
    pub(crate) customer: CustomerId,
    pub(crate) order: OrderId,
    pub(crate) token: String,
}

pub(crate) fn shopper(env: &TestEnvironment, gateway: GatewayName) -> Shopper {
    let customer = env.cleeng.new_customer().unwrap();
    let order = env.cleeng.new_order(&customer, &id(OFFER), &id(env.gateway(gateway).method)).unwrap();
    let token = env.cleeng.customer_token(&customer);
    Shopper { gateway, customer, order, token }
}

pub(crate) fn paypal_shopper(env: &TestEnvironment) -> Shopper {
    shopper(env, GatewayName::PayPal)
}

pub(crate) fn success_url() -> String {
    format!("{SHOP_ORIGIN}/thankyou?u=1")
}

pub(crate) fn cancel_url() -> String {
    format!("{SHOP_ORIGIN}/offer?u=paypal-cancelled")
}

pub(crate) fn error_url(rest: &str) -> String {
    format!("{SHOP_ORIGIN}/offer?u=paypal-error&{rest}")
}

/// The addresses of a page, with the other members of the call.
pub(crate) fn with_addresses(about: Value) -> Value {
    let mut body = json!({
        "successUrl": success_url(), "cancelUrl": cancel_url(), "errorUrl": format!("{SHOP_ORIGIN}/offer?u=paypal-error"), "captchaValue": "x",
    });
    body.as_object_mut().unwrap().extend(about.as_object().unwrap().clone());
    body
}

impl Shopper {
    pub(crate) fn body(&self) -> Value {
        with_addresses(json!({ "orderId": self.order }))
    }

    pub(crate) async fn start_with(&self, env: &TestEnvironment, body: &Value) -> Reply {
        env.call_at(self.gateway, "v1/tokens", &self.token, body).await
    }

    pub(crate) async fn start(&self, env: &TestEnvironment) -> Reply {
        self.start_with(env, &self.body()).await
    }

    /// Starts, and approves or cancels at the gateway; the address that the browser is redirected to.
    pub(crate) async fn complete_redirect(&self, env: &TestEnvironment, agrees: bool) -> String {
        let page = redirect_url(&self.start(env).await);
        let back = env.gateway(self.gateway).simulator.complete_redirect(&page, agrees).unwrap();
        assert!(back.starts_with(PUBLIC_URL), "{back}");
        back
    }
}

/// Where the page is told to send the customer.
pub(crate) fn redirect_url(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.body["responseData"].as_object().unwrap().len(), 1, "{}", reply.body);
    without_payment_id(reply.body["responseData"]["redirectUrl"].as_str().unwrap()).to_owned()
}

/// Where we send the customer on to.
pub(crate) fn redirect_target(reply: &Reply) -> &str {
    assert_eq!(reply.status, 303, "{}", reply.body);
    without_payment_id(reply.location.as_deref().unwrap())
}

/// The success address as the page named it: the gateway's id of the payment is behind it.
fn without_payment_id(address: &str) -> &str {
    address.split_once("externalPaymentId=").map_or(address, |(named, _)| named.trim_end_matches(['?', '&']))
}

/// Minor units that the gateway has captured and not refunded, with both sides in agreement.
pub(crate) fn net_captured(env: &TestEnvironment, gateway: GatewayName) -> i64 {
    assert_balanced(env);
    env.gateway(gateway).simulator.ledger().iter().map(|entry| entry.captured.minor - entry.refunded.minor).sum()
}

/// The order is paid once: one charge, one captured payment in Cleeng, with details that renew.
pub(crate) fn assert_paid_once(env: &TestEnvironment, shopper: &Shopper) {
    let captured: Vec<_> =
        env.cleeng.payments().into_iter().filter(|payment| payment.status == connector::cleeng::PaymentStatus::Captured).collect();
    assert_eq!(captured.len(), 1, "{:?}", crate::front::statuses(env));
    assert_eq!((&captured[0].order, &captured[0].customer), (&shopper.order, &shopper.customer));
    let details = env.cleeng.details(captured[0].details.as_ref().unwrap()).unwrap();
    assert!(details.active && env.gateway(shopper.gateway).simulator.has_stored_details(&details.token));
    assert_eq!(net_captured(env, shopper.gateway), 999);
}
