//! Customers and payment methods.

use connector::clock::Timestamp;
use serde_json::json;

use super::cards::Card;
use super::form::Params;
use super::state::{Answer, Method, Refused, State, missing, missing_param, unfit};
use super::{notifications, render};
use crate::peer::PeerAnswer;

/// POST `/v1/customers`.
pub(super) fn create_customer(state: &mut State, params: &Params, now: Timestamp) -> Answer {
    params.only(&["metadata", "email", "name", "description", "phone", "expand"])?;
    let metadata = params.metadata()?;
    let id = state.new_customer(metadata, now);
    let body = state.customer(&id).map(render::customer).unwrap_or_default();
    notifications::tell(state, "customer.created", body.clone(), now);
    Ok(PeerAnswer::json(200, &body))
}

/// GET `/v1/customers/{id}`.
pub(super) fn read_customer(state: &State, id: &str) -> Answer {
    state.customer(id).map(|one| PeerAnswer::json(200, &render::customer(one))).ok_or_else(|| missing("customer", id))
}

/// GET `/v1/payment_methods/{id}`.
pub(super) fn read_method(state: &State, id: &str) -> Answer {
    state.methods.get(id).map(|one| PeerAnswer::json(200, &render::method(one))).ok_or_else(|| missing("PaymentMethod", id))
}

/// POST `/v1/payment_methods/{id}/detach`. The refusal of one that is detached already has no code.
pub(super) fn detach(state: &mut State, id: &str, params: &Params, now: Timestamp) -> Answer {
    params.only(&["expand"])?;
    let method = state.methods.get_mut(id).ok_or_else(|| missing("PaymentMethod", id))?;
    let Some(customer) = method.customer.take() else {
        let message = "The payment method you provided is not attached to a customer so detachment is impossible.";
        return Err(unfit(None, None, message));
    };
    method.spent = true;
    let body = render::method(method);
    notifications::about_method(state, "payment_method.detached", id, Some(json!({ "customer": customer })), now);
    Ok(PeerAnswer::json(200, &body))
}

/// The customer that a request names.
pub(super) fn customer_of(state: &State, params: &Params) -> Result<Option<String>, Refused> {
    let customer = params.text("customer")?;
    match &customer {
        Some(id) if state.customer(id).is_none() => Err(missing_param("customer", "customer", id)),
        _ => Ok(customer),
    }
}

/// The payment method that a request names. A test payment method becomes one of its own every time.
pub(super) fn method_of(state: &mut State, params: &Params, now: Timestamp) -> Result<Option<String>, Refused> {
    let Some(id) = params.text("payment_method")? else { return Ok(None) };
    if let Some((card, scheme)) = Card::named(&id) {
        return Ok(Some(state.new_method(card, scheme, now)));
    }
    if state.methods.contains_key(&id) { Ok(Some(id)) } else { Err(missing_param("PaymentMethod", "payment_method", &id)) }
}

/// Whether these details may be used for this customer at all.
pub(super) fn check(method: &Method, customer: Option<&str>, off_session: bool) -> Result<(), Refused> {
    let refused = |message: &str| Err(unfit(None, Some("payment_method"), message));
    if method.spent {
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
pub(super) fn keep(state: &mut State, id: &str, customer: Option<&str>, usage: Option<&str>, now: Timestamp) {
    let Some(method) = state.methods.get_mut(id) else { return };
    match (method.customer.is_some(), customer, usage) {
        (false, Some(customer), Some(usage)) => {
            method.customer = Some(customer.to_owned());
            method.set_up = usage == "off_session";
            notifications::about_method(state, "payment_method.attached", id, None, now);
        }
        (true, _, Some("off_session")) => method.set_up = true,
        (true, ..) => {}
        (false, ..) => method.spent = true,
    }
}
