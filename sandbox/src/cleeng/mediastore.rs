//! The MediaStore API beside the Core API, at `/mediastore`: orders and customers as the customer himself sees them, with tokens of the
//! simulator's own making. Must never show a customer what is another's.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use connector::clock::{Clock, Timestamp};
use connector::ids::{CustomerId, OfferId, OrderId, PaymentMethodId};
use connector::money::Money;
use ring::hmac;
use serde_json::{Value, json};

use super::books::{CustomerRecord, OrderRecord};
use super::desk::Desk;
use super::{CleengSimulator, State, orders};
use crate::peer::{PeerAnswer, PeerRequest};

/// A token lives this long (Cleeng, "Register").
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
const SIGNING_KEY: &[u8] = b"known to Cleeng alone";

impl CleengSimulator {
    /// Adds a customer without anything. Nothing if ids have run out.
    #[must_use]
    pub fn new_customer(&self) -> Option<CustomerId> {
        let mut state = self.lock();
        let customer: CustomerId = state.books.fresh()?;
        let email = format!("customer-{customer}@example.com");
        state.books.customers.insert(customer.clone(), CustomerRecord { email, country: "US".to_owned() });
        Some(customer)
    }

    /// A token of this customer, as he gets it when he logs in.
    #[must_use]
    pub fn customer_token(&self, customer: &CustomerId) -> String {
        self.token_until(customer, self.clock.now().after(TOKEN_LIFE))
    }

    /// A token of this customer that expires at this point.
    #[must_use]
    pub fn token_until(&self, customer: &CustomerId, expires: Timestamp) -> String {
        let publisher = self.lock().publisher.id.clone();
        let claims = json!({
            "customerId": customer.to_json_number(), "publisherId": publisher.to_json_number(), "exp": expires.secs(),
            "customerEmail": format!("customer-{customer}@example.com"),
        });
        let signed = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key(), signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// The customer makes an order. Nothing if the offer is unknown.
    #[must_use]
    pub fn new_order(&self, customer: &CustomerId, offer: &OfferId, method: &PaymentMethodId) -> Option<OrderId> {
        let id = self.lock().books.fresh()?;
        self.put_order(&id, customer, offer, method).then_some(id)
    }

    /// The same with an id of the caller's choice, such as that of the sample events. Tells whether the offer is known.
    pub fn put_order(&self, id: &OrderId, customer: &CustomerId, offer: &OfferId, method: &PaymentMethodId) -> bool {
        let now = self.clock.now();
        let mut state = self.lock();
        let Some(total) = state.books.offers.get(offer).map(|offer| offer.price) else { return false };
        let order = OrderRecord {
            id: id.clone(),
            customer: customer.clone(),
            offer: offer.clone(),
            method: method.clone(),
            total,
            country: "US".to_owned(),
            expires: now.after(orders::LIFE),
            subscription: None,
            needs_details: true,
        };
        state.books.orders.insert(id.clone(), order);
        true
    }

    /// A coupon or a trial changes what an order costs, and whether details are wanted.
    pub fn reprice(&self, order: &OrderId, total: Money, needs_details: bool) {
        if let Some(order) = self.lock().books.orders.get_mut(order) {
            order.total = total;
            order.needs_details = needs_details;
        }
    }
}

fn key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, SIGNING_KEY)
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// The customer of a rightly signed token that has not expired.
fn customer_of(request: &PeerRequest, now: Timestamp) -> Option<CustomerId> {
    let token = request.header("authorization")?.strip_prefix("Bearer ")?;
    let (signed, signature) = token.rsplit_once('.')?;
    hmac::verify(&key(), signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?).ok()?;
    let alive = claims.get("exp")?.as_i64()? > now.secs();
    alive.then(|| CustomerId::from_json(claims.get("customerId")?).ok()).flatten()
}

fn refused(status: u16, code: &str, text: &str) -> PeerAnswer {
    PeerAnswer::json(status, &json!({ "responseData": {}, "errors": [text], "code": code }))
}

/// Serves a request.
pub(super) fn serve(state: &mut State, request: &PeerRequest, now: Timestamp) -> PeerAnswer {
    let Some(customer) = customer_of(request, now) else { return refused(401, "AUTH0002", "Invalid token") };
    state.answers = state.answers.saturating_add(1);
    let State { publisher, books, quirks, answers } = state;
    let desk = Desk { books, quirks, now, request, ids_as_numbers: *answers % 2 == 0 };
    match (request.method.as_str(), request.segments().as_slice()) {
        ("GET", ["mediastore", "orders", id]) => {
            let order = OrderId::new(id).ok().and_then(|id| desk.books.orders.get(&id));
            match order {
                None => refused(404, "ORDER", "Order not found"),
                Some(order) if order.customer != customer => refused(403, "ORDER", "Access denied"),
                Some(order) => {
                    let mut shown = desk.show_order(order);
                    if let Some(shown) = shown.as_object_mut() {
                        shown.insert("publisherId".to_owned(), desk.id(&publisher.id));
                    }
                    PeerAnswer::json(200, &json!({ "responseData": { "message": "", "order": shown, "success": true }, "errors": [] }))
                }
            }
        }
        ("GET", ["mediastore", "customers", id]) => match desk.books.customers.get(&customer) {
            Some(record) if customer.as_str() == *id => {
                let shown = json!({ "id": desk.id(&customer), "email": record.email, "country": record.country, "currency": "USD" });
                PeerAnswer::json(200, &json!({ "responseData": shown, "errors": [] }))
            }
            _ => refused(403, "CUSTOMER", "Access denied"),
        },
        _ => refused(404, "REQ0003", "Not found"),
    }
}
