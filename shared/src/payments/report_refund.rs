//! Reporting to Cleeng that captured money went back: by a refund, by a chargeback, or because its capture failed later.
//!
//! Cleeng has no idempotency keys. If its answer is lost, the payment is read before anything is reported again. A part that was refunded
//! cannot be told from another part there, and Cleeng may not let the payment be read at all: then an operator has to compare. Nothing is
//! ever reported blindly twice.

use super::FlowResult;
use super::cleeng_step::{self, CleengStep, LostAnswer};
use super::obligation_context::{ObligationContext, TypedStepState};
use super::read_failed;
use crate::cleeng::{CALL_TIMEOUT, CleengError, PaymentPatch, PaymentStatus};
use crate::ids::PaymentId;
use crate::journal::record::Step;
use crate::reason::ParkReason;

/// Why an operator has to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkReasons {
    /// It cannot be found out whether Cleeng booked the report.
    pub unknown: ParkReason,
    /// Cleeng refused it for good.
    pub refused: ParkReason,
}

/// Reports the change ([`PaymentPatch::Refunded`]) as the step of this name.
///
/// # Errors
/// `Err(Disposition::Retry)` if it cannot be completed now; `Err(Disposition::Parked)` if an operator has to decide.
pub async fn report_refund(
    case: &mut ObligationContext<'_>,
    name: &'static str,
    (payment, patch): (&PaymentId, &PaymentPatch),
    reasons: ParkReasons,
) -> FlowResult<()> {
    let unknown = match case.step_state::<()>(name)? {
        TypedStepState::Done(()) => return Ok(()),
        TypedStepState::NotStarted => None,
        TypedStepState::Unknown(step) => Some(step),
    };
    if let Some(step) = &unknown {
        match find_report(case, payment, patch, step).await? {
            ReportLookup::Booked => {
                case.record_result(name, &());
                return Ok(());
            }
            ReportLookup::NotBooked => cleeng_step::wait_for_report_on_its_way(case, step)?,
            ReportLookup::Undecidable => return case.park(reasons.unknown, false).await,
        }
    }
    let step = CleengStep { name, timeout: CALL_TIMEOUT, lost_answer: LostAnswer::FindOut };
    let call = case.flow_context.cleeng.update_payment(payment, patch);
    match cleeng_step::run(case, step, call).await? {
        Ok(()) => {
            case.record_result(name, &());
            Ok(())
        }
        Err(_) => case.park(reasons.refused, false).await,
    }
}

enum ReportLookup {
    Booked,
    NotBooked,
    Undecidable,
}

/// Asks Cleeng whether a report whose answer was lost arrived, for as long as an unknown outcome is asked about.
async fn find_report(case: &ObligationContext<'_>, payment: &PaymentId, patch: &PaymentPatch, step: &Step) -> FlowResult<ReportLookup> {
    if matches!(patch, PaymentPatch::Refunded { amount: Some(_), .. }) {
        return Ok(ReportLookup::Undecidable);
    }
    let known = case.flow_context.cleeng.payment(payment).await;
    let is_overdue = case.is_overdue(step);
    Ok(match known.map(|payment| payment.status) {
        Ok(PaymentStatus::Refunded) => ReportLookup::Booked,
        Ok(PaymentStatus::Captured) if !is_overdue => ReportLookup::NotBooked,
        Ok(_) | Err(CleengError::NotFound | CleengError::Refused { .. }) => ReportLookup::Undecidable,
        Err(_) if is_overdue => ReportLookup::Undecidable,
        Err(error) => return Err(read_failed(&error)),
    })
}
