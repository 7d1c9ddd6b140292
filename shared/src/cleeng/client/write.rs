//! Request bodies, field by field as Cleeng's reference lists them: integers where it says int, strings where it says string, amounts as
//! numbers with their own digits. Must never send a card number: details are a gateway's token.

use serde_json::{Map, Value, json};

use super::super::{
    NewOrder, NewPayment, NewPaymentDetails, NewPaymentStatus, PaymentOperation, PaymentPatch, PaymentSource, TerminationType,
};
use super::settings::{AuthorisedSpelling, CleengSettings, RejectedDetails};
use crate::money::Money;

/// Cleeng, "Create an order": `customerId` and `paymentMethodId` are ints, `subscriptionId` is a string and comes with the operation.
pub(super) fn order(order: &NewOrder) -> Value {
    json!({
        "customerId": order.customer.to_json_number(),
        "offerId": order.offer.as_str(),
        "currency": order.currency.as_str(),
        "country": order.country,
        "paymentMethodId": order.payment_method.to_json_number(),
        "paymentOperation": "recurring-payment",
        "subscriptionId": order.subscription.as_str(),
    })
}

/// Cleeng, "Create a payment": every id is a string.
pub(super) fn payment(payment: &NewPayment, settings: &CleengSettings, spelling: AuthorisedSpelling) -> Value {
    let mut body = Map::new();
    body.insert("orderId".to_owned(), payment.order.as_str().into());
    body.insert("status".to_owned(), status(&payment.status, spelling).into());
    body.insert("paymentOperation".to_owned(), operation(payment.operation, settings).into());
    match &payment.source {
        PaymentSource::Existing(id) => {
            body.insert("paymentDetailsId".to_owned(), id.as_str().into());
        }
        PaymentSource::New { token, display_params } => {
            body.insert("paymentDetails".to_owned(), with_display_params(json!({ "token": token.expose() }), display_params));
        }
        PaymentSource::None => match settings.rejected_details {
            RejectedDetails::None => {}
            RejectedDetails::EmptyObject => {
                body.insert("paymentDetails".to_owned(), json!({}));
            }
        },
    }
    body.insert("externalPaymentId".to_owned(), payment.external_payment_id.as_str().into());
    if let NewPaymentStatus::Rejected { reason } = &payment.status {
        body.insert("rejectedReason".to_owned(), reason.as_str().into());
    }
    if let Some(subscription) = &payment.subscription {
        body.insert("subscriptionId".to_owned(), subscription.as_str().into());
    }
    Value::Object(body)
}

/// Cleeng, "Update a payment": `orderId` is an int here, and marked as required; it goes along wherever it is known. Nothing for an amount
/// that is not above zero, which Cleeng may take for none.
pub(super) fn patch(patch: &PaymentPatch, settings: &CleengSettings) -> Option<Value> {
    let fields = &settings.refund_fields;
    let mut body = Map::new();
    let mut add = |name: &str, value: Value| body.insert(name.to_owned(), value);
    let order = match patch {
        PaymentPatch::Captured { order, external_payment_id } => {
            add("status", "captured".into());
            if let Some(id) = external_payment_id {
                add("externalPaymentId", id.as_str().into());
            }
            order.as_ref()
        }
        PaymentPatch::Rejected { order, reason } => {
            add("status", "rejected".into());
            add("rejectedReason", reason.as_str().into());
            order.as_ref()
        }
        PaymentPatch::Refunded { order, operation: which, reason, amount, chargeback } => {
            add("status", "refunded".into());
            add("paymentOperation", operation(*which, settings).into());
            add(&fields.reason, reason.as_str().into());
            if *chargeback {
                add(&fields.kind, "chargeback".into());
            }
            if let Some(amount) = amount {
                add(&fields.amount, decimal(*amount).filter(|_| amount.minor > 0)?);
            }
            Some(order)
        }
    };
    if let Some(order) = order {
        add("orderId", order.to_json_number());
    }
    Some(Value::Object(body))
}

/// Cleeng, "Create payment details".
pub(super) fn payment_details(details: &NewPaymentDetails) -> Value {
    let body = json!({
        "customerId": details.customer.to_json_number(),
        "token": details.token.expose(),
        "paymentMethodId": details.payment_method.to_json_number(),
        "active": details.active,
    });
    with_display_params(body, &details.display_params)
}

/// Adds what "my account" shows, where there is something.
fn with_display_params(mut body: Value, display_params: &Value) -> Value {
    if let (Value::Object(members), Value::Object(_)) = (&mut body, display_params) {
        members.insert("paymentMethodSpecificParams".to_owned(), display_params.clone());
    }
    body
}

/// Cleeng, "Terminate subscription".
pub(super) fn termination(why: TerminationType) -> Value {
    json!({
        "terminationType": match why {
            TerminationType::PaymentCancel => "paymentCancel",
            TerminationType::UserCancel => "userCancel",
        }
    })
}

const fn operation(operation: PaymentOperation, settings: &CleengSettings) -> &'static str {
    match operation {
        PaymentOperation::FreeStart => settings.free_start.as_str(),
        PaymentOperation::Initial => "initial-payment",
        PaymentOperation::Recurring => "recurring-payment",
    }
}

const fn status(status: &NewPaymentStatus, spelling: AuthorisedSpelling) -> &'static str {
    match status {
        NewPaymentStatus::Authorised => spelling.as_str(),
        NewPaymentStatus::Captured => "captured",
        NewPaymentStatus::Rejected { .. } => "rejected",
    }
}

/// A JSON number with exactly the currency's digits; no float is made of it.
fn decimal(amount: Money) -> Option<Value> {
    serde_json::from_str::<Value>(&amount.to_decimal()).ok()
}
