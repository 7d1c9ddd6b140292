//! One call to PayPal: access token, request id, and what a status means. Must never repeat a body in an error, nor decide by `message`.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::access_tokens::AccessTokens;
use super::declines::is_code;
use crate::gateway::time_budget::TimeBudget;
use crate::gateway::{GatewayError, UnknownCause};
use crate::http::{HeaderName, Method, Request, Response, Transport, TransportError};
use crate::secret::SecretString;

const AUTHORIZATION: HeaderName = HeaderName::from_static("authorization");
const REQUEST_ID: HeaderName = HeaderName::from_static("paypal-request-id");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const CONTENT_TYPE: HeaderName = HeaderName::from_static("content-type");

/// What PayPal answered.
pub(super) enum ApiResponse {
    /// A 2xx with a JSON object, still to be understood.
    Body(Value),
    /// 204.
    Empty,
    /// A 400, 404 or 422 with an issue of the right form.
    Refused {
        /// The status.
        status: u16,
        /// `details[0].issue`, or the error's `name` where it has no details.
        issue: String,
    },
    /// It may or may not have happened.
    Unknown(UnknownCause),
}

/// The way to PayPal.
pub(super) struct Client {
    transport: Arc<dyn Transport>,
    base_url: String,
    access_tokens: AccessTokens,
}

impl Client {
    pub(super) const fn new(transport: Arc<dyn Transport>, base_url: String, access: AccessTokens) -> Self {
        Self { transport, base_url, access_tokens: access }
    }

    /// Posts under a request id, and asks for the whole resource back: the default answer is an id, a status and links. `Err` is known to have
    /// had no effect.
    pub(super) async fn post(
        &self,
        budget: &TimeBudget,
        path: &str,
        body: Option<&Value>,
        request_id: &str,
    ) -> Result<ApiResponse, GatewayError> {
        let mut request = self.request(budget, Method::POST, path)?.header(REQUEST_ID, request_id).header(PREFER, "return=representation");
        request = match body {
            Some(body) => request.json(body),
            // PayPal wants a content type on every POST, even where there is nothing to say.
            None => request.header(CONTENT_TYPE, "application/json"),
        };
        self.send(budget, request.repeatable()).await
    }

    /// Posts bytes as they are, without a request id; only for what changes nothing at PayPal.
    pub(super) async fn post_raw(&self, budget: &TimeBudget, path: &str, body: Bytes) -> Result<ApiResponse, GatewayError> {
        let mut request = self.request(budget, Method::POST, path)?.header(CONTENT_TYPE, "application/json").repeatable();
        request.body = body;
        self.send(budget, request).await
    }

    /// Whether PayPal gives us access: a fresh token, as one that is kept may have been revoked since.
    pub(super) async fn check_access(&self, budget: &TimeBudget) -> Result<(), GatewayError> {
        self.access_tokens.clear().await;
        self.access_tokens.token(None, budget).await.map(drop)
    }

    /// Reads.
    pub(super) async fn get(&self, budget: &TimeBudget, path: &str) -> Result<ApiResponse, GatewayError> {
        self.send(budget, self.request(budget, Method::GET, path)?).await
    }

    /// Deletes; a second deletion changes nothing.
    pub(super) async fn delete(&self, budget: &TimeBudget, path: &str) -> Result<ApiResponse, GatewayError> {
        self.send(budget, self.request(budget, Method::DELETE, path)?.repeatable()).await
    }

    fn request(&self, budget: &TimeBudget, method: Method, path: &str) -> Result<Request, GatewayError> {
        Ok(Request::new(method, format!("{}{path}", self.base_url), budget.for_call()?))
    }

    /// Sends with the access token that is kept, and once with a new one if PayPal does not take it (401: nothing was done).
    async fn send(&self, budget: &TimeBudget, request: Request) -> Result<ApiResponse, GatewayError> {
        let token = self.access_tokens.token(None, budget).await?;
        let answered = self.send_with(budget, request.clone(), &token).await?;
        match answered {
            Ok(response) if response.status.as_u16() == 401 => {
                let renewed = self.access_tokens.token(Some(&token), budget).await?;
                read(self.send_with(budget, request, &renewed).await?)
            }
            other => read(other),
        }
    }

    async fn send_with(
        &self,
        budget: &TimeBudget,
        request: Request,
        token: &SecretString,
    ) -> Result<Result<Response, TransportError>, GatewayError> {
        let timeout = budget.for_call()?;
        let bearer = SecretString::new(format!("Bearer {}", token.expose()));
        Ok(self.transport.send(Request { timeout, ..request }.secret_header(AUTHORIZATION, bearer)).await)
    }
}

/// What an answer means by its status (the specifications' `responses`). A 4xx whose error cannot be read is unknown, not refused: it could be
/// "still in progress".
fn read(answered: Result<Response, TransportError>) -> Result<ApiResponse, GatewayError> {
    let response = match answered {
        Ok(response) => response,
        Err(error @ TransportError::NotSent(_)) => return Err(GatewayError::Unreachable(error)),
        Err(error @ TransportError::NoResponse(_)) => return Ok(ApiResponse::Unknown(UnknownCause::NoAnswer(error))),
    };
    let status = response.status.as_u16();
    let unreadable = ApiResponse::Unknown(UnknownCause::Unreadable);
    match status {
        204 if response.body.is_empty() => Ok(ApiResponse::Empty),
        200..=299 => Ok(response.json().filter(Value::is_object).map_or(unreadable, ApiResponse::Body)),
        401 | 403 => Err(GatewayError::Credentials { code: issue_of(&response).unwrap_or_else(|| status.to_string()) }),
        429 => Err(GatewayError::Throttled { retry_after: response.retry_after() }),
        409 => Ok(issue_of(&response).map_or(unreadable, |_| ApiResponse::Unknown(UnknownCause::InProgress))),
        400 | 404 | 422 => Ok(issue_of(&response).map_or(unreadable, |issue| ApiResponse::Refused { status, issue })),
        500.. => Ok(ApiResponse::Unknown(UnknownCause::ServerError(status))),
        _ => Ok(unreadable),
    }
}

/// The issue of PayPal's error object, `{"name", "message", "debug_id", "details": [{"issue", ...}]}`. An error with details that cannot be read
/// has none.
fn issue_of(response: &Response) -> Option<String> {
    let body = response.json()?;
    let issue = match body.get("details") {
        Some(details) => details.get(0)?.get("issue")?,
        // The name of the whole class of errors says nothing.
        None => body.get("name").filter(|name| *name != "UNPROCESSABLE_ENTITY")?,
    };
    issue.as_str().filter(|issue| is_code(issue)).map(str::to_owned)
}
