//! The capture of a live authorisation, and when it counts as done. What the gateway refused to capture and may hold still is released.

use serde::{Deserialize, Serialize};

use super::case::{Case, StepTurn};
use super::gateway_step::{self, Call, Fact};
use super::head::LastCharge;
use super::release::{self, Released, forget_live};
use super::report::{self, Change};
use super::{Story, later};
use crate::clock::Timestamp;
use crate::flow::{SettleOn, Verdict};
use crate::gateway::{CaptureRequest, Decline, DeclineClass, NotificationKind, OperationKind, Reference};
use crate::ids::ExternalPaymentId;
use crate::journal::JournalError;
use crate::journal::payment::{PaymentRecord, PaymentState};
use crate::journal::record::Finish;
use crate::journal::store::StoreError;
use crate::metrics::Metric;

const CAPTURE: &str = "capture";
const REPORT: &str = "report";
/// The step that holds that the capture is refused and told. It is no call: it is done as soon as it is begun.
const REFUSED: &str = "refused";

/// A refusal that Cleeng was told.
#[derive(Debug, Serialize, Deserialize)]
struct Refused {
    decline: Decline,
    /// Whether the money may be held still.
    held: bool,
}

/// Captures the whole of an authorised payment, waits until the gateway's word counts, and tells Cleeng. The open attempt names the payment.
///
/// # Errors
/// Later or parked.
pub async fn capture(case: &mut Case<'_>, reference: &Reference, expiration: Timestamp) -> Story<Verdict> {
    if let StepTurn::Done(refused) = case.turn(REFUSED)? {
        return let_go(case, reference, refused).await;
    }
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (gateway, amount, free, authorisation) = (payment.gateway, payment.amount, payment.free, payment.authorisation.clone());
    let authorised_at = payment.reached_at(PaymentState::Authorised);
    if payment.state == PaymentState::Authorised {
        case.change(reference, |payment, now| payment.become_state(PaymentState::Capturing, now))?;
    }
    let authorisation = authorisation.ok_or(JournalError::Store(StoreError::Corrupt))?;
    let fact = if free {
        Fact::Done { external: Some(authorisation), expires_at: None }
    } else {
        let make = |key| {
            Call::Capture(CaptureRequest { key, reference: reference.clone(), external_payment_id: authorisation, amount, authorised_at })
        };
        gateway_step::run(case, CAPTURE, gateway, OperationKind::Capture, make).await?
    };
    match fact {
        Fact::Done { external, .. } => captured(case, reference, external, expiration).await,
        Fact::Received { external, at, .. } => received(case, reference, external, at, expiration).await,
        Fact::Declined(decline) => failed(case, reference, decline, false).await,
    }
}

/// The gateway took the order. Its notification moves the payment record on; whoever comes first after that, or after the deadline, goes on.
async fn received(
    case: &mut Case<'_>,
    reference: &Reference,
    external: Option<ExternalPaymentId>,
    at: Timestamp,
    expiration: Timestamp,
) -> Story<Verdict> {
    let state = case.payment(reference).map(|payment| payment.state);
    let told = |kind| case.payment(reference).is_some_and(|payment| payment.times_told(kind) > 0);
    let (cancelled, expired) = (told(NotificationKind::Cancelled), told(NotificationKind::Expired));
    let rules = &case.world.rules;
    let waited = case.now().since(at);
    let soft = |code: &str| Decline::new(DeclineClass::Soft, code);
    match state {
        Some(PaymentState::CaptureFailed) => failed(case, reference, soft("capture_failed"), true).await,
        // A cancel that crossed the capture has won: nothing is left to be taken.
        Some(PaymentState::Capturing) if cancelled => failed(case, reference, soft("authorisation_cancelled"), true).await,
        Some(PaymentState::Captured) => captured(case, reference, external, expiration).await,
        Some(PaymentState::Capturing) if rules.settle_on == SettleOn::Receipt => captured(case, reference, external, expiration).await,
        // Only the capture of a live authorisation is taken for done without the gateway's word.
        Some(PaymentState::Capturing) if waited >= rules.settle_deadline && expired => {
            case.park("capture_of_an_expired_authorisation", true).await
        }
        Some(PaymentState::Capturing) if waited >= rules.settle_deadline => {
            case.world.metrics.count(Metric::Warning, &[("reason", "capture_settled_by_deadline")]);
            captured(case, reference, external, expiration).await
        }
        Some(PaymentState::Capturing) => {
            let remaining = rules.settle_deadline.saturating_sub(waited);
            case.keep_queued_event(Some(remaining));
            case.pause().await?;
            Ok(Verdict::Later { after: Some(remaining), reason: "capture_received" })
        }
        _ => case.park("captured_payment_is_in_another_state", true).await,
    }
}

async fn captured(
    case: &mut Case<'_>,
    reference: &Reference,
    external: Option<ExternalPaymentId>,
    expiration: Timestamp,
) -> Story<Verdict> {
    let mut changed = None;
    case.change(reference, |payment, now| {
        payment.become_state(PaymentState::Captured, now)?;
        payment.captured = payment.amount;
        if let Some(external) = external
            && payment.external_payment_id.as_ref() != Some(&external)
        {
            changed = Some((payment.gateway, external.clone()));
            payment.external_payment_id = Some(external);
        }
        Ok(())
    })?;
    if let Some((gateway, external)) = changed {
        case.add_lookup(PaymentRecord::by_gateway(gateway, &external), reference);
    }
    case.head.last_charge = Some(LastCharge { at: case.now(), expiration, certain: true });
    forget_live(case, reference);
    report::change(case, REPORT, reference, Change::Captured).await?;
    case.finish(Finish::Captured).await
}

/// The capture is refused for good. `accepted`: the gateway had taken the order first.
async fn failed(case: &mut Case<'_>, reference: &Reference, decline: Decline, accepted: bool) -> Story<Verdict> {
    case.change(reference, |payment, now| payment.become_state(PaymentState::CaptureFailed, now))?;
    forget_live(case, reference);
    report::change(case, REPORT, reference, Change::Rejected(&decline)).await?;
    let held = may_be_held(case, reference, &decline, accepted)?;
    let refused = Refused { decline, held };
    case.note(REFUSED, &refused);
    let_go(case, reference, refused).await
}

/// Whether the money may be held still. Not where the gateway said that the hold is gone, nor where it captured first and that failed
/// afterwards: such a capture it may make once more by itself.
fn may_be_held(case: &Case<'_>, reference: &Reference, decline: &Decline, accepted: bool) -> Story<bool> {
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let over = [NotificationKind::Cancelled, NotificationKind::Expired, NotificationKind::Captured];
    let told = over.into_iter().any(|kind| payment.times_told(kind) > 0);
    Ok(!told && case.gateway(payment.gateway)?.holds_after_refusal(decline, accepted))
}

/// Nobody will capture what is held, and the next attempt holds the amount anew. That the capture was refused stands, whatever comes of the
/// release: one that does not succeed is an operator's, and keeps no other attempt from opening.
async fn let_go(case: &mut Case<'_>, reference: &Reference, refused: Refused) -> Story<Verdict> {
    if refused.held {
        let since = case.attempt().and_then(|attempt| attempt.step(REFUSED)).map(|step| step.begun_at);
        let since = since.ok_or_else(|| later("nothing_to_resume"))?;
        match release::after_refusal(case, reference, since).await? {
            Released::Yes => {}
            Released::Refused(_) => return case.park("authorisation_not_released", false).await,
        }
    }
    case.finish(Finish::Declined { class: refused.decline.class, code: refused.decline.code }).await
}
