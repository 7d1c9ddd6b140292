//! Telling Cleeng that captured money is gone: PATCH `refunded`, of kind chargeback where it is one. Cleeng lets a captured payment become
//! refunded and nothing else, so a capture that failed afterwards is told the same way, with its reason.
//!
//! It is told once: Cleeng has no idempotency keys and no way to ask what it knows of a captured payment, so a lost answer is for an operator.

use connector::cleeng::{CALL_TIMEOUT, CleengError, PaymentOperation, PaymentPatch};
use connector::flow::Disposition;
use connector::gateway::NotificationKind;
use connector::ids::PaymentId;
use connector::journal::record::{Finish, StepState};
use connector::metrics::Metric;
use connector::payments::FlowResult;
use connector::reason::ParkReason;

use crate::notification_context::NotificationContext;

const REPORT: &str = "report";

/// Opens the notification's own attempt and reports. The payment's new state, the attempt and the intent are one write.
pub(crate) async fn open_and_report(ctx: &mut NotificationContext<'_>) -> FlowResult<Disposition> {
    ctx.open_attempt();
    ctx.stage_payment().await?;
    report_loss(ctx).await
}

/// Reports, from wherever the attempt stands.
pub(crate) async fn report_loss(ctx: &mut NotificationContext<'_>) -> FlowResult<Disposition> {
    match ctx.session.step_state(REPORT) {
        StepState::NotStarted => {}
        StepState::Unknown(_) => return ctx.park(ParkReason::LossReportUnknown).await,
        StepState::Done(_) => return finish(ctx).await,
    }
    let Some((payment, patch)) = refund_patch(ctx) else {
        return ctx.park(ParkReason::LossOfAPaymentUnknownToCleeng).await;
    };
    ctx.session.begin_step(REPORT, None, CALL_TIMEOUT)?;
    ctx.session.commit().await?;
    ctx.count_movements();
    match ctx.flow_context.cleeng.update_payment(&payment, &patch).await {
        Ok(()) => finish(ctx).await,
        Err(CleengError::Refused { .. } | CleengError::NotFound) => ctx.park(ParkReason::CleengRefusedLoss).await,
        Err(CleengError::Unknown(_)) => {
            ctx.flow_context.metrics.count(Metric::UnknownOutcome, &[("step", REPORT)]);
            ctx.park(ParkReason::LossReportUnknown).await
        }
        Err(error) => retry_without_effect(ctx, &error).await,
    }
}

fn refund_patch(ctx: &NotificationContext<'_>) -> Option<(PaymentId, PaymentPatch)> {
    let payment = &ctx.payment;
    let chargeback = ctx.item.kind == NotificationKind::ChargedBack;
    let patch = PaymentPatch::Refunded {
        order: payment.order.clone()?,
        operation: if payment.subscription.is_some() { PaymentOperation::Recurring } else { PaymentOperation::Initial },
        reason: if chargeback { "chargeback" } else { "capture_failed" }.to_owned(),
        amount: None,
        chargeback,
    };
    Some((payment.cleeng_payment.clone()?, patch))
}

async fn finish(ctx: &mut NotificationContext<'_>) -> FlowResult<Disposition> {
    if let Some(attempt) = ctx.session.obligation.current_attempt_mut() {
        attempt.record_result(REPORT, true.into());
    }
    ctx.finish(Finish::LossReported).await?;
    Ok(Disposition::Completed(ctx.item.kind.into()))
}

/// Known to have had no effect: it is made anew by the next delivery.
async fn retry_without_effect(ctx: &mut NotificationContext<'_>, error: &CleengError) -> FlowResult<Disposition> {
    if let Some(attempt) = ctx.session.obligation.current_attempt_mut() {
        attempt.record_no_effect(REPORT);
    }
    ctx.session.release_lease();
    ctx.session.commit().await?;
    Err(Disposition::Retry { after: error.retry_after(), reason: error.into() })
}
