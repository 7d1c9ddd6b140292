//! What is done with the customer present: paying an order, and storing payment details.
//!
//! Obligation = order, or customer + the payment data of the details to store. Attempt = one set of payment data. A snapshot of what is to
//! be paid is written with the intent of the first gateway call; from then on the customer, his browser and his token are not needed:
//! a notification of the gateway can finish the attempt as well, and one conditional write decides who of the two reports it.
//!
//! | module | purpose |
//! |---|---|
//! | [`facts`] | the snapshot, and what the gateway said |
//! | [`position`] | how far the open attempt is |
//! | [`start`] | one start, whatever of |
//! | [`hand_in`] | handing in what the customer brought back |
//! | [`redirect`] | the redirect style: the customer comes back to us, and is sent on |
//! | [`order`] | start and finalize of an order's payment |
//! | [`details`] | start and finalize of storing details |
//! | [`ask`] | the calls to the gateway |
//! | [`settle`] | from the gateway's word to the report and the end |
//! | [`report`] | telling Cleeng |
//! | [`give_back`] | giving back what nobody is to be charged for |
//! | [`absent`] | going on without the customer: notifications, expired orders |
//! | [`tell`] | from the state of the obligation to the answer for the page |
//!
//! The amount comes from the order alone. An attempt whose outcome is unknown is never replaced; one that waits for the customer is, and
//! if it succeeds after all it is given back and never reported.

pub mod details;
pub mod entry;
pub mod finalize;
pub mod gateway_calls;
pub mod order;
pub mod outcome;
pub mod progress;
pub mod redirect;
pub mod report;
pub mod response;
pub mod reversal;
pub mod snapshot;
pub mod without_customer;

pub use self::without_customer::{expire_purchase, finalize_approved, settle_by_notification};
