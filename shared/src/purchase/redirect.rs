//! The redirect style (Cleeng's SDK calls it `tokens`): the page is told where to send the customer, the gateway sends him back to us, and we
//! send him on to the page.
//!
//! Whoever comes back has no token of Cleeng's, only the address, which names the attempt by its reference: a keyed hash that nobody can guess.
//! So nothing is done for him but what the customer agreed to at the gateway, and nothing is told but where it went on to. Must never send
//! anybody to an address that is not within the allowed origins now, or that an attempt of another style did not store.

use serde_json::Value;

use super::facts::Snapshot;
use super::hand_in::hand_in;
use super::order::kept;
use super::position::{Position, keep_snapshot, position, snapshot};
use super::tell::{self, Told, Turned, decline_of};
use crate::billing::case::Case;
use crate::billing::gateway_step::ANOTHER_PAYMENT;
use crate::billing::{Story, later};
use crate::cleeng::{CleengError, Order};
use crate::flow::{Delivery, Verdict};
use crate::front::onward::{Onward, redirect_of};
use crate::front::reply::{self, Refusal, Reply};
use crate::front::{Desk, FrontRequest, GATEWAY_TIMEOUT};
use crate::gateway::{Decline, DeclineClass, GatewayName, Reference};
use crate::journal::payment::PaymentRecord;
use crate::journal::record::{Attempt, AttemptKind, Finish, Obligation};
use crate::journal::store::Key;
use crate::journal::work::Work;
use crate::metrics::Metric;

/// The answer to the page that started: where to send the customer now.
#[must_use]
pub fn started(told: Told, gateway: GatewayName, onward: &Onward) -> Reply {
    let to = |url: &str| Reply::ok(serde_json::json!({ "redirectUrl": url }));
    match told {
        // Nothing is left to be done at the gateway: a reload, or payment data that paid without a question.
        Told::Paid(_) | Told::Stored(_) => to(&onward.success),
        Told::Action(action) => redirect_of(&action).map_or_else(|| reply::NO_REDIRECT.reply(Some(gateway)), to),
        other => other.reply(gateway),
    }
}

/// `GET .../tokens/return/{reference}`: the gateway sent the customer back. `kind` is what this function is for.
pub async fn came_back(desk: &Desk, request: &FrontRequest, reference: &Reference, kind: AttemptKind, delivery: &Delivery) -> Reply {
    if request.body.as_object().is_none_or(serde_json::Map::is_empty) {
        return reply::BAD_QUERY.reply(Some(request.gateway));
    }
    let back = serde_json::json!({ "details": request.body });
    let comes = Comes { reference, kind, back: Some(&back) };
    arrive(desk, request.gateway, &comes, delivery).await
}

/// `GET .../tokens/cancel/{reference}`: the customer gave up at the gateway.
pub async fn gave_up(desk: &Desk, request: &FrontRequest, reference: &Reference, kind: AttemptKind, delivery: &Delivery) -> Reply {
    let comes = Comes { reference, kind, back: None };
    arrive(desk, request.gateway, &comes, delivery).await
}

/// Somebody who comes from a gateway.
struct Comes<'a> {
    reference: &'a Reference,
    kind: AttemptKind,
    /// What he brings; nothing if he gave up.
    back: Option<&'a Value>,
}

async fn arrive(desk: &Desk, gateway: GatewayName, comes: &Comes<'_>, delivery: &Delivery) -> Reply {
    let (key, onward) = match find(desk, gateway, comes).await {
        Ok(found) => found,
        Err(refusal) => return refusal.reply(Some(gateway)),
    };
    let told = tell::patiently(desk, || once(desk, &key, comes, delivery)).await;
    send_on(desk, gateway, told, &onward, comes.back.is_none())
}

/// The obligation of the attempt of this reference, and where its page wants the customer to be sent on to. For everything that is not such an
/// attempt of this gateway and kind there is nothing at this address.
async fn find(desk: &Desk, gateway: GatewayName, comes: &Comes<'_>) -> Result<(Key, Onward), Refusal> {
    let mut work = Work::new(std::sync::Arc::clone(&desk.world.store));
    let key = PaymentRecord::key(comes.reference);
    work.load(std::slice::from_ref(&key)).await.map_err(|_| reply::UNAVAILABLE)?;
    let payment = work.read::<PaymentRecord>(&key).map_err(|_| reply::UNAVAILABLE)?.ok_or(reply::NO_WAY_BACK)?;
    let key = Key::from_stored(payment.obligation);
    work.load(std::slice::from_ref(&key)).await.map_err(|_| reply::UNAVAILABLE)?;
    let obligation = work.read::<Obligation>(&key).map_err(|_| reply::UNAVAILABLE)?.ok_or(reply::NO_WAY_BACK)?;
    let attempt = obligation.attempts.iter().find(|attempt| is_of(attempt, comes.reference) && attempt.kind == comes.kind);
    let kept = attempt.and_then(kept).filter(|kept| kept.gateway == gateway);
    let onward = kept.and_then(|kept| kept.onward).ok_or(reply::NO_WAY_BACK)?;
    Ok((key, onward))
}

fn is_of(attempt: &Attempt, reference: &Reference) -> bool {
    attempt.reference.as_ref() == Some(reference)
}

async fn once(desk: &Desk, key: &Key, comes: &Comes<'_>, delivery: &Delivery) -> Turned {
    let mut case = match Case::open_alone(&desk.world, key.clone(), &[], delivery).await {
        Ok(case) => case,
        Err(verdict) => return tell::unopened(&verdict),
    };
    case.bound_calls(GATEWAY_TIMEOUT);
    let attempts = &case.run.obligation.attempts;
    let Some(attempt) = attempts.iter().find(|attempt| is_of(attempt, comes.reference)) else {
        return Turned::Told(Told::Refused(reply::NO_WAY_BACK));
    };
    if attempt.finish.is_some() {
        return over(&case, attempt);
    }
    let story = match comes.back {
        Some(back) => {
            let seen = match order_now(&case).await {
                Ok(seen) => seen,
                Err(refusal) => return Turned::Told(Told::Refused(refusal)),
            };
            hand_in(&mut case, back, |case, kept| no_longer(case, kept, seen.as_ref())).await
        }
        None => give_up(&mut case).await,
    };
    let verdict = case.conclude(story).await;
    match verdict {
        // The address names the attempt, so that only the query can be another payment's.
        Verdict::Later { reason: ANOTHER_PAYMENT, .. } => Turned::Told(Told::Refused(reply::BAD_QUERY)),
        Verdict::Settled(GAVE_UP) => Turned::Told(Told::Declined(Decline::new(DeclineClass::Cancelled, GAVE_UP))),
        _ => tell::tell(&case, &verdict),
    }
}

/// What is told of an attempt that has ended, to whoever reloads its address or comes late.
fn over(case: &Case<'_>, attempt: &Attempt) -> Turned {
    let paid = || case.run.obligation.attempts.iter().any(|other| other.finish == Some(Finish::Captured));
    match &attempt.finish {
        Some(Finish::Stored) => tell::tell(case, &Verdict::Settled("stored")),
        // The order may have been paid by another attempt since.
        _ if paid() => tell::tell(case, &Verdict::Settled("captured")),
        Some(Finish::Parked { .. }) => Turned::Told(Told::Refused(reply::NEEDS_OPERATOR)),
        Some(Finish::Stale { reason }) if reason == EXPIRED => Turned::Told(Told::Refused(reply::ORDER_EXPIRED)),
        _ => Turned::Told(decline_of(attempt).map_or(Told::Refused(reply::EARLIER_ATTEMPT), Told::Declined)),
    }
}

const EXPIRED: &str = "order_expired";
const CHANGED: &str = "order_changed";
const GAVE_UP: &str = "gave_up";

/// The order of an attempt for which something is about to be done, as it is now. Read with our own token: its customer's is not here.
async fn order_now(case: &Case<'_>) -> Result<Option<Order>, Refusal> {
    let order = match (position(case), snapshot(case)) {
        (Ok(Position::Waiting { .. }), Ok(kept)) => kept.order,
        _ => None,
    };
    let Some(id) = order else { return Ok(None) };
    case.world.cleeng.order(&id).await.map(Some).map_err(|error| {
        if error == CleengError::NotFound {
            return reply::ORDER_NOT_FOUND;
        }
        tracing::warn!(obligation = %case.run.key(), error = %error, "the order of a customer who came back cannot be read");
        case.world.metrics.count(Metric::Warning, &[("reason", error.code())]);
        reply::UNAVAILABLE
    })
}

/// Why what the customer agreed to is not handed in any more: the order's time is over, or it is not what it was. What Cleeng does not tell of
/// an order is taken to be as it was.
fn no_longer(case: &Case<'_>, kept: &Snapshot, seen: Option<&Order>) -> Option<&'static str> {
    let now = case.now();
    if kept.expires_at <= now || seen.and_then(|order| order.expires_at).is_some_and(|at| at <= now) {
        return Some(EXPIRED);
    }
    let same = |order: &Order| {
        order.total == kept.amount
            && order.customer.as_ref().is_none_or(|customer| *customer == kept.customer)
            && order.payment_method.as_ref().is_none_or(|method| *method == kept.method)
            && order.offer.as_ref().is_none_or(|offer| kept.offer.as_ref() == Some(offer))
    };
    seen.is_some_and(|order| !same(order)).then_some(CHANGED)
}

/// Notes that the customer gave up. It ends nothing: an agreement that comes after all is taken, until he tries anew.
async fn give_up(case: &mut Case<'_>) -> Story<Verdict> {
    let mut kept = snapshot(case)?;
    match position(case)? {
        Position::NotStarted => {}
        Position::Waiting { .. } => {
            if !kept.gave_up {
                kept.gave_up = true;
                keep_snapshot(case, &kept);
                case.pause().await?;
            }
        }
        _ => return Err(later("payment_pending")),
    }
    Ok(Verdict::Settled(GAVE_UP))
}

/// Sends the customer on to where his page wants him.
fn send_on(desk: &Desk, gateway: GatewayName, told: Told, onward: &Onward, gave_up: bool) -> Reply {
    let code = |refusal: Refusal| refusal.code.text(Some(gateway));
    // Who gave up is told of nothing but what he must not pay a second time.
    let gave_up = gave_up && told != Told::Refused(reply::NEEDS_OPERATOR);
    let (to, code) = match told {
        Told::Paid(_) | Told::Stored(_) => (onward.success.clone(), None),
        Told::Pending => (onward.error_with("pending", None), None),
        _ if gave_up => (onward.cancel.clone(), None),
        Told::Declined(decline) if decline.class == DeclineClass::Cancelled => (onward.cancel.clone(), None),
        Told::Declined(_) => {
            let code = reply::DECLINED.text(Some(gateway));
            (onward.error_with("refused", Some(&code)), Some(code))
        }
        // One more thing to do at the gateway, whose address is the gateway's own.
        Told::Action(action) => match redirect_of(&action) {
            Some(url) => return Reply::sent_on(url.to_owned(), None),
            None => (onward.error_with("failed", Some(&code(reply::NO_REDIRECT))), Some(code(reply::NO_REDIRECT))),
        },
        Told::Refused(refusal) => (onward.error_with(word(refusal), Some(&code(refusal))), Some(code(refusal))),
    };
    // The allowed origins may have changed since the page named its addresses.
    if desk.origins.holds(&to) { Reply::sent_on(to, code.as_deref()) } else { reply::BAD_RETURN.reply(Some(gateway)) }
}

/// Every `message` for a page. These words are part of the API.
pub const MESSAGES: [&str; 8] = ["pending", "refused", "expired", "changed", "replaced", "unavailable", "under_review", "failed"];

/// The `message` for a refusal.
fn word(refusal: Refusal) -> &'static str {
    match refusal {
        reply::ORDER_EXPIRED => "expired",
        reply::ORDER_CHANGED => "changed",
        reply::EARLIER_ATTEMPT => "replaced",
        reply::NEEDS_OPERATOR => "under_review",
        reply::GATEWAY_UNAVAILABLE | reply::UNAVAILABLE => "unavailable",
        _ => "failed",
    }
}
