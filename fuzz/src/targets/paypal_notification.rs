//! PayPal's notifications: a body under a valid transmission is a notification or malformed; with one bit changed in the body, or in any of
//! the five headers, it is rejected. Only the certificate's address at PayPal may differ: the certificate is verified itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector::gateway::{GatewayName, NotificationError};
use connector::http::{HeaderMap, HeaderName, HeaderValue};
use sandbox::testkit::gateway_fixtures::PAYPAL_WEBHOOK_ID;

use crate::tools::paypal::{self, CERTIFICATE_URL};
use crate::tools::{block_on, functions, hash, with_flipped_bit};

fn read(headers: &HeaderMap, body: &[u8]) -> Option<NotificationError> {
    block_on(functions::gateway(GatewayName::PayPal).read_notification(headers, body)).err()
}

pub(super) fn body(input: &[u8]) {
    let signature = STANDARD.encode(paypal::sign(&paypal::message("69cd13f0", "2026-03-01T12:00:00Z", PAYPAL_WEBHOOK_ID, input)));
    let mut sent = [
        ("paypal-transmission-id", "69cd13f0".to_owned()),
        ("paypal-transmission-time", "2026-03-01T12:00:00Z".to_owned()),
        ("paypal-transmission-sig", signature),
        ("paypal-cert-url", CERTIFICATE_URL.to_owned()),
        ("paypal-auth-algo", "SHA256withRSA".to_owned()),
    ];
    let headers = |sent: &[(&'static str, String)]| {
        let header = |(name, value): &(&'static str, String)| Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?));
        sent.iter().map(header).collect::<Option<HeaderMap>>()
    };
    let good = headers(&sent).expect("visible characters");
    assert!(!matches!(read(&good, input), Some(NotificationError::BadSignature | NotificationError::Unsigned)), "a signed body is refused");
    if let Some(changed) = with_flipped_bit(input) {
        assert_eq!(read(&good, &changed), Some(NotificationError::BadSignature), "a changed body is taken");
    }
    let which = hash(input) % sent.len();
    let (name, value) = sent[which].clone();
    // Which bit depends on the body too: the headers are always the same.
    let marked = format!("{value}{}", hash(input) % 64);
    let at = hash(marked.as_bytes()) % value.len();
    let mut bytes = value.into_bytes();
    bytes[at] ^= 1 << (hash(marked.as_bytes()) % 7);
    sent[which].1 = String::from_utf8(bytes).expect("ASCII stays ASCII");
    if let Some(changed) = headers(&sent) {
        let value = &sent[which].1;
        let elsewhere = name == "paypal-cert-url" && value.split('/').nth(2).is_some_and(|host| host.ends_with(".paypal.com"));
        assert!(read(&changed, input).is_some() || elsewhere, "a changed {name} is taken: {value}");
    }
}
