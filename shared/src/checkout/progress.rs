//! How far the open attempt is, read from its steps.

use serde_json::Value;

use super::snapshot::{FINALIZE_STEPS, NOTIFIED, PurchaseResult, SNAPSHOT, START, Snapshot};
use crate::journal::JournalError;
use crate::journal::store::StoreError;
use crate::payments::FlowResult;
use crate::payments::obligation_context::{ObligationContext, TypedStepState};

/// How far the open attempt is.
pub enum Progress {
    /// Nothing is at the gateway: no call was made, or it is known to have had no effect.
    NotStarted,
    /// The first call's outcome is unknown.
    StartUnknown,
    /// The customer has to do this; whatever he brings back is the round of this number.
    AwaitingCustomer {
        /// For the gateway's component.
        action: Value,
        /// An index into [`FINALIZE_STEPS`].
        round: usize,
    },
    /// The outcome of this round is unknown.
    FinalizeUnknown(usize),
    /// The gateway took the order.
    Pending,
    /// The gateway has said what became of it, and Cleeng may not know.
    Decided(PurchaseResult),
}

/// Reads the position of the open attempt.
///
/// # Errors
/// `Disposition::Retry` if a step cannot be read.
pub fn read_progress(case: &ObligationContext<'_>) -> FlowResult<Progress> {
    if let TypedStepState::Done(answered) = case.step_state::<PurchaseResult>(NOTIFIED)? {
        return Ok(Progress::Decided(answered));
    }
    let (mut last, mut next) = match case.step_state::<PurchaseResult>(START)? {
        TypedStepState::NotStarted => return Ok(Progress::NotStarted),
        TypedStepState::Unknown(_) => return Ok(Progress::StartUnknown),
        TypedStepState::Done(answered) => (answered, 0_usize),
    };
    for (round, name) in FINALIZE_STEPS.iter().enumerate() {
        match case.step_state::<PurchaseResult>(name)? {
            TypedStepState::NotStarted => break,
            TypedStepState::Unknown(_) => return Ok(Progress::FinalizeUnknown(round)),
            TypedStepState::Done(answered) => (last, next) = (answered, round.saturating_add(1)),
        }
    }
    Ok(match last {
        PurchaseResult::ActionRequired { payload, .. } => Progress::AwaitingCustomer { action: payload, round: next },
        PurchaseResult::Received { .. } => Progress::Pending,
        decided => Progress::Decided(decided),
    })
}

/// The snapshot of the open attempt.
///
/// # Errors
/// `Disposition::Retry` if it is not there: nothing is done on a record that does not add up.
pub fn read_snapshot(case: &ObligationContext<'_>) -> FlowResult<Snapshot> {
    match case.step_state::<Snapshot>(SNAPSHOT)? {
        TypedStepState::Done(snapshot) => Ok(snapshot),
        _ => Err(JournalError::Store(StoreError::Corrupt).into()),
    }
}

/// Writes the snapshot of the open attempt, in memory.
pub fn write_snapshot(case: &mut ObligationContext<'_>, snapshot: &Snapshot) {
    case.checkpoint(SNAPSHOT, snapshot);
}

/// Forgets everything about the open attempt that must not outlive it, in memory.
///
/// # Errors
/// `Disposition::Retry` if a step cannot be read.
pub fn erase_sensitive_data(case: &mut ObligationContext<'_>) -> FlowResult<()> {
    for step in [START, NOTIFIED].into_iter().chain(FINALIZE_STEPS) {
        if let TypedStepState::Done(answered) = case.step_state::<PurchaseResult>(step)? {
            case.record_result(step, &answered.without_sensitive_data());
        }
    }
    if let TypedStepState::Done(mut snapshot) = case.step_state::<Snapshot>(SNAPSHOT)? {
        snapshot.returned_data.iter_mut().for_each(|round| round.details = Value::Null);
        case.record_result(SNAPSHOT, &snapshot);
    }
    Ok(())
}
