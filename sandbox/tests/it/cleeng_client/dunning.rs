//! The dunning schedule: which webhooks are sent when, and that the connector's verifier accepts them.

use std::time::Duration;

use connector::cleeng::signature::{SignatureSettings, WebhookVerifier};
use connector::cleeng::webhook::{BillingEvent, TerminationEvent, Topic};
use connector::cleeng::{NewPaymentStatus, SubscriptionStatus};
use connector::clock::{Clock, Timestamp};
use connector::http::{HeaderMap, HeaderValue};
use connector::ids::PublisherId;
use connector::secret::SecretString;
use sandbox::simulators::cleeng::{DunningSettings, SentWebhook};

use crate::cleeng_client::harness::{CleengHarness, DAY, SECRET, method, rejected};

const HOUR: Duration = Duration::from_secs(3600);
const AUTHORISATION: Topic = Topic::SubscriptionReadyForPaymentAuthorisation;
const CAPTURE: Topic = Topic::SubscriptionReadyForPaymentCapture;
const TERMINATION: Topic = Topic::SubscriptionReadyForTermination;

impl CleengHarness {
    /// Jumps to the next webhook: what it is, and how many hours before (or, negative, after) the due date it comes.
    fn next(&self) -> Option<(Topic, i64)> {
        self.clock.advance_to(self.cleeng.next_webhook_due()?);
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
    let harness = CleengHarness::new();
    assert_eq!(harness.cleeng.due_webhooks().len(), 0);
    assert_eq!(harness.next(), Some((AUTHORISATION, 72)));
    harness.pay(rejected(), "PSP1").await;
    assert_eq!(harness.next(), Some((AUTHORISATION, 48)));
    let payment = harness.pay(NewPaymentStatus::Authorised, "PSP2").await;
    assert_eq!(harness.next(), Some((CAPTURE, 0)));
    let captured = connector::cleeng::PaymentPatch::Captured { order: payment.order.clone(), external_payment_id: None };
    connector::cleeng::Cleeng::update_payment(&harness.api(), &payment.id, &captured).await.unwrap();
    let next_period = harness.cleeng.subscription(&harness.subscriber.subscription).unwrap().date_to;
    assert_eq!(harness.cleeng.next_webhook_due(), Some(next_period.before(3 * DAY)));
    assert_eq!(harness.violated_rules(), Vec::<&str>::new());
}

#[tokio::test]
async fn without_any_payment_all_attempts_are_made_and_the_termination_ends_it() {
    let harness = CleengHarness::new();
    let come: Vec<_> = (0..5).filter_map(|_| harness.next()).collect();
    assert_eq!(come, [(AUTHORISATION, 72), (AUTHORISATION, 48), (AUTHORISATION, 24), (AUTHORISATION, 0), (TERMINATION, -2)]);
    assert_eq!(harness.cleeng.next_webhook_due(), None);
}

#[tokio::test]
async fn a_held_payment_that_is_never_captured_ends_in_termination_too() {
    let harness = CleengHarness::new();
    harness.next();
    harness.pay(NewPaymentStatus::Authorised, "PSP1").await;
    assert_eq!((harness.next(), harness.next(), harness.next()), (Some((CAPTURE, 0)), Some((TERMINATION, -2)), None));
}

#[tokio::test]
async fn capture_only_billing_gets_capture_events_at_its_attempts() {
    let harness = CleengHarness::with_dunning(capture_only());
    assert_eq!(harness.next(), Some((CAPTURE, 0)));
    assert_eq!(harness.next(), Some((CAPTURE, -24)));
    harness.pay(NewPaymentStatus::Captured, "PSP1").await;
    let next = harness.cleeng.subscription(&harness.subscriber.subscription).unwrap().date_to;
    assert_eq!(harness.cleeng.next_webhook_due(), Some(next));
    assert_eq!(harness.violated_rules(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_stopped_subscription_is_terminated_when_it_is_due_and_never_charged() {
    let harness = CleengHarness::new();
    harness.cleeng.set_status(&harness.subscriber.subscription, SubscriptionStatus::Stopped);
    assert_eq!((harness.next(), harness.next()), (Some((TERMINATION, 0)), None));
}

#[tokio::test]
async fn skipped_attempts_are_not_repeated_after_a_cancel() {
    let harness = CleengHarness::new();
    harness.next();
    let payment = harness.pay(NewPaymentStatus::Authorised, "PSP1").await;
    harness.clock.advance_to(harness.due.before(10 * HOUR));
    let new = harness.cleeng.change_details(&harness.subscriber, &method(), "tok_new").unwrap();
    connector::cleeng::Cleeng::cancel_payment(&harness.api(), &payment.id).await.unwrap();
    let deactivated = harness.cleeng.due_webhooks();
    assert_eq!(deactivated.iter().map(|webhook| webhook.topic).collect::<Vec<_>>(), [Topic::PaymentDetailsDeactivated]);
    harness.clock.advance_to(harness.cleeng.next_webhook_due().unwrap());
    let webhook = harness.cleeng.due_webhooks().pop().unwrap();
    assert_eq!((webhook.topic, webhook.at), (AUTHORISATION, harness.due));
    let parsed = connector::cleeng::webhook::Webhook::parse(&webhook.body).unwrap();
    assert_eq!(BillingEvent::read(&parsed).unwrap().payment_details, new);
}

#[tokio::test]
async fn every_webhook_passes_the_verifier_and_matches_the_database() {
    let harness = CleengHarness::new();
    let verifier = WebhookVerifier::new(SignatureSettings::default(), &[SecretString::new(SECRET)]).unwrap();
    let publisher = PublisherId::new("558186818").unwrap();
    let subscription = &harness.subscriber.subscription;
    let attempt = harness.due.before(72 * HOUR);
    for topic in [AUTHORISATION, CAPTURE] {
        let webhook = harness.cleeng.billing_event(topic, subscription, attempt, harness.due).unwrap();
        let verified =
            verifier.verify(&headers(&webhook), &webhook.body, &publisher, topic).map_err(|refusal| refusal.code()).ok().unwrap();
        let event = BillingEvent::read(verified.get()).ok().unwrap();
        assert_eq!((event.attempt, event.expiration), (attempt, harness.due));
        assert_eq!(
            (&event.subscription, &event.customer, &event.payment_details),
            (subscription, &harness.subscriber.customer, &harness.subscriber.details)
        );
        assert!(event.token.unwrap().matches("tok_en") && event.payment_method == Some(method()));
    }
    let webhook = harness.cleeng.billing_event(TERMINATION, subscription, harness.due, harness.due).unwrap();
    let verified = verifier.verify(&headers(&webhook), &webhook.body, &publisher, TERMINATION).ok().unwrap();
    assert_eq!(TerminationEvent::read(verified.get()).ok().unwrap().subscription, *subscription);
    harness.cleeng.rotate_webhook_secret("another-secret-of-32-bytes-0123456");
    let webhook = harness.cleeng.billing_event(TERMINATION, subscription, harness.due, harness.due).unwrap();
    assert!(!verifier.signature_matches(&headers(&webhook), &webhook.body));
}

#[test]
fn the_billing_topics_are_spelled_as_cleeng_spells_them() {
    let harness = CleengHarness::new();
    let at = Timestamp::parse_rfc3339("2019-03-06T08:43:20Z").unwrap();
    let data = |topic| {
        let webhook = harness.cleeng.billing_event(topic, &harness.subscriber.subscription, at, at).unwrap();
        serde_json::from_slice::<serde_json::Value>(&webhook.body).unwrap()["data"].clone()
    };
    let (authorisation, capture) = (data(AUTHORISATION), data(CAPTURE));
    assert!(authorisation["subscriptionId"].is_string() && capture["subscriptionId"].is_number());
    assert_eq!(authorisation["expirationDate"], "2019-03-06T08:43:20Z");
    assert_eq!(capture["expirationDate"], "2019-03-06T09:43:20+01:00");
    assert!(harness.clock.now() < harness.due);
}
