//! All peers as HTTP servers on loopback, and the settings and the secret that lead to them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use clap::Parser;
use connector::clock::{Clock, SystemClock};
use connector::gateway::GatewayName;
use connector::journal::memory::MemoryStore;
use connector::lambda::queue::CapturingQueue;
use connector::secret::SecretString;
use connectorctl::answer::Answer;
use connectorctl::arguments::Arguments;
use connectorctl::surroundings::Surroundings;
use sandbox::guests::{self, methods_of};
use sandbox::local::{Addresses, LocalWorld};
use sandbox::stage;
use serde_json::{Value, json};

use crate::support::{PATH_KEY, WEBHOOK_SECRET, deployed, secret};

/// Where the HTTP API would be.
pub(crate) const URL: &str = "https://abc123.execute-api.eu-west-1.amazonaws.com";

/// The neighbourhood of a deployment.
pub(crate) struct Neighbours {
    pub(crate) world: LocalWorld,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) secret: Value,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Neighbours {
    pub(crate) async fn open() -> Self {
        let world = LocalWorld::open(SystemClock.now(), Addresses::free(Ipv4Addr::LOCALHOST.into())).await.unwrap();
        let mut settings = deployed();
        let methods = GatewayName::ALL.iter().map(|gateway| {
            let (method, capture_only) = methods_of(*gateway);
            format!("{method}={gateway}:authorise_then_capture,{capture_only}={gateway}:capture_only")
        });
        settings.insert("PAYMENT_METHODS".to_owned(), methods.collect::<Vec<_>>().join(","));
        settings.insert("CLEENG_API_URL".to_owned(), format!("{}/3.1", world.cleeng_url()));
        settings.insert("CLEENG_MEDIASTORE_URL".to_owned(), format!("{}/mediastore", world.cleeng_url()));
        for (gateway, url) in world.gateway_urls() {
            settings.extend(guests::settings_of(gateway, Some(&url)).into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
        let mut kept = guests::secrets();
        let own = secret();
        for name in ["idempotency_salt", "webhook_path_keys", "cleeng"] {
            kept[name] = own[name].clone();
        }
        kept["cleeng"]["publisher_token"] = json!([stage::PUBLISHER_TOKEN]);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Self { world, settings, secret: kept, store: Arc::new(MemoryStore::new(Arc::clone(&clock))), clock }
    }

    /// Runs a command.
    pub(crate) async fn run(&self, words: &[&str]) -> Answer {
        let mut surroundings = Surroundings::new(self.settings.clone());
        surroundings.clock = Arc::clone(&self.clock);
        surroundings.store = Some(self.store.clone());
        surroundings.queue = Some(Arc::new(CapturingQueue::default()));
        surroundings.secret = Some(SecretString::new(self.secret.to_string()));
        let arguments = Arguments::try_parse_from([&["connectorctl"], words].concat()).unwrap();
        connectorctl::run(&arguments, &surroundings).await
    }

    /// As it is after the set-up.
    pub(crate) async fn set_up() -> Self {
        let neighbours = Self::open().await;
        assert_eq!(neighbours.run(&["webhooks", "sync", "--url", URL, "--apply"]).await.code, 0);
        neighbours
    }
}

/// Our endpoint of a topic's route, as it should be.
pub(crate) fn endpoint(route: &str) -> Value {
    json!({
        "url": format!("{URL}/webhooks/{PATH_KEY}/{route}"),
        "verification": { "name": "HMAC", "options": { "hashAlg": "SHA256", "sharedSecret": WEBHOOK_SECRET } },
        "retryPolicy": { "enabled": true },
    })
}
