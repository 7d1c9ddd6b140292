//! A long night: whoever works behind a queue stands still for hours or days, and everything is done at dawn.
//!
//! It is long enough for a gateway to forget its idempotency keys (PayPal after 6 h, Stripe after a day, Adyen after a week), for orders and holds
//! to lapse, and for the deadlines of what is unknown. The doors stay open: queues keep messages for 14 days.

use std::time::Duration;

use connector::clock::Timestamp;

use super::agenda::Happening;
use super::dice::Dice;

/// From when until when nobody works behind the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Night {
    pub(super) falls: Timestamp,
    pub(super) dawn: Timestamp,
}

impl Night {
    /// One play in eight has one, within this time.
    pub(super) fn of(dice: &mut Dice, from: Timestamp, time: Duration) -> Option<Self> {
        if !dice.happens(125) {
            return None;
        }
        let longest: u64 = dice.pick(3 * 3_600, &[8 * 3_600, 27 * 3_600, 4 * 86_400, 8 * 86_400]);
        let lasts = dice.time(longest.div_euclid(2), longest);
        let falls = from.after(dice.time(0, time.saturating_sub(lasts).as_secs()));
        Some(Self { falls, dawn: falls.after(lasts) })
    }

    /// Whether it is night at this time.
    pub(super) fn is(&self, at: Timestamp) -> bool {
        (self.falls..self.dawn).contains(&at)
    }

    /// Whether this has to wait until dawn.
    pub(super) const fn holds_up(happening: &Happening) -> bool {
        matches!(happening, Happening::Delivery(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::START;

    #[test]
    fn a_night_lies_within_the_time_that_it_may_take_and_some_are_longer_than_a_gateway_remembers() {
        let time = Duration::from_secs(11 * 86_400);
        let nights: Vec<Night> = (0..2_000).filter_map(|seed| Night::of(&mut Dice::of(seed), START, time)).collect();
        assert!((200..300).contains(&nights.len()), "{}", nights.len());
        assert!(nights.iter().all(|night| night.falls >= START && night.falls < night.dawn && night.dawn <= START.after(time)));
        let week = Duration::from_secs(7 * 86_400);
        assert!(nights.iter().any(|night| night.dawn.since(night.falls) > week));
        let night = nights[0];
        assert!(night.is(night.falls) && !night.is(night.dawn));
    }
}
