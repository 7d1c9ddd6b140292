//! Binaries without AWS.

use std::net::Ipv4Addr;

use connector::cleeng::{PaymentOperation, PaymentStatus};
use connector::clock::{Clock as _, SystemClock};
use connector::http::Method;
use sandbox::local::serve::insert_sample_subscriber;
use sandbox::local::{Addresses, LocalWorld};
use sandbox::testkit::fixtures::id;
use serde_json::{Value, json};

use crate::billing::effect_counts;
use crate::deployment::{Environment, ORIGIN, binary, embedded, event, unreachable_url};
use crate::page::CheckoutPage;
use crate::support::files::root;
use crate::support::runtime::{EmulatedFunction, EmulatedRuntime};
use crate::support::upstreams::Upstreams;
use crate::{BILLING, WEBHOOKS, capture, clean_up, details, enabled, purchase, refund};

/// The answer of a function to an HTTP event: status and body.
async fn response(runtime: &mut EmulatedRuntime, function: &str, event: &Value) -> (Value, Value) {
    let answer = runtime.invoke(function, event).await;
    let body = serde_json::from_str(answer["body"].as_str().unwrap_or_default());
    (answer["statusCode"].clone(), body.unwrap_or(Value::Null))
}

#[tokio::test]
async fn an_embedded_binary_answers_its_sample_events_without_aws() {
    if !enabled("an_embedded_binary_answers_its_sample_events_without_aws") {
        return;
    }
    let peers = Upstreams::start(0).await;
    let mut runtime = EmulatedRuntime::start().await;
    for function in [BILLING[0], BILLING[2]] {
        runtime.attach(function, &binary(function), &embedded(&peers.cleeng_url, &peers.adyen_url));
        let answer = response(&mut runtime, function, &event(function, "http.json")).await;
        assert_eq!(answer.0, 200, "{function}: {answer:?}\n{}", runtime.output());
    }
    assert_eq!(effect_counts(&peers), [1, 1, 1]);
    assert_eq!(peers.network.delivered_count("cleeng", &Method::PATCH, "/subscriptions/"), 1);
}

#[tokio::test]
async fn embedded_binaries_settle_single_payments_and_clean_up_at_once() {
    if !enabled("embedded_binaries_settle_single_payments_and_clean_up_at_once") {
        return;
    }
    let peers = Upstreams::start(0).await;
    peers.seed_earlier_payment("1536331075", "123456788", "D2RGHBT7PGNG5S82", PaymentOperation::Recurring, PaymentStatus::Captured);
    peers.seed_earlier_payment("1536331076", "123456790", "D2RGHBT7PGNG5S83", PaymentOperation::Initial, PaymentStatus::Authorised);
    peers.seed_earlier_payment("1536331077", "123456791", "D2RGHBT7PGNG5S84", PaymentOperation::Initial, PaymentStatus::Authorised);
    let mut runtime = EmulatedRuntime::start().await;
    // What is authorised and not captured by the second goes back by the third.
    for function in [refund::FUNCTION, capture::FUNCTION, clean_up::FUNCTION] {
        let mut environment = embedded(&peers.cleeng_url, &peers.adyen_url);
        environment.push(("SETTLE_ON", "receipt".to_owned()));
        runtime.attach(function, &binary(function), &environment);
        let answer = response(&mut runtime, function, &event(function, "http.json")).await;
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
    let peers = Upstreams::start_now().await;
    let mut runtime = EmulatedRuntime::start().await;
    for (function, resource) in [(purchase::FUNCTION, "payment"), (details::FUNCTION, "paymentDetails")] {
        let mut environment = embedded(&peers.cleeng_url, &peers.adyen_url);
        environment.push(("ALLOWED_ORIGINS", ORIGIN.to_owned()));
        environment.push(("CLEENG_MEDIASTORE_URL", peers.mediastore_url.clone()));
        runtime.attach(function, &binary(function), &environment);
        let mut event = event(function, "http.json");
        event["headers"]["authorization"] = json!(CheckoutPage::for_customer(function, &peers).bearer());
        let (status, body) = response(&mut runtime, function, &event).await;
        assert_eq!(status, 200, "{function}: {body}\n{}", runtime.output());
        assert!(body["responseData"][resource]["id"].is_number() || body["responseData"][resource]["id"].is_string(), "{function}: {body}");
    }
    assert_eq!((peers.statuses(), peers.adyen.total_captured("USD")), (vec![PaymentStatus::Captured], 999));
    assert_eq!(peers.network.delivered_count("cleeng", &Method::POST, "/payment_details"), 1);
    peers.assert_balanced();
}

#[tokio::test]
async fn an_embedded_binary_reports_unreachable_upstreams() {
    if !enabled("an_embedded_binary_reports_unreachable_upstreams") {
        return;
    }
    let mut runtime = EmulatedRuntime::start().await;
    for function in WEBHOOKS {
        runtime.attach(function, &binary(function), &embedded(&unreachable_url(), &unreachable_url()));
        let answer = runtime.invoke(function, &event(function, "http.json")).await;
        assert_eq!(answer["statusCode"], 503, "{function}: {answer}\n{}", runtime.output());
        let body = answer["body"].as_str().unwrap_or_default().to_ascii_lowercase();
        assert!(body.contains("cleeng"), "{function}: the answer does not name the upstream: {body}");
    }
}

/// Sends a sample event to its function, which starts for it and has this world as its peers: what it answers, and what it logs.
async fn run_alone(world: &LocalWorld, sample: &str, customer: bool) -> (Value, String) {
    let (function, file) = sample.split_once('/').unwrap();
    let mut environment: Environment = world.embedded_settings(&unreachable_url()).into_iter().collect();
    // Here the machine's own certificates are at hand.
    environment.retain(|(name, _)| *name != "SSL_CERT_FILE");
    let mut event = event(function, file);
    if customer {
        event["headers"]["authorization"] = json!(format!("Bearer {}", world.cleeng.customer_token(&id("123321123"))));
    }
    let mut emulated = EmulatedFunction::start(function, &binary(function), &environment, 90).await;
    let answer = emulated.invoke(&event).await;
    (serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{sample}: {answer}\n{}", emulated.output())), emulated.output())
}

#[tokio::test]
async fn every_function_alone_answers_every_sample_event_as_documented() {
    if !enabled("every_function_alone_answers_every_sample_event_as_documented") {
        return;
    }
    let mut answered = 0;
    for folder in std::fs::read_dir(root().join("events")).unwrap() {
        let function = folder.unwrap().file_name().into_string().unwrap();
        for (file, cases) in event(&function, "expected.json").as_object().unwrap() {
            for case in cases.as_array().unwrap() {
                let world = LocalWorld::open(SystemClock.now(), Addresses::ephemeral(Ipv4Addr::LOCALHOST.into())).await.unwrap();
                insert_sample_subscriber(&world);
                for before in case["after"].as_array().into_iter().flatten() {
                    run_alone(&world, before.as_str().unwrap(), false).await;
                }
                let (answer, log) = run_alone(&world, &format!("{function}/{file}"), case["customer"] == true).await;
                for (member, value) in case["answer"].as_object().unwrap() {
                    assert_eq!(answer[member], *value, "{function}/{file}: {answer}\n{log}");
                }
                let word = case["says"].as_str().unwrap();
                assert!(answer["body"].as_str().unwrap_or(&log).contains(word), "{function}/{file}: {word} is not said: {answer}\n{log}");
                answered += 1;
            }
        }
    }
    assert!(answered > 30, "only {answered} answers are documented");
}
