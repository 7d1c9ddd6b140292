//! One call to Cleeng as a step of the open attempt. Cleeng has no idempotency keys, so each caller says what a lost answer means, and
//! resolves an unknown outcome before it calls again.

use std::time::Duration;

use super::FlowResult;
use super::obligation_context::ObligationContext;
use crate::cleeng::CleengError;
use crate::flow::Disposition;
use crate::journal::record::{Step, StepState};
use crate::reason::RetryReason;

/// A report that Cleeng does not know of is made again only this long after it was first made: the first one may still be on its way.
const REPEAT_DELAY: Duration = Duration::from_secs(60);

/// What a lost answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostAnswer {
    /// The step stays unknown: the next delivery resolves whether the call had its effect.
    FindOut,
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
/// `Err(Disposition::Retry)` if the call had no effect, its outcome is unknown, or the journal is unavailable.
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
        // That this call had no effect says nothing about an earlier one.
        (_, LostAnswer::FindOut) if was_unknown => ctx.retry_later(error.retry_after(), (&error).into()).await,
        _ => ctx.retry_without_effect(step.name, error.retry_after(), (&error).into()).await,
    })
}

/// Ends the delivery unless a report that Cleeng does not know of may be made again by now.
///
/// # Errors
/// `Err(Disposition::Retry)` if the first one may still be on its way.
pub fn wait_for_report_on_its_way(ctx: &ObligationContext<'_>, step: &Step) -> FlowResult<()> {
    let since = ctx.now().since(step.started_at);
    if since < REPEAT_DELAY {
        return Err(Disposition::Retry { after: Some(REPEAT_DELAY.saturating_sub(since)), reason: RetryReason::ReportUnknown });
    }
    Ok(())
}
