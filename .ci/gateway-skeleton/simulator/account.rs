//! The sandbox's account at ExampleGateway.

use serde_json::json;

use super::{ExampleGatewayConfig, ExampleGatewaySimulator};
use crate::simulators::simulated_gateway::{SandboxAccount, SigningKeysIn};
use crate::simulators::virtual_clock::VirtualClock;

/// The API key of the sandbox.
pub const EXAMPLE_GATEWAY_API_KEY: &str = "sandbox-api-key-0123456789abcdef";
/// The secret that signs the sandbox's notifications.
pub const EXAMPLE_GATEWAY_WEBHOOK_SECRET: &str = "sandbox-webhook-secret-0123456789";

/// The sandbox's account at ExampleGateway.
pub const ACCOUNT: SandboxAccount = SandboxAccount {
    method: "@METHOD@",
    capture_only_method: "@CAPTURE_ONLY_METHOD@",
    base_urls: &["https://example_gateway.test"],
    settings: |url| {
        let mut settings = vec![("EXAMPLE_GATEWAY_ENVIRONMENT", "test".to_owned())];
        settings.extend(url.map(|url| ("EXAMPLE_GATEWAY_BASE_URL", url.to_owned())));
        settings
    },
    secrets: || json!({ "api_key": [EXAMPLE_GATEWAY_API_KEY], "webhook_secrets": [EXAMPLE_GATEWAY_WEBHOOK_SECRET] }),
    signing_keys_in: SigningKeysIn::Secret("webhook_secrets"),
    signing_keys: [EXAMPLE_GATEWAY_WEBHOOK_SECRET, "next-webhook-secret-0123456789ab", "webhook-secret-of-nobody-0123456"],
    // TODO: an id as the gateway writes them.
    example_payment_id: "pay_0123456789abcdef",
};

impl ExampleGatewaySimulator {
    /// Opens the sandbox's account.
    #[must_use]
    pub fn open(clock: &VirtualClock) -> Self {
        let config = ExampleGatewayConfig {
            api_keys: vec![EXAMPLE_GATEWAY_API_KEY.to_owned()],
            webhook_secret: EXAMPLE_GATEWAY_WEBHOOK_SECRET.to_owned(),
        };
        Self::new(config, std::sync::Arc::new(clock.clone()))
    }
}
