//! Objects as Stripe writes them (stripe/openapi, `spec3.json` and `fixtures3.json`).

use connector::clock::Timestamp;
use serde_json::{Value, json};

use crate::simulators::stripe::cards::AuthenticationFlow;
use crate::simulators::stripe::cards::Decline;
use crate::simulators::stripe::error::{ErrorResponse, invalid_param};
use crate::simulators::stripe::state::{Charge, Customer, PaymentIntent, PaymentMethod, Refund, SetupIntent, State};

/// What is to be written whole instead of by its id.
#[derive(Clone, Debug, Default)]
pub(super) struct Expand(Vec<String>);

impl Expand {
    /// Reads `expand`; in answers that are lists, every name starts with `data.`.
    pub(super) fn parse(names: Vec<String>, known: &[&str], in_list: bool) -> Result<Self, ErrorResponse> {
        let mut inner = Vec::new();
        for name in names {
            let bare = if in_list { name.strip_prefix("data.") } else { Some(name.as_str()) };
            match bare.filter(|bare| known.contains(bare)) {
                Some(bare) => inner.push(bare.to_owned()),
                None => return Err(invalid_param("expand", &format!("This property cannot be expanded ({name})."))),
            }
        }
        Ok(Self(inner))
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|one| one == name)
    }
}

fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| json!(at.secs()))
}

/// The secret of an intent, which the page holds.
pub(super) fn client_secret(id: &str) -> String {
    let salt: String = id.chars().rev().take(20).collect();
    format!("{id}_secret_{salt}")
}

/// Where the customer is sent to.
pub(super) fn redirect_url(id: &str) -> String {
    let salt: String = id.chars().rev().take(24).collect();
    format!("https://hooks.stripe.com/3d_secure_2/hosted?merchant=acct_1SandboxAccount&payment_intent={id}&source=payatt_{salt}")
}

fn next_action(id: &str, flow: Option<AuthenticationFlow>, return_url: Option<&str>) -> Value {
    match flow {
        None => Value::Null,
        Some(AuthenticationFlow::Redirect) => {
            json!({ "type": "redirect_to_url", "redirect_to_url": { "return_url": return_url, "url": redirect_url(id) } })
        }
        Some(AuthenticationFlow::InPage) => json!({
            "type": "use_stripe_sdk",
            "use_stripe_sdk": { "type": "three_d_secure_redirect", "stripe_js": redirect_url(id), "source": "src_1SandboxSource" },
        }),
    }
}

/// The error of a decline, without the objects that stand beside it.
fn decline_json(decline: &Decline) -> Value {
    crate::simulators::stripe::error::decline_error(decline).error
}

fn last_error(state: &State, decline: Option<&Decline>, charge: Option<&Charge>) -> Value {
    let Some(decline) = decline else { return Value::Null };
    let mut body = decline_json(decline);
    if let (Some(body), Some(charge)) = (body.as_object_mut(), charge) {
        body.insert("charge".to_owned(), json!(charge.id));
        body.insert("payment_method".to_owned(), state.methods.get(&charge.payment_method).map(method).unwrap_or_default());
    }
    body
}

/// A PaymentIntent.
pub(super) fn intent(state: &State, one: &PaymentIntent, expand: &Expand) -> Value {
    let charge = state.latest_charge(&one.id);
    let latest_charge = match charge {
        Some(charge) if expand.has("latest_charge") => self::charge(state, charge),
        other => json!(other.map(|charge| &charge.id)),
    };
    let payment_method = match one.payment_method.as_ref() {
        Some(id) if expand.has("payment_method") => state.methods.get(id).map(method).unwrap_or_default(),
        other => json!(other),
    };
    let capturable = if one.status == "requires_capture" { one.amount } else { 0 };
    let processing = if one.status == "processing" { json!({ "type": "card", "card": {} }) } else { Value::Null };
    json!({
        "id": one.id,
        "object": "payment_intent",
        "amount": one.amount,
        "amount_capturable": capturable,
        "amount_received": one.received,
        "canceled_at": time(one.canceled.map(|(at, _)| at)),
        "cancellation_reason": one.canceled.map(|(_, reason)| reason).filter(|reason| !reason.is_empty()),
        "capture_method": if one.manual { "manual" } else { "automatic" },
        "client_secret": client_secret(&one.id),
        "confirmation_method": "automatic",
        "created": one.created.secs(),
        "currency": one.currency,
        "customer": one.customer,
        "description": null,
        "last_payment_error": last_error(state, one.last_error.as_ref(), charge),
        "latest_charge": latest_charge,
        "livemode": false,
        "metadata": one.metadata,
        "next_action": next_action(&one.id, one.authentication, one.return_url.as_deref()),
        "payment_method": payment_method,
        "payment_method_options": { "card": { "installments": null, "mandate_options": null, "network": null, "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"],
        "processing": processing,
        "setup_future_usage": one.setup_future_usage,
        "status": one.status,
    })
}

/// A Charge.
pub(super) fn charge(state: &State, one: &Charge) -> Value {
    let intent = state.intent(&one.intent);
    let scheme = state.methods.get(&one.payment_method).map(|method| method.scheme);
    let (brand, last_four) = scheme.map(|scheme| (scheme.as_str(), scheme.last_four())).unzip();
    let outcome = match &one.decline {
        None => json!({
            "network_status": "approved_by_network", "reason": null, "risk_level": "normal", "seller_message": "Payment complete.",
            "type": "authorized", "advice_code": null, "network_advice_code": null, "network_decline_code": null,
        }),
        Some(decline) if decline.is_blocked_by_stripe() => json!({
            "network_status": "not_sent_to_network", "reason": "highest_risk_level", "risk_level": "highest",
            "seller_message": "Stripe blocked this payment as too risky.", "type": "blocked",
        }),
        Some(decline) => json!({
            "network_status": "declined_by_network", "reason": decline.decline_code, "risk_level": "normal",
            "seller_message": "The bank did not return any further details with this decline.", "type": "issuer_declined",
            "advice_code": decline.advice_code, "network_advice_code": decline.network_advice_code, "network_decline_code": "01",
        }),
    };
    let status = match (&one.decline, one.pending) {
        (Some(_), _) => "failed",
        (None, true) => "pending",
        (None, false) => "succeeded",
    };
    let mut card = json!({
        "brand": brand, "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": null }, "country": "US",
        "exp_month": 8, "exp_year": 2030, "fingerprint": "Xt5EWLLDS7FJjR1c", "funding": "credit", "installments": null, "last4": last_four,
        "mandate": null, "network": brand, "three_d_secure": null, "wallet": null,
    });
    if let (Some(card), Some(until)) = (card.as_object_mut(), one.capture_before) {
        card.insert("capture_before".to_owned(), json!(until.secs()));
    }
    json!({
        "id": one.id,
        "object": "charge",
        "amount": one.amount,
        "amount_captured": one.captured,
        "amount_refunded": one.refunded,
        "billing_details": billing_details(),
        "captured": one.captured > 0,
        "created": one.created.secs(),
        "currency": intent.map(|intent| &intent.currency),
        "customer": intent.and_then(|intent| intent.customer.as_ref()),
        "disputed": one.dispute.is_some(),
        "failure_code": one.decline.as_ref().map(|decline| &decline.code),
        "failure_message": one.decline.as_ref().map(|_| "Your card was declined."),
        "livemode": false,
        "metadata": intent.map(|intent| &intent.metadata),
        "outcome": outcome,
        "paid": one.is_approved(),
        "payment_intent": one.intent,
        "payment_method": one.payment_method,
        "payment_method_details": { "card": card, "type": "card" },
        "refunded": one.refunded >= one.amount,
        "status": status,
    })
}

/// Billing details of the test customer.
fn billing_details() -> Value {
    let address = json!({ "city": null, "country": null, "line1": null, "line2": null, "postal_code": null, "state": null });
    json!({ "address": address, "email": "jenny.rosen@example.com", "name": "Jenny Rosen", "phone": null })
}

/// A PaymentMethod.
pub(super) fn method(one: &PaymentMethod) -> Value {
    json!({
        "id": one.id,
        "object": "payment_method",
        "billing_details": billing_details(),
        "card": {
            "brand": one.scheme.as_str(),
            "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "unchecked" },
            "country": "US", "exp_month": 8, "exp_year": 2030, "fingerprint": "Xt5EWLLDS7FJjR1c", "funding": "credit",
            "generated_from": null, "last4": one.scheme.last_four(),
            "networks": { "available": [one.scheme.as_str()], "preferred": null },
            "three_d_secure_usage": { "supported": true }, "wallet": null,
        },
        "created": one.created.secs(),
        "customer": one.customer,
        "livemode": false,
        "metadata": {},
        "type": "card",
    })
}

/// A Refund.
pub(super) fn refund(one: &Refund) -> Value {
    let mut body = json!({
        "id": one.id,
        "object": "refund",
        "amount": one.amount,
        "balance_transaction": null,
        "charge": one.charge,
        "created": one.created.secs(),
        "currency": one.currency,
        "metadata": one.metadata,
        "payment_intent": one.intent,
        "reason": one.reason,
        "receipt_number": null,
        "source_transfer_reversal": null,
        "status": one.status,
        "transfer_reversal": null,
    });
    if let (true, Some(body)) = (one.status == "failed", body.as_object_mut()) {
        body.insert("failure_reason".to_owned(), json!("expired_or_canceled_card"));
    }
    body
}

/// A SetupIntent.
pub(super) fn setup(state: &State, one: &SetupIntent, expand: &Expand) -> Value {
    let payment_method = match one.payment_method.as_ref() {
        Some(id) if expand.has("payment_method") => state.methods.get(id).map(method).unwrap_or_default(),
        other => json!(other),
    };
    json!({
        "id": one.id,
        "object": "setup_intent",
        "application": null,
        "cancellation_reason": one.canceled.filter(|reason| !reason.is_empty()),
        "client_secret": client_secret(&one.id),
        "created": one.created.secs(),
        "customer": one.customer,
        "description": null,
        "flow_directions": null,
        "last_setup_error": one.last_error.as_ref().map(decline_json),
        "latest_attempt": null,
        "livemode": false,
        "mandate": null,
        "metadata": one.metadata,
        "next_action": next_action(&one.id, one.authentication, one.return_url.as_deref()),
        "payment_method": payment_method,
        "payment_method_options": { "card": { "mandate_options": null, "network": null, "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"],
        "single_use_mandate": null,
        "status": one.status,
        "usage": one.usage,
    })
}

/// A Customer.
pub(super) fn customer(one: &Customer) -> Value {
    json!({
        "id": one.id,
        "object": "customer",
        "address": null,
        "created": one.created.secs(),
        "description": null,
        "email": null,
        "livemode": false,
        "metadata": one.metadata,
        "name": null,
        "phone": null,
        "shipping": null,
    })
}

/// A Dispute of a charge.
pub(super) fn dispute(state: &State, charge: &Charge) -> Value {
    let Some(one) = &charge.dispute else { return Value::Null };
    let currency = state.intent(&charge.intent).map(|intent| &intent.currency);
    let movement = |id: &String| {
        json!({
            "id": id,
            "object": "balance_transaction",
            "amount": charge.captured,
            "available_on": one.created.secs(),
            "created": one.created.secs(),
            "currency": currency,
            "description": null,
            "exchange_rate": null,
            "fee": 0,
            "fee_details": [],
            "net": charge.captured,
            "reporting_category": "dispute",
            "source": one.id,
            "status": "pending",
            "type": "adjustment",
        })
    };
    json!({
        "id": one.id,
        "object": "dispute",
        "amount": charge.captured,
        "balance_transactions": one.movements.iter().map(movement).collect::<Vec<_>>(),
        "charge": charge.id,
        "created": one.created.secs(),
        "currency": currency,
        "evidence": {},
        "evidence_details": { "due_by": null, "has_evidence": false, "past_due": false, "submission_count": 0 },
        "is_charge_refundable": false,
        "livemode": false,
        "metadata": {},
        "payment_intent": charge.intent,
        "reason": "fraudulent",
        "status": one.status,
    })
}

/// A list.
pub(super) fn list(url: &str, data: Vec<Value>, has_more: bool) -> Value {
    json!({ "object": "list", "url": url, "has_more": has_more, "data": data })
}

/// The account.
pub(super) fn account() -> Value {
    json!({ "id": "acct_1SandboxAccount", "object": "account", "charges_enabled": true, "country": "IE", "default_currency": "eur" })
}
