//! The rules of billing, each with a test named after it: the real flows, client and adapter against the simulators, with the effects
//! checked at both sides.

mod authorised_list;
mod capture_rules;
mod charged_recently;
mod contract;
mod crashes;
mod dunning;
mod mismatched_answers;
mod renewal;
mod retention;
mod stale_events;
mod termination;
mod unknown_outcomes;

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::http::Method;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

pub(crate) const IS_COMPLETED: fn(&Disposition) -> bool = |disposition| matches!(disposition, Disposition::Completed(_));

pub(crate) fn completed(word: &'static str) -> Disposition {
    Disposition::Completed(word.parse().unwrap())
}

/// An environment with one subscriber, at the time of the first authorisation attempt.
pub(crate) fn at_first_attempt() -> (TestEnvironment, TestSubscriber) {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(std::time::Duration::from_secs(72 * 3600)));
    (env, subscriber)
}

/// The same, authorised, at the due date.
pub(crate) async fn at_due_date_authorised() -> (TestEnvironment, TestSubscriber) {
    let (env, subscriber) = at_first_attempt();
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
    env.clock.advance_to(subscriber.due);
    (env, subscriber)
}

/// The statuses of all payments in Cleeng, in the order in which they came to be.
pub(crate) fn statuses(env: &TestEnvironment) -> Vec<PaymentStatus> {
    env.cleeng.payments().into_iter().map(|payment| payment.status).collect()
}

pub(crate) fn assert_balanced(env: &TestEnvironment) {
    assert_eq!(env.discrepancies(), Vec::<String>::new());
}

/// How many authorisations, captures and payments in Cleeng were asked for in all.
pub(crate) fn call_counts(env: &TestEnvironment) -> (usize, usize, usize) {
    let captures = env.network.delivered_count("adyen", &Method::POST, "/captures");
    let cancels = env.network.delivered_count("adyen", &Method::POST, "/cancels");
    let payments = env.network.delivered_count("adyen", &Method::POST, "/payments").saturating_sub(captures).saturating_sub(cancels);
    (payments, captures, env.network.delivered_count("cleeng", &Method::POST, "/payments"))
}
