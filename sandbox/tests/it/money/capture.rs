//! Captures of authorised single purchases.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::{Topic, Webhook};
use connector::flow::{Disposition, SettleOn};
use connector::http::Method;
use connector::journal::payment::PaymentState;
use connector::reason::RetryReason;
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::{Value, json};

use crate::money::fixtures::{
    SeededPurchase, assert_balanced, completed, crash_at_every_call, deliver_concurrently, parked, read_payment_record,
    seed_foreign_purchase, seed_purchase, statuses, update_payment_record, usd,
};
use crate::support::faults::FAULTS;

/// An environment with an authorised single purchase and the event that asks for its capture.
async fn with_authorised_purchase(settle_on: SettleOn) -> (TestEnvironment, SeededPurchase, SentWebhook) {
    let env = TestEnvironment::new(|rules| rules.settle_on = settle_on);
    let subscriber = env.subscriber(ADYEN_METHOD);
    let bought = seed_purchase(&env, &subscriber, PaymentStatus::Authorised).await;
    let event = env.cleeng.capture_payment_event(&bought.payment).unwrap();
    (env, bought, event)
}

fn capture_counts(env: &TestEnvironment) -> (usize, usize) {
    (env.network.delivered_count("adyen", &Method::POST, "/captures"), env.network.delivered_count("cleeng", &Method::PATCH, "/payments/"))
}

fn assert_captured(env: &TestEnvironment) {
    env.adyen.process();
    assert_eq!(statuses(env), [PaymentStatus::Captured]);
    assert_eq!(env.adyen.total_captured("USD"), 999);
    assert_balanced(env);
}

fn edited_event(env: &TestEnvironment, event: &SentWebhook, change: impl FnOnce(&mut Value)) -> SentWebhook {
    let mut data = Webhook::parse(&event.body).unwrap().data;
    change(&mut data);
    env.cleeng.event(Topic::CapturePayment, &data)
}

#[tokio::test]
async fn an_authorised_single_purchase_is_captured_once_and_reported_once() {
    let (env, bought, event) = with_authorised_purchase(SettleOn::Notification).await;
    assert!(matches!(env.deliver(&event).await, Disposition::Retry { reason: RetryReason::CaptureReceived, .. }));
    assert_eq!(statuses(&env), [PaymentStatus::Authorised], "taken is not captured");
    for _ in 0..5 {
        assert_eq!(env.deliver_until_settled(&event).await, completed("captured"));
    }
    assert_eq!(capture_counts(&env), (1, 1));
    assert_captured(&env);
    let record = read_payment_record(&env, &bought.reference).await;
    assert_eq!((record.state, record.captured), (PaymentState::Captured, usd(999)));
}

#[tokio::test]
async fn two_concurrent_deliveries_capture_once_at_every_interleaving() {
    for head_start in 0..25 {
        let (env, _, event) = with_authorised_purchase(SettleOn::Receipt).await;
        let _ = deliver_concurrently(&env, &event, &event, head_start).await;
        env.clock.advance(Duration::from_secs(100));
        assert_eq!(env.deliver_until_settled(&event).await, completed("captured"), "{head_start}");
        assert_captured(&env);
    }
}

/// Preconditions are asked again right before money moves: of a single purchase, its order.
#[tokio::test]
async fn nothing_is_captured_while_the_order_cannot_be_read() {
    let is_order = |peer: &str, request: &ServerRequest| peer == "cleeng" && request.path.contains("/orders/");
    let (env, _, event) = with_authorised_purchase(SettleOn::Receipt).await;
    for _ in 0..3 {
        env.network.inject(Fault::NotSent, is_order);
        assert!(matches!(env.deliver(&event).await, Disposition::Retry { reason: RetryReason::CleengUnreachable, .. }));
        env.clock.advance(Duration::from_secs(100));
    }
    assert_eq!(capture_counts(&env), (0, 0));
    assert_eq!(env.deliver_until_settled(&event).await, completed("captured"));
    assert_captured(&env);
}

#[tokio::test]
async fn a_crash_anywhere_in_a_capture_leaves_one_capture() {
    for settle_on in [SettleOn::Receipt, SettleOn::Notification] {
        let scene = async || {
            let (env, _, event) = with_authorised_purchase(settle_on).await;
            (env, event)
        };
        let act = async |env: &TestEnvironment, event: &_| {
            env.deliver_until_settled(event).await;
        };
        let afterwards = async |env: &TestEnvironment, event: &_, context: &str| {
            assert_eq!(env.deliver_until_settled(event).await, completed("captured"), "{context}");
            assert_captured(env);
        };
        let crashes = crash_at_every_call(scene, act, afterwards).await;
        assert_eq!(crashes, if settle_on == SettleOn::Receipt { 2 * 6 } else { 2 * 7 });
    }
}

#[tokio::test]
async fn a_fault_at_any_call_leaves_one_capture() {
    let calls: [fn(&str, &ServerRequest) -> bool; 2] = [
        |peer, request| peer == "adyen" && request.path.ends_with("/captures"),
        |peer, request| peer == "cleeng" && request.path.contains("/payments/"),
    ];
    for call in calls {
        for fault in FAULTS {
            let (env, _, event) = with_authorised_purchase(SettleOn::Receipt).await;
            env.network.inject(fault, call);
            assert_eq!(env.deliver_until_settled(&event).await, completed("captured"));
            assert_captured(&env);
        }
    }
}

#[tokio::test]
async fn a_lost_report_of_a_purchase_without_details_cannot_be_queried_and_is_parked() {
    use sandbox::simulators::network::Fault;
    for fault in [Fault::TimeoutAfter, Fault::StatusAfter(500), Fault::TimeoutBefore] {
        let (env, bought, event) = with_authorised_purchase(SettleOn::Receipt).await;
        remove_details_from_record(&env, &bought).await;
        env.network.inject(fault, |peer, request| peer == "cleeng" && request.path.contains("/payments/"));
        assert_eq!(env.deliver_until_settled(&event).await, parked("report_unknown"));
        assert_eq!(env.deliver(&event).await, completed("parked"));
        assert!(capture_counts(&env).1 <= 1 && env.cleeng.violations().is_empty());
    }
}

async fn remove_details_from_record(env: &TestEnvironment, bought: &SeededPurchase) {
    update_payment_record(env, bought, |record| record.details = None).await;
}

#[tokio::test]
async fn a_lapsed_authorisation_is_parked_from_its_expiry_on() {
    for (left, disposition) in [(Duration::ZERO, parked("authorisation_lapsed")), (Duration::from_secs(1), completed("captured"))] {
        let (env, bought, event) = with_authorised_purchase(SettleOn::Receipt).await;
        let lapses = connector::clock::Clock::now(&env.clock).after(left);
        update_payment_record(&env, &bought, |record| record.expires_at = Some(lapses)).await;
        assert_eq!(env.deliver(&event).await, disposition, "{left:?}");
        assert_eq!(capture_counts(&env).0, usize::from(left > Duration::ZERO));
    }
}

#[tokio::test]
async fn a_purchase_leased_by_another_worker_is_awaited_for_an_hour_and_then_parked() {
    let (env, bought, event) = with_authorised_purchase(SettleOn::Receipt).await;
    update_payment_record(&env, &bought, |record| record.state = PaymentState::Capturing).await;
    let wait = env.flow_context.policy.capture_wait;
    let received_at = connector::clock::Clock::now(&env.clock);
    let event = env.verify(&event);
    for passed in [Duration::ZERO, wait - Duration::from_secs(1)] {
        env.clock.advance_to(received_at.after(passed));
        let disposition = env.deliver_event(&event, received_at).await;
        assert_eq!(disposition, Disposition::Retry { after: None, reason: RetryReason::PaymentInFlight }, "{passed:?}");
    }
    env.clock.advance_to(received_at.after(wait));
    assert_eq!(env.deliver_event(&event, received_at).await, parked("payment_in_flight_too_long"));
    assert_eq!(capture_counts(&env), (0, 0));
}

#[tokio::test]
async fn a_capture_that_fails_later_is_reported_as_rejected() {
    let (env, bought, event) = with_authorised_purchase(SettleOn::Notification).await;
    env.adyen.fail_next_modification("Refused");
    assert!(matches!(env.deliver(&event).await, Disposition::Retry { .. }));
    env.adyen.process();
    // As the gateway's notification records it.
    let now = connector::clock::Clock::now(&env.clock);
    update_payment_record(&env, &bought, |record| record.transition_to(PaymentState::CaptureFailed, now).unwrap()).await;
    assert_eq!(env.deliver(&event).await, completed("declined"));
    assert_eq!((statuses(&env), env.adyen.total_captured("USD")), (vec![PaymentStatus::Rejected], 0));
}

#[tokio::test]
async fn a_preexisting_purchase_is_found_on_cleengs_list_of_the_events_details() {
    let env = TestEnvironment::new(|rules| rules.settle_on = SettleOn::Receipt);
    let subscriber = env.subscriber(ADYEN_METHOD);
    let bought = seed_foreign_purchase(&env, &subscriber, PaymentStatus::Authorised, 0).await;
    let bare = env.cleeng.capture_payment_event(&bought.payment).unwrap();
    let named = edited_event(&env, &bare, |data| data["paymentDetailsId"] = json!(subscriber.ids.details.as_str()));
    for _ in 0..3 {
        assert_eq!(env.deliver(&named).await, completed("captured"));
    }
    assert_captured(&env);
}

#[tokio::test]
async fn an_unknown_purchase_is_parked() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    let bought = seed_foreign_purchase(&env, &subscriber, PaymentStatus::Authorised, 0).await;
    let event = env.cleeng.capture_payment_event(&bought.payment).unwrap();
    assert_eq!(env.deliver(&event).await, parked("payment_unknown_to_journal"));
    assert_eq!(env.deliver(&event).await, completed("parked"));
    // Details that hold another payment do not help.
    let other = edited_event(&env, &event, |data| {
        data["paymentId"] = json!(7);
        data["paymentDetailsId"] = json!(subscriber.ids.details.as_str());
    });
    assert_eq!(env.deliver(&other).await, parked("payment_unknown_to_journal"));
    let nobodys = edited_event(&env, &event, |data| {
        data["paymentId"] = json!(8);
        data["paymentMethodId"] = Value::Null;
        data["orderId"] = Value::Null;
    });
    assert_eq!(env.deliver(&nobodys).await, parked("payment_method_unknown"));
    assert_eq!(capture_counts(&env), (0, 0));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_purchase_of_another_connector_is_left_alone() {
    let (env, _, event) = with_authorised_purchase(SettleOn::Notification).await;
    let foreign = edited_event(&env, &event, |data| data["paymentMethodId"] = json!(999_999_999));
    assert_eq!(env.deliver(&foreign).await, Disposition::NotOurs);
    assert_eq!(capture_counts(&env), (0, 0));
}

#[tokio::test]
async fn a_renewal_is_never_captured_by_capture_payment() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(Duration::from_secs(72 * 3600)));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
    let payment = env.cleeng.payments()[0].id.clone();
    let event = env.cleeng.capture_payment_event(&payment).unwrap();
    assert_eq!(env.deliver(&event).await, parked("payment_of_a_renewal"));
    assert_eq!(capture_counts(&env), (0, 0));
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_renewal_unknown_to_the_journal_is_never_captured_by_capture_payment() {
    for (field, value) in [("subscriptionId", json!(7)), ("paymentOperation", json!("recurring-payment"))] {
        let env = TestEnvironment::new(|rules| rules.settle_on = SettleOn::Receipt);
        let subscriber = env.subscriber(ADYEN_METHOD);
        let bought = seed_foreign_purchase(&env, &subscriber, PaymentStatus::Authorised, 0).await;
        let bare = env.cleeng.capture_payment_event(&bought.payment).unwrap();
        let event = edited_event(&env, &bare, |data| {
            data["paymentDetailsId"] = json!(subscriber.ids.details.as_str());
            (data["subscriptionId"], data["paymentOperation"]) = (Value::Null, Value::Null);
            data[field] = value;
        });
        assert_eq!(env.deliver(&event).await, parked("payment_of_a_renewal"), "{field}");
        assert_eq!(capture_counts(&env), (0, 0), "{field}");
    }
}

#[tokio::test]
async fn a_captured_purchase_is_done_and_one_that_is_not_authorised_is_parked() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    let bought = seed_purchase(&env, &subscriber, PaymentStatus::Captured).await;
    let event = env.cleeng.capture_payment_event(&bought.payment).unwrap();
    assert_eq!(env.deliver(&event).await, completed("captured"));
    assert_eq!(capture_counts(&env), (0, 0));
    assert_balanced(&env);
    let (env, bought, event) = with_authorised_purchase(SettleOn::Notification).await;
    let gone = env.cleeng.deactivation_event(&env.cleeng.payments()[0].details.clone().unwrap()).unwrap();
    assert_eq!(env.deliver(&gone).await, completed("deactivated"));
    assert_eq!(env.deliver(&event).await, parked("payment_not_authorised"));
    assert_eq!((capture_counts(&env).0, read_payment_record(&env, &bought.reference).await.state), (0, PaymentState::Cancelling));
}

#[tokio::test]
async fn an_event_that_contradicts_the_journal_captures_nothing() {
    for (field, value) in [("customerId", json!(7)), ("orderId", json!(7)), ("externalPaymentId", json!("OTHER"))] {
        let (env, _, event) = with_authorised_purchase(SettleOn::Notification).await;
        let event = edited_event(&env, &event, |data| data[field] = value);
        assert_eq!(env.deliver(&event).await, parked("event_contradicts_journal"), "{field}");
        assert_eq!(capture_counts(&env), (0, 0));
    }
}

#[tokio::test]
async fn an_authorisation_of_a_purchase_is_not_captured_for_a_renewal() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    seed_purchase(&env, &subscriber, PaymentStatus::Authorised).await;
    env.clock.advance_to(subscriber.due.after(env.flow_context.policy.capture_wait));
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, parked("capture_without_authorisation"));
    assert_eq!((capture_counts(&env), statuses(&env)), ((0, 0), vec![PaymentStatus::Authorised]));
}
