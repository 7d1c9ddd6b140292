//! Storing payment details in the redirect style.

use std::time::Duration;

use connector::front::Reply;
use connector::gateway::GatewayName;
use sandbox::guests::PAYPAL_METHOD;
use sandbox::house::House as _;
use sandbox::stage::{ORIGIN, OWN_ADDRESS, Stage};
use serde_json::json;

use super::{Shopper, at_paypal, cancel, error, redirect_url, sent_on, shopper, success, with_addresses};
use crate::{GOOD, REDIRECTING, assert_balanced, card, code};

async fn start(stage: &Stage, shopper: &Shopper) -> Reply {
    let body = with_addresses(json!({ "paymentMethodId": PAYPAL_METHOD }));
    stage.call_at(GatewayName::PayPal, "v1/payment_details/tokens", &shopper.token, &body).await
}

async fn goes(stage: &Stage, shopper: &Shopper, agrees: bool) -> String {
    let page = redirect_url(&start(stage, shopper).await);
    let back = stage.paypal.leave(&page, agrees).unwrap();
    assert!(back.starts_with(&format!("{OWN_ADDRESS}/connectors/paypal/v1/payment_details/tokens/")), "{back}");
    back
}

/// The tokens of the customer's details in Cleeng, active or not, which the gateway has too.
fn stored(stage: &Stage, shopper: &Shopper) -> Vec<(String, bool)> {
    let all: Vec<_> = stage.cleeng.details_of(&shopper.customer).into_iter().map(|details| (details.token, details.active)).collect();
    assert!(all.iter().all(|(token, _)| stage.guest(shopper.gateway).house.is_stored(token)));
    assert_balanced(stage);
    all
}

#[tokio::test]
async fn details_are_stored_by_going_there_and_coming_back() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = goes(&stage, &shopper, true).await;
    assert!(stored(&stage, &shopper).is_empty());
    for _ in 0..3 {
        assert_eq!(sent_on(&stage.follow(&back).await), success());
    }
    let stored = stored(&stage, &shopper);
    assert!(matches!(stored.as_slice(), [(_, true)]), "{stored:?}");
    assert_eq!(redirect_url(&start(&stage, &shopper).await), success(), "the same click");
}

#[tokio::test]
async fn who_comes_again_later_stores_anew() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let first = goes(&stage, &shopper, true).await;
    stage.follow(&first).await;
    stage.clock.advance(Duration::from_secs(600));
    let second = goes(&stage, &shopper, true).await;
    assert_ne!(first, second);
    assert_eq!(sent_on(&stage.follow(&second).await), success());
    let active: Vec<_> = stored(&stage, &shopper).into_iter().map(|(_, active)| active).collect();
    assert_eq!(active, [false, true], "the new ones take the place of the old");
    assert_eq!(sent_on(&stage.follow(&first).await), success());
}

#[tokio::test]
async fn a_double_click_while_something_newer_waits_is_one_page() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    stage.follow(&goes(&stage, &shopper, true).await).await;
    stage.clock.advance(Duration::from_secs(600));
    let one = redirect_url(&start(&stage, &shopper).await);
    assert_eq!(redirect_url(&start(&stage, &shopper).await), one);
    assert_eq!(stored(&stage, &shopper).len(), 1);
}

#[tokio::test]
async fn who_gives_up_stores_nothing_and_can_try_again() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = goes(&stage, &shopper, false).await;
    for _ in 0..2 {
        assert_eq!(sent_on(&stage.follow(&back).await), cancel());
    }
    assert!(stored(&stage, &shopper).is_empty());
    let again = goes(&stage, &shopper, true).await;
    assert_eq!(sent_on(&stage.follow(&again).await), success());
    assert_eq!(stored(&stage, &shopper).len(), 1);
    assert_eq!(sent_on(&stage.follow(&back).await), cancel());
}

#[tokio::test]
async fn a_click_long_after_the_first_leads_to_another_page() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let first = redirect_url(&start(&stage, &shopper).await);
    stage.clock.advance(Duration::from_secs(2 * 3_600));
    let second = redirect_url(&start(&stage, &shopper).await);
    assert_ne!(first, second);
    let late = stage.paypal.leave(&first, true).unwrap();
    assert_eq!(sent_on(&stage.follow(&late).await), error("message=replaced&code=ORDER0008"));
    assert!(stored(&stage, &shopper).is_empty());
    assert_eq!(sent_on(&stage.follow(&stage.paypal.leave(&second, true).unwrap()).await), success());
    assert_eq!(stored(&stage, &shopper).len(), 1);
}

#[tokio::test]
async fn who_comes_back_after_a_day_is_told_that_it_is_too_late() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = goes(&stage, &shopper, true).await;
    stage.clock.advance(Duration::from_secs(25 * 3_600));
    assert_eq!(sent_on(&stage.follow(&back).await), error("message=expired&code=ORDER0001"));
    assert!(stored(&stage, &shopper).is_empty());
}

#[tokio::test]
async fn details_of_one_customer_are_not_stored_for_another() {
    let stage = Stage::default();
    let (one, other) = (at_paypal(&stage), at_paypal(&stage));
    let (ones, others) = (goes(&stage, &one, true).await, goes(&stage, &other, true).await);
    let (path, _) = ones.split_once('?').unwrap();
    let (_, foreign) = others.split_once('?').unwrap();
    assert_eq!(sent_on(&stage.follow(&format!("{path}?{foreign}")).await), error("message=failed&code=REQ0002"));
    assert!(stored(&stage, &one).is_empty() && stored(&stage, &other).is_empty());
    // A way back of the storing is none of an order.
    let as_order = ones.replace("/v1/payment_details/tokens/", "/v1/tokens/");
    assert_eq!(code(&stage.follow(&as_order).await), (404, "REQ0003"));
    assert_eq!(sent_on(&stage.follow(&ones).await), success());
    assert_eq!((stored(&stage, &one).len(), stored(&stage, &other).len()), (1, 0));
}

#[tokio::test]
async fn a_payment_method_of_another_gateway_and_foreign_addresses_are_refused() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let other = with_addresses(json!({ "paymentMethodId": stage.guest(GatewayName::Adyen).method }));
    let told = stage.call_at(GatewayName::PayPal, "v1/payment_details/tokens", &shopper.token, &other).await;
    assert_eq!(code(&told), (422, "ORDER0003"));
    let mut foreign = with_addresses(json!({ "paymentMethodId": PAYPAL_METHOD }));
    foreign["errorUrl"] = json!("https://evil.test");
    let told = stage.call_at(GatewayName::PayPal, "v1/payment_details/tokens", &shopper.token, &foreign).await;
    assert_eq!(code(&told), (400, "REQ0008"));
    let nobody = with_addresses(json!({ "paymentMethodId": PAYPAL_METHOD }));
    assert_eq!(stage.call_at(GatewayName::PayPal, "v1/payment_details/tokens", "", &nobody).await.status, 401);
    assert!(!stage.road.calls().iter().any(|call| call.peer.contains("paypal")));
}

#[tokio::test]
async fn a_gateway_that_needs_payment_data_takes_them_along() {
    let stage = Stage::default();
    let shopper = shopper(&stage, GatewayName::Adyen);
    let about = json!({ "paymentMethodId": stage.guest(GatewayName::Adyen).method });
    let call = async |body: serde_json::Value| stage.call("v1/payment_details/tokens", &shopper.token, &body).await;
    assert_eq!(code(&call(with_addresses(about.clone())).await), (422, "ADYEN0004"));
    let mut with_card = with_addresses(about);
    with_card["paymentMethod"] = card(REDIRECTING, "J D", "1");
    let page = redirect_url(&call(with_card.clone()).await);
    let back = stage.adyen.leave(&page, true).unwrap();
    assert_eq!(sent_on(&stage.follow(&back).await), success());
    with_card["paymentMethod"] = card(GOOD, "J D", "2");
    assert_eq!(redirect_url(&call(with_card).await), success());
    assert_eq!(stored(&stage, &shopper).len(), 2);
    assert!(!format!("{:?}", stage.road.calls().iter().map(|call| &call.sent).collect::<Vec<_>>()).contains(&format!("{ORIGIN}/thankyou")));
}

#[tokio::test]
async fn what_was_given_up_or_replaced_comes_to_its_end_when_its_time_is_over() {
    let stage = Stage::default();
    for of_order in [true, false] {
        let shopper = at_paypal(&stage);
        for _ in 0..2 {
            let started = if of_order { shopper.start(&stage).await } else { start(&stage, &shopper).await };
            let given_up = stage.paypal.leave(&redirect_url(&started), false).unwrap();
            assert_eq!(sent_on(&stage.follow(&given_up).await), cancel());
        }
        assert!(stored(&stage, &shopper).is_empty());
    }
    let mut ended = 0;
    for _ in 0..60 {
        stage.clock.advance(Duration::from_secs(6 * 3_600));
        ended += stage.go_round().await.ended;
        stage.run_until_quiet().await;
    }
    stage.clock.advance(Duration::from_secs(30 * 86_400));
    assert_eq!((ended > 0, stage.go_round().await.due), (true, 0), "nothing is left to be looked at");
    assert!(stage.cleeng.payments().is_empty() && stage.paypal.captured().is_empty());
}

#[tokio::test]
async fn so_many_pages_within_a_day_are_enough_for_a_customer() {
    let stage = Stage::default();
    let mut shopper = at_paypal(&stage);
    let mut comes = async |after: u64| {
        stage.clock.advance(Duration::from_secs(after));
        shopper.token = stage.cleeng.customer_token(&shopper.customer);
        start(&stage, &shopper).await
    };
    for number in 0..10 {
        redirect_url(&comes(if number == 0 { 0 } else { 2 * 3_600 }).await);
    }
    assert_eq!(code(&comes(2 * 3_600).await), (429, "ORDER0005"));
    assert_eq!(code(&comes(4 * 3_600 - 1).await), (429, "ORDER0005"));
    redirect_url(&comes(1).await);
}
