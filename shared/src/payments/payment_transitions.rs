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
use crate::ids::ExternalPaymentId;
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
    /// The money is held or taken although the attempt that asked for it has ended; it has to be reported or given back. The record changed,
    /// and an operator should know, for this stable reason.
    LateSuccess(AlarmReason),
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
    if payment.has_seen(&item.dedupe_key) || is_superseded(payment, item) {
        return Ok(TransitionEffect::Unchanged);
    }
    if let Some(reason) = mismatch(payment, item) {
        return Ok(match item.kind {
            Kind::AuthorisationDeclined => TransitionEffect::Unchanged,
            // A gateway can renew an authorisation for its capture: the answer to the capture names it.
            _ if payment.state == S::Capturing && reason == ParkReason::NotificationNamesAnotherPayment => TransitionEffect::OutOfOrder,
            _ => TransitionEffect::Unexpected(reason),
        });
    }
    let before = payment.clone();
    let effect = match item.kind {
        Kind::Authorised | Kind::AuthorisationDeclined => apply_authorisation(payment, item, owner, now)?,
        Kind::Captured | Kind::CaptureFailed => apply_capture(payment, item, owner, now)?,
        Kind::Cancelled | Kind::CancelFailed | Kind::Expired => apply_release(payment, item, owner, now)?,
        // Which of the two it was is not signed; only a payment that was captured can be refunded, and that is settled with its refund.
        Kind::CancelledOrRefunded if payment.captured.minor > 0 => TransitionEffect::OutOfOrder,
        Kind::CancelledOrRefunded => apply_release(payment, &GatewayNotification { kind: Kind::Cancelled, ..item.clone() }, owner, now)?,
        Kind::ChargedBack | Kind::FundsWithdrawn | Kind::ChargebackReversed => apply_dispute(payment, item, owner, now)?,
        Kind::NotUnderstood => TransitionEffect::ChangedUnexpectedly(AlarmReason::NotificationNotUnderstood),
        Kind::Refunded
        | Kind::RefundFailed
        | Kind::CustomerApproved
        | Kind::TokenCreated
        | Kind::TokenDisabled
        | Kind::TokenUpdated
        | Kind::Ignored => TransitionEffect::Unchanged,
    };
    if matches!(effect, TransitionEffect::Unchanged | TransitionEffect::OutOfOrder | TransitionEffect::Unexpected(_)) {
        *payment = before;
    }
    Ok(effect)
}

/// Whether the notification is about an authorisation that another object took the place of: a renewed one, or a capture with an id of its
/// own. It decides nothing about that one.
fn is_superseded(payment: &PaymentRecord, item: &GatewayNotification) -> bool {
    let about_an_authorisation =
        matches!(item.kind, Kind::Authorised | Kind::AuthorisationDeclined | Kind::Cancelled | Kind::CancelFailed | Kind::Expired);
    let current = payment.capture.as_ref().or(payment.renewed_authorisation.as_ref());
    about_an_authorisation && item.external_payment_id.as_ref().zip(current).is_some_and(|(named, current)| named != current)
}

/// Why the notification cannot be about this payment as it was asked for.
fn mismatch(payment: &PaymentRecord, item: &GatewayNotification) -> Option<ParkReason> {
    let known = [&payment.authorisation, &payment.external_payment_id, &payment.renewed_authorisation, &payment.capture];
    let other = |id| known.iter().all(|known| known.as_ref() != Some(id)) && known.iter().any(|known| known.is_some());
    if item.external_payment_id.as_ref().is_some_and(other) {
        return Some(ParkReason::NotificationNamesAnotherPayment);
    }
    let about_money =
        matches!(item.kind, Kind::Authorised | Kind::Captured | Kind::ChargedBack | Kind::FundsWithdrawn | Kind::ChargebackReversed);
    (about_money && item.amount.is_some_and(|amount| amount != payment.amount)).then_some(ParkReason::NotificationNamesAnotherAmount)
}

/// Records a notification whose number counts.
fn record_counted(payment: &mut PaymentRecord, item: &GatewayNotification) -> Option<TransitionEffect> {
    (!payment.record_notification(&item.dedupe_key, item.kind)).then_some(TransitionEffect::Unexpected(ParkReason::TooManyNotifications))
}

/// The bank's answer to a payment. The flow that asked is the only one that acts on it; the record moves here only if that flow has ended.
/// A success counts whatever was said before it: a gateway can refuse a payment and authorise it afterwards, under one id.
fn apply_authorisation(
    payment: &mut PaymentRecord,
    item: &GatewayNotification,
    owner: OwnerState,
    now: Timestamp,
) -> Result<TransitionEffect, JournalError> {
    let has_ended = matches!(payment.state, S::Declined | S::Cancelling | S::Cancelled | S::Expired) && !payment.was_successful();
    let external = match (payment.state, item.kind, &item.external_payment_id) {
        (S::Starting, Kind::Authorised, Some(external)) => external,
        (_, Kind::Authorised, Some(external)) if has_ended => external,
        (S::Starting, Kind::Authorised, None) => return Ok(TransitionEffect::Unexpected(ParkReason::AuthorisationWithoutAnId)),
        (_, Kind::Authorised, None) if has_ended => return Ok(TransitionEffect::Unexpected(ParkReason::AuthorisationWithoutAnId)),
        (S::Starting, _, _) => return apply_decline(payment, item, owner, now),
        // Known, or older than what became of it since.
        _ => return Ok(TransitionEffect::Unchanged),
    };
    match (payment.state, owner.in_flight) {
        (S::Starting, true) => {
            let answer = AuthorisationResult::Authorised { external: external.clone() };
            if payment.authorisation_result.as_ref() == Some(&answer) {
                return Ok(TransitionEffect::Unchanged);
            }
            payment.authorisation_result = Some(answer);
            Ok(TransitionEffect::Changed)
        }
        // Its attempt is just being closed.
        (_, true) => Ok(TransitionEffect::OutOfOrder),
        (_, false) => {
            payment.record_success(external, now)?;
            Ok(TransitionEffect::LateSuccess(AlarmReason::AuthorisedWithoutOpenAttempt))
        }
    }
}

/// A refusal of a payment that waits for its answer. It decides nothing about one that is known to have succeeded.
fn apply_decline(
    payment: &mut PaymentRecord,
    item: &GatewayNotification,
    owner: OwnerState,
    now: Timestamp,
) -> Result<TransitionEffect, JournalError> {
    if payment.authorisation_result.is_some() {
        return Ok(TransitionEffect::Unchanged);
    }
    payment.authorisation_result = Some(AuthorisationResult::Declined { decline: item.decline.clone() });
    if !owner.in_flight {
        payment.transition_to(S::Declined, now)?;
    }
    Ok(TransitionEffect::Changed)
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
        // Its flow is about to ask for it, or to report the hold.
        S::Authorised if is_capture && owner.in_flight => return Ok(TransitionEffect::OutOfOrder),
        S::Authorised if !is_capture => return Ok(TransitionEffect::Unchanged),
        S::Cancelling | S::Cancelled | S::Expired | S::Declined if !is_capture => return Ok(TransitionEffect::Unchanged),
        S::Refunded | S::ChargedBack if !is_capture => {
            return Ok(TransitionEffect::Unexpected(ParkReason::CaptureFailedAfterTheMoneyWentBack));
        }
        // What is being reported to Cleeng has to be finished first.
        S::Captured if owner.reporting && !is_capture => return Ok(TransitionEffect::OutOfOrder),
        S::CaptureFailed if owner.reporting && is_capture => return Ok(TransitionEffect::OutOfOrder),
        _ => {}
    }
    if let Some(full) = record_counted(payment, item) {
        return Ok(full);
    }
    let is_captured = payment.notification_count(Kind::Captured) > payment.notification_count(Kind::CaptureFailed);
    let alarm = match payment.state {
        S::Cancelling | S::Cancelled | S::Expired | S::Declined => AlarmReason::CapturedWhileBeingCancelled,
        S::CaptureFailed => AlarmReason::CapturedAfterAFailedCapture,
        S::Authorised => AlarmReason::CapturedWithoutOurRequest,
        _ => AlarmReason::CapturedWithoutOpenAttempt,
    };
    match (payment.state, is_captured) {
        (S::Capturing | S::CaptureFailed, true) if owner.in_flight => {
            payment.record_captured(now)?;
            Ok(TransitionEffect::Changed)
        }
        (S::Authorised | S::Capturing, true) => {
            payment.record_captured(now)?;
            record_capture_id(payment, item);
            Ok(TransitionEffect::LateSuccess(alarm))
        }
        (S::Cancelling | S::Cancelled | S::Expired | S::Declined | S::CaptureFailed, true) => {
            // Cleeng was told that nothing is taken, or is being told: this money is another payment to it.
            payment.cleeng_payment = None;
            payment.record_captured(now)?;
            record_capture_id(payment, item);
            Ok(TransitionEffect::LateSuccess(alarm))
        }
        (S::Capturing, false) => {
            payment.transition_to(S::CaptureFailed, now)?;
            Ok(TransitionEffect::Changed)
        }
        (S::Captured, false) => lose_capture(payment, owner, AlarmReason::CaptureFailed, now),
        _ => Ok(TransitionEffect::Changed),
    }
}

/// A capture that is not reported under its payment's id has one of its own, by which it is known and refunded from now on.
fn record_capture_id(payment: &mut PaymentRecord, item: &GatewayNotification) {
    let own = item.operation_ref.as_ref().filter(|_| item.external_payment_id.is_none());
    let Some(capture) = own.and_then(|own| ExternalPaymentId::new(own).ok()) else { return };
    payment.external_payment_id = Some(capture.clone());
    payment.capture = Some(capture);
}

/// Money that was taken, or taken for taken, is not there.
fn lose_capture(
    payment: &mut PaymentRecord,
    owner: OwnerState,
    reason: AlarmReason,
    now: Timestamp,
) -> Result<TransitionEffect, JournalError> {
    payment.transition_to(S::CaptureFailed, now)?;
    payment.captured.minor = 0;
    Ok(if owner.in_flight { TransitionEffect::Changed } else { report_funds_lost(payment, reason) })
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
fn apply_release(
    payment: &mut PaymentRecord,
    item: &GatewayNotification,
    owner: OwnerState,
    now: Timestamp,
) -> Result<TransitionEffect, JournalError> {
    let to = match item.kind {
        Kind::Cancelled => S::Cancelled,
        Kind::Expired => S::Expired,
        _ => S::Authorised,
    };
    match (payment.state, item.kind) {
        (S::Starting, _) => Ok(TransitionEffect::OutOfOrder),
        // The result of the capture decides. This notification only keeps a silent gateway's capture from being taken for done.
        (S::Capturing, Kind::Cancelled | Kind::Expired) => Ok(record_counted(payment, item).unwrap_or(TransitionEffect::Changed)),
        // The capture was taken for done when its deadline passed, and never was.
        (S::Captured, Kind::Cancelled | Kind::Expired) if payment.notification_count(Kind::Captured) == 0 => {
            if owner.reporting {
                return Ok(TransitionEffect::OutOfOrder);
            }
            match record_counted(payment, item) {
                Some(full) => Ok(full),
                None => lose_capture(payment, owner, AlarmReason::CapturedAuthorisationEnded, now),
            }
        }
        (S::Authorised | S::Cancelling, Kind::Cancelled | Kind::Expired) => {
            payment.transition_to(to, now)?;
            Ok(TransitionEffect::Changed)
        }
        // There was nothing to cancel: the customer never finished, or the bank has not decided. A success that comes after all is given back.
        (S::Cancelling, Kind::CancelFailed) if payment.is_cancelled_undecided() => {
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

/// How often the captured money was lost: a dispute and the withdrawal that it leads to are one loss.
fn loss_count(payment: &PaymentRecord) -> usize {
    payment.notification_count(Kind::ChargedBack).max(payment.notification_count(Kind::FundsWithdrawn))
}

/// Losses and their reversals are counted like captures and their failures.
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
    let is_charged_back = loss_count(payment) > payment.notification_count(Kind::ChargebackReversed);
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
        // Another loss, or the second word on the first: which of them cannot be told, so that it is heard.
        (S::Captured | S::Refunded, false) => Ok(TransitionEffect::ChangedUnexpectedly(AlarmReason::Chargeback)),
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
        AuthorisationResult::Authorised { external } => StepResult::Done { external: Some(external), expires_at: None, renewed: None },
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
