//! Requests without a right: other customers, forged returns, other queries.

use connector::gateway::GatewayName;
use connector::http::{HeaderMap, Method};
use sandbox::simulators::simulated_gateway::SimulatedGateway as _;
use sandbox::testkit::fixtures::PUBLIC_URL;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::json;

use super::{assert_paid_once, error_url, net_captured, paypal_shopper, redirect_target, redirect_url, shopper, success_url};
use crate::front::{REDIRECTING, card, code, redirect_result};

#[tokio::test]
async fn nobody_starts_for_another_customer() {
    let env = TestEnvironment::default();
    let (one, other) = (paypal_shopper(&env), paypal_shopper(&env));
    let mut body = one.body();
    body["orderId"] = json!(other.order);
    let told = one.start_with(&env, &body).await;
    assert!(matches!(code(&told), (403, "ORDER0002") | (404, "PAYPAL0001")), "{}", told.body);
    let nobody = env.call_at(GatewayName::PayPal, "v1/tokens", "", &other.body()).await;
    assert_eq!(nobody.status, 401);
    let adyens = shopper(&env, GatewayName::Adyen);
    let told = env.call_at(GatewayName::PayPal, "v1/tokens", &adyens.token, &adyens.body()).await;
    assert_eq!(code(&told), (422, "ORDER0003"));
    assert_eq!(env.paypal.orders(), 0);
}

/// The path of a way back and the reference at its end.
fn path_and_reference(back: &str) -> (String, String) {
    let (path, _) = back.strip_prefix(PUBLIC_URL).unwrap().split_once('?').unwrap();
    let (before, reference) = path.rsplit_once('/').unwrap();
    (before.to_owned(), reference.to_owned())
}

#[tokio::test]
async fn a_return_address_that_was_not_issued_is_refused() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = shopper.complete_redirect(&env, true).await;
    let (before, reference) = path_and_reference(&back);
    let (_, query) = back.split_once('?').unwrap();
    let flipped = if reference.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{flipped}", &reference[..reference.len() - 1]);
    let calls = env.network.calls().len();
    // Attempts that nobody knows here: the reference, the other function, the other gateway.
    let unknown = [
        format!("{before}/{forged}?{query}"),
        format!("{before}/clg-00000000-0000-8000-8000-000000000000?{query}"),
        format!("/connectors/paypal/v1/payment_details/tokens/return/{reference}?{query}"),
        format!("/connectors/adyen/v1/tokens/return/{reference}?{query}"),
    ];
    let no_path = [
        format!("{before}/{}?{query}", shopper.order),
        format!("{before}/?{query}"),
        format!("{before}?{query}"),
        format!("/connectors/paypal/v1/tokens/refund/{reference}?{query}"),
    ];
    for (paths, why) in
        [(unknown, "no payment or storing of details has this return address"), (no_path, "there is nothing at this address")]
    {
        for path in paths {
            let told = env.follow_redirect(&path).await;
            assert_eq!((code(&told), told.location.as_deref()), ((404, "REQ0003"), None), "{path}");
            let text = told.body["detail"].as_str().unwrap();
            assert!(text.starts_with(why), "{path}: {text}");
        }
    }
    assert_eq!((env.network.calls().len(), net_captured(&env, GatewayName::PayPal)), (calls, 0));
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
    assert_paid_once(&env, &shopper);
}

#[tokio::test]
async fn an_attempt_of_the_other_style_has_no_return_through_the_connector() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let start = json!({ "orderId": shopper.order, "returnUrl": success_url() });
    env.call_at(GatewayName::PayPal, "initial-payment", &shopper.token, &start).await;
    let reference = env.paypal.ledger()[0].reference.clone();
    for way in ["return", "cancel"] {
        let told = env.follow_redirect(&format!("/connectors/paypal/v1/tokens/{way}/{reference}?token=1")).await;
        assert_eq!(code(&told), (404, "REQ0003"), "{way}");
    }
}

#[tokio::test]
async fn a_query_of_another_payment_is_refused_and_the_right_one_pays() {
    let env = TestEnvironment::default();
    let (one, other) = (paypal_shopper(&env), paypal_shopper(&env));
    let (ones, others) = (one.complete_redirect(&env, true).await, other.complete_redirect(&env, true).await);
    let (path, _) = ones.split_once('?').unwrap();
    let (_, foreign) = others.split_once('?').unwrap();
    assert_eq!(redirect_target(&env.follow_redirect(&format!("{path}?{foreign}")).await), error_url("message=failed&code=REQ0002"));
    assert_eq!(net_captured(&env, GatewayName::PayPal), 0);
    assert_eq!(redirect_target(&env.follow_redirect(&ones).await), success_url());
    assert_paid_once(&env, &one);
}

#[tokio::test]
async fn a_redirect_result_of_another_payment_is_refused_and_charges_nothing() {
    let env = TestEnvironment::default();
    let (one, other) = (shopper(&env, GatewayName::Adyen), crate::front::buyer(&env));
    let mut body = one.body();
    body["paymentMethod"] = card(REDIRECTING, "J D", "1");
    let page = redirect_url(&one.start_with(&env, &body).await);
    let back = env.adyen.complete_redirect(&page, true).unwrap();
    let foreign = redirect_result(&other.start(&env, &card(REDIRECTING, "J D", "2")).await);
    let (path, _) = back.split_once('?').unwrap();
    let forged = format!("{path}?redirectResult={}", foreign["redirectResult"].as_str().unwrap());
    let told = env.follow_redirect(&forged).await;
    assert!(redirect_target(&told).starts_with(&error_url("message=failed")), "{}", redirect_target(&told));
    assert!(env.cleeng.payments().is_empty());
}

#[tokio::test]
async fn a_return_without_the_gateways_parameters_and_malformed_queries_are_refused() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = shopper.complete_redirect(&env, true).await;
    let (path, _) = back.split_once('?').unwrap();
    let calls = env.network.calls().len();
    for (query, expected) in [
        (String::new(), (400, "REQ0002")),
        ("&&".to_owned(), (400, "REQ0002")),
        ("token=%".to_owned(), (400, "REQ0002")),
        ("token=%ff".to_owned(), (400, "REQ0002")),
        ((0..40).map(|number| format!("p{number}=1")).collect::<Vec<_>>().join("&"), (400, "REQ0002")),
        (format!("token={}", "x".repeat(9_000)), (413, "REQ0005")),
        ("card=4111111111111111".to_owned(), (400, "REQ0004")),
        ("card=4111+1111%201111-1111".to_owned(), (400, "REQ0004")),
    ] {
        let told = env.follow_redirect(&format!("{path}?{query}")).await;
        assert_eq!((code(&told), told.location.as_deref()), (expected, None), "{query}");
    }
    assert_eq!(env.network.calls().len(), calls);
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
}

#[tokio::test]
async fn only_a_browser_navigation_is_redirected() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = shopper.complete_redirect(&env, true).await;
    let path = back.strip_prefix(PUBLIC_URL).unwrap();
    for method in ["POST", "PUT", "OPTIONS"] {
        let told = env.request(method, path, HeaderMap::new(), "{}".to_owned()).await;
        assert_eq!(code(&told), (405, "REQ0006"), "{method}");
    }
    let started = env.request("GET", "/connectors/paypal/v1/tokens", HeaderMap::new(), String::new()).await;
    assert_eq!(code(&started), (405, "REQ0006"));
    assert_eq!(net_captured(&env, GatewayName::PayPal), 0);
    // The gateway's page is not ours, and a browser may name it.
    let mut headers = HeaderMap::new();
    headers.insert("origin", "https://www.sandbox.paypal.com".parse().unwrap());
    let told = env.request("GET", path, headers, String::new()).await;
    assert_eq!(redirect_target(&told), success_url());
    assert_eq!(env.network.delivered_count("cleeng", &Method::POST, "/payments"), 1);
}

#[tokio::test]
async fn a_missing_approval_charges_nothing() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let page = redirect_url(&shopper.start(&env).await);
    let started = page.split_once("?token=").unwrap().1;
    let reference = env.paypal.ledger()[0].reference.clone();
    // Somebody with the address forges the way back before the payer has agreed to anything.
    let told = env.follow_redirect(&format!("/connectors/paypal/v1/tokens/return/{reference}?token={started}")).await;
    assert!(redirect_target(&told).starts_with(&error_url("message=refused")), "{}", redirect_target(&told));
    assert_eq!(net_captured(&env, GatewayName::PayPal), 0);
    let back = shopper.complete_redirect(&env, true).await;
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
    assert_paid_once(&env, &shopper);
}
