//! A merchant account whose capture delay is manual: nothing overrides it, and what is to be taken at once is captured by a call of its own.

use std::sync::{Arc, OnceLock};

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::gateway::adyen::{Adyen, AdyenSecrets, AdyenSettings, CaptureMode};
use connector::gateway::{Gateway, GatewayName};
use connector::http::{Method, Transport};
use connector::reason::CompletionReason;
use connector::secret::SecretString;
use sandbox::simulators::adyen::account::{ADYEN_API_KEY, ADYEN_HMAC_KEY};
use sandbox::simulators::simulated_gateway::EnteredDetails;
use sandbox::simulators::virtual_clock::VirtualClock;
use sandbox::testkit::fixtures::START;
use sandbox::testkit::gateway_fixtures::{ADYEN_CAPTURE_ONLY_METHOD, adyen_settings};
use sandbox::testkit::harness::TestEnvironment;
use sandbox::testkit::interceptors::Interceptors;

use crate::every_gateway::scenarios::{Buyer, assert_once, assert_paid_once, is_paid};

const GATEWAY: GatewayName = GatewayName::Adyen;

/// Builds the adapter for a manual account.
#[derive(Default)]
struct ManualAccount(OnceLock<Arc<dyn Transport>>);

impl Interceptors for ManualAccount {
    fn transport(&self, inner: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::clone(self.0.get_or_init(|| inner))
    }

    fn gateway(&self, adapter: Arc<dyn Gateway>) -> Arc<dyn Gateway> {
        if adapter.name() != GATEWAY {
            return adapter;
        }
        let settings = AdyenSettings { capture_mode: CaptureMode::Manual, ..adyen_settings("http://adyen.test") };
        let secrets = AdyenSecrets {
            api_key: SecretString::new(ADYEN_API_KEY),
            previous_api_key: None,
            hmac_keys: vec![SecretString::new(ADYEN_HMAC_KEY)],
        };
        Arc::new(Adyen::new(settings, secrets, Arc::clone(self.0.get().unwrap())).unwrap())
    }
}

fn environment() -> TestEnvironment {
    let env = TestEnvironment::with_interceptors(&ManualAccount::default(), VirtualClock::starting_at(START), |_| {});
    env.adyen.set_manual_capture();
    env
}

/// One capture was asked for, and no payment overrode the account's setting.
fn assert_captured_by_request(env: &TestEnvironment) {
    assert_eq!(env.network.delivered_count("adyen", &Method::POST, "/captures"), 1);
    for call in env.network.calls().into_iter().filter(|call| call.path.ends_with("/payments")) {
        assert!(call.request_body.get("captureDelayHours").is_none() && call.request_body.get("additionalData").is_none());
    }
    env.process_gateways();
    assert_eq!(env.adyen.total_captured("USD"), 999);
}

#[tokio::test]
async fn a_purchase_is_captured_by_request_and_reported_on_its_receipt() {
    let env = environment();
    let buyer = Buyer::new(&env, GATEWAY);
    assert!(is_paid(&buyer.start(&env, EnteredDetails::Frictionless, 1).await));
    assert_eq!(env.adyen.total_captured("USD"), 0, "the receipt says no more than that Adyen will try");
    assert_captured_by_request(&env);
    env.run_until_idle().await;
    assert_paid_once(&env, &buyer, "captured by request");
}

#[tokio::test]
async fn a_purchase_whose_customer_never_returns_is_captured_by_request_too() {
    let env = environment();
    let buyer = Buyer::new(&env, GATEWAY);
    let started = buyer.start(&env, EnteredDetails::ActionRequired, 1).await;
    let action = started.body["responseData"]["action"]["url"].as_str().unwrap().to_owned();
    env.adyen.finish_without_returning(action.split("result=").nth(1).unwrap());
    env.run_until_idle().await;
    assert_captured_by_request(&env);
    env.run_until_idle().await;
    assert_paid_once(&env, &buyer, "never returned");
}

#[tokio::test]
async fn a_capture_that_fails_afterwards_is_a_loss_that_is_reported() {
    let env = environment();
    let buyer = Buyer::new(&env, GATEWAY);
    assert!(is_paid(&buyer.start(&env, EnteredDetails::Frictionless, 1).await));
    env.adyen.fail_next_modification("Insufficient balance on payment");
    env.run_until_idle().await;
    assert_eq!(env.adyen.total_captured("USD"), 0);
    assert_eq!(env.cleeng.payments()[0].status, PaymentStatus::Refunded);
}

#[tokio::test]
async fn a_renewal_that_is_charged_at_once_is_captured_by_request() {
    let env = environment();
    let subscriber = env.subscriber(ADYEN_CAPTURE_ONLY_METHOD);
    env.clock.advance_to(subscriber.due);
    let event = env.capture_event(&subscriber);
    assert_eq!(env.deliver(&event).await, Disposition::Completed(CompletionReason::Captured));
    assert_captured_by_request(&env);
    env.run_until_idle().await;
    assert_once(&env, GATEWAY, &PaymentStatus::Captured, "charged");
}
