//! Stripe's webhooks: whether one is Stripe's, and what it says. Must never look into a body before its signature is known to fit, nor read
//! an event's name where the object inside says something else.

use std::time::Duration;

use serde_json::Value;

use super::id::{id_of, is_id};
use super::token::StripeToken;
use super::{currency, declines, wire};
use crate::clock::Timestamp;
use crate::gateway::common::code_table::contains;
use crate::gateway::common::signature::{HmacKeys, from_hex};
use crate::gateway::{Decline, GatewayNotification, NotificationError, NotificationKind as Kind, NotifiedToken};
use crate::http::HeaderMap;
use crate::ids::ExternalPaymentId;
use crate::json;
use crate::money::Money;
use crate::secret::SecretString;

const SIGNATURE_HEADER: &str = "stripe-signature";
/// How old a signature may be, and how far ahead of our clock (stripe-node, `Webhooks.DEFAULT_TOLERANCE`).
const TOLERANCE: Duration = Duration::from_secs(300);
/// The longest header that is read, in bytes: a dozen signatures.
const LONGEST_HEADER: usize = 1_024;

/// Verifies and reads events of one account.
pub(super) struct NotificationVerifier {
    keys: HmacKeys,
    live: bool,
}

impl NotificationVerifier {
    /// The secrets sign as the texts that they are, prefix included.
    pub(super) fn new(secrets: &[SecretString], live: bool) -> Self {
        Self { keys: HmacKeys::new(secrets.iter().map(|secret| secret.expose().as_bytes())), live }
    }

    /// Verifies a body and reads it.
    ///
    /// # Errors
    /// Unsigned, a signature that does not fit or is too old, or no event.
    pub(super) fn read(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<GatewayNotification, NotificationError> {
        let header = headers.get(SIGNATURE_HEADER).ok_or(NotificationError::Unsigned)?;
        let header = header.to_str().map_err(|_| NotificationError::BadSignature)?;
        if header.is_empty() {
            return Err(NotificationError::Unsigned);
        }
        if header.len() > LONGEST_HEADER || !self.signature_matches(header, body, now) {
            return Err(NotificationError::BadSignature);
        }
        let event = json::parse(body).map_err(|_| NotificationError::NotUnderstood)?;
        read(&event, self.live).ok_or(NotificationError::NotUnderstood)
    }

    /// Whether one of the secrets made one of the `v1` signatures, of which there are two while a secret is replaced
    /// (docs.stripe.com/webhooks, "Verify webhook signatures manually"). Each comparison takes constant time; which one fits is no secret.
    fn signature_matches(&self, header: &str, body: &[u8], now: Timestamp) -> bool {
        let pairs = || header.split(',').filter_map(|pair| pair.trim().split_once('='));
        let Some(told) = pairs().find_map(|(name, value)| (name == "t").then_some(value)) else { return false };
        let Ok(seconds) = told.parse::<i64>() else { return false };
        let at = Timestamp::from_secs(seconds);
        if now.since(at) > TOLERANCE || at.since(now) > TOLERANCE {
            return false;
        }
        let mut message = Vec::with_capacity(told.len().saturating_add(body.len()).saturating_add(1));
        message.extend_from_slice(told.as_bytes());
        message.push(b'.');
        message.extend_from_slice(body);
        let mut signatures = pairs().filter(|(name, _)| *name == "v1").filter_map(|(_, value)| from_hex(value));
        signatures.any(|signature| self.keys.verify(&message, &signature))
    }
}

/// Reads a verified event; `None` if it is not an event.
fn read(event: &Value, live: bool) -> Option<GatewayNotification> {
    let id = id_of(event)?;
    let kind = event.get("type").and_then(Value::as_str)?;
    let at = event.get("created").and_then(Value::as_i64).map(Timestamp::from_secs);
    let same_mode = event.get("livemode").and_then(Value::as_bool).is_none_or(|told| told == live);
    let data = event.get("data").filter(|data| data.is_object() && same_mode);
    let object = data.and_then(|data| data.get("object")).filter(|object| object.is_object());
    let told = match (object, data) {
        (Some(object), Some(data)) => interpret(kind, object, data).unwrap_or_else(|| not_interpreted(kind, object)),
        // A thin event names its object and leaves out what it is like (docs.stripe.com, "Event destinations").
        _ => match event.get("related_object").filter(|_| same_mode) {
            Some(related) => not_interpreted(kind, related),
            None => ParsedEvent::ignored(),
        },
    };
    Some(GatewayNotification {
        kind: told.kind,
        external_payment_id: told.payment,
        reference: told.reference,
        operation_ref: told.operation_ref,
        amount: told.amount,
        at,
        dedupe_key: told.dedupe_key.unwrap_or_else(|| format!("event:{id}")),
        reason: told.reason,
        decline: told.decline,
        token: told.token,
    })
}

/// The meaning of an event.
struct ParsedEvent {
    kind: Kind,
    payment: Option<ExternalPaymentId>,
    reference: Option<crate::gateway::Reference>,
    operation_ref: Option<String>,
    amount: Option<Money>,
    dedupe_key: Option<String>,
    reason: Option<String>,
    decline: Option<Decline>,
    token: Option<NotifiedToken>,
}

impl ParsedEvent {
    const fn ignored() -> Self {
        Self {
            kind: Kind::Ignored,
            payment: None,
            reference: None,
            operation_ref: None,
            amount: None,
            dedupe_key: None,
            reason: None,
            decline: None,
            token: None,
        }
    }
}

/// What an event means (docs.stripe.com/api/events/types); `None` for those that do not concern the connector. `charge.refunded` sums up
/// what the event of each refund says, and a dispute that is closed has moved its money before.
fn interpret(kind: &str, object: &Value, data: &Value) -> Option<ParsedEvent> {
    match kind {
        "payment_intent.succeeded" => succeeded(object),
        "payment_intent.amount_capturable_updated" => authorised(object),
        "payment_intent.payment_failed" => failed(object, "last_payment_error"),
        "payment_intent.canceled" => canceled(object),
        "setup_intent.succeeded" => details_stored(object),
        "setup_intent.setup_failed" => failed(object, "last_setup_error"),
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => refund(object),
        "charge.dispute.funds_withdrawn" => dispute(Kind::ChargedBack, object),
        "charge.dispute.funds_reinstated" => dispute(Kind::ChargebackReversed, object),
        "payment_method.detached" => detached(object, data),
        "payment_method.automatically_updated" => updated(object),
        _ => None,
    }
}

/// Events that move no money and decide nothing, or whose news another event has (docs.stripe.com/api/events/types).
const WITHOUT_EFFECT: &str = "charge.captured charge.dispute.closed charge.dispute.created charge.dispute.updated charge.expired charge.failed \
charge.pending charge.refunded charge.succeeded charge.updated payment_intent.created payment_intent.processing \
payment_intent.requires_action payment_method.attached payment_method.updated review.closed review.opened setup_intent.canceled \
setup_intent.created setup_intent.requires_action radar.early_fraud_warning.created radar.early_fraud_warning.updated";
/// States in which nothing is decided.
const UNDECIDED: &str = "pending requires_action processing";

/// An event that means nothing, or that names a payment of ours, or one that only the journal knows, and means something unknown.
fn not_interpreted(kind: &str, object: &Value) -> ParsedEvent {
    let reference = wire::reference_of(object);
    let payment = wire::external_id(object).or_else(|| payment_of(object));
    let others = reference.is_none() && (wire::has_reference(object) || payment.is_none());
    if others || contains(WITHOUT_EFFECT, kind) || contains(UNDECIDED, wire::status(object)) {
        return ParsedEvent::ignored();
    }
    ParsedEvent { kind: Kind::NotUnderstood, payment, reference, reason: Some(kind.to_owned()), ..ParsedEvent::ignored() }
}

/// An intent of ours.
fn payment_event(kind: Kind, intent: &Value) -> Option<ParsedEvent> {
    Some(ParsedEvent {
        kind,
        payment: Some(wire::external_id(intent)?),
        reference: Some(wire::reference_of(intent)?),
        ..ParsedEvent::ignored()
    })
}

fn token_of(intent: &Value) -> Option<NotifiedToken> {
    let token = StripeToken::from_intent(intent)?;
    let shopper = id_of(intent.get("customer")?)?.to_owned();
    Some(NotifiedToken { shopper, token: token.0.expose().to_owned() })
}

/// The money is taken: of a payment that was held before, or at once, which is the only event of such a one.
fn succeeded(intent: &Value) -> Option<ParsedEvent> {
    if wire::status(intent) != "succeeded" {
        return None;
    }
    let amount = currency::read_amount(intent, "amount_received");
    let later = intent.get("capture_method").and_then(Value::as_str) == Some("manual");
    if later {
        return Some(ParsedEvent { amount, ..payment_event(Kind::Captured, intent)? });
    }
    let stored = intent.get("setup_future_usage").and_then(Value::as_str) == Some("off_session");
    let token = if stored { token_of(intent) } else { None };
    Some(ParsedEvent { amount, token, ..payment_event(Kind::Authorised, intent)? })
}

fn authorised(intent: &Value) -> Option<ParsedEvent> {
    if wire::status(intent) != "requires_capture" {
        return None;
    }
    Some(ParsedEvent { amount: currency::read_amount(intent, "amount_capturable"), ..payment_event(Kind::Authorised, intent)? })
}

fn failed(intent: &Value, error: &str) -> Option<ParsedEvent> {
    if wire::status(intent) != "requires_payment_method" {
        return None;
    }
    let decline = declines::from_error(intent.get(error).unwrap_or(&Value::Null), "unspecified");
    let amount = currency::read_amount(intent, "amount");
    let reason = Some(decline.code.clone());
    Some(ParsedEvent { amount, reason, decline: Some(decline), ..payment_event(Kind::AuthorisationDeclined, intent)? })
}

/// Released by us, or lapsed: `automatic`, and `expired` since 2024 (docs.stripe.com/api/payment_intents, `cancellation_reason`).
fn canceled(intent: &Value) -> Option<ParsedEvent> {
    if wire::status(intent) != "canceled" {
        return None;
    }
    let reason = intent.get("cancellation_reason").and_then(Value::as_str).filter(|reason| declines::is_code(reason));
    let kind = if matches!(reason, Some("automatic" | "expired")) { Kind::Expired } else { Kind::Cancelled };
    Some(ParsedEvent { reason: reason.map(str::to_owned), ..payment_event(kind, intent)? })
}

/// Details were stored without a charge.
fn details_stored(setup: &Value) -> Option<ParsedEvent> {
    if wire::status(setup) != "succeeded" {
        return None;
    }
    Some(ParsedEvent { token: token_of(setup), ..payment_event(Kind::Authorised, setup)? })
}

/// A refund of any origin: one that was made by hand at Stripe carries no reference of ours and is found by its payment.
fn refund(refund: &Value) -> Option<ParsedEvent> {
    let kind = match wire::status(refund) {
        "succeeded" => Kind::Refunded,
        "failed" | "canceled" => Kind::RefundFailed,
        _ => return None,
    };
    let reference = wire::reference_of(refund);
    if reference.is_none() && wire::has_reference(refund) {
        return None;
    }
    let id = id_of(refund)?;
    let reason = refund.get("failure_reason").and_then(Value::as_str).filter(|reason| declines::is_code(reason));
    Some(ParsedEvent {
        kind,
        payment: payment_of(refund),
        reference,
        operation_ref: Some(id.to_owned()),
        amount: currency::read_amount(refund, "amount"),
        // Several events say the same.
        dedupe_key: Some(format!("refund:{id}:{}", wire::status(refund))),
        reason: reason.map(str::to_owned),
        ..ParsedEvent::ignored()
    })
    .filter(|told| told.payment.is_some())
}

fn payment_of(object: &Value) -> Option<ExternalPaymentId> {
    let id = id_of(object.get("payment_intent")?).filter(|id| is_id(id, "pi_"))?;
    ExternalPaymentId::new(id).ok()
}

/// The customer's bank took the money, or gave it back. A dispute carries nothing of ours: it is found by its payment. It can take the money a
/// second time, after a first decision: each movement is a balance transaction of its own.
fn dispute(kind: Kind, dispute: &Value) -> Option<ParsedEvent> {
    let id = id_of(dispute)?;
    let reason = dispute.get("reason").and_then(Value::as_str).filter(|reason| declines::is_code(reason));
    Some(ParsedEvent {
        kind,
        payment: Some(payment_of(dispute)?),
        operation_ref: Some(id.to_owned()),
        amount: currency::read_amount(dispute, "amount"),
        dedupe_key: Some(format!("{}:{id}:{}", kind.as_str(), last_movement(dispute))),
        reason: reason.map(str::to_owned),
        ..ParsedEvent::ignored()
    })
}

/// The latest movement of money of a dispute (docs.stripe.com/api/disputes/object, `balance_transactions`).
fn last_movement(dispute: &Value) -> &str {
    let movements = dispute.get("balance_transactions").and_then(Value::as_array);
    movements.and_then(|movements| movements.last()).and_then(id_of).unwrap_or_default()
}

/// Details that can never be used again; whose they were is among what changed.
fn detached(method: &Value, data: &Value) -> Option<ParsedEvent> {
    let shopper = data.get("previous_attributes")?.get("customer").and_then(id_of)?;
    let token = StripeToken::write(id_of(method)?, shopper)?;
    let token = NotifiedToken { shopper: shopper.to_owned(), token: token.0.expose().to_owned() };
    Some(ParsedEvent { kind: Kind::TokenDisabled, token: Some(token), ..ParsedEvent::ignored() })
}

/// The network replaced the card behind details.
fn updated(method: &Value) -> Option<ParsedEvent> {
    let shopper = id_of(method.get("customer")?)?;
    let token = StripeToken::write(id_of(method)?, shopper)?;
    let token = NotifiedToken { shopper: shopper.to_owned(), token: token.0.expose().to_owned() };
    Some(ParsedEvent { kind: Kind::TokenUpdated, token: Some(token), ..ParsedEvent::ignored() })
}

#[cfg(test)]
#[path = "notification_tests.rs"]
mod tests;
