//! Purchases and storing with the customer present. The money of a purchase is taken at once. Must never take an amount or a customer from what
//! the browser sent: of that only the payment method's id is passed on.

use serde_json::Value;

use super::client::{Answer, Form};
use super::payments::{INTENTS, SETUPS, marked, refused};
use super::wire::{self, Asked, Taking};
use super::{CUSTOMER_WAITS, Stripe, currency};
use crate::gateway::budget::Budget;
use crate::gateway::{FinalizeRequest, GatewayError, Outcome, PurchaseRequest, UnknownCause};

const CUSTOMERS: &str = "/customers";

/// The names under which Stripe tells in the return URL which intent the customer comes from (docs.stripe.com/payments/3d-secure).
const NAMES_OF_STARTED: [&str; 2] = ["payment_intent", "setup_intent"];

/// The payment method that Stripe's script in the page made: `{"paymentMethod": {"id": "pm_…"}}`.
fn method_of(request: &PurchaseRequest) -> Result<&str, GatewayError> {
    let id = request.payment_data.get("paymentMethod").and_then(|method| method.get("id")).and_then(Value::as_str);
    id.filter(|id| wire::is_id(id, "pm_")).ok_or_else(|| GatewayError::Malformed { code: "payment_method_missing".to_owned() })
}

/// Whether the page finishes authentication by Stripe's script, without leaving: it says so by `"useStripeSdk": true`.
fn within_the_page(request: &PurchaseRequest) -> bool {
    request.payment_data.get("useStripeSdk").and_then(Value::as_bool) == Some(true)
}

impl Stripe {
    /// Starts a purchase.
    pub(super) async fn start_payment(&self, request: &PurchaseRequest) -> Result<Outcome, GatewayError> {
        let (method, amount) = (method_of(request)?, currency::amount(request.amount)?);
        let budget = Budget::new(CUSTOMER_WAITS);
        let customer = match self.customer(&budget, request).await? {
            Ok(customer) => customer,
            Err(cause) => return Ok(Outcome::Unknown(cause)),
        };
        let form = Form::default()
            .with("amount", amount)
            .with("currency", currency::code(request.amount))
            .with("capture_method", Taking::AtOnce.as_str())
            // Said already now, or later payments without the customer would need him.
            .with_some("setup_future_usage", request.store.then_some("off_session"))
            .with("expand[0]", "latest_charge")
            .with("expand[1]", "payment_method");
        let form = confirmed(form, request, method, &customer);
        let asked = Asked { taking: Some(Taking::AtOnce), ..asked(request) };
        match self.client.post(&budget, INTENTS, &form, request.key.as_str()).await? {
            Answer::Body(intent) => Ok(wire::read_payment(&intent, &asked)),
            Answer::Refused(answer) => refused(&answer, &asked),
            Answer::Unknown(cause) => Ok(Outcome::Unknown(cause)),
        }
    }

    /// Starts storing details without a charge.
    pub(super) async fn start_storing(&self, request: &PurchaseRequest) -> Result<Outcome, GatewayError> {
        let method = method_of(request)?;
        let budget = Budget::new(CUSTOMER_WAITS);
        let customer = match self.customer(&budget, request).await? {
            Ok(customer) => customer,
            Err(cause) => return Ok(Outcome::Unknown(cause)),
        };
        let form = Form::default().with("usage", "off_session").with("expand[0]", "payment_method");
        let form = confirmed(form, request, method, &customer);
        match self.client.post(&budget, SETUPS, &form, request.key.as_str()).await? {
            Answer::Body(intent) => Ok(wire::read_setup(&intent, &asked(request))),
            Answer::Refused(answer) => refused(&answer, &asked(request)),
            Answer::Unknown(cause) => Ok(Outcome::Unknown(cause)),
        }
    }

    /// The customer is back, or Stripe told what became of him: the intent says it. Nothing of what he brought decides anything.
    pub(super) async fn finish(&self, request: &FinalizeRequest) -> Result<Outcome, GatewayError> {
        let Some(started) = request.started.as_deref() else {
            return Err(GatewayError::Malformed { code: "nothing_started".to_owned() });
        };
        // What a page hands in stands one level lower.
        let details = request.details.get("details").filter(|nested| nested.is_object()).unwrap_or(&request.details);
        if NAMES_OF_STARTED.iter().any(|name| details.get(*name).is_some_and(|told| told.as_str() != Some(started))) {
            return Ok(Outcome::Unknown(UnknownCause::AnotherPayment));
        }
        let storing = wire::is_id(started, "seti_");
        if storing != request.amount.is_zero() || !(storing || wire::is_id(started, "pi_")) {
            return Err(GatewayError::Malformed { code: "started_id".to_owned() });
        }
        let budget = Budget::new(CUSTOMER_WAITS);
        let asked = Asked {
            reference: &request.reference,
            amount: request.amount,
            taking: Some(Taking::AtOnce),
            customer: Some(&request.customer),
        };
        let intent = match self.look_at(&budget, started).await? {
            Ok(intent) if wire::status(&intent) == "requires_confirmation" => {
                return self.confirm(&budget, started, storing, &asked).await;
            }
            Ok(intent) => intent,
            Err(cause) => return Ok(Outcome::Unknown(cause)),
        };
        Ok(if storing { wire::read_setup(&intent, &asked) } else { wire::read_payment(&intent, &asked) })
    }

    /// After authentication some intents wait for one more word of ours. The key is made of our reference and not of the call's: whoever says
    /// it, it is the same confirmation.
    async fn confirm(&self, budget: &Budget, id: &str, storing: bool, asked: &Asked<'_>) -> Result<Outcome, GatewayError> {
        let (collection, form) = if storing {
            (SETUPS, Form::default().with("expand[0]", "payment_method"))
        } else {
            (INTENTS, Form::default().with("expand[0]", "latest_charge").with("expand[1]", "payment_method"))
        };
        let key = format!("{}-confirm", asked.reference.as_str());
        match self.client.post(budget, &format!("{collection}/{id}/confirm"), &form, &key).await? {
            Answer::Body(intent) if storing => Ok(wire::read_setup(&intent, asked)),
            Answer::Body(intent) => Ok(wire::read_payment(&intent, asked)),
            Answer::Refused(answer) => refused(&answer, asked),
            Answer::Unknown(cause) => Ok(Outcome::Unknown(cause)),
        }
    }

    /// The customer at Stripe to whom details are attached: the one that an earlier purchase made, else a new one.
    async fn customer(&self, budget: &Budget, request: &PurchaseRequest) -> Result<Result<String, UnknownCause>, GatewayError> {
        let ours = request.customer.as_str();
        // Search is a convenience, and not for every account: without it the customer is made once more, which costs nothing.
        if ours.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            let query = Form::default().with("query", format!("metadata['{}']:'{ours}'", wire::CUSTOMER)).with("limit", "1");
            if let Ok(Answer::Body(found)) = self.client.get(budget, &format!("{CUSTOMERS}/search"), &query).await
                && let Some(id) = found.get("data").and_then(|data| data.get(0)).and_then(|customer| his_id(customer, ours))
            {
                return Ok(Ok(id.to_owned()));
            }
        }
        let form = Form::default().with(&format!("metadata[{}]", wire::CUSTOMER), ours);
        // The same for every start of his: two customers at once would be two sets of parameters under the key of a start that is sent again.
        let key = format!("clg-customer-{ours}");
        match self.client.post(budget, CUSTOMERS, &form, &key).await? {
            Answer::Body(customer) => Ok(his_id(&customer, ours).map(str::to_owned).ok_or(UnknownCause::Unreadable)),
            Answer::Refused(answer) => Err(answer.malformed()),
            Answer::Unknown(cause) => Ok(Err(cause)),
        }
    }
}

/// The id of a customer that is Cleeng's customer and still there.
fn his_id<'a>(customer: &'a Value, ours: &str) -> Option<&'a str> {
    let told = customer.get("metadata").and_then(|metadata| metadata.get(wire::CUSTOMER)).and_then(Value::as_str);
    let deleted = customer.get("deleted").and_then(Value::as_bool) == Some(true);
    if told == Some(ours) && !deleted { wire::id_of(customer).filter(|id| wire::is_id(id, "cus_")) } else { None }
}

/// The fields of an intent that is confirmed at once, with the customer present.
fn confirmed(form: Form, request: &PurchaseRequest, method: &str, customer: &str) -> Form {
    let form = form
        .with("customer", customer)
        .with("payment_method", method)
        .with("payment_method_types[0]", "card")
        .with("confirm", "true")
        .with("return_url", request.return_url.as_str())
        .with_some("use_stripe_sdk", within_the_page(request).then_some("true"));
    marked(form, &request.reference, request.customer.as_str())
}

const fn asked(request: &PurchaseRequest) -> Asked<'_> {
    Asked { reference: &request.reference, amount: request.amount, taking: None, customer: Some(&request.customer) }
}
