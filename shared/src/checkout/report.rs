//! The report of an order's payment to Cleeng: `POST /payments`, once. If the answer is lost, the customer's subscriptions to the offer
//! show their latest payment. What that does not decide is parked, never posted blindly twice; only an unknown [`report_rejected`] may be
//! repeated once, because it moves no money. If Cleeng refuses the report for good, the money is given back.

use std::time::Duration;

use super::snapshot::{REPORT, Snapshot};
use crate::cleeng::{LatestPayment, NewPayment, NewPaymentStatus, PaymentOperation, PaymentSource};
use crate::gateway::{Decline, Reference};
use crate::ids::{ExternalPaymentId, OrderId, PaymentDetailsId, PaymentId};
use crate::journal::store::{Key, StoreError};
use crate::journal::transaction::Retention;
use crate::journal::{JournalError, SCHEMA, SETTLED_RETENTION};
use crate::metrics::Metric;
use crate::payments::cleeng_step::{self, CleengStep, LostAnswer};
use crate::payments::obligation_context::{ObligationContext, TypedStepState};
use crate::payments::report_change::ReportRecord;
use crate::payments::subscription_state::StoredDetails;
use crate::payments::{FlowResult, read_failed, token_usage};
use crate::reason::{AlarmReason, ParkReason};

/// One exchange of 10 s, and a quick refusal of the other publisher token while one is being rotated. A customer waits, so a report begins
/// only if it fits into what is left of 29 s.
pub const REPORT_TIMEOUT: Duration = Duration::from_secs(13);
/// A report whose answer is lost is looked for before it is made again.
pub const REPORT_STEP: CleengStep = CleengStep { name: REPORT, timeout: REPORT_TIMEOUT, lost_answer: LostAnswer::FindOut };

/// Whether Cleeng has the order as paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderReport {
    /// It has.
    Taken,
    /// It takes no payment for the order: the money is to be given back.
    Refused,
}

/// Reports that the order is paid, with the stored details.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn report_captured(
    ctx: &mut ObligationContext<'_>,
    snapshot: &Snapshot,
    reference: &Reference,
    source: PaymentSource,
) -> FlowResult<OrderReport> {
    let unknown = match ctx.step_state::<ReportRecord>(REPORT)? {
        TypedStepState::Done(reported) => {
            record_cleeng_payment(ctx, reference, reported.payment)?;
            return Ok(OrderReport::Taken);
        }
        TypedStepState::NotStarted => None,
        TypedStepState::Unknown(step) => Some(step),
    };
    if let Some(step) = &unknown {
        match find_report(ctx, snapshot, reference).await? {
            Some(true) => {
                record_report(ctx, reference, None)?;
                return Ok(OrderReport::Taken);
            }
            Some(false) if !ctx.is_overdue(step) => cleeng_step::wait_for_report_on_its_way(ctx, step)?,
            Some(false) | None => return ctx.park(ParkReason::ReportUnknown, true).await,
        }
    }
    let token = claim_token(ctx, snapshot, &source).await?;
    let known = known_details(snapshot, &source);
    let operation = if snapshot.amount.is_zero() { PaymentOperation::FreeStart } else { PaymentOperation::Initial };
    let payment = NewPayment {
        order: order_id(snapshot)?,
        status: NewPaymentStatus::Captured,
        operation,
        source,
        external_payment_id: external_id(ctx, reference)?,
        subscription: None,
    };
    let call = ctx.flow_context.cleeng.create_payment(&payment);
    match cleeng_step::run(ctx, REPORT_STEP, call).await? {
        Ok(answer) => {
            record_token_details(ctx, token.as_ref(), answer.payment_details.as_ref()).await?;
            record_known_details(ctx, known, answer.payment_details.as_ref()).await?;
            record_report(ctx, reference, Some(answer.id))?;
            Ok(OrderReport::Taken)
        }
        Err(error) => {
            tracing::error!(obligation = %ctx.session.key(), error = %error, "Cleeng refused a report");
            handle_refusal(ctx, snapshot, reference).await
        }
    }
}

/// Cleeng refuses the payment for good, as it does for an order that is paid already. An earlier report whose answer was lost may be what
/// paid it.
async fn handle_refusal(ctx: &mut ObligationContext<'_>, snapshot: &Snapshot, reference: &Reference) -> FlowResult<OrderReport> {
    let reported_before = ctx.current_attempt().and_then(|attempt| attempt.step(REPORT)).is_some_and(|step| step.repeats > 0);
    let is_known = if reported_before { find_report(ctx, snapshot, reference).await? } else { Some(false) };
    match is_known {
        Some(true) => {
            record_report(ctx, reference, None)?;
            Ok(OrderReport::Taken)
        }
        Some(false) if !snapshot.amount.is_zero() => {
            ctx.flow_context.metrics.count(Metric::Alarm, &[("reason", AlarmReason::PaidOrderRefused.as_str())]);
            Ok(OrderReport::Refused)
        }
        Some(false) | None => ctx.park(ParkReason::CleengRefusedReport, true).await,
    }
}

/// Records that details with this token are about to be created in Cleeng, so that the clean-up of older details does not delete a token
/// that these share. Written with the report's intent.
///
/// # Errors
/// `Disposition::Retry` if the journal cannot be read.
pub async fn claim_token(ctx: &mut ObligationContext<'_>, snapshot: &Snapshot, source: &PaymentSource) -> FlowResult<Option<Key>> {
    let PaymentSource::New { token, .. } = source else { return Ok(None) };
    let key = token_usage::token_key(&ctx.flow_context.policy.salt, snapshot.gateway, token);
    let (obligation, now) = (ctx.session.key().clone(), ctx.now());
    token_usage::claim_token(&mut ctx.session.transaction, &key, &obligation, now).await?;
    Ok(Some(key))
}

/// Records the details that were created. If Cleeng does not name them, the claim stays, and with it the token.
///
/// # Errors
/// `Disposition::Retry` if the journal cannot be read.
pub async fn record_token_details(
    ctx: &mut ObligationContext<'_>,
    token: Option<&Key>,
    details: Option<&PaymentDetailsId>,
) -> FlowResult<()> {
    let (Some(token), Some(details)) = (token, details) else { return Ok(()) };
    let (obligation, now) = (ctx.session.key().clone(), ctx.now());
    Ok(token_usage::register_details(&mut ctx.session.transaction, token, details, Some(&obligation), now).await?)
}

/// What the journal keeps of new details.
#[must_use]
pub fn known_details(snapshot: &Snapshot, source: &PaymentSource) -> Option<StoredDetails> {
    let PaymentSource::New { token, .. } = source else { return None };
    // An order is in its subscription's currency, also one that starts with a free period.
    let currency = snapshot.order.as_ref().map(|_| snapshot.amount.currency);
    Some(StoredDetails { schema: SCHEMA, token: token.expose().to_owned(), currency })
}

/// Keeps details under the id that Cleeng gave them, for a renewal whose webhook never comes.
///
/// # Errors
/// `Disposition::Retry` if the journal cannot be read.
pub async fn record_known_details(
    ctx: &mut ObligationContext<'_>,
    known: Option<StoredDetails>,
    details: Option<&PaymentDetailsId>,
) -> FlowResult<()> {
    let (Some(known), Some(details)) = (known, details) else { return Ok(()) };
    let key = StoredDetails::key(details);
    ctx.session.transaction.load(std::slice::from_ref(&key)).await?;
    let keep = Retention { expires_at: Some(ctx.now().after(SETTLED_RETENTION)), ..Retention::default() };
    Ok(ctx.session.transaction.stage(&key, &known, keep)?)
}

/// Reports a decline. It must not keep the customer from trying again, so a report that remains unknown is only counted.
///
/// # Errors
/// `Disposition::Retry` if the journal or Cleeng is not available.
pub async fn report_rejected(
    ctx: &mut ObligationContext<'_>,
    snapshot: &Snapshot,
    reference: &Reference,
    decline: &Decline,
) -> FlowResult<()> {
    match ctx.step_state::<ReportRecord>(REPORT)? {
        TypedStepState::Done(_) => return Ok(()),
        TypedStepState::Unknown(step) if step.repeats > 0 => return leave_unreported(ctx, Metric::Warning, "rejected_report_unknown"),
        TypedStepState::NotStarted | TypedStepState::Unknown(_) => {}
    }
    let operation = if snapshot.amount.is_zero() { PaymentOperation::FreeStart } else { PaymentOperation::Initial };
    let payment = NewPayment {
        order: order_id(snapshot)?,
        status: NewPaymentStatus::Rejected { reason: decline.to_string() },
        operation,
        source: PaymentSource::None,
        external_payment_id: external_id(ctx, reference)?,
        subscription: None,
    };
    let call = ctx.flow_context.cleeng.create_payment(&payment);
    match cleeng_step::run(ctx, REPORT_STEP, call).await? {
        Ok(answer) => record_report(ctx, reference, Some(answer.id)),
        Err(_) => leave_unreported(ctx, Metric::Alarm, AlarmReason::RejectedReportRefused.as_str()),
    }
}

fn leave_unreported(ctx: &mut ObligationContext<'_>, metric: Metric, reason: &'static str) -> FlowResult<()> {
    ctx.flow_context.metrics.count(metric, &[("reason", reason)]);
    ctx.record_result(REPORT, &ReportRecord::with_payment(None));
    Ok(())
}

fn order_id(snapshot: &Snapshot) -> FlowResult<OrderId> {
    snapshot.order.clone().ok_or_else(|| JournalError::Store(StoreError::Corrupt).into())
}

/// The gateway's id, or the connector's reference if the gateway never named one: Cleeng wants an id on every payment.
fn external_id(ctx: &ObligationContext<'_>, reference: &Reference) -> FlowResult<ExternalPaymentId> {
    let told = ctx.payment(reference).and_then(|payment| payment.external_payment_id.clone());
    let own = || ExternalPaymentId::new(reference.as_str()).map_err(|_| JournalError::Store(StoreError::Corrupt));
    Ok(told.map_or_else(own, Ok)?)
}

/// Whether a report whose answer was lost arrived; `None` if that cannot be determined.
async fn find_report(ctx: &ObligationContext<'_>, snapshot: &Snapshot, reference: &Reference) -> FlowResult<Option<bool>> {
    let (Some(offer), ours) = (&snapshot.offer, external_id(ctx, reference)?) else { return Ok(None) };
    let latest = ctx.flow_context.cleeng.latest_payments(&snapshot.customer, offer).await.map_err(|error| read_failed(&error))?;
    if latest.contains(&LatestPayment::Known(ours)) {
        return Ok(Some(true));
    }
    // Only a subscription shows its payments. A pass has none, so that its absence says nothing (ids of offers begin with their kind).
    let tells = offer.as_str().starts_with('S') && !latest.contains(&LatestPayment::NotReported);
    Ok(tells.then_some(false))
}

fn record_report(ctx: &mut ObligationContext<'_>, reference: &Reference, payment: Option<PaymentId>) -> FlowResult<()> {
    ctx.record_result(REPORT, &ReportRecord::with_payment(payment.clone()));
    record_cleeng_payment(ctx, reference, payment)
}

fn record_cleeng_payment(ctx: &mut ObligationContext<'_>, reference: &Reference, payment: Option<PaymentId>) -> FlowResult<()> {
    payment.map_or(Ok(()), |payment| ctx.record_cleeng_payment(reference, payment))
}
