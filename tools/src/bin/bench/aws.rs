//! AWS with constant answers, so that what is measured is the function: the secret of the sandbox, a queue that takes everything, and a
//! journal that knows nothing and takes everything.

use std::sync::Arc;

use sandbox::simulators::network::{FaultyNetwork, RunningServer, ServerRequest, ServerResponse, SimulatedServer, serve};
use serde_json::json;

/// The secret that the functions find.
pub(crate) const SECRET: &str = r#"{
  "idempotency_salt": "sandbox-salt-0123456789abcdef0123456789",
  "webhook_path_keys": ["sandbox-path-key-0123456789"],
  "cleeng": { "publisher_token": "sandbox-publisher-token-0123456789", "webhook_secrets": ["sandbox-webhook-secret-0123456789abcdef"] },
  "adyen": { "api_key": ["sandbox-adyen-api-key-0123456789"], "hmac_keys": ["44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"] }
}"#;

struct AwsStub;

impl SimulatedServer for AwsStub {
    fn name(&self) -> &'static str {
        "aws"
    }

    fn handle(&self, request: &ServerRequest) -> ServerResponse {
        let operation = request.header("x-amz-target").and_then(|target| target.split('.').next_back()).unwrap_or_default();
        let answer = match operation {
            "GetSecretValue" => json!({ "Name": "connector", "VersionId": "1", "SecretString": SECRET }),
            "SendMessage" => json!({ "MessageId": "059f36b4-87a3-44ab-83d2-661975830a7d", "MD5OfMessageBody": "" }),
            "BatchGetItem" => json!({ "Responses": {}, "UnprocessedKeys": {} }),
            "GetItem" | "TransactGetItems" | "TransactWriteItems" | "PutItem" | "ChangeMessageVisibility" => json!({}),
            _ => return ServerResponse::json(400, &json!({ "__type": "UnknownOperationException" })),
        };
        ServerResponse::json(200, &answer).with_header("content-type", content_type(request))
    }
}

fn content_type(request: &ServerRequest) -> &str {
    request.header("content-type").unwrap_or("application/x-amz-json-1.0")
}

/// Serves them on loopback.
pub(crate) async fn start(network: FaultyNetwork) -> std::io::Result<RunningServer> {
    serve(Arc::new(AwsStub), network, ([127, 0, 0, 1], 0).into()).await
}

/// The environment of a function that uses them and these peers.
pub(crate) fn environment(aws: &str, cleeng: &str, adyen: &str) -> Vec<(&'static str, String)> {
    let queue = format!("{aws}/123456789012/measured");
    [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ENDPOINT_URL", aws),
        ("AWS_LAMBDA_FUNCTION_NAME", "measured"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("JOURNAL_TABLE", "journal"),
        ("CONNECTOR_SECRET_ID", "connector"),
        ("QUEUE_URL", &queue),
        ("QUARANTINE_QUEUE_URL", &queue),
        ("CONNECTOR_PUBLISHER_ID", "558186818"),
        ("PAYMENT_METHODS", "123123123=adyen:authorise_then_capture"),
        ("CLEENG_ENVIRONMENT", "sandbox"),
        ("CLEENG_API_URL", cleeng),
        ("CLEENG_SIGNATURE_HEADER", "x-cleeng-signature"),
        ("ADYEN_ENVIRONMENT", "test"),
        ("ADYEN_BASE_URL", adyen),
        ("ADYEN_MERCHANT_ACCOUNT", "SandboxMerchant"),
        ("ADYEN_CAPTURE", "manual"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}
