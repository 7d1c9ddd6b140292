//! The gateways that this connector supports. A new one is one line in the table of this module.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Gateway, adyen, paypal, stripe};
use crate::clock::Clock;
use crate::http::Transport;
use crate::secret::NamedSecrets;
use crate::settings::{Problems, SettingsReader};

/// Makes the enum, its list, its texts and its reader of one table, so that none of them can lack a gateway.
macro_rules! gateways {
    ($($(#[$doc:meta])* $gateway:ident, $text:literal, $settings:ty;)+) => {
        /// A gateway that has an adapter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum GatewayName {
            $($(#[$doc])* #[serde(rename = $text)] $gateway,)+
        }

        impl GatewayName {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$gateway),+];

            /// The name in settings and routes.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$gateway => $text,)+
                }
            }

            /// Reads the gateway's settings. What comes back builds its adapter, at start and again whenever the secret was changed.
            #[must_use]
            pub fn read_config(self, reader: &mut SettingsReader<'_>) -> Option<Box<dyn GatewayConfig>> {
                match self {
                    $(Self::$gateway => <$settings>::read(reader).map(|settings| -> Box<dyn GatewayConfig> { Box::new(settings) }),)+
                }
            }
        }
    };
}

gateways! {
    /// Adyen, Checkout API v71.
    Adyen, "adyen", adyen::AdyenSettings;
    /// PayPal, Orders v2 with Payment Method Tokens v3.
    PayPal, "paypal", paypal::PayPalSettings;
    /// Stripe, PaymentIntents.
    Stripe, "stripe", stripe::StripeSettings;
}

impl GatewayName {
    /// Reads a name as settings and routes write it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|name| name.as_str() == text)
    }
}

impl fmt::Display for GatewayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A gateway whose settings are read and whose secrets are not.
pub trait GatewayConfig: Send + Sync {
    /// Whose.
    fn name(&self) -> GatewayName;

    /// Whether real money moves: such a gateway is refused in embedded mode.
    fn is_live(&self) -> bool;

    /// The setting that the gateway's component in pages needs and that is not there.
    fn missing_page_setting(&self) -> Option<&'static str> {
        None
    }

    /// Builds the adapter with the gateway's part of the deployment's secret. `clock` is for what is only good for a time: signatures,
    /// access tokens, certificates.
    ///
    /// # Errors
    /// Every mistake in the secrets, by its path, never its value.
    fn build(&self, secrets: &NamedSecrets, transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Result<Arc<dyn Gateway>, Problems>;
}

/// The adapters that are configured, by name.
#[derive(Clone, Default)]
pub struct Gateways(BTreeMap<GatewayName, Arc<dyn Gateway>>);

impl Gateways {
    /// Registers an adapter under its own name.
    #[must_use]
    pub fn with(mut self, gateway: Arc<dyn Gateway>) -> Self {
        self.0.insert(gateway.name(), gateway);
        self
    }

    /// The adapter of that name, if it is configured.
    #[must_use]
    pub fn get(&self, name: GatewayName) -> Option<&Arc<dyn Gateway>> {
        self.0.get(&name)
    }
}
