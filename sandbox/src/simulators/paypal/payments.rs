//! `/v2/payments`: capture, reauthorisation, void, refund; and changes of payments that no request asks for.

use std::time::Duration;

use connector::clock::Timestamp;
use connector::money::Money;
use serde_json::Value;

use crate::simulators::paypal::money::read_amount;
use crate::simulators::paypal::state::{Authorisation, Capture, CreatedResource, ErrorResponse, Refund, State, error_response, not_found};
use crate::simulators::paypal::{notifications, render};

/// How long an authorisation is honoured without being renewed (Payments 2.5, `reauthorize`).
const HONOR_PERIOD: Duration = Duration::from_secs(3 * 24 * 3_600);

pub(super) fn push_capture(
    state: &mut State,
    id: &str,
    order: &str,
    authorisation: Option<&str>,
    amount: Money,
    (status, decided): (&'static str, (Timestamp, bool)),
) {
    let authorisation = authorisation.map(str::to_owned);
    let capture = Capture {
        id: id.to_owned(),
        order: order.to_owned(),
        authorisation,
        amount,
        refunded: 0,
        status,
        was_completed: status == "COMPLETED",
        reversed: false,
        decided,
    };
    state.captures.push(capture);
}

/// Notifies what became of a capture.
pub(super) fn notify_capture(state: &mut State, id: &str, now: Timestamp) {
    let event = match state.capture(id).map(|capture| capture.status) {
        Some("COMPLETED") => "PAYMENT.CAPTURE.COMPLETED",
        Some("PENDING") => "PAYMENT.CAPTURE.PENDING",
        Some("DECLINED" | "FAILED") => "PAYMENT.CAPTURE.DENIED",
        _ => return,
    };
    notifications::enqueue_for_capture(state, event, id, now);
}

fn is_expired(authorisation: &Authorisation, now: Timestamp) -> bool {
    authorisation.expires_at <= now
}

/// POST `/v2/payments/authorizations/{id}/{capture|reauthorize|void}`.
pub(super) fn act_on_authorisation(
    state: &mut State,
    id: &str,
    what: &str,
    body: &Value,
    now: Timestamp,
) -> Result<CreatedResource, ErrorResponse> {
    let authorisation = state.authorisation(id).cloned().ok_or_else(not_found)?;
    match what {
        "capture" => capture(state, &authorisation, body, now),
        "reauthorize" => reauthorise(state, &authorisation, body, now),
        "void" => void(state, &authorisation, now),
        _ => Err(not_found()),
    }
}

fn capture(state: &mut State, authorisation: &Authorisation, body: &Value, now: Timestamp) -> Result<CreatedResource, ErrorResponse> {
    let amount = match body.get("amount") {
        Some(amount) => read_amount(Some(amount))?,
        None => authorisation.amount,
    };
    match authorisation.status {
        "CREATED" if !is_expired(authorisation, now) => {}
        "CREATED" => return Err(error_response(422, "AUTHORIZATION_EXPIRED")),
        "CAPTURED" => return Err(error_response(422, "AUTHORIZATION_ALREADY_CAPTURED")),
        "VOIDED" => return Err(error_response(422, "AUTHORIZATION_VOIDED")),
        _ => return Err(error_response(422, "AUTHORIZATION_DENIED")),
    }
    if amount.currency != authorisation.amount.currency {
        return Err(error_response(422, "AUTH_CAPTURE_CURRENCY_MISMATCH"));
    }
    if amount.minor > authorisation.amount.minor {
        return Err(error_response(422, "MAX_CAPTURE_AMOUNT_EXCEEDED"));
    }
    let decided = state.next_capture_decided.take();
    let status = if decided.is_some() { "PENDING" } else { state.next_capture_status.take().unwrap_or("COMPLETED") };
    let id = state.next_id();
    push_capture(state, &id, &authorisation.order, Some(&authorisation.id), amount, (status, decided.unwrap_or((now, true))));
    // Only a final capture closes the authorisation; a renewed one closes the one before with it.
    let closes = body.get("final_capture").and_then(Value::as_bool) == Some(true) && status != "DECLINED";
    for closed in [Some(&authorisation.id), authorisation.renews.as_ref()].into_iter().flatten() {
        if let (true, Some(closed)) = (closes, state.authorisation_mut(closed)) {
            closed.status = "CAPTURED";
        }
    }
    notify_capture(state, &id, now);
    Ok(CreatedResource::Capture(id))
}

/// See [`super::PayPalSimulator::capture_manually`].
pub(super) fn capture_manually(state: &mut State, authorisation: &str) {
    let Some(held) = state.authorisation(authorisation).filter(|held| held.status == "CREATED").cloned() else { return };
    let id = state.next_id();
    let decided = (held.created_at, true);
    push_capture(state, &id, &held.order, Some(&held.id), held.amount, ("COMPLETED", decided));
    if let Some(held) = state.authorisation_mut(authorisation) {
        held.status = "CAPTURED";
    }
}

fn reauthorise(state: &mut State, authorisation: &Authorisation, body: &Value, now: Timestamp) -> Result<CreatedResource, ErrorResponse> {
    let amount = read_amount(body.get("amount"))?;
    match authorisation.status {
        "CREATED" => {}
        "CAPTURED" => return Err(error_response(422, "AUTHORIZATION_ALREADY_CAPTURED")),
        _ => return Err(error_response(422, "AUTHORIZATION_VOIDED")),
    }
    if authorisation.renews.is_some() || state.authorisations.iter().any(|other| other.renews.as_ref() == Some(&authorisation.id)) {
        return Err(error_response(422, "REAUTHORIZATION_NOT_SUPPORTED"));
    }
    if now.since(authorisation.created_at) < HONOR_PERIOD.saturating_add(Duration::from_secs(24 * 3_600)) {
        return Err(error_response(422, "REAUTHORIZATION_TOO_SOON"));
    }
    if is_expired(authorisation, now) {
        return Err(error_response(422, "AUTHORIZATION_EXPIRED"));
    }
    let renewed = Authorisation {
        id: state.next_id(),
        order: authorisation.order.clone(),
        amount,
        status: "CREATED",
        created_at: now,
        expires_at: authorisation.expires_at,
        renews: Some(authorisation.id.clone()),
        decided: (now, true),
    };
    let made = CreatedResource::Authorisation(renewed.id.clone());
    // The renewed one takes the place of the first, which is voided, and that is told (shopware/SwagPayPal#659).
    if let Some(first) = state.authorisation_mut(&authorisation.id) {
        first.status = "VOIDED";
    }
    state.authorisations.push(renewed);
    notifications::enqueue_for_authorisation(state, "PAYMENT.AUTHORIZATION.VOIDED", &authorisation.id, now);
    Ok(made)
}

fn void(state: &mut State, authorisation: &Authorisation, now: Timestamp) -> Result<CreatedResource, ErrorResponse> {
    if authorisation.renews.is_some() {
        return Err(error_response(422, "CANNOT_BE_VOIDED"));
    }
    let renewed = state.authorisations.iter().any(|one| one.renews.as_deref() == Some(&authorisation.id) && one.status == "CREATED");
    match authorisation.status {
        "CREATED" | "PENDING" => {}
        // The parent of one that is held.
        "VOIDED" if renewed => {}
        "CAPTURED" => return Err(error_response(422, "PREVIOUSLY_CAPTURED")),
        _ => return Err(error_response(422, "PREVIOUSLY_VOIDED")),
    }
    void_with_renewals(state, &authorisation.id, now);
    Ok(CreatedResource::Authorisation(authorisation.id.clone()))
}

fn void_with_renewals(state: &mut State, id: &str, now: Timestamp) {
    for one in state.authorisations.iter_mut().filter(|one| one.id == id || one.renews.as_deref() == Some(id)) {
        one.status = "VOIDED";
    }
    notifications::enqueue_for_authorisation(state, "PAYMENT.AUTHORIZATION.VOIDED", id, now);
}

/// POST `/v2/payments/captures/{id}/refund`.
pub(super) fn refund(state: &mut State, id: &str, body: &Value, now: Timestamp) -> Result<CreatedResource, ErrorResponse> {
    let capture = state.capture(id).cloned().ok_or_else(not_found)?;
    match capture.status {
        "COMPLETED" | "PARTIALLY_REFUNDED" => {}
        "PENDING" => return Err(error_response(422, "PENDING_CAPTURE")),
        "REFUNDED" => return Err(error_response(422, "CAPTURE_FULLY_REFUNDED")),
        _ => return Err(error_response(422, "REFUND_NOT_ALLOWED")),
    }
    if capture.reversed {
        return Err(error_response(422, "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK"));
    }
    let left = capture.amount.minor.saturating_sub(capture.refunded);
    let amount = match body.get("amount") {
        Some(amount) => read_amount(Some(amount))?,
        None => Money::new(left, capture.amount.currency),
    };
    if amount.currency != capture.amount.currency {
        return Err(error_response(422, "REFUND_CAPTURE_CURRENCY_MISMATCH"));
    }
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let invoice_id = text("invoice_id");
    if state.block_duplicate_invoices && invoice_id.is_some() && state.refunds.iter().any(|other| other.invoice_id == invoice_id) {
        return Err(error_response(422, "DUPLICATE_INVOICE_ID"));
    }
    if amount.minor > left {
        return Err(error_response(422, "REFUND_AMOUNT_EXCEEDED"));
    }
    let status = if state.fail_next_refund { "PENDING" } else { state.next_refund_status.take().unwrap_or("COMPLETED") };
    let made = Refund { id: state.next_id(), capture: id.to_owned(), amount, status, custom_id: text("custom_id"), invoice_id };
    let refund_id = made.id.clone();
    state.refunds.push(made);
    if status == "COMPLETED" {
        complete_refund(state, &refund_id, now);
    }
    Ok(CreatedResource::Refund(refund_id))
}

/// A refund goes through.
fn complete_refund(state: &mut State, id: &str, now: Timestamp) {
    let Some(refund) = state.refunds.iter_mut().find(|refund| refund.id == id) else { return };
    refund.status = "COMPLETED";
    let refund = refund.clone();
    if let Some(capture) = state.capture_mut(&refund.capture) {
        capture.refunded = capture.refunded.saturating_add(refund.amount.minor);
        capture.status = if capture.refunded >= capture.amount.minor { "REFUNDED" } else { "PARTIALLY_REFUNDED" };
    }
    notifications::enqueue(state, "PAYMENT.CAPTURE.REFUNDED", "refund", render::refund(&refund), now);
}

/// Does what is pending.
pub(super) fn process(state: &mut State, now: Timestamp) {
    let is_due = |status: &str, (at, _): (Timestamp, bool)| status == "PENDING" && at <= now;
    let due = state.authorisations.iter().filter(|one| is_due(one.status, one.decided));
    for (id, (_, approves)) in due.map(|one| (one.id.clone(), one.decided)).collect::<Vec<_>>() {
        if let Some(one) = state.authorisation_mut(&id) {
            one.status = if approves { "CREATED" } else { "DENIED" };
        }
        // PayPal has no event of its own for a denial.
        let event = if approves { "PAYMENT.AUTHORIZATION.CREATED" } else { "PAYMENT.AUTHORIZATION.VOIDED" };
        notifications::enqueue_for_authorisation(state, event, &id, now);
    }
    let due = state.captures.iter().filter(|one| is_due(one.status, one.decided));
    for (id, (_, approves)) in due.map(|one| (one.id.clone(), one.decided)).collect::<Vec<_>>() {
        if let Some(one) = state.capture_mut(&id) {
            one.status = if approves { "COMPLETED" } else { "DECLINED" };
            one.was_completed |= approves;
        }
        notify_capture(state, &id, now);
    }
    let refunds: Vec<_> = state.refunds.iter().filter(|one| one.status == "PENDING").map(|one| one.id.clone()).collect();
    for id in refunds {
        if std::mem::take(&mut state.fail_next_refund) {
            fail_refund(state, &id, now);
        } else {
            complete_refund(state, &id, now);
        }
    }
    if state.never_vault {
        return;
    }
    let late: Vec<_> =
        state.orders.iter().filter(|order| matches!(order.vaulted, Some((_, false)))).map(|order| order.id.clone()).collect();
    for id in late {
        let Some(vaulted) = state.order_mut(&id).and_then(|order| order.vaulted.as_mut()) else { continue };
        vaulted.1 = true;
        let vault_id = vaulted.0.clone();
        let resource = render::token_event(state, &vault_id);
        notifications::enqueue(state, "VAULT.PAYMENT-TOKEN.CREATED", "payment_token", resource, now);
    }
}

/// See [`super::PayPalSimulator::deny_capture_later`].
pub(super) fn deny_capture(state: &mut State, id: &str, now: Timestamp) {
    if let Some(capture) = state.capture_mut(id).filter(|capture| matches!(capture.status, "PENDING" | "COMPLETED")) {
        capture.status = "DECLINED";
        notify_capture(state, id, now);
    }
}

/// See [`super::PayPalSimulator::fail_refund_later`].
pub(super) fn fail_refund(state: &mut State, id: &str, now: Timestamp) {
    let Some(refund) = state.refunds.iter_mut().find(|refund| refund.id == id && refund.status == "PENDING") else { return };
    refund.status = "FAILED";
    let resource = render::refund(refund);
    notifications::enqueue(state, "PAYMENT.REFUND.FAILED", "refund", resource, now);
}

/// The capture that this id names, its own or its authorisation's.
pub(super) fn find_capture(state: &State, id: &str) -> Option<String> {
    state.captures.iter().find(|capture| capture.id == id || capture.authorisation.as_deref() == Some(id)).map(|capture| capture.id.clone())
}

/// See [`super::PayPalSimulator::charge_back`].
pub(super) fn reverse_capture(state: &mut State, payment: &str, now: Timestamp) {
    let Some(id) = find_capture(state, payment) else { return };
    let Some(capture) = state.capture_mut(&id).filter(|capture| !capture.reversed && capture.status == "COMPLETED") else { return };
    capture.reversed = true;
    let capture = capture.clone();
    let order = state.order(&capture.order);
    // The reversal is written as a refund of the capture.
    let reversal = Refund {
        id: String::new(),
        capture: id,
        amount: capture.amount,
        status: "COMPLETED",
        custom_id: order.map(|order| order.reference.clone()),
        invoice_id: order.and_then(|order| order.invoice_id.clone()),
    };
    let reversal = Refund { id: state.next_id(), ..reversal };
    notifications::enqueue(state, "PAYMENT.CAPTURE.REVERSED", "refund", render::refund(&reversal), now);
}

/// See [`super::PayPalSimulator::expire`].
pub(super) fn expire(state: &mut State, payment: &str, now: Timestamp) {
    let held =
        state.authorisations.iter().find(|one| one.status == "CREATED" && (one.id == payment || one.renews.as_deref() == Some(payment)));
    let Some(id) = held.map(|one| one.id.clone()) else { return };
    if let Some(one) = state.authorisation_mut(&id) {
        one.expires_at = now;
    }
    void_with_renewals(state, &id, now);
}

/// See [`super::PayPalSimulator::resolve_dispute`].
pub(super) fn resolve_dispute(state: &mut State, payment: &str, dispute: &str, lost: bool, now: Timestamp) {
    let Some(id) = find_capture(state, payment) else { return };
    let Some(capture) = state.capture_mut(&id) else { return };
    capture.reversed = lost;
    let capture = capture.clone();
    let order = state.order(&capture.order);
    let credit = serde_json::json!([{ "affected_party": "SELLER", "type": "CREDIT", "amount": render::money(capture.amount) }]);
    let dispute = serde_json::json!({
        "dispute_id": dispute,
        "status": "RESOLVED",
        "dispute_amount": render::money(capture.amount),
        "disputed_transactions": [{ "seller_transaction_id": id, "custom": order.map(|order| order.reference.clone()) }],
        "dispute_outcome": { "outcome_code": if lost { "RESOLVED_BUYER_FAVOUR" } else { "RESOLVED_SELLER_FAVOUR" } },
        "money_movements": if lost { serde_json::json!([]) } else { credit },
    });
    notifications::enqueue(state, "CUSTOMER.DISPUTE.RESOLVED", "dispute", dispute, now);
}
