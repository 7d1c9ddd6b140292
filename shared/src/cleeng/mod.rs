//! Cleeng, as the connector sees it: the Core API ("API 3.1"), and the webhooks that it sends.
//!
//! Only this folder knows Cleeng's spellings. No decision is ever made on the text of one of Cleeng's messages: the API has no error codes,
//! so a refusal is known by its HTTP status alone (Cleeng, "How to understand and resolve common API errors").

mod api;
pub mod client;
pub mod envelope;
mod error;
pub mod mediastore;
pub mod signature;
pub mod webhook;

pub use api::{
    CALL_TIMEOUT, CALL_WITH_FALLBACK_TIMEOUT, Cleeng, EXCHANGE_TIMEOUT, LatestPayment, NewOrder, NewPayment, NewPaymentDetails,
    NewPaymentStatus, Order, Payment, PaymentDetails, PaymentOperation, PaymentPatch, PaymentSource, PaymentStatus, RenewalCycle,
    Subscription, SubscriptionStatus, TerminationType,
};
pub use error::{CleengError, UnknownAnswer};
