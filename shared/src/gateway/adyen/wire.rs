//! Adyen's spellings: bodies that are sent, and answers read by hand, so that a field of another type is noticed and not guessed. Must
//! never make more of an answer than it says: what does not fit what was asked is unknown.

use serde_json::{Value, json};

use super::currency;
use super::declines::{self, RefusalClass};
use super::token::AdyenToken;
use crate::gateway::common::call::CallError;
use crate::gateway::common::display::DisplayedCard;
use crate::gateway::common::network_advice::NetworkAnswer;
use crate::gateway::{Action, Decline, DeclineClass, GatewayError, Operation, Outcome, Reference, UnknownCause};
use crate::ids::ExternalPaymentId;
use crate::money::{Currency, Money};

/// `{"currency", "value"}` in Adyen's minor units.
///
/// # Errors
/// [`GatewayError::Amount`] if it does not fit, [`GatewayError::Malformed`] if it is negative: Adyen takes no such amount.
pub(super) fn amount(money: Money) -> Result<Value, GatewayError> {
    if money.minor < 0 {
        return Err(GatewayError::Malformed { code: "negative_amount".to_owned() });
    }
    Ok(json!({ "currency": money.currency.as_str(), "value": currency::to_minor_units(money)? }))
}

/// Reads an amount; `None` if it is not an amount, or not expressible by ISO 4217.
pub(super) fn read_amount(value: &Value) -> Option<Money> {
    let code = value.get("currency")?.as_str()?;
    let minor = value.get("value")?.as_i64()?;
    currency::from_minor_units(minor, Currency::new(code).ok()?).ok()
}

/// A `pspReference`: letters and digits (Adyen documents 16 of them; the length is left open, the form is not).
pub(super) fn read_psp_reference(value: &Value, name: &str) -> Option<ExternalPaymentId> {
    let text = value.get(name)?.as_str()?;
    let form = (8..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if form { ExternalPaymentId::new(text).ok() } else { None }
}

/// What a payment answer is held against.
pub(super) struct ExpectedPayment<'a> {
    pub(super) reference: &'a Reference,
    pub(super) amount: Money,
    /// The shopper under whom details were to be stored; a token of another shopper is not taken.
    pub(super) shopper_reference: &'a str,
    /// Whether the answer has to name our reference: where the customer's browser brought what was sent, it could belong to another
    /// payment.
    pub(super) reference_required: bool,
}

/// Reads the answer of `/payments` and `/payments/details` (CheckoutService v71, `PaymentResponse.resultCode`).
pub(super) fn read_payment(body: &Value, expected: &ExpectedPayment<'_>) -> Result<Outcome, CallError> {
    const UNREADABLE: Outcome = Outcome::Unknown(UnknownCause::Unreadable);
    let Some(result) = body.get("resultCode").and_then(Value::as_str) else { return Ok(UNREADABLE) };
    if !echo_matches(body, expected) {
        let told = body.get("merchantReference").and_then(Value::as_str).and_then(Reference::parse);
        let other = expected.reference_required && told.is_some_and(|told| told != *expected.reference);
        return Ok(if other { Outcome::Unknown(UnknownCause::AnotherPayment) } else { UNREADABLE });
    }
    let operation = Operation {
        external_payment_id: read_psp_reference(body, "pspReference"),
        amount: body.get("amount").map(|_| expected.amount),
        token: read_token(body, expected.shopper_reference),
        display_params: read_display_params(body),
        ..Operation::default()
    };
    match result {
        "Authorised" if operation.external_payment_id.is_some() => Ok(Outcome::Done(operation)),
        "Pending" | "Received" if operation.external_payment_id.is_some() => Ok(Outcome::Received(operation)),
        "Refused" | "Cancelled" | "Error" => read_refusal(body, result),
        "RedirectShopper" | "IdentifyShopper" | "ChallengeShopper" | "PresentToShopper" => Ok(read_action(body, operation)),
        // PartiallyAuthorised: money may be held, but not the amount that was asked for. Releasing it would be a second write with an
        // outcome of its own, so it is left to the flow, which cancels what it does not know to be done.
        _ => Ok(UNREADABLE),
    }
}

/// Whether what the answer repeats is what was asked. A repetition that is missing is fine where nothing could be confused.
fn echo_matches(body: &Value, expected: &ExpectedPayment<'_>) -> bool {
    let reference = match body.get("merchantReference") {
        Some(reference) => reference.as_str() == Some(expected.reference.as_str()),
        None => !expected.reference_required,
    };
    reference && body.get("amount").is_none_or(|amount| read_amount(amount) == Some(expected.amount))
}

fn read_refusal(body: &Value, result: &str) -> Result<Outcome, CallError> {
    let code = match body.get("refusalReasonCode") {
        Some(Value::String(code)) => Some(code.clone()),
        Some(Value::Number(code)) => Some(code.to_string()),
        _ => None,
    };
    let data = |name: &str| body.get("additionalData").and_then(|data| data.get(name)).and_then(Value::as_str);
    let brand = body.get("paymentMethod").and_then(|method| method.get("brand")).and_then(Value::as_str);
    let advice = data("merchantAdviceCode");
    // Only Mastercard has a merchant advice code (CheckoutService v71), whatever brand the card shows.
    let brand = brand.or_else(|| data("paymentMethodVariant")).filter(|_| advice.is_none());
    let network = NetworkAnswer { brand, advice, response: data("refusalReasonRaw") };
    let payment = read_psp_reference(body, "pspReference");
    if result == "Cancelled" && code.is_none() {
        let decline = Decline::new(DeclineClass::Cancelled, declines::UNSPECIFIED);
        return Ok(Outcome::Declined(Decline { payment, ..decline }));
    }
    match declines::classify(code.as_deref(), &network) {
        RefusalClass::Decline(decline) => Ok(Outcome::Declined(Decline { payment, ..decline })),
        RefusalClass::InvalidAmount(code) => Err(GatewayError::BelowMinimum { code: format!("refusal_{code}") }.into()),
        RefusalClass::ConnectorFault(code) => Err(CallError::malformed(format!("refusal_{code}"))),
    }
}

fn read_action(body: &Value, operation: Operation) -> Outcome {
    match body.get("action").filter(|action| action.is_object()) {
        Some(action) => Outcome::ActionRequired(Action { payload: action.clone() }, operation),
        None => Outcome::Unknown(UnknownCause::Unreadable),
    }
}

/// Stored details in an answer's `additionalData`; they may also come later, by notification. `alreadyExisting` and `updated` name details
/// that are as good as new ones.
fn read_token(body: &Value, shopper_reference: &str) -> Option<crate::gateway::StoredToken> {
    let data = body.get("additionalData")?;
    let text = |name: &str| data.get(name).and_then(Value::as_str);
    let id = text("tokenization.storedPaymentMethodId").or_else(|| text("recurring.recurringDetailReference"))?;
    let shopper = text("tokenization.shopperReference").or_else(|| text("recurring.shopperReference")).unwrap_or(shopper_reference);
    if shopper == shopper_reference { AdyenToken::write(id, shopper) } else { None }
}

/// What "my account" may show: only what is evidently harmless is taken over.
fn read_display_params(body: &Value) -> Value {
    let data = |name: &str| body.get("additionalData").and_then(|data| data.get(name)).and_then(Value::as_str);
    let brand = body.get("paymentMethod").and_then(|method| method.get("brand")).and_then(Value::as_str);
    let expires = data("expiryDate").map(str::to_owned);
    DisplayedCard { brand, last_digits: data("cardSummary"), expires, holder: data("cardHolderName") }.into_json()
}

/// What the answer of a capture, cancel or refund is held against.
pub(super) struct ExpectedModification<'a> {
    /// The payment; `None` if it was named by reference.
    pub(super) payment: Option<&'a ExternalPaymentId>,
    pub(super) merchant_account: &'a str,
    pub(super) amount: Option<Money>,
    /// The payment's reference, where it was named by it.
    pub(super) payment_reference: Option<&'a Reference>,
}

/// Reads the receipt of a modification: 201 `{"status": "received", "pspReference", "paymentPspReference", ...}`. It says that Adyen will
/// try, never that it succeeded. The payment keeps its own id; the receipt's `pspReference` names the modification only.
pub(super) fn read_modification(body: &Value, expected: &ExpectedModification<'_>) -> Outcome {
    let same = |name: &str, expected: Option<&str>| body.get(name).is_none_or(|value| expected.is_none() || value.as_str() == expected);
    let fits = body.get("status").and_then(Value::as_str) == Some("received")
        && same("paymentPspReference", expected.payment.map(ExternalPaymentId::as_str))
        && same("paymentReference", expected.payment_reference.map(Reference::as_str))
        && same("merchantAccount", Some(expected.merchant_account))
        && body.get("amount").is_none_or(|amount| expected.amount.is_none() || read_amount(amount) == expected.amount);
    match read_psp_reference(body, "pspReference") {
        Some(own) if fits => Outcome::Received(Operation {
            external_payment_id: expected.payment.cloned(),
            operation_ref: Some(own.as_str().to_owned()),
            amount: body.get("amount").and(expected.amount),
            ..Operation::default()
        }),
        _ => Outcome::Unknown(UnknownCause::Unreadable),
    }
}
