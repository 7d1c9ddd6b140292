//! Storing payment details in the redirect style.

use std::time::Duration;

use connector::frontend_api::Reply;
use connector::gateway::GatewayName;
use sandbox::simulators::simulated_gateway::SimulatedGateway as _;
use sandbox::testkit::fixtures::{PUBLIC_URL, SHOP_ORIGIN};
use sandbox::testkit::gateway_fixtures::PAYPAL_METHOD;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::json;

use super::{Shopper, cancel_url, error_url, paypal_shopper, redirect_target, redirect_url, shopper, success_url, with_addresses};
use crate::front::{GOOD, REDIRECTING, assert_balanced, card, code};

async fn start(env: &TestEnvironment, shopper: &Shopper) -> Reply {
    let body = with_addresses(json!({ "paymentMethodId": PAYPAL_METHOD }));
    env.call_at(GatewayName::PayPal, "v1/payment_details/tokens", &shopper.token, &body).await
}

async fn complete_redirect(env: &TestEnvironment, shopper: &Shopper, agrees: bool) -> String {
    let page = redirect_url(&start(env, shopper).await);
    let back = env.paypal.complete_redirect(&page, agrees).unwrap();
    assert!(back.starts_with(&format!("{PUBLIC_URL}/connectors/paypal/v1/payment_details/tokens/")), "{back}");
    back
}

/// The tokens of the customer's details in Cleeng, active or not, which the gateway has too.
fn stored_tokens(env: &TestEnvironment, shopper: &Shopper) -> Vec<(String, bool)> {
    let all: Vec<_> = env.cleeng.details_of(&shopper.customer).into_iter().map(|details| (details.token, details.active)).collect();
    assert!(all.iter().all(|(token, _)| env.gateway(shopper.gateway).simulator.has_stored_details(token)));
    assert_balanced(env);
    all
}

#[tokio::test]
async fn details_are_stored_by_redirect() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = complete_redirect(&env, &shopper, true).await;
    assert!(stored_tokens(&env, &shopper).is_empty());
    for _ in 0..3 {
        assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
    }
    let stored = stored_tokens(&env, &shopper);
    assert!(matches!(stored.as_slice(), [(_, true)]), "{stored:?}");
    assert_eq!(redirect_url(&start(&env, &shopper).await), success_url(), "the same click");
}

#[tokio::test]
async fn a_later_start_stores_again() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let first = complete_redirect(&env, &shopper, true).await;
    env.follow_redirect(&first).await;
    env.clock.advance(Duration::from_secs(600));
    let second = complete_redirect(&env, &shopper, true).await;
    assert_ne!(first, second);
    assert_eq!(redirect_target(&env.follow_redirect(&second).await), success_url());
    let active: Vec<_> = stored_tokens(&env, &shopper).into_iter().map(|(_, active)| active).collect();
    assert_eq!(active, [false, true], "the new ones take the place of the old");
    assert_eq!(redirect_target(&env.follow_redirect(&first).await), success_url());
}

#[tokio::test]
async fn a_double_click_while_a_newer_attempt_waits_leads_to_one_page() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    env.follow_redirect(&complete_redirect(&env, &shopper, true).await).await;
    env.clock.advance(Duration::from_secs(600));
    let one = redirect_url(&start(&env, &shopper).await);
    assert_eq!(redirect_url(&start(&env, &shopper).await), one);
    assert_eq!(stored_tokens(&env, &shopper).len(), 1);
}

#[tokio::test]
async fn a_customer_who_cancels_stores_nothing_and_can_retry() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = complete_redirect(&env, &shopper, false).await;
    for _ in 0..2 {
        assert_eq!(redirect_target(&env.follow_redirect(&back).await), cancel_url());
    }
    assert!(stored_tokens(&env, &shopper).is_empty());
    let again = complete_redirect(&env, &shopper, true).await;
    assert_eq!(redirect_target(&env.follow_redirect(&again).await), success_url());
    assert_eq!(stored_tokens(&env, &shopper).len(), 1);
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), cancel_url());
}

#[tokio::test]
async fn a_start_long_after_the_first_leads_to_another_page() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let first = redirect_url(&start(&env, &shopper).await);
    env.clock.advance(Duration::from_secs(2 * 3_600));
    let second = redirect_url(&start(&env, &shopper).await);
    assert_ne!(first, second);
    let late = env.paypal.complete_redirect(&first, true).unwrap();
    assert_eq!(redirect_target(&env.follow_redirect(&late).await), error_url("message=replaced&code=ORDER0008"));
    assert!(stored_tokens(&env, &shopper).is_empty());
    assert_eq!(redirect_target(&env.follow_redirect(&env.paypal.complete_redirect(&second, true).unwrap()).await), success_url());
    assert_eq!(stored_tokens(&env, &shopper).len(), 1);
}

#[tokio::test]
async fn a_return_after_a_day_is_refused_as_too_late() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = complete_redirect(&env, &shopper, true).await;
    env.clock.advance(Duration::from_secs(25 * 3_600));
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), error_url("message=expired&code=ORDER0001"));
    assert!(stored_tokens(&env, &shopper).is_empty());
}

#[tokio::test]
async fn details_of_one_customer_are_not_stored_for_another() {
    let env = TestEnvironment::default();
    let (one, other) = (paypal_shopper(&env), paypal_shopper(&env));
    let (ones, others) = (complete_redirect(&env, &one, true).await, complete_redirect(&env, &other, true).await);
    let (path, _) = ones.split_once('?').unwrap();
    let (_, foreign) = others.split_once('?').unwrap();
    assert_eq!(redirect_target(&env.follow_redirect(&format!("{path}?{foreign}")).await), error_url("message=failed&code=REQ0002"));
    assert!(stored_tokens(&env, &one).is_empty() && stored_tokens(&env, &other).is_empty());
    // A way back of the storing is none of an order.
    let as_order = ones.replace("/v1/payment_details/tokens/", "/v1/tokens/");
    assert_eq!(code(&env.follow_redirect(&as_order).await), (404, "REQ0003"));
    assert_eq!(redirect_target(&env.follow_redirect(&ones).await), success_url());
    assert_eq!((stored_tokens(&env, &one).len(), stored_tokens(&env, &other).len()), (1, 0));
}

#[tokio::test]
async fn a_payment_method_of_another_gateway_and_foreign_addresses_are_refused() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let other = with_addresses(json!({ "paymentMethodId": env.gateway(GatewayName::Adyen).method }));
    let told = env.call_at(GatewayName::PayPal, "v1/payment_details/tokens", &shopper.token, &other).await;
    assert_eq!(code(&told), (422, "ORDER0003"));
    let mut foreign = with_addresses(json!({ "paymentMethodId": PAYPAL_METHOD }));
    foreign["errorUrl"] = json!("https://evil.test");
    let told = env.call_at(GatewayName::PayPal, "v1/payment_details/tokens", &shopper.token, &foreign).await;
    assert_eq!(code(&told), (400, "REQ0008"));
    let nobody = with_addresses(json!({ "paymentMethodId": PAYPAL_METHOD }));
    assert_eq!(env.call_at(GatewayName::PayPal, "v1/payment_details/tokens", "", &nobody).await.status, 401);
    assert!(!env.network.calls().iter().any(|call| call.server.contains("paypal")));
}

#[tokio::test]
async fn a_gateway_that_needs_payment_data_receives_them() {
    let env = TestEnvironment::default();
    let shopper = shopper(&env, GatewayName::Adyen);
    let about = json!({ "paymentMethodId": env.gateway(GatewayName::Adyen).method });
    let call = async |body: serde_json::Value| env.call("v1/payment_details/tokens", &shopper.token, &body).await;
    assert_eq!(code(&call(with_addresses(about.clone())).await), (422, "ADYEN0004"));
    let mut with_card = with_addresses(about);
    with_card["paymentMethod"] = card(REDIRECTING, "J D", "1");
    let page = redirect_url(&call(with_card.clone()).await);
    let back = env.adyen.complete_redirect(&page, true).unwrap();
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
    with_card["paymentMethod"] = card(GOOD, "J D", "2");
    assert_eq!(redirect_url(&call(with_card).await), success_url());
    assert_eq!(stored_tokens(&env, &shopper).len(), 2);
    assert!(
        !format!("{:?}", env.network.calls().iter().map(|call| &call.request_body).collect::<Vec<_>>())
            .contains(&format!("{SHOP_ORIGIN}/thankyou"))
    );
}

#[tokio::test]
async fn a_cancelled_or_replaced_setup_ends_when_it_expires() {
    let env = TestEnvironment::default();
    for of_order in [true, false] {
        let shopper = paypal_shopper(&env);
        for _ in 0..2 {
            let started = if of_order { shopper.start(&env).await } else { start(&env, &shopper).await };
            let given_up = env.paypal.complete_redirect(&redirect_url(&started), false).unwrap();
            assert_eq!(redirect_target(&env.follow_redirect(&given_up).await), cancel_url());
        }
        assert!(stored_tokens(&env, &shopper).is_empty());
    }
    let mut ended = 0;
    for _ in 0..60 {
        env.clock.advance(Duration::from_secs(6 * 3_600));
        ended += env.run_reconciliation().await.finished;
        env.run_until_idle().await;
    }
    env.clock.advance(Duration::from_secs(30 * 86_400));
    assert_eq!((ended > 0, env.run_reconciliation().await.due), (true, 0), "nothing is left to be looked at");
    assert!(env.cleeng.payments().is_empty() && env.paypal.captures().is_empty());
}

#[tokio::test]
async fn gateway_pages_are_limited_per_customer_and_day() {
    let env = TestEnvironment::default();
    let mut shopper = paypal_shopper(&env);
    let mut comes = async |after: u64| {
        env.clock.advance(Duration::from_secs(after));
        shopper.token = env.cleeng.customer_token(&shopper.customer);
        start(&env, &shopper).await
    };
    for number in 0..10 {
        redirect_url(&comes(if number == 0 { 0 } else { 2 * 3_600 }).await);
    }
    assert_eq!(code(&comes(2 * 3_600).await), (429, "ORDER0005"));
    assert_eq!(code(&comes(4 * 3_600 - 1).await), (429, "ORDER0005"));
    redirect_url(&comes(1).await);
}
