//! Adyen's settings and secrets, validated at start. Must never repeat a secret in what it says.

use std::sync::Arc;

use super::{Adyen, AdyenPageSettings};
use crate::clock::Clock;
use crate::gateway::common::secrets::{SecretsCheck, current_and_previous};
use crate::gateway::common::signature::from_hex;
use crate::gateway::{Gateway, GatewayConfig, GatewayName};
use crate::http::Transport;
use crate::secret::{NamedSecrets, SecretString};
use crate::settings::{Problems, SettingsReader};

/// The version of the Checkout API that the adapter uses.
const VERSION: &str = "v71";
/// Sent as `returnUrl` of payments without the customer, where Adyen demands one and never uses it.
const UNUSED_RETURN_URL: &str = "https://cleeng.com";

/// The Adyen environment that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdyenEnvironment {
    /// Test payments.
    Test,
    /// Real money.
    Live,
}

/// How the merchant account captures (Customer Area, "Capture delay"). It has no default: the wrong guess takes money too early or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureMode {
    /// Capture delay "manual": an authorisation is captured by request only.
    Manual,
    /// Any other capture delay: Adyen captures automatically.
    Automatic,
}

/// Plain settings of the adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdyenSettings {
    /// Which Adyen is spoken to.
    pub environment: AdyenEnvironment,
    /// The base of all URLs, version included, without a slash at its end.
    pub base_url: String,
    /// The merchant account that every payment is made on.
    pub merchant_account: String,
    /// How that account captures.
    pub capture_mode: CaptureMode,
    /// Sent if Adyen requires a `returnUrl` and no browser follows it.
    pub return_url: String,
    /// What Adyen's component in a page needs.
    pub page: AdyenPageSettings,
}

impl AdyenSettings {
    /// Reads `ADYEN_ENVIRONMENT` (`test` or `live`), `ADYEN_LIVE_PREFIX` (required for live), `ADYEN_BASE_URL` (optional: replaces host and
    /// path up to the version; plain http only for test), `ADYEN_MERCHANT_ACCOUNT`, `ADYEN_CAPTURE` (`manual` or `automatic`) and
    /// `ADYEN_RETURN_URL` (optional), and what [`AdyenPageSettings`] has. Mistakes are noted in the reader.
    pub fn read(reader: &mut SettingsReader<'_>) -> Option<Self> {
        let environment = reader.required("ADYEN_ENVIRONMENT", "set it to test or live");
        let environment = environment.and_then(|text| match text.as_str() {
            "test" => Some(AdyenEnvironment::Test),
            "live" => Some(AdyenEnvironment::Live),
            _ => {
                reader.problem("ADYEN_ENVIRONMENT", "is not understood", "set it to test or live");
                None
            }
        });
        let merchant_account = reader.required("ADYEN_MERCHANT_ACCOUNT", "set it to the merchant account's code in Adyen's Customer Area");
        let capture_mode = reader
            .required("ADYEN_CAPTURE", "set it to manual if the merchant account's capture delay is manual, else to automatic")
            .and_then(|text| read_capture_mode(reader, &text));
        let base_url = environment.and_then(|environment| read_base_url(reader, environment));
        let return_url = reader.base_url("ADYEN_RETURN_URL", UNUSED_RETURN_URL, false);
        let page = environment.map(|environment| AdyenPageSettings::read(reader, environment));
        Some(Self {
            page: page?,
            environment: environment?,
            base_url: base_url?,
            merchant_account: merchant_account?,
            capture_mode: capture_mode?,
            return_url,
        })
    }
}

fn read_capture_mode(reader: &mut SettingsReader<'_>, text: &str) -> Option<CaptureMode> {
    match text {
        "manual" => Some(CaptureMode::Manual),
        "automatic" => Some(CaptureMode::Automatic),
        _ => {
            reader.problem("ADYEN_CAPTURE", "is not understood", "set it to manual or automatic");
            None
        }
    }
}

/// Live has another host pattern than test, with the company's prefix and one more path segment (docs.adyen.com, "Live endpoints").
fn read_base_url(reader: &mut SettingsReader<'_>, environment: AdyenEnvironment) -> Option<String> {
    let default = match environment {
        AdyenEnvironment::Test => "https://checkout-test.adyen.com".to_owned(),
        AdyenEnvironment::Live => {
            let fix = "set it to the live URL prefix in Adyen's Customer Area under Developers, API URLs";
            let prefix = reader.required("ADYEN_LIVE_PREFIX", fix)?;
            if !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                reader.problem("ADYEN_LIVE_PREFIX", "is no prefix of letters, digits and hyphens", fix);
                return None;
            }
            format!("https://{prefix}-checkout-live.adyenpayments.com/checkout")
        }
    };
    let base = match environment {
        AdyenEnvironment::Test => reader.base_url("ADYEN_BASE_URL", &default, true),
        AdyenEnvironment::Live => reader.vendor_url("ADYEN_BASE_URL", &default, &["adyen.com", "adyenpayments.com"]),
    };
    Some(format!("{base}/{VERSION}"))
}

impl GatewayConfig for AdyenSettings {
    fn name(&self) -> GatewayName {
        GatewayName::Adyen
    }

    fn is_live(&self) -> bool {
        self.environment == AdyenEnvironment::Live
    }

    fn missing_page_setting(&self) -> Option<&'static str> {
        self.page.client_key.is_none().then_some("ADYEN_CLIENT_KEY")
    }

    fn build(&self, secrets: &NamedSecrets, transport: Arc<dyn Transport>, _clock: Arc<dyn Clock>) -> Result<Arc<dyn Gateway>, Problems> {
        Ok(Arc::new(Adyen::new(self.clone(), AdyenSecrets::read(secrets), transport)?))
    }
}

/// The secrets of the adapter, the object `adyen` in the deployment's secret: `{"api_key": [current, previous?], "hmac_keys": [hex, ...]}`.
/// It has no `Debug`.
#[derive(Clone)]
pub struct AdyenSecrets {
    /// The API key of the web service user.
    pub api_key: SecretString,
    /// The key before the last rotation, tried once where the first is refused.
    pub previous_api_key: Option<SecretString>,
    /// The HMAC keys of the standard webhook in hex, each of which may sign.
    pub hmac_keys: Vec<SecretString>,
}

impl AdyenSecrets {
    /// Reads the object `adyen` of the deployment's secret. What is missing is found by [`AdyenSecrets::validate`].
    #[must_use]
    pub fn read(texts: &NamedSecrets) -> Self {
        let (api_key, previous_api_key) = current_and_previous(texts, "api_key");
        Self { api_key, previous_api_key, hmac_keys: texts.values("hmac_keys").to_vec() }
    }

    /// Checks what can be checked without Adyen.
    ///
    /// # Errors
    /// Every mistake, by the path in the secret.
    pub fn validate(&self) -> Result<(), Problems> {
        let mut check = SecretsCheck::of("adyen");
        if !is_api_key(&self.api_key) {
            let fix = "copy the API key of the web service user from Adyen's Customer Area";
            check.problem("api_key", "is missing, a placeholder, or no API key", fix);
        }
        if self.previous_api_key.as_ref().is_some_and(|key| !is_api_key(key)) {
            check.problem("api_key[1]", "is empty, a placeholder, or no API key", "remove it, or set the key before the last");
        }
        let fix = "copy the HMAC key of the standard webhook (64 hex digits) from Adyen's Customer Area";
        check.list("hmac_keys", &self.hmac_keys, fix, |key| hmac_key(key).is_none().then_some("is no key of 64 hex digits"));
        check.finish()
    }
}

/// Shorter than any real key, longer than what people type as a placeholder.
const SHORTEST_API_KEY: usize = 20;

fn is_api_key(key: &SecretString) -> bool {
    let key = key.expose();
    key.len() >= SHORTEST_API_KEY && key.bytes().all(|b| b.is_ascii_graphic()) && key.bytes().any(|b| Some(b) != key.bytes().next())
}

/// The bytes of an HMAC key; `None` for anything but 32 bytes in hex, or for one byte repeated, which is a placeholder.
pub(super) fn hmac_key(key: &SecretString) -> Option<[u8; 32]> {
    from_hex(key.expose().trim()).filter(|bytes| bytes.iter().any(|byte| Some(byte) != bytes.first()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<AdyenSettings, Problems> {
        let get = |name: &str| values.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let mut reader = SettingsReader::new(&get);
        let settings = AdyenSettings::read(&mut reader);
        reader.finish(settings)
    }

    fn wrong(result: Result<AdyenSettings, Problems>) -> Vec<String> {
        result.unwrap_err().0.into_iter().map(|problem| problem.setting).collect()
    }

    const MERCHANT: (&str, &str) = ("ADYEN_MERCHANT_ACCOUNT", "StreamCoECOM");
    const MANUAL: (&str, &str) = ("ADYEN_CAPTURE", "manual");
    const TEST: (&str, &str) = ("ADYEN_ENVIRONMENT", "test");
    const LIVE: (&str, &str) = ("ADYEN_ENVIRONMENT", "live");

    #[test]
    fn test_and_live_have_their_own_hosts_and_paths() {
        assert_eq!(read(&[TEST, MERCHANT, MANUAL]).unwrap().base_url, "https://checkout-test.adyen.com/v71");
        let live = read(&[LIVE, MERCHANT, MANUAL, ("ADYEN_LIVE_PREFIX", "1797a841fbb37ca7-StreamCo")]).unwrap();
        assert_eq!(live.base_url, "https://1797a841fbb37ca7-StreamCo-checkout-live.adyenpayments.com/checkout/v71");
        assert!(live.is_live());
    }

    #[test]
    fn live_without_its_prefix_does_not_start() {
        assert_eq!(wrong(read(&[LIVE, MERCHANT, MANUAL])), ["ADYEN_LIVE_PREFIX"]);
        assert_eq!(wrong(read(&[LIVE, MERCHANT, MANUAL, ("ADYEN_LIVE_PREFIX", "evil.test/")])), ["ADYEN_LIVE_PREFIX"]);
    }

    #[test]
    fn when_an_account_captures_is_said_by_its_setting() {
        assert!(read(&[TEST, MERCHANT, MANUAL]).unwrap().capture_mode == CaptureMode::Manual);
        assert!(read(&[TEST, MERCHANT, ("ADYEN_CAPTURE", "automatic")]).unwrap().capture_mode == CaptureMode::Automatic);
    }

    #[test]
    fn plain_http_is_for_test_only() {
        let plain = ("ADYEN_BASE_URL", "http://127.0.0.1:4000/");
        assert_eq!(read(&[TEST, MERCHANT, MANUAL, plain]).unwrap().base_url, "http://127.0.0.1:4000/v71");
        assert_eq!(wrong(read(&[LIVE, MERCHANT, MANUAL, plain, ("ADYEN_LIVE_PREFIX", "abc")])), ["ADYEN_BASE_URL"]);
    }

    #[test]
    fn every_mistake_is_named_at_once_and_nothing_is_guessed() {
        assert_eq!(wrong(read(&[])), ["ADYEN_ENVIRONMENT", "ADYEN_MERCHANT_ACCOUNT", "ADYEN_CAPTURE"]);
        assert_eq!(wrong(read(&[TEST, MERCHANT, ("ADYEN_CAPTURE", "auto")])), ["ADYEN_CAPTURE"]);
        assert_eq!(wrong(read(&[("ADYEN_ENVIRONMENT", "LIVE"), MERCHANT, MANUAL])), ["ADYEN_ENVIRONMENT"]);
    }

    const HMAC: &str = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00";

    fn wrong_secrets(keys: &[&str], hmac_keys: &[&str]) -> Vec<String> {
        let list = |values: &[&str]| values.iter().map(|value| SecretString::new(*value)).collect();
        let texts = NamedSecrets([("api_key".to_owned(), list(keys)), ("hmac_keys".to_owned(), list(hmac_keys))].into());
        let problems = AdyenSecrets::read(&texts).validate().err();
        problems.map(|problems| problems.0.into_iter().map(|problem| problem.setting).collect()).unwrap_or_default()
    }

    #[test]
    fn good_secrets_start_and_placeholders_do_not() {
        assert_eq!(wrong_secrets(&["AQEyhmfxK4rJbBZDw0m"], &[HMAC]), ["adyen.api_key"]);
        assert_eq!(wrong_secrets(&["AQEyhmfxK4rJbBZDw0m/n3Q5qf3VaY9U"], &[HMAC, &HMAC.to_lowercase()]), Vec::<String>::new());
        assert_eq!(wrong_secrets(&[], &[]), ["adyen.api_key", "adyen.hmac_keys"]);
        let zeros = "0".repeat(64);
        let expected =
            ["adyen.api_key", "adyen.api_key[1]", "adyen.hmac_keys[0]", "adyen.hmac_keys[1]", "adyen.hmac_keys[2]", "adyen.hmac_keys[3]"];
        for key in ["AQEyhmfxK4rJbBZDw0m/n3Q5qf3 aY9U", &"x".repeat(32), &"AQ".repeat(9)] {
            assert_eq!(wrong_secrets(&[key], &[HMAC]), ["adyen.api_key"], "{key}");
        }
        // 64 characters, and not of hex; hex, and not of 64 characters.
        let (no_hex, long) = (format!("{}+1", &HMAC[..62]), format!("{HMAC}00"));
        for key in [&*no_hex, &*long, &HMAC[..63]] {
            assert_eq!(wrong_secrets(&["AQEyhmfxK4rJbBZDw0m/n3Q5qf3VaY9U"], &[key]), ["adyen.hmac_keys[0]"], "{key}");
        }
        assert_eq!(wrong_secrets(&["changeme", ""], &["", "xyz", &zeros, &HMAC[..62]]), expected);
    }

    #[test]
    fn a_mistake_in_the_secret_never_repeats_it() {
        let texts = NamedSecrets([("api_key".to_owned(), vec![SecretString::new("sk-very-secret")])].into());
        let problems = AdyenSecrets::read(&texts).validate().unwrap_err();
        assert!(!format!("{problems} {problems:?}").contains("very-secret"));
    }
}
