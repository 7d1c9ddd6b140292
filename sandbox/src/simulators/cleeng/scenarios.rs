//! What a customer or an operator does in Cleeng that no request of the connector brings about: purchases that are there already, and the
//! webhooks about refunds, single captures and deactivated details. Their payloads are unpublished: ids as Cleeng names them elsewhere.

use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::cleeng::{PaymentOperation, PaymentStatus};
use connector::ids::{
    CustomerId, ExternalPaymentId, OfferId, OrderId, PaymentDetailsId, PaymentId, PaymentMethodId, RefundId, SubscriptionId,
};
use connector::money::Money;
use serde_json::{Value, json};

use crate::simulators::cleeng::database::{OrderRow, PaymentRow};
use crate::simulators::cleeng::request_context::amount;
use crate::simulators::cleeng::{CleengSimulator, SentWebhook};
use connector::clock::Clock as _;

/// A first or single purchase that was paid.
#[derive(Clone, Debug)]
pub struct PaidPurchase {
    /// The customer.
    pub customer: CustomerId,
    /// The offer.
    pub offer: OfferId,
    /// The payment method.
    pub method: PaymentMethodId,
    /// With which details.
    pub details: Option<PaymentDetailsId>,
    /// The amount.
    pub total: Money,
    /// The gateway's id.
    pub external_payment_id: ExternalPaymentId,
    /// Authorised or captured.
    pub status: PaymentStatus,
}

/// A refund as an operator asks for it.
#[derive(Clone, Debug, Default)]
pub struct OperatorRefund {
    /// The amount; `None` for the whole payment.
    pub amount: Option<Money>,
    /// Its id, if the payload has one.
    pub id: Option<RefundId>,
    /// Why.
    pub reason: Option<String>,
}

impl CleengSimulator {
    /// Inserts a purchase into the database, as if it had been reported. Unlike one that is reported it starts no subscription.
    #[must_use]
    pub fn insert_purchase(&self, purchase: PaidPurchase) -> Option<(PaymentId, OrderId)> {
        let (order, payment): (OrderId, PaymentId) = {
            let database = &mut self.lock().database;
            (database.fresh()?, database.fresh()?)
        };
        self.insert_payment(&payment, &order, PaymentOperation::Initial, purchase);
        Some((payment, order))
    }

    /// The same with ids of the caller's choice, such as those of the sample events, and with the operation that Cleeng knows it by.
    pub fn insert_payment(&self, payment: &PaymentId, order: &OrderId, operation: PaymentOperation, purchase: PaidPurchase) {
        let now = self.clock.now();
        let mut state = self.lock();
        let database = &mut state.database;
        let PaidPurchase { customer, offer, method, details, total, external_payment_id: external, status } = purchase;
        let record = OrderRow {
            id: order.clone(),
            customer: customer.clone(),
            offer: offer.clone(),
            method,
            total,
            country: "US".to_owned(),
            expires: now.after(Duration::from_secs(24 * 3600)),
            subscription: None,
            needs_details: true,
            paid_elsewhere: false,
        };
        database.orders.insert(order.clone(), record);
        let record = PaymentRow {
            id: payment.clone(),
            order: order.clone(),
            status: status.clone(),
            operation,
            total,
            customer,
            offer,
            details,
            subscription: None,
            period: None,
            external_payment_id: external,
            rejected_reason: None,
            refund: None,
            history: vec![(now, status)],
        };
        database.payments.insert(payment.clone(), record);
    }

    /// The webhook of a refund of this payment. `None` if the payment is not known.
    #[must_use]
    pub fn refund_event(&self, payment: &PaymentId, refund: &OperatorRefund) -> Option<SentWebhook> {
        Some(self.event(Topic::RefundPayment, &self.refund_data(payment, refund)?))
    }

    /// An operator asks for a refund: its webhook is among the due ones. Returns whether the payment is known.
    #[must_use]
    pub fn request_refund(&self, payment: &PaymentId, refund: &OperatorRefund) -> bool {
        let Some(data) = self.refund_data(payment, refund) else { return false };
        let now = self.clock.now();
        self.lock().database.outbox.push((now, Topic::RefundPayment, data));
        true
    }

    fn refund_data(&self, payment: &PaymentId, refund: &OperatorRefund) -> Option<Value> {
        let mut data = self.payment_data(payment)?;
        let members = data.as_object_mut()?;
        if let Some(money) = refund.amount {
            members.insert("amount".to_owned(), amount(money));
        }
        if let Some(id) = &refund.id {
            members.insert("refundId".to_owned(), id.to_json_number());
        }
        members.insert("reason".to_owned(), Value::from(refund.reason.as_deref().unwrap_or("customer request")));
        Some(data)
    }

    /// The webhook that asks for the capture of this payment. `None` if the payment is not known.
    #[must_use]
    pub fn capture_payment_event(&self, payment: &PaymentId) -> Option<SentWebhook> {
        Some(self.event(Topic::CapturePayment, &self.payment_data(payment)?))
    }

    /// The webhook that announces these details as deactivated, once more or for the first time. `None` if they are not known.
    #[must_use]
    pub fn deactivation_event(&self, details: &PaymentDetailsId) -> Option<SentWebhook> {
        let data = {
            let state = self.lock();
            crate::simulators::cleeng::payment_details::deactivation_data(details, state.database.details.get(details)?)
        };
        Some(self.event(Topic::PaymentDetailsDeactivated, &data))
    }

    /// The customer removes payment details in "my account", as Cleeng's front-end library does by itself with those that are not active any
    /// more: Cleeng then knows neither the details nor a list of their payments, and captures none of them. Returns their event, which may
    /// come before, after or never. `None` if they are not known.
    #[must_use]
    pub fn remove_details(&self, details: &PaymentDetailsId) -> Option<SentWebhook> {
        let event = self.deactivation_event(details)?;
        let now = self.clock.now();
        let mut state = self.lock();
        let database = &mut state.database;
        database.remove_details(details)?;
        database.removed_details.insert(details.clone());
        let held = |payment: &&mut PaymentRow| payment.status == PaymentStatus::Authorised && payment.details.as_ref() == Some(details);
        for payment in database.payments.values_mut().filter(held) {
            payment.status = PaymentStatus::Cancelled;
            payment.history.push((now, PaymentStatus::Cancelled));
        }
        Some(event)
    }

    /// The next renewal of a subscription switches to another offer: its order is one of that offer.
    pub fn schedule_switch(&self, id: &SubscriptionId, offer: &OfferId) {
        if let Some(subscription) = self.lock().database.subscriptions.get_mut(id) {
            subscription.pending_switch = Some(offer.clone());
        }
    }

    /// Another connector pays an order, whose id a front end has kept. Returns whether the order is known.
    pub fn pay_order_elsewhere(&self, order: &OrderId, external: &ExternalPaymentId) -> bool {
        let now = self.clock.now();
        let mut state = self.lock();
        let database = &mut state.database;
        let (Some(id), Some(row)) = (database.fresh(), database.orders.get_mut(order)) else { return false };
        row.paid_elsewhere = true;
        let row = row.clone();
        let payment = PaymentRow {
            id,
            order: row.id,
            status: PaymentStatus::Captured,
            operation: PaymentOperation::Initial,
            total: row.total,
            customer: row.customer,
            offer: row.offer,
            details: None,
            subscription: None,
            period: None,
            external_payment_id: external.clone(),
            rejected_reason: None,
            refund: None,
            history: vec![(now, PaymentStatus::Captured)],
        };
        // The payment is not this connector's, so that it is not among those that are compared with the gateways'.
        database.start_subscription(&payment, now);
        true
    }

    fn payment_data(&self, payment: &PaymentId) -> Option<Value> {
        let state = self.lock();
        let record = state.database.payments.get(payment)?;
        let method = &state.database.orders.get(&record.order)?.method;
        Some(json!({
            "paymentId": payment.to_json_number(), "externalPaymentId": record.external_payment_id.as_str(),
            "orderId": record.order.to_json_number(), "customerId": record.customer.to_json_number(), "currency": record.total.currency,
            "paymentMethodId": method.to_json_number(),
            "paymentOperation": match record.operation {
                PaymentOperation::Initial | PaymentOperation::FreeStart => "initial-payment",
                PaymentOperation::Recurring => "recurring-payment",
            },
        }))
    }
}
