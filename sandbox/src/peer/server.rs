//! The way to a peer over HTTP on loopback.

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

use super::in_process::parse_query;
use super::{Peer, PeerAnswer, PeerRequest, Road, Travelled};

/// A peer that is being served. Dropping it closes the door.
pub struct Served {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Served {
    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves a peer at this address (port 0 for any free one).
///
/// # Errors
/// If the address cannot be bound.
pub async fn serve(peer: Arc<dyn Peer>, road: Road, address: SocketAddr) -> std::io::Result<Served> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (peer, road) = (Arc::clone(&peer), road.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(Arc::clone(&peer), road.clone(), request));
                // A connection that ends badly is the other side's business: silence is one of the faults.
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(Served { address, task })
}

async fn answer(peer: Arc<dyn Peer>, road: Road, request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, Silence> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Silence)?.to_bytes();
    let request = PeerRequest {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parse_query(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        body,
    };
    match road.travel(peer.as_ref(), &request) {
        Travelled::Answer(answer) => Ok(to_hyper(answer)),
        Travelled::NotSent | Travelled::Nothing => Err(Silence),
    }
}

fn to_hyper(answer: PeerAnswer) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// The connection is cut without an answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct Silence;

impl From<Infallible> for Silence {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
