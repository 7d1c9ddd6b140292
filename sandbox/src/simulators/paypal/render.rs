//! Resources as PayPal writes them (Orders 2.13, Payments 2.5, Vault 3.1).

use connector::money::Money;
use serde_json::{Value, json};

use crate::simulators::paypal::money::NO_DECIMALS;
use crate::simulators::paypal::state::{Authorisation, Capture, Order, Refund, State};

const API: &str = "https://api-m.sandbox.paypal.com";

pub(super) fn money(money: Money) -> Value {
    let code = money.currency.as_str();
    // Said once more, so that the adapter's table is not its own witness.
    let value =
        if NO_DECIMALS.contains(&code) { money.to_decimal().split('.').next().unwrap_or_default().to_owned() } else { money.to_decimal() };
    json!({ "currency_code": code, "value": value })
}

fn link(path: &str, rel: &str, method: &str) -> Value {
    json!({ "href": format!("{API}{path}"), "rel": rel, "method": method })
}

/// Where the payer agrees to an order.
pub(super) fn order_approval_url(order: &str) -> String {
    format!("https://www.sandbox.paypal.com/checkoutnow?token={order}")
}

/// Where the payer agrees to the storing of their details.
pub(super) fn setup_approval_url(setup: &str) -> String {
    format!("https://www.sandbox.paypal.com/agreements/approve?approval_session_id={setup}")
}

fn minimal_order(order: &Order) -> Value {
    let mut links = vec![link(&format!("/v2/checkout/orders/{}", order.id), "self", "GET")];
    if order.status == "PAYER_ACTION_REQUIRED" {
        links.push(json!({ "href": order_approval_url(&order.id), "rel": "payer-action", "method": "GET" }));
    }
    json!({ "id": order.id, "status": order.status, "links": links })
}

/// An order; with `whole` as its representation, else the short answer.
pub(super) fn order(state: &State, order: &Order, whole: bool) -> Value {
    let mut body = minimal_order(order);
    let Some(fields) = body.as_object_mut().filter(|_| whole) else { return body };
    let authorisations = state.authorisations.iter().filter(|one| one.order == order.id && one.renews.is_none());
    let authorisations: Vec<_> = authorisations.map(|one| authorisation(state, one)).collect();
    let captures: Vec<&Capture> = state.captures.iter().filter(|one| one.order == order.id).collect();
    let refunds = state.refunds.iter().filter(|one| captures.iter().any(|capture| capture.id == one.capture));
    let refunds: Vec<_> = refunds.map(refund).collect();
    let captures: Vec<_> = captures.into_iter().map(|one| capture(state, one)).collect();
    let mut payments = serde_json::Map::new();
    for (name, list) in [("authorizations", authorisations), ("captures", captures), ("refunds", refunds)] {
        if !list.is_empty() {
            payments.insert(name.to_owned(), Value::Array(list));
        }
    }
    let mut unit = json!({ "reference_id": "default", "amount": money(order.amount), "custom_id": order.reference });
    if let Some(unit) = unit.as_object_mut() {
        if let Some(invoice) = &order.invoice_id {
            unit.insert("invoice_id".to_owned(), json!(invoice));
        }
        if !payments.is_empty() {
            unit.insert("payments".to_owned(), Value::Object(payments));
        }
    }
    fields.insert("intent".to_owned(), json!(order.intent));
    fields.insert("create_time".to_owned(), json!(order.created_at.to_rfc3339()));
    fields.insert("purchase_units".to_owned(), json!([unit]));
    if order.status == "COMPLETED" || order.status == "APPROVED" {
        fields.insert("payment_source".to_owned(), json!({ "paypal": wallet(state, order) }));
    }
    body
}

fn wallet(state: &State, order: &Order) -> Value {
    let mut paypal = json!({
        "email_address": "payer@example.com",
        "account_id": "QYR5Z8XDVJNXQ",
        "name": { "given_name": "Jane", "surname": "Doe" },
    });
    if let (Some((vault_id, reported)), Some(paypal)) = (&order.vaulted, paypal.as_object_mut()) {
        let owner = state.payment_tokens.get(vault_id).map(|token| token.paypal_customer.clone()).unwrap_or_default();
        let vault = match reported {
            true => json!({ "id": vault_id, "status": "VAULTED", "customer": { "id": owner } }),
            false => {
                json!({ "status": "APPROVED", "customer": { "id": owner }, "links": [link(&format!("/v2/checkout/orders/{}", order.id), "up", "GET")] })
            }
        };
        paypal.insert("attributes".to_owned(), json!({ "vault": vault }));
    }
    paypal
}

/// What every payment of an order has of it.
fn order_references(state: &State, order: &str) -> (Value, Value) {
    let order = state.order(order);
    let reference = order.map(|order| json!(order.reference)).unwrap_or_default();
    (reference, order.and_then(|order| order.invoice_id.clone()).map_or(Value::Null, Value::from))
}

fn with_references(mut body: Value, custom: Value, invoice: Value) -> Value {
    if let Some(fields) = body.as_object_mut() {
        for (name, value) in [("custom_id", custom), ("invoice_id", invoice)] {
            if !value.is_null() {
                fields.insert(name.to_owned(), value);
            }
        }
    }
    body
}

/// An authorisation.
pub(super) fn authorisation(state: &State, one: &Authorisation) -> Value {
    let path = format!("/v2/payments/authorizations/{}", one.id);
    let body = json!({
        "id": one.id,
        "status": one.status,
        "amount": money(one.amount),
        "create_time": one.created_at.to_rfc3339(),
        "expiration_time": one.expires_at.to_rfc3339(),
        "supplementary_data": { "related_ids": { "order_id": one.order } },
        "links": [link(&path, "self", "GET"), link(&format!("/v2/checkout/orders/{}", one.order), "up", "GET")],
    });
    let (custom, invoice) = order_references(state, &one.order);
    with_references(body, custom, invoice)
}

/// A capture.
pub(super) fn capture(state: &State, one: &Capture) -> Value {
    let mut related = json!({ "order_id": one.order });
    let up = match &one.authorisation {
        Some(authorisation) => {
            if let Some(related) = related.as_object_mut() {
                related.insert("authorization_id".to_owned(), json!(authorisation));
            }
            format!("/v2/payments/authorizations/{authorisation}")
        }
        None => format!("/v2/checkout/orders/{}", one.order),
    };
    let mut body = json!({
        "id": one.id,
        "status": one.status,
        "amount": money(one.amount),
        "final_capture": true,
        "supplementary_data": { "related_ids": related },
        "links": [link(&format!("/v2/payments/captures/{}", one.id), "self", "GET"), link(&up, "up", "GET")],
    });
    if let (true, Some(fields)) = (one.status == "PENDING", body.as_object_mut()) {
        fields.insert("status_details".to_owned(), json!({ "reason": "PENDING_REVIEW" }));
    }
    let (custom, invoice) = order_references(state, &one.order);
    with_references(body, custom, invoice)
}

/// A refund.
pub(super) fn refund(one: &Refund) -> Value {
    let mut body = json!({
        "id": one.id,
        "status": one.status,
        "amount": money(one.amount),
        "links": [
            link(&format!("/v2/payments/refunds/{}", one.id), "self", "GET"),
            link(&format!("/v2/payments/captures/{}", one.capture), "up", "GET"),
        ],
    });
    if let (true, Some(fields)) = (one.status == "PENDING", body.as_object_mut()) {
        fields.insert("status_details".to_owned(), json!({ "reason": "ECHECK" }));
    }
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::from);
    with_references(body, text(&one.custom_id), text(&one.invoice_id))
}

/// A setup token.
pub(super) fn setup(state: &State, id: &str) -> Value {
    let Some(setup) = state.setup_tokens.get(id) else { return Value::Null };
    let status = match (&setup.token, setup.approved) {
        (Some(_), _) => "VAULTED",
        (None, true) => "APPROVED",
        (None, false) => "PAYER_ACTION_REQUIRED",
    };
    let mut links = vec![link(&format!("/v3/vault/setup-tokens/{id}"), "self", "GET")];
    if status == "PAYER_ACTION_REQUIRED" {
        links.push(json!({ "href": setup_approval_url(id), "rel": "approve", "method": "GET" }));
    }
    let customer = json!({ "id": format!("C{}", setup.customer), "merchant_customer_id": setup.customer });
    json!({ "id": id, "status": status, "customer": customer, "links": links })
}

/// Stored details.
pub(super) fn token(state: &State, vault_id: &str) -> Value {
    let Some(token) = state.payment_tokens.get(vault_id) else { return Value::Null };
    let paypal = json!({ "email_address": "payer@example.com", "name": { "given_name": "Jane", "surname": "Doe" } });
    json!({
        "id": vault_id,
        "customer": { "id": token.paypal_customer, "merchant_customer_id": token.customer },
        "payment_source": { "paypal": paypal },
        "links": [link(&format!("/v3/vault/payment-tokens/{vault_id}"), "self", "GET")],
    })
}

/// Stored details as a webhook has them (developer.paypal.com, "Save payment methods"): with the order that stored them, and without the
/// merchant's name of the customer.
pub(super) fn token_event(state: &State, vault_id: &str) -> Value {
    let Some(token) = state.payment_tokens.get(vault_id) else { return Value::Null };
    let mut event = self::token(state, vault_id);
    if let Some(event) = event.as_object_mut() {
        event.insert("customer".to_owned(), json!({ "id": token.paypal_customer }));
        if let Some(order) = &token.order {
            event.insert("metadata".to_owned(), json!({ "order_id": order }));
        }
    }
    event
}
