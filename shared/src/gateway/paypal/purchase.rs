//! Purchases and storing with the customer present, who agrees at PayPal and comes back. The money of a purchase is taken when he is back.
//! Must never take an amount or a customer from what the browser sent: nothing of it is passed on.

use serde_json::{Value, json};

use super::client::Answer;
use super::orders::{purchase_unit, put, put_pattern};
use super::token::PayPalToken;
use super::wire::{self, Asked, Intent, Open, Order, UNREADABLE};
use super::{
    CUSTOMER_WAITS, Decline, DeclineClass, FinalizeRequest, GatewayError, NO_SUCH_RESOURCE, Operation, Outcome, PayPal, PurchaseRequest,
    UnknownCause, refused,
};
use crate::gateway::budget::Budget;
use crate::ids::ExternalPaymentId;

const SETUP_TOKENS: &str = "/v3/vault/setup-tokens";
const PAYMENT_TOKENS: &str = "/v3/vault/payment-tokens";

/// The names under which PayPal tells in the return URL what the customer agreed to: `token` for orders, the others for setup tokens.
const NAMES_OF_STARTED: &[&str] = &["token", "approval_token_id", "approval_session_id"];

impl PayPal {
    /// Where the customer comes back to, and what he sees at PayPal.
    fn experience(request: &PurchaseRequest) -> Value {
        json!({
            "return_url": request.return_url,
            "cancel_url": request.cancel_url.as_deref().unwrap_or(&request.return_url),
            "shipping_preference": "NO_SHIPPING",
        })
    }

    /// Starts a purchase: an order that the customer agrees to, with his details stored when it is paid.
    pub(super) async fn start_order(&self, request: &PurchaseRequest) -> Result<Outcome, GatewayError> {
        let asked = Asked { reference: &request.reference, amount: request.amount, intent: Intent::Capture };
        let mut experience = Self::experience(request);
        put(&mut experience, "user_action", json!("PAY_NOW"));
        // A payment that can be pending for days is no first payment of a subscription.
        put(&mut experience, "payment_method_preference", json!("IMMEDIATE_PAYMENT_REQUIRED"));
        let mut paypal = json!({ "experience_context": experience });
        if request.store {
            let mut vault = json!({ "store_in_vault": "ON_SUCCESS", "usage_type": "MERCHANT", "customer_type": "CONSUMER" });
            put_pattern(&mut vault, self.settings.usage_pattern.as_deref());
            let customer = json!({ "merchant_customer_id": request.customer.as_str() });
            put(&mut paypal, "attributes", json!({ "customer": customer, "vault": vault }));
        }
        let body = json!({
            "intent": Intent::Capture.as_str(),
            "purchase_units": [purchase_unit(&asked)?],
            "payment_source": { "paypal": paypal },
        });
        match self.create(&Budget::new(CUSTOMER_WAITS), &body, request.key.as_str()).await? {
            Answer::Body(order) => Ok(started(&order, &asked)),
            Answer::Refused { status, issue } => refused(status, &issue),
            Answer::Empty => Ok(UNREADABLE),
            Answer::Unknown(cause) => Ok(Outcome::Unknown(cause)),
        }
    }

    /// Starts storing details without a charge. The setup token is also the id of this verification.
    pub(super) async fn start_storing(&self, request: &PurchaseRequest) -> Result<Outcome, GatewayError> {
        let mut paypal = json!({
            "usage_type": "MERCHANT",
            "customer_type": "CONSUMER",
            "permit_multiple_payment_tokens": true,
            "experience_context": Self::experience(request),
        });
        put_pattern(&mut paypal, self.settings.usage_pattern.as_deref());
        let customer = json!({ "merchant_customer_id": request.customer.as_str() });
        let body = json!({ "customer": customer, "payment_source": { "paypal": paypal } });
        let answer = self.client.post(&Budget::new(CUSTOMER_WAITS), SETUP_TOKENS, Some(&body), request.key.as_str()).await?;
        match answer {
            Answer::Body(setup) => Ok(storing(&setup)),
            Answer::Refused { status, issue } => refused(status, &issue),
            Answer::Empty => Ok(UNREADABLE),
            Answer::Unknown(cause) => Ok(Outcome::Unknown(cause)),
        }
    }

    /// The customer is back, or PayPal told that he agreed. The request ids here are made of our reference and not of the call's key: whoever
    /// brings it, it is the same capture.
    pub(super) async fn finish(&self, request: &FinalizeRequest) -> Result<Outcome, GatewayError> {
        let Some(started) = request.started.as_deref() else {
            return Err(GatewayError::Malformed { code: "nothing_started".to_owned() });
        };
        // What a page hands in stands one level lower.
        let details = request.details.get("details").filter(|nested| nested.is_object()).unwrap_or(&request.details);
        if NAMES_OF_STARTED.iter().any(|name| details.get(*name).is_some_and(|told| told.as_str() != Some(started))) {
            return Ok(Outcome::Unknown(UnknownCause::AnotherPayment));
        }
        if !wire::is_id(started) {
            return Err(GatewayError::Malformed { code: "started_id".to_owned() });
        }
        let budget = Budget::new(CUSTOMER_WAITS);
        if request.amount.is_zero() {
            return self.finish_storing(&budget, request, started).await;
        }
        let asked = Asked { reference: &request.reference, amount: request.amount, intent: Intent::Capture };
        let request_id = format!("{}-capture", request.reference.as_str());
        match self.second_step(&budget, started, &asked, &request_id).await {
            // It was there when it was started, so it has lapsed: the customer was too long about it.
            Err(GatewayError::Malformed { code }) if NO_SUCH_RESOURCE.contains(&code.as_str()) => {
                Ok(Outcome::Declined(Decline::new(DeclineClass::NeedsCustomer, code)))
            }
            other => other,
        }
    }

    async fn finish_storing(&self, budget: &Budget, request: &FinalizeRequest, setup: &str) -> Result<Outcome, GatewayError> {
        let body = json!({ "payment_source": { "token": { "id": setup, "type": "SETUP_TOKEN" } } });
        let request_id = format!("{}-vault", request.reference.as_str());
        let stored = match self.client.post(budget, PAYMENT_TOKENS, Some(&body), &request_id).await? {
            Answer::Body(stored) => stored,
            Answer::Refused { status: 404, issue } => {
                return Ok(Outcome::Declined(Decline::new(DeclineClass::NeedsCustomer, issue)));
            }
            Answer::Refused { status, issue } => return refused(status, &issue),
            Answer::Empty => return Ok(UNREADABLE),
            Answer::Unknown(cause) => return Ok(Outcome::Unknown(cause)),
        };
        let whose = stored.get("customer").and_then(|customer| customer.get("merchant_customer_id"));
        if whose.is_some_and(|whose| whose.as_str() != Some(request.customer.as_str())) {
            return Ok(Outcome::Unknown(UnknownCause::AnotherPayment));
        }
        let paypal = stored.get("payment_source").and_then(|source| source.get("paypal"));
        match (PayPalToken::of(&stored), ExternalPaymentId::new(setup)) {
            (Some(token), Ok(id)) => Ok(Outcome::Done(Operation {
                external_payment_id: Some(id),
                token: Some(token),
                shown: paypal.map_or(Value::Null, wire::shown),
                ..Operation::default()
            })),
            _ => Ok(UNREADABLE),
        }
    }
}

/// What an order that was started waits for. A repetition can find it further on.
fn started(order: &Value, asked: &Asked<'_>) -> Outcome {
    match wire::read_order(order, asked) {
        Order::Settled(outcome) => outcome,
        Order::Open(Open { id, approval: Some(url), .. }) => wire::redirect(&url, &id, None),
        Order::Open(_) => UNREADABLE,
    }
}

/// What a setup token waits for.
fn storing(setup: &Value) -> Outcome {
    let id = wire::read_id(setup, "id");
    match (id, id.and_then(|id| ExternalPaymentId::new(id).ok()), wire::approval(setup)) {
        (Some(started), external @ Some(_), Some(url)) => wire::redirect(&url, started, external),
        _ => UNREADABLE,
    }
}
