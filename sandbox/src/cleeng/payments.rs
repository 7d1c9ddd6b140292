//! `/payments` and the authorised list. Every rule that Cleeng's reference states for them is checked here.

use std::time::Duration;

use connector::cleeng::client::FreeStart;
use connector::cleeng::{PaymentOperation, PaymentStatus, SubscriptionStatus};
use connector::clock::Timestamp;
use connector::ids::{ExternalPaymentId, OrderId, PaymentDetailsId, PaymentId, SubscriptionId};
use connector::money::Money;
use serde_json::{Map, Value, json};

use super::books::{DetailsRecord, OrderRecord, PaymentRecord, Refund, Transaction};
use super::desk::{Desk, No, Quirks, Served, against, amount, id, malformed, text, typed_id};

const FIELDS: [&str; 8] = [
    "orderId",
    "status",
    "paymentOperation",
    "paymentDetailsId",
    "paymentDetails",
    "externalPaymentId",
    "rejectedReason",
    "subscriptionId",
];
/// How much earlier than the first attempt a renewal may be paid before it counts as a charge for nothing.
const TOLERANCE: Duration = Duration::from_secs(3600);

impl Desk<'_> {
    pub(super) fn create_payment(&mut self) -> Served {
        let body = self.body(&FIELDS)?;
        let status = self.posted_status(&body)?;
        let order = self.payable_order(&body, &status)?;
        let operation = operation(&body, self.quirks)?;
        let external_payment_id: ExternalPaymentId = id(&body, "externalPaymentId", "payment_without_external_id")?;
        let live = matches!(status, PaymentStatus::Authorised | PaymentStatus::Captured);
        let (subscription, period) = self.payable_period(&body, &order, operation, live)?;
        if live && self.books.payments.values().any(|other| other.is_live() && other.external_payment_id == external_payment_id) {
            return Err(against("external_payment_id_reused"));
        }
        let rejected_reason = match status {
            PaymentStatus::Rejected => Some(text(&body, "rejectedReason", "payment_rejected_without_reason")?.to_owned()),
            _ => None,
        };
        let details = self.used_details(&body, &order, live)?;
        let payment = PaymentRecord {
            id: self.books.fresh().ok_or(No::Status(500))?,
            order: order.id,
            status: status.clone(),
            operation,
            total: order.total,
            customer: order.customer,
            offer: order.offer,
            details,
            subscription,
            period,
            external_payment_id,
            rejected_reason,
            refund: None,
            history: vec![(self.now, status.clone())],
        };
        let (id, shown) = (payment.id.clone(), self.show_payment(&payment));
        self.books.payments.insert(id.clone(), payment);
        if status == PaymentStatus::Captured {
            self.books.book_capture(&id, self.now);
        }
        Ok(Self::wrapped(self.quirks.payment, "payment", shown))
    }

    fn posted_status(&self, body: &Map<String, Value>) -> Result<PaymentStatus, No> {
        match text(body, "status", "payment_status")? {
            "captured" => Ok(PaymentStatus::Captured),
            "rejected" => Ok(PaymentStatus::Rejected),
            "cancelled" => Ok(PaymentStatus::Cancelled),
            word if word == self.quirks.spelling.as_str() => Ok(PaymentStatus::Authorised),
            _ => Err(malformed("payment_status")),
        }
    }

    fn payable_order(&self, body: &Map<String, Value>, status: &PaymentStatus) -> Result<OrderRecord, No> {
        let id: OrderId = typed_id(body, "orderId", false, "payment_order")?;
        let order = self.books.orders.get(&id).ok_or(against("payment_for_unknown_order"))?;
        if order.expires <= self.now {
            return Err(against("payment_for_expired_order"));
        }
        if self.books.payments.values().any(|other| other.order == id && other.is_live()) {
            return Err(against(if *status == PaymentStatus::Rejected { "rejection_of_paid_order" } else { "order_paid_twice" }));
        }
        Ok(order.clone())
    }

    /// A renewal names its subscription, its order does too, and the period is neither paid already nor far away.
    fn payable_period(
        &self,
        body: &Map<String, Value>,
        order: &OrderRecord,
        operation: PaymentOperation,
        live: bool,
    ) -> Result<(Option<SubscriptionId>, Option<Timestamp>), No> {
        if matches!(operation, PaymentOperation::Initial | PaymentOperation::FreeStart) {
            let mixed = order.subscription.is_some() || body.contains_key("subscriptionId");
            return if mixed { Err(malformed("payment_operation")) } else { Ok((None, None)) };
        }
        let id: SubscriptionId = typed_id(body, "subscriptionId", false, "payment_recurring_without_subscription")?;
        if order.subscription.as_ref() != Some(&id) {
            return Err(against("payment_for_another_subscription"));
        }
        let subscription = self.books.subscriptions.get(&id).ok_or(against("payment_for_unknown_subscription"))?;
        let period = subscription.date_to;
        if live && subscription.status == SubscriptionStatus::Terminated {
            return Err(against("payment_for_ended_subscription"));
        }
        if live && self.books.live_payment(&id, period).is_some() {
            return Err(against("double_charge"));
        }
        let first = self.books.methods.get(&subscription.method).and_then(|method| method.dunning.attempts.iter().max().copied());
        let lead = Duration::from_secs(u64::try_from(first.unwrap_or(72).max(0)).unwrap_or(0).saturating_mul(3600));
        if live && self.now.after(lead).after(TOLERANCE) < period {
            return Err(against("charged_too_early"));
        }
        Ok((Some(id), Some(period)))
    }

    fn used_details(&mut self, body: &Map<String, Value>, order: &OrderRecord, live: bool) -> Result<Option<PaymentDetailsId>, No> {
        match (body.get("paymentDetailsId"), body.get("paymentDetails")) {
            (Some(_), Some(_)) => Err(malformed("payment_details_twice")),
            (None, None) if live => Err(malformed("payment_without_details")),
            (None, None) => Ok(None),
            (Some(_), None) => {
                let id: PaymentDetailsId = id(body, "paymentDetailsId", "payment_details")?;
                match self.books.details.get(&id) {
                    Some(details) if details.customer == order.customer => Ok(Some(id)),
                    _ => Err(against("payment_with_unknown_details")),
                }
            }
            (None, Some(new)) => {
                let new = new.as_object().ok_or(malformed("payment_details"))?;
                let record = DetailsRecord {
                    customer: order.customer.clone(),
                    method: order.method.clone(),
                    token: text(new, "token", "payment_details_without_token")?.to_owned(),
                    shown: new.get("paymentMethodSpecificParams").cloned().unwrap_or(Value::Null),
                    active: true,
                };
                self.add_details(record).map(Some)
            }
        }
    }

    pub(super) fn update_payment(&mut self, id: &PaymentId) -> Served {
        let payment = self.books.payments.get(id).cloned().ok_or(No::Status(404))?;
        let fields = &self.quirks.refund_fields;
        let (reason, sum, kind) = (fields.reason.clone(), fields.amount.clone(), fields.kind.clone());
        let known =
            ["orderId", "status", "paymentOperation", "externalPaymentId", "paymentDetails", "rejectedReason", &reason, &sum, &kind];
        let body = self.body(&known)?;
        let mut changed = payment.clone();
        match (text(&body, "status", "patch_status")?, &payment.status) {
            ("captured", PaymentStatus::Authorised) => {
                if body.contains_key("externalPaymentId") {
                    changed.external_payment_id = super::desk::id(&body, "externalPaymentId", "patch_external_id")?;
                }
                changed.status = PaymentStatus::Captured;
            }
            ("rejected", PaymentStatus::Authorised) => {
                changed.rejected_reason = Some(text(&body, "rejectedReason", "patch_rejected_without_reason")?.to_owned());
                changed.status = PaymentStatus::Rejected;
            }
            ("refunded", PaymentStatus::Captured) => {
                changed.refund = Some(refund(&body, &payment, self.quirks, [&reason, &sum, &kind])?);
                changed.status = PaymentStatus::Refunded;
            }
            // One more part of a payment that was given back in part.
            ("refunded", PaymentStatus::Refunded) if body.contains_key(&sum) => {
                changed.refund = Some(refund(&body, &payment, self.quirks, [&reason, &sum, &kind])?);
            }
            ("captured", PaymentStatus::Captured) | ("rejected", PaymentStatus::Rejected) | ("refunded", PaymentStatus::Refunded) => {
                return Err(against("repeated_change"));
            }
            ("captured" | "rejected" | "refunded", _) => return Err(against("illegal_transition")),
            _ => return Err(malformed("patch_status")),
        }
        self.enter(changed)
    }

    pub(super) fn cancel_payment(&mut self, id: &PaymentId) -> Served {
        let mut payment = self.books.payments.get(id).cloned().ok_or(No::Status(404))?;
        if !self.request.body.is_empty() {
            return Err(malformed("cancel_with_body"));
        }
        match payment.status {
            PaymentStatus::Authorised => payment.status = PaymentStatus::Cancelled,
            PaymentStatus::Cancelled => return Err(against("repeated_change")),
            _ => return Err(against("illegal_transition")),
        }
        self.enter(payment)
    }

    /// Writes a changed payment down, with what it means for the books.
    fn enter(&mut self, mut payment: PaymentRecord) -> Served {
        payment.history.push((self.now, payment.status.clone()));
        let (id, shown) = (payment.id.clone(), self.show_payment(&payment));
        if let Some(refund) = payment.refund.clone().filter(|_| payment.status == PaymentStatus::Refunded) {
            let before = self.books.payments.get(&id).and_then(|before| before.refund.as_ref()).map_or(0, |before| before.amount.minor);
            self.books.transactions.push(Transaction {
                payment: id.clone(),
                subscription: payment.subscription.clone(),
                external_payment_id: payment.external_payment_id.clone(),
                amount: Money::new(before.saturating_sub(refund.amount.minor), refund.amount.currency),
                at: self.now,
            });
        }
        let captured = payment.status == PaymentStatus::Captured;
        self.books.payments.insert(id.clone(), payment);
        if captured {
            self.books.book_capture(&id, self.now);
        }
        Ok(Self::wrapped(self.quirks.payment, "payment", shown))
    }

    pub(super) fn authorised_payments(&self, id: &PaymentDetailsId) -> Served {
        if !self.books.details.contains_key(id) {
            return Err(No::Status(404));
        }
        let held = |payment: &&PaymentRecord| payment.status == PaymentStatus::Authorised && payment.details.as_ref() == Some(id);
        let items = self.books.payments.values().filter(held).map(|payment| self.show_payment(payment)).collect();
        Ok(self.page(self.quirks.list, self.quirks.list_name, items))
    }

    fn show_payment(&self, payment: &PaymentRecord) -> Value {
        let order = self.books.orders.get(&payment.order);
        let gateway = order.and_then(|order| self.books.methods.get(&order.method)).map(|method| method.gateway.clone());
        json!({
            "id": self.id(&payment.id), "orderId": self.id(&payment.order), "status": self.status_word(&payment.status),
            "totalAmount": amount(payment.total), "amount": amount(payment.total), "currency": payment.total.currency,
            "customerId": self.id(&payment.customer), "paymentGateway": gateway, "paymentMethod": "card",
            "externalPaymentId": payment.external_payment_id.as_str(), "country": order.map(|order| order.country.clone()),
            "offerType": "subscription", "offerId": self.id(&payment.offer), "taxValue": 0, "rejectedReason": payment.rejected_reason,
            "refundedReason": payment.refund.as_ref().map(|refund| refund.reason.clone()),
            "paymentDetailsId": self.optional(payment.details.as_ref()), "paymentOperation": operation_word(payment.operation),
            "gatewaySpecificParams": {},
        })
    }

    fn status_word(&self, status: &PaymentStatus) -> String {
        match status {
            PaymentStatus::Authorised => self.quirks.spelling.as_str().to_owned(),
            PaymentStatus::Captured => "captured".to_owned(),
            PaymentStatus::Rejected => "rejected".to_owned(),
            PaymentStatus::Refunded => "refunded".to_owned(),
            PaymentStatus::Cancelled => "cancelled".to_owned(),
            PaymentStatus::Other(word) => word.clone(),
        }
    }
}

const fn operation_word(operation: PaymentOperation) -> &'static str {
    match operation {
        PaymentOperation::Initial => "initial-payment",
        PaymentOperation::FreeStart => "initial-free-transaction",
        PaymentOperation::Recurring => "recurring-payment",
    }
}

fn operation(body: &Map<String, Value>, quirks: &Quirks) -> Result<PaymentOperation, No> {
    match text(body, "paymentOperation", "payment_operation")? {
        "initial-payment" => Ok(PaymentOperation::Initial),
        "recurring-payment" => Ok(PaymentOperation::Recurring),
        "initial-free-transaction" if quirks.free_start == FreeStart::InitialFreeTransaction => Ok(PaymentOperation::FreeStart),
        _ => Err(malformed("payment_operation")),
    }
}

/// A refund names order, operation and reason; its amount, if it has one, is a number above zero and not above the payment.
fn refund(body: &Map<String, Value>, payment: &PaymentRecord, quirks: &Quirks, [reason, sum, kind]: [&String; 3]) -> Result<Refund, No> {
    let order: OrderId = typed_id(body, "orderId", true, "refund_order")?;
    if order != payment.order || operation(body, quirks)? != payment.operation {
        return Err(against("refund_of_another_payment"));
    }
    let total = match body.get(sum) {
        None => payment.total,
        Some(Value::Number(number)) => Money::parse(&number.to_string(), payment.total.currency).map_err(|_| malformed("refund_amount"))?,
        Some(_) => return Err(malformed("refund_amount")),
    };
    let before = payment.refund.as_ref().map_or(0, |refund| refund.amount.minor);
    let sum_of_all = total.minor.saturating_add(before);
    if total.minor <= 0 || sum_of_all > payment.total.minor {
        return Err(against(if before > 0 { "refunds_above_payment" } else { "refund_amount" }));
    }
    let total = Money::new(sum_of_all, total.currency);
    let kind = match body.get(kind) {
        None => "refund",
        Some(Value::String(kind)) if kind == "refund" || kind == "chargeback" => kind.as_str(),
        Some(_) => return Err(malformed("refund_kind")),
    };
    let reason = text(body, reason, "refund_without_reason")?;
    Ok(Refund { amount: total, reason: reason.to_owned(), kind: kind.to_owned() })
}
