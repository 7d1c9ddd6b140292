//! Stripe's objects, read by hand, so that a field of another type is noticed and not guessed. Must never make more of an answer than it
//! says: what does not name our reference, our amount and our way of capturing is unknown.

use serde_json::Value;

use super::id::{id_of, is_id};
use super::token::StripeToken;
use super::{currency, declines};
use crate::clock::Timestamp;
use crate::gateway::common::display::DisplayedCard;
use crate::gateway::{Action, Decline, Operation, Outcome, Reference, UnknownCause};
use crate::ids::{CustomerId, ExternalPaymentId};
use crate::money::Money;

pub(super) const UNREADABLE: Outcome = Outcome::Unknown(UnknownCause::Unreadable);

/// The name of our reference in `metadata`.
pub(super) const REFERENCE: &str = "reference";
/// The name of Cleeng's customer in `metadata`.
pub(super) const CUSTOMER: &str = "cleengCustomerId";

/// What happens to the money of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaptureMethod {
    /// Held, to be captured later.
    Manual,
    /// Taken at once.
    Automatic,
}

impl CaptureMethod {
    /// The `capture_method`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Automatic => "automatic",
        }
    }
}

/// What an answer is held against.
#[derive(Clone, Copy)]
pub(super) struct ExpectedPayment<'a> {
    pub(super) reference: &'a Reference,
    /// Zero for an intent that only stores details.
    pub(super) amount: Money,
    /// How the money was to be taken; `None` if it does not matter.
    pub(super) capture_method: Option<CaptureMethod>,
    /// Whose payment it is, where that is to be checked.
    pub(super) customer: Option<&'a CustomerId>,
}

pub(super) fn external_id(intent: &Value) -> Option<ExternalPaymentId> {
    let id = id_of(intent).filter(|id| is_id(id, "pi_") || is_id(id, "seti_"))?;
    ExternalPaymentId::new(id).ok()
}

pub(super) fn status(object: &Value) -> &str {
    object.get("status").and_then(Value::as_str).unwrap_or_default()
}

fn metadata<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get("metadata")?.get(name)?.as_str()
}

/// Our reference, if the object carries one of ours.
pub(super) fn reference_of(object: &Value) -> Option<Reference> {
    Reference::parse(metadata(object, REFERENCE)?)
}

/// Whether the object carries a reference, ours or another system's.
pub(super) fn has_reference(object: &Value) -> bool {
    metadata(object, REFERENCE).is_some_and(|text| !text.is_empty())
}

/// Why an intent is not the requested one.
fn mismatch(intent: &Value, expected: &ExpectedPayment<'_>) -> Option<Outcome> {
    match reference_of(intent) {
        Some(reference) if reference == *expected.reference => {}
        Some(_) => return Some(Outcome::Unknown(UnknownCause::AnotherPayment)),
        None => return Some(UNREADABLE),
    }
    let customer = expected.customer.is_none_or(|customer| metadata(intent, CUSTOMER) == Some(customer.as_str()));
    let amount = expected.amount.is_zero() || currency::read_amount(intent, "amount") == Some(expected.amount);
    let told = intent.get("capture_method").and_then(Value::as_str);
    let capture_method = expected.capture_method.is_none_or(|capture_method| told.is_none_or(|told| told == capture_method.as_str()));
    (!customer || !amount || !capture_method).then_some(UNREADABLE)
}

/// Reads a payment intent (2023-08-16, `payment_intent`), whichever call it answers.
pub(super) fn read_payment(intent: &Value, expected: &ExpectedPayment<'_>) -> Outcome {
    let Some(id) = external_id(intent).filter(|id| is_id(id.as_str(), "pi_")) else { return UNREADABLE };
    if let Some(other) = mismatch(intent, expected) {
        return other;
    }
    let told = |name: &str| intent.get(name).is_none_or(|_| currency::read_amount(intent, name) == Some(expected.amount));
    let done = || Operation {
        external_payment_id: Some(id.clone()),
        amount: Some(expected.amount),
        token: stored_token(intent),
        display_params: display_params(intent),
        expires_at: capture_before(intent),
        ..Operation::default()
    };
    match status(intent) {
        // One that was only to be held and is taken was held before.
        "succeeded" if told("amount_received") => Outcome::Done(done()),
        "requires_capture" if expected.capture_method != Some(CaptureMethod::Automatic) && told("amount_capturable") => {
            Outcome::Done(done())
        }
        "processing" => {
            Outcome::Received(Operation { external_payment_id: Some(id), amount: Some(expected.amount), ..Operation::default() })
        }
        "requires_action" => action(intent, id),
        "requires_payment_method" => declined(intent, "last_payment_error", "requires_payment_method"),
        "canceled" => declined(intent, "last_payment_error", "payment_intent_canceled"),
        _ => UNREADABLE,
    }
}

/// Reads a setup intent (2023-08-16, `setup_intent`). Its id stands for the verification that it is.
pub(super) fn read_setup(intent: &Value, expected: &ExpectedPayment<'_>) -> Outcome {
    let Some(id) = external_id(intent).filter(|id| is_id(id.as_str(), "seti_")) else { return UNREADABLE };
    if let Some(other) = mismatch(intent, expected) {
        return other;
    }
    match (status(intent), StripeToken::from_intent(intent)) {
        ("succeeded", Some(token)) => Outcome::Done(Operation {
            external_payment_id: Some(id),
            token: Some(token),
            display_params: display_params(intent),
            ..Operation::default()
        }),
        ("processing", _) => Outcome::Received(Operation { external_payment_id: Some(id), ..Operation::default() }),
        ("requires_action", _) => action(intent, id),
        ("requires_payment_method", _) => declined(intent, "last_setup_error", "requires_payment_method"),
        ("canceled", _) => declined(intent, "last_setup_error", "setup_intent_canceled"),
        _ => UNREADABLE,
    }
}

/// A refusal keeps the intent: its id is the payment's, and Cleeng wants one on rejected payments too.
fn declined(intent: &Value, error: &str, otherwise: &str) -> Outcome {
    let error = intent.get(error).filter(|error| error.is_object()).unwrap_or(&Value::Null);
    Outcome::Declined(Decline { payment: external_id(intent), ..declines::from_error(error, otherwise) })
}

/// What the customer has to do: go to the bank's page, or what Stripe's own script in the page determines.
fn action(intent: &Value, id: ExternalPaymentId) -> Outcome {
    let next = intent.get("next_action").filter(|next| next.is_object());
    let url = next.and_then(|next| next.get("redirect_to_url")).and_then(|to| to.get("url")).and_then(Value::as_str);
    let secret = intent.get("client_secret").and_then(Value::as_str).filter(|secret| secret.starts_with(id.as_str()));
    let payload = match (next, url.filter(|url| url.starts_with("https://") && url.len() <= 2_048), secret) {
        (Some(_), Some(url), _) => serde_json::json!({ "type": "redirect", "url": url, "method": "GET" }),
        (Some(_), None, Some(secret)) => serde_json::json!({ "type": "sdk", "intent": id.as_str(), "clientSecret": secret }),
        _ => return UNREADABLE,
    };
    let operation = Operation { pending_id: Some(id.as_str().to_owned()), external_payment_id: Some(id), ..Operation::default() };
    Outcome::ActionRequired(Action { payload }, operation)
}

/// The details that a payment stored: only where it was asked to.
fn stored_token(intent: &Value) -> Option<crate::gateway::StoredToken> {
    let kept = intent.get("setup_future_usage").and_then(Value::as_str) == Some("off_session");
    if kept { StripeToken::from_intent(intent) } else { None }
}

/// When a held payment lapses (docs.stripe.com/payments/capture-later: `capture_before`, in Unix seconds).
fn capture_before(intent: &Value) -> Option<Timestamp> {
    let card = intent.get("latest_charge")?.get("payment_method_details")?.get("card")?;
    card.get("capture_before")?.as_i64().filter(|at| *at > 0).map(Timestamp::from_secs)
}

/// What "my account" may show of an expanded payment method: only what is evidently harmless is taken over.
fn display_params(intent: &Value) -> Value {
    let Some(method) = intent.get("payment_method").filter(|method| method.is_object()) else { return Value::Null };
    let card = method.get("card");
    let text = |name: &str| card.and_then(|card| card.get(name)).and_then(Value::as_str);
    let number = |name: &str| card.and_then(|card| card.get(name)).and_then(Value::as_u64);
    let holder = method.get("billing_details").and_then(|details| details.get("name")).and_then(Value::as_str);
    let expires = match (number("exp_month"), number("exp_year")) {
        (Some(month @ 1..=12), Some(year @ 2000..=2100)) => Some(format!("{month:02}/{year}")),
        _ => None,
    };
    DisplayedCard { brand: text("brand"), last_digits: text("last4"), expires, holder }.into_json()
}

/// Reads a refund (2023-08-16, `refund`) of this payment. The payment keeps its id; the refund's names the operation.
pub(super) fn read_refund(refund: &Value, expected: &ExpectedPayment<'_>, payment: &ExternalPaymentId) -> Outcome {
    let of_it = refund.get("payment_intent").and_then(id_of) == Some(payment.as_str());
    let amount = currency::read_amount(refund, "amount") == Some(expected.amount);
    let ours = reference_of(refund).as_ref() == Some(expected.reference);
    let Some(id) = id_of(refund).filter(|_| of_it && amount && ours) else { return UNREADABLE };
    let operation = Operation {
        external_payment_id: Some(payment.clone()),
        operation_ref: Some(id.to_owned()),
        amount: Some(expected.amount),
        ..Operation::default()
    };
    match status(refund) {
        "succeeded" => Outcome::Done(operation),
        "pending" | "requires_action" => Outcome::Received(operation),
        "failed" | "canceled" => {
            let reason = refund.get("failure_reason").and_then(Value::as_str).filter(|reason| declines::is_code(reason));
            Outcome::Declined(declines::from_code(reason.unwrap_or("unspecified")))
        }
        _ => UNREADABLE,
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
