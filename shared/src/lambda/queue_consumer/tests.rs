use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::lambda::queue::QueueError;
use crate::lambda::settings::Mode;
use crate::lambda::testing::*;
use crate::reason::{CompletionReason, ParkReason, RetryReason};

/// The text of a message, received a minute ago.
fn message() -> String {
    let raw = authorisation_event().to_string().into_bytes();
    Envelope::seal(&verified(&raw), &raw, NOW.before(Duration::from_secs(60))).unwrap().to_text()
}

fn failures(answer: &Value) -> Vec<&str> {
    answer["batchItemFailures"].as_array().unwrap().iter().map(|failure| failure["itemIdentifier"].as_str().unwrap()).collect()
}

async fn deliver(harness: &TestHarness, records: Vec<Value>) -> Value {
    harness.handle(&json!({ "Records": records })).await
}

#[tokio::test]
async fn a_settled_event_leaves_the_queue() {
    let harness = harness(Mode::Lambda).await;
    let answer = deliver(&harness, vec![record("m1", 3, &message())]).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    let seen = harness.seen();
    assert_eq!(seen.len(), 1);
    let (data, delivery) = &seen[0];
    assert_eq!(*data, authorisation_event()["data"]);
    assert_eq!(delivery.id, "request-1/m1");
    assert_eq!(delivery.count, 3);
    assert_eq!(delivery.received_at, NOW.before(Duration::from_secs(60)));
    assert_eq!(delivery.deadline, NOW.after(Duration::from_secs(89)));
    assert!(harness.queue.delays().is_empty());
    assert_eq!(harness.sink.metrics(), [("Settled".to_owned(), 1, vec!["authorised".to_owned()])]);
}

#[tokio::test]
async fn parked_and_foreign_events_leave_the_queue_too() {
    let harness = harness(Mode::Lambda).await;
    harness.flow.dispositions.lock().unwrap().extend([Disposition::Parked(ParkReason::OutcomeUnknown), Disposition::NotOurs]);
    let answer = deliver(&harness, vec![record("m1", 1, &message()), record("m2", 1, &message())]).await;
    assert!(failures(&answer).is_empty());
    // What is parked is counted where it is parked: by the flow. That a version parks is counted here.
    let expected = [("Fault".to_owned(), 1, vec!["outcome_unknown".to_owned()]), ("EventNotOurs".to_owned(), 1, vec![])];
    assert_eq!(harness.sink.metrics(), expected);
}

#[tokio::test]
async fn an_event_put_off_stays_on_the_queue_and_comes_back_later_each_time() {
    let harness = harness(Mode::Lambda).await;
    let mut last = Duration::ZERO;
    for count in 1..=5 {
        harness.flow.dispositions.lock().unwrap().push_back(Disposition::Retry { after: None, reason: RetryReason::Leased });
        let answer = deliver(&harness, vec![record("m1", count, &message())]).await;
        assert_eq!(failures(&answer), ["m1"]);
        let (handle, delay) = harness.queue.delays().pop().unwrap();
        assert_eq!(handle, "handle-m1");
        assert!(delay > last, "{delay:?} is not later than {last:?}");
        last = delay;
    }
    let metrics = harness.sink.metrics();
    assert_eq!(metrics[0], ("Deferred".to_owned(), 1, vec!["leased".to_owned()]));
    assert_eq!(metrics[1], ("UnsettledAge".to_owned(), 60, vec![]));
}

#[tokio::test]
async fn a_flow_may_say_when_and_is_held_to_15_minutes() {
    let harness = harness(Mode::Lambda).await;
    for (after, delay) in [(0, 1), (42, 42), (86_400, 900)] {
        let later = Disposition::Retry { after: Some(Duration::from_secs(after)), reason: RetryReason::WaitingForAuthorisation };
        harness.flow.dispositions.lock().unwrap().push_back(later);
        deliver(&harness, vec![record("m1", 7, &message())]).await;
        assert_eq!(harness.queue.delays().pop().unwrap().1, Duration::from_secs(delay));
    }
}

#[tokio::test]
async fn one_bad_message_does_not_hold_up_the_others() {
    let harness = harness(Mode::Lambda).await;
    harness
        .flow
        .dispositions
        .lock()
        .unwrap()
        .extend([Disposition::Retry { after: None, reason: RetryReason::Leased }, Disposition::Completed(CompletionReason::Authorised)]);
    let newer = json!({"v": 2}).to_string();
    let mut without_body = record("m4", 1, "");
    without_body.as_object_mut().unwrap().remove("body");
    let records =
        vec![record("m1", 1, "garbage"), record("m2", 1, &message()), record("m3", 1, &newer), without_body, record("m5", 1, &message())];
    let answer = deliver(&harness, records).await;
    assert_eq!(failures(&answer), ["m1", "m2", "m3", "m4"]);
    assert_eq!(harness.seen().len(), 2);
    let delayed: Vec<String> = harness.queue.delays().into_iter().map(|(handle, _)| handle).collect();
    assert_eq!(delayed, ["handle-m2"], "what cannot be opened goes the way to the dead letters undisturbed");
}

#[tokio::test]
async fn a_message_of_another_topic_is_never_given_to_the_flow() {
    let harness = harness(Mode::Lambda).await;
    let mut event = authorisation_event();
    event["topic"] = json!("subscriptionReadyForPaymentCapture");
    let raw = event.to_string().into_bytes();
    let text = Envelope::seal(&verified(&raw), &raw, NOW).unwrap().to_text();
    assert!(failures(&deliver(&harness, vec![record("m1", 1, &text)]).await).is_empty(), "it is parked");
    assert!(harness.seen().is_empty());
}

#[tokio::test]
async fn with_too_little_time_left_nothing_is_begun() {
    let harness = harness(Mode::Lambda).await;
    let event = json!({ "Records": [record("m1", 1, &message())] }).to_string();
    for seconds in [0, 1, 5] {
        let answer = harness.app.handle(&event, &harness.invocation(seconds)).await.unwrap();
        assert_eq!(failures(&answer), ["m1"]);
    }
    assert!(harness.seen().is_empty());
    assert!(harness.queue.delays().is_empty());
    let answer = harness.app.handle(&event, &harness.invocation(6)).await.unwrap();
    assert!(failures(&answer).is_empty());
}

#[tokio::test]
async fn a_delay_that_fails_still_keeps_the_message() {
    let harness = harness(Mode::Lambda).await;
    harness.queue.fail_with(Some(QueueError::Unavailable));
    harness.flow.dispositions.lock().unwrap().push_back(Disposition::Retry { after: None, reason: RetryReason::Leased });
    assert_eq!(failures(&deliver(&harness, vec![record("m1", 1, &message())]).await), ["m1"]);
}

#[tokio::test]
async fn refused_credentials_have_the_secrets_read_again_before_the_next_delivery() {
    let harness = harness(Mode::Lambda).await;
    let before = harness.app.dependencies();
    *harness.secrets.0.lock().unwrap() = secret_json(NEXT_SIGNING_SECRET);
    harness.clock.advance(Duration::from_secs(61));
    harness
        .flow
        .dispositions
        .lock()
        .unwrap()
        .extend([RetryReason::Leased, RetryReason::CleengUnauthorised].map(|reason| Disposition::Retry { after: None, reason }));
    deliver(&harness, vec![record("m1", 1, &message())]).await;
    assert!(std::sync::Arc::ptr_eq(&before, &harness.app.dependencies()));
    deliver(&harness, vec![record("m1", 2, &message())]).await;
    assert!(!std::sync::Arc::ptr_eq(&before, &harness.app.dependencies()));
}

#[tokio::test]
async fn an_empty_batch_is_an_empty_answer() {
    let harness = harness(Mode::Lambda).await;
    assert_eq!(deliver(&harness, vec![]).await, json!({ "batchItemFailures": [] }));
}

#[test]
fn the_backoff_doubles_from_30_seconds_to_15_minutes_less_a_fifth_at_most() {
    for (count, seconds) in [(1, 30), (2, 60), (3, 120), (4, 240), (5, 480), (6, 900), (7, 900), (100, 900), (u32::MAX, 900)] {
        for id in ["", "m1", "059f36b4-87a3-44ab-83d2-661975830a7d"] {
            let delay = backoff(count, id).as_secs();
            assert!((seconds * 4 / 5..=seconds).contains(&delay), "{count} {id}: {delay}");
        }
    }
    let spread: std::collections::BTreeSet<u64> = (0..100).map(|id| backoff(6, &format!("message-{id}")).as_secs()).collect();
    assert!(spread.len() > 30, "a wave of messages comes back as one");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_message_makes_it_panic(body in ".*", id in ".*", count in ".*") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let failed = runtime.block_on(async {
            let harness = harness(Mode::Lambda).await;
            let mut record = record(&id, 1, &body);
            record["attributes"]["ApproximateReceiveCount"] = json!(count);
            deliver(&harness, vec![record]).await
        });
        prop_assert_eq!(failed, json!({ "batchItemFailures": [{ "itemIdentifier": id }] }));
    }
}
