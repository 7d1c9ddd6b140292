//! The front-end API, each rule with a test named after it: the real door, stories, clients and adapter against the simulators, with the
//! effects checked at both sides.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod absent;
#[path = "../support/faults.rs"]
mod all_faults;
#[path = "../support/changes.rs"]
mod changes;
mod crashes;
mod details;
mod door;
mod faults;
mod heard;
mod nothing_entered;
mod openapi;
mod ownership;
mod purchase;
mod races;
mod remembered;
mod superseding;
mod tokens;

use connector::cleeng::PaymentStatus;
use connector::front::Reply;
use connector::http::Method;
use connector::ids::{CustomerId, OrderId};
use sandbox::stage::{METHOD, OFFER, ORIGIN, Stage, id};
use serde_json::{Value, json};

pub(crate) const GOOD: &str = "test_4111111111111111";
pub(crate) const REDIRECTING: &str = "test_4917610000000000";
pub(crate) const NATIVE: &str = "test_5201281505129736";

/// A customer with an order, at a page.
#[derive(Clone)]
pub(crate) struct Buyer {
    pub(crate) customer: CustomerId,
    pub(crate) order: OrderId,
    pub(crate) token: String,
}

pub(crate) fn buyer(stage: &Stage) -> Buyer {
    let customer = stage.cleeng.new_customer().unwrap();
    let order = stage.cleeng.new_order(&customer, &id(OFFER), &id(METHOD)).unwrap();
    let token = stage.cleeng.customer_token(&customer);
    Buyer { customer, order, token }
}

/// Payment data as Adyen's component collects it. `entry` tells two entries of one card apart, as encryption does.
pub(crate) fn card(number: &str, holder: &str, entry: &str) -> Value {
    json!({
        "type": "scheme", "encryptedCardNumber": number, "encryptedExpiryMonth": "test_03", "encryptedExpiryYear": "test_2030",
        "encryptedSecurityCode": format!("test_{entry}"), "holderName": holder,
    })
}

impl Buyer {
    pub(crate) fn start_body(&self, method: &Value) -> Value {
        json!({
            "orderId": self.order, "paymentMethod": method, "browserInfo": { "userAgent": "Mozilla/5.0", "language": "en" },
            "origin": ORIGIN, "returnUrl": format!("{ORIGIN}/checkout?orderId={}", self.order), "captchaValue": "x",
        })
    }

    pub(crate) async fn start(&self, stage: &Stage, method: &Value) -> Reply {
        stage.call("initial-payment", &self.token, &self.start_body(method)).await
    }

    pub(crate) async fn finalize(&self, stage: &Stage, details: &Value) -> Reply {
        let body = json!({ "orderId": self.order, "details": details });
        stage.call("initial-payment/finalize", &self.token, &body).await
    }

    /// Asks again as a page does, until something else than "not yet" comes; time passes meanwhile.
    pub(crate) async fn start_until_told(&self, stage: &Stage, method: &Value) -> Reply {
        for _ in 0..60 {
            let reply = self.start(stage, method).await;
            if !is_pending(&reply) {
                return reply;
            }
            stage.clock.advance(std::time::Duration::from_secs(30));
        }
        panic!("never told");
    }

    pub(crate) async fn finalize_until_told(&self, stage: &Stage, details: &Value) -> Reply {
        for _ in 0..60 {
            let reply = self.finalize(stage, details).await;
            if !is_pending(&reply) {
                return reply;
            }
            stage.clock.advance(std::time::Duration::from_secs(30));
        }
        panic!("never told");
    }
}

/// Not yet, or not now: the page comes again.
pub(crate) fn is_pending(reply: &Reply) -> bool {
    matches!(reply.status.as_u16(), 202 | 503)
}

pub(crate) fn is_paid(reply: &Reply) -> bool {
    reply.status == 200 && reply.body["responseData"]["payment"]["status"] == "captured"
}

pub(crate) fn code(reply: &Reply) -> (u16, &str) {
    (reply.status.as_u16(), reply.body["code"].as_str().unwrap_or("none"))
}

pub(crate) fn next_step(reply: &Reply) -> &str {
    reply.body["responseData"]["nextStep"].as_str().unwrap_or("none")
}

/// What the customer brings back from the redirect of this answer.
pub(crate) fn redirect_result(reply: &Reply) -> Value {
    let action = &reply.body["responseData"]["action"];
    assert_eq!(action["type"], "redirect", "{}", reply.body);
    json!({ "redirectResult": action["url"].as_str().unwrap().split("result=").nth(1).unwrap() })
}

pub(crate) fn statuses(stage: &Stage) -> Vec<PaymentStatus> {
    stage.cleeng.payments().into_iter().map(|payment| payment.status).collect()
}

pub(crate) fn assert_balanced(stage: &Stage) {
    assert_eq!(stage.disagreements(), Vec::<String>::new());
}

/// One charge of the order's amount, one captured payment in Cleeng, with stored details that renew.
pub(crate) fn assert_paid_once(stage: &Stage, buyer: &Buyer) {
    let captured: Vec<_> = stage.cleeng.payments().into_iter().filter(|payment| payment.status == PaymentStatus::Captured).collect();
    assert_eq!(captured.len(), 1, "{:?}", statuses(stage));
    assert_eq!((&captured[0].order, &captured[0].customer), (&buyer.order, &buyer.customer));
    assert_eq!(stage.adyen.total_captured("USD") - stage.adyen.total_refunded("USD"), 999);
    let details = stage.cleeng.details(captured[0].details.as_ref().unwrap()).unwrap();
    let (stored, shopper) = details.token.split_once(':').unwrap();
    assert!(stage.adyen.has_method(stored) && shopper == buyer.customer.as_str() && details.active);
    assert_balanced(stage);
}

/// How often Adyen was asked for money and Cleeng was told of a payment.
pub(crate) fn writes(stage: &Stage) -> (usize, usize) {
    (stage.road.reached("adyen", &Method::POST, "/payments"), stage.road.reached("cleeng", &Method::POST, "/payments"))
}
