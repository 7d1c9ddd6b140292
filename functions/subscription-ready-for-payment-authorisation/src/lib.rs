//! `subscriptionReadyForPaymentAuthorisation`: an authorisation attempt of a renewal is due.
//!
//! Cleeng's checklist: create the order, authorise at the gateway with the stored token, report the payment `authorized` or `rejected`.

use async_trait::async_trait;
use connector::cleeng::webhook::{BillingEvent, Topic, Verified, Webhook};
use connector::delivery::Delivery;
use connector::flow::{BillingMode, Disposition, Flow, FlowContext, PaymentMethodConfig};
use connector::ids::PaymentMethodId;
use connector::journal::record::{AttemptKind, Finish};
use connector::metrics::Metric;
use connector::payments::obligation_context::ObligationContext;
use connector::payments::release::release_live_authorisation;
use connector::payments::{FlowResult, late_success::hand_over};
use connector::reason::CompletionReason;
use connector::renewal::charge::{self, ChargeResult};
use connector::renewal::eligibility::{self, AttemptStatus};
use connector::renewal::late_success;
use connector::renewal::report_new_payment::{NewPaymentState, ReportResult, report_new_payment};

const KIND: AttemptKind = AttemptKind::Authorise;

/// Authorises a renewal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Authorisation;

#[async_trait]
impl Flow for Authorisation {
    fn topic(&self) -> Topic {
        Topic::SubscriptionReadyForPaymentAuthorisation
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
    let (method_id, method) = eligibility::resolve_payment_method(ctx, event, KIND).await?;
    if method.billing == BillingMode::CaptureOnly {
        // Dunning asks for an authorisation, the setting for none: the money is taken when the capture event comes.
        ctx.flow_context.metrics.count(Metric::Warning, &[("reason", "authorisation_event_in_capture_only_billing")]);
        return Ok(Disposition::Completed(CompletionReason::BilledAtCapture));
    }
    authorise(ctx, event, &method_id, method).await
}

async fn authorise(
    ctx: &mut ObligationContext<'_>,
    event: &BillingEvent,
    method_id: &PaymentMethodId,
    method: PaymentMethodConfig,
) -> FlowResult<Disposition> {
    match eligibility::attempt_status(ctx, &[KIND], event)? {
        AttemptStatus::Finished(outcome) => return Ok(eligibility::duplicate(ctx.flow_context, outcome)),
        AttemptStatus::InFlight => {
            let due = ctx.current_attempt().map(|attempt| attempt.due);
            return eligibility::after_resuming(attempt(ctx, event, method_id, method).await, due, event);
        }
        AttemptStatus::NotStarted => {}
    }
    eligibility::record_event(ctx, event, method_id);
    if eligibility::usable_authorisation(ctx, event).is_some() {
        return use_live_authorisation(ctx, event).await;
    }
    eligibility::require_due(ctx, event, KIND).await?;
    ctx.open_attempt(KIND, event.attempt, Some(event.payment_details.clone()))?;
    attempt(ctx, event, method_id, method).await
}

/// Resumes one attempt: every step that is done is skipped.
async fn attempt(
    ctx: &mut ObligationContext<'_>,
    event: &BillingEvent,
    method_id: &PaymentMethodId,
    method: PaymentMethodConfig,
) -> FlowResult<Disposition> {
    eligibility::require_due(ctx, event, KIND).await?;
    // The card was changed, or the authorisation lapsed: the old authorisation is released before a new one is made.
    release_live_authorisation(ctx).await?;
    let order = charge::create_order(ctx, event, method_id).await?;
    match charge::authorise_or_charge(ctx, event, method, &order, KIND).await? {
        ChargeResult::Done(reference) => match report_new_payment(ctx, event, &order.id, &reference, NewPaymentState::Authorised).await? {
            ReportResult::Reported => ctx.finish(Finish::Authorised).await,
            ReportResult::DetailsDeleted => ctx.finish(finish_details_deleted()).await,
            ReportResult::NotDue => hand_over(ctx, &reference).await,
        },
        ChargeResult::Declined(reference, decline) => {
            report_new_payment(ctx, event, &order.id, &reference, NewPaymentState::Rejected(&decline)).await?;
            ctx.finish(Finish::Declined { class: decline.class, code: decline.code }).await
        }
        ChargeResult::DetailsDeleted => ctx.finish(finish_details_deleted()).await,
    }
}

/// Others took the place of the details that the event names, and Cleeng takes no report with these any more.
fn finish_details_deleted() -> Finish {
    Finish::stale(CompletionReason::DetailsDeleted)
}

/// The period is authorised already. If the expiry moved meanwhile, the authorisation moves with it: it is used, never doubled.
async fn use_live_authorisation(ctx: &mut ObligationContext<'_>, event: &BillingEvent) -> FlowResult<Disposition> {
    let same_period =
        ctx.subscription_state.live_authorisation.as_ref().is_some_and(|live| live.expiration.secs() == event.expiration.secs());
    if same_period {
        return Ok(eligibility::duplicate(ctx.flow_context, CompletionReason::Authorised));
    }
    if let Some(live) = ctx.subscription_state.live_authorisation.as_mut() {
        live.expiration = event.expiration;
    }
    ctx.flow_context.metrics.count(Metric::Warning, &[("reason", "expiry_moved_under_an_authorisation")]);
    ctx.skip(KIND, event.attempt, Finish::Authorised).await
}
