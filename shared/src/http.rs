//! Outgoing HTTP: one request, one response, and a precise statement of what is known if there is no response.
//!
//! Clients and adapters speak [`Transport`]; the real one is [`ReqwestTransport`], the sandbox has one without sockets. This module must
//! never decide whether money moved: it says only whether the request can have reached the peer.

mod reqwest_transport;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
pub use reqwest_transport::{ClientError, ReqwestTransport};
use thiserror::Error;

use crate::json;
use crate::secret::SecretString;

/// The largest answer that is read, in bytes; a longer one is [`TransportError::NoResponse`].
pub const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// A request to a peer. It has no `Debug`: headers and body hold secrets and personal data.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The whole URL, query included. Never holds a secret.
    pub url: String,
    /// Headers without the secret ones.
    pub headers: HeaderMap,
    /// Headers whose value is a secret, such as `x-api-key`.
    pub secret_headers: Vec<(HeaderName, SecretString)>,
    /// The body, empty for none.
    pub body: Bytes,
    /// How long the whole exchange may take, connection included.
    pub timeout: Duration,
    /// Whether sending it twice has the effect of sending it once: a read, or a write under an idempotency key. Only then does it use a
    /// pooled connection, and is repeated if that turns out to be closed.
    pub repeatable: bool,
}

impl Request {
    /// A request without headers and body, not repeatable unless its method is a read.
    #[must_use]
    pub fn new(method: Method, url: impl Into<String>, timeout: Duration) -> Self {
        let repeatable = method == Method::GET;
        Self { method, url: url.into(), headers: HeaderMap::new(), secret_headers: Vec::new(), body: Bytes::new(), timeout, repeatable }
    }

    /// Adds a public header; a value that is no header value is left out, which the peer then reports.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Adds a secret header.
    #[must_use]
    pub fn secret_header(mut self, name: HeaderName, value: SecretString) -> Self {
        self.secret_headers.push((name, value));
        self
    }

    /// Sets a JSON body and its content type.
    #[must_use]
    pub fn json(self, body: &serde_json::Value) -> Self {
        let mut request = self.header(http::header::CONTENT_TYPE, "application/json");
        request.body = Bytes::from(body.to_string());
        request
    }

    /// Marks a write as repeatable, because it carries an idempotency key.
    #[must_use]
    pub const fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }
}

/// An answer of a peer with any status. It has no `Debug`, as bodies hold personal data.
#[derive(Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// The body as JSON; `None` if it is not JSON.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        json::parse(&self.body).ok()
    }

    /// The `Retry-After` of the answer in seconds, if it is a plain number (an HTTP date is ignored), at most a day.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds.min(86_400)))
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TransportError {
    /// The request cannot have reached the peer: no connection was established. It had no effect.
    #[error("could not connect: {0}")]
    NotSent(TransportCause),
    /// The request may have reached the peer, but no response arrived. The effect is unknown.
    #[error("no answer: {0}")]
    NoResponse(TransportCause),
}

/// The technical cause of a missing answer, without any text of the peer or the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportCause {
    /// The time ran out.
    Timeout,
    /// Name, route, port or TLS failed.
    Connect,
    /// The connection broke.
    Broken,
    /// The answer is no HTTP, or larger than [`MAX_RESPONSE_BYTES`].
    Malformed,
    /// The request could not be built; our own mistake.
    BadRequest,
}

impl fmt::Display for TransportCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::Malformed => "garbled",
            Self::BadRequest => "bad_request",
        })
    }
}

/// Sends requests.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends one request and waits for its whole answer, at most the request's timeout. Redirects are answers, never followed.
    ///
    /// # Errors
    /// [`TransportError`], which says whether the request can have had an effect.
    async fn send(&self, request: Request) -> Result<Response, TransportError>;
}
