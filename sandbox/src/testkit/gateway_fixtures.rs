//! Gateway fixtures of the test environment and the local world: accounts, settings, secrets, payment methods in Cleeng. A new gateway has
//! its account in its simulator's folder, and a line in [`account_of`] and in [`SimulatedGateways::open`].

use std::sync::Arc;

use connector::gateway::adyen::{AdyenEnvironment, AdyenPageSettings, AdyenSettings, CaptureMode};
use connector::gateway::{Gateway, GatewayName};
use connector::http::Transport;
use connector::secret::{NamedSecrets, SecretString};
use connector::settings::SettingsReader;
use serde_json::{Map, Value};

use crate::expect::expect_fixture;
pub use crate::simulators::adyen::account::{
    ADYEN_API_KEY, ADYEN_CAPTURE_ONLY_METHOD, ADYEN_CLIENT_KEY, ADYEN_HMAC_KEY, ADYEN_METHOD, MERCHANT_ACCOUNT, config as adyen_config,
};
use crate::simulators::adyen::{self, AdyenSimulator};
use crate::simulators::network::{FaultyNetwork, InProcessTransport, SimulatedServer};
pub use crate::simulators::paypal::account::{
    PAYPAL_CAPTURE_ONLY_METHOD, PAYPAL_CLIENT_ID, PAYPAL_METHOD, PAYPAL_SECRET, PAYPAL_WEBHOOK_ID,
};
use crate::simulators::paypal::{self, PayPalSimulator};
use crate::simulators::simulated_gateway::{SandboxAccount, SimulatedGateway};
pub use crate::simulators::stripe::account::{
    STRIPE_API_KEY, STRIPE_CAPTURE_ONLY_METHOD, STRIPE_METHOD, STRIPE_VERSION, STRIPE_WEBHOOK_SECRET,
};
use crate::simulators::stripe::{self, StripeSimulator};
use crate::simulators::virtual_clock::VirtualClock;

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

/// The sandbox's account at a gateway.
#[must_use]
pub const fn account_of(gateway: GatewayName) -> SandboxAccount {
    match gateway {
        GatewayName::Adyen => adyen::account::ACCOUNT,
        GatewayName::PayPal => paypal::account::ACCOUNT,
        GatewayName::Stripe => stripe::account::ACCOUNT,
    }
}

/// The payment methods of a gateway in Cleeng: the one that is authorised first, the one that is charged at once.
#[must_use]
pub const fn payment_methods_of(gateway: GatewayName) -> (&'static str, &'static str) {
    let account = account_of(gateway);
    (account.method, account.capture_only_method)
}

/// Where a gateway is without sockets: every address that its adapter calls.
#[must_use]
pub const fn base_urls_of(gateway: GatewayName) -> &'static [&'static str] {
    account_of(gateway).base_urls
}

/// The settings of the sandbox's Adyen adapter.
#[must_use]
pub fn adyen_settings(url: &str) -> AdyenSettings {
    AdyenSettings {
        environment: AdyenEnvironment::Test,
        base_url: format!("{url}/v71"),
        merchant_account: MERCHANT_ACCOUNT.to_owned(),
        capture_mode: CaptureMode::Automatic,
        return_url: "https://example.com".to_owned(),
        page: AdyenPageSettings { client_key: Some(ADYEN_CLIENT_KEY.to_owned()), ..AdyenPageSettings::default() },
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
    /// Every gateway, in the order of [`GatewayName::ALL`].
    pub all: Vec<Arc<dyn SimulatedGateway>>,
}

impl SimulatedGateways {
    /// Opens every account.
    #[must_use]
    pub fn open(clock: &VirtualClock) -> Self {
        let adyen = Arc::new(AdyenSimulator::open(clock));
        let paypal = Arc::new(PayPalSimulator::open(clock));
        let stripe = Arc::new(StripeSimulator::open(clock));
        let opened = |gateway: &GatewayName| -> Arc<dyn SimulatedGateway> {
            match gateway {
                GatewayName::Adyen => adyen.clone(),
                GatewayName::PayPal => paypal.clone(),
                GatewayName::Stripe => stripe.clone(),
            }
        };
        let all = GatewayName::ALL.iter().map(opened).collect();
        Self { adyen, paypal, stripe, all }
    }

    /// All of them as fixtures, Adyen first.
    #[must_use]
    pub fn fixtures(&self) -> Vec<GatewayFixture> {
        let fixture = |simulator: &Arc<dyn SimulatedGateway>| {
            let (method, capture_only_method) = payment_methods_of(simulator.gateway_name());
            GatewayFixture { simulator: Arc::clone(simulator), method, capture_only_method }
        };
        self.all.iter().map(fixture).collect()
    }

    /// All of them as servers.
    #[must_use]
    pub fn servers(&self) -> Vec<(GatewayName, Arc<dyn SimulatedServer>)> {
        self.all.iter().map(|one| -> (GatewayName, Arc<dyn SimulatedServer>) { (one.gateway_name(), one.clone()) }).collect()
    }
}

/// The settings of a gateway, as the template would give them; `url` replaces its base URL, if it has sockets.
#[must_use]
pub fn gateway_settings(gateway: GatewayName, url: Option<&str>) -> Vec<(&'static str, String)> {
    (account_of(gateway).settings)(url)
}

/// The gateways' part of the deployment's secret.
#[must_use]
pub fn gateway_secrets() -> Value {
    GatewayName::ALL.iter().map(|gateway| (gateway.as_str().to_owned(), (account_of(*gateway).secrets)())).collect::<Map<_, _>>().into()
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
