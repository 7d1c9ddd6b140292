//! What the ingress accepts, what it rejects, and what has no effect behind it.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::gateway::{GatewayName, GatewayText, IdempotencyKey, OperationKind, Reference};
use connector::lambda::queue::UnverifiedNotification;
use connector::metrics::Metric;
use connector::reason::RetryReason;
use connector::secret::SecretString;
use sandbox::simulators::adyen::{AdyenConfig, AdyenSimulator};
use sandbox::simulators::network::Fault;
use sandbox::testkit::gateway_fixtures::adyen_config;
use sandbox::testkit::harness::TestEnvironment;
use sandbox::testkit::notifications::ADYEN_NOTIFICATION_PATH;
use serde_json::{Value, json};

use crate::notifications::{
    assert_balanced, authorised, captured, capturing, completed, only_payment_ids, payment_record, payment_state, statuses,
};

/// The bodies of several notifications as one.
fn batch(bodies: &[String]) -> String {
    let items =
        bodies.iter().flat_map(|body| serde_json::from_str::<Value>(body).unwrap()["notificationItems"].as_array().unwrap().clone());
    json!({ "live": "false", "notificationItems": items.collect::<Vec<_>>() }).to_string()
}

fn adapter_of_other_account(env: &TestEnvironment, change: impl FnOnce(&mut AdyenConfig)) -> AdyenSimulator {
    let mut config = adyen_config();
    change(&mut config);
    AdyenSimulator::new(config, std::sync::Arc::new(env.clock.clone()))
}

#[tokio::test]
async fn a_notification_without_a_valid_signature_has_no_effect() {
    let (env, _) = capturing().await;
    env.adyen.process();
    let body = env.adyen.take_notifications().pop().unwrap();
    let (writes, before) = (env.store.writes(), payment_record(&env).await);
    let forger = adapter_of_other_account(&env, |config| config.hmac_key = "00".repeat(32));
    let (psp, reference) = only_payment_ids(&env);
    let cases: Vec<(Vec<u8>, u64)> = vec![
        (forger.notification("CAPTURE", true, "F0RGED0000000001", &psp, &reference).into_bytes(), 401),
        (body.replace("\"value\":999", "\"value\":998").into_bytes(), 401),
        (body.replace("hmacSignature", "signature").into_bytes(), 401),
        (body.as_bytes()[..body.len() / 2].to_vec(), 400),
        (b"\xff\xfe\xfd".to_vec(), 400),
        (Vec::new(), 400),
        (format!("{body}{}", " ".repeat(1_048_576)).into_bytes(), 413),
    ];
    for (body, status) in cases {
        let posted = env.post_notification(ADYEN_NOTIFICATION_PATH, &json!({}), &body).await;
        assert_eq!((posted.status, posted.messages.len()), (status, 0), "{}", posted.body);
    }
    for (route, status) in [("/gateways/paypal/notifications", 401), ("/gateways/nobody/notifications", 404)] {
        assert_eq!(env.post_notification(route, &json!({}), body.as_bytes()).await.status, status, "{route}");
    }
    assert_eq!((env.store.writes(), payment_record(&env).await), (writes, before));
}

/// Seed 5. PayPal's certificate and its answer both out of reach is an outage: nobody's signature is bad, and PayPal tells it again.
#[tokio::test]
async fn a_notification_that_cannot_be_verified_now_is_deferred_and_not_counted_as_forged() {
    let env = TestEnvironment::default();
    let fixture = env.gateway(GatewayName::PayPal);
    let subscriber = env.subscriber(fixture.method);
    env.clock.advance_to(subscriber.due.before(Duration::from_secs(72 * 3_600)));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
    env.clock.advance_to(subscriber.due);
    env.deliver_until_settled(&env.capture_event(&subscriber)).await;
    fixture.simulator.process();
    let told = fixture.simulator.take_notifications().pop().unwrap();
    let headers: Value = told.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    for _ in 0..2 {
        env.network.inject(Fault::NotSent, |_, request| request.path.contains("/certs/"));
        env.network.inject(Fault::StatusBefore(503), |_, request| request.path.ends_with("verify-webhook-signature"));
    }
    let posted = env.post_notification("/gateways/paypal/notifications", &headers, &told.body).await;
    assert_eq!((posted.status, posted.messages.len()), (503, 0), "{}", posted.body);
    assert_eq!(env.metrics.count(Metric::SignatureFailure, ""), 0);
    env.clock.advance(Duration::from_secs(60));
    let again = env.post_notification("/gateways/paypal/notifications", &headers, &told.body).await;
    assert_eq!(again.status, 503, "{}", again.body);
    env.clock.advance(Duration::from_secs(60));
    let at_last = env.post_notification("/gateways/paypal/notifications", &headers, &told.body).await;
    assert_eq!(at_last.status, 200, "{}", at_last.body);
}

#[tokio::test]
async fn a_bad_item_does_not_block_the_good_ones() {
    let (env, _) = capturing().await;
    env.adyen.process();
    let mut bodies = env.adyen.take_notifications();
    let forger = adapter_of_other_account(&env, |config| config.hmac_key = "00".repeat(32));
    bodies.insert(1, forger.notification("CAPTURE", false, "F0RGED0000000001", "X", "clg-x"));
    let posted = env.post_notification(ADYEN_NOTIFICATION_PATH, &json!({}), batch(&bodies).as_bytes()).await;
    assert_eq!((posted.status, posted.messages.len()), (200, 3), "the good items are queued, and the body is kept aside");
    assert_eq!(env.metrics.count(Metric::Alarm, "notification_kept_aside"), 1);
    let items: Vec<String> = posted.messages.into_iter().filter(|text| UnverifiedNotification::from_text(text).is_none()).collect();
    assert_eq!(env.deliver_messages_until_settled(&items).await, [completed("authorised"), completed("captured")]);
    assert_eq!(env.deliver_requeued().await, [completed("captured")]);
    assert_balanced(&env);
}

#[tokio::test]
async fn other_accounts_and_other_systems_are_accepted_and_ignored() {
    let (env, _) = capturing().await;
    let (psp, reference) = only_payment_ids(&env);
    let other = adapter_of_other_account(&env, |config| config.merchant_account = "AnotherMerchantPOS".to_owned());
    for body in [
        other.notification("CAPTURE", true, "0THER00000000001", &psp, &reference),
        env.adyen.notification("CHARGEBACK", true, "0THER00000000002", "0THER00000000003", "shop-order-17"),
        env.adyen.notification("BRAND_NEW_KIND", true, "0THER00000000004", "0THER00000000003", "shop-order-17"),
        env.adyen.notification("NOTIFICATION_OF_CHARGEBACK", true, "0THER00000000005", &psp, &reference),
    ] {
        assert_eq!(env.post_accepted_notification(&json!({}), body.as_bytes()).await.len(), 0);
    }
    assert_eq!(env.metrics.count(Metric::EventNotOurs, ""), 4);
    assert_eq!(payment_state(&env).await, "capturing");
}

#[tokio::test]
async fn an_item_about_a_payment_of_ours_that_is_not_understood_rings() {
    let (env, _) = captured().await;
    let (psp, reference) = only_payment_ids(&env);
    let before = payment_record(&env).await;
    for (code, number) in [("MANUAL_REVIEW_REJECT", 1), ("PREARBITRATION_LOST", 2), ("BRAND_NEW_KIND", 3)] {
        let body = env.adyen.notification(code, true, &format!("0DDC0DE00000000{number}"), &psp, &reference);
        let messages = env.post_accepted_notification(&json!({}), body.as_bytes()).await;
        assert_eq!(env.deliver_messages_until_settled(&messages).await, [completed("not_understood")], "{code}");
        assert_eq!(env.metrics.count(Metric::Alarm, "notification_not_understood"), number);
    }
    assert_eq!(payment_record(&env).await["state"], before["state"]);
}

#[tokio::test]
async fn a_payment_that_was_cancelled_or_refunded_by_another_system_is_released_or_parked() {
    let (env, _) = authorised().await;
    let (psp, reference) = only_payment_ids(&env);
    let body = env.adyen.notification("CANCEL_OR_REFUND", true, "REVERSAL00000001", &psp, &reference);
    let messages = env.post_accepted_notification(&json!({}), body.as_bytes()).await;
    assert_eq!(env.deliver_messages_until_settled(&messages).await, [completed("cancelled_or_refunded")]);
    assert_eq!(payment_state(&env).await, "cancelled");

    let (env, _) = captured().await;
    let (psp, reference) = only_payment_ids(&env);
    let body = env.adyen.notification("CANCEL_OR_REFUND", true, "REVERSAL00000002", &psp, &reference);
    let messages = env.post_accepted_notification(&json!({}), body.as_bytes()).await;
    let parked = Disposition::Parked("refund_without_our_request".parse().unwrap());
    assert_eq!(env.deliver_messages_until_settled(&messages).await, [parked]);
    assert_eq!(payment_state(&env).await, "captured");
}

/// Disputes of Stripe and PayPal have been seen with up to 150 KB.
#[tokio::test]
async fn a_large_notification_is_taken_and_a_signed_one_that_is_too_large_rings() {
    let (env, _) = capturing().await;
    env.adyen.process();
    let body = env.adyen.take_notifications().pop().unwrap();
    let large = format!("{body}{}", " ".repeat(200_000));
    assert_eq!(env.post_accepted_notification(&json!({}), large.as_bytes()).await.len(), 1);
    let forged = format!("{}{}", body.replace("\"value\":999", "\"value\":998"), " ".repeat(1_100_000));
    assert_eq!(env.post_notification(ADYEN_NOTIFICATION_PATH, &json!({}), forged.as_bytes()).await.status, 413);
    assert_eq!(env.metrics.count(Metric::Alarm, "notification_too_large"), 0, "nobody signed it");
    let signed = format!("{body}{}", " ".repeat(1_100_000));
    assert_eq!(env.post_notification(ADYEN_NOTIFICATION_PATH, &json!({}), signed.as_bytes()).await.status, 413);
    assert_eq!(env.metrics.count(Metric::Alarm, "notification_too_large"), 1);
}

#[tokio::test]
async fn reports_and_notices_of_change_that_nobody_signs_hold_back_nothing() {
    let (env, _) = capturing().await;
    env.adyen.process();
    let report = env.adyen.unsigned_report();
    let change = json!({ "type": "ach.notificationOfChange", "version": "1", "data": { "pspReference": only_payment_ids(&env).0 } });
    for body in [report.clone(), change.to_string()] {
        assert_eq!(env.post_accepted_notification(&json!({}), body.as_bytes()).await.len(), 0, "{body}");
    }
    let mut bodies = env.adyen.take_notifications();
    bodies.insert(0, report);
    let messages = env.post_accepted_notification(&json!({}), batch(&bodies).as_bytes()).await;
    assert_eq!(env.deliver_messages_until_settled(&messages).await, [completed("authorised"), completed("captured")]);
    assert_eq!((env.metrics.count(Metric::Alarm, ""), env.metrics.count(Metric::SignatureFailure, "")), (0, 0));
}

#[tokio::test]
async fn a_payment_of_ours_that_is_not_recorded_is_waited_for_and_another_deployments_is_not() {
    let env = TestEnvironment::default();
    let delivered = async |salt: &SecretString| {
        let key = IdempotencyKey::derive(salt, GatewayText("adyen"), OperationKind::Charge, "period#1", "1");
        let reference = Reference::from_key(&key);
        let body = env.adyen.notification("CAPTURE", true, "0URS000000000001", "0URS000000000002", reference.as_str());
        let messages = env.post_accepted_notification(&json!({}), body.as_bytes()).await;
        env.deliver_notification(&messages[0]).await
    };
    let waits = Disposition::Retry { after: None, reason: RetryReason::PaymentNotRecorded };
    assert_eq!(delivered(&env.flow_context.policy.salt).await, waits);
    assert_eq!(delivered(&SecretString::new("the salt of another deployment")).await, Disposition::NotOurs);
}

#[tokio::test]
async fn another_amount_or_another_payment_changes_nothing_and_is_parked() {
    let (env, _) = capturing().await;
    let (psp, reference) = only_payment_ids(&env);
    let before = payment_record(&env).await;
    for (payment, reason) in [(psp.as_str(), "notification_names_another_amount"), ("0THER00000000001", "notification_out_of_order")] {
        // The simulator's hand-made notifications are about nothing: 0 EUR.
        let body = env.adyen.notification("CAPTURE", true, &format!("0DD{payment}"), payment, &reference);
        let messages = env.post_accepted_notification(&json!({}), body.as_bytes()).await;
        if payment != psp {
            // A capture may renew its authorisation, and its answer names the new one.
            assert!(matches!(env.deliver_notification(&messages[0]).await, Disposition::Retry { .. }));
            env.clock.advance(env.flow_context.policy.unknown_deadline);
        }
        assert_eq!(env.deliver_notification(&messages[0]).await, Disposition::Parked(reason.parse().unwrap()));
        assert_eq!(env.deliver_notification(&messages[0]).await, completed("parked"));
        assert_eq!(env.metrics.count(Metric::Parked, reason), 1);
    }
    assert_eq!((payment_record(&env).await, env.requeue.take_events().len()), (before, 0));
    assert_eq!(statuses(&env), [PaymentStatus::Authorised]);
}

#[tokio::test]
async fn tokens_are_noted_by_customer_and_a_disabled_one_is_counted() {
    let env = TestEnvironment::default();
    for (kind, word) in [("recurring.token.created", "token_created"), ("recurring.token.disabled", "token_disabled")] {
        let (signature, body) = env.adyen.tokenization_webhook(kind, "8415718415718415", "123321123");
        let messages = env.post_accepted_notification(&json!({ "hmacsignature": signature }), body.as_bytes()).await;
        for _ in 0..3 {
            assert_eq!(env.deliver_messages_until_settled(&messages).await, [completed(word)]);
        }
        let forged = env.post_notification(ADYEN_NOTIFICATION_PATH, &json!({ "hmacsignature": "AAAA" }), body.as_bytes()).await;
        assert_eq!((forged.status, forged.messages.len()), (401, 0));
    }
    assert!(env.metrics.count(Metric::Warning, "token_disabled") > 0);
    let key = connector::journal::store::Key::new("gateway-token", &["adyen", "123321123"]);
    let stored = env.flow_context.store.load(&[key]).await.unwrap().remove(0).unwrap();
    let record: Value = serde_json::from_str(&stored.body).unwrap();
    assert_eq!(record["tokens"].as_array().unwrap().len(), 1);
    assert_eq!((&record["tokens"][0]["token"], &record["tokens"][0]["disabled"]), (&json!("8415718415718415:123321123"), &json!(true)));
}
