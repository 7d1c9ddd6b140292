//! The HTTP API in front of the functions.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use super::functions::Functions;
use crate::simulators::network::{RunningServer, serve_with};

/// Serves the functions on this listener.
///
/// # Errors
/// If the listener has no address.
pub(super) fn serve(listener: TcpListener, functions: Arc<Functions>) -> std::io::Result<RunningServer> {
    serve_with(listener, move |request| handle_request(Arc::clone(&functions), request))
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
