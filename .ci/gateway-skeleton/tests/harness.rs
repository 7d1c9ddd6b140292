//! The ExampleGateway adapter and its simulator, without sockets between them.

use std::sync::Arc;

use bytes::Bytes;
use connector::clock::Timestamp;
use connector::gateway::example_gateway::{ExampleGateway, ExampleGatewayEnvironment, ExampleGatewaySecrets, ExampleGatewaySettings};
use connector::gateway::{DeclineClass, StoredToken};
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use sandbox::simulators::example_gateway::{ExampleGatewayConfig, ExampleGatewaySimulator as Simulator};
use sandbox::simulators::network::{FaultyNetwork, InProcessTransport};
use sandbox::simulators::virtual_clock::VirtualClock;
use sandbox::testkit::contract::{GatewayUnderTest, NotificationRequest, TestedParts};
use serde_json::{Value, json};

const API_KEY: &str = "current-api-key-0123456789abcdef";
const PREVIOUS_API_KEY: &str = "previous-api-key-0123456789abcdef";
const WEBHOOK_SECRET: &str = "current-webhook-secret-0123456789";
const CUSTOMER: &str = "332332332";
const API: &str = "https://example_gateway.test";

/// An adapter, its simulator and the network between them.
struct ExampleGatewayHarness {
    adapter: ExampleGateway,
    simulator: Arc<Simulator>,
    network: FaultyNetwork,
    amount: Money,
    token: String,
}

impl ExampleGatewayHarness {
    fn new(amount: Money) -> Self {
        let clock = VirtualClock::starting_at(Timestamp::from_secs(1_790_000_000));
        let config = ExampleGatewayConfig { api_keys: vec![API_KEY.to_owned()], webhook_secret: WEBHOOK_SECRET.to_owned() };
        let simulator = Arc::new(Simulator::new(config, Arc::new(clock)));
        let network = FaultyNetwork::default();
        let server: Arc<Simulator> = Arc::clone(&simulator);
        let transport = InProcessTransport::new(network.clone()).with_server(API, server);
        let settings = ExampleGatewaySettings { environment: ExampleGatewayEnvironment::Test, base_url: API.to_owned() };
        let secrets = ExampleGatewaySecrets {
            api_key: SecretString::new(API_KEY),
            previous_api_key: Some(SecretString::new(PREVIOUS_API_KEY)),
            webhook_secrets: vec![SecretString::new(WEBHOOK_SECRET)],
        };
        let adapter = ExampleGateway::new(settings, secrets, Arc::new(transport)).unwrap();
        let token = simulator.store_details(CUSTOMER);
        Self { adapter, simulator, network, amount, token }
    }

    fn event(&self, kind: &str, reference: &str) -> NotificationRequest {
        self.simulator.notification(&json!({ "id": "evt_1", "type": kind, "data": { "id": "pay_1", "reference": reference } }))
    }
}

/// TODO: a currency that has other decimals at this gateway than in ISO 4217, if there is one, so that no check passes by luck.
pub(crate) fn contract_harness() -> Box<dyn GatewayUnderTest> {
    Box::new(ExampleGatewayHarness::new(Money::new(999, Currency::new("EUR").unwrap())))
}

impl GatewayUnderTest for ExampleGatewayHarness {
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

    /// TODO: details that always decline in this class. A soft and a hard one at least.
    fn declining_token(&self, _class: DeclineClass) -> Option<StoredToken> {
        None
    }

    fn unknown_notification(&self) -> NotificationRequest {
        self.event("brand_new_event", "clg-00112233-4455-8677-8899-aabbccddeeff")
    }

    /// TODO: the kind of a capture.
    fn foreign_notification(&self) -> NotificationRequest {
        self.event("payment_captured", "order-17")
    }

    fn without_signature(&self, notification: &NotificationRequest) -> NotificationRequest {
        let mut notification = notification.clone();
        notification.headers.clear();
        notification
    }

    fn with_forged_field(&self, notification: &NotificationRequest) -> NotificationRequest {
        let mut event: Value = serde_json::from_slice(&notification.body).unwrap();
        event["data"]["amount"] = json!(1);
        NotificationRequest { headers: notification.headers.clone(), body: Bytes::from(event.to_string()) }
    }

    fn throttle_next(&self, retry_after: u64) {
        self.simulator.throttle_next(retry_after);
    }

    fn revoke_credentials(&self) {
        self.simulator.accept_api_keys(&["api-key-of-somebody-else-0123456"]);
    }

    fn rotate_credentials(&self) -> bool {
        self.simulator.accept_api_keys(&[PREVIOUS_API_KEY]);
        true
    }

    fn secrets(&self) -> Vec<String> {
        [API_KEY, PREVIOUS_API_KEY, WEBHOOK_SECRET, self.token.as_str()].map(str::to_owned).to_vec()
    }
}
