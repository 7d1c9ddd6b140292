//! Refunds of payments that the journal does not know, and inconsistent events.

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::{Topic, Webhook};
use connector::flow::Disposition;
use connector::http::Method;
use connector::journal::payment::PaymentState;
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::{Value, json};

use crate::money::fixtures::{
    SeededPurchase, assert_balanced, completed, deliver_and_settle, parked, read_payment_record, refund_event, seed_foreign_purchase, usd,
    with_seeded_purchase,
};

type EventEdit = fn(&mut Value);

/// A captured purchase that was made before this connector.
async fn with_foreign_purchase() -> (TestEnvironment, SeededPurchase) {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    let bought = seed_foreign_purchase(&env, &subscriber, PaymentStatus::Captured, 0).await;
    (env, bought)
}

fn edited_event(env: &TestEnvironment, event: &SentWebhook, change: impl FnOnce(&mut Value)) -> SentWebhook {
    let mut data = Webhook::parse(&event.body).unwrap().data;
    change(&mut data);
    env.cleeng.event(Topic::RefundPayment, &data)
}

fn assert_nothing_moved(env: &TestEnvironment) {
    assert_eq!(env.network.delivered_count("adyen", &Method::POST, "/refunds"), 0);
    assert_eq!(env.network.delivered_count("cleeng", &Method::PATCH, "/payments/"), 0);
}

#[tokio::test]
async fn a_preexisting_payment_is_refunded_from_its_event_and_order() {
    let (env, bought) = with_foreign_purchase().await;
    let event = refund_event(&env, &bought, Some(999), None);
    for _ in 0..3 {
        assert_eq!(deliver_and_settle(&env, &event).await, completed("refunded"));
    }
    assert_eq!(env.adyen.total_refunded("USD"), 999);
    assert_balanced(&env);
    // The payment method may come from the order.
    let (env, bought) = with_foreign_purchase().await;
    let event = edited_event(&env, &refund_event(&env, &bought, Some(999), None), |data| data["paymentMethodId"] = Value::Null);
    assert_eq!(deliver_and_settle(&env, &event).await, completed("refunded"));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_partial_refund_of_a_preexisting_payment_is_recognised_by_its_order() {
    let (env, bought) = with_foreign_purchase().await;
    assert_eq!(deliver_and_settle(&env, &refund_event(&env, &bought, Some(500), None)).await, parked("partial_refund"));
    assert_nothing_moved(&env);
}

#[tokio::test]
async fn a_preexisting_payment_with_missing_data_is_parked() {
    let lacking: [(&str, &str); 4] = [
        ("externalPaymentId", "unknown_payment_lacks_id"),
        ("paymentId", "unknown_payment_lacks_id"),
        ("orderId", "unknown_payment_lacks_order"),
        ("paymentOperation", "unknown_payment_lacks_operation"),
    ];
    for (field, reason) in lacking {
        let (env, bought) = with_foreign_purchase().await;
        let event = edited_event(&env, &refund_event(&env, &bought, Some(999), None), |data| {
            data.as_object_mut().unwrap().remove(field);
        });
        assert_eq!(env.deliver(&event).await, parked(reason), "{field}");
        assert_eq!(env.deliver(&event).await, completed("parked"), "{field}");
        assert_nothing_moved(&env);
    }
    let odd: [(EventEdit, &str); 4] = [
        (|data| data["amount"] = json!("10.00"), "refund_above_captured"),
        (|data| data["amount"] = json!("9.999"), "refund_amount_unreadable"),
        (|data| data["currency"] = json!("EUR"), "refund_in_another_currency"),
        (|data| data["customerId"] = json!(7), "event_contradicts_order"),
    ];
    for (change, reason) in odd {
        let (env, bought) = with_foreign_purchase().await;
        let event = edited_event(&env, &refund_event(&env, &bought, Some(999), None), change);
        assert_eq!(env.deliver(&event).await, parked(reason));
        assert_nothing_moved(&env);
    }
}

#[tokio::test]
async fn case_30_a_preexisting_payment_is_refunded_in_whole_by_its_order_if_the_event_names_no_amount() {
    for missing in [&["amount"][..], &["amount", "currency"], &["currency"]] {
        let (env, bought) = with_foreign_purchase().await;
        let event = edited_event(&env, &refund_event(&env, &bought, Some(999), None), |data| {
            missing.iter().for_each(|field| drop(data.as_object_mut().unwrap().remove(*field)));
        });
        assert_eq!(deliver_and_settle(&env, &event).await, completed("refunded"), "{missing:?}");
        assert_eq!(env.adyen.total_refunded("USD"), 999);
        assert_balanced(&env);
    }
}

#[tokio::test]
async fn a_payment_without_a_known_owner_is_parked() {
    let (env, bought) = with_foreign_purchase().await;
    let event = edited_event(&env, &refund_event(&env, &bought, Some(999), None), |data| {
        data["paymentMethodId"] = Value::Null;
        data["orderId"] = Value::Null;
    });
    assert_eq!(env.deliver(&event).await, parked("payment_method_unknown"));
    assert_nothing_moved(&env);
}

#[tokio::test]
async fn a_refund_of_another_connectors_payment_does_nothing() {
    let (env, bought) = with_foreign_purchase().await;
    let event = edited_event(&env, &refund_event(&env, &bought, Some(999), None), |data| data["paymentMethodId"] = json!(999_999_999));
    assert_eq!(env.deliver(&event).await, Disposition::NotOurs);
    assert_nothing_moved(&env);
    assert_eq!(env.store.writes(), 0);
}

#[tokio::test]
async fn a_journaled_payment_is_found_by_either_id_and_needs_no_method() {
    for gone in ["externalPaymentId", "paymentId", "paymentMethodId", "orderId", "customerId", "currency", "paymentOperation"] {
        let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
        let event = edited_event(&env, &refund_event(&env, &bought, None, None), |data| {
            data.as_object_mut().unwrap().remove(gone);
        });
        assert_eq!(deliver_and_settle(&env, &event).await, completed("refunded"), "without {gone}");
        assert_balanced(&env);
    }
}

#[tokio::test]
async fn an_event_that_contradicts_the_journal_refunds_nothing() {
    for (field, value) in [("customerId", json!(7)), ("orderId", json!(7)), ("externalPaymentId", json!("OTHER"))] {
        let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
        let event = edited_event(&env, &refund_event(&env, &bought, None, None), |data| data[field] = value);
        assert_eq!(env.deliver(&event).await, parked("event_contradicts_journal"), "{field}");
        assert_nothing_moved(&env);
    }
    for (field, value, reason) in
        [("currency", json!("EUR"), "refund_in_another_currency"), ("amount", json!("9.995"), "refund_amount_unreadable")]
    {
        let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
        let event = edited_event(&env, &refund_event(&env, &bought, Some(999), None), |data| data[field] = value);
        assert_eq!(env.deliver(&event).await, parked(reason), "{field}");
        assert_nothing_moved(&env);
    }
}

#[tokio::test]
async fn an_event_that_names_two_payments_is_refused() {
    let env = TestEnvironment::default();
    let (one, other) = (env.subscriber(ADYEN_METHOD), env.subscriber(ADYEN_METHOD));
    let one = crate::money::fixtures::seed_purchase(&env, &one, PaymentStatus::Captured).await;
    let other = crate::money::fixtures::seed_purchase(&env, &other, PaymentStatus::Captured).await;
    let event = edited_event(&env, &refund_event(&env, &one, None, None), |data| {
        data["externalPaymentId"] = json!(other.external_payment_id.as_str())
    });
    assert_eq!(env.deliver(&event).await, parked("event_contradicts_journal"));
    assert_nothing_moved(&env);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_preexisting_payment_is_imported_once_for_any_number_of_refunds() {
    let env = TestEnvironment::new(|rules| rules.partial_refunds = connector::flow::PartialRefunds::Send);
    let subscriber = env.subscriber(ADYEN_METHOD);
    let bought = seed_foreign_purchase(&env, &subscriber, PaymentStatus::Captured, 0).await;
    let (one, other) = (refund_event(&env, &bought, Some(500), Some("1")), refund_event(&env, &bought, Some(499), Some("2")));
    for head_start in [0, 1, 2, 3, 5, 8] {
        let _ = crate::money::fixtures::deliver_concurrently(&env, &one, &other, head_start).await;
    }
    env.clock.advance(std::time::Duration::from_secs(100));
    assert_eq!(deliver_and_settle(&env, &one).await, completed("refunded"));
    assert_eq!(deliver_and_settle(&env, &other).await, completed("refunded"));
    let lookup: connector::payments::obligation_context::PaymentLookup =
        crate::money::fixtures::read_document(&env, &connector::journal::payment::PaymentRecord::cleeng_id_key(&bought.payment))
            .await
            .unwrap();
    let record = read_payment_record(&env, &lookup.reference).await;
    assert_eq!((record.state, record.refunded), (PaymentState::Refunded, usd(999)));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_failed_query_to_cleeng_is_repeated() {
    for fault in crate::support::faults::FAULTS {
        let (env, bought) = with_foreign_purchase().await;
        env.network.inject(fault, |peer, request| peer == "cleeng" && request.path.contains("/orders/"));
        assert_eq!(deliver_and_settle(&env, &refund_event(&env, &bought, Some(999), None)).await, completed("refunded"));
        assert!(!env.network.has_faults());
        assert_balanced(&env);
    }
}
