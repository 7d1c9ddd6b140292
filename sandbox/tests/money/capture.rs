//! Captures of authorised single purchases.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::{Topic, Webhook};
use connector::flow::{SettleOn, Verdict};
use connector::http::Method;
use connector::journal::payment::PaymentState;
use sandbox::cleeng::SentWebhook;
use sandbox::peer::PeerRequest;
use sandbox::stage::{METHOD, Stage};
use serde_json::{Value, json};

use crate::faults::FAULTS;
use crate::world::{
    Bought, assert_balanced, at_once, die_everywhere, parked, purchase, purchase_of_others, read_payment, rewrite, settled, statuses, usd,
};

/// A stage with an authorised single purchase and the event that asks for its capture.
async fn held(settle_on: SettleOn) -> (Stage, Bought, SentWebhook) {
    let stage = Stage::new(|rules| rules.settle_on = settle_on);
    let cast = stage.subscriber(METHOD);
    let bought = purchase(&stage, &cast, PaymentStatus::Authorised).await;
    let event = stage.cleeng.capture_payment_event(&bought.payment).unwrap();
    (stage, bought, event)
}

fn captures(stage: &Stage) -> (usize, usize) {
    (stage.road.reached("adyen", &Method::POST, "/captures"), stage.road.reached("cleeng", &Method::PATCH, "/payments/"))
}

fn assert_captured(stage: &Stage) {
    stage.adyen.process();
    assert_eq!(statuses(stage), [PaymentStatus::Captured]);
    assert_eq!(stage.adyen.total_captured("USD"), 999);
    assert_balanced(stage);
}

fn changed(stage: &Stage, event: &SentWebhook, change: impl FnOnce(&mut Value)) -> SentWebhook {
    let mut data = Webhook::parse(&event.body).unwrap().data;
    change(&mut data);
    stage.cleeng.event(Topic::CapturePayment, &data)
}

#[tokio::test]
async fn an_authorised_single_purchase_is_captured_once_and_reported_once() {
    let (stage, bought, event) = held(SettleOn::Notification).await;
    assert!(matches!(stage.deliver(&event).await, Verdict::Later { reason: "capture_received", .. }));
    assert_eq!(statuses(&stage), [PaymentStatus::Authorised], "taken is not captured");
    for _ in 0..5 {
        assert_eq!(stage.deliver_until_settled(&event).await, settled("captured"));
    }
    assert_eq!(captures(&stage), (1, 1));
    assert_captured(&stage);
    let record = read_payment(&stage, &bought.reference).await;
    assert_eq!((record.state, record.captured), (PaymentState::Captured, usd(999)));
}

#[tokio::test]
async fn two_deliveries_at_once_capture_once_wherever_they_meet() {
    for head_start in 0..25 {
        let (stage, _, event) = held(SettleOn::Receipt).await;
        let _ = at_once(&stage, &event, &event, head_start).await;
        stage.clock.advance(Duration::from_secs(100));
        assert_eq!(stage.deliver_until_settled(&event).await, settled("captured"), "{head_start}");
        assert_captured(&stage);
    }
}

#[tokio::test]
async fn a_worker_that_dies_anywhere_in_a_capture_leaves_one_capture() {
    for settle_on in [SettleOn::Receipt, SettleOn::Notification] {
        let scene = async || {
            let (stage, _, event) = held(settle_on).await;
            (stage, event)
        };
        let act = async |stage: &Stage, event: &_| {
            stage.deliver_until_settled(event).await;
        };
        let afterwards = async |stage: &Stage, event: &_, context: &str| {
            assert_eq!(stage.deliver_until_settled(event).await, settled("captured"), "{context}");
            assert_captured(stage);
        };
        let deaths = die_everywhere(scene, act, afterwards).await;
        assert_eq!(deaths, if settle_on == SettleOn::Receipt { 2 * 5 } else { 2 * 6 });
    }
}

#[tokio::test]
async fn whatever_happens_to_any_one_call_there_is_one_capture() {
    let calls: [fn(&str, &PeerRequest) -> bool; 2] = [
        |peer, request| peer == "adyen" && request.path.ends_with("/captures"),
        |peer, request| peer == "cleeng" && request.path.contains("/payments/"),
    ];
    for call in calls {
        for fault in FAULTS {
            let (stage, _, event) = held(SettleOn::Receipt).await;
            stage.road.lay(fault, call);
            assert_eq!(stage.deliver_until_settled(&event).await, settled("captured"));
            assert_captured(&stage);
        }
    }
}

#[tokio::test]
async fn a_lost_report_of_a_purchase_without_details_cannot_be_asked_about_and_is_for_an_operator() {
    use sandbox::peer::Fault;
    for fault in [Fault::TimeoutAfter, Fault::StatusAfter(500), Fault::TimeoutBefore] {
        let (stage, bought, event) = held(SettleOn::Receipt).await;
        forget_details(&stage, &bought).await;
        stage.road.lay(fault, |peer, request| peer == "cleeng" && request.path.contains("/payments/"));
        assert_eq!(stage.deliver_until_settled(&event).await, parked("report_unknown"));
        assert_eq!(stage.deliver(&event).await, settled("parked"));
        assert!(captures(&stage).1 <= 1 && stage.cleeng.violations().is_empty());
    }
}

async fn forget_details(stage: &Stage, bought: &Bought) {
    rewrite(stage, bought, |record| record.details = None).await;
}

#[tokio::test]
async fn a_hold_that_lapsed_is_for_an_operator_from_that_very_moment() {
    for (left, verdict) in [(Duration::ZERO, parked("authorisation_lapsed")), (Duration::from_secs(1), settled("captured"))] {
        let (stage, bought, event) = held(SettleOn::Receipt).await;
        let lapses = connector::clock::Clock::now(&stage.clock).after(left);
        rewrite(&stage, &bought, |record| record.expires_at = Some(lapses)).await;
        assert_eq!(stage.deliver(&event).await, verdict, "{left:?}");
        assert_eq!(captures(&stage).0, usize::from(left > Duration::ZERO));
    }
}

#[tokio::test]
async fn a_purchase_that_another_worker_is_at_is_waited_for_an_hour_and_then_for_an_operator() {
    let (stage, bought, event) = held(SettleOn::Receipt).await;
    rewrite(&stage, &bought, |record| record.state = PaymentState::Capturing).await;
    let wait = stage.world.rules.capture_wait;
    let received_at = connector::clock::Clock::now(&stage.clock);
    let event = stage.verified(&event);
    for passed in [Duration::ZERO, wait - Duration::from_secs(1)] {
        stage.clock.advance_to(received_at.after(passed));
        let verdict = stage.deliver_event(&event, received_at).await;
        assert_eq!(verdict, Verdict::Later { after: None, reason: "payment_in_flight" }, "{passed:?}");
    }
    stage.clock.advance_to(received_at.after(wait));
    assert_eq!(stage.deliver_event(&event, received_at).await, parked("payment_in_flight_too_long"));
    assert_eq!(captures(&stage), (0, 0));
}

#[tokio::test]
async fn a_capture_that_fails_later_is_reported_as_rejected() {
    let (stage, bought, event) = held(SettleOn::Notification).await;
    stage.adyen.fail_next_modification("Refused");
    assert!(matches!(stage.deliver(&event).await, Verdict::Later { .. }));
    stage.adyen.process();
    // As the gateway's notification records it.
    let now = connector::clock::Clock::now(&stage.clock);
    rewrite(&stage, &bought, |record| record.become_state(PaymentState::CaptureFailed, now).unwrap()).await;
    assert_eq!(stage.deliver(&event).await, settled("declined"));
    assert_eq!((statuses(&stage), stage.adyen.total_captured("USD")), (vec![PaymentStatus::Rejected], 0));
}

#[tokio::test]
async fn a_purchase_made_before_this_connector_is_found_on_cleengs_list_of_the_events_details() {
    let stage = Stage::new(|rules| rules.settle_on = SettleOn::Receipt);
    let cast = stage.subscriber(METHOD);
    let bought = purchase_of_others(&stage, &cast, PaymentStatus::Authorised, 0).await;
    let bare = stage.cleeng.capture_payment_event(&bought.payment).unwrap();
    let named = changed(&stage, &bare, |data| data["paymentDetailsId"] = json!(cast.subscriber.details.as_str()));
    for _ in 0..3 {
        assert_eq!(stage.deliver(&named).await, settled("captured"));
    }
    assert_captured(&stage);
}

#[tokio::test]
async fn a_purchase_that_nobody_knows_is_for_an_operator() {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    let bought = purchase_of_others(&stage, &cast, PaymentStatus::Authorised, 0).await;
    let event = stage.cleeng.capture_payment_event(&bought.payment).unwrap();
    assert_eq!(stage.deliver(&event).await, parked("payment_unknown_to_journal"));
    assert_eq!(stage.deliver(&event).await, settled("parked"));
    // Details that hold another payment do not help.
    let other = changed(&stage, &event, |data| {
        data["paymentId"] = json!(7);
        data["paymentDetailsId"] = json!(cast.subscriber.details.as_str());
    });
    assert_eq!(stage.deliver(&other).await, parked("payment_unknown_to_journal"));
    let nobodys = changed(&stage, &event, |data| {
        data["paymentId"] = json!(8);
        data["paymentMethodId"] = Value::Null;
        data["orderId"] = Value::Null;
    });
    assert_eq!(stage.deliver(&nobodys).await, parked("whose_event_is_unknown"));
    assert_eq!(captures(&stage), (0, 0));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_purchase_of_another_connector_is_left_alone() {
    let (stage, _, event) = held(SettleOn::Notification).await;
    let foreign = changed(&stage, &event, |data| data["paymentMethodId"] = json!(999_999_999));
    assert_eq!(stage.deliver(&foreign).await, Verdict::NotOurs);
    assert_eq!(captures(&stage), (0, 0));
}

#[tokio::test]
async fn a_renewal_is_never_captured_from_here() {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3600)));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, settled("authorised"));
    let payment = stage.cleeng.payments()[0].id.clone();
    let event = stage.cleeng.capture_payment_event(&payment).unwrap();
    assert_eq!(stage.deliver(&event).await, parked("payment_of_a_renewal"));
    assert_eq!(captures(&stage), (0, 0));
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_renewal_that_the_journal_does_not_know_is_never_captured_from_here_whatever_tells_that_it_is_one() {
    for (field, value) in [("subscriptionId", json!(7)), ("paymentOperation", json!("recurring-payment"))] {
        let stage = Stage::new(|rules| rules.settle_on = SettleOn::Receipt);
        let cast = stage.subscriber(METHOD);
        let bought = purchase_of_others(&stage, &cast, PaymentStatus::Authorised, 0).await;
        let bare = stage.cleeng.capture_payment_event(&bought.payment).unwrap();
        let event = changed(&stage, &bare, |data| {
            data["paymentDetailsId"] = json!(cast.subscriber.details.as_str());
            (data["subscriptionId"], data["paymentOperation"]) = (Value::Null, Value::Null);
            data[field] = value;
        });
        assert_eq!(stage.deliver(&event).await, parked("payment_of_a_renewal"), "{field}");
        assert_eq!(captures(&stage), (0, 0), "{field}");
    }
}

#[tokio::test]
async fn what_is_captured_already_is_done_and_what_is_not_authorised_is_for_an_operator() {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    let bought = purchase(&stage, &cast, PaymentStatus::Captured).await;
    let event = stage.cleeng.capture_payment_event(&bought.payment).unwrap();
    assert_eq!(stage.deliver(&event).await, settled("captured"));
    assert_eq!(captures(&stage), (0, 0));
    assert_balanced(&stage);
    let (stage, bought, event) = held(SettleOn::Notification).await;
    let gone = stage.cleeng.deactivation_event(&stage.cleeng.payments()[0].details.clone().unwrap()).unwrap();
    assert_eq!(stage.deliver(&gone).await, settled("deactivated"));
    assert_eq!(stage.deliver(&event).await, parked("payment_not_authorised"));
    assert_eq!((captures(&stage).0, read_payment(&stage, &bought.reference).await.state), (0, PaymentState::Cancelling));
}

#[tokio::test]
async fn an_event_that_contradicts_the_journal_captures_nothing() {
    for (field, value) in [("customerId", json!(7)), ("orderId", json!(7)), ("externalPaymentId", json!("OTHER"))] {
        let (stage, _, event) = held(SettleOn::Notification).await;
        let event = changed(&stage, &event, |data| data[field] = value);
        assert_eq!(stage.deliver(&event).await, parked("event_contradicts_journal"), "{field}");
        assert_eq!(captures(&stage), (0, 0));
    }
}

#[tokio::test]
async fn what_is_held_for_a_purchase_of_ours_is_not_captured_for_a_renewal() {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    purchase(&stage, &cast, PaymentStatus::Authorised).await;
    stage.clock.advance_to(cast.due.after(stage.world.rules.capture_wait));
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, parked("capture_without_authorisation"));
    assert_eq!((captures(&stage), statuses(&stage)), ((0, 0), vec![PaymentStatus::Authorised]));
}
