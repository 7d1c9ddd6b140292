//! `/v2/checkout/orders`.

use std::time::Duration;

use connector::clock::Timestamp;
use serde_json::Value;

use crate::simulators::paypal::money::read_amount;
use crate::simulators::paypal::state::{
    Authorisation, Capture, CreatedResource, ErrorResponse, HandlerResult, Order, ScriptedOutcome, State, error_response, not_found,
};
use crate::simulators::paypal::{notifications, payments, render};

/// How long an order waits for its payer and then for us (Orders 2.13, `links`: three hours each).
const ORDER_LIFETIME: Duration = Duration::from_secs(6 * 3_600);
/// How long an authorisation can be captured (Payments 2.5, `reauthorize`).
pub(super) const AUTHORISATION_LIFETIME: Duration = Duration::from_secs(29 * 24 * 3_600);

fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// POST `/v2/checkout/orders`.
pub(super) fn create(state: &mut State, body: &Value, request_id: Option<&str>, now: Timestamp) -> Result<CreatedResource, ErrorResponse> {
    let intent = text(body, "intent").filter(|intent| matches!(*intent, "CAPTURE" | "AUTHORIZE"));
    let intent = intent.ok_or_else(|| error_response(400, "INVALID_PARAMETER_VALUE"))?.to_owned();
    let units = body.get("purchase_units").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let [unit] = units else { return Err(error_response(400, "INVALID_ARRAY_MIN_ITEMS")) };
    let amount = read_amount(unit.get("amount"))?;
    let name = |name: &str| text(unit, name).filter(|text| text.len() <= 127).map(str::to_owned);
    let paypal = body.get("payment_source").and_then(|source| source.get("paypal"));
    let paypal = paypal.filter(|paypal| paypal.is_object()).ok_or_else(|| error_response(400, "NO_PAYMENT_SOURCE_PROVIDED"))?;
    let mut order = Order {
        id: state.next_id(),
        intent,
        status: "PAYER_ACTION_REQUIRED",
        reference: name("custom_id").unwrap_or_default(),
        invoice_id: name("invoice_id"),
        amount,
        customer: None,
        vault_id: None,
        store_in_vault: false,
        scripted_outcome: None,
        vaulted: None,
        created_at: now,
    };
    match text(paypal, "vault_id") {
        Some(vault_id) => create_with_stored_details(state, order, paypal, vault_id, request_id, now),
        None => {
            let experience = paypal.get("experience_context").cloned().unwrap_or_default();
            let url = |name: &str| text(&experience, name).map(str::to_owned).ok_or_else(|| error_response(422, "RETURN_URL_REQUIRED"));
            state.return_urls.insert(order.id.clone(), (url("return_url")?, url("cancel_url")?));
            let attributes = paypal.get("attributes");
            let vault = attributes.and_then(|attributes| attributes.get("vault"));
            order.store_in_vault = vault.and_then(|vault| text(vault, "store_in_vault")) == Some("ON_SUCCESS");
            let customer = attributes.and_then(|attributes| attributes.get("customer"));
            order.customer = customer.and_then(|customer| text(customer, "merchant_customer_id")).map(str::to_owned);
            order.scripted_outcome =
                std::mem::take(&mut state.decline_next_approved).then(|| ScriptedOutcome::Decline("INSTRUMENT_DECLINED".to_owned()));
            let made = CreatedResource::Order(order.id.clone());
            state.orders.push(order);
            Ok(made)
        }
    }
}

/// The merchant pays with stored details, and the payer is not there.
fn create_with_stored_details(
    state: &mut State,
    mut order: Order,
    paypal: &Value,
    vault_id: &str,
    request_id: Option<&str>,
    now: Timestamp,
) -> Result<CreatedResource, ErrorResponse> {
    let request_id = request_id.ok_or_else(|| error_response(400, "PAYPAL_REQUEST_ID_REQUIRED"))?;
    if let Some(issue) = state.declined_request_ids.get(request_id) {
        return Err(error_response(422, issue));
    }
    if let Some(credential) = paypal.get("stored_credential") {
        let merchant = text(credential, "payment_initiator") == Some("MERCHANT");
        if !merchant || text(credential, "usage") != Some("SUBSEQUENT") {
            return Err(error_response(422, "INCOMPATIBLE_PARAMETER_VALUE"));
        }
    }
    let hidden = state.payment_tokens_hidden;
    let token = state.payment_tokens.get_mut(vault_id).filter(|_| !hidden).ok_or_else(|| error_response(422, "TOKEN_ID_NOT_FOUND"))?;
    let outcome = token.next_outcomes.pop_front().or_else(|| token.default_outcome.clone());
    (order.customer, order.vault_id) = (Some(token.customer.clone()), Some(vault_id.to_owned()));
    if let Some(ScriptedOutcome::Decline(issue)) = &outcome {
        state.declined_request_ids.insert(request_id.to_owned(), issue.clone());
        return Err(error_response(422, issue));
    }
    if is_duplicate_invoice(state, &order) {
        return Err(error_response(422, "DUPLICATE_INVOICE_ID"));
    }
    let made = CreatedResource::Order(order.id.clone());
    order.status = if matches!(outcome, Some(ScriptedOutcome::PayerActionRequired)) { "PAYER_ACTION_REQUIRED" } else { "CREATED" };
    order.scripted_outcome = outcome;
    let id = order.id.clone();
    let waits = matches!(order.scripted_outcome, Some(ScriptedOutcome::PayerActionRequired | ScriptedOutcome::TwoSteps));
    state.orders.push(order);
    if !waits {
        execute_payment(state, &id, now);
    }
    Ok(made)
}

/// Whether the account blocks a second payment under an invoice id that was captured.
fn is_duplicate_invoice(state: &State, order: &Order) -> bool {
    let same = |capture: &&Capture| state.order(&capture.order).is_some_and(|other| other.invoice_id == order.invoice_id);
    state.block_duplicate_invoices && order.invoice_id.is_some() && state.captures.iter().any(|capture| same(&capture))
}

/// The payer agrees. An order that lapsed is gone.
pub(super) fn approve(state: &mut State, id: &str, now: Timestamp) -> bool {
    if find_unexpired(state, id, now).is_err() {
        return false;
    }
    let Some(order) = state.order_mut(id).filter(|order| order.status == "PAYER_ACTION_REQUIRED") else { return false };
    order.status = "APPROVED";
    let resource = state.order(id).map(|order| render::order(state, order, true)).unwrap_or_default();
    notifications::enqueue(state, "CHECKOUT.ORDER.APPROVED", "checkout-order", resource, now);
    true
}

pub(super) fn find_unexpired<'a>(state: &'a State, id: &str, now: Timestamp) -> Result<&'a Order, ErrorResponse> {
    let order = state.order(id).ok_or_else(not_found)?;
    let lapsed = order.status != "COMPLETED" && now.since(order.created_at) >= ORDER_LIFETIME;
    if lapsed { Err(not_found()) } else { Ok(order) }
}

/// POST `/v2/checkout/orders/{id}/{authorize|capture}`.
pub(super) fn second_step(state: &mut State, id: &str, step: &str, now: Timestamp) -> Result<CreatedResource, ErrorResponse> {
    let order = find_unexpired(state, id, now)?;
    let (intent, done) = match step {
        "authorize" => ("AUTHORIZE", "ORDER_ALREADY_AUTHORIZED"),
        "capture" => ("CAPTURE", "ORDER_ALREADY_CAPTURED"),
        _ => return Err(not_found()),
    };
    if order.intent != intent {
        return Err(error_response(422, "ACTION_DOES_NOT_MATCH_INTENT"));
    }
    match order.status {
        "CREATED" | "APPROVED" => {}
        "COMPLETED" => return Err(error_response(422, done)),
        _ => return Err(error_response(422, "ORDER_NOT_APPROVED")),
    }
    if let Some(ScriptedOutcome::Decline(issue)) = &order.scripted_outcome {
        return Err(error_response(422, issue));
    }
    if is_duplicate_invoice(state, order) {
        return Err(error_response(422, "DUPLICATE_INVOICE_ID"));
    }
    execute_payment(state, id, now);
    Ok(CreatedResource::Order(id.to_owned()))
}

/// Executes the order's payment, with its scripted outcome.
fn execute_payment(state: &mut State, id: &str, now: Timestamp) {
    let Some(order) = state.order(id).cloned() else { return };
    let payment = state.next_id();
    let declined = matches!(order.scripted_outcome, Some(ScriptedOutcome::DeclinedInsideOrder));
    let (pending, decided) = match order.scripted_outcome {
        Some(ScriptedOutcome::Pending(at, approves)) => (true, (at, approves)),
        _ => (false, (now, true)),
    };
    if order.intent == "AUTHORIZE" {
        let status = if declined {
            "DENIED"
        } else if pending {
            "PENDING"
        } else {
            "CREATED"
        };
        let expires_at = now.after(AUTHORISATION_LIFETIME);
        let authorisation = Authorisation {
            id: payment.clone(),
            order: id.to_owned(),
            amount: order.amount,
            status,
            created_at: now,
            expires_at,
            renews: None,
            decided,
        };
        state.authorisations.push(authorisation);
        if status == "CREATED" {
            notifications::enqueue_for_authorisation(state, "PAYMENT.AUTHORIZATION.CREATED", &payment, now);
        }
    } else {
        let status = if declined {
            "DECLINED"
        } else if pending {
            "PENDING"
        } else {
            "COMPLETED"
        };
        payments::push_capture(state, &payment, id, None, order.amount, (status, decided));
        payments::notify_capture(state, &payment, now);
    }
    let vaulted = (order.store_in_vault && !declined).then(|| {
        let customer = order.customer.clone().unwrap_or_default();
        (state.add_payment_token(&customer, Some(id)), !state.delay_vaulting && !state.never_vault)
    });
    if let Some(order) = state.order_mut(id) {
        order.status = "COMPLETED";
        order.vaulted = vaulted.clone();
    }
    if let Some((vault_id, true)) = vaulted {
        let resource = render::token_event(state, &vault_id);
        notifications::enqueue(state, "VAULT.PAYMENT-TOKEN.CREATED", "payment_token", resource, now);
    }
}

/// An order as an answer.
pub(super) fn new_order_response(state: &State, id: &str, whole: bool) -> HandlerResult {
    let order = state.order(id).ok_or_else(not_found)?;
    let mut body = render::order(state, order, whole);
    if let (Some(ScriptedOutcome::PaymentOmitted), Some(unit)) =
        (&order.scripted_outcome, body.pointer_mut("/purchase_units/0").and_then(Value::as_object_mut))
    {
        unit.remove("payments");
    }
    Ok(crate::simulators::network::ServerResponse::json(201, &body))
}
