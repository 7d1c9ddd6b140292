//! Telling Cleeng what became of the money.
//!
//! Cleeng has no idempotency keys. When its answer is lost, Cleeng is asked what it knows before anything is said again: the list of
//! authorised payments, or the subscription's latest payment. What cannot be found out is parked, never posted blindly twice. An unknown
//! `rejected` report alone may be repeated once: it moves nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::case::{Case, StepTurn};
use super::deleted::{authorised_payments, were_deleted};
use super::release::give_up_own;
use super::{Story, later, order_again, read_failed};
use crate::cleeng::webhook::BillingEvent;
use crate::cleeng::{
    CALL_TIMEOUT, CleengError, LatestPayment, NewPayment, NewPaymentStatus, Payment, PaymentOperation, PaymentPatch, PaymentSource,
};
use crate::flow::Verdict;
use crate::gateway::{Decline, Reference};
use crate::ids::{ExternalPaymentId, OrderId, PaymentDetailsId, PaymentId};
use crate::journal::JournalError;
use crate::journal::payment::PaymentRecord;
use crate::journal::record::Step;
use crate::journal::store::StoreError;
use crate::metrics::Metric;

/// A report that Cleeng does not know of is made again only this long after it was first made: the first one may still be on its way.
const SETTLING_TIME: Duration = Duration::from_secs(60);
/// How often a report whose answer is lost is made again at the most.
const MAX_REPEATS: u32 = 5;

const REPORT: &str = "report";

/// What Cleeng knows now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// The payment in Cleeng, where its id is known.
    pub payment: Option<PaymentId>,
    /// Whether Cleeng will never hear of it, because the details that it was made with were deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub never: bool,
}

impl Reported {
    /// Cleeng knows it, as far as that could be found out.
    #[must_use]
    pub const fn of(payment: Option<PaymentId>) -> Self {
        Self { payment, never: false }
    }
}

/// What came of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Cleeng knows, as far as that could be found out.
    Yes,
    /// Cleeng never will, and what was held is given up: the details that it was made with were deleted.
    Never,
}

/// What is to be reported about a new payment.
#[derive(Clone, Copy)]
pub enum New<'a> {
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
/// Later or parked.
pub async fn new_payment(case: &mut Case<'_>, event: &BillingEvent, order: &OrderId, reference: &Reference, new: New<'_>) -> Story<Told> {
    let unknown = match case.turn::<Reported>(REPORT)? {
        StepTurn::Done(Reported { never: true, .. }) => return never(case, reference).await,
        StepTurn::Done(reported) => return remember(case, reference, &reported),
        StepTurn::Fresh => None,
        StepTurn::Unknown(step) => Some(step),
    };
    if let Some(step) = unknown {
        match found_in_cleeng(case, event, reference, new, &step).await? {
            Found::Yes(payment) => return reported(case, reference, payment),
            Found::No => {}
            Found::Deleted => return never(case, reference).await,
            Found::NobodyKnows => return give_up(case, new).await,
        }
    }
    let live = !matches!(new, New::Rejected(_));
    let mut order = order_again::current(case, order)?;
    if live && order_again::is_old(case) {
        order = order_again::make(case, event, &order, reference).await?.unwrap_or(order);
    }
    loop {
        case.begin(REPORT, None, CALL_TIMEOUT).await?;
        let payment = describe(case, event, &order, reference, new)?;
        match case.world.cleeng.create_payment(&payment).await {
            Ok(answer) => return reported(case, reference, Some(answer.id)),
            Err(CleengError::Refused { .. })
                if matches!(new, New::Authorised) && were_deleted(case.world, &event.payment_details).await? =>
            {
                return never(case, reference).await;
            }
            Err(error @ (CleengError::Refused { .. } | CleengError::NotFound)) => {
                // At most once in an attempt.
                let another = if live { order_again::make(case, event, &order, reference).await? } else { None };
                let Some(another) = another else { return cleeng_refused(case, new, &error).await };
                order = another;
            }
            Err(error) => return Err(report_failed(case, &error).await),
        }
    }
}

/// Cleeng takes nothing that was made with details that are gone. What is held with them was to be released when they were deleted, had anybody
/// known of it.
async fn never(case: &mut Case<'_>, reference: &Reference) -> Story<Told> {
    case.done(REPORT, &Reported { payment: None, never: true });
    give_up_own(case, reference).await?;
    Ok(Told::Never)
}

fn describe(case: &Case<'_>, event: &BillingEvent, order: &OrderId, reference: &Reference, new: New<'_>) -> Story<NewPayment> {
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let own_name = || ExternalPaymentId::new(reference.as_str()).map_err(|_| JournalError::Store(StoreError::Corrupt));
    Ok(NewPayment {
        order: order.clone(),
        status: match new {
            New::Authorised => NewPaymentStatus::Authorised,
            New::Captured => NewPaymentStatus::Captured,
            New::Rejected(decline) => NewPaymentStatus::Rejected { reason: decline.to_string() },
        },
        operation: PaymentOperation::Recurring,
        source: PaymentSource::Existing(event.payment_details.clone()),
        external_payment_id: payment.external_payment_id.clone().map_or_else(own_name, Ok)?,
        subscription: Some(event.subscription.clone()),
    })
}

enum Found {
    Yes(Option<PaymentId>),
    No,
    /// There is no list of details that were deleted, and no report with them is taken.
    Deleted,
    NobodyKnows,
}

/// Asks Cleeng whether a report whose answer was lost arrived.
async fn found_in_cleeng(case: &mut Case<'_>, event: &BillingEvent, reference: &Reference, new: New<'_>, step: &Step) -> Story<Found> {
    let found = match new {
        New::Authorised => match in_authorised_list(case, &event.payment_details, reference).await? {
            Some(payment) => Found::Yes(Some(payment.id)),
            None if were_deleted(case.world, &event.payment_details).await? => Found::Deleted,
            None => Found::No,
        },
        New::Captured => captured_in_cleeng(case, event, reference).await?,
        New::Rejected(_) if step.repeats == 0 => Found::No,
        New::Rejected(_) => Found::NobodyKnows,
    };
    if !matches!(found, Found::No) {
        return Ok(found);
    }
    if step.repeats >= MAX_REPEATS {
        return Ok(Found::NobodyKnows);
    }
    let since = case.now().since(step.begun_at);
    if since < SETTLING_TIME {
        return Err(Verdict::Later { after: Some(SETTLING_TIME.saturating_sub(since)), reason: "report_unknown" });
    }
    Ok(Found::No)
}

/// A captured payment is not on the list of authorised ones; the subscription tells.
async fn captured_in_cleeng(case: &Case<'_>, event: &BillingEvent, reference: &Reference) -> Story<Found> {
    let subscription = case.world.cleeng.subscription(&event.subscription).await.map_err(|error| read_failed(&error))?;
    let ours = case.payment(reference).and_then(|payment| payment.external_payment_id.clone());
    if subscription.paid_until.secs() > event.expiration.secs() {
        return Ok(Found::Yes(None));
    }
    Ok(match subscription.latest_payment {
        LatestPayment::Known(latest) if Some(&latest) == ours.as_ref() => Found::Yes(None),
        LatestPayment::Known(_) | LatestPayment::None => Found::No,
        LatestPayment::NotTold => Found::NobodyKnows,
    })
}

/// The payment with our gateway id among the authorised ones of these details.
///
/// # Errors
/// Later, if Cleeng cannot be asked.
pub async fn in_authorised_list(case: &Case<'_>, details: &PaymentDetailsId, reference: &Reference) -> Story<Option<Payment>> {
    let ours = case.payment(reference).and_then(|payment| payment.external_payment_id.clone());
    let known = case.payment(reference).and_then(|payment| payment.cleeng_payment.clone());
    let list = authorised_payments(case.world, details).await?;
    // One that does not say which it is at the gateway may be ours: nothing is concluded from such a list.
    let untold = known.is_none() && list.iter().any(|payment| payment.external_payment_id.is_none());
    match list.into_iter().find(|payment| known.as_ref() == Some(&payment.id) || (ours.is_some() && payment.external_payment_id == ours)) {
        None if untold => Err(later("cleeng_list_incomplete")),
        found => Ok(found),
    }
}

fn reported(case: &mut Case<'_>, reference: &Reference, payment: Option<PaymentId>) -> Story<Told> {
    let reported = Reported::of(payment);
    case.done(REPORT, &reported);
    remember(case, reference, &reported)
}

fn remember(case: &mut Case<'_>, reference: &Reference, reported: &Reported) -> Story<Told> {
    let Some(payment) = reported.payment.clone() else { return Ok(Told::Yes) };
    case.add_lookup(PaymentRecord::by_cleeng(&payment), reference);
    case.change(reference, |record, _| {
        record.cleeng_payment = Some(payment);
        Ok(())
    })?;
    Ok(Told::Yes)
}

/// Nobody can tell whether a report arrived. A refusal moved no money and must not keep the next attempt from opening; anything else is for
/// an operator.
async fn give_up(case: &mut Case<'_>, new: New<'_>) -> Story<Told> {
    match new {
        New::Rejected(_) => {
            case.world.metrics.count(Metric::Warning, &[("reason", "rejected_report_unknown")]);
            Ok(Told::Yes)
        }
        New::Authorised | New::Captured => Err(case.park("report_unknown", true).await?),
    }
}

/// Cleeng refuses to hear of it. The gateway's side stands: an operator has to bring the two together.
async fn cleeng_refused(case: &mut Case<'_>, new: New<'_>, error: &CleengError) -> Story<Told> {
    tracing::error!(obligation = %case.run.key(), error = %error, "Cleeng refused a report");
    match new {
        New::Rejected(_) => {
            case.world.metrics.count(Metric::Warning, &[("reason", "rejected_report_refused")]);
            Ok(Told::Yes)
        }
        New::Authorised | New::Captured => Err(case.park("cleeng_refused_report", true).await?),
    }
}

async fn report_failed(case: &mut Case<'_>, error: &CleengError) -> Verdict {
    match error {
        CleengError::Unknown(_) => case.leave_unknown(REPORT, error.code()).await,
        CleengError::Throttled { retry_after } => case.no_effect(REPORT, *retry_after, error.code()).await,
        _ => case.no_effect(REPORT, None, error.code()).await,
    }
}

/// What is to be reported about a payment that Cleeng has as authorised.
#[derive(Clone, Copy)]
pub enum Change<'a> {
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
/// Later or parked.
pub async fn change(case: &mut Case<'_>, step: &'static str, reference: &Reference, change: Change<'_>) -> Story<()> {
    let record = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (mut payment, details) = (record.cleeng_payment.clone(), record.details.clone());
    let unknown = match case.turn::<Reported>(step)? {
        StepTurn::Done(_) => return Ok(()),
        StepTurn::Fresh => false,
        StepTurn::Unknown(_) => true,
    };
    if (unknown || payment.is_none())
        && let Some(details) = details
    {
        let listed = in_authorised_list(case, &details, reference).await?;
        if unknown && listed.is_none() && !matches!(change, Change::Cancelled) && were_deleted(case.world, &details).await? {
            // Of details that are gone there is no list, and what is not on it is not known to have been told.
            return Err(case.park("report_unknown", false).await?);
        }
        if listed.is_none() && (unknown || matches!(change, Change::Cancelled)) {
            case.done(step, &Reported::of(payment));
            return Ok(());
        }
        payment = listed.map(|listed| listed.id).or(payment);
    }
    let Some(payment) = payment else {
        return Err(case.park("payment_not_found_in_cleeng", true).await?);
    };
    if unknown && case.payment(reference).is_some_and(|record| record.details.is_none()) {
        // Without details there is no list to ask, and Cleeng is never told the same thing blindly twice.
        return Err(case.park("report_unknown", false).await?);
    }
    case.begin(step, None, CALL_TIMEOUT).await?;
    let result = match change {
        Change::Captured => {
            let external_payment_id = changed_id(case, reference);
            case.world.cleeng.update_payment(&payment, &PaymentPatch::Captured { external_payment_id }).await
        }
        Change::Rejected(decline) => {
            case.world.cleeng.update_payment(&payment, &PaymentPatch::Rejected { reason: decline.to_string() }).await
        }
        Change::Cancelled => case.world.cleeng.cancel_payment(&payment).await,
    };
    match result {
        Ok(()) => {
            case.done(step, &Reported::of(Some(payment)));
            Ok(())
        }
        Err(CleengError::Refused { .. } | CleengError::NotFound) => refused_change(case, step, reference, change).await,
        Err(error @ CleengError::Unknown(_)) => Err(case.leave_unknown(step, error.code()).await),
        Err(CleengError::Throttled { retry_after }) => Err(case.no_effect(step, retry_after, "cleeng_throttled").await),
        Err(error) => Err(case.no_effect(step, None, error.code()).await),
    }
}

/// The id that Cleeng has to learn, where the capture has another than the authorisation.
fn changed_id(case: &Case<'_>, reference: &Reference) -> Option<ExternalPaymentId> {
    let payment = case.payment(reference)?;
    payment.external_payment_id.clone().filter(|external| Some(external) != payment.authorisation.as_ref())
}

/// Cleeng refuses the change. A cancel that somebody else made already is done; anything else is for an operator.
async fn refused_change(case: &mut Case<'_>, step: &'static str, reference: &Reference, change: Change<'_>) -> Story<()> {
    if matches!(change, Change::Cancelled)
        && let Some(details) = case.payment(reference).and_then(|payment| payment.details.clone())
        && in_authorised_list(case, &details, reference).await?.is_none()
    {
        case.done(step, &Reported::of(None));
        return Ok(());
    }
    Err(case.park("cleeng_refused_report", true).await?)
}
