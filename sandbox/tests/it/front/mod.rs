//! The front-end API, each rule with a test named after it: the real handler, flows, clients and adapter against the simulators, with the
//! effects checked on both sides.

mod cleeng_clients;
mod crashes;
mod details;
mod faults;
mod notifications;
mod openapi;
mod ownership;
mod page_methods;
mod purchase;
mod races;
mod requests;
mod retention;
mod superseding;
mod tokens;
mod without_customer;
mod without_payment_data;

use connector::cleeng::PaymentStatus;
use connector::frontend_api::Reply;
use connector::http::Method;
use connector::ids::{CustomerId, OrderId};
use sandbox::testkit::fixtures::{OFFER, SHOP_ORIGIN, id};
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;
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

pub(crate) fn buyer(env: &TestEnvironment) -> Buyer {
    let customer = env.cleeng.new_customer().unwrap();
    let order = env.cleeng.new_order(&customer, &id(OFFER), &id(ADYEN_METHOD)).unwrap();
    let token = env.cleeng.customer_token(&customer);
    Buyer { customer, order, token }
}

/// Payment data as Adyen's component collects it. `entry` tells two entries of one card apart, as encryption does.
pub(crate) fn card(number: &str, holder: &str, entry: &str) -> Value {
    json!({
        "type": "scheme", "encryptedCardNumber": number, "encryptedExpiryMonth": "test_03", "encryptedExpiryYear": "test_2030",
        "encryptedSecurityCode": format!("test_{entry}"), "holderName": holder,
    })
}

/// What Adyen's component collects of a browser.
pub(crate) fn browser_info() -> Value {
    json!({
        "acceptHeader": "*/*", "colorDepth": 24, "javaEnabled": false, "language": "en", "screenHeight": 1080, "screenWidth": 1920,
        "timeZoneOffset": -60, "userAgent": "Mozilla/5.0",
    })
}

impl Buyer {
    pub(crate) fn start_body(&self, method: &Value) -> Value {
        json!({
            "orderId": self.order, "paymentMethod": method, "browserInfo": browser_info(),
            "origin": SHOP_ORIGIN, "returnUrl": format!("{SHOP_ORIGIN}/checkout?orderId={}", self.order), "captchaValue": "x",
        })
    }

    pub(crate) async fn start(&self, env: &TestEnvironment, method: &Value) -> Reply {
        env.call("initial-payment", &self.token, &self.start_body(method)).await
    }

    pub(crate) async fn finalize(&self, env: &TestEnvironment, details: &Value) -> Reply {
        let body = json!({ "orderId": self.order, "details": details });
        env.call("initial-payment/finalize", &self.token, &body).await
    }

    /// Asks again as a page does, until something else than "not yet" comes; time passes meanwhile.
    pub(crate) async fn start_until_final(&self, env: &TestEnvironment, method: &Value) -> Reply {
        for _ in 0..60 {
            let reply = self.start(env, method).await;
            if !is_pending(&reply) {
                return reply;
            }
            env.clock.advance(std::time::Duration::from_secs(30));
        }
        panic!("never told");
    }

    pub(crate) async fn finalize_until_final(&self, env: &TestEnvironment, details: &Value) -> Reply {
        for _ in 0..60 {
            let reply = self.finalize(env, details).await;
            if !is_pending(&reply) {
                return reply;
            }
            env.clock.advance(std::time::Duration::from_secs(30));
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
    reply.body["nextStep"].as_str().unwrap_or("none")
}

/// What the customer brings back from the redirect of this answer.
pub(crate) fn redirect_result(reply: &Reply) -> Value {
    let action = &reply.body["responseData"]["action"];
    assert_eq!(action["type"], "redirect", "{}", reply.body);
    json!({ "redirectResult": action["url"].as_str().unwrap().split("result=").nth(1).unwrap() })
}

pub(crate) fn statuses(env: &TestEnvironment) -> Vec<PaymentStatus> {
    env.cleeng.payments().into_iter().map(|payment| payment.status).collect()
}

pub(crate) fn assert_balanced(env: &TestEnvironment) {
    assert_eq!(env.discrepancies(), Vec::<String>::new());
}

/// One charge of the order's amount, one captured payment in Cleeng, with stored details that renew.
pub(crate) fn assert_paid_once(env: &TestEnvironment, buyer: &Buyer) {
    let captured: Vec<_> = env.cleeng.payments().into_iter().filter(|payment| payment.status == PaymentStatus::Captured).collect();
    assert_eq!(captured.len(), 1, "{:?}", statuses(env));
    assert_eq!((&captured[0].order, &captured[0].customer), (&buyer.order, &buyer.customer));
    assert_eq!(env.adyen.total_captured("USD") - env.adyen.total_refunded("USD"), 999);
    let details = env.cleeng.details(captured[0].details.as_ref().unwrap()).unwrap();
    let (stored, shopper) = details.token.split_once(':').unwrap();
    assert!(env.adyen.has_method(stored) && shopper == buyer.customer.as_str() && details.active);
    assert_balanced(env);
}

/// How often Adyen was asked for money and Cleeng was told of a payment.
pub(crate) fn write_counts(env: &TestEnvironment) -> (usize, usize) {
    (env.network.delivered_count("adyen", &Method::POST, "/payments"), env.network.delivered_count("cleeng", &Method::POST, "/payments"))
}

/// The second starts after so many turns of the first.
pub(crate) async fn run_concurrently<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>, head_start: usize) -> (A, B) {
    let late = async {
        for _ in 0..head_start {
            tokio::task::yield_now().await;
        }
        second.await
    };
    tokio::join!(first, late)
}
