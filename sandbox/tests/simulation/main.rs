//! Simulation by seed, in a size that is quick: the same seed is the same run, no invariant is violated, and earlier findings stay fixed.
//! `cargo run --release -p sandbox --bin simulate` runs seeds by the hundred thousand; docs/reliability.md has the results.

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and a defect's says which seed detects it"
)]

mod interleavings;
mod regressions;
mod seeded_defects;
mod smoke;
