//! Where the customer may be sent, and where we are.

use std::sync::Arc;

use connector::front::Origins;
use connector::http::{HeaderMap, HeaderValue};
use sandbox::house::House as _;
use sandbox::stage::{ORIGIN, Stage};
use serde_json::json;

use super::{at_paypal, redirect_url, sent_on, success};
use crate::code;

#[tokio::test]
async fn every_address_is_needed_and_within_the_allowed_origins() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    for name in ["successUrl", "cancelUrl", "errorUrl"] {
        let mut without = shopper.body();
        without.as_object_mut().unwrap().remove(name);
        assert_eq!(code(&shopper.start_with(&stage, &without).await), (400, "REQ0001"), "{name}");
        let origin_in_front = format!("{ORIGIN}.evil.test/");
        for url in ["https://evil.test/back", &origin_in_front, "javascript:alert(1)", "/back", "//shop.example.com", ""] {
            let mut body = shopper.body();
            body[name] = json!(url);
            assert_eq!(code(&shopper.start_with(&stage, &body).await), (400, "REQ0008"), "{name} {url}");
        }
        let mut long = shopper.body();
        for each in ["successUrl", "cancelUrl", "errorUrl"] {
            long[each] = json!(format!("{ORIGIN}/{}", "x".repeat(1_000)));
        }
        assert_eq!(code(&shopper.start_with(&stage, &long).await), (400, "REQ0001"), "{name}");
    }
    assert!(stage.road.calls().is_empty());
}

#[tokio::test]
async fn a_page_of_another_origin_is_not_served() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {}", shopper.token)).unwrap());
    headers.insert("origin", HeaderValue::from_static("https://evil.test"));
    let told = stage.send("/connectors/paypal/v1/tokens", headers, shopper.body().to_string()).await;
    assert_eq!(code(&told), (403, "REQ0007"));
    assert!(stage.road.calls().is_empty());
}

#[tokio::test]
async fn nobody_is_sent_to_an_origin_that_is_not_allowed_any_more() {
    let mut stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = shopper.goes(&stage, true).await;
    stage.desk.origins = Arc::new(Origins::parse("https://other.example.com", false).unwrap());
    let told = stage.follow(&back).await;
    assert_eq!((code(&told), told.location.as_deref()), ((400, "REQ0008"), None));
    // The payment is what the customer agreed to, and both sides know of it.
    super::assert_paid_once(&stage, &shopper);
    stage.desk.origins = Arc::new(Origins::parse(ORIGIN, false).unwrap());
    assert_eq!(sent_on(&stage.follow(&back).await), success());
}

#[tokio::test]
async fn a_setting_says_where_we_are_before_the_request_does() {
    let mut stage = Stage::default();
    stage.desk.public_url = Some("https://connector.example.org/payments".into());
    let shopper = at_paypal(&stage);
    let page = redirect_url(&shopper.start(&stage).await);
    let back = stage.paypal.leave(&page, true).unwrap();
    assert!(back.starts_with("https://connector.example.org/payments/connectors/paypal/v1/tokens/return/clg-"), "{back}");
    let path = back.strip_prefix("https://connector.example.org").unwrap();
    assert_eq!(sent_on(&stage.follow(path).await), success());
}

#[tokio::test]
async fn the_gateway_learns_no_address_of_the_page() {
    let stage = Stage::default();
    at_paypal(&stage).start(&stage).await;
    let sent: Vec<_> = stage.road.calls().into_iter().filter(|call| call.peer.contains("paypal")).collect();
    assert!(!sent.is_empty());
    assert!(sent.iter().all(|call| !call.sent.to_string().contains("shop.example.com")));
}
