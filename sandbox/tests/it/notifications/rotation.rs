//! The gateways' notification keys are rotated while genuine and forged notifications arrive: with the old and the new key side by side,
//! and without. Every gateway sends rejected notifications again for days, each time signed with its current key.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use connector::flow::FlowContext;
use connector::gateway::{GatewayName, GatewayText, IdempotencyKey, MerchantInitiated, OperationKind, Reference, StoredToken};
use connector::http::Transport;
use connector::ids::CustomerId;
use connector::lambda::queue::{NotificationEnvelope, Queue, QueueError};
use connector::lambda::secrets::{SecretError, SecretSource};
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use sandbox::simulators::network::InProcessTransport;
use sandbox::simulators::simulated_gateway::{NotificationRequest, SigningKeysIn};
use sandbox::testkit::gateway_fixtures::{account_of, base_urls_of, build_adapter_with, gateway_secrets, gateway_settings};
use sandbox::testkit::harness::TestEnvironment;
use sandbox::testkit::notifications::{NotificationEndpoint, deployment_secret};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3600);
/// How many notifications come at the same time.
const CONCURRENT_POSTS: usize = 8;

/// The secret of the deployment, and the settings that a deployment changes.
#[derive(Clone)]
struct SharedSecret(Arc<Mutex<Value>>);

#[async_trait]
impl SecretSource for SharedSecret {
    async fn fetch(&self) -> Result<SecretString, SecretError> {
        Ok(SecretString::new(deployment_secret(self.0.lock().unwrap().clone()).to_string()))
    }
}

#[derive(Default)]
struct RecordingQueue(Mutex<Vec<String>>);

#[async_trait]
impl Queue for RecordingQueue {
    async fn send(&self, message: &str) -> Result<(), QueueError> {
        self.0.lock().unwrap().push(message.to_owned());
        Ok(())
    }

    async fn delay(&self, _receipt_handle: &str, _by: Duration) -> Result<(), QueueError> {
        Ok(())
    }
}

/// A key that the gateway signs with; of PayPal, which signs with its own certificate, the webhook that it signs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SigningKey {
    Old,
    New,
    Unknown,
}

impl SigningKey {
    const fn text(self, gateway: GatewayName) -> &'static str {
        let [old, new, unknown] = account_of(gateway).signing_keys;
        match self {
            Self::Old => old,
            Self::New => new,
            Self::Unknown => unknown,
        }
    }
}

/// What is posted.
#[derive(Clone)]
struct TestNotification {
    posted: NotificationRequest,
    forged: bool,
}

/// A gateway's notifications at the ingress, and their results.
struct RotationScenario {
    env: TestEnvironment,
    gateway: GatewayName,
    vault: SharedSecret,
    queue: Arc<RecordingQueue>,
    /// The payments that the gateway told of.
    genuine: BTreeSet<String>,
    /// Those that only forged notifications tell of.
    forged: BTreeSet<String>,
    payment_count: u32,
}

impl RotationScenario {
    fn for_gateway(gateway: GatewayName) -> Self {
        let env = TestEnvironment::default();
        let (vault, queue) = (SharedSecret(Arc::new(Mutex::new(gateway_secrets()))), Arc::new(RecordingQueue::default()));
        Self { env, gateway, vault, queue, genuine: BTreeSet::new(), forged: BTreeSet::new(), payment_count: 0 }
    }

    /// A function that starts now, with the keys that its deployment was told of. Where the keys are a secret they come from there.
    async fn endpoint_with(&self, keys: &[SigningKey]) -> Arc<NotificationEndpoint> {
        let texts: Vec<&str> = keys.iter().map(|key| key.text(self.gateway)).collect();
        let mut settings = gateway_settings(self.gateway, None);
        if let SigningKeysIn::Setting(setting) = account_of(self.gateway).signing_keys_in {
            settings.iter_mut().filter(|(name, _)| *name == setting).for_each(|(_, ids)| *ids = texts.join(","));
        }
        let peers = InProcessTransport::new(self.env.network.clone());
        let transport = base_urls_of(self.gateway)
            .iter()
            .fold(peers, |peers, address| peers.with_server(address, self.env.gateway(self.gateway).simulator.clone()));
        let transport: Arc<dyn Transport> = Arc::new(transport);
        let (gateway, secret) = (self.gateway, self.vault.clone());
        let (flow_context, clock) = (self.env.flow_context.clone(), self.env.clock.clone());
        // Builds the adapter again from what the secret says then.
        let build = move || {
            let texts = secret.0.lock().unwrap().clone();
            let adapter = build_adapter_with(gateway, &settings, &texts, Arc::clone(&transport), &clock);
            FlowContext { gateways: flow_context.gateways.clone().with(adapter), ..flow_context.clone() }
        };
        Arc::new(self.env.notification_endpoint_with(Box::new(self.vault.clone()), build, self.queue.clone()).await)
    }

    /// An operator puts these keys into the secret, or deploys them; the endpoint from then on.
    async fn rotate(&self, endpoint: Arc<NotificationEndpoint>, keys: &[SigningKey]) -> Arc<NotificationEndpoint> {
        let texts: Vec<&str> = keys.iter().map(|key| key.text(self.gateway)).collect();
        match account_of(self.gateway).signing_keys_in {
            SigningKeysIn::Secret(name) => self.vault.0.lock().unwrap()[self.gateway.as_str()][name] = json!(texts),
            SigningKeysIn::Setting(_) => return self.endpoint_with(keys).await,
        }
        endpoint
    }

    fn sign_with(&self, key: SigningKey) {
        self.env.gateway(self.gateway).simulator.sign_notifications_with(key.text(self.gateway));
    }

    /// What the gateway tells of a payment, signed with this key.
    async fn notifications_signed_with(&mut self, key: SigningKey) -> (String, Vec<NotificationRequest>) {
        self.payment_count += 1;
        let simulator = &self.env.gateway(self.gateway).simulator;
        let customer = CustomerId::new(self.payment_count.to_string()).unwrap();
        let own = IdempotencyKey::derive(
            &SecretString::new("rotation"),
            GatewayText(self.gateway.as_str()),
            OperationKind::Authorise,
            "rotation",
            &self.payment_count.to_string(),
        );
        let request = MerchantInitiated {
            reference: Reference::from_key(&own),
            key: own,
            amount: Money::new(999, Currency::new("USD").unwrap()),
            token: StoredToken(SecretString::new(simulator.add_stored_details(&format!("shopper-{}", self.payment_count)))),
            customer,
        };
        self.sign_with(key);
        assert!(self.env.flow_context.gateways.get(self.gateway).unwrap().authorise(&request).await.is_ok());
        self.env.process_gateways();
        let told = simulator.take_notifications();
        assert!(!told.is_empty());
        (request.reference.as_str().to_owned(), told)
    }

    async fn genuine(&mut self, key: SigningKey) -> Vec<TestNotification> {
        let (reference, told) = self.notifications_signed_with(key).await;
        self.genuine.insert(reference);
        told.into_iter().map(|posted| TestNotification { posted, forged: false }).collect()
    }

    /// One that nobody signed who may: with a key of nobody, or with a good one and then changed.
    async fn forged(&mut self, number: usize) -> Vec<TestNotification> {
        if number.is_multiple_of(2) {
            let (reference, told) = self.notifications_signed_with(SigningKey::Unknown).await;
            self.forged.insert(reference);
            return told.into_iter().map(|posted| TestNotification { posted, forged: true }).collect();
        }
        let (reference, told) = self.notifications_signed_with(SigningKey::New).await;
        let other = format!("{}{}", &reference[..reference.len() - 4], if reference.ends_with("0000") { "1111" } else { "0000" });
        let change = |posted: &NotificationRequest| {
            let body = String::from_utf8(posted.body.to_vec()).unwrap().replace(&reference, &other);
            TestNotification { posted: NotificationRequest { body: body.into(), ..posted.clone() }, forged: true }
        };
        let changed = told.iter().filter(|posted| String::from_utf8_lossy(&posted.body).contains(&reference)).map(change).collect();
        self.forged.insert(other);
        changed
    }

    /// Everything that is posted at the same time, and what of it was refused.
    async fn post(&self, endpoint: &Arc<NotificationEndpoint>, all: &[TestNotification]) -> Vec<TestNotification> {
        let mut refused = Vec::new();
        for some in all.chunks(CONCURRENT_POSTS) {
            let mut posting = tokio::task::JoinSet::new();
            for notification in some.iter().cloned() {
                let (endpoint, route) = (Arc::clone(endpoint), format!("/gateways/{}/notifications", self.gateway));
                posting.spawn(async move {
                    let headers: Value = notification
                        .posted
                        .headers
                        .iter()
                        .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()))
                        .collect();
                    (endpoint.post(&route, &headers, &notification.posted.body).await.0, notification)
                });
            }
            while let Some(answered) = posting.join_next().await {
                let (status, notification) = answered.unwrap();
                assert!(matches!(status, 200 | 401), "{status}");
                if status == 401 {
                    refused.push(notification);
                }
            }
        }
        refused
    }

    /// The gateway sends rejected notifications again an hour later, signed with its current key. Forgeries are not repeated.
    async fn repost(&self, endpoint: &Arc<NotificationEndpoint>, refused: &[TestNotification]) -> Vec<TestNotification> {
        self.env.clock.advance(HOUR);
        let simulator = &self.env.gateway(self.gateway).simulator;
        let again = |notification: &TestNotification| match notification.forged {
            true => notification.clone(),
            false => TestNotification { posted: simulator.sign_for_redelivery(&notification.posted), forged: false },
        };
        self.post(endpoint, &refused.iter().map(again).collect::<Vec<_>>()).await
    }

    /// The payments that the messages on the queue tell of.
    fn queued_references(&self) -> BTreeSet<String> {
        let read = |text: &String| NotificationEnvelope::from_text(text).ok().unwrap().open().get().reference.clone();
        self.queue.0.lock().unwrap().iter().filter_map(read).map(|reference| reference.as_str().to_owned()).collect()
    }

    fn assert_nothing_lost_and_nothing_forged(&self) {
        let queued = self.queued_references();
        assert_eq!(queued, self.genuine, "{}", self.gateway);
        assert!(queued.is_disjoint(&self.forged) && self.forged.len() >= 20, "{}", self.gateway);
    }
}

async fn rotate_with_overlap(gateway: GatewayName) {
    let mut scene = RotationScenario::for_gateway(gateway);
    let endpoint = scene.endpoint_with(&[SigningKey::Old]).await;
    let mut before = Vec::new();
    for _ in 0..20 {
        before.extend(scene.genuine(SigningKey::Old).await);
    }
    assert!(scene.post(&endpoint, &before).await.is_empty(), "{gateway}");
    let endpoint = scene.rotate(endpoint, &[SigningKey::New, SigningKey::Old]).await;
    scene.env.clock.advance(HOUR);
    // The gateway changes over in the middle, and some of the old ones are still on their way.
    let (mut mixed, mut forged) = (Vec::new(), 0);
    for number in 0..60 {
        let key = if number > 20 && number % 5 != 0 { SigningKey::New } else { SigningKey::Old };
        mixed.extend(scene.genuine(key).await);
        if number % 3 == 0 {
            let of_nobody = scene.forged(number / 3).await;
            forged += of_nobody.len();
            mixed.extend(of_nobody);
        }
    }
    let refused = scene.post(&endpoint, &mixed).await;
    assert_eq!((refused.len(), refused.iter().all(|notification| notification.forged)), (forged, true), "{gateway}");
    scene.assert_nothing_lost_and_nothing_forged();
    let endpoint = scene.rotate(endpoint, &[SigningKey::New]).await;
    scene.env.clock.advance(HOUR);
    let mut after = Vec::new();
    for _ in 0..20 {
        after.extend(scene.genuine(SigningKey::New).await);
    }
    assert!(scene.post(&endpoint, &after).await.is_empty(), "{gateway}");
    scene.assert_nothing_lost_and_nothing_forged();
}

async fn rotate_without_overlap(gateway: GatewayName) {
    let mut scene = RotationScenario::for_gateway(gateway);
    let endpoint = scene.endpoint_with(&[SigningKey::Old]).await;
    let (mut mixed, mut forged) = (Vec::new(), 0);
    for number in 0..60 {
        let key = if number < 20 { SigningKey::Old } else { SigningKey::New };
        mixed.extend(scene.genuine(key).await);
        if number % 3 == 0 {
            let of_nobody = scene.forged(number / 3).await;
            forged += of_nobody.len();
            mixed.extend(of_nobody);
        }
    }
    // The gateway has its new key at once, and the connector has the old one alone.
    let refused = scene.post(&endpoint, &mixed).await;
    assert!(refused.len() > forged && scene.queued_references().len() >= 20, "{gateway}");
    scene.sign_with(SigningKey::New);
    let refused = scene.repost(&endpoint, &refused).await;
    assert!(refused.len() > forged, "{gateway}: nothing is believed before the key is there");
    let on_its_way = scene.genuine(SigningKey::Old).await;
    scene.sign_with(SigningKey::New);
    let endpoint = scene.rotate(endpoint, &[SigningKey::New]).await;
    let mut refused = scene.repost(&endpoint, &refused).await;
    refused.extend(scene.post(&endpoint, &on_its_way).await);
    assert!(refused.iter().any(|notification| !notification.forged), "{gateway}: the old key is not taken any more");
    // A repetition that is not signed again is accepted once the old key is listed behind the new one.
    let endpoint = scene.rotate(endpoint, &[SigningKey::New, SigningKey::Old]).await;
    let refused = scene.repost(&endpoint, &refused).await;
    assert_eq!((refused.len(), refused.iter().all(|notification| notification.forged)), (forged, true), "{gateway}");
    scene.assert_nothing_lost_and_nothing_forged();
}

#[tokio::test]
async fn a_rotation_with_overlap_accepts_every_genuine_notification_at_once_and_no_forged_one() {
    for gateway in GatewayName::ALL {
        rotate_with_overlap(*gateway).await;
    }
}

#[tokio::test]
async fn a_rotation_without_overlap_loses_no_genuine_notification_and_accepts_no_forged_one() {
    for gateway in GatewayName::ALL {
        rotate_without_overlap(*gateway).await;
    }
}
