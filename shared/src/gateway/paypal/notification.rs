//! What PayPal's webhooks say, after they are known to be PayPal's. Must never read an event's name where the status inside says something
//! else.

use serde_json::Value;

use super::token::PayPalToken;
use super::{currency, declines, wire};
use crate::clock::Timestamp;
use crate::gateway::common::code_table::contains;
use crate::gateway::{Decline, GatewayNotification, NotificationError, NotificationKind as Kind, NotifiedToken, Reference};
use crate::ids::ExternalPaymentId;
use crate::json;

/// The longest id of an event, in characters.
const LONGEST_ID: usize = 128;

/// Reads a verified body.
///
/// # Errors
/// [`NotificationError::NotUnderstood`] if it is no event.
pub(super) fn read(body: &[u8]) -> Result<GatewayNotification, NotificationError> {
    let event = json::parse(body).map_err(|_| NotificationError::NotUnderstood)?;
    let text =
        |name: &str| event.get(name).and_then(Value::as_str).filter(|text| is_plain_text(text)).ok_or(NotificationError::NotUnderstood);
    let (id, event_type) = (text("id")?, text("event_type")?);
    let at = event.get("create_time").and_then(Value::as_str).and_then(|at| Timestamp::parse_rfc3339(at).ok());
    let resource = event.get("resource").unwrap_or(&Value::Null);
    let told = interpret(event_type, resource, at).unwrap_or_else(|| not_interpreted(event_type, resource));
    Ok(GatewayNotification {
        kind: told.kind,
        external_payment_id: told.payment.and_then(|id| ExternalPaymentId::new(id).ok()),
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

fn is_plain_text(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The meaning of an event.
struct ParsedEvent {
    kind: Kind,
    payment: Option<String>,
    reference: Option<Reference>,
    operation_ref: Option<String>,
    amount: Option<crate::money::Money>,
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

    /// What every event about money of ours has. The whole body is signed, the reason of a decline too.
    fn payment_event(kind: Kind, reference: Option<Reference>, resource: &Value) -> Self {
        let declined = kind == Kind::AuthorisationDeclined;
        let decline = declined.then(|| declines::from_status(resource, "PAYMENT_DENIED"));
        let reason = resource.get("status_details").and_then(|details| details.get("reason")).and_then(Value::as_str);
        let reason = reason.filter(|reason| declines::is_code(reason)).map(str::to_owned);
        Self { kind, reference, amount: resource.get("amount").and_then(currency::read_amount), reason, decline, ..Self::ignored() }
    }
}

/// Events that move no money and decide nothing (developer.paypal.com, "Webhook event names").
const WITHOUT_EFFECT: &str = "CHECKOUT.ORDER.APPROVED CHECKOUT.ORDER.COMPLETED CHECKOUT.ORDER.PROCESSED CHECKOUT.ORDER.SAVED \
CHECKOUT.ORDER.VOIDED CHECKOUT.PAYMENT-APPROVAL.REVERSED CUSTOMER.DISPUTE.CREATED CUSTOMER.DISPUTE.UPDATED PAYMENT.CAPTURE.PENDING \
PAYMENT.REFUND.PENDING RISK.DISPUTE.CREATED";
/// Results of a dispute that leave the money where it is (Disputes 1.10, `dispute_outcome.outcome_code`).
const WITHOUT_LOSS: &str = "CANCELED_BY_BUYER DENIED NONE RESOLVED_SELLER_FAVOUR RESOLVED_WITH_PAYOUT";

/// An event that means nothing, or that names a payment of ours, or one that only the journal knows, and means something unknown.
fn not_interpreted(event_type: &str, resource: &Value) -> ParsedEvent {
    let unit = resource.get("purchase_units").and_then(|units| units.get(0));
    let reference = our_reference(resource).or_else(|| our_reference(unit?));
    let disputed = resource.get("disputed_transactions").and_then(|transactions| transactions.get(0));
    let disputed =
        disputed.filter(|transaction| !matches!(reference_owner(transaction, ["custom", "invoice_number"]), ReferenceOwner::Others));
    let payment = disputed.and_then(|transaction| wire::read_id(transaction, "seller_transaction_id"));
    let outcome = resource.get("dispute_outcome").and_then(|outcome| outcome.get("outcome_code")).and_then(Value::as_str);
    let pending = status(resource) == Some("PENDING");
    if contains(WITHOUT_EFFECT, event_type) || outcome.is_some_and(|outcome| contains(WITHOUT_LOSS, outcome)) || pending {
        return ParsedEvent::ignored();
    }
    if reference.is_none() && payment.is_none() {
        return ParsedEvent::ignored();
    }
    let reason = Some(event_type.to_owned());
    ParsedEvent { kind: Kind::NotUnderstood, reference, payment: payment.map(str::to_owned), reason, ..ParsedEvent::ignored() }
}

/// What an event means (developer.paypal.com, "Webhook event names"); `None` for those that do not concern the connector.
fn interpret(event_type: &str, resource: &Value, at: Option<Timestamp>) -> Option<ParsedEvent> {
    match event_type {
        "CHECKOUT.ORDER.APPROVED" => order_approved(resource),
        "PAYMENT.AUTHORIZATION.CREATED" | "PAYMENT.AUTHORIZATION.VOIDED" => authorisation(event_type, resource, at),
        "PAYMENT.CAPTURE.COMPLETED" | "PAYMENT.CAPTURE.DENIED" | "PAYMENT.CAPTURE.DECLINED" => capture(event_type, resource),
        "PAYMENT.CAPTURE.REFUNDED" | "PAYMENT.REFUND.COMPLETED" | "PAYMENT.REFUND.FAILED" => refund(event_type, resource),
        "PAYMENT.CAPTURE.REVERSED" => reversal(resource),
        "CUSTOMER.DISPUTE.RESOLVED" => dispute(resource),
        "VAULT.PAYMENT-TOKEN.CREATED" => token(Kind::TokenCreated, resource),
        "VAULT.PAYMENT-TOKEN.DELETED" => token(Kind::TokenDisabled, resource),
        _ => None,
    }
}

/// Whose resource it is, by our reference in `custom_id` or `invoice_id`.
enum ReferenceOwner {
    Ours(Reference),
    /// It names another system's.
    Others,
    /// It names none.
    Missing,
}

fn reference_owner(resource: &Value, names: [&str; 2]) -> ReferenceOwner {
    let texts: Vec<&str> = names.into_iter().filter_map(|name| resource.get(name)?.as_str()).filter(|text| !text.is_empty()).collect();
    match texts.iter().find_map(|text| Reference::parse(text)) {
        Some(reference) => ReferenceOwner::Ours(reference),
        None if texts.is_empty() => ReferenceOwner::Missing,
        None => ReferenceOwner::Others,
    }
}

fn our_reference(resource: &Value) -> Option<Reference> {
    match reference_owner(resource, ["custom_id", "invoice_id"]) {
        ReferenceOwner::Ours(reference) => Some(reference),
        ReferenceOwner::Others | ReferenceOwner::Missing => None,
    }
}

fn status(resource: &Value) -> Option<&str> {
    resource.get("status").and_then(Value::as_str)
}

/// The payer agreed: a purchase that is taken at once can be finished without their return. The operation is the order.
fn order_approved(order: &Value) -> Option<ParsedEvent> {
    let unit = order.get("purchase_units")?.get(0)?;
    let waits = status(order).is_none_or(|status| status == "APPROVED");
    let purchase = order.get("intent").is_none_or(|intent| intent.as_str() == Some("CAPTURE"));
    if !waits || !purchase {
        return None;
    }
    let told = ParsedEvent::payment_event(Kind::CustomerApproved, Some(our_reference(unit)?), unit);
    Some(ParsedEvent { operation_ref: wire::read_id(order, "id").map(str::to_owned), ..told })
}

/// An authorisation that was made, refused, released, or that lapsed, which its own dates say: its status is VOIDED either way.
fn authorisation(event_type: &str, authorisation: &Value, at: Option<Timestamp>) -> Option<ParsedEvent> {
    let lapses = authorisation.get("expiration_time").and_then(Value::as_str).and_then(|at| Timestamp::parse_rfc3339(at).ok());
    let reason = authorisation.get("status_details").and_then(|details| details.get("reason")).and_then(Value::as_str);
    let lapsed = reason.is_some_and(|reason| reason.contains("EXPIRED")) || lapses.zip(at).is_some_and(|(lapses, at)| lapses <= at);
    let created = event_type.ends_with("CREATED");
    let kind = match status(authorisation) {
        Some("CREATED" | "CAPTURED" | "PARTIALLY_CAPTURED") if created => Kind::Authorised,
        None if created => Kind::Authorised,
        Some("DENIED") => Kind::AuthorisationDeclined,
        Some("VOIDED" | "EXPIRED") | None => {
            if lapsed {
                Kind::Expired
            } else {
                Kind::Cancelled
            }
        }
        Some(_) => return None,
    };
    let told = ParsedEvent::payment_event(kind, Some(our_reference(authorisation)?), authorisation);
    Some(ParsedEvent { payment: Some(wire::read_id(authorisation, "id")?.to_owned()), ..told })
}

/// The authorisation that a capture was made of; `None` for one that was taken at once.
enum CaptureMethod {
    Manual,
    Automatic,
    Unknown,
}

fn capture_method(capture: &Value) -> CaptureMethod {
    let up = |segment| wire::id_in_link(capture, "up", segment).is_some();
    if wire::related(capture, "authorization_id").is_some() || up("/authorizations") {
        CaptureMethod::Manual
    } else if wire::related(capture, "order_id").is_some() || up("/orders") {
        CaptureMethod::Automatic
    } else {
        CaptureMethod::Unknown
    }
}

/// A capture that succeeded or failed. One of an authorisation settles that one's capture, and names no payment id: the authorisation may
/// have been renewed before, and its new id is known to PayPal alone; our reference and the amount say what it is about. One that was taken
/// at once is the authorisation itself.
fn capture(event_type: &str, capture: &Value) -> Option<ParsedEvent> {
    let good = match (status(capture), event_type) {
        (Some("COMPLETED" | "PARTIALLY_REFUNDED" | "REFUNDED"), "PAYMENT.CAPTURE.COMPLETED") => true,
        (None, event_type) => event_type == "PAYMENT.CAPTURE.COMPLETED",
        (Some("DECLINED" | "FAILED" | "DENIED"), _) => false,
        // A failure that is reported of a capture in another state, or the reverse, proves nothing.
        (Some(_), _) => return None,
    };
    let id = wire::read_id(capture, "id")?.to_owned();
    let (kind, payment) = match (capture_method(capture), good) {
        (CaptureMethod::Automatic, true) => (Kind::Authorised, Some(id.clone())),
        (CaptureMethod::Automatic, false) => (Kind::AuthorisationDeclined, Some(id.clone())),
        (CaptureMethod::Manual | CaptureMethod::Unknown, true) => (Kind::Captured, None),
        (CaptureMethod::Manual | CaptureMethod::Unknown, false) => (Kind::CaptureFailed, None),
    };
    Some(ParsedEvent { payment, operation_ref: Some(id), ..ParsedEvent::payment_event(kind, Some(our_reference(capture)?), capture) })
}

/// The capture that a refund or a reversal gave back.
fn parent_capture(resource: &Value) -> Option<&str> {
    wire::id_in_link(resource, "up", "/captures").or_else(|| wire::related(resource, "capture_id"))
}

/// A refund of any origin: one that was made by hand at PayPal carries no reference of ours and is found by its capture.
fn refund(event_type: &str, refund: &Value) -> Option<ParsedEvent> {
    let kind = match status(refund) {
        Some("COMPLETED") => Kind::Refunded,
        Some("FAILED" | "CANCELLED") => Kind::RefundFailed,
        None if event_type.ends_with("FAILED") => Kind::RefundFailed,
        None => Kind::Refunded,
        Some(_) => return None,
    };
    let reference = match reference_owner(refund, ["invoice_id", "custom_id"]) {
        ReferenceOwner::Ours(reference) => Some(reference),
        ReferenceOwner::Others => return None,
        ReferenceOwner::Missing => None,
    };
    let payment = parent_capture(refund)?.to_owned();
    let told = ParsedEvent::payment_event(kind, reference, refund);
    Some(ParsedEvent { payment: Some(payment), operation_ref: Some(wire::read_id(refund, "id")?.to_owned()), ..told })
}

/// PayPal took a captured payment back. Whether the resource is the reversal or the capture itself differs from time to time.
fn reversal(resource: &Value) -> Option<ParsedEvent> {
    let reference = match reference_owner(resource, ["custom_id", "invoice_id"]) {
        ReferenceOwner::Ours(reference) => Some(reference),
        ReferenceOwner::Others => return None,
        ReferenceOwner::Missing => None,
    };
    let own = wire::read_id(resource, "id")?;
    let capture = parent_capture(resource).unwrap_or(own).to_owned();
    // A second reversal has an id of its own, where it is the resource; the event's own id tells it apart otherwise. A dispute that was lost
    // reports the same money again, under its own id.
    let dedupe_key = (own != capture).then(|| format!("reversal:{own}"));
    let told = ParsedEvent::payment_event(Kind::FundsWithdrawn, reference, resource);
    Some(ParsedEvent { payment: Some(capture), operation_ref: Some(own.to_owned()), dedupe_key, ..told })
}

/// A dispute that is over. While it is open PayPal holds the money, and nothing is decided. A lost dispute took it; a won one returns it
/// only if it had been taken, which a movement of money to the seller shows.
fn dispute(dispute: &Value) -> Option<ParsedEvent> {
    let outcome = dispute.get("dispute_outcome")?.get("outcome_code")?.as_str()?;
    let transaction = dispute.get("disputed_transactions")?.get(0)?;
    let capture = wire::read_id(transaction, "seller_transaction_id")?.to_owned();
    let reference = match reference_owner(transaction, ["custom", "invoice_number"]) {
        ReferenceOwner::Ours(reference) => Some(reference),
        ReferenceOwner::Others => return None,
        ReferenceOwner::Missing => None,
    };
    let kind = match outcome {
        "RESOLVED_BUYER_FAVOUR" | "ACCEPTED" => Kind::ChargedBack,
        "RESOLVED_SELLER_FAVOUR" if was_returned_to_seller(dispute) => Kind::ChargebackReversed,
        _ => return None,
    };
    let id = dispute.get("dispute_id").and_then(Value::as_str).filter(|id| is_plain_text(id))?;
    let dedupe_key = format!("dispute:{id}:{}", kind.as_str());
    Some(ParsedEvent {
        payment: Some(capture),
        operation_ref: Some(id.to_owned()),
        amount: dispute.get("dispute_amount").and_then(currency::read_amount),
        reason: declines::is_code(outcome).then(|| outcome.to_owned()),
        dedupe_key: Some(dedupe_key),
        ..ParsedEvent::payment_event(kind, reference, dispute)
    })
}

fn was_returned_to_seller(dispute: &Value) -> bool {
    let movements = dispute.get("money_movements").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let is = |movement: &Value, name: &str, value: &str| movement.get(name).and_then(Value::as_str) == Some(value);
    movements.iter().any(|movement| is(movement, "affected_party", "SELLER") && is(movement, "type", "CREDIT"))
}

/// Stored details that were created or deleted. They name PayPal's customer, and the order that stored them if one did.
fn token(kind: Kind, resource: &Value) -> Option<ParsedEvent> {
    let shopper = resource.get("customer")?.get("id")?.as_str().filter(|shopper| is_plain_text(shopper))?;
    let order = resource.get("metadata").and_then(|metadata| wire::read_id(metadata, "order_id")).map(str::to_owned);
    let token = PayPalToken::from_payment_token(resource)?;
    let token = Some(NotifiedToken { shopper: shopper.to_owned(), token: token.0.expose().to_owned() });
    Some(ParsedEvent { kind, token, operation_ref: order, ..ParsedEvent::ignored() })
}

#[cfg(test)]
#[path = "notification_tests.rs"]
mod tests;
