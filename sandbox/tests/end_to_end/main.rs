//! End to end: the built binaries on an emulated Lambda Runtime API, with real AWS clients against moto and DynamoDB Local. `./test` starts
//! what is needed and sets `CONNECTOR_E2E=1`; without it these tests say that they were skipped.
//!
//! | module | purpose |
//! |---|---|
//! | `emulators` | the emulators themselves |
//! | `deployment` | functions deployed together, with their queues |
//! | `ingress` | the ingress of webhooks and notifications, with and without upstreams |
//! | `billing` | authorisation, renewal, termination |
//! | `clean_up` | payment details that are deactivated |
//! | `refund`, `capture` | single payments, and the notifications that complete them |
//! | `purchase`, `details` | what pages call |
//! | `redirect` | the redirect style, with the return from the gateway |
//! | `reconciliation_runs` | reconciliation |
//! | `roles` | the calls of each function against its role |
//! | `time` | timeouts |
//! | `embedded` | binaries without AWS |
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skipped"
)]

#[path = "../support"]
mod support {
    pub(crate) mod aws;
    pub(crate) mod files;
    pub(crate) mod process;
    pub(crate) mod recording_proxy;
    pub(crate) mod runtime;
    #[expect(dead_code, reason = "other tests read more of it")]
    pub(crate) mod template;
    pub(crate) mod upstreams;
}

mod billing;
mod capture;
mod clean_up;
mod deployment;
mod details;
mod embedded;
mod emulators;
mod ingress;
mod page;
mod purchase;
mod reconciliation_runs;
mod redirect;
mod refund;
mod roles;
mod timeouts;

/// The functions of the billing webhooks.
pub(crate) const BILLING: [&str; 3] =
    ["subscription-ready-for-payment-authorisation", "subscription-ready-for-payment-capture", "subscription-ready-for-termination"];
/// The functions of all webhooks.
pub(crate) const WEBHOOKS: [&str; 6] = [BILLING[0], BILLING[1], BILLING[2], clean_up::FUNCTION, refund::FUNCTION, capture::FUNCTION];
/// The function that the gateways' notifications go to.
pub(crate) const NOTIFICATION: &str = "gateway-notification";

/// The function that a schedule starts.
pub(crate) const RECONCILIATION: &str = "reconciliation";

/// Whether to run; says so if not.
pub(crate) fn enabled(test: &str) -> bool {
    let enabled = std::env::var("CONNECTOR_E2E").is_ok_and(|value| value == "1");
    if !enabled {
        eprintln!("SKIPPED {test}: run ./test, or set CONNECTOR_E2E=1 with what it sets");
    }
    enabled
}
