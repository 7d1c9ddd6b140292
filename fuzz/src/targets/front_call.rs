//! A page, or a program that poses as one, may send anything to any address of the front-end API: it gets a response, pays nothing but the
//! order's amount and nothing without a payment method, and the body is never echoed. The first line is method and address; `ORDER_PATHS`
//! and `TOKEN_LIFETIME` stand for the customer's own.

use connector::http::HeaderValue;
use sandbox::testkit::fixtures::{OFFER, SHOP_ORIGIN, id};
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;

use crate::tools::{block_on, parse_message};

const STATUSES: [u16; 17] = [200, 202, 302, 303, 400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 429, 502, 503];

pub(super) fn body(input: &[u8]) {
    let message = parse_message(input);
    let (method, address) = message.first_line.split_once(' ').unwrap_or(("POST", message.first_line));
    let env = TestEnvironment::default();
    let customer = env.cleeng.new_customer().expect("a customer");
    let order = env.cleeng.new_order(&customer, &id(OFFER), &id(ADYEN_METHOD)).expect("an order");
    let token = env.cleeng.customer_token(&customer);
    let own = |text: &str| text.replace("ORDER", order.as_str()).replace("TOKEN", &token);
    let mut headers = message.headers.clone();
    headers.entry("origin").or_insert(HeaderValue::from_static(SHOP_ORIGIN));
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("Bearer TOKEN");
    headers.insert("authorization", HeaderValue::from_str(&own(bearer)).expect("a header"));
    let body = own(&String::from_utf8_lossy(message.body));
    let reply = block_on(env.request(method, &own(address), headers, body.clone()));
    let status = reply.status.as_u16();
    assert!(STATUSES.contains(&status), "{status}: {}", reply.body);
    let ledger: Vec<_> = env.gateways.iter().flat_map(|fixture| fixture.simulator.ledger()).filter(|entry| entry.authorised).collect();
    let taken: i64 = ledger.iter().map(|entry| entry.captured.minor).sum();
    let held = ledger.iter().all(|entry| [0, 999].contains(&entry.amount.minor));
    assert!(held && (taken == 0 || (taken == 999 && body.contains("paymentMethod"))), "{taken} taken: {ledger:?}");
    let said = reply.body.to_string();
    assert!(body.len() < 40 || !said.contains(&body), "the body comes back");
    assert!(!said.contains(&token), "the token comes back");
    if let Some(location) = &reply.location {
        assert!(location.bytes().all(|byte| byte.is_ascii_graphic()), "no address: {location}");
    }
}
