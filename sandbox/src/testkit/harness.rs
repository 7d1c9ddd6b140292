//! The test environment without sockets: simulators, journal in memory, virtual time, the real clients, adapters and flows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use connector::cleeng::mediastore::{MediaStoreApi, MediaStoreSettings};
use connector::cleeng::signature::WebhookVerifier;
use connector::cleeng::webhook::{Topic, Verified, Webhook};
use connector::clock::{Clock, Timestamp};
use connector::delivery::Delivery;
use connector::flow::{BillingPolicy, Disposition, FlowContext};
use connector::frontend_api::{FrontendContext, FrontendFlow, NoCaptcha, Origins, Reply, Sleeper};
use connector::gateway::{GatewayName, Gateways};
use connector::http::{HeaderMap, HeaderValue};
use connector::journal::memory::MemoryStore;
use connector::journal::store::Store;
use connector::lambda::event::{self, Event};
use connector::lambda::frontend_handler::handle_request;
use connector::lambda::state::Invocation;
use connector::metrics::Metrics;
use initial_purchase::InitialPurchase;
use payment_details::PaymentDetails;
use serde_json::{Value, json};

use crate::expect::expect_fixture;
use crate::simulators::adyen::AdyenSimulator;
use crate::simulators::cleeng::{CleengSimulator, SentWebhook, SubscriberIds};
use crate::simulators::network::{FaultyNetwork, InProcessTransport};
use crate::simulators::paypal::PayPalSimulator;
use crate::simulators::stripe::StripeSimulator;
use crate::simulators::virtual_clock::VirtualClock;
use crate::testkit::crash::{CrashPoint, CrashingRequeue, CrashingStore, CrashingTransport};
use crate::testkit::fixtures::{
    CLEENG_URL, FRONTEND_TIMEOUT, FUNCTION_TIMEOUT, MEDIASTORE_URL, OFFER, PUBLIC_URL, PUBLISHER, SHOP_ORIGIN, START, billing_policy,
    core_api, flow_for, id, publisher, seed, stored_id_of, verifier,
};
use crate::testkit::gateway_fixtures::{self, GatewayFixture, SimulatedGateways};
use crate::testkit::interceptors::{Interceptors, NoInterceptors};
use crate::testkit::metric_recorder::MetricRecorder;
use crate::testkit::queue_worker::time_to_come_back;
use crate::testkit::queues::MessageQueues;

/// The environment of one test.
pub struct TestEnvironment {
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
    pub gateways: Vec<GatewayFixture>,
    /// The network to Cleeng and the gateways: injects faults and records calls.
    pub network: FaultyNetwork,
    /// Where workers crash.
    pub crash_point: CrashPoint,
    /// The journal.
    pub store: Arc<CrashingStore>,
    /// The queues that waiting events are requeued to.
    pub requeue: Arc<CrashingRequeue>,
    /// The metrics.
    pub metrics: Arc<MetricRecorder>,
    /// What flows are given.
    pub flow_context: FlowContext,
    /// What front-end functions are given.
    pub frontend_context: FrontendContext,
    /// Checks webhooks as the webhook handler does.
    pub verifier: Arc<WebhookVerifier>,
    /// How many deliveries there were.
    pub deliveries: Mutex<u64>,
    /// The queues.
    pub queues: MessageQueues,
}

/// A subscriber, with the details at the gateway.
#[derive(Clone)]
pub struct TestSubscriber {
    /// In Cleeng.
    pub ids: SubscriberIds,
    /// The stored details as the adapter writes them.
    pub token: String,
    /// At Adyen: `storedPaymentMethodId`.
    pub stored_id: String,
    /// When the paid period ends.
    pub due: Timestamp,
}

impl Default for TestEnvironment {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl TestEnvironment {
    /// Builds the environment; `change` changes the billing policy.
    ///
    /// # Panics
    /// If the sandbox's own settings are wrong.
    #[must_use]
    pub fn new(change: impl FnOnce(&mut BillingPolicy)) -> Self {
        Self::with_interceptors(&NoInterceptors, VirtualClock::starting_at(START), change)
    }

    /// The same with interceptors, on a clock of the caller's.
    ///
    /// # Panics
    /// If the sandbox's own settings are wrong.
    #[must_use]
    pub fn with_interceptors(interceptors: &dyn Interceptors, clock: VirtualClock, change: impl FnOnce(&mut BillingPolicy)) -> Self {
        let cleeng = CleengSimulator::new(publisher(), clock.clone());
        let simulators = SimulatedGateways::open(&clock);
        seed(&cleeng);
        let (network, crash_point) = (FaultyNetwork::default(), CrashPoint::default());
        let mut in_process = InProcessTransport::new(network.clone()).with_server("http://cleeng.test", Arc::new(cleeng.clone()));
        for (gateway, server) in simulators.servers() {
            for address in gateway_fixtures::base_urls_of(gateway) {
                in_process = in_process.with_server(address, Arc::clone(&server));
            }
        }
        let transport = interceptors.transport(Arc::new(CrashingTransport::new(Arc::new(in_process), crash_point.clone())));
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(clock.clone())));
        let store = Arc::new(CrashingStore::new(memory, crash_point.clone()));
        let requeue = Arc::new(CrashingRequeue::new(crash_point.clone()));
        let metrics = Arc::new(MetricRecorder::default());
        let mut policy = billing_policy();
        change(&mut policy);
        let flow_context = FlowContext {
            policy: Arc::new(policy),
            cleeng: Arc::new(core_api(CLEENG_URL, Arc::clone(&transport))),
            gateways: GatewayName::ALL
                .iter()
                .map(|name| interceptors.gateway(gateway_fixtures::build_adapter(*name, Arc::clone(&transport), &clock)))
                .fold(Gateways::default(), Gateways::with),
            store: interceptors.store(store.clone()),
            clock: Arc::new(clock.clone()),
            metrics: Metrics::new(interceptors.metrics(metrics.clone())),
            requeue: requeue.clone(),
        };
        let verifier = Arc::new(verifier());
        let mediastore = MediaStoreSettings { url: MEDIASTORE_URL.to_owned() };
        let frontend_context = FrontendContext {
            flow_context: flow_context.clone(),
            mediastore: Arc::new(MediaStoreApi::new(mediastore, transport)),
            origins: Arc::new(expect_fixture(Origins::parse(SHOP_ORIGIN, false))),
            public_url: None,
            sleeper: Arc::new(YieldingSleeper),
            captcha: Arc::new(NoCaptcha),
        };
        let (gateways, SimulatedGateways { adyen, paypal, stripe, .. }) = (simulators.fixtures(), simulators);
        Self {
            clock,
            cleeng,
            adyen,
            paypal,
            stripe,
            gateways,
            network,
            crash_point,
            store,
            requeue,
            metrics,
            flow_context,
            frontend_context,
            verifier,
            deliveries: Mutex::new(0),
            queues: MessageQueues::default(),
        }
    }

    /// A subscriber with stored details, whose paid period ends in a week.
    ///
    /// # Panics
    /// If the sandbox's own offer is unknown.
    #[must_use]
    pub fn subscriber(&self, method: &str) -> TestSubscriber {
        let due = self.clock.now().after(Duration::from_secs(7 * 86_400));
        let simulator = &self.gateway_of_method(method).simulator;
        // The gateway knows the customer by a name from before, which the token carries.
        let token = simulator.add_stored_details(&format!("shopper-{}", simulator.ledger().len()));
        let subscriber = expect_fixture(self.cleeng.new_subscriber(&id(OFFER), &id(method), &token, due));
        TestSubscriber { ids: subscriber, stored_id: stored_id_of(&token), token, due }
    }

    /// The gateway of this name.
    ///
    /// # Panics
    /// If it is not registered.
    #[must_use]
    pub fn gateway(&self, gateway: GatewayName) -> &GatewayFixture {
        expect_fixture(self.gateways.iter().find(|fixture| fixture.simulator.gateway_name() == gateway))
    }

    /// How often this gateway was asked to release an authorisation. The contract of gateways proves that releases are counted.
    #[must_use]
    pub fn release_count(&self, gateway: GatewayName) -> usize {
        let simulator = &self.gateway(gateway).simulator;
        let calls = self.network.calls().into_iter().filter(|call| call.server == simulator.name());
        calls.filter(|call| simulator.is_release(&call.method, &call.path)).count()
    }

    /// The gateway of this payment method; Adyen for a method of another connector.
    ///
    /// # Panics
    /// If no gateway is registered.
    #[must_use]
    pub fn gateway_of_method(&self, method: &str) -> &GatewayFixture {
        let mut of_method = self.gateways.iter().filter(|fixture| fixture.method == method || fixture.capture_only_method == method);
        expect_fixture(of_method.next().or(self.gateways.first()))
    }

    /// All gateways do what they have received.
    pub fn process_gateways(&self) {
        self.gateways.iter().for_each(|fixture| fixture.simulator.process());
    }

    /// The same customer with another card.
    ///
    /// # Panics
    /// If the subscriber is unknown.
    pub fn change_card(&self, subscriber: &mut TestSubscriber, method: &str) {
        subscriber.token = self.gateway_of_method(method).simulator.add_stored_details(&format!("shopper-of-{}", subscriber.ids.customer));
        subscriber.stored_id = stored_id_of(&subscriber.token);
        let details = self.cleeng.change_details(&subscriber.ids, &id(method), &subscriber.token);
        subscriber.ids.details = expect_fixture(details);
    }

    /// An event as Cleeng's dunning clock would send it.
    ///
    /// # Panics
    /// If the subscription is unknown.
    #[must_use]
    pub fn billing_event(&self, topic: Topic, subscriber: &TestSubscriber, attempt: Timestamp, expiration: Timestamp) -> SentWebhook {
        expect_fixture(self.cleeng.billing_event(topic, &subscriber.ids.subscription, attempt, expiration))
    }

    /// The event of an authorisation attempt so many hours before the end of the paid period.
    #[must_use]
    pub fn authorisation_event(&self, subscriber: &TestSubscriber, hours_before: u64) -> SentWebhook {
        let attempt = subscriber.due.before(Duration::from_secs(hours_before.saturating_mul(3600)));
        self.billing_event(Topic::SubscriptionReadyForPaymentAuthorisation, subscriber, attempt, subscriber.due)
    }

    /// The event of the capture at the end of the paid period.
    #[must_use]
    pub fn capture_event(&self, subscriber: &TestSubscriber) -> SentWebhook {
        self.billing_event(Topic::SubscriptionReadyForPaymentCapture, subscriber, subscriber.due, subscriber.due)
    }

    /// The event of the termination two hours after the end of the paid period.
    #[must_use]
    pub fn termination_event(&self, subscriber: &TestSubscriber) -> SentWebhook {
        let at = subscriber.due.after(Duration::from_secs(2 * 3600));
        self.billing_event(Topic::SubscriptionReadyForTermination, subscriber, at, subscriber.due)
    }

    /// Verifies a webhook as the webhook handler does.
    ///
    /// # Panics
    /// If it is refused.
    #[must_use]
    pub fn verify(&self, webhook: &SentWebhook) -> Verified<Webhook> {
        let mut headers = HeaderMap::new();
        if let Ok(signature) = HeaderValue::from_str(&webhook.signature) {
            headers.insert("x-cleeng-signature", signature);
        }
        let verified = self.verifier.verify(&headers, &webhook.body, &id(PUBLISHER), webhook.topic);
        expect_fixture(verified.ok())
    }

    /// One delivery of a webhook to its function.
    pub async fn deliver(&self, webhook: &SentWebhook) -> Disposition {
        self.deliver_event(&self.verify(webhook), webhook.at).await
    }

    /// One delivery of an event that was verified before and lay in a queue or in the journal since.
    pub async fn deliver_event(&self, event: &Verified<Webhook>, received_at: Timestamp) -> Disposition {
        self.redeliver_event(event, received_at, 1).await
    }

    /// The same, for the `count`th time by its queue.
    pub async fn redeliver_event(&self, event: &Verified<Webhook>, received_at: Timestamp, count: u32) -> Disposition {
        let delivery = Delivery { count, ..self.delivery_received_at(received_at) };
        match flow_for(event.get().topic) {
            Some(flow) => flow.handle(&self.flow_context, event, &delivery).await,
            None => Disposition::NotOurs,
        }
    }

    /// A new delivery of a message that was received then.
    pub fn delivery_received_at(&self, received_at: Timestamp) -> Delivery {
        Delivery { id: self.next_id(), deadline: self.clock.now().after(FUNCTION_TIMEOUT), received_at, count: 1 }
    }

    /// Delivers as the queue does until the event is completed, letting time pass in between as the results ask; each gateway processes what it
    /// received meanwhile. An event that was postponed comes back, as reconciliation requeues it.
    pub async fn deliver_until_settled(&self, webhook: &SentWebhook) -> Disposition {
        let (mut last, event) = (Disposition::NotOurs, self.verify(webhook));
        for count in 1..=200 {
            last = self.redeliver_event(&event, webhook.at, count).await;
            let Some(wait) = time_to_come_back(&last) else { break };
            self.process_gateways();
            self.clock.advance(wait);
        }
        last
    }

    /// A front-end call, as a browser makes it. `path` begins behind the gateway's name.
    pub async fn call(&self, path: &str, token: &str, body: &Value) -> Reply {
        self.call_at(GatewayName::Adyen, path, token, body).await
    }

    /// The same with another gateway's name. The page says that it handles answers that are no end.
    pub async fn call_at(&self, gateway: GatewayName, path: &str, token: &str, body: &Value) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert("origin", HeaderValue::from_static(SHOP_ORIGIN));
        headers.insert("prefer", HeaderValue::from_static("respond-async"));
        if let Ok(bearer) = HeaderValue::from_str(&format!("Bearer {token}")) {
            headers.insert("authorization", bearer);
        }
        self.post(&format!("/connectors/{gateway}/{path}"), headers, body.to_string()).await
    }

    /// Any POST to the front-end API.
    pub async fn post(&self, path: &str, headers: HeaderMap, body: String) -> Reply {
        self.request("POST", path, headers, body).await
    }

    /// A browser follows a redirect from a gateway to the connector, without headers or body.
    pub async fn follow_redirect(&self, address: &str) -> Reply {
        let path = address.strip_prefix(PUBLIC_URL).unwrap_or(address);
        self.request("GET", path, HeaderMap::new(), String::new()).await
    }

    /// Any request to the front-end API. `path` may have a query.
    pub async fn request(&self, method: &str, path: &str, headers: HeaderMap, body: String) -> Reply {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let of_details = path.contains("/payment-details") || path.contains("/payment_details");
        let function: &dyn FrontendFlow = if of_details { &PaymentDetails } else { &InitialPurchase };
        // Any other method is no request of an HTTP API.
        let method = if method.bytes().all(|byte| byte.is_ascii_alphabetic()) { method } else { "UNKNOWN" };
        let headers: Value = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default())).collect();
        let event = json!({
            "rawPath": path, "rawQueryString": query, "headers": headers, "body": body,
            "requestContext": {
                "http": { "method": method, "sourceIp": "192.0.2.7" }, "domainName": PUBLIC_URL.strip_prefix("https://"),
            },
        });
        let request = expect_fixture(match event::read(&event.to_string()) {
            Ok(Event::Http(request)) => Some(request),
            _ => None,
        });
        let deadline = self.clock.now().after(FRONTEND_TIMEOUT);
        let invocation = Invocation { request_id: self.next_id(), deadline };
        handle_request(function, &self.frontend_context, 32_768, &request, &invocation).await
    }

    /// A delivery for a function that is called without a webhook.
    pub fn delivery_received_now(&self) -> Delivery {
        let now = self.clock.now();
        Delivery { id: self.next_id(), deadline: now.after(FUNCTION_TIMEOUT), received_at: now, count: 1 }
    }

    fn next_id(&self) -> String {
        let mut deliveries = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        *deliveries = deliveries.saturating_add(1);
        format!("delivery-{deliveries}")
    }

    /// The differences between Cleeng and the gateways. Empty if they agree.
    #[must_use]
    pub fn discrepancies(&self) -> Vec<String> {
        let simulators: Vec<_> = self.gateways.iter().map(|fixture| fixture.simulator.as_ref()).collect();
        crate::testkit::balance_check::discrepancies(&self.cleeng, &simulators)
    }
}

/// Yields to other workers instead of sleeping.
struct YieldingSleeper;

#[async_trait]
impl Sleeper for YieldingSleeper {
    async fn sleep(&self, _moment: Duration) {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
}
