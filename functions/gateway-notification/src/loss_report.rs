//! Reports to Cleeng that captured money is lost: PATCH `refunded`, of kind chargeback if it is one. Cleeng lets a captured payment become
//! refunded and nothing else, so a capture that failed afterwards is reported the same way, with its reason.

use connector::cleeng::{PaymentOperation, PaymentPatch};
use connector::flow::Disposition;
use connector::gateway::NotificationKind;
use connector::ids::PaymentId;
use connector::journal::payment::PaymentRecord;
use connector::journal::record::Finish;
use connector::payments::FlowResult;
use connector::payments::report_refund::{ParkReasons, report_refund};
use connector::reason::ParkReason;

use crate::notification_context::NotificationContext;

const REPORT: &str = "report";
const REPORT_FAILURES: ParkReasons = ParkReasons { unknown: ParkReason::LossReportUnknown, refused: ParkReason::CleengRefusedLoss };

/// Opens the notification's own attempt and reports. The payment's new state, the attempt and the intent are one write.
pub(crate) async fn open_and_report(ctx: &mut NotificationContext<'_>) -> FlowResult<Disposition> {
    ctx.open_attempt()?;
    ctx.add_gateway_lookup().await?;
    report_loss(ctx).await
}

/// Reports the loss. The attempt resumes where it stopped.
pub(crate) async fn report_loss(ctx: &mut NotificationContext<'_>) -> FlowResult<Disposition> {
    let Some((payment, patch)) = refund_patch(ctx.payment()?, ctx.item.kind) else {
        return ctx.park(ParkReason::LossOfAPaymentUnknownToCleeng).await;
    };
    report_refund(&mut ctx.obligation, REPORT, (&payment, &patch), REPORT_FAILURES).await?;
    ctx.obligation.finish(Finish::LossReported).await?;
    Ok(Disposition::Completed(ctx.item.kind.into()))
}

fn refund_patch(payment: &PaymentRecord, kind: NotificationKind) -> Option<(PaymentId, PaymentPatch)> {
    let chargeback = matches!(kind, NotificationKind::ChargedBack | NotificationKind::FundsWithdrawn);
    let patch = PaymentPatch::Refunded {
        order: payment.order.clone()?,
        operation: if payment.subscription.is_some() { PaymentOperation::Recurring } else { PaymentOperation::Initial },
        reason: if chargeback { "chargeback" } else { "capture_failed" }.to_owned(),
        amount: None,
        chargeback,
    };
    Some((payment.cleeng_payment.clone()?, patch))
}
