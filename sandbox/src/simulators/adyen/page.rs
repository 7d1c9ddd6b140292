//! What a page's component asks for before a payment: `/paymentMethods` and `/sessions`.

use std::time::Duration;

use connector::clock::Timestamp;
use serde_json::{Value, json};

use crate::simulators::adyen::state::State;
use crate::simulators::adyen::validation::{HandlerResult, check_account, error_response, read_amount};
use crate::simulators::network::ServerResponse;

/// How long a session can be used (docs.adyen.com, "Sessions flow").
const SESSION_LIFETIME: Duration = Duration::from_secs(3_600);

/// The account's payment methods.
fn methods() -> [Value; 5] {
    [
        json!({ "type": "scheme", "name": "Cards", "brands": ["visa", "mc"] }),
        json!({ "type": "klarna", "name": "Pay over time" }),
        json!({ "type": "googlepay", "name": "Google Pay", "configuration": { "merchantId": "50", "gatewayMerchantId": "SandboxMerchant" } }),
        json!({ "type": "ideal", "name": "iDEAL", "issuers": [] }),
        json!({ "type": "bcmc", "name": "Bancontact card", "brands": ["bcmc"] }),
    ]
}

/// POST `/paymentMethods`. A shopper who is named has the details that are stored listed too.
pub(super) fn list_methods(state: &State, body: &Value) -> HandlerResult {
    check_account(state, body)?;
    let allowed = body.get("allowedPaymentMethods").and_then(Value::as_array);
    let listed =
        methods().into_iter().filter(|method| allowed.is_none_or(|allowed| method.get("type").is_some_and(|kind| allowed.contains(kind))));
    let mut answer = json!({ "paymentMethods": listed.collect::<Vec<_>>() });
    if let (Some(shopper), Some(answer)) = (body.get("shopperReference").and_then(Value::as_str), answer.as_object_mut()) {
        let stored = state.methods.iter().filter(|(_, method)| method.shopper_reference == shopper);
        let stored: Vec<Value> = stored.map(|(id, _)| json!({ "id": id, "type": "scheme" })).collect();
        answer.insert("storedPaymentMethods".to_owned(), Value::from(stored));
    }
    Ok(ServerResponse::json(200, &answer))
}

/// POST `/sessions`. One above zero could be paid in the page without the merchant's server.
pub(super) fn open_session(state: &mut State, body: &Value, now: Timestamp) -> HandlerResult {
    check_account(state, body)?;
    let (currency, value) = read_amount(body)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (Some(reference), Some(return_url)) = (text("reference"), text("returnUrl")) else {
        return Err(error_response(422, "702", "validation", "Required field is missing"));
    };
    let id = format!("CS{}", state.next_id());
    let answer = json!({
        "id": id, "sessionData": format!("data-of-{id}"), "amount": { "currency": currency, "value": value },
        "countryCode": body.get("countryCode"), "expiresAt": now.after(SESSION_LIFETIME).to_rfc3339(), "reference": reference,
        "returnUrl": return_url, "merchantAccount": body.get("merchantAccount"), "mode": "embedded",
        "allowedPaymentMethods": body.get("allowedPaymentMethods"),
    });
    Ok(ServerResponse::json(201, &answer))
}
