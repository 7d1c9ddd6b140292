//! Stripe as one of the [`SimulatedGateway`]s.

use std::collections::BTreeMap;

use connector::clock::Timestamp;
use connector::gateway::{DeclineClass, GatewayName, OperationKind, RetryAdvice};
use connector::http::Method;
use connector::ids::ExternalPaymentId;
use serde_json::{Value, json};

use crate::expect::expect_fixture;
use crate::simulators::simulated_gateway::{
    EnteredDetails, LedgerEntry, LedgerStatus, MoneyCall, NotificationRequest, SimulatedGateway, mastercard_advice_code, with_query,
};
use crate::simulators::stripe::state::{PaymentIntent, State};
use crate::simulators::stripe::{StripeSimulator, method_id, money, refunds, render};

const fn decline_code(class: DeclineClass) -> Option<&'static str> {
    match class {
        DeclineClass::Soft => Some("insufficient_funds"),
        DeclineClass::NeedsCustomer => Some("authentication_required"),
        DeclineClass::NeedsNewDetails => Some("expired_card"),
        DeclineClass::Hard => Some("transaction_not_allowed"),
        DeclineClass::Risk => Some("fraudulent"),
        // A customer who cancels does not return.
        DeclineClass::Cancelled => None,
    }
}

impl StripeSimulator {
    /// Refuses every payment with these details in this class. False where Stripe has no such refusal.
    pub fn decline_always(&self, token: &str, class: DeclineClass) -> bool {
        decline_code(class).map(|code| self.decline_always_with(token, code)).is_some()
    }
}

impl SimulatedGateway for StripeSimulator {
    fn gateway_name(&self) -> GatewayName {
        GatewayName::Stripe
    }

    fn add_stored_details(&self, customer: &str) -> String {
        self.store_details(customer)
    }

    fn has_stored_details(&self, token: &str) -> bool {
        self.has_details(method_id(token))
    }

    fn decline_next(&self, token: &str, class: DeclineClass) -> bool {
        decline_code(class).map(|code| self.decline_next_with(token, code)).is_some()
    }

    fn decline_next_with_advice(&self, token: &str, advice: RetryAdvice) -> bool {
        match advice {
            RetryAdvice::Never => self.decline_next_with_advice_code(token, "generic_decline", "do_not_try_again"),
            RetryAdvice::AfterHours(_) => {
                self.decline_next_with_network_advice(token, "insufficient_funds", mastercard_advice_code(advice))
            }
        }
        true
    }

    fn use_another_account(&self, another: bool) {
        self.lock().details_hidden = another;
    }

    fn update_details(&self, token: &str) -> bool {
        self.replace_card(method_id(token));
        true
    }

    /// Stripe.js makes a payment method of what the customer enters, and the page sends its id.
    fn payment_data(&self, entry: EnteredDetails, number: u32) -> Value {
        let card = match entry {
            EnteredDetails::Frictionless => "pm_card_visa",
            EnteredDetails::ActionRequired => "pm_card_authenticationRequiredOnSetup",
            EnteredDetails::Declined => "pm_card_chargeDeclinedInsufficientFunds",
        };
        json!({ "paymentMethod": { "type": "card", "id": self.tokenize_card(card, number) } })
    }

    /// At Stripe's page, or by Stripe.js in the page: the action names the intent either way.
    fn complete_action(&self, action: &Value) -> Value {
        let action = action.to_string();
        let state = self.lock();
        let ids = state.intents.iter().map(|one| &one.id).chain(state.setups.iter().map(|one| &one.id));
        let id = ids.rev().find(|id| action.contains(&render::redirect_url(id)) || action.contains(&render::client_secret(id))).cloned();
        drop(state);
        let Some(id) = id else { return Value::Null };
        self.authenticate(&id);
        // What Stripe adds to the return URL (docs.stripe.com/payments/3d-secure/authentication-flow).
        let started = if id.starts_with("seti_") { "setup_intent" } else { "payment_intent" };
        let secret = format!("{started}_client_secret");
        json!({ started: id, secret: render::client_secret(&id), "redirect_status": "succeeded" })
    }

    /// The bank's page redirects back after success and failure; a customer who cancels has not authenticated.
    fn complete_redirect(&self, page: &str, agrees: bool) -> Option<String> {
        let (id, back) = {
            let state = self.lock();
            let intents = state.intents.iter().map(|one| (&one.id, &one.return_url));
            let all = intents.chain(state.setups.iter().map(|one| (&one.id, &one.return_url)));
            let (id, back) = all.rev().find(|(id, _)| render::redirect_url(id) == page)?;
            (id.clone(), back.clone()?)
        };
        if agrees {
            return Some(with_query(&back, &self.complete_action(&json!({ "url": page }))));
        }
        self.fail_authentication(&id);
        let started = if id.starts_with("seti_") { "setup_intent" } else { "payment_intent" };
        Some(with_query(&back, &json!({ started: id, "redirect_status": "failed" })))
    }

    fn process(&self) {
        self.process();
    }

    fn take_notifications(&self) -> Vec<NotificationRequest> {
        self.take_notifications()
    }

    /// Stripe signs each delivery again ("Resolve webhook signature verification errors", "Check the timestamp").
    fn sign_for_redelivery(&self, notification: &NotificationRequest) -> NotificationRequest {
        let now = self.clock.now();
        let secrets = self.lock().config.webhook_secrets.clone();
        crate::simulators::stripe::notifications::signed(&secrets, notification.body.clone(), now)
    }

    fn ledger(&self) -> Vec<LedgerEntry> {
        let now = self.clock.now();
        let mut state = self.lock();
        refunds::expire_authorisations(&mut state, now);
        state.intents.iter().map(|intent| ledger_entry(&state, intent)).collect()
    }

    /// A capture is decided at once.
    fn leave_next_undecided(&self, token: &str, operation: OperationKind, until: Timestamp, approves: bool) -> bool {
        let is_payment = operation != OperationKind::Capture;
        if is_payment {
            self.leave_next_processing_until(token, until, if approves { None } else { Some("insufficient_funds") });
        }
        is_payment
    }

    /// A try that was declined is over; another one needs a request.
    fn approve_after_refusal(&self, _payment: &ExternalPaymentId) -> bool {
        false
    }

    fn fail_next_refund(&self) -> bool {
        self.fail_next_refund();
        true
    }

    fn charge_back(&self, payment: &ExternalPaymentId) {
        self.charge_back(payment.as_str());
    }

    fn return_charge_back(&self, payment: &ExternalPaymentId) {
        self.close_dispute(payment.as_str(), true);
    }

    fn expire(&self, payment: &ExternalPaymentId) {
        self.expire(payment.as_str());
    }

    fn sign_notifications_with(&self, key: &str) {
        self.sign_with(&[key]);
    }

    fn unknown_notification(&self, entry: &LedgerEntry) -> Option<NotificationRequest> {
        let intent = self.rendered_intent(entry.external_payment_id.as_str())?;
        Some(self.notification("payment_intent.simulated", intent))
    }

    fn enlarged(&self, notification: &NotificationRequest, filler: usize) -> Option<NotificationRequest> {
        let mut body: Value = serde_json::from_slice(&notification.body).ok()?;
        body.pointer_mut("/data/object")?.as_object_mut()?.insert("filler".to_owned(), Value::from("x".repeat(filler)));
        Some(self.sign_event(&body))
    }

    fn money_call(&self, method: &Method, path: &str, body: &[u8]) -> Option<MoneyCall> {
        let state = self.lock();
        let form: BTreeMap<_, _> = form_urlencoded::parse(body).into_owned().collect();
        match path.strip_prefix("/v1/payment_intents").filter(|_| *method == Method::POST)? {
            "" if form.get("off_session").is_some_and(|value| value == "true") => {
                form.get("payment_method").cloned().map(MoneyCall::Renewal)
            }
            "" => form.get("metadata[customer]").cloned().map(MoneyCall::Purchase),
            rest => {
                let (id, step) = rest.strip_prefix('/')?.split_once('/')?;
                let named = |name: &str| state.intent(id)?.metadata.get(name).cloned();
                match step {
                    "capture" => named("reference").map(MoneyCall::Capture),
                    "confirm" => named("customer").map(MoneyCall::Purchase),
                    _ => None,
                }
            }
        }
    }

    fn is_release(&self, method: &Method, path: &str) -> bool {
        *method == Method::POST && path.ends_with("/cancel")
    }

    fn fail_next_operation(&self) -> bool {
        false
    }

    fn decline_next_capture(&self) -> bool {
        false
    }
}

/// An intent is one payment, however many tries it has.
fn ledger_entry(state: &State, intent: &PaymentIntent) -> LedgerEntry {
    let charge = state.latest_charge(&intent.id);
    let agreed = charge.is_some_and(crate::simulators::stripe::state::Charge::is_approved);
    let disputed = charge.and_then(|charge| charge.dispute.as_ref()).is_some_and(|dispute| dispute.status != "won");
    let standing = match intent.status {
        "succeeded" if disputed => LedgerStatus::ChargedBack,
        "succeeded" => LedgerStatus::Captured,
        "requires_capture" => LedgerStatus::Authorised,
        "requires_payment_method" => LedgerStatus::Declined,
        "canceled" if intent.canceled.is_some_and(|(_, reason)| reason == "automatic") => LedgerStatus::Expired,
        "canceled" => LedgerStatus::Cancelled,
        _ => LedgerStatus::Pending,
    };
    // A pending refund is not refunded yet.
    let back = state.refunds.iter().filter(|refund| refund.intent == intent.id && refund.status == "succeeded");
    let back = back.fold(0_i64, |sum, refund| sum.saturating_add(refund.amount));
    let asked = state.refunds.iter().filter(|refund| refund.intent == intent.id);
    let asked = asked.fold(0_i64, |sum, refund| sum.saturating_add(refund.amount)).min(intent.amount);
    let money = |amount| money::money(amount, &intent.currency);
    LedgerEntry {
        external_payment_id: expect_fixture(ExternalPaymentId::new(&intent.id).ok()),
        authorisation_id: expect_fixture(ExternalPaymentId::new(&intent.id).ok()),
        reference: intent.metadata.get("reference").cloned().unwrap_or_default(),
        amount: money(intent.amount),
        status: standing,
        authorised: agreed,
        captured: money(intent.received),
        refunded: money(back),
        asked_back: money(asked),
        stored_details: intent.payment_method.clone(),
        customer: intent.metadata.get("customer").cloned().unwrap_or_default(),
    }
}
