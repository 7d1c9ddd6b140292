//! Who runs: subscribers whose period ends within the run, and customers at a page.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::gateway::{GatewayName, GatewayText, IdempotencyKey, MerchantInitiated, OperationKind, Outcome, Reference, StoredToken};
use connector::http::{HeaderMap, HeaderValue};
use connector::ids::{OrderId, PaymentId};
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::store::Key;
use connector::journal::transaction::{Retention, Transaction};
use connector::money::{Currency, Money};
use connector::payments::obligation_context::PaymentLookup;
use connector::secret::SecretString;
use serde_json::{Value, json};

use super::executor::run_to_completion;
use super::prng::Prng;
use crate::expect::expect_fixture;
use crate::simulators::cleeng::PaidPurchase;
use crate::simulators::simulated_gateway::EnteredDetails;
use crate::testkit::fixtures::{OFFER, SHOP_ORIGIN, START, id};
use crate::testkit::gateway_fixtures::GatewayFixture;
use crate::testkit::harness::{TestEnvironment, TestSubscriber};

/// A page keeps its customer's token fresh; here it lasts as long as any play.
const TOKEN_LIFETIME: Duration = Duration::from_secs(40 * 86_400);
/// How often a customer tries another time before he gives up.
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

/// Where a customer at a page stands.
#[derive(Clone)]
pub(super) enum ShopperStep {
    /// He enters details.
    EnteringDetails(EnteredDetails),
    /// He has done what was asked of him and hands it in.
    Finalizing(Value),
    /// He has an answer, or is not seen again.
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
    /// Whether he comes back after what he was asked to do somewhere else.
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
        let standing = ShopperStep::EnteringDetails(prng.choose(
            EnteredDetails::Frictionless,
            &[EnteredDetails::ActionRequired, EnteredDetails::ActionRequired, EnteredDetails::Declined],
        ));
        Self {
            gateway: fixture.simulator.gateway_name(),
            method,
            order,
            token,
            step: standing,
            tries: 0,
            returns: prng.chance(750),
            call_count: 0,
        }
    }

    /// The path, the headers and the body of his next call; nothing if he makes none.
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
        headers.insert("authorization", expect_fixture(HeaderValue::from_str(&format!("Bearer {}", self.token)).ok()));
        let tail = if finalizes { "/finalize" } else { "" };
        Some((format!("/connectors/{}/{path}{tail}", self.gateway), headers, body.to_string()))
    }

    /// He was refused: he tries something else, or gives up.
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
    let fixture = random_gateway(env, prng);
    let gateway = fixture.simulator.gateway_name();
    let subscriber = env.subscriber(fixture.method);
    // Nothing is renewed: what is bought once is no subscription.
    env.cleeng.set_status(&subscriber.ids.subscription, SubscriptionStatus::Terminated);
    let price = Money::new(999, expect_fixture(Currency::new("USD").ok()));
    let number = prng.next_u64().to_string();
    let key =
        IdempotencyKey::derive(&SecretString::new("single"), GatewayText(gateway.as_str()), OperationKind::Authorise, "single", &number);
    let (customer, token) = (subscriber.ids.customer.clone(), StoredToken(SecretString::new(subscriber.token.clone())));
    let request = MerchantInitiated { reference: Reference::from_key(&key), key, amount: price, token, customer: customer.clone() };
    let adapter = expect_fixture(env.flow_context.gateways.get(gateway)).clone();
    let authorised = expect_fixture(run_to_completion(async { adapter.authorise(&request).await.ok() }).flatten());
    let Outcome::Done(operation) = authorised else { return expect_fixture(None) };
    let external = expect_fixture(operation.external_payment_id);
    let purchase = PaidPurchase {
        customer,
        offer: id(OFFER),
        method: id(fixture.method),
        details: Some(subscriber.ids.details.clone()),
        total: price,
        external_payment_id: external.clone(),
        status: PaymentStatus::Authorised,
    };
    let (payment, order) = expect_fixture(env.cleeng.insert_purchase(purchase));
    let (now, reference) = (env.now(), request.reference);
    let obligation = Key::new("order", &[order.as_str()]);
    let mut record = PaymentRecord::new(reference.clone(), gateway, &obligation, request.customer, price, now);
    expect_fixture(record.transition_to(PaymentState::Authorised, now).ok());
    (record.order, record.details) = (Some(order), Some(subscriber.ids.details));
    record.cleeng_payment = Some(payment.clone());
    (record.authorisation, record.external_payment_id) = (Some(external.clone()), Some(external.clone()));
    let mut work = Transaction::new(Arc::clone(&env.flow_context.store));
    expect_fixture(work.stage(&PaymentRecord::key(&reference), &record, Retention::default()).ok());
    for key in [PaymentRecord::cleeng_id_key(&payment), PaymentRecord::gateway_id_key(gateway, &external)] {
        expect_fixture(work.stage(&key, &PaymentLookup { reference: reference.clone() }, Retention::default()).ok());
    }
    expect_fixture(run_to_completion(async { work.commit().await.ok() }).flatten());
    // It is long ago: the gateway has told it.
    env.process_gateways();
    fixture.simulator.take_notifications();
    payment
}
