//! The operator's tool as a whole: its commands against the simulators over HTTP on loopback, and against the journal's stores.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

mod access;
mod aws;
mod binary;
mod deployment;
mod doctor;
mod explain;
mod parked;
mod purchases;
mod reconcile;
mod refund;
mod replay;
mod secret_leaks;
mod secret_put;
mod stack;
mod support;
mod webhooks;
mod wrong_settings;
