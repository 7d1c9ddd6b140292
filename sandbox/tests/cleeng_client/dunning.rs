//! The dunning clock: which webhooks come when, and that the connector's verifier takes them.

use std::time::Duration;

use connector::cleeng::signature::{SignatureSettings, Verifier};
use connector::cleeng::webhook::{BillingEvent, TerminationEvent, Topic};
use connector::cleeng::{NewPaymentStatus, SubscriptionStatus};
use connector::clock::{Clock, Timestamp};
use connector::http::{HeaderMap, HeaderValue};
use connector::ids::PublisherId;
use connector::secret::SecretString;
use sandbox::cleeng::{DunningSettings, SentWebhook};

use crate::world::{DAY, SECRET, World, method, rejected};

const HOUR: Duration = Duration::from_secs(3600);
const AUTHORISATION: Topic = Topic::SubscriptionReadyForPaymentAuthorisation;
const CAPTURE: Topic = Topic::SubscriptionReadyForPaymentCapture;
const TERMINATION: Topic = Topic::SubscriptionReadyForTermination;

impl World {
    /// Jumps to the next webhook: what it is, and how many hours before (or, negative, after) the due date it comes.
    fn next(&self) -> Option<(Topic, i64)> {
        self.clock.advance_to(self.cleeng.next_due()?);
        let due = self.cleeng.due_webhooks();
        assert_eq!(due.len(), 1, "one at a time");
        assert_eq!(self.cleeng.due_webhooks().len(), 0, "sent once");
        due.first().map(|webhook| (webhook.topic, (self.due.secs() - webhook.at.secs()) / 3600))
    }
}

fn headers(webhook: &SentWebhook) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-cleeng-signature", HeaderValue::from_str(&webhook.signature).unwrap());
    headers
}

fn capture_only() -> DunningSettings {
    DunningSettings { authorised_first: false, attempts: vec![0, -24, -48], grace: 50 }
}

#[tokio::test]
async fn attempts_are_made_until_one_is_authorised_then_one_capture_comes_when_it_is_due() {
    let world = World::new();
    assert_eq!(world.cleeng.due_webhooks().len(), 0);
    assert_eq!(world.next(), Some((AUTHORISATION, 72)));
    world.pay(rejected(), "PSP1").await;
    assert_eq!(world.next(), Some((AUTHORISATION, 48)));
    let payment = world.pay(NewPaymentStatus::Authorised, "PSP2").await;
    assert_eq!(world.next(), Some((CAPTURE, 0)));
    let captured = connector::cleeng::PaymentPatch::Captured { external_payment_id: None };
    connector::cleeng::Cleeng::update_payment(&world.api(), &payment.id, &captured).await.unwrap();
    let next_period = world.cleeng.subscription(&world.subscriber.subscription).unwrap().date_to;
    assert_eq!(world.cleeng.next_due(), Some(next_period.before(3 * DAY)));
    assert_eq!(world.rules_broken(), Vec::<&str>::new());
}

#[tokio::test]
async fn without_any_payment_all_attempts_are_made_and_the_termination_ends_it() {
    let world = World::new();
    let come: Vec<_> = (0..5).filter_map(|_| world.next()).collect();
    assert_eq!(come, [(AUTHORISATION, 72), (AUTHORISATION, 48), (AUTHORISATION, 24), (AUTHORISATION, 0), (TERMINATION, -2)]);
    assert_eq!(world.cleeng.next_due(), None);
}

#[tokio::test]
async fn a_held_payment_that_is_never_captured_ends_in_termination_too() {
    let world = World::new();
    world.next();
    world.pay(NewPaymentStatus::Authorised, "PSP1").await;
    assert_eq!((world.next(), world.next(), world.next()), (Some((CAPTURE, 0)), Some((TERMINATION, -2)), None));
}

#[tokio::test]
async fn capture_only_billing_gets_capture_events_at_its_attempts() {
    let world = World::with_dunning(capture_only());
    assert_eq!(world.next(), Some((CAPTURE, 0)));
    assert_eq!(world.next(), Some((CAPTURE, -24)));
    world.pay(NewPaymentStatus::Captured, "PSP1").await;
    let next = world.cleeng.subscription(&world.subscriber.subscription).unwrap().date_to;
    assert_eq!(world.cleeng.next_due(), Some(next));
    assert_eq!(world.rules_broken(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_stopped_subscription_is_terminated_when_it_is_due_and_never_charged() {
    let world = World::new();
    world.cleeng.set_status(&world.subscriber.subscription, SubscriptionStatus::Stopped);
    assert_eq!((world.next(), world.next()), (Some((TERMINATION, 0)), None));
}

#[tokio::test]
async fn attempts_that_were_passed_over_are_not_made_up_for_after_a_cancel() {
    let world = World::new();
    world.next();
    let payment = world.pay(NewPaymentStatus::Authorised, "PSP1").await;
    world.clock.advance_to(world.due.before(10 * HOUR));
    let new = world.cleeng.change_details(&world.subscriber, &method(), "tok_new").unwrap();
    connector::cleeng::Cleeng::cancel_payment(&world.api(), &payment.id).await.unwrap();
    let deactivated = world.cleeng.due_webhooks();
    assert_eq!(deactivated.iter().map(|webhook| webhook.topic).collect::<Vec<_>>(), [Topic::PaymentDetailsDeactivated]);
    world.clock.advance_to(world.cleeng.next_due().unwrap());
    let webhook = world.cleeng.due_webhooks().pop().unwrap();
    assert_eq!((webhook.topic, webhook.at), (AUTHORISATION, world.due));
    let parsed = connector::cleeng::webhook::Webhook::parse(&webhook.body).unwrap();
    assert_eq!(BillingEvent::read(&parsed).unwrap().payment_details, new);
}

#[tokio::test]
async fn every_webhook_passes_the_verifier_and_says_what_the_books_say() {
    let world = World::new();
    let verifier = Verifier::new(SignatureSettings::default(), &[SecretString::new(SECRET)]).unwrap();
    let publisher = PublisherId::new("558186818").unwrap();
    let subscription = &world.subscriber.subscription;
    let attempt = world.due.before(72 * HOUR);
    for topic in [AUTHORISATION, CAPTURE] {
        let webhook = world.cleeng.billing_event(topic, subscription, attempt, world.due).unwrap();
        let verified =
            verifier.verify(&headers(&webhook), &webhook.body, &publisher, topic).map_err(|refusal| refusal.code()).ok().unwrap();
        let event = BillingEvent::read(verified.get()).ok().unwrap();
        assert_eq!((event.attempt, event.expiration), (attempt, world.due));
        assert_eq!(
            (&event.subscription, &event.customer, &event.payment_details),
            (subscription, &world.subscriber.customer, &world.subscriber.details)
        );
        assert!(event.token.unwrap().matches("tok_en") && event.payment_method == Some(method()));
    }
    let webhook = world.cleeng.billing_event(TERMINATION, subscription, world.due, world.due).unwrap();
    let verified = verifier.verify(&headers(&webhook), &webhook.body, &publisher, TERMINATION).ok().unwrap();
    assert_eq!(TerminationEvent::read(verified.get()).ok().unwrap().subscription, *subscription);
    world.cleeng.rotate_webhook_secret("another-secret-of-32-bytes-0123456");
    let webhook = world.cleeng.billing_event(TERMINATION, subscription, world.due, world.due).unwrap();
    assert!(!verifier.signature_fits(&headers(&webhook), &webhook.body));
}

#[test]
fn the_two_billing_topics_are_written_as_differently_as_cleeng_writes_them() {
    let world = World::new();
    let at = Timestamp::parse_rfc3339("2019-03-06T08:43:20Z").unwrap();
    let data = |topic| {
        let webhook = world.cleeng.billing_event(topic, &world.subscriber.subscription, at, at).unwrap();
        serde_json::from_slice::<serde_json::Value>(&webhook.body).unwrap()["data"].clone()
    };
    let (authorisation, capture) = (data(AUTHORISATION), data(CAPTURE));
    assert!(authorisation["subscriptionId"].is_string() && capture["subscriptionId"].is_number());
    assert_eq!(authorisation["expirationDate"], "2019-03-06T08:43:20Z");
    assert_eq!(capture["expirationDate"], "2019-03-06T09:43:20+01:00");
    assert!(world.clock.now() < world.due);
}
