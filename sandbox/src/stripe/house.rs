//! Stripe as one of the [`House`]s.

use connector::gateway::{DeclineClass, GatewayName};
use connector::ids::ExternalPaymentId;
use serde_json::{Value, json};

use super::state::{Intent, State};
use super::{Stripe, method_id, money, refunds, render};
use crate::house::{Entry, House, LedgerEntry, Posted, Standing, with_query};
use crate::stage::known;

const fn code_of(class: DeclineClass) -> Option<&'static str> {
    match class {
        DeclineClass::Soft => Some("insufficient_funds"),
        DeclineClass::NeedsCustomer => Some("authentication_required"),
        DeclineClass::NeedsNewDetails => Some("expired_card"),
        DeclineClass::Hard => Some("lost_card"),
        DeclineClass::Risk => Some("fraudulent"),
        // A customer who gives up is not seen again.
        DeclineClass::Cancelled => None,
    }
}

impl Stripe {
    /// Refuses every payment with these details in this class. False where Stripe has no such refusal.
    pub fn refuse_always_in(&self, token: &str, class: DeclineClass) -> bool {
        code_of(class).map(|code| self.refuse_always(token, code)).is_some()
    }
}

impl House for Stripe {
    fn gateway(&self) -> GatewayName {
        GatewayName::Stripe
    }

    fn store(&self, customer: &str) -> String {
        self.store_details(customer)
    }

    fn is_stored(&self, token: &str) -> bool {
        self.has_details(method_id(token))
    }

    fn refuse_next(&self, token: &str, class: DeclineClass) -> bool {
        code_of(class).map(|code| self.refuse_next(token, code)).is_some()
    }

    /// Stripe.js makes a payment method of what the customer enters, and the page sends its id.
    fn entered(&self, entry: Entry, number: u32) -> Value {
        let card = match entry {
            Entry::Good => "pm_card_visa",
            Entry::Asked => "pm_card_authenticationRequiredOnSetup",
            Entry::Refused => "pm_card_chargeDeclinedInsufficientFunds",
        };
        json!({ "paymentMethod": { "type": "card", "id": self.collect(card, number) } })
    }

    /// At Stripe's page, or by Stripe.js in the page: the action names the intent either way.
    fn agree(&self, action: &Value) -> Value {
        let action = action.to_string();
        let state = self.lock();
        let ids = state.intents.iter().map(|one| &one.id).chain(state.setups.iter().map(|one| &one.id));
        let id = ids.rev().find(|id| action.contains(&render::away(id)) || action.contains(&render::client_secret(id))).cloned();
        drop(state);
        let Some(id) = id else { return Value::Null };
        self.authenticate(&id);
        // What Stripe adds to the return URL (docs.stripe.com/payments/3d-secure/authentication-flow).
        let started = if id.starts_with("seti_") { "setup_intent" } else { "payment_intent" };
        let secret = format!("{started}_client_secret");
        json!({ started: id, secret: render::client_secret(&id), "redirect_status": "succeeded" })
    }

    /// The bank's page leads back whatever became of it; who gives up there has not authenticated.
    fn leave(&self, page: &str, agrees: bool) -> Option<String> {
        let (id, back) = {
            let state = self.lock();
            let intents = state.intents.iter().map(|one| (&one.id, &one.return_url));
            let all = intents.chain(state.setups.iter().map(|one| (&one.id, &one.return_url)));
            let (id, back) = all.rev().find(|(id, _)| render::away(id) == page)?;
            (id.clone(), back.clone()?)
        };
        if agrees {
            return Some(with_query(&back, &self.agree(&json!({ "url": page }))));
        }
        self.fail_authentication(&id);
        let started = if id.starts_with("seti_") { "setup_intent" } else { "payment_intent" };
        Some(with_query(&back, &json!({ started: id, "redirect_status": "failed" })))
    }

    fn process(&self) {
        self.process();
    }

    fn take_notifications(&self) -> Vec<Posted> {
        self.take_notifications()
    }

    /// Stripe signs each try anew ("Resolve webhook signature verification errors", "Check the timestamp").
    fn posted_now(&self, told: &Posted) -> Posted {
        let now = self.clock.now();
        let secrets = self.lock().config.webhook_secrets.clone();
        super::notifications::signed(&secrets, told.body.clone(), now)
    }

    fn ledger(&self) -> Vec<LedgerEntry> {
        let now = self.clock.now();
        let mut state = self.lock();
        refunds::lapse(&mut state, now);
        state.intents.iter().map(|intent| entry(&state, intent)).collect()
    }

    fn charge_back(&self, payment: &ExternalPaymentId) {
        self.charge_back(payment.as_str());
    }

    fn expire(&self, payment: &ExternalPaymentId) {
        self.expire(payment.as_str());
    }
}

/// An intent is one payment, however many tries it has.
fn entry(state: &State, intent: &Intent) -> LedgerEntry {
    let charge = state.latest_charge(&intent.id);
    let agreed = charge.is_some_and(super::state::Charge::agreed);
    let disputed = charge.and_then(|charge| charge.dispute.as_ref()).is_some_and(|dispute| dispute.status != "won");
    let standing = match intent.status {
        "succeeded" if disputed => Standing::ChargedBack,
        "succeeded" => Standing::Captured,
        "requires_capture" => Standing::Authorised,
        "requires_payment_method" => Standing::Refused,
        "canceled" if intent.canceled.is_some_and(|(_, reason)| reason == "automatic") => Standing::Expired,
        "canceled" => Standing::Cancelled,
        _ => Standing::Open,
    };
    // A refund that is pending is not given back yet.
    let back = state.refunds.iter().filter(|refund| refund.intent == intent.id && refund.status == "succeeded");
    let back = back.fold(0_i64, |sum, refund| sum.saturating_add(refund.amount));
    let money = |amount| money::money(amount, &intent.currency);
    LedgerEntry {
        external_payment_id: known(ExternalPaymentId::new(&intent.id).ok()),
        reference: intent.metadata.get("reference").cloned().unwrap_or_default(),
        amount: money(intent.amount),
        standing,
        authorised: agreed,
        captured: money(intent.received),
        refunded: money(back),
    }
}
