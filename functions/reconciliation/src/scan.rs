//! Subscriptions that the journal does not know yet: those that were bought here and never renewed, and those from before this connector. All
//! subscriptions of our payment methods are read page by page, and what is new is watched from then on. A place in the journal keeps where the
//! reading stopped; the next round goes on there.
//!
//! How long a whole reading takes: up to [`PAGES`] pages of a hundred in each round of five minutes, 24,000 subscriptions an hour for each
//! payment method, as far as the round's time and Cleeng's patience allow. The next reading begins [`PAUSE`] after the last one ended.

use std::time::Duration;

use connector::billing::head::Head;
use connector::billing::watch::{KnownDetails, Watch};
use connector::cleeng::{CleengError, Subscription, SubscriptionStatus};
use connector::clock::Timestamp;
use connector::flow::{Delivery, World};
use connector::ids::PaymentMethodId;
use connector::journal::SCHEMA;
use connector::journal::store::{Key, Put};
use serde::{Deserialize, Serialize};

use crate::due::load;

/// Pages of one payment method in one round.
pub(crate) const PAGES: usize = 20;
/// From the end of a reading to the beginning of the next.
pub(crate) const PAUSE: Duration = Duration::from_secs(6 * 3600);
/// A page is not begun unless so much time is left.
const TIME_FOR_ONE: Duration = Duration::from_secs(30);

/// Where the reading stands.
#[derive(Serialize, Deserialize)]
struct Place {
    schema: u32,
    /// So many subscriptions were read.
    offset: u32,
    /// Nothing is read before then.
    not_before: Timestamp,
}

/// Reads on for every payment method, as far as the time allows; how many subscriptions are watched from now on.
pub(crate) async fn read_on(world: &World, delivery: &Delivery) -> u32 {
    let mut found: u32 = 0;
    for method in world.rules.methods.keys() {
        found = found.saturating_add(read_method(world, method, delivery).await);
    }
    found
}

async fn read_method(world: &World, method: &PaymentMethodId, delivery: &Delivery) -> u32 {
    let key = Key::new("scan", &[method.as_str()]);
    let mut found: u32 = 0;
    for _ in 0..PAGES {
        let now = world.clock.now();
        if now.after(TIME_FOR_ONE) > delivery.deadline {
            return found;
        }
        let Ok(stored) = load(world, &key).await else { return found };
        let fresh = Place { schema: SCHEMA, offset: 0, not_before: now };
        let place = stored.as_ref().and_then(|stored| serde_json::from_str(&stored.body).ok()).unwrap_or(fresh);
        if place.not_before > now {
            return found;
        }
        let page = match world.cleeng.subscriptions(method, place.offset).await {
            Ok(page) => page,
            Err(error) => {
                // Whoever does not list them, or not now: nothing is lost by it.
                let wait = if matches!(error, CleengError::NotFound | CleengError::Refused { .. }) { PAUSE } else { Duration::ZERO };
                tracing::warn!(error = error.code(), "subscriptions cannot be listed");
                let after = Place { not_before: now.after(wait), ..place };
                write(world, &key, stored.map(|stored| stored.version), &after).await;
                return found;
            }
        };
        let Ok(read) = u32::try_from(page.len()) else { return found };
        for subscription in &page {
            found = found.saturating_add(u32::from(watch(world, method, subscription).await));
        }
        let next = if read == 0 {
            Place { schema: SCHEMA, offset: 0, not_before: now.after(PAUSE) }
        } else {
            Place { schema: SCHEMA, offset: place.offset.saturating_add(read), not_before: now }
        };
        // Somebody else reads at the same time: he goes on.
        if !write(world, &key, stored.map(|stored| stored.version), &next).await || read == 0 {
            return found;
        }
    }
    found
}

async fn write(world: &World, key: &Key, version: Option<u64>, place: &Place) -> bool {
    let Ok(body) = serde_json::to_string(place) else { return false };
    let put = Put { key: key.clone(), expected: version, body, due_at: None, parked_since: None, expires_at: None };
    world.store.commit(&[put]).await.is_ok()
}

/// Watches a subscription from now on, unless that is done already or nothing more is to come of it.
async fn watch(world: &World, method: &PaymentMethodId, subscription: &Subscription) -> bool {
    let alive = matches!(subscription.status, SubscriptionStatus::Active | SubscriptionStatus::Stopped | SubscriptionStatus::Paused);
    let ours = subscription.payment_method.as_ref().is_none_or(|told| told == method);
    let (true, true, Some(customer), Some(offer), Some(details)) =
        (alive, ours, &subscription.customer, &subscription.offer, &subscription.payment_details)
    else {
        return false;
    };
    let key = Head::key(&subscription.id);
    let Ok(stored) = load(world, &key).await else { return false };
    let (version, head) = match &stored {
        Some(stored) => match serde_json::from_str::<Head>(&stored.body) {
            Ok(head) if head.watch.is_none() => (Some(stored.version), head),
            _ => return false,
        },
        None => (None, Head::default()),
    };
    let known = match load(world, &KnownDetails::key(details)).await {
        Ok(stored) => stored.and_then(|stored| serde_json::from_str::<KnownDetails>(&stored.body).ok()),
        Err(()) => return false,
    };
    let watch = Watch {
        subscription: subscription.id.clone(),
        customer: customer.clone(),
        offer: offer.clone(),
        details: details.clone(),
        currency: known.as_ref().and_then(|known| known.currency),
        country: subscription.country.clone(),
        token: known.map(|known| known.token),
        expected: None,
    };
    let head = Head { method: Some(method.clone()), watch: Some(watch), ..head };
    let now = world.clock.now();
    let Ok(body) = serde_json::to_string(&head) else { return false };
    let (due_at, expires_at) = (head.due_at(now), head.expires_at(now));
    let put = Put { key, expected: version, body, due_at, parked_since: None, expires_at };
    world.store.commit(&[put]).await.is_ok()
}
