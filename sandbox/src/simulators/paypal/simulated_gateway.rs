//! PayPal as one of the [`SimulatedGateway`]s.

use connector::clock::Timestamp;
use connector::gateway::{DeclineClass, GatewayName, OperationKind, RetryAdvice};
use connector::http::Method;
use connector::ids::ExternalPaymentId;
use connector::money::Money;
use serde_json::{Value, json};

use crate::expect::expect_fixture;
use crate::simulators::paypal::PayPalSimulator;
use crate::simulators::paypal::state::{Capture, Order, Refund, State};
use crate::simulators::simulated_gateway::{
    EnteredDetails, LedgerEntry, LedgerStatus, MoneyCall, NotificationRequest, SimulatedGateway, with_query,
};

const fn decline_issue(class: DeclineClass) -> Option<&'static str> {
    match class {
        DeclineClass::Soft => Some("INSTRUMENT_DECLINED"),
        DeclineClass::NeedsCustomer => Some("PAYER_ACTION_REQUIRED"),
        DeclineClass::NeedsNewDetails => Some("TOKEN_EXPIRED"),
        DeclineClass::Hard => Some("PAYER_ACCOUNT_RESTRICTED"),
        DeclineClass::Risk => Some("COMPLIANCE_VIOLATION"),
        // A payer who cancels does not return.
        DeclineClass::Cancelled => None,
    }
}

impl PayPalSimulator {
    /// Refuses every payment with these details in this class. False where PayPal has no such refusal.
    pub fn decline_always(&self, token: &str, class: DeclineClass) -> bool {
        decline_issue(class).map(|issue| self.decline_always_with(token, issue)).is_some()
    }
}

impl SimulatedGateway for PayPalSimulator {
    fn gateway_name(&self) -> GatewayName {
        GatewayName::PayPal
    }

    fn add_stored_details(&self, customer: &str) -> String {
        self.store_details(customer)
    }

    fn has_stored_details(&self, token: &str) -> bool {
        self.has_details(token)
    }

    fn decline_next(&self, token: &str, class: DeclineClass) -> bool {
        decline_issue(class).map(|issue| self.decline_next_with(token, issue)).is_some()
    }

    /// PayPal passes on a card network's word for cards only; that the payer revoked the agreement is as final.
    fn decline_next_with_advice(&self, token: &str, advice: RetryAdvice) -> bool {
        let never = advice == RetryAdvice::Never;
        if never {
            self.decline_next_with(token, "AGREEMENT_ALREADY_CANCELLED");
        }
        never
    }

    fn use_another_account(&self, another: bool) {
        self.lock().payment_tokens_hidden = another;
    }

    fn update_details(&self, _token: &str) -> bool {
        false
    }

    /// PayPal receives nothing that the page sends, so whether the next order is declined is noted here.
    fn payment_data(&self, entry: EnteredDetails, number: u32) -> Value {
        self.lock().decline_next_approved = entry == EnteredDetails::Declined;
        json!({ "paymentMethod": { "type": "paypal", "entry": number } })
    }

    fn complete_action(&self, action: &Value) -> Value {
        let url = action.get("url").and_then(Value::as_str).unwrap_or_default();
        let (order, setup) = (url.split_once("?token="), url.split_once("?approval_session_id="));
        let started = order.or(setup).map(|(_, started)| started).unwrap_or_default();
        self.approve(started);
        match order {
            Some(_) => json!({ "token": started, "PayerID": "QYR5Z8XDVJNXQ" }),
            None => json!({ "approval_token_id": started, "approval_session_id": started }),
        }
    }

    fn complete_redirect(&self, page: &str, agrees: bool) -> Option<String> {
        let (_, started) = page.split_once("?token=").or_else(|| page.split_once("?approval_session_id="))?;
        let (done, given_up) = self.lock().return_urls.get(started)?.clone();
        let parameters = if agrees { self.complete_action(&json!({ "url": page })) } else { json!({ "token": started }) };
        Some(with_query(if agrees { &done } else { &given_up }, &parameters))
    }

    fn process(&self) {
        self.process();
    }

    fn take_notifications(&self) -> Vec<NotificationRequest> {
        self.take_notifications()
    }

    fn ledger(&self) -> Vec<LedgerEntry> {
        let state = self.lock();
        state.orders.iter().map(|order| ledger_entry(&state, order)).collect()
    }

    fn leave_next_undecided(&self, token: &str, operation: OperationKind, until: Timestamp, approves: bool) -> bool {
        if operation == OperationKind::Capture {
            self.leave_next_capture_pending_until(until, approves);
        } else {
            self.leave_next_pending_until(token, until, approves);
        }
        true
    }

    /// A payment that is refused is over.
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
        let dispute = format!("PP-D-{}", self.lock().next_id());
        self.resolve_dispute(payment.as_str(), &dispute, false);
    }

    fn expire(&self, payment: &ExternalPaymentId) {
        self.expire(payment.as_str());
    }

    fn sign_notifications_with(&self, key: &str) {
        self.set_webhook_id(key);
    }

    fn unknown_notification(&self, entry: &LedgerEntry) -> Option<NotificationRequest> {
        let resource = self.rendered_capture(entry.external_payment_id.as_str())?;
        Some(self.notification("PAYMENT.CAPTURE.SIMULATED", "capture", resource))
    }

    fn enlarged(&self, notification: &NotificationRequest, filler: usize) -> Option<NotificationRequest> {
        let mut body: Value = serde_json::from_slice(&notification.body).ok()?;
        body.pointer_mut("/resource")?.as_object_mut()?.insert("filler".to_owned(), Value::from("x".repeat(filler)));
        Some(self.sign_event(&body))
    }

    fn make_access_stale(&self) {
        self.make_access_tokens_stale();
    }

    fn delay_details(&self) {
        self.delay_vaulting();
    }

    fn details_are_delayed(&self) -> bool {
        self.lock().delay_vaulting
    }

    fn was_renewed(&self, authorisation: &str) -> bool {
        self.lock().authorisations.iter().any(|one| one.renews.as_deref() == Some(authorisation))
    }

    /// A new order of a payer who is present takes nothing: the payer has to agree first.
    fn money_call(&self, method: &Method, path: &str, body: &[u8]) -> Option<MoneyCall> {
        let state = self.lock();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        match segments.as_slice() {
            _ if *method != Method::POST => None,
            ["v2", "checkout", "orders"] => {
                let body: Value = serde_json::from_slice(body).ok()?;
                body.pointer("/payment_source/paypal/vault_id")?.as_str().map(|vault_id| MoneyCall::Renewal(vault_id.to_owned()))
            }
            ["v2", "checkout", "orders", id, "authorize" | "capture"] => {
                let order = state.order(id)?;
                match &order.vault_id {
                    Some(vault_id) => Some(MoneyCall::Renewal(vault_id.clone())),
                    None => order.customer.clone().map(MoneyCall::Purchase),
                }
            }
            ["v2", "payments", "authorizations", id, "capture"] => {
                let order = state.order(&state.authorisation(id)?.order)?;
                Some(MoneyCall::Capture(order.reference.clone()))
            }
            _ => None,
        }
    }

    /// An order that waits for its payer needs no call to be given up.
    fn is_release(&self, method: &Method, path: &str) -> bool {
        *method == Method::POST && path.ends_with("/void")
    }

    fn fail_next_operation(&self) -> bool {
        false
    }

    fn decline_next_capture(&self) -> bool {
        self.set_next_capture_status("DECLINED");
        true
    }
}

/// An order is one payment under all of its ids.
fn ledger_entry(state: &State, order: &Order) -> LedgerEntry {
    // A renewed authorisation takes the place of the first one.
    let held = state.authorisations.iter().rev().find(|one| one.order == order.id);
    let first = state.authorisations.iter().find(|one| one.order == order.id);
    // A refused capture that did not close its authorisation left everything as it was.
    let left = |one: &Capture| held.is_some_and(|held| held.status != "CAPTURED" && matches!(one.status, "DECLINED" | "FAILED"));
    let capture = state.captures.iter().rev().find(|one| one.order == order.id && !left(one));
    // A capture that never succeeded leaves the payment under the id of its authorisation.
    let renamed = capture.filter(|one| first.is_none() || one.was_completed || one.status == "PENDING");
    let id = renamed.map(|one| &one.id).or(first.map(|one| &one.id)).unwrap_or(&order.id);
    let taken = capture.filter(|one| matches!(one.status, "COMPLETED" | "PARTIALLY_REFUNDED" | "REFUNDED"));
    let standing = match (capture, held.map(|one| one.status)) {
        (Some(one), _) if one.reversed => LedgerStatus::ChargedBack,
        (Some(one), _) if taken.is_some_and(|taken| taken.id == one.id) => LedgerStatus::Captured,
        (Some(one), None) if one.status == "PENDING" => LedgerStatus::Pending,
        (Some(one), Some(_)) if one.status == "PENDING" => LedgerStatus::Authorised,
        (Some(_), Some(_)) => LedgerStatus::CaptureFailed,
        (Some(_), None) => LedgerStatus::Declined,
        (None, Some("DENIED")) => LedgerStatus::Declined,
        (None, Some("PENDING") | None) => LedgerStatus::Pending,
        (None, Some("VOIDED"))
            if held.is_some_and(|one| one.expires_at < one.created_at.after(crate::simulators::paypal::orders::AUTHORISATION_LIFETIME)) =>
        {
            LedgerStatus::Expired
        }
        (None, Some("VOIDED")) => LedgerStatus::Cancelled,
        (None, Some(_)) => LedgerStatus::Authorised,
    };
    let none = Money::new(0, order.amount.currency);
    LedgerEntry {
        external_payment_id: expect_fixture(ExternalPaymentId::new(id).ok()),
        authorisation_id: expect_fixture(ExternalPaymentId::new(first.map_or(id, |one| &one.id)).ok()),
        reference: order.reference.clone(),
        amount: order.amount,
        status: standing,
        authorised: !matches!(standing, LedgerStatus::Pending | LedgerStatus::Declined),
        captured: taken.map_or(none, |one| one.amount),
        refunded: taken.map_or(none, |one| Money::new(one.refunded, order.amount.currency)),
        asked_back: Money::new(asked_back(state, order), order.amount.currency),
        stored_details: order.vault_id.clone().or_else(|| order.vaulted.as_ref().map(|(vault_id, _)| vault_id.clone())),
        customer: order.customer.clone().unwrap_or_default(),
    }
}

/// How much of an order's captures was asked to be refunded. Holds are released at once.
fn asked_back(state: &State, order: &Order) -> i64 {
    let is_of_order = |refund: &&Refund| state.capture(&refund.capture).is_some_and(|capture| capture.order == order.id);
    state.refunds.iter().filter(is_of_order).fold(0_i64, |sum, refund| sum.saturating_add(refund.amount.minor)).min(order.amount.minor)
}
