//! A single purchase whose capture succeeded after its attempt had ended, after a wait, or without a request of ours. Cleeng is asked: if it
//! has the payment as authorised, or if the order can still be paid, the payment is reported, else it is given back. The obligation is that of
//! the capture, so that no other capture of the payment opens before that is done.

use super::cleeng_step::{self, CleengStep, LostAnswer};
use super::late_success::{Decision, next_payment, open_settlement, payment};
use super::obligation_context::{ObligationContext, TypedStepState};
use super::report_change::{ListedPayment, PaymentChange, ReportRecord, find_in_authorised_list, report_change};
use super::reversal::reverse;
use super::{FlowResult, read_failed};
use crate::cleeng::{CALL_TIMEOUT, CleengError, NewPayment, NewPaymentStatus, PaymentOperation, PaymentSource};
use crate::delivery::Delivery;
use crate::flow::{Disposition, FlowContext};
use crate::gateway::Reference;
use crate::journal::payment::{PaymentRecord, PaymentState};
use crate::journal::record::Finish;
use crate::journal::store::Key;
use crate::metrics::Metric;
use crate::reason::{CompletionReason, ParkReason};

const REPORT: &str = "report";

/// The obligation of the capture of a single purchase, by the id that its event names the payment by.
#[must_use]
pub fn capture_key(payment: &str) -> Key {
    Key::new("capture", &[payment])
}

/// The obligation that settles a late success of this payment. `None` for a renewal, and for a payment that Cleeng never had as authorised.
#[must_use]
pub(crate) fn settling_obligation(payment: &PaymentRecord) -> Option<Key> {
    if payment.subscription.is_some() || payment.taken_at_once {
        return None;
    }
    let by_cleeng = || payment.cleeng_payment.as_ref().map(|id| capture_key(id.as_str()));
    payment.captured_by.clone().map(Key::from_stored).or_else(by_cleeng)
}

/// Settles the late success of this obligation, as far as possible now. The function is idempotent.
///
/// # Errors
/// `Err(Disposition::Retry)` or `Err(Disposition::Parked)`: what is left to be done.
pub(crate) async fn settle(flow_context: &FlowContext, obligation: &Key, delivery: &Delivery) -> FlowResult<Disposition> {
    let mut ctx = open(flow_context, obligation, delivery).await?;
    let Some(reference) = next_payment(&ctx)? else { return Ok(Disposition::Completed(CompletionReason::NothingOpen)) };
    match report_if_due(&mut ctx, &reference).await {
        Ok(true) => {
            ctx.flow_context.metrics.count(Metric::Warning, &[("reason", "late_success_reported")]);
            let result = ctx.finish(Finish::Captured).await;
            Ok(ctx.conclude(result).await)
        }
        Ok(false) => reverse_late(ctx, obligation, &reference, delivery).await,
        Err(disposition) => Err(ctx.conclude(Err(disposition)).await),
    }
}

async fn open<'w>(flow_context: &'w FlowContext, obligation: &Key, delivery: &Delivery) -> FlowResult<ObligationContext<'w>> {
    ObligationContext::open_with_attempt_payments(flow_context, obligation.clone(), &[], delivery).await
}

/// Reports the payment, if it is to be paid. Returns whether it was.
async fn report_if_due(ctx: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<bool> {
    let decision = match open_settlement(ctx, reference).await? {
        Some(decision) => decision,
        None if is_due(ctx, reference).await? => Decision::Report,
        None => Decision::GiveBack,
    };
    decision.record(ctx);
    if decision == Decision::GiveBack {
        return Ok(false);
    }
    let is_reported = match payment(ctx, reference)?.cleeng_payment {
        Some(_) => report_change(ctx, REPORT, reference, PaymentChange::Captured).await.map(|()| true)?,
        None => report_new(ctx, reference).await?,
    };
    if !is_reported {
        Decision::GiveBack.record(ctx);
    }
    Ok(is_reported)
}

/// Whether Cleeng has the payment as authorised, or takes a payment for its order.
async fn is_due(ctx: &ObligationContext<'_>, reference: &Reference) -> FlowResult<bool> {
    let payment = payment(ctx, reference)?;
    if payment.state != PaymentState::Captured {
        return Ok(false);
    }
    if payment.cleeng_payment.is_some() {
        // An authorised payment can be captured however old its order is. Without details there is no list: Cleeng says so when it is told.
        let Some(details) = &payment.details else { return Ok(true) };
        return Ok(matches!(find_in_authorised_list(ctx, details, reference).await?, ListedPayment::Found(_)));
    }
    let (Some(id), Some(_)) = (&payment.order, &payment.details) else { return Ok(false) };
    match ctx.flow_context.cleeng.order(id).await {
        Ok(order) => Ok(order.total == payment.amount
            && order.customer.is_none_or(|customer| customer == payment.customer)
            && order.expires_at.is_none_or(|expires_at| expires_at > ctx.now())),
        Err(CleengError::NotFound) => Ok(false),
        Err(error) => Err(read_failed(&error)),
    }
}

/// Reports it as a new payment of its order: Cleeng has the former one as rejected or cancelled. False if Cleeng refuses it for good, as it
/// does for an order that is paid.
async fn report_new(ctx: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<bool> {
    match ctx.step_state::<ReportRecord>(REPORT)? {
        TypedStepState::Done(_) => return Ok(true),
        // No list of Cleeng shows a single purchase.
        TypedStepState::Unknown(_) => return ctx.park(ParkReason::ReportUnknown, true).await,
        TypedStepState::NotStarted => {}
    }
    let record = payment(ctx, reference)?;
    let (Some(order), Some(details), Some(external)) = (&record.order, &record.details, &record.external_payment_id) else {
        return Ok(false);
    };
    let new = NewPayment {
        order: order.clone(),
        status: NewPaymentStatus::Captured,
        operation: PaymentOperation::Initial,
        source: PaymentSource::Existing(details.clone()),
        external_payment_id: external.clone(),
        subscription: None,
    };
    let step = CleengStep { name: REPORT, timeout: CALL_TIMEOUT, lost_answer: LostAnswer::FindOut };
    let call = ctx.flow_context.cleeng.create_payment(&new);
    let Ok(answer) = cleeng_step::run(ctx, step, call).await? else { return Ok(false) };
    ctx.record_result(REPORT, &ReportRecord::with_payment(Some(answer.id.clone())));
    ctx.record_cleeng_payment(reference, answer.id)?;
    Ok(true)
}

/// Gives the payment back, by an obligation of its own.
async fn reverse_late(
    mut ctx: ObligationContext<'_>,
    obligation: &Key,
    reference: &Reference,
    delivery: &Delivery,
) -> FlowResult<Disposition> {
    ctx.flow_context.metrics.count(Metric::Warning, &[("reason", "late_success_given_back")]);
    ctx.update_payment(reference, |payment, _| {
        payment.cleeng_payment = None;
        Ok(())
    })?;
    ctx.save_and_release_lease().await?;
    if let retry @ Disposition::Retry { .. } = reverse(ctx.flow_context, reference, None, delivery).await {
        return Err(retry);
    }
    let mut ctx = open(ctx.flow_context, obligation, delivery).await?;
    let result = ctx.finish(Finish::Reversed).await;
    Ok(ctx.conclude(result).await)
}
