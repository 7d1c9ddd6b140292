//! The sandbox's account at Stripe.

use serde_json::json;

use super::{StripeConfig, StripeSimulator};
use crate::simulators::simulated_gateway::{SandboxAccount, SigningKeysIn};
use crate::simulators::virtual_clock::VirtualClock;

/// The Stripe payment method of the sandbox that is authorised first.
pub const STRIPE_METHOD: &str = "127127127";
/// The Stripe payment method of the sandbox that is charged at once.
pub const STRIPE_CAPTURE_ONLY_METHOD: &str = "128128128";
/// The Stripe API key of the sandbox.
pub const STRIPE_API_KEY: &str = "sk_test_51SandboxKey0123456789abcdefghijklmnopqrstuvwxyz";
/// The signing secret of the sandbox's webhook endpoint at Stripe.
pub const STRIPE_WEBHOOK_SECRET: &str = "whsec_SandboxSecret0123456789abcdefghijk";
/// The version of Stripe's API that the adapter is written for, said once more.
pub const STRIPE_VERSION: &str = "2023-08-16";

/// The sandbox's account at Stripe.
pub const ACCOUNT: SandboxAccount = SandboxAccount {
    method: STRIPE_METHOD,
    capture_only_method: STRIPE_CAPTURE_ONLY_METHOD,
    base_urls: &["https://api.stripe.com"],
    settings: |url| {
        let mut settings = vec![("STRIPE_ENVIRONMENT", "test".to_owned())];
        settings.extend(url.map(|url| ("STRIPE_BASE_URL", url.to_owned())));
        settings
    },
    secrets: || json!({ "api_key": [STRIPE_API_KEY], "webhook_secrets": [STRIPE_WEBHOOK_SECRET] }),
    signing_keys_in: SigningKeysIn::Secret("webhook_secrets"),
    signing_keys: [STRIPE_WEBHOOK_SECRET, "whsec_NextSecret0123456789abcdefghijklm", "whsec_SecretOfNobody0123456789abcdefghi"],
    example_payment_id: "pi_3OgcFuzz0123456789abcdef",
};

impl StripeSimulator {
    /// Opens the sandbox's account.
    #[must_use]
    pub fn open(clock: &VirtualClock) -> Self {
        let config = StripeConfig {
            api_keys: vec![STRIPE_API_KEY.to_owned()],
            webhook_secrets: vec![STRIPE_WEBHOOK_SECRET.to_owned()],
            api_version: STRIPE_VERSION.to_owned(),
        };
        Self::new(config, std::sync::Arc::new(clock.clone()))
    }
}
