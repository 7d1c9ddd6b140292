//! One authorised payment of the deactivated details: cancelled at the gateway, then in Cleeng. It has an obligation of its own, together with
//! the head of its subscription, so that it cannot cross a capture or an authorisation of ours.

use connector::billing::case::{Case, Lookup};
use connector::billing::find::{self, Stranger};
use connector::billing::release::{Released, forget_live, give_up};
use connector::billing::report::in_authorised_list;
use connector::billing::{Story, later};
use connector::cleeng::Payment;
use connector::flow::{Delivery, World};
use connector::gateway::Reference;
use connector::ids::{PaymentId, SubscriptionId};
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::{AttemptKind, Finish};
use connector::journal::store::Key;
use connector::journal::work::Work;

use crate::Gone;

const KIND: AttemptKind = AttemptKind::Release;
const CAPTURED: &str = "already_captured";

/// What became of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It is released, or was.
    Released,
    /// A capture of ours is on its way: it is left alone.
    BeingCaptured,
    /// Its money is taken: it is left alone.
    Captured,
    /// An operator has to look.
    Parked,
}

/// A payment of the details, as the journal or Cleeng tells of it.
pub(crate) enum Held {
    /// The journal has it.
    Journaled(Reference, Option<SubscriptionId>),
    /// It was made before this connector.
    Stranger(Reference, Box<Stranger>),
    /// It cannot be told.
    Untold(PaymentId),
}

impl Held {
    /// Which one it is to the journal.
    pub(crate) const fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Journaled(reference, _) | Self::Stranger(reference, _) => Some(reference),
            Self::Untold(_) => None,
        }
    }
}

/// Looks up a payment that Cleeng lists.
pub(crate) async fn look_up(world: &World, gone: &Gone, payment: &Payment) -> Story<Held> {
    if let Some(record) = journaled(world, payment).await? {
        return Ok(Held::Journaled(record.reference, record.subscription));
    }
    Ok(match stranger(world, gone, payment).await? {
        Some(stranger) => Held::Stranger(stranger.reference(world), Box::new(stranger)),
        None => Held::Untold(payment.id.clone()),
    })
}

/// Releases one payment.
pub(crate) async fn one(world: &World, gone: &Gone, held: Held, delivery: &Delivery) -> Story<Left> {
    match held {
        Held::Journaled(reference, subscription) => {
            let mut case = open(world, release_key(&reference), subscription.as_ref(), delivery).await?;
            let left = release(&mut case, gone, &reference).await;
            concluded(&mut case, left).await
        }
        Held::Stranger(reference, stranger) => {
            let mut case = open(world, release_key(&reference), None, delivery).await?;
            let left = match find::adopt(&mut case, *stranger, PaymentState::Authorised).await {
                Ok(reference) => release(&mut case, gone, &reference).await,
                Err(verdict) => Err(verdict),
            };
            concluded(&mut case, left).await
        }
        Held::Untold(payment) => {
            let key = Key::new("release", &["cleeng", payment.as_str()]);
            let mut case = open(world, key, None, delivery).await?;
            park_once(&mut case, gone).await
        }
    }
}

/// Goes on with a release that an earlier delivery began. Cleeng does not list the payment any more as soon as it has taken the cancel, and a
/// release that is left open keeps every other period of its subscription from being paid. Nothing where none was begun.
pub(crate) async fn go_on(world: &World, gone: &Gone, reference: &Reference, delivery: &Delivery) -> Story<Option<Left>> {
    let mut work = Work::new(std::sync::Arc::clone(&world.store));
    let key = PaymentRecord::key(reference);
    work.load(std::slice::from_ref(&key)).await?;
    let subscription = work.read::<PaymentRecord>(&key)?.and_then(|record| record.subscription);
    let mut case = open(world, release_key(reference), subscription.as_ref(), delivery).await?;
    if case.attempt().is_none() {
        return Ok(finished(&case));
    }
    let left = release(&mut case, gone, reference).await;
    concluded(&mut case, left).await.map(Some)
}

fn release_key(reference: &Reference) -> Key {
    Key::new("release", &[reference.as_str()])
}

async fn open<'w>(world: &'w World, key: Key, subscription: Option<&SubscriptionId>, delivery: &Delivery) -> Story<Case<'w>> {
    match subscription {
        Some(subscription) => Case::open(world, key, subscription, delivery).await,
        None => Case::open_without_head(world, key, &[], delivery).await,
    }
}

/// As [`Case::conclude`], for a story within a story.
async fn concluded(case: &mut Case<'_>, left: Story<Left>) -> Story<Left> {
    match left {
        Ok(left) => Ok(left),
        Err(verdict) => Err(case.conclude(Err(verdict)).await),
    }
}

/// The payment as the journal has it.
async fn journaled(world: &World, payment: &Payment) -> Story<Option<PaymentRecord>> {
    let mut work = Work::new(std::sync::Arc::clone(&world.store));
    let lookups = find::lookups(world, Some(&payment.id), payment.external_payment_id.as_ref());
    work.load(&lookups).await?;
    for lookup in &lookups {
        if let Some(found) = work.read::<Lookup>(lookup)? {
            let key = PaymentRecord::key(&found.reference);
            work.load(std::slice::from_ref(&key)).await?;
            return Ok(work.read(&key)?);
        }
    }
    Ok(None)
}

/// A payment that the journal does not know, made before this connector. Nothing where its gateway, its id there, its amount or its owner
/// would have to be guessed: a gateway's name alone does not tell whose connector speaks to it.
async fn stranger(world: &World, gone: &Gone, payment: &Payment) -> Story<Option<Stranger>> {
    let method = match (gone.method, &payment.order) {
        (Some(method), _) => Some(method),
        (None, Some(order)) => find::method_of_order(world, order).await?,
        (None, None) => None,
    };
    let Some(gateway) = method.map(|method| method.gateway) else { return Ok(None) };
    let (Some(external), Some(amount)) = (payment.external_payment_id.clone(), payment.total) else { return Ok(None) };
    let Some(customer) = payment.customer.clone().or_else(|| gone.event.customer.clone()) else { return Ok(None) };
    if gone.event.customer.as_ref().is_some_and(|told| *told != customer) {
        return Ok(None);
    }
    let (payment, order, details) = (payment.id.clone(), payment.order.clone(), Some(gone.event.details.clone()));
    Ok(Some(Stranger { gateway, payment, external, customer, order, details, subscription: None, amount }))
}

/// Parks a payment that cannot be told, unless that was done.
async fn park_once(case: &mut Case<'_>, gone: &Gone) -> Story<Left> {
    if !case.run.obligation.was_parked() {
        let parked = case.park_untried(KIND, gone.received_at, "authorised_payment_cannot_be_told").await;
        parked.map(drop)?;
    }
    Ok(Left::Parked)
}

async fn release(case: &mut Case<'_>, gone: &Gone, reference: &Reference) -> Story<Left> {
    if let Some(left) = finished(case) {
        return Ok(left);
    }
    if !case.load_payment(reference).await? {
        return Err(later("payment_not_loaded"));
    }
    if case.attempt().is_none() {
        match case.payment(reference).map(|payment| payment.state) {
            Some(PaymentState::Capturing) => return Ok(Left::BeingCaptured),
            Some(PaymentState::Captured | PaymentState::CaptureFailed | PaymentState::Refunded | PaymentState::ChargedBack) => {
                return Ok(Left::Captured);
            }
            // Cleeng knows of it before the journal does only while its authorisation is being reported.
            None | Some(PaymentState::Starting | PaymentState::Declined) => return Err(later("authorisation_in_flight")),
            Some(PaymentState::Authorised) => {}
            Some(PaymentState::Cancelling | PaymentState::Cancelled | PaymentState::Expired) => {
                if released_by_another(case, gone, reference).await? {
                    return Ok(Left::Released);
                }
            }
        }
        case.open_attempt(KIND, gone.received_at, Some(gone.event.details.clone()))?;
        if let Some(attempt) = case.run.obligation.open_mut() {
            attempt.reference = Some(reference.clone());
        }
        case.change(reference, |payment, _| {
            payment.details.get_or_insert_with(|| gone.event.details.clone());
            Ok(())
        })?;
    }
    match give_up(case, reference).await? {
        Released::Yes => {
            case.finish(Finish::Released).await?;
            Ok(Left::Released)
        }
        Released::Refused(_) => leave_alone(case, reference).await,
    }
}

/// Whether another flow has released it, and told Cleeng, since Cleeng listed it: to ask the gateway for it again would end as a cancel that failed.
async fn released_by_another(case: &Case<'_>, gone: &Gone, reference: &Reference) -> Story<bool> {
    let live = case.head.live.as_ref().is_some_and(|live| live.reference == *reference);
    Ok(!live && in_authorised_list(case, &gone.event.details, reference).await?.is_none())
}

/// What became of it before.
fn finished(case: &Case<'_>) -> Option<Left> {
    let last = case.run.obligation.last_finished(KIND).filter(|_| case.attempt().is_none())?;
    match last.finish {
        // An operator saw to it that nothing is held any more.
        Some(Finish::Parked { resolved: true, .. }) => Some(Left::Released),
        Some(Finish::Parked { .. }) => Some(Left::Parked),
        Some(Finish::Stale { .. }) => Some(Left::Captured),
        _ => Some(Left::Released),
    }
}

/// The gateway says that there is nothing left to cancel, because the money is taken: it stays taken, and whoever looks after refunds is
/// told.
async fn leave_alone(case: &mut Case<'_>, reference: &Reference) -> Story<Left> {
    case.change(reference, |payment, now| {
        if payment.state == PaymentState::Cancelling {
            payment.become_state(PaymentState::Captured, now)?;
            payment.captured = payment.amount;
        }
        Ok(())
    })?;
    forget_live(case, reference);
    let finish = Finish::Stale { reason: CAPTURED.to_owned() };
    case.finish(finish).await?;
    Ok(Left::Captured)
}
