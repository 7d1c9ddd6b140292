//! Worlds played by seed, in a size that is quick: the same seed is the same world, nothing is found wrong, and what was found once is not found
//! again. `cargo run --release -p sandbox --bin simulate` runs them by the hundred thousand; docs/reliability.md says what that showed.

#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod interleavings;
mod regressions;
mod seeded_defects;
mod smoke;
