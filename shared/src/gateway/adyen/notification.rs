//! Adyen's standard webhook: verified item by item, then read; and its tokenization webhook, whose whole body is signed. Must never let a
//! field decide about money that the HMAC does not cover: `clean_reason`, `additionalData` and `eventDate` are not signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::settings::hmac_key;
use super::token::AdyenToken;
use super::wire;
use crate::clock::Timestamp;
use crate::gateway::common::code_table::contains;
use crate::gateway::common::signature::HmacKeys;
use crate::gateway::{GatewayNotification, NotificationError, NotificationItem, NotificationKind, NotifiedToken, Reference};
use crate::http::HeaderMap;
use crate::ids::ExternalPaymentId;
use crate::json;
use crate::secret::SecretString;

/// The longest reason that is passed on, in characters.
const LONGEST_REASON: usize = 200;
/// Where webhooks other than the standard one carry their signature.
const SIGNATURE_HEADER: &str = "hmacsignature";

/// How the types of webhooks end that tell of a bank account's new number. Nothing follows from them here: the details keep their token.
const NOTICE_OF_CHANGE: &str = ".notificationOfChange";
/// Codes that move no money and decide nothing (Webhooks v1).
const WITHOUT_EFFECT: &str = "AUTORESCUE CANCEL_AUTORESCUE DISPUTE_DEFENSE_PERIOD_ENDED INFORMATION_SUPPLIED ISSUER_COMMENTS \
ISSUER_RESPONSE_TIMEFRAME_EXPIRED MANUAL_REVIEW_ACCEPT NOTIFICATION_OF_CHARGEBACK NOTIFICATION_OF_FRAUD OFFER_CLOSED ORDER_CLOSED \
ORDER_OPENED POSTPONED_REFUND RECURRING_CONTRACT REQUEST_FOR_INFORMATION";

/// Verifies and reads notifications of one merchant account.
pub(super) struct NotificationVerifier {
    keys: HmacKeys,
    merchant_account: String,
}

impl NotificationVerifier {
    /// Takes the keys that are ones; secrets are validated before.
    pub(super) fn new(keys: &[SecretString], merchant_account: String) -> Self {
        Self { keys: HmacKeys::new(keys.iter().filter_map(hmac_key)), merchant_account }
    }

    /// Reads a body of one or more items, each on its own; a body without any good one is refused as its first item is. Reports and notices
    /// of change are left out.
    pub(super) fn read(&self, headers: &HeaderMap, body: &[u8]) -> Result<Vec<NotificationItem>, NotificationError> {
        let raw = body;
        let body = json::parse(raw).map_err(|_| NotificationError::Malformed)?;
        if let (None, Some(event_type)) = (body.get("notificationItems"), body.get("type").and_then(Value::as_str)) {
            if event_type.ends_with(NOTICE_OF_CHANGE) {
                return Ok(Vec::new());
            }
            return Ok(vec![Ok(self.read_body_signed(headers, raw, &body, event_type)?)]);
        }
        let all = body.get("notificationItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let all = all.iter().map(|item| item.get("NotificationRequestItem").unwrap_or(&Value::Null));
        let (reports, items): (Vec<&Value>, Vec<&Value>) = all.partition(|item| is_report(item));
        let items: Vec<NotificationItem> = items.into_iter().map(|item| self.read_item(item)).collect();
        if items.iter().any(Result::is_ok) || (items.is_empty() && !reports.is_empty()) {
            return Ok(items);
        }
        Err(items.into_iter().find_map(Result::err).unwrap_or(NotificationError::Malformed))
    }

    fn read_item(&self, item: &Value) -> Result<GatewayNotification, NotificationError> {
        let fields = SignedFields::read(item).ok_or(NotificationError::Malformed)?;
        let signature = item.get("additionalData").and_then(|data| data.get("hmacSignature")).and_then(Value::as_str);
        let signature = signature.filter(|signature| !signature.is_empty()).ok_or(NotificationError::Unsigned)?;
        if !self.signature_matches(fields.message().as_bytes(), signature) {
            return Err(NotificationError::BadSignature);
        }
        Ok(self.interpret(&fields, item))
    }

    /// Adyen's other webhooks, such as tokenization, sign their whole body in a header. Those that do not concern the connector are
    /// ignored: an error would block the endpoint's queue for those that do.
    fn read_body_signed(
        &self,
        headers: &HeaderMap,
        raw: &[u8],
        body: &Value,
        kind: &str,
    ) -> Result<GatewayNotification, NotificationError> {
        let signature = headers.get(SIGNATURE_HEADER).ok_or(NotificationError::Unsigned)?;
        if !signature.to_str().is_ok_and(|signature| self.signature_matches(raw, signature)) {
            return Err(NotificationError::BadSignature);
        }
        let event = body.get("eventId").and_then(Value::as_str).ok_or(NotificationError::NotUnderstood)?;
        let token = body.get("data").and_then(|data| self.read_token(data));
        Ok(GatewayNotification {
            kind: if token.is_some() { token_kind(kind) } else { NotificationKind::Ignored },
            external_payment_id: None,
            reference: None,
            operation_ref: None,
            amount: None,
            at: body.get("createdAt").and_then(Value::as_str).and_then(|at| Timestamp::parse_rfc3339(at).ok()),
            dedupe_key: format!("event:{kind}:{event}"),
            reason: clean_reason(kind),
            decline: None,
            token,
        })
    }

    /// The stored details of our merchant account that a tokenization webhook is about (TokenizationNotification v1).
    fn read_token(&self, data: &Value) -> Option<NotifiedToken> {
        let text = |name: &str| data.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        text("merchantAccount").filter(|account| *account == self.merchant_account)?;
        let shopper = text("shopperReference")?;
        let token = AdyenToken::write(text("storedPaymentMethodId")?, shopper)?;
        Some(NotifiedToken { shopper: shopper.to_owned(), token: token.0.expose().to_owned() })
    }

    fn signature_matches(&self, message: &[u8], signature: &str) -> bool {
        STANDARD.decode(signature).is_ok_and(|signature| self.keys.verify(message, &signature))
    }

    fn interpret(&self, fields: &SignedFields, item: &Value) -> GatewayNotification {
        let reference = Reference::parse(&fields.merchant_reference);
        // A modification that was made by hand may have no reference of its own: then its payment tells whose it is.
        let by_payment = fields.merchant_reference.is_empty() && !fields.original_reference.is_empty();
        let ours = fields.merchant_account == self.merchant_account && (reference.is_some() || by_payment);
        let kind = if ours { notification_kind(&fields.event_code, &fields.success) } else { NotificationKind::Ignored };
        let (payment, operation_ref) = fields.ids();
        GatewayNotification {
            kind,
            external_payment_id: payment.and_then(|id| ExternalPaymentId::new(id).ok()),
            reference,
            operation_ref,
            amount: item.get("amount").and_then(wire::read_amount),
            at: item.get("eventDate").and_then(Value::as_str).and_then(|at| Timestamp::parse_rfc3339(at).ok()),
            dedupe_key: format!("{}:{}:{}", fields.event_code, fields.psp_reference, fields.success),
            reason: match kind {
                NotificationKind::NotUnderstood => clean_reason(&format!("{} {}", fields.event_code, fields.success)),
                _ => item.get("reason").and_then(Value::as_str).and_then(clean_reason),
            },
            // The HMAC does not cover the reason.
            decline: None,
            token: None,
        }
    }
}

/// What a tokenization webhook means (docs.adyen.com, "Tokenization webhooks"). Details that exist already are returned again.
fn token_kind(event_type: &str) -> NotificationKind {
    match event_type {
        "recurring.token.created" | "recurring.token.alreadyExisting" => NotificationKind::TokenCreated,
        "recurring.token.disabled" => NotificationKind::TokenDisabled,
        "recurring.token.updated" => NotificationKind::TokenUpdated,
        _ => NotificationKind::Ignored,
    }
}

/// Whether an item announces a report, which Adyen does not sign and which decides nothing (docs.adyen.com, "Verify HMAC signatures").
fn is_report(item: &Value) -> bool {
    item.get("eventCode").and_then(Value::as_str) == Some("REPORT_AVAILABLE")
}

/// What an event about a payment of ours means (docs.adyen.com, "Webhook types"; Webhooks v1). CANCEL_OR_REFUND says only in unsigned data
/// which of the two it was. Codes that are not here, such as those of a review that was rejected or of an arbitration, may move money.
fn notification_kind(event_code: &str, success: &str) -> NotificationKind {
    match (event_code, success) {
        ("AUTHORISATION", "true") => NotificationKind::Authorised,
        ("AUTHORISATION", "false") => NotificationKind::AuthorisationDeclined,
        ("CAPTURE", "true") => NotificationKind::Captured,
        // CAPTURE_FAILED and REFUND_FAILED come with success "true": it is the failure that succeeded.
        ("CAPTURE", "false") | ("CAPTURE_FAILED", _) => NotificationKind::CaptureFailed,
        ("CANCELLATION" | "TECHNICAL_CANCEL", "true") => NotificationKind::Cancelled,
        ("CANCELLATION" | "TECHNICAL_CANCEL", "false") => NotificationKind::CancelFailed,
        ("EXPIRE", "true") => NotificationKind::Expired,
        ("CANCEL_OR_REFUND", "true") => NotificationKind::CancelledOrRefunded,
        ("REFUND" | "REFUND_WITH_DATA", "true") => NotificationKind::Refunded,
        ("REFUND" | "REFUND_WITH_DATA", "false") | ("REFUND_FAILED", _) | ("REFUNDED_REVERSED", "true") => NotificationKind::RefundFailed,
        ("CHARGEBACK" | "SECOND_CHARGEBACK", "true") => NotificationKind::ChargedBack,
        ("CHARGEBACK_REVERSED", "true") => NotificationKind::ChargebackReversed,
        ("RECURRING_CONTRACT", "true") => NotificationKind::TokenCreated,
        (code, _) if contains(WITHOUT_EFFECT, code) => NotificationKind::Ignored,
        _ => NotificationKind::NotUnderstood,
    }
}

/// Adyen writes "null" and nothing for no reason.
fn clean_reason(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect();
    (!text.is_empty() && text != "null").then_some(text)
}

/// The fields that the HMAC covers, as texts.
struct SignedFields {
    psp_reference: String,
    original_reference: String,
    merchant_account: String,
    merchant_reference: String,
    value: String,
    currency: String,
    event_code: String,
    success: String,
}

impl SignedFields {
    /// Reads them; `None` if it is not an item. What is absent counts as empty, and a number as its own digits.
    fn read(item: &Value) -> Option<Self> {
        item.as_object()?;
        let amount = item.get("amount");
        let amount_part = |name: &str| amount.and_then(|amount| amount.get(name));
        let fields = Self {
            psp_reference: text(item.get("pspReference"))?,
            original_reference: text(item.get("originalReference"))?,
            merchant_account: text(item.get("merchantAccountCode"))?,
            merchant_reference: text(item.get("merchantReference"))?,
            value: text(amount_part("value"))?,
            currency: text(amount_part("currency"))?,
            event_code: text(item.get("eventCode"))?,
            success: text(item.get("success"))?,
        };
        (!fields.event_code.is_empty() && !fields.psp_reference.is_empty()).then_some(fields)
    }

    /// The signed text: eight values joined by colons, nothing escaped (docs.adyen.com, "Verify HMAC signatures").
    fn message(&self) -> String {
        [
            &self.psp_reference,
            &self.original_reference,
            &self.merchant_account,
            &self.merchant_reference,
            &self.value,
            &self.currency,
            &self.event_code,
            &self.success,
        ]
        .map(String::as_str)
        .join(":")
    }

    /// The payment's id, and the id of the capture, cancel or refund that the item is about. Where a modification or a dispute does not
    /// name its payment, the payment has to be found by our reference.
    fn ids(&self) -> (Option<&str>, Option<String>) {
        let own = self.psp_reference.as_str();
        let original = Some(self.original_reference.as_str()).filter(|original| !original.is_empty());
        match (self.event_code.as_str(), original) {
            // The id of the new details stands where others have their own; it is as good as a key, so it goes no further.
            ("RECURRING_CONTRACT", original) => (original, None),
            ("AUTHORISATION" | "EXPIRE", original) => (Some(original.unwrap_or(own)), None),
            (_, original) => (original, Some(own.to_owned())),
        }
    }
}

fn text(value: Option<&Value>) -> Option<String> {
    match value {
        None | Some(Value::Null) => Some(String::new()),
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Bool(flag)) => Some(flag.to_string()),
        Some(Value::Array(_) | Value::Object(_)) => None,
    }
}

#[cfg(test)]
#[path = "notification_tests.rs"]
mod tests;
