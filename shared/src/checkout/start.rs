//! What a start does, of an order's payment and of storing details alike: it continues the attempt that is open, or opens a new one.

use super::attempts::{is_page_stale, was_just_declined};
use super::gateway_calls;
use super::outcome::{apply_result, close_attempt};
use super::progress::{Progress, read_progress, read_snapshot, write_snapshot};
use super::snapshot::{PurchaseResult, Snapshot};
use crate::flow::Disposition;
use crate::frontend_api::body::PaymentInput;
use crate::journal::record::{AttemptKind, Finish};
use crate::payments::obligation_context::ObligationContext;
use crate::payments::{FlowResult, retry};
use crate::reason::{CompletionReason, RetryReason};

/// What a start does about the attempt that is open.
enum Next {
    /// The customer gets the same action again.
    RepeatAction,
    /// The first call is made, again under its own key if its outcome is unknown.
    Start,
    /// This round is repeated: its outcome is unknown.
    Finalize(usize),
    /// The gateway has not decided yet.
    Wait,
    /// The result is known.
    Apply(PurchaseResult),
    /// A new attempt takes its place.
    Replace,
}

/// Decides what a start does about the open attempt. An attempt whose outcome is unknown is never replaced, also not by other data.
/// `page_is_stale` counts while the customer is awaited, `expired` while nothing is at the gateway.
fn next(progress: Progress, same_data: bool, page_is_stale: bool, expired: bool) -> Next {
    match progress {
        Progress::AwaitingCustomer { .. } if same_data && !page_is_stale => Next::RepeatAction,
        Progress::NotStarted if same_data && !expired => Next::Start,
        Progress::AwaitingCustomer { .. } | Progress::NotStarted => Next::Replace,
        Progress::StartUnknown => Next::Start,
        Progress::FinalizeUnknown(round) => Next::Finalize(round),
        Progress::Pending => Next::Wait,
        Progress::Decided(result) => Next::Apply(result),
    }
}

/// Continues the open attempt, or repeats a decline of a moment ago. `None` if a new attempt is to be opened.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn continue_attempt(
    ctx: &mut ObligationContext<'_>,
    requested: &Snapshot,
    input: &PaymentInput,
) -> FlowResult<Option<Disposition>> {
    if ctx.current_attempt().is_none() {
        return Ok(was_just_declined(ctx, requested).then_some(Disposition::Completed(CompletionReason::Declined)));
    }
    let mut snapshot = read_snapshot(ctx)?;
    let same_data = snapshot.fingerprint == requested.fingerprint;
    // Details have no price that could have changed.
    let expired = snapshot.order.is_some() && snapshot.expires_at <= ctx.now();
    let result = match next(read_progress(ctx)?, same_data, is_page_stale(ctx, &snapshot, input), expired) {
        Next::Replace => return Ok(None),
        Next::RepeatAction => return Ok(Some(Disposition::Completed(CompletionReason::ActionRequired))),
        Next::Wait => return Err(retry(RetryReason::PaymentPending)),
        Next::Start => {
            // The gateway may receive the request only now; then it redirects the customer to the addresses of this start.
            snapshot.redirect_urls = requested.redirect_urls.clone().or(snapshot.redirect_urls);
            write_snapshot(ctx, &snapshot);
            gateway_calls::start(ctx, &snapshot, input).await?
        }
        Next::Finalize(round) => gateway_calls::finalize(ctx, &snapshot, round).await?,
        Next::Apply(result) => result,
    };
    apply_result(ctx, &snapshot, result).await.map(Some)
}

/// Opens an attempt and makes its first call. An attempt that is open ends, in the same write as the new one's intent.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn start_attempt(
    ctx: &mut ObligationContext<'_>,
    kind: AttemptKind,
    requested: &Snapshot,
    input: &PaymentInput,
) -> FlowResult<Disposition> {
    if ctx.current_attempt().is_some() {
        close_attempt(ctx, Finish::Superseded)?;
    }
    gateway_calls::open_attempt(ctx, kind, requested)?;
    let result = gateway_calls::start(ctx, requested, input).await?;
    apply_result(ctx, requested, result).await
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::gateway::{Decline, DeclineClass};

    fn every_progress() -> [(&'static str, Progress); 6] {
        [
            ("not started", Progress::NotStarted),
            ("start unknown", Progress::StartUnknown),
            ("awaiting the customer", Progress::AwaitingCustomer { action: Value::Null, round: 1 }),
            ("finalize unknown", Progress::FinalizeUnknown(2)),
            ("pending", Progress::Pending),
            ("decided", Progress::Decided(PurchaseResult::Declined(Decline::new(DeclineClass::Soft, "no")))),
        ]
    }

    fn name(next: &Next) -> &'static str {
        match next {
            Next::RepeatAction => "repeat action",
            Next::Start => "start",
            Next::Finalize(2) => "finalize",
            Next::Finalize(_) => "another round",
            Next::Wait => "wait",
            Next::Apply(_) => "apply",
            Next::Replace => "replace",
        }
    }

    /// What a start does at each progress, in the order of [`every_progress`].
    fn row(same_data: bool, page_is_stale: bool, expired: bool) -> Vec<&'static str> {
        every_progress().into_iter().map(|(_, progress)| name(&next(progress, same_data, page_is_stale, expired))).collect()
    }

    #[test]
    fn a_start_with_the_same_data_continues_the_order_until_its_page_is_stale_or_it_expires() {
        assert_eq!(row(true, false, false), ["start", "start", "repeat action", "finalize", "wait", "apply"]);
        assert_eq!(row(true, true, false), ["start", "start", "replace", "finalize", "wait", "apply"]);
        assert_eq!(row(true, false, true), ["replace", "start", "repeat action", "finalize", "wait", "apply"]);
        assert_eq!(row(true, true, true), ["replace", "start", "replace", "finalize", "wait", "apply"]);
    }

    #[test]
    fn a_start_with_other_data_replaces_only_what_holds_nothing_or_waits_for_the_customer() {
        for (page_is_stale, expired) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(row(false, page_is_stale, expired), ["replace", "start", "replace", "finalize", "wait", "apply"]);
        }
    }
}
