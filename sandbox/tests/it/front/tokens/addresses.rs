//! Allowed redirect addresses, and the connector's own address.

use std::sync::Arc;

use connector::frontend_api::Origins;
use connector::http::{HeaderMap, HeaderValue};
use sandbox::simulators::simulated_gateway::SimulatedGateway as _;
use sandbox::testkit::fixtures::SHOP_ORIGIN;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::json;

use super::{paypal_shopper, redirect_target, redirect_url, success_url};
use crate::front::code;

#[tokio::test]
async fn every_address_is_needed_and_within_the_allowed_origins() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    for name in ["successUrl", "cancelUrl", "errorUrl"] {
        let mut without = shopper.body();
        without.as_object_mut().unwrap().remove(name);
        assert_eq!(code(&shopper.start_with(&env, &without).await), (400, "REQ0001"), "{name}");
        let origin_in_front = format!("{SHOP_ORIGIN}.evil.test/");
        for url in ["https://evil.test/back", &origin_in_front, "javascript:alert(1)", "/back", "//shop.example.com", ""] {
            let mut body = shopper.body();
            body[name] = json!(url);
            assert_eq!(code(&shopper.start_with(&env, &body).await), (400, "REQ0008"), "{name} {url}");
        }
        let mut long = shopper.body();
        for each in ["successUrl", "cancelUrl", "errorUrl"] {
            long[each] = json!(format!("{SHOP_ORIGIN}/{}", "x".repeat(1_000)));
        }
        assert_eq!(code(&shopper.start_with(&env, &long).await), (400, "REQ0001"), "{name}");
    }
    assert!(env.network.calls().is_empty());
}

#[tokio::test]
async fn a_page_of_another_origin_is_not_served() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {}", shopper.token)).unwrap());
    headers.insert("origin", HeaderValue::from_static("https://evil.test"));
    let told = env.post("/connectors/paypal/v1/tokens", headers, shopper.body().to_string()).await;
    assert_eq!(code(&told), (403, "REQ0007"));
    assert!(env.network.calls().is_empty());
}

#[tokio::test]
async fn no_redirect_goes_to_an_origin_that_is_no_longer_allowed() {
    let mut env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = shopper.complete_redirect(&env, true).await;
    env.frontend_context.origins = Arc::new(Origins::parse("https://other.example.com", false).unwrap());
    let told = env.follow_redirect(&back).await;
    assert_eq!((code(&told), told.location.as_deref()), ((400, "REQ0008"), None));
    // The payment is what the customer agreed to, and both sides know of it.
    super::assert_paid_once(&env, &shopper);
    env.frontend_context.origins = Arc::new(Origins::parse(SHOP_ORIGIN, false).unwrap());
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
}

#[tokio::test]
async fn the_configured_public_url_takes_precedence_over_the_request() {
    let mut env = TestEnvironment::default();
    env.frontend_context.public_url = Some("https://connector.example.org/payments".into());
    let shopper = paypal_shopper(&env);
    let page = redirect_url(&shopper.start(&env).await);
    let back = env.paypal.complete_redirect(&page, true).unwrap();
    assert!(back.starts_with("https://connector.example.org/payments/connectors/paypal/v1/tokens/return/clg-"), "{back}");
    let path = back.strip_prefix("https://connector.example.org").unwrap();
    assert_eq!(redirect_target(&env.follow_redirect(path).await), success_url());
}

#[tokio::test]
async fn the_gateway_learns_no_address_of_the_page() {
    let env = TestEnvironment::default();
    paypal_shopper(&env).start(&env).await;
    let sent: Vec<_> = env.network.calls().into_iter().filter(|call| call.server.contains("paypal")).collect();
    assert!(!sent.is_empty());
    assert!(sent.iter().all(|call| !call.request_body.to_string().contains("shop.example.com")));
}
