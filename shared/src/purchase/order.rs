//! Start and finalize of an order's payment.

use std::time::Duration;

use super::facts::{SNAPSHOT, Snapshot, canonical, fingerprint};
use super::hand_in::hand_in;
use super::position::{Position, keep_snapshot, position, snapshot};
use super::settle::{close, go_on};
use super::tell::{self, Turned};
use super::{ask, give_back, start};
use crate::billing::case::Case;
use crate::billing::gateway_step::ANOTHER_PAYMENT;
use crate::billing::{Story, later};
use crate::cleeng::mediastore::{CustomerOrder, CustomerToken, MediaStoreError};
use crate::clock::Timestamp;
use crate::flow::{Delivery, Verdict};
use crate::front::body::{self, PaymentInput};
use crate::front::reply::{self, Refusal, Reply};
use crate::front::{Desk, FrontRequest, GATEWAY_TIMEOUT};
use crate::gateway::{GatewayName, Outcome, Reference};
use crate::ids::{OrderId, PaymentMethodId};
use crate::journal::record::{Attempt, AttemptKind, Finish, Turn};
use crate::journal::store::Key;
use crate::metrics::Metric;

/// More refusals of one order look like card testing.
pub const MAX_DECLINES: usize = 5;
/// More attempts of one order than this, refused, replaced or whatever, are not made: all of them stay on record.
pub const MAX_ATTEMPTS: usize = 10;
/// The same payment data within this time of its refusal gets the recorded refusal: a second click. Later, the customer has pressed again;
/// methods without entry fields send the same data every time.
pub const SAME_CLICK: Duration = Duration::from_secs(120);

/// A page of the gateway is given out for this long. PayPal's lapses after three hours (Orders 2.13, `links`), and the customer needs time there.
const PAGE_LIFE: Duration = Duration::from_secs(3_600);

/// The path of the redirect style, behind the gateway's name (Cleeng's media store SDK).
pub const TOKENS: &str = "v1/tokens";

/// The obligation of an order.
#[must_use]
pub fn order_key(order: &OrderId) -> Key {
    Key::new("order", &[order.as_str()])
}

/// `POST /connectors/{gateway}/initial-payment`, or `.../v1/tokens`.
pub async fn start(desk: &Desk, request: &FrontRequest, delivery: &Delivery) -> Reply {
    match checked_start(desk, request, delivery).await {
        Ok(reply) => reply,
        Err(refusal) => refusal.reply(Some(request.gateway)),
    }
}

async fn checked_start(desk: &Desk, request: &FrontRequest, delivery: &Delivery) -> Result<Reply, Refusal> {
    body::check(desk, request).await?;
    let token = request.token(desk)?;
    let id: OrderId = body::id(request, "orderId", "orderId is missing or no id")?;
    let input = PaymentInput::read(desk, request, TOKENS)?;
    let (order, method) = read_order(desk, request.gateway, &token, &id).await?;
    if order.total.is_zero() && !order.needs_details {
        return Err(reply::NOTHING_TO_PAY);
    }
    let wanted = wanted(desk, &order, &method, request.gateway, &input);
    Ok(start::start(desk, &wanted, &input, delivery).await)
}

/// Reads the order with the customer's token: that is how it is known to be his. Then everything in it must be ours and the token's.
///
/// # Errors
/// The refusal.
pub async fn read_order(
    desk: &Desk,
    gateway: GatewayName,
    token: &CustomerToken,
    id: &OrderId,
) -> Result<(CustomerOrder, PaymentMethodId), Refusal> {
    let rules = &desk.world.rules;
    if *token.publisher() != rules.publisher {
        return Err(reply::TOKEN_INVALID);
    }
    let order = desk.mediastore.order(token, id).await.map_err(|error| not_read(desk, error))?;
    if order.customer != *token.customer() || order.publisher != rules.publisher {
        return Err(reply::FOREIGN_ORDER);
    }
    let method = order.payment_method.clone().ok_or(reply::OTHER_METHOD)?;
    let ours = rules.methods.get(&method).is_some_and(|settings| settings.gateway == gateway);
    if ours { Ok((order, method)) } else { Err(reply::OTHER_METHOD) }
}

/// Why something could not be read from MediaStore, for the page.
pub fn not_read(desk: &Desk, error: MediaStoreError) -> Refusal {
    match error {
        MediaStoreError::Refused => reply::TOKEN_INVALID,
        MediaStoreError::NotFound => reply::ORDER_NOT_FOUND,
        MediaStoreError::Throttled | MediaStoreError::Unavailable(_) => reply::UNAVAILABLE,
        MediaStoreError::Unreadable(field) => {
            desk.world.metrics.count(Metric::Warning, &[("reason", error.code())]);
            tracing::error!(field, "MediaStore's answer is not understood");
            reply::UNAVAILABLE
        }
    }
}

/// The snapshot of an attempt with this data.
fn wanted(desk: &Desk, order: &CustomerOrder, method: &PaymentMethodId, gateway: GatewayName, input: &PaymentInput) -> Snapshot {
    // An order whose amount was changed is another payment, whatever card it is.
    let parts = ["order", &canonical(&input.wish()), method.as_str(), &order.total.to_decimal(), order.total.currency.as_str()];
    Snapshot {
        order: Some(order.id.clone()),
        offer: Some(order.offer.clone()),
        customer: order.customer.clone(),
        method: method.clone(),
        gateway,
        amount: order.total,
        expires_at: order.expires_at,
        fingerprint: fingerprint(&desk.world.rules.salt, &parts),
        active: true,
        rounds: Vec::new(),
        onward: input.back_to.onward().cloned(),
        gave_up: false,
    }
}

/// The story of a start.
///
/// # Errors
/// Later or parked.
pub async fn pay(case: &mut Case<'_>, wanted: &Snapshot, input: &PaymentInput) -> Story<Verdict> {
    if let Some(verdict) = ended(case) {
        return Ok(verdict);
    }
    if case.attempt().is_some() {
        let mut kept = snapshot(case)?;
        let same = kept.fingerprint == wanted.fingerprint;
        match position(case)? {
            Position::Waiting { .. } if same && !is_over(case, &kept, input) => return Ok(Verdict::Settled("action")),
            Position::NotStarted if same && case.now() < kept.expires_at => {
                let answered = ask::start(case, &kept, input).await?;
                return go_on(case, &kept, answered).await;
            }
            // Other data takes the place of what waits, in the same write as the new attempt's intent.
            Position::Waiting { .. } | Position::NotStarted => {
                if let Some(verdict) = not_now(case, wanted) {
                    return Ok(verdict);
                }
                close(case, Finish::Superseded)?;
            }
            Position::StartUnknown => {
                // The gateway may hear of it only now, and then it sends the customer back to where this start says.
                kept.onward = wanted.onward.clone().or(kept.onward);
                keep_snapshot(case, &kept);
                let answered = ask::start(case, &kept, input).await?;
                return go_on(case, &kept, answered).await;
            }
            Position::RoundUnknown(round) => {
                let answered = ask::finish(case, &kept, round).await?;
                return go_on(case, &kept, answered).await;
            }
            Position::Pending => return Err(later("payment_pending")),
            Position::Decided(answered) => return go_on(case, &kept, answered).await,
        }
    } else if just_refused(case, wanted) {
        return Ok(Verdict::Settled("declined"));
    } else if let Some(verdict) = not_now(case, wanted) {
        return Ok(verdict);
    }
    ask::open(case, AttemptKind::Purchase, wanted)?;
    let answered = ask::start(case, wanted, input).await?;
    go_on(case, wanted, answered).await
}

/// Paid already, or nobody can tell: the end of every story.
fn ended(case: &Case<'_>) -> Option<Verdict> {
    let obligation = &case.run.obligation;
    if obligation.attempts.iter().any(|attempt| attempt.finish == Some(Finish::Captured)) {
        return Some(Verdict::Settled("captured"));
    }
    obligation.is_blocked().then_some(Verdict::Settled("parked"))
}

/// Why no new attempt may open.
fn not_now(case: &Case<'_>, wanted: &Snapshot) -> Option<Verdict> {
    if wanted.expires_at <= case.now() {
        return Some(Verdict::Settled("order_expired"));
    }
    let attempts = &case.run.obligation.attempts;
    let declined = attempts.iter().filter(|attempt| matches!(attempt.finish, Some(Finish::Declined { .. }))).count();
    (declined >= MAX_DECLINES || attempts.len() >= MAX_ATTEMPTS).then_some(Verdict::Settled("too_many_attempts"))
}

/// Whether the last attempt was refused a moment ago, with the same data.
#[must_use]
pub fn just_refused(case: &Case<'_>, wanted: &Snapshot) -> bool {
    let Some(last) = case.run.obligation.attempts.last() else { return false };
    let refused = matches!(last.finish, Some(Finish::Declined { .. }));
    refused
        && case.now().since(last_touched(last)) < SAME_CLICK
        && kept(last).is_some_and(|kept| kept.fingerprint == wanted.fingerprint && !was_away(&kept))
}

/// Whether the page of the gateway that waits for the customer is not given out again: he gave up there, or it was opened long ago and says
/// nothing that another one would not.
#[must_use]
pub fn is_over(case: &Case<'_>, kept: &Snapshot, input: &PaymentInput) -> bool {
    let old = case.attempt().is_some_and(|attempt| case.now().since(attempt.opened_at) >= PAGE_LIFE);
    kept.gave_up || (old && (kept.onward.is_some() || input.says_nothing()))
}

/// Whether the customer was at the gateway and came back to us: his next click is one of its own, even right after.
fn was_away(kept: &Snapshot) -> bool {
    kept.onward.is_some() && !kept.rounds.is_empty()
}

/// When the last step of an attempt was begun.
#[must_use]
pub fn last_touched(attempt: &Attempt) -> Timestamp {
    attempt.steps.iter().map(|step| step.begun_at).max().unwrap_or(attempt.opened_at)
}

/// Whether this was brought back in the attempt's last round.
#[must_use]
pub fn brought(attempt: &Attempt, print: &str) -> bool {
    kept(attempt).and_then(|kept| kept.rounds.last().map(|round| round.fingerprint == print)).unwrap_or(false)
}

/// The snapshot of any attempt.
#[must_use]
pub fn kept(attempt: &Attempt) -> Option<Snapshot> {
    match attempt.turn(SNAPSHOT) {
        Turn::Done(value) => serde_json::from_value(value).ok(),
        Turn::Fresh | Turn::Unknown(_) => None,
    }
}

/// `POST /connectors/{gateway}/initial-payment/finalize`.
pub async fn finalize(desk: &Desk, request: &FrontRequest, delivery: &Delivery) -> Reply {
    match checked_finalize(desk, request, delivery).await {
        Ok(reply) => reply,
        Err(refusal) => refusal.reply(Some(request.gateway)),
    }
}

async fn checked_finalize(desk: &Desk, request: &FrontRequest, delivery: &Delivery) -> Result<Reply, Refusal> {
    body::check(desk, request).await?;
    let token = request.token(desk)?;
    let id: OrderId = body::id(request, "orderId", "orderId is missing or no id")?;
    let back = body::brought_back(request)?;
    let (order, method) = read_order(desk, request.gateway, &token, &id).await?;
    let seen = Seen { order, method, gateway: request.gateway };
    Ok(tell::patiently(desk, || finalize_once(desk, &seen, &back, delivery)).await.reply(request.gateway))
}

/// The order as it is now.
struct Seen {
    order: CustomerOrder,
    method: PaymentMethodId,
    gateway: GatewayName,
}

impl Seen {
    /// Whether it still is what the attempt was opened for.
    fn fits(&self, kept: &Snapshot) -> bool {
        kept.customer == self.order.customer
            && kept.method == self.method
            && kept.gateway == self.gateway
            && kept.amount == self.order.total
            && kept.offer.as_ref() == Some(&self.order.offer)
    }
}

async fn finalize_once(desk: &Desk, seen: &Seen, back: &serde_json::Value, delivery: &Delivery) -> Turned {
    let mut case = match Case::open_alone(&desk.world, order_key(&seen.order.id), &[], delivery).await {
        Ok(case) => case,
        Err(verdict) => return tell::unopened(&verdict),
    };
    case.bound_calls(GATEWAY_TIMEOUT);
    let story = come_back(&mut case, seen, back).await;
    let verdict = case.conclude(story).await;
    if matches!(verdict, Verdict::Later { reason: ANOTHER_PAYMENT, .. }) {
        find_earlier(&case, delivery).await;
    }
    tell::tell(&case, &verdict)
}

/// The story of a finalize.
async fn come_back(case: &mut Case<'_>, seen: &Seen, back: &serde_json::Value) -> Story<Verdict> {
    if let Some(verdict) = ended(case) {
        return Ok(verdict);
    }
    if case.attempt().is_none() {
        let refused = case.run.obligation.attempts.last().is_some_and(|last| matches!(last.finish, Some(Finish::Declined { .. })));
        return Ok(Verdict::Settled(if refused { "declined" } else { "nothing_waits" }));
    }
    hand_in(case, back, |case, kept| no_longer(case.now(), seen, kept)).await
}

/// Why what the customer brought back is not handed in any more.
fn no_longer(now: Timestamp, seen: &Seen, kept: &Snapshot) -> Option<&'static str> {
    if kept.expires_at <= now || seen.order.expires_at <= now {
        return Some("order_expired");
    }
    (!seen.fits(kept)).then_some("order_changed")
}

/// What the customer brought back belongs to another payment. If that one is an earlier attempt of this order, it is given back at once. The
/// question is the same call under the same key, to which the gateway gives the same answer.
async fn find_earlier(case: &Case<'_>, delivery: &Delivery) {
    let Ok(current) = snapshot(case) else { return };
    let Some(round) = current.rounds.len().checked_sub(1) else { return };
    for attempt in case.run.obligation.attempts.iter().filter(|attempt| attempt.finish.is_some()) {
        let (Some(reference), Some(mut earlier), Ok(gateway)) = (attempt.reference.clone(), kept(attempt), case.gateway(current.gateway))
        else {
            continue;
        };
        // What waits under an id of its own holds nothing until somebody finishes it, which nobody does any more: it is called off when its
        // time is over, and if it was paid without us, the gateway's word has it given back.
        if case.payment(&reference).is_some_and(|payment| payment.started.is_some()) {
            continue;
        }
        if !case.run.covers(case.call_timeout(&gateway)) {
            return;
        }
        earlier.rounds.clone_from(&current.rounds);
        let Ok(request) = ask::finalize_request(case, &earlier, round, Reference::clone(&reference)) else { return };
        if let Ok(Outcome::Done(operation)) = gateway.finalize(&request).await {
            // If it cannot be done now, the gateway's notification brings it up again.
            let _ = give_back::give_back(case.world, &reference, operation.external_payment_id.as_ref(), delivery).await;
            return;
        }
    }
}
