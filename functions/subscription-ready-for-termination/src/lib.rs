//! `subscriptionReadyForTermination`: a subscription is unpaid, or a stopped one has run out.
//!
//! Cleeng's checklist: terminate the subscription in Cleeng. Before that the journal is read: a period that is captured, or being captured,
//! is settled instead, because taking the money and the access would be the worst of all ends.

use std::time::Duration;

use async_trait::async_trait;
use connector::cleeng::envelope::Envelope;
use connector::cleeng::webhook::{TerminationEvent, Topic, Verified, Webhook};
use connector::cleeng::{CALL_WITH_FALLBACK_TIMEOUT, CleengError, Subscription, SubscriptionStatus, TerminationType};
use connector::delivery::Delivery;
use connector::flow::{Disposition, Flow, FlowContext};
use connector::journal::record::{AttemptKind, Finish};
use connector::metrics::Metric;
use connector::payments;
use connector::payments::cleeng_step::{self, CleengStep, LostAnswer};
use connector::payments::obligation_context::{ObligationContext, TypedStepState};
use connector::payments::release::release_live_authorisation;
use connector::payments::{FlowResult, read_failed, retry};
use connector::reason::CompletionReason;
use connector::reason::{ParkReason, RetryReason};
use connector::renewal::eligibility;

/// Terminates a subscription.
#[derive(Clone, Copy, Debug, Default)]
pub struct Termination;

const TERMINATE: &str = "terminate";

/// An active subscription that is paid for longer than this was renewed since the event was sent.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3600);

#[async_trait]
impl Flow for Termination {
    fn topic(&self) -> Topic {
        Topic::SubscriptionReadyForTermination
    }

    async fn handle(&self, flow_context: &FlowContext, event: &Verified<Webhook>, delivery: &Delivery) -> Disposition {
        run(flow_context, event, delivery).await.unwrap_or_else(|disposition| disposition)
    }
}

async fn run(flow_context: &FlowContext, webhook: &Verified<Webhook>, delivery: &Delivery) -> FlowResult<Disposition> {
    let event = TerminationEvent::read(webhook.get())?;
    if let Some(method) = &event.payment_method {
        payments::configured_method(flow_context, method)?;
    }
    let key = eligibility::termination_key(&event.subscription);
    let mut ctx = ObligationContext::open(flow_context, key, &event.subscription, delivery).await?;
    ctx.event = Some(Envelope::reseal(webhook, delivery.received_at).to_text());
    let disposition = process(&mut ctx, &event).await;
    Ok(ctx.conclude(disposition).await)
}

async fn process(ctx: &mut ObligationContext<'_>, event: &TerminationEvent) -> FlowResult<Disposition> {
    let subscription = match ctx.flow_context.cleeng.subscription(&event.subscription).await {
        Ok(subscription) => subscription,
        Err(CleengError::NotFound) => return already_terminated(ctx).await,
        Err(error) => return Err(read_failed(&error)),
    };
    if subscription.status == SubscriptionStatus::Terminated {
        return already_terminated(ctx).await;
    }
    let method_named = event.payment_method.as_ref().or(subscription.payment_method.as_ref());
    let Some(method) = method_named.or(ctx.subscription_state.method.as_ref()).cloned() else {
        return park(ctx, &subscription, ParkReason::PaymentMethodUnknown).await;
    };
    payments::configured_method(ctx.flow_context, &method)?;
    let Some(termination_type_of_status) = termination_type(&subscription.status) else {
        return park(ctx, &subscription, ParkReason::SubscriptionStatusUnknown).await;
    };
    if ctx.current_attempt().is_none() {
        if let Some(disposition) = keep_alive(ctx, &subscription).await? {
            return Ok(disposition);
        }
        ctx.open_attempt_beside(AttemptKind::Terminate, subscription.paid_until);
    }
    if !is_payment_in_flight(ctx) {
        // An authorisation that is still open will never be captured.
        release_live_authorisation(ctx).await?;
    }
    terminate(ctx, event, termination_type_of_status).await
}

const fn termination_type(status: &SubscriptionStatus) -> Option<TerminationType> {
    match status {
        SubscriptionStatus::Active | SubscriptionStatus::Paused => Some(TerminationType::PaymentCancel),
        SubscriptionStatus::Stopped => Some(TerminationType::UserCancel),
        SubscriptionStatus::Terminated | SubscriptionStatus::Other(_) => None,
    }
}

/// Reads the journal first. Money of the period that is being taken, or may have been, is waited for, but not longer than
/// `TERMINATION_WAIT_HOURS`; a payment that succeeds after that is given back. Money that was taken for the period that is due keeps the
/// subscription alive, and the termination is parked.
async fn keep_alive(ctx: &mut ObligationContext<'_>, subscription: &Subscription) -> FlowResult<Option<Disposition>> {
    let due = subscription.paid_until;
    let charge = ctx.subscription_state.last_charge.as_ref().filter(|charge| charge.expiration.secs() >= due.secs());
    let (is_charged, is_unknown) = (charge.is_some_and(|charge| charge.certain), charge.is_some_and(|charge| !charge.certain));
    // Counted from when the event was first kept for it, not from when it came: while the queues were out, no payment could be settled.
    let kept_since = ctx.event.as_deref().and_then(|event| ctx.session.obligation.postponed_since(event));
    let waited = kept_since.map_or(Duration::ZERO, |since| ctx.now().since(since));
    if (is_payment_in_flight(ctx) || is_unknown) && waited < ctx.flow_context.policy.termination_wait {
        return Err(retry(RetryReason::PaymentInFlight));
    }
    if is_charged && subscription.status == SubscriptionStatus::Active {
        return park(ctx, subscription, ParkReason::CapturedButToBeTerminated).await;
    }
    if subscription.status == SubscriptionStatus::Active && due > ctx.now().after(CLOCK_TOLERANCE) {
        ctx.flow_context.metrics.count(Metric::Warning, &[("reason", "termination_of_a_paid_subscription")]);
        let finish = Finish::stale(CompletionReason::AlreadyPaid);
        return ctx.skip(AttemptKind::Terminate, due, finish).await.map(Some);
    }
    Ok(None)
}

/// Whether an attempt at a payment of the subscription is in flight.
fn is_payment_in_flight(ctx: &ObligationContext<'_>) -> bool {
    ctx.subscription_state.in_flight.as_deref().is_some_and(|key| key != ctx.session.key().as_str())
}

async fn terminate(
    ctx: &mut ObligationContext<'_>,
    event: &TerminationEvent,
    termination_type: TerminationType,
) -> FlowResult<Disposition> {
    match ctx.step_state::<()>(TERMINATE)? {
        TypedStepState::Done(()) => return ctx.finish(Finish::Terminated).await,
        TypedStepState::Unknown(step) if ctx.is_overdue(&step) => return ctx.park(ParkReason::TerminationRefused, false).await,
        // An unknown outcome was settled above: Cleeng says that the subscription runs, so the call is made again.
        TypedStepState::NotStarted | TypedStepState::Unknown(_) => {}
    }
    let step = CleengStep { name: TERMINATE, timeout: CALL_WITH_FALLBACK_TIMEOUT, lost_answer: LostAnswer::FindOut };
    let call = ctx.flow_context.cleeng.terminate(&event.subscription, termination_type);
    match cleeng_step::run(ctx, step, call).await? {
        Ok(()) => {
            ctx.record_result(TERMINATE, &());
            ctx.finish(Finish::Terminated).await
        }
        Err(_) => handle_refusal(ctx, event).await,
    }
}

/// Another party may have ended it meanwhile: payment methods can terminate subscriptions too.
async fn handle_refusal(ctx: &mut ObligationContext<'_>, event: &TerminationEvent) -> FlowResult<Disposition> {
    match ctx.flow_context.cleeng.subscription(&event.subscription).await {
        Ok(subscription) if subscription.status != SubscriptionStatus::Terminated => ctx.park(ParkReason::TerminationRefused, false).await,
        Ok(_) | Err(CleengError::NotFound) => {
            ctx.record_result(TERMINATE, &());
            ctx.finish(Finish::Terminated).await
        }
        Err(error) => Err(read_failed(&error)),
    }
}

/// The subscription has ended: an open attempt of ours is done. An authorisation that is still open, because Cleeng ended the subscription,
/// is released.
async fn already_terminated(ctx: &mut ObligationContext<'_>) -> FlowResult<Disposition> {
    if ctx.current_attempt().is_none() {
        let last_finish = ctx.session.obligation.last_finished(AttemptKind::Terminate).and_then(|last| last.finish.as_ref());
        if ctx.subscription_state.live_authorisation.is_none() && last_finish == Some(&Finish::Terminated) {
            return Ok(eligibility::duplicate(ctx.flow_context, CompletionReason::Terminated));
        }
        // Written even if there is nothing to do: a worker that ended the subscription meanwhile and crashed is found through the journal
        // only.
        ctx.open_attempt(AttemptKind::Terminate, ctx.now(), None)?;
    }
    release_live_authorisation(ctx).await?;
    ctx.finish(Finish::Terminated).await
}

async fn park<T>(ctx: &mut ObligationContext<'_>, subscription: &Subscription, reason: ParkReason) -> FlowResult<T> {
    if ctx.current_attempt().is_some() {
        return ctx.park(reason, false).await;
    }
    ctx.park_without_attempt(AttemptKind::Terminate, subscription.paid_until, reason).await
}
