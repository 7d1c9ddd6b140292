//! The sandbox of the connector: everything that it meets outside, simulated, and ways to let time pass and faults happen.
//!
//! | module | purpose |
//! |---|---|
//! | [`simulators`] | Cleeng, the gateways, the network between them and virtual time |
//! | [`testkit`] | what tests are made of: the environment without sockets, fixtures, queues, crash points, the contract of gateways |
//! | [`simulation`] | whole runs by seed, with faults injected at every call, and the invariants that must hold all the same |
//! | [`local`] | the environment with sockets, for `cargo run` and `cargo run -- serve` |

mod expect;
pub mod local;
pub mod simulation;
pub mod simulators;
pub mod testkit;
