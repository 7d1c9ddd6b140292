//! The verification of PayPal's notifications.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use connector::clock::Timestamp;
use connector::gateway::paypal::{PayPal, PayPalSettings};
use connector::gateway::{Gateway, GatewayNotification, NotificationError, NotificationKind};
use connector::http::{HeaderMap, Method, Request, Response, StatusCode, Transport, TransportError};
use sandbox::simulators::network::Fault;
use sandbox::simulators::paypal::test_keys;
use sandbox::testkit::contract::NotificationRequest;
use serde_json::json;

use super::harness::{CERTIFICATES, OURS, PayPalHarness, edit, foreign_capture, money, secrets, settings};
use super::requests::captured;

fn harness() -> PayPalHarness {
    PayPalHarness::new(money(999, "EUR"))
}

fn notification(harness: &PayPalHarness) -> NotificationRequest {
    harness.simulator.notification("PAYMENT.CAPTURE.COMPLETED", "capture", foreign_capture(OURS))
}

async fn read_notifications(harness: &PayPalHarness, posted: &NotificationRequest) -> Result<Vec<GatewayNotification>, NotificationError> {
    harness.adapter.read_notification(&posted.headers, &posted.body).await?.into_iter().collect()
}

fn certificate_requests(harness: &PayPalHarness) -> usize {
    harness.network.delivered_count("paypal", &Method::GET, "/certs/")
}

fn verification_requests(harness: &PayPalHarness) -> usize {
    harness.network.delivered_count("paypal", &Method::POST, "/verify-webhook-signature")
}

#[tokio::test]
async fn notifications_are_checked_here_and_their_certificate_is_fetched_once() {
    let harness = harness();
    captured(&harness, "1").await;
    for posted in harness.simulator.take_notifications() {
        assert!(read_notifications(&harness, &posted).await.is_ok());
    }
    assert_eq!(read_notifications(&harness, &notification(&harness)).await.unwrap()[0].kind, NotificationKind::Captured);
    assert_eq!((certificate_requests(&harness), verification_requests(&harness)), (1, 0));
}

#[tokio::test]
async fn an_untrusted_certificate_is_rejected_and_paypals_api_verifies_instead() {
    for pem in [None, Some(test_keys::FOREIGN), Some(test_keys::EXPIRED), Some(test_keys::MISNAMED), Some("garbage"), Some("")] {
        let harness = harness();
        harness.simulator.set_certificate(pem);
        let good = notification(&harness);
        assert!(read_notifications(&harness, &good).await.is_ok());
        assert_eq!(verification_requests(&harness), 1);
        let forged = edit(&good, |event| event["resource"]["amount"]["value"] = json!("0.01"));
        assert_eq!(read_notifications(&harness, &forged).await, Err(NotificationError::BadSignature));
        assert_eq!(
            (certificate_requests(&harness), verification_requests(&harness)),
            (1, 2),
            "what is of no use is not fetched every time"
        );
        harness.simulator.set_certificate(Some(test_keys::TRUSTED));
        harness.clock.advance(Duration::from_secs(60));
        assert!(read_notifications(&harness, &good).await.is_ok());
        assert_eq!((certificate_requests(&harness), verification_requests(&harness)), (2, 2));
    }
}

#[tokio::test]
async fn without_paypals_api_and_a_certificate_nothing_is_accepted() {
    let harness = harness();
    harness.simulator.set_certificate(None);
    let good = notification(&harness);
    for fault in [Fault::NotSent, Fault::TimeoutAfter, Fault::StatusAfter(500), Fault::StatusAfter(200), Fault::StatusBefore(429)] {
        harness.network.inject(fault, |_, request| request.path.ends_with("verify-webhook-signature"));
        assert_eq!(read_notifications(&harness, &good).await, Err(NotificationError::Unverifiable));
    }
    assert!(read_notifications(&harness, &good).await.is_ok());
}

#[tokio::test]
async fn only_a_definite_no_is_a_bad_signature() {
    let both = PayPalSettings { webhook_ids: vec!["0EH40505U7160970P".to_owned(), super::harness::WEBHOOK_ID.to_owned()], ..settings() };
    let harness = PayPalHarness::with(money(999, "EUR"), both);
    harness.simulator.set_certificate(None);
    let good = notification(&harness);
    let forged = edit(&good, |event| event["id"] = json!("WH-forged"));
    assert_eq!(read_notifications(&harness, &forged).await, Err(NotificationError::BadSignature));
    // The one is asked in vain, and the other says no.
    let lay = || harness.network.inject(Fault::TimeoutBefore, |_, request| request.path.ends_with("verify-webhook-signature"));
    lay();
    assert_eq!(read_notifications(&harness, &forged).await, Err(NotificationError::Unverifiable));
    lay();
    assert!(read_notifications(&harness, &good).await.is_ok());
}

#[tokio::test]
async fn an_expired_certificate_is_rejected() {
    let harness = harness();
    let good = notification(&harness);
    assert!(read_notifications(&harness, &good).await.is_ok());
    harness.clock.advance_to(Timestamp::parse_rfc3339("2050-01-01T00:00:01Z").unwrap());
    assert!(read_notifications(&harness, &notification(&harness)).await.is_ok());
    assert_eq!(
        (certificate_requests(&harness), verification_requests(&harness)),
        (2, 1),
        "it is fetched again, is expired as well, and PayPal is called"
    );
}

#[tokio::test]
async fn a_certificate_of_another_host_is_never_fetched() {
    let harness = harness();
    for url in [
        "https://evil.test/v1/notifications/certs/CERT-360caa42",
        "http://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42",
        "https://api.sandbox.paypal.com.evil.test/v1/notifications/certs/CERT-360caa42",
        "https://api.sandbox.paypal.com/v1/notifications/certs/../../oauth2/token",
        "https://api.sandbox.paypal.com/v1/notifications/certs/CERT?x=1",
    ] {
        let mut moved = notification(&harness);
        moved.headers.insert("paypal-cert-url", url.parse().unwrap());
        assert_eq!(read_notifications(&harness, &moved).await, Err(NotificationError::BadSignature), "{url}");
    }
    assert!(harness.network.calls().is_empty());
}

/// Answers every question with the right certificate and this status.
struct RedirectingCertificates(u16);

#[async_trait]
impl Transport for RedirectingCertificates {
    async fn send(&self, _request: Request) -> Result<Response, TransportError> {
        let (status, body) = (StatusCode::from_u16(self.0).unwrap(), Bytes::from_static(test_keys::TRUSTED.as_bytes()));
        Ok(Response { status, headers: HeaderMap::new(), body })
    }
}

#[tokio::test]
async fn a_redirect_is_never_used_as_a_certificate() {
    let harness = harness();
    let good = notification(&harness);
    for (status, taken) in [(200, true), (201, false), (302, false), (404, false), (500, false)] {
        let adapter =
            PayPal::new(settings(), secrets(), Arc::new(RedirectingCertificates(status)), Arc::new(harness.clock.clone())).unwrap();
        assert_eq!(adapter.read_notification(&good.headers, &good.body).await.is_ok(), taken, "{status}");
    }
}

#[tokio::test]
async fn every_signed_part_counts() {
    let harness = harness();
    let good = notification(&harness);
    for (name, value) in [
        ("paypal-transmission-id", "another"),
        ("paypal-transmission-time", "2026-11-21T10:00:00Z"),
        ("paypal-transmission-sig", "bm8gc2lnbmF0dXJl"),
        ("paypal-transmission-sig", "not base64!"),
        ("paypal-auth-algo", "SHA1withRSA"),
        ("paypal-auth-algo", "none"),
    ] {
        let mut changed = good.clone();
        changed.headers.insert(name, value.parse().unwrap());
        assert_eq!(read_notifications(&harness, &changed).await, Err(NotificationError::BadSignature), "{name}: {value}");
    }
    let mut spaced = good.clone();
    spaced.body = [good.body.as_ref(), b" "].concat().into();
    assert_eq!(read_notifications(&harness, &spaced).await, Err(NotificationError::BadSignature), "one more byte is another body");
    assert_eq!(verification_requests(&harness), 0, "what is not signed rightly is not worth a question");
    assert!(read_notifications(&harness, &good).await.is_ok());
}

#[tokio::test]
async fn the_webhook_id_comes_from_the_settings_and_there_may_be_two() {
    let other = PayPalSettings { webhook_ids: vec!["0EH40505U7160970P".to_owned()], ..settings() };
    let harness = PayPalHarness::with(money(999, "EUR"), other);
    assert_eq!(read_notifications(&harness, &notification(&harness)).await, Err(NotificationError::BadSignature));
    let both = PayPalSettings { webhook_ids: vec!["0EH40505U7160970P".to_owned(), super::harness::WEBHOOK_ID.to_owned()], ..settings() };
    let harness = PayPalHarness::with(money(999, "EUR"), both);
    assert!(read_notifications(&harness, &notification(&harness)).await.is_ok());
    harness.simulator.set_certificate(None);
    harness.clock.advance_to(Timestamp::parse_rfc3339("2050-01-01T00:00:01Z").unwrap());
    assert!(read_notifications(&harness, &notification(&harness)).await.is_ok(), "PayPal is asked for either");
}

#[tokio::test]
async fn forgeries_cannot_use_up_our_calls() {
    let harness = harness();
    harness.simulator.set_certificate(None);
    let forged = edit(&notification(&harness), |event| event["id"] = json!("WH-forged"));
    for _ in 0..500 {
        let refused = read_notifications(&harness, &forged).await.unwrap_err();
        assert!(matches!(refused, NotificationError::BadSignature | NotificationError::Unverifiable), "{refused:?}");
    }
    assert!(
        certificate_requests(&harness) + verification_requests(&harness) <= 120,
        "{} and {}",
        certificate_requests(&harness),
        verification_requests(&harness)
    );
    harness.clock.advance(Duration::from_secs(60));
    assert!(read_notifications(&harness, &notification(&harness)).await.is_ok(), "and a minute later the right ones are heard again");
}

#[tokio::test]
async fn a_flood_of_forgeries_keeps_no_genuine_notification_out() {
    let harness = harness();
    let genuine = notification(&harness);
    assert!(read_notifications(&harness, &genuine).await.is_ok());
    let forged = edit(&genuine, |event| event["id"] = json!("WH-forged"));
    let url = genuine.headers["paypal-cert-url"].to_str().unwrap().to_owned();
    for number in 0..500 {
        let mut other = forged.clone();
        other.headers.insert("paypal-cert-url", format!("{url}-{number}").parse().unwrap());
        assert!(read_notifications(&harness, &other).await.is_err(), "{number}");
        assert!(read_notifications(&harness, &genuine).await.is_ok(), "{number}");
    }
}

#[tokio::test]
async fn a_transmission_of_another_time_is_refused_without_a_call() {
    let harness = harness();
    let good = notification(&harness);
    for time in ["2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "yesterday"] {
        let mut moved = good.clone();
        moved.headers.insert("paypal-transmission-time", time.parse().unwrap());
        assert_eq!(read_notifications(&harness, &moved).await, Err(NotificationError::BadSignature), "{time}");
    }
    assert_eq!((certificate_requests(&harness), verification_requests(&harness)), (0, 0));
}

#[tokio::test]
async fn a_signed_body_that_is_no_event_is_not_understood() {
    let harness = harness();
    for body in [
        json!(null),
        json!([]),
        json!("text"),
        json!({}),
        json!({ "id": "", "event_type": "X" }),
        json!({ "id": "WH-1" }),
        json!({ "id": 1, "event_type": "X" }),
    ] {
        let posted = harness.simulator.sign_event(&body);
        assert_eq!(read_notifications(&harness, &posted).await, Err(NotificationError::NotUnderstood), "{body}");
    }
    let vector = json!({ "id": "WH-1", "event_type": "PAYMENT.CAPTURE.COMPLETED" });
    assert_eq!(read_notifications(&harness, &harness.simulator.sign_event(&vector)).await.unwrap()[0].kind, NotificationKind::Ignored);
}

#[tokio::test]
async fn a_huge_body_is_read_or_refused() {
    let harness = harness();
    let mut resource = foreign_capture(OURS);
    resource["note"] = json!("x".repeat(500_000));
    let huge = harness.simulator.notification("PAYMENT.CAPTURE.COMPLETED", "capture", resource);
    assert_eq!(read_notifications(&harness, &huge).await.unwrap()[0].kind, NotificationKind::Captured);
    let deep = |mut posted: NotificationRequest| {
        posted.body = [vec![b'['; 100_000], vec![b']'; 100_000]].concat().into();
        posted
    };
    assert_eq!(read_notifications(&harness, &deep(huge)).await, Err(NotificationError::BadSignature));
    harness.simulator.set_certificate(None);
    harness.clock.advance_to(Timestamp::parse_rfc3339("2050-01-01T00:00:01Z").unwrap());
    assert_eq!(read_notifications(&harness, &deep(notification(&harness))).await, Err(NotificationError::Malformed));
}

#[tokio::test]
async fn the_base_url_of_a_test_may_have_the_certificate_too() {
    let harness = PayPalHarness::with(money(999, "EUR"), PayPalSettings { base_url: CERTIFICATES.to_owned(), ..settings() });
    assert!(read_notifications(&harness, &notification(&harness)).await.is_ok());
    assert_eq!(verification_requests(&harness), 0);
}
