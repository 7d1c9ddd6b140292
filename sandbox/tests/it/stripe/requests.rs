//! Requests to the adapter, and readers of its outcomes.

use connector::gateway::PurchaseRequest;
use connector::money::Money;
use serde_json::json;

pub(crate) use crate::support::gateway_requests::*;

/// A purchase with what Stripe.js made of the card.
pub(crate) fn purchase(amount: Money, method: &str, attempt: &str) -> PurchaseRequest {
    purchase_with(json!({ "amount": "0.01", "paymentMethod": { "type": "card", "id": method } }), amount, attempt)
}
