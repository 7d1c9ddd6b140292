//! What a deployed function is made of: the peers' clients, built from settings and secrets.
//!
//! Each peer's own settings, client and verifier live in its own module; this is the only place that names them all.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::app::{Dependencies, DependencyFactory};
use super::secrets::Secrets;
use super::settings::{Mode, Settings};
use super::webhook_handler::{Rejection, Verify};
use crate::cleeng::client::{CleengEnvironment, CleengSettings, CoreApi};
use crate::cleeng::signature::{SignatureSettings, WebhookVerifier};
use crate::cleeng::webhook::{Topic, Verified, Webhook};
use crate::clock::Clock;
use crate::flow::{FlowContext, Requeue};
use crate::gateway::{GatewayConfig, GatewayName, Gateways};
use crate::http::Transport;
use crate::ids::PublisherId;
use crate::journal::store::Store;
use crate::metrics::Metrics;
use crate::settings::{Problems, SettingsReader};

/// The settings of all peers.
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
    let peers = UpstreamSettings { cleeng: cleeng?, signature, gateways: gateways.into_iter().collect::<Option<_>>()? };
    if settings.mode == Mode::Embedded {
        refuse_live(reader, &peers);
    }
    Some(peers)
}

/// Embedded mode forgets its journal when it ends: nothing that moves real money may be behind it.
fn refuse_live(reader: &mut SettingsReader<'_>, peers: &UpstreamSettings) {
    let fix = "use the test environment, or set CONNECTOR_EMBEDDED=0";
    if peers.cleeng.environment == CleengEnvironment::Production {
        reader.problem("CLEENG_ENVIRONMENT", "is production, and embedded mode forgets its journal", fix);
    }
    for gateway in peers.gateways.iter().filter(|gateway| gateway.is_live()) {
        let setting = format!("{}_ENVIRONMENT", gateway.name().as_str().to_ascii_uppercase());
        reader.problem(&setting, "is live, and embedded mode forgets its journal", fix);
    }
}

/// Checks webhooks for one publisher and one topic.
struct TopicVerifier {
    verifier: WebhookVerifier,
    publisher: PublisherId,
    /// Nothing for the function that takes what lies in quarantine, of whichever topic.
    topic: Option<Topic>,
}

impl Verify for TopicVerifier {
    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<Verified<Webhook>, Rejection> {
        // Without a topic of its own the function takes the event's word for it, which the signature then covers.
        let claimed_topic = || Webhook::parse(body).map_or(Topic::RefundPayment, |webhook| webhook.topic);
        self.verifier.verify(headers, body, &self.publisher, self.topic.unwrap_or_else(claimed_topic)).map_err(|refusal| Rejection {
            status: StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST),
            code: refusal.code(),
            message: refusal.to_string(),
        })
    }

    fn signature_header(&self, headers: &HeaderMap) -> Option<(String, String)> {
        self.verifier.signature_header(headers)
    }
}

/// A function that takes no webhooks of Cleeng.
pub struct NoWebhooks;

impl Verify for NoWebhooks {
    fn verify(&self, _headers: &HeaderMap, _body: &[u8]) -> Result<Verified<Webhook>, Rejection> {
        let message = "this function takes no webhooks of Cleeng".to_owned();
        Err(Rejection { status: StatusCode::NOT_FOUND, code: "not_found", message })
    }

    fn signature_header(&self, _headers: &HeaderMap) -> Option<(String, String)> {
        None
    }
}

/// Which webhooks of Cleeng a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptedTopics {
    /// Those of one topic.
    One(Topic),
    /// Those of all topics, from quarantine.
    All,
    /// None.
    None,
}

/// The wiring of a deployed function with a queue. Journal, connections and time outlive a change of secrets.
pub struct DeployedFactory {
    /// Which webhooks of Cleeng the function takes.
    pub accepted_topics: AcceptedTopics,
    /// What every function has.
    pub deps: SharedDeps,
}

/// What every deployed function is wired from.
pub struct SharedDeps {
    /// The settings that belong to no peer.
    pub settings: Settings,
    /// The peers' settings.
    pub upstreams: UpstreamSettings,
    /// The way out to all peers.
    pub transport: Arc<dyn Transport>,
    /// The journal's database.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The metrics.
    pub metrics: Metrics,
    /// The way back to the queues of waiting events.
    pub requeue: Arc<dyn Requeue>,
}

impl SharedDeps {
    /// What flows are given. Gateways go by their own way out.
    pub(super) fn flow_context(&self, secrets: &Secrets, to_gateways: &Arc<dyn Transport>) -> Result<FlowContext, Problems> {
        let transport = || Arc::clone(to_gateways);
        let cleeng = CoreApi::new(self.upstreams.cleeng.clone(), secrets.cleeng.publisher_tokens.clone(), Arc::clone(&self.transport))?;
        let mut gateways = Gateways::default();
        for blueprint in &self.upstreams.gateways {
            let texts = secrets.gateways.get(&blueprint.name()).cloned().unwrap_or_default();
            gateways = gateways.with(blueprint.build(&texts, transport(), Arc::clone(&self.clock))?);
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

impl DependencyFactory for DeployedFactory {
    fn build(&self, secrets: &Secrets) -> Result<Dependencies, Problems> {
        let flow_context = self.deps.flow_context(secrets, &self.deps.transport)?;
        let verifier = || WebhookVerifier::new(self.deps.upstreams.signature.clone(), &secrets.cleeng.webhook_secrets);
        let publisher = self.deps.settings.publisher.clone();
        let verify: Arc<dyn Verify> = match self.accepted_topics {
            AcceptedTopics::One(topic) => Arc::new(TopicVerifier { verifier: verifier()?, publisher, topic: Some(topic) }),
            AcceptedTopics::All => Arc::new(TopicVerifier { verifier: verifier()?, publisher, topic: None }),
            AcceptedTopics::None => Arc::new(NoWebhooks),
        };
        Ok(Dependencies { flow_context, verifier: verify })
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
        let peers = Settings::read(&mut reader).and_then(|settings| read_upstream_settings(&mut reader, &settings));
        let problems = reader.finish(peers).err();
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
