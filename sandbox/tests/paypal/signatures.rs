//! Whether a notification is PayPal's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use connector::clock::Timestamp;
use connector::gateway::paypal::{PayPal, PayPalSettings};
use connector::gateway::{Gateway, GatewayNotification, NotificationError, NotificationKind};
use connector::http::{HeaderMap, Method, Request, Response, StatusCode, Transport, TransportError};
use sandbox::contract::Posted;
use sandbox::paypal::material;
use sandbox::peer::Fault;
use serde_json::json;

use super::requests::captured;
use super::world::{CERTIFICATES, OURS, World, edit, foreign_capture, money, secrets, settings};

fn world() -> World {
    World::new(money(999, "EUR"))
}

fn posted(world: &World) -> Posted {
    world.simulator.notification("PAYMENT.CAPTURE.COMPLETED", "capture", foreign_capture(OURS))
}

async fn read(world: &World, posted: &Posted) -> Result<Vec<GatewayNotification>, NotificationError> {
    world.adapter.read_notification(&posted.headers, &posted.body).await?.into_iter().collect()
}

fn fetched(world: &World) -> usize {
    world.road.reached("paypal", &Method::GET, "/certs/")
}

fn asked(world: &World) -> usize {
    world.road.reached("paypal", &Method::POST, "/verify-webhook-signature")
}

#[tokio::test]
async fn notifications_are_checked_here_and_their_certificate_is_fetched_once() {
    let world = world();
    captured(&world, "1").await;
    for posted in world.simulator.take_notifications() {
        assert!(read(&world, &posted).await.is_ok());
    }
    assert_eq!(read(&world, &posted(&world)).await.unwrap()[0].kind, NotificationKind::Captured);
    assert_eq!((fetched(&world), asked(&world)), (1, 0));
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_not_taken_and_paypal_itself_is_asked() {
    for pem in [None, Some(material::FOREIGN), Some(material::EXPIRED), Some(material::MISNAMED), Some("garbage"), Some("")] {
        let world = world();
        world.simulator.show_certificate(pem);
        let good = posted(&world);
        assert!(read(&world, &good).await.is_ok());
        assert_eq!(asked(&world), 1);
        let forged = edit(&good, |event| event["resource"]["amount"]["value"] = json!("0.01"));
        assert_eq!(read(&world, &forged).await, Err(NotificationError::BadSignature));
        assert_eq!((fetched(&world), asked(&world)), (1, 2), "what is of no use is not fetched every time");
        world.simulator.show_certificate(Some(material::TRUSTED));
        world.clock.advance(Duration::from_secs(60));
        assert!(read(&world, &good).await.is_ok());
        assert_eq!((fetched(&world), asked(&world)), (2, 2));
    }
}

#[tokio::test]
async fn without_paypal_and_without_a_certificate_nothing_is_believed() {
    let world = world();
    world.simulator.show_certificate(None);
    let good = posted(&world);
    for fault in [Fault::NotSent, Fault::TimeoutAfter, Fault::StatusAfter(500), Fault::StatusAfter(200), Fault::StatusBefore(429)] {
        world.road.lay(fault, |_, request| request.path.ends_with("verify-webhook-signature"));
        assert_eq!(read(&world, &good).await, Err(NotificationError::Undecided));
    }
    assert!(read(&world, &good).await.is_ok());
}

#[tokio::test]
async fn only_a_definite_no_is_a_bad_signature() {
    let both = PayPalSettings { webhook_ids: vec!["0EH40505U7160970P".to_owned(), super::world::WEBHOOK_ID.to_owned()], ..settings() };
    let world = World::with(money(999, "EUR"), both);
    world.simulator.show_certificate(None);
    let good = posted(&world);
    let forged = edit(&good, |event| event["id"] = json!("WH-forged"));
    assert_eq!(read(&world, &forged).await, Err(NotificationError::BadSignature));
    // The one is asked in vain, and the other says no.
    let lay = || world.road.lay(Fault::TimeoutBefore, |_, request| request.path.ends_with("verify-webhook-signature"));
    lay();
    assert_eq!(read(&world, &forged).await, Err(NotificationError::Undecided));
    lay();
    assert!(read(&world, &good).await.is_ok());
}

#[tokio::test]
async fn a_certificate_whose_time_is_over_is_not_taken_any_longer() {
    let world = world();
    let good = posted(&world);
    assert!(read(&world, &good).await.is_ok());
    world.clock.advance_to(Timestamp::parse_rfc3339("2050-01-01T00:00:01Z").unwrap());
    assert!(read(&world, &good).await.is_ok());
    assert_eq!((fetched(&world), asked(&world)), (2, 1), "it is fetched anew, is over as well, and PayPal is asked");
}

#[tokio::test]
async fn a_certificate_of_another_host_is_never_fetched() {
    let world = world();
    for url in [
        "https://evil.test/v1/notifications/certs/CERT-360caa42",
        "http://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42",
        "https://api.sandbox.paypal.com.evil.test/v1/notifications/certs/CERT-360caa42",
        "https://api.sandbox.paypal.com/v1/notifications/certs/../../oauth2/token",
        "https://api.sandbox.paypal.com/v1/notifications/certs/CERT?x=1",
    ] {
        let mut moved = posted(&world);
        moved.headers.insert("paypal-cert-url", url.parse().unwrap());
        assert_eq!(read(&world, &moved).await, Err(NotificationError::BadSignature), "{url}");
    }
    assert!(world.road.calls().is_empty());
}

/// Answers every question with the right certificate and this status.
struct Certificates(u16);

#[async_trait]
impl Transport for Certificates {
    async fn send(&self, _request: Request) -> Result<Response, TransportError> {
        let (status, body) = (StatusCode::from_u16(self.0).unwrap(), Bytes::from_static(material::TRUSTED.as_bytes()));
        Ok(Response { status, headers: HeaderMap::new(), body })
    }
}

#[tokio::test]
async fn a_redirect_is_no_certificate_whatever_comes_with_it() {
    let world = world();
    let good = posted(&world);
    for (status, taken) in [(200, true), (201, false), (302, false), (404, false), (500, false)] {
        let adapter = PayPal::new(settings(), secrets(), Arc::new(Certificates(status)), Arc::new(world.clock.clone())).unwrap();
        assert_eq!(adapter.read_notification(&good.headers, &good.body).await.is_ok(), taken, "{status}");
    }
}

#[tokio::test]
async fn every_signed_part_counts() {
    let world = world();
    let good = posted(&world);
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
        assert_eq!(read(&world, &changed).await, Err(NotificationError::BadSignature), "{name}: {value}");
    }
    let mut spaced = good.clone();
    spaced.body = [good.body.as_ref(), b" "].concat().into();
    assert_eq!(read(&world, &spaced).await, Err(NotificationError::BadSignature), "one more byte is another body");
    assert_eq!(asked(&world), 0, "what is not signed rightly is not worth a question");
    assert!(read(&world, &good).await.is_ok());
}

#[tokio::test]
async fn the_webhook_id_comes_from_the_settings_and_there_may_be_two() {
    let other = PayPalSettings { webhook_ids: vec!["0EH40505U7160970P".to_owned()], ..settings() };
    let world = World::with(money(999, "EUR"), other);
    assert_eq!(read(&world, &posted(&world)).await, Err(NotificationError::BadSignature));
    let both = PayPalSettings { webhook_ids: vec!["0EH40505U7160970P".to_owned(), super::world::WEBHOOK_ID.to_owned()], ..settings() };
    let world = World::with(money(999, "EUR"), both);
    assert!(read(&world, &posted(&world)).await.is_ok());
    world.simulator.show_certificate(None);
    world.clock.advance_to(Timestamp::parse_rfc3339("2050-01-01T00:00:01Z").unwrap());
    assert!(read(&world, &posted(&world)).await.is_ok(), "PayPal is asked for either");
}

#[tokio::test]
async fn forgeries_cannot_use_up_our_calls() {
    let world = world();
    world.simulator.show_certificate(None);
    let forged = edit(&posted(&world), |event| event["id"] = json!("WH-forged"));
    for _ in 0..500 {
        let refused = read(&world, &forged).await.unwrap_err();
        assert!(matches!(refused, NotificationError::BadSignature | NotificationError::Undecided), "{refused:?}");
    }
    assert!(fetched(&world) + asked(&world) <= 120, "{} and {}", fetched(&world), asked(&world));
    world.clock.advance(Duration::from_secs(60));
    assert!(read(&world, &posted(&world)).await.is_ok(), "and a minute later the right ones are heard again");
}

#[tokio::test]
async fn what_is_signed_and_no_event_is_refused_as_such() {
    let world = world();
    for body in [
        json!(null),
        json!([]),
        json!("text"),
        json!({}),
        json!({ "id": "", "event_type": "X" }),
        json!({ "id": "WH-1" }),
        json!({ "id": 1, "event_type": "X" }),
    ] {
        let posted = world.simulator.sign_event(&body);
        assert_eq!(read(&world, &posted).await, Err(NotificationError::Malformed), "{body}");
    }
    let vector = json!({ "id": "WH-1", "event_type": "PAYMENT.CAPTURE.COMPLETED" });
    assert_eq!(read(&world, &world.simulator.sign_event(&vector)).await.unwrap()[0].kind, NotificationKind::Ignored);
}

#[tokio::test]
async fn a_huge_body_is_read_or_refused_and_nothing_else() {
    let world = world();
    let mut resource = foreign_capture(OURS);
    resource["note"] = json!("x".repeat(500_000));
    let huge = world.simulator.notification("PAYMENT.CAPTURE.COMPLETED", "capture", resource);
    assert_eq!(read(&world, &huge).await.unwrap()[0].kind, NotificationKind::Captured);
    let mut deep = huge.clone();
    deep.body = [vec![b'['; 100_000], vec![b']'; 100_000]].concat().into();
    assert_eq!(read(&world, &deep).await, Err(NotificationError::BadSignature));
    world.simulator.show_certificate(None);
    world.clock.advance_to(Timestamp::parse_rfc3339("2050-01-01T00:00:01Z").unwrap());
    assert_eq!(read(&world, &deep).await, Err(NotificationError::Malformed));
}

#[tokio::test]
async fn the_base_url_of_a_test_may_have_the_certificate_too() {
    let world = World::with(money(999, "EUR"), PayPalSettings { base_url: CERTIFICATES.to_owned(), ..settings() });
    assert!(read(&world, &posted(&world)).await.is_ok());
    assert_eq!(asked(&world), 0);
}
