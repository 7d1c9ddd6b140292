//! How long the journal remembers: what is open for as long as it is open, what is settled for as long as somebody may ask.

use std::time::Duration;

use connector::cleeng::SubscriptionStatus;
use connector::gateway::Reference;
use connector::journal::payment::PaymentRecord;
use connector::journal::store::{Key, Store as _};
use connector::payments::subscription_state::SubscriptionState;
use connector::renewal::eligibility::period_key;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::flows::{at_due_date_authorised, completed};

const DAY: Duration = Duration::from_secs(86_400);

/// Which of the documents of the only payment are there: its record, its look-up by the gateway's id, its period.
async fn documents_present(env: &TestEnvironment, subscriber: &TestSubscriber) -> [bool; 3] {
    let held = env.adyen.payments()[0].clone();
    let keys = [
        PaymentRecord::key(&Reference::parse(&held.reference).unwrap()),
        Key::new("gateway-payment", &["adyen", &held.psp_reference]),
        period_key(&subscriber.ids.subscription, subscriber.due),
    ];
    let found = env.store.load(&keys).await.unwrap();
    [found[0].is_some(), found[1].is_some(), found[2].is_some()]
}

#[tokio::test]
async fn an_authorisation_never_expires_from_the_journal_before_capture_or_release() {
    let (env, subscriber) = at_due_date_authorised().await;
    env.clock.advance(DAY * 3_000);
    assert!(documents_present(&env, &subscriber).await[0]);
}

#[tokio::test]
async fn a_captured_payment_is_retained_for_chargebacks_and_then_expires() {
    let (env, subscriber) = at_due_date_authorised().await;
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_eq!(documents_present(&env, &subscriber).await, [true; 3]);
    env.clock.advance(DAY * 401);
    assert_eq!(documents_present(&env, &subscriber).await, [true, true, false]);
    env.clock.advance(DAY * (25 * 31 - 401 - 3));
    assert!(documents_present(&env, &subscriber).await[0]);
    env.clock.advance(DAY * 4);
    assert_eq!(documents_present(&env, &subscriber).await, [false; 3]);
}

#[tokio::test]
async fn the_next_event_is_expected_after_every_settled_one_until_the_subscription_ends() {
    let (env, subscriber) = at_due_date_authorised().await;
    let head = SubscriptionState::key(&subscriber.ids.subscription);
    let is_due = async || env.store.due(env.now().after(DAY), 100).await.unwrap().contains(&head);
    assert!(is_due().await);
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    assert!(is_due().await);
    env.clock.advance(DAY * 3_000);
    let is_known = async || env.store.load(std::slice::from_ref(&head)).await.unwrap()[0].is_some();
    assert!(is_known().await, "never forgotten while an event is expected");
    env.cleeng.set_status(&subscriber.ids.subscription, SubscriptionStatus::Stopped);
    assert_eq!(env.deliver_until_settled(&env.termination_event(&subscriber)).await, completed("terminated"));
    assert!(!is_due().await);
    env.clock.advance(DAY * 399);
    assert!(is_known().await);
    env.clock.advance(DAY * 2);
    assert!(!is_known().await);
}
