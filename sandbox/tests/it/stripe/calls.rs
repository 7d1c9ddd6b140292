//! Calls to the simulator as a client makes them, without the adapter.

use connector::http::{HeaderMap, Method};
use sandbox::simulators::network::{ServerRequest, ServerResponse, SimulatedServer};
use serde_json::Value;

use super::harness::{API_KEY, StripeHarness, VERSION, money};

pub(crate) fn harness() -> StripeHarness {
    StripeHarness::new(money(999, "EUR"))
}

/// A request as a client makes it, to be changed.
pub(crate) fn request(method: Method, path: &str, key: Option<&str>, params: &str) -> ServerRequest {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {API_KEY}").parse().unwrap());
    headers.insert("stripe-version", VERSION.parse().unwrap());
    let mut query = Vec::new();
    let mut body = String::new();
    if method == Method::POST {
        headers.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        body = params.to_owned();
    } else {
        query =
            params.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    }
    if let Some(key) = key {
        headers.insert("idempotency-key", key.parse().unwrap());
    }
    ServerRequest { method, path: format!("/v1{path}"), query, headers, body: body.into() }
}

pub(crate) fn read(answer: &ServerResponse) -> (u16, Value) {
    (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap_or_default())
}

pub(crate) fn post(harness: &StripeHarness, path: &str, key: Option<&str>, params: &str) -> (u16, Value) {
    read(&harness.simulator.handle(&request(Method::POST, path, key, params)))
}

pub(crate) fn get(harness: &StripeHarness, path: &str, params: &str) -> (u16, Value) {
    read(&harness.simulator.handle(&request(Method::GET, path, None, params)))
}

/// Status, type, code and parameter of an error.
pub(crate) fn error(answer: &(u16, Value)) -> (u16, &str, &str, &str) {
    let text = |name: &str| answer.1["error"][name].as_str().unwrap_or_default();
    (answer.0, text("type"), text("code"), text("param"))
}

pub(crate) fn id(answer: &(u16, Value)) -> String {
    assert_eq!(answer.0, 200, "{}", answer.1);
    answer.1["id"].as_str().unwrap().to_owned()
}

/// The customer and the payment method of the world's stored details.
pub(crate) fn details(harness: &StripeHarness) -> String {
    let (method, customer) = harness.token.split_once(':').unwrap();
    format!("customer={customer}&payment_method={method}")
}

pub(crate) fn authorised_intent(harness: &StripeHarness, key: &str) -> String {
    let params = format!("amount=999&currency=eur&off_session=true&confirm=true&capture_method=manual&{}", details(harness));
    id(&post(harness, "/payment_intents", Some(key), &params))
}

pub(crate) fn captured_intent(harness: &StripeHarness, key: &str) -> String {
    let params = format!("amount=999&currency=eur&off_session=true&confirm=true&metadata[reference]=r-{key}&{}", details(harness));
    id(&post(harness, "/payment_intents", Some(key), &params))
}

pub(crate) fn event_kinds(harness: &StripeHarness) -> Vec<String> {
    let posted = harness.simulator.take_notifications();
    posted.iter().map(|one| serde_json::from_slice::<Value>(&one.body).unwrap()["type"].as_str().unwrap().to_owned()).collect()
}

pub(crate) const INVALID: &str = "invalid_request_error";
