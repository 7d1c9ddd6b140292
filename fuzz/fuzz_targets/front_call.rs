//! A page may send anything: it gets an answer, nothing is paid without a payment method, and the body never comes back.
#![no_main]

use connector::http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sandbox::stage::{OFFER, ORIGIN, Stage, id};

fuzz_target!(|input: (bool, &str)| {
    let (finalize, body) = input;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let stage = Stage::default();
    let customer = stage.cleeng.new_customer().expect("a customer");
    let order = stage.cleeng.new_order(&customer, &id(OFFER), &id(sandbox::stage::METHOD)).expect("an order");
    let body = body.replace("ORDER", order.as_str());
    let mut headers = HeaderMap::new();
    headers.insert("origin", HeaderValue::from_static(ORIGIN));
    let bearer = format!("Bearer {}", stage.cleeng.customer_token(&customer));
    headers.insert("authorization", HeaderValue::from_str(&bearer).expect("a token"));
    let path = if finalize { "/connectors/adyen/initial-payment/finalize" } else { "/connectors/adyen/initial-payment" };
    let reply = runtime.block_on(stage.send(path, headers, body.clone()));
    let status = reply.status.as_u16();
    assert!([200, 202, 400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 500, 502, 503].contains(&status), "{status}");
    let paid = stage.adyen.total_captured("USD");
    assert!(paid == 0 || (paid == 999 && body.contains("paymentMethod")), "{paid}");
    assert!(body.len() < 40 || !reply.body.to_string().contains(&body), "the body comes back");
});
