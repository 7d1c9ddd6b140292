//! Everything put together without sockets: simulators, journal in memory, virtual time, the real clients, adapters and flows. What tests
//! play on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use capture_payment::CapturePayment;
use connector::cleeng::client::{CleengSettings, CoreApi, Environment};
use connector::cleeng::mediastore::{MediaStoreApi, MediaStoreSettings};
use connector::cleeng::signature::{SignatureSettings, Verifier};
use connector::cleeng::webhook::{Topic, Verified, Webhook};
use connector::clock::{Clock, Timestamp};
use connector::flow::{Billing, Delivery, Flow, Method, PartialRefunds, Rules, SettleOn, Verdict, World};
use connector::front::{Desk, FrontEnd, NoCaptcha, Origins, Patience, Reply};
use connector::gateway::adyen::{AdyenEnvironment, AdyenSettings, CaptureMode};
use connector::gateway::{Gateway, GatewayName, Gateways};
use connector::http::{HeaderMap, HeaderValue, Transport};
use connector::ids::Id;
use connector::journal::memory::MemoryStore;
use connector::journal::store::Store;
use connector::lambda::app::Invocation;
use connector::lambda::event::HttpRequest;
use connector::lambda::front_door::answer;
use connector::metrics::{Metric, MetricSink, Metrics};
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use initial_purchase::InitialPurchase;
use payment_details::PaymentDetails;
use payment_details_deactivated::DetailsDeactivated;
use refund_payment::RefundPayment;
use serde_json::Value;
use subscription_ready_for_payment_authorisation::Authorisation;
use subscription_ready_for_payment_capture::Capture;
use subscription_ready_for_termination::Termination;

use crate::adyen::{Adyen as AdyenSimulator, AdyenConfig};
use crate::cleeng::{CleengSimulator, Cycle, DunningSettings, Publisher, SentWebhook, Subscriber};
use crate::clock::VirtualClock;
use crate::crash::{CrashSwitch, MortalRequeue, MortalStore, MortalTransport};
pub use crate::guests::Guest;
use crate::guests::{self, Houses, methods_of};
use crate::mail::Mail;
use crate::paypal::PayPal as PayPalSimulator;
use crate::peer::{InProcess, Road};
use crate::stripe::Stripe as StripeSimulator;

/// The publisher of the sandbox.
pub const PUBLISHER: &str = "558186818";
/// The publisher token of the sandbox.
pub const PUBLISHER_TOKEN: &str = "sandbox-publisher-token-0123456789abcdef01234567";
/// The webhook secret of the sandbox.
pub const WEBHOOK_SECRET: &str = "sandbox-webhook-secret-0123456789abcdef";
/// The payment method of the sandbox that is authorised first.
pub const METHOD: &str = "123123123";
/// The payment method of the sandbox that is charged at once.
pub const CAPTURE_ONLY_METHOD: &str = "124124124";
/// The merchant account of the sandbox.
pub const MERCHANT_ACCOUNT: &str = "SandboxMerchant";
/// The Adyen API key of the sandbox.
pub const ADYEN_API_KEY: &str = "AQEsandboxApiKey0123456789abcdefghijklmnopqrstuv";
/// The Adyen HMAC key of the sandbox (the one of Adyen's own test).
pub const ADYEN_HMAC_KEY: &str = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00";
/// The offer of the sandbox.
pub const OFFER: &str = "S619117184_US";
/// What the sandbox sells once, without a renewal.
pub const PASS: &str = "P619117185_US";
/// The offer of the sample events.
pub const SAMPLE_OFFER: &str = "S123123123_US";
/// When the sandbox starts: 2026-03-01T12:00:00Z.
pub const START: Timestamp = Timestamp::from_secs(1_772_366_400);
/// How long a function may take.
pub const FUNCTION_TIME: Duration = Duration::from_secs(90);

/// The page of the sandbox.
pub const ORIGIN: &str = "https://shop.example.com";
/// Where the outside reaches the connector of the sandbox, as the API says.
pub const OWN_ADDRESS: &str = "https://pay.example.com";
/// How long a front-end function may take.
pub const FRONT_TIME: Duration = Duration::from_secs(29);

const CLEENG_URL: &str = "http://cleeng.test/3.1";
const MEDIASTORE_URL: &str = "http://cleeng.test/mediastore";

/// Metrics that can be looked at.
#[derive(Default)]
pub struct Recorder(Mutex<Vec<Seen>>);

/// A metric, its value and its dimensions.
type Seen = (Metric, u64, BTreeMap<&'static str, String>);

impl Recorder {
    /// The sum of the values of a metric with this value of a dimension.
    #[must_use]
    pub fn total(&self, metric: Metric, value: &str) -> u64 {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = seen.iter().filter(|(m, _, dimensions)| *m == metric && dimensions.values().any(|other| other == value));
        of_it.fold(0, |sum, (_, by, _)| sum.saturating_add(*by))
    }

    /// How often this metric was counted with this value of any dimension; with an empty value, how often at all.
    #[must_use]
    pub fn count(&self, metric: Metric, value: &str) -> usize {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|(m, _, dims)| *m == metric && (value.is_empty() || dims.values().any(|v| v == value))).count()
    }
}

impl Recorder {
    /// The outcome or reason of the last value of this metric.
    #[must_use]
    pub fn last(&self, metric: Metric) -> Option<String> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, _, dimensions) = seen.iter().rev().find(|(m, ..)| *m == metric)?;
        dimensions.values().next().cloned()
    }
}

impl MetricSink for Recorder {
    fn emit(&self, metric: Metric, value: u64, dimensions: &[(&'static str, &str)]) {
        let dimensions = dimensions.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((metric, value, dimensions));
    }
}

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

/// The function of a topic.
#[must_use]
pub fn flow(topic: Topic) -> Option<Box<dyn Flow>> {
    match topic {
        Topic::SubscriptionReadyForPaymentAuthorisation => Some(Box::new(Authorisation)),
        Topic::SubscriptionReadyForPaymentCapture => Some(Box::new(Capture)),
        Topic::SubscriptionReadyForTermination => Some(Box::new(Termination)),
        Topic::PaymentDetailsDeactivated => Some(Box::new(DetailsDeactivated)),
        Topic::RefundPayment => Some(Box::new(RefundPayment)),
        Topic::CapturePayment => Some(Box::new(CapturePayment)),
    }
}

/// Fills Cleeng with the sandbox's methods and its offer.
pub fn furnish(cleeng: &CleengSimulator) {
    let after_due = DunningSettings { authorised_first: false, attempts: vec![0, -24, -48], grace: 50 };
    for gateway in GatewayName::ALL {
        let (method, capture_only) = methods_of(*gateway);
        cleeng.add_method(id(method), gateway.as_str(), DunningSettings::default());
        cleeng.add_method(id(capture_only), gateway.as_str(), after_due.clone());
    }
    let price = Money::new(999, known(Currency::new("USD").ok()));
    for offer in [OFFER, SAMPLE_OFFER, PASS] {
        cleeng.add_offer(id(offer), price, Cycle::MONTHLY);
    }
}

/// The sandbox's publisher.
#[must_use]
pub fn publisher() -> Publisher {
    Publisher { id: id(PUBLISHER), token: PUBLISHER_TOKEN.to_owned(), webhook_secret: WEBHOOK_SECRET.to_owned() }
}

/// The settings of the sandbox's Adyen adapter.
#[must_use]
pub fn adyen_settings(url: &str) -> AdyenSettings {
    AdyenSettings {
        environment: AdyenEnvironment::Test,
        base_url: format!("{url}/v71"),
        merchant_account: MERCHANT_ACCOUNT.to_owned(),
        capture_mode: CaptureMode::Manual,
        return_url: "https://example.com".to_owned(),
    }
}

/// The sandbox's Adyen account.
#[must_use]
pub fn adyen_config() -> AdyenConfig {
    AdyenConfig {
        merchant_account: MERCHANT_ACCOUNT.to_owned(),
        api_key: ADYEN_API_KEY.to_owned(),
        hmac_key: ADYEN_HMAC_KEY.to_owned(),
        manual_capture: true,
    }
}

/// The sandbox's rules: every default.
#[must_use]
pub fn rules() -> Rules {
    let of_gateway = |gateway: &GatewayName| {
        let (method, capture_only) = methods_of(*gateway);
        [(id(method), Billing::AuthoriseThenCapture), (id(capture_only), Billing::CaptureOnly)]
            .map(|(id, billing)| (id, Method { gateway: *gateway, billing }))
    };
    Rules {
        publisher: id::<connector::ids::kind::Publisher>(PUBLISHER),
        methods: GatewayName::ALL.iter().flat_map(of_gateway).collect(),
        capture_wait: Duration::from_secs(3600),
        settle_on: SettleOn::Notification,
        settle_deadline: Duration::from_secs(45 * 60),
        unknown_deadline: Duration::from_secs(24 * 3600),
        partial_refunds: PartialRefunds::Park,
        delete_deactivated_details: false,
        salt: SecretString::new("sandbox-idempotency-salt"),
    }
}

fn core_api(url: &str, transport: Arc<dyn Transport>) -> CoreApi {
    let settings = CleengSettings { api_url: url.to_owned(), ..CleengSettings::defaults(Environment::Sandbox) };
    known(CoreApi::new(settings, vec![SecretString::new(PUBLISHER_TOKEN)], transport).ok())
}

fn verifier() -> Verifier {
    known(Verifier::new(SignatureSettings::default(), &[SecretString::new(WEBHOOK_SECRET)]).ok())
}

/// The gateway's own part of a token.
fn stored_part(token: &str) -> String {
    token.split(':').next().unwrap_or_default().to_owned()
}

/// An id of the sandbox's own making.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn id<K>(text: &str) -> Id<K> {
    known(Id::new(text).ok())
}

/// A publisher id, a customer id and so on are types of their own; this is for things that the sandbox itself put there.
#[expect(clippy::expect_used, reason = "the sandbox's own props: without them there is no play")]
pub(crate) fn known<T>(prop: Option<T>) -> T {
    prop.expect("a prop of the sandbox is missing")
}
