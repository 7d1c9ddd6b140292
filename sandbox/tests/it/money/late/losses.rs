//! Rule 4, captured holds that expire; and rule 9: a dedupe key is as fine as the event, and no finer than the loss.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::{BillingMode, Disposition};
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::metrics::Metric;
use connector::reason::{CompletionReason, RetryReason};
use sandbox::testkit::notifications::notification_path;

use super::{DAY, Renewal};

#[tokio::test]
async fn rule_4_case_9_a_hold_that_was_told_captured_and_expires_is_a_loss() {
    let renewal = Renewal::authorised_and_due(GatewayName::Adyen).await;
    let capture = renewal.env.capture_event(&renewal.subscriber);
    let received = renewal.env.deliver(&capture).await;
    assert!(matches!(received, Disposition::Retry { reason: RetryReason::CaptureReceived, .. }), "{received:?}");
    // The gateway loses the request, and stays silent.
    renewal.env.adyen.drop_modifications();
    renewal.env.clock.advance(Duration::from_secs(45 * 60));
    assert_eq!(renewal.env.deliver(&capture).await, Disposition::Completed(CompletionReason::Captured));
    assert_eq!(renewal.statuses(), [PaymentStatus::Captured]);
    renewal.env.clock.advance(25 * DAY);
    renewal.env.adyen.expire(renewal.id_of_first().as_str());
    renewal.settle().await;
    assert_eq!((renewal.statuses(), renewal.kept()), (vec![PaymentStatus::Refunded], 0));
    assert_eq!(renewal.env.metrics.count(Metric::Alarm, "captured_authorisation_ended"), 1);
    renewal.assert_balanced();
}

async fn charged(gateway: GatewayName) -> Renewal {
    let renewal = Renewal::new(gateway, BillingMode::CaptureOnly);
    assert_eq!(renewal.env.run_event(&renewal.attempt_now()).await, renewal.completion());
    renewal
}

#[tokio::test]
async fn rule_9_case_20_a_second_loss_after_a_won_one_is_heard() {
    for gateway in GatewayName::ALL {
        let renewal = charged(*gateway).await;
        let (simulator, payment) = (renewal.env.gateway(*gateway).simulator.clone(), renewal.id_of_first());
        for lost in 1..=3 {
            simulator.charge_back(&payment);
            renewal.env.run_until_idle().await;
            assert_eq!(renewal.env.metrics.count(Metric::Alarm, "chargeback"), lost, "{gateway}");
            let record = renewal.env.payment_record(&renewal.ledger()[0].reference).await;
            assert_eq!(record["state"], "charged_back", "{gateway}");
            simulator.return_charge_back(&payment);
            renewal.env.run_until_idle().await;
            assert_eq!(renewal.env.metrics.count(Metric::Alarm, "chargeback_reversed"), lost, "{gateway}");
        }
        assert_eq!(renewal.env.network.delivered_count("cleeng", &Method::PATCH, "/payments/"), 1, "{gateway}: Cleeng is told once");
        assert_eq!(renewal.statuses(), [PaymentStatus::Refunded], "{gateway}");
    }
}

#[tokio::test]
async fn rule_9_a_dispute_and_the_reversal_that_follows_from_it_are_one_loss() {
    for reversal_first in [true, false] {
        let renewal = charged(GatewayName::PayPal).await;
        let payment = renewal.id_of_first();
        let mut messages = Vec::new();
        for (number, dispute) in ["PP-D-1", "PP-D-2"].into_iter().enumerate() {
            renewal.env.paypal.charge_back(payment.as_str());
            messages.extend(renewal.env.collect_notifications().await);
            renewal.env.paypal.resolve_dispute(payment.as_str(), dispute, true);
            messages.extend(renewal.env.collect_notifications().await);
            if !reversal_first {
                messages.reverse();
            }
            renewal.env.deliver_messages_until_settled(&std::mem::take(&mut messages)).await;
            assert_eq!(renewal.env.metrics.count(Metric::Alarm, "chargeback"), number + 1);
            renewal.env.paypal.resolve_dispute(payment.as_str(), dispute, false);
            renewal.env.run_until_idle().await;
            assert_eq!(renewal.env.metrics.count(Metric::Alarm, "chargeback_reversed"), number + 1);
        }
        assert_eq!(renewal.statuses(), [PaymentStatus::Refunded]);
    }
}

#[tokio::test]
async fn rule_9_a_whole_reversal_after_a_partial_one_is_heard() {
    let renewal = charged(GatewayName::PayPal).await;
    let payment = renewal.id_of_first();
    let reversal = |id: &str, value: &str| {
        serde_json::json!({
            "id": id, "status": "COMPLETED", "amount": { "currency_code": "USD", "value": value },
            "links": [{ "rel": "up", "method": "GET", "href": format!("https://api-m.sandbox.paypal.com/v2/payments/captures/{payment}") }],
        })
    };
    for (id, value) in [("7HB20000000000001", "3.00"), ("7HB20000000000002", "9.99")] {
        let posted = renewal.env.paypal.notification("PAYMENT.CAPTURE.REVERSED", "refund", reversal(id, value));
        let headers: serde_json::Value =
            posted.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default())).collect();
        let path = notification_path(GatewayName::PayPal);
        let messages = renewal.env.post_notification(&path, &headers, &posted.body).await.messages;
        renewal.env.deliver_messages_until_settled(&messages).await;
    }
    assert_eq!(renewal.env.metrics.count(Metric::Parked, "notification_names_another_amount"), 1, "the partial one is an operator's");
    assert_eq!(renewal.env.metrics.count(Metric::Alarm, "chargeback"), 1, "and swallows nothing");
    assert_eq!(renewal.statuses(), [PaymentStatus::Refunded]);
}
