//! Who runs: subscribers whose period ends within the run, and customers at a page.

use std::time::Duration;

use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::gateway::GatewayName;
use connector::http::{HeaderMap, HeaderValue};
use connector::ids::{OrderId, PaymentId};
use serde_json::{Value, json};

use super::executor::run_to_completion;
use super::prng::Prng;
use crate::expect::expect_fixture;
use crate::simulators::simulated_gateway::EnteredDetails;
use crate::testkit::fixtures::{OFFER, SHOP_ORIGIN, START, id};
use crate::testkit::gateway_fixtures::GatewayFixture;
use crate::testkit::harness::{TestEnvironment, TestSubscriber};

/// A page keeps its customer's token fresh; here it lasts as long as any run.
const TOKEN_LIFETIME: Duration = Duration::from_secs(40 * 86_400);
/// How often a shopper tries before giving up.
const MAX_TRIES: u32 = 3;

/// A page asks again after this long.
pub(super) const PAGE_RETRY_INTERVAL: Duration = Duration::from_secs(15);

/// Somebody with a subscription.
pub(super) struct Subscriber {
    pub(super) subscriber: TestSubscriber,
    pub(super) gateway: GatewayName,
}

impl Subscriber {
    /// A subscriber of one of the gateways, billed in one of the two ways.
    pub(super) fn random(env: &TestEnvironment, prng: &mut Prng) -> Self {
        let fixture = random_gateway(env, prng);
        let method = if prng.chance(600) { fixture.method } else { fixture.capture_only_method };
        Self { subscriber: env.subscriber(method), gateway: fixture.simulator.gateway_name() }
    }
}

/// One of the gateways.
pub(super) fn random_gateway<'a>(env: &'a TestEnvironment, prng: &mut Prng) -> &'a GatewayFixture {
    expect_fixture(env.gateways.get(prng.index(env.gateways.len())))
}

/// The next step of a shopper.
#[derive(Clone)]
pub(super) enum ShopperStep {
    /// Enters details.
    EnteringDetails(EnteredDetails),
    /// Has completed the action and submits its result.
    Finalizing(Value),
    /// Has an answer, or never returns.
    Finished,
}

/// A customer at a page: with an order to pay, or with details to be stored.
pub(super) struct Shopper {
    pub(super) gateway: GatewayName,
    pub(super) method: &'static str,
    pub(super) order: Option<OrderId>,
    pub(super) token: String,
    pub(super) step: ShopperStep,
    pub(super) tries: u32,
    /// Whether the shopper returns after an action on another page.
    pub(super) returns: bool,
    pub(super) call_count: u32,
}

impl Shopper {
    pub(super) fn random(env: &TestEnvironment, prng: &mut Prng) -> Self {
        let fixture = random_gateway(env, prng);
        let method = if prng.chance(700) { fixture.method } else { fixture.capture_only_method };
        let customer = expect_fixture(env.cleeng.new_customer());
        let order = prng.chance(700).then(|| expect_fixture(env.cleeng.new_order(&customer, &id(OFFER), &id(method))));
        let token = env.cleeng.customer_token_until(&customer, START.after(TOKEN_LIFETIME));
        let step = ShopperStep::EnteringDetails(prng.choose(
            EnteredDetails::Frictionless,
            &[EnteredDetails::ActionRequired, EnteredDetails::ActionRequired, EnteredDetails::Declined],
        ));
        Self { gateway: fixture.simulator.gateway_name(), method, order, token, step, tries: 0, returns: prng.chance(750), call_count: 0 }
    }

    /// The path, the headers and the body of the next call; `None` if there is none.
    pub(super) fn next_call(&self, env: &TestEnvironment) -> Option<(String, HeaderMap, String)> {
        let (finalizes, members) = match &self.step {
            ShopperStep::Finished => return None,
            ShopperStep::EnteringDetails(entry) => (false, env.gateway(self.gateway).simulator.payment_data(*entry, self.tries)),
            ShopperStep::Finalizing(details) => (true, json!({ "details": details })),
        };
        let (path, mut body) = match &self.order {
            Some(order) => ("initial-payment", json!({ "orderId": order })),
            None => ("payment-details", json!({ "paymentMethodId": self.method })),
        };
        let common = json!({ "origin": SHOP_ORIGIN, "captchaValue": "x" });
        let back = if finalizes { json!({}) } else { json!({ "returnUrl": format!("{SHOP_ORIGIN}/back") }) };
        for more in [common, back, members] {
            if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
                body.extend(more);
            }
        }
        let mut headers = HeaderMap::new();
        headers.insert("origin", HeaderValue::from_static(SHOP_ORIGIN));
        headers.insert("prefer", HeaderValue::from_static("respond-async"));
        headers.insert("authorization", expect_fixture(HeaderValue::from_str(&format!("Bearer {}", self.token)).ok()));
        let tail = if finalizes { "/finalize" } else { "" };
        Some((format!("/connectors/{}/{path}{tail}", self.gateway), headers, body.to_string()))
    }

    /// After a decline: the shopper tries other details, or gives up.
    pub(super) fn retry_or_give_up(&mut self, prng: &mut Prng) {
        self.tries = self.tries.saturating_add(1);
        self.step = if self.tries < MAX_TRIES {
            ShopperStep::EnteringDetails(prng.choose(EnteredDetails::Frictionless, &[EnteredDetails::ActionRequired]))
        } else {
            ShopperStep::Finished
        };
    }
}

/// A single purchase from before the run that is authorised at both sides, and in the journal as its purchase left it.
pub(super) fn single_purchase(env: &TestEnvironment, prng: &mut Prng) -> PaymentId {
    let subscriber = env.subscriber(random_gateway(env, prng).method);
    // Nothing is renewed: a single purchase is no subscription.
    env.cleeng.set_status(&subscriber.ids.subscription, SubscriptionStatus::Terminated);
    let name = prng.next_u64().to_string();
    expect_fixture(run_to_completion(env.seed_purchase(&subscriber, PaymentStatus::Authorised, &name))).payment
}
