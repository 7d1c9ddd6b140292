//! Adyen's Checkout API v71, simulated: a ledger of payments, stored details, idempotency as documented, and signed standard notifications.
//!
//! | file | purpose |
//! |---|---|
//! | `mod.rs` | what tests and the demo can see and script |
//! | `router.rs` | credentials, idempotency, routes |
//! | `validation.rs` | what every body is checked for, errors |
//! | `state.rs` | what is remembered |
//! | `payments.rs` | payments with stored details, purchases, the return from a redirect |
//! | `modifications.rs` | captures, cancels, refunds, reversals: received first, done when processed |
//! | `details.rs` | stored details |
//! | `page.rs` | what a page's component asks for before a payment |
//! | `notifications.rs` | notifications and their HMAC |
//! | `refusals.rs` | test refusals |
//!
//! Amounts are in Adyen's minor units throughout. It must never be kinder than the real thing: what is received only counts once it is
//! processed, and a reused idempotency key gets the first answer even if its body differs.

pub mod account;
mod details;
mod modifications;
mod notifications;
mod page;
mod payments;
mod refusals;
mod router;
mod simulated_gateway;
mod state;
mod validation;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector::clock::{Clock, Timestamp};
pub use state::{Payment, PaymentState};
use state::{ScriptedOutcome, State};

/// What is set up in the simulated Customer Area.
#[derive(Clone, Debug)]
pub struct AdyenConfig {
    /// The merchant account.
    pub merchant_account: String,
    /// The API key that is taken at first.
    pub api_key: String,
    /// The HMAC key of the standard webhook, in hex.
    pub hmac_key: String,
    /// Whether the account's capture delay is manual.
    pub manual_capture: bool,
}

/// The simulator.
pub struct AdyenSimulator {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl AdyenSimulator {
    /// Opens the account.
    #[must_use]
    pub fn new(config: AdyenConfig, clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::new(State::new(config)) }
    }

    /// Stores details for a shopper and returns their `storedPaymentMethodId`.
    pub fn store_method(&self, shopper_reference: &str) -> String {
        self.lock().store_method(shopper_reference)
    }

    /// Stores details under an id of the caller's choice, such as that of the sample events.
    pub fn insert_method(&self, stored_payment_method_id: &str, shopper_reference: &str) {
        self.lock().insert_method(stored_payment_method_id, shopper_reference);
    }

    /// Puts a payment into the ledger that was made before, such as that of the sample events.
    pub fn insert_payment(&self, payment: Payment) {
        self.lock().payments.push(payment);
    }

    /// Whether these details are stored.
    #[must_use]
    pub fn has_method(&self, stored_payment_method_id: &str) -> bool {
        self.lock().methods.contains_key(stored_payment_method_id)
    }

    /// Refuses the next payment with these details, with this `refusalReasonCode`. Several refusals form a queue.
    pub fn decline_next_with(&self, stored_payment_method_id: &str, code: &str) {
        self.script_outcome(stored_payment_method_id, ScriptedOutcome::Decline(code.to_owned()), false);
    }

    /// Refuses every payment with these details from now on, with this `refusalReasonCode`.
    pub fn decline_always_with(&self, stored_payment_method_id: &str, code: &str) {
        self.script_outcome(stored_payment_method_id, ScriptedOutcome::Decline(code.to_owned()), true);
    }

    /// Refuses the next payment with these details with this `refusalReasonCode` and Mastercard's `merchantAdviceCode`.
    pub fn decline_next_with_advice_code(&self, stored_payment_method_id: &str, code: &str, advice: &str) {
        self.script_outcome(stored_payment_method_id, ScriptedOutcome::DeclineWithAdvice(code.to_owned(), advice.to_owned()), false);
    }

    /// Answers the next payment with these details with an error about them (422, this `errorCode`), and makes none.
    pub fn refuse_next_with_error(&self, stored_payment_method_id: &str, code: &'static str) {
        self.script_outcome(stored_payment_method_id, ScriptedOutcome::Error(code), false);
    }

    /// The key belongs to an account that has none of the stored details (`PaymentDetail not found`), or to the right one again.
    pub fn hide_methods(&self, hidden: bool) {
        self.lock().methods_hidden = hidden;
    }

    /// Adyen's account updater replaced the card behind these details: `recurring.token.updated`.
    pub fn replace_card(&self, stored_payment_method_id: &str) {
        let mut state = self.lock();
        if let Some(method) = state.methods.get(stored_payment_method_id) {
            let event = ("recurring.token.updated", stored_payment_method_id.to_owned(), method.shopper_reference.clone());
            state.token_events.push(event);
        }
    }

    /// Answers the next payment with these details with this `resultCode`: `Pending` and `Received` are authorised when they are processed,
    /// `PartiallyAuthorised` holds half the amount, any other does nothing.
    pub fn set_next_result_code(&self, stored_payment_method_id: &str, result_code: &str) {
        self.script_outcome(stored_payment_method_id, ScriptedOutcome::ResultCode(result_code.to_owned()), false);
    }

    /// The next write with an idempotency key is answered as if the same call were still in progress (422, 704), and is not done.
    pub fn in_progress_next(&self) {
        self.lock().in_progress_next = true;
    }

    /// The next write with an idempotency key is answered with 500, and so is every repetition under that key: Adyen keeps such an answer as
    /// the final one. Whether the write is done all the same is said by `effect`.
    pub fn server_error_next(&self, effect: bool) {
        self.lock().server_error_next = Some(effect);
    }

    /// The next call is answered with 429 and this `Retry-After` in seconds.
    pub fn throttle_next(&self, retry_after: u64) {
        self.lock().throttle_next = Some(retry_after);
    }

    /// The next modification that is processed fails for this reason.
    pub fn fail_next_modification(&self, reason: &str) {
        self.lock().fail_next_modification = Some(reason.to_owned());
    }

    /// The shopper completes the redirect with this result at the bank and does not return to the page: the payment is
    /// made, and a notification says so.
    pub fn finish_without_returning(&self, redirect_result: &str) {
        let now = self.clock.now();
        payments::finish_without_returning(&mut self.lock(), redirect_result, now);
    }

    /// The shopper approves or cancels at the bank, and is sent back to this address.
    pub fn leave_bank_page(&self, redirect_result: &str, agrees: bool) -> Option<String> {
        let (now, mut state) = (self.clock.now(), self.lock());
        payments::leave_bank_page(&mut state, redirect_result, agrees, now);
        state.return_urls.get(redirect_result).cloned()
    }

    /// Takes these API keys, and no others, from now on.
    pub fn accept_api_keys(&self, keys: &[&str]) {
        self.lock().api_keys = keys.iter().map(|key| (*key).to_owned()).collect();
    }

    /// The account's capture delay is manual from now on: an authorisation is captured by request only.
    pub fn set_manual_capture(&self) {
        self.lock().config.manual_capture = true;
    }

    /// Signs with this HMAC key (hex) from now on.
    pub fn sign_with(&self, hmac_key: &str) {
        self.lock().config.hmac_key = hmac_key.to_owned();
    }

    /// Whether modifications are processed at once instead of waiting for [`AdyenSimulator::process`].
    pub fn process_immediately(&self, immediately: bool) {
        self.lock().process_immediately = immediately;
    }

    /// Accepts refunds above the captured amount: the connector has to prevent them without help.
    pub fn allow_over_refunds(&self) {
        self.lock().allow_over_refunds = true;
    }

    /// Does what was received, and settles pending payments; the results are notifications.
    pub fn process(&self) {
        let now = self.clock.now();
        modifications::process(&mut self.lock(), now);
    }

    /// The notifications since the last time, as the bodies that Adyen would post, one item each.
    pub fn take_notifications(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().outbox).iter().map(notifications::body).collect()
    }

    /// The announcement of a report, which Adyen does not sign: no `hmacSignature`.
    #[must_use]
    pub fn unsigned_report(&self) -> String {
        let (now, mut state) = (self.clock.now(), self.lock());
        notifications::unsigned_report(&mut state, now)
    }

    /// A rightly signed notification of any kind about a payment with this reference, for kinds that the simulator does not send.
    #[must_use]
    pub fn notification(&self, event_code: &str, success: bool, psp_reference: &str, original_reference: &str, reference: &str) -> String {
        let now = self.clock.now();
        let state = self.lock();
        let event = notifications::NotificationEvent {
            event_code,
            success,
            psp_reference,
            original_reference,
            reference,
            amount: None,
            reason: "",
        };
        notifications::body(&notifications::signed_item(&state.config, &event, now))
    }

    /// The same about an amount in Adyen's minor units, and of a success.
    #[must_use]
    pub fn notification_with_amount(&self, event_code: &str, own: &str, original: &str, reference: &str, amount: (&str, i64)) -> String {
        let now = self.clock.now();
        let state = self.lock();
        let event = notifications::NotificationEvent {
            event_code,
            success: true,
            psp_reference: own,
            original_reference: original,
            reference,
            amount: Some(amount),
            reason: "",
        };
        notifications::body(&notifications::signed_item(&state.config, &event, now))
    }

    /// The scheme refuses a capture that had succeeded: CAPTURE_FAILED. Does nothing for a payment that is not captured.
    pub fn capture_fails_later(&self, psp_reference: &str) {
        let now = self.clock.now();
        modifications::capture_fails_later(&mut self.lock(), psp_reference, now);
    }

    /// The shopper's bank takes what was captured back: CHARGEBACK.
    pub fn charge_back(&self, psp_reference: &str) {
        let now = self.clock.now();
        modifications::charge_back(&mut self.lock(), psp_reference, now);
    }

    /// A capture that the scheme had refused succeeds after all: CAPTURE, "Transaction Recaptured".
    pub fn recapture(&self, psp_reference: &str) {
        let now = self.clock.now();
        modifications::recapture(&mut self.lock(), psp_reference, now);
    }

    /// The merchant wins a chargeback: CHARGEBACK_REVERSED.
    pub fn reverse_chargeback(&self, psp_reference: &str) {
        let now = self.clock.now();
        modifications::reverse_chargeback(&mut self.lock(), psp_reference, now);
    }

    /// A tokenization webhook (`recurring.token.created` and so on) about stored details: the value of `HmacSignature`, and the body.
    #[must_use]
    pub fn tokenization_webhook(&self, event_type: &str, stored_payment_method_id: &str, shopper_reference: &str) -> (String, String) {
        let now = self.clock.now();
        notifications::tokenization_webhook(&mut self.lock(), event_type, stored_payment_method_id, shopper_reference, now)
    }

    /// The tokenization webhooks about details that were stored or updated since the last time: signature and body each.
    pub fn take_tokenization_webhooks(&self) -> Vec<(String, String)> {
        let now = self.clock.now();
        let mut state = self.lock();
        let events = std::mem::take(&mut state.token_events);
        let webhook = |(event_type, stored, shopper): (&str, String, String)| {
            notifications::tokenization_webhook(&mut state, event_type, &stored, &shopper, now)
        };
        events.into_iter().map(webhook).collect()
    }

    /// The next payment with these details is `Received` until this time; then the bank decides so.
    pub fn leave_next_received(&self, stored_payment_method_id: &str, until: Timestamp, approves: bool) {
        self.script_outcome(stored_payment_method_id, ScriptedOutcome::Received(until, approves), false);
    }

    /// A payment that was refused is authorised under the same `pspReference`: AUTHORISATION, `success` true. False for one that was not.
    pub fn approve_after_refusal(&self, psp_reference: &str) -> bool {
        let now = self.clock.now();
        modifications::approve_after_refusal(&mut self.lock(), psp_reference, now)
    }

    /// What was received is lost, and nothing is said about it.
    pub fn drop_modifications(&self) {
        self.lock().pending_modifications.clear();
    }

    /// Does what was received, before the bank decides about undecided payments.
    pub fn process_modifications(&self) {
        let now = self.clock.now();
        modifications::process_received(&mut self.lock(), now);
    }

    /// The next refund that is processed fails.
    pub fn fail_next_refund(&self) {
        self.lock().fail_next_refund = true;
    }

    /// The authorisation lapses: EXPIRE. Does nothing for one that is not open.
    pub fn expire(&self, psp_reference: &str) {
        let now = self.clock.now();
        modifications::expire(&mut self.lock(), psp_reference, now);
    }

    /// Every payment that was tried, oldest first.
    #[must_use]
    pub fn payments(&self) -> Vec<Payment> {
        self.lock().payments.clone()
    }

    /// The payment with this `pspReference`.
    #[must_use]
    pub fn payment(&self, psp_reference: &str) -> Option<Payment> {
        self.lock().payments.iter().find(|payment| payment.psp_reference == psp_reference).cloned()
    }

    /// How many payments the bank ever authorised.
    #[must_use]
    pub fn authorisations(&self) -> usize {
        self.lock().payments.iter().filter(|payment| payment.authorised > 0).count()
    }

    /// The sum of all captures in this currency; refunds are not subtracted.
    #[must_use]
    pub fn total_captured(&self, currency: &str) -> i64 {
        let state = self.lock();
        state.payments.iter().filter(|p| p.currency == currency).fold(0_i64, |sum, p| sum.saturating_add(p.captured))
    }

    /// The sum of all refunds in this currency.
    #[must_use]
    pub fn total_refunded(&self, currency: &str) -> i64 {
        let state = self.lock();
        state.payments.iter().filter(|p| p.currency == currency).fold(0_i64, |sum, p| sum.saturating_add(p.refunded))
    }

    /// How many modifications are received and not yet processed.
    #[must_use]
    pub fn pending_modifications(&self) -> usize {
        self.lock().pending_modifications.len()
    }

    fn script_outcome(&self, stored_payment_method_id: &str, outcome: ScriptedOutcome, always: bool) {
        if let Some(method) = self.lock().methods.get_mut(stored_payment_method_id) {
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
