//! The steps of a refund: the gateway first, then Cleeng, and in between the wait for the gateway's notification if it only acknowledged
//! the refund.

use connector::cleeng::{PaymentOperation, PaymentPatch};
use connector::clock::Timestamp;
use connector::flow::{Disposition, SettleOn};
use connector::gateway::{GatewayName, OperationKind, Reference, RefundRequest};
use connector::journal::JournalError;
use connector::journal::payment::refunds::{RefundRecord, RefundState};
use connector::journal::record::Finish;
use connector::journal::store::StoreError;
use connector::money::Money;
use connector::payments::gateway_step::{self, StepResult};
use connector::payments::obligation_context::ObligationContext;
use connector::payments::report_refund::{ParkReasons, report_refund};
use connector::payments::reversal::GIVE_BACK_PATIENCE;
use connector::payments::{FlowResult, retry};
use connector::reason::{CompletionReason, ParkReason, RetryReason};

use crate::RequestedRefund;

const REFUND: &str = "refund";
const REPORT: &str = "report";
const REPORT_FAILURES: ParkReasons = ParkReasons { unknown: ParkReason::RefundReportUnknown, refused: ParkReason::CleengRefusedRefund };

/// Reserves the refund in the payment record, in memory: the next write is that of the intent.
pub(crate) async fn reserve(ctx: &mut ObligationContext<'_>, payment: &Reference, amount: Money) -> FlowResult<()> {
    let record = ctx.payment(payment).ok_or_else(|| retry(RetryReason::PaymentNotLoaded))?;
    let (gateway, obligation) = (record.gateway, ctx.session.key().clone());
    let reference = gateway_step::payment_reference(ctx, gateway, OperationKind::Refund);
    let mut refused = None;
    ctx.update_payment(payment, |record, _| {
        refused = record.reserve_refund(&obligation, reference.clone(), amount).err();
        Ok(())
    })?;
    if let Some(refused) = refused {
        tracing::error!(obligation = %ctx.session.key(), error = %refused, "refund cannot be reserved");
        return ctx.park(ParkReason::RefundCannotBeReserved, false).await;
    }
    ctx.add_operation(gateway, reference.as_str(), payment);
    ctx.set_attempt_payment(payment);
    Ok(())
}

/// Resumes the open attempt, to its end or to the wait for the gateway's notification.
pub(crate) async fn resume(ctx: &mut ObligationContext<'_>, request: &RequestedRefund, payment: &Reference) -> FlowResult<Disposition> {
    let was_acknowledged = reserved_refund(ctx, payment)?.state != RefundState::Requested;
    let step_result = refund_at_gateway(ctx, payment).await?;
    if let StepResult::Declined(_) = step_result {
        let reason = if was_acknowledged { ParkReason::RefundFailed } else { ParkReason::RefundDeclined };
        return refund_failed(ctx, payment, reason).await;
    }
    let part = reserved_refund(ctx, payment)?;
    let is_receipt = ctx.gateway(reserved_at(ctx, payment)?)?.capabilities().settles_by_notification;
    let on_receipt = is_receipt && ctx.flow_context.policy.settle_on == SettleOn::Receipt;
    match part.state {
        RefundState::Done => report(ctx, request, payment, part.amount).await,
        RefundState::Received if on_receipt => {
            // Counts as done, as a capture does. A failure that comes later is then reported as a failure and raises an alarm.
            complete_refund(ctx, payment, true)?;
            report(ctx, request, payment, part.amount).await
        }
        RefundState::Failed => refund_failed(ctx, payment, ParkReason::RefundFailed).await,
        RefundState::Received | RefundState::Requested => await_gateway(ctx, &step_result).await,
    }
}

fn reserved_at(ctx: &ObligationContext<'_>, payment: &Reference) -> FlowResult<GatewayName> {
    Ok(ctx.payment(payment).map(|record| record.gateway).ok_or(JournalError::Store(StoreError::Corrupt))?)
}

fn reserved_refund(ctx: &ObligationContext<'_>, payment: &Reference) -> FlowResult<RefundRecord> {
    let part = ctx.payment(payment).and_then(|record| record.refund_for(ctx.session.key())).cloned();
    Ok(part.ok_or(JournalError::Store(StoreError::Corrupt))?)
}

/// The gateway's answer, recorded in the payment record. The notification may have been faster.
async fn refund_at_gateway(ctx: &mut ObligationContext<'_>, payment: &Reference) -> FlowResult<StepResult> {
    let part = reserved_refund(ctx, payment)?;
    let record = ctx.payment(payment).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (gateway, captured) = (record.gateway, record.captured);
    let external_payment_id = record.external_payment_id.clone().ok_or(JournalError::Store(StoreError::Corrupt))?;
    let make = |key| RefundRequest { key, reference: part.reference.clone(), external_payment_id, amount: part.amount, captured };
    let step_result = match gateway_step::query_decision(ctx, REFUND, OperationKind::Refund, payment).await? {
        Some(decided) => decided,
        None => gateway_step::run(ctx, REFUND, gateway, make).await?,
    };
    if part.state.is_in_flight() {
        match &step_result {
            StepResult::Done { .. } => complete_refund(ctx, payment, true)?,
            StepResult::Declined(_) => complete_refund(ctx, payment, false)?,
            StepResult::Received { operation_ref, .. } => {
                let obligation = ctx.session.key().clone();
                ctx.update_payment(payment, |record, _| {
                    record.record_refund_received(&obligation, operation_ref.clone());
                    Ok(())
                })?;
                if let Some(operation_ref) = operation_ref {
                    ctx.add_operation(gateway, operation_ref, payment);
                }
            }
        }
    }
    Ok(step_result)
}

fn complete_refund(ctx: &mut ObligationContext<'_>, payment: &Reference, success: bool) -> FlowResult<()> {
    let obligation = ctx.session.key().clone();
    ctx.update_payment(payment, |record, now| record.complete_refund_of(&obligation, success, now).map(drop))
}

/// The gateway acknowledged the refund. The event leaves the queue and is kept in the attempt; the gateway's notification requeues it. It is
/// done when the gateway says so: without a word for days an operator is called.
async fn await_gateway(ctx: &mut ObligationContext<'_>, step_result: &StepResult) -> FlowResult<Disposition> {
    if acknowledged_at(step_result).is_some_and(|at| ctx.now().since(at) > GIVE_BACK_PATIENCE) {
        return ctx.park(ParkReason::RefundUnanswered, true).await;
    }
    ctx.store_event();
    ctx.save_and_release_lease().await?;
    Ok(Disposition::Completed(CompletionReason::RefundReceived))
}

const fn acknowledged_at(step_result: &StepResult) -> Option<Timestamp> {
    match step_result {
        StepResult::Received { at, .. } => Some(*at),
        StepResult::Done { .. } | StepResult::Declined(_) => None,
    }
}

/// Nothing was refunded: the reservation is released. Nothing is reported to Cleeng, because nothing changed, and the person who asked
/// believes that it is done: an operator decides, or it is asked for again.
async fn refund_failed(ctx: &mut ObligationContext<'_>, payment: &Reference, reason: ParkReason) -> FlowResult<Disposition> {
    complete_refund(ctx, payment, false)?;
    ctx.park(reason, false).await
}

/// Reports the refund to Cleeng.
async fn report(ctx: &mut ObligationContext<'_>, request: &RequestedRefund, payment: &Reference, amount: Money) -> FlowResult<Disposition> {
    let record = ctx.payment(payment).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let order = record.order.clone().or_else(|| request.event.payment.order.clone());
    let (Some(id), Some(order)) = (record.cleeng_payment.clone(), order) else {
        return ctx.park(ParkReason::RefundCannotBeReported, false).await;
    };
    let operation = match request.event.payment.operation {
        _ if record.subscription.is_some() => PaymentOperation::Recurring,
        Some(operation) => operation,
        None => PaymentOperation::Initial,
    };
    let patch = PaymentPatch::Refunded {
        order,
        operation,
        reason: request.event.reason.clone().unwrap_or_else(|| "refund".to_owned()),
        amount: (amount != record.captured).then_some(amount),
        chargeback: false,
    };
    report_refund(ctx, REPORT, (&id, &patch), REPORT_FAILURES).await?;
    ctx.finish(Finish::Refunded).await
}
