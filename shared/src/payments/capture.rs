//! The capture of a live authorisation, and when it counts as done. An authorisation that the gateway refused to capture and may still hold
//! is released.

use serde::{Deserialize, Serialize};

use super::gateway_step::{self, StepResult};
use super::obligation_context::{ObligationContext, TypedStepState};
use super::release::{self, ReleaseOutcome, clear_live_authorisation};
use super::report_change::{PaymentChange, report_change};
use super::subscription_state::LastCharge;
use super::{FlowResult, late_success, retry};
use crate::clock::Timestamp;
use crate::flow::{Disposition, SettleOn};
use crate::gateway::{CaptureRequest, Decline, DeclineClass, NotificationKind, OperationKind, Reference};
use crate::ids::ExternalPaymentId;
use crate::journal::JournalError;
use crate::journal::payment::{PaymentRecord, PaymentState};
use crate::journal::record::Finish;
use crate::journal::store::StoreError;
use crate::metrics::Metric;
use crate::reason::{CompletionReason, ParkReason, RetryReason};

/// The step that captures.
pub const CAPTURE: &str = "capture";
const REPORT: &str = "report";
/// The step that records that the capture was refused and reported. It is no call: it is done as soon as it is begun.
const CAPTURE_REFUSED: &str = "capture_refused";

/// A refusal that was reported to Cleeng.
#[derive(Debug, Serialize, Deserialize)]
struct RefusedCapture {
    decline: Decline,
    /// Whether the money may still be held.
    authorisation_remains: bool,
}

/// Captures the whole of an authorised payment, waits for the gateway's result as the settings require, and reports it to Cleeng. The open
/// attempt names the payment.
///
/// # Errors
/// `Err(Disposition::Retry)` if it cannot be completed now; `Err(Disposition::Parked)` if an operator has to decide.
pub async fn capture(case: &mut ObligationContext<'_>, reference: &Reference, expiration: Timestamp) -> FlowResult<Disposition> {
    if let TypedStepState::Done(refused) = case.step_state(CAPTURE_REFUSED)? {
        return finish_declined(case, reference, refused).await;
    }
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (gateway, amount, free, authorisation) = (payment.gateway, payment.amount, payment.zero_amount, payment.authorisation.clone());
    let authorised_at = payment.reached_at(PaymentState::Authorised);
    let was_acknowledged = matches!(case.step_state::<StepResult>(CAPTURE)?, TypedStepState::Done(StepResult::Received { .. }));
    if payment.state == PaymentState::Authorised {
        let obligation = case.session.key().as_str().to_owned();
        case.update_payment(reference, |payment, now| {
            payment.captured_by = Some(obligation);
            payment.transition_to(PaymentState::Capturing, now)
        })?;
    }
    let authorisation = authorisation.ok_or(JournalError::Store(StoreError::Corrupt))?;
    let fact = if free {
        StepResult::Done { external: Some(authorisation), expires_at: None, renewed: None }
    } else {
        let make = |key| CaptureRequest { key, reference: reference.clone(), external_payment_id: authorisation, amount, authorised_at };
        gateway_step::run(case, CAPTURE, gateway, make).await?
    };
    record_ids(case, reference, &fact)?;
    match fact {
        StepResult::Done { external, .. } => capture_succeeded(case, reference, external, expiration).await,
        StepResult::Received { external, at, .. } if case.gateway(gateway)?.capabilities().settles_by_notification => {
            capture_acknowledged(case, reference, external, at, expiration).await
        }
        StepResult::Received { at, .. } => capture_undecided(case, reference, at, was_acknowledged).await,
        StepResult::Declined(decline) => capture_failed(case, reference, decline, false).await,
    }
}

/// Records what the gateway calls the capture, and what it really captures: news about the first authorisation is about neither then.
fn record_ids(case: &mut ObligationContext<'_>, reference: &Reference, fact: &StepResult) -> FlowResult<()> {
    let (StepResult::Done { external, renewed, .. } | StepResult::Received { external, renewed, .. }) = fact else { return Ok(()) };
    case.update_payment(reference, |payment, _| {
        payment.capture = external.clone().filter(|external| Some(external) != payment.authorisation.as_ref());
        payment.renewed_authorisation = renewed.clone().or(payment.renewed_authorisation.take());
        Ok(())
    })
}

/// The gateway declared the capture undecided, and is asked at every delivery. What it pays may have been paid or ended in another way when it
/// succeeds, so that its late success is settled by an attempt of its own.
async fn capture_undecided(
    case: &mut ObligationContext<'_>,
    reference: &Reference,
    at: Timestamp,
    was_acknowledged: bool,
) -> FlowResult<Disposition> {
    let decision =
        if was_acknowledged { gateway_step::query_decision(case, CAPTURE, OperationKind::Capture, reference).await? } else { None };
    let gateway = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?.gateway;
    match decision {
        Some(StepResult::Done { external, .. }) => {
            record_captured(case, reference, external)?;
            late_success::hand_over(case, reference).await
        }
        Some(StepResult::Declined(decline)) => capture_failed(case, reference, decline, true).await,
        Some(StepResult::Received { .. }) | None => {
            gateway_step::wait_for_decision(case, gateway, at, CompletionReason::CapturePending).await
        }
    }
}

/// Takes the money of a payment that was to be taken at once and that its gateway only holds
/// ([`crate::gateway::Capabilities::takes_by_capture`]). The receipt counts as taken; a capture that fails afterwards is a loss.
///
/// # Errors
/// As [`capture`].
pub async fn take_held_payment(case: &mut ObligationContext<'_>, reference: &Reference, external: &ExternalPaymentId) -> FlowResult<()> {
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (gateway, amount, is_free) = (payment.gateway, payment.amount, payment.zero_amount || payment.amount.is_zero());
    if !is_free && case.gateway(gateway)?.capabilities().takes_by_capture {
        // It is the second half of a charge, whose money was due when it was begun.
        case.confirm_due();
        let make =
            |key| CaptureRequest { key, reference: reference.clone(), external_payment_id: external.clone(), amount, authorised_at: None };
        if let StepResult::Declined(_) = gateway_step::run(case, CAPTURE, gateway, make).await? {
            return case.park(ParkReason::OutcomeUnknown, true).await;
        }
    }
    case.update_payment(reference, |payment, _| {
        payment.taken_at_once = true;
        Ok(())
    })
}

/// The gateway acknowledged the capture. Its notification moves the payment record on; the first delivery after that, or after the
/// deadline, continues.
async fn capture_acknowledged(
    case: &mut ObligationContext<'_>,
    reference: &Reference,
    external: Option<ExternalPaymentId>,
    at: Timestamp,
    expiration: Timestamp,
) -> FlowResult<Disposition> {
    let state = case.payment(reference).map(|payment| payment.state);
    let was_notified = |kind| case.payment(reference).is_some_and(|payment| payment.notification_count(kind) > 0);
    let (cancelled, expired) = (was_notified(NotificationKind::Cancelled), was_notified(NotificationKind::Expired));
    let rules = &case.flow_context.policy;
    let waited = case.now().since(at);
    let soft_decline = |code: &str| Decline::new(DeclineClass::Soft, code);
    match state {
        Some(PaymentState::CaptureFailed) => capture_failed(case, reference, soft_decline("capture_failed"), true).await,
        // A cancel that crossed the capture has won: nothing is left to be taken.
        Some(PaymentState::Capturing) if cancelled => capture_failed(case, reference, soft_decline("authorisation_cancelled"), true).await,
        Some(PaymentState::Captured) => capture_succeeded(case, reference, external, expiration).await,
        Some(PaymentState::Capturing) if rules.settle_on == SettleOn::Receipt => {
            capture_succeeded(case, reference, external, expiration).await
        }
        // Only the capture of a live authorisation is taken for done without the gateway's notification.
        Some(PaymentState::Capturing) if waited >= rules.settle_deadline && expired => {
            case.park(ParkReason::CaptureOfAnExpiredAuthorisation, true).await
        }
        Some(PaymentState::Capturing) if waited >= rules.settle_deadline => {
            case.flow_context.metrics.count(Metric::Warning, &[("reason", "capture_settled_by_deadline")]);
            capture_succeeded(case, reference, external, expiration).await
        }
        Some(PaymentState::Capturing) => {
            let remaining = rules.settle_deadline.saturating_sub(waited);
            case.store_queued_event(Some(remaining));
            case.save_and_release_lease().await?;
            Ok(Disposition::Retry { after: Some(remaining), reason: RetryReason::CaptureReceived })
        }
        _ => case.park(ParkReason::CapturedPaymentIsInAnotherState, true).await,
    }
}

async fn capture_succeeded(
    case: &mut ObligationContext<'_>,
    reference: &Reference,
    external: Option<ExternalPaymentId>,
    expiration: Timestamp,
) -> FlowResult<Disposition> {
    record_captured(case, reference, external)?;
    case.subscription_state.last_charge = Some(LastCharge { at: case.now(), expiration, certain: true });
    clear_live_authorisation(case, reference);
    report_change(case, REPORT, reference, PaymentChange::Captured).await?;
    case.finish(Finish::Captured).await
}

/// Records that the money is taken, and by which id the gateway knows it now.
fn record_captured(case: &mut ObligationContext<'_>, reference: &Reference, external: Option<ExternalPaymentId>) -> FlowResult<()> {
    let mut changed_id = None;
    case.update_payment(reference, |payment, now| {
        payment.record_captured(now)?;
        if let Some(external) = external
            && payment.external_payment_id.as_ref() != Some(&external)
        {
            changed_id = Some((payment.gateway, external.clone()));
            payment.external_payment_id = Some(external);
        }
        Ok(())
    })?;
    if let Some((gateway, external)) = changed_id {
        case.add_lookup(PaymentRecord::gateway_id_key(gateway, &external), reference);
    }
    Ok(())
}

/// The capture is refused for good. `accepted`: the gateway had acknowledged it first.
async fn capture_failed(
    case: &mut ObligationContext<'_>,
    reference: &Reference,
    decline: Decline,
    accepted: bool,
) -> FlowResult<Disposition> {
    case.update_payment(reference, |payment, now| {
        payment.captured.minor = 0;
        payment.transition_to(PaymentState::CaptureFailed, now)
    })?;
    clear_live_authorisation(case, reference);
    report_change(case, REPORT, reference, PaymentChange::Rejected(&decline)).await?;
    let authorisation_remains = authorisation_may_remain(case, reference, &decline, accepted)?;
    let refused = RefusedCapture { decline, authorisation_remains };
    case.checkpoint(CAPTURE_REFUSED, &refused);
    finish_declined(case, reference, refused).await
}

/// Whether the money may still be held. False if the gateway said that the authorisation is gone, or that the money was captured before the
/// capture failed: the gateway may repeat such a capture without a request.
fn authorisation_may_remain(case: &ObligationContext<'_>, reference: &Reference, decline: &Decline, accepted: bool) -> FlowResult<bool> {
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let ending_kinds = [NotificationKind::Cancelled, NotificationKind::Expired, NotificationKind::Captured];
    let has_ended = ending_kinds.into_iter().any(|kind| payment.notification_count(kind) > 0);
    Ok(!has_ended && case.gateway(payment.gateway)?.authorisation_may_remain(decline, accepted))
}

/// The authorisation will not be captured, and the next attempt authorises the amount again. The refusal of the capture stands even if the
/// release fails: a failed release is parked for an operator, and keeps no other attempt from opening.
async fn finish_declined(case: &mut ObligationContext<'_>, reference: &Reference, refused: RefusedCapture) -> FlowResult<Disposition> {
    if refused.authorisation_remains {
        let since = case.current_attempt().and_then(|attempt| attempt.step(CAPTURE_REFUSED)).map(|step| step.started_at);
        let since = since.ok_or_else(|| retry(RetryReason::NothingToResume))?;
        match release::release_after_refusal(case, reference, since).await? {
            ReleaseOutcome::Released => {}
            ReleaseOutcome::Refused(_) => return case.park(ParkReason::AuthorisationNotReleased, false).await,
        }
    }
    case.finish(Finish::Declined { class: refused.decline.class, code: refused.decline.code }).await
}
