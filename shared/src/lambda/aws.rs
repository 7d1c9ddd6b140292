//! The clients of AWS services, on one HTTPS client with rustls on ring. Everything that waits has an end: no call may outlive the function
//! that made it.
//!
//! Region and credentials come from the environment, as Lambda sets it; `AWS_ENDPOINT_URL` (and `AWS_ENDPOINT_URL_DYNAMODB` and the like)
//! point the clients elsewhere for tests.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_sdk_sqs::config::{Credentials, Region};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

/// How long a connection may take to come about.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one attempt of a call may take.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take with all its attempts.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(12);
/// How often a call is attempted.
pub const ATTEMPTS: u32 = 3;

/// Reads region, credentials and endpoints, and builds the HTTPS client that all clients share: `Client::new(&config)`.
pub async fn load() -> SdkConfig {
    loader().load().await
}

/// As [`load`], where region, endpoint (`AWS_ENDPOINT_URL`) and credentials may also come from settings that are not this process's own.
pub async fn load_with(get: &dyn Fn(&str) -> Option<String>) -> SdkConfig {
    let set = |name: &str| get(name).filter(|value| !value.is_empty());
    let mut loader = loader();
    if let Some(region) = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION")) {
        loader = loader.region(Region::new(region));
    }
    if let Some(url) = set("AWS_ENDPOINT_URL") {
        loader = loader.endpoint_url(url);
    }
    if let (Some(id), Some(secret)) = (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY")) {
        loader = loader.credentials_provider(Credentials::new(id, secret, set("AWS_SESSION_TOKEN"), None, "settings"));
    }
    loader.load().await
}

fn loader() -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    let https = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(https)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
}
