//! Everything put together without sockets: simulators, journal in memory, virtual time, the real clients, adapters and flows. What tests
//! play on.

mod props;
mod recorder;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use connector::cleeng::mediastore::{MediaStoreApi, MediaStoreSettings};
use connector::cleeng::signature::Verifier;
use connector::cleeng::webhook::{Topic, Verified, Webhook};
use connector::clock::{Clock, Timestamp};
use connector::flow::{Delivery, Rules, Verdict, World};
use connector::front::{Desk, FrontEnd, NoCaptcha, Origins, Patience, Reply};
use connector::gateway::{Gateway, GatewayName, Gateways};
use connector::http::{HeaderMap, HeaderValue, Transport};
use connector::journal::memory::MemoryStore;
use connector::journal::store::Store;
use connector::lambda::app::Invocation;
use connector::lambda::event::HttpRequest;
use connector::lambda::front_door::answer;
use connector::metrics::{MetricSink, Metrics};
use initial_purchase::InitialPurchase;
use payment_details::PaymentDetails;
use serde_json::Value;

pub(crate) use self::props::known;
pub use self::props::{
    ADYEN_API_KEY, ADYEN_HMAC_KEY, CAPTURE_ONLY_METHOD, FRONT_TIME, FUNCTION_TIME, MERCHANT_ACCOUNT, METHOD, OFFER, ORIGIN, OWN_ADDRESS,
    PASS, PUBLISHER, PUBLISHER_TOKEN, SAMPLE_OFFER, START, WEBHOOK_SECRET, adyen_config, adyen_settings, flow, furnish, id, publisher,
    rules,
};
use self::props::{CLEENG_URL, MEDIASTORE_URL, core_api, stored_part, verifier};
pub use self::recorder::Recorder;
use crate::adyen::Adyen as AdyenSimulator;
use crate::cleeng::{CleengSimulator, SentWebhook, Subscriber};
use crate::clock::VirtualClock;
use crate::crash::{CrashSwitch, MortalRequeue, MortalStore, MortalTransport};
pub use crate::guests::Guest;
use crate::guests::{self, Houses};
use crate::mail::Mail;
use crate::paypal::PayPal as PayPalSimulator;
use crate::peer::{InProcess, Road};
use crate::stripe::Stripe as StripeSimulator;

/// What stands between the functions and everything outside: whoever plays tricks on them changes it. Nothing is changed by default.
pub trait Backstage {
    /// The way to Cleeng and the gateways.
    fn transport(&self, way: Arc<dyn Transport>) -> Arc<dyn Transport> {
        way
    }

    /// The journal.
    fn store(&self, journal: Arc<dyn Store>) -> Arc<dyn Store> {
        journal
    }

    /// The adapter of a gateway.
    fn gateway(&self, adapter: Arc<dyn Gateway>) -> Arc<dyn Gateway> {
        adapter
    }

    /// Where metrics go.
    fn metrics(&self, sink: Arc<dyn MetricSink>) -> Arc<dyn MetricSink> {
        sink
    }
}

/// Nothing is changed.
struct Plain;

impl Backstage for Plain {}

/// The whole world of one test.
pub struct Stage {
    /// The time.
    pub clock: VirtualClock,
    /// Cleeng.
    pub cleeng: CleengSimulator,
    /// Adyen.
    pub adyen: Arc<AdyenSimulator>,
    /// PayPal.
    pub paypal: Arc<PayPalSimulator>,
    /// Stripe.
    pub stripe: Arc<StripeSimulator>,
    /// All gateways, Adyen first.
    pub guests: Vec<Guest>,
    /// The way to Cleeng and all of them, where faults are laid and calls are listed.
    pub road: Road,
    /// Where workers die.
    pub switch: CrashSwitch,
    /// The journal.
    pub store: Arc<MortalStore>,
    /// Where waiting events are brought back to.
    pub requeue: Arc<MortalRequeue>,
    /// The metrics.
    pub metrics: Arc<Recorder>,
    /// What flows are given.
    pub world: World,
    /// What front-end functions are given.
    pub desk: Desk,
    /// Checks webhooks as the HTTP door does.
    pub verifier: Arc<Verifier>,
    /// How many deliveries there were.
    pub deliveries: Mutex<u64>,
    /// The queues.
    pub mail: Mail,
}

/// A subscriber, with the details at the gateway.
#[derive(Clone)]
pub struct Cast {
    /// In Cleeng.
    pub subscriber: Subscriber,
    /// The stored details as the adapter writes them.
    pub token: String,
    /// At Adyen: `storedPaymentMethodId`.
    pub stored: String,
    /// When the paid period ends.
    pub due: Timestamp,
}

impl Default for Stage {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl Stage {
    /// Sets the stage; `change` changes the rules.
    ///
    /// # Panics
    /// If the sandbox's own settings are wrong.
    #[must_use]
    pub fn new(change: impl FnOnce(&mut Rules)) -> Self {
        Self::behind(&Plain, VirtualClock::starting_at(START), change)
    }

    /// The same with something between the functions and everything outside, on a clock of the caller's.
    ///
    /// # Panics
    /// If the sandbox's own settings are wrong.
    #[must_use]
    pub fn behind(backstage: &dyn Backstage, clock: VirtualClock, change: impl FnOnce(&mut Rules)) -> Self {
        let cleeng = CleengSimulator::new(publisher(), clock.clone());
        let houses = Houses::open(&clock);
        furnish(&cleeng);
        let (road, switch) = (Road::default(), CrashSwitch::default());
        let mut peers = InProcess::new(road.clone()).with("http://cleeng.test", Arc::new(cleeng.clone()));
        for (gateway, peer) in houses.peers() {
            for address in guests::addresses_of(gateway) {
                peers = peers.with(address, Arc::clone(&peer));
            }
        }
        let transport = backstage.transport(Arc::new(MortalTransport::new(Arc::new(peers), switch.clone())));
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(clock.clone())));
        let store = Arc::new(MortalStore::new(memory, switch.clone()));
        let requeue = Arc::new(MortalRequeue::new(switch.clone()));
        let metrics = Arc::new(Recorder::default());
        let mut rules = rules();
        change(&mut rules);
        let world = World {
            rules: Arc::new(rules),
            cleeng: Arc::new(core_api(CLEENG_URL, Arc::clone(&transport))),
            gateways: GatewayName::ALL
                .iter()
                .map(|name| backstage.gateway(guests::adapter(*name, Arc::clone(&transport), &clock)))
                .fold(Gateways::default(), Gateways::with),
            store: backstage.store(store.clone()),
            clock: Arc::new(clock.clone()),
            metrics: Metrics::new(backstage.metrics(metrics.clone())),
            requeue: requeue.clone(),
        };
        let verifier = Arc::new(verifier());
        let mediastore = MediaStoreSettings { url: MEDIASTORE_URL.to_owned() };
        let desk = Desk {
            world: world.clone(),
            mediastore: Arc::new(MediaStoreApi::new(mediastore, transport)),
            origins: Arc::new(known(Origins::parse(ORIGIN, false))),
            public_url: None,
            patience: Arc::new(Turns),
            captcha: Arc::new(NoCaptcha),
        };
        let (guests, Houses { adyen, paypal, stripe }) = (houses.guests(), houses);
        Self {
            clock,
            cleeng,
            adyen,
            paypal,
            stripe,
            guests,
            road,
            switch,
            store,
            requeue,
            metrics,
            world,
            desk,
            verifier,
            deliveries: Mutex::new(0),
            mail: Mail::default(),
        }
    }

    /// A subscriber with stored details, whose paid period ends in a week.
    ///
    /// # Panics
    /// If the sandbox's own offer is unknown.
    #[must_use]
    pub fn subscriber(&self, method: &str) -> Cast {
        let due = self.clock.now().after(Duration::from_secs(7 * 86_400));
        let house = &self.guest_of(method).house;
        // The gateway knows the customer by a name from before, which the token carries.
        let token = house.store(&format!("shopper-{}", house.ledger().len()));
        let subscriber = known(self.cleeng.new_subscriber(&id(OFFER), &id(method), &token, due));
        Cast { subscriber, stored: stored_part(&token), token, due }
    }

    /// The gateway of this name.
    ///
    /// # Panics
    /// If it is not on the stage.
    #[must_use]
    pub fn guest(&self, gateway: GatewayName) -> &Guest {
        known(self.guests.iter().find(|guest| guest.house.gateway() == gateway))
    }

    /// The gateway of this payment method; Adyen for a method of another connector.
    ///
    /// # Panics
    /// If there is no gateway on the stage.
    #[must_use]
    pub fn guest_of(&self, method: &str) -> &Guest {
        let mut of_method = self.guests.iter().filter(|guest| guest.method == method || guest.capture_only == method);
        known(of_method.next().or(self.guests.first()))
    }

    /// All gateways do what they have received.
    pub fn process(&self) {
        self.guests.iter().for_each(|guest| guest.house.process());
    }

    /// The same customer with another card.
    ///
    /// # Panics
    /// If the subscriber is unknown.
    pub fn change_card(&self, cast: &mut Cast, method: &str) {
        cast.token = self.guest_of(method).house.store(&format!("shopper-of-{}", cast.subscriber.customer));
        cast.stored = stored_part(&cast.token);
        let details = self.cleeng.change_details(&cast.subscriber, &id(method), &cast.token);
        cast.subscriber.details = known(details);
    }

    /// An event as Cleeng's dunning clock would send it.
    ///
    /// # Panics
    /// If the subscription is unknown.
    #[must_use]
    pub fn event(&self, topic: Topic, cast: &Cast, attempt: Timestamp, expiration: Timestamp) -> SentWebhook {
        known(self.cleeng.billing_event(topic, &cast.subscriber.subscription, attempt, expiration))
    }

    /// The event of an authorisation attempt so many hours before the end of the paid period.
    #[must_use]
    pub fn authorisation(&self, cast: &Cast, hours_before: u64) -> SentWebhook {
        let attempt = cast.due.before(Duration::from_secs(hours_before.saturating_mul(3600)));
        self.event(Topic::SubscriptionReadyForPaymentAuthorisation, cast, attempt, cast.due)
    }

    /// The event of the capture at the end of the paid period.
    #[must_use]
    pub fn capture(&self, cast: &Cast) -> SentWebhook {
        self.event(Topic::SubscriptionReadyForPaymentCapture, cast, cast.due, cast.due)
    }

    /// The event of the termination two hours after the end of the paid period.
    #[must_use]
    pub fn termination(&self, cast: &Cast) -> SentWebhook {
        let at = cast.due.after(Duration::from_secs(2 * 3600));
        self.event(Topic::SubscriptionReadyForTermination, cast, at, cast.due)
    }

    /// Verifies a webhook as the HTTP door does.
    ///
    /// # Panics
    /// If it is refused.
    #[must_use]
    pub fn verified(&self, webhook: &SentWebhook) -> Verified<Webhook> {
        let mut headers = HeaderMap::new();
        if let Ok(signature) = HeaderValue::from_str(&webhook.signature) {
            headers.insert("x-cleeng-signature", signature);
        }
        let verified = self.verifier.verify(&headers, &webhook.body, &id(PUBLISHER), webhook.topic);
        known(verified.ok())
    }

    /// One delivery of a webhook to its function.
    pub async fn deliver(&self, webhook: &SentWebhook) -> Verdict {
        self.deliver_event(&self.verified(webhook), webhook.at).await
    }

    /// One delivery of an event that was verified before and lay in a queue or in the journal since.
    pub async fn deliver_event(&self, event: &Verified<Webhook>, received_at: Timestamp) -> Verdict {
        let delivery = self.next_delivery(received_at);
        match flow(event.get().topic) {
            Some(flow) => flow.settle(&self.world, event, &delivery).await,
            None => Verdict::NotOurs,
        }
    }

    /// A delivery of its own of something that arrived then.
    pub fn next_delivery(&self, received_at: Timestamp) -> Delivery {
        Delivery { id: self.next_id(), deadline: self.clock.now().after(FUNCTION_TIME), received_at, count: 1 }
    }

    /// Delivers as the queue does until the event leaves it, letting time pass in between as the verdicts ask; each gateway processes what it
    /// received meanwhile.
    pub async fn deliver_until_settled(&self, webhook: &SentWebhook) -> Verdict {
        let mut last = Verdict::NotOurs;
        for _ in 0..200 {
            last = self.deliver(webhook).await;
            let Verdict::Later { after, .. } = last else { break };
            self.process();
            self.clock.advance(after.unwrap_or(Duration::from_secs(100)).max(Duration::from_secs(1)));
        }
        last
    }

    /// A call of a page, through the front door as a browser makes it. `path` begins behind the gateway's name.
    pub async fn call(&self, path: &str, token: &str, body: &Value) -> Reply {
        self.call_at(GatewayName::Adyen, path, token, body).await
    }

    /// The same with another gateway's name.
    pub async fn call_at(&self, gateway: GatewayName, path: &str, token: &str, body: &Value) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert("origin", HeaderValue::from_static(ORIGIN));
        if let Ok(bearer) = HeaderValue::from_str(&format!("Bearer {token}")) {
            headers.insert("authorization", bearer);
        }
        self.send(&format!("/connectors/{gateway}/{path}"), headers, body.to_string()).await
    }

    /// Any call of a page at the front door.
    pub async fn send(&self, path: &str, headers: HeaderMap, body: String) -> Reply {
        self.knock("POST", path, headers, body).await
    }

    /// A browser follows an address of the connector's, as a gateway sends it there; nothing but the address is known of it.
    pub async fn follow(&self, address: &str) -> Reply {
        let path = address.strip_prefix(OWN_ADDRESS).unwrap_or(address);
        self.knock("GET", path, HeaderMap::new(), String::new()).await
    }

    /// Any request at the front door. `path` may have a query.
    pub async fn knock(&self, method: &str, path: &str, headers: HeaderMap, body: String) -> Reply {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let of_details = path.contains("/payment-details") || path.contains("/payment_details");
        let function: &dyn FrontEnd = if of_details { &PaymentDetails } else { &InitialPurchase };
        let request = HttpRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            domain: OWN_ADDRESS.strip_prefix("https://").map(str::to_owned),
            headers,
            source_ip: Some("192.0.2.7".to_owned()),
            body: Some(body.into()),
        };
        let deadline = self.clock.now().after(FRONT_TIME);
        let invocation = Invocation { request_id: self.next_id(), deadline };
        answer(function, &self.desk, 32_768, &request, &invocation).await
    }

    /// A delivery to whatever is called without a webhook.
    pub fn delivery(&self) -> Delivery {
        let now = self.clock.now();
        Delivery { id: self.next_id(), deadline: now.after(FUNCTION_TIME), received_at: now, count: 1 }
    }

    fn next_id(&self) -> String {
        let mut deliveries = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        *deliveries = deliveries.saturating_add(1);
        format!("delivery-{deliveries}")
    }

    /// What disagrees between the two sides and the journal's promises. Empty is good.
    #[must_use]
    pub fn disagreements(&self) -> Vec<String> {
        let houses: Vec<_> = self.guests.iter().map(|guest| guest.house.as_ref()).collect();
        crate::books::disagreements(&self.cleeng, &houses)
    }
}

/// Lets other workers have their turns in place of time.
struct Turns;

#[async_trait]
impl Patience for Turns {
    async fn wait(&self, _moment: Duration) {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
}
