//! Payments with stored details, and what is done to payments that are there: capture, cancel, refund, and the end of stored details. A
//! cancel must never return captured money.

use std::time::Duration;

use serde_json::Value;

use super::client::{ApiResponse, Form, StripeError};
use super::id::{id_of, is_id};
use super::token::StripeToken;
use super::wire::{self, CaptureMethod, ExpectedPayment, UNREADABLE};
use super::{CALL_TIMEOUT, CUSTOMER_PRESENT_TIMEOUT, Stripe, currency, declines};
use crate::gateway::common::amounts::ensure_refundable;
use crate::gateway::common::call::CallError;
use crate::gateway::common::time_budget::TimeBudget;
use crate::gateway::{
    CancelRequest, CaptureRequest, Decline, DeclineClass, DeleteDetailsRequest, InquiryRequest, MerchantInitiated, Operation, Outcome,
    Reference, RefundRequest, UnknownCause,
};
use crate::ids::ExternalPaymentId;

pub(super) const INTENTS: &str = "/payment_intents";
pub(super) const SETUPS: &str = "/setup_intents";
const REFUNDS: &str = "/refunds";
const METHODS: &str = "/payment_methods";
/// The most that a list gives at once (docs.stripe.com/api/pagination).
const PAGE_LIMIT: &str = "100";
/// How far behind the search is at most, with a wide margin ("under a minute" as a rule; docs.stripe.com/search).
const SEARCH_LAG: Duration = Duration::from_secs(600);
/// How many pages of the newest intents are read.
const MAX_PAGES: usize = 5;
/// Stripe says so where the intent is in no state for the call (docs.stripe.com/error-codes).
const UNEXPECTED_STATE: [&str; 2] = ["payment_intent_unexpected_state", "setup_intent_unexpected_state"];

/// A capture came too late: the bank released what was held (docs.stripe.com/error-codes).
const AUTHORISATION_EXPIRED_CODES: [&str; 2] = ["capture_charge_authorization_expired", "charge_expired_for_capture"];
/// Refusals of a capture that say that nothing is held any more. The last is what a canceled intent without an error is read as.
pub(super) const NO_AUTHORISATION_CODES: [&str; 3] =
    [AUTHORISATION_EXPIRED_CODES[0], AUTHORISATION_EXPIRED_CODES[1], "payment_intent_canceled"];

/// The fields that every intent of ours has.
pub(super) fn with_metadata(form: Form, reference: &Reference, customer: &str) -> Form {
    form.with(&format!("metadata[{}]", wire::REFERENCE), reference.as_str()).with(&format!("metadata[{}]", wire::CUSTOMER), customer)
}

/// The outcome of a refused call about an intent that is not a decline: the stored details are gone, or a mistake of ours.
pub(super) fn refusal_outcome(refused: &StripeError, expected: &ExpectedPayment<'_>) -> Result<Outcome, CallError> {
    if refused.is_decline() {
        return Ok(declined(refused, expected));
    }
    // The method was detached, or the customer deleted; `resource_missing` or no code at all.
    if matches!(refused.param(), Some("payment_method" | "customer")) {
        return Ok(Outcome::Declined(Decline::details_unknown(refused.most_specific_code())));
    }
    Err(refused.to_malformed())
}

/// A decline, with the intent that was refused; one of another payment says nothing about ours.
fn declined(refused: &StripeError, expected: &ExpectedPayment<'_>) -> Outcome {
    let payment = match refused.intent() {
        Some(intent) => match wire::reference_of(intent) {
            Some(reference) if reference != *expected.reference => return Outcome::Unknown(UnknownCause::AnotherPayment),
            _ if matches!(wire::status(intent), "succeeded" | "requires_capture" | "processing") => return UNREADABLE,
            _ => wire::external_id(intent),
        },
        None => None,
    };
    Outcome::Declined(Decline { payment, ..declines::from_error(refused.error(), "card_declined") })
}

fn payment_path_id(payment: &ExternalPaymentId) -> Result<&str, CallError> {
    let id = payment.as_str();
    if is_id(id, "pi_") { Ok(id) } else { Err(CallError::malformed("payment_id")) }
}

/// Money is taken already: a cancel gives nothing back.
fn already_captured(payment: ExternalPaymentId) -> Outcome {
    Outcome::Declined(Decline { payment: Some(payment), ..Decline::new(DeclineClass::Hard, "charge_already_captured") })
}

/// The result of a search for an intent by our reference.
enum IntentLookup {
    /// It is there.
    Found(Value),
    /// Neither the search nor the newest intents have it.
    NotFound,
    /// The search does not have it, and there are more new intents than can be read.
    Incomplete,
}

/// The id of the only intent of this reference.
fn only_match<'a>(list: &'a [Value], reference: &Reference) -> Result<Option<&'a str>, UnknownCause> {
    let mut ours = list.iter().filter(|intent| wire::reference_of(intent).as_ref() == Some(reference));
    match (ours.next(), ours.next()) {
        (None, _) => Ok(None),
        (Some(intent), None) => id_of(intent).filter(|id| is_id(id, "pi_")).map(Some).ok_or(UnknownCause::Unreadable),
        (Some(_), Some(_)) => Err(UnknownCause::Unreadable),
    }
}

impl Stripe {
    /// A payment without the customer.
    pub(super) async fn create_payment(&self, request: &MerchantInitiated, capture_method: CaptureMethod) -> Result<Outcome, CallError> {
        let token = StripeToken::read(&request.token)?;
        let form = Form::default()
            .with("amount", currency::amount(request.amount)?)
            .with("currency", currency::code(request.amount))
            .with("customer", token.customer.as_str())
            .with("payment_method", token.payment_method.expose())
            .with("payment_method_types[0]", "card")
            .with("off_session", "true")
            .with("confirm", "true")
            .with("capture_method", capture_method.as_str())
            .with("expand[0]", "latest_charge");
        let form = with_metadata(form, &request.reference, request.customer.as_str());
        let expected =
            ExpectedPayment { reference: &request.reference, amount: request.amount, capture_method: Some(capture_method), customer: None };
        match self.client.post(&TimeBudget::new(CALL_TIMEOUT), INTENTS, &form, request.key.as_str()).await? {
            ApiResponse::Body(intent) => Ok(wire::read_payment(&intent, &expected)),
            ApiResponse::Refused(answer) => refusal_outcome(&answer, &expected),
        }
    }

    /// Captures the whole of what is held.
    pub(super) async fn capture_intent(&self, request: &CaptureRequest) -> Result<Outcome, CallError> {
        let id = payment_path_id(&request.external_payment_id)?;
        let form = Form::default().with("amount_to_capture", currency::amount(request.amount)?).with("expand[0]", "latest_charge");
        let expected = ExpectedPayment {
            reference: &request.reference,
            amount: request.amount,
            capture_method: Some(CaptureMethod::Manual),
            customer: None,
        };
        let answer =
            self.client.post(&TimeBudget::new(CALL_TIMEOUT), &format!("{INTENTS}/{id}/capture"), &form, request.key.as_str()).await?;
        match answer {
            ApiResponse::Body(intent) => Ok(read_captured(&intent, &expected)),
            ApiResponse::Refused(answer) => match (answer.intent(), answer.code()) {
                (Some(intent), Some(code)) if UNEXPECTED_STATE.contains(&code) => Ok(read_captured(intent, &expected)),
                (_, Some(code)) if AUTHORISATION_EXPIRED_CODES.contains(&code) => Ok(Outcome::Declined(declines::from_code(code))),
                _ => refusal_outcome(&answer, &expected),
            },
        }
    }

    /// Releases a payment, or cancels one that waits for its customer.
    pub(super) async fn cancel_intent(&self, budget: &TimeBudget, request: &CancelRequest, id: &str) -> Result<Outcome, CallError> {
        let collection = if is_id(id, "pi_") {
            INTENTS
        } else if is_id(id, "seti_") {
            SETUPS
        } else {
            return Err(CallError::malformed("payment_id"));
        };
        let path = format!("{collection}/{id}/cancel");
        match self.client.post(budget, &path, &Form::default(), request.key.as_str()).await? {
            ApiResponse::Body(intent) => Ok(read_cancelled(&intent, id, &request.reference)),
            ApiResponse::Refused(answer) => match (answer.intent(), answer.code()) {
                (Some(intent), Some(code)) if UNEXPECTED_STATE.contains(&code) => Ok(read_cancelled(intent, id, &request.reference)),
                _ => Err(answer.to_malformed()),
            },
        }
    }

    /// Releases a payment that is known by our reference alone.
    pub(super) async fn cancel_by_reference(
        &self,
        budget: &TimeBudget,
        request: &CancelRequest,
        reference: &Reference,
    ) -> Result<Outcome, CallError> {
        match self.find_intent(budget, reference).await? {
            IntentLookup::Found(intent) => match id_of(&intent) {
                Some(id) => self.cancel_intent(budget, request, id).await,
                None => Ok(UNREADABLE),
            },
            IntentLookup::NotFound => Ok(Outcome::Declined(Decline::new(DeclineClass::Hard, "missing"))),
            IntentLookup::Incomplete => Ok(UNREADABLE),
        }
    }

    /// The intent of this reference, as it is now. Stripe's search is some time behind, as a rule less than a minute, and not available for
    /// every account (docs.stripe.com/search: not for "read-after-write flows"): what it does not find is looked for among the newest ones,
    /// whose list is never behind.
    async fn find_intent(&self, budget: &TimeBudget, reference: &Reference) -> Result<IntentLookup, CallError> {
        let query = Form::default().with("query", format!("metadata['{}']:'{reference}'", wire::REFERENCE));
        let found = match self.client.get(budget, &format!("{INTENTS}/search"), &query).await? {
            ApiResponse::Body(found) => found,
            ApiResponse::Refused(_) => return self.find_among_newest(budget, reference).await,
        };
        let list = found.get("data").and_then(Value::as_array).ok_or(UnknownCause::Unreadable)?;
        match only_match(list, reference)? {
            Some(id) => self.read_intent(budget, id).await.map(IntentLookup::Found),
            None => self.find_among_newest(budget, reference).await,
        }
    }

    /// Reads lists, newest first, as far back as any search is behind.
    async fn find_among_newest(&self, budget: &TimeBudget, reference: &Reference) -> Result<IntentLookup, CallError> {
        let since = self.clock.now().before(SEARCH_LAG).secs().to_string();
        let mut last = None;
        for _ in 0..MAX_PAGES {
            let query =
                Form::default().with("created[gte]", since.as_str()).with("limit", PAGE_LIMIT).with_some("starting_after", last.as_deref());
            let listed = match self.client.get(budget, INTENTS, &query).await? {
                ApiResponse::Body(listed) => listed,
                ApiResponse::Refused(answer) => return Err(answer.to_malformed()),
            };
            let more = listed.get("has_more").and_then(Value::as_bool).ok_or(UnknownCause::Unreadable)?;
            let list = listed.get("data").and_then(Value::as_array).ok_or(UnknownCause::Unreadable)?;
            match only_match(list, reference)? {
                Some(id) => return self.read_intent(budget, id).await.map(IntentLookup::Found),
                None if !more => return Ok(IntentLookup::NotFound),
                None => last = Some(list.last().and_then(id_of).ok_or(UnknownCause::Unreadable)?.to_owned()),
            }
        }
        Ok(IntentLookup::Incomplete)
    }

    /// Reads an intent that is there.
    pub(super) async fn read_intent(&self, budget: &TimeBudget, id: &str) -> Result<Value, CallError> {
        let (collection, query) = if is_id(id, "seti_") {
            (SETUPS, Form::default().with("expand[0]", "payment_method"))
        } else {
            (INTENTS, Form::default().with("expand[0]", "latest_charge").with("expand[1]", "payment_method"))
        };
        match self.client.get(budget, &format!("{collection}/{id}"), &query).await? {
            ApiResponse::Body(intent) if id_of(&intent) == Some(id) => Ok(intent),
            ApiResponse::Body(_) => Err(UnknownCause::Unreadable.into()),
            ApiResponse::Refused(answer) => Err(answer.to_malformed()),
        }
    }

    /// Gives captured money back.
    pub(super) async fn create_refund(&self, request: &RefundRequest) -> Result<Outcome, CallError> {
        ensure_refundable(request)?;
        let amount = currency::amount(request.amount)?;
        let payment = &request.external_payment_id;
        let form = Form::default()
            .with("payment_intent", payment_path_id(payment)?)
            .with("amount", amount)
            .with(&format!("metadata[{}]", wire::REFERENCE), request.reference.as_str());
        let budget = TimeBudget::new(CALL_TIMEOUT);
        let expected = ExpectedPayment { reference: &request.reference, amount: request.amount, capture_method: None, customer: None };
        match self.client.post(&budget, REFUNDS, &form, request.key.as_str()).await? {
            ApiResponse::Body(refund) => Ok(wire::read_refund(&refund, &expected, payment)),
            // What is refused may have been done by a call that Stripe no longer remembers the key of.
            ApiResponse::Refused(answer) => match self.find_refund(&budget, &expected, payment).await? {
                Some(outcome) => Ok(outcome),
                None => refund_refusal(&answer),
            },
        }
    }

    /// Our refund among those of the payment.
    async fn find_refund(
        &self,
        budget: &TimeBudget,
        expected: &ExpectedPayment<'_>,
        payment: &ExternalPaymentId,
    ) -> Result<Option<Outcome>, CallError> {
        let query = Form::default().with("payment_intent", payment_path_id(payment)?).with("limit", PAGE_LIMIT);
        let listed = match self.client.get(budget, REFUNDS, &query).await? {
            ApiResponse::Body(listed) => listed,
            ApiResponse::Refused(answer) => return Err(answer.to_malformed()),
        };
        let refunds = listed.get("data").and_then(Value::as_array).ok_or(UnknownCause::Unreadable)?;
        let ours = refunds.iter().find(|refund| wire::reference_of(refund).as_ref() == Some(expected.reference));
        match ours {
            Some(refund) => Ok(Some(wire::read_refund(refund, expected, payment))),
            None if listed.get("has_more").and_then(Value::as_bool) == Some(true) => Err(UnknownCause::Unreadable.into()),
            None => Ok(None),
        }
    }

    /// Detaches stored details, which ends them.
    pub(super) async fn detach_method(&self, request: &DeleteDetailsRequest) -> Result<Outcome, CallError> {
        let token = StripeToken::read(&request.token)?;
        let method = token.payment_method.expose();
        let budget = TimeBudget::new(CALL_TIMEOUT);
        let path = format!("{METHODS}/{method}/detach");
        let answer = match self.client.post(&budget, &path, &Form::default(), request.key.as_str()).await? {
            ApiResponse::Body(gone) if is_detached(&gone, method) => return Ok(Outcome::Done(Operation::default())),
            ApiResponse::Body(_) => return Ok(UNREADABLE),
            ApiResponse::Refused(answer) if answer.is_missing() => return Ok(Outcome::Done(Operation::default())),
            ApiResponse::Refused(answer) => answer,
        };
        // Stripe has no code for "it is detached already".
        match self.client.get(&budget, &format!("{METHODS}/{method}"), &Form::default()).await? {
            ApiResponse::Body(gone) if is_detached(&gone, method) => Ok(Outcome::Done(Operation::default())),
            ApiResponse::Refused(missing) if missing.is_missing() => Ok(Outcome::Done(Operation::default())),
            ApiResponse::Body(_) | ApiResponse::Refused(_) => Err(answer.to_malformed()),
        }
    }

    /// What became of a write. `None` if Stripe finds nothing (yet): then the same call under the same key is right.
    pub(super) async fn look_up_write(&self, request: &InquiryRequest) -> Result<Option<Outcome>, CallError> {
        use crate::gateway::OperationKind as Kind;
        // A customer may wait for it, or the call is to be sent again afterwards.
        let budget = TimeBudget::new(CUSTOMER_PRESENT_TIMEOUT);
        let Some(amount) = request.amount.filter(|amount| !amount.is_zero()) else {
            return if request.operation == Kind::Cancel { self.look_up_cancel(&budget, &request.reference).await } else { Ok(None) };
        };
        let expected = |capture_method| ExpectedPayment { reference: &request.reference, amount, capture_method, customer: None };
        match (request.operation, &request.external_payment_id) {
            (Kind::Refund, Some(payment)) => self.find_refund(&budget, &expected(None), payment).await,
            (Kind::Capture, Some(payment)) => {
                let intent = self.read_intent(&budget, payment_path_id(payment)?).await?;
                let held = wire::status(&intent) == "requires_capture";
                Ok((!held).then(|| read_captured(&intent, &expected(Some(CaptureMethod::Manual)))))
            }
            (Kind::Authorise | Kind::Charge | Kind::Purchase, _) => {
                let capture_method = if request.operation == Kind::Authorise { CaptureMethod::Manual } else { CaptureMethod::Automatic };
                let found = match &request.external_payment_id {
                    Some(payment) => IntentLookup::Found(self.read_intent(&budget, payment_path_id(payment)?).await?),
                    None => self.find_intent(&budget, &request.reference).await?,
                };
                match found {
                    IntentLookup::Found(intent) => Ok(Some(wire::read_payment(&intent, &expected(Some(capture_method))))),
                    IntentLookup::NotFound | IntentLookup::Incomplete => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    async fn look_up_cancel(&self, budget: &TimeBudget, reference: &Reference) -> Result<Option<Outcome>, CallError> {
        match self.find_intent(budget, reference).await? {
            IntentLookup::Found(intent) if matches!(wire::status(&intent), "canceled" | "succeeded") => {
                Ok(id_of(&intent).map(|id| read_cancelled(&intent, id, reference)))
            }
            _ => Ok(None),
        }
    }
}

/// Reads an intent that was captured, or that cannot be any more.
fn read_captured(intent: &Value, expected: &ExpectedPayment<'_>) -> Outcome {
    match wire::status(intent) {
        "succeeded" | "canceled" | "processing" => wire::read_payment(intent, expected),
        _ => UNREADABLE,
    }
}

/// Reads an intent that was to be released. What was never confirmed or refused holds nothing once it is canceled.
fn read_cancelled(intent: &Value, id: &str, reference: &Reference) -> Outcome {
    if id_of(intent) != Some(id) {
        return UNREADABLE;
    }
    if wire::reference_of(intent).is_some_and(|told| told != *reference) {
        return Outcome::Unknown(UnknownCause::AnotherPayment);
    }
    let Some(payment) = wire::external_id(intent) else { return UNREADABLE };
    match wire::status(intent) {
        "canceled" => Outcome::Done(Operation { external_payment_id: Some(payment), ..Operation::default() }),
        // Stored details hold no money.
        "succeeded" if is_id(id, "seti_") => Outcome::Done(Operation { external_payment_id: Some(payment), ..Operation::default() }),
        "succeeded" => already_captured(payment),
        "processing" => Outcome::Unknown(UnknownCause::InProgress),
        _ => UNREADABLE,
    }
}

fn refund_refusal(answer: &StripeError) -> Result<Outcome, CallError> {
    let listed = declines::from_code(answer.most_specific_code());
    if answer.is_decline() || listed.class == DeclineClass::Hard {
        return Ok(Outcome::Declined(listed));
    }
    Err(answer.to_malformed())
}

fn is_detached(method: &Value, id: &str) -> bool {
    id_of(method) == Some(id) && method.get("customer").is_some_and(Value::is_null)
}
