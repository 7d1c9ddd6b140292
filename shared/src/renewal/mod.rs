//! Renewals: what they need beside what every kind of payment shares. [`payments`](crate::payments) must never use this module.
//!
//! | module | purpose |
//! |---|---|
//! | [`eligibility`] | which payment method an event belongs to, and whether there is anything to do |
//! | [`charge`] | the order, and the authorisation or charge of an attempt |
//! | [`expected_event`] | which billing event comes next, and how a missed one is rebuilt |
//! | `replacement_order` | another order, if one lapsed before its payment could be reported |
//! | [`report_new_payment`] | reporting a renewal's payment to Cleeng |

pub mod charge;
pub mod eligibility;
pub mod expected_event;
mod replacement_order;
pub mod report_new_payment;
