//! A simulated server, and the two transports to it: without sockets ([`InProcessTransport`]) and over HTTP on loopback ([`serve`]).
//!
//! Both record every call, and a [`Fault`] can be injected into each.

mod in_process;
mod routes;
mod server;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use connector::http::{HeaderMap, Method, StatusCode};
pub use in_process::InProcessTransport;
pub(crate) use routes::{PathParameters, Route, find_route};
use serde_json::Value;
pub use server::{RunningServer, serve, serve_with};

/// A request as a simulated server sees it.
#[derive(Clone, Debug)]
pub struct ServerRequest {
    /// The method.
    pub method: Method,
    /// The path without the query.
    pub path: String,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl ServerRequest {
    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A query parameter.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The path's segments.
    #[must_use]
    pub fn segments(&self) -> Vec<&str> {
        path_segments(&self.path).collect()
    }
}

/// The segments of a path; empty ones do not count.
fn path_segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// A response of a simulated server.
#[derive(Clone, Debug)]
pub struct ServerResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl ServerResponse {
    /// A JSON answer. An impossible status becomes 500.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, headers, body: Bytes::from(body.to_string()) }
    }

    /// An answer without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// Adds a header; one that cannot be a header is left out.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// An outside service: keeps its own state behind a lock and answers requests one after the other.
pub trait SimulatedServer: Send + Sync {
    /// A short name for the recorded calls.
    fn name(&self) -> &'static str;
    /// Answers.
    fn handle(&self, request: &ServerRequest) -> ServerResponse;
}

/// What goes wrong with one call.
#[derive(Clone)]
pub enum Fault {
    /// The connection does not come about: no effect, and the caller knows.
    NotSent,
    /// No response, and the server never received it.
    TimeoutBefore,
    /// No response, but the server executed it.
    TimeoutAfter,
    /// This status, and the server did not execute it.
    StatusBefore(u16),
    /// This answer, and the server did not execute it: the server's own refusal, or what something in between says.
    AnswerBefore(ServerResponse),
    /// The server executed it, but this status comes back.
    StatusAfter(u16),
    /// The server executed it, and its response arrives changed.
    Mutate(Arc<dyn Fn(&mut Value) + Send + Sync>),
}

/// One call that was made.
#[derive(Clone, Debug)]
pub struct NetworkCall {
    /// The server's name.
    pub server: &'static str,
    /// The method.
    pub method: Method,
    /// The path without the query.
    pub path: String,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// The status that the caller saw, if any.
    pub status: Option<u16>,
    /// Whether the server received it.
    pub reached_server: bool,
    /// The body that was sent; null if it was no JSON.
    pub request_body: Value,
    /// The body that was sent, as it came.
    pub request_text: String,
    /// The body that came back; null if it was no JSON.
    pub response_body: Value,
}

type SharedMatcher = Arc<dyn Fn(&str, &ServerRequest) -> bool + Send + Sync>;

/// Injected faults and recorded calls. Clones share both.
#[derive(Clone, Default)]
pub struct FaultyNetwork {
    inner: Arc<Mutex<NetworkState>>,
}

#[derive(Default)]
struct NetworkState {
    faults: VecDeque<(SharedMatcher, Fault)>,
    calls: Vec<NetworkCall>,
    recording_disabled: bool,
}

impl FaultyNetwork {
    /// Injects a fault into the next call that `matcher` accepts, by server name and request. Each fault applies once.
    pub fn inject(&self, fault: Fault, matcher: impl Fn(&str, &ServerRequest) -> bool + Send + Sync + 'static) {
        self.lock().faults.push_back((Arc::new(matcher), fault));
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// Whether a fault is still to come.
    #[must_use]
    pub fn has_faults(&self) -> bool {
        !self.lock().faults.is_empty()
    }

    /// Records no calls from now on: for long simulations.
    pub fn disable_recording(&self) {
        self.lock().recording_disabled = true;
    }

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<NetworkCall> {
        self.calls_since(0)
    }

    /// The calls after the first `seen` ones.
    #[must_use]
    pub fn calls_since(&self, seen: usize) -> Vec<NetworkCall> {
        self.lock().calls.iter().skip(seen).cloned().collect()
    }

    /// How many calls reached this server with this method and a path that contains `part`.
    #[must_use]
    pub fn delivered_count(&self, server: &str, method: &Method, part: &str) -> usize {
        let state = self.lock();
        state
            .calls
            .iter()
            .filter(|call| call.reached_server && call.server == server && call.method == *method && call.path.contains(part))
            .count()
    }

    /// Delivers a request over this network, with the next fault that matches it.
    pub(crate) fn deliver(&self, server: &dyn SimulatedServer, request: &ServerRequest) -> Transit {
        let fault = self.take_fault(server.name(), request);
        let reaches = !matches!(fault, Some(Fault::NotSent | Fault::TimeoutBefore | Fault::StatusBefore(_) | Fault::AnswerBefore(_)));
        let answer = reaches.then(|| server.handle(request));
        let transit = match (fault, answer) {
            (None, Some(answer)) => Transit::Response(answer),
            (Some(Fault::NotSent), _) => Transit::NotSent,
            (Some(Fault::StatusBefore(status) | Fault::StatusAfter(status)), _) => Transit::Response(ServerResponse::empty(status)),
            (Some(Fault::AnswerBefore(answer)), _) => Transit::Response(answer),
            (Some(Fault::Mutate(mutate)), Some(answer)) => Transit::Response(mutate_body(answer, mutate.as_ref())),
            _ => Transit::NoResponse,
        };
        if self.lock().recording_disabled {
            return transit;
        }
        let (status, answered) = match &transit {
            Transit::Response(answer) => (Some(answer.status.as_u16()), serde_json::from_slice(&answer.body).unwrap_or_default()),
            Transit::NotSent | Transit::NoResponse => (None, Value::Null),
        };
        let (method, path, query) = (request.method.clone(), request.path.clone(), request.query.clone());
        let call = NetworkCall {
            server: server.name(),
            method,
            path,
            query,
            status,
            reached_server: reaches,
            request_body: request.json(),
            request_text: String::from_utf8_lossy(&request.body).into_owned(),
            response_body: answered,
        };
        self.lock().calls.push(call);
        transit
    }

    fn take_fault(&self, server: &str, request: &ServerRequest) -> Option<Fault> {
        let mut state = self.lock();
        let index = state.faults.iter().position(|(matcher, _)| matcher(server, request))?;
        state.faults.remove(index).map(|(_, fault)| fault)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, NetworkState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn mutate_body(mut answer: ServerResponse, mutate: &(dyn Fn(&mut Value) + Send + Sync)) -> ServerResponse {
    if let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) {
        mutate(&mut body);
        answer.body = Bytes::from(body.to_string());
    }
    answer
}

/// What the caller of [`FaultyNetwork::deliver`] sees.
pub(crate) enum Transit {
    /// An answer.
    Response(ServerResponse),
    /// A refused connection.
    NotSent,
    /// No response.
    NoResponse,
}
