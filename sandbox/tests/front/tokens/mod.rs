//! The redirect style: the page sends the customer to the gateway, the gateway sends him back to us, and we send him on to the page. With PayPal,
//! which needs nothing of the page, and with Adyen, whose payment data a page may send along.

mod addresses;
mod crashes;
mod details;
mod orders;
mod races;
mod strangers;

use connector::front::Reply;
use connector::gateway::GatewayName;
use connector::ids::{CustomerId, OrderId};
use sandbox::stage::{OFFER, ORIGIN, OWN_ADDRESS, Stage, id};
use serde_json::{Value, json};

use crate::assert_balanced;

/// A customer with an order, at a page of the redirect style.
#[derive(Clone)]
pub(crate) struct Shopper {
    pub(crate) gateway: GatewayName,
    pub(crate) customer: CustomerId,
    pub(crate) order: OrderId,
    pub(crate) token: String,
}

pub(crate) fn shopper(stage: &Stage, gateway: GatewayName) -> Shopper {
    let customer = stage.cleeng.new_customer().unwrap();
    let order = stage.cleeng.new_order(&customer, &id(OFFER), &id(stage.guest(gateway).method)).unwrap();
    let token = stage.cleeng.customer_token(&customer);
    Shopper { gateway, customer, order, token }
}

pub(crate) fn at_paypal(stage: &Stage) -> Shopper {
    shopper(stage, GatewayName::PayPal)
}

pub(crate) fn success() -> String {
    format!("{ORIGIN}/thankyou?u=1")
}

pub(crate) fn cancel() -> String {
    format!("{ORIGIN}/offer?u=paypal-cancelled")
}

pub(crate) fn error(rest: &str) -> String {
    format!("{ORIGIN}/offer?u=paypal-error&{rest}")
}

/// The addresses of a page, with whatever the call is about.
pub(crate) fn with_addresses(about: Value) -> Value {
    let mut body = json!({
        "successUrl": success(), "cancelUrl": cancel(), "errorUrl": format!("{ORIGIN}/offer?u=paypal-error"), "captchaValue": "x",
    });
    body.as_object_mut().unwrap().extend(about.as_object().unwrap().clone());
    body
}

impl Shopper {
    pub(crate) fn body(&self) -> Value {
        with_addresses(json!({ "orderId": self.order }))
    }

    pub(crate) async fn start_with(&self, stage: &Stage, body: &Value) -> Reply {
        stage.call_at(self.gateway, "v1/tokens", &self.token, body).await
    }

    pub(crate) async fn start(&self, stage: &Stage) -> Reply {
        self.start_with(stage, &self.body()).await
    }

    /// Starts, and agrees or gives up at the gateway; the address that his browser is sent to.
    pub(crate) async fn goes(&self, stage: &Stage, agrees: bool) -> String {
        let page = redirect_url(&self.start(stage).await);
        let back = stage.guest(self.gateway).house.leave(&page, agrees).unwrap();
        assert!(back.starts_with(OWN_ADDRESS), "{back}");
        back
    }
}

/// Where the page is told to send the customer.
pub(crate) fn redirect_url(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.body["responseData"].as_object().unwrap().len(), 1, "{}", reply.body);
    reply.body["responseData"]["redirectUrl"].as_str().unwrap().to_owned()
}

/// Where we send the customer on to.
pub(crate) fn sent_on(reply: &Reply) -> &str {
    assert_eq!(reply.status, 303, "{}", reply.body);
    reply.location.as_deref().unwrap()
}

/// Minor units that the gateway has taken and not given back, with both sides in agreement.
pub(crate) fn taken(stage: &Stage, gateway: GatewayName) -> i64 {
    assert_balanced(stage);
    stage.guest(gateway).house.ledger().iter().map(|entry| entry.captured.minor - entry.refunded.minor).sum()
}

/// The order is paid once: one charge, one captured payment in Cleeng, with details that renew.
pub(crate) fn assert_paid_once(stage: &Stage, shopper: &Shopper) {
    let captured: Vec<_> =
        stage.cleeng.payments().into_iter().filter(|payment| payment.status == connector::cleeng::PaymentStatus::Captured).collect();
    assert_eq!(captured.len(), 1, "{:?}", crate::statuses(stage));
    assert_eq!((&captured[0].order, &captured[0].customer), (&shopper.order, &shopper.customer));
    let details = stage.cleeng.details(captured[0].details.as_ref().unwrap()).unwrap();
    assert!(details.active && stage.guest(shopper.gateway).house.is_stored(&details.token));
    assert_eq!(taken(stage, shopper.gateway), 999);
}
