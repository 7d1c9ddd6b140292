//! The gateways' notification keys are changed while notifications come, and forged ones between them: with the old and the new key side by side,
//! and without. What is refused is told again by every gateway for days, each time as it signs then.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use connector::flow::FlowContext;
use connector::gateway::{GatewayName, GatewayText, IdempotencyKey, MerchantInitiated, OperationKind, Reference, StoredToken};
use connector::http::Transport;
use connector::ids::CustomerId;
use connector::lambda::app::{Dependencies, DependencyFactory};
use connector::lambda::dependencies::NoWebhooks;
use connector::lambda::queue::{NotificationEnvelope, Queue, QueueError};
use connector::lambda::secrets::{SecretError, SecretSource, Secrets};
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use connector::settings::Problems;
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

/// Makes the adapter anew from whatever the secret says.
struct RebuildingFactory {
    world: FlowContext,
    gateway: GatewayName,
    settings: Vec<(&'static str, String)>,
    vault: SharedSecret,
    transport: Arc<dyn Transport>,
    clock: sandbox::simulators::virtual_clock::VirtualClock,
}

impl DependencyFactory for RebuildingFactory {
    fn build(&self, _secrets: &Secrets) -> Result<Dependencies, Problems> {
        let told = self.vault.0.lock().unwrap().clone();
        let adapter = build_adapter_with(self.gateway, &self.settings, &told, Arc::clone(&self.transport), &self.clock);
        let gateways = self.world.gateways.clone().with(adapter);
        Ok(Dependencies { flow_context: FlowContext { gateways, ..self.world.clone() }, verifier: Arc::new(NoWebhooks) })
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

/// A gateway's notifications at the door, and what became of them.
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
        let wiring = RebuildingFactory {
            world: self.env.flow_context.clone(),
            gateway: self.gateway,
            settings,
            vault: self.vault.clone(),
            transport: Arc::new(transport),
            clock: self.env.clock.clone(),
        };
        Arc::new(self.env.notification_endpoint_with(Box::new(self.vault.clone()), Box::new(wiring), self.queue.clone()).await)
    }

    /// An operator puts these keys into the secret, or deploys them; the door that takes notifications from then on.
    async fn rotate(&self, door: Arc<NotificationEndpoint>, keys: &[SigningKey]) -> Arc<NotificationEndpoint> {
        let texts: Vec<&str> = keys.iter().map(|key| key.text(self.gateway)).collect();
        match account_of(self.gateway).signing_keys_in {
            SigningKeysIn::Secret(name) => self.vault.0.lock().unwrap()[self.gateway.as_str()][name] = json!(texts),
            SigningKeysIn::Setting(_) => return self.endpoint_with(keys).await,
        }
        door
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
    async fn post(&self, door: &Arc<NotificationEndpoint>, all: &[TestNotification]) -> Vec<TestNotification> {
        let mut refused = Vec::new();
        for some in all.chunks(CONCURRENT_POSTS) {
            let mut posting = tokio::task::JoinSet::new();
            for letter in some.iter().cloned() {
                let (door, route) = (Arc::clone(door), format!("/gateways/{}/notifications", self.gateway));
                posting.spawn(async move {
                    let headers: Value =
                        letter.posted.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default())).collect();
                    (door.post(&route, &headers, &letter.posted.body).await.0, letter)
                });
            }
            while let Some(answered) = posting.join_next().await {
                let (status, letter) = answered.unwrap();
                assert!(matches!(status, 200 | 401), "{status}");
                if status == 401 {
                    refused.push(letter);
                }
            }
        }
        refused
    }

    /// The gateway tells again what was refused, an hour later, signed as it signs then. Whoever forges has nothing new to tell.
    async fn repost(&self, door: &Arc<NotificationEndpoint>, refused: &[TestNotification]) -> Vec<TestNotification> {
        self.env.clock.advance(HOUR);
        let simulator = &self.env.gateway(self.gateway).simulator;
        let again = |letter: &TestNotification| match letter.forged {
            true => letter.clone(),
            false => TestNotification { posted: simulator.sign_for_redelivery(&letter.posted), forged: false },
        };
        self.post(door, &refused.iter().map(again).collect::<Vec<_>>()).await
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
    let door = scene.endpoint_with(&[SigningKey::Old]).await;
    let mut before = Vec::new();
    for _ in 0..20 {
        before.extend(scene.genuine(SigningKey::Old).await);
    }
    assert!(scene.post(&door, &before).await.is_empty(), "{gateway}");
    let door = scene.rotate(door, &[SigningKey::New, SigningKey::Old]).await;
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
    let refused = scene.post(&door, &mixed).await;
    assert_eq!((refused.len(), refused.iter().all(|letter| letter.forged)), (forged, true), "{gateway}");
    scene.assert_nothing_lost_and_nothing_forged();
    let door = scene.rotate(door, &[SigningKey::New]).await;
    scene.env.clock.advance(HOUR);
    let mut after = Vec::new();
    for _ in 0..20 {
        after.extend(scene.genuine(SigningKey::New).await);
    }
    assert!(scene.post(&door, &after).await.is_empty(), "{gateway}");
    scene.assert_nothing_lost_and_nothing_forged();
}

async fn rotate_without_overlap(gateway: GatewayName) {
    let mut scene = RotationScenario::for_gateway(gateway);
    let door = scene.endpoint_with(&[SigningKey::Old]).await;
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
    let refused = scene.post(&door, &mixed).await;
    assert!(refused.len() > forged && scene.queued_references().len() >= 20, "{gateway}");
    scene.sign_with(SigningKey::New);
    let refused = scene.repost(&door, &refused).await;
    assert!(refused.len() > forged, "{gateway}: nothing is believed before the key is there");
    let on_its_way = scene.genuine(SigningKey::Old).await;
    scene.sign_with(SigningKey::New);
    let door = scene.rotate(door, &[SigningKey::New]).await;
    let mut refused = scene.repost(&door, &refused).await;
    refused.extend(scene.post(&door, &on_its_way).await);
    assert!(refused.iter().any(|letter| !letter.forged), "{gateway}: the old key is not taken any more");
    // Where a repetition is not signed anew, it is taken as soon as the old key stands behind the new one.
    let door = scene.rotate(door, &[SigningKey::New, SigningKey::Old]).await;
    let refused = scene.repost(&door, &refused).await;
    assert_eq!((refused.len(), refused.iter().all(|letter| letter.forged)), (forged, true), "{gateway}");
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
