//! One call to Stripe: key, version, form, and what a status means. Must never repeat a body in an error, nor decide by `message`.

use std::sync::Arc;

use bytes::Bytes;
use form_urlencoded::Serializer;
use serde_json::Value;

use super::declines::is_code;
use super::id::id_of;
use crate::gateway::common::call::{Answer, CallError, read_status};
use crate::gateway::common::rotating_keys::RotatingKeys;
use crate::gateway::common::time_budget::TimeBudget;
use crate::gateway::{GatewayError, UnknownCause};
use crate::http::{HeaderName, Method, Request, Response, Transport};
use crate::secret::SecretString;

/// The version of the API that this adapter is written for. Without it the account's own default would decide, which changes.
pub(super) const VERSION: &str = "2023-08-16";

const AUTHORIZATION: HeaderName = HeaderName::from_static("authorization");
const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CONTENT_TYPE: HeaderName = HeaderName::from_static("content-type");
/// The amount is below the minimum of its currency (docs.stripe.com/error-codes).
const AMOUNT_TOO_SMALL: &str = "amount_too_small";
const SHOULD_RETRY: &str = "stripe-should-retry";

/// The fields of a request as Stripe wants them: a form, with brackets for what lies deeper (docs.stripe.com/api, "Form encoding").
#[derive(Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Adds a field; `name` may hold brackets: `metadata[reference]`, `expand[0]`.
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a field where there is something to say.
    pub(super) fn with_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    fn encode(&self) -> String {
        Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }
}

/// What Stripe answered.
pub(super) enum ApiResponse {
    /// A 2xx with a JSON object, still to be understood.
    Body(Value),
    /// A 400, 402 or 404 with an error of the right form: nothing was done, or a payment was refused.
    Refused(StripeError),
}

/// Stripe's error object (2023-08-16, `api_errors`), as far as it decides anything.
pub(super) struct StripeError {
    status: u16,
    error: Value,
}

impl StripeError {
    fn text(&self, name: &str) -> Option<&str> {
        self.error.get(name).and_then(Value::as_str).filter(|text| is_code(text))
    }

    /// A payment was refused: HTTP 402, `card_error`.
    pub(super) fn is_decline(&self) -> bool {
        self.status == 402 && self.text("type") == Some("card_error")
    }

    pub(super) fn code(&self) -> Option<&str> {
        self.text("code")
    }

    /// The code that says most: the bank's, else Stripe's, else the kind of error.
    pub(super) fn most_specific_code(&self) -> &str {
        self.text("decline_code").or_else(|| self.code()).or_else(|| self.text("type")).unwrap_or("unspecified")
    }

    /// Whether nothing of that name exists.
    pub(super) fn is_missing(&self) -> bool {
        self.code() == Some("resource_missing")
    }

    /// The parameter that it is about.
    pub(super) fn param(&self) -> Option<&str> {
        self.error.get("param").and_then(Value::as_str)
    }

    /// The object itself: declines have the same fields in an intent's `last_payment_error`.
    pub(super) const fn error(&self) -> &Value {
        &self.error
    }

    /// The intent that was refused or is in another state than the call wants; it exists although the status is no 2xx.
    pub(super) fn intent(&self) -> Option<&Value> {
        let intent = self.error.get("payment_intent").or_else(|| self.error.get("setup_intent"));
        intent.filter(|intent| id_of(intent).is_some())
    }

    /// The outcome of a refusal that is not a decline.
    pub(super) fn to_malformed(&self) -> CallError {
        match self.code() {
            Some(code) if code == AMOUNT_TOO_SMALL => GatewayError::BelowMinimum { code: code.to_owned() }.into(),
            _ => CallError::malformed(self.most_specific_code()),
        }
    }
}

/// The way to Stripe.
pub(super) struct Client {
    transport: Arc<dyn Transport>,
    base_url: String,
    keys: RotatingKeys,
}

impl Client {
    pub(super) const fn new(transport: Arc<dyn Transport>, base_url: String, keys: RotatingKeys) -> Self {
        Self { transport, base_url, keys }
    }

    /// Posts a form under an idempotency key.
    pub(super) async fn post(&self, budget: &TimeBudget, path: &str, form: &Form, key: &str) -> Result<ApiResponse, CallError> {
        // Stripe wants the content type even where there is nothing to say.
        let mut request = self
            .request(budget, Method::POST, path)?
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(IDEMPOTENCY_KEY, key)
            .repeatable();
        request.body = Bytes::from(form.encode());
        self.send(budget, request).await
    }

    /// Reads.
    pub(super) async fn get(&self, budget: &TimeBudget, path: &str, query: &Form) -> Result<ApiResponse, CallError> {
        let query = query.encode();
        let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        self.send(budget, self.request(budget, Method::GET, &path)?).await
    }

    /// Whether Stripe takes the key: what is asked for does not exist, and saying so is the right answer.
    pub(super) async fn check_access(&self, budget: &TimeBudget) -> Result<(), CallError> {
        match self.get(budget, "/payment_intents/pi_access_check", &Form::default()).await? {
            ApiResponse::Body(_) => Ok(()),
            ApiResponse::Refused(refused) if refused.is_missing() => Ok(()),
            ApiResponse::Refused(refused) => Err(refused.to_malformed()),
        }
    }

    fn request(&self, budget: &TimeBudget, method: Method, path: &str) -> Result<Request, CallError> {
        Ok(Request::new(method, format!("{}/v1{path}", self.base_url), budget.for_call()?).header(STRIPE_VERSION, VERSION))
    }

    async fn send(&self, budget: &TimeBudget, request: Request) -> Result<ApiResponse, CallError> {
        let sign = |request: Request, key: &SecretString| {
            request.secret_header(AUTHORIZATION, SecretString::new(format!("Bearer {}", key.expose())))
        };
        read(self.keys.send(self.transport.as_ref(), budget, request, sign).await?)
    }
}

/// What an answer means (docs.stripe.com/api/errors).
fn read(response: Response) -> Result<ApiResponse, CallError> {
    match read_status(response, &[400, 402, 404, 409], |_| None)? {
        Answer::Body(body) => Ok(ApiResponse::Body(body)),
        Answer::Empty => Err(UnknownCause::Unreadable.into()),
        Answer::Refusal(response) => read_refusal(&response),
    }
}

fn read_refusal(response: &Response) -> Result<ApiResponse, CallError> {
    let status = response.status.as_u16();
    let error = response.json().and_then(|mut body| body.get_mut("error").map(Value::take)).filter(Value::is_object);
    let refused = StripeError { status, error: error.ok_or(UnknownCause::Unreadable)? };
    match refused.text("type") {
        // Stripe's own word on technical failures, before the status (stripe-node, `RequestSender`): the same call will go through.
        // Another request with this key is being processed, or the object is locked.
        Some("idempotency_error" | "invalid_request_error") if status == 409 => Err(UnknownCause::InProgress.into()),
        Some("invalid_request_error") if should_retry(response) => Err(UnknownCause::InProgress.into()),
        Some("card_error" | "invalid_request_error") => Ok(ApiResponse::Refused(refused)),
        // The key was used for another call than this one: what that one did is not said here.
        _ => Err(UnknownCause::Unreadable.into()),
    }
}

fn should_retry(response: &Response) -> bool {
    response.headers.get(SHOULD_RETRY).is_some_and(|value| value.as_bytes() == b"true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_brackets_and_escapes_what_is_not_plain() {
        let form = Form::default().with("metadata[reference]", "clg-1").with("expand[0]", "latest_charge").with("a", "x y&z=ä");
        assert_eq!(form.encode(), "metadata%5Breference%5D=clg-1&expand%5B0%5D=latest_charge&a=x+y%26z%3D%C3%A4");
    }
}
