//! Chance that is none: everything that is left open in a run is decided by numbers that follow from its seed.

use std::time::Duration;

/// Numbers that follow from a seed: SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct Prng(u64);

impl Prng {
    /// The numbers of this seed.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Other numbers that follow from these: what draws from them leaves these as they are.
    #[must_use]
    pub const fn fork(&mut self) -> Self {
        Self(self.next_u64())
    }

    /// The next number.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let one = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let two = (one ^ (one >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        two ^ (two >> 31)
    }

    /// A number below `end`; 0 if there is none. The bias of the remainder is far below what could matter here.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_u64().checked_rem(end).unwrap_or(0)
    }

    /// An index of something with this many places; 0 if it has none.
    pub fn index(&mut self, places: usize) -> usize {
        usize::try_from(self.below(u64::try_from(places).unwrap_or(0))).unwrap_or(0)
    }

    /// Whether something happens that happens so many times in a thousand.
    pub fn chance(&mut self, per_mille: u16) -> bool {
        // A chance that is none costs no number, so that what is switched off changes nothing else.
        per_mille > 0 && self.below(1_000) < u64::from(per_mille)
    }

    /// One of these.
    pub fn choose<T: Copy>(&mut self, first: T, others: &[T]) -> T {
        match self.index(others.len().saturating_add(1)).checked_sub(1) {
            Some(place) => others.get(place).copied().unwrap_or(first),
            None => first,
        }
    }

    /// A time between two, in whole seconds.
    pub fn duration(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_secs(from.saturating_add(self.below(to.saturating_sub(from).saturating_add(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_numbers_and_another_seed_others() {
        let numbers = |seed| {
            let mut prng = Prng::from_seed(seed);
            std::iter::repeat_with(move || prng.next_u64()).take(100).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
        // The first number of seed 0, as published with the algorithm.
        assert_eq!(numbers(0).first(), Some(&0xE220_A839_7B1D_CDAF));
    }

    #[test]
    fn every_choice_is_made_and_nothing_else() {
        let mut prng = Prng::from_seed(7);
        let mut seen = [false; 3];
        for _ in 0..100 {
            *seen.get_mut(prng.choose(0, &[1, 2])).unwrap() = true;
        }
        assert_eq!(seen, [true; 3]);
        assert!(!prng.chance(0) && prng.chance(1_000));
        assert_eq!(prng.duration(5, 5), Duration::from_secs(5));
    }
}
