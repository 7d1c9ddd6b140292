//! Purchases and storing with the customer present, who agrees at PayPal and comes back. The money of a purchase is taken after their
//! return. Must never take an amount or a customer from what the browser sent: nothing of it is passed on.

use serde_json::{Value, json};

use super::client::ApiResponse;
use super::orders::{purchase_unit, set_usage_pattern};
use super::token::PayPalToken;
use super::wire::{self, ExpectedPayment, Intent, OpenOrder, OrderState, UNREADABLE};
use super::{
    CUSTOMER_PRESENT_TIMEOUT, Decline, DeclineClass, FinalizeRequest, GatewayError, NO_SUCH_RESOURCE, Operation, Outcome, PayPal,
    PurchaseRequest, READ_TIMEOUT, StoredDetailsQuery, UnknownCause, refusal_outcome,
};
use crate::gateway::common::call::{CallError, set_field};
use crate::gateway::common::time_budget::TimeBudget;
use crate::ids::ExternalPaymentId;

const SETUP_TOKENS: &str = "/v3/vault/setup-tokens";
const PAYMENT_TOKENS: &str = "/v3/vault/payment-tokens";

/// The names under which PayPal says in the return URL what the customer agreed to: `token` for orders, the others for setup tokens.
const PENDING_ID_PARAMETERS: &[&str] = &["token", "approval_token_id", "approval_session_id"];

impl PayPal {
    /// Where the customer comes back to, and what PayPal shows them.
    fn experience_context(request: &PurchaseRequest) -> Value {
        json!({
            "return_url": request.return_url,
            "cancel_url": request.cancel_url.as_deref().unwrap_or(&request.return_url),
            "shipping_preference": "NO_SHIPPING",
        })
    }

    /// Starts a purchase: an order that the customer agrees to, with the details stored when it is paid.
    pub(super) async fn start_order(&self, request: &PurchaseRequest) -> Result<Outcome, CallError> {
        let expected = ExpectedPayment { reference: &request.reference, amount: request.amount, intent: Intent::Capture };
        let mut experience = Self::experience_context(request);
        set_field(&mut experience, "user_action", "PAY_NOW");
        // A payment that can be pending for days is no first payment of a subscription.
        set_field(&mut experience, "payment_method_preference", "IMMEDIATE_PAYMENT_REQUIRED");
        let mut paypal = json!({ "experience_context": experience });
        if request.store {
            let mut vault = json!({ "store_in_vault": "ON_SUCCESS", "usage_type": "MERCHANT", "customer_type": "CONSUMER" });
            set_usage_pattern(&mut vault, self.settings.usage_pattern.as_deref());
            let customer = json!({ "merchant_customer_id": request.customer.as_str() });
            set_field(&mut paypal, "attributes", json!({ "customer": customer, "vault": vault }));
        }
        let body = json!({
            "intent": Intent::Capture.as_str(),
            "purchase_units": [purchase_unit(&expected)?],
            "payment_source": { "paypal": paypal },
        });
        match self.create_order(&TimeBudget::new(CUSTOMER_PRESENT_TIMEOUT), &body, request.key.as_str()).await? {
            ApiResponse::Body(order) => Ok(read_started_order(&order, &expected)),
            ApiResponse::Refused { status, issue } => refusal_outcome(status, &issue),
        }
    }

    /// Starts storing details without a charge. The setup token is also the id of this verification.
    pub(super) async fn start_setup(&self, request: &PurchaseRequest) -> Result<Outcome, CallError> {
        let mut paypal = json!({
            "usage_type": "MERCHANT",
            "customer_type": "CONSUMER",
            "permit_multiple_payment_tokens": true,
            "experience_context": Self::experience_context(request),
        });
        set_usage_pattern(&mut paypal, self.settings.usage_pattern.as_deref());
        let customer = json!({ "merchant_customer_id": request.customer.as_str() });
        let body = json!({ "customer": customer, "payment_source": { "paypal": paypal } });
        let answer = self.client.post(&TimeBudget::new(CUSTOMER_PRESENT_TIMEOUT), SETUP_TOKENS, Some(&body), request.key.as_str()).await?;
        match answer {
            ApiResponse::Body(setup) => Ok(read_setup_token(&setup)),
            ApiResponse::Refused { status, issue } => refusal_outcome(status, &issue),
        }
    }

    /// The customer is back, or PayPal notified that they agreed. The request ids here are derived from our reference and not from the
    /// call's key: both lead to the same capture.
    pub(super) async fn finalize_order(&self, request: &FinalizeRequest) -> Result<Outcome, CallError> {
        let pending_id = request.pending_id.as_deref().ok_or_else(|| CallError::malformed("nothing_pending"))?;
        // The data that a page submits is one level lower.
        let details = request.details.get("details").filter(|nested| nested.is_object()).unwrap_or(&request.details);
        if PENDING_ID_PARAMETERS.iter().any(|name| details.get(*name).is_some_and(|told| told.as_str() != Some(pending_id))) {
            return Ok(Outcome::Unknown(UnknownCause::AnotherPayment));
        }
        if !wire::is_id(pending_id) {
            return Err(CallError::malformed("pending_id"));
        }
        let budget = TimeBudget::new(CUSTOMER_PRESENT_TIMEOUT);
        if request.amount.is_zero() {
            return self.finalize_setup(&budget, request, pending_id).await;
        }
        let expected = ExpectedPayment { reference: &request.reference, amount: request.amount, intent: Intent::Capture };
        let request_id = format!("{}-capture", request.reference.as_str());
        match self.complete_order(&budget, pending_id, &expected, &request_id).await {
            // It was there when it was started, so it has lapsed: the customer was too long about it.
            Err(CallError::NoEffect(GatewayError::Malformed { code })) if NO_SUCH_RESOURCE.contains(&code.as_str()) => {
                Ok(Outcome::Declined(Decline::new(DeclineClass::NeedsCustomer, code)))
            }
            other => other,
        }
    }

    /// Reads the order again: the vault id may come to be later than the capture's answer.
    pub(super) async fn read_stored_details(&self, query: &StoredDetailsQuery) -> Result<Option<Operation>, CallError> {
        let Some(order) = query.pending_id.as_deref().filter(|id| wire::is_id(id) && !query.amount.is_zero()) else { return Ok(None) };
        let expected = ExpectedPayment { reference: &query.reference, amount: query.amount, intent: Intent::Capture };
        let ApiResponse::Body(order) = self.find_order(&TimeBudget::new(READ_TIMEOUT), order).await? else { return Ok(None) };
        match wire::read_order(&order, &expected) {
            OrderState::Decided(Outcome::Done(operation)) if operation.token.is_some() => Ok(Some(operation)),
            _ => Ok(None),
        }
    }

    async fn finalize_setup(&self, budget: &TimeBudget, request: &FinalizeRequest, setup: &str) -> Result<Outcome, CallError> {
        let body = json!({ "payment_source": { "token": { "id": setup, "type": "SETUP_TOKEN" } } });
        let request_id = format!("{}-vault", request.reference.as_str());
        let stored = match self.client.post(budget, PAYMENT_TOKENS, Some(&body), &request_id).await? {
            ApiResponse::Body(stored) => stored,
            ApiResponse::Refused { status: 404, issue } => {
                return Ok(Outcome::Declined(Decline::new(DeclineClass::NeedsCustomer, issue)));
            }
            ApiResponse::Refused { status, issue } => return refusal_outcome(status, &issue),
        };
        let customer = stored.get("customer").and_then(|customer| customer.get("merchant_customer_id"));
        if customer.is_some_and(|whose| whose.as_str() != Some(request.customer.as_str())) {
            return Ok(Outcome::Unknown(UnknownCause::AnotherPayment));
        }
        let paypal = stored.get("payment_source").and_then(|source| source.get("paypal"));
        match (PayPalToken::from_payment_token(&stored), ExternalPaymentId::new(setup)) {
            (Some(token), Ok(id)) => Ok(Outcome::Done(Operation {
                external_payment_id: Some(id),
                token: Some(token),
                display_params: paypal.map_or(Value::Null, wire::display_params),
                ..Operation::default()
            })),
            _ => Ok(UNREADABLE),
        }
    }
}

/// What an order that was started waits for. A repetition can find it further on.
fn read_started_order(order: &Value, expected: &ExpectedPayment<'_>) -> Outcome {
    match wire::read_order(order, expected) {
        OrderState::Decided(outcome) => outcome,
        OrderState::Open(OpenOrder { id, approval_url: Some(url), .. }) => wire::redirect(&url, &id, None),
        OrderState::Open(_) => UNREADABLE,
    }
}

/// What a setup token waits for.
fn read_setup_token(setup: &Value) -> Outcome {
    let id = wire::read_id(setup, "id");
    match (id, id.and_then(|id| ExternalPaymentId::new(id).ok()), wire::approval_url(setup)) {
        (Some(pending_id), external @ Some(_), Some(url)) => wire::redirect(&url, pending_id, external),
        _ => UNREADABLE,
    }
}
