//! HTTP on loopback: simulated servers, and every other handler of the sandbox.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::simulators::network::{FaultyNetwork, ServerRequest, ServerResponse, SimulatedServer, Transit};

/// A server that listens. Dropping it stops it.
pub struct RunningServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl RunningServer {
    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves a simulated server at this address (port 0 for any free one).
///
/// # Errors
/// If the address cannot be bound.
pub async fn serve(server: Arc<dyn SimulatedServer>, network: FaultyNetwork, address: SocketAddr) -> std::io::Result<RunningServer> {
    let listener = TcpListener::bind(address).await?;
    serve_with(listener, move |request| handle_request(Arc::clone(&server), network.clone(), request))
}

/// Serves HTTP on this listener with a handler. An error of the handler closes the connection without a response.
///
/// # Errors
/// If the listener has no address.
pub fn serve_with<H, F, E>(listener: TcpListener, handler: H) -> std::io::Result<RunningServer>
where
    H: Fn(hyper::Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<hyper::Response<Full<Bytes>>, E>> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(handler.clone());
            tokio::spawn(async move {
                // Errors of a connection are ignored: a closed connection is one of the faults, and a caller may close it early.
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(RunningServer { address, task })
}

async fn handle_request(
    server: Arc<dyn SimulatedServer>,
    network: FaultyNetwork,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, ConnectionClosed> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| ConnectionClosed)?.to_bytes();
    let request = ServerRequest {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect(),
        headers: parts.headers,
        body,
    };
    match network.deliver(server.as_ref(), &request) {
        Transit::Response(answer) => Ok(to_hyper(answer)),
        Transit::NotSent | Transit::NoResponse => Err(ConnectionClosed),
    }
}

fn to_hyper(answer: ServerResponse) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// The connection is cut without an answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct ConnectionClosed;
