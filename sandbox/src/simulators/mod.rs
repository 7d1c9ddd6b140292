//! What the connector meets outside, simulated.
//!
//! | module | purpose |
//! |---|---|
//! | [`network`] | a simulated server, the transport without sockets, HTTP on loopback, faults and the list of calls |
//! | [`virtual_clock`] | time that stands still until a caller moves it |
//! | [`simulated_gateway`] | the interface of every simulated gateway |
//! | [`adyen`] | Adyen's Checkout API |
//! | [`paypal`] | PayPal's Orders, Payments and Vault APIs |
//! | [`stripe`] | Stripe's PaymentIntents, SetupIntents and Refunds APIs |
//! | [`cleeng`] | Cleeng's Core API, dunning clock and signed webhooks |

pub mod adyen;
pub mod cleeng;
pub mod network;
pub mod paypal;
pub mod simulated_gateway;
pub mod stripe;
pub mod virtual_clock;
