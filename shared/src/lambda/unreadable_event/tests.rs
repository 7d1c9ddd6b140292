use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::clock::Clock as _;
use crate::journal::store::Store;
use crate::lambda::settings::Mode;
use crate::lambda::testing::*;
use crate::manual_review::{Decision, DecisionRequest, PreparedDecision, list_parked};

const TOPIC: Topic = Topic::SubscriptionReadyForPaymentAuthorisation;

fn store(harness: &TestHarness) -> Arc<dyn Store> {
    Arc::clone(&harness.app.dependencies().flow_context.store)
}

async fn deliver(harness: &TestHarness, text: &str) -> Value {
    harness.handle(&json!({ "Records": [record("m1", 1, text)] })).await
}

fn parked_count(harness: &TestHarness) -> usize {
    harness.sink.metrics().iter().filter(|(name, ..)| name == "Parked").count()
}

#[tokio::test]
async fn a_signed_event_that_nobody_understands_is_parked_once_with_an_alarm_and_comes_back_by_retry() {
    let harness = harness(Mode::Lambda).await;
    let text = authorisation_event().to_string().replace("expirationDate", "expiration_date");
    let envelope = Envelope::seal_unread(TOPIC, text.as_bytes(), NOW).to_text();
    for _ in 0..2 {
        assert_eq!(deliver(&harness, &envelope).await, json!({ "batchItemFailures": [] }), "it leaves the queue");
    }
    let listed = list_parked(store(&harness).as_ref(), 10).await.unwrap();
    assert_eq!((listed.len(), listed[0].reason.as_str(), listed[0].money_unknown), (1, "event_unreadable", false));
    assert_eq!((parked_count(&harness), harness.seen().len()), (1, 0));

    let request = DecisionRequest { decision: Decision::Retry, by: "me".to_owned(), note: "upgraded".to_owned(), no_money_moved: false };
    let mut decision = PreparedDecision::prepare(&store(&harness), &listed[0].key, &request, harness.clock.now()).await.ok().unwrap();
    assert_eq!(decision.event.as_deref(), Some(envelope.as_str()), "as it came");
    decision.commit().await.ok().unwrap();
    assert!(list_parked(store(&harness).as_ref(), 10).await.unwrap().is_empty());
    // Still this release: it is parked again, and not lost.
    deliver(&harness, &envelope).await;
    assert_eq!((list_parked(store(&harness).as_ref(), 10).await.unwrap().len(), parked_count(&harness)), (1, 2));
}

#[tokio::test]
async fn each_event_that_cannot_be_acted_on_is_parked_for_its_reason() {
    for (body, reason) in crate::lambda::webhook_handler::tests::not_understood() {
        for mode in [Mode::Lambda, Mode::Embedded] {
            let harness = harness(mode).await;
            let answer = harness.handle(&http_event(ROUTE, SIGNING_SECRET, &body, false)).await;
            assert_eq!(answer["statusCode"], 200, "{body}");
            for message in harness.queue.sent() {
                assert_eq!(deliver(&harness, &message).await, json!({ "batchItemFailures": [] }), "{body}");
            }
            let listed = list_parked(store(&harness).as_ref(), 10).await.unwrap();
            assert_eq!(listed.iter().map(|parked| parked.reason.as_str()).collect::<Vec<_>>(), [reason.as_str()], "{body}");
            assert!(harness.seen().is_empty(), "{body}");
        }
    }
}
