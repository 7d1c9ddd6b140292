//! Progress without the customer: a notification says what became of a payment, or the order has expired.

use serde_json::Value;

use super::attempts::snapshot_of;
use super::entry::{Submission, next_submission, submit};
use super::outcome::{apply_result, close_attempt};
use super::progress::{Progress, read_progress, read_snapshot};
use super::snapshot::{NOTIFIED, PurchaseResult};
use super::{gateway_calls, reversal};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::flow::{Disposition, FlowContext};
use crate::gateway::{Decline, Reference, StoredToken};
use crate::ids::ExternalPaymentId;
use crate::journal::payment::{PaymentRecord, PaymentState};
use crate::journal::record::Finish;
use crate::journal::store::Key;
use crate::journal::transaction::Transaction;
use crate::payments::obligation_context::ObligationContext;
use crate::payments::{FlowResult, retry};
use crate::reason::{CompletionReason, RetryReason};

/// What a notification says about the payment of a purchase.
pub struct AuthorisationNotification<'a> {
    /// The payment.
    pub reference: &'a Reference,
    /// Why it was declined; `None` if it was authorised.
    pub declined: Option<Decline>,
    /// Its id at the gateway.
    pub external: Option<&'a ExternalPaymentId>,
    /// Its stored details, if the notification has them.
    pub token: Option<StoredToken>,
}

/// A notification says whether a payment of a purchase was authorised. Finishes the attempt if it is still open: the customer may never
/// return. A payment that must not be charged any more is reversed. The function is idempotent.
///
/// # Errors
/// None: the disposition says what is left to be done.
pub async fn settle_by_notification(
    flow_context: &FlowContext,
    notification: &AuthorisationNotification<'_>,
    delivery: &Delivery,
) -> Disposition {
    match apply_notification(flow_context, notification, delivery).await {
        Ok(disposition) | Err(disposition) => disposition,
    }
}

async fn apply_notification(
    flow_context: &FlowContext,
    notification: &AuthorisationNotification<'_>,
    delivery: &Delivery,
) -> FlowResult<Disposition> {
    let mut ctx = open_purchase(flow_context, notification.reference, delivery).await?;
    let mut attempts = ctx.session.obligation.attempts.iter();
    let Some(attempt) = attempts.find(|attempt| attempt.reference.as_ref() == Some(notification.reference)) else {
        return Err(retry(RetryReason::AttemptNotKnown));
    };
    match &attempt.finish {
        None => {
            let result = resume_open_attempt(&mut ctx, notification).await;
            Ok(ctx.conclude(result).await)
        }
        Some(Finish::Captured | Finish::Stored) => Ok(Disposition::Completed(CompletionReason::AlreadyFinished)),
        Some(Finish::Parked { .. }) => Ok(Disposition::Completed(CompletionReason::Parked)),
        // Declined, replaced or expired: Cleeng does not have it and will not.
        Some(_) if notification.declined.is_none() => {
            Ok(reversal::reverse(flow_context, notification.reference, notification.external, delivery).await)
        }
        Some(_) => Ok(Disposition::Completed(CompletionReason::Declined)),
    }
}

/// Opens the obligation of a purchase by the reference of its payment.
async fn open_purchase<'c>(flow_context: &'c FlowContext, reference: &Reference, delivery: &Delivery) -> FlowResult<ObligationContext<'c>> {
    let mut transaction = Transaction::new(std::sync::Arc::clone(&flow_context.store));
    let key = PaymentRecord::key(reference);
    transaction.load(std::slice::from_ref(&key)).await?;
    // The intent is written before the gateway is called, so that the record can only be late.
    let Some(payment) = transaction.read::<PaymentRecord>(&key)? else { return Err(retry(RetryReason::PaymentNotKnownYet)) };
    if !payment.is_purchase() {
        return Err(Disposition::NotOurs);
    }
    ObligationContext::open_with_attempt_payments(flow_context, Key::from_stored(payment.obligation), &[], delivery).await
}

/// The attempt is open: the notification is its result, unless that is known.
async fn resume_open_attempt(ctx: &mut ObligationContext<'_>, notification: &AuthorisationNotification<'_>) -> FlowResult<Disposition> {
    let snapshot = read_snapshot(ctx)?;
    let token = notification.token.as_ref().map(|token| token.0.expose().to_owned());
    let known = match read_progress(ctx)? {
        Progress::Decided(result) => Some(result),
        // A payment that never reached the gateway has no notification: this one proves the first call's effect.
        _ => None,
    };
    let result = match (known, &notification.declined, notification.external) {
        (Some(PurchaseResult::Done { external, at, display_params, .. }), None, _) if token.is_some() => {
            PurchaseResult::Done { external, token, display_params, at }
        }
        (Some(result), ..) => return apply_result(ctx, &snapshot, result).await,
        (None, None, Some(external)) => {
            PurchaseResult::Done { external: external.clone(), token, display_params: Value::Null, at: ctx.now() }
        }
        (None, None, None) => return Err(retry(RetryReason::NotificationWithoutPayment)),
        (None, Some(decline), _) => PurchaseResult::Declined(decline.clone()),
    };
    ctx.checkpoint(NOTIFIED, &result);
    apply_result(ctx, &snapshot, result).await
}

/// The gateway says that the customer agreed to what waited for them, and waits for the connector to finish it: they may never return. Data
/// that they return with later finds it finished. The function is idempotent.
///
/// # Errors
/// None: the disposition says what is left to be done.
pub async fn finalize_approved(flow_context: &FlowContext, reference: &Reference, delivery: &Delivery) -> Disposition {
    let mut ctx = match open_purchase(flow_context, reference, delivery).await {
        Ok(ctx) => ctx,
        Err(disposition) => return disposition,
    };
    if ctx.current_attempt().and_then(|attempt| attempt.reference.as_ref()) != Some(reference) {
        // Replaced, expired or finished: a payment that is never finished holds no money.
        return Disposition::Completed(CompletionReason::NothingPending);
    }
    let result = finalize_without_data(&mut ctx).await;
    ctx.conclude(result).await
}

async fn finalize_without_data(ctx: &mut ObligationContext<'_>) -> FlowResult<Disposition> {
    let mut snapshot = read_snapshot(ctx)?;
    let result = match next_submission(ctx, &snapshot).await? {
        Submission::Known(result) => result,
        Submission::Awaited(_) if snapshot.expires_at <= ctx.now() => return Ok(Disposition::Completed(CompletionReason::OrderExpired)),
        Submission::Awaited(round) => submit(ctx, &mut snapshot, round, Value::Null).await?,
    };
    apply_result(ctx, &snapshot, result).await
}

/// Advances an open purchase as far as possible without the customer, and ends it after the order's expiry: what is not reported is
/// cancelled, so that nothing stays open at the gateway. `key` is the obligation (`order#...`, `details#...`). For the scheduled job.
///
/// # Errors
/// None: the disposition says what is left to be done.
pub async fn expire_purchase(flow_context: &FlowContext, key: &Key, delivery: &Delivery) -> Disposition {
    let mut ctx = match ObligationContext::open_with_attempt_payments(flow_context, key.clone(), &[], delivery).await {
        Ok(ctx) => ctx,
        Err(disposition) => return disposition,
    };
    let (ended, to_reverse) = match advance_or_expire(&mut ctx).await {
        Ok(ended) => ended,
        Err(disposition) => return ctx.conclude(Err(disposition)).await,
    };
    let Some(reference) = to_reverse else { return ended };
    match reversal::reverse(flow_context, &reference, None, delivery).await {
        Disposition::Completed(_) => ended,
        other => other,
    }
}

/// How it ended, and the payment that is to be reversed because of it.
async fn advance_or_expire(ctx: &mut ObligationContext<'_>) -> FlowResult<(Disposition, Option<Reference>)> {
    if ctx.current_attempt().is_none() {
        return match find_leftover(ctx) {
            Leftover::Expired(reference) => Ok((Disposition::Completed(CompletionReason::NothingOpen), Some(reference))),
            Leftover::ValidUntil(expires_at) => Err(retry_at(ctx, expires_at)),
            Leftover::Nothing => Ok((clear_cleanup_flag(ctx).await?, None)),
        };
    }
    let snapshot = read_snapshot(ctx)?;
    let reference = gateway_calls::payment_reference(ctx)?;
    let expired = snapshot.expires_at <= ctx.now();
    let result = match read_progress(ctx)? {
        // A known result goes to Cleeng first; Cleeng decides whether it takes it.
        Progress::Decided(result) => result,
        Progress::FinalizeUnknown(round) if !expired => gateway_calls::finalize(ctx, &snapshot, round).await?,
        Progress::NotStarted if expired => return Ok((close_expired(ctx).await?, None)),
        _ if expired => return Ok((close_expired(ctx).await?, Some(reference))),
        _ => return Err(retry_at(ctx, snapshot.expires_at)),
    };
    Ok((apply_result(ctx, &snapshot, result).await?, None))
}

fn retry_at(ctx: &ObligationContext<'_>, expires_at: Timestamp) -> Disposition {
    Disposition::Retry { after: Some(expires_at.since(ctx.now())), reason: RetryReason::WaitingForCustomer }
}

async fn close_expired(ctx: &mut ObligationContext<'_>) -> FlowResult<Disposition> {
    close_attempt(ctx, Finish::stale(CompletionReason::OrderExpired))?;
    ctx.save_and_release_lease().await?;
    Ok(Disposition::Completed(CompletionReason::OrderExpired))
}

/// What finished attempts left at the gateway: a page that the customer may still finish, in another tab or hours later.
enum Leftover {
    /// Its order has expired: it can be cancelled.
    Expired(Reference),
    /// Until then it stays: it may be finished, and is reversed then.
    ValidUntil(Timestamp),
    /// Nothing.
    Nothing,
}

fn find_leftover(ctx: &ObligationContext<'_>) -> Leftover {
    let mut until: Option<Timestamp> = None;
    for attempt in &ctx.session.obligation.attempts {
        let replaced = matches!(attempt.finish, Some(Finish::Stale { .. } | Finish::Superseded));
        let (true, Some(reference), Some(snapshot)) = (replaced, &attempt.reference, snapshot_of(attempt)) else { continue };
        if ctx.payment(reference).is_none_or(|payment| payment.state != PaymentState::Starting) {
            continue;
        }
        if snapshot.expires_at <= ctx.now() {
            return Leftover::Expired(reference.clone());
        }
        until = Some(until.map_or(snapshot.expires_at, |until| until.min(snapshot.expires_at)));
    }
    until.map_or(Leftover::Nothing, Leftover::ValidUntil)
}

/// Nothing is left: the document is not due any more.
async fn clear_cleanup_flag(ctx: &mut ObligationContext<'_>) -> FlowResult<Disposition> {
    if ctx.session.obligation.needs_cleanup {
        ctx.session.obligation.needs_cleanup = false;
        ctx.save_and_release_lease().await?;
    }
    Ok(Disposition::Completed(CompletionReason::NothingOpen))
}
