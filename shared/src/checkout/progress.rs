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
    /// The customer has to do this; the data that they return with is that of this round. A round is one action and the finalize call after
    /// it.
    AwaitingCustomer {
        /// For the gateway's component.
        action: Value,
        /// An index into [`FINALIZE_STEPS`].
        round: usize,
    },
    /// The outcome of this round is unknown.
    FinalizeUnknown(usize),
    /// The gateway acknowledged the request and has not decided.
    Pending,
    /// The gateway's result is known; Cleeng may not know it yet.
    Decided(PurchaseResult),
}

/// Reads the progress of the open attempt.
///
/// # Errors
/// `Disposition::Retry` if a step cannot be read.
pub fn read_progress(ctx: &ObligationContext<'_>) -> FlowResult<Progress> {
    if let TypedStepState::Done(result) = ctx.step_state::<PurchaseResult>(NOTIFIED)? {
        return Ok(Progress::Decided(result));
    }
    let (mut last, mut next) = match ctx.step_state::<PurchaseResult>(START)? {
        TypedStepState::NotStarted => return Ok(Progress::NotStarted),
        TypedStepState::Unknown(_) => return Ok(Progress::StartUnknown),
        TypedStepState::Done(result) => (result, 0_usize),
    };
    for (round, name) in FINALIZE_STEPS.iter().enumerate() {
        match ctx.step_state::<PurchaseResult>(name)? {
            TypedStepState::NotStarted => break,
            TypedStepState::Unknown(_) => return Ok(Progress::FinalizeUnknown(round)),
            TypedStepState::Done(result) => (last, next) = (result, round.saturating_add(1)),
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
/// `Disposition::Retry` if it is missing: nothing is done on an inconsistent record.
pub fn read_snapshot(ctx: &ObligationContext<'_>) -> FlowResult<Snapshot> {
    match ctx.step_state::<Snapshot>(SNAPSHOT)? {
        TypedStepState::Done(snapshot) => Ok(snapshot),
        _ => Err(JournalError::Store(StoreError::Corrupt).into()),
    }
}

/// Writes the snapshot of the open attempt, in memory.
pub fn write_snapshot(ctx: &mut ObligationContext<'_>, snapshot: &Snapshot) {
    ctx.checkpoint(SNAPSHOT, snapshot);
}

/// Erases what must not outlive the open attempt, in memory.
///
/// # Errors
/// `Disposition::Retry` if a step cannot be read.
pub fn erase_sensitive_data(ctx: &mut ObligationContext<'_>) -> FlowResult<()> {
    for step in [START, NOTIFIED].into_iter().chain(FINALIZE_STEPS) {
        if let TypedStepState::Done(result) = ctx.step_state::<PurchaseResult>(step)? {
            ctx.record_result(step, &result.without_sensitive_data());
        }
    }
    if let TypedStepState::Done(mut snapshot) = ctx.step_state::<Snapshot>(SNAPSHOT)? {
        snapshot.returned_data.iter_mut().for_each(|round| round.details = Value::Null);
        ctx.record_result(SNAPSHOT, &snapshot);
    }
    Ok(())
}
