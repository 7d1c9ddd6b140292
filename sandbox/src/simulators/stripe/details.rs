//! Customers and payment methods.

use connector::clock::Timestamp;
use serde_json::json;

use crate::simulators::network::ServerResponse;
use crate::simulators::stripe::cards::Card;
use crate::simulators::stripe::error::{ErrorResponse, HandlerResult, failed_precondition, not_found, param_not_found};
use crate::simulators::stripe::form::Params;
use crate::simulators::stripe::state::{PaymentMethod, State};
use crate::simulators::stripe::{notifications, render};

/// POST `/v1/customers`.
pub(super) fn create_customer(state: &mut State, params: &Params, now: Timestamp) -> HandlerResult {
    params.allow_only(&["metadata", "email", "name", "description", "phone", "expand"])?;
    let metadata = params.metadata()?;
    let id = state.new_customer(metadata, now);
    let body = state.customer(&id).map(render::customer).unwrap_or_default();
    notifications::enqueue(state, "customer.created", body.clone(), now);
    Ok(ServerResponse::json(200, &body))
}

/// GET `/v1/customers/{id}`.
pub(super) fn read_customer(state: &State, id: &str) -> HandlerResult {
    state.customer(id).map(|one| ServerResponse::json(200, &render::customer(one))).ok_or_else(|| not_found("customer", id))
}

/// GET `/v1/payment_methods/{id}`.
pub(super) fn read_method(state: &State, id: &str) -> HandlerResult {
    state.methods.get(id).map(|one| ServerResponse::json(200, &render::method(one))).ok_or_else(|| not_found("PaymentMethod", id))
}

/// POST `/v1/payment_methods/{id}/detach`. The refusal of one that is detached already has no code.
pub(super) fn detach(state: &mut State, id: &str, params: &Params, now: Timestamp) -> HandlerResult {
    params.allow_only(&["expand"])?;
    let method = state.methods.get_mut(id).ok_or_else(|| not_found("PaymentMethod", id))?;
    let Some(customer) = method.customer.take() else {
        let message = "The payment method you provided is not attached to a customer so detachment is impossible.";
        return Err(failed_precondition(None, None, message));
    };
    method.unusable = true;
    let body = render::method(method);
    notifications::enqueue_for_method(state, "payment_method.detached", id, Some(json!({ "customer": customer })), now);
    Ok(ServerResponse::json(200, &body))
}

/// The customer that a request names.
pub(super) fn customer_param(state: &State, params: &Params) -> Result<Option<String>, ErrorResponse> {
    let customer = params.text("customer")?;
    match &customer {
        Some(id) if state.details_hidden || state.customer(id).is_none() => Err(param_not_found("customer", "customer", id)),
        _ => Ok(customer),
    }
}

/// The payment method that a request names. A test payment method becomes one of its own every time.
pub(super) fn payment_method_param(state: &mut State, params: &Params, now: Timestamp) -> Result<Option<String>, ErrorResponse> {
    let Some(id) = params.text("payment_method")? else { return Ok(None) };
    if let Some((card, scheme)) = Card::from_test_payment_method(&id) {
        return Ok(Some(state.new_method(card, scheme, now)));
    }
    if state.methods.contains_key(&id) && !state.details_hidden {
        Ok(Some(id))
    } else {
        Err(param_not_found("PaymentMethod", "payment_method", &id))
    }
}

/// Whether these details may be used for this customer at all.
pub(super) fn check_usable(method: &PaymentMethod, customer: Option<&str>, off_session: bool) -> Result<(), ErrorResponse> {
    let refused = |message: &str| Err(failed_precondition(None, Some("payment_method"), message));
    if method.unusable {
        return refused(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared with a connected \
             account without Customer attachment, or was detached from a Customer. It may not be used again. To use a PaymentMethod \
             multiple times, you must attach it to a Customer first.",
        );
    }
    match (method.customer.as_deref(), customer) {
        (Some(owner), Some(customer)) if owner == customer => Ok(()),
        (None, _) if !off_session => Ok(()),
        (Some(_), None) => refused("The payment method belongs to a customer. Please include the customer in the `customer` parameter."),
        _ => {
            let id = &method.id;
            refused(&format!(
                "The customer does not have a payment method with the ID {id}. The payment method must be attached to the customer."
            ))
        }
    }
}

/// What a payment or a storing that went well does to the details: kept for the customer, or used up.
pub(super) fn attach_or_use_up(state: &mut State, id: &str, customer: Option<&str>, usage: Option<&str>, now: Timestamp) {
    let Some(method) = state.methods.get_mut(id) else { return };
    match (method.customer.is_some(), customer, usage) {
        (false, Some(customer), Some(usage)) => {
            method.customer = Some(customer.to_owned());
            method.set_up_off_session = usage == "off_session";
            notifications::enqueue_for_method(state, "payment_method.attached", id, None, now);
        }
        (true, _, Some("off_session")) => method.set_up_off_session = true,
        (true, ..) => {}
        (false, ..) => method.unusable = true,
    }
}
