//! Mistakes that are made on purpose, each behind a wrapper at the edge of the functions: every one of them is found, and so would be one of the
//! same kind in the functions themselves.

mod gateways;
mod journals;
mod ways;

use sandbox::simulation::{Plan, Tricks, play};

/// Every mistake is found within so many worlds; those of a quick run are enough for all of them.
const MOST_SEEDS: u64 = 10_000;

/// How many worlds it takes until a mistake is found, and what is found then.
fn caught(tricks: &dyn Tricks) -> (u64, Vec<String>) {
    for seed in 0..MOST_SEEDS {
        let played = play(seed, &Plan { tricks, ..Plan::default() });
        if !played.found.is_empty() && play(seed, &Plan::default()).found.is_empty() {
            return (seed, played.found);
        }
    }
    (MOST_SEEDS, Vec::new())
}

/// The mistake is found, and what is found is about its effect.
#[track_caller]
fn assert_caught(tricks: &dyn Tricks, effects: &[&str]) {
    let (seed, found) = caught(tricks);
    assert!(!found.is_empty(), "not found in {seed} worlds");
    let expected = found.iter().any(|line| effects.iter().any(|effect| line.contains(effect)));
    assert!(expected, "seed {seed}: {found:?}");
}
