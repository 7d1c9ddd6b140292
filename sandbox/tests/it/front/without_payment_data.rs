//! Gateways at which the customer enters everything: a start has no payment data, and two starts look the same.

use std::time::Duration;

use connector::gateway::GatewayName;
use connector::ids::{CustomerId, OrderId};
use sandbox::simulators::simulated_gateway::SimulatedGateway as _;
use sandbox::testkit::fixtures::{OFFER, SHOP_ORIGIN, id};
use sandbox::testkit::gateway_fixtures::PAYPAL_METHOD;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::{Value, json};

use crate::front::{assert_balanced, code, is_paid};

fn customer_with_order(env: &TestEnvironment) -> (CustomerId, OrderId, String) {
    let customer = env.cleeng.new_customer().unwrap();
    let order = env.cleeng.new_order(&customer, &id(OFFER), &id(PAYPAL_METHOD)).unwrap();
    let token = env.cleeng.customer_token(&customer);
    (customer, order, token)
}

#[tokio::test]
async fn an_order_is_paid_without_payment_data_of_the_page() {
    let env = TestEnvironment::default();
    let (_, order, token) = customer_with_order(&env);
    let start = json!({ "orderId": order, "returnUrl": format!("{SHOP_ORIGIN}/back") });
    let first = env.call_at(GatewayName::PayPal, "initial-payment", &token, &start).await;
    let again = env.call_at(GatewayName::PayPal, "initial-payment", &token, &start).await;
    assert_eq!(first, again, "the same click");
    let details = env.paypal.complete_action(&first.body["responseData"]["action"]);
    let back = json!({ "orderId": order, "details": details });
    assert!(is_paid(&env.call_at(GatewayName::PayPal, "initial-payment/finalize", &token, &back).await));
    assert_eq!(env.paypal.ledger().iter().map(|entry| entry.captured.minor).collect::<Vec<_>>(), [999]);
    assert_balanced(&env);
}

#[tokio::test]
async fn payment_data_that_are_no_object_are_refused_even_if_none_are_needed() {
    let env = TestEnvironment::default();
    let (_, order, token) = customer_with_order(&env);
    for method in [json!("paypal"), json!([]), json!(1)] {
        let start = json!({ "orderId": order, "returnUrl": SHOP_ORIGIN, "paymentMethod": method });
        let reply = env.call_at(GatewayName::PayPal, "initial-payment", &token, &start).await;
        assert_eq!(code(&reply), (400, "REQ0001"), "{method}");
    }
    assert!(env.network.calls().is_empty());
}

/// Stores details as a page and its customer do; the id in Cleeng.
async fn store_details(env: &TestEnvironment, token: &str) -> Value {
    let start = json!({ "paymentMethodId": PAYPAL_METHOD, "returnUrl": SHOP_ORIGIN });
    let reply = env.call_at(GatewayName::PayPal, "payment-details", token, &start).await;
    let action = &reply.body["responseData"]["action"];
    assert_eq!(action["type"], "redirect", "{}", reply.body);
    let back = json!({ "paymentMethodId": PAYPAL_METHOD, "details": env.paypal.complete_action(action) });
    let told = env.call_at(GatewayName::PayPal, "payment-details/finalize", token, &back).await;
    assert_eq!(told.status, 200, "{}", told.body);
    told.body["responseData"]["paymentDetails"]["id"].clone()
}

#[tokio::test]
async fn a_later_request_stores_details_again() {
    let env = TestEnvironment::default();
    let (who, _, token) = customer_with_order(&env);
    let first = store_details(&env, &token).await;
    let start = json!({ "paymentMethodId": PAYPAL_METHOD, "returnUrl": SHOP_ORIGIN });
    let same_click = env.call_at(GatewayName::PayPal, "payment-details", &token, &start).await;
    assert_eq!(same_click.body["responseData"]["paymentDetails"]["id"], first);
    env.clock.advance(Duration::from_secs(180));
    let second = store_details(&env, &token).await;
    assert_ne!(first, second);
    // And not only twice.
    for _ in 0..14 {
        env.clock.advance(Duration::from_secs(86_400));
        let token = env.cleeng.customer_token(&who);
        assert_ne!(store_details(&env, &token).await, first);
    }
    assert_balanced(&env);
}

#[tokio::test]
async fn an_approval_of_another_order_is_refused_and_the_right_one_pays() {
    let env = TestEnvironment::default();
    let mut orders = Vec::new();
    for _ in 0..2 {
        let (_, order, token) = customer_with_order(&env);
        let start = json!({ "orderId": order, "returnUrl": SHOP_ORIGIN });
        let started = env.call_at(GatewayName::PayPal, "initial-payment", &token, &start).await;
        orders.push((order, token, env.paypal.complete_action(&started.body["responseData"]["action"])));
    }
    let (order, token, own) = &orders[0];
    let finalize = |details: &Value| json!({ "orderId": order, "details": details });
    let told = env.call_at(GatewayName::PayPal, "initial-payment/finalize", token, &finalize(&orders[1].2)).await;
    assert_eq!(code(&told), (409, "ORDER0008"));
    assert_eq!(env.paypal.captures().len(), 0);
    assert!(is_paid(&env.call_at(GatewayName::PayPal, "initial-payment/finalize", token, &finalize(own)).await));
    assert_eq!(env.paypal.captures().len(), 1);
    assert_balanced(&env);
}

#[tokio::test]
async fn an_approval_of_a_replaced_attempt_charges_nothing() {
    let env = TestEnvironment::default();
    let (_, order, token) = customer_with_order(&env);
    let mut agreed = Vec::new();
    for entry in [1, 2] {
        let start = json!({ "orderId": order, "returnUrl": SHOP_ORIGIN, "paymentMethod": { "entry": entry } });
        let started = env.call_at(GatewayName::PayPal, "initial-payment", &token, &start).await;
        agreed.push(env.paypal.complete_action(&started.body["responseData"]["action"]));
    }
    let finalize = |details: &Value| json!({ "orderId": order, "details": details });
    let told = env.call_at(GatewayName::PayPal, "initial-payment/finalize", &token, &finalize(&agreed[0])).await;
    assert_eq!(code(&told), (409, "ORDER0008"));
    assert_eq!((env.paypal.captures().len(), env.cleeng.payments().len()), (0, 0));
    assert!(is_paid(&env.call_at(GatewayName::PayPal, "initial-payment/finalize", &token, &finalize(&agreed[1])).await));
    env.run_until_idle().await;
    assert_eq!(env.paypal.captures().len(), 1);
    assert_balanced(&env);
}
