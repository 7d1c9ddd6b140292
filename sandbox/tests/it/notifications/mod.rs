//! Gateway notifications, through the real ingress, over its queue, to the real flows: each rule with a test named after it, and the
//! effects checked on both sides.

mod authorisations;
mod captures;
mod crashes;
mod disputes;
mod ingress;
mod permutations;
mod refunds;
mod rotation;

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::flow::Disposition;
use connector::reason::RetryReason;
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};
use serde_json::Value;

pub(crate) fn completed(word: &'static str) -> Disposition {
    Disposition::Completed(word.parse().unwrap())
}

/// An environment with one subscriber, at the time of the first authorisation attempt.
pub(crate) fn at_first_attempt() -> (TestEnvironment, TestSubscriber) {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(Duration::from_secs(72 * 3600)));
    (env, subscriber)
}

/// The same, authorised.
pub(crate) async fn authorised() -> (TestEnvironment, TestSubscriber) {
    let (env, subscriber) = at_first_attempt();
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
    (env, subscriber)
}

/// The same at the due date, the capture ordered and waiting for its notification.
pub(crate) async fn capturing() -> (TestEnvironment, TestSubscriber) {
    let (env, subscriber) = authorised().await;
    env.clock.advance_to(subscriber.due);
    assert!(matches!(env.deliver(&env.capture_event(&subscriber)).await, Disposition::Retry { reason: RetryReason::CaptureReceived, .. }));
    (env, subscriber)
}

/// The same, captured, and everybody knows.
pub(crate) async fn captured() -> (TestEnvironment, TestSubscriber) {
    let (env, subscriber) = capturing().await;
    env.deliver_notifications().await;
    assert_eq!(env.deliver_requeued().await, [completed("captured")]);
    (env, subscriber)
}

/// An attempt of dunning after the due date.
pub(crate) fn dunning_attempt(env: &TestEnvironment, topic: Topic, subscriber: &TestSubscriber, hours_after: u64) -> SentWebhook {
    env.billing_event(topic, subscriber, subscriber.due.after(Duration::from_secs(hours_after * 3600)), subscriber.due)
}

/// The only payment at the gateway: its id and our reference.
pub(crate) fn only_payment_ids(env: &TestEnvironment) -> (String, String) {
    let payment = env.adyen.payments().remove(0);
    (payment.psp_reference, payment.reference)
}

pub(crate) async fn payment_record(env: &TestEnvironment) -> Value {
    env.payment_record(&only_payment_ids(env).1).await
}

pub(crate) async fn payment_state(env: &TestEnvironment) -> String {
    payment_record(env).await["state"].as_str().unwrap_or_default().to_owned()
}

/// The statuses of all payments in Cleeng, in the order in which they came to be.
pub(crate) fn statuses(env: &TestEnvironment) -> Vec<PaymentStatus> {
    env.cleeng.payments().into_iter().map(|payment| payment.status).collect()
}

pub(crate) fn assert_balanced(env: &TestEnvironment) {
    assert_eq!(env.discrepancies(), Vec::<String>::new());
}
