//! One authorised payment of the deactivated details: cancelled at the gateway, then in Cleeng. It has an obligation of its own, together
//! with the state of its subscription, so that it cannot interleave with a capture or an authorisation of ours.

use connector::cleeng::Payment;
use connector::delivery::Delivery;
use connector::flow::FlowContext;
use connector::gateway::Reference;
use connector::ids::{PaymentId, SubscriptionId};
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::{AttemptKind, Finish};
use connector::journal::store::Key;
use connector::journal::transaction::Transaction;
use connector::payments::find::{self, PreexistingPayment};
use connector::payments::obligation_context::{ObligationContext, PaymentLookup};
use connector::payments::release::{ReleaseOutcome, clear_live_authorisation, release};
use connector::payments::report_change::{ListedPayment, find_in_authorised_list};
use connector::payments::{FlowResult, retry};
use connector::reason::CompletionReason;
use connector::reason::{ParkReason, RetryReason};

use crate::DeactivatedDetails;

const KIND: AttemptKind = AttemptKind::Release;

/// What became of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReleaseResult {
    /// It is released, or was.
    Released,
    /// A capture of ours is in flight: the payment is left alone.
    BeingCaptured,
    /// Its money is taken: it is left alone.
    Captured,
    /// An operator has to decide.
    Parked,
}

/// A payment of the details, as the journal or Cleeng lists it.
pub(crate) enum HeldPayment {
    /// The journal has it.
    InJournal(Reference, Option<SubscriptionId>),
    /// It was made before this connector.
    Preexisting(Reference, Box<PreexistingPayment>),
    /// It cannot be identified.
    Unidentified(PaymentId),
}

impl HeldPayment {
    /// Its name in the journal.
    pub(crate) const fn reference(&self) -> Option<&Reference> {
        match self {
            Self::InJournal(reference, _) | Self::Preexisting(reference, _) => Some(reference),
            Self::Unidentified(_) => None,
        }
    }
}

/// Looks up a payment that Cleeng lists.
pub(crate) async fn identify(flow_context: &FlowContext, deactivated: &DeactivatedDetails, payment: &Payment) -> FlowResult<HeldPayment> {
    if let Some(record) = find_record(flow_context, payment).await? {
        return Ok(HeldPayment::InJournal(record.reference, record.subscription));
    }
    Ok(match preexisting(flow_context, deactivated, payment).await? {
        Some(preexisting) => HeldPayment::Preexisting(preexisting.import_reference(flow_context), Box::new(preexisting)),
        None => HeldPayment::Unidentified(payment.id.clone()),
    })
}

/// Releases one payment.
pub(crate) async fn release_one(
    flow_context: &FlowContext,
    deactivated: &DeactivatedDetails,
    held_payment: HeldPayment,
    delivery: &Delivery,
) -> FlowResult<ReleaseResult> {
    match held_payment {
        HeldPayment::InJournal(reference, subscription) => {
            let mut ctx = open_context(flow_context, release_key(&reference), subscription.as_ref(), delivery).await?;
            let left = release_payment(&mut ctx, deactivated, &reference).await;
            conclude(&mut ctx, left).await
        }
        HeldPayment::Preexisting(reference, preexisting) => {
            let mut ctx = open_context(flow_context, release_key(&reference), None, delivery).await?;
            let left = match find::import(&mut ctx, *preexisting, PaymentState::Authorised).await {
                Ok(reference) => release_payment(&mut ctx, deactivated, &reference).await,
                Err(disposition) => Err(disposition),
            };
            conclude(&mut ctx, left).await
        }
        HeldPayment::Unidentified(payment) => {
            let key = Key::new("release", &["cleeng", payment.as_str()]);
            let mut ctx = open_context(flow_context, key, None, delivery).await?;
            park_unidentified(&mut ctx, deactivated).await
        }
    }
}

/// Continues a release that an earlier delivery has started. Cleeng no longer lists the payment once it has accepted the cancel, and a
/// release that is left open prevents the payment of every other period of its subscription. `None` if none was started.
pub(crate) async fn resume_release(
    flow_context: &FlowContext,
    deactivated: &DeactivatedDetails,
    reference: &Reference,
    delivery: &Delivery,
) -> FlowResult<Option<ReleaseResult>> {
    let mut transaction = Transaction::new(std::sync::Arc::clone(&flow_context.store));
    let key = PaymentRecord::key(reference);
    transaction.load(std::slice::from_ref(&key)).await?;
    let subscription = transaction.read::<PaymentRecord>(&key)?.and_then(|record| record.subscription);
    let mut ctx = open_context(flow_context, release_key(reference), subscription.as_ref(), delivery).await?;
    if ctx.current_attempt().is_none() {
        return Ok(finished_result(&ctx));
    }
    let left = release_payment(&mut ctx, deactivated, reference).await;
    conclude(&mut ctx, left).await.map(Some)
}

fn release_key(reference: &Reference) -> Key {
    Key::new("release", &[reference.as_str()])
}

async fn open_context<'w>(
    flow_context: &'w FlowContext,
    key: Key,
    subscription: Option<&SubscriptionId>,
    delivery: &Delivery,
) -> FlowResult<ObligationContext<'w>> {
    match subscription {
        Some(subscription) => ObligationContext::open(flow_context, key, subscription, delivery).await,
        None => ObligationContext::open_without_subscription(flow_context, key, &[], delivery).await,
    }
}

/// As [`ObligationContext::conclude`], for a part of a flow.
async fn conclude(ctx: &mut ObligationContext<'_>, left: FlowResult<ReleaseResult>) -> FlowResult<ReleaseResult> {
    match left {
        Ok(left) => Ok(left),
        Err(disposition) => Err(ctx.conclude(Err(disposition)).await),
    }
}

/// The payment as the journal has it.
async fn find_record(flow_context: &FlowContext, payment: &Payment) -> FlowResult<Option<PaymentRecord>> {
    let mut transaction = Transaction::new(std::sync::Arc::clone(&flow_context.store));
    let lookups = find::lookup_keys(flow_context, Some(&payment.id), payment.external_payment_id.as_ref());
    transaction.load(&lookups).await?;
    for lookup in &lookups {
        if let Some(found) = transaction.read::<PaymentLookup>(lookup)? {
            let key = PaymentRecord::key(&found.reference);
            transaction.load(std::slice::from_ref(&key)).await?;
            return Ok(transaction.read(&key)?);
        }
    }
    Ok(None)
}

/// A payment that the journal does not know, made before this connector. `None` if its gateway, its id there, its amount or its owner would
/// have to be guessed: a gateway's name alone does not say whose connector uses it.
async fn preexisting(
    flow_context: &FlowContext,
    deactivated: &DeactivatedDetails,
    payment: &Payment,
) -> FlowResult<Option<PreexistingPayment>> {
    let method = match (deactivated.method, &payment.order) {
        (Some(method), _) => Some(method),
        (None, Some(order)) => find::method_of_order(flow_context, order).await?,
        (None, None) => None,
    };
    let Some(gateway) = method.map(|method| method.gateway) else { return Ok(None) };
    let (Some(external), Some(amount)) = (payment.external_payment_id.clone(), payment.total) else { return Ok(None) };
    let Some(customer) = payment.customer.clone().or_else(|| deactivated.event.customer.clone()) else { return Ok(None) };
    if deactivated.event.customer.as_ref().is_some_and(|event_customer| *event_customer != customer) {
        return Ok(None);
    }
    let (payment, order, details) = (payment.id.clone(), payment.order.clone(), Some(deactivated.event.details.clone()));
    Ok(Some(PreexistingPayment { gateway, payment, external, customer, order, details, subscription: None, amount }))
}

/// Parks a payment that cannot be identified, unless that was done.
async fn park_unidentified(ctx: &mut ObligationContext<'_>, deactivated: &DeactivatedDetails) -> FlowResult<ReleaseResult> {
    if ctx.session.obligation.was_parked() {
        return Ok(ReleaseResult::Parked);
    }
    ctx.park_without_attempt(KIND, deactivated.received_at, ParkReason::AuthorisedPaymentUnidentified).await
}

async fn release_payment(
    ctx: &mut ObligationContext<'_>,
    deactivated: &DeactivatedDetails,
    reference: &Reference,
) -> FlowResult<ReleaseResult> {
    if let Some(left) = finished_result(ctx) {
        return Ok(left);
    }
    if !ctx.load_payment(reference).await? {
        return Err(retry(RetryReason::PaymentNotLoaded));
    }
    if ctx.current_attempt().is_none() {
        match ctx.payment(reference).map(|payment| payment.state) {
            Some(PaymentState::Capturing) => return Ok(ReleaseResult::BeingCaptured),
            Some(PaymentState::Captured | PaymentState::CaptureFailed | PaymentState::Refunded | PaymentState::ChargedBack) => {
                return Ok(ReleaseResult::Captured);
            }
            // Cleeng knows of it before the journal does only while its authorisation is being reported.
            None | Some(PaymentState::Starting | PaymentState::Declined) => return Err(retry(RetryReason::AuthorisationInFlight)),
            Some(PaymentState::Authorised) => {}
            Some(PaymentState::Cancelling | PaymentState::Cancelled | PaymentState::Expired) => {
                if released_by_another(ctx, deactivated, reference).await? {
                    return Ok(ReleaseResult::Released);
                }
            }
        }
        ctx.open_attempt(KIND, deactivated.received_at, Some(deactivated.event.details.clone()))?;
        ctx.set_attempt_payment(reference);
        ctx.update_payment(reference, |payment, _| {
            payment.details.get_or_insert_with(|| deactivated.event.details.clone());
            Ok(())
        })?;
    }
    match release(ctx, reference).await? {
        ReleaseOutcome::Released => {
            ctx.finish(Finish::Released).await?;
            Ok(ReleaseResult::Released)
        }
        ReleaseOutcome::Refused(_) => record_captured(ctx, reference).await,
    }
}

/// Whether another flow has released it, and reported that to Cleeng, since Cleeng listed it: another cancel at the gateway would fail.
async fn released_by_another(ctx: &ObligationContext<'_>, deactivated: &DeactivatedDetails, reference: &Reference) -> FlowResult<bool> {
    let live = ctx.subscription_state.live_authorisation.as_ref().is_some_and(|live| live.reference == *reference);
    Ok(!live && !matches!(find_in_authorised_list(ctx, &deactivated.event.details, reference).await?, ListedPayment::Found(_)))
}

/// What became of it before.
fn finished_result(ctx: &ObligationContext<'_>) -> Option<ReleaseResult> {
    let last = ctx.session.obligation.last_finished(KIND).filter(|_| ctx.current_attempt().is_none())?;
    match last.finish {
        // An operator has resolved it: nothing is authorised any more.
        Some(Finish::Parked { resolved: true, .. }) => Some(ReleaseResult::Released),
        Some(Finish::Parked { .. }) => Some(ReleaseResult::Parked),
        Some(Finish::Stale { .. }) => Some(ReleaseResult::Captured),
        _ => Some(ReleaseResult::Released),
    }
}

/// The gateway says that there is nothing left to cancel, because the payment is captured: it stays captured, with a warning for the
/// operator who handles refunds.
async fn record_captured(ctx: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<ReleaseResult> {
    ctx.update_payment(reference, |payment, now| {
        if payment.state == PaymentState::Cancelling {
            payment.transition_to(PaymentState::Captured, now)?;
            payment.captured = payment.amount;
        }
        Ok(())
    })?;
    clear_live_authorisation(ctx, reference);
    let finish = Finish::stale(CompletionReason::AlreadyCaptured);
    ctx.finish(finish).await?;
    Ok(ReleaseResult::Captured)
}
