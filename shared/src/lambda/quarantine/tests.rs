use super::*;
use crate::lambda::queue::QueueError;
use crate::lambda::settings::Mode;
use crate::lambda::testing::*;

/// What the door of a function keeps aside while Cleeng signs with the next secret and the function has the first.
async fn kept(bodies: &[String], signature: &str) -> Vec<String> {
    let bench = bench(Mode::Lambda).await;
    for body in bodies {
        let answer = bench.handle(&http_event(ROUTE, signature, body, false)).await;
        assert_eq!(answer["statusCode"], 401);
    }
    assert!(bench.queue.sent().is_empty() && bench.seen().is_empty());
    bench.quarantine.sent()
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

async fn left(bench: &Bench, messages: &[String]) -> usize {
    bench.handle(&batch(messages)).await["batchItemFailures"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_rotation_without_overlap_loses_no_good_event_and_takes_no_forged_one() {
    let good = events(40);
    let (late, forged) = (kept(&good, NEXT_SIGNING_SECRET).await, kept(&events(10), "signature of nobody").await);
    assert_eq!((late.len(), forged.len()), (40, 10), "nobody can tell them apart yet");
    let bench = rounds_bench().await;
    let all: Vec<String> = late.iter().chain(&forged).cloned().collect();
    assert_eq!(left(&bench, &all).await, 50, "the secret here is still the first");
    assert!(bench.requeue.sent().is_empty());
    *bench.secrets.0.lock().unwrap() = secret_json(NEXT_SIGNING_SECRET);
    bench.clock.advance(Duration::from_secs(3600));
    assert_eq!(left(&bench, &all).await, 10, "the forged ones");
    let given: Vec<Value> = bench.requeue.sent().iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let bodies: Vec<&str> = given.iter().map(|envelope| envelope["body"].as_str().unwrap()).collect();
    assert_eq!(bodies, good.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(given.iter().all(|envelope| envelope["source"] == "cleeng" && envelope["received_at"] == NOW.millis()));
}

#[tokio::test]
async fn a_rotation_with_overlap_takes_every_good_event_at_once_and_no_forged_one() {
    let bench = bench(Mode::Lambda).await;
    let mut both = secret_json(NEXT_SIGNING_SECRET);
    both["cleeng"]["webhook_secrets"] = json!([NEXT_SIGNING_SECRET, SIGNING_SECRET]);
    *bench.secrets.0.lock().unwrap() = both;
    bench.clock.advance(Duration::from_secs(3600));
    let (good, forged) = (events(40), events(10));
    for (number, body) in good.iter().enumerate() {
        // Cleeng changes over in the middle, and some are still on their way.
        let secret = if number > 20 && number % 5 != 0 { NEXT_SIGNING_SECRET } else { SIGNING_SECRET };
        assert_eq!(bench.handle(&http_event(ROUTE, secret, body, false)).await["statusCode"], 200, "{number}");
    }
    for body in &forged {
        assert_eq!(bench.handle(&http_event(ROUTE, "signature of nobody", body, false)).await["statusCode"], 401);
    }
    assert_eq!(bench.queue.sent().len(), 40);
}

#[tokio::test]
async fn what_cannot_be_cleengs_is_not_kept() {
    let event = authorisation_event().to_string();
    for body in [
        "{".to_owned(),
        event.replace("870553921", "870553922"),
        event.replace("subscriptionReadyForPaymentAuthorisation", "refundPayment"),
    ] {
        assert_eq!(kept(std::slice::from_ref(&body), NEXT_SIGNING_SECRET).await, Vec::<String>::new(), "{body}");
    }
    assert_eq!(kept(&[event], "").await, Vec::<String>::new(), "unsigned");
}

#[tokio::test]
async fn a_flood_is_cut_off_and_the_next_minute_counts_anew() {
    let bench = bench(Mode::Lambda).await;
    for body in events(100) {
        bench.handle(&http_event(ROUTE, NEXT_SIGNING_SECRET, &body, false)).await;
    }
    assert_eq!(bench.quarantine.sent().len(), 60);
    bench.clock.advance(Duration::from_secs(60));
    bench.handle(&http_event(ROUTE, NEXT_SIGNING_SECRET, &events(1)[0], false)).await;
    assert_eq!(bench.quarantine.sent().len(), 61);
}

#[tokio::test]
async fn an_event_that_verifies_and_cannot_be_queued_stays_and_comes_back_soon() {
    let late = kept(&events(1), NEXT_SIGNING_SECRET).await;
    let bench = rounds_bench().await;
    *bench.secrets.0.lock().unwrap() = secret_json(NEXT_SIGNING_SECRET);
    bench.clock.advance(Duration::from_secs(3600));
    bench.requeue.fail_with(Some(QueueError::Unavailable));
    assert_eq!(left(&bench, &late).await, 1);
    assert_eq!(bench.queue.delays(), [("handle-m0".to_owned(), SOON)]);
    bench.requeue.fail_with(None);
    assert_eq!((left(&bench, &late).await, bench.requeue.sent().len()), (0, 1));
}

#[tokio::test]
async fn what_was_changed_in_quarantine_or_is_none_of_it_is_never_given_on() {
    let late = kept(&events(1), NEXT_SIGNING_SECRET).await.remove(0);
    let bench = rounds_bench().await;
    *bench.secrets.0.lock().unwrap() = secret_json(NEXT_SIGNING_SECRET);
    bench.clock.advance(Duration::from_secs(3600));
    let other_topic = late.replacen("subscriptionReadyForPaymentAuthorisation", "subscriptionReadyForPaymentCapture", 1);
    let envelope = late.replace("\"source\":\"quarantine\"", "\"source\":\"cleeng\"");
    let newer = late.replace("\"v\":1", "\"v\":2");
    let messages = [other_topic, envelope, newer, "{}".to_owned(), String::new(), "nonsense".to_owned()];
    assert_eq!(left(&bench, &messages).await, messages.len());
    assert!(bench.requeue.sent().is_empty());
}
