//! Reporting a renewal's payment to Cleeng.
//!
//! Cleeng has no idempotency keys. If its answer is lost, Cleeng is asked what it knows before anything is reported again: the list of
//! authorised payments, or the subscription's latest payment. An outcome that cannot be resolved is parked, never reported blindly twice.
//! An unknown `rejected` report alone may be repeated once: it moves no money.

use super::{eligibility, replacement_order};
use crate::cleeng::webhook::BillingEvent;
use crate::cleeng::{
    CALL_WITH_FALLBACK_TIMEOUT, CleengError, LatestPayment, NewPayment, NewPaymentStatus, PaymentOperation, PaymentSource,
};
use crate::gateway::Decline;
use crate::ids::{ExternalPaymentId, OrderId, PaymentId};
use crate::journal::JournalError;
use crate::journal::record::Step;
use crate::journal::store::StoreError;
use crate::metrics::Metric;
use crate::payments::cleeng_step::{self, CleengStep, LostAnswer};
use crate::payments::deleted_details::are_gone;
use crate::payments::obligation_context::{ObligationContext, TypedStepState};
use crate::payments::release::release_own;
use crate::payments::report_change::{ListedPayment, ReportRecord, find_in_authorised_list};
use crate::payments::{FlowResult, read_failed};
use crate::reason::{AlarmReason, ParkReason};
use crate::reference::Reference;

/// The step that reports the payment of an attempt.
pub(super) const REPORT: &str = "report";
const REPORT_STEP: CleengStep = CleengStep { name: REPORT, timeout: CALL_WITH_FALLBACK_TIMEOUT, lost_answer: LostAnswer::FindOut };

/// The result of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportResult {
    /// Cleeng knows, as far as that could be resolved.
    Reported,
    /// Cleeng never will, and the authorisation is released: the details that it was made with were deleted.
    DetailsDeleted,
    /// Nothing was reported: the period is paid otherwise, or over. The payment is to be handed over, and given back.
    NotDue,
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

/// Reports a new payment: `POST /payments`. Money that was taken or held in another delivery is reported only if Cleeng says once more that
/// it is due: meanwhile the subscription may have ended.
///
/// # Errors
/// `Err(Disposition::Retry)` if it cannot be completed now; `Err(Disposition::Parked)` if an operator has to decide.
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
    if let Some(step) = &unknown {
        match find_report(case, event, reference, new, step).await? {
            ReportLookup::Known(payment) => return record_report(case, reference, payment),
            ReportLookup::NotKnown => {}
            ReportLookup::DetailsDeleted => return release_after_deletion(case, reference).await,
            ReportLookup::Undecidable => return settle_undecidable(case, new).await,
        }
    }
    let has_money = !matches!(new, NewPaymentState::Rejected(_));
    if has_money && !eligibility::is_still_due(case, event).await? {
        return Ok(ReportResult::NotDue);
    }
    let mut order = replacement_order::current_order(case, order)?;
    // What Cleeng did not take before may have been refused because of the order.
    if unknown.is_some() || replacement_order::is_past_lifetime(case) {
        order = replacement_order::create_replacement(case, event, &order, reference).await?.unwrap_or(order);
    }
    loop {
        let payment = payment_to_report(case, event, &order, reference, new)?;
        let call = case.flow_context.cleeng.create_payment(&payment);
        let refused = match cleeng_step::run(case, REPORT_STEP, call).await? {
            Ok(answer) => return record_report(case, reference, Some(answer.id)),
            Err(error) => error,
        };
        if matches!((&refused, new), (CleengError::Refused { .. }, NewPaymentState::Authorised))
            && are_gone(case.flow_context, &event.payment_details).await?
        {
            return release_after_deletion(case, reference).await;
        }
        // At most once in an attempt.
        let Some(another) = replacement_order::create_replacement(case, event, &order, reference).await? else {
            // A refusal without an earlier report of ours that may have arrived: the period was paid or ended in between.
            if has_money && unknown.is_none() && !eligibility::is_due(case.flow_context, event).await? {
                return Ok(ReportResult::NotDue);
            }
            return handle_refusal(case, new, &refused).await;
        };
        order = another;
    }
}

/// Cleeng rejects reports for payment details that are gone. The authorisation is therefore released now.
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
    /// There is no list of details that are gone, and Cleeng takes no report with them.
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
            ListedPayment::Found(payment) => ReportLookup::Known(Some(payment)),
            ListedPayment::DetailsGone => ReportLookup::DetailsDeleted,
            ListedPayment::NotListed => ReportLookup::NotKnown,
        },
        NewPaymentState::Captured => find_captured_report(case, event, reference).await?,
        NewPaymentState::Rejected(_) if step.repeats == 0 => ReportLookup::NotKnown,
        NewPaymentState::Rejected(_) => ReportLookup::Undecidable,
    };
    if !matches!(found, ReportLookup::NotKnown) {
        return Ok(found);
    }
    if case.is_overdue(step) {
        return Ok(ReportLookup::Undecidable);
    }
    cleeng_step::wait_for_report_on_its_way(case, step)?;
    Ok(ReportLookup::NotKnown)
}

/// A captured payment is not on the list of authorised ones; the subscription shows it.
async fn find_captured_report(case: &ObligationContext<'_>, event: &BillingEvent, reference: &Reference) -> FlowResult<ReportLookup> {
    let subscription = case.flow_context.cleeng.subscription(&event.subscription).await.map_err(|error| read_failed(&error))?;
    let ours = case.payment(reference).and_then(|payment| payment.external_payment_id.clone());
    let is_paid = subscription.paid_until.secs() > event.expiration.secs();
    Ok(match subscription.latest_payment {
        LatestPayment::Known(latest) if Some(&latest) == ours.as_ref() => ReportLookup::Known(None),
        // Another payment paid the period, or came after ours: both are taken, and Cleeng shows one.
        LatestPayment::Known(_) if is_paid => ReportLookup::Undecidable,
        LatestPayment::None | LatestPayment::NotReported if is_paid => ReportLookup::Known(None),
        LatestPayment::Known(_) | LatestPayment::None => ReportLookup::NotKnown,
        LatestPayment::NotReported => ReportLookup::Undecidable,
    })
}

fn record_report(case: &mut ObligationContext<'_>, reference: &Reference, payment: Option<PaymentId>) -> FlowResult<ReportResult> {
    let reported = ReportRecord::with_payment(payment);
    case.record_result(REPORT, &reported);
    apply_report(case, reference, &reported)
}

fn apply_report(case: &mut ObligationContext<'_>, reference: &Reference, reported: &ReportRecord) -> FlowResult<ReportResult> {
    if let Some(payment) = reported.payment.clone() {
        case.record_cleeng_payment(reference, payment)?;
    }
    Ok(ReportResult::Reported)
}

/// It cannot be resolved whether a report arrived. A refusal moved no money and must not keep the next attempt from opening; anything else
/// is parked.
async fn settle_undecidable(case: &mut ObligationContext<'_>, new: NewPaymentState<'_>) -> FlowResult<ReportResult> {
    match new {
        NewPaymentState::Rejected(_) => {
            case.flow_context.metrics.count(Metric::Warning, &[("reason", "rejected_report_unknown")]);
            Ok(ReportResult::Reported)
        }
        NewPaymentState::Authorised | NewPaymentState::Captured => case.park(ParkReason::ReportUnknown, true).await,
    }
}

/// Cleeng refuses the report. The payment at the gateway is unchanged: an operator has to reconcile the two.
async fn handle_refusal(case: &mut ObligationContext<'_>, new: NewPaymentState<'_>, error: &CleengError) -> FlowResult<ReportResult> {
    tracing::error!(obligation = %case.session.key(), error = %error, "Cleeng refused a report");
    match new {
        NewPaymentState::Rejected(_) => {
            case.flow_context.metrics.count(Metric::Alarm, &[("reason", AlarmReason::RejectedReportRefused.as_str())]);
            Ok(ReportResult::Reported)
        }
        NewPaymentState::Authorised | NewPaymentState::Captured => case.park(ParkReason::CleengRefusedReport, true).await,
    }
}
