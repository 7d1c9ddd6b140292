//! How a gateway's notification changes a payment, whenever it comes: late, repeated, too early, or while the payment's own flow is still
//! in progress.
//!
//! The final state does not depend on the order: what can happen several times is counted, and the counts decide. A notification moves a
//! payment along legal transitions only, never accepts an amount that was not asked for, and never reports anything to Cleeng: the owning
//! flow, or the notification's own obligation, does that.

use super::FlowResult;
use super::gateway_step::StepResult;
use super::obligation_context::{ObligationContext, TypedStepState};
use crate::clock::Timestamp;
use crate::gateway::{Decline, DeclineClass, GatewayNotification, NotificationKind as Kind, Reference};
use crate::journal::JournalError;
use crate::journal::payment::{AuthorisationResult, PaymentRecord, PaymentState as S};
use crate::reason::{AlarmReason, ParkReason};

/// The state of the obligation that made the payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerState {
    /// An attempt of it is open and is about this payment.
    pub in_flight: bool,
    /// That attempt has begun to report the payment to Cleeng.
    pub reporting: bool,
}

/// The effect of a notification on a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransitionEffect {
    /// None: the notification is known, or changes nothing.
    Unchanged,
    /// The record changed, and has to be written.
    Changed,
    /// The record changed, and an operator should know, for this stable reason.
    ChangedUnexpectedly(AlarmReason),
    /// Captured money is gone again although Cleeng has it as captured, for this stable reason. The record changed.
    FundsLost(AlarmReason),
    /// It comes before a notification that it follows; to be tried again later.
    OutOfOrder,
    /// It is inconsistent, for this stable reason. Nothing changed; an operator has to decide.
    Unexpected(ParkReason),
}

/// Applies a notification to its payment, in memory.
///
/// # Errors
/// [`JournalError::IllegalTransition`], which none of the branches below should cause.
pub fn apply_notification(
    payment: &mut PaymentRecord,
    item: &GatewayNotification,
    owner: OwnerState,
    now: Timestamp,
) -> Result<TransitionEffect, JournalError> {
    if payment.has_seen(&item.dedupe_key) {
        return Ok(TransitionEffect::Unchanged);
    }
    if let Some(reason) = mismatch(payment, item) {
        return Ok(if item.kind == Kind::AuthorisationDeclined {
            TransitionEffect::Unchanged
        } else {
            TransitionEffect::Unexpected(reason)
        });
    }
    let before = payment.clone();
    let effect = match item.kind {
        Kind::Authorised | Kind::AuthorisationDeclined => apply_authorisation(payment, item, owner, now)?,
        Kind::Captured | Kind::CaptureFailed => apply_capture(payment, item, owner, now)?,
        Kind::Cancelled | Kind::CancelFailed | Kind::Expired => apply_release(payment, item, now)?,
        Kind::ChargedBack | Kind::ChargebackReversed => apply_dispute(payment, item, owner, now)?,
        Kind::Refunded | Kind::RefundFailed | Kind::CustomerApproved | Kind::TokenCreated | Kind::TokenDisabled | Kind::Ignored => {
            TransitionEffect::Unchanged
        }
    };
    if matches!(effect, TransitionEffect::Unchanged | TransitionEffect::OutOfOrder | TransitionEffect::Unexpected(_)) {
        *payment = before;
    }
    Ok(effect)
}

/// Why the notification cannot be about this payment as it was asked for.
fn mismatch(payment: &PaymentRecord, item: &GatewayNotification) -> Option<ParkReason> {
    let known = [&payment.authorisation, &payment.external_payment_id];
    let other = |id| known.iter().all(|known| known.as_ref() != Some(id)) && known.iter().any(|known| known.is_some());
    if item.external_payment_id.as_ref().is_some_and(other) {
        return Some(ParkReason::NotificationNamesAnotherPayment);
    }
    let about_money = matches!(item.kind, Kind::Authorised | Kind::Captured | Kind::ChargedBack | Kind::ChargebackReversed);
    (about_money && item.amount.is_some_and(|amount| amount != payment.amount)).then_some(ParkReason::NotificationNamesAnotherAmount)
}

/// Records a notification whose number counts.
fn record_counted(payment: &mut PaymentRecord, item: &GatewayNotification) -> Option<TransitionEffect> {
    (!payment.record_notification(&item.dedupe_key, item.kind)).then_some(TransitionEffect::Unexpected(ParkReason::TooManyNotifications))
}

/// The bank's answer to a payment that waits for it. The flow that asked is the only one that acts on it; the record moves here only if
/// that flow has ended.
fn apply_authorisation(
    payment: &mut PaymentRecord,
    item: &GatewayNotification,
    owner: OwnerState,
    now: Timestamp,
) -> Result<TransitionEffect, JournalError> {
    let authorised = item.kind == Kind::Authorised;
    if payment.state != S::Starting {
        let is_declined = matches!(payment.state, S::Declined);
        return Ok(if authorised && is_declined {
            TransitionEffect::Unexpected(ParkReason::AuthorisedAfterADecline)
        } else {
            TransitionEffect::Unchanged
        });
    }
    let answer = match (&item.external_payment_id, authorised) {
        (Some(external), true) => AuthorisationResult::Authorised { external: external.clone() },
        (None, true) => return Ok(TransitionEffect::Unexpected(ParkReason::AuthorisationWithoutAnId)),
        (_, false) => AuthorisationResult::Declined { decline: item.decline.clone() },
    };
    match &payment.authorisation_result {
        Some(known) if *known == answer => return Ok(TransitionEffect::Unchanged),
        Some(AuthorisationResult::Declined { .. }) if !authorised => return Ok(TransitionEffect::Unchanged),
        Some(_) => return Ok(TransitionEffect::Unexpected(ParkReason::ContradictingAnswers)),
        None => payment.authorisation_result = Some(answer),
    }
    if owner.in_flight {
        return Ok(TransitionEffect::Changed);
    }
    if !authorised {
        payment.transition_to(S::Declined, now)?;
        return Ok(TransitionEffect::Changed);
    }
    payment.authorisation.clone_from(&item.external_payment_id);
    payment.external_payment_id.clone_from(&item.external_payment_id);
    payment.transition_to(S::Authorised, now)?;
    Ok(TransitionEffect::ChangedUnexpectedly(AlarmReason::AuthorisedWithoutOpenAttempt))
}

/// Captures and their failures are counted: a failure that comes after a capture undoes it, and the gateway may capture once more
/// (CAPTURE_FAILED, "Transaction Recaptured"). If there are more captures than failures, the money is captured.
fn apply_capture(
    payment: &mut PaymentRecord,
    item: &GatewayNotification,
    owner: OwnerState,
    now: Timestamp,
) -> Result<TransitionEffect, JournalError> {
    let is_capture = item.kind == Kind::Captured;
    match payment.state {
        S::Starting => return Ok(TransitionEffect::OutOfOrder),
        S::Authorised | S::Declined | S::Cancelled | S::Expired if is_capture => {
            return Ok(TransitionEffect::Unexpected(ParkReason::CapturedWithoutOurRequest));
        }
        S::Authorised | S::Declined | S::Cancelled | S::Expired => return Ok(TransitionEffect::Unchanged),
        S::Refunded | S::ChargedBack if !is_capture => {
            return Ok(TransitionEffect::Unexpected(ParkReason::CaptureFailedAfterTheMoneyWentBack));
        }
        S::Cancelling if !is_capture => return Ok(TransitionEffect::Unchanged),
        _ => {}
    }
    if let Some(full) = record_counted(payment, item) {
        return Ok(full);
    }
    let is_captured = payment.notification_count(Kind::Captured) > payment.notification_count(Kind::CaptureFailed);
    match (payment.state, is_captured) {
        (S::Cancelling, true) => {
            record_captured(payment, now)?;
            Ok(TransitionEffect::ChangedUnexpectedly(AlarmReason::CapturedWhileBeingCancelled))
        }
        (S::CaptureFailed, true) => {
            record_captured(payment, now)?;
            Ok(TransitionEffect::ChangedUnexpectedly(AlarmReason::CapturedAfterAFailedCapture))
        }
        (S::Capturing, true) => {
            record_captured(payment, now)?;
            Ok(TransitionEffect::Changed)
        }
        (S::Capturing, false) => {
            payment.transition_to(S::CaptureFailed, now)?;
            Ok(TransitionEffect::Changed)
        }
        // The report to Cleeng that is in progress has to be finished first.
        (S::Captured, false) if owner.reporting => Ok(TransitionEffect::OutOfOrder),
        (S::Captured, false) => {
            payment.transition_to(S::CaptureFailed, now)?;
            payment.captured.minor = 0;
            Ok(if owner.in_flight { TransitionEffect::Changed } else { report_funds_lost(payment, AlarmReason::CaptureFailed) })
        }
        _ => Ok(TransitionEffect::Changed),
    }
}

fn record_captured(payment: &mut PaymentRecord, now: Timestamp) -> Result<(), JournalError> {
    payment.transition_to(S::Captured, now)?;
    payment.captured = payment.amount;
    Ok(())
}

/// The loss of a payment's money is reported to Cleeng once.
fn report_funds_lost(payment: &mut PaymentRecord, reason: AlarmReason) -> TransitionEffect {
    if payment.loss_reported || payment.refunded.minor > 0 || payment.has_refund_in_flight() {
        return TransitionEffect::ChangedUnexpectedly(reason);
    }
    payment.loss_reported = true;
    TransitionEffect::FundsLost(reason)
}

/// The authorisation ended, or did not end when it was asked to.
fn apply_release(payment: &mut PaymentRecord, item: &GatewayNotification, now: Timestamp) -> Result<TransitionEffect, JournalError> {
    let to = match item.kind {
        Kind::Cancelled => S::Cancelled,
        Kind::Expired => S::Expired,
        _ => S::Authorised,
    };
    match (payment.state, item.kind) {
        (S::Starting, _) => Ok(TransitionEffect::OutOfOrder),
        // The result of the capture decides. This notification only keeps a silent gateway's capture from being taken for done.
        (S::Capturing, Kind::Cancelled | Kind::Expired) => Ok(record_counted(payment, item).unwrap_or(TransitionEffect::Changed)),
        (S::Authorised | S::Cancelling, Kind::Cancelled | Kind::Expired) => {
            payment.transition_to(to, now)?;
            Ok(TransitionEffect::Changed)
        }
        // There was nothing to cancel: the customer never finished. If the customer finishes after all, the payment is reversed.
        (S::Cancelling, Kind::CancelFailed) if payment.is_cancelled_without_id() => {
            Ok(record_counted(payment, item).unwrap_or(TransitionEffect::Changed))
        }
        (S::Cancelling, Kind::CancelFailed) => {
            payment.transition_to(to, now)?;
            Ok(TransitionEffect::ChangedUnexpectedly(AlarmReason::CancelFailed))
        }
        // An authorisation that could not be captured is released by its flow.
        (S::CaptureFailed, Kind::CancelFailed) => {
            Ok(record_counted(payment, item).unwrap_or(TransitionEffect::ChangedUnexpectedly(AlarmReason::CancelFailed)))
        }
        _ => Ok(TransitionEffect::Unchanged),
    }
}

/// Chargebacks and their reversals are counted like captures and their failures.
fn apply_dispute(
    payment: &mut PaymentRecord,
    item: &GatewayNotification,
    owner: OwnerState,
    now: Timestamp,
) -> Result<TransitionEffect, JournalError> {
    match payment.state {
        S::Captured | S::Refunded | S::ChargedBack if owner.in_flight => return Ok(TransitionEffect::OutOfOrder),
        S::Captured | S::Refunded | S::ChargedBack => {}
        S::Starting | S::Authorised | S::Capturing | S::Cancelling | S::CaptureFailed => return Ok(TransitionEffect::OutOfOrder),
        S::Declined | S::Cancelled | S::Expired => return Ok(TransitionEffect::Unexpected(ParkReason::DisputeOfAPaymentWithoutMoney)),
    }
    if let Some(full) = record_counted(payment, item) {
        return Ok(full);
    }
    let is_charged_back = payment.notification_count(Kind::ChargedBack) > payment.notification_count(Kind::ChargebackReversed);
    match (payment.state, is_charged_back) {
        (S::Captured | S::Refunded, true) => {
            payment.transition_to(S::ChargedBack, now)?;
            Ok(report_funds_lost(payment, AlarmReason::Chargeback))
        }
        (S::ChargedBack, false) => {
            let fully_refunded = payment.refunded.minor > 0 && payment.refunded == payment.captured;
            payment.transition_to(if fully_refunded { S::Refunded } else { S::Captured }, now)?;
            Ok(TransitionEffect::ChangedUnexpectedly(AlarmReason::ChargebackReversed))
        }
        _ if item.kind == Kind::ChargebackReversed => Ok(TransitionEffect::ChangedUnexpectedly(AlarmReason::ChargebackReversed)),
        _ => Ok(TransitionEffect::Changed),
    }
}

/// The answer that a notification gave to a step that waits for it, as the step's result; `None` if there is no answer, or if the step has
/// a result of its own.
///
/// # Errors
/// `Err(Disposition::Retry)` if the step's record cannot be read.
pub fn authorisation_result(case: &mut ObligationContext<'_>, step: &str, reference: &Reference) -> FlowResult<Option<StepResult>> {
    let Some(answer) = case.payment(reference).and_then(|payment| payment.authorisation_result.clone()) else { return Ok(None) };
    if !matches!(case.step_state::<StepResult>(step)?, TypedStepState::Unknown(_) | TypedStepState::Done(StepResult::Received { .. })) {
        return Ok(None);
    }
    let fact = match answer {
        AuthorisationResult::Authorised { external } => StepResult::Done { external: Some(external), expires_at: None },
        // A reason that is not signed does not show what can be done.
        AuthorisationResult::Declined { decline } => {
            StepResult::Declined(decline.unwrap_or_else(|| Decline::new(DeclineClass::Soft, "refused")))
        }
    };
    case.record_result(step, &fact);
    Ok(Some(fact))
}

#[cfg(test)]
mod tests;
