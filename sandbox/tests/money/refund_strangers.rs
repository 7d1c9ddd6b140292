//! Refunds of payments that the journal does not know, and events that do not add up.

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::{Topic, Webhook};
use connector::flow::Verdict;
use connector::http::Method;
use connector::journal::payment::PaymentState;
use sandbox::cleeng::SentWebhook;
use sandbox::stage::{METHOD, Stage};
use serde_json::{Value, json};

use crate::world::{Bought, assert_balanced, parked, play, purchase_of_others, read_payment, refund_event, settled, usd, with_purchase};

type Change = fn(&mut Value);

/// A captured purchase that was made before this connector.
async fn older() -> (Stage, Bought) {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    let bought = purchase_of_others(&stage, &cast, PaymentStatus::Captured, 0).await;
    (stage, bought)
}

fn changed(stage: &Stage, event: &SentWebhook, change: impl FnOnce(&mut Value)) -> SentWebhook {
    let mut data = Webhook::parse(&event.body).unwrap().data;
    change(&mut data);
    stage.cleeng.event(Topic::RefundPayment, &data)
}

fn nothing_moved(stage: &Stage) {
    assert_eq!(stage.road.reached("adyen", &Method::POST, "/refunds"), 0);
    assert_eq!(stage.road.reached("cleeng", &Method::PATCH, "/payments/"), 0);
}

#[tokio::test]
async fn a_payment_made_before_this_connector_is_refunded_from_what_the_event_and_its_order_tell() {
    let (stage, bought) = older().await;
    let event = refund_event(&stage, &bought, Some(999), None);
    for _ in 0..3 {
        assert_eq!(play(&stage, &event).await, settled("refunded"));
    }
    assert_eq!(stage.adyen.total_refunded("USD"), 999);
    assert_balanced(&stage);
    // The payment method may come from the order.
    let (stage, bought) = older().await;
    let event = changed(&stage, &refund_event(&stage, &bought, Some(999), None), |data| data["paymentMethodId"] = Value::Null);
    assert_eq!(play(&stage, &event).await, settled("refunded"));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_partial_refund_of_an_older_payment_is_known_as_one_by_its_order() {
    let (stage, bought) = older().await;
    assert_eq!(play(&stage, &refund_event(&stage, &bought, Some(500), None)).await, parked("partial_refund"));
    nothing_moved(&stage);
}

#[tokio::test]
async fn an_older_payment_of_which_anything_would_have_to_be_guessed_is_for_an_operator() {
    let lacking: [(&str, &str); 6] = [
        ("externalPaymentId", "unknown_payment_lacks_id_or_amount"),
        ("amount", "unknown_payment_lacks_id_or_amount"),
        ("currency", "unknown_payment_lacks_id_or_amount"),
        ("paymentId", "unknown_payment_lacks_id_or_amount"),
        ("orderId", "unknown_payment_lacks_order"),
        ("paymentOperation", "unknown_payment_lacks_operation"),
    ];
    for (field, reason) in lacking {
        let (stage, bought) = older().await;
        let event = changed(&stage, &refund_event(&stage, &bought, Some(999), None), |data| {
            data.as_object_mut().unwrap().remove(field);
        });
        assert_eq!(stage.deliver(&event).await, parked(reason), "{field}");
        assert_eq!(stage.deliver(&event).await, settled("parked"), "{field}");
        nothing_moved(&stage);
    }
    let (stage, bought) = older().await;
    let odd: [(Change, &str); 4] = [
        (|data| data["amount"] = json!("10.00"), "refund_above_captured"),
        (|data| data["amount"] = json!("9.999"), "refund_amount_unreadable"),
        (|data| data["currency"] = json!("EUR"), "refund_in_another_currency"),
        (|data| data["customerId"] = json!(7), "event_contradicts_order"),
    ];
    for (change, reason) in odd {
        let event = changed(&stage, &refund_event(&stage, &bought, Some(999), None), change);
        assert_eq!(stage.deliver(&event).await, parked(reason));
        nothing_moved(&stage);
    }
}

#[tokio::test]
async fn whose_payment_it_is_nobody_tells_is_for_an_operator() {
    let (stage, bought) = older().await;
    let event = changed(&stage, &refund_event(&stage, &bought, Some(999), None), |data| {
        data["paymentMethodId"] = Value::Null;
        data["orderId"] = Value::Null;
    });
    assert_eq!(stage.deliver(&event).await, parked("whose_event_is_unknown"));
    nothing_moved(&stage);
}

#[tokio::test]
async fn a_refund_of_another_connectors_payment_does_nothing() {
    let (stage, bought) = older().await;
    let event = changed(&stage, &refund_event(&stage, &bought, Some(999), None), |data| data["paymentMethodId"] = json!(999_999_999));
    assert_eq!(stage.deliver(&event).await, Verdict::NotOurs);
    nothing_moved(&stage);
    assert_eq!(stage.store.writes(), 0);
}

#[tokio::test]
async fn a_journaled_payment_is_found_by_either_id_and_needs_no_method() {
    for gone in ["externalPaymentId", "paymentId", "paymentMethodId", "orderId", "customerId", "currency", "paymentOperation"] {
        let (stage, bought) = with_purchase(Stage::default()).await;
        let event = changed(&stage, &refund_event(&stage, &bought, None, None), |data| {
            data.as_object_mut().unwrap().remove(gone);
        });
        assert_eq!(play(&stage, &event).await, settled("refunded"), "without {gone}");
        assert_balanced(&stage);
    }
}

#[tokio::test]
async fn an_event_that_contradicts_the_journal_gives_nothing_back() {
    for (field, value) in [("customerId", json!(7)), ("orderId", json!(7)), ("externalPaymentId", json!("OTHER"))] {
        let (stage, bought) = with_purchase(Stage::default()).await;
        let event = changed(&stage, &refund_event(&stage, &bought, None, None), |data| data[field] = value);
        assert_eq!(stage.deliver(&event).await, parked("event_contradicts_journal"), "{field}");
        nothing_moved(&stage);
    }
    for (field, value, reason) in
        [("currency", json!("EUR"), "refund_in_another_currency"), ("amount", json!("9.995"), "refund_amount_unreadable")]
    {
        let (stage, bought) = with_purchase(Stage::default()).await;
        let event = changed(&stage, &refund_event(&stage, &bought, Some(999), None), |data| data[field] = value);
        assert_eq!(stage.deliver(&event).await, parked(reason), "{field}");
        nothing_moved(&stage);
    }
}

#[tokio::test]
async fn two_payments_in_one_event_are_neither() {
    let stage = Stage::default();
    let (one, other) = (stage.subscriber(METHOD), stage.subscriber(METHOD));
    let one = crate::world::purchase(&stage, &one, PaymentStatus::Captured).await;
    let other = crate::world::purchase(&stage, &other, PaymentStatus::Captured).await;
    let event = changed(&stage, &refund_event(&stage, &one, None, None), |data| data["externalPaymentId"] = json!(other.external.as_str()));
    assert_eq!(stage.deliver(&event).await, parked("event_contradicts_journal"));
    nothing_moved(&stage);
    assert_balanced(&stage);
}

#[tokio::test]
async fn an_older_payment_is_taken_over_once_however_many_refunds_ask_for_it() {
    let stage = Stage::new(|rules| rules.partial_refunds = connector::flow::PartialRefunds::Send);
    let cast = stage.subscriber(METHOD);
    let bought = purchase_of_others(&stage, &cast, PaymentStatus::Captured, 0).await;
    let (one, other) = (refund_event(&stage, &bought, Some(500), Some("1")), refund_event(&stage, &bought, Some(499), Some("2")));
    for head_start in [0, 1, 2, 3, 5, 8] {
        let _ = crate::world::at_once(&stage, &one, &other, head_start).await;
    }
    stage.clock.advance(std::time::Duration::from_secs(100));
    assert_eq!(play(&stage, &one).await, settled("refunded"));
    assert_eq!(play(&stage, &other).await, settled("refunded"));
    let lookup: connector::billing::case::Lookup =
        crate::world::read(&stage, &connector::journal::payment::PaymentRecord::by_cleeng(&bought.payment)).await.unwrap();
    let record = read_payment(&stage, &lookup.reference).await;
    assert_eq!((record.state, record.refunded), (PaymentState::Refunded, usd(999)));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_question_to_cleeng_that_goes_wrong_is_asked_again() {
    for fault in crate::faults::FAULTS {
        let (stage, bought) = older().await;
        stage.road.lay(fault, |peer, request| peer == "cleeng" && request.path.contains("/orders/"));
        assert_eq!(play(&stage, &refund_event(&stage, &bought, Some(999), None)).await, settled("refunded"));
        assert!(!stage.road.has_faults());
        assert_balanced(&stage);
    }
}
