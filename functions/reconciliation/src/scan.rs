//! Subscriptions that the journal does not know yet: those that were bought here and never renewed, and those from before this connector. All
//! subscriptions of our payment methods are read page by page, and what is new is watched from then on. A place in the journal keeps where the
//! reading stopped; the next round goes on there.
//!
//! How long a whole reading takes: up to [`PAGES_PER_RUN`] pages of a hundred in each round of five minutes, 24,000 subscriptions an hour for each
//! payment method, as far as the round's time and Cleeng's patience allow. The next reading begins [`SCAN_INTERVAL`] after the last one ended.

use std::time::Duration;

use connector::cleeng::{CleengError, Subscription, SubscriptionStatus};
use connector::clock::Timestamp;
use connector::delivery::Delivery;
use connector::flow::FlowContext;
use connector::ids::PaymentMethodId;
use connector::journal::SCHEMA;
use connector::journal::store::{Key, Put};
use connector::payments::subscription_state::SubscriptionState;
use connector::renewal::expected_event::{LastBillingEvent, StoredDetails};
use serde::{Deserialize, Serialize};

use crate::due::load;

/// Pages of one payment method in one round.
pub(crate) const PAGES_PER_RUN: usize = 20;
/// From the end of a reading to the beginning of the next.
pub(crate) const SCAN_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// A page is not begun unless so much time is left.
const MIN_TIME_PER_PAGE: Duration = Duration::from_secs(30);

/// Where the reading stands.
#[derive(Serialize, Deserialize)]
struct ScanPosition {
    schema: u32,
    /// So many subscriptions were read.
    offset: u32,
    /// Nothing is read before then.
    not_before: Timestamp,
}

/// Reads on for every payment method, as far as the time allows; how many subscriptions are watched from now on.
pub(crate) async fn continue_scan(flow_context: &FlowContext, delivery: &Delivery) -> u32 {
    let mut found: u32 = 0;
    for method in flow_context.policy.methods.keys() {
        found = found.saturating_add(scan_method(flow_context, method, delivery).await);
    }
    found
}

async fn scan_method(flow_context: &FlowContext, method: &PaymentMethodId, delivery: &Delivery) -> u32 {
    let key = Key::new("scan", &[method.as_str()]);
    let mut found: u32 = 0;
    for _ in 0..PAGES_PER_RUN {
        let now = flow_context.clock.now();
        if now.after(MIN_TIME_PER_PAGE) > delivery.deadline {
            return found;
        }
        let Ok(stored) = load(flow_context, &key).await else { return found };
        let start = ScanPosition { schema: SCHEMA, offset: 0, not_before: now };
        let position = stored.as_ref().and_then(|stored| serde_json::from_str(&stored.body).ok()).unwrap_or(start);
        if position.not_before > now {
            return found;
        }
        let page = match flow_context.cleeng.subscriptions(method, position.offset).await {
            Ok(page) => page,
            Err(error) => {
                // Whoever does not list them, or not now: nothing is lost by it.
                let wait =
                    if matches!(error, CleengError::NotFound | CleengError::Refused { .. }) { SCAN_INTERVAL } else { Duration::ZERO };
                tracing::warn!(error = error.code(), "subscriptions cannot be listed");
                let after = ScanPosition { not_before: now.after(wait), ..position };
                save_position(flow_context, &key, stored.map(|stored| stored.version), &after).await;
                return found;
            }
        };
        let Ok(read) = u32::try_from(page.len()) else { return found };
        for subscription in &page {
            found = found.saturating_add(u32::from(start_watching(flow_context, method, subscription).await));
        }
        let next = if read == 0 {
            ScanPosition { schema: SCHEMA, offset: 0, not_before: now.after(SCAN_INTERVAL) }
        } else {
            ScanPosition { schema: SCHEMA, offset: position.offset.saturating_add(read), not_before: now }
        };
        // Somebody else reads at the same time: he goes on.
        if !save_position(flow_context, &key, stored.map(|stored| stored.version), &next).await || read == 0 {
            return found;
        }
    }
    found
}

async fn save_position(flow_context: &FlowContext, key: &Key, version: Option<u64>, position: &ScanPosition) -> bool {
    let Ok(body) = serde_json::to_string(position) else { return false };
    let put = Put { key: key.clone(), expected_version: version, body, due_at: None, parked_since: None, expires_at: None };
    flow_context.store.commit(&[put]).await.is_ok()
}

/// Watches a subscription from now on, unless that is done already or nothing more is to come of it.
async fn start_watching(flow_context: &FlowContext, method: &PaymentMethodId, subscription: &Subscription) -> bool {
    let alive = matches!(subscription.status, SubscriptionStatus::Active | SubscriptionStatus::Stopped | SubscriptionStatus::Paused);
    let ours = subscription.payment_method.as_ref().is_none_or(|named| named == method);
    let (true, true, Some(customer), Some(offer), Some(details)) =
        (alive, ours, &subscription.customer, &subscription.offer, &subscription.payment_details)
    else {
        return false;
    };
    let key = SubscriptionState::key(&subscription.id);
    let Ok(stored) = load(flow_context, &key).await else { return false };
    let (version, state) = match &stored {
        Some(stored) => match serde_json::from_str::<SubscriptionState>(&stored.body) {
            Ok(state) if state.last_billing_event.is_none() => (Some(stored.version), state),
            _ => return false,
        },
        None => (None, SubscriptionState::default()),
    };
    let known = match load(flow_context, &StoredDetails::key(details)).await {
        Ok(stored) => stored.and_then(|stored| serde_json::from_str::<StoredDetails>(&stored.body).ok()),
        Err(()) => return false,
    };
    let watch = LastBillingEvent {
        subscription: subscription.id.clone(),
        customer: customer.clone(),
        offer: offer.clone(),
        details: details.clone(),
        currency: known.as_ref().and_then(|known| known.currency),
        country: subscription.country.clone(),
        token: known.map(|known| known.token),
        expected_event: None,
    };
    let state = SubscriptionState { method: Some(method.clone()), last_billing_event: Some(watch), ..state };
    let now = flow_context.clock.now();
    let Ok(body) = serde_json::to_string(&state) else { return false };
    let (due_at, expires_at) = (state.due_at(now), state.expires_at(now));
    let put = Put { key, expected_version: version, body, due_at, parked_since: None, expires_at };
    flow_context.store.commit(&[put]).await.is_ok()
}
