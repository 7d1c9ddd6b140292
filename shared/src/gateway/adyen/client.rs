//! One call to Adyen: credentials, idempotency key, and what a status means. Must never repeat a body in an error, nor decide by `message`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::gateway::common::call::{Answer, CallError, read_status};
use crate::gateway::common::rotating_keys::RotatingKeys;
use crate::gateway::common::time_budget::TimeBudget;
use crate::gateway::{GatewayError, IdempotencyKey, UnknownCause};
use crate::http::{HeaderName, Method, Request, Response, Transport};
use crate::secret::SecretString;

/// The longest time that one call takes, a second try with the other API key included.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(25);

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// "Request already processed or in progress" (docs.adyen.com, "API idempotency").
const IN_PROGRESS: &str = "704";

/// The way to one Adyen endpoint.
pub(super) struct Client {
    transport: Arc<dyn Transport>,
    base_url: String,
    keys: RotatingKeys,
}

impl Client {
    pub(super) const fn new(
        transport: Arc<dyn Transport>,
        base_url: String,
        api_key: SecretString,
        previous_api_key: Option<SecretString>,
    ) -> Self {
        Self { transport, base_url, keys: RotatingKeys::new(api_key, previous_api_key) }
    }

    /// Posts under an idempotency key.
    pub(super) async fn post(&self, path: &str, body: &Value, key: &IdempotencyKey) -> Result<Value, CallError> {
        let request = Request::new(Method::POST, format!("{}{path}", self.base_url), CALL_TIMEOUT)
            .header(IDEMPOTENCY_KEY, key.as_str())
            .json(body)
            .repeatable();
        read(self.send(request).await?)
    }

    /// Posts a question that changes nothing.
    pub(super) async fn ask(&self, path: &str, body: &Value) -> Result<Value, CallError> {
        let request = Request::new(Method::POST, format!("{}{path}", self.base_url), CALL_TIMEOUT).json(body).repeatable();
        read(self.send(request).await?)
    }

    /// Deletes; no idempotency key, as Adyen takes them with POST only and a second deletion changes nothing. What is gone already (404, or
    /// one of these codes) is deleted.
    pub(super) async fn delete(&self, path_and_query: &str, gone: &[&str]) -> Result<(), CallError> {
        let request = Request::new(Method::DELETE, format!("{}{path_and_query}", self.base_url), CALL_TIMEOUT).repeatable();
        let response = self.send(request).await?;
        let is_gone = ServiceError::read(&response).code.is_some_and(|code| gone.contains(&code.as_str()));
        if response.status.is_success() || response.status.as_u16() == 404 || is_gone {
            return Ok(());
        }
        read(response).map(drop)
    }

    async fn send(&self, request: Request) -> Result<Response, CallError> {
        let sign = |request: Request, key: &SecretString| request.secret_header(API_KEY, key.clone());
        self.keys.send(self.transport.as_ref(), &TimeBudget::new(CALL_TIMEOUT), request, sign).await
    }
}

/// What an answer means (CheckoutService v71, `ServiceError`).
fn read(response: Response) -> Result<Value, CallError> {
    match read_status(response, &[400, 409, 422], |response| ServiceError::read(response).code)? {
        Answer::Body(body) => Ok(body),
        Answer::Empty => Err(UnknownCause::Unreadable.into()),
        Answer::Refusal(response) => Err(read_refusal(ServiceError::read(&response))),
    }
}

fn read_refusal(error: ServiceError) -> CallError {
    match (error.code, error.kind.as_deref()) {
        (Some(code), _) if code == IN_PROGRESS => UnknownCause::InProgress.into(),
        (Some(code), Some("validation" | "configuration")) => CallError::malformed(code),
        (Some(code), Some("security")) => GatewayError::Credentials { code }.into(),
        _ => UnknownCause::Unreadable.into(),
    }
}

/// Adyen's error object, as far as it decides anything.
struct ServiceError {
    /// `errorCode`, if it has the form of one: digits and underscores, such as `000` or `14_030`.
    code: Option<String>,
    kind: Option<String>,
}

impl ServiceError {
    fn read(response: &Response) -> Self {
        let body = response.json().unwrap_or_default();
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let code = text("errorCode").filter(|code| is_error_code(code));
        Self { code: code.map(str::to_owned), kind: text("errorType").map(str::to_owned) }
    }
}

fn is_error_code(code: &str) -> bool {
    (1..=16).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}
