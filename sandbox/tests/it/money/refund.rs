//! The rules of refunds.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::{Disposition, PartialRefunds, SettleOn};
use connector::gateway::{Decline, DeclineClass, GatewayError, Operation, Outcome};
use connector::http::Method;
use connector::journal::payment::PaymentState;
use connector::metrics::Metric;
use connector::reason::RetryReason;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;

use crate::money::fixtures::{
    assert_balanced, completed, deliver_and_settle, deliver_concurrently, deliver_requeued, parked, read_payment_record, refund_event,
    seed_purchase, settle_notifications, statuses, usd, with_seeded_purchase,
};
use crate::money::scripted_gateway::with_scripted_gateway;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn send_partial_refunds(rules: &mut connector::flow::BillingPolicy) {
    rules.partial_refunds = PartialRefunds::Send;
}

fn reports(env: &TestEnvironment) -> usize {
    env.network.delivered_count("cleeng", &Method::PATCH, "/payments/")
}

fn refund_requests(env: &TestEnvironment) -> usize {
    env.network.delivered_count("adyen", &Method::POST, "/refunds")
}

#[tokio::test]
async fn a_full_refund_is_reported_when_the_gateway_confirms_it() {
    let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
    let event = refund_event(&env, &bought, None, None);
    let before = env.store.writes();
    assert_eq!(env.deliver(&event).await, completed("refund_received"));
    // Acknowledged is not refunded: nothing is reported to Cleeng yet, however long it takes and however often the event comes.
    env.clock.advance(Duration::from_secs(3600));
    assert_eq!(env.deliver(&event).await, completed("refund_received"));
    assert_eq!((statuses(&env), reports(&env), refund_requests(&env)), (vec![PaymentStatus::Captured], 0, 1));
    let record = read_payment_record(&env, &bought.reference).await;
    assert_eq!((record.refunded, record.committed_refunds().unwrap()), (usd(0), usd(999)));
    let waiting = settle_notifications(&env).await;
    assert_eq!(waiting.len(), 1);
    assert_eq!(deliver_requeued(&env, &waiting[0]).await, completed("refunded"));
    assert_eq!(env.store.writes() - before, 4 + 1, "four of the flow, one of the notification");
    let record = read_payment_record(&env, &bought.reference).await;
    assert_eq!((record.state, record.refunded), (PaymentState::Refunded, usd(999)));
    assert_eq!((statuses(&env), reports(&env), refund_requests(&env)), (vec![PaymentStatus::Refunded], 1, 1));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_refund_of_a_renewal_is_reported_as_one() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(sandbox::testkit::gateway_fixtures::ADYEN_CAPTURE_ONLY_METHOD);
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    env.adyen.process();
    let _ = env.adyen.take_notifications();
    let payment = env.cleeng.payments()[0].id.clone();
    let event = env.cleeng.refund_event(&payment, &sandbox::simulators::cleeng::OperatorRefund::default()).unwrap();
    // The journal decides, not the event.
    let mut data = connector::cleeng::webhook::Webhook::parse(&event.body).unwrap().data;
    data["paymentOperation"] = serde_json::Value::Null;
    let event = env.cleeng.event(connector::cleeng::webhook::Topic::RefundPayment, &data);
    assert_eq!(deliver_and_settle(&env, &event).await, completed("refunded"));
    let told = env.network.calls().into_iter().rfind(|call| call.method == Method::PATCH).unwrap();
    assert_eq!(told.request_body["paymentOperation"], "recurring-payment");
    assert_balanced(&env);
}

#[tokio::test]
async fn the_same_refund_delivered_five_times_at_every_point_is_one_refund() {
    let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
    let event = refund_event(&env, &bought, None, None);
    for _ in 0..5 {
        assert_eq!(env.deliver(&event).await, completed("refund_received"));
    }
    let waiting = settle_notifications(&env).await;
    for _ in 0..5 {
        assert_eq!(deliver_requeued(&env, &waiting[0]).await, completed("refunded"));
        assert_eq!(env.deliver(&event).await, completed("refunded"));
    }
    assert_eq!((refund_requests(&env), reports(&env)), (1, 1));
    assert_balanced(&env);
}

#[tokio::test]
async fn two_concurrent_deliveries_of_a_refund_are_one_refund_at_every_interleaving() {
    for head_start in 0..30 {
        let (env, bought) = with_seeded_purchase(TestEnvironment::new(|rules| rules.settle_on = SettleOn::Receipt)).await;
        let event = refund_event(&env, &bought, None, None);
        let (first, second) = deliver_concurrently(&env, &event, &event, head_start).await;
        assert!(
            !matches!(first, Disposition::Parked(_)) && !matches!(second, Disposition::Parked(_)),
            "{head_start}: {first:?} {second:?}"
        );
        env.clock.advance(Duration::from_secs(100));
        assert_eq!(env.deliver_until_settled(&event).await, completed("refunded"));
        env.adyen.process();
        assert_eq!(reports(&env), 1);
        assert_balanced(&env);
    }
}

#[tokio::test]
async fn two_concurrent_refunds_never_reserve_more_than_was_captured_at_every_interleaving() {
    for head_start in 0..30 {
        let (env, bought) = with_seeded_purchase(TestEnvironment::new(send_partial_refunds)).await;
        let (one, other) = (refund_event(&env, &bought, Some(600), Some("1")), refund_event(&env, &bought, Some(600), Some("2")));
        let _ = deliver_concurrently(&env, &one, &other, head_start).await;
        env.clock.advance(Duration::from_secs(100));
        let dispositions = [deliver_and_settle(&env, &one).await, deliver_and_settle(&env, &other).await];
        assert!(dispositions.contains(&completed("refunded")), "{head_start}: {dispositions:?}");
        assert_eq!(env.adyen.total_refunded("USD"), 600);
        assert_eq!(env.metrics.count(Metric::Parked, "refund_above_captured"), 1);
        assert_balanced(&env);
    }
}

#[tokio::test]
async fn with_settle_on_receipt_a_refund_is_reported_at_once_and_settled_later() {
    let (env, bought) = with_seeded_purchase(TestEnvironment::new(|rules| rules.settle_on = SettleOn::Receipt)).await;
    assert_eq!(env.deliver(&refund_event(&env, &bought, None, None)).await, completed("refunded"));
    let record = read_payment_record(&env, &bought.reference).await;
    assert_eq!((record.committed_refunds().unwrap(), record.state), (usd(999), PaymentState::Refunded), "as it was told");
    assert!(settle_notifications(&env).await.is_empty(), "nobody waits");
    assert_eq!(read_payment_record(&env, &bought.reference).await.state, PaymentState::Refunded);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_refund_that_fails_at_the_gateway_is_parked_and_not_reported() {
    let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
    env.adyen.fail_next_modification("Refused by the scheme");
    let event = refund_event(&env, &bought, None, None);
    assert_eq!(deliver_and_settle(&env, &event).await, parked("refund_failed"));
    assert_eq!(env.metrics.count(Metric::Parked, "refund_failed"), 1);
    assert_eq!((statuses(&env), reports(&env)), (vec![PaymentStatus::Captured], 0));
    assert_eq!(env.deliver(&event).await, completed("parked"));
    let record = read_payment_record(&env, &bought.reference).await;
    assert_eq!((record.state, record.committed_refunds().unwrap()), (PaymentState::Captured, usd(0)));
    // The money is free again: another refund is another obligation.
    let again = refund_event(&env, &bought, None, Some("2"));
    assert_eq!(deliver_and_settle(&env, &again).await, completed("refunded"));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_gateway_that_refunds_at_once_needs_no_notification() {
    let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
    let (env, gateway) = with_scripted_gateway(env, None, Some(Ok(Outcome::Done(Operation::default()))));
    assert_eq!(env.deliver(&refund_event(&env, &bought, None, None)).await, completed("refunded"));
    assert_eq!(statuses(&env), [PaymentStatus::Refunded]);
    assert_eq!(gateway.refunds.lock().unwrap().len(), 1);
    assert_eq!(read_payment_record(&env, &bought.reference).await.state, PaymentState::Refunded);
}

#[tokio::test]
async fn a_refund_that_the_gateway_refuses_at_once_frees_its_reservation() {
    let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
    let decline = Decline::new(DeclineClass::Hard, "too_old");
    let (env, _) = with_scripted_gateway(env, None, Some(Ok(Outcome::Declined(decline))));
    let event = refund_event(&env, &bought, None, None);
    assert_eq!(env.deliver(&event).await, parked("refund_declined"));
    assert_eq!(env.deliver(&event).await, completed("parked"));
    assert_eq!(read_payment_record(&env, &bought.reference).await.committed_refunds().unwrap(), usd(0));
    assert_eq!(reports(&env), 0);
}

#[tokio::test]
async fn a_gateway_that_cannot_refund_parks_the_refund_and_reserves_nothing() {
    let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
    let (env, _) = with_scripted_gateway(env, None, Some(Err(GatewayError::Unsupported)));
    assert_eq!(env.deliver(&refund_event(&env, &bought, None, None)).await, parked("gateway_unsupported"));
    assert_eq!(read_payment_record(&env, &bought.reference).await.committed_refunds().unwrap(), usd(0));
}

#[tokio::test]
async fn a_partial_refund_is_parked_unless_sending_is_enabled() {
    let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
    let event = refund_event(&env, &bought, Some(500), None);
    assert_eq!(env.deliver(&event).await, parked("partial_refund"));
    assert_eq!(env.deliver(&event).await, completed("parked"));
    assert_eq!((refund_requests(&env), reports(&env)), (0, 0));
    assert_balanced(&env);
    // The whole amount, written out, is no partial refund.
    let whole = refund_event(&env, &bought, Some(999), None);
    assert_eq!(deliver_and_settle(&env, &whole).await, completed("refunded"));
    assert_balanced(&env);
}

#[tokio::test]
async fn partial_refunds_add_up_to_what_was_captured_and_no_more() {
    let (env, bought) = with_seeded_purchase(TestEnvironment::new(send_partial_refunds)).await;
    for (minor, refund) in [(400, "1"), (300, "2")] {
        assert_eq!(deliver_and_settle(&env, &refund_event(&env, &bought, Some(minor), Some(refund))).await, completed("refunded"));
        assert_balanced(&env);
    }
    assert_eq!(env.deliver(&refund_event(&env, &bought, Some(300), Some("3"))).await, parked("refund_above_captured"));
    assert_eq!(env.deliver(&refund_event(&env, &bought, None, Some("4"))).await, parked("full_refund_after_another"));
    assert_eq!(deliver_and_settle(&env, &refund_event(&env, &bought, Some(299), Some("5"))).await, completed("refunded"));
    assert_eq!(env.deliver(&refund_event(&env, &bought, Some(1), Some("6"))).await, parked("already_refunded"));
    assert_eq!(env.adyen.total_refunded("USD"), 999);
    assert_eq!(read_payment_record(&env, &bought.reference).await.state, PaymentState::Refunded);
    let booked: i64 = env.cleeng.transactions().iter().map(|transaction| transaction.amount.minor).sum();
    assert_eq!(booked, -999, "three parts, each booked once");
    assert_balanced(&env);
}

#[tokio::test]
async fn a_refund_in_flight_counts_as_refunded() {
    let (env, bought) = with_seeded_purchase(TestEnvironment::new(send_partial_refunds)).await;
    assert_eq!(env.deliver(&refund_event(&env, &bought, Some(600), Some("1"))).await, completed("refund_received"));
    assert_eq!(env.deliver(&refund_event(&env, &bought, Some(400), Some("2"))).await, parked("refund_above_captured"));
    assert_eq!(env.deliver(&refund_event(&env, &bought, None, Some("3"))).await, parked("full_refund_after_another"));
    for envelope in settle_notifications(&env).await {
        assert_eq!(deliver_requeued(&env, &envelope).await, completed("refunded"));
    }
    assert_balanced(&env);
}

#[tokio::test]
async fn two_equal_refunds_with_ids_of_their_own_are_two() {
    let (env, bought) = with_seeded_purchase(TestEnvironment::new(send_partial_refunds)).await;
    for refund in ["1", "2"] {
        assert_eq!(deliver_and_settle(&env, &refund_event(&env, &bought, Some(300), Some(refund))).await, completed("refunded"));
    }
    assert_eq!(env.adyen.total_refunded("USD"), 600);
    assert_balanced(&env);
}

#[tokio::test]
async fn two_equal_refunds_without_ids_are_one_within_a_day_and_parked_later() {
    let (env, bought) = with_seeded_purchase(TestEnvironment::new(send_partial_refunds)).await;
    let first = refund_event(&env, &bought, Some(300), None);
    assert_eq!(deliver_and_settle(&env, &first).await, completed("refunded"));
    env.clock.advance(DAY - Duration::from_secs(1));
    assert_eq!(deliver_and_settle(&env, &refund_event(&env, &bought, Some(300), None)).await, completed("refunded"));
    assert_eq!(env.metrics.count(Metric::Duplicate, "refunded"), 1);
    env.clock.advance(Duration::from_secs(1));
    let later = refund_event(&env, &bought, Some(300), None);
    assert_eq!(deliver_and_settle(&env, &later).await, parked("refund_repeated"));
    assert_eq!(deliver_and_settle(&env, &later).await, completed("parked"));
    assert_eq!(env.metrics.count(Metric::Parked, "refund_repeated"), 1);
    // A copy of the first that lay in a queue for a week is as old as the first.
    env.clock.advance(7 * DAY);
    assert_eq!(env.deliver(&first).await, completed("parked"));
    assert_eq!((refund_requests(&env), env.adyen.total_refunded("USD")), (1, 300));
    assert_balanced(&env);
}

#[tokio::test]
async fn money_that_is_not_captured_cannot_be_refunded() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    let held = seed_purchase(&env, &subscriber, PaymentStatus::Authorised).await;
    assert_eq!(env.deliver(&refund_event(&env, &held, None, None)).await, parked("payment_not_captured"));
    assert_eq!((refund_requests(&env), reports(&env)), (0, 0));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_refund_waits_for_a_capture_in_flight() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    let held = seed_purchase(&env, &subscriber, PaymentStatus::Authorised).await;
    let capture = env.cleeng.capture_payment_event(&held.payment).unwrap();
    assert!(matches!(env.deliver(&capture).await, Disposition::Retry { .. }));
    let refund = refund_event(&env, &held, None, None);
    assert_eq!(env.deliver(&refund).await, Disposition::Retry { after: None, reason: RetryReason::CaptureInFlight });
    env.adyen.process();
    let _ = env.adyen.take_notifications();
    env.clock.advance(Duration::from_secs(3600));
    assert_eq!(env.deliver(&capture).await, completed("captured"));
    assert_eq!(deliver_and_settle(&env, &refund).await, completed("refunded"));
    assert_balanced(&env);
}
