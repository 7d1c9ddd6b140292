//! Who plays: subscribers whose period ends within the play, and customers at a page.

use std::time::Duration;

use connector::gateway::GatewayName;
use connector::http::{HeaderMap, HeaderValue};
use connector::ids::OrderId;
use serde_json::{Value, json};

use super::dice::Dice;
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
