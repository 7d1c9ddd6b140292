//! The tool against emulated AWS: DynamoDB Local for the table, moto for queues and the secret.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use connector::clock::{Clock, SystemClock};
use connector::http::{HeaderName, Method, Request, ReqwestTransport, Transport};
use connector::journal::record::{Attempt, AttemptKind, Finish, Obligation};
use connector::journal::store::{Key, Put};
use connector::lambda::operator::Deployment;
use connector::secret::SecretString;
use connector::settings::SettingsReader;
use connectorctl::arguments::Arguments;
use connectorctl::aws::{SecretStore, SecretsManagerStore};
use connectorctl::command_env::CommandEnv;
use connectorctl::output::CommandOutput;
use serde_json::{Value, json};

use crate::support::{deployed, secret};

/// The emulators, and what one test uses in them.
struct Aws {
    http: ReqwestTransport,
    dynamodb: String,
    moto: String,
    settings: BTreeMap<String, String>,
}

impl Aws {
    /// A table, a secret and queues of the test's own; `None` if there are no emulators.
    #[expect(clippy::print_stderr, reason = "says loudly that it is skipped")]
    async fn prepare(test: &str) -> Option<Self> {
        let address = |name: &str| std::env::var(name).ok();
        let (Some(dynamodb), Some(moto)) = (address("CONNECTOR_TEST_DYNAMODB_URL"), address("CONNECTOR_TEST_MOTO_URL")) else {
            eprintln!("SKIPPED {test}: set CONNECTOR_TEST_DYNAMODB_URL and CONNECTOR_TEST_MOTO_URL to run it");
            return None;
        };
        let name = format!("{test}-{}-{}", std::process::id(), SystemClock.now().millis());
        let mut aws = Self { http: ReqwestTransport::new().unwrap(), dynamodb, moto, settings: deployed() };
        let mut kept = secret();
        kept["cleeng"]["publisher_token"] = json!("a-token-that-nobody-takes-00000000000000000000000");
        aws.call("secretsmanager", "secretsmanager.CreateSecret", &json!({ "Name": name, "SecretString": kept.to_string() })).await;
        aws.create_table(&name).await;
        let queue = aws.queue(&name, true).await;
        aws.set("JOURNAL_TABLE", &name);
        aws.set("CONNECTOR_SECRET_ID", &name);
        aws.set("QUEUE_URL", &queue);
        aws.set("EVENT_QUEUE_URLS", "");
        let (dynamodb, moto) = (aws.dynamodb.clone(), aws.moto.clone());
        aws.set("AWS_ENDPOINT_URL", &moto);
        aws.set("AWS_ENDPOINT_URL_DYNAMODB", &dynamodb);
        aws.set("AWS_ACCESS_KEY_ID", "test");
        aws.set("AWS_SECRET_ACCESS_KEY", "test");
        for (name, value) in [
            ("CLEENG_API_URL", "http://127.0.0.1:1/3.1"),
            ("CLEENG_MEDIASTORE_URL", "http://127.0.0.1:1"),
            ("ADYEN_BASE_URL", "http://127.0.0.1:1"),
            ("PAYPAL_BASE_URL", "http://127.0.0.1:1"),
        ] {
            aws.set(name, value);
        }
        Some(aws)
    }

    fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    async fn create_table(&self, name: &str) {
        let attribute = |name: &str, kind: &str| json!({ "AttributeName": name, "AttributeType": kind });
        let key = |name: &str, kind: &str| json!({ "AttributeName": name, "KeyType": kind });
        let table = json!({
            "TableName": name, "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [attribute("pk", "S"), attribute("due_bucket", "S"), attribute("due_at", "N")],
            "KeySchema": [key("pk", "HASH")],
            "GlobalSecondaryIndexes": [{
                "IndexName": "due", "KeySchema": [key("due_bucket", "HASH"), key("due_at", "RANGE")],
                "Projection": { "ProjectionType": "KEYS_ONLY" },
            }],
        });
        self.call("dynamodb", "DynamoDB_20120810.CreateTable", &table).await;
    }

    /// A queue's URL.
    async fn queue(&self, name: &str, with_dead_letters: bool) -> String {
        let mut attributes = json!({ "VisibilityTimeout": "540" });
        if with_dead_letters {
            self.call("sqs", "AmazonSQS.CreateQueue", &json!({ "QueueName": format!("{name}-dead") })).await;
            let target = format!("arn:aws:sqs:eu-west-1:123456789012:{name}-dead");
            attributes["RedrivePolicy"] = json!(json!({ "deadLetterTargetArn": target, "maxReceiveCount": 100 }).to_string());
        }
        let answer = self.call("sqs", "AmazonSQS.CreateQueue", &json!({ "QueueName": name, "Attributes": attributes })).await;
        answer["QueueUrl"].as_str().unwrap().to_owned()
    }

    async fn call(&self, service: &str, target: &str, body: &Value) -> Value {
        let base = if service == "dynamodb" { &self.dynamodb } else { &self.moto };
        let version = if service == "secretsmanager" { "1.1" } else { "1.0" };
        let scope = format!("AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=0");
        let mut request = Request::new(Method::POST, base, Duration::from_secs(30));
        for (name, value) in
            [("authorization", scope.as_str()), ("content-type", &format!("application/x-amz-json-{version}")), ("x-amz-target", target)]
        {
            request = request.header(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        request.body = body.to_string().into();
        let answer = self.http.send(request).await.unwrap();
        assert_eq!(answer.status, 200, "{target}: {}", String::from_utf8_lossy(&answer.body));
        answer.json().unwrap_or(Value::Null)
    }

    async fn run(&self, words: &[&str]) -> CommandOutput {
        let arguments = Arguments::try_parse_from([&["connectorctl"], words].concat()).unwrap();
        connectorctl::run(&arguments, &CommandEnv::new(self.settings.clone())).await
    }

    /// Parks something, as a function would.
    async fn park(&self) {
        let get = |name: &str| self.settings.get(name).cloned();
        let mut reader = SettingsReader::new(&get);
        let deployment = Deployment::read(&mut reader).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = deployment.store(&get, &clock).await.unwrap();
        let now = clock.now();
        let attempt = Attempt {
            finish: Some(Finish::Parked { reason: "charged_recently".to_owned(), money_unknown: false, resolved: false }),
            ..Attempt::opened(AttemptKind::Charge, now, now)
        };
        let obligation = Obligation { attempts: vec![attempt], ..Obligation::new() };
        let put = Put {
            key: Key::from_stored("period#332332332#2000000000"),
            expected_version: None,
            body: serde_json::to_string(&obligation).unwrap(),
            due_at: None,
            parked_since: obligation.parked_since(),
            expires_at: None,
        };
        store.commit(&[put]).await.unwrap();
    }
}

fn has_finding(answer: &CommandOutput, level: &str, subject: &str, word: &str) -> bool {
    let findings = answer.json["findings"].as_array().unwrap().iter();
    findings.into_iter().any(|it| it["level"] == level && it["subject"] == subject && it["problem"].as_str().unwrap().contains(word))
}

#[tokio::test(flavor = "multi_thread")]
async fn table_secret_and_queue_are_looked_at_in_aws() {
    let Some(aws) = Aws::prepare("ctl-doctor").await else { return };
    let answer = aws.run(&["doctor"]).await;
    assert!(has_finding(&answer, "ok", "JOURNAL_TABLE", "nothing is parked"), "{}", answer.text);
    assert!(has_finding(&answer, "ok", "QUEUE_URL", "0 message(s) wait"), "{}", answer.text);
    assert!(has_finding(&answer, "ok", "secret", "complete"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_in_aws_is_told_by_its_setting() {
    let Some(mut aws) = Aws::prepare("ctl-missing").await else { return };
    let queue = aws.settings["QUEUE_URL"].clone();
    aws.set("JOURNAL_TABLE", "no-such-table");
    aws.set("QUEUE_URL", &format!("{queue}-that-is-not-there"));
    let answer = aws.run(&["doctor"]).await;
    assert!(has_finding(&answer, "error", "JOURNAL_TABLE", "no such table"), "{}", answer.text);
    assert!(has_finding(&answer, "error", "QUEUE_URL", "no such queue"), "{}", answer.text);
    let lonely = aws.queue(&format!("lonely-{}", SystemClock.now().millis()), false).await;
    aws.set("QUEUE_URL", &lonely);
    aws.set("EVENT_QUEUE_URLS", &format!("refundPayment={queue},capturePayment={lonely}"));
    aws.set("CONNECTOR_SECRET_ID", "no-such-secret");
    let answer = aws.run(&["doctor"]).await;
    assert!(has_finding(&answer, "error", "queue capturePayment", "no dead-letter queue"), "{}", answer.text);
    assert!(has_finding(&answer, "ok", "queue refundPayment", "can be reached"), "{}", answer.text);
    assert!(has_finding(&answer, "error", "CONNECTOR_SECRET_ID", "no such secret"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_quarantine_is_told_and_the_quarantine_needs_no_dead_letters() {
    let Some(mut aws) = Aws::prepare("ctl-quarantine").await else { return };
    let quarantine = aws.queue(&format!("quarantine-{}", SystemClock.now().millis()), false).await;
    aws.set("QUEUE_URL", &quarantine);
    let answer = aws.run(&["doctor"]).await;
    assert!(has_finding(&answer, "ok", "QUEUE_URL", "can be reached"), "{}", answer.text);
    aws.set("QUARANTINE_QUEUE_URL", &quarantine);
    aws.call("sqs", "AmazonSQS.SendMessage", &json!({ "QueueUrl": quarantine, "MessageBody": "held" })).await;
    let answer = aws.run(&["doctor"]).await;
    assert!(has_finding(&answer, "warning", "quarantine", "1 event(s) wait"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_work_in_dynamodb_is_listed_decided_about_and_gone() {
    let Some(aws) = Aws::prepare("ctl-parked").await else { return };
    aws.park().await;
    let listed = aws.run(&["parked", "list"]).await;
    assert_eq!(listed.json["parked"][0]["reason"], "charged_recently", "{}", listed.text);
    assert!(has_finding(&aws.run(&["doctor"]).await, "warning", "parked obligations", "1 wait"));
    let key = "period#332332332#2000000000";
    let words = ["parked", "resolve", key, "--as", "done", "--by", "night shift", "--note", "paid by hand", "--apply"];
    let answer = aws.run(&words).await;
    assert_eq!(answer.exit_code, 0, "{}", answer.text);
    assert_eq!(aws.run(&["parked", "list"]).await.text, "nothing is parked\n");
    assert!(aws.run(&["explain", key]).await.text.contains("night shift decided \"done\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_put_on_a_real_queue() {
    let Some(aws) = Aws::prepare("ctl-replay").await else { return };
    let queue = aws.settings["QUEUE_URL"].clone();
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/refund-payment/queue.json");
    let event: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let body = event["Records"][0]["body"].as_str().unwrap();
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("event-{}.json", std::process::id()));
    std::fs::write(&path, body).unwrap();
    let answer = aws.run(&["replay", path.to_str().unwrap(), "--queue", &queue]).await;
    assert_eq!(answer.exit_code, 0, "{}", answer.text);
    let received = aws.call("sqs", "AmazonSQS.ReceiveMessage", &json!({ "QueueUrl": queue })).await;
    let sent: Value = serde_json::from_str(received["Messages"][0]["Body"].as_str().unwrap()).unwrap();
    assert_eq!(sent["topic"], "refundPayment");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_without_a_value_is_filled_in_once_and_its_salt_stays() {
    let Some(mut aws) = Aws::prepare("ctl-secret").await else { return };
    let name = format!("empty-{}", aws.settings["CONNECTOR_SECRET_ID"]);
    aws.call("secretsmanager", "secretsmanager.CreateSecret", &json!({ "Name": name })).await;
    aws.set("CONNECTOR_SECRET_ID", &name);
    let mut given = secret();
    given.as_object_mut().unwrap().remove("idempotency_salt");
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    std::fs::write(&file, given.to_string()).unwrap();
    let put = ["secret", "put", "--from", file.to_str().unwrap(), "--apply"];
    let answer = aws.run(&put).await;
    assert_eq!((answer.exit_code, &answer.json["applied"]), (0, &json!(true)), "{}", answer.text);
    let stored = |answer: Value| serde_json::from_str::<Value>(answer["SecretString"].as_str().unwrap()).unwrap();
    let get = json!({ "SecretId": name });
    let first = stored(aws.call("secretsmanager", "secretsmanager.GetSecretValue", &get).await);
    assert_eq!((first["idempotency_salt"].as_str().map(str::len), &first["adyen"]), (Some(64), &given["adyen"]));
    let rotated = aws.run(&[&put[..], &["--rotate", "webhook_path_keys"]].concat()).await;
    assert!(rotated.exit_code == 2 && rotated.text.contains("is the current one"), "{}", rotated.text);
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(aws.run(&[&put[..], &["--rotate", "webhook_path_keys"]].concat()).await.exit_code, 0);
    let second = stored(aws.call("secretsmanager", "secretsmanager.GetSecretValue", &get).await);
    assert_eq!(
        (&second["idempotency_salt"], &second["webhook_path_keys"][1]),
        (&first["idempotency_salt"], &first["webhook_path_keys"][0])
    );
    assert!(has_finding(&aws.run(&["doctor"]).await, "ok", "secret", "complete"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_first_values_the_second_is_refused() {
    let Some(mut aws) = Aws::prepare("ctl-race").await else { return };
    let name = format!("race-{}", aws.settings["CONNECTOR_SECRET_ID"]);
    aws.call("secretsmanager", "secretsmanager.CreateSecret", &json!({ "Name": name })).await;
    aws.set("CONNECTOR_SECRET_ID", &name);
    let env = CommandEnv::new(aws.settings.clone());
    let store = SecretsManagerStore::open(&env, &name).await;
    assert!(store.read().await.unwrap().is_none());
    store.write(&SecretString::new("first"), true).await.unwrap();
    let refused = store.write(&SecretString::new("second"), true).await;
    assert!(refused.is_err_and(|error| error.problem.contains("at the same time")));
    assert!(store.read().await.unwrap().unwrap().matches("first"));
    let missing = SecretsManagerStore::open(&env, "no-such-secret").await.read().await;
    assert!(missing.is_err_and(|error| error.problem.contains("no such secret")));
}
