//! Mistakes that are made on purpose, each behind a wrapper at the edge of the functions: every one of them is found, and so would be one of the
//! same kind in the functions themselves.

mod gateways;
mod journals;
mod ways;

use sandbox::simulation::climate::Climate;
use sandbox::simulation::{Plan, Tricks, play};

/// Every mistake is found within so many worlds; those of a quick run are enough for all of them.
const MOST_SEEDS: u64 = 10_000;

/// The mistake is found by its effect, in a world where nothing is found without it.
#[track_caller]
fn assert_caught(tricks: &dyn Tricks, effects: &[&str]) {
    assert_caught_in(tricks, None, effects);
}

/// The same in a climate where there is occasion for it.
#[track_caller]
fn assert_caught_in(tricks: &dyn Tricks, climate: Option<&Climate>, effects: &[&str]) {
    let mut others = Vec::new();
    for seed in 0..MOST_SEEDS {
        let played = play(seed, &Plan { tricks, climate, trace: false });
        let by_effect = played.found.iter().any(|line| effects.iter().any(|effect| line.contains(effect)));
        if by_effect && play(seed, &Plan { climate, ..Plan::default() }).found.is_empty() {
            return;
        }
        others.extend(played.found);
    }
    others.sort_unstable();
    others.dedup();
    assert!(
        others.is_empty() && !others.is_empty(),
        "not found by its effect in {MOST_SEEDS} worlds: {:?}",
        others.get(..others.len().min(20))
    );
}
