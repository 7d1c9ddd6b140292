//! The entry points of a page's calls: opening the obligation while a customer waits, and handing in what the customer returned with.

use serde_json::Value;

use super::gateway_calls;
use super::outcome::{apply_result, close_attempt};
use super::progress::{Progress, read_progress, read_snapshot, write_snapshot};
use super::snapshot::{PurchaseResult, ReturnedData, Snapshot};
use crate::delivery::Delivery;
use crate::flow::Disposition;
use crate::frontend_api::{FrontendContext, GATEWAY_TIMEOUT};
use crate::journal::record::Finish;
use crate::journal::store::Key;
use crate::payments::obligation_context::ObligationContext;
use crate::payments::{FlowResult, retry};
use crate::reason::{CompletionReason, RetryReason};

/// Opens an obligation for a call of a page. Its calls to the gateway take no longer than a customer can wait.
///
/// # Errors
/// `Disposition::Retry` if another worker holds the obligation or the journal cannot be read.
pub async fn open<'c>(context: &'c FrontendContext, key: &Key, also: &[Key], delivery: &Delivery) -> FlowResult<ObligationContext<'c>> {
    let mut ctx = ObligationContext::open_with_attempt_payments(&context.flow_context, key.clone(), also, delivery).await?;
    ctx.limit_call_time(GATEWAY_TIMEOUT);
    Ok(ctx)
}

/// Submits the data that the customer returned with, for the open attempt. The same data gets the same answer. The attempt ends instead if
/// `obsolete_reason` says why the waiting data is no longer submitted.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn submit_returned_data(
    ctx: &mut ObligationContext<'_>,
    returned_data: &Value,
    obsolete_reason: impl Fn(&ObligationContext<'_>, &Snapshot) -> Option<CompletionReason> + Send,
) -> FlowResult<Disposition> {
    let mut snapshot = read_snapshot(ctx)?;
    let result = match next_submission(ctx, &snapshot).await? {
        Submission::Known(result) => result,
        Submission::Awaited(round) => {
            let fingerprint = gateway_calls::returned_data_fingerprint(ctx, returned_data);
            let previous = round.checked_sub(1).and_then(|previous| snapshot.returned_data.get(previous));
            if previous.is_some_and(|previous| previous.fingerprint == fingerprint) {
                return Ok(Disposition::Completed(CompletionReason::ActionRequired));
            }
            if let Some(reason) = obsolete_reason(ctx, &snapshot) {
                let finish = if reason == CompletionReason::OrderChanged { Finish::Superseded } else { Finish::stale(reason) };
                close_attempt(ctx, finish)?;
                ctx.save_and_release_lease().await?;
                return Ok(Disposition::Completed(reason));
            }
            submit(ctx, &mut snapshot, round, returned_data.clone()).await?
        }
    };
    apply_result(ctx, &snapshot, result).await
}

/// What the open attempt can be given.
pub enum Submission {
    /// It waits for the data of this round.
    Awaited(usize),
    /// It waits for nothing: this is its result.
    Known(PurchaseResult),
}

/// Determines what the open attempt waits for. A round whose outcome is unknown is repeated with its own data.
///
/// # Errors
/// `Disposition::Completed` if nothing waits; `Disposition::Retry` or `Disposition::Parked`.
pub async fn next_submission(ctx: &mut ObligationContext<'_>, snapshot: &Snapshot) -> FlowResult<Submission> {
    Ok(match read_progress(ctx)? {
        Progress::NotStarted => return Err(Disposition::Completed(CompletionReason::NothingPending)),
        Progress::StartUnknown => return Err(retry(RetryReason::StartUnknown)),
        Progress::Pending => return Err(retry(RetryReason::PaymentPending)),
        Progress::Decided(result) => Submission::Known(result),
        Progress::FinalizeUnknown(round) => Submission::Known(gateway_calls::finalize(ctx, snapshot, round).await?),
        Progress::AwaitingCustomer { round, .. } => Submission::Awaited(round),
    })
}

/// Submits the data of this round.
///
/// # Errors
/// As [`gateway_calls::finalize`].
pub async fn submit(ctx: &mut ObligationContext<'_>, snapshot: &mut Snapshot, round: usize, details: Value) -> FlowResult<PurchaseResult> {
    let fingerprint = gateway_calls::returned_data_fingerprint(ctx, &details);
    snapshot.returned_data.truncate(round);
    snapshot.returned_data.push(ReturnedData { fingerprint, details });
    write_snapshot(ctx, snapshot);
    gateway_calls::finalize(ctx, snapshot, round).await
}
