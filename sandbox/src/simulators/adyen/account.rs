//! The sandbox's account at Adyen.

use serde_json::json;

use super::{AdyenConfig, AdyenSimulator};
use crate::simulators::simulated_gateway::{SandboxAccount, SigningKeysIn};
use crate::simulators::virtual_clock::VirtualClock;

/// The Adyen payment method of the sandbox that is authorised first.
pub const ADYEN_METHOD: &str = "123123123";
/// The Adyen payment method of the sandbox that is charged at once.
pub const ADYEN_CAPTURE_ONLY_METHOD: &str = "124124124";
/// The merchant account of the sandbox at Adyen.
pub const MERCHANT_ACCOUNT: &str = "SandboxMerchant";
/// The Adyen API key of the sandbox.
pub const ADYEN_API_KEY: &str = "AQEsandboxApiKey0123456789abcdefghijklmnopqrstuv";
/// The client key of the sandbox, for pages.
pub const ADYEN_CLIENT_KEY: &str = "test_SANDBOXCLIENTKEY0123456789ABCDEF";
/// The Adyen HMAC key of the sandbox (the one of Adyen's own test).
pub const ADYEN_HMAC_KEY: &str = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00";

const BASE_URL: &str = "http://adyen.test";

/// The sandbox's account at Adyen.
pub const ACCOUNT: SandboxAccount = SandboxAccount {
    method: ADYEN_METHOD,
    capture_only_method: ADYEN_CAPTURE_ONLY_METHOD,
    base_urls: &[BASE_URL],
    settings: |url| {
        vec![
            ("ADYEN_ENVIRONMENT", "test".to_owned()),
            ("ADYEN_MERCHANT_ACCOUNT", MERCHANT_ACCOUNT.to_owned()),
            ("ADYEN_CAPTURE", "automatic".to_owned()),
            ("ADYEN_CLIENT_KEY", ADYEN_CLIENT_KEY.to_owned()),
            ("ADYEN_BASE_URL", url.unwrap_or(BASE_URL).to_owned()),
        ]
    },
    secrets: || json!({ "api_key": [ADYEN_API_KEY], "hmac_keys": [ADYEN_HMAC_KEY] }),
    signing_keys_in: SigningKeysIn::Secret("hmac_keys"),
    signing_keys: [
        ADYEN_HMAC_KEY,
        "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056",
        "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF",
    ],
    example_payment_id: "D2RGHBT7PGNG5S82",
};

/// How the sandbox's account is set up.
#[must_use]
pub fn config() -> AdyenConfig {
    AdyenConfig {
        merchant_account: MERCHANT_ACCOUNT.to_owned(),
        api_key: ADYEN_API_KEY.to_owned(),
        hmac_key: ADYEN_HMAC_KEY.to_owned(),
        manual_capture: false,
    }
}

impl AdyenSimulator {
    /// Opens the sandbox's account.
    #[must_use]
    pub fn open(clock: &VirtualClock) -> Self {
        Self::new(config(), std::sync::Arc::new(clock.clone()))
    }
}
