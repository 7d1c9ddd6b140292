//! Telling Cleeng what became of the money.
//!
//! Cleeng has no idempotency keys. When its answer is lost, Cleeng is asked what it knows before anything is said again: the list of
//! authorised payments, or the subscription's latest payment. What cannot be found out is parked, never posted blindly twice. An unknown
//! `rejected` report alone may be repeated once: it moves nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::deleted_details::{authorised_payments, were_deleted};
use super::obligation_context::{ObligationContext, TypedStepState};
use super::release::release_own;
use super::{FlowResult, read_failed, retry};
use crate::cleeng::webhook::BillingEvent;
use crate::cleeng::{
    CALL_TIMEOUT, CleengError, LatestPayment, NewPayment, NewPaymentStatus, Payment, PaymentOperation, PaymentPatch, PaymentSource,
};
use crate::flow::Disposition;
use crate::gateway::{Decline, Reference};
use crate::ids::{ExternalPaymentId, OrderId, PaymentDetailsId, PaymentId};
use crate::journal::JournalError;
use crate::journal::payment::PaymentRecord;
use crate::journal::record::Step;
use crate::journal::store::StoreError;
use crate::metrics::Metric;
use crate::reason::{ParkReason, RetryReason};
use crate::renewal::replacement_order;

/// A report that Cleeng does not know of is made again only this long after it was first made: the first one may still be on its way.
const REPEAT_DELAY: Duration = Duration::from_secs(60);
/// How often a report whose answer is lost is made again at the most.
const MAX_REPEATS: u32 = 5;

const REPORT: &str = "report";

/// What Cleeng knows now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportRecord {
    /// The payment in Cleeng, where its id is known.
    pub payment: Option<PaymentId>,
    /// Whether Cleeng will never hear of it, because the details that it was made with were deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub details_deleted: bool,
}

impl ReportRecord {
    /// Cleeng knows it, as far as that could be found out.
    #[must_use]
    pub const fn with_payment(payment: Option<PaymentId>) -> Self {
        Self { payment, details_deleted: false }
    }
}

/// What came of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportResult {
    /// Cleeng knows, as far as that could be found out.
    Reported,
    /// Cleeng never will, and what was held is given up: the details that it was made with were deleted.
    DetailsDeleted,
}

/// What is to be reported about a new payment.
#[derive(Clone, Copy)]
pub enum NewPaymentState<'a> {
    /// Held.
    Authorised,
    /// Taken.
    Captured,
    /// Refused.
    Rejected(&'a Decline),
}

/// Reports a new payment: `POST /payments`.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn report_new_payment(
    case: &mut ObligationContext<'_>,
    event: &BillingEvent,
    order: &OrderId,
    reference: &Reference,
    new: NewPaymentState<'_>,
) -> FlowResult<ReportResult> {
    let unknown = match case.step_state::<ReportRecord>(REPORT)? {
        TypedStepState::Done(ReportRecord { details_deleted: true, .. }) => return release_after_deletion(case, reference).await,
        TypedStepState::Done(reported) => return apply_report(case, reference, &reported),
        TypedStepState::NotStarted => None,
        TypedStepState::Unknown(step) => Some(step),
    };
    if let Some(step) = unknown {
        match find_report(case, event, reference, new, &step).await? {
            ReportLookup::Known(payment) => return record_report(case, reference, payment),
            ReportLookup::NotKnown => {}
            ReportLookup::DetailsDeleted => return release_after_deletion(case, reference).await,
            ReportLookup::Undecidable => return settle_undecidable(case, new).await,
        }
    }
    let has_money = !matches!(new, NewPaymentState::Rejected(_));
    let mut order = replacement_order::current_order(case, order)?;
    if has_money && replacement_order::is_past_lifetime(case) {
        order = replacement_order::create_replacement(case, event, &order, reference).await?.unwrap_or(order);
    }
    loop {
        case.begin_step(REPORT, None, CALL_TIMEOUT).await?;
        let payment = payment_to_report(case, event, &order, reference, new)?;
        match case.flow_context.cleeng.create_payment(&payment).await {
            Ok(answer) => return record_report(case, reference, Some(answer.id)),
            Err(CleengError::Refused { .. })
                if matches!(new, NewPaymentState::Authorised) && were_deleted(case.flow_context, &event.payment_details).await? =>
            {
                return release_after_deletion(case, reference).await;
            }
            Err(error @ (CleengError::Refused { .. } | CleengError::NotFound)) => {
                // At most once in an attempt.
                let another = if has_money { replacement_order::create_replacement(case, event, &order, reference).await? } else { None };
                let Some(another) = another else { return handle_refusal(case, new, &error).await };
                order = another;
            }
            Err(error) => return Err(handle_report_error(case, &error).await),
        }
    }
}

/// Cleeng takes nothing that was made with details that are gone. What is held with them was to be released when they were deleted, had anybody
/// known of it.
async fn release_after_deletion(case: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<ReportResult> {
    case.record_result(REPORT, &ReportRecord { payment: None, details_deleted: true });
    release_own(case, reference).await?;
    Ok(ReportResult::DetailsDeleted)
}

fn payment_to_report(
    case: &ObligationContext<'_>,
    event: &BillingEvent,
    order: &OrderId,
    reference: &Reference,
    new: NewPaymentState<'_>,
) -> FlowResult<NewPayment> {
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let own_reference = || ExternalPaymentId::new(reference.as_str()).map_err(|_| JournalError::Store(StoreError::Corrupt));
    Ok(NewPayment {
        order: order.clone(),
        status: match new {
            NewPaymentState::Authorised => NewPaymentStatus::Authorised,
            NewPaymentState::Captured => NewPaymentStatus::Captured,
            NewPaymentState::Rejected(decline) => NewPaymentStatus::Rejected { reason: decline.to_string() },
        },
        operation: PaymentOperation::Recurring,
        source: PaymentSource::Existing(event.payment_details.clone()),
        external_payment_id: payment.external_payment_id.clone().map_or_else(own_reference, Ok)?,
        subscription: Some(event.subscription.clone()),
    })
}

enum ReportLookup {
    Known(Option<PaymentId>),
    NotKnown,
    /// There is no list of details that were deleted, and no report with them is taken.
    DetailsDeleted,
    Undecidable,
}

/// Asks Cleeng whether a report whose answer was lost arrived.
async fn find_report(
    case: &mut ObligationContext<'_>,
    event: &BillingEvent,
    reference: &Reference,
    new: NewPaymentState<'_>,
    step: &Step,
) -> FlowResult<ReportLookup> {
    let found = match new {
        NewPaymentState::Authorised => match find_in_authorised_list(case, &event.payment_details, reference).await? {
            Some(payment) => ReportLookup::Known(Some(payment.id)),
            None if were_deleted(case.flow_context, &event.payment_details).await? => ReportLookup::DetailsDeleted,
            None => ReportLookup::NotKnown,
        },
        NewPaymentState::Captured => find_captured_report(case, event, reference).await?,
        NewPaymentState::Rejected(_) if step.repeats == 0 => ReportLookup::NotKnown,
        NewPaymentState::Rejected(_) => ReportLookup::Undecidable,
    };
    if !matches!(found, ReportLookup::NotKnown) {
        return Ok(found);
    }
    if step.repeats >= MAX_REPEATS {
        return Ok(ReportLookup::Undecidable);
    }
    let since = case.now().since(step.started_at);
    if since < REPEAT_DELAY {
        return Err(Disposition::Retry { after: Some(REPEAT_DELAY.saturating_sub(since)), reason: RetryReason::ReportUnknown });
    }
    Ok(ReportLookup::NotKnown)
}

/// A captured payment is not on the list of authorised ones; the subscription tells.
async fn find_captured_report(case: &ObligationContext<'_>, event: &BillingEvent, reference: &Reference) -> FlowResult<ReportLookup> {
    let subscription = case.flow_context.cleeng.subscription(&event.subscription).await.map_err(|error| read_failed(&error))?;
    let ours = case.payment(reference).and_then(|payment| payment.external_payment_id.clone());
    if subscription.paid_until.secs() > event.expiration.secs() {
        return Ok(ReportLookup::Known(None));
    }
    Ok(match subscription.latest_payment {
        LatestPayment::Known(latest) if Some(&latest) == ours.as_ref() => ReportLookup::Known(None),
        LatestPayment::Known(_) | LatestPayment::None => ReportLookup::NotKnown,
        LatestPayment::NotReported => ReportLookup::Undecidable,
    })
}

/// The payment with our gateway id among the authorised ones of these details.
///
/// # Errors
/// `Disposition::Retry` if Cleeng cannot be asked.
pub async fn find_in_authorised_list(
    case: &ObligationContext<'_>,
    details: &PaymentDetailsId,
    reference: &Reference,
) -> FlowResult<Option<Payment>> {
    let ours = case.payment(reference).and_then(|payment| payment.external_payment_id.clone());
    let known = case.payment(reference).and_then(|payment| payment.cleeng_payment.clone());
    let list = authorised_payments(case.flow_context, details).await?;
    // One that does not say which it is at the gateway may be ours: nothing is concluded from such a list.
    let has_unidentified = known.is_none() && list.iter().any(|payment| payment.external_payment_id.is_none());
    match list.into_iter().find(|payment| known.as_ref() == Some(&payment.id) || (ours.is_some() && payment.external_payment_id == ours)) {
        None if has_unidentified => Err(retry(RetryReason::CleengListIncomplete)),
        found => Ok(found),
    }
}

fn record_report(case: &mut ObligationContext<'_>, reference: &Reference, payment: Option<PaymentId>) -> FlowResult<ReportResult> {
    let reported = ReportRecord::with_payment(payment);
    case.record_result(REPORT, &reported);
    apply_report(case, reference, &reported)
}

fn apply_report(case: &mut ObligationContext<'_>, reference: &Reference, reported: &ReportRecord) -> FlowResult<ReportResult> {
    let Some(payment) = reported.payment.clone() else { return Ok(ReportResult::Reported) };
    case.add_lookup(PaymentRecord::cleeng_id_key(&payment), reference);
    case.update_payment(reference, |record, _| {
        record.cleeng_payment = Some(payment);
        Ok(())
    })?;
    Ok(ReportResult::Reported)
}

/// Nobody can tell whether a report arrived. A refusal moved no money and must not keep the next attempt from opening; anything else is for
/// an operator.
async fn settle_undecidable(case: &mut ObligationContext<'_>, new: NewPaymentState<'_>) -> FlowResult<ReportResult> {
    match new {
        NewPaymentState::Rejected(_) => {
            case.flow_context.metrics.count(Metric::Warning, &[("reason", "rejected_report_unknown")]);
            Ok(ReportResult::Reported)
        }
        NewPaymentState::Authorised | NewPaymentState::Captured => Err(case.park(ParkReason::ReportUnknown, true).await?),
    }
}

/// Cleeng refuses to hear of it. The gateway's side stands: an operator has to bring the two together.
async fn handle_refusal(case: &mut ObligationContext<'_>, new: NewPaymentState<'_>, error: &CleengError) -> FlowResult<ReportResult> {
    tracing::error!(obligation = %case.session.key(), error = %error, "Cleeng refused a report");
    match new {
        NewPaymentState::Rejected(_) => {
            case.flow_context.metrics.count(Metric::Warning, &[("reason", "rejected_report_refused")]);
            Ok(ReportResult::Reported)
        }
        NewPaymentState::Authorised | NewPaymentState::Captured => Err(case.park(ParkReason::CleengRefusedReport, true).await?),
    }
}

async fn handle_report_error(case: &mut ObligationContext<'_>, error: &CleengError) -> Disposition {
    match error {
        CleengError::Unknown(_) => case.leave_unknown(REPORT, error.into()).await,
        _ => case.retry_without_effect(REPORT, error.retry_after(), error.into()).await,
    }
}

/// What is to be reported about a payment that Cleeng has as authorised.
#[derive(Clone, Copy)]
pub enum PaymentChange<'a> {
    /// The held money is taken.
    Captured,
    /// The capture was refused.
    Rejected(&'a Decline),
    /// The held money is released.
    Cancelled,
}

/// Reports a change of a payment that Cleeng has as authorised, as the step of this name: `PATCH /payments/{id}` or `.../cancel`. A change
/// that Cleeng has made already leaves the payment off the list of authorised ones, which is how a lost answer is found out.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn report_change(
    case: &mut ObligationContext<'_>,
    step: &'static str,
    reference: &Reference,
    change: PaymentChange<'_>,
) -> FlowResult<()> {
    let record = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (mut payment, details) = (record.cleeng_payment.clone(), record.details.clone());
    let unknown = match case.step_state::<ReportRecord>(step)? {
        TypedStepState::Done(_) => return Ok(()),
        TypedStepState::NotStarted => false,
        TypedStepState::Unknown(_) => true,
    };
    if (unknown || payment.is_none())
        && let Some(details) = details
    {
        let listed = find_in_authorised_list(case, &details, reference).await?;
        if unknown && listed.is_none() && !matches!(change, PaymentChange::Cancelled) && were_deleted(case.flow_context, &details).await? {
            // Of details that are gone there is no list, and what is not on it is not known to have been told.
            return Err(case.park(ParkReason::ReportUnknown, false).await?);
        }
        if listed.is_none() && (unknown || matches!(change, PaymentChange::Cancelled)) {
            case.record_result(step, &ReportRecord::with_payment(payment));
            return Ok(());
        }
        payment = listed.map(|listed| listed.id).or(payment);
    }
    let Some(payment) = payment else {
        return Err(case.park(ParkReason::PaymentNotFoundInCleeng, true).await?);
    };
    if unknown && case.payment(reference).is_some_and(|record| record.details.is_none()) {
        // Without details there is no list to ask, and Cleeng is never told the same thing blindly twice.
        return Err(case.park(ParkReason::ReportUnknown, false).await?);
    }
    case.begin_step(step, None, CALL_TIMEOUT).await?;
    let result = match change {
        PaymentChange::Captured => {
            let external_payment_id = changed_payment_id(case, reference);
            case.flow_context.cleeng.update_payment(&payment, &PaymentPatch::Captured { external_payment_id }).await
        }
        PaymentChange::Rejected(decline) => {
            case.flow_context.cleeng.update_payment(&payment, &PaymentPatch::Rejected { reason: decline.to_string() }).await
        }
        PaymentChange::Cancelled => case.flow_context.cleeng.cancel_payment(&payment).await,
    };
    match result {
        Ok(()) => {
            case.record_result(step, &ReportRecord::with_payment(Some(payment)));
            Ok(())
        }
        Err(CleengError::Refused { .. } | CleengError::NotFound) => handle_refused_change(case, step, reference, change).await,
        Err(error @ CleengError::Unknown(_)) => Err(case.leave_unknown(step, (&error).into()).await),
        Err(CleengError::Throttled { retry_after }) => {
            Err(case.retry_without_effect(step, retry_after, RetryReason::CleengThrottled).await)
        }
        Err(error) => Err(case.retry_without_effect(step, None, (&error).into()).await),
    }
}

/// The id that Cleeng has to learn, where the capture has another than the authorisation.
fn changed_payment_id(case: &ObligationContext<'_>, reference: &Reference) -> Option<ExternalPaymentId> {
    let payment = case.payment(reference)?;
    payment.external_payment_id.clone().filter(|external| Some(external) != payment.authorisation.as_ref())
}

/// Cleeng refuses the change. A cancel that somebody else made already is done; anything else is for an operator.
async fn handle_refused_change(
    case: &mut ObligationContext<'_>,
    step: &'static str,
    reference: &Reference,
    change: PaymentChange<'_>,
) -> FlowResult<()> {
    if matches!(change, PaymentChange::Cancelled)
        && let Some(details) = case.payment(reference).and_then(|payment| payment.details.clone())
        && find_in_authorised_list(case, &details, reference).await?.is_none()
    {
        case.record_result(step, &ReportRecord::with_payment(None));
        return Ok(());
    }
    Err(case.park(ParkReason::CleengRefusedReport, true).await?)
}
