//! Reconciliation with real AWS clients: the index of what is due, and the queues that events go back to.

use sandbox::cleeng::sign;
use serde_json::json;

use crate::deployment::{Deployment, QUARANTINE, Sent, event, sample};
use crate::support::aws::SECRET;
use crate::support::peers::Peers;
use crate::{BILLING, ROUNDS, enabled};

#[tokio::test]
async fn an_event_that_waits_goes_back_to_its_queue_when_it_is_due_and_only_then() {
    if !enabled("an_event_that_waits_goes_back_to_its_queue_when_it_is_due_and_only_then") {
        return;
    }
    let peers = Peers::start(0).await;
    let mut deployment = Deployment::beside(&peers).await;
    for function in [BILLING[0], BILLING[1], ROUNDS] {
        deployment.deploy(function).await;
    }
    crate::billing::live_through(&mut deployment, BILLING[0], 1).await;
    let message = deployment.accepted(BILLING[1], &sample(BILLING[1])).await;
    assert!(!deployment.deliver(BILLING[1], &message).await, "the gateway has not said that the money is taken");
    let round = event(ROUNDS, "schedule.json");
    let nothing =
        json!({ "due": 0, "broughtBack": 0, "ended": 0, "watched": 0, "madeUp": 0, "released": 0, "found": 0, "putOff": 0, "failed": 0 });
    assert_eq!(deployment.runtime.invoke(ROUNDS, &round).await, nothing, "{}", deployment.runtime.output());
    deployment.make_due().await;
    let tally = deployment.runtime.invoke(ROUNDS, &round).await;
    assert_eq!((&tally["broughtBack"], &tally["failed"]), (&json!(1), &json!(0)), "{tally} {}", deployment.runtime.output());
    let copies = deployment.take(BILLING[1]).await;
    assert_eq!(copies.len(), 1);
    assert!(!deployment.deliver(BILLING[1], &copies[0]).await, "a copy changes nothing");
    assert_eq!(deployment.runtime.invoke(ROUNDS, &round).await, nothing);
    deployment.assert_discreet();
}

/// The sample webhook, signed with another secret.
fn signed_with(secret: &str) -> Sent {
    let sent = sample(BILLING[0]);
    Sent { signature: sign(secret, sent.body.as_bytes()), ..sent }
}

#[tokio::test]
async fn a_secret_that_is_changed_in_cleeng_first_loses_no_event_and_lets_no_forged_one_in() {
    if !enabled("a_secret_that_is_changed_in_cleeng_first_loses_no_event_and_lets_no_forged_one_in") {
        return;
    }
    const NEXT: &str = "next-webhook-secret-0123456789abcdefghij";
    let peers = Peers::start(0).await;
    let mut deployment = Deployment::beside(&peers).await;
    deployment.deploy(BILLING[0]).await;
    assert_eq!(deployment.post(BILLING[0], &signed_with(NEXT)).await, 401);
    assert_eq!(deployment.post(BILLING[0], &signed_with("a-forgers-secret-0123456789abcdefghijklm")).await, 401);
    assert!(deployment.take(BILLING[0]).await.is_empty());
    let kept = deployment.take(QUARANTINE).await;
    assert_eq!(kept.len(), 2, "{}", deployment.runtime.output());
    let mut secret: serde_json::Value = serde_json::from_str(SECRET).unwrap();
    let before = secret["cleeng"]["webhook_secrets"].as_array().unwrap()[0].clone();
    secret["cleeng"]["webhook_secrets"] = json!([NEXT, before]);
    let put = json!({ "SecretId": deployment.aws.secret_id, "SecretString": secret.to_string() });
    deployment.aws.call("secretsmanager", "secretsmanager.PutSecretValue", &put).await;
    deployment.deploy(ROUNDS).await;
    let taken = [deployment.deliver(ROUNDS, &kept[0]).await, deployment.deliver(ROUNDS, &kept[1]).await];
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1, "{}", deployment.runtime.output());
    let queued = deployment.take(BILLING[0]).await;
    assert_eq!(queued.len(), 1);
    deployment.settle(BILLING[0], &queued[0]).await;
    assert_eq!(peers.cleeng.payments().len(), 1);
    deployment.assert_discreet();
}
