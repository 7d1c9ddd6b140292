//! What a deployed function is made of: the clients of its upstreams, built from settings and secrets.
//!
//! The settings, client and verifier of each upstream live in its own module; this is the only place that names them all.

use std::sync::Arc;

use super::quarantine;
use super::queue::Queue;
use super::reloadable::Reloadable;
use super::secrets::{SecretCache, Secrets};
use super::settings::{Mode, Settings};
use super::state::{AppState, Dependencies, FunctionKind};
use super::verifier::{NoWebhooks, TopicVerifier, Verify};
use crate::cleeng::client::{CleengEnvironment, CleengSettings, CoreApi};
use crate::cleeng::signature::{SignatureSettings, WebhookVerifier};
use crate::clock::Clock;
use crate::flow::{FlowContext, Requeue};
use crate::gateway::{GatewayConfig, GatewayName, Gateways};
use crate::http::Transport;
use crate::journal::store::Store;
use crate::metrics::Metrics;
use crate::settings::{Problems, SettingsReader};

/// The settings of all upstreams.
pub struct UpstreamSettings {
    pub(super) cleeng: CleengSettings,
    pub(super) signature: SignatureSettings,
    pub(super) gateways: Vec<Box<dyn GatewayConfig>>,
}

/// Reads the settings of Cleeng, of its signature and of each gateway in use from the same reader.
pub fn read_upstream_settings(reader: &mut SettingsReader<'_>, settings: &Settings) -> Option<UpstreamSettings> {
    let cleeng = CleengSettings::read(reader);
    let signature = SignatureSettings::read(reader, cleeng.as_ref().map(|cleeng| cleeng.environment));
    let gateways: Vec<_> =
        GatewayName::ALL.iter().filter(|gateway| settings.uses(**gateway)).map(|gateway| gateway.read_config(reader)).collect();
    let upstreams = UpstreamSettings { cleeng: cleeng?, signature, gateways: gateways.into_iter().collect::<Option<_>>()? };
    if settings.mode == Mode::Embedded {
        refuse_live(reader, &upstreams);
    }
    Some(upstreams)
}

/// Embedded mode loses its journal when it ends: no environment with real money may be behind it.
fn refuse_live(reader: &mut SettingsReader<'_>, upstreams: &UpstreamSettings) {
    let fix = "use the test environment, or set CONNECTOR_EMBEDDED=0";
    if upstreams.cleeng.environment == CleengEnvironment::Production {
        reader.problem("CLEENG_ENVIRONMENT", "is production, and embedded mode forgets its journal", fix);
    }
    for gateway in upstreams.gateways.iter().filter(|gateway| gateway.is_live()) {
        let setting = format!("{}_ENVIRONMENT", gateway.name().as_str().to_ascii_uppercase());
        reader.problem(&setting, "is live, and embedded mode forgets its journal", fix);
    }
}

/// What the dependencies of every deployed function are built from. Journal, connections and time outlive a change of secrets.
pub struct SharedDeps {
    /// The settings that belong to no upstream.
    pub settings: Settings,
    /// The settings of the upstreams.
    pub upstreams: UpstreamSettings,
    /// The transport to all upstreams.
    pub transport: Arc<dyn Transport>,
    /// The journal's database.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The metrics.
    pub metrics: Metrics,
    /// Puts waiting events back on their queues.
    pub requeue: Arc<dyn Requeue>,
}

impl SharedDeps {
    /// The state of a function of this kind.
    ///
    /// # Errors
    /// Every mistake in the secrets.
    pub fn into_state(
        self,
        kind: FunctionKind,
        secret_cache: SecretCache,
        queue: Arc<dyn Queue>,
        quarantine: Arc<dyn Queue>,
    ) -> Result<AppState, Problems> {
        Ok(AppState {
            kind: kind.clone(),
            mode: self.settings.mode,
            max_body_bytes: self.settings.max_body_bytes,
            queue,
            quarantine,
            quarantine_limiter: quarantine::limiter(),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            dependencies: Reloadable::new(secret_cache, move |secrets| self.build(&kind, secrets))?,
        })
    }

    fn build(&self, kind: &FunctionKind, secrets: &Secrets) -> Result<Dependencies, Problems> {
        let flow_context = self.flow_context(secrets, &self.transport)?;
        let topic = match kind {
            FunctionKind::Webhooks(flow) => Some(flow.topic()),
            FunctionKind::Scheduled(_) => None,
            FunctionKind::Notifications(_) => return Ok(Dependencies { flow_context, verifier: Arc::new(NoWebhooks) }),
        };
        let verifier = WebhookVerifier::new(self.upstreams.signature.clone(), &secrets.cleeng.webhook_secrets)?;
        let verifier: Arc<dyn Verify> = Arc::new(TopicVerifier { verifier, publisher: self.settings.publisher.clone(), topic });
        Ok(Dependencies { flow_context, verifier })
    }

    /// The dependencies of flows. Gateways have a transport of their own.
    pub(super) fn flow_context(&self, secrets: &Secrets, to_gateways: &Arc<dyn Transport>) -> Result<FlowContext, Problems> {
        let cleeng = CoreApi::new(self.upstreams.cleeng.clone(), secrets.cleeng.publisher_tokens.clone(), Arc::clone(&self.transport))?
            .with_metrics(self.metrics.clone());
        let mut gateways = Gateways::default();
        for config in &self.upstreams.gateways {
            let texts = secrets.gateways.get(&config.name()).cloned().unwrap_or_default();
            gateways = gateways.with(config.build(&texts, Arc::clone(to_gateways), Arc::clone(&self.clock))?);
        }
        Ok(FlowContext {
            policy: Arc::new(self.settings.policy(secrets.idempotency_salt.clone())),
            cleeng: Arc::new(cleeng),
            gateways,
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            requeue: Arc::clone(&self.requeue),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(changes: &[(&str, &str)]) -> Vec<String> {
        let good = [
            ("CONNECTOR_PUBLISHER_ID", "558186818"),
            ("PAYMENT_METHODS", "123123123=adyen:authorise_then_capture"),
            ("CLEENG_ENVIRONMENT", "sandbox"),
            ("ADYEN_ENVIRONMENT", "test"),
            ("ADYEN_LIVE_PREFIX", "1797a841fbb37ca7-StreamCo"),
            ("ADYEN_MERCHANT_ACCOUNT", "StreamCoECOM"),
            ("ADYEN_CAPTURE", "manual"),
            ("CONNECTOR_EMBEDDED", "1"),
        ];
        let get = |name: &str| {
            let value = changes.iter().chain(&good).find(|(key, _)| *key == name);
            value.map(|(_, value)| (*value).to_owned())
        };
        let mut reader = SettingsReader::new(&get);
        let upstreams = Settings::read(&mut reader).and_then(|settings| read_upstream_settings(&mut reader, &settings));
        let problems = reader.finish(upstreams).err();
        problems.map(|problems| problems.0.into_iter().map(|problem| problem.setting).collect()).unwrap_or_default()
    }

    #[test]
    fn embedded_mode_refuses_live_environments() {
        assert_eq!(mistakes(&[]), Vec::<String>::new());
        let live = [("CLEENG_ENVIRONMENT", "production"), ("ADYEN_ENVIRONMENT", "live")];
        assert_eq!(mistakes(&live), ["CLEENG_ENVIRONMENT", "ADYEN_ENVIRONMENT"]);
    }

    #[test]
    fn only_the_gateways_in_use_need_their_settings() {
        assert_eq!(mistakes(&[("ADYEN_MERCHANT_ACCOUNT", ""), ("PAYMENT_METHODS", "1=adyen:capture_only")]), ["ADYEN_MERCHANT_ACCOUNT"]);
    }
}
