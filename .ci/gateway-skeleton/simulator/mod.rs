//! ExampleGateway, simulated: TODO the API and its version. Keys, throttling and idempotency work; the routes are to be written.
//!
//! | file | purpose |
//! |---|---|
//! | `mod.rs` | the simulator: keys, the idempotency store, routes |
//! | `account.rs` | the sandbox's account |
//! | `simulated_gateway.rs` | its [`SimulatedGateway`](crate::simulators::simulated_gateway::SimulatedGateway) |

pub mod account;
mod simulated_gateway;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use connector::clock::{Clock, Timestamp};
use connector::http::{HeaderMap, HeaderValue, Method};
use ring::hmac;
use serde_json::{Value, json};

use crate::simulators::network::{PathParameters, Route, ServerRequest, ServerResponse, SimulatedServer, find_route};
use crate::simulators::simulated_gateway::{LedgerEntry, NotificationRequest};

/// How long an answer is kept under its key. TODO: by the gateway's documentation.
const IDEMPOTENCY_RETENTION: Duration = Duration::from_secs(24 * 3_600);
/// TODO: the header of the signature.
const SIGNATURE_HEADER: &str = "example-gateway-signature";

type Endpoint = fn(&mut State, PathParameters<'_>, &ServerRequest) -> ServerResponse;

/// TODO: one row per call of the adapter, such as `("GET /v1/payments/{id}", |state, [id, _], _| ...)`.
const ROUTES: [Route<Endpoint>; 1] = [("GET /v1/account", |_, _, _| ServerResponse::json(200, &json!({ "id": "sandbox" })))];

/// How an account is set up.
#[derive(Clone, Debug)]
pub struct ExampleGatewayConfig {
    /// The keys that are taken.
    pub api_keys: Vec<String>,
    /// The secret that events are signed with.
    pub webhook_secret: String,
}

/// What a request was answered with under its key.
struct IdempotentResponse {
    path: String,
    body: Bytes,
    answer: ServerResponse,
    at: Timestamp,
}

/// The gateway's books.
struct State {
    config: ExampleGatewayConfig,
    idempotent_responses: BTreeMap<String, IdempotentResponse>,
    /// Stored details by token, with the customer who stored them.
    details: BTreeMap<String, String>,
    ledger: Vec<LedgerEntry>,
    notifications: Vec<Value>,
    throttle_next: Option<u64>,
    last_id: u64,
}

/// The simulator.
pub struct ExampleGatewaySimulator {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl ExampleGatewaySimulator {
    /// An account without payments.
    #[must_use]
    pub fn new(config: ExampleGatewayConfig, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            config,
            idempotent_responses: BTreeMap::new(),
            details: BTreeMap::new(),
            ledger: Vec::new(),
            notifications: Vec::new(),
            throttle_next: None,
            last_id: 0,
        };
        Self { clock, state: Mutex::new(state) }
    }

    /// Stores details for Cleeng's customer and returns the token as the adapter writes it.
    pub fn store_details(&self, customer: &str) -> String {
        let mut state = self.lock();
        let token = state.next_id("src");
        state.details.insert(token.clone(), customer.to_owned());
        token
    }

    /// Takes only these keys from now on.
    pub fn accept_api_keys(&self, keys: &[&str]) {
        self.lock().config.api_keys = keys.iter().map(|key| (*key).to_owned()).collect();
    }

    /// The next call is answered with 429 and this `Retry-After` in seconds.
    pub fn throttle_next(&self, retry_after: u64) {
        self.lock().throttle_next = Some(retry_after);
    }

    /// A signed event.
    #[must_use]
    pub fn notification(&self, event: &Value) -> NotificationRequest {
        let body = event.to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.lock().config.webhook_secret.as_bytes());
        let signature: String = hmac::sign(&key, body.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut headers = HeaderMap::new();
        headers.extend(HeaderValue::from_str(&signature).ok().map(|signature| (http::HeaderName::from_static(SIGNATURE_HEADER), signature)));
        NotificationRequest { headers, body: Bytes::from(body) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_id(&mut self, kind: &str) -> String {
        self.last_id = self.last_id.saturating_add(1);
        format!("{kind}_{:016}", self.last_id)
    }
}

impl SimulatedServer for ExampleGatewaySimulator {
    fn name(&self) -> &'static str {
        "example_gateway"
    }

    fn handle(&self, request: &ServerRequest) -> ServerResponse {
        let now = self.clock.now();
        let mut state = self.lock();
        if let Some(seconds) = state.throttle_next.take() {
            return refusal(429, "too_many_requests").with_header("retry-after", &seconds.to_string());
        }
        let key = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if !key.is_some_and(|key| state.config.api_keys.iter().any(|known| known == key)) {
            return refusal(401, "unauthorized");
        }
        if request.method == Method::POST { answer_once(&mut state, request, now) } else { route(&mut state, request) }
    }
}

/// A repetition under a key is answered as the first call was; another call under the same key is refused.
fn answer_once(state: &mut State, request: &ServerRequest, now: Timestamp) -> ServerResponse {
    let Some(key) = request.header("idempotency-key").map(str::to_owned) else { return refusal(422, "idempotency_key_required") };
    let kept = state.idempotent_responses.get(&key).filter(|kept| now.since(kept.at) < IDEMPOTENCY_RETENTION);
    if let Some(kept) = kept {
        let same = kept.path == request.path && kept.body == request.body;
        return if same { kept.answer.clone() } else { refusal(422, "idempotency_key_reused") };
    }
    let answer = route(state, request);
    let response = IdempotentResponse { path: request.path.clone(), body: request.body.clone(), answer: answer.clone(), at: now };
    state.idempotent_responses.insert(key, response);
    answer
}

fn route(state: &mut State, request: &ServerRequest) -> ServerResponse {
    match find_route(&ROUTES, &request.method, &request.path) {
        Some((endpoint, parameters)) => endpoint(state, parameters, request),
        None => refusal(404, "not_found"),
    }
}

fn refusal(status: u16, code: &str) -> ServerResponse {
    ServerResponse::json(status, &json!({ "error": { "code": code } }))
}
