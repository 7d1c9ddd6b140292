//! Orders: payments with stored details, and what an order's answer leaves to be done. The create call pays in one step where the account
//! allows it; else the order waits for its second step. Must never take an order without a payment for a paid one.

use serde_json::{Value, json};

use super::client::ApiResponse;
use super::token::PayPalToken;
use super::wire::{self, ExpectedPayment, Intent, OpenOrder, OrderState, UNREADABLE};
use super::{
    CALL_TIMEOUT, Decline, DeclineClass, MerchantInitiated, NO_SUCH_RESOURCE, Outcome, PayPal, currency, declines, read_after_write,
    refusal_outcome,
};
use crate::gateway::common::call::{CallError, set_field};
use crate::gateway::common::time_budget::TimeBudget;
use declines::RefusalClass;

const ORDERS: &str = "/v2/checkout/orders";

/// The one purchase unit of an order: our reference in `custom_id`, which PayPal echoes, and in `invoice_id`, under which an account can
/// refuse a second payment long after the request id is forgotten.
pub(super) fn purchase_unit(expected: &ExpectedPayment<'_>) -> Result<Value, CallError> {
    let reference = expected.reference.as_str();
    Ok(json!({ "custom_id": reference, "invoice_id": reference, "amount": currency::amount(expected.amount)? }))
}

impl PayPal {
    /// A payment without the customer.
    pub(super) async fn create_payment(&self, request: &MerchantInitiated, intent: Intent) -> Result<Outcome, CallError> {
        let token = PayPalToken::read(&request.token)?;
        let expected = ExpectedPayment { reference: &request.reference, amount: request.amount, intent };
        let mut paypal = json!({ "vault_id": token.vault_id.expose() });
        if self.settings.stored_credential {
            let mut credential = json!({ "payment_initiator": "MERCHANT", "usage": "SUBSEQUENT" });
            set_usage_pattern(&mut credential, self.settings.usage_pattern.as_deref());
            set_field(&mut paypal, "stored_credential", credential);
        }
        let body = json!({
            "intent": intent.as_str(),
            "purchase_units": [purchase_unit(&expected)?],
            "payment_source": { "paypal": paypal },
        });
        let budget = TimeBudget::new(CALL_TIMEOUT);
        let order = match self.client.post(&budget, ORDERS, Some(&body), request.key.as_str()).await? {
            ApiResponse::Body(order) => order,
            // Nothing but the stored details is named in the call.
            ApiResponse::Refused { status: 404, issue } if NO_SUCH_RESOURCE.contains(&issue.as_str()) => {
                return Ok(Outcome::Declined(Decline::details_unknown(issue)));
            }
            ApiResponse::Refused { status, issue } => return refusal_outcome(status, &issue),
        };
        let open = match wire::read_order(&order, &expected) {
            OrderState::Decided(outcome) => return Ok(outcome),
            OrderState::Open(open) => open,
        };
        match open.status.as_str() {
            "CREATED" | "APPROVED" | "SAVED" => {
                let request_id = format!("{}-{}", request.key.as_str(), intent.step());
                Ok(self.complete_order(&budget, &open.id, &expected, &request_id).await.map_err(CallError::after_write)?)
            }
            "COMPLETED" => self.read_order_outcome(&budget, &open.id, &expected).await,
            "PAYER_ACTION_REQUIRED" => Ok(payer_action_required()),
            _ => Ok(UNREADABLE),
        }
    }

    /// Authorises or captures an order that has no payment yet.
    ///
    /// # Errors
    /// Known to have had no effect.
    pub(super) async fn complete_order(
        &self,
        budget: &TimeBudget,
        order: &str,
        expected: &ExpectedPayment<'_>,
        request_id: &str,
    ) -> Result<Outcome, CallError> {
        let path = format!("{ORDERS}/{order}/{}", expected.intent.step());
        match self.client.post(budget, &path, Some(&json!({})), request_id).await? {
            ApiResponse::Body(answer) => match wire::read_order(&answer, expected) {
                OrderState::Decided(outcome) => Ok(outcome),
                OrderState::Open(OpenOrder { status, .. }) if status == "PAYER_ACTION_REQUIRED" => Ok(payer_action_required()),
                OrderState::Open(_) => self.read_order_outcome(budget, order, expected).await,
            },
            ApiResponse::Refused { status, issue } if declines::classify(status, &issue) == RefusalClass::AlreadyDone => {
                self.read_order_outcome(budget, order, expected).await
            }
            ApiResponse::Refused { status, issue } => refusal_outcome(status, &issue),
        }
    }

    /// Reads an order whose payment must be there.
    async fn read_order_outcome(&self, budget: &TimeBudget, order: &str, expected: &ExpectedPayment<'_>) -> Result<Outcome, CallError> {
        match wire::read_order(&self.read_order(budget, order).await?, expected) {
            OrderState::Decided(outcome) => Ok(outcome),
            OrderState::Open(_) => Ok(UNREADABLE),
        }
    }

    /// Reads an order after a write.
    pub(super) async fn read_order(&self, budget: &TimeBudget, order: &str) -> Result<Value, CallError> {
        read_after_write(self.client.get(budget, &format!("{ORDERS}/{order}")).await)
    }

    /// Starts an order that the payer has to agree to.
    pub(super) async fn create_order(&self, budget: &TimeBudget, body: &Value, request_id: &str) -> Result<ApiResponse, CallError> {
        self.client.post(budget, ORDERS, Some(body), request_id).await
    }

    /// Looks at an order that may be gone.
    pub(super) async fn find_order(&self, budget: &TimeBudget, order: &str) -> Result<ApiResponse, CallError> {
        self.client.get(budget, &format!("{ORDERS}/{order}")).await
    }
}

fn payer_action_required() -> Outcome {
    Outcome::Declined(Decline::new(DeclineClass::NeedsCustomer, "PAYER_ACTION_REQUIRED"))
}

/// Says what stored details are for, unless the account does not allow it.
pub(super) fn set_usage_pattern(body: &mut Value, pattern: Option<&str>) {
    if let Some(pattern) = pattern {
        set_field(body, "usage_pattern", pattern);
    }
}
