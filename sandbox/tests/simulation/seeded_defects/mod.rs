//! Seeded defects, each behind a wrapper at the edge of the functions: every one is detected, as one of the same kind in the functions
//! would be.

mod gateways;
mod ingress_and_logs;
mod journals;
mod preconditions;

use sandbox::simulation::fault_profile::FaultProfile;
use sandbox::simulation::{SimulationOptions, run_seed};
use sandbox::testkit::interceptors::Interceptors;

/// Every mistake is found within so many worlds; those of a quick run are enough for all of them.
const MAX_SEEDS: u64 = 10_000;

/// The mistake is found by its effect, in a world where nothing is found without it.
#[track_caller]
fn assert_detected(interceptors: &dyn Interceptors, effects: &[&str]) {
    assert_detected_with(interceptors, None, effects);
}

/// The same with a fault profile that provokes it.
#[track_caller]
fn assert_detected_with(interceptors: &dyn Interceptors, profile: Option<&FaultProfile>, effects: &[&str]) {
    let mut others = Vec::new();
    for seed in 0..MAX_SEEDS {
        let report = run_seed(seed, &SimulationOptions { interceptors, fault_profile: profile, trace: false });
        let by_effect = report.violations.iter().any(|line| effects.iter().any(|effect| line.contains(effect)));
        if by_effect && run_seed(seed, &SimulationOptions { fault_profile: profile, ..SimulationOptions::default() }).violations.is_empty()
        {
            eprintln!("detected by seed {seed}");
            return;
        }
        others.extend(report.violations);
    }
    others.sort_unstable();
    others.dedup();
    assert!(
        others.is_empty() && !others.is_empty(),
        "not found by its effect in {MAX_SEEDS} worlds: {:?}",
        others.get(..others.len().min(20))
    );
}
