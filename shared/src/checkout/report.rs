//! Telling Cleeng about an order's payment: `POST /payments`, once. When the answer is lost, Cleeng is asked what the customer's
//! subscriptions to the offer say about their latest payment. What cannot be found out so is parked, never posted blindly twice; only an
//! unknown `report_rejected` may be repeated once, since it moves nothing.

use std::time::Duration;

use super::snapshot::{REPORT, Snapshot};
use crate::cleeng::{LatestPayment, NewPayment, NewPaymentStatus, PaymentOperation, PaymentSource};
use crate::flow::Disposition;
use crate::gateway::{Decline, Reference};
use crate::ids::{ExternalPaymentId, OrderId, PaymentDetailsId, PaymentId};
use crate::journal::payment::PaymentRecord;
use crate::journal::record::Step;
use crate::journal::store::{Key, StoreError};
use crate::journal::transaction::Retention;
use crate::journal::{JournalError, SCHEMA, SETTLED_RETENTION};
use crate::metrics::Metric;
use crate::payments::cleeng_step::{self, CleengStep, LostAnswer};
use crate::payments::obligation_context::{ObligationContext, TypedStepState};
use crate::payments::report_change::ReportRecord;
use crate::payments::{FlowResult, read_failed, token_usage};
use crate::reason::{ParkReason, RetryReason};
use crate::renewal::expected_event::StoredDetails;

/// One exchange of 10 s, and a quick refusal of the other publisher token while one is being rotated: somebody waits, and only a report that
/// fits into what is left of 29 s is begun.
pub const REPORT_TIMEOUT: Duration = Duration::from_secs(13);
/// A report whose answer is lost is looked for before it is made again.
pub const REPORT_STEP: CleengStep = CleengStep { name: REPORT, timeout: REPORT_TIMEOUT, lost_answer: LostAnswer::FindOut };
/// A report that Cleeng does not know of is made again only this long after it was first made: the first one may still be on its way.
const REPEAT_DELAY: Duration = Duration::from_secs(60);
/// How often a report whose answer is lost is made again at the most.
const MAX_REPEATS: u32 = 5;

/// Reports that the order is paid, with the stored details.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn report_captured(
    case: &mut ObligationContext<'_>,
    snapshot: &Snapshot,
    reference: &Reference,
    source: PaymentSource,
) -> FlowResult<()> {
    let unknown = match case.step_state::<ReportRecord>(REPORT)? {
        TypedStepState::Done(reported) => return record_cleeng_payment(case, reference, reported.payment),
        TypedStepState::NotStarted => None,
        TypedStepState::Unknown(step) => Some(step),
    };
    if let Some(step) = unknown {
        match known_to_cleeng(case, snapshot, reference, &step).await? {
            Some(true) => return record_report(case, reference, None),
            Some(false) => {}
            None => return Err(case.park(ParkReason::ReportUnknown, true).await?),
        }
    }
    let token = claim_token(case, snapshot, &source).await?;
    let known = known_details(snapshot, &source);
    let operation = if snapshot.amount.is_zero() { PaymentOperation::FreeStart } else { PaymentOperation::Initial };
    let payment = NewPayment {
        order: order_id(snapshot)?,
        status: NewPaymentStatus::Captured,
        operation,
        source,
        external_payment_id: external_id(case, reference)?,
        subscription: None,
    };
    let call = case.flow_context.cleeng.create_payment(&payment);
    match cleeng_step::run(case, REPORT_STEP, call).await? {
        Ok(answer) => {
            record_token_details(case, token.as_ref(), answer.payment_details.as_ref()).await?;
            record_known_details(case, known, answer.payment_details.as_ref()).await?;
            record_report(case, reference, Some(answer.id))
        }
        Err(error) => {
            tracing::error!(obligation = %case.session.key(), error = %error, "Cleeng refused a report");
            Err(case.park(ParkReason::CleengRefusedReport, true).await?)
        }
    }
}

/// Notes that details with this token are about to come to be in Cleeng, so that the clean-up of older details does not delete a token that
/// these share. Written with the report's intent.
///
/// # Errors
/// `Disposition::Retry` if the journal cannot be read.
pub async fn claim_token(case: &mut ObligationContext<'_>, snapshot: &Snapshot, source: &PaymentSource) -> FlowResult<Option<Key>> {
    let PaymentSource::New { token, .. } = source else { return Ok(None) };
    let key = token_usage::token_key(&case.flow_context.policy.salt, snapshot.gateway, token);
    let (obligation, now) = (case.session.key().clone(), case.now());
    token_usage::claim_token(&mut case.session.transaction, &key, &obligation, now).await?;
    Ok(Some(key))
}

/// Notes the details that came to be. Where Cleeng does not name them the claim stays, and with it the token.
///
/// # Errors
/// `Disposition::Retry` if the journal cannot be read.
pub async fn record_token_details(
    case: &mut ObligationContext<'_>,
    token: Option<&Key>,
    details: Option<&PaymentDetailsId>,
) -> FlowResult<()> {
    let (Some(token), Some(details)) = (token, details) else { return Ok(()) };
    let (obligation, now) = (case.session.key().clone(), case.now());
    Ok(token_usage::register_details(&mut case.session.transaction, token, details, Some(&obligation), now).await?)
}

/// What is to be remembered of new details.
#[must_use]
pub fn known_details(snapshot: &Snapshot, source: &PaymentSource) -> Option<StoredDetails> {
    let PaymentSource::New { token, .. } = source else { return None };
    let currency = (!snapshot.amount.is_zero()).then_some(snapshot.amount.currency);
    Some(StoredDetails { schema: SCHEMA, token: token.expose().to_owned(), currency })
}

/// Remembers details under the id that Cleeng gave them, for a renewal whose webhook never comes.
///
/// # Errors
/// `Disposition::Retry` if the journal cannot be read.
pub async fn record_known_details(
    case: &mut ObligationContext<'_>,
    known: Option<StoredDetails>,
    details: Option<&PaymentDetailsId>,
) -> FlowResult<()> {
    let (Some(known), Some(details)) = (known, details) else { return Ok(()) };
    let key = StoredDetails::key(details);
    case.session.transaction.load(std::slice::from_ref(&key)).await?;
    let keep = Retention { expires_at: Some(case.now().after(SETTLED_RETENTION)), ..Retention::default() };
    Ok(case.session.transaction.stage(&key, &known, keep)?)
}

/// Reports a refusal; it must not keep the customer from trying again, so what cannot be found out about it is only counted.
///
/// # Errors
/// Later.
pub async fn report_rejected(
    case: &mut ObligationContext<'_>,
    snapshot: &Snapshot,
    reference: &Reference,
    decline: &Decline,
) -> FlowResult<()> {
    match case.step_state::<ReportRecord>(REPORT)? {
        TypedStepState::Done(_) => return Ok(()),
        TypedStepState::Unknown(step) if step.repeats > 0 => return count_unreported(case, "rejected_report_unknown"),
        TypedStepState::NotStarted | TypedStepState::Unknown(_) => {}
    }
    let operation = if snapshot.amount.is_zero() { PaymentOperation::FreeStart } else { PaymentOperation::Initial };
    let payment = NewPayment {
        order: order_id(snapshot)?,
        status: NewPaymentStatus::Rejected { reason: decline.to_string() },
        operation,
        source: PaymentSource::None,
        external_payment_id: external_id(case, reference)?,
        subscription: None,
    };
    let call = case.flow_context.cleeng.create_payment(&payment);
    match cleeng_step::run(case, REPORT_STEP, call).await? {
        Ok(answer) => record_report(case, reference, Some(answer.id)),
        Err(_) => count_unreported(case, "rejected_report_refused"),
    }
}

fn count_unreported(case: &mut ObligationContext<'_>, reason: &'static str) -> FlowResult<()> {
    case.flow_context.metrics.count(Metric::Warning, &[("reason", reason)]);
    case.record_result(REPORT, &ReportRecord::with_payment(None));
    Ok(())
}

fn order_id(snapshot: &Snapshot) -> FlowResult<OrderId> {
    snapshot.order.clone().ok_or_else(|| JournalError::Store(StoreError::Corrupt).into())
}

/// The gateway's id, or where it never told one our own reference: Cleeng wants an id on every payment.
fn external_id(case: &ObligationContext<'_>, reference: &Reference) -> FlowResult<ExternalPaymentId> {
    let told = case.payment(reference).and_then(|payment| payment.external_payment_id.clone());
    let own = || ExternalPaymentId::new(reference.as_str()).map_err(|_| JournalError::Store(StoreError::Corrupt));
    Ok(told.map_or_else(own, Ok)?)
}

/// Whether a report whose answer was lost arrived; nothing if nobody can tell.
async fn known_to_cleeng(
    case: &ObligationContext<'_>,
    snapshot: &Snapshot,
    reference: &Reference,
    step: &Step,
) -> FlowResult<Option<bool>> {
    let (Some(offer), ours) = (&snapshot.offer, external_id(case, reference)?) else { return Ok(None) };
    let latest = case.flow_context.cleeng.latest_payments(&snapshot.customer, offer).await.map_err(|error| read_failed(&error))?;
    if latest.contains(&LatestPayment::Known(ours)) {
        return Ok(Some(true));
    }
    // Only a subscription shows its payments. A pass has none, so that its absence says nothing (ids of offers begin with their kind).
    let tells = offer.as_str().starts_with('S') && !latest.contains(&LatestPayment::NotReported);
    if !tells || step.repeats >= MAX_REPEATS {
        return Ok(None);
    }
    let since = case.now().since(step.started_at);
    if since < REPEAT_DELAY {
        return Err(Disposition::Retry { after: Some(REPEAT_DELAY.saturating_sub(since)), reason: RetryReason::ReportUnknown });
    }
    Ok(Some(false))
}

fn record_report(case: &mut ObligationContext<'_>, reference: &Reference, payment: Option<PaymentId>) -> FlowResult<()> {
    case.record_result(REPORT, &ReportRecord::with_payment(payment.clone()));
    record_cleeng_payment(case, reference, payment)
}

fn record_cleeng_payment(case: &mut ObligationContext<'_>, reference: &Reference, payment: Option<PaymentId>) -> FlowResult<()> {
    let Some(payment) = payment else { return Ok(()) };
    case.add_lookup(PaymentRecord::cleeng_id_key(&payment), reference);
    case.update_payment(reference, |record, _| {
        record.cleeng_payment = Some(payment);
        Ok(())
    })
}
