//! The Adyen adapter and its simulator, without sockets between them.

use std::sync::Arc;

use bytes::Bytes;
use connector::clock::Timestamp;
use connector::gateway::adyen::{Adyen, AdyenEnvironment, AdyenPageSettings, AdyenSecrets, AdyenSettings, CaptureMode};
use connector::gateway::{DeclineClass, StoredToken};
use connector::http::HeaderMap;
use connector::money::Money;
use connector::secret::SecretString;
use sandbox::simulators::adyen::{AdyenConfig, AdyenSimulator as Simulator};
use sandbox::simulators::network::{FaultyNetwork, InProcessTransport};
use sandbox::simulators::virtual_clock::VirtualClock;
use sandbox::testkit::contract::{GatewayUnderTest, NotificationRequest, TestedParts};
use serde_json::{Value, json};

pub(crate) use crate::support::gateway_requests::money;

pub(crate) const MERCHANT: &str = "StreamCoECOM";
pub(crate) const API_KEY: &str = "AQEyhmfxK4rJbBZDw0m/n3Q5qf3VaY9U";
pub(crate) const PREVIOUS_API_KEY: &str = "AQEyhmfxPREVIOUSw0m/n3Q5qf3VaY9U";
pub(crate) const HMAC_KEY: &str = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00";
pub(crate) const SHOPPER: &str = "332332332";

/// An adapter, its simulator, the network between them and the clock.
pub(crate) struct AdyenHarness {
    pub(crate) adapter: Adyen,
    pub(crate) simulator: Arc<Simulator>,
    pub(crate) network: FaultyNetwork,
    pub(crate) clock: VirtualClock,
    pub(crate) amount: Money,
    token: String,
}

impl AdyenHarness {
    pub(crate) fn new(capture_mode: CaptureMode, amount: Money) -> Self {
        let clock = VirtualClock::starting_at(Timestamp::from_secs(1_790_000_000));
        let config = AdyenConfig {
            merchant_account: MERCHANT.to_owned(),
            api_key: API_KEY.to_owned(),
            hmac_key: HMAC_KEY.to_owned(),
            manual_capture: capture_mode == CaptureMode::Manual,
        };
        let simulator = Arc::new(Simulator::new(config, Arc::new(clock.clone())));
        let network = FaultyNetwork::default();
        let server: Arc<Simulator> = Arc::clone(&simulator);
        let transport = InProcessTransport::new(network.clone()).with_server("http://adyen.test", server);
        let settings = AdyenSettings {
            page: AdyenPageSettings::default(),
            environment: AdyenEnvironment::Test,
            base_url: "http://adyen.test/v71".to_owned(),
            merchant_account: MERCHANT.to_owned(),
            capture_mode,
            return_url: "https://shop.test/back".to_owned(),
        };
        let secrets = AdyenSecrets {
            api_key: SecretString::new(API_KEY),
            previous_api_key: Some(SecretString::new(PREVIOUS_API_KEY)),
            hmac_keys: vec![SecretString::new(HMAC_KEY)],
        };
        let adapter = Adyen::new(settings, secrets, Arc::new(transport)).unwrap();
        let token = simulator.store_method(SHOPPER);
        Self { adapter, simulator, network, clock, amount, token }
    }

    /// Stored details of the shopper, as Cleeng keeps them.
    pub(crate) fn token(&self, stored_payment_method_id: &str) -> StoredToken {
        StoredToken(SecretString::new(format!("{stored_payment_method_id}:{SHOPPER}")))
    }

    pub(crate) fn working_method(&self) -> &str {
        &self.token
    }
}

/// An account with manual capture, and a currency whose exponent is Adyen's own, so that no check passes by luck.
pub(crate) fn contract_harness() -> Box<dyn GatewayUnderTest> {
    Box::new(AdyenHarness::new(CaptureMode::Manual, money(4_990, "CLP")))
}

/// An account that captures by itself, in the commonest currency.
pub(crate) fn automatic_capture_harness() -> Box<dyn GatewayUnderTest> {
    Box::new(AdyenHarness::new(CaptureMode::Automatic, money(999, "EUR")))
}

fn post(body: String) -> NotificationRequest {
    NotificationRequest { headers: HeaderMap::new(), body: Bytes::from(body) }
}

fn edited_notification(posted: &NotificationRequest, change: impl FnOnce(&mut Value)) -> NotificationRequest {
    let mut body: Value = serde_json::from_slice(&posted.body).unwrap();
    change(&mut body["notificationItems"][0]["NotificationRequestItem"]);
    post(body.to_string())
}

impl GatewayUnderTest for AdyenHarness {
    fn parts(&self) -> TestedParts<'_> {
        TestedParts {
            gateway: &self.adapter,
            simulator: self.simulator.as_ref(),
            network: &self.network,
            amount: self.amount,
            customer: SHOPPER,
            working_token: format!("{}:{SHOPPER}", self.token),
        }
    }

    fn declining_token(&self, class: DeclineClass) -> Option<StoredToken> {
        let code = match class {
            DeclineClass::Soft => "12",
            DeclineClass::NeedsCustomer => "38",
            DeclineClass::NeedsNewDetails => "6",
            DeclineClass::Hard => "26",
            DeclineClass::Risk => "46",
            DeclineClass::Cancelled => "16",
        };
        let method = self.simulator.store_method(SHOPPER);
        self.simulator.decline_always_with(&method, code);
        Some(self.token(&method))
    }

    fn unknown_notification(&self) -> NotificationRequest {
        let reference = "clg-00112233-4455-8677-8899-aabbccddeeff";
        post(self.simulator.notification("BRAND_NEW_EVENT", true, "CAPT4R3REF000001", "AUTH0R1SAT10N001", reference))
    }

    fn foreign_notification(&self) -> NotificationRequest {
        post(self.simulator.notification("CAPTURE", true, "CAPT4R3REF000001", "AUTH0R1SAT10N001", "order-17"))
    }

    fn without_signature(&self, posted: &NotificationRequest) -> NotificationRequest {
        edited_notification(posted, |item| item["additionalData"] = json!({}))
    }

    fn with_forged_field(&self, posted: &NotificationRequest) -> NotificationRequest {
        edited_notification(posted, |item| item["amount"]["value"] = json!(1))
    }

    fn throttle_next(&self, retry_after: u64) {
        self.simulator.throttle_next(retry_after);
    }

    fn revoke_credentials(&self) {
        self.simulator.accept_api_keys(&["AQEsomebodyElsesKey0123456789"]);
    }

    fn rotate_credentials(&self) -> bool {
        self.simulator.accept_api_keys(&[PREVIOUS_API_KEY]);
        true
    }

    fn secrets(&self) -> Vec<String> {
        [API_KEY, PREVIOUS_API_KEY, HMAC_KEY, &self.token].map(str::to_owned).to_vec()
    }
}
