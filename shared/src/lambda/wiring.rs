//! What a deployed function is made of: the peers' clients, built from settings and secrets.
//!
//! Each peer's own settings, client and verifier live in its own module; the four plain functions marked *Seam* are the only place that
//! names them.

use std::sync::Arc;

use super::app::{Wired, Wiring};
use super::http_door::Verify;
use super::secrets::Secrets;
use super::settings::Settings;
use crate::cleeng::Cleeng;
use crate::cleeng::webhook::Topic;
use crate::clock::Clock;
use crate::flow::World;
use crate::gateway::Gateways;
use crate::http::Transport;
use crate::ids::PublisherId;
use crate::journal::store::Store;
use crate::metrics::Metrics;
use crate::settings::{Problem, Problems, Reader};

/// The settings of all peers.
pub struct PeerSettings;

/// Seam: reads the settings of Cleeng, of its signature and of each gateway in use from the same reader.
pub fn read_peer_settings(_reader: &mut Reader<'_>, _settings: &Settings) -> Option<PeerSettings> {
    Some(PeerSettings)
}

/// Seam: Cleeng's client.
fn cleeng(_peers: &PeerSettings, _secrets: &Secrets, _transport: &Arc<dyn Transport>) -> Result<Arc<dyn Cleeng>, Problems> {
    Err(missing("Cleeng's client"))
}

/// Seam: the gateways in use.
fn gateways(_peers: &PeerSettings, _secrets: &Secrets, _transport: &Arc<dyn Transport>) -> Result<Gateways, Problems> {
    Err(missing("the gateways"))
}

/// Seam: the verifier of Cleeng's signatures, for this publisher and topic. It must refuse everything if there is no webhook secret, unless
/// unsigned webhooks are allowed. A closure over the signature's own verifier will do.
fn verifier(_peers: &PeerSettings, _secrets: &Secrets, _publisher: &PublisherId, _topic: Topic) -> Result<Arc<dyn Verify>, Problems> {
    Err(missing("the signature's verifier"))
}

fn missing(what: &str) -> Problems {
    Problems(vec![Problem { setting: what.to_owned(), problem: "is not built in".to_owned(), fix: "use a complete build".to_owned() }])
}

/// The wiring of a deployed function. Journal, connections and time outlive a change of secrets.
pub struct Standard {
    /// The settings that belong to no peer.
    pub settings: Settings,
    /// The peers' settings.
    pub peers: PeerSettings,
    /// The topic whose webhooks are taken.
    pub topic: Topic,
    /// The way out to all peers.
    pub transport: Arc<dyn Transport>,
    /// The journal's database.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The metrics.
    pub metrics: Metrics,
}

impl Wiring for Standard {
    fn wire(&self, secrets: &Secrets) -> Result<Wired, Problems> {
        let world = World {
            rules: Arc::new(self.settings.rules(secrets.idempotency_salt.clone())),
            cleeng: cleeng(&self.peers, secrets, &self.transport)?,
            gateways: gateways(&self.peers, secrets, &self.transport)?,
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
        };
        Ok(Wired { world, verify: verifier(&self.peers, secrets, &self.settings.publisher, self.topic)? })
    }
}
