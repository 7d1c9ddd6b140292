//! PayPal, simulated: Orders v2, Payments v2, Payment Method Tokens v3, OAuth, signed webhooks and the check of their signatures.
//!
//! | file | duty |
//! |---|---|
//! | `mod.rs` | the door: access tokens, request ids, routes; what tests and the demo can see and stage |
//! | `state.rs`, `render.rs` | what is remembered, and how PayPal writes it |
//! | `orders.rs` | orders: with stored details, or agreed to by the payer |
//! | `payments.rs` | captures, reauthorisations, voids, refunds, and what happens by itself |
//! | `vault.rs` | setup tokens and stored details |
//! | `notifications.rs`, `material.rs` | webhooks, their signature, and the keys and certificates for it |
//! | `house.rs` | what all gateways have in common |
//!
//! It must never be kinder than the real thing: a request id gets the *latest* state of what it made and is forgotten after its time, an order
//! that is completed can hold a capture that is not, and only a capture's id can be refunded.

mod house;
pub mod material;
mod notifications;
mod orders;
mod payments;
mod render;
mod state;
mod vault;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use connector::clock::{Clock, Timestamp};
use connector::http::Method;
use connector::money::Money;
use serde_json::{Value, json};
use state::{Answer, Made, Refused, Script, State, not_found, refusal};

use crate::house::Posted;
use crate::peer::{Peer, PeerAnswer, PeerRequest};

/// The currencies that PayPal takes (developer.paypal.com, "Currency codes").
const CURRENCIES: [&str; 25] = [
    "AUD", "BRL", "CAD", "CNY", "CZK", "DKK", "EUR", "HKD", "HUF", "ILS", "JPY", "MYR", "MXN", "TWD", "NZD", "NOK", "PHP", "PLN", "GBP",
    "RUB", "SGD", "SEK", "CHF", "THB", "USD",
];
/// Those of them without decimals.
const NO_DECIMALS: [&str; 3] = ["HUF", "JPY", "TWD"];
/// The longest request id, in characters (Orders 2.13).
const LONGEST_REQUEST_ID: usize = 108;
/// The name of the certificate that webhooks are signed with.
const CERTIFICATE: &str = "CERT-360caa42-fca2a594-7a2fd7d3";

/// What is set up in the simulated Developer Dashboard.
#[derive(Clone, Debug)]
pub struct PayPalConfig {
    /// The client id of the REST app.
    pub client_id: String,
    /// The client secret that is taken at first.
    pub client_secret: String,
    /// The id of the app's webhook.
    pub webhook_id: String,
    /// Where the certificate of webhooks lies, such as `https://api.sandbox.paypal.com`.
    pub certificate_host: String,
}

/// A payment of the ledger, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The capture's id.
    pub id: String,
    /// The authorisation that it was made of.
    pub authorisation: Option<String>,
    /// Its status.
    pub status: &'static str,
    /// What was taken.
    pub amount: Money,
}

/// The simulator.
pub struct PayPal {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl PayPal {
    /// Opens the account.
    #[must_use]
    pub fn new(config: PayPalConfig, clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::new(State::new(config, material::TRUSTED)) }
    }

    /// The certificate of the test CA, which the adapter has to trust, in DER.
    #[must_use]
    pub fn trust_root() -> Vec<u8> {
        notifications::der(material::TEST_CA)
    }

    /// Stores details for Cleeng's customer and returns the token as the adapter writes it.
    pub fn store_details(&self, customer: &str) -> String {
        let mut state = self.lock();
        let vault_id = state.store(customer);
        let owner = state.tokens.get(&vault_id).map(|token| token.owner.clone()).unwrap_or_default();
        format!("{vault_id}:{owner}")
    }

    /// Whether these details are stored.
    #[must_use]
    pub fn has_details(&self, token: &str) -> bool {
        self.lock().tokens.contains_key(vault_id(token))
    }

    /// Refuses the next payment with these details with this issue (422). Several refusals form a queue.
    pub fn refuse_next(&self, token: &str, issue: &str) {
        self.script(token, Script::Refuse(issue.to_owned()), false);
    }

    /// Refuses every payment with these details from now on.
    pub fn refuse_always(&self, token: &str, issue: &str) {
        self.script(token, Script::Refuse(issue.to_owned()), true);
    }

    /// The order of the next payment with these details is COMPLETED, and its authorisation DENIED or its capture DECLINED.
    pub fn decline_inside_next(&self, token: &str) {
        self.script(token, Script::Declined, false);
    }

    /// The authorisation or capture of the next payment with these details is PENDING until it is processed.
    pub fn pend_next(&self, token: &str) {
        self.script(token, Script::Pending, false);
    }

    /// Payments with these details take two steps from now on: the create call leaves the order CREATED.
    pub fn pay_in_two_steps(&self, token: &str) {
        self.script(token, Script::TwoSteps, true);
    }

    /// The create call's answer of the next payment with these details says COMPLETED and leaves the payment out.
    pub fn be_silent_next(&self, token: &str) {
        self.script(token, Script::Silent, false);
    }

    /// The next payment with these details wants the payer to act.
    pub fn want_payer_next(&self, token: &str) {
        self.script(token, Script::PayerAction, false);
    }

    /// The next capture of an authorisation comes to this status: `PENDING`, `DECLINED` or `FAILED`.
    pub fn next_capture_is(&self, status: &'static str) {
        self.lock().next_capture = Some(status);
    }

    /// The next refund comes to this status: `PENDING` or `FAILED`.
    pub fn next_refund_is(&self, status: &'static str) {
        self.lock().next_refund = Some(status);
    }

    /// Details that are stored with a purchase come later than its answer, by notification.
    pub fn vault_later(&self) {
        self.lock().vault_later = true;
    }

    /// The account blocks duplicate invoice ids.
    pub fn block_duplicate_invoices(&self) {
        self.lock().block_duplicates = true;
    }

    /// The next call but that for a token is answered with 429 and this `Retry-After` in seconds.
    pub fn throttle_next(&self, retry_after: u64) {
        self.lock().throttle_next = Some(retry_after);
    }

    /// The next write is answered as if the same call were still in progress (409), and is not done.
    pub fn in_progress_next(&self) {
        self.lock().in_progress_next = true;
    }

    /// The next write is answered with 500. Whether it is done all the same is said by `effect`.
    pub fn server_error_next(&self, effect: bool) {
        self.lock().server_error_next = Some(effect);
    }

    /// Takes these client secrets, and no others, from now on.
    pub fn accept_secrets(&self, secrets: &[&str]) {
        self.lock().secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
    }

    /// Takes none of the access tokens any more that it gave out.
    pub fn revoke_access(&self) {
        self.lock().access.clear();
    }

    /// Access tokens live this long from now on.
    pub fn let_access_live(&self, life: Duration) {
        self.lock().token_life = life.as_secs();
    }

    /// Puts another certificate at the URL that webhooks name; nothing for none.
    pub fn show_certificate(&self, pem: Option<&'static str>) {
        self.lock().certificate = pem;
    }

    /// The payer agrees to an order or a setup token at PayPal. False where there is nothing to agree to (any more).
    pub fn approve(&self, started: &str) -> bool {
        let now = self.clock.now();
        let mut state = self.lock();
        match state.setups.get_mut(started) {
            Some(setup) => {
                setup.approved = true;
                true
            }
            None => orders::approve(&mut state, started, now),
        }
    }

    /// The payer removes stored details at paypal.com.
    pub fn payer_removes(&self, token: &str) {
        let now = self.clock.now();
        vault::delete(&mut self.lock(), vault_id(token), now);
    }

    /// Does what is pending; the results are notifications.
    pub fn process(&self) {
        let now = self.clock.now();
        payments::process(&mut self.lock(), now);
    }

    /// A capture that was pending or completed is denied: PAYMENT.CAPTURE.DENIED.
    pub fn capture_is_denied_later(&self, capture: &str) {
        let now = self.clock.now();
        payments::deny(&mut self.lock(), capture, now);
    }

    /// A pending refund fails.
    pub fn refund_fails_later(&self, refund: &str) {
        let now = self.clock.now();
        payments::fail_refund(&mut self.lock(), refund, now);
    }

    /// The payer's bank takes a captured payment back: PAYMENT.CAPTURE.REVERSED.
    pub fn charge_back(&self, payment: &str) {
        let now = self.clock.now();
        payments::reverse(&mut self.lock(), payment, now);
    }

    /// An authorisation lapses: PAYMENT.AUTHORIZATION.VOIDED. Does nothing for one that is not open.
    pub fn expire(&self, payment: &str) {
        let now = self.clock.now();
        payments::expire(&mut self.lock(), payment, now);
    }

    /// The notifications since the last time.
    pub fn take_notifications(&self) -> Vec<Posted> {
        let mut state = self.lock();
        let news = std::mem::take(&mut state.outbox);
        let config = state.config.clone();
        drop(state);
        news.iter().map(|news| notifications::signed(&config, news)).collect()
    }

    /// A rightly signed notification of any kind, for those that the simulator does not send itself.
    #[must_use]
    pub fn notification(&self, event_type: &str, resource_type: &str, resource: Value) -> Posted {
        let now = self.clock.now();
        let mut state = self.lock();
        let news = notifications::news(&mut state, event_type, resource_type, resource, now);
        notifications::signed(&state.config, &news)
    }

    /// A body signed as it is.
    #[must_use]
    pub fn sign_event(&self, body: &Value) -> Posted {
        let at = self.clock.now();
        let mut state = self.lock();
        let transmission = state.next_id();
        notifications::signed(&state.config, &state::News { transmission, at, body: body.clone() })
    }

    /// A capture as PayPal writes it.
    #[must_use]
    pub fn rendered_capture(&self, id: &str) -> Option<Value> {
        let state = self.lock();
        state.capture(id).map(|capture| render::capture(&state, capture))
    }

    /// Every capture, oldest first.
    #[must_use]
    pub fn captured(&self) -> Vec<Captured> {
        let state = self.lock();
        let of = |one: &state::Capture| Captured {
            id: one.id.clone(),
            authorisation: one.authorisation.clone(),
            status: one.status,
            amount: one.amount,
        };
        state.captures.iter().map(of).collect()
    }

    /// Ids and statuses of every authorisation, renewals included, oldest first.
    #[must_use]
    pub fn authorisations(&self) -> Vec<(String, &'static str)> {
        self.lock().authorisations.iter().map(|one| (one.id.clone(), one.status)).collect()
    }

    /// How many orders there are.
    #[must_use]
    pub fn orders(&self) -> usize {
        self.lock().orders.len()
    }

    fn script(&self, token: &str, script: Script, always: bool) {
        if let Some(token) = self.lock().tokens.get_mut(vault_id(token)) {
            if always {
                token.always = Some(script);
            } else {
                token.next.push_back(script);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a token that PayPal knows.
fn vault_id(token: &str) -> &str {
    token.split(':').next().unwrap_or_default()
}

/// POST `/v1/oauth2/token`.
fn give_access(state: &mut State, request: &PeerRequest, now: Timestamp) -> PeerAnswer {
    let basic = request.header("authorization").and_then(|value| value.strip_prefix("Basic "));
    let basic = basic.and_then(|basic| STANDARD.decode(basic).ok()).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let known = basic.split_once(':').is_some_and(|(id, secret)| id == state.config.client_id && state.secrets.iter().any(|s| s == secret));
    if !known {
        return PeerAnswer::json(401, &json!({ "error": "invalid_client", "error_description": "Client Authentication failed" }));
    }
    if request.body.as_ref() != b"grant_type=client_credentials" {
        return PeerAnswer::json(400, &json!({ "error": "unsupported_grant_type" }));
    }
    let token = format!("A21AA{}", state.next_id());
    state.access.insert(token.clone(), now.after(Duration::from_secs(state.token_life)));
    PeerAnswer::json(200, &json!({ "access_token": token, "token_type": "Bearer", "app_id": "APP-80W284485P519543T", "expires_in": state.token_life }))
}

fn has_access(state: &State, request: &PeerRequest, now: Timestamp) -> bool {
    let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    bearer.and_then(|token| state.access.get(token)).is_some_and(|until| now < *until)
}

impl Peer for PayPal {
    fn name(&self) -> &'static str {
        "paypal"
    }

    fn handle(&self, request: &PeerRequest) -> PeerAnswer {
        let now = self.clock.now();
        let mut state = self.lock();
        let segments = request.segments();
        match (&request.method, segments.as_slice()) {
            (&Method::POST, ["v1", "oauth2", "token"]) => return give_access(&mut state, request, now),
            (&Method::GET, ["v1", "notifications", "certs", name]) => return certificate(&state, name),
            _ => {}
        }
        if let Some(seconds) = state.throttle_next.take() {
            let body = json!({ "name": "RATE_LIMIT_REACHED", "message": "Too many requests. Blocked due to rate limiting.", "debug_id": "1" });
            return PeerAnswer::json(429, &body).with_header("retry-after", &seconds.to_string());
        }
        if !has_access(&state, request, now) {
            return PeerAnswer::json(401, &json!({ "error": "invalid_token", "error_description": "Token signature verification failed" }));
        }
        match &request.method {
            &Method::GET => read(&state, &segments, now).unwrap_or_else(Refused::answer),
            &Method::POST if segments == ["v1", "notifications", "verify-webhook-signature"] => {
                let status = if notifications::verify(&state, request) { "SUCCESS" } else { "FAILURE" };
                PeerAnswer::json(200, &json!({ "verification_status": status }))
            }
            &Method::POST => post(&mut state, request, &segments, now),
            &Method::DELETE => match segments.as_slice() {
                ["v3", "vault", "payment-tokens", id] => vault::delete(&mut state, id, now),
                _ => not_found().answer(),
            },
            _ => not_found().answer(),
        }
    }
}

fn certificate(state: &State, name: &str) -> PeerAnswer {
    match state.certificate.filter(|_| name == CERTIFICATE) {
        Some(pem) => {
            let mut answer = PeerAnswer::empty(200).with_header("content-type", "application/x-pem-file");
            answer.body = Bytes::from_static(pem.as_bytes());
            answer
        }
        None => PeerAnswer::empty(404),
    }
}

fn read(state: &State, route: &[&str], now: Timestamp) -> Answer {
    let found = |body: Option<Value>| body.filter(|body| !body.is_null()).map(|body| PeerAnswer::json(200, &body)).ok_or_else(not_found);
    match route {
        ["v2", "checkout", "orders", id] => found(Some(render::order(state, orders::find(state, id, now)?, true))),
        ["v2", "payments", "authorizations", id] => found(state.authorisation(id).map(|one| render::authorisation(state, one))),
        ["v2", "payments", "captures", id] => found(state.capture(id).map(|one| render::capture(state, one))),
        ["v2", "payments", "refunds", id] => found(state.refund(id).map(render::refund)),
        ["v3", "vault", "setup-tokens", id] => found(Some(render::setup(state, id))),
        ["v3", "vault", "payment-tokens", id] => found(Some(render::token(state, id))),
        _ => Err(not_found()),
    }
}

/// A write: under a request id that is known, the latest state of what it made; else it is done.
fn post(state: &mut State, request: &PeerRequest, route: &[&str], now: Timestamp) -> PeerAnswer {
    if request.header("content-type") != Some("application/json") {
        return refusal(415, "INVALID_CONTENT_TYPE").answer();
    }
    let request_id = request.header("paypal-request-id").map(str::to_owned);
    if request_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > LONGEST_REQUEST_ID) {
        return refusal(400, "INVALID_STRING_LENGTH").answer();
    }
    if std::mem::take(&mut state.in_progress_next) {
        return refusal(409, "PREVIOUS_REQUEST_IN_PROGRESS").answer();
    }
    let whole = request.header("prefer") == Some("return=representation");
    let remembered = request_id.as_ref().and_then(|id| state.replays.get(id)).filter(|(made, at)| now.since(*at) < made.remembered());
    if let Some((made, _)) = remembered.cloned() {
        return answer(state, &made, 200, whole, route).unwrap_or_else(Refused::answer);
    }
    let broken = state.server_error_next.take();
    if broken == Some(false) {
        return refusal(500, "INTERNAL_SERVER_ERROR").answer();
    }
    let made = match write(state, request, route, request_id.as_deref(), now) {
        Ok(made) => made,
        // A refusal made nothing, so there is nothing to remember.
        Err(refused) => return refused.answer(),
    };
    if let Some(id) = request_id {
        state.replays.insert(id, (made.clone(), now));
    }
    if broken.is_some() {
        return refusal(500, "INTERNAL_SERVER_ERROR").answer();
    }
    answer(state, &made, 201, whole, route).unwrap_or_else(Refused::answer)
}

fn write(state: &mut State, request: &PeerRequest, route: &[&str], request_id: Option<&str>, now: Timestamp) -> Result<Made, Refused> {
    let body = if request.body.is_empty() { json!({}) } else { request.json() };
    if !body.is_object() {
        return Err(refusal(400, "MALFORMED_REQUEST_JSON"));
    }
    match route {
        ["v2", "checkout", "orders"] => orders::create(state, &body, request_id, now),
        ["v2", "checkout", "orders", id, step] => orders::second_step(state, id, step, now),
        ["v2", "payments", "authorizations", id, what] => payments::on_authorisation(state, id, what, &body, now),
        ["v2", "payments", "captures", id, "refund"] => payments::refund(state, id, &body, now),
        ["v3", "vault", "setup-tokens"] => vault::set_up(state, &body),
        ["v3", "vault", "payment-tokens"] => vault::store(state, &body, now),
        _ => Err(not_found()),
    }
}

fn answer(state: &State, made: &Made, status: u16, whole: bool, route: &[&str]) -> Answer {
    let short = |body: Value| if whole { body } else { json!({ "id": body["id"], "status": body["status"], "links": body["links"] }) };
    let body = match made {
        Made::Order(id) => {
            let answer = orders::answer(state, id, whole)?;
            let status = connector::http::StatusCode::from_u16(status).unwrap_or(answer.status);
            // What is left out is left out of the create call's own answer only.
            return if route.len() == 3 { Ok(PeerAnswer { status, ..answer }) } else { read_order(state, id, status, whole) };
        }
        Made::Authorisation(id) => short(state.authorisation(id).map(|one| render::authorisation(state, one)).unwrap_or_default()),
        Made::Capture(id) => short(state.capture(id).map(|one| render::capture(state, one)).unwrap_or_default()),
        Made::Refund(id) => short(state.refund(id).map(render::refund).unwrap_or_default()),
        Made::Setup(id) => render::setup(state, id),
        Made::Token(id) => render::token(state, id),
    };
    match route.last() {
        Some(&"void") if whole => Ok(PeerAnswer::json(200, &body)),
        Some(&"void") => Ok(PeerAnswer::empty(204)),
        _ => Ok(PeerAnswer::json(status, &body)),
    }
}

fn read_order(state: &State, id: &str, status: connector::http::StatusCode, whole: bool) -> Answer {
    let order = state.order(id).ok_or_else(not_found)?;
    Ok(PeerAnswer { status, ..PeerAnswer::json(201, &render::order(state, order, whole)) })
}
