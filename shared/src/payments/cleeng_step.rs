//! One call to Cleeng as a step of the open attempt. Cleeng has no idempotency keys, so each caller says what a lost answer means, and
//! resolves an unknown outcome before it calls again.

use std::time::Duration;

use super::FlowResult;
use super::obligation_context::ObligationContext;
use crate::cleeng::CleengError;
use crate::journal::record::StepState;
use crate::metrics::Metric;
use crate::reason::ParkReason;

/// What a lost answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostAnswer {
    /// The step stays unknown: the next delivery resolves whether the call had its effect.
    FindOut,
    /// The outcome cannot be resolved, and the call must not be made twice: an operator has to decide.
    Park(ParkReason),
    /// The call moves no money and may simply be made again.
    Repeat,
}

/// A call to Cleeng as a step.
#[derive(Clone, Copy, Debug)]
pub struct CleengStep {
    /// The step's name in the attempt.
    pub name: &'static str,
    /// The longest time that the call may take.
    pub timeout: Duration,
    /// What a lost answer means.
    pub lost_answer: LostAnswer,
}

/// Records the intent of the step, makes the call, and returns its answer, or what is not to be repeated: Cleeng's refusal
/// ([`CleengError::Refused`]), or an answer with an amount that cannot be read. The caller records the result.
///
/// # Errors
/// `Err(Disposition::Retry)` if the call had no effect, its outcome is unknown, or the journal is unavailable; `Err(Disposition::Parked)`
/// if the answer is lost and [`LostAnswer::Park`] says so.
pub async fn run<T>(
    ctx: &mut ObligationContext<'_>,
    step: CleengStep,
    call: impl Future<Output = Result<T, CleengError>> + Send,
) -> FlowResult<Result<T, CleengError>> {
    let was_unknown = matches!(ctx.session.step_state(step.name), StepState::Unknown(_));
    ctx.begin_step(step.name, None, step.timeout).await?;
    let error = match call.await {
        Ok(answer) => return Ok(Ok(answer)),
        Err(error @ (CleengError::Refused { .. } | CleengError::AmountUnreadable)) => return Ok(Err(error)),
        Err(error) => error,
    };
    Err(match (&error, step.lost_answer) {
        (CleengError::Unknown(_), LostAnswer::FindOut) => ctx.leave_unknown(step.name, (&error).into()).await,
        (CleengError::Unknown(_), LostAnswer::Park(reason)) => {
            ctx.flow_context.metrics.count(Metric::UnknownOutcome, &[("step", step.name)]);
            return ctx.park(reason, false).await;
        }
        // That this call had no effect says nothing about an earlier one.
        (_, LostAnswer::FindOut) if was_unknown => ctx.retry_later(error.retry_after(), (&error).into()).await,
        _ => ctx.retry_without_effect(step.name, error.retry_after(), (&error).into()).await,
    })
}
