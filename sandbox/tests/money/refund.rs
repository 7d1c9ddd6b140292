//! The rules of refunds.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::clock::Clock as _;
use connector::flow::{PartialRefunds, SettleOn, Verdict};
use connector::gateway::{Decline, DeclineClass, GatewayError, Operation, Outcome};
use connector::http::Method;
use connector::journal::payment::PaymentState;
use connector::metrics::Metric;
use sandbox::stage::{METHOD, Stage};

use crate::hooked::answering;
use crate::world::{
    assert_balanced, at_once, bring_back, parked, play, purchase, read_payment, refund_event, settle_notifications, settled, statuses, usd,
    with_purchase,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn sending(rules: &mut connector::flow::Rules) {
    rules.partial_refunds = PartialRefunds::Send;
}

fn told(stage: &Stage) -> usize {
    stage.road.reached("cleeng", &Method::PATCH, "/payments/")
}

fn asked(stage: &Stage) -> usize {
    stage.road.reached("adyen", &Method::POST, "/refunds")
}

#[tokio::test]
async fn a_full_refund_is_given_back_and_reported_when_the_gateway_says_that_it_is() {
    let (stage, bought) = with_purchase(Stage::default()).await;
    let event = refund_event(&stage, &bought, None, None);
    let before = stage.store.writes();
    assert_eq!(stage.deliver(&event).await, settled("refund_received"));
    // Taken is not given back: Cleeng hears nothing yet, however long it takes and however often the event comes.
    stage.clock.advance(Duration::from_secs(3600));
    assert_eq!(stage.deliver(&event).await, settled("refund_received"));
    assert_eq!((statuses(&stage), told(&stage), asked(&stage)), (vec![PaymentStatus::Captured], 0, 1));
    let record = read_payment(&stage, &bought.reference).await;
    assert_eq!((record.refunded, record.committed_refunds().unwrap()), (usd(0), usd(999)));
    let waiting = settle_notifications(&stage).await;
    assert_eq!(waiting.len(), 1);
    assert_eq!(bring_back(&stage, &waiting[0]).await, settled("refunded"));
    assert_eq!(stage.store.writes() - before, 4 + 1, "four of the flow, one of the notification");
    let record = read_payment(&stage, &bought.reference).await;
    assert_eq!((record.state, record.refunded), (PaymentState::Refunded, usd(999)));
    assert_eq!((statuses(&stage), told(&stage), asked(&stage)), (vec![PaymentStatus::Refunded], 1, 1));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_refund_of_a_renewal_is_reported_as_one() {
    let stage = Stage::default();
    let cast = stage.subscriber(sandbox::stage::CAPTURE_ONLY_METHOD);
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    stage.adyen.process();
    let _ = stage.adyen.take_notifications();
    let payment = stage.cleeng.payments()[0].id.clone();
    let event = stage.cleeng.refund_event(&payment, &sandbox::cleeng::RefundRequest::default()).unwrap();
    // The journal knows what it was, whatever the event says.
    let mut data = connector::cleeng::webhook::Webhook::parse(&event.body).unwrap().data;
    data["paymentOperation"] = serde_json::Value::Null;
    let event = stage.cleeng.event(connector::cleeng::webhook::Topic::RefundPayment, &data);
    assert_eq!(play(&stage, &event).await, settled("refunded"));
    let told = stage.road.calls().into_iter().rfind(|call| call.method == Method::PATCH).unwrap();
    assert_eq!(told.sent["paymentOperation"], "recurring-payment");
    assert_balanced(&stage);
}

#[tokio::test]
async fn the_same_refund_delivered_five_times_at_every_point_is_one_refund() {
    let (stage, bought) = with_purchase(Stage::default()).await;
    let event = refund_event(&stage, &bought, None, None);
    for _ in 0..5 {
        assert_eq!(stage.deliver(&event).await, settled("refund_received"));
    }
    let waiting = settle_notifications(&stage).await;
    for _ in 0..5 {
        assert_eq!(bring_back(&stage, &waiting[0]).await, settled("refunded"));
        assert_eq!(stage.deliver(&event).await, settled("refunded"));
    }
    assert_eq!((asked(&stage), told(&stage)), (1, 1));
    assert_balanced(&stage);
}

#[tokio::test]
async fn two_deliveries_of_a_refund_at_once_are_one_refund_wherever_they_meet() {
    for head_start in 0..30 {
        let (stage, bought) = with_purchase(Stage::new(|rules| rules.settle_on = SettleOn::Receipt)).await;
        let event = refund_event(&stage, &bought, None, None);
        let (first, second) = at_once(&stage, &event, &event, head_start).await;
        assert!(!matches!(first, Verdict::Parked(_)) && !matches!(second, Verdict::Parked(_)), "{head_start}: {first:?} {second:?}");
        stage.clock.advance(Duration::from_secs(100));
        assert_eq!(stage.deliver_until_settled(&event).await, settled("refunded"));
        stage.adyen.process();
        assert_eq!(told(&stage), 1);
        assert_balanced(&stage);
    }
}

#[tokio::test]
async fn two_different_refunds_at_once_never_promise_more_than_was_captured_wherever_they_meet() {
    for head_start in 0..30 {
        let (stage, bought) = with_purchase(Stage::new(sending)).await;
        let (one, other) = (refund_event(&stage, &bought, Some(600), Some("1")), refund_event(&stage, &bought, Some(600), Some("2")));
        let _ = at_once(&stage, &one, &other, head_start).await;
        stage.clock.advance(Duration::from_secs(100));
        let verdicts = [play(&stage, &one).await, play(&stage, &other).await];
        assert!(verdicts.contains(&settled("refunded")), "{head_start}: {verdicts:?}");
        assert_eq!(stage.adyen.total_refunded("USD"), 600);
        assert_eq!(stage.metrics.count(Metric::Parked, "refund_above_captured"), 1);
        assert_balanced(&stage);
    }
}

#[tokio::test]
async fn with_settle_on_receipt_a_refund_is_reported_at_once_and_settled_later() {
    let (stage, bought) = with_purchase(Stage::new(|rules| rules.settle_on = SettleOn::Receipt)).await;
    assert_eq!(stage.deliver(&refund_event(&stage, &bought, None, None)).await, settled("refunded"));
    let record = read_payment(&stage, &bought.reference).await;
    assert_eq!((record.committed_refunds().unwrap(), record.state), (usd(999), PaymentState::Refunded), "as it was told");
    assert!(settle_notifications(&stage).await.is_empty(), "nobody waits");
    assert_eq!(read_payment(&stage, &bought.reference).await.state, PaymentState::Refunded);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_refund_that_the_gateway_does_not_bring_about_is_told_to_an_operator_and_not_to_cleeng() {
    let (stage, bought) = with_purchase(Stage::default()).await;
    stage.adyen.fail_next_modification("Refused by the scheme");
    let event = refund_event(&stage, &bought, None, None);
    assert_eq!(play(&stage, &event).await, parked("refund_failed"));
    assert_eq!(stage.metrics.count(Metric::Parked, "refund_failed"), 1);
    assert_eq!((statuses(&stage), told(&stage)), (vec![PaymentStatus::Captured], 0));
    assert_eq!(stage.deliver(&event).await, settled("declined"));
    let record = read_payment(&stage, &bought.reference).await;
    assert_eq!((record.state, record.committed_refunds().unwrap()), (PaymentState::Captured, usd(0)));
    // The money is free again: another refund is another obligation.
    let again = refund_event(&stage, &bought, None, Some("2"));
    assert_eq!(play(&stage, &again).await, settled("refunded"));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_gateway_that_refunds_at_once_needs_no_notification() {
    let (stage, bought) = with_purchase(Stage::default()).await;
    let (stage, gateway) = answering(stage, None, Some(Ok(Outcome::Done(Operation::default()))));
    assert_eq!(stage.deliver(&refund_event(&stage, &bought, None, None)).await, settled("refunded"));
    assert_eq!(statuses(&stage), [PaymentStatus::Refunded]);
    assert_eq!(gateway.refunds.lock().unwrap().len(), 1);
    assert_eq!(read_payment(&stage, &bought.reference).await.state, PaymentState::Refunded);
}

#[tokio::test]
async fn a_refund_that_the_gateway_refuses_at_once_frees_its_reservation() {
    let (stage, bought) = with_purchase(Stage::default()).await;
    let decline = Decline::new(DeclineClass::Hard, "too_old");
    let (stage, _) = answering(stage, None, Some(Ok(Outcome::Declined(decline))));
    let event = refund_event(&stage, &bought, None, None);
    assert_eq!(stage.deliver(&event).await, parked("refund_declined"));
    assert_eq!(stage.deliver(&event).await, settled("declined"));
    assert_eq!(read_payment(&stage, &bought.reference).await.committed_refunds().unwrap(), usd(0));
    assert_eq!(told(&stage), 0);
}

#[tokio::test]
async fn a_gateway_that_cannot_refund_is_for_an_operator_and_reserves_nothing() {
    let (stage, bought) = with_purchase(Stage::default()).await;
    let (stage, _) = answering(stage, None, Some(Err(GatewayError::Unsupported)));
    assert_eq!(stage.deliver(&refund_event(&stage, &bought, None, None)).await, parked("gateway_unsupported"));
    assert_eq!(read_payment(&stage, &bought.reference).await.committed_refunds().unwrap(), usd(0));
}

#[tokio::test]
async fn a_partial_refund_is_for_an_operator_unless_it_is_set_to_be_sent() {
    let (stage, bought) = with_purchase(Stage::default()).await;
    let event = refund_event(&stage, &bought, Some(500), None);
    assert_eq!(stage.deliver(&event).await, parked("partial_refund"));
    assert_eq!(stage.deliver(&event).await, settled("parked"));
    assert_eq!((asked(&stage), told(&stage)), (0, 0));
    assert_balanced(&stage);
    // The whole amount, written out, is no partial refund.
    let whole = refund_event(&stage, &bought, Some(999), None);
    assert_eq!(play(&stage, &whole).await, settled("refunded"));
    assert_balanced(&stage);
}

#[tokio::test]
async fn partial_refunds_add_up_to_what_was_captured_and_no_more() {
    let (stage, bought) = with_purchase(Stage::new(sending)).await;
    for (minor, refund) in [(400, "1"), (300, "2")] {
        assert_eq!(play(&stage, &refund_event(&stage, &bought, Some(minor), Some(refund))).await, settled("refunded"));
        assert_balanced(&stage);
    }
    assert_eq!(stage.deliver(&refund_event(&stage, &bought, Some(300), Some("3"))).await, parked("refund_above_captured"));
    assert_eq!(stage.deliver(&refund_event(&stage, &bought, None, Some("4"))).await, parked("full_refund_after_another"));
    assert_eq!(play(&stage, &refund_event(&stage, &bought, Some(299), Some("5"))).await, settled("refunded"));
    assert_eq!(stage.deliver(&refund_event(&stage, &bought, Some(1), Some("6"))).await, parked("already_refunded"));
    assert_eq!(stage.adyen.total_refunded("USD"), 999);
    assert_eq!(read_payment(&stage, &bought.reference).await.state, PaymentState::Refunded);
    let booked: i64 = stage.cleeng.transactions().iter().map(|transaction| transaction.amount.minor).sum();
    assert_eq!(booked, -999, "three parts, each booked once");
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_refund_in_flight_counts_as_given_back() {
    let (stage, bought) = with_purchase(Stage::new(sending)).await;
    assert_eq!(stage.deliver(&refund_event(&stage, &bought, Some(600), Some("1"))).await, settled("refund_received"));
    assert_eq!(stage.deliver(&refund_event(&stage, &bought, Some(400), Some("2"))).await, parked("refund_above_captured"));
    assert_eq!(stage.deliver(&refund_event(&stage, &bought, None, Some("3"))).await, parked("full_refund_after_another"));
    for envelope in settle_notifications(&stage).await {
        assert_eq!(bring_back(&stage, &envelope).await, settled("refunded"));
    }
    assert_balanced(&stage);
}

#[tokio::test]
async fn two_equal_refunds_with_ids_of_their_own_are_two() {
    let (stage, bought) = with_purchase(Stage::new(sending)).await;
    for refund in ["1", "2"] {
        assert_eq!(play(&stage, &refund_event(&stage, &bought, Some(300), Some(refund))).await, settled("refunded"));
    }
    assert_eq!(stage.adyen.total_refunded("USD"), 600);
    assert_balanced(&stage);
}

#[tokio::test]
async fn two_equal_refunds_without_ids_are_one_within_a_day_and_for_an_operator_later() {
    let (stage, bought) = with_purchase(Stage::new(sending)).await;
    let first = refund_event(&stage, &bought, Some(300), None);
    assert_eq!(play(&stage, &first).await, settled("refunded"));
    stage.clock.advance(DAY - Duration::from_secs(1));
    assert_eq!(play(&stage, &refund_event(&stage, &bought, Some(300), None)).await, settled("refunded"));
    assert_eq!(stage.metrics.count(Metric::Duplicate, "refunded"), 1);
    stage.clock.advance(Duration::from_secs(1));
    let later = refund_event(&stage, &bought, Some(300), None);
    assert_eq!(play(&stage, &later).await, parked("refund_repeated"));
    assert_eq!(play(&stage, &later).await, settled("parked"));
    assert_eq!(stage.metrics.count(Metric::Parked, "refund_repeated"), 1);
    // A copy of the first that lay in a queue for a week is as old as the first.
    stage.clock.advance(7 * DAY);
    assert_eq!(stage.deliver(&first).await, settled("parked"));
    assert_eq!((asked(&stage), stage.adyen.total_refunded("USD")), (1, 300));
    assert_balanced(&stage);
}

#[tokio::test]
async fn money_that_is_not_captured_cannot_be_given_back() {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    let held = purchase(&stage, &cast, PaymentStatus::Authorised).await;
    assert_eq!(stage.deliver(&refund_event(&stage, &held, None, None)).await, parked("payment_not_captured"));
    assert_eq!((asked(&stage), told(&stage)), (0, 0));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_refund_waits_for_a_capture_that_is_on_its_way() {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    let held = purchase(&stage, &cast, PaymentStatus::Authorised).await;
    let capture = stage.cleeng.capture_payment_event(&held.payment).unwrap();
    assert!(matches!(stage.deliver(&capture).await, Verdict::Later { .. }));
    let refund = refund_event(&stage, &held, None, None);
    assert_eq!(stage.deliver(&refund).await, Verdict::Later { after: None, reason: "capture_in_flight" });
    stage.adyen.process();
    let _ = stage.adyen.take_notifications();
    stage.clock.advance(Duration::from_secs(3600));
    assert_eq!(stage.deliver(&capture).await, settled("captured"));
    assert_eq!(play(&stage, &refund).await, settled("refunded"));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_refund_that_the_gateway_has_not_settled_in_a_day_is_warned_about() {
    let (stage, bought) = with_purchase(Stage::default()).await;
    let event = refund_event(&stage, &bought, None, None);
    assert_eq!(stage.deliver(&event).await, settled("refund_received"));
    stage.clock.advance(DAY + Duration::from_secs(1));
    assert_eq!(stage.deliver(&event).await, settled("refund_received"));
    assert_eq!(stage.metrics.count(Metric::Warning, "refund_not_settled"), 1);
    let due = connector::journal::store::Store::due(stage.store.as_ref(), stage.clock.now().after(DAY), 10).await.unwrap();
    assert_eq!(due.len(), 1, "reconciliation finds it");
}
