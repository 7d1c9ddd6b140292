//! Events that are requeued, and their results.

use std::sync::Arc;

use connector::cleeng::PaymentStatus;
use connector::cleeng::envelope::Envelope;
use connector::flow::Disposition;
use connector::lambda::queue::{CapturingQueue, QueueError};
use connector::reason::CompletionReason;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};
use serde_json::{Value, json};

use crate::support::{deliver_queued, deployed, run_command_with};

fn at_first_attempt() -> (TestEnvironment, TestSubscriber, String) {
    let stage = TestEnvironment::default();
    let cast = stage.subscriber(ADYEN_METHOD);
    stage.clock.advance_to(cast.due.before(std::time::Duration::from_secs(72 * 3600)));
    let body = String::from_utf8(stage.authorisation_event(&cast, 72).body.to_vec()).unwrap();
    (stage, cast, body)
}

async fn replay(stage: &TestEnvironment, queue: &Arc<CapturingQueue>, text: &str) -> connectorctl::output::CommandOutput {
    run_command_with(stage, queue, deployed(), text, &["replay", "-"]).await
}

#[tokio::test]
async fn a_saved_body_an_envelope_and_an_sqs_answer_all_get_there_and_are_done_once() {
    let (stage, _, body) = at_first_attempt();
    let queue = Arc::new(CapturingQueue::default());
    let envelope = Envelope::from_waiting_event(&body, connector::clock::Clock::now(&stage.clock)).unwrap().to_text();
    let received = json!({ "Messages": [{ "MessageId": "1", "Body": envelope }, { "MessageId": "2", "Body": body }] }).to_string();
    for text in [&body, &envelope, &received] {
        let answer = replay(&stage, &queue, text).await;
        assert_eq!(answer.exit_code, 0, "{}", answer.text);
        assert!(answer.text.contains("subscriptionReadyForPaymentAuthorisation of subscription"), "{}", answer.text);
    }
    assert_eq!(deliver_queued(&stage, &queue).await, vec![Disposition::Completed(CompletionReason::Authorised); 4]);
    let statuses: Vec<_> = stage.cleeng.payments().into_iter().map(|payment| payment.status).collect();
    assert_eq!((statuses, stage.adyen.authorisations()), (vec![PaymentStatus::Authorised], 1));
}

#[tokio::test]
async fn what_is_no_event_of_ours_is_not_queued() {
    let (stage, _, body) = at_first_attempt();
    let queue = Arc::new(CapturingQueue::default());
    let changed = |change: fn(&mut Value)| {
        let mut event: Value = serde_json::from_str(&body).unwrap();
        change(&mut event);
        event.to_string()
    };
    for (text, word) in [
        ("nonsense".to_owned(), "no event of this connector"),
        (json!({ "Messages": [] }).to_string(), "holds no event"),
        (changed(|event| event["broadcasterId"] = json!(999)), "another publisher"),
        (changed(|event| event["topic"] = json!("customerCreated")), "no event of this connector"),
        (changed(|event| event["data"]["paymentMethodId"] = json!(999)), "PAYMENT_METHODS"),
        (changed(|event| event["data"]["subscriptionId"] = Value::Null), "lacks"),
        (json!({ "v": 99, "source": "cleeng" }).to_string(), "newer than this release"),
    ] {
        let answer = replay(&stage, &queue, &text).await;
        assert!(answer.exit_code == 2 && answer.text.contains(word), "{word}: {}", answer.text);
    }
    assert!(queue.sent().is_empty());
}

#[tokio::test]
async fn one_bad_message_among_several_keeps_all_from_being_sent() {
    let (stage, _, body) = at_first_attempt();
    let queue = Arc::new(CapturingQueue::default());
    let received = json!({ "Messages": [{ "Body": body }, { "Body": "nonsense" }] }).to_string();
    assert_eq!((replay(&stage, &queue, &received).await.exit_code, queue.sent().len()), (2, 0));
}

#[tokio::test]
async fn a_termination_goes_to_the_queue_that_reconciliations_settings_name() {
    let (stage, cast, _) = at_first_attempt();
    let queue = Arc::new(CapturingQueue::default());
    let termination = String::from_utf8(stage.termination_event(&cast).body.to_vec()).unwrap();
    assert_eq!((replay(&stage, &queue, &termination).await.exit_code, queue.sent().len()), (0, 1));
}

#[tokio::test]
async fn a_queue_that_is_not_named_is_asked_for_and_one_that_refuses_is_explained() {
    let (stage, cast, _) = at_first_attempt();
    let queue = Arc::new(CapturingQueue::default());
    let termination = String::from_utf8(stage.termination_event(&cast).body.to_vec()).unwrap();
    // As gateway-notification has them.
    let mut settings = deployed();
    let others = settings["EVENT_QUEUE_URLS"].split(',').filter(|entry| !entry.contains("Termination")).collect::<Vec<_>>().join(",");
    settings.insert("EVENT_QUEUE_URLS".to_owned(), others);
    let answer = run_command_with(&stage, &queue, settings.clone(), &termination, &["replay", "-"]).await;
    assert!(answer.exit_code == 2 && answer.text.contains("--queue"), "{}", answer.text);
    let named = ["replay", "-", "--queue", "https://sqs.eu-west-1.amazonaws.com/123456789012/termination"];
    assert_eq!(run_command_with(&stage, &queue, settings.clone(), &termination, &named).await.exit_code, 0);
    assert_eq!(queue.sent().len(), 1);
    queue.fail_with(Some(QueueError::Refused("access denied")));
    let answer = run_command_with(&stage, &queue, settings, &termination, &named).await;
    assert!(answer.exit_code == 2 && answer.text.contains("OperatorRoleArn"), "{}", answer.text);
}
