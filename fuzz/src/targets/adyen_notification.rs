//! Adyen's notifications: every item of a body is signed as Adyen signs it, and must then be read or be malformed; with one bit changed it
//! is rejected, or unchanged in every signed field. The other kind of webhook is signed as a whole.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector::gateway::{GatewayName, GatewayNotification, NotificationError};
use connector::http::{HeaderMap, HeaderValue};
use ring::hmac;
use sandbox::testkit::gateway_fixtures::ADYEN_HMAC_KEY;
use serde_json::{Value, json};

use crate::tools::{block_on, functions, with_flipped_bit};

fn sign(message: &[u8]) -> String {
    let key: Vec<u8> = (0..32).filter_map(|at| u8::from_str_radix(&ADYEN_HMAC_KEY[2 * at..2 * at + 2], 16).ok()).collect();
    STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), message))
}

/// Signs an item (docs.adyen.com, "Verify HMAC signatures"); `None` if a signed value is not a plain one.
fn sign_item(item: &mut Value) -> Option<()> {
    let text = |value: Option<&Value>| match value {
        None | Some(Value::Null) => Some(String::new()),
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Bool(flag)) => Some(flag.to_string()),
        Some(_) => None,
    };
    let parts = [
        text(item.get("pspReference"))?,
        text(item.get("originalReference"))?,
        text(item.get("merchantAccountCode"))?,
        text(item.get("merchantReference"))?,
        text(item.pointer("/amount/value"))?,
        text(item.pointer("/amount/currency"))?,
        text(item.get("eventCode"))?,
        text(item.get("success"))?,
    ];
    // Nothing is escaped: with a colon in a value, other values may say the same.
    if parts.iter().any(|part| part.contains(':')) {
        return None;
    }
    item.as_object_mut()?.insert("additionalData".to_owned(), json!({ "hmacSignature": sign(parts.join(":").as_bytes()) }));
    Some(())
}

type ReadResult = Result<Vec<Result<GatewayNotification, NotificationError>>, NotificationError>;

fn read(headers: &HeaderMap, body: &[u8]) -> ReadResult {
    block_on(functions::gateway(GatewayName::Adyen).read_notification(headers, body))
}

/// What of a notification is signed.
fn signed_members(read: &GatewayNotification) -> GatewayNotification {
    GatewayNotification { at: None, reason: None, ..read.clone() }
}

pub(super) fn body(input: &[u8]) {
    let Ok(mut document) = serde_json::from_slice::<Value>(input) else { return assert!(read(&HeaderMap::new(), input).is_err()) };
    if document.get("notificationItems").is_none() {
        return check_other(&document);
    }
    let Some(items) = document.get_mut("notificationItems").and_then(Value::as_array_mut) else { return };
    items.truncate(3);
    let all_signed = items.iter_mut().all(|item| item.get_mut("NotificationRequestItem").and_then(sign_item).is_some());
    if !all_signed || items.is_empty() {
        return;
    }
    let text = document.to_string();
    let told = match read(&HeaderMap::new(), text.as_bytes()) {
        Ok(told) => told,
        Err(error) => return assert_eq!(error, NotificationError::Malformed, "signed items are refused"),
    };
    assert!(told.iter().all(|item| matches!(item, Ok(_) | Err(NotificationError::Malformed))), "a signed item is refused");
    let Some(changed) = with_flipped_bit(text.as_bytes()) else { return };
    let known: Vec<GatewayNotification> = told.iter().flatten().map(signed_members).collect();
    for item in read(&HeaderMap::new(), &changed).into_iter().flatten().flatten() {
        assert!(known.contains(&signed_members(&item)), "a changed item is taken: {item:?}");
    }
}

fn check_other(document: &Value) {
    let text = document.to_string();
    let mut headers = HeaderMap::new();
    headers.insert("hmacsignature", HeaderValue::from_str(&sign(text.as_bytes())).expect("base64"));
    assert!(read(&HeaderMap::new(), text.as_bytes()).is_err(), "unsigned");
    let told = read(&headers, text.as_bytes());
    assert!(!matches!(told, Err(NotificationError::BadSignature)), "a signed body is refused");
    if let Some(changed) = with_flipped_bit(text.as_bytes()) {
        assert!(read(&headers, &changed).is_err(), "a changed body is taken");
    }
}
