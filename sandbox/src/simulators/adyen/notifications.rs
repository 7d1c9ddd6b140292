//! Standard notifications and their HMAC (docs.adyen.com, "Verify HMAC signatures").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector::clock::Timestamp;
use ring::hmac;
use serde_json::{Value, json};

use crate::simulators::adyen::AdyenConfig;
use crate::simulators::adyen::state::{Payment, State};

/// What a notification says.
pub(super) struct NotificationEvent<'a> {
    pub(super) event_code: &'a str,
    pub(super) success: bool,
    pub(super) psp_reference: &'a str,
    /// Empty for none.
    pub(super) original_reference: &'a str,
    pub(super) reference: &'a str,
    pub(super) amount: Option<(&'a str, i64)>,
    pub(super) reason: &'a str,
}

/// The news of an authorisation.
pub(super) fn authorisation_item(config: &AdyenConfig, payment: &Payment, success: bool, reason: &str, now: Timestamp) -> Value {
    let event = NotificationEvent {
        event_code: "AUTHORISATION",
        success,
        psp_reference: &payment.psp_reference,
        original_reference: "",
        reference: &payment.reference,
        amount: Some((&payment.currency, payment.amount)),
        reason,
    };
    signed_item(config, &event, now)
}

/// A signed item.
pub(super) fn signed_item(config: &AdyenConfig, event: &NotificationEvent<'_>, now: Timestamp) -> Value {
    let success = if event.success { "true" } else { "false" };
    let (currency, value) = event.amount.unwrap_or(("EUR", 0));
    let value_text = value.to_string();
    let signed = [
        event.psp_reference,
        event.original_reference,
        &config.merchant_account,
        event.reference,
        &value_text,
        currency,
        event.event_code,
        success,
    ]
    .join(":");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &from_hex(&config.hmac_key));
    let signature = STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
    let mut item = json!({
        "eventCode": event.event_code,
        "success": success,
        "pspReference": event.psp_reference,
        "merchantReference": event.reference,
        "merchantAccountCode": config.merchant_account,
        "amount": { "currency": currency, "value": value },
        "eventDate": now.to_rfc3339(),
        "reason": event.reason,
        "additionalData": { "hmacSignature": signature },
    });
    if let (false, Some(item)) = (event.original_reference.is_empty(), item.as_object_mut()) {
        item.insert("originalReference".to_owned(), json!(event.original_reference));
    }
    item
}

/// The body that carries one item.
pub(super) fn body(item: &Value) -> String {
    json!({ "live": "false", "notificationItems": [{ "NotificationRequestItem": item }] }).to_string()
}

/// The announcement of a report: Adyen does not sign it.
pub(super) fn unsigned_report(state: &mut State, now: Timestamp) -> String {
    let event = NotificationEvent {
        event_code: "REPORT_AVAILABLE",
        success: true,
        psp_reference: &state.next_id(),
        original_reference: "",
        reference: "",
        amount: None,
        reason: "https://ca-test.adyen.com/reports/download/settlement_detail_report_batch_1.csv",
    };
    let mut item = signed_item(&state.config, &event, now);
    if let Some(item) = item.as_object_mut() {
        item.remove("additionalData");
    }
    body(&item)
}

/// A tokenization webhook (TokenizationNotification v1): the signature over the whole body, and the body.
pub(super) fn tokenization_webhook(state: &mut State, event_type: &str, stored: &str, shopper: &str, now: Timestamp) -> (String, String) {
    let mut data = json!({
        "merchantAccount": state.config.merchant_account, "shopperReference": shopper, "storedPaymentMethodId": stored, "type": "visa",
    });
    if let (false, Some(data)) = (event_type.ends_with(".disabled"), data.as_object_mut()) {
        data.insert("operation".to_owned(), json!(event_type.rsplit('.').next()));
    }
    let body = json!({
        "createdAt": now.to_rfc3339(), "data": data, "environment": "test", "eventId": state.next_id(), "type": event_type,
    })
    .to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &from_hex(&state.config.hmac_key));
    (STANDARD.encode(hmac::sign(&key, body.as_bytes())), body)
}

fn from_hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.filter_map(|pair| std::str::from_utf8(pair).ok()).filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}
