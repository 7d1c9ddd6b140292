//! What a gateway's notification does to a payment, whenever it comes: late, repeated, before its time, or while the payment's own flow is
//! still at work.
//!
//! The end does not depend on the order: what can happen several times is counted, and the counts decide. A notification moves a payment
//! along legal transitions only, never takes an amount for granted that was not asked for, and never tells Cleeng anything: that is the
//! owning flow's business, or the notification's own obligation.

use super::Story;
use super::case::{Case, StepTurn};
use super::gateway_step::Fact;
use crate::clock::Timestamp;
use crate::gateway::{Decline, DeclineClass, GatewayNotification, NotificationKind as Kind, Reference};
use crate::journal::JournalError;
use crate::journal::payment::{Answered, PaymentRecord, PaymentState as S};

/// What the obligation that made the payment is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// An attempt of it is open and is about this payment.
    pub in_flight: bool,
    /// That attempt has begun to tell Cleeng what became of the payment.
    pub reporting: bool,
}

/// What a notification did to a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it is known, or has nothing to say.
    Nothing,
    /// The record changed, and has to be written.
    Changed,
    /// The record changed, and somebody should know, for this stable reason.
    Alarming(&'static str),
    /// Captured money is gone again although Cleeng has it as captured, for this stable reason. The record changed.
    Loss(&'static str),
    /// It comes before something that it follows; to be tried again later.
    Early,
    /// It does not add up, for this stable reason. Nothing changed; an operator has to look.
    Odd(&'static str),
}

/// Applies a notification to its payment, in memory.
///
/// # Errors
/// [`JournalError::IllegalTransition`], which the cases below leave no room for.
pub fn apply(payment: &mut PaymentRecord, item: &GatewayNotification, owner: Owner, now: Timestamp) -> Result<Effect, JournalError> {
    if payment.was_told(&item.dedupe_key) {
        return Ok(Effect::Nothing);
    }
    if let Some(reason) = misfit(payment, item) {
        return Ok(if item.kind == Kind::AuthorisationDeclined { Effect::Nothing } else { Effect::Odd(reason) });
    }
    let before = payment.clone();
    let effect = match item.kind {
        Kind::Authorised | Kind::AuthorisationDeclined => bank_answered(payment, item, owner, now)?,
        Kind::Captured | Kind::CaptureFailed => captured_or_not(payment, item, owner, now)?,
        Kind::Cancelled | Kind::CancelFailed | Kind::Expired => released_or_not(payment, item, now)?,
        Kind::ChargedBack | Kind::ChargebackReversed => disputed(payment, item, owner, now)?,
        Kind::Refunded | Kind::RefundFailed | Kind::CustomerApproved | Kind::TokenCreated | Kind::TokenDisabled | Kind::Ignored => {
            Effect::Nothing
        }
    };
    if matches!(effect, Effect::Nothing | Effect::Early | Effect::Odd(_)) {
        *payment = before;
    }
    Ok(effect)
}

/// Why the notification cannot be about this payment as it was asked for.
fn misfit(payment: &PaymentRecord, item: &GatewayNotification) -> Option<&'static str> {
    let known = [&payment.authorisation, &payment.external_payment_id];
    let other = |id| known.iter().all(|known| known.as_ref() != Some(id)) && known.iter().any(|known| known.is_some());
    if item.external_payment_id.as_ref().is_some_and(other) {
        return Some("notification_names_another_payment");
    }
    let about_money = matches!(item.kind, Kind::Authorised | Kind::Captured | Kind::ChargedBack | Kind::ChargebackReversed);
    (about_money && item.amount.is_some_and(|amount| amount != payment.amount)).then_some("notification_names_another_amount")
}

/// Remembers a notification whose number counts.
fn count(payment: &mut PaymentRecord, item: &GatewayNotification) -> Option<Effect> {
    (!payment.remember(&item.dedupe_key, item.kind)).then_some(Effect::Odd("too_many_notifications"))
}

/// The bank's answer to a payment that waits for it. The flow that asked alone goes on with it; only where there is none any more does the
/// record move here.
fn bank_answered(payment: &mut PaymentRecord, item: &GatewayNotification, owner: Owner, now: Timestamp) -> Result<Effect, JournalError> {
    let yes = item.kind == Kind::Authorised;
    if payment.state != S::Starting {
        let dead = matches!(payment.state, S::Declined);
        return Ok(if yes && dead { Effect::Odd("authorised_after_a_decline") } else { Effect::Nothing });
    }
    let answer = match (&item.external_payment_id, yes) {
        (Some(external), true) => Answered::Authorised { external: external.clone() },
        (None, true) => return Ok(Effect::Odd("authorisation_without_an_id")),
        (_, false) => Answered::Declined,
    };
    match &payment.answered {
        Some(known) if *known == answer => return Ok(Effect::Nothing),
        Some(_) => return Ok(Effect::Odd("contradicting_answers")),
        None => payment.answered = Some(answer),
    }
    if owner.in_flight {
        return Ok(Effect::Changed);
    }
    if !yes {
        payment.become_state(S::Declined, now)?;
        return Ok(Effect::Changed);
    }
    payment.authorisation.clone_from(&item.external_payment_id);
    payment.external_payment_id.clone_from(&item.external_payment_id);
    payment.become_state(S::Authorised, now)?;
    Ok(Effect::Alarming("authorised_and_nobody_goes_on"))
}

/// Captures and their failures are counted: a failure that comes after a capture undoes it, and the gateway may capture once more
/// (CAPTURE_FAILED, "Transaction Recaptured"). More captures than failures: the money is there.
fn captured_or_not(payment: &mut PaymentRecord, item: &GatewayNotification, owner: Owner, now: Timestamp) -> Result<Effect, JournalError> {
    let good = item.kind == Kind::Captured;
    match payment.state {
        S::Starting => return Ok(Effect::Early),
        S::Authorised | S::Declined | S::Cancelled | S::Expired if good => return Ok(Effect::Odd("captured_without_our_order")),
        S::Authorised | S::Declined | S::Cancelled | S::Expired => return Ok(Effect::Nothing),
        S::Refunded | S::ChargedBack if !good => return Ok(Effect::Odd("capture_failed_after_the_money_went_back")),
        S::Cancelling if !good => return Ok(Effect::Nothing),
        _ => {}
    }
    if let Some(full) = count(payment, item) {
        return Ok(full);
    }
    let taken = payment.times_told(Kind::Captured) > payment.times_told(Kind::CaptureFailed);
    match (payment.state, taken) {
        (S::Cancelling, true) => {
            take(payment, now)?;
            Ok(Effect::Alarming("captured_while_being_cancelled"))
        }
        (S::CaptureFailed, true) => {
            take(payment, now)?;
            Ok(Effect::Alarming("captured_after_a_failed_capture"))
        }
        (S::Capturing, true) => {
            take(payment, now)?;
            Ok(Effect::Changed)
        }
        (S::Capturing, false) => {
            payment.become_state(S::CaptureFailed, now)?;
            Ok(Effect::Changed)
        }
        // What Cleeng is just being told has to be finished first.
        (S::Captured, false) if owner.reporting => Ok(Effect::Early),
        (S::Captured, false) => {
            payment.become_state(S::CaptureFailed, now)?;
            payment.captured.minor = 0;
            Ok(if owner.in_flight { Effect::Changed } else { loss(payment, "capture_failed") })
        }
        _ => Ok(Effect::Changed),
    }
}

fn take(payment: &mut PaymentRecord, now: Timestamp) -> Result<(), JournalError> {
    payment.become_state(S::Captured, now)?;
    payment.captured = payment.amount;
    Ok(())
}

/// Cleeng hears once that the money of a payment is gone.
fn loss(payment: &mut PaymentRecord, reason: &'static str) -> Effect {
    if payment.loss_reported || payment.refunded.minor > 0 || payment.has_refund_in_flight() {
        return Effect::Alarming(reason);
    }
    payment.loss_reported = true;
    Effect::Loss(reason)
}

/// The hold on the money ended, or did not end when it was asked to.
fn released_or_not(payment: &mut PaymentRecord, item: &GatewayNotification, now: Timestamp) -> Result<Effect, JournalError> {
    let to = match item.kind {
        Kind::Cancelled => S::Cancelled,
        Kind::Expired => S::Expired,
        _ => S::Authorised,
    };
    match (payment.state, item.kind) {
        (S::Starting, _) => Ok(Effect::Early),
        // The result of the capture decides. What is told here only keeps a silent gateway's capture from being taken for done.
        (S::Capturing, Kind::Cancelled | Kind::Expired) => Ok(count(payment, item).unwrap_or(Effect::Changed)),
        (S::Authorised | S::Cancelling, Kind::Cancelled | Kind::Expired) => {
            payment.become_state(to, now)?;
            Ok(Effect::Changed)
        }
        // Nothing was there to be called off: the customer never finished. If he does after all, it is given back.
        (S::Cancelling, Kind::CancelFailed) if payment.is_called_off() => Ok(count(payment, item).unwrap_or(Effect::Changed)),
        (S::Cancelling, Kind::CancelFailed) => {
            payment.become_state(to, now)?;
            Ok(Effect::Alarming("cancel_failed"))
        }
        // What was refused to be captured is released by its flow.
        (S::CaptureFailed, Kind::CancelFailed) => Ok(count(payment, item).unwrap_or(Effect::Alarming("cancel_failed"))),
        _ => Ok(Effect::Nothing),
    }
}

/// Chargebacks and their reversals are counted like captures and their failures.
fn disputed(payment: &mut PaymentRecord, item: &GatewayNotification, owner: Owner, now: Timestamp) -> Result<Effect, JournalError> {
    match payment.state {
        S::Captured | S::Refunded | S::ChargedBack if owner.in_flight => return Ok(Effect::Early),
        S::Captured | S::Refunded | S::ChargedBack => {}
        S::Starting | S::Authorised | S::Capturing | S::Cancelling | S::CaptureFailed => return Ok(Effect::Early),
        S::Declined | S::Cancelled | S::Expired => return Ok(Effect::Odd("dispute_of_a_payment_without_money")),
    }
    if let Some(full) = count(payment, item) {
        return Ok(full);
    }
    let gone = payment.times_told(Kind::ChargedBack) > payment.times_told(Kind::ChargebackReversed);
    match (payment.state, gone) {
        (S::Captured | S::Refunded, true) => {
            payment.become_state(S::ChargedBack, now)?;
            Ok(loss(payment, "chargeback"))
        }
        (S::ChargedBack, false) => {
            let all_given_back = payment.refunded.minor > 0 && payment.refunded == payment.captured;
            payment.become_state(if all_given_back { S::Refunded } else { S::Captured }, now)?;
            Ok(Effect::Alarming("chargeback_reversed"))
        }
        _ if item.kind == Kind::ChargebackReversed => Ok(Effect::Alarming("chargeback_reversed")),
        _ => Ok(Effect::Changed),
    }
}

/// The answer that a notification gave to a step that waits for it, as the step's result; nothing where there is none, or where the step has
/// a result of its own.
///
/// # Errors
/// Later, if the step's record cannot be read.
pub fn answered(case: &mut Case<'_>, step: &str, reference: &Reference) -> Story<Option<Fact>> {
    let Some(answer) = case.payment(reference).and_then(|payment| payment.answered.clone()) else { return Ok(None) };
    if !matches!(case.turn::<Fact>(step)?, StepTurn::Unknown(_) | StepTurn::Done(Fact::Received { .. })) {
        return Ok(None);
    }
    let fact = match answer {
        Answered::Authorised { external } => Fact::Done { external: Some(external), expires_at: None },
        // The notification's reason is not signed: it says nothing about what can be done.
        Answered::Declined => Fact::Declined(Decline::new(DeclineClass::Soft, "refused")),
    };
    case.done(step, &fact);
    Ok(Some(fact))
}

#[cfg(test)]
mod tests;
