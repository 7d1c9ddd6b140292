//! Refunds, deactivated payment details, captures of single purchases. The real flows, client and adapter against the simulators, with the
//! effects checked on both sides.

mod answers_in_between;
mod capture;
mod clean_up_rules;
mod deactivation;
mod deletion;
mod deletion_in_flight;
mod fixtures;
mod late;
mod refund;
mod refund_crashes;
mod refund_preexisting;
mod refund_properties;
mod refund_refusals;
mod refund_reports;
mod release_races;
mod removed_details;
mod scripted_gateway;
