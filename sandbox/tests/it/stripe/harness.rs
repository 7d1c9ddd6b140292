//! The Stripe adapter and its simulator, without sockets between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use connector::clock::Timestamp;
use connector::gateway::stripe::{Stripe, StripeEnvironment, StripeSecrets, StripeSettings};
use connector::gateway::{DeclineClass, StoredToken};
use connector::money::Money;
use connector::secret::SecretString;
use sandbox::simulators::network::{FaultyNetwork, InProcessTransport, ServerRequest, ServerResponse, SimulatedServer};
use sandbox::simulators::stripe::{StripeConfig, StripeSimulator as Simulator};
use sandbox::simulators::virtual_clock::VirtualClock;
use sandbox::testkit::contract::{GatewayUnderTest, InquiryCall, NotificationRequest, TestedParts};
use serde_json::{Value, json};

pub(crate) use crate::support::gateway_requests::{CUSTOMER, money, token};

pub(crate) const API_KEY: &str = "sk_test_51CurrentKey0123456789abcdefghij";
pub(crate) const PREVIOUS_API_KEY: &str = "sk_test_51PreviousKey0123456789abcdefghi";
pub(crate) const WEBHOOK_SECRET: &str = "whsec_CurrentSecret0123456789abcdef";
pub(crate) const OTHER_WEBHOOK_SECRET: &str = "whsec_OtherSecret0123456789abcdefgh";
pub(crate) const VERSION: &str = "2023-08-16";
pub(crate) const OURS: &str = "clg-00112233-4455-8677-8899-aabbccddeeff";
pub(crate) const API: &str = "https://api.stripe.com";

/// An adapter, its simulator, the network between them and the clock.
pub(crate) struct StripeHarness {
    pub(crate) adapter: Stripe,
    pub(crate) simulator: Arc<Simulator>,
    pub(crate) network: FaultyNetwork,
    pub(crate) clock: VirtualClock,
    pub(crate) amount: Money,
    pub(crate) token: String,
    /// What the adapter sent, as it came.
    pub(crate) sent: Arc<Mutex<Vec<ServerRequest>>>,
    declining: Mutex<BTreeMap<&'static str, String>>,
}

/// Keeps what is sent to the simulator: forms cannot be seen in the list of calls.
struct RecordingServer {
    simulator: Arc<Simulator>,
    sent: Arc<Mutex<Vec<ServerRequest>>>,
}

impl SimulatedServer for RecordingServer {
    fn name(&self) -> &'static str {
        self.simulator.name()
    }

    fn handle(&self, request: &ServerRequest) -> ServerResponse {
        self.sent.lock().unwrap().push(request.clone());
        self.simulator.handle(request)
    }
}

fn secrets() -> StripeSecrets {
    StripeSecrets {
        api_key: SecretString::new(API_KEY),
        previous_api_key: Some(SecretString::new(PREVIOUS_API_KEY)),
        webhook_secrets: [WEBHOOK_SECRET, OTHER_WEBHOOK_SECRET].map(SecretString::new).to_vec(),
    }
}

impl StripeHarness {
    pub(crate) fn new(amount: Money) -> Self {
        let clock = VirtualClock::starting_at(Timestamp::from_secs(1_790_000_000));
        let config = StripeConfig {
            api_keys: vec![API_KEY.to_owned()],
            webhook_secrets: vec![WEBHOOK_SECRET.to_owned()],
            api_version: VERSION.to_owned(),
        };
        let simulator = Arc::new(Simulator::new(config, Arc::new(clock.clone())));
        let network = FaultyNetwork::default();
        let sent = Arc::default();
        let api = Arc::new(RecordingServer { simulator: Arc::clone(&simulator), sent: Arc::clone(&sent) });
        let transport = InProcessTransport::new(network.clone()).with_server(API, api);
        let settings = StripeSettings { environment: StripeEnvironment::Test, base_url: API.to_owned() };
        let adapter = Stripe::new(settings, secrets(), Arc::new(transport), Arc::new(clock.clone())).unwrap();
        let token = simulator.store_details(CUSTOMER);
        Self { adapter, simulator, network, clock, amount, token, sent, declining: Mutex::default() }
    }
}

/// The pairs of a form.
pub(crate) fn form(request: &ServerRequest) -> Vec<(String, String)> {
    form_urlencoded::parse(&request.body).into_owned().collect()
}

/// The commonest currency.
pub(crate) fn contract_harness() -> Box<dyn GatewayUnderTest> {
    Box::new(StripeHarness::new(money(999, "EUR")))
}

/// A currency that has other decimals at Stripe than in ISO 4217, so that no check passes by luck, and an endpoint whose secret is being rolled.
pub(crate) fn another_contract_harness() -> Box<dyn GatewayUnderTest> {
    let harness = StripeHarness::new(money(1_200, "ISK"));
    harness.simulator.sign_with(&["whsec_SomebodyElses0123456789abcdef", OTHER_WEBHOOK_SECRET]);
    Box::new(harness)
}

impl GatewayUnderTest for StripeHarness {
    fn parts(&self) -> TestedParts<'_> {
        TestedParts {
            gateway: &self.adapter,
            simulator: self.simulator.as_ref(),
            network: &self.network,
            amount: self.amount,
            customer: CUSTOMER,
            working_token: self.token.clone(),
        }
    }

    fn declining_token(&self, class: DeclineClass) -> Option<StoredToken> {
        // The same every time: under the same key, Stripe takes the same request only.
        let mut declining = self.declining.lock().unwrap();
        let text = declining.entry(class.as_str()).or_insert_with(|| self.simulator.store_details(CUSTOMER));
        self.simulator.decline_always(text, class).then(|| token(text))
    }

    /// The search has seen everything after a minute.
    fn wait_for_consistent_reads(&self) {
        self.clock.advance(Duration::from_secs(61));
    }

    /// The search and the intent that it finds; and the newest intents before.
    fn inquiry_calls(&self) -> Vec<InquiryCall> {
        vec![
            InquiryCall { matcher: |_, request| request.path.ends_with("/search"), after_catch_up: true },
            InquiryCall { matcher: |_, request| request.path.starts_with("/v1/payment_intents/pi_"), after_catch_up: true },
            InquiryCall { matcher: |_, request| request.path.ends_with("/payment_intents"), after_catch_up: false },
        ]
    }

    fn unknown_notification(&self) -> NotificationRequest {
        self.simulator.notification("brand_new.event", foreign_intent(OURS))
    }

    fn foreign_notification(&self) -> NotificationRequest {
        self.simulator.notification("payment_intent.succeeded", foreign_intent("order-17"))
    }

    fn without_signature(&self, posted: &NotificationRequest) -> NotificationRequest {
        let mut posted = posted.clone();
        posted.headers.remove("stripe-signature");
        posted
    }

    fn with_forged_field(&self, posted: &NotificationRequest) -> NotificationRequest {
        edit(posted, |event| event["data"]["object"]["amount"] = json!(1))
    }

    fn throttle_next(&self, retry_after: u64) {
        self.simulator.throttle_next(retry_after);
    }

    fn revoke_credentials(&self) {
        self.simulator.accept_api_keys(&["sk_test_51SomebodyElsesKey0123456789"]);
    }

    fn rotate_credentials(&self) -> bool {
        self.simulator.accept_api_keys(&[PREVIOUS_API_KEY]);
        true
    }

    fn secrets(&self) -> Vec<String> {
        let method = self.token.split(':').next().unwrap_or_default();
        [API_KEY, PREVIOUS_API_KEY, WEBHOOK_SECRET, OTHER_WEBHOOK_SECRET, &self.token, method, "_secret_", "jenny.rosen@example.com"]
            .map(str::to_owned)
            .to_vec()
    }
}

pub(crate) fn foreign_intent(reference: &str) -> Value {
    json!({
        "id": "pi_1MtwBwLkdIwHu7ix28a3tqPa", "object": "payment_intent", "status": "succeeded", "amount": 999, "amount_received": 999,
        "currency": "eur", "capture_method": "automatic", "metadata": { "reference": reference },
    })
}

/// A notification, changed after it was signed.
pub(crate) fn edit(posted: &NotificationRequest, change: impl FnOnce(&mut Value)) -> NotificationRequest {
    let mut body: Value = serde_json::from_slice(&posted.body).unwrap();
    change(&mut body);
    NotificationRequest { headers: posted.headers.clone(), body: Bytes::from(body.to_string()) }
}
