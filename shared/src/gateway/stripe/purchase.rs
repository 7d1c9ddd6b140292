//! Purchases and storing with the customer present. The money of a purchase is taken at once. Must never take an amount or a customer from
//! what the browser sent: of that only the payment method's id is passed on.

use serde_json::Value;

use super::client::{ApiResponse, Form};
use super::id::{id_of, is_id};
use super::payments::{INTENTS, SETUPS, refusal_outcome, with_metadata};
use super::wire::{self, CaptureMethod, ExpectedPayment};
use super::{CUSTOMER_PRESENT_TIMEOUT, Stripe, currency};
use crate::gateway::common::call::CallError;
use crate::gateway::common::time_budget::TimeBudget;
use crate::gateway::{FinalizeRequest, Outcome, PurchaseRequest, UnknownCause};

const CUSTOMERS: &str = "/customers";

/// The names under which Stripe says in the return URL which intent the customer comes from (docs.stripe.com/payments/3d-secure).
const PENDING_ID_PARAMETERS: [&str; 2] = ["payment_intent", "setup_intent"];

/// The payment method that Stripe's script in the page made: `{"paymentMethod": {"id": "pm_…"}}`.
fn payment_method_id(request: &PurchaseRequest) -> Result<&str, CallError> {
    let id = request.payment_data.get("paymentMethod").and_then(|method| method.get("id")).and_then(Value::as_str);
    id.filter(|id| is_id(id, "pm_")).ok_or_else(|| CallError::malformed("payment_method_missing"))
}

/// Whether the page finishes authentication by Stripe's script, without leaving: it says so by `"useStripeSdk": true`.
fn uses_stripe_sdk(request: &PurchaseRequest) -> bool {
    request.payment_data.get("useStripeSdk").and_then(Value::as_bool) == Some(true)
}

impl Stripe {
    /// Starts a purchase.
    pub(super) async fn start_payment(&self, request: &PurchaseRequest) -> Result<Outcome, CallError> {
        let (method, amount) = (payment_method_id(request)?, currency::amount(request.amount)?);
        let budget = TimeBudget::new(CUSTOMER_PRESENT_TIMEOUT);
        let customer = self.find_or_create_customer(&budget, request).await?;
        let form = Form::default()
            .with("amount", amount)
            .with("currency", currency::code(request.amount))
            .with("capture_method", CaptureMethod::Automatic.as_str())
            // Said already now, or later payments without the customer would need them.
            .with_some("setup_future_usage", request.store.then_some("off_session"))
            .with("expand[0]", "latest_charge")
            .with("expand[1]", "payment_method");
        let form = with_confirmation(form, request, method, &customer);
        let expected = ExpectedPayment { capture_method: Some(CaptureMethod::Automatic), ..expected_payment(request) };
        match self.client.post(&budget, INTENTS, &form, request.key.as_str()).await? {
            ApiResponse::Body(intent) => Ok(wire::read_payment(&intent, &expected)),
            ApiResponse::Refused(answer) => refusal_outcome(&answer, &expected),
        }
    }

    /// Starts storing details without a charge.
    pub(super) async fn start_setup(&self, request: &PurchaseRequest) -> Result<Outcome, CallError> {
        let method = payment_method_id(request)?;
        let budget = TimeBudget::new(CUSTOMER_PRESENT_TIMEOUT);
        let customer = self.find_or_create_customer(&budget, request).await?;
        let form = Form::default().with("usage", "off_session").with("expand[0]", "payment_method");
        let form = with_confirmation(form, request, method, &customer);
        match self.client.post(&budget, SETUPS, &form, request.key.as_str()).await? {
            ApiResponse::Body(intent) => Ok(wire::read_setup(&intent, &expected_payment(request))),
            ApiResponse::Refused(answer) => refusal_outcome(&answer, &expected_payment(request)),
        }
    }

    /// The customer is back, or a notification came: the intent says what became of it. Nothing of what the customer brought decides.
    pub(super) async fn finalize_intent(&self, request: &FinalizeRequest) -> Result<Outcome, CallError> {
        let pending_id = request.pending_id.as_deref().ok_or_else(|| CallError::malformed("nothing_pending"))?;
        // The data that a page submits is one level lower.
        let details = request.details.get("details").filter(|nested| nested.is_object()).unwrap_or(&request.details);
        if PENDING_ID_PARAMETERS.iter().any(|name| details.get(*name).is_some_and(|told| told.as_str() != Some(pending_id))) {
            return Ok(Outcome::Unknown(UnknownCause::AnotherPayment));
        }
        let storing = is_id(pending_id, "seti_");
        if storing != request.amount.is_zero() || !(storing || is_id(pending_id, "pi_")) {
            return Err(CallError::malformed("pending_id"));
        }
        let budget = TimeBudget::new(CUSTOMER_PRESENT_TIMEOUT);
        let expected = ExpectedPayment {
            reference: &request.reference,
            amount: request.amount,
            capture_method: Some(CaptureMethod::Automatic),
            customer: Some(&request.customer),
        };
        let intent = self.read_intent(&budget, pending_id).await?;
        if wire::status(&intent) == "requires_confirmation" {
            return self.confirm(&budget, pending_id, storing, &expected).await;
        }
        Ok(if storing { wire::read_setup(&intent, &expected) } else { wire::read_payment(&intent, &expected) })
    }

    /// After authentication some intents wait for one more word of ours. The key is made of our reference and not of the call's: it is the
    /// same confirmation in every call.
    async fn confirm(&self, budget: &TimeBudget, id: &str, storing: bool, expected: &ExpectedPayment<'_>) -> Result<Outcome, CallError> {
        let (collection, form) = if storing {
            (SETUPS, Form::default().with("expand[0]", "payment_method"))
        } else {
            (INTENTS, Form::default().with("expand[0]", "latest_charge").with("expand[1]", "payment_method"))
        };
        let key = format!("{}-confirm", expected.reference.as_str());
        match self.client.post(budget, &format!("{collection}/{id}/confirm"), &form, &key).await? {
            ApiResponse::Body(intent) if storing => Ok(wire::read_setup(&intent, expected)),
            ApiResponse::Body(intent) => Ok(wire::read_payment(&intent, expected)),
            ApiResponse::Refused(answer) => refusal_outcome(&answer, expected),
        }
    }

    /// The customer at Stripe to whom details are attached: the one that an earlier purchase made, else a new one.
    async fn find_or_create_customer(&self, budget: &TimeBudget, request: &PurchaseRequest) -> Result<String, CallError> {
        let ours = request.customer.as_str();
        // Search is a convenience, and not available for every account: without it a second customer is created, which costs nothing.
        if ours.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            let query = Form::default().with("query", format!("metadata['{}']:'{ours}'", wire::CUSTOMER)).with("limit", "1");
            if let Ok(ApiResponse::Body(found)) = self.client.get(budget, &format!("{CUSTOMERS}/search"), &query).await
                && let Some(id) = found.get("data").and_then(|data| data.get(0)).and_then(|customer| matching_customer_id(customer, ours))
            {
                return Ok(id.to_owned());
            }
        }
        let form = Form::default().with(&format!("metadata[{}]", wire::CUSTOMER), ours);
        // The same for every start of one customer: two customers at once would be two sets of parameters under the key of a start that is
        // sent again.
        let key = format!("clg-customer-{ours}");
        match self.client.post(budget, CUSTOMERS, &form, &key).await? {
            ApiResponse::Body(customer) => Ok(matching_customer_id(&customer, ours).ok_or(UnknownCause::Unreadable)?.to_owned()),
            ApiResponse::Refused(answer) => Err(answer.to_malformed()),
        }
    }
}

/// The id of a customer that is Cleeng's customer and still there.
fn matching_customer_id<'a>(customer: &'a Value, ours: &str) -> Option<&'a str> {
    let told = customer.get("metadata").and_then(|metadata| metadata.get(wire::CUSTOMER)).and_then(Value::as_str);
    let deleted = customer.get("deleted").and_then(Value::as_bool) == Some(true);
    if told == Some(ours) && !deleted { id_of(customer).filter(|id| is_id(id, "cus_")) } else { None }
}

/// The fields of an intent that is confirmed at once, with the customer present.
fn with_confirmation(form: Form, request: &PurchaseRequest, method: &str, customer: &str) -> Form {
    let form = form
        .with("customer", customer)
        .with("payment_method", method)
        .with("payment_method_types[0]", "card")
        .with("confirm", "true")
        .with("return_url", request.return_url.as_str())
        .with_some("use_stripe_sdk", uses_stripe_sdk(request).then_some("true"));
    with_metadata(form, &request.reference, request.customer.as_str())
}

const fn expected_payment(request: &PurchaseRequest) -> ExpectedPayment<'_> {
    ExpectedPayment { reference: &request.reference, amount: request.amount, capture_method: None, customer: Some(&request.customer) }
}
