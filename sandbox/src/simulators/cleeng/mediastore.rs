//! The MediaStore API beside the Core API, at `/mediastore`: orders and customers as the customer sees them, with tokens of the
//! simulator's own making. Must never show a customer data of another customer.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use connector::clock::{Clock, Timestamp};
use connector::ids::{CustomerId, OfferId, OrderId, PaymentMethodId, PublisherId};
use connector::money::Money;
use ring::hmac;
use serde_json::{Value, json};

use crate::simulators::cleeng::database::{CustomerRow, OrderRow};
use crate::simulators::cleeng::request_context::RequestContext;
use crate::simulators::cleeng::{CleengSimulator, State, orders};
use crate::simulators::network::{PathParameters, Route, ServerRequest, ServerResponse, find_route};

/// A token lives this long (Cleeng, "Register").
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const SIGNING_KEY: &[u8] = b"known to Cleeng alone";

impl CleengSimulator {
    /// Adds a customer without details and subscriptions. `None` if ids have run out.
    #[must_use]
    pub fn new_customer(&self) -> Option<CustomerId> {
        let mut state = self.lock();
        let customer: CustomerId = state.database.fresh()?;
        let email = format!("customer-{customer}@example.com");
        state.database.customers.insert(customer.clone(), CustomerRow { email, country: "US".to_owned() });
        Some(customer)
    }

    /// A token of this customer, as after logging in.
    #[must_use]
    pub fn customer_token(&self, customer: &CustomerId) -> String {
        self.customer_token_until(customer, self.clock.now().after(TOKEN_LIFETIME))
    }

    /// A token of this customer that expires at this point.
    #[must_use]
    pub fn customer_token_until(&self, customer: &CustomerId, expires: Timestamp) -> String {
        let publisher = self.lock().publisher.id.clone();
        let claims = json!({
            "customerId": customer.to_json_number(), "publisherId": publisher.to_json_number(), "exp": expires.secs(),
            "customerEmail": format!("customer-{customer}@example.com"),
        });
        let signed = format!("{}.{}", jwt_part(&json!({ "alg": "HS256", "typ": "JWT" })), jwt_part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&signing_key(), signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// The customer makes an order. `None` if the offer is unknown.
    #[must_use]
    pub fn new_order(&self, customer: &CustomerId, offer: &OfferId, method: &PaymentMethodId) -> Option<OrderId> {
        let id = self.lock().database.fresh()?;
        self.insert_order(&id, customer, offer, method).then_some(id)
    }

    /// The same with an id of the caller's choice, such as that of the sample events. Returns whether the offer is known.
    pub fn insert_order(&self, id: &OrderId, customer: &CustomerId, offer: &OfferId, method: &PaymentMethodId) -> bool {
        let now = self.clock.now();
        let mut state = self.lock();
        let Some(total) = state.database.offers.get(offer).map(|offer| offer.price) else { return false };
        let order = OrderRow {
            id: id.clone(),
            customer: customer.clone(),
            offer: offer.clone(),
            method: method.clone(),
            total,
            country: "US".to_owned(),
            expires: now.after(orders::ORDER_LIFETIME),
            subscription: None,
            needs_details: true,
            paid_elsewhere: false,
        };
        state.database.orders.insert(id.clone(), order);
        true
    }

    /// The customer chooses another payment method. Returns whether the order is known.
    pub fn choose_payment_method(&self, order: &OrderId, method: &PaymentMethodId) -> bool {
        self.lock().database.orders.get_mut(order).map(|order| order.method = method.clone()).is_some()
    }

    /// A coupon or a trial changes what an order costs, and whether details are wanted.
    pub fn change_order_price(&self, order: &OrderId, total: Money, needs_details: bool) {
        if let Some(order) = self.lock().database.orders.get_mut(order) {
            order.total = total;
            order.needs_details = needs_details;
        }
    }
}

fn signing_key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, SIGNING_KEY)
}

fn jwt_part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// The customer of a rightly signed token that has not expired.
fn authenticated_customer(request: &ServerRequest, now: Timestamp) -> Option<CustomerId> {
    let token = request.header("authorization")?.strip_prefix("Bearer ")?;
    let (signed, signature) = token.rsplit_once('.')?;
    hmac::verify(&signing_key(), signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?).ok()?;
    let alive = claims.get("exp")?.as_i64()? > now.secs();
    alive.then(|| CustomerId::from_json(claims.get("customerId")?).ok()).flatten()
}

fn error_response(status: u16, code: &str, text: &str) -> ServerResponse {
    ServerResponse::json(status, &json!({ "responseData": {}, "errors": [text], "code": code }))
}

type Endpoint = fn(&RequestContext<'_>, &CustomerId, &PublisherId, PathParameters<'_>) -> ServerResponse;

const ROUTES: [Route<Endpoint>; 2] = [
    ("GET /mediastore/orders/{id}", |context, customer, publisher, [id, _]| show_order(context, customer, publisher, id)),
    ("GET /mediastore/customers/{id}", |context, customer, _, [id, _]| show_customer(context, customer, id)),
];

/// Serves a request.
pub(super) fn handle(state: &mut State, request: &ServerRequest, now: Timestamp) -> ServerResponse {
    let Some(customer) = authenticated_customer(request, now) else { return error_response(401, "AUTH0002", "Invalid token") };
    state.response_count = state.response_count.saturating_add(1);
    let State { publisher, database, quirks, response_count } = state;
    let context = RequestContext { database, quirks, now, request, ids_as_numbers: *response_count % 2 == 0 };
    match find_route(&ROUTES, &request.method, &request.path) {
        Some((endpoint, parameters)) => endpoint(&context, &customer, &publisher.id, parameters),
        None => error_response(404, "REQ0003", "Not found"),
    }
}

fn show_order(context: &RequestContext<'_>, customer: &CustomerId, publisher: &PublisherId, id: &str) -> ServerResponse {
    match OrderId::new(id).ok().and_then(|id| context.database.orders.get(&id)) {
        None => error_response(404, "ORDER", "Order not found"),
        Some(order) if order.customer != *customer => error_response(403, "ORDER", "Access denied"),
        Some(order) => {
            let mut shown = context.order_json(order);
            if let Some(shown) = shown.as_object_mut() {
                shown.insert("publisherId".to_owned(), context.id(publisher));
                let email = context.database.customers.get(customer).map(|record| record.email.as_str());
                shown.insert("customer".to_owned(), json!({ "locale": "en_US", "email": email }));
            }
            ServerResponse::json(200, &json!({ "responseData": { "message": "", "order": shown, "success": true }, "errors": [] }))
        }
    }
}

fn show_customer(context: &RequestContext<'_>, customer: &CustomerId, id: &str) -> ServerResponse {
    match context.database.customers.get(customer) {
        Some(record) if customer.as_str() == id => {
            let shown = json!({ "id": context.id(customer), "email": record.email, "country": record.country, "currency": "USD" });
            ServerResponse::json(200, &json!({ "responseData": shown, "errors": [] }))
        }
        _ => error_response(403, "CUSTOMER", "Access denied"),
    }
}
