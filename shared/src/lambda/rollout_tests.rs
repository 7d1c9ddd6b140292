//! What the alarms of a roll-out hear of: every bad release of the runbook's table, and no stranger.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::queue::QueueError;
use super::settings::Mode;
use super::state::FunctionKind;
use super::testing::*;
use crate::cleeng::envelope::Envelope;
use crate::cleeng::webhook::Topic;
use crate::delivery::Delivery;
use crate::flow::{Disposition, FlowContext, RunReport, ScheduledJob};
use crate::reason::{ParkReason, RetryReason};

/// The reasons of all faults so far. Each is told by the version as well.
fn faults(harness: &TestHarness) -> BTreeSet<String> {
    for line in harness.sink.text().lines().filter(|line| line.contains("\"Fault\"")) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0], json!(["function", "version"]), "{line}");
        assert_eq!((line["function"].as_str(), line["version"].as_str()), (Some("authorisation"), Some("7")));
    }
    let metrics = harness.sink.metrics().into_iter();
    metrics.filter(|(name, ..)| name == "Fault").flat_map(|(_, _, reason)| reason).collect()
}

async fn post(harness: &TestHarness, signature: &str, body: &Value) -> u64 {
    harness.handle(&http_event(ROUTE, signature, &body.to_string(), false)).await["statusCode"].as_u64().unwrap()
}

fn changed(path: &str, value: Value) -> Value {
    let mut event = authorisation_event();
    *event.pointer_mut(path).unwrap() = value;
    event
}

struct FailingJob;

#[async_trait]
impl ScheduledJob for FailingJob {
    async fn run(&self, _: &FlowContext, _: &Delivery) -> RunReport {
        RunReport { failed: 1, is_due_unlisted: true, is_scan_failed: true, ..RunReport::default() }
    }
}

#[tokio::test]
async fn every_bad_release_of_the_table_is_told() {
    let mut told = BTreeSet::new();
    let mut add = |harness: &TestHarness| told.extend(faults(harness));

    // A wrong secret or a wrong name of the header.
    let unsigned = harness(Mode::Lambda).await;
    assert_eq!(post(&unsigned, NEXT_SIGNING_SECRET, &authorisation_event()).await, 401);
    add(&unsigned);
    // Events that are not understood, at the door.
    let door = harness(Mode::Lambda).await;
    for (path, value) in [("/broadcasterId", json!(1)), ("/data", json!(null)), ("/data/expirationDate", json!("tomorrow"))] {
        assert_eq!(post(&door, SIGNING_SECRET, &changed(path, value)).await, 200);
    }
    door.queue.fail_with(Some(QueueError::Refused("no such queue")));
    assert_eq!(post(&door, SIGNING_SECRET, &authorisation_event()).await, 503);
    add(&door);
    // What the consumer meets.
    let consumer = harness(Mode::Lambda).await;
    let other = changed("/topic", json!("refundPayment")).to_string();
    let foreign = Envelope::seal_unread(Topic::RefundPayment, other.as_bytes(), NOW).to_text();
    consumer.handle(&json!({ "Records": [record("m0", 1, &foreign)] })).await;
    let own = authorisation_event().to_string().into_bytes();
    let own = Envelope::seal(&verified(&own), &own, NOW).unwrap().to_text();
    let retried = [
        RetryReason::GatewayUnreachable,
        RetryReason::GatewayCredentials,
        RetryReason::CleengUnreachable,
        RetryReason::CleengUnauthorised,
        RetryReason::JournalRefused,
    ];
    let dispositions = retried.map(|reason| Disposition::Retry { after: None, reason });
    for disposition in dispositions.into_iter().chain([Disposition::Parked(ParkReason::EventLacksToken)]) {
        consumer.flow.dispositions.lock().unwrap().push_back(disposition);
        consumer.handle(&json!({ "Records": [record("m1", 1, &own)] })).await;
    }
    add(&consumer);
    // Reconciliation that cannot work.
    let scheduled = harness_for(Mode::Lambda, |_, _| FunctionKind::Scheduled(std::sync::Arc::new(FailingJob))).await;
    scheduled.handle(&json!({ "detail-type": "Scheduled Event" })).await;
    add(&scheduled);
    let metrics = scheduled.sink.metrics();
    assert_eq!(metrics.iter().filter(|(name, ..)| name == "RunFailed").count(), 3);
    assert!(metrics.iter().all(|(name, ..)| name != "RunCompleted"), "a run that cannot list what is due is none");

    assert!(told.contains("event_lacks_token"), "what is parked");
    let runbook = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbook.md")).unwrap();
    let table = runbook.split("## Roll-out").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = table.lines().filter_map(|line| line.rsplit("| `Fault` with ").next().filter(|rest| *rest != line)).collect();
    assert!(rows.len() >= 8, "{rows:?}");
    for reason in rows.iter().flat_map(|row| row.split('`').skip(1).step_by(2)).filter(|word| *word != "code") {
        assert!(told.contains(reason), "{reason} is in the table and never told: {told:?}");
    }
}

#[tokio::test]
async fn mistyped_payment_methods_are_told_by_events_that_are_all_anothers() {
    let harness = harness(Mode::Lambda).await;
    for _ in 0..5 {
        assert_eq!(post(&harness, SIGNING_SECRET, &changed("/data/paymentMethodId", json!("999"))).await, 200);
    }
    let names: Vec<String> = harness.sink.metrics().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["EventNotOurs"; 5], "and none is accepted");
    assert!(harness.sink.text().lines().all(|line| line.contains("\"version\":\"7\"") || !line.contains("EventNotOurs")));
}

#[tokio::test]
async fn a_strangers_requests_and_waits_that_belong_to_the_trade_roll_nothing_back() {
    let webhooks = harness(Mode::Lambda).await;
    let stranger = changed("/broadcasterId", json!(1));
    assert_eq!(post(&webhooks, "forged", &stranger).await, 401, "a stranger may have found the address");
    for path in ["/webhooks/guessed/subscription-ready-for-payment-authorisation", "/", "/webhooks//"] {
        let answer = webhooks.handle(&http_event(path, "forged", &authorisation_event().to_string(), false)).await;
        assert_eq!(answer["statusCode"], 404);
    }
    let own = authorisation_event().to_string().into_bytes();
    let own = Envelope::seal(&verified(&own), &own, NOW).unwrap().to_text();
    for reason in [RetryReason::WaitingForAuthorisation, RetryReason::CaptureReceived, RetryReason::Leased, RetryReason::PaymentPending] {
        webhooks.flow.dispositions.lock().unwrap().push_back(Disposition::Retry { after: None, reason });
        webhooks.handle(&json!({ "Records": [record("m1", 1, &own)] })).await;
    }
    let notifications = notification_harness(Mode::Lambda).await;
    for body in ["", "{}", "nonsense"] {
        notifications.handle(&http_event("/gateways/adyen/notifications", "", body, false)).await;
    }
    for harness in [&webhooks, &notifications] {
        assert_eq!(faults(harness), BTreeSet::new());
    }
}
