//! Simulated servers over HTTP on loopback.

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

use crate::simulators::network::in_process::parse_query;
use crate::simulators::network::{FaultyNetwork, ServerRequest, ServerResponse, SimulatedServer, Transit};

/// A simulated server that listens. Dropping it stops it.
pub struct RunningServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl RunningServer {
    /// Where it listens.
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
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (server, network) = (Arc::clone(&server), network.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| handle_request(Arc::clone(&server), network.clone(), request));
                // Errors of a connection are ignored: a closed connection is one of the faults.
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
        query: parse_query(parts.uri.query().unwrap_or_default()),
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

impl From<Infallible> for ConnectionClosed {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
