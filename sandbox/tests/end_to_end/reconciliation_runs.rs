//! Reconciliation with real AWS clients: the index of due items, and the queues for requeued events.

use sandbox::simulators::cleeng::sign;
use serde_json::json;

use crate::deployment::{Deployment, QUARANTINE, SignedWebhook, event, sample_webhook};
use crate::support::aws::SECRET;
use crate::support::upstreams::Upstreams;
use crate::{BILLING, RECONCILIATION, enabled};

#[tokio::test]
async fn a_waiting_event_is_requeued_only_when_it_is_due() {
    if !enabled("a_waiting_event_is_requeued_only_when_it_is_due") {
        return;
    }
    let peers = Upstreams::start(0).await;
    let mut deployment = Deployment::with_upstreams(&peers).await;
    for function in [BILLING[0], BILLING[1], RECONCILIATION] {
        deployment.deploy(function).await;
    }
    crate::billing::deliver_sample(&mut deployment, BILLING[0], 1).await;
    let message = deployment.accepted(BILLING[1], &sample_webhook(BILLING[1])).await;
    assert!(!deployment.deliver(BILLING[1], &message).await, "the gateway has not said that the money is taken");
    let round = event(RECONCILIATION, "schedule.json");
    let nothing = json!({ "due": 0, "requeued": 0, "finished": 0, "checked": 0, "recovered": 0, "released": 0, "discovered": 0, "deferred": 0, "failed": 0 });
    assert_eq!(deployment.runtime.invoke(RECONCILIATION, &round).await, nothing, "{}", deployment.runtime.output());
    deployment.make_due().await;
    let report = deployment.runtime.invoke(RECONCILIATION, &round).await;
    assert_eq!((&report["requeued"], &report["failed"]), (&json!(1), &json!(0)), "{report} {}", deployment.runtime.output());
    let copies = deployment.receive_all(BILLING[1]).await;
    assert_eq!(copies.len(), 1);
    assert!(!deployment.deliver(BILLING[1], &copies[0]).await, "a copy changes nothing");
    assert_eq!(deployment.runtime.invoke(RECONCILIATION, &round).await, nothing);
    deployment.assert_no_secrets_logged();
}

/// The sample webhook, signed with another secret.
fn signed_with(secret: &str) -> SignedWebhook {
    let sent = sample_webhook(BILLING[0]);
    SignedWebhook { signature: sign(secret, sent.body.as_bytes()), ..sent }
}

#[tokio::test]
async fn a_secret_changed_in_cleeng_first_loses_no_event_and_accepts_no_forged_one() {
    if !enabled("a_secret_changed_in_cleeng_first_loses_no_event_and_accepts_no_forged_one") {
        return;
    }
    const NEXT: &str = "next-webhook-secret-0123456789abcdefghij";
    let peers = Upstreams::start(0).await;
    let mut deployment = Deployment::with_upstreams(&peers).await;
    deployment.deploy(BILLING[0]).await;
    assert_eq!(deployment.post(BILLING[0], &signed_with(NEXT)).await, 401);
    assert_eq!(deployment.post(BILLING[0], &signed_with("a-forgers-secret-0123456789abcdefghijklm")).await, 401);
    assert!(deployment.receive_all(BILLING[0]).await.is_empty());
    let kept = deployment.receive_all(QUARANTINE).await;
    assert_eq!(kept.len(), 2, "{}", deployment.runtime.output());
    let mut secret: serde_json::Value = serde_json::from_str(SECRET).unwrap();
    let before = secret["cleeng"]["webhook_secrets"].as_array().unwrap()[0].clone();
    secret["cleeng"]["webhook_secrets"] = json!([NEXT, before]);
    let put = json!({ "SecretId": deployment.aws.secret_id, "SecretString": secret.to_string() });
    deployment.aws.call("secretsmanager", "secretsmanager.PutSecretValue", &put).await;
    deployment.deploy(RECONCILIATION).await;
    let taken = [deployment.deliver(RECONCILIATION, &kept[0]).await, deployment.deliver(RECONCILIATION, &kept[1]).await];
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1, "{}", deployment.runtime.output());
    let queued = deployment.receive_all(BILLING[0]).await;
    assert_eq!(queued.len(), 1);
    deployment.settle(BILLING[0], &queued[0]).await;
    assert_eq!(peers.cleeng.payments().len(), 1);
    deployment.assert_no_secrets_logged();
}
