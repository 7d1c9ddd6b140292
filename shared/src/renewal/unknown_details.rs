//! "The gateway does not know these stored details" may be so, or a mistake of ours: the credentials are those of another account, or of another
//! environment. It is believed of a subscriber after a payment of somebody else's succeeded, or after an hour in which it was said of few. Of
//! several in a row without any success it is our mistake: nobody is told `rejected`, and the attempts are tried again until somebody has
//! corrected it.
//!
//! The subscribers in a row are in a document of the gateway's own, which exists only while there are any.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::flow::FlowContext;
use crate::gateway::GatewayName;
use crate::ids::SubscriptionId;
use crate::journal::store::Key;
use crate::journal::transaction::{Retention, Transaction};
use crate::journal::{JournalError, SCHEMA};
use crate::metrics::Metric;
use crate::payments::obligation_context::ObligationContext;
use crate::reason::AlarmReason;

/// From this many subscribers in a row on it is a mistake of ours.
const SUBSCRIBERS_IN_A_ROW: usize = 3;
/// How long it is not believed of few: a wave of renewals has shown by then whether it is said of all.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The step that keeps when the gateway said so first. It is no call.
const DETAILS_UNKNOWN: &str = "details_unknown";
/// How long a subscriber counts after the last one.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often the document is read again because another worker wrote it.
const MAX_TRIES: u32 = 5;

/// The subscribers whose details the gateway did not know since the last success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct UnknownDetails {
    /// The schema that it was written with.
    schema: u32,
    /// The subscriptions.
    subscriptions: BTreeSet<SubscriptionId>,
}

/// The journal's key of a gateway's subscribers in a row.
pub(super) fn key(gateway: GatewayName) -> Key {
    Key::new("unknown-details", &[gateway.as_str()])
}

/// What the gateway's word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The details are gone.
    DetailsGone,
    /// It is too early to say, or a mistake of ours: the attempt is tried again.
    TryAgain,
}

/// Counts the subscriber of the open attempt, whose details the gateway does not know, and says what that means. A mistake of ours raises an
/// alarm.
///
/// # Errors
/// [`JournalError`].
pub(super) async fn judge(
    case: &mut ObligationContext<'_>,
    gateway: GatewayName,
    subscription: &SubscriptionId,
) -> Result<Meaning, JournalError> {
    let first_said = case.current_attempt().and_then(|attempt| attempt.step(DETAILS_UNKNOWN)).map(|step| step.started_at);
    let (was_counted, in_a_row) = update(case.flow_context, gateway, |subscriptions| {
        let was_counted = subscriptions.contains(subscription);
        // Enough of them are as good as all.
        if subscriptions.len() < SUBSCRIBERS_IN_A_ROW {
            subscriptions.insert(subscription.clone());
        }
        (was_counted, subscriptions.len())
    })
    .await?;
    case.checkpoint(DETAILS_UNKNOWN, &());
    if in_a_row >= SUBSCRIBERS_IN_A_ROW {
        let reason = AlarmReason::DetailsUnknownInARow.as_str();
        case.flow_context.metrics.count(Metric::Alarm, &[("reason", reason)]);
        tracing::error!(gateway = gateway.as_str(), reason, "the gateway does not know the details of several subscribers in a row");
        return Ok(Meaning::TryAgain);
    }
    Ok(match first_said {
        // Somebody's payment succeeded since: the account is the right one.
        Some(_) if !was_counted => Meaning::DetailsGone,
        Some(at) if case.now().since(at) >= PATIENCE => Meaning::DetailsGone,
        Some(_) | None => Meaning::TryAgain,
    })
}

/// A payment with stored details was made: the account is the right one.
///
/// # Errors
/// [`JournalError`].
pub(super) async fn record_success(flow_context: &FlowContext, gateway: GatewayName) -> Result<(), JournalError> {
    update(flow_context, gateway, BTreeSet::clear).await
}

/// Changes the subscribers in a transaction of its own, so that nobody's payment waits for another's.
async fn update<T>(
    flow_context: &FlowContext,
    gateway: GatewayName,
    change: impl Fn(&mut BTreeSet<SubscriptionId>) -> T,
) -> Result<T, JournalError> {
    let (key, expires_at) = (key(gateway), Some(flow_context.clock.now().after(RETENTION)));
    let mut tries = 1;
    loop {
        let mut transaction = Transaction::new(Arc::clone(&flow_context.store));
        transaction.load(std::slice::from_ref(&key)).await?;
        let known: Option<UnknownDetails> = transaction.read(&key)?;
        let is_known = known.is_some();
        let mut document = known.unwrap_or(UnknownDetails { schema: SCHEMA, subscriptions: BTreeSet::new() });
        let result = change(&mut document.subscriptions);
        if is_known || !document.subscriptions.is_empty() {
            transaction.stage(&key, &document, Retention { expires_at, ..Retention::default() })?;
        }
        match transaction.commit().await {
            Err(JournalError::Contended) if tries < MAX_TRIES => tries = tries.saturating_add(1),
            committed => return committed.map(|()| result),
        }
    }
}
