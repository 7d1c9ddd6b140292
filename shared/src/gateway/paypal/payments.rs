//! What is done to payments that are there: capture, with reauthorisation where the authorisation is old; void; refund; and the end of
//! stored details. A cancel must never return captured money, and a refund must never use another id than the capture's.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::ApiResponse;
use super::declines::{self, RefusalClass};
use super::token::PayPalToken;
use super::wire::{self, ExpectedPayment, Intent, OrderState, UNREADABLE};
use super::{
    CALL_TIMEOUT, CancelRequest, CaptureRequest, Decline, DeclineClass, DeleteDetailsRequest, NO_SUCH_RESOURCE, Operation, Outcome, PayPal,
    RefundRequest, UnknownCause, currency, read_after_write, refusal_outcome,
};
use crate::gateway::common::amounts::ensure_refundable;
use crate::gateway::common::call::CallError;
use crate::gateway::common::time_budget::TimeBudget;
use crate::gateway::{InquiryRequest, OperationKind, Reference};
use crate::ids::ExternalPaymentId;

/// How long PayPal honours an authorisation; after that it has to be renewed for the funds to be certain (Payments 2.5, `reauthorize`).
const HONOUR_PERIOD: Duration = Duration::from_secs(3 * 24 * 3_600);
/// Issues under which an authorisation needs no renewal, or had its only one: it can be captured as it is, or was.
const REAUTHORISATION_NOT_NEEDED: &[&str] =
    &["AUTHORIZATION_ALREADY_CAPTURED", "REAUTHORIZATION_NOT_SUPPORTED", "REAUTHORIZATION_TOO_SOON"];
/// Issues under which nothing is held any more.
const ALREADY_RELEASED: &[&str] = &["AUTHORIZATION_EXPIRED", "AUTHORIZATION_VOIDED", "PREVIOUSLY_VOIDED"];

/// Issues of a refused capture that say that nothing is held any more, or that nothing ever was (Payments 2.5, `authorizations.capture`).
pub(super) const NO_AUTHORISATION_ISSUES: &[&str] = &["AUTHORIZATION_DENIED", "AUTHORIZATION_EXPIRED", "AUTHORIZATION_VOIDED"];

fn payment_path_id(payment: &ExternalPaymentId) -> Result<&str, CallError> {
    let id = payment.as_str();
    if wire::is_id(id) { Ok(id) } else { Err(CallError::malformed("payment_id")) }
}

/// What came of renewing an authorisation.
enum Reauthorisation {
    /// This one is to be captured.
    Capture(String),
    /// It ends here.
    Final(Box<Outcome>),
}

impl PayPal {
    /// What became of a payment, a capture or a refund that PayPal left undecided (PENDING). `None` for what has no id yet.
    pub(super) async fn read_acknowledged(&self, request: &InquiryRequest) -> Result<Option<Outcome>, CallError> {
        use OperationKind as Kind;
        let operation = request.operation_ref.as_deref().filter(|id| wire::is_id(id));
        let payment = request.external_payment_id.as_ref().map(ExternalPaymentId::as_str).filter(|id| wire::is_id(id));
        let (collection, id) = match (request.operation, payment, operation) {
            (Kind::Authorise, Some(authorisation), _) => ("authorizations", authorisation),
            (Kind::Charge | Kind::Purchase, Some(capture), _) | (Kind::Capture, _, Some(capture)) => ("captures", capture),
            (Kind::Refund, Some(_), Some(refund)) => ("refunds", refund),
            _ => return Ok(None),
        };
        let Some(amount) = request.amount else { return Ok(None) };
        let read = self.client.get(&TimeBudget::new(CALL_TIMEOUT), &format!("/v2/payments/{collection}/{id}")).await;
        let resource = read_after_write(read)?;
        let expected = |intent| ExpectedPayment { reference: &request.reference, amount, intent };
        Ok(Some(match (request.operation, &request.external_payment_id) {
            _ if wire::read_id(&resource, "id") != Some(id) => UNREADABLE,
            (Kind::Authorise, _) => wire::read_authorisation(&resource, &expected(Intent::Authorize)),
            (Kind::Refund, Some(capture)) => wire::read_refund(&resource, &expected(Intent::Capture), capture),
            _ => wire::read_capture(&resource, &expected(Intent::Capture)),
        }))
    }

    /// Captures the whole of an authorisation; what would be left of it is released.
    pub(super) async fn capture_authorisation(&self, request: &CaptureRequest) -> Result<Outcome, CallError> {
        let amount = currency::amount(request.amount)?;
        let original = payment_path_id(&request.external_payment_id)?;
        let expected = ExpectedPayment { reference: &request.reference, amount: request.amount, intent: Intent::Capture };
        let budget = TimeBudget::new(CALL_TIMEOUT);
        let old = request.authorised_at.is_some_and(|at| self.clock.now().since(at) > HONOUR_PERIOD);
        let authorisation = match if old {
            self.reauthorise(&budget, request, original, &amount).await?
        } else {
            Reauthorisation::Capture(original.to_owned())
        } {
            Reauthorisation::Capture(authorisation) => authorisation,
            Reauthorisation::Final(outcome) => return Ok(*outcome),
        };
        let path = format!("/v2/payments/authorizations/{authorisation}/capture");
        let body = json!({ "amount": amount, "final_capture": true });
        match self.client.post(&budget, &path, Some(&body), request.key.as_str()).await? {
            ApiResponse::Body(capture) => {
                let other = wire::related(&capture, "authorization_id").is_some_and(|id| id != authorisation);
                let outcome = if other { UNREADABLE } else { wire::read_capture(&capture, &expected) };
                Ok(if authorisation == original { outcome } else { with_renewed(outcome, &authorisation) })
            }
            ApiResponse::Refused { status, issue } if declines::classify(status, &issue) == RefusalClass::AlreadyDone => {
                self.read_capture_of(&budget, original, &expected).await
            }
            ApiResponse::Refused { status, issue } => refusal_outcome(status, &issue),
        }
    }

    /// Renews an authorisation whose honour period is over: a new one with an id of its own takes its place.
    async fn reauthorise(
        &self,
        budget: &TimeBudget,
        request: &CaptureRequest,
        original: &str,
        amount: &Value,
    ) -> Result<Reauthorisation, CallError> {
        let path = format!("/v2/payments/authorizations/{original}/reauthorize");
        // One for all tries of the capture: PayPal renews once, and each try has to find the renewed one (Payments 2.5: request ids are kept
        // for 45 days, authorisations for 29).
        let request_id = format!("{}-reauthorize", request.reference.as_str());
        let expected = ExpectedPayment { reference: &request.reference, amount: request.amount, intent: Intent::Authorize };
        match self.client.post(budget, &path, Some(&json!({ "amount": amount })), &request_id).await? {
            ApiResponse::Body(renewed) => match wire::read_authorisation(&renewed, &expected) {
                Outcome::Done(Operation { external_payment_id: Some(id), .. }) => Ok(Reauthorisation::Capture(id.as_str().to_owned())),
                // Nothing was captured, and nothing can be until PayPal has decided.
                Outcome::Received(_) => Ok(Reauthorisation::Final(Box::new(Outcome::Unknown(UnknownCause::InProgress)))),
                other => Ok(Reauthorisation::Final(Box::new(other))),
            },
            ApiResponse::Refused { issue, .. } if REAUTHORISATION_NOT_NEEDED.contains(&issue.as_str()) => {
                Ok(Reauthorisation::Capture(original.to_owned()))
            }
            ApiResponse::Refused { status, issue } => {
                refusal_outcome(status, &issue).map(|outcome| Reauthorisation::Final(Box::new(outcome)))
            }
        }
    }

    /// The capture of an authorisation that is captured: its order lists it.
    async fn read_capture_of(
        &self,
        budget: &TimeBudget,
        authorisation: &str,
        expected: &ExpectedPayment<'_>,
    ) -> Result<Outcome, CallError> {
        let held = read_after_write(self.client.get(budget, &format!("/v2/payments/authorizations/{authorisation}")).await)?;
        let order = self.parent_order(budget, &held).await?;
        // The order was made to hold the money, and its intent says so.
        let listed =
            Value::Object(order.as_object().into_iter().flatten().filter(|(name, _)| *name != "intent").map(owned_entry).collect());
        match wire::read_order(&listed, expected) {
            OrderState::Decided(outcome) => Ok(outcome),
            OrderState::Open(_) => Ok(UNREADABLE),
        }
    }

    /// The order that an authorisation or a capture belongs to.
    async fn parent_order(&self, budget: &TimeBudget, payment: &Value) -> Result<Value, CallError> {
        let order = wire::related(payment, "order_id").or_else(|| wire::id_in_link(payment, "up", "/orders"));
        self.read_order(budget, order.ok_or(UnknownCause::Unreadable)?).await
    }

    /// Releases an authorisation.
    pub(super) async fn void_authorisation(&self, request: &CancelRequest, payment: &ExternalPaymentId) -> Result<Outcome, CallError> {
        let id = payment_path_id(payment)?;
        let budget = TimeBudget::new(CALL_TIMEOUT);
        let done = || Outcome::Done(Operation { external_payment_id: Some(payment.clone()), ..Operation::default() });
        let path = format!("/v2/payments/authorizations/{id}/void");
        match self.client.post(&budget, &path, None, request.key.as_str()).await? {
            ApiResponse::Body(Value::Null) => Ok(done()),
            ApiResponse::Body(held) => {
                let same = wire::read_id(&held, "id") == Some(id);
                let released = held.get("status").and_then(Value::as_str) == Some("VOIDED");
                Ok(if same && released { done() } else { UNREADABLE })
            }
            ApiResponse::Refused { issue, .. } if ALREADY_RELEASED.contains(&issue.as_str()) => Ok(done()),
            ApiResponse::Refused { issue, .. } if issue == "AUTHORIZATION_ALREADY_CAPTURED" => Ok(already_captured(issue, payment)),
            ApiResponse::Refused { status: 404, issue } if NO_SUCH_RESOURCE.contains(&issue.as_str()) => {
                self.check_for_capture(&budget, payment, issue).await
            }
            ApiResponse::Refused { status, issue } => refusal_outcome(status, &issue),
        }
    }

    /// No authorisation has this id. A payment that is captured has the id of its capture.
    async fn check_for_capture(&self, budget: &TimeBudget, payment: &ExternalPaymentId, issue: String) -> Result<Outcome, CallError> {
        match self.client.get(budget, &format!("/v2/payments/captures/{}", payment.as_str())).await? {
            ApiResponse::Body(capture) if wire::read_id(&capture, "id") == Some(payment.as_str()) => {
                Ok(already_captured("PREVIOUSLY_CAPTURED".to_owned(), payment))
            }
            ApiResponse::Refused { .. } => Err(CallError::malformed(issue)),
            ApiResponse::Body(_) => Ok(UNREADABLE),
        }
    }

    /// Cancels an order that waits for its payer. PayPal has no call for that and needs none: an order takes no money before we capture it,
    /// and lapses. Only a captured order needs an answer.
    pub(super) async fn cancel_order(&self, pending_id: &str, reference: &Reference) -> Result<Outcome, CallError> {
        if !wire::is_id(pending_id) {
            return Err(CallError::malformed("order_id"));
        }
        let order = match self.find_order(&TimeBudget::new(CALL_TIMEOUT), pending_id).await? {
            ApiResponse::Body(order) => order,
            // It is a setup token, which holds nothing either, or it has lapsed.
            ApiResponse::Refused { status: 404, .. } => return Ok(Outcome::Done(Operation::default())),
            ApiResponse::Refused { status, issue } => return refusal_outcome(status, &issue),
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
    pub(super) async fn create_refund(&self, request: &RefundRequest) -> Result<Outcome, CallError> {
        ensure_refundable(request)?;
        let amount = currency::amount(request.amount)?;
        let capture = &request.external_payment_id;
        let path = format!("/v2/payments/captures/{}/refund", payment_path_id(capture)?);
        let reference = request.reference.as_str();
        let body = json!({ "amount": amount, "custom_id": reference, "invoice_id": reference });
        let expected = ExpectedPayment { reference: &request.reference, amount: request.amount, intent: Intent::Capture };
        let budget = TimeBudget::new(CALL_TIMEOUT);
        match self.client.post(&budget, &path, Some(&body), request.key.as_str()).await? {
            ApiResponse::Body(refund) => Ok(wire::read_refund(&refund, &expected, capture)),
            ApiResponse::Refused { status, issue } if matches!(issue.as_str(), "DUPLICATE_INVOICE_ID" | "CAPTURE_FULLY_REFUNDED") => {
                self.find_refund(&budget, &expected, capture, status, &issue).await
            }
            ApiResponse::Refused { status, issue } => refusal_outcome(status, &issue),
        }
    }

    /// Our refund among those that the order lists; without it, what was refused is refused.
    async fn find_refund(
        &self,
        budget: &TimeBudget,
        expected: &ExpectedPayment<'_>,
        capture: &ExternalPaymentId,
        status: u16,
        issue: &str,
    ) -> Result<Outcome, CallError> {
        let taken = read_after_write(self.client.get(budget, &format!("/v2/payments/captures/{}", capture.as_str())).await)?;
        let order = self.parent_order(budget, &taken).await?;
        let refunds = order.pointer("/purchase_units/0/payments/refunds").and_then(Value::as_array);
        let Some(refunds) = refunds else { return Ok(UNREADABLE) };
        let is_it = |refund: &&Value| refund.get("invoice_id").and_then(Value::as_str) == Some(expected.reference.as_str());
        match refunds.iter().find(is_it) {
            Some(refund) => Ok(wire::read_refund(refund, expected, capture)),
            None => refusal_outcome(status, issue),
        }
    }

    /// Deletes stored details.
    pub(super) async fn delete_payment_token(&self, request: &DeleteDetailsRequest) -> Result<Outcome, CallError> {
        let token = PayPalToken::read(&request.token)?;
        let path = format!("/v3/vault/payment-tokens/{}", token.vault_id.expose());
        match self.client.delete(&TimeBudget::new(CALL_TIMEOUT), &path).await? {
            ApiResponse::Body(_) => Ok(Outcome::Done(Operation::default())),
            ApiResponse::Refused { issue, .. } if issue == "TOKEN_ID_NOT_FOUND" || NO_SUCH_RESOURCE.contains(&issue.as_str()) => {
                Ok(Outcome::Done(Operation::default()))
            }
            ApiResponse::Refused { issue, .. } => Err(CallError::malformed(issue)),
        }
    }
}

/// Names the authorisation that took the place of the first one.
fn with_renewed(outcome: Outcome, authorisation: &str) -> Outcome {
    let name = |operation| Operation { renewed_authorisation: ExternalPaymentId::new(authorisation).ok(), ..operation };
    match outcome {
        Outcome::Done(operation) => Outcome::Done(name(operation)),
        Outcome::Received(operation) => Outcome::Received(name(operation)),
        other => other,
    }
}

fn owned_entry((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

fn already_captured(issue: String, payment: &ExternalPaymentId) -> Outcome {
    Outcome::Declined(Decline { payment: Some(payment.clone()), ..Decline::new(DeclineClass::Hard, issue) })
}
