//! What a deployed function is made of: the peers' clients, built from settings and secrets.
//!
//! Each peer's own settings, client and verifier live in its own module; this is the only place that names them all.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::app::{Wired, Wiring};
use super::http_door::{Refused, Verify};
use super::secrets::Secrets;
use super::settings::{Mode, Settings};
use crate::cleeng::client::{CleengSettings, CoreApi, Environment};
use crate::cleeng::signature::{SignatureSettings, Verifier};
use crate::cleeng::webhook::{Topic, Verified, Webhook};
use crate::clock::Clock;
use crate::flow::{Requeue, World};
use crate::gateway::{Blueprint, GatewayName, Gateways};
use crate::http::Transport;
use crate::ids::PublisherId;
use crate::journal::store::Store;
use crate::metrics::Metrics;
use crate::settings::{Problems, Reader};

/// The settings of all peers.
pub struct PeerSettings {
    pub(super) cleeng: CleengSettings,
    pub(super) signature: SignatureSettings,
    pub(super) gateways: Vec<Box<dyn Blueprint>>,
}

/// Reads the settings of Cleeng, of its signature and of each gateway in use from the same reader.
pub fn read_peer_settings(reader: &mut Reader<'_>, settings: &Settings) -> Option<PeerSettings> {
    let cleeng = CleengSettings::read(reader);
    let signature = SignatureSettings::read(reader, cleeng.as_ref().map(|cleeng| cleeng.environment));
    let gateways: Vec<_> = GatewayName::ALL.iter().filter(|gateway| settings.uses(**gateway)).map(|gateway| gateway.read(reader)).collect();
    let peers = PeerSettings { cleeng: cleeng?, signature, gateways: gateways.into_iter().collect::<Option<_>>()? };
    if settings.mode == Mode::Embedded {
        refuse_live(reader, &peers);
    }
    Some(peers)
}

/// Embedded mode forgets its journal when it ends: nothing that moves real money may be behind it.
fn refuse_live(reader: &mut Reader<'_>, peers: &PeerSettings) {
    let fix = "use the test environment, or set CONNECTOR_EMBEDDED=0";
    if peers.cleeng.environment == Environment::Production {
        reader.problem("CLEENG_ENVIRONMENT", "is production, and embedded mode forgets its journal", fix);
    }
    for gateway in peers.gateways.iter().filter(|gateway| gateway.is_live()) {
        let setting = format!("{}_ENVIRONMENT", gateway.name().as_str().to_ascii_uppercase());
        reader.problem(&setting, "is live, and embedded mode forgets its journal", fix);
    }
}

/// Checks webhooks for one publisher and one topic.
struct ForUs {
    verifier: Verifier,
    publisher: PublisherId,
    /// Nothing for the function that takes what lies in quarantine, of whichever topic.
    topic: Option<Topic>,
}

impl Verify for ForUs {
    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<Verified<Webhook>, Refused> {
        // Without a topic of its own the function takes the event's word for it, which the signature then covers.
        let told = || Webhook::parse(body).map_or(Topic::RefundPayment, |webhook| webhook.topic);
        self.verifier.verify(headers, body, &self.publisher, self.topic.unwrap_or_else(told)).map_err(|refusal| Refused {
            status: StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST),
            code: refusal.code(),
            message: refusal.to_string(),
        })
    }

    fn signature(&self, headers: &HeaderMap) -> Option<(String, String)> {
        self.verifier.signature(headers)
    }
}

/// A function that takes no webhooks of Cleeng.
pub struct NoWebhooks;

impl Verify for NoWebhooks {
    fn verify(&self, _headers: &HeaderMap, _body: &[u8]) -> Result<Verified<Webhook>, Refused> {
        let message = "this function takes no webhooks of Cleeng".to_owned();
        Err(Refused { status: StatusCode::NOT_FOUND, code: "not_found", message })
    }

    fn signature(&self, _headers: &HeaderMap) -> Option<(String, String)> {
        None
    }
}

/// Which webhooks of Cleeng a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Webhooks {
    /// Those of one topic.
    Of(Topic),
    /// Those of all topics, from quarantine.
    Any,
    /// None.
    None,
}

/// The wiring of a deployed function with a queue. Journal, connections and time outlive a change of secrets.
pub struct Standard {
    /// Which webhooks of Cleeng the function takes.
    pub webhooks: Webhooks,
    /// What every function has.
    pub base: Base,
}

/// What every deployed function is wired from.
pub struct Base {
    /// The settings that belong to no peer.
    pub settings: Settings,
    /// The peers' settings.
    pub peers: PeerSettings,
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

impl Base {
    /// What flows are given. Gateways go by their own way out.
    pub(super) fn world(&self, secrets: &Secrets, to_gateways: &Arc<dyn Transport>) -> Result<World, Problems> {
        let transport = || Arc::clone(to_gateways);
        let cleeng = CoreApi::new(self.peers.cleeng.clone(), secrets.cleeng.publisher_tokens.clone(), Arc::clone(&self.transport))?;
        let mut gateways = Gateways::default();
        for blueprint in &self.peers.gateways {
            let texts = secrets.gateways.get(&blueprint.name()).cloned().unwrap_or_default();
            gateways = gateways.with(blueprint.build(&texts, transport(), Arc::clone(&self.clock))?);
        }
        Ok(World {
            rules: Arc::new(self.settings.rules(secrets.idempotency_salt.clone())),
            cleeng: Arc::new(cleeng),
            gateways,
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            requeue: Arc::clone(&self.requeue),
        })
    }
}

impl Wiring for Standard {
    fn wire(&self, secrets: &Secrets) -> Result<Wired, Problems> {
        let world = self.base.world(secrets, &self.base.transport)?;
        let verifier = || Verifier::new(self.base.peers.signature.clone(), &secrets.cleeng.webhook_secrets);
        let publisher = self.base.settings.publisher.clone();
        let verify: Arc<dyn Verify> = match self.webhooks {
            Webhooks::Of(topic) => Arc::new(ForUs { verifier: verifier()?, publisher, topic: Some(topic) }),
            Webhooks::Any => Arc::new(ForUs { verifier: verifier()?, publisher, topic: None }),
            Webhooks::None => Arc::new(NoWebhooks),
        };
        Ok(Wired { world, verify })
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
        let mut reader = Reader::new(&get);
        let peers = Settings::read(&mut reader).and_then(|settings| read_peer_settings(&mut reader, &settings));
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
