//! Renewals: what they need beside what every kind of payment shares. [`payments`](crate::payments) must never use this module.
//!
//! | module | purpose |
//! |---|---|
//! | [`eligibility`] | which payment method an event belongs to, and whether there is anything to do |
//! | [`charge`] | the order, and the authorisation or charge of an attempt |
//! | [`expected_event`] | which billing event comes next, and how a missed one is rebuilt |
//! | [`late_success`] | a payment that succeeded after its attempt had ended: reported, or given back |
//! | `retry_limits` | when details that were declined are tried again |
//! | `unknown_details` | details that the gateway does not know: a subscriber's, or a mistake of ours |
//! | `replacement_order` | another order, if one lapsed before its payment could be reported |
//! | [`report_new_payment`] | reporting a renewal's payment to Cleeng |

pub mod charge;
pub mod eligibility;
pub mod expected_event;
pub mod late_success;
mod replacement_order;
pub mod report_new_payment;
mod retry_limits;
mod unknown_details;
