//! The tests that need the whole local world and nothing but it, in one binary: each binary links everything once more.
//!
//! | module | purpose |
//! |---|---|
//! | [`adyen`], [`paypal`], [`stripe`] | the contract of gateways for each adapter with its simulator, what only that gateway has, and its own OpenAPI files |
//! | [`cleeng_client`] | Cleeng's client and its simulator |
//! | [`every_gateway`] | the whole checklist on every gateway |
//! | [`flows`] | renewals: authorisation, capture, termination |
//! | [`money`] | refunds, clean-ups and captures of single purchases |
//! | [`front`] | what pages call |
//! | [`notifications`] | what gateways send |
//! | [`reconciliation`] | the scheduled runs |
//! | [`dynamodb_store`] | the journal's store in DynamoDB |
//! | [`local_world`] | what `cargo run` starts |

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skipped"
)]

mod adyen;
mod cleeng_client;
mod dynamodb_store;
mod every_gateway;
mod flows;
mod front;
mod local_world;
mod money;
mod notifications;
mod paypal;
mod reconciliation;
mod stripe;

mod support {
    pub(crate) mod changes;
    pub(crate) mod faults;
    pub(crate) mod gateway_requests;
    pub(crate) mod newer_release;
    pub(crate) mod spec;
}
