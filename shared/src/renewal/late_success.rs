//! A payment of a renewal that succeeded after its attempt had ended, or after a wait. Cleeng is asked: if the period is still due and
//! unpaid, the payment is reported as its payment, else it is given back. Until that is done no attempt of the period opens, and the
//! settlement is in flight for the whole subscription.

use super::charge::count_for_subscription;
use super::eligibility;
use super::report_new_payment::{NewPaymentState, REPORT, ReportResult, report_new_payment};
use crate::cleeng::webhook::BillingEvent;
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::flow::{Disposition, FlowContext};
use crate::gateway::Reference;
use crate::ids::SubscriptionId;
use crate::journal::JournalError;
use crate::journal::payment::{PaymentRecord, PaymentState};
use crate::journal::record::{AttemptKind, Finish};
use crate::journal::store::{Key, StoreError};
use crate::metrics::Metric;
use crate::payments::late_capture;
use crate::payments::late_success::{Decision, next_payment, open_settlement, payment};
use crate::payments::obligation_context::ObligationContext;
use crate::payments::release::clear_live_authorisation;
use crate::payments::report_change::{ListedPayment, PaymentChange, find_in_authorised_list, report_change};
use crate::payments::reversal::reverse;
use crate::payments::{FlowResult, retry};
use crate::reason::{CompletionReason, RetryReason};

const CANCEL_REPORT: &str = "cancel_report";

/// The obligation that settles a payment if it succeeds late: its billing period, or the capture of its single purchase. `None` if Cleeng
/// has no word on it: a success is given back.
#[must_use]
pub fn settling_obligation(payment: &PaymentRecord) -> Option<Key> {
    let period = Key::from_stored(payment.captured_by.clone().unwrap_or_else(|| payment.obligation.clone()));
    if period_of(&period).is_some() { Some(period) } else { late_capture::settling_obligation(payment) }
}

/// Settles the late successes of an obligation, as far as possible now. The function is idempotent.
///
/// # Errors
/// None: the disposition says what is left to be done.
pub async fn settle(flow_context: &FlowContext, obligation: &Key, delivery: &Delivery) -> Disposition {
    let settled = match period_of(obligation) {
        Some((subscription, expiration)) => settle_all(flow_context, (obligation, &subscription, expiration), delivery).await,
        None => late_capture::settle(flow_context, obligation, delivery).await,
    };
    settled.unwrap_or_else(|disposition| disposition)
}

/// After an attempt that handed its payment over: settles it right away. If that cannot be done now, reconciliation does it.
#[must_use]
pub async fn after_attempt(flow_context: &FlowContext, ended: Disposition, obligation: &Key, delivery: &Delivery) -> Disposition {
    if ended != Disposition::Completed(CompletionReason::LateSuccess) {
        return ended;
    }
    match settle(flow_context, obligation, delivery).await {
        Disposition::Retry { .. } => ended,
        settled => settled,
    }
}

async fn settle_all(
    flow_context: &FlowContext,
    (period, subscription, expiration): (&Key, &SubscriptionId, Timestamp),
    delivery: &Delivery,
) -> FlowResult<Disposition> {
    let mut last = Disposition::Completed(CompletionReason::NothingOpen);
    loop {
        let mut ctx = ObligationContext::open(flow_context, period.clone(), subscription, delivery).await?;
        if is_before_money(&ctx) {
            match set_aside(&mut ctx).await {
                Ok(_) => continue,
                Err(disposition) => return Err(ctx.conclude(Err(disposition)).await),
            }
        }
        let Some(reference) = next_payment(&ctx)? else { return Ok(last) };
        let result = decide(&mut ctx, subscription, expiration, &reference).await;
        let decision = match result {
            Ok(decision) => decision,
            Err(disposition) => return Err(ctx.conclude(Err(disposition)).await),
        };
        last = match decision {
            Decision::Report => match report(&mut ctx, subscription, expiration, &reference).await {
                // The period was paid or ended since that was decided.
                Ok(None) => {
                    Decision::GiveBack.record(&mut ctx);
                    reverse_late(ctx, flow_context, (period, subscription), &reference, delivery).await?
                }
                Ok(Some(reported)) => ctx.conclude(Ok(reported)).await,
                Err(disposition) => ctx.conclude(Err(disposition)).await,
            },
            Decision::GiveBack => reverse_late(ctx, flow_context, (period, subscription), &reference, delivery).await?,
        };
        if !matches!(last, Disposition::Completed(_)) {
            return Ok(last);
        }
    }
}

/// Whether the open attempt has asked for no money yet: the late success comes first.
fn is_before_money(ctx: &ObligationContext<'_>) -> bool {
    let open = ctx.current_attempt().filter(|open| open.kind != AttemptKind::LateSuccess);
    !ctx.session.obligation.late_successes.is_empty() && open.is_some_and(|open| !eligibility::is_money_begun(open))
}

/// Closes such an attempt. Its event comes again, and opens another one if the period is still due then.
async fn set_aside(ctx: &mut ObligationContext<'_>) -> FlowResult<Disposition> {
    let (now, open) = (ctx.now(), ctx.current_attempt());
    let (reference, event) = open.map_or((None, None), |open| (open.reference.clone(), open.waiting_event.clone()));
    if let Some(reference) = reference.filter(|reference| ctx.payment(reference).is_some()) {
        ctx.update_payment(&reference, PaymentRecord::withdraw)?;
    }
    if event.is_some_and(|event| !ctx.session.obligation.postpone(&event, now)) {
        return Err(retry(RetryReason::LateSuccessUnsettled));
    }
    ctx.finish(Finish::Abandoned).await
}

/// The subscription and the end of the paid time that name a period.
fn period_of(key: &Key) -> Option<(SubscriptionId, Timestamp)> {
    let (subscription, expiration) = key.as_str().strip_prefix("period#")?.split_once('#')?;
    Some((SubscriptionId::new(subscription).ok()?, Timestamp::from_secs(expiration.parse().ok()?)))
}

/// Opens the settlement's own attempt, and decides once.
async fn decide(
    ctx: &mut ObligationContext<'_>,
    subscription: &SubscriptionId,
    expiration: Timestamp,
    reference: &Reference,
) -> FlowResult<Decision> {
    if let Some(decision) = open_settlement(ctx, reference).await? {
        return Ok(decision);
    }
    let decision =
        if is_payment_of_the_period(ctx, subscription, expiration, reference).await? { Decision::Report } else { Decision::GiveBack };
    decision.record(ctx);
    Ok(decision)
}

/// Whether the period is due and unpaid, by Cleeng's word and the journal's: a hold is none if another one is live, or if Cleeng names other
/// details now.
async fn is_payment_of_the_period(
    ctx: &mut ObligationContext<'_>,
    subscription: &SubscriptionId,
    expiration: Timestamp,
    reference: &Reference,
) -> FlowResult<bool> {
    let payment = payment(ctx, reference)?;
    let other_live = ctx.subscription_state.live_authorisation.as_ref().is_some_and(|live| live.reference != *reference);
    let paid_otherwise = has_captured_attempt(ctx, reference);
    let has_money = matches!(payment.state, PaymentState::Authorised | PaymentState::Captured);
    let Some(event) = billing_event(ctx, subscription, expiration, payment) else { return Ok(false) };
    if other_live || paid_otherwise || !has_money || payment.order.is_none() {
        return Ok(false);
    }
    let held = payment.state == PaymentState::Authorised;
    let current = ctx.subscription_state.last_billing_event.as_ref().map(|last| &last.details);
    if held && current != payment.details.as_ref() {
        return Ok(false);
    }
    // What Cleeng does not list as authorised any more cannot be changed there: it went with its details, or was cancelled.
    let known = payment.cleeng_payment.as_ref().and(payment.details.clone());
    if let Some(details) = &known
        && !matches!(find_in_authorised_list(ctx, details, reference).await?, ListedPayment::Found(_))
    {
        return Ok(false);
    }
    eligibility::is_still_due(ctx, &event).await
}

/// Whether an attempt of the period took another payment.
fn has_captured_attempt(ctx: &ObligationContext<'_>, reference: &Reference) -> bool {
    let attempts = &ctx.session.obligation.attempts;
    attempts.iter().any(|attempt| attempt.finish == Some(Finish::Captured) && attempt.reference.as_ref() != Some(reference))
}

/// What Cleeng would send for this payment. `None` for a subscription of which no more events are expected.
fn billing_event(
    ctx: &ObligationContext<'_>,
    subscription: &SubscriptionId,
    expiration: Timestamp,
    payment: &PaymentRecord,
) -> Option<BillingEvent> {
    let last = ctx.subscription_state.last_billing_event.as_ref()?;
    Some(BillingEvent {
        subscription: subscription.clone(),
        offer: last.offer.clone(),
        customer: payment.customer.clone(),
        payment_details: payment.details.clone()?,
        attempt: ctx.now(),
        expiration,
        currency: Some(payment.amount.currency),
        country: last.country.clone(),
        payment_method: ctx.subscription_state.method.clone(),
        token: None,
        recovered: false,
    })
}

/// Reports the payment as the period's: as a change of what Cleeng has as authorised, else as a new payment. `None` if it is not the
/// period's any more.
async fn report(
    ctx: &mut ObligationContext<'_>,
    subscription: &SubscriptionId,
    expiration: Timestamp,
    reference: &Reference,
) -> FlowResult<Option<Disposition>> {
    let payment = payment(ctx, reference)?;
    let captured = payment.state == PaymentState::Captured;
    let (event, order) = (billing_event(ctx, subscription, expiration, payment), payment.order.clone());
    let is_known = payment.cleeng_payment.is_some();
    let (Some(event), Some(order)) = (event, order) else { return Err(JournalError::Store(StoreError::Corrupt).into()) };
    let reported = match (is_known, captured) {
        (true, true) => report_change(ctx, REPORT, reference, PaymentChange::Captured).await.map(|()| ReportResult::Reported)?,
        (true, false) => ReportResult::Reported,
        (false, true) => report_new_payment(ctx, &event, &order, reference, NewPaymentState::Captured).await?,
        (false, false) => report_new_payment(ctx, &event, &order, reference, NewPaymentState::Authorised).await?,
    };
    match reported {
        ReportResult::Reported => {}
        ReportResult::DetailsDeleted => return ctx.finish(Finish::stale(CompletionReason::DetailsDeleted)).await.map(Some),
        ReportResult::NotDue => return Ok(None),
    }
    clear_live_authorisation(ctx, reference);
    count_for_subscription(ctx, &event, reference);
    ctx.flow_context.metrics.count(Metric::Warning, &[("reason", "late_success_reported")]);
    ctx.finish(if captured { Finish::Captured } else { Finish::Authorised }).await.map(Some)
}

/// Gives the payment back, by an obligation of its own. What Cleeng has as authorised is cancelled there first.
async fn reverse_late(
    mut ctx: ObligationContext<'_>,
    flow_context: &FlowContext,
    (period, subscription): (&Key, &SubscriptionId),
    reference: &Reference,
    delivery: &Delivery,
) -> FlowResult<Disposition> {
    let result = cancel_in_cleeng(&mut ctx, period, reference).await;
    if let Err(disposition) = result {
        return Err(ctx.conclude(Err(disposition)).await);
    }
    if let retry @ Disposition::Retry { .. } = reverse(flow_context, reference, None, delivery).await {
        return Err(retry);
    }
    let mut ctx = ObligationContext::open(flow_context, period.clone(), subscription, delivery).await?;
    let result = ctx.finish(Finish::Reversed).await;
    Ok(ctx.conclude(result).await)
}

async fn cancel_in_cleeng(ctx: &mut ObligationContext<'_>, period: &Key, reference: &Reference) -> FlowResult<()> {
    if payment(ctx, reference)?.cleeng_payment.is_some() {
        report_change(ctx, CANCEL_REPORT, reference, PaymentChange::Cancelled).await?;
        ctx.update_payment(reference, |payment, _| {
            payment.cleeng_payment = None;
            Ok(())
        })?;
    }
    clear_live_authorisation(ctx, reference);
    // It was the period's charge, or may have been, until now.
    if !has_captured_attempt(ctx, reference) {
        let expiration = period_of(period).map(|(_, expiration)| expiration.secs());
        ctx.subscription_state.last_charge.take_if(|charge| Some(charge.expiration.secs()) == expiration);
    }
    ctx.flow_context.metrics.count(Metric::Warning, &[("reason", "late_success_given_back")]);
    ctx.save_and_release_lease().await
}
