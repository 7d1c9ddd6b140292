//! Going on without the customer: a notification says what became of a payment, or the order's time is over.

use super::attempts::snapshot_of;
use super::outcome::{apply_result, close_attempt};
use super::progress::{Progress, read_progress, read_snapshot, write_snapshot};
use super::snapshot::{NOTIFIED, PurchaseResult, ReturnedData};
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

/// A notification says whether a payment of a purchase was authorised. Finishes the attempt if nobody has: the customer may never come back.
/// A payment that nobody is to be charged for any more is given back. May be called again and again.
///
/// `declined` says why it was not, `None` that it was; `external` is the payment at the gateway; `token` its stored details, where the
/// notification has them.
///
/// # Errors
/// None: what is left to be done is in the verdict.
pub async fn settle_by_notification(
    flow_context: &FlowContext,
    reference: &Reference,
    declined: Option<Decline>,
    external: Option<&ExternalPaymentId>,
    token: Option<StoredToken>,
    delivery: &Delivery,
) -> Disposition {
    let news = AuthorisationNews { reference, declined, external, token };
    match apply_notification(flow_context, &news, delivery).await {
        Ok(disposition) | Err(disposition) => disposition,
    }
}

/// What a notification says.
struct AuthorisationNews<'a> {
    reference: &'a Reference,
    declined: Option<Decline>,
    external: Option<&'a ExternalPaymentId>,
    token: Option<StoredToken>,
}

async fn apply_notification(flow_context: &FlowContext, news: &AuthorisationNews<'_>, delivery: &Delivery) -> FlowResult<Disposition> {
    let mut work = Transaction::new(std::sync::Arc::clone(&flow_context.store));
    let key = PaymentRecord::key(news.reference);
    work.load(std::slice::from_ref(&key)).await?;
    // The intent is written before the gateway is called, so that it can only be late.
    let Some(payment) = work.read::<PaymentRecord>(&key)? else { return Err(retry("payment_not_known_yet")) };
    if !payment.is_purchase() {
        return Ok(Disposition::NotOurs);
    }
    let mut case = ObligationContext::open_with_attempt_payments(flow_context, Key::from_stored(payment.obligation), &[], delivery).await?;
    let Some(attempt) = case.session.obligation.attempts.iter().find(|attempt| attempt.reference.as_ref() == Some(news.reference)) else {
        return Err(retry("attempt_not_known"));
    };
    match attempt.finish.clone() {
        None => {
            let story = resume_open_attempt(&mut case, news).await;
            Ok(case.conclude(story).await)
        }
        Some(Finish::Captured | Finish::Stored) => Ok(Disposition::Completed("already_finished")),
        Some(Finish::Parked { .. }) => Ok(Disposition::Completed("parked")),
        // Refused, replaced or lapsed: Cleeng does not have it and will not.
        Some(_) if news.declined.is_none() => Ok(reversal::reverse(flow_context, news.reference, news.external, delivery).await),
        Some(_) => Ok(Disposition::Completed("declined")),
    }
}

/// The attempt is open: the notification is its result, unless that is known.
async fn resume_open_attempt(case: &mut ObligationContext<'_>, news: &AuthorisationNews<'_>) -> FlowResult<Disposition> {
    let kept = read_snapshot(case)?;
    let token = news.token.as_ref().map(|token| token.0.expose().to_owned());
    let known = match read_progress(case)? {
        Progress::Decided(answered) => Some(answered),
        // A payment that never got to the gateway has no notification: the first call's effect is proven by this one.
        _ => None,
    };
    let answered = match (known, &news.declined, news.external) {
        (Some(PurchaseResult::Done { external, at, display_params: shown, .. }), None, _) if token.is_some() => {
            PurchaseResult::Done { external, token, display_params: shown, at }
        }
        (Some(answered), ..) => return apply_result(case, &kept, answered).await,
        (None, None, Some(external)) => {
            PurchaseResult::Done { external: external.clone(), token, display_params: serde_json::Value::Null, at: case.now() }
        }
        (None, None, None) => return Err(retry("notification_without_payment")),
        (None, Some(decline), _) => PurchaseResult::Declined(decline.clone()),
    };
    case.checkpoint(NOTIFIED, &answered);
    apply_result(case, &kept, answered).await
}

/// The gateway says that the customer agreed to what waited for him, and waits for us to finish it: he may never come back himself. Whatever
/// he brings back later finds it finished. May be called again and again.
///
/// # Errors
/// None: what is left to be done is in the verdict.
pub async fn finalize_approved(flow_context: &FlowContext, reference: &Reference, delivery: &Delivery) -> Disposition {
    match open_and_finalize(flow_context, reference, delivery).await {
        Ok(disposition) | Err(disposition) => disposition,
    }
}

async fn open_and_finalize(flow_context: &FlowContext, reference: &Reference, delivery: &Delivery) -> FlowResult<Disposition> {
    let mut work = Transaction::new(std::sync::Arc::clone(&flow_context.store));
    let key = PaymentRecord::key(reference);
    work.load(std::slice::from_ref(&key)).await?;
    let Some(payment) = work.read::<PaymentRecord>(&key)? else { return Err(retry("payment_not_known_yet")) };
    if !payment.is_purchase() {
        return Ok(Disposition::NotOurs);
    }
    let mut case = ObligationContext::open_with_attempt_payments(flow_context, Key::from_stored(payment.obligation), &[], delivery).await?;
    if case.current_attempt().and_then(|attempt| attempt.reference.as_ref()) != Some(reference) {
        // Replaced, lapsed or finished: what nobody finishes holds nothing.
        return Ok(Disposition::Completed("nothing_pending"));
    }
    let story = finalize_without_data(&mut case).await;
    Ok(case.conclude(story).await)
}

async fn finalize_without_data(case: &mut ObligationContext<'_>) -> FlowResult<Disposition> {
    let mut kept = read_snapshot(case)?;
    let answered = match read_progress(case)? {
        Progress::NotStarted => return Ok(Disposition::Completed("nothing_pending")),
        // The answer that says what waits is on its way to the journal.
        Progress::StartUnknown => return Err(retry("start_unknown")),
        Progress::Pending => return Err(retry("payment_pending")),
        Progress::Decided(answered) => answered,
        Progress::FinalizeUnknown(round) => gateway_calls::finalize(case, &kept, round).await?,
        Progress::AwaitingCustomer { .. } if kept.expires_at <= case.now() => return Ok(Disposition::Completed("order_expired")),
        Progress::AwaitingCustomer { round, .. } => {
            kept.returned_data.truncate(round);
            let nothing = serde_json::Value::Null;
            kept.returned_data
                .push(ReturnedData { fingerprint: gateway_calls::returned_data_fingerprint(case, &nothing), details: nothing });
            write_snapshot(case, &kept);
            gateway_calls::finalize(case, &kept, round).await?
        }
    };
    apply_result(case, &kept, answered).await
}

/// Does for an open purchase what can be done without the customer, and after the order's expiry ends it: what is not reported is cancelled,
/// so that nothing is left hanging. `key` is the obligation (`order#...`, `details#...`). For whoever looks at work that is due.
///
/// # Errors
/// None: what is left to be done is in the verdict.
pub async fn expire_purchase(flow_context: &FlowContext, key: &Key, delivery: &Delivery) -> Disposition {
    match ObligationContext::open_with_attempt_payments(flow_context, key.clone(), &[], delivery).await {
        Ok(mut case) => {
            let (story, to_cancel) = advance_or_expire(&mut case).await;
            let disposition = case.conclude(story).await;
            match to_cancel {
                Some(reference) if matches!(disposition, Disposition::Completed(_)) => {
                    reverse_after_expiry(flow_context, &reference, delivery, disposition).await
                }
                _ => disposition,
            }
        }
        Err(disposition) => disposition,
    }
}

async fn reverse_after_expiry(flow_context: &FlowContext, reference: &Reference, delivery: &Delivery, ended: Disposition) -> Disposition {
    match reversal::reverse(flow_context, reference, None, delivery).await {
        Disposition::Completed(_) => ended,
        other => other,
    }
}

async fn advance_or_expire(case: &mut ObligationContext<'_>) -> (FlowResult<Disposition>, Option<Reference>) {
    if case.current_attempt().is_none() {
        return match find_leftover(case) {
            Leftover::Expired(reference) => (Ok(Disposition::Completed("nothing_open")), Some(reference)),
            Leftover::ValidUntil(expires_at) => (Err(retry_at(case, expires_at)), None),
            Leftover::Nothing => (clear_cleanup_flag(case).await, None),
        };
    }
    let (kept, at, reference) = match (read_snapshot(case), read_progress(case), gateway_calls::payment_reference(case)) {
        (Ok(kept), Ok(at), Ok(reference)) => (kept, at, reference),
        (Err(disposition), ..) | (_, Err(disposition), _) | (.., Err(disposition)) => return (Err(disposition), None),
    };
    let over = kept.expires_at <= case.now();
    match at {
        // A result that is known goes to Cleeng first; whether Cleeng takes it is Cleeng's business.
        Progress::Decided(answered) => (apply_result(case, &kept, answered).await, None),
        Progress::FinalizeUnknown(round) if !over => match gateway_calls::finalize(case, &kept, round).await {
            Ok(answered) => (apply_result(case, &kept, answered).await, None),
            Err(disposition) => (Err(disposition), None),
        },
        Progress::NotStarted if over => (close_expired(case).await, None),
        _ if over => (close_expired(case).await, Some(reference)),
        _ => (Err(retry_at(case, kept.expires_at)), None),
    }
}

fn retry_at(case: &ObligationContext<'_>, expires_at: Timestamp) -> Disposition {
    Disposition::Retry { after: Some(expires_at.since(case.now())), reason: "waiting_for_customer" }
}

async fn close_expired(case: &mut ObligationContext<'_>) -> FlowResult<Disposition> {
    close_attempt(case, Finish::Stale { reason: "order_expired".to_owned() })?;
    case.save_and_release_lease().await?;
    Ok(Disposition::Completed("order_expired"))
}

/// What finished attempts left at the gateway: a page that the customer may still finish, in another tab or hours later.
enum Leftover {
    /// Its order's time is over: it can be called off.
    Expired(Reference),
    /// Until then it is left alone: it may be finished, and is given back then.
    ValidUntil(Timestamp),
    /// Nothing.
    Nothing,
}

fn find_leftover(case: &ObligationContext<'_>) -> Leftover {
    let mut until: Option<Timestamp> = None;
    for attempt in &case.session.obligation.attempts {
        let replaced = matches!(attempt.finish, Some(Finish::Stale { .. } | Finish::Superseded));
        let (true, Some(reference), Some(kept)) = (replaced, &attempt.reference, snapshot_of(attempt)) else { continue };
        if case.payment(reference).is_none_or(|payment| payment.state != PaymentState::Starting) {
            continue;
        }
        if kept.expires_at <= case.now() {
            return Leftover::Expired(reference.clone());
        }
        until = Some(until.map_or(kept.expires_at, |until| until.min(kept.expires_at)));
    }
    until.map_or(Leftover::Nothing, Leftover::ValidUntil)
}

/// Nothing is left: nobody has to look at it any more.
async fn clear_cleanup_flag(case: &mut ObligationContext<'_>) -> FlowResult<Disposition> {
    if case.session.obligation.needs_cleanup {
        case.session.obligation.needs_cleanup = false;
        case.save_and_release_lease().await?;
    }
    Ok(Disposition::Completed("nothing_open"))
}
