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
use connectorctl::arguments::Arguments;
use connectorctl::command_env::CommandEnv;
use connectorctl::output::CommandOutput;
use sandbox::local::{Addresses, LocalWorld};
use sandbox::testkit::fixtures;
use sandbox::testkit::gateway_fixtures::{self, payment_methods_of};
use serde_json::{Value, json};

use crate::support::{PATH_KEY, WEBHOOK_SECRET, deployed, secret};

/// Where the HTTP API would be.
pub(crate) const URL: &str = "https://abc123.execute-api.eu-west-1.amazonaws.com";

/// The neighbourhood of a deployment.
pub(crate) struct TestDeployment {
    pub(crate) world: LocalWorld,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) secret: Value,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl TestDeployment {
    pub(crate) async fn open() -> Self {
        let world = LocalWorld::open(SystemClock.now(), Addresses::ephemeral(Ipv4Addr::LOCALHOST.into())).await.unwrap();
        let mut settings = deployed();
        let methods = GatewayName::ALL.iter().map(|gateway| {
            let (method, capture_only) = payment_methods_of(*gateway);
            format!("{method}={gateway}:authorise_then_capture,{capture_only}={gateway}:capture_only")
        });
        settings.insert("PAYMENT_METHODS".to_owned(), methods.collect::<Vec<_>>().join(","));
        settings.insert("CLEENG_API_URL".to_owned(), format!("{}/3.1", world.cleeng_url()));
        settings.insert("CLEENG_MEDIASTORE_URL".to_owned(), format!("{}/mediastore", world.cleeng_url()));
        settings.insert("CONNECTOR_PUBLIC_URL".to_owned(), world.connector_url());
        for (gateway, url) in world.gateway_urls() {
            settings
                .extend(gateway_fixtures::gateway_settings(gateway, Some(&url)).into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
        let mut kept = gateway_fixtures::gateway_secrets();
        let own = secret();
        for name in ["idempotency_salt", "webhook_path_keys", "cleeng"] {
            kept[name] = own[name].clone();
        }
        kept["cleeng"]["publisher_token"] = json!([fixtures::PUBLISHER_TOKEN]);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Self { world, settings, secret: kept, store: Arc::new(MemoryStore::new(Arc::clone(&clock))), clock }
    }

    /// Runs a command.
    pub(crate) async fn run(&self, words: &[&str]) -> CommandOutput {
        let mut env = CommandEnv::new(self.settings.clone());
        env.clock = Arc::clone(&self.clock);
        env.store = Some(self.store.clone());
        env.queue = Some(Arc::new(CapturingQueue::default()));
        env.secret = Some(SecretString::new(self.secret.to_string()));
        let arguments = Arguments::try_parse_from([&["connectorctl"], words].concat()).unwrap();
        connectorctl::run(&arguments, &env).await
    }

    /// As it is after the set-up.
    pub(crate) async fn set_up() -> Self {
        let deployment = Self::open().await;
        assert_eq!(deployment.run(&["webhooks", "sync", "--url", URL, "--apply"]).await.exit_code, 0);
        deployment
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
