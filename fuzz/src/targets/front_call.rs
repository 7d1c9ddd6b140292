//! A page, or whoever says that he is one, may send anything to any address of the front-end API: he gets an answer, pays nothing but the
//! order's amount and nothing without a payment method, and the body never comes back. The first line is method and address; `ORDER` and
//! `TOKEN` stand for the customer's own.

use connector::http::HeaderValue;
use sandbox::stage::{METHOD, OFFER, ORIGIN, Stage, id};

use crate::tools::{message, wait};

const STATUSES: [u16; 17] = [200, 202, 302, 303, 400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 429, 502, 503];

pub(super) fn body(input: &[u8]) {
    let message = message(input);
    let (method, address) = message.first.split_once(' ').unwrap_or(("POST", message.first));
    let stage = Stage::default();
    let customer = stage.cleeng.new_customer().expect("a customer");
    let order = stage.cleeng.new_order(&customer, &id(OFFER), &id(METHOD)).expect("an order");
    let token = stage.cleeng.customer_token(&customer);
    let own = |text: &str| text.replace("ORDER", order.as_str()).replace("TOKEN", &token);
    let mut headers = message.headers.clone();
    headers.entry("origin").or_insert(HeaderValue::from_static(ORIGIN));
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("Bearer TOKEN");
    headers.insert("authorization", HeaderValue::from_str(&own(bearer)).expect("a header"));
    let body = own(&String::from_utf8_lossy(message.body));
    let reply = wait(stage.knock(method, &own(address), headers, body.clone()));
    let status = reply.status.as_u16();
    assert!(STATUSES.contains(&status), "{status}: {}", reply.body);
    let ledger: Vec<_> = stage.guests.iter().flat_map(|guest| guest.house.ledger()).filter(|entry| entry.authorised).collect();
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
