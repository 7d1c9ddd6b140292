//! Stored details: list and delete.

use serde_json::json;

use crate::simulators::adyen::state::State;
use crate::simulators::adyen::validation::error_response;
use crate::simulators::network::{ServerRequest, ServerResponse};

/// GET `/storedPaymentMethods?merchantAccount&shopperReference`.
pub(super) fn list(state: &State, request: &ServerRequest) -> ServerResponse {
    if request.query("merchantAccount") != Some(state.config.merchant_account.as_str()) {
        return error_response(403, "901", "security", "Invalid Merchant Account").response();
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
    ServerResponse::json(200, &json!({ "merchantAccount": merchant, "shopperReference": shopper, "storedPaymentMethods": methods }))
}

/// DELETE `/storedPaymentMethods/{id}?merchantAccount&shopperReference`: 204, and an error where there are no such details.
pub(super) fn delete(state: &mut State, id: &str, request: &ServerRequest) -> ServerResponse {
    if request.query("merchantAccount") != Some(state.config.merchant_account.as_str()) {
        return error_response(403, "901", "security", "Invalid Merchant Account").response();
    }
    let theirs = state.methods.get(id).is_some_and(|method| request.query("shopperReference") == Some(method.shopper_reference.as_str()));
    if !theirs {
        return error_response(422, "803", "validation", "PaymentDetail not found").response();
    }
    state.methods.remove(id);
    ServerResponse::empty(204)
}
