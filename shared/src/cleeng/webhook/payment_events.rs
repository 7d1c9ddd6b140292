//! The three events whose payloads Cleeng does not publish: refunds, deactivated payment details, captures of single purchases. They are
//! read tolerantly: names that Cleeng uses elsewhere, at the top or in an object `payment`; what cannot be done without is named when it is
//! missing. Must never guess an amount.

use ring::digest;
use serde_json::Value;

use super::{Webhook, WebhookError, currency, id, optional_id, present, text};
use crate::cleeng::PaymentOperation;
use crate::ids::{CustomerId, ExternalPaymentId, Id, OrderId, PaymentDetailsId, PaymentId, PaymentMethodId, RefundId, SubscriptionId};
use crate::money::{Currency, Decimal};
use crate::secret::SecretString;

/// The longest reason that is passed on, in characters.
const LONGEST_REASON: usize = 200;

/// A payment as an event names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPayment {
    /// `paymentId`, or `id` of `payment`.
    pub payment: Option<PaymentId>,
    /// `externalPaymentId`.
    pub external: Option<ExternalPaymentId>,
    /// `orderId`.
    pub order: Option<OrderId>,
    /// `customerId`.
    pub customer: Option<CustomerId>,
    /// `subscriptionId`.
    pub subscription: Option<SubscriptionId>,
    /// `paymentDetailsId`.
    pub details: Option<PaymentDetailsId>,
    /// `paymentMethodId`.
    pub method: Option<PaymentMethodId>,
    /// `paymentOperation`, where it is one of the two that Cleeng lists for payments.
    pub operation: Option<PaymentOperation>,
}

impl NamedPayment {
    fn read(data: &Value) -> Result<Self, WebhookError> {
        let payment = id_in_data_or_payment(data, "paymentId", "data.paymentId", "id", "data.payment.id")?;
        let external = id_in_data_or_payment(
            data,
            "externalPaymentId",
            "data.externalPaymentId",
            "externalPaymentId",
            "data.payment.externalPaymentId",
        )?;
        if payment.is_none() && external.is_none() {
            return Err(WebhookError::Missing("data.paymentId"));
        }
        let operation = field_in_data_or_payment(data, "paymentOperation").and_then(Value::as_str);
        Ok(Self {
            payment,
            external,
            order: id_in_data_or_payment(data, "orderId", "data.orderId", "orderId", "data.payment.orderId")?,
            customer: id_in_data_or_payment(data, "customerId", "data.customerId", "customerId", "data.payment.customerId")?,
            subscription: id_in_data_or_payment(
                data,
                "subscriptionId",
                "data.subscriptionId",
                "subscriptionId",
                "data.payment.subscriptionId",
            )?,
            details: id_in_data_or_payment(
                data,
                "paymentDetailsId",
                "data.paymentDetailsId",
                "paymentDetailsId",
                "data.payment.paymentDetailsId",
            )?,
            method: optional_id(data, "paymentMethodId", "data.paymentMethodId")?,
            operation: match operation {
                Some("initial-payment") => Some(PaymentOperation::Initial),
                Some("recurring-payment") => Some(PaymentOperation::Recurring),
                _ => None,
            },
        })
    }

    /// The payment's id, the same in every delivery of an event: Cleeng's id, else the gateway's.
    #[must_use]
    pub fn stable_id(&self) -> &str {
        match (&self.payment, &self.external) {
            (Some(payment), _) => payment.as_str(),
            (None, Some(external)) => external.as_str(),
            (None, None) => "",
        }
    }
}

/// `refundPayment`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundEvent {
    /// The payment to refund.
    pub payment: NamedPayment,
    /// `refundId`, or `id` beside a payment id that is another one.
    pub refund: Option<RefundId>,
    /// `amount` in major units, above zero; nothing for a full refund.
    pub amount: Option<Decimal>,
    /// `currency`.
    pub currency: Option<Currency>,
    /// `reason`, `refundReason` or `refundedReason`.
    pub reason: Option<String>,
    /// SHA-256 of the data in canonical form, in hex: distinguishes two refunds without a refund id.
    pub fingerprint: String,
    /// The operator who asks for it, if it is not Cleeng that does.
    pub operator: Option<RefundOperator>,
}

/// Who asks for a refund in place of Cleeng.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundOperator {
    /// The operator's name.
    pub by: String,
    /// Why.
    pub note: String,
}

/// The member of a `refundPayment` event that an operator's tool makes in place of Cleeng. To make one takes the right to write to our queue,
/// or Cleeng's signature.
pub const REQUESTED_BY_OPERATOR: &str = "connectorOperator";

impl RefundEvent {
    /// Reads the event's data.
    ///
    /// # Errors
    /// [`WebhookError`], naming the field.
    pub fn read(webhook: &Webhook) -> Result<Self, WebhookError> {
        let data = &webhook.data;
        let payment = NamedPayment::read(data)?;
        let refund = match optional_id(data, "refundId", "data.refundId")? {
            Some(refund) => Some(refund),
            None => refund_id(data, &payment)?,
        };
        let currency = match currency(data)? {
            Some(currency) => Some(currency),
            None => data.get("payment").map(payment_currency).transpose()?.flatten(),
        };
        let (amount, reason, fingerprint, operator) = (amount(data)?, reason(data), fingerprint(data), operator(data));
        Ok(Self { payment, refund, amount, currency, reason, fingerprint, operator })
    }
}

/// `capturePayment`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturePaymentEvent {
    /// Which authorised payment is to be captured.
    pub payment: NamedPayment,
}

impl CapturePaymentEvent {
    /// Reads the event's data.
    ///
    /// # Errors
    /// [`WebhookError`], naming the field.
    pub fn read(webhook: &Webhook) -> Result<Self, WebhookError> {
        Ok(Self { payment: NamedPayment::read(&webhook.data)? })
    }
}

/// `paymentDetailsDeactivated`.
#[derive(Clone)]
pub struct DeactivationEvent {
    /// `paymentDetailsId`.
    pub details: PaymentDetailsId,
    /// `customerId`.
    pub customer: Option<CustomerId>,
    /// `paymentMethodId`.
    pub method: Option<PaymentMethodId>,
    /// `token`: the stored details in the adapter's own form.
    pub token: Option<SecretString>,
}

impl DeactivationEvent {
    /// Reads the event's data.
    ///
    /// # Errors
    /// [`WebhookError`], naming the field.
    pub fn read(webhook: &Webhook) -> Result<Self, WebhookError> {
        let data = &webhook.data;
        Ok(Self {
            details: id(data, "paymentDetailsId", "data.paymentDetailsId")?,
            customer: optional_id(data, "customerId", "data.customerId")?,
            method: optional_id(data, "paymentMethodId", "data.paymentMethodId")?,
            token: text(data, "token", "data.token")?.map(SecretString::new),
        })
    }
}

/// A member of the data, else one of its `payment`.
fn id_in_data_or_payment<K>(
    data: &Value,
    name: &str,
    field: &'static str,
    inner: &str,
    inner_field: &'static str,
) -> Result<Option<Id<K>>, WebhookError> {
    match optional_id(data, name, field)? {
        Some(id) => Ok(Some(id)),
        None => data.get("payment").map_or(Ok(None), |payment| optional_id(payment, inner, inner_field)),
    }
}

fn field_in_data_or_payment<'a>(data: &'a Value, name: &str) -> Option<&'a Value> {
    present(data, name).or_else(|| present(data.get("payment")?, name))
}

/// `id` could be the payment's own: it names the refund only beside another payment id.
fn refund_id(data: &Value, payment: &NamedPayment) -> Result<Option<RefundId>, WebhookError> {
    let id = optional_id::<crate::ids::kind::Refund>(data, "id", "data.id")?;
    Ok(id.filter(|id| payment.payment.as_ref().is_some_and(|payment| payment.as_str() != id.as_str())))
}

fn payment_currency(payment: &Value) -> Result<Option<Currency>, WebhookError> {
    let invalid = |_| WebhookError::Invalid { field: "data.payment.currency", expected: "an ISO 4217 currency" };
    text(payment, "currency", "data.payment.currency")?.map(|code| Currency::new(code).map_err(invalid)).transpose()
}

/// The amount of the refund itself, never the payment's.
fn amount(data: &Value) -> Result<Option<Decimal>, WebhookError> {
    let invalid = WebhookError::Invalid { field: "data.amount", expected: "a plain decimal above zero such as 9.99" };
    let Some(value) = present(data, "amount") else { return Ok(None) };
    let decimal = serde_json::from_value::<Decimal>(value.clone()).map_err(|_| invalid)?;
    let digits = decimal.as_str();
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let above_zero = digits.bytes().any(|b| matches!(b, b'1'..=b'9'));
    if plain(whole) && plain(fraction) && above_zero { Ok(Some(decimal)) } else { Err(invalid) }
}

/// A reason is good to have and no reason to refuse an event.
fn reason(data: &Value) -> Option<String> {
    let told = ["reason", "refundReason", "refundedReason"].into_iter().find_map(|name| present(data, name).and_then(Value::as_str));
    let reason: String = told?.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect();
    (!reason.trim().is_empty()).then_some(reason)
}

fn operator(data: &Value) -> Option<RefundOperator> {
    let member = |name| data.get(REQUESTED_BY_OPERATOR)?.get(name)?.as_str().map(str::to_owned);
    Some(RefundOperator { by: member("by")?, note: member("note")? })
}

/// SHA-256 of the data with its keys sorted, in hex. A number and a string of the same digits are the same: Cleeng writes ids as both.
fn fingerprint(data: &Value) -> String {
    let mut canonical = String::new();
    write_canonical(data, &mut canonical);
    hex::encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

fn write_canonical(value: &Value, into: &mut String) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| name.as_str());
            into.push('{');
            for (name, member) in sorted {
                into.push_str(&Value::from(name.as_str()).to_string());
                into.push(':');
                write_canonical(member, into);
                into.push(',');
            }
            into.push('}');
        }
        Value::Array(items) => {
            into.push('[');
            for item in items {
                write_canonical(item, into);
                into.push(',');
            }
            into.push(']');
        }
        Value::Number(number) => into.push_str(&Value::from(number.to_string()).to_string()),
        other => into.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::cleeng::webhook::{Topic, invalid_id};

    fn webhook(topic: Topic, data: Value) -> Webhook {
        let body = json!({ "broadcasterId": 558_186_818, "topic": topic.as_str(), "data": data });
        Webhook::parse(body.to_string().as_bytes()).unwrap()
    }

    fn refund(data: Value) -> Result<RefundEvent, WebhookError> {
        RefundEvent::read(&webhook(Topic::RefundPayment, data))
    }

    #[test]
    fn a_payment_is_read_from_either_place() {
        let flat = refund(json!({ "paymentId": 7, "externalPaymentId": "PSP", "orderId": 9, "customerId": "3" })).unwrap();
        let nested =
            refund(json!({ "payment": { "id": "7", "externalPaymentId": "PSP", "orderId": "9", "customerId": 3, "currency": "USD" } }))
                .unwrap();
        assert_eq!(flat.payment, nested.payment);
        assert_eq!((flat.currency, nested.currency.unwrap().as_str()), (None, "USD"));
        assert_eq!(flat.payment.stable_id(), "7");
        assert_eq!(refund(json!({ "externalPaymentId": "PSP" })).unwrap().payment.stable_id(), "PSP");
    }

    #[test]
    fn an_event_without_any_payment_names_the_field() {
        assert_eq!(refund(json!({ "amount": 1 })), Err(WebhookError::Missing("data.paymentId")));
        assert_eq!(refund(json!({ "paymentId": true })), Err(invalid_id("data.paymentId")));
        assert_eq!(webhook(Topic::CapturePayment, json!({})).validate(), Err(WebhookError::Missing("data.paymentId")));
        let nameless = webhook(Topic::PaymentDetailsDeactivated, json!({ "customerId": 1 }));
        assert_eq!(nameless.validate(), Err(WebhookError::Missing("data.paymentDetailsId")));
    }

    #[test]
    fn an_amount_is_a_plain_decimal_above_zero() {
        for good in [json!(5), json!(5.25), json!("5.2500"), json!("0.01")] {
            let event = refund(json!({ "paymentId": 7, "amount": good })).unwrap();
            assert!(event.amount.is_some());
        }
        for bad in [json!(0), json!("0.00"), json!(-1), json!("1e2"), json!("1,5"), json!(""), json!("."), json!({}), json!(true)] {
            let refused = refund(json!({ "paymentId": 7, "amount": bad }));
            assert!(matches!(refused, Err(WebhookError::Invalid { field: "data.amount", .. })), "{bad}");
        }
        assert_eq!(refund(json!({ "paymentId": 7, "amount": null })).unwrap().amount, None);
        let of_payment = refund(json!({ "payment": { "id": 7, "amount": 9.99 } })).unwrap();
        assert_eq!(of_payment.amount, None, "the payment's amount is not the refund's");
    }

    #[test]
    fn an_id_beside_the_payments_is_the_refunds_and_the_payments_own_is_not() {
        let named = |data| refund(data).unwrap().refund.map(|refund| refund.as_str().to_owned());
        assert_eq!(named(json!({ "paymentId": 7, "refundId": 11, "id": 12 })).as_deref(), Some("11"));
        assert_eq!(named(json!({ "paymentId": 7, "id": 12 })).as_deref(), Some("12"));
        assert_eq!(named(json!({ "paymentId": 7, "id": "7" })), None);
        assert_eq!(named(json!({ "externalPaymentId": "PSP", "id": 12 })), None);
    }

    #[test]
    fn the_fingerprint_knows_neither_order_nor_json_type_and_every_other_difference() {
        let print = |data| refund(data).unwrap().fingerprint;
        let one = print(json!({ "paymentId": 7, "amount": 5.5, "note": { "b": [1, 2], "a": null } }));
        assert_eq!(one, print(json!({ "note": { "a": null, "b": ["1", 2] }, "amount": "5.5", "paymentId": "7" })));
        assert_ne!(one, print(json!({ "paymentId": 7, "amount": 5.5, "note": { "b": [2, 1], "a": null } })));
        assert_ne!(one, print(json!({ "paymentId": 7, "amount": 5.5 })));
        assert_eq!(one.len(), 64);
    }

    #[test]
    fn an_unknown_operation_is_not_one() {
        let told = |word| refund(json!({ "paymentId": 7, "paymentOperation": word })).unwrap().payment.operation;
        assert_eq!(told(json!("recurring-payment")), Some(PaymentOperation::Recurring));
        assert_eq!(told(json!("initial-payment")), Some(PaymentOperation::Initial));
        assert_eq!(told(json!("offer-switch")), None);
        assert_eq!(told(json!(3)), None);
    }

    #[test]
    fn a_reason_is_passed_on_without_control_characters_and_not_too_long() {
        let told = |name: &str, reason: Value| refund(json!({ "paymentId": 7, name: reason })).unwrap().reason;
        for name in ["reason", "refundReason", "refundedReason"] {
            assert_eq!(told(name, json!("not\n as\u{7} ordered")).as_deref(), Some("not as ordered"), "{name}");
        }
        assert_eq!(told("reason", json!("x".repeat(300))).map(|reason| reason.len()), Some(LONGEST_REASON));
        for nothing in [Value::Null, json!(" \n"), json!(""), json!(7)] {
            assert_eq!(told("reason", nothing.clone()), None, "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn no_data_makes_a_reader_panic(text in "\\PC*", number in any::<f64>()) {
            for value in [json!(text), json!(number), json!([text]), json!({ "id": number })] {
                for name in ["paymentId", "payment", "amount", "id", "refundId", "reason", "currency", "paymentDetailsId", "token"] {
                    for topic in [Topic::RefundPayment, Topic::CapturePayment, Topic::PaymentDetailsDeactivated] {
                        let mut data = json!({ "externalPaymentId": "PSP" });
                        data[name] = value.clone();
                        let _ = webhook(topic, data).validate();
                    }
                }
            }
        }
    }
}
