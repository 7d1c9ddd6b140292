//! What gateways tell by themselves, through the real door, over its queue, to the real flows: each rule with a test named after it, and
//! the effects checked at both sides.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod answers;
mod captures;
mod crashes;
mod disputes;
mod door;
mod orders;
mod refunds;
mod rotation;

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::flow::Verdict;
use sandbox::cleeng::SentWebhook;
use sandbox::stage::{Cast, METHOD, Stage};
use serde_json::Value;

pub(crate) fn settled(word: &'static str) -> Verdict {
    Verdict::Settled(word)
}

/// A stage with one subscriber, at the time of the first authorisation attempt.
pub(crate) fn at_first_attempt() -> (Stage, Cast) {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3600)));
    (stage, cast)
}

/// The same, authorised.
pub(crate) async fn authorised() -> (Stage, Cast) {
    let (stage, cast) = at_first_attempt();
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, settled("authorised"));
    (stage, cast)
}

/// The same at the due date, the capture ordered and waiting for its notification.
pub(crate) async fn capturing() -> (Stage, Cast) {
    let (stage, cast) = authorised().await;
    stage.clock.advance_to(cast.due);
    assert!(matches!(stage.deliver(&stage.capture(&cast)).await, Verdict::Later { reason: "capture_received", .. }));
    (stage, cast)
}

/// The same, captured, and everybody knows.
pub(crate) async fn captured() -> (Stage, Cast) {
    let (stage, cast) = capturing().await;
    stage.hear_gateways().await;
    assert_eq!(stage.deliver_requeued().await, [settled("captured")]);
    (stage, cast)
}

/// An attempt of dunning after the due date.
pub(crate) fn later_attempt(stage: &Stage, topic: Topic, cast: &Cast, hours_after: u64) -> SentWebhook {
    stage.event(topic, cast, cast.due.after(Duration::from_secs(hours_after * 3600)), cast.due)
}

/// The only payment at the gateway: its id and our reference.
pub(crate) fn names(stage: &Stage) -> (String, String) {
    let payment = stage.adyen.payments().remove(0);
    (payment.psp_reference, payment.reference)
}

pub(crate) async fn record(stage: &Stage) -> Value {
    stage.record_of(&names(stage).1).await
}

pub(crate) async fn state(stage: &Stage) -> String {
    record(stage).await["state"].as_str().unwrap_or_default().to_owned()
}

/// The statuses of all payments in Cleeng, in the order in which they came to be.
pub(crate) fn statuses(stage: &Stage) -> Vec<PaymentStatus> {
    stage.cleeng.payments().into_iter().map(|payment| payment.status).collect()
}

pub(crate) fn assert_balanced(stage: &Stage) {
    assert_eq!(stage.disagreements(), Vec::<String>::new());
}
