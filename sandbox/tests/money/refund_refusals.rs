//! What keeps a refund from being asked for at all: found out before the money moves, not after.

use connector::cleeng::webhook::{Topic, Webhook};
use connector::journal::payment::{PaymentRecord, PaymentState};
use sandbox::stage::Stage;
use serde_json::Value;

use crate::world::{assert_balanced, parked, play, refund_event, rewrite, settled, usd, with_purchase};

type Change = fn(&mut PaymentRecord);

#[tokio::test]
async fn money_that_was_never_taken_or_is_gone_already_is_not_given_back() {
    let changes: [(&str, Change); 5] = [
        ("payment_charged_back", |record| record.state = PaymentState::ChargedBack),
        ("already_refunded", |record| (record.state, record.refunded) = (PaymentState::Refunded, usd(999))),
        ("nothing_was_captured", |record| record.free = true),
        ("nothing_was_captured", |record| record.captured = usd(0)),
        ("nothing_was_captured", |record| record.external_payment_id = None),
    ];
    for (number, (reason, change)) in changes.into_iter().enumerate() {
        let (stage, bought) = with_purchase(Stage::default()).await;
        rewrite(&stage, &bought, change).await;
        // The event names the payment by Cleeng's id alone.
        let mut data = Webhook::parse(&refund_event(&stage, &bought, None, None).body).unwrap().data;
        data["externalPaymentId"] = Value::Null;
        let event = stage.cleeng.event(Topic::RefundPayment, &data);
        assert_eq!(stage.deliver(&event).await, parked(reason), "{number}");
        assert_eq!(stage.road.reached("adyen", &connector::http::Method::POST, "/refunds"), 0, "{number}");
    }
}

#[tokio::test]
async fn a_refund_is_reported_with_the_order_of_the_journal_or_of_the_event_and_never_without_one() {
    for (in_journal, in_event, verdict) in [
        (true, true, settled("refunded")),
        (true, false, settled("refunded")),
        (false, true, settled("refunded")),
        (false, false, parked("refund_cannot_be_reported")),
    ] {
        let (stage, bought) = with_purchase(Stage::default()).await;
        let mut data = Webhook::parse(&refund_event(&stage, &bought, None, None).body).unwrap().data;
        if !in_journal {
            rewrite(&stage, &bought, |record| record.order = None).await;
        }
        data["orderId"] = if in_event { Value::from(bought.order.as_str()) } else { Value::Null };
        let event = stage.cleeng.event(Topic::RefundPayment, &data);
        assert_eq!(play(&stage, &event).await, verdict, "{in_journal} {in_event}");
        let given_back = if verdict == settled("refunded") { 999 } else { 0 };
        assert_eq!(stage.adyen.total_refunded("USD"), given_back, "{in_journal} {in_event}");
        assert_balanced(&stage);
    }
}
