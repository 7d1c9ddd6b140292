//! PayPal's answers, read by hand, so that a field of another type is noticed and not guessed. Must never make more of an answer than it says:
//! the status of the capture or the authorisation inside decides, never the order's, and what does not fit what was asked is unknown.

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
pub(super) struct Asked<'a> {
    pub(super) reference: &'a Reference,
    pub(super) amount: Money,
    pub(super) intent: Intent,
}

/// What an order's answer says.
pub(super) enum Order {
    /// What became of its payment, or that it is not the order that was asked for.
    Settled(Outcome),
    /// There is no payment yet.
    Open(Open),
}

/// An order without a payment.
pub(super) struct Open {
    pub(super) id: String,
    pub(super) status: String,
    /// Where the payer agrees, if there is such a place.
    pub(super) approval: Option<String>,
}

/// Ids of orders, authorisations, captures, refunds: capitals and digits, 17 of them in practice (Payments 2.5, `related_ids`).
pub(super) fn read_id<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str().filter(|id| is_id(id))
}

pub(super) fn is_id(id: &str) -> bool {
    (8..=36).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn external(value: &Value) -> Option<ExternalPaymentId> {
    ExternalPaymentId::new(read_id(value, "id")?).ok()
}

/// The `href` of the first link with one of these relations.
pub(super) fn link<'a>(value: &'a Value, relations: &[&str]) -> Option<&'a str> {
    let links = value.get("links")?.as_array()?;
    let fits = |link: &&Value| link.get("rel").and_then(Value::as_str).is_some_and(|rel| relations.contains(&rel));
    links.iter().find(fits)?.get("href")?.as_str()
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

/// Whether `custom_id` names our reference; nothing where there is none.
fn is_ours(value: &Value, asked: &Asked<'_>) -> Option<bool> {
    value.get("custom_id").map(|custom| custom.as_str() == Some(asked.reference.as_str()))
}

/// Why an order is not the one that was asked for.
fn misfit(order: &Value, unit: Option<&Value>, asked: &Asked<'_>) -> Option<Outcome> {
    let intent = order.get("intent").is_none_or(|intent| intent.as_str() == Some(asked.intent.as_str()));
    let Some(unit) = unit else { return (!intent).then_some(UNREADABLE) };
    if is_ours(unit, asked) == Some(false) {
        let told = unit.get("custom_id").and_then(Value::as_str).and_then(Reference::parse);
        return Some(told.map_or(UNREADABLE, |_| Outcome::Unknown(UnknownCause::AnotherPayment)));
    }
    let amount = unit.get("amount").is_none_or(|amount| currency::read_amount(amount) == Some(asked.amount));
    (!intent || !amount).then_some(UNREADABLE)
}

/// Reads an order (Orders 2.13, `order`), whichever call it answers.
pub(super) fn read_order(order: &Value, asked: &Asked<'_>) -> Order {
    let Some(id) = read_id(order, "id") else { return Order::Settled(UNREADABLE) };
    let units = order.get("purchase_units").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let unit = match units {
        [] => None,
        [unit] => Some(unit),
        _ => return Order::Settled(UNREADABLE),
    };
    if let Some(other) = misfit(order, unit, asked) {
        return Order::Settled(other);
    }
    let payments = unit.and_then(|unit| unit.get("payments")).and_then(|payments| payments.get(asked.intent.collection()));
    let payments = payments.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if let (Some(unit), Some(payment)) = (unit, the_one(payments)) {
        let Ok(payment) = payment else { return Order::Settled(UNREADABLE) };
        // Somewhere the answer has to name what it is about.
        if is_ours(unit, asked).or_else(|| is_ours(payment, asked)) != Some(true) {
            return Order::Settled(UNREADABLE);
        }
        let outcome = match asked.intent {
            Intent::Authorize => read_authorisation(payment, asked),
            Intent::Capture => read_capture(payment, asked),
        };
        return Order::Settled(with_details(outcome, order));
    }
    let status = order.get("status").and_then(Value::as_str).unwrap_or_default().to_owned();
    Order::Open(Open { id: id.to_owned(), status, approval: approval(order) })
}

/// The payment that counts: the only one that was not refused, else the last refusal. `Err` where several count.
fn the_one(payments: &[Value]) -> Option<Result<&Value, ()>> {
    let refused = |payment: &&Value| matches!(payment.get("status").and_then(Value::as_str), Some("DECLINED" | "FAILED" | "DENIED"));
    let mut live = payments.iter().filter(|payment| !refused(payment));
    match (live.next(), live.next()) {
        (Some(one), None) => Some(Ok(one)),
        (Some(_), Some(_)) => Some(Err(())),
        (None, _) => payments.last().map(Ok),
    }
}

/// Where the payer agrees: `payer-action` with a payment source, `approve` without (Orders 2.13, `links`), or for setup tokens (Vault 3.1).
pub(super) fn approval(value: &Value) -> Option<String> {
    link(value, &["payer-action", "approve"]).filter(|url| url.starts_with("https://") && url.len() <= 2_048).map(str::to_owned)
}

/// What the customer has to do.
pub(super) fn redirect(url: &str, started: &str, external_payment_id: Option<ExternalPaymentId>) -> Outcome {
    let payload = serde_json::json!({ "type": "redirect", "url": url, "method": "GET" });
    let operation = Operation { external_payment_id, started: Some(started.to_owned()), ..Operation::default() };
    Outcome::ActionRequired(Action { payload }, operation)
}

/// Adds the stored details of an order's payment source.
fn with_details(outcome: Outcome, order: &Value) -> Outcome {
    let paypal = order.get("payment_source").and_then(|source| source.get("paypal"));
    let add =
        |operation: Operation| Operation { token: paypal.and_then(read_vaulted), shown: paypal.map_or(Value::Null, shown), ..operation };
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
    if vaulted { PayPalToken::of(vault) } else { None }
}

/// What "my account" may show: that it is PayPal, and the name on the account. Never the payer's e-mail address.
pub(super) fn shown(paypal: &Value) -> Value {
    let name = paypal.get("name");
    let part = |part: &str| name.and_then(|name| name.get(part)).and_then(Value::as_str).map(str::trim).filter(|part| !part.is_empty());
    let holder = [part("given_name"), part("surname")].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let mut shown = serde_json::json!({ "variant": "paypal" });
    if let (1..=64, Some(shown)) = (holder.chars().count(), shown.as_object_mut()) {
        shown.insert("holderName".to_owned(), Value::from(holder));
    }
    shown
}

/// Whether a payment is of our amount and, where it says so, of our reference.
fn fits(payment: &Value, asked: &Asked<'_>) -> bool {
    is_ours(payment, asked) != Some(false) && payment.get("amount").and_then(currency::read_amount) == Some(asked.amount)
}

fn status(value: &Value) -> &str {
    value.get("status").and_then(Value::as_str).unwrap_or_default()
}

fn declined(payment: &Value, code: &str) -> Outcome {
    Outcome::Declined(Decline { payment: external(payment), ..declines::of_status(payment, code) })
}

/// Reads an authorisation (Payments 2.5, `authorization_status`). A repetition tells the state of now, so one that is captured was authorised.
pub(super) fn read_authorisation(payment: &Value, asked: &Asked<'_>) -> Outcome {
    let Some(id) = external(payment).filter(|_| fits(payment, asked)) else { return UNREADABLE };
    let expires_at = payment.get("expiration_time").and_then(Value::as_str).and_then(|at| Timestamp::parse_rfc3339(at).ok());
    let operation = Operation { external_payment_id: Some(id), amount: Some(asked.amount), expires_at, ..Operation::default() };
    match status(payment) {
        "CREATED" | "CAPTURED" | "PARTIALLY_CAPTURED" => Outcome::Done(operation),
        "PENDING" => Outcome::Received(operation),
        "DENIED" => declined(payment, "AUTHORIZATION_DENIED"),
        "VOIDED" => declined(payment, "AUTHORIZATION_VOIDED"),
        _ => UNREADABLE,
    }
}

/// Reads a capture (Payments 2.5, `capture_status`). One that was refunded since was taken.
pub(super) fn read_capture(payment: &Value, asked: &Asked<'_>) -> Outcome {
    let Some(id) = external(payment).filter(|_| fits(payment, asked)) else { return UNREADABLE };
    let operation_ref = Some(id.as_str().to_owned());
    let operation = Operation { external_payment_id: Some(id), operation_ref, amount: Some(asked.amount), ..Operation::default() };
    match status(payment) {
        "COMPLETED" | "PARTIALLY_REFUNDED" | "REFUNDED" => Outcome::Done(operation),
        "PENDING" => Outcome::Received(operation),
        "DECLINED" => declined(payment, "CAPTURE_DECLINED"),
        "FAILED" => declined(payment, "CAPTURE_FAILED"),
        _ => UNREADABLE,
    }
}

/// Reads a refund (Payments 2.5, `refund_status`) of this capture. The payment keeps its own id; the refund's names the operation.
pub(super) fn read_refund(refund: &Value, asked: &Asked<'_>, capture: &ExternalPaymentId) -> Outcome {
    let of_it = id_in_link(refund, "up", "/captures").is_none_or(|id| id == capture.as_str());
    let invoice = refund.get("invoice_id").is_none_or(|invoice| invoice.as_str() == Some(asked.reference.as_str()));
    let Some(id) = read_id(refund, "id").filter(|_| of_it && invoice && fits(refund, asked)) else { return UNREADABLE };
    let operation = Operation {
        external_payment_id: Some(capture.clone()),
        operation_ref: Some(id.to_owned()),
        amount: Some(asked.amount),
        ..Operation::default()
    };
    match status(refund) {
        "COMPLETED" => Outcome::Done(operation),
        "PENDING" => Outcome::Received(operation),
        "FAILED" | "CANCELLED" => Outcome::Declined(declines::of_status(refund, "REFUND_FAILED")),
        _ => UNREADABLE,
    }
}
