//! A few hundred worlds.

use sandbox::simulation::{Plan, play};

const TRACED: Plan<'static> = Plan { trace: true, climate: None, tricks: &sandbox::simulation::Honest };

#[test]
fn the_same_seed_is_the_same_world_byte_for_byte() {
    for seed in 0..6 {
        let (one, other) = (play(seed, &TRACED), play(seed, &TRACED));
        assert!(one.trace.len() > 5, "{one:?}");
        assert_eq!(one, other);
    }
    assert_ne!(play(1, &TRACED).trace, play(2, &TRACED).trace);
}

#[test]
fn what_must_be_true_is_true_in_a_few_hundred_worlds() {
    let (mut deliveries, mut deaths) = (0, 0);
    for seed in 0..80 {
        let played = play(seed, &Plan::default());
        let again = format!("cargo run -p sandbox --bin simulate -- --seed {seed} --trace");
        assert_eq!(played.found, Vec::<String>::new(), "again: {again}");
        deliveries += played.counts.deliveries;
        deaths += played.counts.deaths;
    }
    assert!(deliveries > 1_500 && deaths > 50, "{deliveries} deliveries, {deaths} deaths");
}
