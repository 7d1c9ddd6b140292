//! What is held for a period that was paid in another way: nobody will capture it, and the customer's money would be held until it lapses. It goes
//! back at the gateway and then in Cleeng, as a deactivation gives it back, under an obligation of its own: whoever dies over it, the next round
//! goes on.
//!
//! Never on doubt. It has to be the subscription's live authorisation, with no attempt in flight; and Cleeng, asked once more with the documents in
//! hand, has to have the subscription as paid for another period, to list the hold as authorised still, so that another payment paid, and not to
//! wait for its capture. What is doubtful stays as it is and is told as drift.

use connector::billing::case::Case;
use connector::billing::head::Live;
use connector::billing::release::{Released, give_up};
use connector::billing::{Story, later, read_failed, report, rules};
use connector::cleeng::{CleengError, LatestPayment, Subscription};
use connector::flow::{Billing, Delivery, Verdict, World};
use connector::gateway::Reference;
use connector::ids::SubscriptionId;
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::{AttemptKind, Finish};
use connector::journal::store::Key;
use connector::metrics::Metric;

use crate::due::load;

const KIND: AttemptKind = AttemptKind::Release;
/// The kind of these obligations' keys.
pub(crate) const KEY: &str = "stale-hold";
/// The word of the metric, whether it is released or doubtful.
pub(crate) const DRIFT: &str = "drift_hold_for_a_paid_period";
/// What a list of authorised payments may come to that is no outage, and proves nothing.
const PROVES_NOTHING: [&str; 2] = ["cleeng_not_found", "cleeng_list_incomplete"];

/// Whether what Cleeng says of a subscription makes a hold look stale: paid for another period than the hold's, and not waiting for its capture.
/// By less than half a cycle it is the same period whose end moved, and its next event uses the hold.
pub(crate) fn looks_stale(world: &World, live: &Live, subscription: &Subscription) -> bool {
    let paid = subscription.paid_until > live.expiration.after(rules::shortest_gap(subscription));
    let method = subscription.payment_method.as_ref().and_then(|method| world.rules.methods.get(method));
    let authorised_first = method.is_some_and(|method| method.billing == Billing::AuthoriseThenCapture);
    paid && !(authorised_first && subscription.next_payment_action.as_deref() == Some("capture"))
}

/// Releases the live authorisation of a subscription, or goes on with that. Settled for another reason than `released` where it is left as it is.
pub(crate) async fn release(world: &World, subscription: &SubscriptionId, reference: &Reference, delivery: &Delivery) -> Verdict {
    let key = Key::new(KEY, &[reference.as_str()]);
    match Case::open(world, key, subscription, delivery).await {
        Ok(mut case) => {
            let verdict = give_back(&mut case, subscription, reference).await;
            case.conclude(verdict).await
        }
        Err(verdict) => verdict,
    }
}

/// Goes on with a release that an earlier round began.
pub(crate) async fn go_on(world: &World, reference: &Reference, delivery: &Delivery) -> Verdict {
    let Ok(stored) = load(world, &PaymentRecord::key(reference)).await else { return later("journal_unavailable") };
    let payment = stored.and_then(|stored| serde_json::from_str::<PaymentRecord>(&stored.body).ok());
    match payment.and_then(|payment| payment.subscription) {
        Some(subscription) => release(world, &subscription, reference, delivery).await,
        None => later("payment_not_loaded"),
    }
}

async fn give_back(case: &mut Case<'_>, subscription: &SubscriptionId, reference: &Reference) -> Story<Verdict> {
    if case.attempt().is_none() {
        if let Some(finish) = case.run.obligation.last_finished(KIND).and_then(|last| last.finish.as_ref()) {
            return Ok(Verdict::Settled(finish.as_str()));
        }
        let live = match live_hold(case, reference) {
            Ok(live) => live,
            Err(doubt) => return Ok(Verdict::Settled(doubt)),
        };
        if let Some(doubt) = doubt(case, subscription, &live).await? {
            return Ok(Verdict::Settled(doubt));
        }
        case.world.metrics.count(Metric::Warning, &[("reason", DRIFT)]);
        tracing::warn!(obligation = %case.run.key(), drift = DRIFT, "nobody will capture what is held: it is released");
        case.open_attempt(KIND, case.now(), Some(live.details))?;
        if let Some(attempt) = case.run.obligation.open_mut() {
            attempt.reference = Some(reference.clone());
        }
    }
    match give_up(case, reference).await? {
        Released::Yes => case.finish(Finish::Released).await,
        // As it does for money that is taken: then the period may be paid twice.
        Released::Refused(_) => case.park("release_refused", true).await,
    }
}

/// The hold, if it is the journal's and nobody is at it.
fn live_hold(case: &Case<'_>, reference: &Reference) -> Result<Live, &'static str> {
    if case.head.in_flight.is_some() {
        return Err("payment_in_flight");
    }
    let live = case.head.live.clone().filter(|live| live.reference == *reference).ok_or("not_the_live_authorisation")?;
    match case.payment(reference).map(|payment| payment.state) {
        // One that is gone at the gateway is still to be told to Cleeng.
        Some(PaymentState::Authorised | PaymentState::Cancelled | PaymentState::Expired) => Ok(live),
        _ => Err("not_authorised"),
    }
}

/// Why nothing is to be done about it, as Cleeng says now.
async fn doubt(case: &Case<'_>, subscription: &SubscriptionId, live: &Live) -> Story<Option<&'static str>> {
    let subscription = match case.world.cleeng.subscription(subscription).await {
        Ok(subscription) => subscription,
        Err(CleengError::NotFound) => return Ok(Some("subscription_not_found")),
        Err(error) => return Err(read_failed(&error)),
    };
    if !looks_stale(case.world, live, &subscription) {
        return Ok(Some("period_not_paid_otherwise"));
    }
    let ours = case.payment(&live.reference).and_then(|payment| payment.external_payment_id.clone());
    if ours.is_some_and(|ours| subscription.latest_payment == LatestPayment::Known(ours)) {
        return Ok(Some("hold_is_the_latest_payment"));
    }
    match report::in_authorised_list(case, &live.details, &live.reference).await {
        Ok(Some(_)) => Ok(None),
        Ok(None) => Ok(Some("hold_not_listed")),
        Err(Verdict::Later { reason, .. }) if PROVES_NOTHING.contains(&reason) => Ok(Some(reason)),
        Err(verdict) => Err(verdict),
    }
}
