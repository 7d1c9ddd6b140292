//! One call to ExampleGateway: key, idempotency key, and what a status means. Must never repeat a body in an error, nor decide by a text that is
//! meant for people.

use std::sync::Arc;

use serde_json::Value;

use crate::gateway::UnknownCause;
use crate::gateway::common::call::{Answer, CallError, read_status};
use crate::gateway::common::rotating_keys::RotatingKeys;
use crate::gateway::common::time_budget::TimeBudget;
use crate::http::{HeaderName, Method, Request, Response, Transport};
use crate::secret::SecretString;

const AUTHORIZATION: HeaderName = HeaderName::from_static("authorization");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What ExampleGateway answered.
pub(super) enum ApiResponse {
    /// A 2xx with a JSON object, still to be understood.
    Body(Value),
    /// A refusal under this code: nothing was done, or a payment was refused.
    Refused(String),
}

/// The way to ExampleGateway.
pub(super) struct Client {
    transport: Arc<dyn Transport>,
    base_url: String,
    keys: RotatingKeys,
}

impl Client {
    pub(super) const fn new(transport: Arc<dyn Transport>, base_url: String, keys: RotatingKeys) -> Self {
        Self { transport, base_url, keys }
    }

    /// Posts under an idempotency key.
    #[expect(dead_code, reason = "the first operation that is written uses it")]
    pub(super) async fn post(&self, budget: &TimeBudget, path: &str, body: &Value, key: &str) -> Result<ApiResponse, CallError> {
        let request = self.request(budget, Method::POST, path)?.header(IDEMPOTENCY_KEY, key).json(body).repeatable();
        self.send(budget, request).await
    }

    /// Reads.
    pub(super) async fn get(&self, budget: &TimeBudget, path: &str) -> Result<ApiResponse, CallError> {
        self.send(budget, self.request(budget, Method::GET, path)?).await
    }

    /// Whether ExampleGateway takes the key. TODO: a question that needs the key and changes nothing.
    pub(super) async fn check_access(&self, budget: &TimeBudget) -> Result<(), CallError> {
        match self.get(budget, "/v1/account").await? {
            ApiResponse::Body(account) => Ok(account.get("id").map(drop).ok_or(UnknownCause::Unreadable)?),
            ApiResponse::Refused(code) => Err(CallError::malformed(code)),
        }
    }

    fn request(&self, budget: &TimeBudget, method: Method, path: &str) -> Result<Request, CallError> {
        Ok(Request::new(method, format!("{}{path}", self.base_url), budget.for_call()?))
    }

    async fn send(&self, budget: &TimeBudget, request: Request) -> Result<ApiResponse, CallError> {
        let sign = |request: Request, key: &SecretString| {
            request.secret_header(AUTHORIZATION, SecretString::new(format!("Bearer {}", key.expose())))
        };
        read(self.keys.send(self.transport.as_ref(), budget, request, sign).await?)
    }
}

/// What an answer means. TODO: the statuses with which the gateway says why it refused, and how.
fn read(response: Response) -> Result<ApiResponse, CallError> {
    match read_status(response, &[400, 404, 422], code_of)? {
        Answer::Body(body) => Ok(ApiResponse::Body(body)),
        Answer::Empty => Err(UnknownCause::Unreadable.into()),
        Answer::Refusal(response) => Ok(ApiResponse::Refused(code_of(&response).ok_or(UnknownCause::Unreadable)?)),
    }
}

/// The gateway's error code, if it has the form of one: anything else could be a text about a person.
fn code_of(response: &Response) -> Option<String> {
    let body = response.json()?;
    let code = body.get("error")?.get("code")?.as_str()?;
    let form = (2..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    form.then(|| code.to_owned())
}
