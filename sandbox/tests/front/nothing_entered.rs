//! Gateways where the customer enters everything at the gateway: a start brings no payment data, and two starts look the same.

use std::time::Duration;

use connector::gateway::GatewayName;
use connector::ids::{CustomerId, OrderId};
use sandbox::guests::PAYPAL_METHOD;
use sandbox::house::House as _;
use sandbox::stage::{OFFER, ORIGIN, Stage, id};
use serde_json::{Value, json};

use crate::{assert_balanced, code, is_paid};

fn customer(stage: &Stage) -> (CustomerId, OrderId, String) {
    let customer = stage.cleeng.new_customer().unwrap();
    let order = stage.cleeng.new_order(&customer, &id(OFFER), &id(PAYPAL_METHOD)).unwrap();
    let token = stage.cleeng.customer_token(&customer);
    (customer, order, token)
}

#[tokio::test]
async fn an_order_is_paid_without_payment_data_of_the_page() {
    let stage = Stage::default();
    let (_, order, token) = customer(&stage);
    let start = json!({ "orderId": order, "returnUrl": format!("{ORIGIN}/back") });
    let first = stage.call_at(GatewayName::PayPal, "initial-payment", &token, &start).await;
    let again = stage.call_at(GatewayName::PayPal, "initial-payment", &token, &start).await;
    assert_eq!(first, again, "the same click");
    let details = stage.paypal.agree(&first.body["responseData"]["action"]);
    let back = json!({ "orderId": order, "details": details });
    assert!(is_paid(&stage.call_at(GatewayName::PayPal, "initial-payment/finalize", &token, &back).await));
    assert_eq!(stage.paypal.ledger().iter().map(|entry| entry.captured.minor).collect::<Vec<_>>(), [999]);
    assert_balanced(&stage);
}

#[tokio::test]
async fn payment_data_that_are_no_object_are_refused_even_where_none_are_needed() {
    let stage = Stage::default();
    let (_, order, token) = customer(&stage);
    for method in [json!("paypal"), json!([]), json!(1)] {
        let start = json!({ "orderId": order, "returnUrl": ORIGIN, "paymentMethod": method });
        let reply = stage.call_at(GatewayName::PayPal, "initial-payment", &token, &start).await;
        assert_eq!(code(&reply), (400, "REQ0001"), "{method}");
    }
    assert!(stage.road.calls().is_empty());
}

/// Stores details as a page and its customer do; the id in Cleeng.
async fn store(stage: &Stage, token: &str) -> Value {
    let start = json!({ "paymentMethodId": PAYPAL_METHOD, "returnUrl": ORIGIN });
    let reply = stage.call_at(GatewayName::PayPal, "payment-details", token, &start).await;
    let action = &reply.body["responseData"]["action"];
    assert_eq!(action["type"], "redirect", "{}", reply.body);
    let back = json!({ "paymentMethodId": PAYPAL_METHOD, "details": stage.paypal.agree(action) });
    let told = stage.call_at(GatewayName::PayPal, "payment-details/finalize", token, &back).await;
    assert_eq!(told.status, 200, "{}", told.body);
    told.body["responseData"]["paymentDetails"]["id"].clone()
}

#[tokio::test]
async fn a_customer_who_comes_again_later_stores_details_anew() {
    let stage = Stage::default();
    let (who, _, token) = customer(&stage);
    let first = store(&stage, &token).await;
    let start = json!({ "paymentMethodId": PAYPAL_METHOD, "returnUrl": ORIGIN });
    let same_click = stage.call_at(GatewayName::PayPal, "payment-details", &token, &start).await;
    assert_eq!(same_click.body["responseData"]["paymentDetails"]["id"], first);
    stage.clock.advance(Duration::from_secs(180));
    let second = store(&stage, &token).await;
    assert_ne!(first, second);
    // And not only twice.
    for _ in 0..14 {
        stage.clock.advance(Duration::from_secs(86_400));
        let token = stage.cleeng.customer_token(&who);
        assert_ne!(store(&stage, &token).await, first);
    }
    assert_balanced(&stage);
}

#[tokio::test]
async fn what_was_agreed_to_for_another_order_is_refused_and_the_right_one_pays() {
    let stage = Stage::default();
    let mut orders = Vec::new();
    for _ in 0..2 {
        let (_, order, token) = customer(&stage);
        let start = json!({ "orderId": order, "returnUrl": ORIGIN });
        let started = stage.call_at(GatewayName::PayPal, "initial-payment", &token, &start).await;
        orders.push((order, token, stage.paypal.agree(&started.body["responseData"]["action"])));
    }
    let (order, token, own) = &orders[0];
    let finalize = |details: &Value| json!({ "orderId": order, "details": details });
    let told = stage.call_at(GatewayName::PayPal, "initial-payment/finalize", token, &finalize(&orders[1].2)).await;
    assert_eq!(code(&told), (409, "ORDER0008"));
    assert_eq!(stage.paypal.captured().len(), 0);
    assert!(is_paid(&stage.call_at(GatewayName::PayPal, "initial-payment/finalize", token, &finalize(own)).await));
    assert_eq!(stage.paypal.captured().len(), 1);
    assert_balanced(&stage);
}

#[tokio::test]
async fn what_was_agreed_to_for_a_replaced_attempt_takes_nothing() {
    let stage = Stage::default();
    let (_, order, token) = customer(&stage);
    let mut agreed = Vec::new();
    for entry in [1, 2] {
        let start = json!({ "orderId": order, "returnUrl": ORIGIN, "paymentMethod": { "entry": entry } });
        let started = stage.call_at(GatewayName::PayPal, "initial-payment", &token, &start).await;
        agreed.push(stage.paypal.agree(&started.body["responseData"]["action"]));
    }
    let finalize = |details: &Value| json!({ "orderId": order, "details": details });
    let told = stage.call_at(GatewayName::PayPal, "initial-payment/finalize", &token, &finalize(&agreed[0])).await;
    assert_eq!(code(&told), (409, "ORDER0008"));
    assert_eq!((stage.paypal.captured().len(), stage.cleeng.payments().len()), (0, 0));
    assert!(is_paid(&stage.call_at(GatewayName::PayPal, "initial-payment/finalize", &token, &finalize(&agreed[1])).await));
    stage.run_until_quiet().await;
    assert_eq!(stage.paypal.captured().len(), 1);
    assert_balanced(&stage);
}
