//! `/payments` and the authorised list. Every rule that Cleeng's reference states for them is checked here.

use std::time::Duration;

use connector::cleeng::client::{FreeStartOperation, RejectedDetails};
use connector::cleeng::{PaymentOperation, PaymentStatus, SubscriptionStatus};
use connector::clock::Timestamp;
use connector::ids::{ExternalPaymentId, OrderId, PaymentDetailsId, PaymentId, SubscriptionId};
use connector::money::Money;
use serde_json::{Map, Value, json};

use crate::simulators::cleeng::database::{DetailsRow, OrderRow, PaymentRow, Refund, TransactionRow};
use crate::simulators::cleeng::due::earliest_payment;
use crate::simulators::cleeng::request_context::{
    HandlerResult, Quirks, Rejection, RequestContext, amount, id, malformed, text, typed_id, unprocessable,
};

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
pub(super) const TOLERANCE: Duration = Duration::from_secs(3600);

impl RequestContext<'_> {
    pub(super) fn create_payment(&mut self) -> HandlerResult {
        let body = self.known_members(&FIELDS)?;
        let status = self.requested_status(&body)?;
        let order = self.payable_order(&body, &status)?;
        let operation = operation(&body, self.quirks)?;
        let external_payment_id: ExternalPaymentId = id(&body, "externalPaymentId", "payment_without_external_id")?;
        let live = matches!(status, PaymentStatus::Authorised | PaymentStatus::Captured);
        let (subscription, period) = self.payable_period(&body, &order, operation, live)?;
        if live && self.database.payments.values().any(|other| other.is_live() && other.external_payment_id == external_payment_id) {
            return Err(unprocessable("external_payment_id_reused"));
        }
        let rejected_reason = match status {
            PaymentStatus::Rejected => Some(text(&body, "rejectedReason", "payment_rejected_without_reason")?.to_owned()),
            _ => None,
        };
        let details = self.details_for_payment(&body, &order, live)?;
        let payment = PaymentRow {
            id: self.database.fresh().ok_or(Rejection::Status(500))?,
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
        let (id, shown) = (payment.id.clone(), self.payment_json(&payment));
        self.database.payments.insert(id.clone(), payment);
        if status == PaymentStatus::Captured {
            self.database.record_capture(&id, self.now);
        }
        Ok(Self::wrapped_response(self.quirks.payment, "payment", shown))
    }

    fn requested_status(&self, body: &Map<String, Value>) -> Result<PaymentStatus, Rejection> {
        match text(body, "status", "payment_status")? {
            "captured" => Ok(PaymentStatus::Captured),
            "rejected" => Ok(PaymentStatus::Rejected),
            "cancelled" => Ok(PaymentStatus::Cancelled),
            word if word == self.quirks.spelling.as_str() => Ok(PaymentStatus::Authorised),
            // Cleeng's own documents teach this word too: it is refused, and breaks no rule.
            word if word == self.quirks.spelling.other().as_str() => Err(Rejection::Status(400)),
            _ => Err(malformed("payment_status")),
        }
    }

    fn payable_order(&self, body: &Map<String, Value>, status: &PaymentStatus) -> Result<OrderRow, Rejection> {
        let id: OrderId = typed_id(body, "orderId", false, "payment_order")?;
        let order = self.database.orders.get(&id).ok_or(unprocessable("payment_for_unknown_order"))?;
        if order.paid_elsewhere {
            return Err(Rejection::Status(422));
        }
        if order.expires <= self.now {
            return Err(unprocessable("payment_for_expired_order"));
        }
        if self.database.payments.values().any(|other| other.order == id && other.is_live()) {
            return Err(unprocessable(if *status == PaymentStatus::Rejected { "rejection_of_paid_order" } else { "order_paid_twice" }));
        }
        Ok(order.clone())
    }

    /// A renewal names its subscription, its order does too, and the period is neither paid already nor far away.
    fn payable_period(
        &self,
        body: &Map<String, Value>,
        order: &OrderRow,
        operation: PaymentOperation,
        live: bool,
    ) -> Result<(Option<SubscriptionId>, Option<Timestamp>), Rejection> {
        if matches!(operation, PaymentOperation::Initial | PaymentOperation::FreeStart) {
            let mixed = order.subscription.is_some() || body.contains_key("subscriptionId");
            return if mixed { Err(malformed("payment_operation")) } else { Ok((None, None)) };
        }
        let id: SubscriptionId = typed_id(body, "subscriptionId", false, "payment_recurring_without_subscription")?;
        if order.subscription.as_ref() != Some(&id) {
            return Err(unprocessable("payment_for_another_subscription"));
        }
        let subscription = self.database.subscriptions.get(&id).ok_or(unprocessable("payment_for_unknown_subscription"))?;
        let period = subscription.date_to;
        if live && subscription.status == SubscriptionStatus::Terminated {
            return Err(unprocessable("payment_for_ended_subscription"));
        }
        if live && self.database.live_payment(&id, period).is_some() {
            return Err(unprocessable("double_charge"));
        }
        if live && self.now < earliest_payment(self.database, subscription) {
            return Err(unprocessable("charged_too_early"));
        }
        Ok((Some(id), Some(period)))
    }

    fn details_for_payment(
        &mut self,
        body: &Map<String, Value>,
        order: &OrderRow,
        live: bool,
    ) -> Result<Option<PaymentDetailsId>, Rejection> {
        match (body.get("paymentDetailsId"), body.get("paymentDetails")) {
            (Some(_), Some(_)) => Err(malformed("payment_details_twice")),
            (None, None) if live => Err(malformed("payment_without_details")),
            (None, None) if self.quirks.rejected_details == RejectedDetails::None => Ok(None),
            (None, Some(Value::Object(none))) if none.is_empty() && self.quirks.rejected_details == RejectedDetails::EmptyObject => {
                Ok(None)
            }
            // The documents do not say which of the two it is.
            (None, None) => Err(Rejection::Status(400)),
            (Some(_), None) => {
                let id: PaymentDetailsId = id(body, "paymentDetailsId", "payment_details")?;
                match self.database.details.get(&id) {
                    Some(details) if details.customer == order.customer => Ok(Some(id)),
                    None if self.database.removed_details.contains(&id) => Err(Rejection::Status(422)),
                    _ => Err(unprocessable("payment_with_unknown_details")),
                }
            }
            (None, Some(new)) => {
                let new = new.as_object().ok_or(malformed("payment_details"))?;
                let record = DetailsRow {
                    customer: order.customer.clone(),
                    method: order.method.clone(),
                    token: text(new, "token", "payment_details_without_token")?.to_owned(),
                    display_params: new.get("paymentMethodSpecificParams").cloned().unwrap_or(Value::Null),
                    active: true,
                };
                self.add_details(record).map(Some)
            }
        }
    }

    pub(super) fn update_payment(&mut self, id: &PaymentId) -> HandlerResult {
        let payment = self.database.payments.get(id).cloned().ok_or(Rejection::Status(404))?;
        let fields = &self.quirks.refund_fields;
        let (reason, sum, kind) = (fields.reason.clone(), fields.amount.clone(), fields.kind.clone());
        let known =
            ["orderId", "status", "paymentOperation", "externalPaymentId", "paymentDetails", "rejectedReason", &reason, &sum, &kind];
        let body = self.known_members(&known)?;
        // The reference marks it as required, its text for refunds alone (Cleeng, "Update a payment").
        if typed_id::<connector::ids::kind::Order>(&body, "orderId", true, "patch_order")? != payment.order {
            return Err(unprocessable("patch_of_another_order"));
        }
        if payment.details.as_ref().is_some_and(|details| self.database.removed_details.contains(details))
            && payment.status == PaymentStatus::Cancelled
        {
            // Its customer removed the details, and nobody was told in time.
            return Err(Rejection::Status(422));
        }
        let mut changed = payment.clone();
        match (text(&body, "status", "patch_status")?, &payment.status) {
            ("captured", PaymentStatus::Authorised) => {
                if body.contains_key("externalPaymentId") {
                    changed.external_payment_id =
                        crate::simulators::cleeng::request_context::id(&body, "externalPaymentId", "patch_external_id")?;
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
            // One more refund of a payment that was refunded in part.
            ("refunded", PaymentStatus::Refunded) if body.contains_key(&sum) => {
                changed.refund = Some(refund(&body, &payment, self.quirks, [&reason, &sum, &kind])?);
            }
            ("captured", PaymentStatus::Captured) | ("rejected", PaymentStatus::Rejected) | ("refunded", PaymentStatus::Refunded) => {
                return Err(unprocessable("repeated_change"));
            }
            ("captured" | "rejected" | "refunded", _) => return Err(unprocessable("illegal_transition")),
            _ => return Err(malformed("patch_status")),
        }
        self.save_payment(changed)
    }

    pub(super) fn get_payment(&self, id: &PaymentId) -> HandlerResult {
        let payment = self.database.payments.get(id).ok_or(Rejection::Status(404))?;
        Ok(Self::wrapped_response(self.quirks.payment, "payment", self.payment_json(payment)))
    }

    pub(super) fn cancel_payment(&mut self, id: &PaymentId) -> HandlerResult {
        let mut payment = self.database.payments.get(id).cloned().ok_or(Rejection::Status(404))?;
        if payment.details.as_ref().is_some_and(|details| !self.database.details.contains_key(details)) {
            return Err(Rejection::Status(404));
        }
        if !self.request.body.is_empty() {
            return Err(malformed("cancel_with_body"));
        }
        match payment.status {
            PaymentStatus::Authorised => payment.status = PaymentStatus::Cancelled,
            PaymentStatus::Cancelled => return Err(unprocessable("repeated_change")),
            _ => return Err(unprocessable("illegal_transition")),
        }
        self.save_payment(payment)
    }

    /// Saves a changed payment, with its transactions.
    fn save_payment(&mut self, mut payment: PaymentRow) -> HandlerResult {
        payment.history.push((self.now, payment.status.clone()));
        let (id, shown) = (payment.id.clone(), self.payment_json(&payment));
        if let Some(refund) = payment.refund.clone().filter(|_| payment.status == PaymentStatus::Refunded) {
            let before = self.database.payments.get(&id).and_then(|before| before.refund.as_ref()).map_or(0, |before| before.amount.minor);
            self.database.transactions.push(TransactionRow {
                payment: id.clone(),
                subscription: payment.subscription.clone(),
                external_payment_id: payment.external_payment_id.clone(),
                amount: Money::new(before.saturating_sub(refund.amount.minor), refund.amount.currency),
                at: self.now,
            });
        }
        let captured = payment.status == PaymentStatus::Captured;
        self.database.payments.insert(id.clone(), payment);
        if captured {
            self.database.record_capture(&id, self.now);
        }
        Ok(Self::wrapped_response(self.quirks.payment, "payment", shown))
    }

    pub(super) fn authorised_payments(&self, id: &PaymentDetailsId) -> HandlerResult {
        if !self.database.details.contains_key(id) {
            return Err(Rejection::Status(404));
        }
        let held = |payment: &&PaymentRow| payment.status == PaymentStatus::Authorised && payment.details.as_ref() == Some(id);
        let items = self.database.payments.values().filter(held).map(|payment| self.payment_json(payment)).collect();
        Ok(self.page_response(self.quirks.authorised_list, self.quirks.list_name, items))
    }

    fn payment_json(&self, payment: &PaymentRow) -> Value {
        let order = self.database.orders.get(&payment.order);
        let gateway = order.and_then(|order| self.database.methods.get(&order.method)).map(|method| method.gateway.clone());
        json!({
            "id": self.id(&payment.id), "orderId": self.id(&payment.order), "status": self.status_text(&payment.status),
            "totalAmount": amount(payment.total), "amount": amount(payment.total), "currency": payment.total.currency,
            "customerId": self.id(&payment.customer), "paymentGateway": gateway, "paymentMethod": "card",
            "externalPaymentId": payment.external_payment_id.as_str(), "country": order.map(|order| order.country.clone()),
            "offerType": "subscription", "offerId": self.id(&payment.offer), "taxValue": 0, "rejectedReason": payment.rejected_reason,
            "refundedReason": payment.refund.as_ref().map(|refund| refund.reason.clone()),
            "paymentDetailsId": self.optional(payment.details.as_ref()), "paymentOperation": operation_text(payment.operation),
            "gatewaySpecificParams": {},
        })
    }

    fn status_text(&self, status: &PaymentStatus) -> String {
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

const fn operation_text(operation: PaymentOperation) -> &'static str {
    match operation {
        PaymentOperation::Initial => "initial-payment",
        PaymentOperation::FreeStart => "initial-free-transaction",
        PaymentOperation::Recurring => "recurring-payment",
    }
}

fn operation(body: &Map<String, Value>, quirks: &Quirks) -> Result<PaymentOperation, Rejection> {
    match text(body, "paymentOperation", "payment_operation")? {
        "initial-payment" => Ok(PaymentOperation::Initial),
        "recurring-payment" => Ok(PaymentOperation::Recurring),
        "initial-free-transaction" if quirks.free_start == FreeStartOperation::InitialFreeTransaction => Ok(PaymentOperation::FreeStart),
        _ => Err(malformed("payment_operation")),
    }
}

/// A refund names order, operation and reason; its amount, if it has one, is a number above zero and not above the payment.
fn refund(
    body: &Map<String, Value>,
    payment: &PaymentRow,
    quirks: &Quirks,
    [reason, sum, kind]: [&String; 3],
) -> Result<Refund, Rejection> {
    if operation(body, quirks)? != payment.operation {
        return Err(unprocessable("refund_of_another_payment"));
    }
    let total = match body.get(sum) {
        None => payment.total,
        Some(Value::Number(number)) => Money::parse(&number.to_string(), payment.total.currency).map_err(|_| malformed("refund_amount"))?,
        Some(_) => return Err(malformed("refund_amount")),
    };
    let before = payment.refund.as_ref().map_or(0, |refund| refund.amount.minor);
    let sum_of_all = total.minor.saturating_add(before);
    if total.minor <= 0 || sum_of_all > payment.total.minor {
        return Err(unprocessable(if before > 0 { "refunds_above_payment" } else { "refund_amount" }));
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
