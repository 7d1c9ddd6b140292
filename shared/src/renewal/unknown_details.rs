//! "The gateway does not know these stored details" is believed of one subscriber. Of several in a row without any success it is a mistake of
//! ours: the credentials are those of another account, or of another environment. Then nobody is told `rejected`; the attempts are tried again
//! until somebody has corrected it.
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
use crate::reason::AlarmReason;

/// From this many subscribers in a row on it is a mistake of ours.
const SUBSCRIBERS_IN_A_ROW: usize = 3;
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

/// Counts a subscriber whose details the gateway does not know, and returns whether that is a mistake of ours, with an alarm.
///
/// # Errors
/// [`JournalError`].
pub(super) async fn is_our_mistake(
    flow_context: &FlowContext,
    gateway: GatewayName,
    subscription: &SubscriptionId,
) -> Result<bool, JournalError> {
    let in_a_row = update(flow_context, gateway, |subscriptions| {
        // Enough of them are as good as all.
        if subscriptions.len() < SUBSCRIBERS_IN_A_ROW {
            subscriptions.insert(subscription.clone());
        }
        subscriptions.len()
    })
    .await?;
    let is_mistake = in_a_row >= SUBSCRIBERS_IN_A_ROW;
    if is_mistake {
        let reason = AlarmReason::DetailsUnknownInARow.as_str();
        flow_context.metrics.count(Metric::Alarm, &[("reason", reason)]);
        tracing::error!(gateway = gateway.as_str(), reason, "the gateway does not know the details of several subscribers in a row");
    }
    Ok(is_mistake)
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
