//! Whoever has not the right to something: other customers, forged ways back, other queries.

use connector::gateway::GatewayName;
use connector::http::{HeaderMap, Method};
use sandbox::house::House as _;
use sandbox::stage::{OWN_ADDRESS, Stage};
use serde_json::json;

use super::{assert_paid_once, at_paypal, error, redirect_url, sent_on, shopper, success, taken};
use crate::{REDIRECTING, card, code, redirect_result};

#[tokio::test]
async fn nobody_starts_for_somebody_else() {
    let stage = Stage::default();
    let (one, other) = (at_paypal(&stage), at_paypal(&stage));
    let mut body = one.body();
    body["orderId"] = json!(other.order);
    let told = one.start_with(&stage, &body).await;
    assert!(matches!(code(&told), (403, "ORDER0002") | (404, "PAYPAL0001")), "{}", told.body);
    let nobody = stage.call_at(GatewayName::PayPal, "v1/tokens", "", &other.body()).await;
    assert_eq!(nobody.status, 401);
    let adyens = shopper(&stage, GatewayName::Adyen);
    let told = stage.call_at(GatewayName::PayPal, "v1/tokens", &adyens.token, &adyens.body()).await;
    assert_eq!(code(&told), (422, "ORDER0003"));
    assert_eq!(stage.paypal.orders(), 0);
}

/// The path of a way back and the reference at its end.
fn parts(back: &str) -> (String, String) {
    let (path, _) = back.strip_prefix(OWN_ADDRESS).unwrap().split_once('?').unwrap();
    let (before, reference) = path.rsplit_once('/').unwrap();
    (before.to_owned(), reference.to_owned())
}

#[tokio::test]
async fn a_way_back_that_we_did_not_give_leads_nowhere() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = shopper.goes(&stage, true).await;
    let (before, reference) = parts(&back);
    let (_, query) = back.split_once('?').unwrap();
    let flipped = if reference.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{flipped}", &reference[..reference.len() - 1]);
    let calls = stage.road.calls().len();
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
            let told = stage.follow(&path).await;
            assert_eq!((code(&told), told.location.as_deref()), ((404, "REQ0003"), None), "{path}");
            let text = told.body["errors"][0].as_str().unwrap();
            assert!(text.starts_with(why), "{path}: {text}");
        }
    }
    assert_eq!((stage.road.calls().len(), taken(&stage, GatewayName::PayPal)), (calls, 0));
    assert_eq!(sent_on(&stage.follow(&back).await), success());
    assert_paid_once(&stage, &shopper);
}

#[tokio::test]
async fn an_attempt_of_the_other_style_has_no_way_back_through_us() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let start = json!({ "orderId": shopper.order, "returnUrl": success() });
    stage.call_at(GatewayName::PayPal, "initial-payment", &shopper.token, &start).await;
    let reference = stage.paypal.ledger()[0].reference.clone();
    for way in ["return", "cancel"] {
        let told = stage.follow(&format!("/connectors/paypal/v1/tokens/{way}/{reference}?token=1")).await;
        assert_eq!(code(&told), (404, "REQ0003"), "{way}");
    }
}

#[tokio::test]
async fn a_query_of_another_payment_is_refused_and_the_right_one_pays() {
    let stage = Stage::default();
    let (one, other) = (at_paypal(&stage), at_paypal(&stage));
    let (ones, others) = (one.goes(&stage, true).await, other.goes(&stage, true).await);
    let (path, _) = ones.split_once('?').unwrap();
    let (_, foreign) = others.split_once('?').unwrap();
    assert_eq!(sent_on(&stage.follow(&format!("{path}?{foreign}")).await), error("message=failed&code=REQ0002"));
    assert_eq!(taken(&stage, GatewayName::PayPal), 0);
    assert_eq!(sent_on(&stage.follow(&ones).await), success());
    assert_paid_once(&stage, &one);
}

#[tokio::test]
async fn a_redirect_result_of_another_payment_is_refused_and_pays_nothing_here() {
    let stage = Stage::default();
    let (one, other) = (shopper(&stage, GatewayName::Adyen), crate::buyer(&stage));
    let mut body = one.body();
    body["paymentMethod"] = card(REDIRECTING, "J D", "1");
    let page = redirect_url(&one.start_with(&stage, &body).await);
    let back = stage.adyen.leave(&page, true).unwrap();
    let foreign = redirect_result(&other.start(&stage, &card(REDIRECTING, "J D", "2")).await);
    let (path, _) = back.split_once('?').unwrap();
    let forged = format!("{path}?redirectResult={}", foreign["redirectResult"].as_str().unwrap());
    let told = stage.follow(&forged).await;
    assert!(sent_on(&told).starts_with(&error("message=failed")), "{}", sent_on(&told));
    assert!(stage.cleeng.payments().is_empty());
}

#[tokio::test]
async fn a_way_back_without_what_the_gateway_adds_and_odd_queries_are_refused() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = shopper.goes(&stage, true).await;
    let (path, _) = back.split_once('?').unwrap();
    let calls = stage.road.calls().len();
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
        let told = stage.follow(&format!("{path}?{query}")).await;
        assert_eq!((code(&told), told.location.as_deref()), (expected, None), "{query}");
    }
    assert_eq!(stage.road.calls().len(), calls);
    assert_eq!(sent_on(&stage.follow(&back).await), success());
}

#[tokio::test]
async fn only_a_browser_that_follows_the_address_gets_on() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = shopper.goes(&stage, true).await;
    let path = back.strip_prefix(OWN_ADDRESS).unwrap();
    for method in ["POST", "PUT", "OPTIONS"] {
        let told = stage.knock(method, path, HeaderMap::new(), "{}".to_owned()).await;
        assert_eq!(code(&told), (405, "REQ0006"), "{method}");
    }
    let started = stage.knock("GET", "/connectors/paypal/v1/tokens", HeaderMap::new(), String::new()).await;
    assert_eq!(code(&started), (405, "REQ0006"));
    assert_eq!(taken(&stage, GatewayName::PayPal), 0);
    // The gateway's page is not ours, and a browser may name it.
    let mut headers = HeaderMap::new();
    headers.insert("origin", "https://www.sandbox.paypal.com".parse().unwrap());
    let told = stage.knock("GET", path, headers, String::new()).await;
    assert_eq!(sent_on(&told), success());
    assert_eq!(stage.road.reached("cleeng", &Method::POST, "/payments"), 1);
}

#[tokio::test]
async fn an_agreement_that_was_never_given_takes_nothing() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let page = redirect_url(&shopper.start(&stage).await);
    let started = page.split_once("?token=").unwrap().1;
    let reference = stage.paypal.ledger()[0].reference.clone();
    // Somebody with the address forges the way back before the payer has agreed to anything.
    let told = stage.follow(&format!("/connectors/paypal/v1/tokens/return/{reference}?token={started}")).await;
    assert!(sent_on(&told).starts_with(&error("message=refused")), "{}", sent_on(&told));
    assert_eq!(taken(&stage, GatewayName::PayPal), 0);
    let back = shopper.goes(&stage, true).await;
    assert_eq!(sent_on(&stage.follow(&back).await), success());
    assert_paid_once(&stage, &shopper);
}
