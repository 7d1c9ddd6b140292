//! What an earlier attempt of an obligation was, and whether it answers for the same data now.

use std::time::Duration;

use super::snapshot::{SNAPSHOT, Snapshot};
use crate::clock::Timestamp;
use crate::frontend_api::body::PaymentInput;
use crate::gateway::Decline;
use crate::journal::record::{Attempt, Finish, StepState};
use crate::payments::obligation_context::ObligationContext;

/// More attempts of one obligation than this are not made: all of them stay on record.
pub const MAX_ATTEMPTS: usize = 10;

/// The same payment data within this time of its decline gets the recorded decline: a second click. After that the customer has pressed
/// again; methods without entry fields send the same data every time.
pub const DOUBLE_CLICK_WINDOW: Duration = Duration::from_secs(120);

/// A page of the gateway is given out for this long. PayPal's expires after three hours (Orders 2.13, `links`), and the customer needs time
/// there.
const PAGE_LIFETIME: Duration = Duration::from_secs(3_600);

/// The snapshot of any attempt.
#[must_use]
pub fn snapshot_of(attempt: &Attempt) -> Option<Snapshot> {
    match attempt.step_state(SNAPSHOT) {
        StepState::Done(value) => serde_json::from_value(value).ok(),
        StepState::NotStarted | StepState::Unknown(_) => None,
    }
}

/// The decline of an attempt, if it ended with one.
#[must_use]
pub fn decline_of(attempt: &Attempt) -> Option<Decline> {
    match &attempt.finish {
        Some(Finish::Declined { class, code }) => Some(Decline::new(*class, code.as_str())),
        _ => None,
    }
}

/// When the last step of an attempt was begun.
#[must_use]
pub fn last_step_at(attempt: &Attempt) -> Timestamp {
    attempt.steps.iter().map(|step| step.started_at).max().unwrap_or(attempt.opened_at)
}

/// Whether data of this fingerprint is what the customer returned with last in this attempt.
#[must_use]
pub fn matches_last_returned_data(attempt: &Attempt, data_fingerprint: &str) -> bool {
    snapshot_of(attempt).is_some_and(|snapshot| snapshot.returned_data.last().is_some_and(|last| last.fingerprint == data_fingerprint))
}

/// Whether the last attempt was declined a moment ago, with the same data.
#[must_use]
pub fn was_just_declined(ctx: &ObligationContext<'_>, requested: &Snapshot) -> bool {
    ctx.session.obligation.attempts.last().is_some_and(|last| {
        matches!(last.finish, Some(Finish::Declined { .. }))
            && ctx.now().since(last_step_at(last)) < DOUBLE_CLICK_WINDOW
            && snapshot_of(last)
                .is_some_and(|snapshot| snapshot.fingerprint == requested.fingerprint && !has_returned_from_gateway(&snapshot))
    })
}

/// Whether the customer was at the gateway and came back to the connector: the next click is one of its own, even right after.
fn has_returned_from_gateway(snapshot: &Snapshot) -> bool {
    snapshot.redirect_urls.is_some() && !snapshot.returned_data.is_empty()
}

/// Whether the page of the gateway that waits for the customer is not given out again: the customer cancelled there, or it was opened long
/// ago and says nothing that another one would not.
#[must_use]
pub fn is_page_stale(ctx: &ObligationContext<'_>, snapshot: &Snapshot, input: &PaymentInput) -> bool {
    let is_old = ctx.current_attempt().is_some_and(|attempt| ctx.now().since(attempt.opened_at) >= PAGE_LIFETIME);
    snapshot.cancelled_at_gateway || (is_old && (snapshot.redirect_urls.is_some() || input.has_no_payment_data()))
}
