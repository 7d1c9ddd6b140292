//! Subscriptions that the journal does not know yet: those that were bought here and never renewed, and those from before this connector.
//! All subscriptions of our payment methods are read page by page, and new ones are watched from then on. A document in the journal keeps
//! the position of the scan; the next run continues there.
//!
//! How long a whole scan takes: up to [`PAGES_PER_RUN`] pages of a hundred in each run, which is every five minutes: 24,000 subscriptions
//! an hour for each payment method, as far as the run's time and Cleeng's throttling allow. The next scan starts [`SCAN_INTERVAL`] after
//! the last one ended.

use std::time::Duration;

use connector::cleeng::{CleengError, Subscription, SubscriptionStatus, UnknownAnswer};
use connector::clock::Timestamp;
use connector::delivery::Delivery;
use connector::flow::FlowContext;
use connector::ids::PaymentMethodId;
use connector::journal::store::{Key, StoreError};
use connector::journal::transaction::Retention;
use connector::journal::{JournalError, SCHEMA};
use connector::payments::subscription_state::{LastBillingEvent, StoredDetails, SubscriptionState};
use serde::{Deserialize, Serialize};

use crate::documents;

/// Pages of one payment method in one run.
pub(crate) const PAGES_PER_RUN: usize = 20;
/// From the end of a scan to the start of the next.
pub(crate) const SCAN_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// A page is read only if so much time is left.
const MIN_TIME_PER_PAGE: Duration = Duration::from_secs(30);

/// Where the scan continues.
#[derive(Serialize, Deserialize)]
struct ScanPosition {
    schema: u32,
    /// So many subscriptions were read.
    offset: u32,
    /// Nothing is read before then.
    not_before: Timestamp,
}

/// What became of a page.
enum Scanned {
    /// It was read; another may follow.
    Page,
    /// Nothing was to be read.
    Nothing,
    /// Cleeng did not list its subscriptions.
    Unlisted,
}

/// What a run found.
#[derive(Clone, Copy, Default)]
pub(crate) struct ScanResult {
    /// Subscriptions that are newly watched.
    pub(crate) discovered: u32,
    /// Cleeng did not list its subscriptions, or the journal could not be used.
    pub(crate) failed: bool,
}

/// Continues the scan of every payment method, as far as the time allows.
pub(crate) async fn continue_scan(flow_context: &FlowContext, delivery: &Delivery) -> ScanResult {
    let mut result = ScanResult::default();
    for method in flow_context.policy.methods.keys() {
        scan_method(flow_context, method, delivery, &mut result).await;
    }
    result
}

async fn scan_method(flow_context: &FlowContext, method: &PaymentMethodId, delivery: &Delivery, result: &mut ScanResult) {
    for _ in 0..PAGES_PER_RUN {
        if flow_context.clock.now().after(MIN_TIME_PER_PAGE) > delivery.deadline {
            return;
        }
        match scan_page(flow_context, method, &mut result.discovered).await {
            Ok(Scanned::Page) => {}
            // Another run that scans at the same time continues.
            Ok(Scanned::Nothing) | Err(JournalError::Contended) => return,
            Ok(Scanned::Unlisted) => {
                result.failed = true;
                return;
            }
            Err(error) => {
                tracing::error!(error = error.code(), "the scan of subscriptions cannot continue");
                result.failed = true;
                return;
            }
        }
    }
}

/// Reads one page and moves the position on.
async fn scan_page(flow_context: &FlowContext, method: &PaymentMethodId, found: &mut u32) -> Result<Scanned, JournalError> {
    let now = flow_context.clock.now();
    let key = Key::new("scan", &[method.as_str()]);
    let mut transaction = documents::load(flow_context, &key).await?;
    let start = ScanPosition { schema: SCHEMA, offset: 0, not_before: now };
    let position = match transaction.read(&key) {
        // A position that cannot be read is no loss: the scan starts from the beginning.
        Err(JournalError::Store(StoreError::Corrupt)) => start,
        position => position?.unwrap_or(start),
    };
    if position.not_before > now {
        return Ok(Scanned::Nothing);
    }
    let (scanned, next) = match flow_context.cleeng.subscriptions(method, position.offset).await {
        Ok(page) if page.is_empty() => (Scanned::Nothing, ScanPosition { schema: SCHEMA, offset: 0, not_before: now.after(SCAN_INTERVAL) }),
        Ok(page) => {
            for subscription in &page {
                let watched = start_watching(flow_context, method, subscription).await.unwrap_or(false);
                *found = found.saturating_add(u32::from(watched));
            }
            let read = u32::try_from(page.len()).unwrap_or(u32::MAX);
            (Scanned::Page, ScanPosition { schema: SCHEMA, offset: position.offset.saturating_add(read), not_before: now })
        }
        Err(error) => {
            // A Cleeng that does not list them is asked again later; no position is lost.
            let unlisted =
                matches!(error, CleengError::NotFound | CleengError::Refused { .. } | CleengError::Unknown(UnknownAnswer::Unconfirmed(_)));
            tracing::warn!(error = error.code(), "subscriptions cannot be listed");
            let wait = if unlisted { SCAN_INTERVAL } else { Duration::ZERO };
            (Scanned::Unlisted, ScanPosition { not_before: now.after(wait), ..position })
        }
    };
    transaction.stage(&key, &next, Retention::default())?;
    transaction.commit().await?;
    Ok(scanned)
}

/// Watches a subscription from now on. `false` if it is watched already or no more events are expected.
async fn start_watching(flow_context: &FlowContext, method: &PaymentMethodId, subscription: &Subscription) -> Result<bool, JournalError> {
    let alive = matches!(subscription.status, SubscriptionStatus::Active | SubscriptionStatus::Stopped | SubscriptionStatus::Paused);
    let ours = subscription.payment_method.as_ref().is_none_or(|named| named == method);
    let (true, true, Some(customer), Some(offer), Some(details)) =
        (alive, ours, &subscription.customer, &subscription.offer, &subscription.payment_details)
    else {
        return Ok(false);
    };
    let key = SubscriptionState::key(&subscription.id);
    let mut transaction = documents::load(flow_context, &key).await?;
    let state: SubscriptionState = transaction.read(&key)?.unwrap_or_default();
    if state.last_billing_event.is_some() {
        return Ok(false);
    }
    let known: Option<StoredDetails> = documents::read(flow_context, &StoredDetails::key(details)).await?;
    let last_event = LastBillingEvent {
        subscription: subscription.id.clone(),
        customer: customer.clone(),
        offer: offer.clone(),
        details: details.clone(),
        currency: known.as_ref().and_then(|known| known.currency),
        country: subscription.country.clone(),
        token: known.map(|known| known.token),
        expected_event: None,
    };
    let state = SubscriptionState { method: Some(method.clone()), last_billing_event: Some(last_event), ..state };
    let now = flow_context.clock.now();
    transaction.stage(&key, &state, Retention { due_at: state.due_at(now), expires_at: state.expires_at(now), parked_since: None })?;
    transaction.commit().await?;
    Ok(true)
}
