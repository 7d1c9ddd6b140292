//! Captures, cancels, refunds and reversals. Each is answered with "received" at once, whatever the payment's state; what becomes of it is
//! decided when it is processed, and told by notification.

use connector::clock::Timestamp;
use serde_json::{Value, json};

use super::state::{Answer, Kind, Modification, Payment, PaymentState, Refused, State};
use super::{NOT_FOUND, check_account, notifications, payments, read_amount, refusal};
use crate::peer::PeerAnswer;

/// POST `/payments/{pspReference}/{captures|cancels|refunds|reversals}`.
pub(super) fn by_psp_reference(state: &mut State, payment: &str, kind: &str, body: &Value) -> Answer {
    let (kind, allowed): (_, &[&str]) = match kind {
        "captures" => (Kind::Capture, &["merchantAccount", "amount", "reference"]),
        "cancels" => (Kind::Cancel, &["merchantAccount", "reference"]),
        "refunds" => (Kind::Refund, &["merchantAccount", "amount", "reference", "merchantRefundReason"]),
        "reversals" => (Kind::Reversal, &["merchantAccount", "reference"]),
        _ => return Err(NOT_FOUND),
    };
    check_fields(body, allowed)?;
    check_account(state, body)?;
    let amount = if matches!(kind, Kind::Capture | Kind::Refund) { Some(read_amount(body)?) } else { None };
    if state.payment_mut(payment).is_none() {
        return Err(refusal(422, "167", "validation", "Original pspReference required for this operation"));
    }
    let mut answer = json!({ "paymentPspReference": payment });
    if let (Some((currency, value)), Some(answer)) = (&amount, answer.as_object_mut()) {
        answer.insert("amount".to_owned(), json!({ "currency": currency, "value": value }));
    }
    Ok(receive(state, kind, payment, body, amount, answer))
}

/// POST `/cancels`, by the payment's reference; received even where no payment has it.
pub(super) fn cancel_by_reference(state: &mut State, body: &Value) -> Answer {
    check_fields(body, &["merchantAccount", "paymentReference", "reference"])?;
    check_account(state, body)?;
    let target = body.get("paymentReference").and_then(Value::as_str).filter(|reference| !reference.is_empty());
    let target = target.ok_or_else(|| refusal(422, "130", "validation", "Reference Missing"))?.to_owned();
    let answer = json!({ "paymentReference": target });
    Ok(receive(state, Kind::TechnicalCancel, &target, body, None, answer))
}

fn receive(state: &mut State, kind: Kind, target: &str, body: &Value, amount: Option<(String, i64)>, mut answer: Value) -> PeerAnswer {
    let psp_reference = state.next_id();
    let reference = body.get("reference").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("merchantAccount".to_owned(), json!(state.config.merchant_account));
        answer.insert("pspReference".to_owned(), json!(psp_reference));
        answer.insert("reference".to_owned(), json!(reference));
        answer.insert("status".to_owned(), json!("received"));
    }
    state.pending.push(Modification { kind, psp_reference, target: target.to_owned(), reference, amount });
    PeerAnswer::json(201, &answer)
}

fn check_fields(body: &Value, allowed: &[&str]) -> Result<(), Refused> {
    let unknown = body.as_object().is_some_and(|body| body.keys().any(|key| !allowed.contains(&key.as_str())));
    if unknown { Err(refusal(400, "702", "validation", "Unexpected input")) } else { Ok(()) }
}

/// Does what is due, oldest first.
pub(super) fn process(state: &mut State, now: Timestamp) {
    let undecided: Vec<_> = state.payments.iter().filter(|p| p.state == PaymentState::Pending).map(|p| p.psp_reference.clone()).collect();
    for psp_reference in undecided {
        if let Some(mut payment) = state.payment_mut(&psp_reference).cloned() {
            payments::authorise(state, &mut payment, now);
            replace(state, payment);
        }
    }
    for modification in std::mem::take(&mut state.pending) {
        apply(state, &modification, now);
    }
}

fn replace(state: &mut State, payment: Payment) {
    if let Some(place) = state.payment_mut(&payment.psp_reference) {
        *place = payment;
    }
}

fn apply(state: &mut State, modification: &Modification, now: Timestamp) {
    let found = state.payments.iter().rev().find(|payment| match modification.kind {
        Kind::TechnicalCancel => payment.reference == modification.target && payment.state != PaymentState::Refused,
        _ => payment.psp_reference == modification.target,
    });
    let Some(mut payment) = found.cloned() else {
        return tell_failure_without_payment(state, modification, now);
    };
    let result = match state.fail_next_modification.take() {
        Some(reason) => Err(reason),
        None => change(&mut payment, modification, state.over_refunds).map_err(str::to_owned),
    };
    let reason = result.as_ref().err().cloned().unwrap_or_default();
    let technical = modification.kind == Kind::TechnicalCancel;
    let (currency, value) = modification.amount.clone().unwrap_or_else(|| (payment.currency.clone(), payment.amount));
    let event = notifications::Event {
        event_code: event_code(modification.kind),
        success: result.is_ok(),
        psp_reference: &modification.psp_reference,
        original_reference: &payment.psp_reference,
        reference: if technical || modification.reference.is_empty() { &payment.reference } else { &modification.reference },
        amount: Some((&currency, value)),
        reason: &reason,
    };
    let news = notifications::item(&state.config, &event, now);
    state.outbox.push(news);
    replace(state, payment);
}

fn tell_failure_without_payment(state: &mut State, modification: &Modification, now: Timestamp) {
    let event = notifications::Event {
        event_code: event_code(modification.kind),
        success: false,
        psp_reference: &modification.psp_reference,
        original_reference: "",
        reference: &modification.target,
        amount: None,
        reason: "Original payment not found",
    };
    let news = notifications::item(&state.config, &event, now);
    state.outbox.push(news);
}

const fn event_code(kind: Kind) -> &'static str {
    match kind {
        Kind::Capture => "CAPTURE",
        Kind::Cancel => "CANCELLATION",
        Kind::TechnicalCancel => "TECHNICAL_CANCEL",
        Kind::Refund => "REFUND",
        Kind::Reversal => "CANCEL_OR_REFUND",
    }
}

/// Changes the payment, or says why not.
fn change(payment: &mut Payment, modification: &Modification, over_refunds: bool) -> Result<(), &'static str> {
    let amount = match &modification.amount {
        Some((currency, _)) if *currency != payment.currency => return Err("Currency differs from the payment's"),
        Some((_, value)) => *value,
        None => payment.amount,
    };
    match modification.kind {
        Kind::Capture => capture(payment, amount),
        Kind::Cancel | Kind::TechnicalCancel => cancel(payment),
        Kind::Refund => refund(payment, amount, over_refunds),
        Kind::Reversal if payment.state == PaymentState::Captured => {
            refund(payment, payment.captured.saturating_sub(payment.refunded), false)
        }
        Kind::Reversal => cancel(payment),
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

/// See [`super::Adyen::capture_fails_later`].
pub(super) fn capture_fails_later(state: &mut State, psp_reference: &str, now: Timestamp) {
    late(state, psp_reference, "CAPTURE_FAILED", PaymentState::Captured, PaymentState::CaptureFailed, now, |payment| payment.captured = 0);
}

/// See [`super::Adyen::charge_back`].
pub(super) fn charge_back(state: &mut State, psp_reference: &str, now: Timestamp) {
    late(state, psp_reference, "CHARGEBACK", PaymentState::Captured, PaymentState::ChargedBack, now, |_| {});
}

/// See [`super::Adyen::capture_again`].
pub(super) fn capture_again(state: &mut State, psp_reference: &str, now: Timestamp) {
    let take = |payment: &mut Payment| payment.captured = payment.amount;
    late(state, psp_reference, "CAPTURE", PaymentState::CaptureFailed, PaymentState::Captured, now, take);
}

/// See [`super::Adyen::reverse_chargeback`].
pub(super) fn reverse_chargeback(state: &mut State, psp_reference: &str, now: Timestamp) {
    late(state, psp_reference, "CHARGEBACK_REVERSED", PaymentState::ChargedBack, PaymentState::Captured, now, |_| {});
}

/// See [`super::Adyen::expire`].
pub(super) fn expire(state: &mut State, psp_reference: &str, now: Timestamp) {
    let release = |payment: &mut Payment| payment.cancelled = payment.authorised;
    late(state, psp_reference, "EXPIRE", PaymentState::Authorised, PaymentState::Expired, now, release);
}

/// Something that happens to a payment by itself.
fn late(
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
    let event = notifications::Event {
        event_code,
        success: true,
        psp_reference: &own,
        original_reference: if event_code == "EXPIRE" { "" } else { &payment.psp_reference },
        reference: &payment.reference,
        amount: Some((&payment.currency, payment.amount)),
        reason: event_code,
    };
    let news = notifications::item(&state.config, &event, now);
    state.outbox.push(news);
    payment.state = to;
    change(&mut payment);
    replace(state, payment);
}
