//! What the door takes, what it refuses, and what has no effect behind it.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::gateway::GatewayName;
use connector::metrics::Metric;
use sandbox::adyen::{Adyen, AdyenConfig};
use sandbox::notices::ADYEN_ROUTE;
use sandbox::peer::Fault;
use sandbox::stage::{Stage, adyen_config};
use serde_json::{Value, json};

use crate::{assert_balanced, capturing, names, record, settled, state, statuses};

/// The bodies of several notifications as one.
fn together(bodies: &[String]) -> String {
    let items =
        bodies.iter().flat_map(|body| serde_json::from_str::<Value>(body).unwrap()["notificationItems"].as_array().unwrap().clone());
    json!({ "live": "false", "notificationItems": items.collect::<Vec<_>>() }).to_string()
}

fn another_account(stage: &Stage, change: impl FnOnce(&mut AdyenConfig)) -> Adyen {
    let mut config = adyen_config();
    change(&mut config);
    Adyen::new(config, std::sync::Arc::new(stage.clock.clone()))
}

#[tokio::test]
async fn what_is_not_rightly_signed_has_no_effect() {
    let (stage, _) = capturing().await;
    stage.adyen.process();
    let body = stage.adyen.take_notifications().pop().unwrap();
    let (writes, before) = (stage.store.writes(), record(&stage).await);
    let forger = another_account(&stage, |config| config.hmac_key = "00".repeat(32));
    let (psp, reference) = names(&stage);
    let cases: Vec<(Vec<u8>, u64)> = vec![
        (forger.notification("CAPTURE", true, "F0RGED0000000001", &psp, &reference).into_bytes(), 401),
        (body.replace("\"value\":999", "\"value\":998").into_bytes(), 401),
        (body.replace("hmacSignature", "signature").into_bytes(), 401),
        (body.as_bytes()[..body.len() / 2].to_vec(), 400),
        (b"\xff\xfe\xfd".to_vec(), 400),
        (Vec::new(), 400),
        (format!("{body}{}", " ".repeat(40_000)).into_bytes(), 413),
    ];
    for (body, status) in cases {
        let posted = stage.post_notification(ADYEN_ROUTE, &json!({}), &body).await;
        assert_eq!((posted.status, posted.messages.len()), (status, 0), "{}", posted.body);
    }
    for (route, status) in [("/gateways/paypal/notifications", 401), ("/gateways/nobody/notifications", 404)] {
        assert_eq!(stage.post_notification(route, &json!({}), body.as_bytes()).await.status, status, "{route}");
    }
    assert_eq!((stage.store.writes(), record(&stage).await), (writes, before));
}

/// Seed 5. PayPal's certificate and its answer both out of reach is an outage: nobody's signature is bad, and PayPal tells it again.
#[tokio::test]
async fn a_notification_that_nobody_can_verify_now_is_put_off_and_not_counted_as_forged() {
    let stage = Stage::default();
    let guest = stage.guest(GatewayName::PayPal);
    let cast = stage.subscriber(guest.method);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3_600)));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, settled("authorised"));
    stage.clock.advance_to(cast.due);
    stage.deliver_until_settled(&stage.capture(&cast)).await;
    guest.house.process();
    let told = guest.house.take_notifications().pop().unwrap();
    let headers: Value = told.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    for _ in 0..2 {
        stage.road.lay(Fault::NotSent, |_, request| request.path.contains("/certs/"));
        stage.road.lay(Fault::StatusBefore(503), |_, request| request.path.ends_with("verify-webhook-signature"));
    }
    let posted = stage.post_notification("/gateways/paypal/notifications", &headers, &told.body).await;
    assert_eq!((posted.status, posted.messages.len()), (503, 0), "{}", posted.body);
    assert_eq!(stage.metrics.count(Metric::SignatureFailure, ""), 0);
    stage.clock.advance(Duration::from_secs(60));
    let again = stage.post_notification("/gateways/paypal/notifications", &headers, &told.body).await;
    assert_eq!(again.status, 503, "{}", again.body);
    stage.clock.advance(Duration::from_secs(60));
    let at_last = stage.post_notification("/gateways/paypal/notifications", &headers, &told.body).await;
    assert_eq!(at_last.status, 200, "{}", at_last.body);
}

#[tokio::test]
async fn a_bad_item_among_good_ones_holds_nobody_back() {
    let (stage, _) = capturing().await;
    stage.adyen.process();
    let mut bodies = stage.adyen.take_notifications();
    let forger = another_account(&stage, |config| config.hmac_key = "00".repeat(32));
    bodies.insert(1, forger.notification("CAPTURE", false, "F0RGED0000000001", "X", "clg-x"));
    let posted = stage.post_notification(ADYEN_ROUTE, &json!({}), together(&bodies).as_bytes()).await;
    assert_eq!((posted.status, posted.messages.len()), (401, 2), "the gateway repeats the body; the good items are queued");
    assert_eq!(stage.settle_all(&posted.messages).await, [settled("authorised"), settled("captured")]);
    assert_eq!(stage.deliver_requeued().await, [settled("captured")]);
    assert_balanced(&stage);
}

#[tokio::test]
async fn other_accounts_other_systems_and_unknown_kinds_are_accepted_and_ignored() {
    let (stage, _) = capturing().await;
    let (psp, reference) = names(&stage);
    let other = another_account(&stage, |config| config.merchant_account = "AnotherMerchantPOS".to_owned());
    for body in [
        other.notification("CAPTURE", true, "0THER00000000001", &psp, &reference),
        stage.adyen.notification("CHARGEBACK", true, "0THER00000000002", "0THER00000000003", "shop-order-17"),
        stage.adyen.notification("BRAND_NEW_KIND", true, "0THER00000000004", &psp, &reference),
    ] {
        assert_eq!(stage.accepted(&json!({}), body.as_bytes()).await.len(), 0);
    }
    assert_eq!(stage.metrics.count(Metric::EventNotOurs, ""), 3);
    assert_eq!(state(&stage).await, "capturing");
}

#[tokio::test]
async fn a_payment_of_ours_that_is_not_recorded_is_waited_for() {
    let stage = Stage::default();
    let reference = "clg-00112233-4455-8677-8899-aabbccddeeff";
    let body = stage.adyen.notification("CAPTURE", true, "0URS000000000001", "0URS000000000002", reference);
    let messages = stage.accepted(&json!({}), body.as_bytes()).await;
    assert_eq!(stage.settle(&messages[0]).await, Verdict::Later { after: None, reason: "payment_not_recorded" });
}

#[tokio::test]
async fn another_amount_or_another_payment_changes_nothing_and_is_parked() {
    let (stage, _) = capturing().await;
    let (psp, reference) = names(&stage);
    let before = record(&stage).await;
    for (payment, reason) in
        [(psp.as_str(), "notification_names_another_amount"), ("0THER00000000001", "notification_names_another_payment")]
    {
        // The simulator's hand-made notifications are about nothing: 0 EUR.
        let body = stage.adyen.notification("CAPTURE", true, &format!("0DD{payment}"), payment, &reference);
        let messages = stage.accepted(&json!({}), body.as_bytes()).await;
        assert_eq!(stage.settle(&messages[0]).await, Verdict::Parked(reason));
        assert_eq!(stage.settle(&messages[0]).await, settled("parked"));
        assert_eq!(stage.metrics.count(Metric::Parked, reason), 1);
    }
    assert_eq!((record(&stage).await, stage.requeue.take().len()), (before, 0));
    assert_eq!(statuses(&stage), [PaymentStatus::Authorised]);
}

#[tokio::test]
async fn tokens_are_noted_by_customer_and_a_disabled_one_is_counted() {
    let stage = Stage::default();
    for (kind, word) in [("recurring.token.created", "token_created"), ("recurring.token.disabled", "token_disabled")] {
        let (signature, body) = stage.adyen.tokenization(kind, "8415718415718415", "123321123");
        let messages = stage.accepted(&json!({ "hmacsignature": signature }), body.as_bytes()).await;
        for _ in 0..3 {
            assert_eq!(stage.settle_all(&messages).await, [settled(word)]);
        }
        let forged = stage.post_notification(ADYEN_ROUTE, &json!({ "hmacsignature": "AAAA" }), body.as_bytes()).await;
        assert_eq!((forged.status, forged.messages.len()), (401, 0));
    }
    assert!(stage.metrics.count(Metric::Warning, "token_disabled") > 0);
    let key = connector::journal::store::Key::new("gateway-token", &["adyen", "123321123"]);
    let stored = stage.world.store.load(&[key]).await.unwrap().remove(0).unwrap();
    let record: Value = serde_json::from_str(&stored.body).unwrap();
    assert_eq!(record["tokens"].as_array().unwrap().len(), 1);
    assert_eq!((&record["tokens"][0]["token"], &record["tokens"][0]["disabled"]), (&json!("8415718415718415:123321123"), &json!(true)));
}
