//! The ingress of webhooks and notifications.

use serde_json::{Value, json};

use crate::deployment::{Deployment, SignedWebhook, event, sample_webhook};
use crate::{NOTIFICATION, WEBHOOKS, enabled};

#[tokio::test]
async fn a_signed_webhook_is_on_the_queue_before_it_is_answered_and_a_forged_one_is_not() {
    if !enabled("a_signed_webhook_is_on_the_queue_before_it_is_answered_and_a_forged_one_is_not") {
        return;
    }
    let mut deployment = Deployment::without_upstreams().await;
    for function in WEBHOOKS {
        deployment.deploy(function).await;
        let sent = sample_webhook(function);

        let forged = SignedWebhook { signature: "0".repeat(64), ..sent.clone() };
        assert_eq!(deployment.post(function, &forged).await, 401, "{function}: forged");
        let changed = SignedWebhook { body: sent.body.replace("123321123", "123321124"), ..sent.clone() };
        assert_eq!(deployment.post(function, &changed).await, 401, "{function}: changed on the way");
        let path = sent.path.replace("sandbox-path-key-0123456789", "another-path-key-0123456789");
        let elsewhere = SignedWebhook { path, ..sent.clone() };
        assert_eq!(deployment.post(function, &elsewhere).await, 404, "{function}: wrong path key");
        assert!(deployment.receive_all(function).await.is_empty(), "{function}: what was refused is on the queue");

        let message = deployment.accepted(function, &sent).await;
        let envelope: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
        assert_eq!(envelope["body"], sent.body, "{function}: the queue holds the raw body");
        assert_eq!((&envelope["v"], &envelope["source"]), (&json!(1), &json!("cleeng")), "{function}");
    }
    assert_eq!(deployment.aws.documents().await, 0, "the ingress writes no journal");
    deployment.assert_no_secrets_logged();
}

#[tokio::test]
async fn an_event_whose_upstreams_are_unreachable_returns_to_the_queue() {
    if !enabled("an_event_whose_upstreams_are_unreachable_returns_to_the_queue") {
        return;
    }
    let mut deployment = Deployment::without_upstreams().await;
    for function in WEBHOOKS {
        deployment.deploy(function).await;
        let message = deployment.accepted(function, &sample_webhook(function)).await;
        assert!(!deployment.deliver(function, &message).await, "{function} is done with it");
    }
    deployment.assert_no_secrets_logged();
}

#[tokio::test]
async fn a_notification_is_on_the_queue_before_it_is_accepted_and_waits_there_for_its_payment() {
    if !enabled("a_notification_is_on_the_queue_before_it_is_accepted_and_waits_there_for_its_payment") {
        return;
    }
    let mut deployment = Deployment::without_upstreams().await;
    deployment.deploy(NOTIFICATION).await;
    let http = event(NOTIFICATION, "http.json");
    let (path, body) = (http["rawPath"].as_str().unwrap(), http["body"].as_str().unwrap());

    assert_eq!(deployment.notify(path, &body.replace("999", "998")).await.status, 401);
    assert_eq!(deployment.notify("/gateways/nobody/notifications", body).await.status, 404);
    assert_eq!(deployment.notify(path, "{").await.status, 400);
    assert!(deployment.receive_all(NOTIFICATION).await.is_empty(), "what was refused is on the queue");
    let accepted = deployment.notify(path, body).await;
    assert_eq!((accepted.status.as_u16(), accepted.body.as_ref()), (200, b"[accepted]".as_slice()));
    let messages = deployment.receive_all(NOTIFICATION).await;
    assert_eq!(messages.len(), 1);
    let envelope: Value = serde_json::from_str(messages[0]["Body"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&envelope["source"], &envelope["gateway"], &envelope["item"]["kind"]),
        (&json!("gateway"), &json!("adyen"), &json!("captured"))
    );
    // A payment of ours that nobody has recorded yet: it is not dropped.
    assert!(!deployment.deliver(NOTIFICATION, &messages[0]).await);
    for function in WEBHOOKS {
        assert!(deployment.receive_all(function).await.is_empty(), "{function}: an event came back that nobody waited with");
    }
    assert_eq!(deployment.aws.documents().await, 0);
    deployment.assert_no_secrets_logged();
}
