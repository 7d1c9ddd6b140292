//! A payment that succeeded after its attempt had ended, after a wait in which everything may have changed, or without a request of ours:
//! from then on it is the obligation's to report it or to give it back, and no attempt of the obligation opens before that is done. What is
//! the same in the settlement of a renewal ([`renewal::late_success`](crate::renewal::late_success)) and of a single purchase
//! ([`late_capture`](super::late_capture)).

use serde::{Deserialize, Serialize};

use super::obligation_context::{ObligationContext, TypedStepState};
use super::{FlowResult, retry};
use crate::flow::Disposition;
use crate::gateway::Reference;
use crate::journal::JournalError;
use crate::journal::payment::PaymentRecord;
use crate::journal::record::{AttemptKind, Finish};
use crate::journal::store::StoreError;
use crate::reason::{CompletionReason, RetryReason};

/// The step that keeps what was decided. It is no call.
const DECISION: &str = "decision";

/// What becomes of a late success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It is what is to be paid.
    Report,
    /// That is paid otherwise, or over.
    GiveBack,
}

impl Decision {
    /// Records it in the open settlement, in memory.
    pub fn record(self, ctx: &mut ObligationContext<'_>) {
        ctx.checkpoint(DECISION, &self);
    }
}

/// The payment whose settlement is open, or the next one.
///
/// # Errors
/// `Err(Disposition::Retry)` if another attempt of the obligation is open.
pub fn next_payment(ctx: &ObligationContext<'_>) -> FlowResult<Option<Reference>> {
    match ctx.current_attempt() {
        Some(open) if open.kind == AttemptKind::LateSuccess => Ok(open.reference.clone()),
        Some(_) => Err(retry(RetryReason::AnotherAttemptInFlight)),
        None => Ok(ctx.session.obligation.late_successes.first().cloned()),
    }
}

/// Opens the settlement's own attempt, in memory, unless it is open. Returns what was decided before.
///
/// # Errors
/// `Err(Disposition::Retry)` if the journal cannot be read, or an attempt of another obligation of the subscription is in flight.
pub async fn open_settlement(ctx: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<Option<Decision>> {
    ctx.load_payment(reference).await?;
    if ctx.current_attempt().is_none() {
        let details = payment(ctx, reference)?.details.clone();
        ctx.session.obligation.supersede_parked(reference);
        ctx.open_attempt(AttemptKind::LateSuccess, ctx.now(), details)?;
        ctx.set_attempt_payment(reference);
        ctx.session.obligation.late_successes.retain(|other| other != reference);
    }
    Ok(match ctx.step_state(DECISION)? {
        TypedStepState::Done(decision) => Some(decision),
        TypedStepState::NotStarted | TypedStepState::Unknown(_) => None,
    })
}

/// The payment.
///
/// # Errors
/// `Err(Disposition::Retry)` if it is not loaded.
pub fn payment<'c>(ctx: &'c ObligationContext<'_>, reference: &Reference) -> FlowResult<&'c PaymentRecord> {
    Ok(ctx.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?)
}

/// Closes the open attempt, whose payment succeeded after a wait: it is settled by an attempt of its own, which asks Cleeng first. The flow
/// ends here, so the result is always `Err`.
///
/// # Errors
/// `Err(Disposition::Completed)` with [`CompletionReason::LateSuccess`]; `Err(Disposition::Retry)` if the journal cannot be written.
pub async fn hand_over<T>(case: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<T> {
    if case.payment(reference).is_some_and(|payment| payment.zero_amount) {
        // Nothing was asked of a gateway, so nothing is to be given back.
        return Err(case.finish(Finish::stale(CompletionReason::SubscriptionNotActive)).await?);
    }
    case.session.obligation.add_late_success(reference);
    case.finish(Finish::Superseded).await?;
    Err(Disposition::Completed(CompletionReason::LateSuccess))
}
