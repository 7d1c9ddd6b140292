//! The sandbox's account at PayPal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{PayPalConfig, PayPalSimulator};
use crate::simulators::simulated_gateway::{SandboxAccount, SigningKeysIn};
use crate::simulators::virtual_clock::VirtualClock;

/// The PayPal payment method of the sandbox that is authorised first.
pub const PAYPAL_METHOD: &str = "125125125";
/// The PayPal payment method of the sandbox that is charged at once.
pub const PAYPAL_CAPTURE_ONLY_METHOD: &str = "126126126";
/// The client id of the sandbox at PayPal.
pub const PAYPAL_CLIENT_ID: &str = "AZDxjDScFpQtjWTOUtWKbyN_bDt4OgqaF4eYXlewfBP4";
/// The client secret of the sandbox at PayPal.
pub const PAYPAL_SECRET: &str = "EGnHDxD_qRPdaLdZz8iCr8N7_MzF-YHPTkjs6NKYQvQSBngp4PTTVWkPZRbL";
/// The webhook of the sandbox at PayPal.
pub const PAYPAL_WEBHOOK_ID: &str = "8PT597110X687430LKGECATA";

/// The sandbox's account at PayPal.
pub const ACCOUNT: SandboxAccount = SandboxAccount {
    method: PAYPAL_METHOD,
    capture_only_method: PAYPAL_CAPTURE_ONLY_METHOD,
    base_urls: &["https://api-m.sandbox.paypal.com", "https://api.sandbox.paypal.com"],
    settings: |url| {
        let mut settings = vec![
            ("PAYPAL_ENVIRONMENT", "sandbox".to_owned()),
            ("PAYPAL_CLIENT_ID", PAYPAL_CLIENT_ID.to_owned()),
            ("PAYPAL_WEBHOOK_ID", PAYPAL_WEBHOOK_ID.to_owned()),
            // The simulator's test CA.
            ("PAYPAL_TRUST_ROOT", STANDARD.encode(PayPalSimulator::trust_root())),
        ];
        settings.extend(url.map(|url| ("PAYPAL_BASE_URL", url.to_owned())));
        settings
    },
    secrets: || json!({ "client_secret": [PAYPAL_SECRET] }),
    signing_keys_in: SigningKeysIn::Setting("PAYPAL_WEBHOOK_ID"),
    signing_keys: [PAYPAL_WEBHOOK_ID, "0EH40505U7160970P", "9XX99999X9999999X"],
    example_payment_id: "5O190127TN364715T",
};

impl PayPalSimulator {
    /// Opens the sandbox's account.
    #[must_use]
    pub fn open(clock: &VirtualClock) -> Self {
        let config = PayPalConfig {
            client_id: PAYPAL_CLIENT_ID.to_owned(),
            client_secret: PAYPAL_SECRET.to_owned(),
            webhook_id: PAYPAL_WEBHOOK_ID.to_owned(),
            certificate_host: "https://api.sandbox.paypal.com".to_owned(),
        };
        Self::new(config, std::sync::Arc::new(clock.clone()))
    }
}
