//! Answers, read with tolerance where Cleeng is known to vary (wrappers, ids as string or number, dates) and without any where money hangs
//! on it. Must never fill a gap with a guess: what matters and cannot be read is [`UnknownAnswer::Unreadable`], by name.

use std::time::Duration;

use serde_json::Value;

use super::super::{
    CleengError, LatestPayment, Order, Payment, PaymentDetails, PaymentStatus, RenewalCycle, Subscription, SubscriptionStatus,
    UnknownAnswer,
};
use super::listed_subscriptions::ListedSubscription;
use crate::clock::Timestamp;
use crate::http::Response;
use crate::ids::{ExternalPaymentId, Id};
use crate::money::{Currency, Money};
use crate::secret::SecretString;

/// Where Cleeng's clients and documents put an order, outermost first; the bare resource comes last.
const ORDER_PATHS: [&[&str]; 4] = [&["order"], &["responseData", "order"], &["data"], &["responseData"]];
const PAYMENT_PATHS: [&[&str]; 4] = [&["payment"], &["data", "payment"], &["data"], &["responseData"]];
const SUBSCRIPTION_PATHS: [&[&str]; 3] = [&["subscription"], &["data"], &["responseData"]];
const DETAILS_PATHS: [&[&str]; 3] = [&["data"], &["paymentDetails"], &["responseData"]];
const PAYMENT_LIST_PATHS: [&[&str]; 6] =
    [&["data"], &["payments"], &["payment"], &["data", "payments"], &["responseData", "payments"], &["responseData"]];

/// Unix seconds beyond this are milliseconds by mistake (the year 5138).
const LAST_PLAUSIBLE_SECOND: i64 = 100_000_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

/// The answer to a call cannot be read here.
pub(super) const fn unreadable(field: &'static str) -> CleengError {
    CleengError::Unknown(UnknownAnswer::Unreadable(field))
}

/// The body of a 2xx as JSON. One that says `success: false` contradicts its status, so that nothing is known.
pub(super) fn body(answer: &Response) -> Result<Value, CleengError> {
    let body = answer.json().ok_or(unreadable("body"))?;
    match body.get("success") {
        None | Some(Value::Bool(true) | Value::Null) => Ok(body),
        Some(_) => Err(unreadable("success")),
    }
}

/// As [`body`], where Cleeng may also answer with nothing.
pub(super) fn body_or_null(answer: &Response) -> Result<Value, CleengError> {
    if answer.body.iter().all(u8::is_ascii_whitespace) { Ok(Value::Null) } else { body(answer) }
}

/// An order, with what a charge needs: `id`, `totalPrice` and `currency`.
pub(in crate::cleeng) fn order(body: &Value) -> Result<Order, CleengError> {
    let order = resource_in(body, &ORDER_PATHS);
    let currency = currency(order.get("currency")).ok_or(unreadable("order.currency"))?;
    let written = present(order, "totalPrice").filter(|total| total.is_number() || total.is_string());
    let written = written.ok_or(unreadable("order.totalPrice"))?;
    let total = money(Some(written), currency).filter(|total| total.minor >= 0).ok_or(CleengError::AmountUnreadable)?;
    Ok(Order {
        id: id(order, "id", "order.id")?,
        total,
        customer: optional_id(order, "customerId", "order.customerId")?,
        offer: optional_id(order, "offerId", "order.offerId")?,
        payment_method: optional_id(order, "paymentMethodId", "order.paymentMethodId")?,
        expires_at: present(order, "expirationDate").map(|value| date(value).ok_or(unreadable("order.expirationDate"))).transpose()?,
    })
}

/// The order itself, out of its wrapper.
pub(in crate::cleeng) fn order_resource(body: &Value) -> &Value {
    resource_in(body, &ORDER_PATHS)
}

/// The payment of an answer that has one alone.
pub(super) fn payment(body: &Value) -> Result<Payment, CleengError> {
    read_payment(resource_in(body, &PAYMENT_PATHS))
}

/// What an answer to a change says of the payment, if it says anything: its id and its status.
pub(super) fn echoed_payment(body: &Value) -> (Option<&Value>, Option<&Value>) {
    let payment = resource_in(body, &PAYMENT_PATHS);
    (present(payment, "id"), present(payment, "status"))
}

/// What an answer to a termination says of the subscription, if it says anything: its id and its status.
pub(super) fn echoed_subscription(body: &Value) -> (Option<&Value>, Option<&Value>) {
    let subscription = resource_in(body, &SUBSCRIPTION_PATHS);
    (present(subscription, "subscriptionId"), present(subscription, "status"))
}

fn read_payment(payment: &Value) -> Result<Payment, CleengError> {
    let status = present(payment, "status").and_then(Value::as_str).filter(|word| !word.is_empty());
    let currency = currency(payment.get("currency"));
    let total = present(payment, "totalAmount").or_else(|| present(payment, "amount"));
    Ok(Payment {
        id: id(payment, "id", "payment.id")?,
        status: payment_status(status.ok_or(unreadable("payment.status"))?),
        external_payment_id: optional_id(payment, "externalPaymentId", "payment.externalPaymentId")?,
        order: optional_id(payment, "orderId", "payment.orderId")?,
        total: currency.and_then(|currency| money(total, currency)).filter(|total| total.minor >= 0),
        customer: optional_id(payment, "customerId", "payment.customerId")?,
        offer: optional_id(payment, "offerId", "payment.offerId")?,
        payment_details: optional_id(payment, "paymentDetailsId", "payment.paymentDetailsId")?,
        payment_gateway: present(payment, "paymentGateway").and_then(Value::as_str).map(str::to_owned),
    })
}

/// Both spellings of `authorized` are read.
pub(super) fn payment_status(word: &str) -> PaymentStatus {
    match word {
        "authorized" | "authorised" => PaymentStatus::Authorised,
        "captured" => PaymentStatus::Captured,
        "rejected" => PaymentStatus::Rejected,
        "refunded" => PaymentStatus::Refunded,
        "cancelled" | "canceled" => PaymentStatus::Cancelled,
        other => PaymentStatus::Other(other.to_owned()),
    }
}

/// A page of the authorised list: a bare array, or one in any of the known wrappers. A single payment in place of a list is one.
pub(super) fn payments(body: &Value) -> Result<Vec<Payment>, CleengError> {
    const FIELD: CleengError = unreadable("payments");
    if let Value::Array(items) = body {
        return items.iter().map(read_payment).collect();
    }
    for path in PAYMENT_LIST_PATHS {
        match at_path(body, path) {
            Some(Value::Array(items)) => return items.iter().map(read_payment).collect(),
            Some(single @ Value::Object(members)) if members.contains_key("status") => return Ok(vec![read_payment(single)?]),
            _ => {}
        }
    }
    if body.get("id").is_some() && body.get("status").is_some() { Ok(vec![read_payment(body)?]) } else { Err(FIELD) }
}

/// `X-Total-Count`, if it is there.
pub(super) fn total_count(answer: &Response) -> Result<Option<usize>, CleengError> {
    let Some(value) = answer.headers.get("x-total-count") else { return Ok(None) };
    value.to_str().ok().and_then(|text| text.trim().parse().ok()).map(Some).ok_or(unreadable("X-Total-Count"))
}

/// A subscription, with what decides about a charge: its id, status and `dateTo`.
pub(super) fn subscription(body: &Value) -> Result<Subscription, CleengError> {
    read_subscription(resource_in(body, &SUBSCRIPTION_PATHS))
}

/// A list of subscriptions: a bare array, or one in any of the known wrappers.
pub(super) fn subscriptions(body: &Value) -> Result<Vec<Subscription>, CleengError> {
    subscription_list(body)?.iter().map(read_subscription).collect()
}

/// A list of subscriptions, with what else it reports of each.
pub(super) fn listed_subscriptions(body: &Value) -> Result<Vec<ListedSubscription>, CleengError> {
    let one = |value: &Value| {
        Ok(ListedSubscription {
            subscription: read_subscription(value)?,
            publisher: optional_id(value, "publisherId", "subscription.publisherId")?,
            next_payment_at: present(value, "nextPaymentActionDate").and_then(date),
        })
    };
    subscription_list(body)?.iter().map(one).collect()
}

fn subscription_list(body: &Value) -> Result<&Vec<Value>, CleengError> {
    const WRAPPERS: [&[&str]; 5] = [&[], &["data"], &["subscriptions"], &["responseData", "items"], &["responseData"]];
    WRAPPERS.iter().find_map(|path| at_path(body, path)?.as_array()).ok_or(unreadable("subscriptions"))
}

fn read_subscription(subscription: &Value) -> Result<Subscription, CleengError> {
    let status = present(subscription, "status").and_then(Value::as_str).filter(|word| !word.is_empty());
    let paid_until = present(subscription, "dateTo").and_then(date).ok_or(unreadable("subscription.dateTo"))?;
    Ok(Subscription {
        id: id(subscription, "subscriptionId", "subscription.subscriptionId")?,
        status: subscription_status(status.ok_or(unreadable("subscription.status"))?),
        paid_until,
        customer: optional_id(subscription, "customerId", "subscription.customerId")?,
        offer: optional_id(subscription, "offerId", "subscription.offerId")?,
        payment_details: optional_id(subscription, "paymentDetailsId", "subscription.paymentDetailsId")?,
        payment_method: optional_id(subscription, "paymentMethodId", "subscription.paymentMethodId")?,
        next_payment_action: present(subscription, "nextPaymentAction").and_then(Value::as_str).map(str::to_owned),
        country: present(subscription, "paymentCountry").and_then(Value::as_str).filter(|code| code.len() == 2).map(str::to_owned),
        next_payment_action_date: present(subscription, "nextPaymentActionDate").and_then(date),
        switch_pending: present(subscription, "pendingSwitchId").is_some(),
        latest_payment: latest_payment(subscription.get("latestPaymentExternalId")),
        cycle: subscription.get("renewalCycle").and_then(cycle),
    })
}

pub(super) fn subscription_status(word: &str) -> SubscriptionStatus {
    match word {
        "active" => SubscriptionStatus::Active,
        "stopped" => SubscriptionStatus::Stopped,
        "terminated" => SubscriptionStatus::Terminated,
        "paused" => SubscriptionStatus::Paused,
        other => SubscriptionStatus::Other(other.to_owned()),
    }
}

/// Only `null` says that there was no payment; an id that cannot be read says nothing.
fn latest_payment(value: Option<&Value>) -> LatestPayment {
    match value {
        Some(Value::Null) => LatestPayment::None,
        Some(value) => ExternalPaymentId::from_json(value).map_or(LatestPayment::NotReported, LatestPayment::Known),
        None => LatestPayment::NotReported,
    }
}

/// `{unit, amount}`, or a text such as `monthly` or `3-months`. `None` if it is not known, never a guess.
fn cycle(value: &Value) -> Option<RenewalCycle> {
    let (unit, amount) = match value {
        Value::String(word) => (word.as_str(), 1),
        _ => {
            let amount = value.get("amount")?;
            let amount = amount.as_u64().or_else(|| amount.as_str()?.parse().ok())?;
            (value.get("unit")?.as_str()?, amount)
        }
    };
    let unit = unit.to_ascii_lowercase();
    let (times, unit) = match unit.split_once(['-', ' ']) {
        Some((times, unit)) => (times.parse().ok()?, unit.to_owned()),
        None => (1_u64, unit),
    };
    let days: u64 = match unit.as_str() {
        "day" | "days" | "daily" => 1,
        "week" | "weeks" | "weekly" => 7,
        "month" | "months" | "monthly" => 28,
        // A season has no length of its own: a quarter of a year is the shortest.
        "season" | "seasons" | "seasonal" => 84,
        "year" | "years" | "yearly" | "annual" | "annually" => 365,
        _ => return None,
    };
    let seconds = days.checked_mul(SECONDS_PER_DAY)?.checked_mul(times)?.checked_mul(amount)?;
    (1..=3650 * SECONDS_PER_DAY).contains(&seconds).then(|| RenewalCycle(Duration::from_secs(seconds)))
}

/// Payment details; the copy for the front end has no token in it.
pub(super) fn payment_details(body: &Value, token: &SecretString) -> Result<PaymentDetails, CleengError> {
    let details = resource_in(body, &DETAILS_PATHS);
    let mut shown = details.clone();
    strip_token(&mut shown, token);
    Ok(PaymentDetails {
        id: id(details, "id", "paymentDetails.id")?,
        active: present(details, "active").and_then(Value::as_bool),
        public_json: shown,
    })
}

/// Removes every member called `token`, and every text that holds this one, at any depth.
fn strip_token(value: &mut Value, token: &SecretString) {
    let token_text = token.expose();
    let holds = |value: &Value| value.as_str().is_some_and(|text| !token_text.is_empty() && text.contains(token_text));
    match value {
        Value::Object(members) => {
            members.retain(|name, value| !name.eq_ignore_ascii_case("token") && !name.contains(token_text) && !holds(value));
            members.values_mut().for_each(|value| strip_token(value, token));
        }
        Value::Array(items) => {
            items.retain(|value| !holds(value));
            items.iter_mut().for_each(|value| strip_token(value, token));
        }
        _ => {}
    }
}

/// The resource in the first wrapper that holds an object, else the body itself.
fn resource_in<'a>(body: &'a Value, paths: &[&[&str]]) -> &'a Value {
    paths.iter().filter_map(|path| at_path(body, path)).find(|value| value.is_object()).unwrap_or(body)
}

fn at_path<'a>(body: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(body, |value, name| value.get(name))
}

fn present<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|value| !value.is_null())
}

/// Null and the empty text are no id; anything else that cannot be one is an error, because it would hide what the resource belongs to.
fn optional_id<K>(value: &Value, name: &str, field: &'static str) -> Result<Option<Id<K>>, CleengError> {
    let value = present(value, name).filter(|value| value.as_str() != Some(""));
    value.map(|value| Id::from_json(value).map_err(|_| unreadable(field))).transpose()
}

fn id<K>(value: &Value, name: &str, field: &'static str) -> Result<Id<K>, CleengError> {
    optional_id(value, name, field)?.ok_or(unreadable(field))
}

fn currency(value: Option<&Value>) -> Option<Currency> {
    Currency::new(value?.as_str()?).ok()
}

/// An amount from the digits as they came, as number or string.
fn money(value: Option<&Value>, currency: Currency) -> Option<Money> {
    match value? {
        Value::Number(number) => Money::parse(&number.to_string(), currency).ok(),
        Value::String(text) => Money::parse(text, currency).ok(),
        _ => None,
    }
}

/// Unix seconds as number or digits (Cleeng's resources), or RFC 3339 (its webhooks).
fn date(value: &Value) -> Option<Timestamp> {
    let seconds = match value {
        Value::Number(number) => number.as_i64()?,
        Value::String(text) => match text.parse() {
            Ok(seconds) => seconds,
            Err(_) => return Timestamp::parse_rfc3339(text).ok(),
        },
        _ => return None,
    };
    (1..LAST_PLAUSIBLE_SECOND).contains(&seconds).then(|| Timestamp::from_secs(seconds))
}

#[cfg(test)]
mod tests;
