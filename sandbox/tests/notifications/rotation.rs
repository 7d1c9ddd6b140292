//! The gateways' notification keys are changed while notifications come, and forged ones between them: with the old and the new key side by side,
//! and without. What is refused is told again by every gateway for days, each time as it signs then.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use connector::flow::World;
use connector::gateway::{GatewayName, GatewayText, IdempotencyKey, MerchantInitiated, OperationKind, Reference, StoredToken};
use connector::http::Transport;
use connector::ids::CustomerId;
use connector::lambda::app::{Wired, Wiring};
use connector::lambda::queue::{NotificationEnvelope, Queue, QueueError};
use connector::lambda::secrets::{SecretError, SecretSource, Secrets};
use connector::lambda::wiring::NoWebhooks;
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use connector::settings::Problems;
use sandbox::guests::{PAYPAL_WEBHOOK_ID, STRIPE_WEBHOOK_SECRET, addresses_of, built, secrets, settings_of};
use sandbox::house::Posted;
use sandbox::notices::{Door, deployed_secrets};
use sandbox::peer::InProcess;
use sandbox::stage::{ADYEN_HMAC_KEY, Stage};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3600);
/// How many notifications come at the same time.
const AT_ONCE: usize = 8;

/// The secret of the deployment, and the settings that a deployment changes.
#[derive(Clone)]
struct Vault(Arc<Mutex<Value>>);

#[async_trait]
impl SecretSource for Vault {
    async fn fetch(&self) -> Result<SecretString, SecretError> {
        Ok(SecretString::new(deployed_secrets(self.0.lock().unwrap().clone()).to_string()))
    }
}

/// Makes the adapter anew from whatever the secret says.
struct Anew {
    world: World,
    gateway: GatewayName,
    settings: Vec<(&'static str, String)>,
    vault: Vault,
    transport: Arc<dyn Transport>,
    clock: sandbox::clock::VirtualClock,
}

impl Wiring for Anew {
    fn wire(&self, _secrets: &Secrets) -> Result<Wired, Problems> {
        let told = self.vault.0.lock().unwrap().clone();
        let adapter = built(self.gateway, &self.settings, &told, Arc::clone(&self.transport), &self.clock);
        let gateways = self.world.gateways.clone().with(adapter);
        Ok(Wired { world: World { gateways, ..self.world.clone() }, verify: Arc::new(NoWebhooks) })
    }
}

#[derive(Default)]
struct Lying(Mutex<Vec<String>>);

#[async_trait]
impl Queue for Lying {
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
enum Key {
    Old,
    New,
    Nobodys,
}

impl Key {
    const fn text(self, gateway: GatewayName) -> &'static str {
        match (gateway, self) {
            (GatewayName::Adyen, Self::Old) => ADYEN_HMAC_KEY,
            (GatewayName::Adyen, Self::New) => "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056",
            (GatewayName::Adyen, Self::Nobodys) => "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF",
            (GatewayName::PayPal, Self::Old) => PAYPAL_WEBHOOK_ID,
            (GatewayName::PayPal, Self::New) => "0EH40505U7160970P",
            (GatewayName::PayPal, Self::Nobodys) => "9XX99999X9999999X",
            (GatewayName::Stripe, Self::Old) => STRIPE_WEBHOOK_SECRET,
            (GatewayName::Stripe, Self::New) => "whsec_NextSecret0123456789abcdefghijklm",
            (GatewayName::Stripe, Self::Nobodys) => "whsec_SecretOfNobody0123456789abcdefghi",
        }
    }
}

/// What is posted.
#[derive(Clone)]
struct Letter {
    posted: Posted,
    forged: bool,
}

/// A gateway's notifications at the door, and what became of them.
struct Scene {
    stage: Stage,
    gateway: GatewayName,
    vault: Vault,
    queue: Arc<Lying>,
    /// The payments that the gateway told of.
    good: BTreeSet<String>,
    /// Those that only forged notifications tell of.
    forged: BTreeSet<String>,
    made: u32,
}

impl Scene {
    fn of(gateway: GatewayName) -> Self {
        let stage = Stage::default();
        let (vault, queue) = (Vault(Arc::new(Mutex::new(secrets()))), Arc::new(Lying::default()));
        Self { stage, gateway, vault, queue, good: BTreeSet::new(), forged: BTreeSet::new(), made: 0 }
    }

    /// A function that starts now, with the keys that its deployment was told of. Where the keys are a secret they come from there.
    async fn door(&self, keys: &[Key]) -> Arc<Door> {
        let texts: Vec<&str> = keys.iter().map(|key| key.text(self.gateway)).collect();
        let mut settings = settings_of(self.gateway, None);
        settings.iter_mut().filter(|(name, _)| *name == "PAYPAL_WEBHOOK_ID").for_each(|(_, ids)| *ids = texts.join(","));
        let peers = InProcess::new(self.stage.road.clone());
        let transport = addresses_of(self.gateway)
            .iter()
            .fold(peers, |peers, address| peers.with(address, self.stage.guest(self.gateway).house.clone()));
        let wiring = Anew {
            world: self.stage.world.clone(),
            gateway: self.gateway,
            settings,
            vault: self.vault.clone(),
            transport: Arc::new(transport),
            clock: self.stage.clock.clone(),
        };
        Arc::new(self.stage.notification_door_of(Box::new(self.vault.clone()), Box::new(wiring), self.queue.clone()).await)
    }

    /// An operator puts these keys into the secret, or deploys them; the door that takes notifications from then on.
    async fn rotate(&self, door: Arc<Door>, keys: &[Key]) -> Arc<Door> {
        let texts: Vec<&str> = keys.iter().map(|key| key.text(self.gateway)).collect();
        match self.gateway {
            GatewayName::Adyen => self.vault.0.lock().unwrap()["adyen"]["hmac_keys"] = json!(texts),
            GatewayName::Stripe => self.vault.0.lock().unwrap()["stripe"]["webhook_secrets"] = json!(texts),
            GatewayName::PayPal => return self.door(keys).await,
        }
        door
    }

    fn sign_with(&self, key: Key) {
        let text = key.text(self.gateway);
        match self.gateway {
            GatewayName::Adyen => self.stage.adyen.sign_with(text),
            GatewayName::Stripe => self.stage.stripe.sign_with(&[text]),
            GatewayName::PayPal => self.stage.paypal.tell_as(text),
        }
    }

    /// What the gateway tells of a payment, signed with this key.
    async fn told(&mut self, key: Key) -> (String, Vec<Posted>) {
        self.made += 1;
        let house = &self.stage.guest(self.gateway).house;
        let customer = CustomerId::new(self.made.to_string()).unwrap();
        let own = IdempotencyKey::derive(
            &SecretString::new("rotation"),
            GatewayText(self.gateway.as_str()),
            OperationKind::Authorise,
            "rotation",
            &self.made.to_string(),
        );
        let request = MerchantInitiated {
            reference: Reference::from_key(&own),
            key: own,
            amount: Money::new(999, Currency::new("USD").unwrap()),
            token: StoredToken(SecretString::new(house.store(&format!("shopper-{}", self.made)))),
            customer,
        };
        self.sign_with(key);
        assert!(self.stage.world.gateways.get(self.gateway).unwrap().authorise(&request).await.is_ok());
        self.stage.process();
        let told = house.take_notifications();
        assert!(!told.is_empty());
        (request.reference.as_str().to_owned(), told)
    }

    async fn good(&mut self, key: Key) -> Vec<Letter> {
        let (reference, told) = self.told(key).await;
        self.good.insert(reference);
        told.into_iter().map(|posted| Letter { posted, forged: false }).collect()
    }

    /// One that nobody signed who may: with a key of nobody, or with a good one and then changed.
    async fn forged(&mut self, number: usize) -> Vec<Letter> {
        if number.is_multiple_of(2) {
            let (reference, told) = self.told(Key::Nobodys).await;
            self.forged.insert(reference);
            return told.into_iter().map(|posted| Letter { posted, forged: true }).collect();
        }
        let (reference, told) = self.told(Key::New).await;
        let other = format!("{}{}", &reference[..reference.len() - 4], if reference.ends_with("0000") { "1111" } else { "0000" });
        let change = |posted: &Posted| {
            let body = String::from_utf8(posted.body.to_vec()).unwrap().replace(&reference, &other);
            Letter { posted: Posted { body: body.into(), ..posted.clone() }, forged: true }
        };
        let changed = told.iter().filter(|posted| String::from_utf8_lossy(&posted.body).contains(&reference)).map(change).collect();
        self.forged.insert(other);
        changed
    }

    /// Everything that is posted at the same time, and what of it was refused.
    async fn post(&self, door: &Arc<Door>, all: &[Letter]) -> Vec<Letter> {
        let mut refused = Vec::new();
        for some in all.chunks(AT_ONCE) {
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
    async fn post_again(&self, door: &Arc<Door>, refused: &[Letter]) -> Vec<Letter> {
        self.stage.clock.advance(HOUR);
        let house = &self.stage.guest(self.gateway).house;
        let again = |letter: &Letter| match letter.forged {
            true => letter.clone(),
            false => Letter { posted: house.posted_now(&letter.posted), forged: false },
        };
        self.post(door, &refused.iter().map(again).collect::<Vec<_>>()).await
    }

    /// The payments that the messages on the queue tell of.
    fn queued(&self) -> BTreeSet<String> {
        let read = |text: &String| NotificationEnvelope::from_text(text).ok().unwrap().open().get().reference.clone();
        self.queue.0.lock().unwrap().iter().filter_map(read).map(|reference| reference.as_str().to_owned()).collect()
    }

    fn assert_nothing_lost_and_nothing_forged(&self) {
        let queued = self.queued();
        assert_eq!(queued, self.good, "{}", self.gateway);
        assert!(queued.is_disjoint(&self.forged) && self.forged.len() >= 20, "{}", self.gateway);
    }
}

async fn with_overlap(gateway: GatewayName) {
    let mut scene = Scene::of(gateway);
    let door = scene.door(&[Key::Old]).await;
    let mut before = Vec::new();
    for _ in 0..20 {
        before.extend(scene.good(Key::Old).await);
    }
    assert!(scene.post(&door, &before).await.is_empty(), "{gateway}");
    let door = scene.rotate(door, &[Key::New, Key::Old]).await;
    scene.stage.clock.advance(HOUR);
    // The gateway changes over in the middle, and some of the old ones are still on their way.
    let (mut mixed, mut forged) = (Vec::new(), 0);
    for number in 0..60 {
        let key = if number > 20 && number % 5 != 0 { Key::New } else { Key::Old };
        mixed.extend(scene.good(key).await);
        if number % 3 == 0 {
            let of_nobody = scene.forged(number / 3).await;
            forged += of_nobody.len();
            mixed.extend(of_nobody);
        }
    }
    let refused = scene.post(&door, &mixed).await;
    assert_eq!((refused.len(), refused.iter().all(|letter| letter.forged)), (forged, true), "{gateway}");
    scene.assert_nothing_lost_and_nothing_forged();
    let door = scene.rotate(door, &[Key::New]).await;
    scene.stage.clock.advance(HOUR);
    let mut after = Vec::new();
    for _ in 0..20 {
        after.extend(scene.good(Key::New).await);
    }
    assert!(scene.post(&door, &after).await.is_empty(), "{gateway}");
    scene.assert_nothing_lost_and_nothing_forged();
}

async fn without_overlap(gateway: GatewayName) {
    let mut scene = Scene::of(gateway);
    let door = scene.door(&[Key::Old]).await;
    let (mut mixed, mut forged) = (Vec::new(), 0);
    for number in 0..60 {
        let key = if number < 20 { Key::Old } else { Key::New };
        mixed.extend(scene.good(key).await);
        if number % 3 == 0 {
            let of_nobody = scene.forged(number / 3).await;
            forged += of_nobody.len();
            mixed.extend(of_nobody);
        }
    }
    // The gateway has its new key at once, and the connector has the old one alone.
    let refused = scene.post(&door, &mixed).await;
    assert!(refused.len() > forged && scene.queued().len() >= 20, "{gateway}");
    scene.sign_with(Key::New);
    let refused = scene.post_again(&door, &refused).await;
    assert!(refused.len() > forged, "{gateway}: nothing is believed before the key is there");
    let on_its_way = scene.good(Key::Old).await;
    scene.sign_with(Key::New);
    let door = scene.rotate(door, &[Key::New]).await;
    let mut refused = scene.post_again(&door, &refused).await;
    refused.extend(scene.post(&door, &on_its_way).await);
    assert!(refused.iter().any(|letter| !letter.forged), "{gateway}: the old key is not taken any more");
    // Where a repetition is not signed anew, it is taken as soon as the old key stands behind the new one.
    let door = scene.rotate(door, &[Key::New, Key::Old]).await;
    let refused = scene.post_again(&door, &refused).await;
    assert_eq!((refused.len(), refused.iter().all(|letter| letter.forged)), (forged, true), "{gateway}");
    scene.assert_nothing_lost_and_nothing_forged();
}

#[tokio::test]
async fn a_rotation_with_overlap_takes_every_good_notification_at_once_and_no_forged_one() {
    for gateway in GatewayName::ALL {
        with_overlap(*gateway).await;
    }
}

#[tokio::test]
async fn a_rotation_without_overlap_loses_no_good_notification_and_takes_no_forged_one() {
    for gateway in GatewayName::ALL {
        without_overlap(*gateway).await;
    }
}
