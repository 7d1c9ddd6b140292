//! How far the open attempt is, read from its steps.

use serde_json::Value;

use super::facts::{Answered, NOTIFIED, ROUNDS, SNAPSHOT, START, Snapshot};
use crate::billing::Story;
use crate::billing::case::{Case, StepTurn};
use crate::journal::JournalError;
use crate::journal::store::StoreError;

/// How far the open attempt is.
pub enum Position {
    /// Nothing is at the gateway: no call was made, or it is known to have had no effect.
    NotStarted,
    /// The first call's outcome is unknown.
    StartUnknown,
    /// The customer has to do this; whatever he brings back is the round of this number.
    Waiting {
        /// For the gateway's component.
        action: Value,
        /// An index into [`ROUNDS`].
        round: usize,
    },
    /// The outcome of this round is unknown.
    RoundUnknown(usize),
    /// The gateway took the order.
    Pending,
    /// The gateway has said what became of it, and Cleeng may not know.
    Decided(Answered),
}

/// Reads the position of the open attempt.
///
/// # Errors
/// Later, if a step cannot be read.
pub fn position(case: &Case<'_>) -> Story<Position> {
    if let StepTurn::Done(answered) = case.turn::<Answered>(NOTIFIED)? {
        return Ok(Position::Decided(answered));
    }
    let (mut last, mut next) = match case.turn::<Answered>(START)? {
        StepTurn::Fresh => return Ok(Position::NotStarted),
        StepTurn::Unknown(_) => return Ok(Position::StartUnknown),
        StepTurn::Done(answered) => (answered, 0_usize),
    };
    for (round, name) in ROUNDS.iter().enumerate() {
        match case.turn::<Answered>(name)? {
            StepTurn::Fresh => break,
            StepTurn::Unknown(_) => return Ok(Position::RoundUnknown(round)),
            StepTurn::Done(answered) => (last, next) = (answered, round.saturating_add(1)),
        }
    }
    Ok(match last {
        Answered::Action { payload, .. } => Position::Waiting { action: payload, round: next },
        Answered::Received { .. } => Position::Pending,
        decided => Position::Decided(decided),
    })
}

/// The snapshot of the open attempt.
///
/// # Errors
/// Later, if it is not there: nothing is done on a record that does not add up.
pub fn snapshot(case: &Case<'_>) -> Story<Snapshot> {
    match case.turn::<Snapshot>(SNAPSHOT)? {
        StepTurn::Done(snapshot) => Ok(snapshot),
        _ => Err(JournalError::Store(StoreError::Corrupt).into()),
    }
}

/// Writes the snapshot of the open attempt, in memory.
pub fn keep_snapshot(case: &mut Case<'_>, snapshot: &Snapshot) {
    case.note(SNAPSHOT, snapshot);
}

/// Forgets everything about the open attempt that must not outlive it, in memory.
///
/// # Errors
/// Later, if a step cannot be read.
pub fn forget(case: &mut Case<'_>) -> Story<()> {
    for step in [START, NOTIFIED].into_iter().chain(ROUNDS) {
        if let StepTurn::Done(answered) = case.turn::<Answered>(step)? {
            case.done(step, &answered.forgetful());
        }
    }
    if let StepTurn::Done(mut snapshot) = case.turn::<Snapshot>(SNAPSHOT)? {
        snapshot.rounds.iter_mut().for_each(|round| round.details = Value::Null);
        case.done(SNAPSHOT, &snapshot);
    }
    Ok(())
}
