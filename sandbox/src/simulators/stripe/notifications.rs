//! Events and their signature (docs.stripe.com/webhooks; stripe/stripe-node `src/Webhooks.ts`): made when something happens, signed when they
//! are posted.

use bytes::Bytes;
use connector::clock::Timestamp;
use connector::http::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;
use serde_json::{Value, json};

use crate::simulators::simulated_gateway::NotificationRequest;
use crate::simulators::stripe::render::{self, Expand};
use crate::simulators::stripe::state::State;

/// Notes that something happened.
pub(super) fn enqueue(state: &mut State, kind: &str, object: Value, now: Timestamp) {
    let event = new_event(state, kind, object, None, now);
    state.outbox.push(event);
}

/// An event about an object.
pub(super) fn new_event(state: &mut State, kind: &str, object: Value, previous: Option<Value>, now: Timestamp) -> Value {
    let mut data = json!({ "object": object });
    if let (Some(previous), Some(data)) = (previous, data.as_object_mut()) {
        data.insert("previous_attributes".to_owned(), previous);
    }
    let (request, key) = state.request.clone();
    json!({
        "id": state.next_id("evt"),
        "object": "event",
        "api_version": state.config.api_version,
        "created": now.secs(),
        "data": data,
        "livemode": false,
        "pending_webhooks": 1,
        "request": { "id": request, "idempotency_key": key },
        "type": kind,
    })
}

/// An event about a PaymentIntent, which also notes how it looks now.
pub(super) fn enqueue_for_intent(state: &mut State, kind: &str, id: &str, now: Timestamp) {
    let Some(object) = state.intent(id).map(|one| render::intent(state, one, &Expand::default())) else { return };
    if let Some(intent) = state.intent_mut(id) {
        intent.history.push((now, object.clone()));
    }
    enqueue(state, kind, object, now);
}

pub(super) fn enqueue_for_charge(state: &mut State, kind: &str, id: &str, now: Timestamp) {
    let Some(object) = state.charge(id).map(|one| render::charge(state, one)) else { return };
    enqueue(state, kind, object, now);
}

pub(super) fn enqueue_for_refund(state: &mut State, kind: &str, id: &str, now: Timestamp) {
    let Some(object) = state.refund(id).map(render::refund) else { return };
    enqueue(state, kind, object, now);
}

pub(super) fn enqueue_for_setup(state: &mut State, kind: &str, id: &str, now: Timestamp) {
    let Some(object) = state.setup(id).map(|one| render::setup(state, one, &Expand::default())) else { return };
    enqueue(state, kind, object, now);
}

pub(super) fn enqueue_for_method(state: &mut State, kind: &str, id: &str, previous: Option<Value>, now: Timestamp) {
    let Some(object) = state.methods.get(id).map(render::method) else { return };
    let event = new_event(state, kind, object, previous, now);
    state.outbox.push(event);
}

pub(super) fn enqueue_for_dispute(state: &mut State, kind: &str, charge: &str, now: Timestamp) {
    let Some(object) = state.charge(charge).map(|one| render::dispute(state, one)) else { return };
    enqueue(state, kind, object, now);
}

/// Signs a body as it is posted: once with every secret that the endpoint has, and once in the way that is not to be looked at.
pub(super) fn signed(secrets: &[String], body: Bytes, now: Timestamp) -> NotificationRequest {
    let at = now.secs().to_string();
    let mut signature = format!("t={at}");
    for secret in secrets {
        signature.push_str(",v1=");
        signature.push_str(&mac(secret, &at, &body));
    }
    signature.push_str(",v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39");
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&signature) {
        headers.insert(HeaderName::from_static("stripe-signature"), value);
    }
    NotificationRequest { headers, body }
}

fn mac(secret: &str, at: &str, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
    context.update(at.as_bytes());
    context.update(b".");
    context.update(body);
    context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_vector_is_signed_as_stripe_signs_it() {
        let notification = signed(
            &["whsec_test_secret".to_owned()],
            Bytes::from_static(br#"{"id":"evt_1","object":"event"}"#),
            Timestamp::from_secs(1_700_000_000),
        );
        let signature = notification.headers.get("stripe-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert!(signature.starts_with("t=1700000000,v1=0c8670ed117751cc551a20e35839447075c42800ea3cf3e8a2fbda99cd1e6edd,"));
    }
}
