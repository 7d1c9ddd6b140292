//! Reporting to Cleeng a change of a payment that it has as authorised.
//!
//! Cleeng has no idempotency keys. If its answer is lost, Cleeng's list of authorised payments is read before anything is reported again.
//! An outcome that cannot be resolved is parked, never reported blindly twice.

use serde::{Deserialize, Serialize};

use super::cleeng_step::{self, CleengStep, LostAnswer};
use super::deleted_details::{AuthorisedList, authorised_payments};
use super::obligation_context::{ObligationContext, TypedStepState};
use super::{FlowResult, retry};
use crate::cleeng::{CALL_TIMEOUT, Payment, PaymentPatch};
use crate::gateway::Decline;
use crate::ids::{ExternalPaymentId, PaymentDetailsId, PaymentId};
use crate::journal::JournalError;
use crate::journal::store::StoreError;
use crate::reason::{ParkReason, RetryReason};
use crate::reference::Reference;

/// What Cleeng knows now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportRecord {
    /// The payment in Cleeng, if its id is known.
    pub payment: Option<PaymentId>,
    /// Whether it will never be reported to Cleeng, because the details that it was made with are gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub details_deleted: bool,
}

impl ReportRecord {
    /// Cleeng knows it, as far as that could be resolved.
    #[must_use]
    pub const fn with_payment(payment: Option<PaymentId>) -> Self {
        Self { payment, details_deleted: false }
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

/// Reports a change of a payment that Cleeng has as authorised, as the step of this name: `PATCH /payments/{id}` or `.../cancel`. If Cleeng
/// has made the change already, its list of authorised payments lacks the payment, which resolves a lost answer.
///
/// # Errors
/// `Err(Disposition::Retry)` if it cannot be completed now; `Err(Disposition::Parked)` if an operator has to decide.
pub async fn report_change(
    case: &mut ObligationContext<'_>,
    step: &'static str,
    reference: &Reference,
    change: PaymentChange<'_>,
) -> FlowResult<()> {
    let record = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (mut payment, details, order) = (record.cleeng_payment.clone(), record.details.clone(), record.order.clone());
    let unknown = match case.step_state::<ReportRecord>(step)? {
        TypedStepState::Done(_) => return Ok(()),
        TypedStepState::NotStarted => None,
        TypedStepState::Unknown(unknown) => Some(unknown),
    };
    if (unknown.is_some() || payment.is_none())
        && let Some(details) = details
    {
        let listed = match find_in_authorised_list(case, &details, reference).await {
            // Cleeng could not be asked for as long as it is asked.
            Err(_) if unknown.as_ref().is_some_and(|step| case.is_overdue(step)) => {
                return case.park(ParkReason::ReportUnknown, false).await;
            }
            listed => listed?,
        };
        match listed {
            ListedPayment::Found(listed) => payment = Some(listed),
            // There is no list for details that are gone, so nothing shows whether the change was reported.
            ListedPayment::DetailsGone if unknown.is_some() && !matches!(change, PaymentChange::Cancelled) => {
                return case.park(ParkReason::ReportUnknown, false).await;
            }
            ListedPayment::NotListed | ListedPayment::DetailsGone if unknown.is_some() || matches!(change, PaymentChange::Cancelled) => {
                case.record_result(step, &ReportRecord::with_payment(payment));
                return Ok(());
            }
            ListedPayment::NotListed | ListedPayment::DetailsGone => {}
        }
    }
    let Some(payment) = payment else {
        return case.park(ParkReason::PaymentNotFoundInCleeng, true).await;
    };
    if let Some(unknown) = unknown
        && (case.payment(reference).is_some_and(|record| record.details.is_none()) || case.is_overdue(&unknown))
    {
        // Without details there is no list to query, and nothing is ever reported blindly twice.
        return case.park(ParkReason::ReportUnknown, false).await;
    }
    let cleeng_step = CleengStep { name: step, timeout: CALL_TIMEOUT, lost_answer: LostAnswer::FindOut };
    let patch = match change {
        PaymentChange::Captured => Some(PaymentPatch::Captured { order, external_payment_id: changed_payment_id(case, reference) }),
        PaymentChange::Rejected(decline) => Some(PaymentPatch::Rejected { order, reason: decline.to_string() }),
        PaymentChange::Cancelled => None,
    };
    let cleeng = &case.flow_context.cleeng;
    let answer = match &patch {
        Some(patch) => cleeng_step::run(case, cleeng_step, cleeng.update_payment(&payment, patch)).await?,
        None => cleeng_step::run(case, cleeng_step, cleeng.cancel_payment(&payment)).await?,
    };
    if answer.is_err() {
        return handle_refused_change(case, step, reference, change).await;
    }
    case.record_result(step, &ReportRecord::with_payment(Some(payment)));
    Ok(())
}

/// What Cleeng's list of authorised payments says of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedPayment {
    /// It is authorised, and has this id.
    Found(PaymentId),
    /// It is not.
    NotListed,
    /// There is no list, because the details are gone.
    DetailsGone,
}

/// The payment with our gateway id among the authorised ones of these details.
///
/// # Errors
/// `Err(Disposition::Retry)` if Cleeng cannot be asked.
pub async fn find_in_authorised_list(
    case: &ObligationContext<'_>,
    details: &PaymentDetailsId,
    reference: &Reference,
) -> FlowResult<ListedPayment> {
    let ours = case.payment(reference).and_then(|payment| payment.external_payment_id.clone());
    let known = case.payment(reference).and_then(|payment| payment.cleeng_payment.clone());
    let AuthorisedList::Payments(list) = authorised_payments(case.flow_context, details).await? else {
        return Ok(ListedPayment::DetailsGone);
    };
    // An entry without a gateway id may be ours: nothing is concluded from such a list.
    let has_unidentified = known.is_none() && list.iter().any(|payment| payment.external_payment_id.is_none());
    let is_ours = |payment: &Payment| known.as_ref() == Some(&payment.id) || (ours.is_some() && payment.external_payment_id == ours);
    match list.into_iter().find(is_ours) {
        Some(payment) => Ok(ListedPayment::Found(payment.id)),
        None if has_unidentified => Err(retry(RetryReason::CleengListIncomplete)),
        None => Ok(ListedPayment::NotListed),
    }
}

/// The id that Cleeng has to learn, if the capture has another than the authorisation.
fn changed_payment_id(case: &ObligationContext<'_>, reference: &Reference) -> Option<ExternalPaymentId> {
    let payment = case.payment(reference)?;
    payment.external_payment_id.clone().filter(|external| Some(external) != payment.authorisation.as_ref())
}

/// Cleeng refuses the change. A cancel that another party made already is done; anything else is parked.
async fn handle_refused_change(
    case: &mut ObligationContext<'_>,
    step: &'static str,
    reference: &Reference,
    change: PaymentChange<'_>,
) -> FlowResult<()> {
    if matches!(change, PaymentChange::Cancelled)
        && let Some(details) = case.payment(reference).and_then(|payment| payment.details.clone())
        && !matches!(find_in_authorised_list(case, &details, reference).await?, ListedPayment::Found(_))
    {
        case.record_result(step, &ReportRecord::with_payment(None));
        return Ok(());
    }
    case.park(ParkReason::CleengRefusedReport, true).await
}
