//! The scenarios of the suite, and the assertions about their end.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::flow::{BillingPolicy, Disposition, PartialRefunds};
use connector::frontend_api::Reply;
use connector::gateway::GatewayName;
use connector::ids::{CustomerId, ExternalPaymentId, OrderId, PaymentId};
use connector::money::{Currency, Money};
use connector::reason::CompletionReason;
use sandbox::simulators::cleeng::{OperatorRefund, SentWebhook};
use sandbox::simulators::simulated_gateway::{EnteredDetails, LedgerEntry};
use sandbox::testkit::fixtures::{OFFER, SHOP_ORIGIN, id};
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};
use serde_json::{Value, json};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::new("USD").unwrap())
}

/// Every default, and refunds in parts.
pub(crate) fn environment() -> TestEnvironment {
    TestEnvironment::new(|rules: &mut BillingPolicy| rules.partial_refunds = PartialRefunds::Send)
}

/// A subscriber who is authorised first, three days before the paid period ends.
pub(crate) fn at_first_attempt(gateway: GatewayName) -> (TestEnvironment, TestSubscriber) {
    let env = environment();
    let subscriber = env.subscriber(env.gateway(gateway).method);
    env.clock.advance_to(subscriber.due.before(72 * HOUR));
    (env, subscriber)
}

/// The same, authorised, when the period ends.
pub(crate) async fn authorised_and_due(gateway: GatewayName) -> (TestEnvironment, TestSubscriber) {
    let (env, subscriber) = at_first_attempt(gateway);
    assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 72)).await, Disposition::Completed(CompletionReason::Authorised));
    env.clock.advance_to(subscriber.due);
    (env, subscriber)
}

/// A subscriber who is charged at once, when the paid period ends.
pub(crate) fn due_to_be_charged(gateway: GatewayName) -> (TestEnvironment, TestSubscriber) {
    let env = environment();
    let subscriber = env.subscriber(env.gateway(gateway).capture_only_method);
    env.clock.advance_to(subscriber.due);
    (env, subscriber)
}

/// A subscriber whose next period was authorised, and who then got other details; with the announcement about the old ones.
pub(crate) async fn changed_details(env: &TestEnvironment, gateway: GatewayName) -> (TestSubscriber, String, SentWebhook) {
    let method = env.gateway(gateway).method;
    let mut subscriber = env.subscriber(method);
    env.clock.advance_to(subscriber.due.before(72 * HOUR));
    assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 72)).await, Disposition::Completed(CompletionReason::Authorised));
    let old = subscriber.token.clone();
    env.change_card(&mut subscriber, method);
    let announced = env.cleeng.due_webhooks().into_iter().find(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated);
    (subscriber, old, announced.unwrap())
}

/// A renewal that was charged at once.
pub(crate) async fn charged(gateway: GatewayName) -> (TestEnvironment, TestSubscriber, PaymentId) {
    let (env, subscriber) = due_to_be_charged(gateway);
    assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Captured));
    let payment = env.cleeng.payments()[0].id.clone();
    (env, subscriber, payment)
}

pub(crate) fn refund(env: &TestEnvironment, payment: &PaymentId, minor: Option<i64>, number: i64) -> SentWebhook {
    let asked = OperatorRefund { amount: minor.map(usd), id: Some(id(&number.to_string())), reason: None };
    env.cleeng.refund_event(payment, &asked).unwrap()
}

/// A single purchase that is authorised at both sides, in the journal as its purchase left it.
pub(crate) async fn single_purchase(gateway: GatewayName) -> (TestEnvironment, PaymentId) {
    let env = environment();
    let subscriber = env.subscriber(env.gateway(gateway).method);
    let bought = env.seed_purchase(&subscriber, PaymentStatus::Authorised, "1").await;
    (env, bought.payment)
}

/// A customer with an order, at a page.
#[derive(Clone)]
pub(crate) struct Buyer {
    pub(crate) gateway: GatewayName,
    pub(crate) customer: CustomerId,
    pub(crate) order: OrderId,
    pub(crate) token: String,
}

impl Buyer {
    pub(crate) fn new(env: &TestEnvironment, gateway: GatewayName) -> Self {
        let customer = env.cleeng.new_customer().unwrap();
        let order = env.cleeng.new_order(&customer, &id(OFFER), &id(env.gateway(gateway).method)).unwrap();
        let token = env.cleeng.customer_token(&customer);
        Self { gateway, customer, order, token }
    }

    /// A start of the order's payment with what the gateway's component collected.
    pub(crate) async fn start(&self, env: &TestEnvironment, entry: EnteredDetails, number: u32) -> Reply {
        let facts = json!({ "orderId": self.order, "returnUrl": format!("{SHOP_ORIGIN}/checkout?orderId={}", self.order) });
        self.call(env, "initial-payment", &facts, env.gateway(self.gateway).simulator.payment_data(entry, number)).await
    }

    pub(crate) async fn finalize(&self, env: &TestEnvironment, details: &Value) -> Reply {
        self.call(env, "initial-payment/finalize", &json!({ "orderId": self.order, "details": details }), Value::Null).await
    }

    /// A start in the redirect style, with what the gateway's component collected besides.
    pub(crate) async fn start_redirect(&self, env: &TestEnvironment, entry: EnteredDetails, number: u32) -> Reply {
        let at = |place: &str| format!("{SHOP_ORIGIN}/{place}");
        let facts = json!({ "orderId": self.order, "successUrl": at("thankyou"), "cancelUrl": at("offer"), "errorUrl": at("sorry") });
        self.call(env, "v1/tokens", &facts, env.gateway(self.gateway).simulator.payment_data(entry, number)).await
    }

    /// A start of the storing of details.
    pub(crate) async fn store(&self, env: &TestEnvironment, entry: EnteredDetails, number: u32) -> Reply {
        let facts = json!({ "paymentMethodId": env.gateway(self.gateway).method, "returnUrl": format!("{SHOP_ORIGIN}/account") });
        self.call(env, "payment-details", &facts, env.gateway(self.gateway).simulator.payment_data(entry, number)).await
    }

    async fn finalize_storing(&self, env: &TestEnvironment, details: &Value) -> Reply {
        let facts = json!({ "paymentMethodId": env.gateway(self.gateway).method, "details": details });
        self.call(env, "payment-details/finalize", &facts, Value::Null).await
    }

    async fn call(&self, env: &TestEnvironment, path: &str, facts: &Value, entered: Value) -> Reply {
        let mut body = json!({ "origin": SHOP_ORIGIN, "captchaValue": "x" });
        for more in [facts, &entered] {
            let members = more.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone()));
            body.as_object_mut().unwrap().extend(members);
        }
        env.call_at(self.gateway, path, &self.token, &body).await
    }

    /// The data that the customer submits after the action of this response; `None` if there is no action.
    pub(crate) fn complete_action(&self, env: &TestEnvironment, reply: &Reply) -> Option<Value> {
        let action = &reply.body["responseData"]["action"];
        action.is_object().then(|| env.gateway(self.gateway).simulator.complete_action(action))
    }

    /// Pays as a patient page does: starts, does what is asked, hands it in, and asks again while it is not told.
    pub(crate) async fn pay_until_final(&self, env: &TestEnvironment, entry: EnteredDetails, number: u32) -> Reply {
        let mut handed_in: Option<Value> = None;
        for _ in 0..60 {
            let reply = match &handed_in {
                None => self.start(env, entry, number).await,
                Some(details) => self.finalize(env, details).await,
            };
            if let Some(details) = self.complete_action(env, &reply) {
                handed_in = Some(details);
            } else if matches!(reply.status.as_u16(), 202 | 503) {
                env.clock.advance(Duration::from_secs(30));
                env.run_until_idle().await;
            } else {
                return reply;
            }
        }
        panic!("never told")
    }

    /// Stores details as a patient page does.
    pub(crate) async fn store_until_final(&self, env: &TestEnvironment, entry: EnteredDetails, number: u32) -> Reply {
        let mut handed_in: Option<Value> = None;
        for _ in 0..60 {
            let reply = match &handed_in {
                None => self.store(env, entry, number).await,
                Some(details) => self.finalize_storing(env, details).await,
            };
            if let Some(details) = self.complete_action(env, &reply) {
                handed_in = Some(details);
            } else if matches!(reply.status.as_u16(), 202 | 503) {
                env.clock.advance(Duration::from_secs(30));
                env.run_until_idle().await;
            } else {
                return reply;
            }
        }
        panic!("never told")
    }
}

pub(crate) fn is_paid(reply: &Reply) -> bool {
    reply.status == 200 && reply.body["responseData"]["payment"]["status"] == "captured"
}

pub(crate) fn statuses(env: &TestEnvironment) -> Vec<PaymentStatus> {
    env.cleeng.payments().into_iter().map(|payment| payment.status).collect()
}

pub(crate) fn assert_balanced(env: &TestEnvironment, context: &str) {
    assert_eq!(env.discrepancies(), Vec::<String>::new(), "{context}");
}

/// What the gateway's bank ever agreed to, verifications left out.
pub(crate) fn approved_entries(env: &TestEnvironment, gateway: GatewayName) -> Vec<LedgerEntry> {
    let all = env.gateway(gateway).simulator.ledger();
    all.into_iter().filter(|entry| entry.authorised && entry.amount.minor > 0).collect()
}

/// One payment at the gateway and one in Cleeng, in this status, with the whole amount held or taken, under the id that works there.
pub(crate) fn assert_once(env: &TestEnvironment, gateway: GatewayName, status: &PaymentStatus, context: &str) {
    let entries = approved_entries(env, gateway);
    assert_eq!(entries.len(), 1, "{context}: {entries:?}");
    let taken = if *status == PaymentStatus::Captured { 999 } else { 0 };
    assert_eq!((entries[0].amount, entries[0].captured), (usd(999), usd(taken)), "{context}");
    let known: Vec<_> = env.cleeng.payments().into_iter().filter(|payment| payment.status != PaymentStatus::Rejected).collect();
    assert_eq!(known.iter().map(|payment| &payment.status).collect::<Vec<_>>(), [status], "{context}");
    assert_eq!(known[0].external_payment_id, entries[0].external_payment_id, "{context}");
    assert_balanced(env, context);
}

/// One charge of the buyer's order, with stored details that the gateway has.
pub(crate) fn assert_paid_once(env: &TestEnvironment, buyer: &Buyer, context: &str) {
    let kept: Vec<_> = approved_entries(env, buyer.gateway).into_iter().filter(LedgerEntry::holds_money).collect();
    assert_eq!(kept.len(), 1, "{context}: {kept:?}");
    assert_eq!((kept[0].captured, kept[0].refunded), (usd(999), usd(0)), "{context}");
    let captured: Vec<_> = env.cleeng.payments().into_iter().filter(|payment| payment.status == PaymentStatus::Captured).collect();
    assert_eq!(captured.len(), 1, "{context}: {:?}", statuses(env));
    assert_eq!((&captured[0].order, &captured[0].customer), (&buyer.order, &buyer.customer), "{context}");
    assert_eq!(captured[0].external_payment_id, kept[0].external_payment_id, "{context}");
    let details = env.cleeng.details(captured[0].details.as_ref().unwrap()).unwrap();
    assert!(details.active && env.gateway(buyer.gateway).simulator.has_stored_details(&details.token), "{context}");
    assert_balanced(env, context);
}

/// The only payment's id at the gateway.
pub(crate) fn only_external_id(env: &TestEnvironment, gateway: GatewayName) -> ExternalPaymentId {
    let entries = approved_entries(env, gateway);
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].external_payment_id.clone()
}
