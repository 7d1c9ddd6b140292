//! One call to PayPal: access token, request id, and what a status means. Must never repeat a body in an error, nor decide by `message`.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::access_tokens::AccessTokens;
use super::declines::is_code;
use crate::gateway::UnknownCause;
use crate::gateway::common::call::{Answer, CallError, read_status};
use crate::gateway::common::time_budget::TimeBudget;
use crate::http::{HeaderName, Method, Request, Response, Transport};
use crate::secret::SecretString;

const AUTHORIZATION: HeaderName = HeaderName::from_static("authorization");
const REQUEST_ID: HeaderName = HeaderName::from_static("paypal-request-id");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const CONTENT_TYPE: HeaderName = HeaderName::from_static("content-type");

/// What PayPal answered.
pub(super) enum ApiResponse {
    /// A 2xx with a JSON object, still to be understood; null for a 204.
    Body(Value),
    /// A 400, 404 or 422 with an issue of the right form.
    Refused {
        /// The status.
        status: u16,
        /// `details[0].issue`, or the error's `name` where it has no details.
        issue: String,
    },
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

    /// Posts under a request id, and asks for the whole resource back: the default answer is an id, a status and links.
    pub(super) async fn post(
        &self,
        budget: &TimeBudget,
        path: &str,
        body: Option<&Value>,
        request_id: &str,
    ) -> Result<ApiResponse, CallError> {
        let mut request = self.request(budget, Method::POST, path)?.header(REQUEST_ID, request_id).header(PREFER, "return=representation");
        request = match body {
            Some(body) => request.json(body),
            // PayPal wants a content type on every POST, even where there is nothing to say.
            None => request.header(CONTENT_TYPE, "application/json"),
        };
        self.send(budget, request.repeatable()).await
    }

    /// Posts bytes as they are, without a request id; only for what changes nothing at PayPal.
    pub(super) async fn post_raw(&self, budget: &TimeBudget, path: &str, body: Bytes) -> Result<ApiResponse, CallError> {
        let mut request = self.request(budget, Method::POST, path)?.header(CONTENT_TYPE, "application/json").repeatable();
        request.body = body;
        self.send(budget, request).await
    }

    /// Whether PayPal gives us access: a fresh token, as one that is kept may have been revoked since.
    pub(super) async fn check_access(&self, budget: &TimeBudget) -> Result<(), CallError> {
        self.access_tokens.clear().await;
        Ok(self.access_tokens.token(None, budget).await.map(drop)?)
    }

    /// Reads.
    pub(super) async fn get(&self, budget: &TimeBudget, path: &str) -> Result<ApiResponse, CallError> {
        self.send(budget, self.request(budget, Method::GET, path)?).await
    }

    /// Deletes; a second deletion changes nothing.
    pub(super) async fn delete(&self, budget: &TimeBudget, path: &str) -> Result<ApiResponse, CallError> {
        self.send(budget, self.request(budget, Method::DELETE, path)?.repeatable()).await
    }

    fn request(&self, budget: &TimeBudget, method: Method, path: &str) -> Result<Request, CallError> {
        Ok(Request::new(method, format!("{}{path}", self.base_url), budget.for_call()?))
    }

    /// Sends with the access token that is kept, and once with a new one if PayPal does not take it: 401, or 403 `NOT_AUTHORIZED` to a token
    /// that is older than a permission of the account. Nothing was done then.
    async fn send(&self, budget: &TimeBudget, request: Request) -> Result<ApiResponse, CallError> {
        let token = self.access_tokens.token(None, budget).await?;
        let response = self.send_with(budget, request.clone(), &token).await?;
        if !matches!(response.status.as_u16(), 401 | 403) {
            return read(response);
        }
        let renewed = self.access_tokens.token(Some(&token), budget).await?;
        read(self.send_with(budget, request, &renewed).await?)
    }

    async fn send_with(&self, budget: &TimeBudget, request: Request, token: &SecretString) -> Result<Response, CallError> {
        let timeout = budget.for_call()?;
        let bearer = SecretString::new(format!("Bearer {}", token.expose()));
        Ok(self.transport.send(Request { timeout, ..request }.secret_header(AUTHORIZATION, bearer)).await?)
    }
}

/// What an answer means (the specifications' `responses`).
fn read(response: Response) -> Result<ApiResponse, CallError> {
    match read_status(response, &[400, 404, 409, 422], issue_of)? {
        Answer::Body(body) => Ok(ApiResponse::Body(body)),
        Answer::Empty => Ok(ApiResponse::Body(Value::Null)),
        Answer::Refusal(response) => match (response.status.as_u16(), issue_of(&response)) {
            (409, Some(_)) => Err(UnknownCause::InProgress.into()),
            (status, Some(issue)) => Ok(ApiResponse::Refused { status, issue }),
            (_, None) => Err(UnknownCause::Unreadable.into()),
        },
    }
}

/// The issue of PayPal's error object, `{"name", "message", "debug_id", "details": [{"issue", ...}]}`. An error with details that cannot be
/// read has none.
fn issue_of(response: &Response) -> Option<String> {
    let body = response.json()?;
    let issue = match body.get("details") {
        Some(details) => details.get(0)?.get("issue")?,
        // The name of the whole class of errors says nothing.
        None => body.get("name").filter(|name| *name != "UNPROCESSABLE_ENTITY")?,
    };
    issue.as_str().filter(|issue| is_code(issue)).map(str::to_owned)
}
