//! What is done to payments that are there: capture, with reauthorisation where the authorisation is old; void; refund; and the end of stored
//! details. Must never give captured money back in the name of a cancel, nor refund by another id than the capture's.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::Answer;
use super::declines::{self, Refusal};
use super::token::PayPalToken;
use super::wire::{self, Asked, Intent, Order, UNREADABLE};
use super::{
    CALL_TIMEOUT, CancelRequest, CaptureRequest, Decline, DeclineClass, DeleteDetailsRequest, GatewayError, NO_SUCH_RESOURCE, Operation,
    Outcome, PayPal, RefundRequest, UnknownCause, after_a_write, currency, refused,
};
use crate::gateway::Reference;
use crate::gateway::budget::Budget;
use crate::ids::ExternalPaymentId;

/// How long PayPal honours an authorisation; after that it has to be renewed for the funds to be certain (Payments 2.5, `reauthorize`).
const HONOURED: Duration = Duration::from_secs(3 * 24 * 3_600);
/// Issues under which an authorisation needs no renewal, or had its only one: it can be captured as it is, or was.
const NO_RENEWAL: &[&str] = &["AUTHORIZATION_ALREADY_CAPTURED", "REAUTHORIZATION_NOT_SUPPORTED", "REAUTHORIZATION_TOO_SOON"];
/// Issues under which nothing is held any more.
const RELEASED: &[&str] = &["AUTHORIZATION_EXPIRED", "AUTHORIZATION_VOIDED", "PREVIOUSLY_VOIDED"];

/// Issues of a refused capture that say that nothing is held any more, or that nothing ever was (Payments 2.5, `authorizations.capture`).
pub(super) const NOTHING_HELD: &[&str] = &["AUTHORIZATION_DENIED", "AUTHORIZATION_EXPIRED", "AUTHORIZATION_VOIDED"];

fn path_of(payment: &ExternalPaymentId) -> Result<&str, GatewayError> {
    let id = payment.as_str();
    if wire::is_id(id) { Ok(id) } else { Err(GatewayError::Malformed { code: "payment_id".to_owned() }) }
}

/// What came of renewing an authorisation.
enum Renewal {
    /// This one is to be captured.
    Capture(String),
    /// It ends here.
    Ends(Outcome),
}

impl PayPal {
    /// Captures the whole of an authorisation; what would be left of it is released.
    pub(super) async fn take(&self, request: &CaptureRequest) -> Result<Outcome, GatewayError> {
        let amount = currency::amount(request.amount)?;
        let original = path_of(&request.external_payment_id)?;
        let asked = Asked { reference: &request.reference, amount: request.amount, intent: Intent::Capture };
        let budget = Budget::new(CALL_TIMEOUT);
        let old = request.authorised_at.is_some_and(|at| self.clock.now().since(at) > HONOURED);
        let authorisation =
            match if old { self.renew(&budget, request, original, &amount).await? } else { Renewal::Capture(original.to_owned()) } {
                Renewal::Capture(authorisation) => authorisation,
                Renewal::Ends(outcome) => return Ok(outcome),
            };
        let path = format!("/v2/payments/authorizations/{authorisation}/capture");
        let body = json!({ "amount": amount, "final_capture": true });
        match self.client.post(&budget, &path, Some(&body), request.key.as_str()).await? {
            Answer::Body(capture) => {
                let other = wire::related(&capture, "authorization_id").is_some_and(|id| id != authorisation);
                Ok(if other { UNREADABLE } else { wire::read_capture(&capture, &asked) })
            }
            Answer::Refused { status, issue } if declines::classify(status, &issue) == Refusal::DoneBefore => {
                Ok(self.capture_of(&budget, original, &asked).await)
            }
            Answer::Refused { status, issue } => refused(status, &issue),
            Answer::Empty => Ok(UNREADABLE),
            Answer::Unknown(cause) => Ok(Outcome::Unknown(cause)),
        }
    }

    /// Renews an authorisation whose honour period is over: a new one with an id of its own takes its place.
    async fn renew(&self, budget: &Budget, request: &CaptureRequest, original: &str, amount: &Value) -> Result<Renewal, GatewayError> {
        let path = format!("/v2/payments/authorizations/{original}/reauthorize");
        let request_id = format!("{}-reauthorize", request.key.as_str());
        let asked = Asked { reference: &request.reference, amount: request.amount, intent: Intent::Authorize };
        match self.client.post(budget, &path, Some(&json!({ "amount": amount })), &request_id).await? {
            Answer::Body(renewed) => match wire::read_authorisation(&renewed, &asked) {
                Outcome::Done(Operation { external_payment_id: Some(id), .. }) => Ok(Renewal::Capture(id.as_str().to_owned())),
                // Nothing was captured, and nothing can be until PayPal has made up its mind.
                Outcome::Received(_) => Ok(Renewal::Ends(Outcome::Unknown(UnknownCause::InProgress))),
                other => Ok(Renewal::Ends(other)),
            },
            Answer::Refused { issue, .. } if NO_RENEWAL.contains(&issue.as_str()) => Ok(Renewal::Capture(original.to_owned())),
            Answer::Refused { status, issue } => refused(status, &issue).map(Renewal::Ends),
            Answer::Empty => Ok(Renewal::Ends(UNREADABLE)),
            Answer::Unknown(cause) => Ok(Renewal::Ends(Outcome::Unknown(cause))),
        }
    }

    /// The capture of an authorisation that is captured: its order lists it.
    async fn capture_of(&self, budget: &Budget, authorisation: &str, asked: &Asked<'_>) -> Outcome {
        let read = self.client.get(budget, &format!("/v2/payments/authorizations/{authorisation}")).await;
        let held = match after_a_write(read) {
            Ok(held) => held,
            Err(cause) => return Outcome::Unknown(cause),
        };
        let order = match self.order_behind(budget, &held).await {
            Ok(order) => order,
            Err(cause) => return Outcome::Unknown(cause),
        };
        // The order was made to hold the money, whatever is asked for now.
        let listed = Value::Object(order.as_object().into_iter().flatten().filter(|(name, _)| *name != "intent").map(own).collect());
        match wire::read_order(&listed, asked) {
            Order::Settled(outcome) => outcome,
            Order::Open(_) => UNREADABLE,
        }
    }

    /// The order that an authorisation or a capture belongs to.
    async fn order_behind(&self, budget: &Budget, payment: &Value) -> Result<Value, UnknownCause> {
        let order = wire::related(payment, "order_id").or_else(|| wire::id_in_link(payment, "up", "/orders"));
        self.read(budget, order.ok_or(UnknownCause::Unreadable)?).await
    }

    /// Releases an authorisation.
    pub(super) async fn release(&self, request: &CancelRequest, payment: &ExternalPaymentId) -> Result<Outcome, GatewayError> {
        let id = path_of(payment)?;
        let budget = Budget::new(CALL_TIMEOUT);
        let done = || Outcome::Done(Operation { external_payment_id: Some(payment.clone()), ..Operation::default() });
        let path = format!("/v2/payments/authorizations/{id}/void");
        match self.client.post(&budget, &path, None, request.key.as_str()).await? {
            Answer::Empty => Ok(done()),
            Answer::Body(held) => {
                let same = wire::read_id(&held, "id") == Some(id);
                let released = held.get("status").and_then(Value::as_str) == Some("VOIDED");
                Ok(if same && released { done() } else { UNREADABLE })
            }
            Answer::Refused { issue, .. } if RELEASED.contains(&issue.as_str()) => Ok(done()),
            Answer::Refused { issue, .. } if issue == "AUTHORIZATION_ALREADY_CAPTURED" => Ok(captured_already(issue, payment)),
            Answer::Refused { status: 404, issue } if NO_SUCH_RESOURCE.contains(&issue.as_str()) => {
                self.is_it_a_capture(&budget, payment, issue).await
            }
            Answer::Refused { status, issue } => refused(status, &issue),
            Answer::Unknown(cause) => Ok(Outcome::Unknown(cause)),
        }
    }

    /// No authorisation has this id. A payment that is captured has the id of its capture.
    async fn is_it_a_capture(&self, budget: &Budget, payment: &ExternalPaymentId, issue: String) -> Result<Outcome, GatewayError> {
        match self.client.get(budget, &format!("/v2/payments/captures/{}", payment.as_str())).await? {
            Answer::Body(capture) if wire::read_id(&capture, "id") == Some(payment.as_str()) => {
                Ok(captured_already("PREVIOUSLY_CAPTURED".to_owned(), payment))
            }
            Answer::Refused { .. } => Err(GatewayError::Malformed { code: issue }),
            Answer::Unknown(cause) => Ok(Outcome::Unknown(cause)),
            Answer::Body(_) | Answer::Empty => Ok(UNREADABLE),
        }
    }

    /// Gives up an order that waits for its payer. PayPal has no call for that and needs none: an order takes no money before we capture it,
    /// and lapses. Only one that was captured is worth a word.
    pub(super) async fn abandon(&self, started: &str, reference: &Reference) -> Result<Outcome, GatewayError> {
        if !wire::is_id(started) {
            return Err(GatewayError::Malformed { code: "order_id".to_owned() });
        }
        let order = match self.find(&Budget::new(CALL_TIMEOUT), started).await? {
            Answer::Body(order) => order,
            // It is a setup token, which holds nothing either, or it has lapsed.
            Answer::Refused { status: 404, .. } => return Ok(Outcome::Done(Operation::default())),
            Answer::Refused { status, issue } => return refused(status, &issue),
            Answer::Empty => return Ok(UNREADABLE),
            Answer::Unknown(cause) => return Ok(Outcome::Unknown(cause)),
        };
        let unit = order.get("purchase_units").and_then(|units| units.get(0));
        if unit.and_then(|unit| unit.get("custom_id")).is_some_and(|custom| custom.as_str() != Some(reference.as_str())) {
            return Ok(Outcome::Unknown(UnknownCause::AnotherPayment));
        }
        let captures = unit.and_then(|unit| unit.get("payments")).and_then(|payments| payments.get("captures"));
        let refused = |capture: &Value| matches!(capture.get("status").and_then(Value::as_str), Some("DECLINED" | "FAILED"));
        let taken = captures.and_then(Value::as_array).into_iter().flatten().find(|capture| !refused(capture));
        match (taken, order.get("status").and_then(Value::as_str)) {
            (Some(capture), _) => {
                let id = wire::read_id(capture, "id").and_then(|id| ExternalPaymentId::new(id).ok());
                let decline = Decline::new(DeclineClass::Hard, "ORDER_ALREADY_CAPTURED");
                Ok(Outcome::Declined(Decline { payment: id, ..decline }))
            }
            (None, Some("CREATED" | "SAVED" | "APPROVED" | "VOIDED" | "PAYER_ACTION_REQUIRED")) => Ok(Outcome::Done(Operation::default())),
            // Completed, and what became of the money is not to be seen: a refused capture leaves nothing, anything else may.
            (None, _) if captures.and_then(Value::as_array).is_some_and(|captures| !captures.is_empty()) => {
                Ok(Outcome::Done(Operation::default()))
            }
            (None, _) => Ok(UNREADABLE),
        }
    }

    /// Gives captured money back.
    pub(super) async fn give_back(&self, request: &RefundRequest) -> Result<Outcome, GatewayError> {
        let amount = currency::amount(request.amount)?;
        if request.captured.checked_sub(request.amount)?.minor < 0 {
            return Err(GatewayError::Malformed { code: "refund_above_capture".to_owned() });
        }
        let capture = &request.external_payment_id;
        let path = format!("/v2/payments/captures/{}/refund", path_of(capture)?);
        let reference = request.reference.as_str();
        let body = json!({ "amount": amount, "custom_id": reference, "invoice_id": reference });
        let asked = Asked { reference: &request.reference, amount: request.amount, intent: Intent::Capture };
        let budget = Budget::new(CALL_TIMEOUT);
        match self.client.post(&budget, &path, Some(&body), request.key.as_str()).await? {
            Answer::Body(refund) => Ok(wire::read_refund(&refund, &asked, capture)),
            Answer::Refused { status, issue } if matches!(issue.as_str(), "DUPLICATE_INVOICE_ID" | "CAPTURE_FULLY_REFUNDED") => {
                self.refund_made_before(&budget, &asked, capture, status, &issue).await
            }
            Answer::Refused { status, issue } => refused(status, &issue),
            Answer::Empty => Ok(UNREADABLE),
            Answer::Unknown(cause) => Ok(Outcome::Unknown(cause)),
        }
    }

    /// Our refund among those that the order lists; without it, what was refused is refused.
    async fn refund_made_before(
        &self,
        budget: &Budget,
        asked: &Asked<'_>,
        capture: &ExternalPaymentId,
        status: u16,
        issue: &str,
    ) -> Result<Outcome, GatewayError> {
        let taken = match after_a_write(self.client.get(budget, &format!("/v2/payments/captures/{}", capture.as_str())).await) {
            Ok(taken) => taken,
            Err(cause) => return Ok(Outcome::Unknown(cause)),
        };
        let order = match self.order_behind(budget, &taken).await {
            Ok(order) => order,
            Err(cause) => return Ok(Outcome::Unknown(cause)),
        };
        let refunds = order.pointer("/purchase_units/0/payments/refunds").and_then(Value::as_array);
        let Some(refunds) = refunds else { return Ok(UNREADABLE) };
        let is_it = |refund: &&Value| refund.get("invoice_id").and_then(Value::as_str) == Some(asked.reference.as_str());
        match refunds.iter().find(is_it) {
            Some(refund) => Ok(wire::read_refund(refund, asked, capture)),
            None => refused(status, issue),
        }
    }

    /// Deletes stored details.
    pub(super) async fn forget(&self, request: &DeleteDetailsRequest) -> Result<Outcome, GatewayError> {
        let token = PayPalToken::read(&request.token)?;
        let path = format!("/v3/vault/payment-tokens/{}", token.vault_id.expose());
        match self.client.delete(&Budget::new(CALL_TIMEOUT), &path).await? {
            Answer::Empty | Answer::Body(_) => Ok(Outcome::Done(Operation::default())),
            Answer::Refused { issue, .. } if issue == "TOKEN_ID_NOT_FOUND" || NO_SUCH_RESOURCE.contains(&issue.as_str()) => {
                Ok(Outcome::Done(Operation::default()))
            }
            Answer::Refused { issue, .. } => Err(GatewayError::Malformed { code: issue }),
            Answer::Unknown(cause) => Ok(Outcome::Unknown(cause)),
        }
    }
}

fn own((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

fn captured_already(issue: String, payment: &ExternalPaymentId) -> Outcome {
    Outcome::Declined(Decline { payment: Some(payment.clone()), ..Decline::new(DeclineClass::Hard, issue) })
}
