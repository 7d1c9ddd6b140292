//! Fixtures of every test environment: Cleeng's account, ids, flows and the billing policy. No value is real.

use std::sync::Arc;
use std::time::Duration;

use capture_payment::CapturePayment;
use connector::cleeng::client::{CleengEnvironment, CleengSettings, CoreApi};
use connector::cleeng::signature::{SignatureSettings, WebhookVerifier};
use connector::cleeng::webhook::Topic;
use connector::clock::Timestamp;
use connector::flow::{BillingMode, BillingPolicy, Flow, PartialRefunds, PaymentMethodConfig, SettleOn};
use connector::gateway::GatewayName;
use connector::http::Transport;
use connector::ids::Id;
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use payment_details_deactivated::PaymentDetailsDeactivated;
use refund_payment::RefundPayment;
use subscription_ready_for_payment_authorisation::Authorisation;
use subscription_ready_for_payment_capture::Capture;
use subscription_ready_for_termination::Termination;

use crate::expect::expect_fixture;
use crate::simulators::cleeng::{CleengSimulator, Cycle, DunningSettings, PublisherAccount};
use crate::testkit::gateway_fixtures::payment_methods_of;

/// The publisher of the sandbox.
pub const PUBLISHER: &str = "558186818";
/// The publisher token of the sandbox.
pub const PUBLISHER_TOKEN: &str = "sandbox-publisher-token-0123456789abcdef01234567";
/// The webhook secret of the sandbox.
pub const WEBHOOK_SECRET: &str = "sandbox-webhook-secret-0123456789abcdef";
/// The offer of the sandbox.
pub const OFFER: &str = "S619117184_US";
/// What the sandbox sells once, without a renewal.
pub const PASS: &str = "P619117185_US";
/// The offer of the sample events.
pub const SAMPLE_OFFER: &str = "S123123123_US";
/// When the sandbox starts: 2026-03-01T12:00:00Z.
pub const START: Timestamp = Timestamp::from_secs(1_772_366_400);
/// How long a function may take.
pub const FUNCTION_TIMEOUT: Duration = Duration::from_secs(90);

/// The origin of the sandbox's checkout page.
pub const SHOP_ORIGIN: &str = "https://shop.example.com";
/// The public address of the sandbox's connector.
pub const PUBLIC_URL: &str = "https://pay.example.com";
/// How long a front-end function may take.
pub const FRONTEND_TIMEOUT: Duration = Duration::from_secs(29);

pub(super) const CLEENG_URL: &str = "http://cleeng.test/3.1";
pub(super) const MEDIASTORE_URL: &str = "http://cleeng.test/mediastore";

/// The function of a topic.
#[must_use]
pub fn flow_for(topic: Topic) -> Option<Box<dyn Flow>> {
    match topic {
        Topic::SubscriptionReadyForPaymentAuthorisation => Some(Box::new(Authorisation)),
        Topic::SubscriptionReadyForPaymentCapture => Some(Box::new(Capture)),
        Topic::SubscriptionReadyForTermination => Some(Box::new(Termination)),
        Topic::PaymentDetailsDeactivated => Some(Box::new(PaymentDetailsDeactivated)),
        Topic::RefundPayment => Some(Box::new(RefundPayment)),
        Topic::CapturePayment => Some(Box::new(CapturePayment)),
    }
}

/// Fills Cleeng with the sandbox's methods and its offer.
pub fn seed(cleeng: &CleengSimulator) {
    let after_due = DunningSettings { authorised_first: false, attempts: vec![0, -24, -48], grace: 50 };
    for gateway in GatewayName::ALL {
        let (method, capture_only) = payment_methods_of(*gateway);
        cleeng.add_method(id(method), gateway.as_str(), DunningSettings::default());
        cleeng.add_method(id(capture_only), gateway.as_str(), after_due.clone());
    }
    let price = Money::new(999, expect_fixture(Currency::new("USD").ok()));
    for offer in [OFFER, SAMPLE_OFFER, PASS] {
        cleeng.add_offer(id(offer), price, Cycle::MONTHLY);
    }
}

/// The sandbox's publisher.
#[must_use]
pub fn publisher() -> PublisherAccount {
    PublisherAccount { id: id(PUBLISHER), token: PUBLISHER_TOKEN.to_owned(), webhook_secret: WEBHOOK_SECRET.to_owned() }
}

/// The sandbox's billing policy: every default, but details stay when they are deactivated, so that what is held with them shows.
#[must_use]
pub fn billing_policy() -> BillingPolicy {
    let of_gateway = |gateway: &GatewayName| {
        let (method, capture_only) = payment_methods_of(*gateway);
        [(id(method), BillingMode::AuthoriseThenCapture), (id(capture_only), BillingMode::CaptureOnly)]
            .map(|(id, billing)| (id, PaymentMethodConfig { gateway: *gateway, billing }))
    };
    BillingPolicy {
        publisher: id::<connector::ids::kind::Publisher>(PUBLISHER),
        methods: GatewayName::ALL.iter().flat_map(of_gateway).collect(),
        capture_wait: Duration::from_secs(3600),
        settle_on: SettleOn::Notification,
        settle_deadline: Duration::from_secs(45 * 60),
        unknown_deadline: Duration::from_secs(24 * 3600),
        termination_wait: Duration::from_secs(48 * 3600),
        partial_refunds: PartialRefunds::Park,
        delete_deactivated_details: false,
        max_declines: 15,
        salt: SecretString::new("sandbox-idempotency-salt"),
    }
}

pub(super) fn core_api(url: &str, transport: Arc<dyn Transport>) -> CoreApi {
    let settings = CleengSettings { api_url: url.to_owned(), ..CleengSettings::defaults(CleengEnvironment::Sandbox) };
    expect_fixture(CoreApi::new(settings, vec![SecretString::new(PUBLISHER_TOKEN)], transport).ok())
}

pub(super) fn verifier() -> WebhookVerifier {
    expect_fixture(WebhookVerifier::new(SignatureSettings::default(), &[SecretString::new(WEBHOOK_SECRET)]).ok())
}

/// The gateway's own part of a token.
pub(super) fn stored_id_of(token: &str) -> String {
    token.split(':').next().unwrap_or_default().to_owned()
}

/// An id of the sandbox.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn id<K>(text: &str) -> Id<K> {
    expect_fixture(Id::new(text).ok())
}
