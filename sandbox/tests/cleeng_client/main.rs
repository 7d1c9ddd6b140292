//! The Core API client against the simulator of Cleeng, with faults in the way, and over real sockets.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

mod answers;
mod calls;
mod dunning;
mod faults;
mod harness;
mod mutations;
mod rules;
mod sockets;
