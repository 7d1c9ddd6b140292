//! The capture of a live authorisation, and when it counts as done.

use super::Story;
use super::case::Case;
use super::gateway_step::{self, Call, Fact};
use super::head::LastCharge;
use super::release::forget_live;
use super::report::{self, Change};
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

/// Captures the whole of an authorised payment, waits until the gateway's word counts, and tells Cleeng. The open attempt names the payment.
///
/// # Errors
/// Later or parked.
pub async fn capture(case: &mut Case<'_>, reference: &Reference, expiration: Timestamp) -> Story<Verdict> {
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
        Fact::Declined(decline) => failed(case, reference, &decline).await,
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
        Some(PaymentState::CaptureFailed) => failed(case, reference, &soft("capture_failed")).await,
        // A cancel that crossed the capture has won: nothing is left to be taken.
        Some(PaymentState::Capturing) if cancelled => failed(case, reference, &soft("authorisation_cancelled")).await,
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

async fn failed(case: &mut Case<'_>, reference: &Reference, decline: &Decline) -> Story<Verdict> {
    case.change(reference, |payment, now| payment.become_state(PaymentState::CaptureFailed, now))?;
    forget_live(case, reference);
    report::change(case, REPORT, reference, Change::Rejected(decline)).await?;
    case.finish(Finish::Declined { class: decline.class, code: decline.code.clone() }).await
}
