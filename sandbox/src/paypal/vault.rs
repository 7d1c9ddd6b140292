//! `/v3/vault`.

use connector::clock::Timestamp;
use serde_json::Value;

use super::state::{Made, Refused, Setup, State, not_found, refusal};
use super::{notifications, render};
use crate::peer::PeerAnswer;

fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// POST `/v3/vault/setup-tokens`.
pub(super) fn set_up(state: &mut State, body: &Value) -> Result<Made, Refused> {
    let paypal = body.get("payment_source").and_then(|source| source.get("paypal"));
    let paypal = paypal.ok_or_else(|| refusal(400, "MISSING_REQUIRED_PARAMETER"))?;
    let experience = paypal.get("experience_context").cloned().unwrap_or_default();
    let way = |name: &str| text(&experience, name).map(str::to_owned).ok_or_else(|| refusal(400, "MISSING_REQUIRED_PARAMETER"));
    let ways = (way("return_url")?, way("cancel_url")?);
    if text(paypal, "usage_type") != Some("MERCHANT") {
        return Err(refusal(400, "MISSING_REQUIRED_PARAMETER"));
    }
    let customer = body.get("customer").and_then(|customer| text(customer, "merchant_customer_id")).unwrap_or_default().to_owned();
    let id = state.next_id();
    state.ways_back.insert(id.clone(), ways);
    state.setups.insert(id.clone(), Setup { customer, approved: false, token: None });
    Ok(Made::Setup(id))
}

/// POST `/v3/vault/payment-tokens`.
pub(super) fn store(state: &mut State, body: &Value, now: Timestamp) -> Result<Made, Refused> {
    let token = body.get("payment_source").and_then(|source| source.get("token"));
    let token = token.filter(|token| text(token, "type") == Some("SETUP_TOKEN")).ok_or_else(|| refusal(400, "INVALID_PARAMETER_VALUE"))?;
    let id = text(token, "id").ok_or_else(|| refusal(400, "MISSING_REQUIRED_PARAMETER"))?.to_owned();
    let setup = state.setups.get(&id).cloned().ok_or_else(not_found)?;
    if !setup.approved {
        return Err(refusal(422, "PAYER_ACTION_REQUIRED"));
    }
    if setup.token.is_some() {
        return Err(not_found());
    }
    let vault_id = state.store(&setup.customer);
    state.setups.insert(id, Setup { token: Some(vault_id.clone()), ..setup });
    let resource = render::token(state, &vault_id);
    notifications::tell(state, "VAULT.PAYMENT-TOKEN.CREATED", "payment_token", resource, now);
    Ok(Made::Token(vault_id))
}

/// DELETE `/v3/vault/payment-tokens/{id}`.
pub(super) fn delete(state: &mut State, id: &str, now: Timestamp) -> PeerAnswer {
    if !state.tokens.contains_key(id) {
        return not_found().answer();
    }
    let resource = render::token(state, id);
    state.tokens.remove(id);
    notifications::tell(state, "VAULT.PAYMENT-TOKEN.DELETED", "payment_token", resource, now);
    PeerAnswer::empty(204)
}
