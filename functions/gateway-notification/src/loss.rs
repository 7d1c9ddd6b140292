//! Telling Cleeng that captured money is gone: PATCH `refunded`, of kind chargeback where it is one. Cleeng lets a captured payment become
//! refunded and nothing else, so a capture that failed afterwards is told the same way, with its reason.
//!
//! It is told once: Cleeng has no idempotency keys and no way to ask what it knows of a captured payment, so a lost answer is for an operator.

use connector::billing::Story;
use connector::cleeng::{CALL_TIMEOUT, CleengError, PaymentOperation, PaymentPatch};
use connector::flow::Verdict;
use connector::gateway::NotificationKind;
use connector::ids::PaymentId;
use connector::journal::record::{Finish, Turn};
use connector::metrics::Metric;

use crate::desk::Desk;

const REPORT: &str = "report";

/// Opens the notification's own attempt and reports. The payment's new state, the attempt and the intent are one write.
pub(crate) async fn begin(desk: &mut Desk<'_>) -> Story<Verdict> {
    desk.open_attempt();
    desk.stage().await?;
    report(desk).await
}

/// Reports, from wherever the attempt stands.
pub(crate) async fn report(desk: &mut Desk<'_>) -> Story<Verdict> {
    match desk.run.turn(REPORT) {
        Turn::Fresh => {}
        Turn::Unknown(_) => return desk.park("loss_report_unknown").await,
        Turn::Done(_) => return finish(desk).await,
    }
    let Some((payment, patch)) = patch(desk) else {
        return desk.park("loss_of_a_payment_unknown_to_cleeng").await;
    };
    desk.run.begin(REPORT, None, CALL_TIMEOUT)?;
    desk.run.commit().await?;
    desk.count();
    match desk.world.cleeng.update_payment(&payment, &patch).await {
        Ok(()) => finish(desk).await,
        Err(CleengError::Refused { .. } | CleengError::NotFound) => desk.park("cleeng_refused_loss").await,
        Err(CleengError::Unknown(_)) => {
            desk.world.metrics.count(Metric::UnknownOutcome, &[("step", REPORT)]);
            desk.park("loss_report_unknown").await
        }
        Err(error) => no_effect(desk, &error).await,
    }
}

fn patch(desk: &Desk<'_>) -> Option<(PaymentId, PaymentPatch)> {
    let payment = &desk.payment;
    let chargeback = desk.item.kind == NotificationKind::ChargedBack;
    let patch = PaymentPatch::Refunded {
        order: payment.order.clone()?,
        operation: if payment.subscription.is_some() { PaymentOperation::Recurring } else { PaymentOperation::Initial },
        reason: if chargeback { "chargeback" } else { "capture_failed" }.to_owned(),
        amount: None,
        chargeback,
    };
    Some((payment.cleeng_payment.clone()?, patch))
}

async fn finish(desk: &mut Desk<'_>) -> Story<Verdict> {
    if let Some(attempt) = desk.run.obligation.open_mut() {
        attempt.done(REPORT, true.into());
    }
    desk.close(Finish::LossReported).await?;
    Ok(Verdict::Settled(desk.item.kind.as_str()))
}

/// Known to have had no effect: it is made anew by the next delivery.
async fn no_effect(desk: &mut Desk<'_>, error: &CleengError) -> Story<Verdict> {
    if let Some(attempt) = desk.run.obligation.open_mut() {
        attempt.refuse(REPORT);
    }
    desk.run.release();
    desk.run.commit().await?;
    let after = match error {
        CleengError::Throttled { retry_after } => *retry_after,
        _ => None,
    };
    Err(Verdict::Later { after, reason: error.code() })
}
