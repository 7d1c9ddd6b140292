//! What tests and the simulation are made of: the test environment, fixtures, queues, crash points, the balance check and the contract of gateways.

pub mod balance_check;
pub mod contract;
pub mod crash;
pub mod fixtures;
pub mod gateway_fixtures;
pub mod harness;
pub mod metric_recorder;
pub mod notifications;
pub mod queues;
