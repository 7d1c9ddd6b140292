//! Payments that a customer is present for: paying an order, and storing payment details.
//!
//! Obligation = an order, or a customer and the payment data of the details to store. Attempt = one set of payment data. A snapshot of what
//! is to be paid is written with the intent of the first gateway call; from then on neither the customer's browser nor their token is
//! needed: a notification of the gateway can finish the attempt as well, and one conditional write decides which of the two reports it.
//!
//! | module | purpose |
//! |---|---|
//! | [`snapshot`] | what is to be paid or stored, and the gateway's results, as the journal keeps them |
//! | [`progress`] | how far the open attempt is |
//! | [`attempts`] | what an earlier attempt was |
//! | [`page_methods`] | the payment methods that a gateway's component shows in a page |
//! | [`pending_setups`] | the setups of a customer that wait for the customer |
//! | [`gateway_calls`] | the calls to the gateway |
//! | [`report`] | the report of an order's payment to Cleeng |
//! | [`details_report`] | the report of stored details to Cleeng |
//! | [`outcome`] | from the gateway's result to the report and the end of the attempt |
//! | [`response`] | from the state of the obligation to the answer for the page |
//! | [`entry`] | the entry points of a page's calls, and the submission of returned data |
//! | [`start`] | what a start does about the open attempt |
//! | [`redirect`] | the redirect style: the customer returns to the connector and is sent on to the page |
//! | [`order`] | start and finalize of an order's payment |
//! | [`details`] | start and finalize of storing details |
//! | [`without_customer`] | progress without the customer: notifications and expired orders |
//!
//! The amount comes from the order alone. An attempt whose outcome is unknown is never replaced; an attempt that waits for the customer is,
//! and if it succeeds after all it is reversed and never reported.

pub mod attempts;
pub mod details;
pub mod details_report;
pub mod entry;
pub mod gateway_calls;
pub mod order;
pub mod outcome;
pub mod page_methods;
pub mod pending_setups;
pub mod progress;
pub mod redirect;
pub mod report;
pub mod response;
pub mod snapshot;
pub mod start;
pub mod without_customer;

pub use self::without_customer::{
    AuthorisationNotification, expire_purchase, finalize_approved, settle_by_notification, supply_stored_details,
};
