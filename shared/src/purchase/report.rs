//! Telling Cleeng about an order's payment: `POST /payments`, once. When the answer is lost, Cleeng is asked what the customer's
//! subscriptions to the offer say about their latest payment. What cannot be found out so is parked, never posted blindly twice; only an
//! unknown `rejected` may be repeated once, since it moves nothing.

use std::time::Duration;

use super::facts::{REPORT, Snapshot};
use crate::billing::case::{Case, StepTurn};
use crate::billing::report::Reported;
use crate::billing::watch::KnownDetails;
use crate::billing::{Story, read_failed, tokens};
use crate::cleeng::{CleengError, LatestPayment, NewPayment, NewPaymentStatus, PaymentOperation, PaymentSource};
use crate::flow::Verdict;
use crate::gateway::{Decline, Reference};
use crate::ids::{ExternalPaymentId, OrderId, PaymentDetailsId, PaymentId};
use crate::journal::payment::PaymentRecord;
use crate::journal::record::Step;
use crate::journal::store::{Key, StoreError};
use crate::journal::work::Keep;
use crate::journal::{JournalError, SCHEMA, SETTLED_KEPT};
use crate::metrics::Metric;

/// One exchange of 10 s, and a quick refusal of the other publisher token while one is being rotated: somebody waits, and only a report that
/// fits into what is left of 29 s is begun.
pub const REPORT_TIMEOUT: Duration = Duration::from_secs(13);
/// A report that Cleeng does not know of is made again only this long after it was first made: the first one may still be on its way.
const SETTLING_TIME: Duration = Duration::from_secs(60);
/// How often a report whose answer is lost is made again at the most.
const MAX_REPEATS: u32 = 5;

/// Reports that the order is paid, with the stored details.
///
/// # Errors
/// Later or parked.
pub async fn captured(case: &mut Case<'_>, snapshot: &Snapshot, reference: &Reference, source: PaymentSource) -> Story<()> {
    let unknown = match case.turn::<Reported>(REPORT)? {
        StepTurn::Done(reported) => return remember(case, reference, reported.payment),
        StepTurn::Fresh => None,
        StepTurn::Unknown(step) => Some(step),
    };
    if let Some(step) = unknown {
        match known_to_cleeng(case, snapshot, reference, &step).await? {
            Some(true) => return reported(case, reference, None),
            Some(false) => {}
            None => return Err(case.park("report_unknown", true).await?),
        }
    }
    let token = claim_token(case, snapshot, &source).await?;
    let known = known_details(snapshot, &source);
    let operation = if snapshot.amount.is_zero() { PaymentOperation::FreeStart } else { PaymentOperation::Initial };
    let payment = NewPayment {
        order: order(snapshot)?,
        status: NewPaymentStatus::Captured,
        operation,
        source,
        external_payment_id: external(case, reference)?,
        subscription: None,
    };
    case.begin(REPORT, None, REPORT_TIMEOUT).await?;
    match case.world.cleeng.create_payment(&payment).await {
        Ok(answer) => {
            note_token(case, token.as_ref(), answer.payment_details.as_ref()).await?;
            remember_details(case, known, answer.payment_details.as_ref()).await?;
            reported(case, reference, Some(answer.id))
        }
        Err(error @ (CleengError::Refused { .. } | CleengError::NotFound)) => {
            tracing::error!(obligation = %case.run.key(), error = %error, "Cleeng refused a report");
            Err(case.park("cleeng_refused_report", true).await?)
        }
        Err(error) => Err(failed(case, &error).await),
    }
}

/// Notes that details with this token are about to come to be in Cleeng, so that the clean-up of older details does not delete a token that
/// these share. Written with the report's intent.
///
/// # Errors
/// Later, if the journal cannot be read.
pub async fn claim_token(case: &mut Case<'_>, snapshot: &Snapshot, source: &PaymentSource) -> Story<Option<Key>> {
    let PaymentSource::New { token, .. } = source else { return Ok(None) };
    let key = tokens::key(&case.world.rules.salt, snapshot.gateway, token);
    let (obligation, now) = (case.run.key().clone(), case.now());
    tokens::claim(&mut case.run.work, &key, &obligation, now).await?;
    Ok(Some(key))
}

/// Notes the details that came to be. Where Cleeng does not name them the claim stays, and with it the token.
///
/// # Errors
/// Later, if the journal cannot be read.
pub async fn note_token(case: &mut Case<'_>, token: Option<&Key>, details: Option<&PaymentDetailsId>) -> Story<()> {
    let (Some(token), Some(details)) = (token, details) else { return Ok(()) };
    let (obligation, now) = (case.run.key().clone(), case.now());
    Ok(tokens::note(&mut case.run.work, token, details, Some(&obligation), now).await?)
}

/// What is to be remembered of new details.
#[must_use]
pub fn known_details(snapshot: &Snapshot, source: &PaymentSource) -> Option<KnownDetails> {
    let PaymentSource::New { token, .. } = source else { return None };
    let currency = (!snapshot.amount.is_zero()).then_some(snapshot.amount.currency);
    Some(KnownDetails { schema: SCHEMA, token: token.expose().to_owned(), currency })
}

/// Remembers details under the id that Cleeng gave them, for a renewal whose webhook never comes.
///
/// # Errors
/// Later, if the journal cannot be read.
pub async fn remember_details(case: &mut Case<'_>, known: Option<KnownDetails>, details: Option<&PaymentDetailsId>) -> Story<()> {
    let (Some(known), Some(details)) = (known, details) else { return Ok(()) };
    let key = KnownDetails::key(details);
    case.run.work.load(std::slice::from_ref(&key)).await?;
    let keep = Keep { expires_at: Some(case.now().after(SETTLED_KEPT)), ..Keep::default() };
    Ok(case.run.work.stage(&key, &known, keep)?)
}

/// Reports a refusal; it must not keep the customer from trying again, so what cannot be found out about it is only counted.
///
/// # Errors
/// Later.
pub async fn rejected(case: &mut Case<'_>, snapshot: &Snapshot, reference: &Reference, decline: &Decline) -> Story<()> {
    match case.turn::<Reported>(REPORT)? {
        StepTurn::Done(_) => return Ok(()),
        StepTurn::Unknown(step) if step.repeats > 0 => return unheard(case, "rejected_report_unknown"),
        StepTurn::Fresh | StepTurn::Unknown(_) => {}
    }
    let operation = if snapshot.amount.is_zero() { PaymentOperation::FreeStart } else { PaymentOperation::Initial };
    let payment = NewPayment {
        order: order(snapshot)?,
        status: NewPaymentStatus::Rejected { reason: decline.to_string() },
        operation,
        source: PaymentSource::None,
        external_payment_id: external(case, reference)?,
        subscription: None,
    };
    case.begin(REPORT, None, REPORT_TIMEOUT).await?;
    match case.world.cleeng.create_payment(&payment).await {
        Ok(answer) => reported(case, reference, Some(answer.id)),
        Err(CleengError::Refused { .. } | CleengError::NotFound) => unheard(case, "rejected_report_refused"),
        Err(error) => Err(failed(case, &error).await),
    }
}

fn unheard(case: &mut Case<'_>, reason: &'static str) -> Story<()> {
    case.world.metrics.count(Metric::Warning, &[("reason", reason)]);
    case.done(REPORT, &Reported::of(None));
    Ok(())
}

fn order(snapshot: &Snapshot) -> Story<OrderId> {
    snapshot.order.clone().ok_or_else(|| JournalError::Store(StoreError::Corrupt).into())
}

/// The gateway's id, or where it never told one our own reference: Cleeng wants an id on every payment.
fn external(case: &Case<'_>, reference: &Reference) -> Story<ExternalPaymentId> {
    let told = case.payment(reference).and_then(|payment| payment.external_payment_id.clone());
    let own = || ExternalPaymentId::new(reference.as_str()).map_err(|_| JournalError::Store(StoreError::Corrupt));
    Ok(told.map_or_else(own, Ok)?)
}

/// Whether a report whose answer was lost arrived; nothing if nobody can tell.
async fn known_to_cleeng(case: &Case<'_>, snapshot: &Snapshot, reference: &Reference, step: &Step) -> Story<Option<bool>> {
    let (Some(offer), ours) = (&snapshot.offer, external(case, reference)?) else { return Ok(None) };
    let latest = case.world.cleeng.latest_payments(&snapshot.customer, offer).await.map_err(|error| read_failed(&error))?;
    if latest.contains(&LatestPayment::Known(ours)) {
        return Ok(Some(true));
    }
    // Only a subscription shows its payments. A pass has none, so that its absence says nothing (ids of offers begin with their kind).
    let tells = offer.as_str().starts_with('S') && !latest.contains(&LatestPayment::NotTold);
    if !tells || step.repeats >= MAX_REPEATS {
        return Ok(None);
    }
    let since = case.now().since(step.begun_at);
    if since < SETTLING_TIME {
        return Err(Verdict::Later { after: Some(SETTLING_TIME.saturating_sub(since)), reason: "report_unknown" });
    }
    Ok(Some(false))
}

fn reported(case: &mut Case<'_>, reference: &Reference, payment: Option<PaymentId>) -> Story<()> {
    case.done(REPORT, &Reported::of(payment.clone()));
    remember(case, reference, payment)
}

fn remember(case: &mut Case<'_>, reference: &Reference, payment: Option<PaymentId>) -> Story<()> {
    let Some(payment) = payment else { return Ok(()) };
    case.add_lookup(PaymentRecord::by_cleeng(&payment), reference);
    case.change(reference, |record, _| {
        record.cleeng_payment = Some(payment);
        Ok(())
    })
}

async fn failed(case: &mut Case<'_>, error: &CleengError) -> Verdict {
    match error {
        CleengError::Unknown(_) => case.leave_unknown(REPORT, error.code()).await,
        CleengError::Throttled { retry_after } => case.no_effect(REPORT, *retry_after, error.code()).await,
        _ => case.no_effect(REPORT, None, error.code()).await,
    }
}
