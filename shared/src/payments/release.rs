//! Releasing an authorisation that will not be captured: the card was changed, it lapsed, or the subscription ends. First at the gateway,
//! then in Cleeng. A release never refunds captured money.

use super::FlowResult;
use super::gateway_step::{self, StepResult};
use super::obligation_context::{ObligationContext, TypedStepState};
use super::report_change::{PaymentChange, report_change};
use crate::clock::Timestamp;
use crate::gateway::{CancelRequest, CancelTarget, Decline, DeclineClass, Reference};
use crate::journal::JournalError;
use crate::journal::payment::PaymentState;
use crate::journal::store::StoreError;
use crate::reason::ParkReason;

/// The steps of a release: the cancellation at the gateway, and the report to Cleeng.
struct ReleaseSteps {
    cancel: &'static str,
    report: &'static str,
}

const RELEASE_STEPS: ReleaseSteps = ReleaseSteps { cancel: "release", report: "release_report" };
/// The attempt's own authorisation is released beside what the attempt may have released before.
const CANCEL_STEPS: ReleaseSteps = ReleaseSteps { cancel: "cancel", report: "cancel_report" };
/// The step that cancels what the gateway refused to capture.
const RELEASE_AFTER_REFUSAL: &str = "release_after_refusal";

/// Releases the subscription's live authorisation, if there is one, as steps of the open attempt.
///
/// # Errors
/// `Err(Disposition::Retry)` if it cannot be completed now; `Err(Disposition::Parked)` if an operator has to decide.
pub async fn release_live_authorisation(case: &mut ObligationContext<'_>) -> FlowResult<()> {
    let Some(live) = case.subscription_state.live_authorisation.clone() else { return Ok(()) };
    let reference = live.reference;
    if case.current_attempt().is_some_and(|attempt| attempt.reference.as_ref() == Some(&reference)) {
        // The open attempt made it: this is a resumption, and there is nothing to release.
        return Ok(());
    }
    if let ReleaseOutcome::Refused(_) = release(case, &reference).await? {
        return case.park(ParkReason::ReleaseRefused, true).await;
    }
    Ok(())
}

/// The result of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseOutcome {
    /// The gateway released the money or acknowledged the request, and Cleeng knows.
    Released,
    /// The gateway refuses, as it does for money that is captured already. Nothing was reported to Cleeng.
    Refused(Decline),
}

/// Releases an authorisation as steps of the open attempt: cancels it at the gateway, then in Cleeng, and clears it if it was the
/// subscription's live one.
///
/// # Errors
/// `Err(Disposition::Retry)` if it cannot be completed now; `Err(Disposition::Parked)` if an operator has to decide.
pub async fn release(case: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<ReleaseOutcome> {
    release_with(case, reference, &RELEASE_STEPS).await
}

/// Releases the open attempt's own authorisation, because it will never be reported to Cleeng.
///
/// # Errors
/// `Err(Disposition::Retry)` if it cannot be completed now; `Err(Disposition::Parked)` if an operator has to decide.
pub async fn release_own(case: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<()> {
    match release_with(case, reference, &CANCEL_STEPS).await? {
        ReleaseOutcome::Released => Ok(()),
        ReleaseOutcome::Refused(_) => case.park(ParkReason::ReleaseRefused, true).await,
    }
}

/// Releases what is held for the period that ends then, if anything is, as steps of the open attempt: also what the attempt itself was to
/// capture.
///
/// # Errors
/// `Err(Disposition::Retry)` if it cannot be completed now; `Err(Disposition::Parked)` if an operator has to decide.
pub async fn release_period(case: &mut ObligationContext<'_>, expiration: Timestamp) -> FlowResult<()> {
    let live = case.subscription_state.live_authorisation.as_ref().filter(|live| live.expiration.secs() == expiration.secs());
    let Some(reference) = live.map(|live| live.reference.clone()) else { return Ok(()) };
    if case.current_attempt().is_none_or(|attempt| attempt.reference.as_ref() != Some(&reference)) {
        return release_live_authorisation(case).await;
    }
    release_own(case, &reference).await
}

async fn release_with(case: &mut ObligationContext<'_>, reference: &Reference, steps: &ReleaseSteps) -> FlowResult<ReleaseOutcome> {
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (gateway, free, authorisation) = (payment.gateway, payment.zero_amount, payment.authorisation.clone());
    let has_ended = matches!(payment.state, PaymentState::Cancelled | PaymentState::Expired);
    if payment.state == PaymentState::Authorised {
        case.update_payment(reference, |payment, now| payment.transition_to(PaymentState::Cancelling, now))?;
    }
    if !free && !has_ended {
        let target =
            authorisation.map_or_else(|| CancelTarget::Reference { reference: reference.clone(), pending_id: None }, CancelTarget::Payment);
        let make = |key| CancelRequest { key, reference: reference.clone(), target };
        match gateway_step::run(case, steps.cancel, gateway, make).await? {
            // An acknowledgement is enough to open a new attempt: the notification brings the result.
            StepResult::Received { .. } => {}
            StepResult::Done { .. } => record_cancelled(case, reference)?,
            StepResult::Declined(decline) => return Ok(ReleaseOutcome::Refused(decline)),
        }
    } else {
        record_cancelled(case, reference)?;
    }
    report_change(case, steps.report, reference, PaymentChange::Cancelled).await?;
    clear_live_authorisation(case, reference);
    Ok(ReleaseOutcome::Released)
}

/// Releases at the gateway what it refused to capture, as a step of the attempt that was refused. Cleeng has the payment as rejected, and
/// gets no further report. `since` is when it was to be released first: an outcome that is unknown for too long counts as refused.
///
/// # Errors
/// `Err(Disposition::Retry)` if it cannot be completed now; `Err(Disposition::Parked)` if an operator has to decide.
pub async fn release_after_refusal(
    case: &mut ObligationContext<'_>,
    reference: &Reference,
    since: Timestamp,
) -> FlowResult<ReleaseOutcome> {
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (gateway, authorisation) = (payment.gateway, payment.authorisation.clone());
    let is_open = !matches!(case.step_state::<StepResult>(RELEASE_AFTER_REFUSAL)?, TypedStepState::Done(_));
    if is_open && case.now().since(since) > gateway_step::retry_window(case, gateway)? {
        return Ok(ReleaseOutcome::Refused(Decline::new(DeclineClass::Soft, "release_unknown")));
    }
    let target =
        authorisation.map_or_else(|| CancelTarget::Reference { reference: reference.clone(), pending_id: None }, CancelTarget::Payment);
    let make = |key| CancelRequest { key, reference: reference.clone(), target };
    Ok(match gateway_step::run(case, RELEASE_AFTER_REFUSAL, gateway, make).await? {
        // The notification brings the result, and a failure is alarmed.
        StepResult::Received { .. } | StepResult::Done { .. } => ReleaseOutcome::Released,
        StepResult::Declined(decline) => ReleaseOutcome::Refused(decline),
    })
}

/// Clears a payment as the subscription's live authorisation.
pub fn clear_live_authorisation(case: &mut ObligationContext<'_>, reference: &Reference) {
    if case.subscription_state.live_authorisation.as_ref().is_some_and(|live| live.reference == *reference) {
        case.subscription_state.live_authorisation = None;
    }
}

fn record_cancelled(case: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<()> {
    case.update_payment(reference, |payment, now| {
        if payment.state == PaymentState::Cancelling { payment.transition_to(PaymentState::Cancelled, now) } else { Ok(()) }
    })
}
