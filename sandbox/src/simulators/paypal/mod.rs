//! PayPal, simulated: Orders v2, Payments v2, Payment Method Tokens v3, OAuth, signed webhooks and the check of their signatures.
//!
//! | file | purpose |
//! |---|---|
//! | `mod.rs` | what tests and the demo can see and script |
//! | `router.rs` | access tokens, request ids, routes |
//! | `state.rs`, `render.rs` | what is remembered, and how PayPal writes it |
//! | `money.rs` | amounts as PayPal reads them |
//! | `orders.rs` | orders: with stored details, or agreed to by the payer |
//! | `payments.rs` | captures, reauthorisations, voids, refunds, and changes that no request asks for |
//! | `vault.rs` | setup tokens and stored details |
//! | `notifications.rs`, `test_keys.rs` | webhooks, their signature, and the keys and certificates for it |
//! | `simulated_gateway.rs` | what all gateways have in common |
//!
//! It must never be kinder than the real thing: a request id gets the *latest* state of what it made and is forgotten after its time, an order
//! that is completed can hold a capture that is not, and only a capture's id can be refunded.

pub mod account;
mod money;
mod notifications;
mod orders;
mod payments;
mod render;
mod router;
mod simulated_gateway;
mod state;
pub mod test_keys;
mod vault;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connector::clock::{Clock, Timestamp};
use connector::money::Money;
use serde_json::Value;
use state::{ScriptedOutcome, State};

use crate::simulators::simulated_gateway::NotificationRequest;

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
pub struct CaptureSummary {
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
pub struct PayPalSimulator {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl PayPalSimulator {
    /// Opens the account.
    #[must_use]
    pub fn new(config: PayPalConfig, clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::new(State::new(config, test_keys::TRUSTED)) }
    }

    /// The certificate of the test CA, which the adapter has to trust, in DER.
    #[must_use]
    pub fn trust_root() -> Vec<u8> {
        notifications::der(test_keys::TEST_CA)
    }

    /// Serves the certificate of webhooks at this host from now on.
    pub fn serve_certificate_at(&self, certificate_host: &str) {
        self.lock().config.certificate_host = certificate_host.to_owned();
    }

    /// Sends notifications for this webhook id from now on.
    pub fn set_webhook_id(&self, webhook_id: &str) {
        self.lock().config.webhook_id = webhook_id.to_owned();
    }

    /// Stores details for Cleeng's customer and returns the token as the adapter writes it.
    pub fn store_details(&self, customer: &str) -> String {
        let mut state = self.lock();
        let vault_id = state.add_payment_token(customer, None);
        let owner = state.payment_tokens.get(&vault_id).map(|token| token.paypal_customer.clone()).unwrap_or_default();
        format!("{vault_id}:{owner}")
    }

    /// Whether these details are stored.
    #[must_use]
    pub fn has_details(&self, token: &str) -> bool {
        self.lock().payment_tokens.contains_key(vault_id(token))
    }

    /// Refuses the next payment with these details with this issue (422). Several refusals form a queue.
    pub fn decline_next_with(&self, token: &str, issue: &str) {
        self.script_outcome(token, ScriptedOutcome::Decline(issue.to_owned()), false);
    }

    /// Refuses every payment with these details from now on.
    pub fn decline_always_with(&self, token: &str, issue: &str) {
        self.script_outcome(token, ScriptedOutcome::Decline(issue.to_owned()), true);
    }

    /// The order of the next payment with these details is COMPLETED, and its authorisation DENIED or its capture DECLINED.
    pub fn decline_inside_next_order(&self, token: &str) {
        self.script_outcome(token, ScriptedOutcome::DeclinedInsideOrder, false);
    }

    /// The authorisation or capture of the next payment with these details is PENDING until it is processed.
    pub fn leave_next_pending(&self, token: &str) {
        self.leave_next_pending_until(token, self.clock.now(), true);
    }

    /// The same, until this time; then it is decided so.
    pub fn leave_next_pending_until(&self, token: &str, until: Timestamp, approves: bool) {
        self.script_outcome(token, ScriptedOutcome::Pending(until, approves), false);
    }

    /// The next capture of an authorisation is PENDING until this time; then it is decided so.
    pub fn leave_next_capture_pending_until(&self, until: Timestamp, approves: bool) {
        self.lock().next_capture_decided = Some((until, approves));
    }

    /// The next refund is PENDING, and fails when it is processed.
    pub fn fail_next_refund(&self) {
        self.lock().fail_next_refund = true;
    }

    /// A dispute with this id about a captured payment is resolved: CUSTOMER.DISPUTE.RESOLVED. One that is lost takes the money, one that is
    /// won gives it back.
    pub fn resolve_dispute(&self, payment: &str, dispute: &str, lost: bool) {
        let now = self.clock.now();
        payments::resolve_dispute(&mut self.lock(), payment, dispute, lost, now);
    }

    /// Payments with these details take two steps from now on: the create call leaves the order CREATED.
    pub fn pay_in_two_steps(&self, token: &str) {
        self.script_outcome(token, ScriptedOutcome::TwoSteps, true);
    }

    /// The create call's answer of the next payment with these details says COMPLETED and leaves the payment out.
    pub fn omit_payment_from_next_answer(&self, token: &str) {
        self.script_outcome(token, ScriptedOutcome::PaymentOmitted, false);
    }

    /// The next payment with these details wants the payer to act.
    pub fn require_payer_action_next(&self, token: &str) {
        self.script_outcome(token, ScriptedOutcome::PayerActionRequired, false);
    }

    /// The next capture of an authorisation comes to this status: `PENDING`, `DECLINED` or `FAILED`.
    pub fn set_next_capture_status(&self, status: &'static str) {
        self.lock().next_capture_status = Some(status);
    }

    /// Captures an authorisation manually, without a notification.
    pub fn capture_manually(&self, authorisation: &str) {
        payments::capture_manually(&mut self.lock(), authorisation);
    }

    /// The next refund comes to this status: `PENDING` or `FAILED`.
    pub fn set_next_refund_status(&self, status: &'static str) {
        self.lock().next_refund_status = Some(status);
    }

    /// Details that are stored with a purchase come later than its answer, by notification.
    pub fn delay_vaulting(&self) {
        self.lock().delay_vaulting = true;
    }

    /// Purchases are taken, and the details that are to be stored with them never are: the order says `APPROVED` for ever.
    pub fn never_vault(&self) {
        self.lock().never_vault = true;
    }

    /// The account blocks duplicate invoice ids.
    pub fn block_duplicate_invoices(&self) {
        self.lock().block_duplicate_invoices = true;
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

    /// Rejects all access tokens that were issued so far.
    pub fn revoke_access_tokens(&self) {
        self.lock().access_tokens.clear();
    }

    /// The permissions of the account change: access tokens that were issued so far are valid, and are answered 403 `NOT_AUTHORIZED`.
    pub fn make_access_tokens_stale(&self) {
        let mut state = self.lock();
        state.stale_access_tokens = state.access_tokens.keys().cloned().collect();
    }

    /// Access tokens are valid for this long from now on.
    pub fn set_access_token_lifetime(&self, life: Duration) {
        self.lock().access_token_seconds = life.as_secs();
    }

    /// Puts another certificate at the URL that webhooks name; `None` for 404.
    pub fn set_certificate(&self, pem: Option<&'static str>) {
        self.lock().certificate = pem;
    }

    /// The payer agrees to an order or a setup token at PayPal. False where there is nothing to agree to (any more).
    pub fn approve(&self, started: &str) -> bool {
        let now = self.clock.now();
        let mut state = self.lock();
        match state.setup_tokens.get_mut(started) {
            Some(setup) => {
                setup.approved = true;
                true
            }
            None => orders::approve(&mut state, started, now),
        }
    }

    /// The payer removes stored details at paypal.com.
    pub fn remove_by_payer(&self, token: &str) {
        let now = self.clock.now();
        vault::delete(&mut self.lock(), vault_id(token), now);
    }

    /// Does what is pending; the results are notifications.
    pub fn process(&self) {
        let now = self.clock.now();
        payments::process(&mut self.lock(), now);
    }

    /// A capture that was pending or completed is denied: PAYMENT.CAPTURE.DENIED.
    pub fn deny_capture_later(&self, capture: &str) {
        let now = self.clock.now();
        payments::deny_capture(&mut self.lock(), capture, now);
    }

    /// A pending refund fails.
    pub fn fail_refund_later(&self, refund: &str) {
        let now = self.clock.now();
        payments::fail_refund(&mut self.lock(), refund, now);
    }

    /// The payer's bank takes a captured payment back: PAYMENT.CAPTURE.REVERSED.
    pub fn charge_back(&self, payment: &str) {
        let now = self.clock.now();
        payments::reverse_capture(&mut self.lock(), payment, now);
    }

    /// An authorisation lapses: PAYMENT.AUTHORIZATION.VOIDED. Does nothing for one that is not open.
    pub fn expire(&self, payment: &str) {
        let now = self.clock.now();
        payments::expire(&mut self.lock(), payment, now);
    }

    /// The notifications since the last time.
    pub fn take_notifications(&self) -> Vec<NotificationRequest> {
        let mut state = self.lock();
        let pending = std::mem::take(&mut state.outbox);
        let config = state.config.clone();
        drop(state);
        pending.iter().map(|notification| notifications::signed(&config, notification)).collect()
    }

    /// A rightly signed notification of any kind, for those that the simulator does not send.
    #[must_use]
    pub fn notification(&self, event_type: &str, resource_type: &str, resource: Value) -> NotificationRequest {
        let now = self.clock.now();
        let mut state = self.lock();
        let notification = notifications::new_notification(&mut state, event_type, resource_type, resource, now);
        notifications::signed(&state.config, &notification)
    }

    /// A body signed as it is.
    #[must_use]
    pub fn sign_event(&self, body: &Value) -> NotificationRequest {
        let at = self.clock.now();
        let mut state = self.lock();
        let transmission = state.next_id();
        notifications::signed(&state.config, &state::PendingNotification { transmission_id: transmission, at, body: body.clone() })
    }

    /// A capture as PayPal writes it.
    #[must_use]
    pub fn rendered_capture(&self, id: &str) -> Option<Value> {
        let state = self.lock();
        state.capture(id).map(|capture| render::capture(&state, capture))
    }

    /// Every capture, oldest first.
    #[must_use]
    pub fn captures(&self) -> Vec<CaptureSummary> {
        let state = self.lock();
        let of = |one: &state::Capture| CaptureSummary {
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

    fn script_outcome(&self, token: &str, outcome: ScriptedOutcome, always: bool) {
        if let Some(token) = self.lock().payment_tokens.get_mut(vault_id(token)) {
            if always {
                token.default_outcome = Some(outcome);
            } else {
                token.next_outcomes.push_back(outcome);
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
