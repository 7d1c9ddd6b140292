//! `/v3/vault`.

use connector::clock::Timestamp;
use serde_json::Value;

use crate::simulators::network::ServerResponse;
use crate::simulators::paypal::state::{CreatedResource, ErrorResponse, SetupToken, State, error_response, not_found};
use crate::simulators::paypal::{notifications, render};

fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// POST `/v3/vault/setup-payment_tokens`.
pub(super) fn create_setup_token(state: &mut State, body: &Value) -> Result<CreatedResource, ErrorResponse> {
    let paypal = body.get("payment_source").and_then(|source| source.get("paypal"));
    let paypal = paypal.ok_or_else(|| error_response(400, "MISSING_REQUIRED_PARAMETER"))?;
    let experience = paypal.get("experience_context").cloned().unwrap_or_default();
    let url = |name: &str| text(&experience, name).map(str::to_owned).ok_or_else(|| error_response(400, "MISSING_REQUIRED_PARAMETER"));
    let return_urls = (url("return_url")?, url("cancel_url")?);
    if text(paypal, "usage_type") != Some("MERCHANT") {
        return Err(error_response(400, "MISSING_REQUIRED_PARAMETER"));
    }
    let customer = body.get("customer").and_then(|customer| text(customer, "merchant_customer_id")).unwrap_or_default().to_owned();
    let id = state.next_id();
    state.return_urls.insert(id.clone(), return_urls);
    state.setup_tokens.insert(id.clone(), SetupToken { customer, approved: false, token: None });
    Ok(CreatedResource::SetupToken(id))
}

/// POST `/v3/vault/payment-payment_tokens`.
pub(super) fn create_payment_token(state: &mut State, body: &Value, now: Timestamp) -> Result<CreatedResource, ErrorResponse> {
    let token = body.get("payment_source").and_then(|source| source.get("token"));
    let token =
        token.filter(|token| text(token, "type") == Some("SETUP_TOKEN")).ok_or_else(|| error_response(400, "INVALID_PARAMETER_VALUE"))?;
    let id = text(token, "id").ok_or_else(|| error_response(400, "MISSING_REQUIRED_PARAMETER"))?.to_owned();
    let setup = state.setup_tokens.get(&id).cloned().ok_or_else(not_found)?;
    if !setup.approved {
        return Err(error_response(422, "PAYER_ACTION_REQUIRED"));
    }
    if setup.token.is_some() {
        return Err(not_found());
    }
    let vault_id = state.add_payment_token(&setup.customer, None);
    state.setup_tokens.insert(id, SetupToken { token: Some(vault_id.clone()), ..setup });
    let resource = render::token_event(state, &vault_id);
    notifications::enqueue(state, "VAULT.PAYMENT-TOKEN.CREATED", "payment_token", resource, now);
    Ok(CreatedResource::PaymentToken(vault_id))
}

/// DELETE `/v3/vault/payment-payment_tokens/{id}`.
pub(super) fn delete(state: &mut State, id: &str, now: Timestamp) -> ServerResponse {
    if !state.payment_tokens.contains_key(id) {
        return not_found().response();
    }
    let resource = render::token_event(state, id);
    state.payment_tokens.remove(id);
    notifications::enqueue(state, "VAULT.PAYMENT-TOKEN.DELETED", "payment_token", resource, now);
    ServerResponse::empty(204)
}
