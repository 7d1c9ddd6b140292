//! The HTTP API in front of the functions.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::functions::Functions;

/// The listening HTTP API. Dropping it stops it.
pub struct HttpApi {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl HttpApi {
    /// Serves on this listener.
    ///
    /// # Errors
    /// If it does not.
    pub fn open(listener: TcpListener, functions: Arc<Functions>) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let functions = Arc::clone(&functions);
                tokio::spawn(async move {
                    let service = service_fn(move |request| handle_request(Arc::clone(&functions), request));
                    // A caller may close the connection early.
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { address, task })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for HttpApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle_request(functions: Arc<Functions>, request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let headers: BTreeMap<String, String> = parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let query = parts.uri.query().unwrap_or_default();
    let body = String::from_utf8_lossy(&body);
    let answered = functions.handle_http(parts.method.as_str(), parts.uri.path(), query, &headers, &body).await;
    let mut response = hyper::Response::new(Full::new(Bytes::from(answered.body)));
    *response.status_mut() = http::StatusCode::from_u16(answered.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &answered.headers {
        if let (Ok(name), Ok(value)) = (http::HeaderName::from_bytes(name.as_bytes()), http::HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}
