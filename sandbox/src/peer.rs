//! A simulated peer, and the two ways to it: without sockets ([`InProcess`]) and over HTTP on loopback ([`serve`]).
//!
//! On both ways every call is listed, and a [`Fault`] can be laid in its path.

mod in_process;
mod server;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use connector::http::{HeaderMap, Method, StatusCode};
pub use in_process::InProcess;
use serde_json::Value;
pub use server::{Served, serve};

/// A request as a peer sees it.
#[derive(Clone, Debug)]
pub struct PeerRequest {
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

impl PeerRequest {
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
        self.path.split('/').filter(|segment| !segment.is_empty()).collect()
    }
}

/// An answer of a peer.
#[derive(Clone, Debug)]
pub struct PeerAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl PeerAnswer {
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

/// Somebody outside: keeps its own state behind a lock and answers requests one after the other.
pub trait Peer: Send + Sync {
    /// A short name for the list of calls.
    fn name(&self) -> &'static str;
    /// Answers.
    fn handle(&self, request: &PeerRequest) -> PeerAnswer;
}

/// What goes wrong with one call.
#[derive(Clone)]
pub enum Fault {
    /// The connection does not come about: no effect, and the caller knows.
    NotSent,
    /// No answer, and the peer never saw it.
    TimeoutBefore,
    /// No answer, but the peer did it.
    TimeoutAfter,
    /// This status instead of doing it.
    StatusBefore(u16),
    /// The peer did it, but this status comes back.
    StatusAfter(u16),
    /// The peer did it, and its answer arrives changed.
    Mutate(Arc<dyn Fn(&mut Value) + Send + Sync>),
}

/// One call that was made.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whom.
    pub peer: &'static str,
    /// The method.
    pub method: Method,
    /// The path without the query.
    pub path: String,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// What the caller saw: a status, or nothing.
    pub status: Option<u16>,
    /// Whether the peer got to see it.
    pub reached: bool,
    /// The body that was sent; null if it was no JSON.
    pub sent: Value,
    /// The body that came back; null if it was no JSON.
    pub answered: Value,
}

type Chooser = Arc<dyn Fn(&str, &PeerRequest) -> bool + Send + Sync>;

/// The faults that lie in the way, and the calls that were made. Clones share both.
#[derive(Clone, Default)]
pub struct Road {
    inner: Arc<Mutex<RoadState>>,
}

#[derive(Default)]
struct RoadState {
    faults: VecDeque<(Chooser, Fault)>,
    calls: Vec<Call>,
    unlisted: bool,
}

impl Road {
    /// Lays a fault in the way of the next call that `chooser` picks by peer name and request. Each fault is met once.
    pub fn lay(&self, fault: Fault, chooser: impl Fn(&str, &PeerRequest) -> bool + Send + Sync + 'static) {
        self.lock().faults.push_back((Arc::new(chooser), fault));
    }

    /// Takes all faults away.
    pub fn clear(&self) {
        self.lock().faults.clear();
    }

    /// Whether a fault still lies there.
    #[must_use]
    pub fn has_faults(&self) -> bool {
        !self.lock().faults.is_empty()
    }

    /// Lists no calls from now on: for worlds by the thousand.
    pub fn forget_calls(&self) {
        self.lock().unlisted = true;
    }

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// How many calls reached this peer with this method and a path that contains `part`.
    #[must_use]
    pub fn reached(&self, peer: &str, method: &Method, part: &str) -> usize {
        let state = self.lock();
        state.calls.iter().filter(|call| call.reached && call.peer == peer && call.method == *method && call.path.contains(part)).count()
    }

    /// Sends a request over this road: nothing comes back where a fault swallows it.
    pub(crate) fn travel(&self, peer: &dyn Peer, request: &PeerRequest) -> Travelled {
        let fault = self.take_fault(peer.name(), request);
        let reaches = !matches!(fault, Some(Fault::NotSent | Fault::TimeoutBefore | Fault::StatusBefore(_)));
        let answer = reaches.then(|| peer.handle(request));
        let travelled = match (fault, answer) {
            (None, Some(answer)) => Travelled::Answer(answer),
            (Some(Fault::NotSent), _) => Travelled::NotSent,
            (Some(Fault::StatusBefore(status) | Fault::StatusAfter(status)), _) => Travelled::Answer(PeerAnswer::empty(status)),
            (Some(Fault::Mutate(mutate)), Some(answer)) => Travelled::Answer(mutated(answer, mutate.as_ref())),
            _ => Travelled::Nothing,
        };
        if self.lock().unlisted {
            return travelled;
        }
        let (status, answered) = match &travelled {
            Travelled::Answer(answer) => (Some(answer.status.as_u16()), serde_json::from_slice(&answer.body).unwrap_or_default()),
            Travelled::NotSent | Travelled::Nothing => (None, Value::Null),
        };
        let (method, path, query) = (request.method.clone(), request.path.clone(), request.query.clone());
        let call = Call { peer: peer.name(), method, path, query, status, reached: reaches, sent: request.json(), answered };
        self.lock().calls.push(call);
        travelled
    }

    fn take_fault(&self, peer: &str, request: &PeerRequest) -> Option<Fault> {
        let mut state = self.lock();
        let index = state.faults.iter().position(|(chooser, _)| chooser(peer, request))?;
        state.faults.remove(index).map(|(_, fault)| fault)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, RoadState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn mutated(mut answer: PeerAnswer, mutate: &(dyn Fn(&mut Value) + Send + Sync)) -> PeerAnswer {
    if let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) {
        mutate(&mut body);
        answer.body = Bytes::from(body.to_string());
    }
    answer
}

/// What the caller of [`Road::travel`] sees.
pub(crate) enum Travelled {
    /// An answer.
    Answer(PeerAnswer),
    /// A refused connection.
    NotSent,
    /// Silence.
    Nothing,
}
