//! ExampleGateway's settings and secrets, validated at start. Must never repeat a secret in what it says.

use std::sync::Arc;

use super::ExampleGateway;
use crate::clock::Clock;
use crate::gateway::common::secrets::{SecretsCheck, current_and_previous, is_secret_text};
use crate::gateway::{Gateway, GatewayConfig, GatewayName};
use crate::http::Transport;
use crate::secret::{NamedSecrets, SecretString};
use crate::settings::{Problems, SettingsReader};

/// Shorter than any real secret, longer than what people type as a placeholder.
const SHORTEST: usize = 16;

/// Which ExampleGateway is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExampleGatewayEnvironment {
    /// Test payments.
    Test,
    /// Real money.
    Live,
}

/// Plain settings of the adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleGatewaySettings {
    /// Which ExampleGateway is spoken to.
    pub environment: ExampleGatewayEnvironment,
    /// The base of all URLs, without a slash at its end.
    pub base_url: String,
}

impl ExampleGatewaySettings {
    /// Reads `EXAMPLE_GATEWAY_ENVIRONMENT` (`test` or `live`) and `EXAMPLE_GATEWAY_BASE_URL` (optional, for tests only: another base URL).
    /// Mistakes are noted in the reader.
    pub fn read(reader: &mut SettingsReader<'_>) -> Option<Self> {
        let environment = match reader.required("EXAMPLE_GATEWAY_ENVIRONMENT", "set it to test or live")?.as_str() {
            "test" => ExampleGatewayEnvironment::Test,
            "live" => ExampleGatewayEnvironment::Live,
            _ => {
                reader.problem("EXAMPLE_GATEWAY_ENVIRONMENT", "is not understood", "set it to test or live");
                return None;
            }
        };
        if environment == ExampleGatewayEnvironment::Live && reader.text("EXAMPLE_GATEWAY_BASE_URL").is_some() {
            reader.problem("EXAMPLE_GATEWAY_BASE_URL", "is for tests only", "remove it");
            return None;
        }
        // TODO: the hosts of the two environments.
        let base_url =
            reader.base_url("EXAMPLE_GATEWAY_BASE_URL", "https://example_gateway.test", environment == ExampleGatewayEnvironment::Test);
        Some(Self { environment, base_url })
    }
}

impl GatewayConfig for ExampleGatewaySettings {
    fn name(&self) -> GatewayName {
        GatewayName::ExampleGateway
    }

    fn is_live(&self) -> bool {
        self.environment == ExampleGatewayEnvironment::Live
    }

    fn build(&self, secrets: &NamedSecrets, transport: Arc<dyn Transport>, _clock: Arc<dyn Clock>) -> Result<Arc<dyn Gateway>, Problems> {
        Ok(Arc::new(ExampleGateway::new(self.clone(), ExampleGatewaySecrets::read(secrets), transport)?))
    }
}

/// The secrets of the adapter, the object `example_gateway` in the deployment's secret: `{"api_key": [current, previous?],
/// "webhook_secrets": [...]}`. It has no `Debug`.
#[derive(Clone)]
pub struct ExampleGatewaySecrets {
    /// The API key.
    pub api_key: SecretString,
    /// The key before the last rotation, tried once if the first is refused.
    pub previous_api_key: Option<SecretString>,
    /// The secrets of the webhook, each of which may sign.
    pub webhook_secrets: Vec<SecretString>,
}

impl ExampleGatewaySecrets {
    /// Reads the object `example_gateway` of the deployment's secret. What is missing is found by [`ExampleGatewaySecrets::validate`].
    #[must_use]
    pub fn read(texts: &NamedSecrets) -> Self {
        let (api_key, previous_api_key) = current_and_previous(texts, "api_key");
        Self { api_key, previous_api_key, webhook_secrets: texts.values("webhook_secrets").to_vec() }
    }

    /// Checks what can be checked without ExampleGateway.
    ///
    /// # Errors
    /// Every mistake, by the path in the secret.
    pub fn validate(&self) -> Result<(), Problems> {
        let mut check = SecretsCheck::of("example_gateway");
        let is_secret = |secret: &SecretString| is_secret_text(secret.expose(), SHORTEST);
        if !is_secret(&self.api_key) {
            check.problem("api_key", "is missing, a placeholder, or no API key", "copy the API key of the account");
        }
        if self.previous_api_key.as_ref().is_some_and(|key| !is_secret(key)) {
            check.problem("api_key[1]", "is empty, a placeholder, or no API key", "remove it, or set the key before the last");
        }
        let wrong = |secret: &SecretString| (!is_secret(secret)).then_some("is a placeholder, or no signing secret");
        check.list("webhook_secrets", &self.webhook_secrets, "copy the signing secret of the webhook", wrong);
        check.finish()
    }
}
