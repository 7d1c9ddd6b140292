//! Binaries without AWS.

use connector::cleeng::{PaymentOperation, PaymentStatus};
use connector::http::Method;
use serde_json::{Value, json};

use crate::billing::effects;
use crate::deployment::{ORIGIN, binary, embedded, event, nowhere};
use crate::page::Page;
use crate::support::peers::Peers;
use crate::support::runtime::Runtime;
use crate::{BILLING, WEBHOOKS, capture, clean_up, details, enabled, purchase, refund};

/// The answer of a function to an HTTP event: status and body.
async fn answer(runtime: &mut Runtime, function: &str, event: &Value) -> (Value, Value) {
    let answer = runtime.invoke(function, event).await;
    let body = serde_json::from_str(answer["body"].as_str().unwrap_or_default());
    (answer["statusCode"].clone(), body.unwrap_or(Value::Null))
}

#[tokio::test]
async fn an_embedded_binary_answers_its_sample_events_without_aws() {
    if !enabled("an_embedded_binary_answers_its_sample_events_without_aws") {
        return;
    }
    let peers = Peers::start(0).await;
    let mut runtime = Runtime::start().await;
    for function in [BILLING[0], BILLING[2]] {
        runtime.attach(function, &binary(function), &embedded(&peers.cleeng_url, &peers.adyen_url));
        let answer = answer(&mut runtime, function, &event(function, "http.json")).await;
        assert_eq!(answer.0, 200, "{function}: {answer:?}\n{}", runtime.output());
    }
    assert_eq!(effects(&peers), [1, 1, 1]);
    assert_eq!(peers.road.reached("cleeng", &Method::POST, "/terminate"), 1);
}

#[tokio::test]
async fn embedded_binaries_settle_single_payments_and_clean_up_at_once() {
    if !enabled("embedded_binaries_settle_single_payments_and_clean_up_at_once") {
        return;
    }
    let peers = Peers::start(0).await;
    peers.made_before("1536331075", "123456788", "D2RGHBT7PGNG5S82", PaymentOperation::Recurring, PaymentStatus::Captured);
    peers.made_before("1536331076", "123456790", "D2RGHBT7PGNG5S83", PaymentOperation::Initial, PaymentStatus::Authorised);
    peers.made_before("1536331077", "123456791", "D2RGHBT7PGNG5S84", PaymentOperation::Initial, PaymentStatus::Authorised);
    let mut runtime = Runtime::start().await;
    // What is authorised and not captured by the second goes back by the third.
    for function in [refund::FUNCTION, capture::FUNCTION, clean_up::FUNCTION] {
        let mut environment = embedded(&peers.cleeng_url, &peers.adyen_url);
        environment.push(("SETTLE_ON", "receipt".to_owned()));
        runtime.attach(function, &binary(function), &environment);
        let answer = answer(&mut runtime, function, &event(function, "http.json")).await;
        assert_eq!(answer.0, 200, "{function}: {answer:?}\n{}", runtime.output());
    }
    assert_eq!(peers.statuses(), [PaymentStatus::Refunded, PaymentStatus::Captured, PaymentStatus::Cancelled]);
    assert_eq!((peers.adyen.total_captured("USD"), peers.adyen.total_refunded("USD")), (2 * 999, 999));
    peers.assert_balanced();
}

#[tokio::test]
async fn embedded_binaries_sell_and_store_details() {
    if !enabled("embedded_binaries_sell_and_store_details") {
        return;
    }
    let peers = Peers::today().await;
    let mut runtime = Runtime::start().await;
    for (function, resource) in [(purchase::FUNCTION, "payment"), (details::FUNCTION, "paymentDetails")] {
        let mut environment = embedded(&peers.cleeng_url, &peers.adyen_url);
        environment.push(("ALLOWED_ORIGINS", ORIGIN.to_owned()));
        environment.push(("CLEENG_MEDIASTORE_URL", peers.mediastore_url.clone()));
        runtime.attach(function, &binary(function), &environment);
        let mut event = event(function, "http.json");
        event["headers"]["authorization"] = json!(Page::of(function, &peers).bearer());
        let (status, body) = answer(&mut runtime, function, &event).await;
        assert_eq!(status, 200, "{function}: {body}\n{}", runtime.output());
        assert!(body["responseData"][resource]["id"].is_number() || body["responseData"][resource]["id"].is_string(), "{function}: {body}");
    }
    assert_eq!((peers.statuses(), peers.adyen.total_captured("USD")), (vec![PaymentStatus::Captured], 999));
    assert_eq!(peers.road.reached("cleeng", &Method::POST, "/payment_details"), 1);
    peers.assert_balanced();
}

#[tokio::test]
async fn an_embedded_binary_whose_upstreams_are_gone_says_so() {
    if !enabled("an_embedded_binary_whose_upstreams_are_gone_says_so") {
        return;
    }
    let mut runtime = Runtime::start().await;
    for function in WEBHOOKS {
        runtime.attach(function, &binary(function), &embedded(&nowhere(), &nowhere()));
        let answer = runtime.invoke(function, &event(function, "http.json")).await;
        assert_eq!(answer["statusCode"], 503, "{function}: {answer}\n{}", runtime.output());
        let body = answer["body"].as_str().unwrap_or_default().to_ascii_lowercase();
        assert!(body.contains("cleeng"), "{function}: the answer does not name the upstream: {body}");
    }
}
