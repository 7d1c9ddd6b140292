//! One call to Adyen: credentials, idempotency key, and what a status means. Must never repeat a body in an error, nor decide by `message`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::gateway::rotating_keys::RotatingKeys;
use crate::gateway::time_budget::TimeBudget;
use crate::gateway::{GatewayError, IdempotencyKey, Outcome, UnknownCause};
use crate::http::{HeaderName, Method, Request, Response, Transport, TransportCause, TransportError};
use crate::secret::SecretString;

/// The longest time that one call takes, a second try with the other API key included.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(25);

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// "Request already processed or in progress" (docs.adyen.com, "API idempotency").
const IN_PROGRESS: &str = "704";

/// What came back.
pub(super) enum ApiResponse {
    /// A 2xx with a JSON object, still to be understood.
    Body(Value),
    /// Nothing that can be read further; the outcome is known to be this.
    Decided(Outcome),
}

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

    /// Posts under an idempotency key. `Err` is known to have had no effect.
    pub(super) async fn post(&self, path: &str, body: &Value, key: &IdempotencyKey) -> Result<ApiResponse, GatewayError> {
        let request = Request::new(Method::POST, format!("{}{path}", self.base_url), CALL_TIMEOUT)
            .header(IDEMPOTENCY_KEY, key.as_str())
            .json(body)
            .repeatable();
        let response = match self.send(request).await? {
            Ok(response) => response,
            Err(error) => return unanswered(error),
        };
        if !response.status.is_success() {
            return read_failure(&response).map(ApiResponse::Decided);
        }
        Ok(response.json().filter(Value::is_object).map_or_else(unreadable, ApiResponse::Body))
    }

    /// Posts a question that changes nothing; what it answers does not matter, only that it does.
    pub(super) async fn probe(&self, path: &str, body: &Value) -> Result<(), GatewayError> {
        let request = Request::new(Method::POST, format!("{}{path}", self.base_url), CALL_TIMEOUT).json(body).repeatable();
        let response = self.send(request).await?.map_err(GatewayError::Unreachable)?;
        let readable = response.json().is_some_and(|body| body.is_object());
        if response.status.is_success() && readable {
            return Ok(());
        }
        read_failure(&response)?;
        Err(GatewayError::Unreachable(TransportError::NoResponse(TransportCause::Malformed)))
    }

    /// Deletes; no idempotency key, as Adyen takes them with POST only and a second deletion changes nothing.
    pub(super) async fn delete(&self, path_and_query: &str) -> Result<Result<Response, TransportError>, GatewayError> {
        let request = Request::new(Method::DELETE, format!("{}{path_and_query}", self.base_url), CALL_TIMEOUT).repeatable();
        self.send(request).await
    }

    async fn send(&self, request: Request) -> Result<Result<Response, TransportError>, GatewayError> {
        let sign = |request: Request, key: &SecretString| request.secret_header(API_KEY, key.clone());
        self.keys.send(self.transport.as_ref(), &TimeBudget::new(CALL_TIMEOUT), request, sign).await
    }
}

fn unreadable() -> ApiResponse {
    ApiResponse::Decided(Outcome::Unknown(UnknownCause::Unreadable))
}

/// What a missing answer means.
pub(super) const fn unanswered(error: TransportError) -> Result<ApiResponse, GatewayError> {
    match error {
        TransportError::NotSent(_) => Err(GatewayError::Unreachable(error)),
        TransportError::NoResponse(_) => Ok(ApiResponse::Decided(Outcome::Unknown(UnknownCause::NoAnswer(error)))),
    }
}

/// What an answer outside 2xx means (CheckoutService v71, `ServiceError`). A 4xx whose error cannot be read is unknown, not refused: it
/// could be "still in progress".
pub(super) fn read_failure(response: &Response) -> Result<Outcome, GatewayError> {
    let status = response.status.as_u16();
    let error = ServiceError::read(response);
    match status {
        401 | 403 => Err(GatewayError::Credentials { code: error.code.unwrap_or_else(|| status.to_string()) }),
        429 => Err(GatewayError::Throttled { retry_after: response.retry_after() }),
        400 | 409 | 422 => read_refusal(error),
        500.. => Ok(Outcome::Unknown(UnknownCause::ServerError(status))),
        _ => Ok(Outcome::Unknown(UnknownCause::Unreadable)),
    }
}

fn read_refusal(error: ServiceError) -> Result<Outcome, GatewayError> {
    match (error.code, error.kind.as_deref()) {
        (Some(code), _) if code == IN_PROGRESS => Ok(Outcome::Unknown(UnknownCause::InProgress)),
        (Some(code), Some("validation" | "configuration")) => Err(GatewayError::Malformed { code }),
        (Some(code), Some("security")) => Err(GatewayError::Credentials { code }),
        _ => Ok(Outcome::Unknown(UnknownCause::Unreadable)),
    }
}

/// Adyen's error object, as far as it decides anything.
pub(super) struct ServiceError {
    /// `errorCode`, if it has the form of one: digits and underscores, such as `000` or `14_030`.
    pub(super) code: Option<String>,
    kind: Option<String>,
}

impl ServiceError {
    pub(super) fn read(response: &Response) -> Self {
        let body = response.json().unwrap_or_default();
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let code = text("errorCode").filter(|code| is_error_code(code));
        Self { code: code.map(str::to_owned), kind: text("errorType").map(str::to_owned) }
    }
}

fn is_error_code(code: &str) -> bool {
    (1..=16).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}
