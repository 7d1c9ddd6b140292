//! No command shows a secret in any of its answers: every value of the secret is looked for in every output, in text and in JSON.

use std::sync::Arc;
use std::time::Duration;

use connector::flow::Disposition;
use connector::lambda::queue::CapturingQueue;
use sandbox::simulators::network::Fault;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::Value;

use crate::deployment::{TestDeployment, URL};
use crate::support::{deployed, embedded, run_command, run_command_with, secret};

/// Every text in a JSON document.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(members) => members.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

fn assert_no_secret(answer: &connectorctl::output::CommandOutput, secrets: &[String], what: &str) {
    let json = answer.json.to_string();
    for secret in secrets {
        assert!(!answer.text.contains(secret) && !json.contains(secret), "{what} shows a secret: {}", answer.text);
    }
}

#[tokio::test]
async fn no_command_that_talks_to_peers_shows_a_secret() {
    let deployment = TestDeployment::open().await;
    let secrets = texts(&deployment.secret);
    assert!(secrets.len() >= 7);
    for words in [
        vec!["doctor"],
        vec!["webhooks", "list"],
        vec!["webhooks", "sync", "--url", URL],
        vec!["webhooks", "sync", "--url", URL, "--apply"],
        vec!["webhooks", "list"],
        vec!["doctor", "--strict"],
        vec!["webhooks", "remove"],
        vec!["explain", "332332332"],
        vec!["parked", "list"],
        vec!["reconcile", "--dry-run"],
        vec!["webhooks", "remove", "--apply"],
    ] {
        assert_no_secret(&deployment.run(&words).await, &secrets, &words.join(" "));
    }
    // Peers that answer with everything that they were sent.
    for word in ["cleeng", "adyen", "paypal"] {
        let own = secrets.clone();
        let echo = move |body: &mut Value| *body = serde_json::json!({ "message": own, "errorCode": own, "error": own, "name": own });
        deployment.world.network.inject(Fault::Mutate(Arc::new(echo)), move |peer, _| peer == word);
        assert_no_secret(&deployment.run(&["doctor"]).await, &secrets, word);
    }
}

#[tokio::test]
async fn the_path_of_an_endpoint_is_not_shown_ours_or_anothers() {
    let deployment = TestDeployment::open().await;
    let other = serde_json::json!({ "url": "https://user:hush@other.example.com/unguessable-segment?key=hush" });
    deployment.world.cleeng.set_webhook_endpoints("refundPayment", vec![other]);
    let answer = deployment.run(&["webhooks", "list"]).await;
    assert!(answer.text.contains("https://other.example.com/..."), "{}", answer.text);
    assert!(!answer.text.contains("unguessable") && !answer.text.contains("hush"), "{}", answer.text);
}

#[tokio::test]
async fn what_a_record_keeps_of_a_customer_is_not_shown() {
    let stage = TestEnvironment::new(|rules| rules.capture_wait = Duration::from_secs(60));
    let cast = stage.subscriber(ADYEN_METHOD);
    stage.clock.advance_to(cast.due.after(Duration::from_secs(3600)));
    // Parked with its event, which holds an address and a token.
    assert!(matches!(stage.deliver(&stage.capture_event(&cast)).await, Disposition::Parked(_)));
    let details = stage.cleeng.details(&cast.ids.details).unwrap();
    let email = format!("customer-{}@example.com", cast.ids.customer);
    let key = format!("period#{}#{}", cast.ids.subscription, cast.due.secs());
    let queue = Arc::new(CapturingQueue::default());
    let body = String::from_utf8(stage.capture_event(&cast).body.to_vec()).unwrap();
    assert!(body.contains(&details.token) && body.contains(&email), "the event holds what must not be shown");
    for words in [
        vec!["parked", "list"],
        vec!["explain", key.as_str()],
        vec!["reconcile", "--dry-run"],
        vec!["parked", "resolve", &key, "--as", "retry", "--by", "a person", "--note", "mended"],
        vec!["replay", "-"],
    ] {
        let answer = run_command_with(&stage, &queue, deployed(), &body, &words).await;
        assert!(answer.exit_code == 0, "{}: {}", words.join(" "), answer.text);
        assert_no_secret(&answer, &[details.token.clone(), email.clone()], &words.join(" "));
    }
}

#[tokio::test]
async fn a_secret_in_the_environment_is_kept_out_of_commands_that_do_not_need_it() {
    let stage = TestEnvironment::default();
    let secrets = texts(&secret());
    let mut settings = embedded();
    // Put where it does not belong, and thus among what a failure could quote.
    settings.insert("EVENT_QUEUE_URLS".to_owned(), format!("refundPayment={}", secrets[0]));
    for words in [vec!["parked", "list"], vec!["explain", &secrets[1]], vec!["replay", &secrets[2]], vec!["doctor", "--offline"]] {
        let answer = run_command_with(&stage, &Arc::default(), settings.clone(), "", &words).await;
        assert_no_secret(&answer, &secrets, &words.join(" "));
    }
    let answer = run_command(&stage, &Arc::default(), &["completion", "bash"]).await;
    assert!(answer.exit_code == 0 && answer.text.contains("connectorctl"));
}
