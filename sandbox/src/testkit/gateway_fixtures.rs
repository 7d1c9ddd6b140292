//! Gateway fixtures of the test environment and the local world: accounts, settings, secrets, payment methods in Cleeng. A new gateway is
//! added to [`SimulatedGateways`].

use std::sync::Arc;

use connector::gateway::adyen::{AdyenEnvironment, AdyenSettings, CaptureMode};
use connector::gateway::{Gateway, GatewayName};
use connector::http::Transport;
use connector::secret::{NamedSecrets, SecretString};
use connector::settings::SettingsReader;
use serde_json::{Value, json};

use crate::expect::expect_fixture;
use crate::simulators::adyen::{AdyenConfig, AdyenSimulator};
use crate::simulators::network::{FaultyNetwork, InProcessTransport, SimulatedServer};
use crate::simulators::paypal::{PayPalConfig, PayPalSimulator};
use crate::simulators::simulated_gateway::SimulatedGateway;
use crate::simulators::stripe::{StripeConfig, StripeSimulator};
use crate::simulators::virtual_clock::VirtualClock;

/// The Adyen payment method of the sandbox that is authorised first.
pub const ADYEN_METHOD: &str = "123123123";
/// The Adyen payment method of the sandbox that is charged at once.
pub const ADYEN_CAPTURE_ONLY_METHOD: &str = "124124124";
/// The merchant account of the sandbox at Adyen.
pub const MERCHANT_ACCOUNT: &str = "SandboxMerchant";
/// The Adyen API key of the sandbox.
pub const ADYEN_API_KEY: &str = "AQEsandboxApiKey0123456789abcdefghijklmnopqrstuv";
/// The Adyen HMAC key of the sandbox (the one of Adyen's own test).
pub const ADYEN_HMAC_KEY: &str = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00";
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

/// A simulated gateway with its payment methods in Cleeng.
#[derive(Clone)]
pub struct GatewayFixture {
    /// Its simulator.
    pub simulator: Arc<dyn SimulatedGateway>,
    /// The method that is authorised first.
    pub method: &'static str,
    /// The method that is charged at once.
    pub capture_only_method: &'static str,
}

/// The payment methods of a gateway in Cleeng: the one that is authorised first, the one that is charged at once.
#[must_use]
pub const fn payment_methods_of(gateway: GatewayName) -> (&'static str, &'static str) {
    match gateway {
        GatewayName::Adyen => (ADYEN_METHOD, ADYEN_CAPTURE_ONLY_METHOD),
        GatewayName::PayPal => (PAYPAL_METHOD, PAYPAL_CAPTURE_ONLY_METHOD),
        GatewayName::Stripe => (STRIPE_METHOD, STRIPE_CAPTURE_ONLY_METHOD),
    }
}

/// Where a gateway is without sockets: every address that its adapter calls.
#[must_use]
pub const fn base_urls_of(gateway: GatewayName) -> &'static [&'static str] {
    match gateway {
        GatewayName::Adyen => &["http://adyen.test"],
        GatewayName::PayPal => &["https://api-m.sandbox.paypal.com", "https://api.sandbox.paypal.com"],
        GatewayName::Stripe => &["https://api.stripe.com"],
    }
}

/// The settings of the sandbox's Adyen adapter.
#[must_use]
pub fn adyen_settings(url: &str) -> AdyenSettings {
    AdyenSettings {
        environment: AdyenEnvironment::Test,
        base_url: format!("{url}/v71"),
        merchant_account: MERCHANT_ACCOUNT.to_owned(),
        capture_mode: CaptureMode::Manual,
        return_url: "https://example.com".to_owned(),
    }
}

/// The sandbox's Adyen account.
#[must_use]
pub fn adyen_config() -> AdyenConfig {
    AdyenConfig {
        merchant_account: MERCHANT_ACCOUNT.to_owned(),
        api_key: ADYEN_API_KEY.to_owned(),
        hmac_key: ADYEN_HMAC_KEY.to_owned(),
        manual_capture: true,
    }
}

/// All simulators, opened.
pub struct SimulatedGateways {
    /// Adyen.
    pub adyen: Arc<AdyenSimulator>,
    /// PayPal.
    pub paypal: Arc<PayPalSimulator>,
    /// Stripe.
    pub stripe: Arc<StripeSimulator>,
}

impl SimulatedGateways {
    /// Opens every account.
    #[must_use]
    pub fn open(clock: &VirtualClock) -> Self {
        let config = PayPalConfig {
            client_id: PAYPAL_CLIENT_ID.to_owned(),
            client_secret: PAYPAL_SECRET.to_owned(),
            webhook_id: PAYPAL_WEBHOOK_ID.to_owned(),
            certificate_host: "https://api.sandbox.paypal.com".to_owned(),
        };
        let stripe = StripeConfig {
            api_keys: vec![STRIPE_API_KEY.to_owned()],
            webhook_secrets: vec![STRIPE_WEBHOOK_SECRET.to_owned()],
            api_version: STRIPE_VERSION.to_owned(),
        };
        Self {
            adyen: Arc::new(AdyenSimulator::new(adyen_config(), Arc::new(clock.clone()))),
            paypal: Arc::new(PayPalSimulator::new(config, Arc::new(clock.clone()))),
            stripe: Arc::new(StripeSimulator::new(stripe, Arc::new(clock.clone()))),
        }
    }

    /// All of them as fixtures, Adyen first.
    #[must_use]
    pub fn fixtures(&self) -> Vec<GatewayFixture> {
        let simulators: [Arc<dyn SimulatedGateway>; 3] = [self.adyen.clone(), self.paypal.clone(), self.stripe.clone()];
        let fixture = |simulator: Arc<dyn SimulatedGateway>| {
            let (method, capture_only) = payment_methods_of(simulator.gateway_name());
            GatewayFixture { simulator, method, capture_only_method: capture_only }
        };
        simulators.into_iter().map(fixture).collect()
    }

    /// All of them as servers.
    #[must_use]
    pub fn servers(&self) -> Vec<(GatewayName, Arc<dyn SimulatedServer>)> {
        vec![
            (GatewayName::Adyen, self.adyen.clone()),
            (GatewayName::PayPal, self.paypal.clone()),
            (GatewayName::Stripe, self.stripe.clone()),
        ]
    }
}

/// The settings of a gateway, as the template would give them; `url` replaces its base URL, where it has sockets.
#[must_use]
pub fn gateway_settings(gateway: GatewayName, url: Option<&str>) -> Vec<(&'static str, String)> {
    match gateway {
        GatewayName::Adyen => vec![
            ("ADYEN_ENVIRONMENT", "test".to_owned()),
            ("ADYEN_MERCHANT_ACCOUNT", MERCHANT_ACCOUNT.to_owned()),
            ("ADYEN_CAPTURE", "manual".to_owned()),
            ("ADYEN_BASE_URL", url.unwrap_or("http://adyen.test").to_owned()),
        ],
        GatewayName::PayPal => {
            let mut settings = vec![
                ("PAYPAL_ENVIRONMENT", "sandbox".to_owned()),
                ("PAYPAL_CLIENT_ID", PAYPAL_CLIENT_ID.to_owned()),
                ("PAYPAL_WEBHOOK_ID", PAYPAL_WEBHOOK_ID.to_owned()),
                ("PAYPAL_TRUST_ROOT", trust_root()),
            ];
            settings.extend(url.map(|url| ("PAYPAL_BASE_URL", url.to_owned())));
            settings
        }
        GatewayName::Stripe => {
            let mut settings = vec![("STRIPE_ENVIRONMENT", "test".to_owned())];
            settings.extend(url.map(|url| ("STRIPE_BASE_URL", url.to_owned())));
            settings
        }
    }
}

/// The test CA of the simulator, as the setting has it.
fn trust_root() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(PayPalSimulator::trust_root())
}

/// The gateways' part of the deployment's secret.
#[must_use]
pub fn gateway_secrets() -> Value {
    json!({
        "adyen": { "api_key": [ADYEN_API_KEY], "hmac_keys": [ADYEN_HMAC_KEY] },
        "paypal": { "client_secret": [PAYPAL_SECRET] },
        "stripe": { "api_key": [STRIPE_API_KEY], "webhook_secrets": [STRIPE_WEBHOOK_SECRET] },
    })
}

/// The adapter of a gateway, built as a function builds it.
///
/// # Panics
/// If the sandbox's own settings or secrets are wrong.
#[must_use]
pub fn build_adapter(gateway: GatewayName, transport: Arc<dyn Transport>, clock: &VirtualClock) -> Arc<dyn Gateway> {
    build_adapter_with(gateway, &gateway_settings(gateway, None), &gateway_secrets(), transport, clock)
}

/// Whether a charge at this gateway may be authorised first and captured afterwards by itself.
#[must_use]
pub fn charges_settle_later(gateway: GatewayName, clock: &VirtualClock) -> bool {
    let unused = InProcessTransport::new(FaultyNetwork::default());
    build_adapter(gateway, Arc::new(unused), clock).capabilities().charges_settle_later
}

/// The same with other settings and secrets.
///
/// # Panics
/// If they are wrong.
#[must_use]
pub fn build_adapter_with(
    gateway: GatewayName,
    settings: &[(&'static str, String)],
    secrets: &Value,
    transport: Arc<dyn Transport>,
    clock: &VirtualClock,
) -> Arc<dyn Gateway> {
    let get = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
    let mut reader = SettingsReader::new(&get);
    let blueprint = gateway.read_config(&mut reader);
    let blueprint = expect_fixture(reader.finish(blueprint).ok());
    let own = secrets.get(gateway.as_str()).and_then(Value::as_object).into_iter().flatten();
    let texts = |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_str).map(SecretString::new).collect();
    let secrets = NamedSecrets(own.map(|(name, values)| (name.clone(), texts(values))).collect());
    expect_fixture(blueprint.build(&secrets, transport, Arc::new(clock.clone())).ok())
}
