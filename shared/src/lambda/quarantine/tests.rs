use super::*;
use crate::lambda::queue::QueueError;
use crate::lambda::settings::Mode;
use crate::lambda::testing::*;

/// The webhooks that a function's handler quarantines while Cleeng signs with the next secret and the function has the first.
async fn quarantined_messages(bodies: &[String], signature: &str) -> Vec<String> {
    let harness = harness(Mode::Lambda).await;
    for body in bodies {
        let answer = harness.handle(&http_event(ROUTE, signature, body, false)).await;
        assert_eq!(answer["statusCode"], 401);
    }
    assert!(harness.queue.sent().is_empty() && harness.seen().is_empty());
    harness.quarantine.sent()
}

/// Good events, each of another subscription.
fn events(count: usize) -> Vec<String> {
    let event = |number: usize| authorisation_event().to_string().replace("332332332", &format!("332332{number:03}"));
    (0..count).map(event).collect()
}

fn batch(messages: &[String]) -> Value {
    let records: Vec<Value> = messages.iter().enumerate().map(|(number, text)| record(&format!("m{number}"), 1, text)).collect();
    json!({ "Records": records })
}

async fn left_after_recheck(harness: &TestHarness, messages: &[String]) -> usize {
    harness.handle(&batch(messages)).await["batchItemFailures"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_rotation_without_overlap_loses_no_good_event_and_takes_no_forged_one() {
    let good = events(40);
    let (late, forged) =
        (quarantined_messages(&good, NEXT_SIGNING_SECRET).await, quarantined_messages(&events(10), "signature of nobody").await);
    assert_eq!((late.len(), forged.len()), (40, 10), "nobody can tell them apart yet");
    let harness = scheduled_harness().await;
    let all: Vec<String> = late.iter().chain(&forged).cloned().collect();
    assert_eq!(left_after_recheck(&harness, &all).await, 50, "the secret here is still the first");
    assert!(harness.requeue.sent().is_empty());
    *harness.secrets.0.lock().unwrap() = secret_json(NEXT_SIGNING_SECRET);
    harness.clock.advance(Duration::from_secs(3600));
    assert_eq!(left_after_recheck(&harness, &all).await, 10, "the forged ones");
    let given: Vec<Value> = harness.requeue.sent().iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let bodies: Vec<&str> = given.iter().map(|envelope| envelope["body"].as_str().unwrap()).collect();
    assert_eq!(bodies, good.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(given.iter().all(|envelope| envelope["source"] == "cleeng" && envelope["received_at"] == NOW.millis()));
}

#[tokio::test]
async fn a_rotation_with_overlap_takes_every_good_event_at_once_and_no_forged_one() {
    let harness = harness(Mode::Lambda).await;
    let mut both = secret_json(NEXT_SIGNING_SECRET);
    both["cleeng"]["webhook_secrets"] = json!([NEXT_SIGNING_SECRET, SIGNING_SECRET]);
    *harness.secrets.0.lock().unwrap() = both;
    harness.clock.advance(Duration::from_secs(3600));
    let (good, forged) = (events(40), events(10));
    for (number, body) in good.iter().enumerate() {
        // Cleeng changes over in the middle, and some are still on their way.
        let secret = if number > 20 && number % 5 != 0 { NEXT_SIGNING_SECRET } else { SIGNING_SECRET };
        assert_eq!(harness.handle(&http_event(ROUTE, secret, body, false)).await["statusCode"], 200, "{number}");
    }
    for body in &forged {
        assert_eq!(harness.handle(&http_event(ROUTE, "signature of nobody", body, false)).await["statusCode"], 401);
    }
    assert_eq!(harness.queue.sent().len(), 40);
}

#[tokio::test]
async fn what_cannot_be_cleengs_is_not_kept() {
    let event = authorisation_event().to_string();
    for body in [
        "{".to_owned(),
        event.replace("870553921", "870553922"),
        event.replace("subscriptionReadyForPaymentAuthorisation", "refundPayment"),
    ] {
        assert_eq!(quarantined_messages(std::slice::from_ref(&body), NEXT_SIGNING_SECRET).await, Vec::<String>::new(), "{body}");
    }
    assert_eq!(quarantined_messages(&[event], "").await.len(), 1, "the signature may be in another header");
}

#[tokio::test]
async fn a_flood_is_cut_off_and_the_next_minute_counts_anew() {
    let harness = harness(Mode::Lambda).await;
    for body in events(100) {
        harness.handle(&http_event(ROUTE, NEXT_SIGNING_SECRET, &body, false)).await;
    }
    assert_eq!(harness.quarantine.sent().len(), 60);
    harness.clock.advance(Duration::from_secs(60));
    harness.handle(&http_event(ROUTE, NEXT_SIGNING_SECRET, &events(1)[0], false)).await;
    assert_eq!(harness.quarantine.sent().len(), 61);
}

#[tokio::test]
async fn an_event_that_verifies_and_cannot_be_queued_stays_and_comes_back_soon() {
    let late = quarantined_messages(&events(1), NEXT_SIGNING_SECRET).await;
    let harness = scheduled_harness().await;
    *harness.secrets.0.lock().unwrap() = secret_json(NEXT_SIGNING_SECRET);
    harness.clock.advance(Duration::from_secs(3600));
    harness.requeue.fail_with(Some(QueueError::Unavailable));
    assert_eq!(left_after_recheck(&harness, &late).await, 1);
    assert_eq!(harness.queue.delays(), [("handle-m0".to_owned(), REQUEUE_RETRY_INTERVAL)]);
    harness.requeue.fail_with(None);
    assert_eq!((left_after_recheck(&harness, &late).await, harness.requeue.sent().len()), (0, 1));
}

#[tokio::test]
async fn what_was_changed_in_quarantine_or_is_none_of_it_is_never_given_on() {
    let late = quarantined_messages(&events(1), NEXT_SIGNING_SECRET).await.remove(0);
    let harness = scheduled_harness().await;
    *harness.secrets.0.lock().unwrap() = secret_json(NEXT_SIGNING_SECRET);
    harness.clock.advance(Duration::from_secs(3600));
    let other_topic = late.replacen("subscriptionReadyForPaymentAuthorisation", "subscriptionReadyForPaymentCapture", 1);
    let envelope = late.replace("\"source\":\"quarantine\"", "\"source\":\"cleeng\"");
    let newer = late.replace("\"v\":1", "\"v\":2");
    let messages = [other_topic, envelope, newer, "{}".to_owned(), String::new(), "nonsense".to_owned()];
    assert_eq!(left_after_recheck(&harness, &messages).await, messages.len());
    assert!(harness.requeue.sent().is_empty());
}
