//! A few hundred seeds.

use std::collections::BTreeSet;

use sandbox::simulation::behaviour::Behaviour;
use sandbox::simulation::fault_profile::FaultProfile;
use sandbox::simulation::{SimulationOptions, run_seed};

const TRACED: SimulationOptions<'static> =
    SimulationOptions { trace: true, fault_profile: None, interceptors: &sandbox::testkit::interceptors::NoInterceptors };

#[test]
fn the_same_seed_gives_the_same_run_byte_for_byte() {
    for seed in 0..6 {
        let (one, other) = (run_seed(seed, &TRACED), run_seed(seed, &TRACED));
        assert!(one.trace.len() > 5, "{one:?}");
        assert_eq!(one, other);
    }
    assert_ne!(run_seed(1, &TRACED).trace, run_seed(2, &TRACED).trace);
}

#[test]
fn no_invariant_is_violated_in_a_few_dozen_seeds() {
    let (mut deliveries, mut crashes) = (0, 0);
    for seed in 0..80 {
        let played = run_seed(seed, &SimulationOptions::default());
        let again = format!("cargo run -p sandbox --bin simulate -- --seed {seed} --trace");
        assert_eq!(played.violations, Vec::<String>::new(), "again: {again}");
        deliveries += played.counts.deliveries;
        crashes += played.counts.crashes;
    }
    assert!(deliveries > 1_500 && crashes > 50, "{deliveries} deliveries, {crashes} crashes");
}

#[test]
fn each_behaviour_that_is_rare_occurs() {
    let mut missing = BTreeSet::from(Behaviour::ALL);
    let mut seed = 0;
    while !missing.is_empty() && seed < 400 {
        let report = run_seed(seed, &SimulationOptions::default());
        missing.retain(|behaviour| !report.behaviours.contains_key(behaviour));
        seed += 1;
    }
    assert_eq!(missing, BTreeSet::new());
}

#[test]
fn a_run_with_a_fault_profile_of_its_own_has_nothing_that_is_rare() {
    let profile = FaultProfile::no_faults();
    let report = run_seed(1, &SimulationOptions { fault_profile: Some(&profile), ..SimulationOptions::default() });
    assert!(report.behaviours.keys().all(|behaviour| *behaviour == Behaviour::VaultEvent), "{:?}", report.behaviours);
}
