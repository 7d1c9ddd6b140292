//! Going on without the customer: a notification says what became of a payment, or the order's time is over.

use super::facts::{Answered, NOTIFIED, Round};
use super::order::kept;
use super::position::{Position, keep_snapshot, position, snapshot};
use super::settle::{close, go_on};
use super::{ask, give_back};
use crate::billing::case::Case;
use crate::billing::{Story, later};
use crate::clock::Timestamp;
use crate::flow::{Delivery, Verdict, World};
use crate::gateway::{Decline, DeclineClass, Reference, StoredToken};
use crate::ids::ExternalPaymentId;
use crate::journal::payment::{PaymentRecord, PaymentState};
use crate::journal::record::Finish;
use crate::journal::store::Key;
use crate::journal::work::Work;

/// A notification says whether a payment of a purchase was authorised. Finishes the attempt if nobody has: the customer may never come back.
/// A payment that nobody is to be charged for any more is given back. May be called again and again.
///
/// `external` is the payment at the gateway; `token` its stored details, where the notification has them.
///
/// # Errors
/// None: what is left to be done is in the verdict.
pub async fn settle_by_notification(
    world: &World,
    reference: &Reference,
    authorised: bool,
    external: Option<&ExternalPaymentId>,
    token: Option<StoredToken>,
    delivery: &Delivery,
) -> Verdict {
    let news = News { reference, authorised, external, token };
    match notified(world, &news, delivery).await {
        Ok(verdict) | Err(verdict) => verdict,
    }
}

/// What a notification says.
struct News<'a> {
    reference: &'a Reference,
    authorised: bool,
    external: Option<&'a ExternalPaymentId>,
    token: Option<StoredToken>,
}

async fn notified(world: &World, news: &News<'_>, delivery: &Delivery) -> Story<Verdict> {
    let mut work = Work::new(std::sync::Arc::clone(&world.store));
    let key = PaymentRecord::key(news.reference);
    work.load(std::slice::from_ref(&key)).await?;
    // The intent is written before the gateway is called, so that it can only be late.
    let Some(payment) = work.read::<PaymentRecord>(&key)? else { return Err(later("payment_not_known_yet")) };
    if !payment.is_purchase() {
        return Ok(Verdict::NotOurs);
    }
    let mut case = Case::open_alone(world, Key::from_stored(payment.obligation), &[], delivery).await?;
    let Some(attempt) = case.run.obligation.attempts.iter().find(|attempt| attempt.reference.as_ref() == Some(news.reference)) else {
        return Err(later("attempt_not_known"));
    };
    match attempt.finish.clone() {
        None => {
            let story = carry_on(&mut case, news).await;
            Ok(case.conclude(story).await)
        }
        Some(Finish::Captured | Finish::Stored) => Ok(Verdict::Settled("known")),
        Some(Finish::Parked { .. }) => Ok(Verdict::Settled("parked")),
        // Refused, replaced or lapsed: Cleeng does not have it and will not.
        Some(_) if news.authorised => Ok(give_back::give_back(world, news.reference, news.external, delivery).await),
        Some(_) => Ok(Verdict::Settled("declined")),
    }
}

/// The attempt is open: the notification is its result, unless that is known.
async fn carry_on(case: &mut Case<'_>, news: &News<'_>) -> Story<Verdict> {
    let kept = snapshot(case)?;
    let token = news.token.as_ref().map(|token| token.0.expose().to_owned());
    let known = match position(case)? {
        Position::Decided(answered) => Some(answered),
        // A payment that never got to the gateway has no notification: the first call's effect is proven by this one.
        _ => None,
    };
    let answered = match (known, news.authorised, news.external) {
        (Some(Answered::Done { external, at, shown, .. }), true, _) if token.is_some() => Answered::Done { external, token, shown, at },
        (Some(answered), ..) => return go_on(case, &kept, answered).await,
        (None, true, Some(external)) => {
            Answered::Done { external: external.clone(), token, shown: serde_json::Value::Null, at: case.now() }
        }
        (None, true, None) => return Err(later("notification_without_payment")),
        (None, false, _) => Answered::Declined(Decline::new(DeclineClass::Soft, "notified")),
    };
    case.note(NOTIFIED, &answered);
    go_on(case, &kept, answered).await
}

/// The gateway says that the customer agreed to what waited for him, and waits for us to finish it: he may never come back himself. Whatever
/// he brings back later finds it finished. May be called again and again.
///
/// # Errors
/// None: what is left to be done is in the verdict.
pub async fn finish_approved(world: &World, reference: &Reference, delivery: &Delivery) -> Verdict {
    match approved(world, reference, delivery).await {
        Ok(verdict) | Err(verdict) => verdict,
    }
}

async fn approved(world: &World, reference: &Reference, delivery: &Delivery) -> Story<Verdict> {
    let mut work = Work::new(std::sync::Arc::clone(&world.store));
    let key = PaymentRecord::key(reference);
    work.load(std::slice::from_ref(&key)).await?;
    let Some(payment) = work.read::<PaymentRecord>(&key)? else { return Err(later("payment_not_known_yet")) };
    if !payment.is_purchase() {
        return Ok(Verdict::NotOurs);
    }
    let mut case = Case::open_alone(world, Key::from_stored(payment.obligation), &[], delivery).await?;
    if case.attempt().and_then(|attempt| attempt.reference.as_ref()) != Some(reference) {
        // Replaced, lapsed or finished: what nobody finishes holds nothing.
        return Ok(Verdict::Settled("nothing_waits"));
    }
    let story = finish(&mut case).await;
    Ok(case.conclude(story).await)
}

async fn finish(case: &mut Case<'_>) -> Story<Verdict> {
    let mut kept = snapshot(case)?;
    let answered = match position(case)? {
        Position::NotStarted => return Ok(Verdict::Settled("nothing_waits")),
        // The answer that says what waits is on its way to the journal.
        Position::StartUnknown => return Err(later("start_unknown")),
        Position::Pending => return Err(later("payment_pending")),
        Position::Decided(answered) => answered,
        Position::RoundUnknown(round) => ask::finish(case, &kept, round).await?,
        Position::Waiting { .. } if kept.expires_at <= case.now() => return Ok(Verdict::Settled("order_expired")),
        Position::Waiting { round, .. } => {
            kept.rounds.truncate(round);
            let nothing = serde_json::Value::Null;
            kept.rounds.push(Round { fingerprint: ask::fingerprint_of(case, &nothing), details: nothing });
            keep_snapshot(case, &kept);
            ask::finish(case, &kept, round).await?
        }
    };
    go_on(case, &kept, answered).await
}

/// Does for an open purchase what can be done without the customer, and after the order's expiry ends it: what is not reported is cancelled,
/// so that nothing is left hanging. `key` is the obligation (`order#...`, `details#...`). For whoever looks at work that is due.
///
/// # Errors
/// None: what is left to be done is in the verdict.
pub async fn expire_purchase(world: &World, key: &Key, delivery: &Delivery) -> Verdict {
    match Case::open_alone(world, key.clone(), &[], delivery).await {
        Ok(mut case) => {
            let (story, to_cancel) = look_after(&mut case).await;
            let verdict = case.conclude(story).await;
            match to_cancel {
                Some(reference) if matches!(verdict, Verdict::Settled(_)) => cancel(world, &reference, delivery, verdict).await,
                _ => verdict,
            }
        }
        Err(verdict) => verdict,
    }
}

async fn cancel(world: &World, reference: &Reference, delivery: &Delivery, ended: Verdict) -> Verdict {
    match give_back::give_back(world, reference, None, delivery).await {
        Verdict::Settled(_) => ended,
        other => other,
    }
}

async fn look_after(case: &mut Case<'_>) -> (Story<Verdict>, Option<Reference>) {
    if case.attempt().is_none() {
        return match left_over(case) {
            LeftOver::Over(reference) => (Ok(Verdict::Settled("nothing_open")), Some(reference)),
            LeftOver::Until(expires_at) => (Err(waits_until(case, expires_at)), None),
            LeftOver::Nothing => (settle_down(case).await, None),
        };
    }
    let (kept, at, reference) = match (snapshot(case), position(case), ask::reference(case)) {
        (Ok(kept), Ok(at), Ok(reference)) => (kept, at, reference),
        (Err(verdict), ..) | (_, Err(verdict), _) | (.., Err(verdict)) => return (Err(verdict), None),
    };
    let over = kept.expires_at <= case.now();
    match at {
        // A result that is known goes to Cleeng first; whether Cleeng takes it is Cleeng's business.
        Position::Decided(answered) => (go_on(case, &kept, answered).await, None),
        Position::RoundUnknown(round) if !over => match ask::finish(case, &kept, round).await {
            Ok(answered) => (go_on(case, &kept, answered).await, None),
            Err(verdict) => (Err(verdict), None),
        },
        Position::NotStarted if over => (end(case).await, None),
        _ if over => (end(case).await, Some(reference)),
        _ => (Err(waits_until(case, kept.expires_at)), None),
    }
}

fn waits_until(case: &Case<'_>, expires_at: Timestamp) -> Verdict {
    Verdict::Later { after: Some(expires_at.since(case.now())), reason: "waits_for_the_customer" }
}

async fn end(case: &mut Case<'_>) -> Story<Verdict> {
    close(case, Finish::Stale { reason: "order_expired".to_owned() })?;
    case.pause().await?;
    Ok(Verdict::Settled("order_expired"))
}

/// What finished attempts left at the gateway: a page that the customer may still finish, in another tab or hours later.
enum LeftOver {
    /// Its order's time is over: it can be called off.
    Over(Reference),
    /// Until then it is left alone: it may be finished, and is given back then.
    Until(Timestamp),
    /// Nothing.
    Nothing,
}

fn left_over(case: &Case<'_>) -> LeftOver {
    let mut until: Option<Timestamp> = None;
    for attempt in &case.run.obligation.attempts {
        let replaced = matches!(attempt.finish, Some(Finish::Stale { .. } | Finish::Superseded));
        let (true, Some(reference), Some(kept)) = (replaced, &attempt.reference, kept(attempt)) else { continue };
        if case.payment(reference).is_none_or(|payment| payment.state != PaymentState::Starting) {
            continue;
        }
        if kept.expires_at <= case.now() {
            return LeftOver::Over(reference.clone());
        }
        until = Some(until.map_or(kept.expires_at, |until| until.min(kept.expires_at)));
    }
    until.map_or(LeftOver::Nothing, LeftOver::Until)
}

/// Nothing is left: nobody has to look at it any more.
async fn settle_down(case: &mut Case<'_>) -> Story<Verdict> {
    if case.run.obligation.left_over {
        case.run.obligation.left_over = false;
        case.pause().await?;
    }
    Ok(Verdict::Settled("nothing_open"))
}
