//! Conditions that prevent a refund, detected before money moves.

use connector::cleeng::webhook::{Topic, Webhook};
use connector::journal::payment::{PaymentRecord, PaymentState};
use sandbox::testkit::harness::TestEnvironment;
use serde_json::Value;

use crate::money::fixtures::{
    assert_balanced, completed, deliver_and_settle, parked, refund_event, update_payment_record, usd, with_seeded_purchase,
};

type RecordEdit = fn(&mut PaymentRecord);

#[tokio::test]
async fn money_that_was_never_captured_or_is_lost_is_not_refunded() {
    let changes: [(&str, RecordEdit); 5] = [
        ("payment_charged_back", |record| record.state = PaymentState::ChargedBack),
        ("already_refunded", |record| (record.state, record.refunded) = (PaymentState::Refunded, usd(999))),
        ("nothing_was_captured", |record| record.zero_amount = true),
        ("nothing_was_captured", |record| record.captured = usd(0)),
        ("nothing_was_captured", |record| record.external_payment_id = None),
    ];
    for (number, (reason, change)) in changes.into_iter().enumerate() {
        let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
        update_payment_record(&env, &bought, change).await;
        // The event names the payment by Cleeng's id alone.
        let mut data = Webhook::parse(&refund_event(&env, &bought, None, None).body).unwrap().data;
        data["externalPaymentId"] = Value::Null;
        let event = env.cleeng.event(Topic::RefundPayment, &data);
        assert_eq!(env.deliver(&event).await, parked(reason), "{number}");
        assert_eq!(env.network.delivered_count("adyen", &connector::http::Method::POST, "/refunds"), 0, "{number}");
    }
}

#[tokio::test]
async fn a_refund_is_reported_with_the_order_of_the_journal_or_of_the_event_and_never_without_one() {
    for (in_journal, in_event, disposition) in [
        (true, true, completed("refunded")),
        (true, false, completed("refunded")),
        (false, true, completed("refunded")),
        (false, false, parked("refund_cannot_be_reported")),
    ] {
        let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
        let mut data = Webhook::parse(&refund_event(&env, &bought, None, None).body).unwrap().data;
        if !in_journal {
            update_payment_record(&env, &bought, |record| record.order = None).await;
        }
        data["orderId"] = if in_event { Value::from(bought.order.as_str()) } else { Value::Null };
        let event = env.cleeng.event(Topic::RefundPayment, &data);
        assert_eq!(deliver_and_settle(&env, &event).await, disposition, "{in_journal} {in_event}");
        let given_back = if disposition == completed("refunded") { 999 } else { 0 };
        assert_eq!(env.adyen.total_refunded("USD"), given_back, "{in_journal} {in_event}");
        assert_balanced(&env);
    }
}
