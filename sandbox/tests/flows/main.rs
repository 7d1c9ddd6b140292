//! The rules of billing, each with a test named after it: the real flows, client and adapter against the simulators, with the effects
//! checked at both sides.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

mod answers;
mod authorised_list;
mod capture_rules;
#[path = "../support/changes.rs"]
mod changes;
mod charged_recently;
mod crashes;
mod dunning;
#[path = "../support/faults.rs"]
mod faults;
mod kept;
mod renewal;
mod stale;
mod termination;
mod unknown;

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::http::Method;
use sandbox::stage::{Cast, METHOD, Stage};

pub(crate) const SETTLED: fn(&Verdict) -> bool = |verdict| matches!(verdict, Verdict::Settled(_));

pub(crate) fn settled(word: &'static str) -> Verdict {
    Verdict::Settled(word)
}

/// A stage with one subscriber, at the time of the first authorisation attempt.
pub(crate) fn at_first_attempt() -> (Stage, Cast) {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(std::time::Duration::from_secs(72 * 3600)));
    (stage, cast)
}

/// The same, authorised, at the due date.
pub(crate) async fn at_due_date_authorised() -> (Stage, Cast) {
    let (stage, cast) = at_first_attempt();
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, settled("authorised"));
    stage.clock.advance_to(cast.due);
    (stage, cast)
}

/// The statuses of all payments in Cleeng, in the order in which they came to be.
pub(crate) fn statuses(stage: &Stage) -> Vec<PaymentStatus> {
    stage.cleeng.payments().into_iter().map(|payment| payment.status).collect()
}

pub(crate) fn assert_balanced(stage: &Stage) {
    assert_eq!(stage.disagreements(), Vec::<String>::new());
}

/// How many authorisations, captures and payments in Cleeng were asked for in all.
pub(crate) fn calls(stage: &Stage) -> (usize, usize, usize) {
    let captures = stage.road.reached("adyen", &Method::POST, "/captures");
    let cancels = stage.road.reached("adyen", &Method::POST, "/cancels");
    let payments = stage.road.reached("adyen", &Method::POST, "/payments").saturating_sub(captures).saturating_sub(cancels);
    (payments, captures, stage.road.reached("cleeng", &Method::POST, "/payments"))
}
