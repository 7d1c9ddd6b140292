//! The way to a peer without sockets.

use std::sync::Arc;

use async_trait::async_trait;
use connector::http::{Cause, Request, Response, Transport, TransportError};

use super::{Peer, PeerRequest, Road, Travelled};

/// A [`Transport`] that hands requests to simulated peers by their base URL.
#[derive(Clone, Default)]
pub struct InProcess {
    peers: Vec<(String, Arc<dyn Peer>)>,
    road: Road,
}

impl InProcess {
    /// A transport whose calls travel this road.
    #[must_use]
    pub fn new(road: Road) -> Self {
        Self { peers: Vec::new(), road }
    }

    /// Puts a peer at a base URL such as `http://adyen.test`.
    #[must_use]
    pub fn with(mut self, base_url: &str, peer: Arc<dyn Peer>) -> Self {
        self.peers.push((base_url.trim_end_matches('/').to_owned(), peer));
        self
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let found = self.peers.iter().find_map(|(base, peer)| request.url.strip_prefix(base.as_str()).map(|rest| (peer, rest)));
        let Some((peer, rest)) = found else { return Err(TransportError::NotSent(Cause::Connect)) };
        let mut headers = request.headers.clone();
        for (name, secret) in &request.secret_headers {
            let value = http::HeaderValue::from_str(secret.expose()).map_err(|_| TransportError::NotSent(Cause::BadRequest))?;
            headers.insert(name.clone(), value);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let request = PeerRequest { method: request.method, path: path.to_owned(), query: parse_query(query), headers, body: request.body };
        match self.road.travel(peer.as_ref(), &request) {
            Travelled::Answer(answer) => Ok(Response { status: answer.status, headers: answer.headers, body: answer.body }),
            Travelled::NotSent => Err(TransportError::NotSent(Cause::Connect)),
            Travelled::Nothing => Err(TransportError::Unanswered(Cause::Timeout)),
        }
    }
}

/// Splits a query and decodes `%XX` and `+`.
pub(super) fn parse_query(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(key, value)| (decode(key), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let hex = (first == b'%').then(|| tail.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => bytes.push(if first == b'+' { b' ' } else { first }),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
