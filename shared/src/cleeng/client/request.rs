//! One call to the Core API: the token, the status, and what is known afterwards. Must never guess an effect: what is not known to have
//! failed without one is [`CleengError::Unknown`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderName, Method};
use serde_json::Value;

use super::super::api::EXCHANGE_TIMEOUT;
use super::super::{CleengError, UnknownAnswer};
use crate::http::{Request, Response, Transport, TransportCause, TransportError};
use crate::ids::Id;
use crate::secret::SecretString;
use crate::settings::{Problem, Problems};

const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-publisher-token");
const TOKEN_SETTING: &str = "cleeng.publisher_token";

/// Nothing was sent, because the request would have been wrong.
pub(super) const NOT_SENT: CleengError = CleengError::Unreachable(TransportError::NotSent(TransportCause::BadRequest));

/// What is asked.
pub(super) struct ApiRequest {
    method: Method,
    path: String,
    body: Option<Value>,
    repeatable: bool,
}

impl ApiRequest {
    pub(super) const fn new(method: Method, path: String) -> Self {
        Self { method, path, body: None, repeatable: false }
    }

    pub(super) const fn get(path: String) -> Self {
        Self { method: Method::GET, path, body: None, repeatable: true }
    }

    pub(super) fn with_body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) const fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }
}

/// An id as a path segment. An id that could leave its segment is not sent: Cleeng's ids are letters, digits, `_` and `-`.
pub(super) fn path_segment<K>(id: &Id<K>) -> Result<&str, CleengError> {
    let text = id.as_str();
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if plain { Ok(text) } else { Err(NOT_SENT) }
}

/// Sends calls.
pub(super) struct ApiClient {
    base: String,
    tokens: Vec<SecretString>,
    /// The token that was accepted last, as an index.
    preferred_token: AtomicUsize,
    transport: Arc<dyn Transport>,
}

impl ApiClient {
    pub(super) fn new(base: String, tokens: Vec<SecretString>, transport: Arc<dyn Transport>) -> Result<Self, Problems> {
        let problem = |problem: &str, fix: &str| {
            Problems(vec![Problem { setting: TOKEN_SETTING.to_owned(), problem: problem.to_owned(), fix: fix.to_owned() }])
        };
        if tokens.is_empty() {
            return Err(problem("is missing", "put the publisher token of the Cleeng dashboard into the secret"));
        }
        let usable = |token: &SecretString| !token.is_placeholder() && token.expose().bytes().all(|b| b.is_ascii_graphic());
        if !tokens.iter().all(usable) {
            return Err(problem(
                "is empty, a placeholder, or not plain text",
                "put in the publisher token as the Cleeng dashboard shows it",
            ));
        }
        Ok(Self { base, tokens, preferred_token: AtomicUsize::new(0), transport })
    }

    /// Sends a call; what comes back is a 2xx.
    pub(super) async fn send(&self, call: &ApiRequest) -> Result<Response, CleengError> {
        let first = self.preferred_token.load(Ordering::Relaxed);
        let answer = self.send_with(call, first).await?;
        if answer.status.as_u16() != 401 || self.tokens.len() < 2 {
            return check_status(answer);
        }
        // A 401 had no effect, so that even a write may be sent again with the other token of a rotation.
        let second = first.saturating_add(1).checked_rem(self.tokens.len()).unwrap_or(0);
        let answer = self.send_with(call, second).await?;
        if answer.status.as_u16() != 401 {
            self.preferred_token.store(second, Ordering::Relaxed);
        }
        check_status(answer)
    }

    /// Sends the first call, and the second where the first's method or path is not known to Cleeng (404, 405). The answer of the way that
    /// exists counts; comes with it whether that is the second.
    pub(super) async fn send_with_fallback(&self, first: &ApiRequest, second: &ApiRequest) -> Result<(Response, bool), CleengError> {
        let refusal = match self.send(first).await {
            Ok(answer) => return Ok((answer, false)),
            Err(refusal @ (CleengError::NotFound | CleengError::Refused { status: 405 })) => refusal,
            Err(error) => return Err(error),
        };
        match self.send(second).await {
            Ok(answer) => Ok((answer, true)),
            Err(CleengError::Refused { status: 405 }) => Err(refusal),
            Err(error) => Err(error),
        }
    }

    async fn send_with(&self, call: &ApiRequest, token: usize) -> Result<Response, CleengError> {
        let token = self.tokens.get(token).ok_or(NOT_SENT)?;
        let mut request = Request::new(call.method.clone(), format!("{}{}", self.base, call.path), EXCHANGE_TIMEOUT)
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::CONTENT_TYPE, "application/json")
            .secret_header(TOKEN_HEADER, token.clone());
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        request.repeatable = call.repeatable;
        self.transport.send(request).await.map_err(|error| match error {
            TransportError::NotSent(_) => CleengError::Unreachable(error),
            TransportError::NoResponse(_) => CleengError::Unknown(UnknownAnswer::NoAnswer(error)),
        })
    }
}

/// Sorts an answer by its status alone (Cleeng, "How to understand and resolve common API errors").
fn check_status(answer: Response) -> Result<Response, CleengError> {
    let status = answer.status.as_u16();
    match status {
        200..=299 => Ok(answer),
        401 | 403 => Err(CleengError::Unauthorised { status }),
        404 => Err(CleengError::NotFound),
        429 => Err(CleengError::Throttled { retry_after: answer.retry_after() }),
        // 408 and 499 come from something in between that lost patience: the call may have arrived.
        408 | 499 | 500.. => Err(CleengError::Unknown(UnknownAnswer::ServerError(status))),
        _ => Err(CleengError::Refused { status }),
    }
}
