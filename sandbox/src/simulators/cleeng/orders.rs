//! `/orders`.

use std::time::Duration;

use connector::cleeng::SubscriptionStatus;
use connector::ids::{CustomerId, OfferId, OrderId, PaymentMethodId, SubscriptionId};
use connector::money::Currency;
use serde_json::{Map, Value, json};

use crate::simulators::cleeng::database::OrderRow;
use crate::simulators::cleeng::request_context::{
    HandlerResult, Rejection, RequestContext, amount, id, malformed, text, typed_id, unprocessable,
};

/// An order lapses after this long unless it is paid (Cleeng, "Create an order").
pub(super) const ORDER_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const FIELDS: [&str; 11] = [
    "paymentMethodId",
    "customerId",
    "offerId",
    "currency",
    "country",
    "couponCode",
    "taxRate",
    "billingAddress",
    "customerIP",
    "paymentOperation",
    "subscriptionId",
];

impl RequestContext<'_> {
    pub(super) fn create_order(&mut self) -> HandlerResult {
        let body = self.known_members(&FIELDS)?;
        let customer: CustomerId = id(&body, "customerId", "order_customer")?;
        let offer: OfferId = id(&body, "offerId", "order_offer")?;
        let method: PaymentMethodId = typed_id(&body, "paymentMethodId", true, "order_payment_method")?;
        let country = text(&body, "country", "order_country")?;
        let currency = Currency::new(text(&body, "currency", "order_currency")?).map_err(|_| malformed("order_currency"))?;
        if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(malformed("order_country"));
        }
        if !self.database.customers.contains_key(&customer) || !self.database.methods.contains_key(&method) {
            return Err(unprocessable("order_for_unknown_customer_or_method"));
        }
        let total = self.database.offers.get(&offer).ok_or(unprocessable("order_for_unknown_offer"))?.price;
        if total.currency != currency {
            return Err(unprocessable("order_in_another_currency"));
        }
        let subscription = self.renewed_subscription(&body, &customer, &offer)?;
        let switched = subscription.as_ref().and_then(|id| self.database.subscriptions.get(id)?.pending_switch.clone());
        let offer = switched.unwrap_or(offer);
        let total = self.database.offers.get(&offer).map_or(total, |offer| offer.price);
        let order = OrderRow {
            id: self.database.fresh().ok_or(Rejection::Status(500))?,
            customer,
            offer,
            method,
            total,
            country: country.to_owned(),
            expires: self.now.after(ORDER_LIFETIME),
            subscription,
            needs_details: true,
            paid_elsewhere: false,
        };
        let shown = self.order_json(&order);
        self.database.orders.insert(order.id.clone(), order);
        Ok(Self::wrapped_response(self.quirks.order, "order", shown))
    }

    /// The subscription of a recurring order: operation and id come as a pair or not at all.
    fn renewed_subscription(
        &self,
        body: &Map<String, Value>,
        customer: &CustomerId,
        offer: &OfferId,
    ) -> Result<Option<SubscriptionId>, Rejection> {
        match (body.get("paymentOperation"), body.get("subscriptionId")) {
            (None, None) => return Ok(None),
            (Some(Value::String(operation)), Some(_)) if operation == "recurring-payment" => {}
            _ => return Err(malformed("order_recurring_pair")),
        }
        let id: SubscriptionId = typed_id(body, "subscriptionId", false, "order_subscription")?;
        let subscription = self.database.subscriptions.get(&id).ok_or(unprocessable("order_for_unknown_subscription"))?;
        if subscription.customer != *customer || subscription.offer != *offer {
            return Err(unprocessable("order_for_another_subscription"));
        }
        if subscription.status != SubscriptionStatus::Active {
            return Err(unprocessable("order_for_ended_subscription"));
        }
        Ok(Some(id))
    }

    pub(super) fn get_order(&self, id: &OrderId) -> HandlerResult {
        let order = self.database.orders.get(id).ok_or(Rejection::Status(404))?;
        Ok(Self::wrapped_response(self.quirks.order, "order", self.order_json(order)))
    }

    pub(super) fn order_json(&self, order: &OrderRow) -> Value {
        let total = self.quirks.order_total.and_then(|number| serde_json::from_str(number).ok()).unwrap_or_else(|| amount(order.total));
        json!({
            "id": self.id(&order.id), "customerId": self.id(&order.customer), "offerId": self.id(&order.offer),
            "offer": { "title": "Offer", "description": null, "price": amount(order.total), "currency": order.total.currency },
            "totalPrice": total, "priceBreakdown": { "offerPrice": amount(order.total), "discountAmount": 0 },
            "taxRate": 0, "currency": order.total.currency, "country": order.country, "paymentMethodId": self.id(&order.method),
            "expirationDate": order.expires.secs(), "couponId": null, "discount": { "applied": false, "type": "", "periods": 0 },
            "requiredPaymentDetails": order.needs_details, "buyAsAGift": false,
        })
    }
}
