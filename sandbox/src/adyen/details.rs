//! Stored details: list and delete.

use serde_json::json;

use super::refusal;
use super::state::State;
use crate::peer::{PeerAnswer, PeerRequest};

/// GET `/storedPaymentMethods?merchantAccount&shopperReference`.
pub(super) fn list(state: &State, request: &PeerRequest) -> PeerAnswer {
    if request.query("merchantAccount") != Some(state.config.merchant_account.as_str()) {
        return refusal(403, "901", "security", "Invalid Merchant Account").answer();
    }
    let shopper = request.query("shopperReference").unwrap_or_default();
    let methods = state.methods.iter().filter(|(_, method)| method.shopper_reference == shopper);
    let methods: Vec<_> = methods
        .map(|(id, _)| {
            json!({ "id": id, "type": "scheme", "brand": "visa", "lastFour": "1111", "expiryMonth": "03", "expiryYear": "2030",
                "shopperReference": shopper, "supportedRecurringProcessingModels": ["Subscription"] })
        })
        .collect();
    let merchant = &state.config.merchant_account;
    PeerAnswer::json(200, &json!({ "merchantAccount": merchant, "shopperReference": shopper, "storedPaymentMethods": methods }))
}

/// DELETE `/storedPaymentMethods/{id}?merchantAccount&shopperReference`: 204, and an error where there are no such details.
pub(super) fn delete(state: &mut State, id: &str, request: &PeerRequest) -> PeerAnswer {
    if request.query("merchantAccount") != Some(state.config.merchant_account.as_str()) {
        return refusal(403, "901", "security", "Invalid Merchant Account").answer();
    }
    let theirs = state.methods.get(id).is_some_and(|method| request.query("shopperReference") == Some(method.shopper_reference.as_str()));
    if !theirs {
        return refusal(422, "803", "validation", "PaymentDetail not found").answer();
    }
    state.methods.remove(id);
    PeerAnswer::empty(204)
}
