//! [`Transport`] over reqwest with rustls on ring.

use std::error::Error as _;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use thiserror::Error;

use super::{MAX_RESPONSE_BYTES, Request, Response, Transport, TransportCause, TransportError};

/// Idle connections are dropped after this long: below the idle time of every gateway, and a frozen Lambda finds them closed in any case.
const POOL_IDLE: Duration = Duration::from_secs(50);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The client could not be built.
#[derive(Debug, Error)]
#[error("the HTTP client cannot start: no usable CA certificates were found; set SSL_CERT_FILE to a PEM bundle")]
pub struct ClientError;

/// The real transport: keep-alive, total timeouts, no redirects, no proxies, and one repeat on a closed pooled connection.
///
/// A connection that died while the process was frozen breaks with the next data that is written to it, and a write without an idempotency
/// key is then unknown although the peer has got no byte. Such a write therefore has a connection of its own.
#[derive(Clone)]
pub struct ReqwestTransport {
    pooled: reqwest::Client,
    unpooled: reqwest::Client,
}

impl ReqwestTransport {
    /// Builds the clients. Parses the CA store, so it belongs into start-up.
    ///
    /// # Errors
    /// [`ClientError`] if no CA certificate can be loaded.
    pub fn new() -> Result<Self, ClientError> {
        // A second call finds the provider installed, which is what is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self { pooled: client(usize::MAX)?, unpooled: client(0)? })
    }

    async fn send_once(&self, request: &Request) -> Result<Response, TransportError> {
        let mut headers = request.headers.clone();
        for (name, secret) in &request.secret_headers {
            let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| TransportError::NotSent(TransportCause::BadRequest))?;
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
        let client = if request.repeatable { &self.pooled } else { &self.unpooled };
        let answer = client
            .request(request.method.clone(), &request.url)
            .headers(headers)
            .timeout(request.timeout)
            .body(request.body.clone())
            .send()
            .await
            .map_err(|error| classify(&error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = read_capped(answer).await?;
        Ok(Response { status, headers, body })
    }
}

/// A client that keeps at most so many idle connections to a host.
fn client(idle_connections: usize) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(idle_connections)
        .user_agent(concat!("cleeng-payment-connector/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|_| ClientError)
}

async fn read_capped(mut answer: reqwest::Response) -> Result<Bytes, TransportError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| body_error(&error))? {
        if body.len().saturating_add(chunk.len()) > MAX_RESPONSE_BYTES {
            return Err(TransportError::NoResponse(TransportCause::Malformed));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn body_error(error: &reqwest::Error) -> TransportError {
    TransportError::NoResponse(if error.is_timeout() { TransportCause::Timeout } else { TransportCause::Malformed })
}

/// A failure before any byte of an answer. Only a failed connection is certain to have had no effect.
fn classify(error: &reqwest::Error) -> TransportError {
    if error.is_builder() {
        return TransportError::NotSent(TransportCause::BadRequest);
    }
    if error.is_connect() {
        return TransportError::NotSent(if error.is_timeout() { TransportCause::Timeout } else { TransportCause::Connect });
    }
    if error.is_timeout() {
        return TransportError::NoResponse(TransportCause::Timeout);
    }
    // The HTTP library's own error lies two or three sources deep, and its type is not exported.
    let mut source = error.source();
    let mut malformed = false;
    while let Some(error) = source {
        let text = error.to_string();
        malformed |= text.contains("invalid HTTP") || text.contains("parsed") || text.contains("message head is too large");
        source = error.source();
    }
    TransportError::NoResponse(if malformed { TransportCause::Malformed } else { TransportCause::Broken })
}

#[async_trait]
impl Transport for ReqwestTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let started = Instant::now();
        match self.send_once(&request).await {
            // The peer closed a pooled connection, or the Lambda thawed with a closed one: no byte of a response came, so a repeatable
            // request is sent once more, on a new connection, within the remaining time.
            Err(TransportError::NoResponse(TransportCause::Broken)) if request.repeatable => {
                let timeout = request.timeout.saturating_sub(started.elapsed());
                self.send_once(&Request { timeout, ..request }).await
            }
            other => other,
        }
    }
}
