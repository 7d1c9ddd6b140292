//! The local world of the connector: everything that it meets outside, simulated, and a way to let time pass and things go wrong.
//!
//! | module | purpose |
//! |---|---|
//! | [`peer`] | what a simulated peer is, the transport without sockets, the HTTP server with them, faults and the list of calls |
//! | [`clock`] | virtual time |
//! | [`crash`] | process death at a chosen point |
//! | [`adyen`] | Adyen's Checkout API |
//! | [`paypal`] | PayPal's Orders, Payments and Vault APIs |
//! | [`stripe`] | Stripe's PaymentIntents, SetupIntents and Refunds APIs |
//! | [`books`] | the balance of both sides |
//! | [`queues`] | the queues of a stage, for whoever plays a flow to its end |
//! | [`notices`] | the gateways' notifications on a stage |
//! | [`guests`] | every gateway as the stage and the local world set it up |
//! | [`house`] | what all simulated gateways have in common |
//! | [`local`] | all of it put together with sockets |
//! | [`demo`], [`open_house`] | what `cargo run` and `cargo run -- serve` do |
//! | [`stage`] | all of it put together without sockets, for tests |
//! | [`simulation`] | whole worlds played by seed, with everything going wrong that can, and what must be true all the same |
//! | [`contract`] | what every gateway adapter has to keep, as checks that run against its simulator |
//! | [`cleeng`] | Cleeng's Core API, dunning clock and signed webhooks |

pub mod local;
pub mod simulation;
pub mod simulators;
pub mod testkit;
