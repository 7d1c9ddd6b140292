//! PayPal's settings and secrets, validated at start. Must never repeat a secret in what it says.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;

use super::PayPal;
use crate::clock::Clock;
use crate::gateway::common::secrets::{SecretsCheck, current_and_previous, is_secret_text};
use crate::gateway::{Gateway, GatewayConfig, GatewayName};
use crate::http::Transport;
use crate::secret::{NamedSecrets, SecretString};
use crate::settings::{Problems, SettingsReader};

/// What the stored details of a subscription are for, where nothing else is set: paid in advance, at regular times.
const USAGE_PATTERN: &str = "SUBSCRIPTION_PREPAID";
/// PayPal's usage patterns (its TypeScript SDK 2.4.0, `usagePattern.ts`).
const USAGE_PATTERNS: &[&str] = &[
    "IMMEDIATE",
    "DEFERRED",
    "RECURRING_PREPAID",
    "RECURRING_POSTPAID",
    "THRESHOLD_PREPAID",
    "THRESHOLD_POSTPAID",
    "SUBSCRIPTION_PREPAID",
    "SUBSCRIPTION_POSTPAID",
    "UNSCHEDULED_PREPAID",
    "UNSCHEDULED_POSTPAID",
    "INSTALLMENT_PREPAID",
    "INSTALLMENT_POSTPAID",
];
/// How many webhook ids can be named: a webhook that is set up again has another one, and both send for a while.
const MOST_WEBHOOKS: usize = 4;

/// The PayPal environment that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayPalEnvironment {
    /// Test payments.
    Sandbox,
    /// Real money.
    Live,
}

/// Plain settings of the adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayPalSettings {
    /// Which PayPal is spoken to.
    pub environment: PayPalEnvironment,
    /// The base of all URLs, without a slash at its end.
    pub base_url: String,
    /// The client id of the REST app.
    pub client_id: String,
    /// The ids of the app's webhooks at PayPal, each of which may send notifications.
    pub webhook_ids: Vec<String>,
    /// The `usage_pattern` of stored details; nothing to leave it out.
    pub usage_pattern: Option<String>,
    /// Whether payments without the customer say so in `stored_credential`, which some accounts do not allow.
    pub stored_credential: bool,
    /// The DER of the certificate that notifications lead back to instead of the system's roots; for the sandbox only.
    pub trust_root: Option<Vec<u8>>,
}

impl PayPalSettings {
    /// Reads `PAYPAL_ENVIRONMENT` (`sandbox` or `live`), `PAYPAL_BASE_URL` (optional, for the sandbox only: another base URL),
    /// `PAYPAL_CLIENT_ID`, `PAYPAL_WEBHOOK_ID` (one id, or several separated by commas), `PAYPAL_USAGE_PATTERN` (optional: one of PayPal's,
    /// or `none`), `PAYPAL_STORED_CREDENTIAL` (optional: `send` or `omit`) and `PAYPAL_TRUST_ROOT` (optional, for the sandbox only: a
    /// certificate, DER in base64). Mistakes are noted in the reader.
    pub fn read(reader: &mut SettingsReader<'_>) -> Option<Self> {
        let environment = reader.required("PAYPAL_ENVIRONMENT", "set it to sandbox or live");
        let environment = environment.and_then(|text| match text.as_str() {
            "sandbox" => Some(PayPalEnvironment::Sandbox),
            "live" => Some(PayPalEnvironment::Live),
            _ => {
                reader.problem("PAYPAL_ENVIRONMENT", "is not understood", "set it to sandbox or live");
                None
            }
        });
        let client_id = read_client_id(reader);
        let webhook_ids = read_webhook_ids(reader);
        let expected = "one of PayPal's usage patterns such as SUBSCRIPTION_PREPAID, or to none to leave it out";
        let usage_pattern = reader.parsed("PAYPAL_USAGE_PATTERN", Some(USAGE_PATTERN.to_owned()), expected, |text| match text {
            "none" => Some(None),
            _ => USAGE_PATTERNS.contains(&text).then(|| Some(text.to_owned())),
        });
        let stored_credential = reader.parsed("PAYPAL_STORED_CREDENTIAL", true, "send or omit", |text| match text {
            "send" => Some(true),
            "omit" => Some(false),
            _ => None,
        });
        let base_url = environment.and_then(|environment| read_base_url(reader, environment));
        let trust_root = environment.and_then(|environment| read_trust_root(reader, environment));
        Some(Self {
            environment: environment?,
            base_url: base_url?,
            client_id: client_id?,
            webhook_ids: webhook_ids?,
            usage_pattern,
            stored_credential,
            trust_root: trust_root?,
        })
    }
}

fn read_client_id(reader: &mut SettingsReader<'_>) -> Option<String> {
    let fix = "copy the client id of the REST app from PayPal's Developer Dashboard";
    let text = reader.required("PAYPAL_CLIENT_ID", fix)?;
    if !(10..=256).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
        reader.problem("PAYPAL_CLIENT_ID", "is no client id", fix);
        return None;
    }
    Some(text)
}

fn read_webhook_ids(reader: &mut SettingsReader<'_>) -> Option<Vec<String>> {
    let fix = "copy the webhook's id from the REST app in PayPal's Developer Dashboard; separate several by commas";
    let text = reader.required("PAYPAL_WEBHOOK_ID", fix)?;
    let ids: Vec<String> = text.split(',').map(|id| id.trim().to_owned()).collect();
    // The dashboard's simulator signs for the literal WEBHOOK_ID, which everybody knows.
    let good = |id: &String| (1..=50).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric()) && id != "WEBHOOKID";
    if ids.len() > MOST_WEBHOOKS || !ids.iter().all(good) {
        reader.problem("PAYPAL_WEBHOOK_ID", "holds something else than one to four ids of letters and digits", fix);
        return None;
    }
    Some(ids)
}

fn read_base_url(reader: &mut SettingsReader<'_>, environment: PayPalEnvironment) -> Option<String> {
    match environment {
        PayPalEnvironment::Sandbox => Some(reader.base_url("PAYPAL_BASE_URL", "https://api-m.sandbox.paypal.com", true)),
        PayPalEnvironment::Live if reader.text("PAYPAL_BASE_URL").is_some() => {
            reader.problem("PAYPAL_BASE_URL", "is for the sandbox only", "remove it");
            None
        }
        PayPalEnvironment::Live => Some("https://api-m.paypal.com".to_owned()),
    }
}

/// `None` if it is wrong, `Some(None)` if it is not set.
fn read_trust_root(reader: &mut SettingsReader<'_>, environment: PayPalEnvironment) -> Option<Option<Vec<u8>>> {
    let Some(text) = reader.text("PAYPAL_TRUST_ROOT") else { return Some(None) };
    if environment == PayPalEnvironment::Live {
        reader.problem("PAYPAL_TRUST_ROOT", "is for the sandbox only", "remove it");
        return None;
    }
    let root = STANDARD.decode(text).ok().filter(|der| is_trust_root(der));
    if root.is_none() {
        reader.problem("PAYPAL_TRUST_ROOT", "is no certificate, DER in base64", "remove it, or set a test CA's certificate");
    }
    root.map(Some)
}

/// Whether these bytes are a certificate that others can lead back to.
fn is_trust_root(der: &[u8]) -> bool {
    webpki::anchor_from_trusted_cert(&CertificateDer::from(der)).is_ok()
}

impl GatewayConfig for PayPalSettings {
    fn name(&self) -> GatewayName {
        GatewayName::PayPal
    }

    fn is_live(&self) -> bool {
        self.environment == PayPalEnvironment::Live
    }

    fn build(&self, secrets: &NamedSecrets, transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Result<Arc<dyn Gateway>, Problems> {
        Ok(Arc::new(PayPal::new(self.clone(), PayPalSecrets::read(secrets), transport, clock)?))
    }
}

/// The secrets of the adapter, the object `paypal` in the deployment's secret: `{"client_secret": [current, previous?]}`. It has no
/// `Debug`.
#[derive(Clone)]
pub struct PayPalSecrets {
    /// The client secret of the REST app.
    pub client_secret: SecretString,
    /// The one before the last rotation, tried once where the first is refused.
    pub previous_client_secret: Option<SecretString>,
}

impl PayPalSecrets {
    /// Reads the object `paypal` of the deployment's secret. What is missing is found by [`PayPalSecrets::validate`].
    #[must_use]
    pub fn read(texts: &NamedSecrets) -> Self {
        let (client_secret, previous_client_secret) = current_and_previous(texts, "client_secret");
        Self { client_secret, previous_client_secret }
    }

    /// Checks what can be checked without PayPal.
    ///
    /// # Errors
    /// Every mistake, by the path in the secret.
    pub fn validate(&self) -> Result<(), Problems> {
        let mut check = SecretsCheck::of("paypal");
        if !is_client_secret(&self.client_secret) {
            let fix = "copy the secret of the REST app from PayPal's Developer Dashboard";
            check.problem("client_secret", "is missing, a placeholder, or no client secret", fix);
        }
        if self.previous_client_secret.as_ref().is_some_and(|secret| !is_client_secret(secret)) {
            let fix = "remove it, or set the secret before the last";
            check.problem("client_secret[1]", "is empty, a placeholder, or no client secret", fix);
        }
        check.finish()
    }
}

/// Shorter than any real secret (80 characters), longer than what people type as a placeholder.
const SHORTEST_SECRET: usize = 20;

fn is_client_secret(secret: &SecretString) -> bool {
    is_secret_text(secret.expose(), SHORTEST_SECRET)
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
