//! A payment that succeeded after its attempt had ended, or after a wait in which everything may have changed: from then on it is the
//! obligation's to report it or to give it back, and no attempt of the obligation opens before that is done.

use super::FlowResult;
use super::obligation_context::ObligationContext;
use crate::flow::Disposition;
use crate::gateway::Reference;
use crate::journal::record::Finish;
use crate::reason::CompletionReason;

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
