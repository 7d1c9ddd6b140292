//! Requests to the adapter, and readers of its outcomes.

use connector::gateway::PurchaseRequest;
use connector::money::Money;
use serde_json::json;

pub(crate) use crate::support::gateway_requests::*;

/// A purchase that the customer approves at PayPal.
pub(crate) fn purchase(amount: Money, attempt: &str) -> PurchaseRequest {
    purchase_with(json!({ "amount": "0.01", "paymentMethod": { "type": "paypal" } }), amount, attempt)
}
