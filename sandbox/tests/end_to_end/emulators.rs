//! The emulators that the other tests depend on.

use std::path::PathBuf;

use serde_json::json;

use crate::enabled;
use crate::support::aws::{Aws, sqs_event};
use crate::support::runtime::{EmulatedFunction, EmulatedRuntime};

/// The function of `tools` that answers a constant. `./test` builds it beside the tests.
fn baseline_function() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("baseline")
}

#[tokio::test]
async fn an_attached_binary_answers_http_and_invocations() {
    if !enabled("an_attached_binary_answers_http_and_invocations") {
        return;
    }
    let mut runtime = EmulatedRuntime::start().await;
    runtime.attach("baseline", &baseline_function(), &[]);
    let answer = runtime.post("baseline", "/webhooks/key/name", &[("content-type", "application/json")], "{}").await;
    assert_eq!((answer.status.as_u16(), answer.json().unwrap()), (200, json!({ "path": "/webhooks/key/name" })));
    assert_eq!(runtime.invoke("baseline", &json!({ "rawPath": "/x" })).await["body"], "{\"path\":\"/x\"}");
}

#[tokio::test]
async fn a_binary_that_was_killed_is_followed_by_another_one() {
    if !enabled("a_binary_that_was_killed_is_followed_by_another_one") {
        return;
    }
    let mut runtime = EmulatedRuntime::start().await;
    for round in 0..3 {
        runtime.attach("baseline", &baseline_function(), &[]);
        assert_eq!(runtime.invoke("baseline", &json!({ "rawPath": "/x" })).await["statusCode"], 200, "round {round}");
        runtime.kill("baseline");
    }
}

#[tokio::test]
async fn the_emulator_stops_a_function_at_its_timeout_and_starts_it_again() {
    if !enabled("the_emulator_stops_a_function_at_its_timeout_and_starts_it_again") {
        return;
    }
    let wait = [("BASELINE_WAIT_MS", "5000".to_owned())];
    let mut slow = EmulatedFunction::start("baseline", &baseline_function(), &wait, 1).await;
    assert!(slow.invoke(&json!({})).await.contains("timed out after 1.00 seconds"));
    assert!(slow.invoke(&json!({})).await.contains("timed out after 1.00 seconds"), "the function came back and was stopped again");
}

#[tokio::test]
async fn a_message_on_an_emulated_queue_is_received_once() {
    if !enabled("a_message_on_an_emulated_queue_is_received_once") {
        return;
    }
    let aws = Aws::prepare().await;
    let queue = aws.create_queue().await;
    aws.call("sqs", "AmazonSQS.SendMessage", &json!({ "QueueUrl": queue, "MessageBody": "hello" })).await;
    let messages = aws.receive_all(&queue).await;
    assert_eq!(messages.len(), 1);
    let event = sqs_event(&messages[0]);
    assert_eq!(event["Records"][0]["body"], "hello");
    assert_eq!(event["Records"][0]["attributes"]["ApproximateReceiveCount"], "1");
    assert!(aws.receive_all(&queue).await.is_empty());
    assert_eq!(aws.documents().await, 0, "a new journal is empty");
}
