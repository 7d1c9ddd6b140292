//! Who plays: subscribers whose period ends within the play, and customers at a page.

use std::sync::Arc;
use std::time::Duration;

use connector::billing::case::Lookup;
use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::gateway::{GatewayName, GatewayText, IdempotencyKey, MerchantInitiated, OperationKind, Outcome, Reference, StoredToken};
use connector::http::{HeaderMap, HeaderValue};
use connector::ids::{OrderId, PaymentId};
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::store::Key;
use connector::journal::work::{Keep, Work};
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use serde_json::{Value, json};

use super::acts::at_once;
use super::dice::Dice;
use crate::cleeng::Purchase;
use crate::guests::Guest;
use crate::house::Entry;
use crate::stage::{Cast, OFFER, ORIGIN, START, Stage, id, known};

/// A page keeps its customer's token fresh; here it lasts as long as any play.
const TOKEN: Duration = Duration::from_secs(40 * 86_400);
/// How often a customer tries another time before he gives up.
const MOST_ENTRIES: u32 = 3;

/// Somebody with a subscription.
pub(super) struct Member {
    pub(super) cast: Cast,
    pub(super) gateway: GatewayName,
}

impl Member {
    /// A subscriber of one of the gateways, billed in one of the two ways.
    pub(super) fn joins(stage: &Stage, dice: &mut Dice) -> Self {
        let guest = one_of(stage, dice);
        let method = if dice.happens(600) { guest.method } else { guest.capture_only };
        Self { cast: stage.subscriber(method), gateway: guest.house.gateway() }
    }
}

/// One of the gateways.
pub(super) fn one_of<'a>(stage: &'a Stage, dice: &mut Dice) -> &'a Guest {
    known(stage.guests.get(dice.index(stage.guests.len())))
}

/// Where a customer at a page stands.
#[derive(Clone)]
pub(super) enum Standing {
    /// He enters details.
    Enters(Entry),
    /// He has done what was asked of him and hands it in.
    HandsIn(Value),
    /// He has an answer, or is not seen again.
    Gone,
}

/// A customer at a page: with an order to pay, or with details to be stored.
pub(super) struct Visitor {
    pub(super) gateway: GatewayName,
    pub(super) method: &'static str,
    pub(super) order: Option<OrderId>,
    pub(super) token: String,
    pub(super) standing: Standing,
    pub(super) entries: u32,
    /// Whether he comes back after what he was asked to do somewhere else.
    pub(super) comes_back: bool,
    pub(super) calls: u32,
}

impl Visitor {
    pub(super) fn comes(stage: &Stage, dice: &mut Dice) -> Self {
        let guest = one_of(stage, dice);
        let method = if dice.happens(700) { guest.method } else { guest.capture_only };
        let customer = known(stage.cleeng.new_customer());
        let order = dice.happens(700).then(|| known(stage.cleeng.new_order(&customer, &id(OFFER), &id(method))));
        let token = stage.cleeng.token_until(&customer, START.after(TOKEN));
        let standing = Standing::Enters(dice.pick(Entry::Good, &[Entry::Asked, Entry::Asked, Entry::Refused]));
        Self { gateway: guest.house.gateway(), method, order, token, standing, entries: 0, comes_back: dice.happens(750), calls: 0 }
    }

    /// The path, the headers and the body of his next call; nothing if he makes none.
    pub(super) fn next_call(&self, stage: &Stage) -> Option<(String, HeaderMap, String)> {
        let (finalizes, members) = match &self.standing {
            Standing::Gone => return None,
            Standing::Enters(entry) => (false, stage.guest(self.gateway).house.entered(*entry, self.entries)),
            Standing::HandsIn(details) => (true, json!({ "details": details })),
        };
        let (path, mut body) = match &self.order {
            Some(order) => ("initial-payment", json!({ "orderId": order })),
            None => ("payment-details", json!({ "paymentMethodId": self.method })),
        };
        let common = json!({ "origin": ORIGIN, "captchaValue": "x" });
        let back = if finalizes { json!({}) } else { json!({ "returnUrl": format!("{ORIGIN}/back") }) };
        for more in [common, back, members] {
            if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
                body.extend(more);
            }
        }
        let mut headers = HeaderMap::new();
        headers.insert("origin", HeaderValue::from_static(ORIGIN));
        headers.insert("authorization", known(HeaderValue::from_str(&format!("Bearer {}", self.token)).ok()));
        let tail = if finalizes { "/finalize" } else { "" };
        Some((format!("/connectors/{}/{path}{tail}", self.gateway), headers, body.to_string()))
    }

    /// He was refused: he tries something else, or gives up.
    pub(super) fn tries_again(&mut self, dice: &mut Dice) {
        self.entries = self.entries.saturating_add(1);
        self.standing =
            if self.entries < MOST_ENTRIES { Standing::Enters(dice.pick(Entry::Good, &[Entry::Asked])) } else { Standing::Gone };
    }
}

/// A single purchase from before the play that is authorised at both sides, and in the journal as its purchase left it.
pub(super) fn single_purchase(stage: &Stage, dice: &mut Dice) -> PaymentId {
    let guest = one_of(stage, dice);
    let gateway = guest.house.gateway();
    let cast = stage.subscriber(guest.method);
    // Nothing is renewed: what is bought once is no subscription.
    stage.cleeng.set_status(&cast.subscriber.subscription, SubscriptionStatus::Terminated);
    let price = Money::new(999, known(Currency::new("USD").ok()));
    let number = dice.roll().to_string();
    let key =
        IdempotencyKey::derive(&SecretString::new("single"), GatewayText(gateway.as_str()), OperationKind::Authorise, "single", &number);
    let (customer, token) = (cast.subscriber.customer.clone(), StoredToken(SecretString::new(cast.token.clone())));
    let request = MerchantInitiated { reference: Reference::from_key(&key), key, amount: price, token, customer: customer.clone() };
    let adapter = known(stage.world.gateways.get(gateway)).clone();
    let authorised = known(at_once(async { adapter.authorise(&request).await.ok() }).flatten());
    let Outcome::Done(operation) = authorised else { return known(None) };
    let external = known(operation.external_payment_id);
    let purchase = Purchase {
        customer,
        offer: id(OFFER),
        method: id(guest.method),
        details: Some(cast.subscriber.details.clone()),
        total: price,
        external: external.clone(),
        status: PaymentStatus::Authorised,
    };
    let (payment, order) = known(stage.cleeng.put_purchase(purchase));
    let (now, reference) = (stage.now(), request.reference);
    let obligation = Key::new("order", &[order.as_str()]);
    let mut record = PaymentRecord::starting(reference.clone(), gateway, &obligation, request.customer, price, now);
    known(record.become_state(PaymentState::Authorised, now).ok());
    (record.order, record.details) = (Some(order), Some(cast.subscriber.details));
    record.cleeng_payment = Some(payment.clone());
    (record.authorisation, record.external_payment_id) = (Some(external.clone()), Some(external.clone()));
    let mut work = Work::new(Arc::clone(&stage.world.store));
    known(work.stage(&PaymentRecord::key(&reference), &record, Keep::default()).ok());
    for key in [PaymentRecord::by_cleeng(&payment), PaymentRecord::by_gateway(gateway, &external)] {
        known(work.stage(&key, &Lookup { reference: reference.clone() }, Keep::default()).ok());
    }
    known(at_once(async { work.commit().await.ok() }).flatten());
    // It is long ago: the gateway has told it.
    stage.process();
    guest.house.take_notifications();
    payment
}
