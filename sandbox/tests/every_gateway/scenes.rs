//! What the rules are played on, and what is true in the end.

use std::time::Duration;

use connector::billing::case::Lookup;
use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::clock::Clock as _;
use connector::flow::{PartialRefunds, Rules, Verdict};
use connector::front::Reply;
use connector::gateway::{GatewayName, GatewayText, IdempotencyKey, MerchantInitiated, OperationKind, Outcome, Reference, StoredToken};
use connector::ids::{CustomerId, ExternalPaymentId, OrderId, PaymentId};
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::store::Key;
use connector::journal::work::{Keep, Work};
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use sandbox::cleeng::{Purchase, RefundRequest, SentWebhook};
use sandbox::house::{Entry, LedgerEntry};
use sandbox::stage::{Cast, OFFER, ORIGIN, Stage, id};
use serde_json::{Value, json};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::new("USD").unwrap())
}

/// Every default, and refunds in parts.
pub(crate) fn stage() -> Stage {
    Stage::new(|rules: &mut Rules| rules.partial_refunds = PartialRefunds::Send)
}

/// A subscriber who is authorised first, three days before his paid period ends.
pub(crate) fn at_first_attempt(gateway: GatewayName) -> (Stage, Cast) {
    let stage = stage();
    let cast = stage.subscriber(stage.guest(gateway).method);
    stage.clock.advance_to(cast.due.before(72 * HOUR));
    (stage, cast)
}

/// The same, authorised, when the period ends.
pub(crate) async fn authorised_and_due(gateway: GatewayName) -> (Stage, Cast) {
    let (stage, cast) = at_first_attempt(gateway);
    assert_eq!(stage.play(&stage.authorisation(&cast, 72)).await, Verdict::Settled("authorised"));
    stage.clock.advance_to(cast.due);
    (stage, cast)
}

/// A subscriber who is charged at once, when his paid period ends.
pub(crate) fn due_to_be_charged(gateway: GatewayName) -> (Stage, Cast) {
    let stage = stage();
    let cast = stage.subscriber(stage.guest(gateway).capture_only);
    stage.clock.advance_to(cast.due);
    (stage, cast)
}

/// A subscriber whose next period was authorised, and who then got other details; with the announcement about the old ones.
pub(crate) async fn changed_details(stage: &Stage, gateway: GatewayName) -> (Cast, String, SentWebhook) {
    let method = stage.guest(gateway).method;
    let mut cast = stage.subscriber(method);
    stage.clock.advance_to(cast.due.before(72 * HOUR));
    assert_eq!(stage.play(&stage.authorisation(&cast, 72)).await, Verdict::Settled("authorised"));
    let old = cast.token.clone();
    stage.change_card(&mut cast, method);
    let announced = stage.cleeng.due_webhooks().into_iter().find(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated);
    (cast, old, announced.unwrap())
}

/// A renewal that was charged at once.
pub(crate) async fn charged(gateway: GatewayName) -> (Stage, Cast, PaymentId) {
    let (stage, cast) = due_to_be_charged(gateway);
    assert_eq!(stage.play(&stage.capture(&cast)).await, Verdict::Settled("captured"));
    let payment = stage.cleeng.payments()[0].id.clone();
    (stage, cast, payment)
}

pub(crate) fn refund(stage: &Stage, payment: &PaymentId, minor: Option<i64>, number: i64) -> SentWebhook {
    let asked = RefundRequest { amount: minor.map(usd), id: Some(id(&number.to_string())), reason: None };
    stage.cleeng.refund_event(payment, &asked).unwrap()
}

/// A single purchase that is authorised at both sides, in the journal as its purchase left it.
pub(crate) async fn single_purchase(gateway: GatewayName) -> (Stage, PaymentId) {
    let stage = stage();
    let cast = stage.subscriber(stage.guest(gateway).method);
    let key = IdempotencyKey::derive(&SecretString::new("single"), GatewayText(gateway.as_str()), OperationKind::Authorise, "single", "1");
    let customer = cast.subscriber.customer.clone();
    let token = StoredToken(SecretString::new(cast.token.clone()));
    let request = MerchantInitiated { reference: Reference::from_key(&key), key, amount: usd(999), token, customer: customer.clone() };
    let Ok(Outcome::Done(operation)) = stage.world.gateways.get(gateway).unwrap().authorise(&request).await else {
        panic!("the purchase is not authorised")
    };
    let purchase = Purchase {
        customer,
        offer: id(OFFER),
        method: id(stage.guest(gateway).method),
        details: Some(cast.subscriber.details.clone()),
        total: usd(999),
        external: operation.external_payment_id.unwrap(),
        status: PaymentStatus::Authorised,
    };
    let (external, reference) = (purchase.external.clone(), request.reference);
    let (payment, order) = stage.cleeng.put_purchase(purchase).unwrap();
    let (now, obligation) = (stage.clock.now(), Key::new("order", &[order.as_str()]));
    let mut record = PaymentRecord::starting(reference.clone(), gateway, &obligation, request.customer, usd(999), now);
    record.become_state(PaymentState::Authorised, now).unwrap();
    (record.order, record.details) = (Some(order), Some(cast.subscriber.details.clone()));
    record.cleeng_payment = Some(payment.clone());
    (record.authorisation, record.external_payment_id) = (Some(external.clone()), Some(external.clone()));
    let mut work = Work::new(stage.world.store.clone());
    work.stage(&PaymentRecord::key(&reference), &record, Keep::default()).unwrap();
    for key in [PaymentRecord::by_cleeng(&payment), PaymentRecord::by_gateway(gateway, &external)] {
        work.stage(&key, &Lookup { reference: reference.clone() }, Keep::default()).unwrap();
    }
    work.commit().await.unwrap();
    stage.process();
    stage.guest(gateway).house.take_notifications();
    (stage, payment)
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
    pub(crate) fn new(stage: &Stage, gateway: GatewayName) -> Self {
        let customer = stage.cleeng.new_customer().unwrap();
        let order = stage.cleeng.new_order(&customer, &id(OFFER), &id(stage.guest(gateway).method)).unwrap();
        let token = stage.cleeng.customer_token(&customer);
        Self { gateway, customer, order, token }
    }

    /// A start of the order's payment with what the gateway's component collected.
    pub(crate) async fn start(&self, stage: &Stage, entry: Entry, number: u32) -> Reply {
        let facts = json!({ "orderId": self.order, "returnUrl": format!("{ORIGIN}/checkout?orderId={}", self.order) });
        self.call(stage, "initial-payment", &facts, stage.guest(self.gateway).house.entered(entry, number)).await
    }

    pub(crate) async fn finalize(&self, stage: &Stage, details: &Value) -> Reply {
        self.call(stage, "initial-payment/finalize", &json!({ "orderId": self.order, "details": details }), Value::Null).await
    }

    /// A start in the redirect style, with what the gateway's component collected besides.
    pub(crate) async fn start_away(&self, stage: &Stage, entry: Entry, number: u32) -> Reply {
        let at = |place: &str| format!("{ORIGIN}/{place}");
        let facts = json!({ "orderId": self.order, "successUrl": at("thankyou"), "cancelUrl": at("offer"), "errorUrl": at("sorry") });
        self.call(stage, "v1/tokens", &facts, stage.guest(self.gateway).house.entered(entry, number)).await
    }

    /// A start of the storing of details.
    pub(crate) async fn store(&self, stage: &Stage, entry: Entry, number: u32) -> Reply {
        let facts = json!({ "paymentMethodId": stage.guest(self.gateway).method, "returnUrl": format!("{ORIGIN}/account") });
        self.call(stage, "payment-details", &facts, stage.guest(self.gateway).house.entered(entry, number)).await
    }

    async fn finalize_storing(&self, stage: &Stage, details: &Value) -> Reply {
        let facts = json!({ "paymentMethodId": stage.guest(self.gateway).method, "details": details });
        self.call(stage, "payment-details/finalize", &facts, Value::Null).await
    }

    async fn call(&self, stage: &Stage, path: &str, facts: &Value, entered: Value) -> Reply {
        let mut body = json!({ "origin": ORIGIN, "captchaValue": "x" });
        for more in [facts, &entered] {
            let members = more.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone()));
            body.as_object_mut().unwrap().extend(members);
        }
        stage.call_at(self.gateway, path, &self.token, &body).await
    }

    /// What the customer hands in after he did what this answer asks of him; nothing if it asks nothing.
    pub(crate) fn does(&self, stage: &Stage, reply: &Reply) -> Option<Value> {
        let action = &reply.body["responseData"]["action"];
        action.is_object().then(|| stage.guest(self.gateway).house.agree(action))
    }

    /// Pays as a patient page does: starts, does what is asked, hands it in, and asks again while it is not told.
    pub(crate) async fn pay(&self, stage: &Stage, entry: Entry, number: u32) -> Reply {
        let mut handed_in: Option<Value> = None;
        for _ in 0..60 {
            let reply = match &handed_in {
                None => self.start(stage, entry, number).await,
                Some(details) => self.finalize(stage, details).await,
            };
            if let Some(details) = self.does(stage, &reply) {
                handed_in = Some(details);
            } else if matches!(reply.status.as_u16(), 202 | 503) {
                stage.clock.advance(Duration::from_secs(30));
                stage.run_until_quiet().await;
            } else {
                return reply;
            }
        }
        panic!("never told")
    }

    /// Stores details as a patient page does.
    pub(crate) async fn store_patiently(&self, stage: &Stage, entry: Entry, number: u32) -> Reply {
        let mut handed_in: Option<Value> = None;
        for _ in 0..60 {
            let reply = match &handed_in {
                None => self.store(stage, entry, number).await,
                Some(details) => self.finalize_storing(stage, details).await,
            };
            if let Some(details) = self.does(stage, &reply) {
                handed_in = Some(details);
            } else if matches!(reply.status.as_u16(), 202 | 503) {
                stage.clock.advance(Duration::from_secs(30));
                stage.run_until_quiet().await;
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

pub(crate) fn statuses(stage: &Stage) -> Vec<PaymentStatus> {
    stage.cleeng.payments().into_iter().map(|payment| payment.status).collect()
}

pub(crate) fn assert_balanced(stage: &Stage, context: &str) {
    assert_eq!(stage.disagreements(), Vec::<String>::new(), "{context}");
}

/// What the gateway's bank ever agreed to, verifications left out.
pub(crate) fn agreed(stage: &Stage, gateway: GatewayName) -> Vec<LedgerEntry> {
    let all = stage.guest(gateway).house.ledger();
    all.into_iter().filter(|entry| entry.authorised && entry.amount.minor > 0).collect()
}

/// One payment at the gateway and one in Cleeng, in this status, with the whole amount held or taken, under the id that works there.
pub(crate) fn assert_once(stage: &Stage, gateway: GatewayName, status: &PaymentStatus, context: &str) {
    let entries = agreed(stage, gateway);
    assert_eq!(entries.len(), 1, "{context}: {entries:?}");
    let taken = if *status == PaymentStatus::Captured { 999 } else { 0 };
    assert_eq!((entries[0].amount, entries[0].captured), (usd(999), usd(taken)), "{context}");
    let known: Vec<_> = stage.cleeng.payments().into_iter().filter(|payment| payment.status != PaymentStatus::Rejected).collect();
    assert_eq!(known.iter().map(|payment| &payment.status).collect::<Vec<_>>(), [status], "{context}");
    assert_eq!(known[0].external_payment_id, entries[0].external_payment_id, "{context}");
    assert_balanced(stage, context);
}

/// One charge of the buyer's order, with stored details that the gateway has.
pub(crate) fn assert_paid_once(stage: &Stage, buyer: &Buyer, context: &str) {
    let kept: Vec<_> = agreed(stage, buyer.gateway).into_iter().filter(LedgerEntry::holds_money).collect();
    assert_eq!(kept.len(), 1, "{context}: {kept:?}");
    assert_eq!((kept[0].captured, kept[0].refunded), (usd(999), usd(0)), "{context}");
    let captured: Vec<_> = stage.cleeng.payments().into_iter().filter(|payment| payment.status == PaymentStatus::Captured).collect();
    assert_eq!(captured.len(), 1, "{context}: {:?}", statuses(stage));
    assert_eq!((&captured[0].order, &captured[0].customer), (&buyer.order, &buyer.customer), "{context}");
    assert_eq!(captured[0].external_payment_id, kept[0].external_payment_id, "{context}");
    let details = stage.cleeng.details(captured[0].details.as_ref().unwrap()).unwrap();
    assert!(details.active && stage.guest(buyer.gateway).house.is_stored(&details.token), "{context}");
    assert_balanced(stage, context);
}

/// The only payment's id at the gateway.
pub(crate) fn only_id(stage: &Stage, gateway: GatewayName) -> ExternalPaymentId {
    let entries = agreed(stage, gateway);
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].external_payment_id.clone()
}
