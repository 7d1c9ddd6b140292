//! What renewals do beside what every payment shares. `payments` must never use it.
//!
//! | module | purpose |
//! |---|---|
//! | [`eligibility`] | whose event it is, and whether anything is to be done at all |
//! | [`charge`] | the order, and the authorisation or charge of an attempt |
//! | [`expected_event`] | which billing event comes next, and how a missed one is rebuilt |
//! | `replacement_order` | another order, where one lapsed before its payment could be reported |

pub mod charge;
pub mod eligibility;
pub mod expected_event;
pub mod replacement_order;
