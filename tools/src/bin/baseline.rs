//! A Lambda function that answers a constant: the baseline that cold starts are compared with, and a stand-in for tests of the emulated runtime.
//! Waits `BASELINE_WAIT_MS` before it answers, if that is set.

use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let wait = std::env::var("BASELINE_WAIT_MS").ok().and_then(|text| text.parse().ok()).map(Duration::from_millis);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| answer(event, wait))).await
}

async fn answer(event: LambdaEvent<Value>, wait: Option<Duration>) -> Result<Value, Error> {
    if let Some(wait) = wait {
        tokio::time::sleep(wait).await;
    }
    let path = event.payload.get("rawPath").cloned().unwrap_or(Value::Null);
    Ok(json!({
        "statusCode": 200, "headers": { "content-type": "application/json" }, "multiValueHeaders": {}, "cookies": [],
        "body": json!({ "path": path }).to_string(), "isBase64Encoded": false,
    }))
}
