//! The environment of `cargo run` and `cargo run -- serve`: every route over sockets.

use std::net::Ipv4Addr;
use std::time::Duration;

use connector::gateway::GatewayName;
use connector::http::{HeaderName, Method, Request, ReqwestTransport, Transport as _};
use sandbox::local::{Addresses, LocalWorld};
use sandbox::simulators::simulated_gateway::{EnteredDetails, SimulatedGateway as _};
use sandbox::testkit::fixtures::{PASS, SHOP_ORIGIN, START, id};
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use serde_json::{Value, json};

async fn open_world() -> LocalWorld {
    LocalWorld::open(START, Addresses::ephemeral(Ipv4Addr::LOCALHOST.into())).await.unwrap()
}

#[tokio::test]
async fn a_page_pays_over_a_socket_and_gets_cors_headers() {
    let world = open_world().await;
    let customer = world.cleeng.new_customer().unwrap();
    let order = world.cleeng.new_order(&customer, &id(PASS), &id(ADYEN_METHOD)).unwrap();
    let mut body = json!({ "orderId": order, "origin": SHOP_ORIGIN, "returnUrl": format!("{SHOP_ORIGIN}/checkout"), "captchaValue": "x" });
    if let (Some(body), Value::Object(entered)) = (body.as_object_mut(), world.adyen.payment_data(EnteredDetails::Frictionless, 1)) {
        body.extend(entered);
    }
    let mut request =
        Request::new(Method::POST, format!("{}/connectors/adyen/initial-payment", world.connector_url()), Duration::from_secs(10))
            .header(HeaderName::from_static("origin"), SHOP_ORIGIN)
            .header(HeaderName::from_static("authorization"), &format!("Bearer {}", world.cleeng.customer_token(&customer)));
    request.body = body.to_string().into();
    let answer = ReqwestTransport::new().unwrap().send(request).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers.get("access-control-allow-origin").map(|origin| origin.to_str().unwrap()), Some(SHOP_ORIGIN));
    assert_eq!(world.adyen.total_captured("USD"), 999);
    let (status, _) = world.call_frontend(GatewayName::Adyen, "elsewhere", "", &json!({})).await.unwrap();
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_notification_over_a_socket_is_put_on_the_queue() {
    let world = open_world().await;
    world.adyen.store_method("shopper");
    let customer = world.cleeng.new_customer().unwrap();
    let order = world.cleeng.new_order(&customer, &id(PASS), &id(ADYEN_METHOD)).unwrap();
    let mut body = json!({ "orderId": order, "origin": SHOP_ORIGIN, "returnUrl": format!("{SHOP_ORIGIN}/checkout"), "captchaValue": "x" });
    if let (Some(body), Value::Object(entered)) = (body.as_object_mut(), world.adyen.payment_data(EnteredDetails::Frictionless, 1)) {
        body.extend(entered);
    }
    world.call_frontend(GatewayName::Adyen, "initial-payment", &world.cleeng.customer_token(&customer), &body).await.unwrap();
    let statuses = world.post_notifications(world.adyen.as_ref()).await.unwrap();
    assert!(!statuses.is_empty() && statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(world.functions.queues.len(), statuses.len());
    while let Some(message) = world.functions.queues.receive() {
        assert!(world.functions.deliver_message(&message).await);
    }
    assert_eq!((world.functions.queues.len(), world.functions.run_reconciliation().await["due"].as_u64()), (0, Some(0)));
}

#[tokio::test]
async fn a_customer_is_redirected_to_the_gateway_and_back_over_sockets() {
    let world = open_world().await;
    let paypal = world.gateways.iter().find(|fixture| fixture.simulator.gateway_name() == GatewayName::PayPal).unwrap();
    let customer = world.cleeng.new_customer().unwrap();
    let order = world.cleeng.new_order(&customer, &id(PASS), &id(paypal.method)).unwrap();
    let page = |place: &str| format!("{SHOP_ORIGIN}/{place}");
    let body = json!({ "orderId": order, "successUrl": page("thankyou"), "cancelUrl": page("offer"), "errorUrl": page("sorry") });
    let token = world.cleeng.customer_token(&customer);
    let (status, told) = world.call_frontend(GatewayName::PayPal, "v1/tokens", &token, &body).await.unwrap();
    assert_eq!(status, 200, "{told}");
    let back =
        paypal.simulator.complete_redirect(told.pointer("/responseData/redirectUrl").and_then(Value::as_str).unwrap(), true).unwrap();
    assert!(back.starts_with(&world.connector_url()), "{back}");
    let sender = ReqwestTransport::new().unwrap();
    for _ in 0..2 {
        let answer = sender.send(Request::new(Method::GET, back.clone(), Duration::from_secs(10))).await.unwrap();
        let location = answer.headers.get("location").map(|location| location.to_str().unwrap());
        assert_eq!(answer.status, 303);
        assert!(location.is_some_and(|location| location.starts_with(&page("thankyou"))), "{location:?}");
        assert_eq!(answer.headers.get("referrer-policy").map(|policy| policy.to_str().unwrap()), Some("no-referrer"));
    }
    let taken: Vec<i64> = paypal.simulator.ledger().iter().map(|entry| entry.captured.minor).collect();
    assert_eq!(taken, [999]);
}
