//! AWS as the tests see it: moto for SQS and Secrets Manager, DynamoDB Local for the journal, both over plain HTTP, so that the effects of
//! the functions' clients are read independently.

use std::time::Duration;

use connector::http::{HeaderName, Method, Request, ReqwestTransport, Response, Transport};
use serde_json::{Value, json};

use super::process::unique;

/// The region of everything.
pub(crate) const REGION: &str = "eu-west-1";
/// The secret of the sandbox: what `events/` is signed with.
pub(crate) const SECRET: &str = r#"{
  "idempotency_salt": "sandbox-salt-0123456789abcdef0123456789",
  "webhook_path_keys": ["sandbox-path-key-0123456789"],
  "cleeng": { "publisher_token": "sandbox-publisher-token-0123456789", "webhook_secrets": ["sandbox-webhook-secret-0123456789abcdef"] },
  "adyen": { "api_key": ["sandbox-adyen-api-key-0123456789"], "hmac_keys": ["DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00"] }
}"#;

/// A client of everything that the tests speak HTTP with.
pub(crate) fn http() -> ReqwestTransport {
    ReqwestTransport::new().unwrap()
}

/// Sends a body with headers.
pub(crate) async fn send(http: &ReqwestTransport, url: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let mut request = Request::new(Method::POST, url, Duration::from_secs(100));
    for (name, value) in headers {
        request = request.header(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    request.body = body.to_owned().into();
    http.send(request).await.unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// The emulated services, and what one test uses in them.
pub(crate) struct Aws {
    http: ReqwestTransport,
    /// Where moto is.
    pub(crate) moto: String,
    /// Where DynamoDB Local is.
    pub(crate) dynamodb: String,
    /// The test's own table.
    pub(crate) table: String,
    /// The test's own secret.
    pub(crate) secret_id: String,
}

impl Aws {
    /// A table and a secret of the test's own.
    pub(crate) async fn prepare() -> Self {
        let address = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run ./test"));
        let (table, secret_id) = (format!("journal-{}", unique()), format!("connector-{}", unique()));
        let aws = Self {
            http: http(),
            moto: address("CONNECTOR_TEST_MOTO_URL"),
            dynamodb: address("CONNECTOR_TEST_DYNAMODB_URL"),
            table,
            secret_id,
        };
        aws.create_table().await;
        aws.call("secretsmanager", "secretsmanager.CreateSecret", &json!({ "Name": aws.secret_id, "SecretString": SECRET })).await;
        aws
    }

    async fn create_table(&self) {
        let attribute = |name: &str, kind: &str| json!({ "AttributeName": name, "AttributeType": kind });
        let key = |name: &str, kind: &str| json!({ "AttributeName": name, "KeyType": kind });
        let table = json!({
            "TableName": self.table, "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [attribute("pk", "S"), attribute("due_bucket", "S"), attribute("due_at", "N")],
            "KeySchema": [key("pk", "HASH")],
            "GlobalSecondaryIndexes": [{
                "IndexName": "due", "KeySchema": [key("due_bucket", "HASH"), key("due_at", "RANGE")],
                "Projection": { "ProjectionType": "KEYS_ONLY" },
            }],
        });
        self.call("dynamodb", "DynamoDB_20120810.CreateTable", &table).await;
    }

    /// Calls an operation; anything but 200 fails the test.
    pub(crate) async fn call(&self, service: &str, target: &str, body: &Value) -> Value {
        let base = if service == "dynamodb" { &self.dynamodb } else { &self.moto };
        let version = if service == "secretsmanager" { "1.1" } else { "1.0" };
        // The emulators find service and region in it, and check no signature.
        let scope = format!("AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0");
        let headers =
            [("authorization", scope.as_str()), ("content-type", &format!("application/x-amz-json-{version}")), ("x-amz-target", target)];
        let answer = send(&self.http, base, &headers, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{target}: {}", String::from_utf8_lossy(&answer.body));
        answer.json().unwrap_or(Value::Null)
    }

    /// A queue of the test's own; its URL.
    pub(crate) async fn create_queue(&self) -> String {
        let answer = self.call("sqs", "AmazonSQS.CreateQueue", &json!({ "QueueName": format!("queue-{}", unique()) })).await;
        answer["QueueUrl"].as_str().unwrap().to_owned()
    }

    /// Takes everything off a queue: the messages as SQS's API tells them.
    pub(crate) async fn receive_all(&self, queue_url: &str) -> Vec<Value> {
        let ask = json!({ "QueueUrl": queue_url, "MaxNumberOfMessages": 10, "AttributeNames": ["All"], "VisibilityTimeout": 0 });
        let answer = self.call("sqs", "AmazonSQS.ReceiveMessage", &ask).await;
        let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
        for message in &messages {
            let delete = json!({ "QueueUrl": queue_url, "ReceiptHandle": message["ReceiptHandle"] });
            self.call("sqs", "AmazonSQS.DeleteMessage", &delete).await;
        }
        messages
    }

    /// How many documents the journal has.
    pub(crate) async fn documents(&self) -> u64 {
        let answer = self.call("dynamodb", "DynamoDB_20120810.Scan", &json!({ "TableName": self.table, "Select": "COUNT" })).await;
        answer["Count"].as_u64().unwrap()
    }

    /// The bodies of all documents of the journal of this kind.
    pub(crate) async fn journal(&self, kind: &str) -> Vec<Value> {
        let answer = self.call("dynamodb", "DynamoDB_20120810.Scan", &json!({ "TableName": self.table, "ConsistentRead": true })).await;
        let text = |item: &Value, name: &str| item[name]["S"].as_str().unwrap().to_owned();
        let items = answer["Items"].as_array().unwrap().iter();
        let items = items.filter(|item| text(item, "pk").split('#').next() == Some(kind));
        items.map(|item| serde_json::from_str(&text(item, "body")).unwrap()).collect()
    }

    /// The environment of a function that uses these services, but for its queue.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_ENDPOINT_URL", self.moto.clone()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb.clone()),
            ("JOURNAL_TABLE", self.table.clone()),
            ("CONNECTOR_SECRET_ID", self.secret_id.clone()),
        ]
    }
}

/// The event that Lambda makes of a message that `receive_all` returned.
pub(crate) fn sqs_event(message: &Value) -> Value {
    json!({
        "Records": [{
            "messageId": message["MessageId"], "receiptHandle": message["ReceiptHandle"], "body": message["Body"],
            "attributes": message["Attributes"], "messageAttributes": {}, "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs", "eventSourceARN": format!("arn:aws:sqs:{REGION}:123456789012:queue"), "awsRegion": REGION,
        }],
    })
}
