//! PayPal's answers, read by hand, so that a field of another type is noticed and not guessed. Must never make more of an answer than it
//! says: the status of the capture or the authorisation inside decides, never the order's, and what does not fit what was asked is unknown.

use serde_json::Value;

use super::token::PayPalToken;
use super::{currency, declines};
use crate::clock::Timestamp;
use crate::gateway::{Action, Decline, Operation, Outcome, Reference, UnknownCause};
use crate::ids::ExternalPaymentId;
use crate::money::Money;

pub(super) const UNREADABLE: Outcome = Outcome::Unknown(UnknownCause::Unreadable);

/// What happens to the money of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// Held, to be captured later.
    Authorize,
    /// Taken at once.
    Capture,
}

impl Intent {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "AUTHORIZE",
            Self::Capture => "CAPTURE",
        }
    }

    /// The path's last segment of the order's second step.
    pub(super) const fn step(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Capture => "capture",
        }
    }

    const fn collection(self) -> &'static str {
        match self {
            Self::Authorize => "authorizations",
            Self::Capture => "captures",
        }
    }
}

/// What an answer is held against.
#[derive(Clone, Copy)]
pub(super) struct ExpectedPayment<'a> {
    pub(super) reference: &'a Reference,
    pub(super) amount: Money,
    pub(super) intent: Intent,
}

/// What an order's answer says.
pub(super) enum OrderState {
    /// What became of its payment, or that it is not the order that was asked for.
    Decided(Outcome),
    /// There is no payment yet.
    Open(OpenOrder),
}

/// An order without a payment.
pub(super) struct OpenOrder {
    pub(super) id: String,
    pub(super) status: String,
    /// Where the payer agrees, if there is such a place.
    pub(super) approval_url: Option<String>,
}

/// Ids of orders, authorisations, captures, refunds: capitals and digits, 17 of them in practice (Payments 2.5, `related_ids`).
pub(super) fn read_id<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str().filter(|id| is_id(id))
}

pub(super) fn is_id(id: &str) -> bool {
    (8..=36).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn external_id(value: &Value) -> Option<ExternalPaymentId> {
    ExternalPaymentId::new(read_id(value, "id")?).ok()
}

/// The `href` of the first link with one of these relations.
pub(super) fn link<'a>(value: &'a Value, relations: &[&str]) -> Option<&'a str> {
    let links = value.get("links")?.as_array()?;
    let has_relation = |link: &&Value| link.get("rel").and_then(Value::as_str).is_some_and(|rel| relations.contains(&rel));
    links.iter().find(has_relation)?.get("href")?.as_str()
}

/// The id behind this path segment in a link: `.../captures/{id}`.
pub(super) fn id_in_link<'a>(value: &'a Value, relation: &str, segment: &str) -> Option<&'a str> {
    let (_, rest) = link(value, &[relation])?.split_once(segment)?;
    rest.strip_prefix('/')?.split(['/', '?']).next().filter(|id| is_id(id))
}

/// The id of another resource that this one belongs to.
pub(super) fn related<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    read_id(value.get("supplementary_data")?.get("related_ids")?, name)
}

/// Whether `custom_id` names our reference; `None` if there is none.
fn names_our_reference(value: &Value, expected: &ExpectedPayment<'_>) -> Option<bool> {
    value.get("custom_id").map(|custom| custom.as_str() == Some(expected.reference.as_str()))
}

/// Why an order is not the requested one.
fn mismatch(order: &Value, unit: Option<&Value>, expected: &ExpectedPayment<'_>) -> Option<Outcome> {
    let intent = order.get("intent").is_none_or(|intent| intent.as_str() == Some(expected.intent.as_str()));
    let Some(unit) = unit else { return (!intent).then_some(UNREADABLE) };
    if names_our_reference(unit, expected) == Some(false) {
        let told = unit.get("custom_id").and_then(Value::as_str).and_then(Reference::parse);
        return Some(told.map_or(UNREADABLE, |_| Outcome::Unknown(UnknownCause::AnotherPayment)));
    }
    let amount = unit.get("amount").is_none_or(|amount| currency::read_amount(amount) == Some(expected.amount));
    (!intent || !amount).then_some(UNREADABLE)
}

/// Reads an order (Orders 2.13, `order`), whichever call it answers.
pub(super) fn read_order(order: &Value, expected: &ExpectedPayment<'_>) -> OrderState {
    let Some(id) = read_id(order, "id") else { return OrderState::Decided(UNREADABLE) };
    let units = order.get("purchase_units").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let unit = match units {
        [] => None,
        [unit] => Some(unit),
        _ => return OrderState::Decided(UNREADABLE),
    };
    if let Some(other) = mismatch(order, unit, expected) {
        return OrderState::Decided(other);
    }
    let payments = unit.and_then(|unit| unit.get("payments")).and_then(|payments| payments.get(expected.intent.collection()));
    let payments = payments.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if let (Some(unit), Some(payment)) = (unit, decisive_payment(payments)) {
        let Ok(payment) = payment else { return OrderState::Decided(UNREADABLE) };
        // Somewhere the answer has to name what it is about.
        if names_our_reference(unit, expected).or_else(|| names_our_reference(payment, expected)) != Some(true) {
            return OrderState::Decided(UNREADABLE);
        }
        let outcome = match expected.intent {
            Intent::Authorize => read_authorisation(payment, expected),
            Intent::Capture => read_capture(payment, expected),
        };
        return OrderState::Decided(with_details(outcome, order));
    }
    let status = order.get("status").and_then(Value::as_str).unwrap_or_default().to_owned();
    OrderState::Open(OpenOrder { id: id.to_owned(), status, approval_url: approval_url(order) })
}

/// The payment that counts: the only one that was not refused, else the last refusal. `Err` where several count.
fn decisive_payment(payments: &[Value]) -> Option<Result<&Value, ()>> {
    let refused = |payment: &&Value| matches!(payment.get("status").and_then(Value::as_str), Some("DECLINED" | "FAILED" | "DENIED"));
    let mut live = payments.iter().filter(|payment| !refused(payment));
    match (live.next(), live.next()) {
        (Some(one), None) => Some(Ok(one)),
        (Some(_), Some(_)) => Some(Err(())),
        (None, _) => payments.last().map(Ok),
    }
}

/// Where the payer agrees: `payer-action` with a payment source, `approve` without (Orders 2.13, `links`), or for setup tokens (Vault 3.1).
pub(super) fn approval_url(value: &Value) -> Option<String> {
    link(value, &["payer-action", "approve"]).filter(|url| url.starts_with("https://") && url.len() <= 2_048).map(str::to_owned)
}

/// What the customer has to do.
pub(super) fn redirect(url: &str, pending_id: &str, external_payment_id: Option<ExternalPaymentId>) -> Outcome {
    let payload = serde_json::json!({ "type": "redirect", "url": url, "method": "GET" });
    let operation = Operation { external_payment_id, pending_id: Some(pending_id.to_owned()), ..Operation::default() };
    Outcome::ActionRequired(Action { payload }, operation)
}

/// Adds the stored details of an order's payment source.
fn with_details(outcome: Outcome, order: &Value) -> Outcome {
    let paypal = order.get("payment_source").and_then(|source| source.get("paypal"));
    let add = |operation: Operation| Operation {
        token: paypal.and_then(read_vaulted),
        details_owner: paypal.and_then(vault_customer).filter(|_| paypal.and_then(read_vaulted).is_none()),
        display_params: paypal.map_or(Value::Null, display_params),
        ..operation
    };
    match outcome {
        Outcome::Done(operation) => Outcome::Done(add(operation)),
        Outcome::Received(operation) => Outcome::Received(add(operation)),
        other => other,
    }
}

/// The token, where the vault has one already: with the status `APPROVED` it comes later, by VAULT.PAYMENT-TOKEN.CREATED.
fn read_vaulted(paypal: &Value) -> Option<crate::gateway::StoredToken> {
    let vault = paypal.get("attributes")?.get("vault")?;
    let vaulted = vault.get("status").is_none_or(|status| status.as_str() == Some("VAULTED"));
    if vaulted { PayPalToken::from_payment_token(vault) } else { None }
}

/// PayPal's customer, under whom details are being stored.
fn vault_customer(paypal: &Value) -> Option<String> {
    let customer = paypal.get("attributes")?.get("vault")?.get("customer")?.get("id")?.as_str()?;
    (1..=64).contains(&customer.len()).then(|| customer.to_owned())
}

/// What "my account" may show: that it is PayPal, and the name on the account. Never the payer's e-mail address.
pub(super) fn display_params(paypal: &Value) -> Value {
    let name = paypal.get("name");
    let part = |part: &str| name.and_then(|name| name.get(part)).and_then(Value::as_str).map(str::trim).filter(|part| !part.is_empty());
    let holder = [part("given_name"), part("surname")].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let mut display_params = serde_json::json!({ "variant": "paypal" });
    if let (1..=64, Some(display_params)) = (holder.chars().count(), display_params.as_object_mut()) {
        display_params.insert("holderName".to_owned(), Value::from(holder));
    }
    display_params
}

/// Whether a payment is of our amount and, where it says so, of our reference.
fn matches(payment: &Value, expected: &ExpectedPayment<'_>) -> bool {
    names_our_reference(payment, expected) != Some(false) && payment.get("amount").and_then(currency::read_amount) == Some(expected.amount)
}

fn status(value: &Value) -> &str {
    value.get("status").and_then(Value::as_str).unwrap_or_default()
}

fn declined(payment: &Value, code: &str) -> Outcome {
    Outcome::Declined(Decline { payment: external_id(payment), ..declines::from_status(payment, code) })
}

/// Reads an authorisation (Payments 2.5, `authorization_status`). A repetition has the present state, so one that is captured was
/// authorised.
pub(super) fn read_authorisation(payment: &Value, expected: &ExpectedPayment<'_>) -> Outcome {
    let Some(id) = external_id(payment).filter(|_| matches(payment, expected)) else { return UNREADABLE };
    let expires_at = payment.get("expiration_time").and_then(Value::as_str).and_then(|at| Timestamp::parse_rfc3339(at).ok());
    let operation = Operation { external_payment_id: Some(id), amount: Some(expected.amount), expires_at, ..Operation::default() };
    match status(payment) {
        "CREATED" | "CAPTURED" | "PARTIALLY_CAPTURED" => Outcome::Done(operation),
        "PENDING" => Outcome::Received(operation),
        "DENIED" => declined(payment, "AUTHORIZATION_DENIED"),
        "VOIDED" => declined(payment, "AUTHORIZATION_VOIDED"),
        _ => UNREADABLE,
    }
}

/// Reads a capture (Payments 2.5, `capture_status`). One that was refunded since was taken.
pub(super) fn read_capture(payment: &Value, expected: &ExpectedPayment<'_>) -> Outcome {
    let Some(id) = external_id(payment).filter(|_| matches(payment, expected)) else { return UNREADABLE };
    let operation_ref = Some(id.as_str().to_owned());
    let operation = Operation { external_payment_id: Some(id), operation_ref, amount: Some(expected.amount), ..Operation::default() };
    match status(payment) {
        "COMPLETED" | "PARTIALLY_REFUNDED" | "REFUNDED" => Outcome::Done(operation),
        "PENDING" => Outcome::Received(operation),
        "DECLINED" => declined(payment, "CAPTURE_DECLINED"),
        "FAILED" => declined(payment, "CAPTURE_FAILED"),
        _ => UNREADABLE,
    }
}

/// Reads a refund (Payments 2.5, `refund_status`) of this capture. The payment keeps its own id; the refund's names the operation.
pub(super) fn read_refund(refund: &Value, expected: &ExpectedPayment<'_>, capture: &ExternalPaymentId) -> Outcome {
    let of_it = id_in_link(refund, "up", "/captures").is_none_or(|id| id == capture.as_str());
    let invoice = refund.get("invoice_id").is_none_or(|invoice| invoice.as_str() == Some(expected.reference.as_str()));
    let Some(id) = read_id(refund, "id").filter(|_| of_it && invoice && matches(refund, expected)) else { return UNREADABLE };
    let operation = Operation {
        external_payment_id: Some(capture.clone()),
        operation_ref: Some(id.to_owned()),
        amount: Some(expected.amount),
        ..Operation::default()
    };
    match status(refund) {
        "COMPLETED" => Outcome::Done(operation),
        "PENDING" => Outcome::Received(operation),
        "FAILED" | "CANCELLED" => Outcome::Declined(declines::from_status(refund, "REFUND_FAILED")),
        _ => UNREADABLE,
    }
}
