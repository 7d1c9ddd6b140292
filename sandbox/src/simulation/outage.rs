//! A long outage: no queue is consumed for hours or days, and everything is delivered when it ends.
//!
//! It is long enough for a gateway to forget its idempotency keys (PayPal after 6 h, Stripe after a day, Adyen after a week), for orders and holds
//! to lapse, and for the deadlines of what is unknown. The webhook handlers stay available: queues keep messages for 14 days.

use std::time::Duration;

use connector::clock::Timestamp;

use super::event_queue::ScheduledEvent;
use super::prng::Prng;

/// From when until when nobody works behind the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outage {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

impl Outage {
    /// One run in eight has one, within this time.
    pub(super) fn from_prng(prng: &mut Prng, from: Timestamp, time: Duration) -> Option<Self> {
        if !prng.chance(125) {
            return None;
        }
        let longest: u64 = prng.choose(3 * 3_600, &[8 * 3_600, 27 * 3_600, 4 * 86_400, 8 * 86_400]);
        let lasts = prng.duration(longest.div_euclid(2), longest);
        let falls = from.after(prng.duration(0, time.saturating_sub(lasts).as_secs()));
        Some(Self { start: falls, end: falls.after(lasts) })
    }

    /// Whether it lasts at this time.
    pub(super) fn contains(&self, at: Timestamp) -> bool {
        (self.start..self.end).contains(&at)
    }

    /// Whether this event waits until the outage ends.
    pub(super) const fn delays(event: &ScheduledEvent) -> bool {
        matches!(event, ScheduledEvent::MessageDelivery(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::fixtures::START;

    #[test]
    fn an_outage_lies_within_the_fault_phase_and_some_outlast_a_gateways_idempotency_keys() {
        let time = Duration::from_secs(11 * 86_400);
        let outages: Vec<Outage> = (0..2_000).filter_map(|seed| Outage::from_prng(&mut Prng::from_seed(seed), START, time)).collect();
        assert!((200..300).contains(&outages.len()), "{}", outages.len());
        assert!(outages.iter().all(|outage| outage.start >= START && outage.start < outage.end && outage.end <= START.after(time)));
        let week = Duration::from_secs(7 * 86_400);
        assert!(outages.iter().any(|outage| outage.end.since(outage.start) > week));
        let outage = outages[0];
        assert!(outage.contains(outage.start) && !outage.contains(outage.end));
    }
}
