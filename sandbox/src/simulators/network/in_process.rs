//! The transport to simulated servers without sockets.

use std::sync::Arc;

use async_trait::async_trait;
use connector::http::{Request, Response, Transport, TransportCause, TransportError};

use crate::simulators::network::{FaultyNetwork, ServerRequest, SimulatedServer, Transit};

/// A [`Transport`] that hands requests to simulated servers by their base URL.
#[derive(Clone, Default)]
pub struct InProcessTransport {
    servers: Vec<(String, Arc<dyn SimulatedServer>)>,
    network: FaultyNetwork,
}

impl InProcessTransport {
    /// A transport over this network.
    #[must_use]
    pub fn new(network: FaultyNetwork) -> Self {
        Self { servers: Vec::new(), network }
    }

    /// Puts a server at a base URL such as `http://adyen.test`.
    #[must_use]
    pub fn with_server(mut self, base_url: &str, server: Arc<dyn SimulatedServer>) -> Self {
        self.servers.push((base_url.trim_end_matches('/').to_owned(), server));
        self
    }
}

#[async_trait]
impl Transport for InProcessTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let found = self.servers.iter().find_map(|(base, server)| request.url.strip_prefix(base.as_str()).map(|rest| (server, rest)));
        let Some((server, rest)) = found else { return Err(TransportError::NotSent(TransportCause::Connect)) };
        let mut headers = request.headers.clone();
        for (name, secret) in &request.secret_headers {
            let value = http::HeaderValue::from_str(secret.expose()).map_err(|_| TransportError::NotSent(TransportCause::BadRequest))?;
            headers.insert(name.clone(), value);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let request = ServerRequest { method: request.method, path: path.to_owned(), query, headers, body: request.body };
        match self.network.deliver(server.as_ref(), &request) {
            Transit::Response(answer) => Ok(Response { status: answer.status, headers: answer.headers, body: answer.body }),
            Transit::NotSent => Err(TransportError::NotSent(TransportCause::Connect)),
            Transit::NoResponse => Err(TransportError::NoResponse(TransportCause::Timeout)),
        }
    }
}
