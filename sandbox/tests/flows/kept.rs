//! How long the journal remembers: what is open for as long as it is open, what is settled for as long as somebody may ask.

use std::time::Duration;

use connector::billing::head::Head;
use connector::billing::rules::period_key;
use connector::cleeng::SubscriptionStatus;
use connector::gateway::Reference;
use connector::journal::payment::PaymentRecord;
use connector::journal::store::{Key, Store as _};
use sandbox::stage::{Cast, Stage};

use crate::{at_due_date_authorised, settled};

const DAY: Duration = Duration::from_secs(86_400);

/// Which of the documents of the only payment are there: its record, its look-up by the gateway's id, its period.
async fn there(stage: &Stage, cast: &Cast) -> [bool; 3] {
    let held = stage.adyen.payments()[0].clone();
    let keys = [
        PaymentRecord::key(&Reference::parse(&held.reference).unwrap()),
        Key::new("gateway-payment", &["adyen", &held.psp_reference]),
        period_key(&cast.subscriber.subscription, cast.due),
    ];
    let found = stage.store.load(&keys).await.unwrap();
    [found[0].is_some(), found[1].is_some(), found[2].is_some()]
}

#[tokio::test]
async fn a_hold_is_never_forgotten_before_it_is_captured_or_released() {
    let (stage, cast) = at_due_date_authorised().await;
    stage.clock.advance(DAY * 3_000);
    assert!(there(&stage, &cast).await[0]);
}

#[tokio::test]
async fn a_captured_payment_is_remembered_for_chargebacks_and_then_forgotten() {
    let (stage, cast) = at_due_date_authorised().await;
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    assert_eq!(there(&stage, &cast).await, [true; 3]);
    stage.clock.advance(DAY * 401);
    assert_eq!(there(&stage, &cast).await, [true, true, false]);
    stage.clock.advance(DAY * (25 * 31 - 401 - 3));
    assert!(there(&stage, &cast).await[0]);
    stage.clock.advance(DAY * 4);
    assert_eq!(there(&stage, &cast).await, [false; 3]);
}

#[tokio::test]
async fn somebody_looks_for_the_next_event_after_every_settled_one_until_the_subscription_ends() {
    let (stage, cast) = at_due_date_authorised().await;
    let head = Head::key(&cast.subscriber.subscription);
    let is_due = async || stage.store.due(stage.now().after(DAY), 100).await.unwrap().contains(&head);
    assert!(is_due().await);
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    assert!(is_due().await);
    stage.clock.advance(DAY * 3_000);
    let is_known = async || stage.store.load(std::slice::from_ref(&head)).await.unwrap()[0].is_some();
    assert!(is_known().await, "never forgotten while an event is expected");
    stage.cleeng.set_status(&cast.subscriber.subscription, SubscriptionStatus::Stopped);
    assert_eq!(stage.deliver_until_settled(&stage.termination(&cast)).await, settled("terminated"));
    assert!(!is_due().await);
    stage.clock.advance(DAY * 399);
    assert!(is_known().await);
    stage.clock.advance(DAY * 2);
    assert!(!is_known().await);
}
