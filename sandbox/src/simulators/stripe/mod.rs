//! Stripe, simulated: PaymentIntents, SetupIntents, refunds, customers, payment methods, disputes and signed events.
//!
//! | file | purpose |
//! |---|---|
//! | `mod.rs` | what tests and the demo can see and script |
//! | `router.rs`, `form.rs` | keys, versions, idempotency, routes; parameters in brackets |
//! | `state.rs`, `render.rs` | what is remembered, and how Stripe writes it |
//! | `intents.rs`, `reads.rs` | PaymentIntents; lists and the search |
//! | `setups.rs`, `details.rs` | SetupIntents; customers and payment methods |
//! | `refunds.rs` | refunds, disputes, and changes that no request asks for |
//! | `cards.rs`, `money.rs` | test cards and what banks say; amounts |
//! | `notifications.rs` | events and their signature |
//! | `simulated_gateway.rs` | what all gateways have in common |
//!
//! It must never be kinder than the real thing: an idempotency key gets its *first* answer again, declines and server errors included; a decline
//! leaves an intent behind; a search is a minute behind; a canceled hold is notified as `charge.refunded`; and details that
//! were not set up for off-session payments are declined without the customer.

pub mod account;
mod cards;
mod details;
mod error;
mod form;
mod intents;
mod money;
mod notifications;
mod reads;
mod refunds;
mod render;
mod router;
mod setups;
mod simulated_gateway;
mod state;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cards::{AuthenticationFlow, Card, Decline, ScriptedOutcome};
use connector::clock::{Clock, Timestamp};
use serde_json::Value;
use state::State;

use crate::expect::expect_fixture;
use crate::simulators::simulated_gateway::NotificationRequest;

/// What is set up in the simulated Dashboard.
#[derive(Clone, Debug)]
pub struct StripeConfig {
    /// The secret keys that are taken at first, `sk_test_…`.
    pub api_keys: Vec<String>,
    /// The signing secrets of the webhook endpoint, `whsec_…`. With two of them, as while one is rolled, every event is signed twice.
    pub webhook_secrets: Vec<String>,
    /// The version of the API that every request has to name, and that events are written in.
    pub api_version: String,
}

/// A charge of the ledger, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeSummary {
    /// Its id.
    pub id: String,
    /// The PaymentIntent that it is a try of.
    pub intent: String,
    /// Whether the bank agreed.
    pub approved: bool,
    /// What was taken, in Stripe's minor units.
    pub captured: i64,
}

/// The simulator.
pub struct StripeSimulator {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl StripeSimulator {
    /// Opens the account.
    #[must_use]
    pub fn new(config: StripeConfig, clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::new(State::new(config)) }
    }

    /// Stores details for Cleeng's customer, set up for off-session payments, and returns the token as the adapter writes it.
    pub fn store_details(&self, customer: &str) -> String {
        let now = self.clock.now();
        let mut state = self.lock();
        let metadata = BTreeMap::from([("cleengCustomerId".to_owned(), customer.to_owned())]);
        let owner = state.customers.iter().find(|one| one.metadata == metadata).map(|one| one.id.clone());
        let owner = owner.unwrap_or_else(|| state.new_customer(metadata, now));
        let id = state.new_method(Card::Succeeds, cards::Scheme::Visa, now);
        if let Some(method) = state.methods.get_mut(&id) {
            (method.customer, method.set_up_off_session) = (Some(owner.clone()), true);
        }
        format!("{id}:{owner}")
    }

    /// Details as Stripe.js makes them of what the customer enters: a payment method that belongs to nobody yet. `card` is a test payment method
    /// such as `pm_card_visa`; the same `number` is the same entry.
    ///
    /// # Panics
    /// For a card that is no test card.
    pub fn tokenize_card(&self, card: &str, number: u32) -> String {
        let now = self.clock.now();
        let mut state = self.lock();
        let entry = (card.to_owned(), number);
        if let Some(id) = state.tokenized_cards.get(&entry) {
            return id.clone();
        }
        let (card, scheme) = expect_fixture(Card::from_test_payment_method(card));
        let id = state.new_method(card, scheme, now);
        state.tokenized_cards.insert(entry, id.clone());
        id
    }

    /// Whether these details are stored: attached to a customer.
    #[must_use]
    pub fn has_details(&self, token: &str) -> bool {
        self.lock().methods.get(method_id(token)).is_some_and(|method| method.customer.is_some())
    }

    /// Refuses the next payment with these details with this decline code (402). Several refusals form a queue.
    pub fn decline_next_with(&self, token: &str, decline_code: &str) {
        self.script_outcome(token, ScriptedOutcome::Decline(Decline::from_decline_code(decline_code)), false);
    }

    /// Refuses every payment with these details from now on.
    pub fn decline_always_with(&self, token: &str, decline_code: &str) {
        self.script_outcome(token, ScriptedOutcome::Decline(Decline::from_decline_code(decline_code)), true);
    }

    /// Refuses the next payment with these details with this decline code and this advice code.
    pub fn decline_next_with_advice_code(&self, token: &str, decline_code: &str, advice_code: &str) {
        let decline = Decline { advice_code: Some(advice_code.to_owned()), ..Decline::from_decline_code(decline_code) };
        self.script_outcome(token, ScriptedOutcome::Decline(decline), false);
    }

    /// Refuses the next payment with these details with this decline code and this advice code of the network.
    pub fn decline_next_with_network_advice(&self, token: &str, decline_code: &str, network_advice_code: &str) {
        let decline = Decline { network_advice_code: Some(network_advice_code.to_owned()), ..Decline::from_decline_code(decline_code) };
        self.script_outcome(token, ScriptedOutcome::Decline(decline), false);
    }

    /// The network replaced the card behind these details: `payment_method.automatically_updated`.
    pub fn replace_card(&self, payment_method: &str) {
        let now = self.clock.now();
        notifications::enqueue_for_method(&mut self.lock(), "payment_method.automatically_updated", payment_method, None, now);
    }

    /// The next payment with these details is `processing` until it is processed; then it fails with this decline code, if there is one.
    pub fn leave_next_processing(&self, token: &str, decline_code: Option<&str>) {
        self.leave_next_processing_until(token, self.clock.now(), decline_code);
    }

    /// The same, until this time at the earliest.
    pub fn leave_next_processing_until(&self, token: &str, until: Timestamp, decline_code: Option<&str>) {
        self.script_outcome(token, ScriptedOutcome::Process(until, decline_code.map(Decline::from_decline_code)), false);
    }

    /// The next refund is pending, and fails when it is processed.
    pub fn fail_next_refund(&self) {
        self.lock().fail_next_refund = true;
    }

    /// The next payment with these details wants the customer, at a page or in the page.
    pub fn require_authentication_next(&self, token: &str, in_page: bool) {
        self.script_outcome(
            token,
            ScriptedOutcome::RequireAuthentication(if in_page { AuthenticationFlow::InPage } else { AuthenticationFlow::Redirect }),
            false,
        );
    }

    /// Customers are asked by Stripe.js in the page from now on (`use_stripe_sdk`), not at a page of Stripe's.
    pub fn authenticate_in_page(&self) {
        self.lock().authenticate_in_page = true;
    }

    /// The next refund comes to this status: `pending`, `requires_action` or `failed`.
    pub fn set_next_refund_status(&self, status: &'static str) {
        self.lock().next_refund_status = Some(status);
    }

    /// The next capture is refused with this error code (400), and nothing is taken.
    pub fn decline_next_capture_with(&self, code: &str) {
        self.lock().next_capture_error = Some(code.to_owned());
    }

    /// The next call is answered with 429 and this `Retry-After` in seconds.
    pub fn throttle_next(&self, retry_after: u64) {
        self.lock().throttle_next = Some(retry_after);
    }

    /// The next write is answered as if the same call were still in progress (409), and is not done.
    pub fn in_progress_next(&self) {
        self.lock().in_progress_next = true;
    }

    /// The next write is answered with 500, and so is every repetition under its key. Whether it is done all the same is said by `effect`.
    pub fn server_error_next(&self, effect: bool) {
        self.lock().server_error_next = Some(effect);
    }

    /// The next answer carries `StripeSimulator-Should-Retry`.
    pub fn should_retry_next(&self, retry: bool) {
        self.lock().should_retry_next = Some(retry);
    }

    /// Takes these API keys, and no others, from now on.
    pub fn accept_api_keys(&self, keys: &[&str]) {
        self.lock().config.api_keys = keys.iter().map(|key| (*key).to_owned()).collect();
    }

    /// Signs events with these secrets from now on.
    pub fn sign_with(&self, secrets: &[&str]) {
        self.lock().config.webhook_secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
    }

    /// The search is this far behind from now on.
    pub fn set_search_delay(&self, by: Duration) {
        self.lock().search_delay = by;
    }

    /// The customer authenticates for a PaymentIntent or SetupIntent. False if no authentication is pending.
    pub fn authenticate(&self, id: &str) -> bool {
        let now = self.clock.now();
        let mut state = self.lock();
        if state.intent(id).is_some_and(|one| one.status == "requires_action") {
            // What the bank says then is in the intent.
            drop(intents::request_authorisation(&mut state, id, true, now));
        } else if state.setup(id).is_some_and(|one| one.status == "requires_action") {
            drop(setups::request_setup(&mut state, id, true, now));
        } else {
            return false;
        }
        true
    }

    /// The customer fails to authenticate, or cancels.
    pub fn fail_authentication(&self, id: &str) {
        let now = self.clock.now();
        let mut state = self.lock();
        if let Some(intent) = state.intent_mut(id).filter(|one| one.status == "requires_action") {
            (intent.status, intent.authentication, intent.payment_method) = ("requires_payment_method", None, None);
            intent.last_error = Some(Decline::from_decline_code("payment_intent_authentication_failure"));
            notifications::enqueue_for_intent(&mut state, "payment_intent.payment_failed", id, now);
        } else if state.setup(id).is_some_and(|one| one.status == "requires_action") {
            drop(setups::record_decline(&mut state, id, Decline::from_decline_code("setup_intent_authentication_failure"), now));
        }
    }

    /// Does what is pending; the results are events.
    pub fn process(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        refunds::expire_authorisations(&mut state, now);
        refunds::process(&mut state, now);
    }

    /// A refund that was pending or went through comes back: `refund.failed`.
    pub fn fail_refund_later(&self, refund: &str) {
        let now = self.clock.now();
        refunds::fail(&mut self.lock(), refund, now);
    }

    /// The customer's bank takes a captured payment back.
    pub fn charge_back(&self, payment: &str) {
        let now = self.clock.now();
        refunds::dispute(&mut self.lock(), payment, now);
    }

    /// The dispute of a payment is over.
    pub fn close_dispute(&self, payment: &str, won: bool) {
        let now = self.clock.now();
        refunds::close_dispute(&mut self.lock(), payment, won, now);
    }

    /// The hold of an authorised payment lapses. Does nothing for one that holds nothing.
    pub fn expire(&self, payment: &str) {
        let now = self.clock.now();
        let mut state = self.lock();
        if state.intent(payment).is_some_and(|one| one.status == "requires_capture") {
            intents::cancel_with_reason(&mut state, payment, "automatic", now);
        }
    }

    /// The scheme reports that the customer has a new card: `payment_method.automatically_updated`.
    pub fn update_card_automatically(&self, token: &str) {
        let now = self.clock.now();
        let previous = serde_json::json!({ "card": { "exp_year": 2027 } });
        notifications::enqueue_for_method(&mut self.lock(), "payment_method.automatically_updated", method_id(token), Some(previous), now);
    }

    /// Somebody detaches stored details in the Dashboard.
    pub fn detach_in_dashboard(&self, token: &str) {
        let now = self.clock.now();
        drop(details::detach(&mut self.lock(), method_id(token), &form::Params::default(), now));
    }

    /// The notifications since the last time, signed now.
    pub fn take_notifications(&self) -> Vec<NotificationRequest> {
        let now = self.clock.now();
        let mut state = self.lock();
        refunds::expire_authorisations(&mut state, now);
        let events = std::mem::take(&mut state.outbox);
        let secrets = state.config.webhook_secrets.clone();
        drop(state);
        events.iter().map(|event| notifications::signed(&secrets, Bytes::from(event.to_string()), now)).collect()
    }

    /// A rightly signed event of any kind, for those that the simulator does not send.
    #[must_use]
    pub fn notification(&self, kind: &str, object: Value) -> NotificationRequest {
        let now = self.clock.now();
        let event = notifications::new_event(&mut self.lock(), kind, object, None, now);
        self.sign_event(&event)
    }

    /// A body signed as it is.
    #[must_use]
    pub fn sign_event(&self, body: &Value) -> NotificationRequest {
        let secrets = self.lock().config.webhook_secrets.clone();
        notifications::signed(&secrets, Bytes::from(body.to_string()), self.clock.now())
    }

    /// A PaymentIntent as Stripe writes it.
    #[must_use]
    pub fn rendered_intent(&self, id: &str) -> Option<Value> {
        let state = self.lock();
        state.intent(id).map(|one| render::intent(&state, one, &render::Expand::default()))
    }

    /// Every try, oldest first.
    #[must_use]
    pub fn charges(&self) -> Vec<ChargeSummary> {
        let of = |one: &state::Charge| ChargeSummary {
            id: one.id.clone(),
            intent: one.intent.clone(),
            approved: one.is_approved(),
            captured: one.captured,
        };
        self.lock().charges.iter().map(of).collect()
    }

    /// Ids and statuses of every PaymentIntent, oldest first.
    #[must_use]
    pub fn intents(&self) -> Vec<(String, &'static str)> {
        self.lock().intents.iter().map(|one| (one.id.clone(), one.status)).collect()
    }

    /// Ids and statuses of every refund, oldest first.
    #[must_use]
    pub fn refunds(&self) -> Vec<(String, &'static str)> {
        self.lock().refunds.iter().map(|one| (one.id.clone(), one.status)).collect()
    }

    /// What time it is there.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How many customers there are.
    #[must_use]
    pub fn customers(&self) -> usize {
        self.lock().customers.len()
    }

    fn script_outcome(&self, token: &str, outcome: ScriptedOutcome, always: bool) {
        if let Some(method) = self.lock().methods.get_mut(method_id(token)) {
            if always {
                method.default_outcome = Some(outcome);
            } else {
                method.next_outcomes.push_back(outcome);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The payment method in a token.
fn method_id(token: &str) -> &str {
    token.split(':').find(|part| part.starts_with("pm_")).unwrap_or_default()
}
