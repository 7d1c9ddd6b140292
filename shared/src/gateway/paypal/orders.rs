//! Orders: payments with stored details, and whatever an order's answer leaves to be done. The create call pays in one step where the account
//! allows it; else the order waits for its second step. Must never take an order without a payment for a paid one.

use serde_json::{Value, json};

use super::client::Answer;
use super::token::PayPalToken;
use super::wire::{self, Asked, Intent, Open, Order, UNREADABLE};
use super::{
    CALL_TIMEOUT, Decline, DeclineClass, GatewayError, MerchantInitiated, NO_SUCH_RESOURCE, Outcome, PayPal, UnknownCause, after_a_write,
    currency, declines, refused,
};
use crate::gateway::budget::Budget;
use declines::Refusal;

const ORDERS: &str = "/v2/checkout/orders";

/// The one purchase unit of an order: our reference in `custom_id`, which PayPal echoes, and in `invoice_id`, under which an account can refuse
/// a second payment long after the request id is forgotten.
pub(super) fn purchase_unit(asked: &Asked<'_>) -> Result<Value, GatewayError> {
    let reference = asked.reference.as_str();
    Ok(json!({ "custom_id": reference, "invoice_id": reference, "amount": currency::amount(asked.amount)? }))
}

impl PayPal {
    /// A payment without the customer.
    pub(super) async fn pay(&self, request: &MerchantInitiated, intent: Intent) -> Result<Outcome, GatewayError> {
        let token = PayPalToken::read(&request.token)?;
        let asked = Asked { reference: &request.reference, amount: request.amount, intent };
        let mut paypal = json!({ "vault_id": token.vault_id.expose() });
        if self.settings.stored_credential {
            let mut credential = json!({ "payment_initiator": "MERCHANT", "usage": "SUBSEQUENT" });
            put_pattern(&mut credential, self.settings.usage_pattern.as_deref());
            put(&mut paypal, "stored_credential", credential);
        }
        let body = json!({
            "intent": intent.as_str(),
            "purchase_units": [purchase_unit(&asked)?],
            "payment_source": { "paypal": paypal },
        });
        let budget = Budget::new(CALL_TIMEOUT);
        let order = match self.client.post(&budget, ORDERS, Some(&body), request.key.as_str()).await? {
            Answer::Body(order) => order,
            // Nothing but the stored details is named in the call.
            Answer::Refused { status: 404, issue } if NO_SUCH_RESOURCE.contains(&issue.as_str()) => {
                return Ok(Outcome::Declined(Decline::new(DeclineClass::NeedsNewDetails, issue)));
            }
            Answer::Refused { status, issue } => return refused(status, &issue),
            Answer::Empty => return Ok(UNREADABLE),
            Answer::Unknown(cause) => return Ok(Outcome::Unknown(cause)),
        };
        let open = match wire::read_order(&order, &asked) {
            Order::Settled(outcome) => return Ok(outcome),
            Order::Open(open) => open,
        };
        match open.status.as_str() {
            "CREATED" | "APPROVED" | "SAVED" => {
                let request_id = format!("{}-{}", request.key.as_str(), intent.step());
                Ok(self.second_step(&budget, &open.id, &asked, &request_id).await.unwrap_or(UNREADABLE))
            }
            "COMPLETED" => Ok(self.look_at(&budget, &open.id, &asked).await),
            "PAYER_ACTION_REQUIRED" => Ok(needs_payer()),
            _ => Ok(UNREADABLE),
        }
    }

    /// Authorises or captures an order that has no payment yet.
    ///
    /// # Errors
    /// Known to have had no effect.
    pub(super) async fn second_step(
        &self,
        budget: &Budget,
        order: &str,
        asked: &Asked<'_>,
        request_id: &str,
    ) -> Result<Outcome, GatewayError> {
        let path = format!("{ORDERS}/{order}/{}", asked.intent.step());
        match self.client.post(budget, &path, Some(&json!({})), request_id).await? {
            Answer::Body(answer) => match wire::read_order(&answer, asked) {
                Order::Settled(outcome) => Ok(outcome),
                Order::Open(Open { status, .. }) if status == "PAYER_ACTION_REQUIRED" => Ok(needs_payer()),
                Order::Open(_) => Ok(self.look_at(budget, order, asked).await),
            },
            Answer::Refused { status, issue } if declines::classify(status, &issue) == Refusal::DoneBefore => {
                Ok(self.look_at(budget, order, asked).await)
            }
            Answer::Refused { status, issue } => refused(status, &issue),
            Answer::Empty => Ok(UNREADABLE),
            Answer::Unknown(cause) => Ok(Outcome::Unknown(cause)),
        }
    }

    /// Reads an order whose payment must be there.
    async fn look_at(&self, budget: &Budget, order: &str, asked: &Asked<'_>) -> Outcome {
        match self.read(budget, order).await {
            Ok(answer) => match wire::read_order(&answer, asked) {
                Order::Settled(outcome) => outcome,
                Order::Open(_) => UNREADABLE,
            },
            Err(cause) => Outcome::Unknown(cause),
        }
    }

    /// Reads an order after a write.
    pub(super) async fn read(&self, budget: &Budget, order: &str) -> Result<Value, UnknownCause> {
        after_a_write(self.client.get(budget, &format!("{ORDERS}/{order}")).await)
    }

    /// Starts an order that the payer has to agree to.
    pub(super) async fn create(&self, budget: &Budget, body: &Value, request_id: &str) -> Result<Answer, GatewayError> {
        self.client.post(budget, ORDERS, Some(body), request_id).await
    }

    /// Looks at an order that may be gone.
    pub(super) async fn find(&self, budget: &Budget, order: &str) -> Result<Answer, GatewayError> {
        self.client.get(budget, &format!("{ORDERS}/{order}")).await
    }
}

fn needs_payer() -> Outcome {
    Outcome::Declined(Decline::new(DeclineClass::NeedsCustomer, "PAYER_ACTION_REQUIRED"))
}

/// Sets a field of a body.
pub(super) fn put(body: &mut Value, name: &str, value: Value) {
    if let Some(body) = body.as_object_mut() {
        body.insert(name.to_owned(), value);
    }
}

/// Says what stored details are for, unless the account does not allow it.
pub(super) fn put_pattern(body: &mut Value, pattern: Option<&str>) {
    if let Some(pattern) = pattern {
        put(body, "usage_pattern", json!(pattern));
    }
}
