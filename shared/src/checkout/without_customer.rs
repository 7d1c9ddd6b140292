//! Progress without the customer: a notification says what became of a payment, or the order has expired.

use serde_json::Value;

use super::attempts::snapshot_of;
use super::entry::{Submission, next_submission, submit};
use super::gateway_calls;
use super::outcome::{apply_result, close_attempt};
use super::progress::{Progress, read_progress, read_snapshot};
use super::redirect::obsolete_reason;
use super::snapshot::{NOTIFIED, PurchaseResult, Snapshot};
use crate::cleeng::CleengError;
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::flow::{Disposition, FlowContext};
use crate::gateway::{Decline, OperationKind, Outcome, Reference, StoredToken};
use crate::ids::ExternalPaymentId;
use crate::journal::payment::{PaymentRecord, PaymentState};
use crate::journal::record::{Attempt, Finish};
use crate::journal::store::Key;
use crate::journal::transaction::Transaction;
use crate::payments::gateway_step::FromOutcome as _;
use crate::payments::obligation_context::ObligationContext;
use crate::payments::{FlowResult, gateway_step, read_failed, retry, reversal};
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
/// return. A success of an attempt that had ended pays the order if it is still to be paid; a payment that must not be charged any more is
/// reversed. The function is idempotent.
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
    // A payment that succeeded late has a second attempt, which is the one that counts.
    let mut attempts = ctx.session.obligation.attempts.iter().rev();
    let Some(attempt) = attempts.find(|attempt| attempt.reference.as_ref() == Some(notification.reference)).cloned() else {
        return Err(retry(RetryReason::AttemptNotKnown));
    };
    let was_successful = ctx.payment(notification.reference).is_some_and(PaymentRecord::was_successful);
    match (&attempt.finish, notification.external.filter(|_| notification.declined.is_none())) {
        (None, _) => {
            let result = resume_open_attempt(&mut ctx, notification).await;
            Ok(ctx.conclude(result).await)
        }
        (Some(Finish::Captured | Finish::Stored), _) => Ok(Disposition::Completed(CompletionReason::AlreadyFinished)),
        // Its success is known, and something else is to be decided.
        (Some(Finish::Parked { .. }), _) if was_successful => Ok(Disposition::Completed(CompletionReason::Parked)),
        (Some(Finish::Declined { .. } | Finish::Parked { .. } | Finish::Abandoned), Some(external))
            if is_payable(&ctx, &attempt).await? =>
        {
            let result = pay_late(&mut ctx, &attempt, notification, external).await;
            Ok(ctx.conclude(result).await)
        }
        (Some(Finish::Parked { .. }), None) => Ok(Disposition::Completed(CompletionReason::Parked)),
        // Replaced, expired, or paid otherwise: Cleeng does not have it and will not.
        (Some(_), Some(external)) => Ok(reversal::reverse(flow_context, notification.reference, Some(external), delivery).await),
        (Some(_), None) if notification.declined.is_none() => Err(retry(RetryReason::NotificationWithoutPayment)),
        (Some(_), None) => Ok(Disposition::Completed(CompletionReason::Declined)),
    }
}

/// Whether the order of an attempt that ended is still to be paid: by the journal, and by Cleeng.
async fn is_payable(ctx: &ObligationContext<'_>, attempt: &Attempt) -> FlowResult<bool> {
    let paid = ctx.session.obligation.attempts.iter().any(|other| other.finish == Some(Finish::Captured));
    let Some(Snapshot { order: Some(order), amount, .. }) = snapshot_of(attempt).filter(|_| !paid) else { return Ok(false) };
    match ctx.flow_context.cleeng.order(&order).await {
        Ok(order) => Ok(order.total == amount && order.expires_at.is_none_or(|expires_at| expires_at > ctx.now())),
        Err(CleengError::NotFound) => Ok(false),
        Err(error) => Err(read_failed(&error)),
    }
}

/// The payment of an attempt that had ended pays the order after all, as an attempt of its own. An attempt that waits for the customer makes
/// way for it; one that the gateway may be paying at this moment is waited for.
async fn pay_late(
    ctx: &mut ObligationContext<'_>,
    ended: &Attempt,
    notification: &AuthorisationNotification<'_>,
    external: &ExternalPaymentId,
) -> FlowResult<Disposition> {
    if ctx.current_attempt().is_some() {
        match read_progress(ctx)? {
            Progress::AwaitingCustomer { .. } | Progress::NotStarted => close_attempt(ctx, Finish::Superseded)?,
            _ => return Err(retry(RetryReason::PaymentInFlight)),
        }
    }
    let Some(snapshot) = snapshot_of(ended) else { return Err(retry(RetryReason::AttemptNotKnown)) };
    ctx.session.obligation.supersede_parked(notification.reference);
    gateway_calls::open_attempt_of(ctx, ended.kind, &snapshot, notification.reference)?;
    let token = notification.token.as_ref().map(|token| token.0.expose().to_owned());
    let result =
        PurchaseResult::Done { external: external.clone(), token, display_params: Value::Null, details_owner: None, at: ctx.now() };
    ctx.checkpoint(NOTIFIED, &result);
    apply_result(ctx, &snapshot, result).await
}

/// The details that a purchase stored have come to be. Finishes the attempt if it is still open and waits for them. The function is
/// idempotent.
///
/// # Errors
/// None: the disposition says what is left to be done.
pub async fn supply_stored_details(
    flow_context: &FlowContext,
    reference: &Reference,
    token: StoredToken,
    delivery: &Delivery,
) -> Disposition {
    let mut ctx = match open_purchase(flow_context, reference, delivery).await {
        Ok(ctx) => ctx,
        Err(disposition) => return disposition,
    };
    if ctx.current_attempt().and_then(|attempt| attempt.reference.as_ref()) != Some(reference) {
        return Disposition::Completed(CompletionReason::NothingPending);
    }
    let notification = AuthorisationNotification { reference, declined: None, external: None, token: Some(token) };
    let result = resume_open_attempt(&mut ctx, &notification).await;
    ctx.conclude(result).await
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
            PurchaseResult::Done { external, token, display_params, details_owner: None, at }
        }
        (Some(result), ..) => return apply_result(ctx, &snapshot, result).await,
        (None, None, Some(external)) => {
            PurchaseResult::Done { external: external.clone(), token, display_params: Value::Null, details_owner: None, at: ctx.now() }
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
        Submission::Awaited(round) => {
            if let Some(reason) = read_obsolete_reason(ctx, &snapshot).await? {
                return Ok(Disposition::Completed(reason));
            }
            submit(ctx, &mut snapshot, round, Value::Null).await?
        }
    };
    apply_result(ctx, &snapshot, result).await
}

/// Asks Cleeng for the order, with which no page came: it may have been changed since the customer agreed.
async fn read_obsolete_reason(ctx: &mut ObligationContext<'_>, snapshot: &Snapshot) -> FlowResult<Option<CompletionReason>> {
    let order = match &snapshot.order {
        Some(id) => match ctx.flow_context.cleeng.order(id).await {
            Ok(order) => Some(order),
            Err(CleengError::NotFound) => return Ok(Some(CompletionReason::OrderExpired)),
            Err(error) => return Err(read_failed(&error)),
        },
        None => None,
    };
    let reason = obsolete_reason(ctx, snapshot, order.as_ref());
    if reason.is_none() {
        ctx.confirm_due();
    }
    Ok(reason)
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
            Leftover::ToReverse(reference) => Ok((Disposition::Completed(CompletionReason::NothingOpen), Some(reference))),
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
        Progress::Pending if !expired => match query_pending(ctx, &reference).await? {
            Some(result) => result,
            None => return Err(retry_at(ctx, snapshot.expires_at)),
        },
        Progress::NotStarted if expired => return Ok((close_expired(ctx).await?, None)),
        _ if expired => return Ok((close_expired(ctx).await?, Some(reference))),
        _ => return Err(retry_at(ctx, snapshot.expires_at)),
    };
    Ok((apply_result(ctx, &snapshot, result).await?, None))
}

/// What the gateway says now of a payment that it had not decided.
async fn query_pending(ctx: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<Option<PurchaseResult>> {
    let external = ctx.payment(reference).and_then(|payment| payment.external_payment_id.clone());
    let outcome = gateway_step::query(ctx, reference, OperationKind::Purchase, (external, None), None).await?;
    let decided = outcome.filter(|outcome| matches!(outcome, Outcome::Done(_) | Outcome::Declined(_)));
    let result = decided.and_then(|outcome| PurchaseResult::from_outcome(outcome, ctx.now()));
    result.iter().for_each(|result| ctx.checkpoint(NOTIFIED, result));
    Ok(result)
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
    /// Its order has expired, so that it can be cancelled; or it is paid and Cleeng refused it.
    ToReverse(Reference),
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
        let state = ctx.payment(reference).map(|payment| payment.state);
        let refused = attempt.finish.as_ref().and_then(Finish::stale_reason) == Some(CompletionReason::OrderRefused);
        match state {
            Some(PaymentState::Captured) if refused => return Leftover::ToReverse(reference.clone()),
            Some(PaymentState::Starting) if snapshot.expires_at <= ctx.now() => return Leftover::ToReverse(reference.clone()),
            Some(PaymentState::Starting) => {}
            _ => continue,
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
