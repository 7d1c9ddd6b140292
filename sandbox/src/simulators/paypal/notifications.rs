//! Webhooks and their signature (developer.paypal.com, "Verify webhook messages"): made when something happens, signed when they are taken.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use connector::clock::Timestamp;
use connector::http::{HeaderMap, HeaderName, HeaderValue};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use crate::simulators::network::ServerRequest;
use crate::simulators::paypal::state::{PendingNotification, State};
use crate::simulators::paypal::{PayPalConfig, render, test_keys};
use crate::simulators::simulated_gateway::NotificationRequest;

const HEADERS: [&str; 5] =
    ["paypal-transmission-id", "paypal-transmission-time", "paypal-transmission-sig", "paypal-cert-url", "paypal-auth-algo"];

/// Notes that something happened.
pub(super) fn enqueue(state: &mut State, event_type: &str, resource_type: &str, resource: Value, now: Timestamp) {
    let notification = new_notification(state, event_type, resource_type, resource, now);
    state.outbox.push(notification);
}

/// An event about a resource.
pub(super) fn new_notification(
    state: &mut State,
    event_type: &str,
    resource_type: &str,
    resource: Value,
    now: Timestamp,
) -> PendingNotification {
    let (id, transmission) = (state.next_id(), state.next_id());
    let body = json!({
        "id": format!("WH-{id}"),
        "event_version": "1.0",
        "create_time": now.to_rfc3339(),
        "resource_type": resource_type,
        "resource_version": "2.0",
        "event_type": event_type,
        "summary": "simulated",
        "resource": resource,
    });
    PendingNotification { transmission_id: transmission, at: now, body }
}

pub(super) fn enqueue_for_capture(state: &mut State, event_type: &str, capture: &str, now: Timestamp) {
    let Some(resource) = state.capture(capture).map(|capture| render::capture(state, capture)) else { return };
    enqueue(state, event_type, "capture", resource, now);
}

pub(super) fn enqueue_for_authorisation(state: &mut State, event_type: &str, authorisation: &str, now: Timestamp) {
    let Some(resource) = state.authorisation(authorisation).map(|one| render::authorisation(state, one)) else { return };
    enqueue(state, event_type, "authorization", resource, now);
}

/// CRC-32, said once more.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc % 2 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

fn signed_text(transmission: &str, time: &str, webhook: &str, body: &[u8]) -> String {
    format!("{transmission}|{time}|{webhook}|{}", crc32(body))
}

/// Signs an event as it is posted.
pub(super) fn signed(config: &PayPalConfig, notification: &PendingNotification) -> NotificationRequest {
    let body = Bytes::from(notification.body.to_string());
    let time = notification.at.to_rfc3339();
    let signature = sign(signed_text(&notification.transmission_id, &time, &config.webhook_id, &body).as_bytes());
    let certificate = format!("{}/v1/notifications/certs/{}", config.certificate_host, crate::simulators::paypal::CERTIFICATE);
    let mut headers = HeaderMap::new();
    for (name, value) in HEADERS.into_iter().zip([notification.transmission_id.as_str(), &time, &signature, &certificate, "SHA256withRSA"])
    {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    NotificationRequest { headers, body }
}

fn sign(message: &[u8]) -> String {
    let Ok(key) = RsaKeyPair::from_pkcs8(&der(test_keys::SIGNER_KEY)) else { return String::new() };
    let mut signature = vec![0; key.public().modulus_len()];
    match key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature) {
        Ok(()) => STANDARD.encode(signature),
        Err(_) => String::new(),
    }
}

/// The bytes of a PEM text with one part.
pub(super) fn der(pem: &str) -> Vec<u8> {
    let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(lines).unwrap_or_default()
}

/// POST `/v1/notifications/verify-webhook-signature`: whether the question names a signature of ours over the event's bytes as they stand there.
pub(super) fn verify(state: &State, request: &ServerRequest) -> bool {
    const EVENT: &[u8] = b"\"webhook_event\":";
    let body = request.json();
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let start = request.body.windows(EVENT.len()).position(|window| window == EVENT).map(|at| at.saturating_add(EVENT.len()));
    let event = start.and_then(|start| request.body.get(start..request.body.len().saturating_sub(1)));
    let Some(event) = event else { return false };
    let expected = sign(signed_text(text("transmission_id"), text("transmission_time"), text("webhook_id"), event).as_bytes());
    text("webhook_id") == state.config.webhook_id && text("transmission_sig") == expected && text("auth_algo") == "SHA256withRSA"
}
