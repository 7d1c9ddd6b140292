//! What the customer brought back goes to the gateway, where something waits for it.

use serde_json::Value;

use super::gateway_calls;
use super::outcome::{apply_result, close_attempt};
use super::progress::{Progress, read_progress, read_snapshot, write_snapshot};
use super::snapshot::{ReturnedData, Snapshot};
use crate::flow::Disposition;
use crate::journal::record::Finish;
use crate::payments::obligation_context::ObligationContext;
use crate::payments::{FlowResult, retry};
use crate::reason::{CompletionReason, RetryReason};

/// Hands in what the customer brought back, for the open attempt. The same again gets the same answer. `obsolete_reason` may say by a word why what
/// still waits is not handed in any more; the attempt ends then.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn submit_returned_data(
    case: &mut ObligationContext<'_>,
    back: &Value,
    obsolete_reason: impl Fn(&ObligationContext<'_>, &Snapshot) -> Option<CompletionReason> + Send,
) -> FlowResult<Disposition> {
    let mut kept = read_snapshot(case)?;
    let print = gateway_calls::returned_data_fingerprint(case, back);
    let answered = match read_progress(case)? {
        Progress::NotStarted => return Ok(Disposition::Completed(CompletionReason::NothingPending)),
        Progress::StartUnknown => return Err(retry(RetryReason::StartUnknown)),
        Progress::Pending => return Err(retry(RetryReason::PaymentPending)),
        Progress::Decided(answered) => answered,
        Progress::FinalizeUnknown(round) => gateway_calls::finalize(case, &kept, round).await?,
        Progress::AwaitingCustomer { round, .. } => {
            let already_submitted = round.checked_sub(1).and_then(|last| kept.returned_data.get(last));
            if already_submitted.is_some_and(|last| last.fingerprint == print) {
                return Ok(Disposition::Completed(CompletionReason::ActionRequired));
            }
            if let Some(reason) = obsolete_reason(case, &kept) {
                let finish = if reason == CompletionReason::OrderChanged { Finish::Superseded } else { Finish::stale(reason) };
                close_attempt(case, finish)?;
                case.save_and_release_lease().await?;
                return Ok(Disposition::Completed(reason));
            }
            kept.returned_data.truncate(round);
            kept.returned_data.push(ReturnedData { fingerprint: print, details: back.clone() });
            write_snapshot(case, &kept);
            gateway_calls::finalize(case, &kept, round).await?
        }
    };
    apply_result(case, &kept, answered).await
}
