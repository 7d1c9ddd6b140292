//! What the front-end API rejects before any flow starts, and what never reaches a log.

use std::io::Write;
use std::sync::{Arc, Mutex};

use connector::http::{HeaderMap, HeaderValue};
use connector::lambda::telemetry::{Output, Redactor, subscriber};
use sandbox::testkit::fixtures::SHOP_ORIGIN;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::json;
use tracing::level_filters::LevelFilter;

use crate::front::{GOOD, REDIRECTING, buyer, card, code, is_paid, redirect_result, write_counts};

fn headers(token: &str, origin: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    if let Some(origin) = origin {
        headers.insert("origin", HeaderValue::from_str(origin).unwrap());
    }
    headers
}

const PATH: &str = "/connectors/adyen/initial-payment";

#[tokio::test]
async fn only_pages_of_the_allowed_origins_are_served() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let body = buyer.start_body(&card(GOOD, "J D", "1")).to_string();
    for origin in
        ["https://evil.test", "https://shop.example.com.evil.test", "null", "http://shop.example.com", "https://shop.example.com:444"]
    {
        let reply = env.post(PATH, headers(&buyer.token, Some(origin)), body.clone()).await;
        assert_eq!(code(&reply), (403, "REQ0007"), "{origin}");
    }
    assert!(env.network.calls().is_empty());
    // An app has no page.
    assert!(is_paid(&env.post(PATH, headers(&buyer.token, None), body).await));
}

#[tokio::test]
async fn every_address_in_a_body_is_within_the_allowed_origins() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    for name in ["origin", "returnUrl", "successUrl", "cancelUrl", "errorUrl"] {
        for url in ["https://evil.test/back", "https://shop.example.com@evil.test", "javascript:alert(1)", "/back", ""] {
            let mut body = buyer.start_body(&card(GOOD, "J D", "1"));
            body[name] = json!(url);
            assert_eq!(code(&env.call("initial-payment", &buyer.token, &body).await), (400, "REQ0008"), "{name} {url}");
        }
    }
    assert!(env.network.calls().is_empty());
}

#[tokio::test]
async fn a_malformed_request_is_refused() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let send = |path: &'static str, body: String| env.post(path, headers(&buyer.token, Some(SHOP_ORIGIN)), body);
    for body in ["", "null", "[]", "{", "{\"orderId\":true}", "{\"orderId\":1}", "\u{fffd}"] {
        assert_eq!(code(&send(PATH, body.to_owned()).await), (400, "REQ0001"), "{body}");
    }
    let mut without_method = buyer.start_body(&json!("card"));
    assert_eq!(code(&send(PATH, without_method.to_string()).await), (400, "REQ0001"));
    for member in ["storedPaymentMethodId", "recurringDetailReference"] {
        without_method["paymentMethod"] = json!({ "type": "scheme", member: "8415718415718415X" });
        let reply = send(PATH, without_method.to_string()).await;
        assert_eq!(code(&reply), (400, "REQ0001"));
        assert!(reply.body["detail"].as_str().unwrap().contains(member), "{}", reply.body);
    }
    assert_eq!(code(&send(PATH, "x".repeat(40_000)).await), (413, "REQ0005"));
    assert_eq!(code(&send("/connectors/nobody/initial-payment", "{}".to_owned()).await), (404, "REQ0003"));
    assert_eq!(code(&send("/connectors/adyen/refunds", "{}".to_owned()).await), (404, "REQ0003"));
    assert!(env.network.calls().is_empty());
}

#[derive(Clone, Default)]
struct LogSink(Arc<Mutex<Vec<u8>>>);

impl Write for LogSink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_card_number_is_refused_and_neither_sent_stored_nor_logged() {
    let sink = LogSink::default();
    let output = Output::new(Box::new(sink.clone()), Arc::new(Redactor::default()));
    // For the whole process: a scoped one misses lines whose place in the code another test's thread reaches first. What the other tests log
    // meanwhile must not be seen either.
    tracing::subscriber::set_global_default(subscriber(output, LevelFilter::DEBUG)).unwrap();
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    for number in ["4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111"] {
        for place in ["paymentMethod", "billingAddress", "note"] {
            let mut body = buyer.start_body(&card(GOOD, "J D", "1"));
            body[place] = json!({ "type": "scheme", "deep": [{ "number": number }] });
            let reply = env.call("initial-payment", &buyer.token, &body).await;
            assert_eq!(code(&reply), (400, "REQ0004"));
            assert!(!reply.body.to_string().contains("4111"));
        }
        let back = json!({ "orderId": buyer.order, "details": { "redirectResult": number } });
        assert_eq!(code(&env.call("initial-payment/finalize", &buyer.token, &back).await), (400, "REQ0004"));
    }
    assert!(env.network.calls().is_empty());
    assert_eq!(env.store.writes(), 0);
    // And a whole purchase writes nothing that must not be seen.
    let action = buyer.start(&env, &card(REDIRECTING, "Jane Doe", "1")).await;
    let back = redirect_result(&action);
    assert!(is_paid(&buyer.finalize(&env, &back).await));
    let log = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("gateway called"), "{log}");
    let stored = env.adyen.payments()[0].stored_payment_method_id.clone().unwrap();
    // More than four digits: the ids of other tests may hold those by chance.
    let unwanted = [
        "41111111",
        "4111 1111",
        "4111-1111",
        "Jane",
        "test_",
        "Bearer",
        &buyer.token,
        back["redirectResult"].as_str().unwrap(),
        &stored,
        "example.com",
    ];
    for text in unwanted {
        assert!(!log.contains(text), "{text} is in the log");
    }
    assert_eq!(write_counts(&env), (2, 1));
}
