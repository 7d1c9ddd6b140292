//! The PayPal adapter and its simulator, without sockets between them.

use std::sync::Arc;

use bytes::Bytes;
use connector::clock::Timestamp;
use connector::gateway::paypal::{PayPal, PayPalEnvironment, PayPalSecrets, PayPalSettings};
use connector::gateway::{DeclineClass, StoredToken};
use connector::http::Method;
use connector::money::Money;
use connector::secret::SecretString;
use sandbox::simulators::network::{FaultyNetwork, InProcessTransport};
use sandbox::simulators::paypal::{PayPalConfig, PayPalSimulator as Simulator};
use sandbox::simulators::virtual_clock::VirtualClock;
use sandbox::testkit::contract::{GatewayUnderTest, NotificationRequest, RequestMatcher, TestedParts};
use serde_json::{Value, json};

pub(crate) use crate::support::gateway_requests::{CUSTOMER, money, token};

pub(crate) const CLIENT_ID: &str = "AZDxjDScFpQtjWTOUtWKbyN_bDt4OgqaF4eYXlewfBP4";
pub(crate) const SECRET: &str = "EGnHDxD_qRPdaLdZz8iCr8N7_MzF-YHPTkjs6NKYQvQSBngp4PTTVWkPZRbL";
pub(crate) const PREVIOUS_SECRET: &str = "EPREVIOUSqRPdaLdZz8iCr8N7_MzF-YHPTkjs6NKYQvQSBngp4PTTVWkPZRb";
pub(crate) const WEBHOOK_ID: &str = "8PT597110X687430LKGECATA";
pub(crate) const OURS: &str = "clg-00112233-4455-8677-8899-aabbccddeeff";
/// Where API calls go.
pub(crate) const API: &str = "https://api-m.sandbox.paypal.com";
/// Where certificates lie.
pub(crate) const CERTIFICATES: &str = "https://api.sandbox.paypal.com";

/// An adapter, its simulator, the network between them and the clock.
pub(crate) struct PayPalHarness {
    pub(crate) adapter: PayPal,
    pub(crate) simulator: Arc<Simulator>,
    pub(crate) network: FaultyNetwork,
    pub(crate) clock: VirtualClock,
    pub(crate) amount: Money,
    pub(crate) token: String,
}

pub(crate) fn settings() -> PayPalSettings {
    PayPalSettings {
        environment: PayPalEnvironment::Sandbox,
        base_url: API.to_owned(),
        client_id: CLIENT_ID.to_owned(),
        webhook_ids: vec![WEBHOOK_ID.to_owned()],
        usage_pattern: Some("SUBSCRIPTION_PREPAID".to_owned()),
        stored_credential: true,
        trust_root: Some(Simulator::trust_root()),
    }
}

pub(crate) fn secrets() -> PayPalSecrets {
    PayPalSecrets { client_secret: SecretString::new(SECRET), previous_client_secret: Some(SecretString::new(PREVIOUS_SECRET)) }
}

impl PayPalHarness {
    pub(crate) fn new(amount: Money) -> Self {
        Self::with(amount, settings())
    }

    pub(crate) fn with(amount: Money, settings: PayPalSettings) -> Self {
        let clock = VirtualClock::starting_at(Timestamp::from_secs(1_790_000_000));
        let config = PayPalConfig {
            client_id: CLIENT_ID.to_owned(),
            client_secret: SECRET.to_owned(),
            webhook_id: WEBHOOK_ID.to_owned(),
            certificate_host: CERTIFICATES.to_owned(),
        };
        let simulator = Arc::new(Simulator::new(config, Arc::new(clock.clone())));
        let network = FaultyNetwork::default();
        let (api, certificates): (Arc<Simulator>, Arc<Simulator>) = (Arc::clone(&simulator), Arc::clone(&simulator));
        let transport = InProcessTransport::new(network.clone()).with_server(API, api).with_server(CERTIFICATES, certificates);
        let adapter = PayPal::new(settings, secrets(), Arc::new(transport), Arc::new(clock.clone())).unwrap();
        let token = simulator.store_details(CUSTOMER);
        Self { adapter, simulator, network, clock, amount, token }
    }
}

/// The commonest currency.
pub(crate) fn contract_harness() -> Box<dyn GatewayUnderTest> {
    Box::new(PayPalHarness::new(money(999, "EUR")))
}

/// A currency that has decimals everywhere but at PayPal, so that no check passes by luck.
pub(crate) fn harness_without_decimals() -> Box<dyn GatewayUnderTest> {
    Box::new(PayPalHarness::new(money(400_000, "HUF")))
}

/// An account whose orders are paid in a second step, with a currency without minor units.
pub(crate) fn two_step_harness() -> Box<dyn GatewayUnderTest> {
    let harness = PayPalHarness::new(money(1_200, "JPY"));
    harness.simulator.pay_in_two_steps(&harness.token);
    Box::new(harness)
}

impl GatewayUnderTest for PayPalHarness {
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

    fn write_matcher(&self) -> RequestMatcher {
        |_, request| request.method == Method::POST && !request.path.starts_with("/v1/")
    }

    fn declining_token(&self, class: DeclineClass) -> Option<StoredToken> {
        let text = self.simulator.store_details(CUSTOMER);
        self.simulator.decline_always(&text, class).then(|| token(&text))
    }

    fn unknown_notification(&self) -> NotificationRequest {
        self.simulator.notification("BRAND.NEW.EVENT", "capture", foreign_capture(OURS))
    }

    fn foreign_notification(&self) -> NotificationRequest {
        self.simulator.notification("PAYMENT.CAPTURE.COMPLETED", "capture", foreign_capture("order-17"))
    }

    fn without_signature(&self, posted: &NotificationRequest) -> NotificationRequest {
        let mut posted = posted.clone();
        posted.headers.remove("paypal-transmission-sig");
        posted
    }

    fn with_forged_field(&self, posted: &NotificationRequest) -> NotificationRequest {
        edit(posted, |event| event["resource"]["amount"]["value"] = json!("0.01"))
    }

    fn throttle_next(&self, retry_after: u64) {
        self.simulator.throttle_next(retry_after);
    }

    fn revoke_credentials(&self) {
        self.simulator.accept_secrets(&["EsomebodyElsesSecret0123456789"]);
        self.simulator.revoke_access_tokens();
    }

    fn rotate_credentials(&self) -> bool {
        self.simulator.accept_secrets(&[PREVIOUS_SECRET]);
        self.simulator.revoke_access_tokens();
        true
    }

    fn secrets(&self) -> Vec<String> {
        [SECRET, PREVIOUS_SECRET, &self.token, "A21AA", "payer@example.com"].map(str::to_owned).to_vec()
    }
}

pub(crate) fn foreign_capture(custom_id: &str) -> Value {
    json!({
        "id": "3C679366HH908993F", "status": "COMPLETED", "custom_id": custom_id, "amount": { "currency_code": "EUR", "value": "9.99" },
        "supplementary_data": { "related_ids": { "order_id": "5O190127TN364715T", "authorization_id": "0AW2184448108334S" } },
    })
}

/// A notification, changed after it was signed.
pub(crate) fn edit(posted: &NotificationRequest, change: impl FnOnce(&mut Value)) -> NotificationRequest {
    let mut body: Value = serde_json::from_slice(&posted.body).unwrap();
    change(&mut body);
    NotificationRequest { headers: posted.headers.clone(), body: Bytes::from(body.to_string()) }
}
