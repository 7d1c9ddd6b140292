//! Authorisations for a period that was paid in another way: they will never be captured, and the customer's money would be held until they
//! lapse. They are released at the gateway and then in Cleeng, as after a deactivation, under an obligation of their own: if the worker
//! crashes, the next run resumes it.
//!
//! Never in doubt. It has to be the subscription's live authorisation, with no attempt in flight; and Cleeng, queried again after the
//! documents are read, has to have the subscription as paid for another period, has to list the authorisation as authorised still, so that
//! another payment paid, and must not wait for its capture. A doubtful one stays as it is and is reported as drift.

use connector::cleeng::{CleengError, LatestPayment, Subscription};
use connector::delivery::Delivery;
use connector::flow::{BillingMode, Disposition, FlowContext};
use connector::gateway::Reference;
use connector::ids::SubscriptionId;
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::{AttemptKind, Finish};
use connector::journal::store::Key;
use connector::metrics::Metric;
use connector::payments::obligation_context::ObligationContext;
use connector::payments::release::{ReleaseOutcome, release};
use connector::payments::report_change::{ListedPayment, find_in_authorised_list};
use connector::payments::subscription_state::LiveAuthorisation;
use connector::payments::{FlowResult, read_failed, retry};
use connector::reason::{CompletionReason, ParkReason, RetryReason};
use connector::renewal::eligibility;

use crate::documents::{self, OBSOLETE_AUTHORISATION};

const KIND: AttemptKind = AttemptKind::Release;
/// The reason in the metric, for a released and for a doubtful one.
pub(crate) const DRIFT: &str = "drift_obsolete_authorisation";

/// Whether an authorisation is obsolete by what Cleeng says of the subscription: paid for another period, and not waiting for its capture.
/// If the ends differ by less than half a cycle, it is the same period whose end moved, and its next event uses the authorisation.
pub(crate) fn is_obsolete(flow_context: &FlowContext, live: &LiveAuthorisation, subscription: &Subscription) -> bool {
    let paid = subscription.paid_until > live.expiration.after(eligibility::min_period_gap(subscription));
    let method = subscription.payment_method.as_ref().and_then(|method| flow_context.policy.methods.get(method));
    let authorised_first = method.is_some_and(|method| method.billing == BillingMode::AuthoriseThenCapture);
    paid && !(authorised_first && subscription.next_payment_action.as_deref() == Some("capture"))
}

/// Releases the live authorisation of a subscription, or continues that. Completed for another reason than `released` if it is kept.
pub(crate) async fn release_obsolete(
    flow_context: &FlowContext,
    subscription: &SubscriptionId,
    reference: &Reference,
    delivery: &Delivery,
) -> Disposition {
    let key = Key::new(OBSOLETE_AUTHORISATION, &[reference.as_str()]);
    match ObligationContext::open(flow_context, key, subscription, delivery).await {
        Ok(mut ctx) => {
            let disposition = release_hold(&mut ctx, subscription, reference).await;
            ctx.conclude(disposition).await
        }
        Err(disposition) => disposition,
    }
}

/// Continues a release that an earlier run has started.
pub(crate) async fn resume_release(flow_context: &FlowContext, reference: &Reference, delivery: &Delivery) -> Disposition {
    match documents::read::<PaymentRecord>(flow_context, &PaymentRecord::key(reference)).await {
        Ok(Some(PaymentRecord { subscription: Some(subscription), .. })) => {
            release_obsolete(flow_context, &subscription, reference, delivery).await
        }
        Ok(_) => retry(RetryReason::PaymentNotLoaded),
        Err(error) => error.into(),
    }
}

async fn release_hold(ctx: &mut ObligationContext<'_>, subscription: &SubscriptionId, reference: &Reference) -> FlowResult<Disposition> {
    if ctx.current_attempt().is_none() {
        if let Some(finish) = ctx.session.obligation.last_finished(KIND).and_then(|last| last.finish.as_ref()) {
            return Ok(Disposition::Completed(finish.into()));
        }
        let live = match live_authorisation(ctx, reference) {
            Ok(live) => live,
            Err(reason) => return Ok(Disposition::Completed(reason)),
        };
        if let Some(reason) = reason_to_keep(ctx, subscription, &live).await? {
            return Ok(Disposition::Completed(reason));
        }
        ctx.flow_context.metrics.count(Metric::Warning, &[("reason", DRIFT)]);
        tracing::warn!(obligation = %ctx.session.key(), drift = DRIFT, "obsolete authorisation is released");
        ctx.open_attempt(KIND, ctx.now(), Some(live.details))?;
        ctx.set_attempt_payment(reference);
    }
    match release(ctx, reference).await? {
        ReleaseOutcome::Released => ctx.finish(Finish::Released).await,
        // As for captured money: the period may be paid twice.
        ReleaseOutcome::Refused(_) => ctx.park(ParkReason::ReleaseRefused, true).await,
    }
}

/// The authorisation, if it is the journal's and no attempt is in flight.
fn live_authorisation(ctx: &ObligationContext<'_>, reference: &Reference) -> Result<LiveAuthorisation, CompletionReason> {
    if ctx.subscription_state.in_flight.is_some() {
        return Err(CompletionReason::PaymentInFlight);
    }
    let live = ctx
        .subscription_state
        .live_authorisation
        .clone()
        .filter(|live| live.reference == *reference)
        .ok_or(CompletionReason::NotTheLiveAuthorisation)?;
    match ctx.payment(reference).map(|payment| payment.state) {
        // One that has ended at the gateway is still to be reported to Cleeng.
        Some(PaymentState::Authorised | PaymentState::Cancelled | PaymentState::Expired) => Ok(live),
        _ => Err(CompletionReason::NotAuthorised),
    }
}

/// Why it is kept, by what Cleeng says now. `None` if it is to be released.
async fn reason_to_keep(
    ctx: &ObligationContext<'_>,
    subscription: &SubscriptionId,
    live: &LiveAuthorisation,
) -> FlowResult<Option<CompletionReason>> {
    let subscription = match ctx.flow_context.cleeng.subscription(subscription).await {
        Ok(subscription) => subscription,
        Err(CleengError::NotFound) => return Ok(Some(CompletionReason::SubscriptionNotFound)),
        Err(error) => return Err(read_failed(&error)),
    };
    if !is_obsolete(ctx.flow_context, live, &subscription) {
        return Ok(Some(CompletionReason::PeriodNotPaidOtherwise));
    }
    let ours = ctx.payment(&live.reference).and_then(|payment| payment.external_payment_id.clone());
    if ours.is_some_and(|ours| subscription.latest_payment == LatestPayment::Known(ours)) {
        return Ok(Some(CompletionReason::AuthorisationIsTheLatestPayment));
    }
    match find_in_authorised_list(ctx, &live.details, &live.reference).await {
        // Without details it cannot be captured any more.
        Ok(ListedPayment::Found(_) | ListedPayment::DetailsGone) => Ok(None),
        Ok(ListedPayment::NotListed) => Ok(Some(CompletionReason::AuthorisationNotListed)),
        // These are no outages, and prove nothing.
        Err(Disposition::Retry { reason: RetryReason::CleengNotFound, .. }) => Ok(Some(CompletionReason::CleengNotFound)),
        Err(Disposition::Retry { reason: RetryReason::CleengListIncomplete, .. }) => Ok(Some(CompletionReason::CleengListIncomplete)),
        Err(disposition) => Err(disposition),
    }
}
