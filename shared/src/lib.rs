//! What the functions of the Cleeng payment connector have in common.
//!
//! | module | purpose |
//! |---|---|
//! | [`cleeng`] | Cleeng's Core API, its webhook envelope and signature |
//! | [`gateway`] | the [`Gateway`](gateway::Gateway) trait, its outcomes, the registry and the adapters |
//! | [`journal`] | durable steps, leases and payment records, and the stores that keep them |
//! | [`payments`], [`renewal`] | what every kind of payment shares; what renewals need beside that |
//! | [`flow`], [`delivery`], [`metrics`] | the flows and their dependencies, one delivery of an event, the metrics |
//! | [`reason`] | why a delivery is completed, tried again or parked |
//! | [`frontend_api`], [`checkout`] | the front-end API, and the purchases and stored details of a customer who is present |
//! | [`manual_review`] | what an operator may decide about parked work |
//! | [`lambda`] | a function in AWS Lambda: start-up, dispatch, handlers and telemetry |
//! | [`settings`], [`rate_limit`] | the reader of settings and of their mistakes; a limit per window of time |
//! | [`mod@reference`], [`keyed_hash`] | the keys and references of writes, and the keyed hash that they are made with |
//! | [`json`] | the door of foreign JSON, with its limits |
//! | [`money`], [`ids`], [`secret`], [`clock`], [`http`] | the small types that everything else is made of |
//!
//! Code that only one function needs does not belong here.

pub mod checkout;
pub mod cleeng;
pub mod clock;
pub mod delivery;
pub mod flow;
pub mod frontend_api;
pub mod gateway;
pub mod http;
pub mod ids;
pub mod journal;
pub mod json;
pub mod keyed_hash;
pub mod lambda;
pub mod manual_review;
pub mod metrics;
pub mod money;
pub mod payments;
pub mod rate_limit;
pub mod reason;
pub mod reference;
pub mod renewal;
pub mod secret;
pub mod settings;
