//! Stripe's settings and secrets, validated at start. Must never repeat a secret in what it says.

use std::sync::Arc;

use super::Stripe;
use crate::clock::Clock;
use crate::gateway::common::secrets::{SecretsCheck, current_and_previous, is_secret_text};
use crate::gateway::{Gateway, GatewayConfig, GatewayName};
use crate::http::Transport;
use crate::secret::{NamedSecrets, SecretString};
use crate::settings::{Problems, SettingsReader};

/// Which of an account's two modes is used: Stripe has one host for both, and the key decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StripeEnvironment {
    /// Test payments.
    Test,
    /// Real money.
    Live,
}

/// Plain settings of the adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripeSettings {
    /// The mode that is used.
    pub environment: StripeEnvironment,
    /// The base of all URLs, without the version and without a slash at its end.
    pub base_url: String,
}

impl StripeSettings {
    /// Reads `STRIPE_ENVIRONMENT` (`test` or `live`) and `STRIPE_BASE_URL` (optional, for tests only: another base URL). Mistakes are noted
    /// in the reader.
    pub fn read(reader: &mut SettingsReader<'_>) -> Option<Self> {
        let environment = reader.required("STRIPE_ENVIRONMENT", "set it to test or live")?;
        let environment = match environment.as_str() {
            "test" => StripeEnvironment::Test,
            "live" => StripeEnvironment::Live,
            _ => {
                reader.problem("STRIPE_ENVIRONMENT", "is not understood", "set it to test or live");
                return None;
            }
        };
        if environment == StripeEnvironment::Live && reader.text("STRIPE_BASE_URL").is_some() {
            reader.problem("STRIPE_BASE_URL", "is for tests only", "remove it");
            return None;
        }
        let base_url = reader.base_url("STRIPE_BASE_URL", "https://api.stripe.com", environment == StripeEnvironment::Test);
        Some(Self { environment, base_url })
    }
}

impl GatewayConfig for StripeSettings {
    fn name(&self) -> GatewayName {
        GatewayName::Stripe
    }

    fn is_live(&self) -> bool {
        self.environment == StripeEnvironment::Live
    }

    fn build(&self, secrets: &NamedSecrets, transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Result<Arc<dyn Gateway>, Problems> {
        Ok(Arc::new(Stripe::new(self.clone(), StripeSecrets::read(secrets), transport, clock)?))
    }
}

/// The secrets of the adapter, the object `stripe` in the deployment's secret: `{"api_key": [current, previous?], "webhook_secrets":
/// ["whsec_…", ...]}`. It has no `Debug`.
#[derive(Clone)]
pub struct StripeSecrets {
    /// The secret or restricted API key.
    pub api_key: SecretString,
    /// The key before the last rotation, tried once where the first is refused.
    pub previous_api_key: Option<SecretString>,
    /// The signing secrets of the webhook endpoints, each of which may sign.
    pub webhook_secrets: Vec<SecretString>,
}

impl StripeSecrets {
    /// Reads the object `stripe` of the deployment's secret. What is missing is found by [`StripeSecrets::validate`].
    #[must_use]
    pub fn read(texts: &NamedSecrets) -> Self {
        let (api_key, previous_api_key) = current_and_previous(texts, "api_key");
        Self { api_key, previous_api_key, webhook_secrets: texts.values("webhook_secrets").to_vec() }
    }

    /// Checks what can be checked without Stripe.
    ///
    /// # Errors
    /// Every mistake, by the path in the secret.
    pub fn validate(&self, environment: StripeEnvironment) -> Result<(), Problems> {
        let mut check = SecretsCheck::of("stripe");
        let keys = [("api_key", Some(&self.api_key)), ("api_key[1]", self.previous_api_key.as_ref())];
        for (name, key) in keys.into_iter().filter_map(|(name, key)| Some((name, key?))) {
            match mode_of(key) {
                None => {
                    let fix = "copy a secret key (sk_...) or restricted key (rk_...) of the account from Stripe's Dashboard";
                    check.problem(name, "is missing, a placeholder, or no API key", fix);
                }
                Some(mode) if mode != environment => {
                    let fix = "take a test key for test, a live key for live";
                    check.problem(name, "is of the other mode than STRIPE_ENVIRONMENT says", fix);
                }
                Some(_) => {}
            }
        }
        let fix = "copy the signing secret (whsec_...) of the webhook endpoint from Stripe's Dashboard";
        let wrong = |secret: &SecretString| (!is_webhook_secret(secret)).then_some("is a placeholder, or no signing secret");
        check.list("webhook_secrets", &self.webhook_secrets, fix, wrong);
        check.finish()
    }
}

/// Shorter than any real secret, longer than what people type as a placeholder.
const SHORTEST: usize = 16;

/// Which world an API key belongs to (docs.stripe.com/keys); `None` for what is no key.
fn mode_of(key: &SecretString) -> Option<StripeEnvironment> {
    let rest = key.expose().strip_prefix("sk_").or_else(|| key.expose().strip_prefix("rk_"))?;
    let (mode, part) = rest.split_once('_')?;
    if !is_secret_text(part, SHORTEST) {
        return None;
    }
    match mode {
        "test" => Some(StripeEnvironment::Test),
        "live" => Some(StripeEnvironment::Live),
        _ => None,
    }
}

fn is_webhook_secret(secret: &SecretString) -> bool {
    secret.expose().strip_prefix("whsec_").is_some_and(|part| is_secret_text(part, SHORTEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(api_key: &[&str], webhook: &[&str]) -> Result<(), Vec<String>> {
        let texts = |list: &[&str]| list.iter().map(|text| SecretString::new(*text)).collect::<Vec<_>>();
        let map = [("api_key".to_owned(), texts(api_key)), ("webhook_secrets".to_owned(), texts(webhook))];
        let secrets = StripeSecrets::read(&NamedSecrets(map.into_iter().collect()));
        let found = secrets.validate(StripeEnvironment::Test);
        found.map_err(|problems| problems.0.into_iter().map(|problem| problem.setting).collect())
    }

    const KEY: &str = "sk_test_51Hxyz0123456789abcdef";
    const WEBHOOK: &str = "whsec_0123456789abcdefghij";

    #[test]
    fn good_secrets_are_taken_with_or_without_those_before() {
        assert_eq!(secrets(&[KEY], &[WEBHOOK]), Ok(()));
        assert_eq!(secrets(&["rk_test_51Hxyz0123456789abcdef", KEY], &[WEBHOOK, "whsec_zyxwvutsrqponmlkjihg"]), Ok(()));
    }

    #[test]
    fn every_wrong_secret_is_named_by_its_path() {
        for (keys, webhooks, paths) in [
            (&[][..], &[][..], &["stripe.api_key", "stripe.webhook_secrets"][..]),
            (&["pk_test_51Hxyz0123456789abcdef"][..], &[WEBHOOK][..], &["stripe.api_key"][..]),
            (&["sk_live_51Hxyz0123456789abcdef"][..], &[WEBHOOK][..], &["stripe.api_key"][..]),
            (&["sk_test_xxxxxxxxxxxxxxxxxxxx"][..], &[WEBHOOK][..], &["stripe.api_key"][..]),
            (&[KEY, "sk_test_"][..], &[WEBHOOK][..], &["stripe.api_key[1]"][..]),
            (&[KEY][..], &["0123456789abcdefghij", WEBHOOK][..], &["stripe.webhook_secrets[0]"][..]),
            (&[KEY][..], &[WEBHOOK, "whsec_changeme"][..], &["stripe.webhook_secrets[1]"][..]),
            // Long enough, and yet not a real key.
            (&["sk_test_changeme-changeme-changeme"][..], &[WEBHOOK][..], &["stripe.api_key"][..]),
            (&["sk_test_51Hxyz 123456789abcdef"][..], &[WEBHOOK][..], &["stripe.api_key"][..]),
            (&["sk_test_51Hxyz01234567"][..], &[WEBHOOK][..], &["stripe.api_key"][..]),
            (&["sk_prod_51Hxyz0123456789abcdef"][..], &[WEBHOOK][..], &["stripe.api_key"][..]),
            (&[KEY][..], &["whsec_changeme-changeme-changeme"][..], &["stripe.webhook_secrets[0]"][..]),
            (&[KEY][..], &["whsec_0123456789 bcdefghij"][..], &["stripe.webhook_secrets[0]"][..]),
            (&[KEY][..], &["whsec_0123456789abcd"][..], &["stripe.webhook_secrets[0]"][..]),
            (&[KEY][..], &["whsec_zzzzzzzzzzzzzzzzzzzz"][..], &["stripe.webhook_secrets[0]"][..]),
        ] {
            assert_eq!(secrets(keys, webhooks), Err(paths.iter().map(|path| (*path).to_owned()).collect()), "{keys:?} {webhooks:?}");
        }
    }

    #[test]
    fn a_live_key_is_for_live_and_a_test_key_for_test() {
        let validate = |key: &str, environment| {
            let secrets = StripeSecrets {
                api_key: SecretString::new(key),
                previous_api_key: None,
                webhook_secrets: vec![SecretString::new(WEBHOOK)],
            };
            secrets.validate(environment).is_ok()
        };
        for (key, test, live) in [(KEY, true, false), ("sk_live_51Hxyz0123456789abcdef", false, true)] {
            assert_eq!((validate(key, StripeEnvironment::Test), validate(key, StripeEnvironment::Live)), (test, live), "{key}");
        }
    }

    fn settings(pairs: &[(&str, &str)]) -> Result<StripeSettings, Vec<String>> {
        let get = |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let mut reader = SettingsReader::new(&get);
        let read = StripeSettings::read(&mut reader);
        reader.finish(read).map_err(|problems| problems.0.into_iter().map(|problem| problem.setting).collect())
    }

    #[test]
    fn settings_are_read_and_every_mistake_is_named() {
        let live = settings(&[("STRIPE_ENVIRONMENT", "live")]).unwrap();
        assert_eq!((live.base_url.as_str(), live.is_live()), ("https://api.stripe.com", true));
        let test = settings(&[("STRIPE_ENVIRONMENT", "test"), ("STRIPE_BASE_URL", "http://127.0.0.1:1/")]).unwrap();
        assert_eq!((test.base_url.as_str(), test.is_live()), ("http://127.0.0.1:1", false));
        for (pairs, setting) in [
            (&[][..], "STRIPE_ENVIRONMENT"),
            (&[("STRIPE_ENVIRONMENT", "prod")][..], "STRIPE_ENVIRONMENT"),
            (&[("STRIPE_ENVIRONMENT", "live"), ("STRIPE_BASE_URL", "https://x")][..], "STRIPE_BASE_URL"),
            (&[("STRIPE_ENVIRONMENT", "test"), ("STRIPE_BASE_URL", "ftp://x")][..], "STRIPE_BASE_URL"),
        ] {
            assert_eq!(settings(pairs), Err(vec![setting.to_owned()]), "{pairs:?}");
        }
    }
}
