//! One call to the Core API: the token, the status, and what is known afterwards. Must never guess an effect: what is not known to have
//! failed without one is [`CleengError::Unknown`]. Something in between can answer in Cleeng's place (a proxy, a firewall, a gateway that
//! has lost its routes), so that a refusal is believed only in Cleeng's own form.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{HeaderName, Method};
use serde_json::Value;

use super::super::api::EXCHANGE_TIMEOUT;
use super::super::{CleengError, UnknownAnswer};
use crate::http::{Request, Response, Transport, TransportCause, TransportError};
use crate::ids::Id;
use crate::metrics::{Metric, Metrics};
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
    changes: bool,
}

impl ApiRequest {
    pub(super) const fn new(method: Method, path: String) -> Self {
        Self { method, path, body: None, repeatable: false, changes: true }
    }

    pub(super) const fn get(path: String) -> Self {
        Self::read(Method::GET, path)
    }

    /// A call that changes nothing, whatever its method.
    pub(super) const fn read(method: Method, path: String) -> Self {
        Self { method, path, body: None, repeatable: true, changes: false }
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
    /// Where changes of a [`Choice`] are counted, if anywhere.
    pub(super) metrics: Option<Metrics>,
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
        Ok(Self { base, tokens, preferred_token: AtomicUsize::new(0), transport, metrics: None })
    }

    /// Sends a call; what comes back is a 2xx.
    pub(super) async fn send(&self, call: &ApiRequest) -> Result<Response, CleengError> {
        classify(call, self.exchange(call).await?)
    }

    /// Sends a call the way that worked last, and the other way where that one is not there or refuses the request's form. The answer of
    /// the way that exists counts. The two must have the same effect, so that a first call that had it after all does no harm.
    pub(super) async fn send_either_way(&self, choice: &Choice, first: &ApiRequest, second: &ApiRequest) -> Result<Response, CleengError> {
        let was_second = choice.is_second();
        let (first, second) = if was_second { (second, first) } else { (first, second) };
        let answer = self.exchange(first).await?;
        if !matches!(answer.status.as_u16(), 400 | 404 | 405 | 410 | 422) {
            return classify(first, answer);
        }
        let other = self.exchange(second).await?;
        if other.status.is_success() {
            self.prefer(choice, !was_second);
            return Ok(other);
        }
        let (was_missing, is_missing) = (is_missing(&answer), is_missing(&other));
        let says_less = is_missing && (!was_missing || other.status.as_u16() != 404);
        if says_less { classify(first, answer) } else { classify(second, other) }
    }

    /// From now on this way comes first. It is counted, so that somebody sees which of Cleeng's descriptions holds.
    pub(super) fn prefer(&self, choice: &Choice, second: bool) {
        choice.is_second.store(second, Ordering::Relaxed);
        if let Some(metrics) = &self.metrics {
            metrics.count(Metric::Warning, &[("reason", choice.warning)]);
        }
    }

    /// Any answer, under the token that Cleeng accepts.
    async fn exchange(&self, call: &ApiRequest) -> Result<Response, CleengError> {
        let first = self.preferred_token.load(Ordering::Relaxed);
        let answer = self.send_with(call, first).await?;
        if answer.status.as_u16() != 401 || self.tokens.len() < 2 {
            return Ok(answer);
        }
        // A 401 had no effect, so that even a write may be sent again with the other token of a rotation.
        let second = first.saturating_add(1).checked_rem(self.tokens.len()).unwrap_or(0);
        let answer = self.send_with(call, second).await?;
        if answer.status.as_u16() != 401 {
            self.preferred_token.store(second, Ordering::Relaxed);
        }
        Ok(answer)
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

/// Which of two ways worked last, for as long as the process is warm.
pub(super) struct Choice {
    is_second: AtomicBool,
    /// The reason of the warning that counts a change.
    warning: &'static str,
}

impl Choice {
    pub(super) const fn new(warning: &'static str) -> Self {
        Self { is_second: AtomicBool::new(false), warning }
    }

    pub(super) fn is_second(&self) -> bool {
        self.is_second.load(Ordering::Relaxed)
    }
}

fn is_missing(answer: &Response) -> bool {
    matches!(answer.status.as_u16(), 404 | 405 | 410)
}

/// Whose form an answer has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Cleeng's: `success: false`, or a list of errors.
    Cleeng,
    /// `{"message": ...}`, the least that Cleeng guarantees, and what an API gateway in front of it says too.
    MessageAlone,
    /// No JSON object, or one that says nothing.
    Other,
}

fn form(answer: &Response) -> Form {
    let Some(body) = answer.json() else { return Form::Other };
    let has_errors = body.get("errors").and_then(Value::as_array).is_some_and(|errors| !errors.is_empty());
    if has_errors || body.get("success") == Some(&Value::Bool(false)) {
        Form::Cleeng
    } else if body.get("message").is_some_and(Value::is_string) {
        Form::MessageAlone
    } else {
        Form::Other
    }
}

/// Sorts an answer by its status and its form (Cleeng, "How to understand and resolve common API errors"), never by its text. A 404 is
/// final for a read alone: a write is looked for first.
fn classify(call: &ApiRequest, answer: Response) -> Result<Response, CleengError> {
    let status = answer.status.as_u16();
    let unknown = |answer| Err(CleengError::Unknown(answer));
    match (status, form(&answer)) {
        (200..=299, _) => Ok(answer),
        (401, _) | (403, Form::Cleeng) => Err(CleengError::Unauthorised { status }),
        (403, Form::MessageAlone) if !call.changes => Err(CleengError::Unauthorised { status }),
        (429, _) => Err(CleengError::Throttled { retry_after: answer.retry_after() }),
        (404, Form::Cleeng) if !call.changes => Err(CleengError::NotFound),
        (400 | 402 | 409 | 422, Form::Cleeng) => Err(CleengError::Refused { status }),
        (400..=499, Form::Cleeng | Form::MessageAlone) => unknown(UnknownAnswer::Unconfirmed(status)),
        _ => unknown(UnknownAnswer::Status(status)),
    }
}
