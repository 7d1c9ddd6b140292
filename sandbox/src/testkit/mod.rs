//! What tests and the simulation are made of.
//!
//! | module | purpose |
//! |---|---|
//! | [`harness`] | the test environment without sockets: simulators, journal in memory, virtual time, the real clients, adapters and flows |
//! | [`fixtures`] | Cleeng's account, ids, flows and the billing policy of the sandbox |
//! | [`gateway_fixtures`] | accounts, settings, secrets and payment methods of each gateway |
//! | [`interceptors`] | wrappers around the functions and everything outside them |
//! | [`purchases`] | single purchases that were made before a test begins |
//! | [`queues`], [`queue_worker`] | the queues of a test environment, and the delivery of what lies on them |
//! | [`notifications`] | the gateways' notifications, from the HTTP endpoint to the flow |
//! | [`crash`] | crashes at a chosen point |
//! | [`metric_recorder`] | a metric sink that records |
//! | [`balance_check`] | the comparison of Cleeng's records with the gateways' ledgers |
//! | [`contract`] | what every gateway adapter has to keep, as checks that run against its simulator |

pub mod balance_check;
pub mod contract;
pub mod crash;
pub mod fixtures;
pub mod gateway_fixtures;
pub mod harness;
pub mod interceptors;
pub mod metric_recorder;
pub mod notifications;
pub mod purchases;
pub mod queue_worker;
pub mod queues;
