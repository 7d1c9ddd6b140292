//! What a gateway's component asks for before a payment, and what of the page's data reaches Adyen.

use std::sync::{Arc, Mutex};

use connector::frontend_api::Reply;
use connector::gateway::GatewayName;
use connector::money::{Currency, Money};
use sandbox::simulators::network::Fault;
use sandbox::testkit::fixtures::{PASS, SHOP_ORIGIN, id};
use sandbox::testkit::gateway_fixtures::{ADYEN_CLIENT_KEY, ADYEN_METHOD};
use sandbox::testkit::harness::TestEnvironment;
use serde_json::{Value, json};

use crate::front::{Buyer, GOOD, REDIRECTING, browser_info, buyer, card, code, is_paid};

fn types(reply: &Reply) -> Vec<&str> {
    let methods = reply.body["responseData"]["paymentMethods"].as_array().unwrap_or_else(|| panic!("{}", reply.body));
    methods.iter().map(|method| method["type"].as_str().unwrap()).collect()
}

/// What Adyen is sent from now on: path and body.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<(String, Value)>>>);

impl Sent {
    fn watch(env: &TestEnvironment) -> Self {
        let sent = Self::default();
        let requests = Arc::clone(&sent.0);
        // A fault that applies to nothing sees everything.
        env.network.inject(Fault::NotSent, move |peer, request| {
            if peer == "adyen" {
                requests.lock().unwrap().push((request.path.clone(), request.json()));
            }
            false
        });
        sent
    }

    /// The last body at this path.
    fn last(&self, path: &str) -> Value {
        let sent = self.0.lock().unwrap();
        sent.iter().rev().find(|(at, _)| at.ends_with(path)).unwrap_or_else(|| panic!("nothing was sent to {path}")).1.clone()
    }
}

#[tokio::test]
async fn the_component_gets_adyens_methods_for_the_order_as_the_sdk_reads_them() {
    let env = TestEnvironment::default();
    let (sent, buyer) = (Sent::watch(&env), buyer(&env));
    let told = env.call("payment-methods", &buyer.token, &json!({ "orderId": buyer.order })).await;
    assert_eq!(types(&told), ["scheme", "googlepay"], "what cannot renew is not offered for a subscription");
    let data = &told.body["responseData"];
    assert_eq!((&data["amount"], &data["countryCode"]), (&json!({ "currency": "USD", "value": 999 }), &json!("US")));
    assert_eq!((&data["clientKey"], &data["region"]), (&json!(ADYEN_CLIENT_KEY), &json!("EU")));
    assert!(data["shopperStatement"].is_string() && data.get("storedPaymentMethods").is_none(), "{data}");
    let asked = sent.last("/paymentMethods");
    assert_eq!((&asked["amount"], &asked["countryCode"]), (&json!({ "currency": "USD", "value": 999 }), &json!("US")));
    assert!(asked.get("shopperReference").is_none(), "a shopper's stored details must not be listed: {asked}");
}

#[tokio::test]
async fn a_single_purchase_is_offered_more_and_my_account_what_renews() {
    let env = TestEnvironment::default();
    let customer = env.cleeng.new_customer().unwrap();
    let order = env.cleeng.new_order(&customer, &id(PASS), &id(ADYEN_METHOD)).unwrap();
    let token = env.cleeng.customer_token(&customer);
    let told = env.call("payment-methods", &token, &json!({ "orderId": order })).await;
    assert_eq!(types(&told), ["scheme", "googlepay", "ideal", "bcmc"], "what the connector does not sell is not offered");
    for body in [json!({}), json!({ "orderId": null })] {
        let told = env.call("payment-methods", &token, &body).await;
        assert_eq!(types(&told), ["scheme", "googlepay"]);
        let data = &told.body["responseData"];
        assert_eq!((&data["amount"], &data["countryCode"]), (&json!({ "currency": "USD", "value": 0 }), &json!("US")));
    }
}

#[tokio::test]
async fn the_methods_are_the_customers_own_affair() {
    let env = TestEnvironment::default();
    let owner = buyer(&env);
    let stranger = Buyer { order: owner.order.clone(), ..buyer(&env) };
    let body = json!({ "orderId": owner.order });
    assert_eq!(code(&env.call("payment-methods", &stranger.token, &body).await), (404, "ADYEN0001"));
    assert_eq!(code(&env.call("payment-methods", "nothing", &body).await), (401, "AUTH0002"));
    assert_eq!(code(&env.call_at(GatewayName::PayPal, "payment-methods", &owner.token, &body).await), (404, "REQ0003"));
    assert_eq!(code(&env.call("payment-methods", &owner.token, &json!({ "orderId": [] })).await), (400, "REQ0001"));
    env.network.inject(Fault::NotSent, |peer, _| peer == "adyen");
    assert_eq!(code(&env.call("payment-methods", &owner.token, &body).await), (503, "ADYEN0005"));
}

#[tokio::test]
async fn a_session_lists_the_methods_and_can_charge_nothing() {
    let env = TestEnvironment::default();
    let (sent, buyer) = (Sent::watch(&env), buyer(&env));
    let body = json!({ "orderId": buyer.order, "returnUrl": SHOP_ORIGIN });
    let told = env.call("sessions", &buyer.token, &body).await;
    let session = &told.body["responseData"];
    assert!(session["id"].is_string() && session["sessionData"].is_string(), "{}", told.body);
    assert_eq!(session["amount"], json!({ "currency": "USD", "value": 0 }));
    assert_eq!(sent.last("/sessions")["amount"]["value"], 0);
    assert_eq!(sent.last("/sessions")["allowedPaymentMethods"], json!(["scheme", "applepay", "googlepay"]));
    // The payment is made by the start alone, without `browserInfo`, `origin` and captcha, as ott-web-app sends it.
    let start = json!({
        "orderId": buyer.order, "returnUrl": format!("{SHOP_ORIGIN}/?u=finalize-payment"), "paymentMethod": card(GOOD, "J D", "1"),
        "customerIP": "192.0.2.1",
    });
    assert!(is_paid(&env.call("initial-payment", &buyer.token, &start).await));
    crate::front::assert_paid_once(&env, &buyer);
    assert_eq!(code(&env.call("sessions", &buyer.token, &json!({ "orderId": buyer.order })).await), (400, "REQ0001"));
    let elsewhere = json!({ "orderId": buyer.order, "returnUrl": "https://evil.test" });
    assert_eq!(code(&env.call("sessions", &buyer.token, &elsewhere).await), (400, "REQ0008"));
}

#[tokio::test]
async fn authentication_is_within_the_page_only_if_the_page_can() {
    for (member, expected) in [(None, Value::Null), (Some(true), json!("disabled")), (Some(false), json!("preferred"))] {
        let env = TestEnvironment::default();
        let (sent, buyer) = (Sent::watch(&env), buyer(&env));
        let mut body = buyer.start_body(&card(REDIRECTING, "J D", "1"));
        member.into_iter().for_each(|member| body["enable3DSRedirectFlow"] = json!(member));
        body["attemptAuthentication"] = json!("always");
        assert_eq!(env.call("initial-payment", &buyer.token, &body).await.status, 200);
        let data = &sent.last("/payments")["authenticationData"];
        assert_eq!((&data["threeDSRequestData"]["nativeThreeDS"], &data["attemptAuthentication"]), (&expected, &json!("always")));
    }
}

#[tokio::test]
async fn adyen_gets_the_customers_address_from_cleeng_and_whole_objects_from_the_page() {
    let env = TestEnvironment::default();
    let (sent, buyer) = (Sent::watch(&env), buyer(&env));
    let mut body = buyer.start_body(&card(GOOD, "J D", "1"));
    body["shopperEmail"] = json!("somebody-else@example.com");
    // What the SDK's component collects.
    body["billingAddress"] = json!({ "postalCode": "94107", "stateOrProvince": "N/A" });
    for (name, broken) in [
        ("browserInfo", json!({ "userAgent": "x" })),
        ("browserInfo", json!("x")),
        ("billingAddress", json!("x")),
        ("returnUrl", json!(format!("{SHOP_ORIGIN}/{}", "x".repeat(1_100)))),
    ] {
        let mut wrong = body.clone();
        wrong[name] = broken;
        let told = env.call("initial-payment", &buyer.token, &wrong).await;
        assert_eq!(code(&told), (400, "REQ0001"), "{}", told.body);
        assert!(told.body["detail"].as_str().unwrap().starts_with(name), "{}", told.body);
    }
    assert!(env.network.calls().is_empty());
    assert!(is_paid(&env.call("initial-payment", &buyer.token, &body).await));
    let expected = format!("customer-{}@example.com", buyer.customer);
    let paid = sent.last("/payments");
    assert_eq!((&paid["shopperEmail"], &paid["browserInfo"]), (&json!(expected), &browser_info()));
    let address = json!({
        "city": "N/A", "country": "ZZ", "houseNumberOrName": "N/A", "postalCode": "94107", "stateOrProvince": "N/A", "street": "N/A",
    });
    assert_eq!(paid["billingAddress"], address);
    // Storing details too.
    let mut details = buyer.start_body(&card(GOOD, "J D", "2"));
    details["paymentMethodId"] = json!(ADYEN_METHOD);
    assert_eq!(env.call("payment-details", &buyer.token, &details).await.status, 200);
    assert_eq!((&sent.last("/payments")["shopperEmail"], &sent.last("/payments")["amount"]["value"]), (&json!(expected), &json!(0)));
}

#[tokio::test]
async fn a_page_is_told_what_the_sdks_type_names_and_nothing_else() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    env.cleeng.change_order_price(&buyer.order, Money::new(500, Currency::new("USD").unwrap()), true);
    let told = buyer.start(&env, &card(GOOD, "J D", "1")).await;
    let payment = &told.body["responseData"]["payment"];
    assert_eq!((&payment["paymentMethod"], &payment["paymentGateway"]), (&json!("card"), &json!("adyen")), "{payment}");
    for id in ["id", "orderId", "customerId", "paymentMethodId"] {
        assert!(payment[id].is_number(), "{id}: {payment}");
    }
    // Cleeng writes ids as numbers and as texts in turn.
    for entry in ["2", "3"] {
        let mut details = buyer.start_body(&card(GOOD, "J D", entry));
        details["paymentMethodId"] = json!(ADYEN_METHOD);
        let told = env.call("payment-details", &buyer.token, &details).await;
        let stored = told.body["responseData"]["paymentDetails"].as_object().unwrap_or_else(|| panic!("{}", told.body));
        assert!(["id", "customerId", "paymentMethodId"].iter().all(|id| stored[*id].is_number()), "{}", told.body);
        assert!(!stored.contains_key("attemptRestrictions") && !stored.contains_key("token"), "{}", told.body);
    }
}
