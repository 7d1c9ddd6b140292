//! Captures, cancels, refunds and reversals. Each is answered with "received" at once, in every state of the payment; its result is
//! decided when it is processed, and reported by notification.

use connector::clock::Timestamp;
use serde_json::{Value, json};

use crate::simulators::adyen::state::{Modification, ModificationKind, Payment, PaymentState, State};
use crate::simulators::adyen::validation::{ErrorResponse, HandlerResult, check_account, error_response, read_amount};
use crate::simulators::adyen::{notifications, payments};
use crate::simulators::network::ServerResponse;

/// POST `/payments/{pspReference}/{captures|cancels|refunds|reversals}`.
pub(super) fn create(state: &mut State, payment: &str, kind: ModificationKind, body: &Value) -> HandlerResult {
    check_fields(body, kind)?;
    check_account(state, body)?;
    let amount = if matches!(kind, ModificationKind::Capture | ModificationKind::Refund) { Some(read_amount(body)?) } else { None };
    if state.payment_mut(payment).is_none() {
        return Err(error_response(422, "167", "validation", "Original pspReference required for this operation"));
    }
    let mut answer = json!({ "paymentPspReference": payment });
    if let (Some((currency, value)), Some(answer)) = (&amount, answer.as_object_mut()) {
        answer.insert("amount".to_owned(), json!({ "currency": currency, "value": value }));
    }
    Ok(accept(state, kind, payment, body, amount, answer))
}

/// POST `/cancels`, by the payment's reference; received even where no payment has it.
pub(super) fn cancel_by_reference(state: &mut State, body: &Value) -> HandlerResult {
    check_fields(body, ModificationKind::TechnicalCancel)?;
    check_account(state, body)?;
    let target = body.get("paymentReference").and_then(Value::as_str).filter(|reference| !reference.is_empty());
    let target = target.ok_or_else(|| error_response(422, "130", "validation", "Reference Missing"))?.to_owned();
    let answer = json!({ "paymentReference": target });
    Ok(accept(state, ModificationKind::TechnicalCancel, &target, body, None, answer))
}

fn accept(
    state: &mut State,
    kind: ModificationKind,
    target: &str,
    body: &Value,
    amount: Option<(String, i64)>,
    mut answer: Value,
) -> ServerResponse {
    let psp_reference = state.next_id();
    let reference = body.get("reference").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("merchantAccount".to_owned(), json!(state.config.merchant_account));
        answer.insert("pspReference".to_owned(), json!(psp_reference));
        answer.insert("reference".to_owned(), json!(reference));
        answer.insert("status".to_owned(), json!("received"));
    }
    if kind != ModificationKind::Capture {
        state.asked_back.push((target.to_owned(), amount.as_ref().map(|(_, value)| *value)));
    }
    state.pending_modifications.push(Modification { kind, psp_reference, target: target.to_owned(), reference, amount });
    ServerResponse::json(201, &answer)
}

fn check_fields(body: &Value, kind: ModificationKind) -> Result<(), ErrorResponse> {
    let allowed: &[&str] = match kind {
        ModificationKind::Capture => &["merchantAccount", "amount", "reference"],
        ModificationKind::Cancel | ModificationKind::Reversal => &["merchantAccount", "reference"],
        ModificationKind::TechnicalCancel => &["merchantAccount", "paymentReference", "reference"],
        ModificationKind::Refund => &["merchantAccount", "amount", "reference", "merchantRefundReason"],
    };
    let unknown = body.as_object().is_some_and(|body| body.keys().any(|key| !allowed.contains(&key.as_str())));
    if unknown { Err(error_response(400, "702", "validation", "Unexpected input")) } else { Ok(()) }
}

/// Does what is due, oldest first.
pub(super) fn process(state: &mut State, now: Timestamp) {
    let is_due = |payment: &&Payment| payment.state == PaymentState::Pending && payment.decided.is_none_or(|(at, _)| at <= now);
    let undecided: Vec<_> = state.payments.iter().filter(is_due).map(|p| p.psp_reference.clone()).collect();
    for psp_reference in undecided {
        if let Some(mut payment) = state.payment_mut(&psp_reference).cloned() {
            if payment.decided.is_none_or(|(_, approves)| approves) {
                payments::authorise(state, &mut payment, now);
            } else {
                payments::refuse(state, &mut payment, now);
            }
            replace_payment(state, payment);
        }
    }
    process_received(state, now);
}

/// Does what was received, oldest first.
pub(super) fn process_received(state: &mut State, now: Timestamp) {
    for modification in std::mem::take(&mut state.pending_modifications) {
        process_modification(state, &modification, now);
    }
}

fn replace_payment(state: &mut State, payment: Payment) {
    if let Some(place) = state.payment_mut(&payment.psp_reference) {
        *place = payment;
    }
}

fn process_modification(state: &mut State, modification: &Modification, now: Timestamp) {
    let found = state.payments.iter().rev().find(|payment| match modification.kind {
        ModificationKind::TechnicalCancel => payment.reference == modification.target && payment.state != PaymentState::Refused,
        _ => payment.psp_reference == modification.target,
    });
    let Some(mut payment) = found.cloned() else {
        return notify_unknown_payment(state, modification, now);
    };
    let fails = modification.kind == ModificationKind::Refund && std::mem::take(&mut state.fail_next_refund);
    let scripted = if fails { Some("Insufficient balance on payment".to_owned()) } else { state.fail_next_modification.take() };
    let result = match scripted {
        Some(reason) => Err(reason),
        None => apply_to_payment(&mut payment, modification, state.allow_over_refunds).map_err(str::to_owned),
    };
    let reason = result.as_ref().err().cloned().unwrap_or_default();
    let technical = modification.kind == ModificationKind::TechnicalCancel;
    let (currency, value) = modification.amount.clone().unwrap_or_else(|| (payment.currency.clone(), payment.amount));
    let event = notifications::NotificationEvent {
        event_code: event_code(modification.kind),
        success: result.is_ok(),
        psp_reference: &modification.psp_reference,
        original_reference: &payment.psp_reference,
        reference: if technical || modification.reference.is_empty() { &payment.reference } else { &modification.reference },
        amount: Some((&currency, value)),
        reason: &reason,
    };
    let item = notifications::signed_item(&state.config, &event, now);
    state.outbox.push(item);
    replace_payment(state, payment);
}

fn notify_unknown_payment(state: &mut State, modification: &Modification, now: Timestamp) {
    let event = notifications::NotificationEvent {
        event_code: event_code(modification.kind),
        success: false,
        psp_reference: &modification.psp_reference,
        original_reference: "",
        reference: &modification.target,
        amount: None,
        reason: "Original payment not found",
    };
    let item = notifications::signed_item(&state.config, &event, now);
    state.outbox.push(item);
}

const fn event_code(kind: ModificationKind) -> &'static str {
    match kind {
        ModificationKind::Capture => "CAPTURE",
        ModificationKind::Cancel => "CANCELLATION",
        ModificationKind::TechnicalCancel => "TECHNICAL_CANCEL",
        ModificationKind::Refund => "REFUND",
        ModificationKind::Reversal => "CANCEL_OR_REFUND",
    }
}

/// Changes the payment, or says why not.
fn apply_to_payment(payment: &mut Payment, modification: &Modification, over_refunds: bool) -> Result<(), &'static str> {
    let amount = match &modification.amount {
        Some((currency, _)) if *currency != payment.currency => return Err("Currency differs from the payment's"),
        Some((_, value)) => *value,
        None => payment.amount,
    };
    match modification.kind {
        ModificationKind::Capture => capture(payment, amount),
        ModificationKind::Cancel | ModificationKind::TechnicalCancel => cancel(payment),
        ModificationKind::Refund => refund(payment, amount, over_refunds),
        ModificationKind::Reversal if payment.state == PaymentState::Captured => {
            refund(payment, payment.captured.saturating_sub(payment.refunded), false)
        }
        ModificationKind::Reversal => cancel(payment),
    }
}

fn capture(payment: &mut Payment, amount: i64) -> Result<(), &'static str> {
    if payment.state != PaymentState::Authorised || amount <= 0 || amount > payment.authorised {
        return Err("Insufficient balance on payment");
    }
    payment.captured = amount;
    // What is not captured is released.
    payment.cancelled = payment.authorised.saturating_sub(amount);
    payment.state = PaymentState::Captured;
    Ok(())
}

fn cancel(payment: &mut Payment) -> Result<(), &'static str> {
    if payment.state != PaymentState::Authorised {
        return Err("Transaction cannot be cancelled");
    }
    payment.cancelled = payment.authorised;
    payment.state = PaymentState::Cancelled;
    Ok(())
}

fn refund(payment: &mut Payment, amount: i64, above_captured: bool) -> Result<(), &'static str> {
    if payment.state != PaymentState::Captured {
        return Err("Transaction hasn't been captured, refund not possible");
    }
    let refunded = payment.refunded.saturating_add(amount);
    if amount <= 0 || (refunded > payment.captured && !above_captured) {
        return Err("Insufficient balance on payment");
    }
    payment.refunded = refunded;
    Ok(())
}

/// See [`super::AdyenSimulator::capture_fails_later`].
pub(super) fn capture_fails_later(state: &mut State, psp_reference: &str, now: Timestamp) {
    transition_unrequested(state, psp_reference, "CAPTURE_FAILED", PaymentState::Captured, PaymentState::CaptureFailed, now, |payment| {
        payment.captured = 0
    });
}

/// See [`super::AdyenSimulator::charge_back`].
pub(super) fn charge_back(state: &mut State, psp_reference: &str, now: Timestamp) {
    transition_unrequested(state, psp_reference, "CHARGEBACK", PaymentState::Captured, PaymentState::ChargedBack, now, |_| {});
}

/// See [`super::AdyenSimulator::recapture`].
pub(super) fn recapture(state: &mut State, psp_reference: &str, now: Timestamp) {
    let take = |payment: &mut Payment| payment.captured = payment.amount;
    transition_unrequested(state, psp_reference, "CAPTURE", PaymentState::CaptureFailed, PaymentState::Captured, now, take);
}

/// See [`super::AdyenSimulator::reverse_chargeback`].
pub(super) fn reverse_chargeback(state: &mut State, psp_reference: &str, now: Timestamp) {
    transition_unrequested(state, psp_reference, "CHARGEBACK_REVERSED", PaymentState::ChargedBack, PaymentState::Captured, now, |_| {});
}

/// See [`super::AdyenSimulator::approve_after_refusal`].
pub(super) fn approve_after_refusal(state: &mut State, psp_reference: &str, now: Timestamp) -> bool {
    let refused = state.payment_mut(psp_reference).filter(|payment| payment.state == PaymentState::Refused).cloned();
    let Some(mut payment) = refused else { return false };
    payments::authorise(state, &mut payment, now);
    if payment.stored_payment_method_id.is_none() {
        payments::store_details(state, &mut payment);
    }
    replace_payment(state, payment);
    true
}

/// See [`super::AdyenSimulator::expire`].
pub(super) fn expire(state: &mut State, psp_reference: &str, now: Timestamp) {
    let release = |payment: &mut Payment| payment.cancelled = payment.authorised;
    transition_unrequested(state, psp_reference, "EXPIRE", PaymentState::Authorised, PaymentState::Expired, now, release);
}

/// A change of a payment that no request asks for.
fn transition_unrequested(
    state: &mut State,
    psp_reference: &str,
    event_code: &str,
    from: PaymentState,
    to: PaymentState,
    now: Timestamp,
    change: impl FnOnce(&mut Payment),
) {
    let Some(mut payment) = state.payment_mut(psp_reference).filter(|payment| payment.state == from).cloned() else { return };
    let own = if event_code == "EXPIRE" { payment.psp_reference.clone() } else { state.next_id() };
    let event = notifications::NotificationEvent {
        event_code,
        success: true,
        psp_reference: &own,
        original_reference: if event_code == "EXPIRE" { "" } else { &payment.psp_reference },
        reference: &payment.reference,
        amount: Some((&payment.currency, payment.amount)),
        reason: event_code,
    };
    let item = notifications::signed_item(&state.config, &event, now);
    state.outbox.push(item);
    payment.state = to;
    change(&mut payment);
    replace_payment(state, payment);
}
