//! What a customer or an operator does in Cleeng that no request of the connector brings about: purchases that are there already, and the
//! webhooks about refunds, single captures and deactivated details. Their payloads are unpublished: ids as Cleeng names them elsewhere.

use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::cleeng::{PaymentOperation, PaymentStatus};
use connector::ids::{CustomerId, ExternalPaymentId, OfferId, OrderId, PaymentDetailsId, PaymentId, PaymentMethodId, RefundId};
use connector::money::Money;
use serde_json::{Value, json};

use super::books::{OrderRecord, PaymentRecord};
use super::desk::amount;
use super::{CleengSimulator, SentWebhook};
use connector::clock::Clock as _;

/// A first or single purchase that was paid.
#[derive(Clone, Debug)]
pub struct Purchase {
    /// Whose.
    pub customer: CustomerId,
    /// What for.
    pub offer: OfferId,
    /// Which method.
    pub method: PaymentMethodId,
    /// With which details.
    pub details: Option<PaymentDetailsId>,
    /// How much.
    pub total: Money,
    /// The gateway's id.
    pub external: ExternalPaymentId,
    /// Authorised or captured.
    pub status: PaymentStatus,
}

/// A refund as an operator asks for it.
#[derive(Clone, Debug, Default)]
pub struct RefundRequest {
    /// How much; nothing for all of it.
    pub amount: Option<Money>,
    /// Its id, if the payload has one.
    pub id: Option<RefundId>,
    /// Why.
    pub reason: Option<String>,
}

impl CleengSimulator {
    /// Puts a purchase into the books, as if it had been reported. Unlike one that is reported it starts no subscription.
    #[must_use]
    pub fn put_purchase(&self, purchase: Purchase) -> Option<(PaymentId, OrderId)> {
        let (order, payment): (OrderId, PaymentId) = {
            let books = &mut self.lock().books;
            (books.fresh()?, books.fresh()?)
        };
        self.put_paid(&payment, &order, PaymentOperation::Initial, purchase);
        Some((payment, order))
    }

    /// The same with ids of the caller's choice, such as those of the sample events, and with the operation that Cleeng knows it by.
    pub fn put_paid(&self, payment: &PaymentId, order: &OrderId, operation: PaymentOperation, purchase: Purchase) {
        let now = self.clock.now();
        let mut state = self.lock();
        let books = &mut state.books;
        let Purchase { customer, offer, method, details, total, external, status } = purchase;
        let record = OrderRecord {
            id: order.clone(),
            customer: customer.clone(),
            offer: offer.clone(),
            method,
            total,
            country: "US".to_owned(),
            expires: now.after(Duration::from_secs(24 * 3600)),
            subscription: None,
            needs_details: true,
        };
        books.orders.insert(order.clone(), record);
        let record = PaymentRecord {
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
        books.payments.insert(payment.clone(), record);
    }

    /// The webhook of a refund of this payment. Nothing if the payment is not known.
    #[must_use]
    pub fn refund_event(&self, payment: &PaymentId, asked: &RefundRequest) -> Option<SentWebhook> {
        let mut data = self.payment_data(payment)?;
        let members = data.as_object_mut()?;
        if let Some(money) = asked.amount {
            members.insert("amount".to_owned(), amount(money));
        }
        if let Some(id) = &asked.id {
            members.insert("refundId".to_owned(), id.to_json_number());
        }
        members.insert("reason".to_owned(), Value::from(asked.reason.as_deref().unwrap_or("customer request")));
        Some(self.event(Topic::RefundPayment, &data))
    }

    /// The webhook that asks for the capture of this payment. Nothing if the payment is not known.
    #[must_use]
    pub fn capture_payment_event(&self, payment: &PaymentId) -> Option<SentWebhook> {
        Some(self.event(Topic::CapturePayment, &self.payment_data(payment)?))
    }

    /// The webhook that announces these details as deactivated, once more or for the first time. Nothing if they are not known.
    #[must_use]
    pub fn deactivation_event(&self, details: &PaymentDetailsId) -> Option<SentWebhook> {
        let data = {
            let state = self.lock();
            super::details::deactivation_data(details, state.books.details.get(details)?)
        };
        Some(self.event(Topic::PaymentDetailsDeactivated, &data))
    }

    fn payment_data(&self, payment: &PaymentId) -> Option<Value> {
        let state = self.lock();
        let record = state.books.payments.get(payment)?;
        let method = &state.books.orders.get(&record.order)?.method;
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
