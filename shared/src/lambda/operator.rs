//! A whole deployment as an operator's tool sees it: the settings that all functions share, the secret, the table and the queues of all
//! topics.
//!
//! It reads what the functions read, by the same code, and nothing more: a mistake that is found here would keep a function from starting.
//! Must never start a function or run a flow.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::dependencies::{self, UpstreamSettings};
use super::frontend_handler::FrontendSettings;
use super::queue::SqsQueue;
use super::secrets::{EnvironmentSecret, SecretError, SecretSource, Secrets, SecretsManager};
use super::settings::{RequiredSettings, Settings};
use super::{aws, read_all_settings, requeue};
use crate::cleeng::client::{CleengEnvironment, CleengSettings, CoreApi};
use crate::cleeng::signature::{SignatureSettings, WebhookVerifier};
use crate::cleeng::webhook::Topic;
use crate::clock::Clock;
use crate::gateway::{Gateway, GatewayName, Gateways};
use crate::http::Transport;
use crate::journal::dynamodb::DynamoStore;
use crate::journal::store::Store;
use crate::secret::{NamedSecrets, SecretString};
use crate::settings::{Problem, Problems, SettingsReader};

/// The settings of a deployment.
pub struct Deployment {
    /// What belongs to no upstream.
    pub settings: Settings,
    /// The queues of events by topic (`EVENT_QUEUE_URLS`); empty without the setting.
    pub queues: BTreeMap<Topic, String>,
    /// The settings of the functions that pages call; `None` without `ALLOWED_ORIGINS`.
    pub frontend: Option<FrontendSettings>,
    upstreams: UpstreamSettings,
}

impl Deployment {
    /// Reads the settings of all functions at once; mistakes are noted in the reader. What only some functions have (`EVENT_QUEUE_URLS`,
    /// `QUEUE_URL`, `QUARANTINE_QUEUE_URL`, `ALLOWED_ORIGINS`) may be absent, and must be right if it is set.
    pub fn read(reader: &mut SettingsReader<'_>) -> Option<Self> {
        let has = |name: &str| reader.text(name).is_some();
        let required = RequiredSettings {
            queue: has("QUEUE_URL"),
            quarantine: has("QUARANTINE_QUEUE_URL"),
            event_queues: has("EVENT_QUEUE_URLS"),
            frontend: has("ALLOWED_ORIGINS"),
        };
        let settings = Settings::read_for(reader, required);
        let upstreams = settings.as_ref().and_then(|settings| dependencies::read_upstream_settings(reader, settings));
        let queues = if required.event_queues { requeue::read_queues(reader) } else { BTreeMap::new() };
        let frontend = required.frontend.then(|| FrontendSettings::read(reader)).flatten();
        Some(Self { settings: settings?, queues, frontend, upstreams: upstreams? })
    }

    /// The settings of Cleeng's client.
    #[must_use]
    pub const fn cleeng(&self) -> &CleengSettings {
        &self.upstreams.cleeng
    }

    /// The settings of webhook signatures.
    #[must_use]
    pub const fn signature(&self) -> &SignatureSettings {
        &self.upstreams.signature
    }

    /// The gateways in use.
    #[must_use]
    pub fn gateways_in_use(&self) -> BTreeSet<GatewayName> {
        self.upstreams.gateways.iter().map(|gateway_config| gateway_config.name()).collect()
    }

    /// The settings that gateways' components in pages need and that are not there; none without pages.
    #[must_use]
    pub fn missing_page_settings(&self) -> Vec<&'static str> {
        let configs = self.upstreams.gateways.iter().filter(|_| self.frontend.is_some());
        configs.filter_map(|gateway_config| gateway_config.missing_page_setting()).collect()
    }

    /// The gateways in use that move real money.
    #[must_use]
    pub fn live_gateways(&self) -> BTreeSet<GatewayName> {
        self.upstreams
            .gateways
            .iter()
            .filter(|gateway_config| gateway_config.is_live())
            .map(|gateway_config| gateway_config.name())
            .collect()
    }

    /// Whether Cleeng's environment moves real money.
    #[must_use]
    pub fn is_production(&self) -> bool {
        self.upstreams.cleeng.environment == CleengEnvironment::Production
    }

    /// The text of the secret: from AWS Secrets Manager, or from `CONNECTOR_SECRETS` in embedded mode.
    ///
    /// # Errors
    /// [`SecretError`].
    pub async fn secret_text(&self, get: &dyn Fn(&str) -> Option<String>) -> Result<SecretString, SecretError> {
        match &self.settings.resources {
            Some(resources) => {
                let config = aws::load_with(get).await;
                SecretsManager::new(aws_sdk_secretsmanager::Client::new(&config), resources.secret_id.clone()).fetch().await
            }
            None => EnvironmentSecret::new(get("CONNECTOR_SECRETS")).fetch().await,
        }
    }

    /// Reads the secret and builds everything from it, so that every mistake is found at once. Returns what could be read with the
    /// mistakes.
    #[must_use]
    pub fn check_secret(&self, text: &str, transport: &Arc<dyn Transport>, clock: &Arc<dyn Clock>) -> (Option<Secrets>, Vec<Problem>) {
        let (secrets, mut problems) = Secrets::read(text, &self.gateways_in_use());
        let Some(secrets) = secrets else { return (None, problems) };
        let mut add_new = |found: Result<(), Problems>| {
            for problem in found.err().into_iter().flat_map(|problems| problems.0) {
                // A mistake in the form of the secret is not reported again by the module that misses it, nor what is inside something that
                // is missing.
                let inside =
                    |known: &Problem| problem.setting.strip_prefix(&known.setting).is_some_and(|rest| rest.starts_with(['[', '.']));
                if !problems.iter().any(|known| known.setting == problem.setting || inside(known)) {
                    problems.push(problem);
                }
            }
        };
        add_new(self.core_api(&secrets, transport).map(drop));
        add_new(WebhookVerifier::new(self.upstreams.signature.clone(), &secrets.cleeng.webhook_secrets).map(drop));
        for gateway in self.gateways_in_use() {
            add_new(self.gateway(gateway, &secrets, transport, clock).map(drop));
        }
        (Some(secrets), problems)
    }

    /// The client of the Core API.
    ///
    /// # Errors
    /// Every mistake in the tokens.
    pub fn core_api(&self, secrets: &Secrets, transport: &Arc<dyn Transport>) -> Result<CoreApi, Problems> {
        CoreApi::new(self.upstreams.cleeng.clone(), secrets.cleeng.publisher_tokens.clone(), Arc::clone(transport))
    }

    /// One adapter.
    ///
    /// # Errors
    /// Every mistake in its secrets.
    pub fn gateway(
        &self,
        name: GatewayName,
        secrets: &Secrets,
        transport: &Arc<dyn Transport>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Arc<dyn Gateway>>, Problems> {
        let Some(gateway_config) = self.upstreams.gateways.iter().find(|gateway_config| gateway_config.name() == name) else {
            return Ok(None);
        };
        let texts: NamedSecrets = secrets.gateways.get(&name).cloned().unwrap_or_default();
        gateway_config.build(&texts, Arc::clone(transport), Arc::clone(clock)).map(Some)
    }

    /// All adapters in use.
    ///
    /// # Errors
    /// As [`Deployment::gateway`].
    pub fn gateways(&self, secrets: &Secrets, transport: &Arc<dyn Transport>, clock: &Arc<dyn Clock>) -> Result<Gateways, Problems> {
        let mut gateways = Gateways::default();
        for name in self.gateways_in_use() {
            if let Some(gateway) = self.gateway(name, secrets, transport, clock)? {
                gateways = gateways.with(gateway);
            }
        }
        Ok(gateways)
    }

    /// The journal; `None` in embedded mode, whose journal is the function's own memory.
    pub async fn store(&self, get: &dyn Fn(&str) -> Option<String>, clock: &Arc<dyn Clock>) -> Option<Arc<dyn Store>> {
        let resources = self.settings.resources.as_ref()?;
        let config = aws::load_with(get).await;
        let mut own = aws_sdk_dynamodb::config::Builder::from(&config);
        if let Some(url) = get("AWS_ENDPOINT_URL_DYNAMODB").filter(|url| !url.is_empty()) {
            own = own.endpoint_url(url);
        }
        let client = aws_sdk_dynamodb::Client::from_conf(own.build());
        Some(Arc::new(DynamoStore::new(client, resources.table.clone(), Arc::clone(clock))))
    }
}

/// The queue at this URL.
pub async fn queue(get: &dyn Fn(&str) -> Option<String>, url: &str) -> SqsQueue {
    SqsQueue::new(aws_sdk_sqs::Client::new(&aws::load_with(get).await), url.to_owned())
}

/// The names of all settings that any function reads.
#[must_use]
pub fn known_setting_names() -> BTreeSet<String> {
    let names = RefCell::new(BTreeSet::new());
    let methods: Vec<String> = GatewayName::ALL.iter().zip(1_u32..).map(|(name, id)| format!("{id}={name}:capture_only")).collect();
    let methods = methods.join(",");
    let required = RequiredSettings { queue: true, quarantine: true, event_queues: true, frontend: true };
    for (embedded, environment) in [("0", ""), ("1", "sandbox"), ("1", "test"), ("1", "live"), ("1", "production")] {
        let get = |name: &str| {
            names.borrow_mut().insert(name.to_owned());
            match name {
                "CONNECTOR_EMBEDDED" => Some(embedded.to_owned()),
                "PAYMENT_METHODS" => Some(methods.clone()),
                // Without these the settings that depend on them are not read.
                "CONNECTOR_PUBLISHER_ID" | "JOURNAL_TABLE" | "CONNECTOR_SECRET_ID" => Some("1".to_owned()),
                "QUEUE_URL" | "QUARANTINE_QUEUE_URL" => Some("https://queue.invalid".to_owned()),
                _ => Some(environment.to_owned()).filter(|_| name.ends_with("_ENVIRONMENT")),
            }
        };
        // Only the names that it reads matter here.
        drop(read_all_settings(&get, required));
    }
    let mut names = names.into_inner();
    names.insert("CONNECTOR_SECRETS".to_owned());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_every_gateway_is_known() {
        let known = known_setting_names();
        for name in [
            "ADYEN_LIVE_PREFIX",
            "ADYEN_BASE_URL",
            "PAYPAL_TRUST_ROOT",
            "CLEENG_API_URL",
            "ALLOWED_ORIGINS",
            "EVENT_QUEUE_URLS",
            "QUEUE_URL",
        ] {
            assert!(known.contains(name), "{name} is not in {known:?}");
        }
        assert!(GatewayName::ALL.iter().all(|name| known.contains(&format!("{}_ENVIRONMENT", name.as_str().to_ascii_uppercase()))));
    }

    #[test]
    fn what_only_some_functions_have_may_be_absent_and_must_be_right() {
        let base = [
            ("CONNECTOR_PUBLISHER_ID", "558186818"),
            ("PAYMENT_METHODS", "123123123=adyen:authorise_then_capture"),
            ("CLEENG_ENVIRONMENT", "sandbox"),
            ("ADYEN_ENVIRONMENT", "test"),
            ("ADYEN_MERCHANT_ACCOUNT", "StreamCoECOM"),
            ("ADYEN_CAPTURE", "manual"),
            ("JOURNAL_TABLE", "journal"),
            ("CONNECTOR_SECRET_ID", "secret"),
        ];
        let read = |more: &[(&str, &str)]| {
            let get = |name: &str| more.iter().chain(&base).find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            let mut reader = SettingsReader::new(&get);
            let deployment = Deployment::read(&mut reader);
            reader.finish(deployment).map_err(|problems| problems.to_string())
        };
        let bare = read(&[]).ok().unwrap();
        assert!(bare.queues.is_empty() && bare.frontend.is_none());
        assert!(read(&[("EVENT_QUEUE_URLS", "nonsense")]).err().unwrap().contains("EVENT_QUEUE_URLS"));
        assert!(read(&[("QUEUE_URL", "queue")]).err().unwrap().contains("QUEUE_URL"));
        assert!(read(&[("ALLOWED_ORIGINS", "shop")]).err().unwrap().contains("ALLOWED_ORIGINS"));
    }
}
