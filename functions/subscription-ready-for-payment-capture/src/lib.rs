//! `subscriptionReadyForPaymentCapture`: the money of a renewal is due.
//!
//! Cleeng's checklist, authorise + capture: fetch the authorised payment, capture it at the gateway, report it `captured` (with the new id
//! if the capture has another) or `rejected`. Capture only: create the order, charge, report the payment `captured` or `rejected`. Which of
//! the two is a setting of the payment method; a live authorisation is captured in both.

mod import_authorisation;

use async_trait::async_trait;
use connector::cleeng::webhook::{BillingEvent, Topic, Verified, Webhook};
use connector::delivery::Delivery;
use connector::flow::{BillingMode, Disposition, Flow, FlowContext, PaymentMethodConfig};
use connector::gateway::Reference;
use connector::ids::PaymentMethodId;
use connector::journal::record::{AttemptKind, Finish};
use connector::payments::capture::capture;
use connector::payments::late_success::hand_over;
use connector::payments::obligation_context::ObligationContext;
use connector::payments::release::release_live_authorisation;
use connector::payments::{FlowResult, retry};
use connector::reason::{CompletionReason, ParkReason, RetryReason};
use connector::renewal::charge::{self, ChargeResult};
use connector::renewal::eligibility::{self, AttemptStatus};
use connector::renewal::late_success;
use connector::renewal::report_new_payment::{NewPaymentState, ReportResult, report_new_payment};

use crate::import_authorisation::{ListedAuthorisation, find_authorisation, import_authorisation};

/// Captures or charges a renewal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capture;

#[async_trait]
impl Flow for Capture {
    fn topic(&self) -> Topic {
        Topic::SubscriptionReadyForPaymentCapture
    }

    async fn handle(&self, flow_context: &FlowContext, event: &Verified<Webhook>, delivery: &Delivery) -> Disposition {
        run(flow_context, event, delivery).await.unwrap_or_else(|disposition| disposition)
    }
}

async fn run(flow_context: &FlowContext, webhook: &Verified<Webhook>, delivery: &Delivery) -> FlowResult<Disposition> {
    let (mut ctx, event) = eligibility::open_period(flow_context, webhook, delivery).await?;
    let disposition = process(&mut ctx, &event).await;
    let disposition = ctx.conclude(disposition).await;
    Ok(late_success::after_attempt(flow_context, disposition, ctx.session.key(), delivery).await)
}

async fn process(ctx: &mut ObligationContext<'_>, event: &BillingEvent) -> FlowResult<Disposition> {
    let status = eligibility::attempt_status(ctx, &[AttemptKind::Capture, AttemptKind::Charge], event)?;
    if let AttemptStatus::Finished(outcome) = status {
        return Ok(eligibility::duplicate(ctx.flow_context, outcome));
    }
    let (method_id, method) = eligibility::resolve_payment_method(ctx, event, AttemptKind::Capture).await?;
    if status == AttemptStatus::InFlight {
        return resume(ctx, event, &method_id, method).await;
    }
    let is_first_event = ctx.subscription_state.latest_period_end.is_none() && ctx.session.obligation.attempts.is_empty();
    eligibility::record_event(ctx, event, &method_id);
    let kind = if method.billing == BillingMode::CaptureOnly { AttemptKind::Charge } else { AttemptKind::Capture };
    eligibility::require_due(ctx, event, kind).await?;
    if let Some(reference) = eligibility::usable_authorisation(ctx, event) {
        return capture_live(ctx, event, reference).await;
    }
    match method.billing {
        BillingMode::CaptureOnly => {
            ctx.open_attempt(AttemptKind::Charge, event.attempt, Some(event.payment_details.clone()))?;
            charge(ctx, event, &method_id, method).await
        }
        BillingMode::AuthoriseThenCapture => wait_for_authorisation(ctx, event, method, is_first_event).await,
    }
}

async fn resume(
    ctx: &mut ObligationContext<'_>,
    event: &BillingEvent,
    method_id: &PaymentMethodId,
    method: PaymentMethodConfig,
) -> FlowResult<Disposition> {
    let attempt = ctx.current_attempt().map(|attempt| (attempt.kind, attempt.due, attempt.reference.clone()));
    let Some((kind, resumed_due, reference)) = attempt else { return Err(retry(RetryReason::NothingToResume)) };
    let result = match (eligibility::require_due(ctx, event, kind).await, kind, reference) {
        (Err(ended), ..) => Err(ended),
        (Ok(()), AttemptKind::Charge, _) => charge(ctx, event, method_id, method).await,
        (Ok(()), _, Some(reference)) => capture(ctx, &reference, event.expiration).await,
        (Ok(()), _, None) => import_or_park(ctx, event, method).await,
    };
    eligibility::after_resuming(result, Some(resumed_due), event)
}

async fn capture_live(ctx: &mut ObligationContext<'_>, event: &BillingEvent, reference: Reference) -> FlowResult<Disposition> {
    ctx.open_attempt(AttemptKind::Capture, event.attempt, Some(event.payment_details.clone()))?;
    ctx.set_attempt_payment(&reference);
    capture(ctx, &reference, event.expiration).await
}

/// Order, charge, report.
async fn charge(
    ctx: &mut ObligationContext<'_>,
    event: &BillingEvent,
    method_id: &PaymentMethodId,
    method: PaymentMethodConfig,
) -> FlowResult<Disposition> {
    release_live_authorisation(ctx).await?;
    let order = charge::create_order(ctx, event, method_id).await?;
    match charge::authorise_or_charge(ctx, event, method, &order, AttemptKind::Charge).await? {
        ChargeResult::Done(reference) => match report_new_payment(ctx, event, &order.id, &reference, NewPaymentState::Captured).await? {
            ReportResult::NotDue => hand_over(ctx, &reference).await,
            ReportResult::Reported | ReportResult::DetailsDeleted => ctx.finish(Finish::Captured).await,
        },
        ChargeResult::Declined(reference, decline) => {
            report_new_payment(ctx, event, &order.id, &reference, NewPaymentState::Rejected(&decline)).await?;
            ctx.finish(Finish::Declined { class: decline.class, code: decline.code }).await
        }
        // Never silently done: what comes next is a termination.
        ChargeResult::DetailsDeleted => ctx.park(ParkReason::DetailsDeleted, false).await,
    }
}

/// Nothing is authorised (yet): the authorisation may still be in a queue or in another worker's hands. One of a subscription that the journal
/// never knew was made before this connector: Cleeng lists it, and nothing is to be waited for.
async fn wait_for_authorisation(
    ctx: &mut ObligationContext<'_>,
    event: &BillingEvent,
    method: PaymentMethodConfig,
    is_first_event: bool,
) -> FlowResult<Disposition> {
    if ctx.now() < event.attempt.after(ctx.flow_context.policy.capture_wait) {
        if is_first_event && let ListedAuthorisation::One(payment) = find_authorisation(ctx, event, method).await? {
            ctx.open_attempt(AttemptKind::Capture, event.attempt, Some(event.payment_details.clone()))?;
            let reference = import_authorisation(ctx, event, payment).await?;
            return capture(ctx, &reference, event.expiration).await;
        }
        return Err(retry(RetryReason::WaitingForAuthorisation));
    }
    if eligibility::is_declined_for_good(ctx) {
        // Cleeng knows of every decline. No attempt is recorded: a later authorisation of the period is captured by the same event.
        ctx.save_and_release_lease().await?;
        return Ok(Disposition::Completed(CompletionReason::Declined));
    }
    ctx.open_attempt(AttemptKind::Capture, event.attempt, Some(event.payment_details.clone()))?;
    import_or_park(ctx, event, method).await
}

/// The period was not authorised in time, or its authorisation lapsed while the event waited. An authorisation with other details is released;
/// then Cleeng is asked for an authorisation that was made before this connector; then an operator has to decide, because a termination comes
/// next.
async fn import_or_park(ctx: &mut ObligationContext<'_>, event: &BillingEvent, method: PaymentMethodConfig) -> FlowResult<Disposition> {
    let lapsed = eligibility::has_lapsed(ctx, event);
    release_live_authorisation(ctx).await?;
    match find_authorisation(ctx, event, method).await? {
        ListedAuthorisation::One(payment) => {
            let reference = import_authorisation(ctx, event, payment).await?;
            capture(ctx, &reference, event.expiration).await
        }
        ListedAuthorisation::None if lapsed => ctx.park(ParkReason::CaptureOfAnExpiredAuthorisation, false).await,
        ListedAuthorisation::None => ctx.park(ParkReason::CaptureWithoutAuthorisation, false).await,
        ListedAuthorisation::Several => ctx.park(ParkReason::SeveralAuthorisationsInCleeng, false).await,
    }
}
