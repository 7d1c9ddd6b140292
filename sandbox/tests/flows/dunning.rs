//! Declines, the next attempt, and cards that change in between.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::metrics::Metric;
use sandbox::adyen::PaymentState;
use sandbox::stage::{CAPTURE_ONLY_METHOD, METHOD, Stage};

use crate::{assert_balanced, at_first_attempt, calls, settled, statuses};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn a_declined_attempt_delivered_five_times_is_one_decline_and_one_rejected_payment() {
    let (stage, cast) = at_first_attempt();
    stage.adyen.refuse_next(&cast.stored, "12");
    for _ in 0..5 {
        assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, settled("declined"));
    }
    assert_eq!(statuses(&stage), [PaymentStatus::Rejected]);
    assert_eq!(stage.cleeng.payments()[0].rejected_reason.as_deref(), Some("soft: 12"));
    assert_eq!(calls(&stage), (1, 0, 1));
    assert_balanced(&stage);
}

#[tokio::test]
async fn the_next_dunning_attempt_after_a_decline_authorises_once() {
    let (stage, cast) = at_first_attempt();
    stage.adyen.refuse_next(&cast.stored, "12");
    stage.deliver(&stage.authorisation(&cast, 72)).await;
    stage.clock.advance(DAY);
    for _ in 0..3 {
        assert_eq!(stage.deliver(&stage.authorisation(&cast, 48)).await, settled("authorised"));
    }
    // The first attempt comes back out of order: its decline is history.
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, settled("authorised"));
    assert_eq!(statuses(&stage), [PaymentStatus::Rejected, PaymentStatus::Authorised]);
    assert_eq!(calls(&stage).0, 2);
    assert_eq!(stage.cleeng.orders().len(), 2, "each attempt has a fresh order");
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_later_attempt_of_an_authorised_period_changes_nothing() {
    let (stage, cast) = at_first_attempt();
    stage.deliver(&stage.authorisation(&cast, 72)).await;
    stage.clock.advance(DAY);
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 48)).await, settled("authorised"));
    assert_eq!(calls(&stage), (1, 0, 1));
    assert_eq!(stage.metrics.count(Metric::Duplicate, "authorised"), 1);
}

#[tokio::test]
async fn a_card_changed_in_mid_period_leads_to_a_new_authorisation_and_the_old_one_is_released() {
    let (stage, mut cast) = at_first_attempt();
    stage.deliver(&stage.authorisation(&cast, 72)).await;
    stage.clock.advance(DAY);
    stage.change_card(&mut cast, METHOD);
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 48)).await, settled("authorised"));
    stage.adyen.process();
    assert_eq!(statuses(&stage), [PaymentStatus::Cancelled, PaymentStatus::Authorised]);
    assert_balanced(&stage);
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    assert_eq!(statuses(&stage), [PaymentStatus::Cancelled, PaymentStatus::Captured]);
    assert_eq!(stage.adyen.total_captured("USD"), 999);
    assert_balanced(&stage);
}

#[tokio::test]
async fn an_expiry_that_moved_uses_the_live_authorisation_and_never_doubles_it() {
    let (stage, mut cast) = at_first_attempt();
    stage.deliver(&stage.authorisation(&cast, 72)).await;
    cast.due = cast.due.after(Duration::from_secs(6 * 3600));
    stage.clock.advance(DAY);
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 48)).await, settled("authorised"));
    assert_eq!(calls(&stage).0, 1);
    assert_eq!(stage.metrics.count(Metric::Warning, "expiry_moved_under_an_authorisation"), 1);
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    assert_eq!(stage.adyen.total_captured("USD"), 999);
}

#[tokio::test]
async fn an_expiry_that_moved_after_a_charge_is_parked_instead_of_charged_again() {
    let stage = Stage::default();
    let mut cast = stage.subscriber(CAPTURE_ONLY_METHOD);
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver(&stage.capture(&cast)).await, settled("captured"));
    // Cleeng asks again for a period that ends a few hours after the one that was just extended.
    let extended = stage.cleeng.subscription(&cast.subscriber.subscription).unwrap().date_to;
    cast.due = extended.after(Duration::from_secs(3 * 3600));
    stage.clock.advance(Duration::from_secs(3600));
    let verdict = stage.deliver(&stage.capture(&cast)).await;
    assert_eq!(verdict, connector::flow::Verdict::Parked("charged_recently"));
    assert_eq!(stage.metrics.count(Metric::Parked, "charged_recently"), 1);
    stage.adyen.process();
    assert_eq!(stage.adyen.total_captured("USD"), 999);
}

#[tokio::test]
async fn capture_only_billing_charges_once_at_the_attempt_that_succeeds() {
    let stage = Stage::default();
    let cast = stage.subscriber(CAPTURE_ONLY_METHOD);
    stage.adyen.refuse_next(&cast.stored, "2");
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver(&stage.capture(&cast)).await, settled("declined"));
    stage.clock.advance(DAY);
    let topic = connector::cleeng::webhook::Topic::SubscriptionReadyForPaymentCapture;
    let second = stage.event(topic, &cast, cast.due.after(DAY), cast.due);
    for _ in 0..3 {
        assert_eq!(stage.deliver(&second).await, settled("captured"));
    }
    stage.adyen.process();
    assert_eq!(statuses(&stage), [PaymentStatus::Rejected, PaymentStatus::Captured]);
    assert_eq!(stage.adyen.total_captured("USD"), 999);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_capture_that_the_gateway_refuses_is_rejected_and_the_next_attempt_authorises_anew() {
    let (stage, cast) = crate::at_due_date_authorised().await;
    let held = stage.adyen.payments()[0].clone();
    stage.adyen.expire(&held.psp_reference);
    let capture = stage.capture(&cast);
    let verdict = stage.deliver_until_settled(&capture).await;
    // Adyen takes the order and refuses it only by notification, so the deadline settles it; or it refuses at once.
    assert!(crate::SETTLED(&verdict), "{verdict:?}");
    assert_eq!(stage.adyen.payment(&held.psp_reference).map(|payment| payment.state), Some(PaymentState::Expired));
    assert_eq!(stage.adyen.total_captured("USD"), 0);
}
