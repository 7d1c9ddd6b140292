//! What `cargo run` and `cargo run -- serve` live in: every route over sockets, and the whole life in a test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;
use std::time::Duration;

use connector::gateway::GatewayName;
use connector::http::{HeaderName, Method, Request, ReqwestTransport, Transport as _};
use sandbox::demo;
use sandbox::house::{Entry, House as _};
use sandbox::local::{Addresses, LocalWorld};
use sandbox::stage::{METHOD, ORIGIN, PASS, START, id};
use serde_json::{Value, json};

#[tokio::test]
async fn the_whole_life_goes_as_it_should_and_both_sides_agree() {
    let mut out = Vec::new();
    let good = demo::play(&mut out).await.unwrap();
    let told = String::from_utf8(out).unwrap();
    assert!(good && told.ends_with("Both sides agree.\n"), "{told}");
    let scenes = ["first purchase", "first renewal", "refused at the first attempt", "authorised with the old details", "single purchases"];
    for scene in scenes.into_iter().chain(["chargeback", "left open", "terminated"]) {
        assert!(told.contains(scene), "{scene} is not told");
    }
    assert!(!told.contains("NOT AS EXPECTED") && !told.contains("DISAGREEMENT"));
}

async fn world() -> LocalWorld {
    LocalWorld::open(START, Addresses::free(Ipv4Addr::LOCALHOST.into())).await.unwrap()
}

#[tokio::test]
async fn a_page_pays_over_a_socket_and_is_told_who_may_read_the_answer() {
    let world = world().await;
    let customer = world.cleeng.new_customer().unwrap();
    let order = world.cleeng.new_order(&customer, &id(PASS), &id(METHOD)).unwrap();
    let mut body = json!({ "orderId": order, "origin": ORIGIN, "returnUrl": format!("{ORIGIN}/checkout"), "captchaValue": "x" });
    if let (Some(body), Value::Object(entered)) = (body.as_object_mut(), world.adyen.entered(Entry::Good, 1)) {
        body.extend(entered);
    }
    let mut request =
        Request::new(Method::POST, format!("{}/connectors/adyen/initial-payment", world.connector_url()), Duration::from_secs(10))
            .header(HeaderName::from_static("origin"), ORIGIN)
            .header(HeaderName::from_static("authorization"), &format!("Bearer {}", world.cleeng.customer_token(&customer)));
    request.body = body.to_string().into();
    let answer = ReqwestTransport::new().unwrap().send(request).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers.get("access-control-allow-origin").map(|origin| origin.to_str().unwrap()), Some(ORIGIN));
    assert_eq!(world.adyen.total_captured("USD"), 999);
    let (status, _) = world.call(GatewayName::Adyen, "elsewhere", "", &json!({})).await.unwrap();
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_gateway_tells_over_a_socket_and_its_word_lies_on_the_queue() {
    let world = world().await;
    world.adyen.store_method("shopper");
    let customer = world.cleeng.new_customer().unwrap();
    let order = world.cleeng.new_order(&customer, &id(PASS), &id(METHOD)).unwrap();
    let mut body = json!({ "orderId": order, "origin": ORIGIN, "returnUrl": format!("{ORIGIN}/checkout"), "captchaValue": "x" });
    if let (Some(body), Value::Object(entered)) = (body.as_object_mut(), world.adyen.entered(Entry::Good, 1)) {
        body.extend(entered);
    }
    world.call(GatewayName::Adyen, "initial-payment", &world.cleeng.customer_token(&customer), &body).await.unwrap();
    let statuses = world.notify(world.adyen.as_ref()).await.unwrap();
    assert!(!statuses.is_empty() && statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(world.functions.queues.len(), statuses.len());
    while let Some(message) = world.functions.queues.receive() {
        assert!(world.functions.work(&message).await);
    }
    assert_eq!((world.functions.queues.len(), world.functions.go_round().await["due"].as_u64()), (0, Some(0)));
}

#[tokio::test]
async fn a_customer_goes_to_the_gateway_and_back_to_the_page_over_sockets() {
    let world = world().await;
    let paypal = world.guests.iter().find(|guest| guest.house.gateway() == GatewayName::PayPal).unwrap();
    let customer = world.cleeng.new_customer().unwrap();
    let order = world.cleeng.new_order(&customer, &id(PASS), &id(paypal.method)).unwrap();
    let page = |place: &str| format!("{ORIGIN}/{place}");
    let body = json!({ "orderId": order, "successUrl": page("thankyou"), "cancelUrl": page("offer"), "errorUrl": page("sorry") });
    let token = world.cleeng.customer_token(&customer);
    let (status, told) = world.call(GatewayName::PayPal, "v1/tokens", &token, &body).await.unwrap();
    assert_eq!(status, 200, "{told}");
    let back = paypal.house.leave(told.pointer("/responseData/redirectUrl").and_then(Value::as_str).unwrap(), true).unwrap();
    assert!(back.starts_with(&world.connector_url()), "{back}");
    let sender = ReqwestTransport::new().unwrap();
    for _ in 0..2 {
        let answer = sender.send(Request::new(Method::GET, back.clone(), Duration::from_secs(10))).await.unwrap();
        let location = answer.headers.get("location").map(|location| location.to_str().unwrap());
        assert_eq!((answer.status.as_u16(), location), (303, Some(page("thankyou").as_str())));
        assert_eq!(answer.headers.get("referrer-policy").map(|policy| policy.to_str().unwrap()), Some("no-referrer"));
    }
    let taken: Vec<i64> = paypal.house.ledger().iter().map(|entry| entry.captured.minor).collect();
    assert_eq!(taken, [999]);
}
