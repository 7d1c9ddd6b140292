//! PayPal as one of the [`House`]s.

use connector::gateway::{DeclineClass, GatewayName};
use connector::ids::ExternalPaymentId;
use connector::money::Money;
use serde_json::{Value, json};

use super::PayPal;
use super::state::{Capture, Order, State};
use crate::house::{Entry, House, LedgerEntry, Posted, Standing, with_query};
use crate::stage::known;

const fn issue_of(class: DeclineClass) -> Option<&'static str> {
    match class {
        DeclineClass::Soft => Some("INSTRUMENT_DECLINED"),
        DeclineClass::NeedsCustomer => Some("PAYER_ACTION_REQUIRED"),
        DeclineClass::NeedsNewDetails => Some("AGREEMENT_ALREADY_CANCELLED"),
        DeclineClass::Hard => Some("PAYER_ACCOUNT_LOCKED_OR_CLOSED"),
        DeclineClass::Risk => Some("COMPLIANCE_VIOLATION"),
        // A payer who gives up is not seen again.
        DeclineClass::Cancelled => None,
    }
}

impl PayPal {
    /// Refuses every payment with these details in this class. False where PayPal has no such refusal.
    pub fn refuse_always_in(&self, token: &str, class: DeclineClass) -> bool {
        issue_of(class).map(|issue| self.refuse_always(token, issue)).is_some()
    }
}

impl House for PayPal {
    fn gateway(&self) -> GatewayName {
        GatewayName::PayPal
    }

    fn store(&self, customer: &str) -> String {
        self.store_details(customer)
    }

    fn is_stored(&self, token: &str) -> bool {
        self.has_details(token)
    }

    fn refuse_next(&self, token: &str, class: DeclineClass) -> bool {
        issue_of(class).map(|issue| self.refuse_next(token, issue)).is_some()
    }

    /// Nothing that the page sends gets to PayPal, so what the customer has is noted here: his next order is refused, or it is not.
    fn entered(&self, entry: Entry, number: u32) -> Value {
        self.lock().broke = entry == Entry::Refused;
        json!({ "paymentMethod": { "type": "paypal", "entry": number } })
    }

    fn agree(&self, action: &Value) -> Value {
        let url = action.get("url").and_then(Value::as_str).unwrap_or_default();
        let (order, setup) = (url.split_once("?token="), url.split_once("?approval_session_id="));
        let started = order.or(setup).map(|(_, started)| started).unwrap_or_default();
        self.approve(started);
        match order {
            Some(_) => json!({ "token": started, "PayerID": "QYR5Z8XDVJNXQ" }),
            None => json!({ "approval_token_id": started, "approval_session_id": started }),
        }
    }

    fn leave(&self, page: &str, agrees: bool) -> Option<String> {
        let (_, started) = page.split_once("?token=").or_else(|| page.split_once("?approval_session_id="))?;
        let (done, given_up) = self.lock().ways_back.get(started)?.clone();
        let told = if agrees { self.agree(&json!({ "url": page })) } else { json!({ "token": started }) };
        Some(with_query(if agrees { &done } else { &given_up }, &told))
    }

    fn process(&self) {
        self.process();
    }

    fn take_notifications(&self) -> Vec<Posted> {
        self.take_notifications()
    }

    fn ledger(&self) -> Vec<LedgerEntry> {
        let state = self.lock();
        state.orders.iter().map(|order| entry(&state, order)).collect()
    }

    fn charge_back(&self, payment: &ExternalPaymentId) {
        self.charge_back(payment.as_str());
    }

    fn expire(&self, payment: &ExternalPaymentId) {
        self.expire(payment.as_str());
    }

    fn refuse_next_capture(&self) -> bool {
        self.next_capture_is("DECLINED");
        true
    }
}

/// An order is one payment, whatever ids it goes through.
fn entry(state: &State, order: &Order) -> LedgerEntry {
    let held = state.authorisations.iter().find(|one| one.order == order.id && one.renews.is_none());
    // A refused capture that did not close its authorisation left everything as it was.
    let left = |one: &Capture| held.is_some_and(|held| held.status != "CAPTURED" && matches!(one.status, "DECLINED" | "FAILED"));
    let capture = state.captures.iter().rev().find(|one| one.order == order.id && !left(one));
    let id = capture.map(|one| &one.id).or(held.map(|one| &one.id)).unwrap_or(&order.id);
    let taken = capture.filter(|one| matches!(one.status, "COMPLETED" | "PARTIALLY_REFUNDED" | "REFUNDED"));
    let standing = match (capture, held.map(|one| one.status)) {
        (Some(one), _) if one.reversed => Standing::ChargedBack,
        (Some(one), _) if taken.is_some_and(|taken| taken.id == one.id) => Standing::Captured,
        (Some(one), None) if one.status == "PENDING" => Standing::Open,
        (Some(one), Some(_)) if one.status == "PENDING" => Standing::Authorised,
        (Some(_), Some(_)) => Standing::CaptureFailed,
        (Some(_), None) => Standing::Refused,
        (None, Some("DENIED")) => Standing::Refused,
        (None, Some("PENDING") | None) => Standing::Open,
        (None, Some("VOIDED")) if held.is_some_and(|one| one.expires_at < one.created_at.after(super::orders::AUTHORISED)) => {
            Standing::Expired
        }
        (None, Some("VOIDED")) => Standing::Cancelled,
        (None, Some(_)) => Standing::Authorised,
    };
    let none = Money::new(0, order.amount.currency);
    LedgerEntry {
        external_payment_id: known(ExternalPaymentId::new(id).ok()),
        reference: order.reference.clone(),
        amount: order.amount,
        standing,
        authorised: !matches!(standing, Standing::Open | Standing::Refused),
        captured: taken.map_or(none, |one| one.amount),
        refunded: taken.map_or(none, |one| Money::new(one.refunded, order.amount.currency)),
    }
}
