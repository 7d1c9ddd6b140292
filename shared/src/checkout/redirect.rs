//! The redirect style (Cleeng's SDK calls it `tokens`): the page is told where to send the customer, the gateway sends him back to us, and we
//! send him on to the page.
//!
//! Whoever comes back has no token of Cleeng's, only the address, which names the attempt by its reference: a keyed hash that nobody can guess.
//! So nothing is done for him but what the customer agreed to at the gateway, and nothing is told but where it went on to. Must never send
//! anybody to an address that is not within the allowed origins now, or that an attempt of another style did not store.

use serde_json::Value;

use super::attempts::{decline_of, snapshot_of};
use super::finalize::submit_returned_data;
use super::progress::{Progress, read_progress, read_snapshot, write_snapshot};
use super::response::{self, PageOutcome, TryOutcome};
use super::snapshot::Snapshot;
use crate::cleeng::{CleengError, Order};
use crate::delivery::Delivery;
use crate::flow::Disposition;
use crate::frontend_api::redirect_urls::{RedirectUrls, redirect_url};
use crate::frontend_api::reply::{self, ApiError, Reply};
use crate::frontend_api::{FrontendContext, FrontendRequest, GATEWAY_TIMEOUT};
use crate::gateway::{Decline, DeclineClass, GatewayName, Reference};
use crate::journal::payment::PaymentRecord;
use crate::journal::record::{Attempt, AttemptKind, Finish, Obligation};
use crate::journal::store::Key;
use crate::journal::transaction::Transaction;
use crate::metrics::Metric;
use crate::payments::obligation_context::ObligationContext;
use crate::payments::{FlowResult, retry};
use crate::reason::{CompletionReason, RetryReason};

/// The answer to the page that started: where to send the customer now.
#[must_use]
pub fn start_reply(told: PageOutcome, gateway: GatewayName, onward: &RedirectUrls) -> Reply {
    let to = |url: &str| Reply::ok(serde_json::json!({ "redirectUrl": url }));
    match told {
        // Nothing is left to be done at the gateway: a reload, or payment data that paid without a question.
        PageOutcome::Paid(_) | PageOutcome::Stored(_) => to(&onward.success),
        PageOutcome::ActionRequired(action) => redirect_url(&action).map_or_else(|| reply::REDIRECT_NOT_POSSIBLE.reply(Some(gateway)), to),
        other => other.reply(gateway),
    }
}

/// `GET .../tokens/return/{reference}`: the gateway sent the customer back. `kind` is what this function is for.
pub async fn handle_return(
    desk: &FrontendContext,
    request: &FrontendRequest,
    reference: &Reference,
    kind: AttemptKind,
    delivery: &Delivery,
) -> Reply {
    if request.body.as_object().is_none_or(serde_json::Map::is_empty) {
        return reply::BAD_QUERY.reply(Some(request.gateway));
    }
    let back = serde_json::json!({ "details": request.body });
    let comes = BrowserReturn { reference, kind, returned_data: Some(&back) };
    handle_browser_return(desk, request.gateway, &comes, delivery).await
}

/// `GET .../tokens/cancel/{reference}`: the customer gave up at the gateway.
pub async fn handle_cancel(
    desk: &FrontendContext,
    request: &FrontendRequest,
    reference: &Reference,
    kind: AttemptKind,
    delivery: &Delivery,
) -> Reply {
    let comes = BrowserReturn { reference, kind, returned_data: None };
    handle_browser_return(desk, request.gateway, &comes, delivery).await
}

/// Somebody who comes from a gateway.
struct BrowserReturn<'a> {
    reference: &'a Reference,
    kind: AttemptKind,
    /// What he brings; nothing if he gave up.
    returned_data: Option<&'a Value>,
}

async fn handle_browser_return(desk: &FrontendContext, gateway: GatewayName, comes: &BrowserReturn<'_>, delivery: &Delivery) -> Reply {
    let (key, onward) = match find_obligation(desk, gateway, comes).await {
        Ok(found) => found,
        Err(refusal) => return refusal.reply(Some(gateway)),
    };
    let told = response::retry_while_busy(desk, || handle_once(desk, &key, comes, delivery)).await;
    redirect_to_page(desk, gateway, told, &onward, comes.returned_data.is_none())
}

/// The obligation of the attempt of this reference, and where its page wants the customer to be sent on to. For everything that is not such an
/// attempt of this gateway and kind there is nothing at this address.
async fn find_obligation(desk: &FrontendContext, gateway: GatewayName, comes: &BrowserReturn<'_>) -> Result<(Key, RedirectUrls), ApiError> {
    let mut work = Transaction::new(std::sync::Arc::clone(&desk.flow_context.store));
    let key = PaymentRecord::key(comes.reference);
    work.load(std::slice::from_ref(&key)).await.map_err(|_| reply::UNAVAILABLE)?;
    let payment = work.read::<PaymentRecord>(&key).map_err(|_| reply::UNAVAILABLE)?.ok_or(reply::UNKNOWN_RETURN_ADDRESS)?;
    let key = Key::from_stored(payment.obligation);
    work.load(std::slice::from_ref(&key)).await.map_err(|_| reply::UNAVAILABLE)?;
    let obligation = work.read::<Obligation>(&key).map_err(|_| reply::UNAVAILABLE)?.ok_or(reply::UNKNOWN_RETURN_ADDRESS)?;
    let attempt = obligation.attempts.iter().find(|attempt| has_reference(attempt, comes.reference) && attempt.kind == comes.kind);
    let kept = attempt.and_then(snapshot_of).filter(|kept| kept.gateway == gateway);
    let onward = kept.and_then(|kept| kept.redirect_urls).ok_or(reply::UNKNOWN_RETURN_ADDRESS)?;
    Ok((key, onward))
}

fn has_reference(attempt: &Attempt, reference: &Reference) -> bool {
    attempt.reference.as_ref() == Some(reference)
}

async fn handle_once(desk: &FrontendContext, key: &Key, comes: &BrowserReturn<'_>, delivery: &Delivery) -> TryOutcome {
    let mut case = match ObligationContext::open_with_attempt_payments(&desk.flow_context, key.clone(), &[], delivery).await {
        Ok(case) => case,
        Err(disposition) => return response::outcome_without_obligation(&disposition),
    };
    case.limit_call_time(GATEWAY_TIMEOUT);
    let attempts = &case.session.obligation.attempts;
    let Some(attempt) = attempts.iter().find(|attempt| has_reference(attempt, comes.reference)) else {
        return TryOutcome::Answered(PageOutcome::Refused(reply::UNKNOWN_RETURN_ADDRESS));
    };
    if attempt.finish.is_some() {
        return ended_outcome(&case, attempt);
    }
    let story = match comes.returned_data {
        Some(back) => {
            let seen = match read_current_order(&case).await {
                Ok(seen) => seen,
                Err(refusal) => return TryOutcome::Answered(PageOutcome::Refused(refusal)),
            };
            submit_returned_data(&mut case, back, |case, kept| obsolete_reason(case, kept, seen.as_ref())).await
        }
        None => record_cancellation(&mut case).await,
    };
    let disposition = case.conclude(story).await;
    match disposition {
        // The address names the attempt, so that only the query can be another payment's.
        Disposition::Retry { reason: RetryReason::AnotherPayment, .. } => TryOutcome::Answered(PageOutcome::Refused(reply::BAD_QUERY)),
        Disposition::Completed(CompletionReason::CustomerCancelled) => {
            TryOutcome::Answered(PageOutcome::Declined(Decline::new(DeclineClass::Cancelled, CompletionReason::CustomerCancelled.as_str())))
        }
        _ => response::page_outcome(&case, &disposition),
    }
}

/// What is told of an attempt that has ended, to whoever reloads its address or comes late.
fn ended_outcome(case: &ObligationContext<'_>, attempt: &Attempt) -> TryOutcome {
    let paid = || case.session.obligation.attempts.iter().any(|other| other.finish == Some(Finish::Captured));
    match &attempt.finish {
        Some(Finish::Stored) => response::page_outcome(case, &Disposition::Completed(CompletionReason::Stored)),
        // The order may have been paid by another attempt since.
        _ if paid() => response::page_outcome(case, &Disposition::Completed(CompletionReason::Captured)),
        Some(Finish::Parked { .. }) => TryOutcome::Answered(PageOutcome::Refused(reply::UNDER_REVIEW)),
        Some(finish) if finish.stale_reason() == Some(CompletionReason::OrderExpired) => {
            TryOutcome::Answered(PageOutcome::Refused(reply::ORDER_EXPIRED))
        }
        _ => TryOutcome::Answered(decline_of(attempt).map_or(PageOutcome::Refused(reply::EARLIER_ATTEMPT), PageOutcome::Declined)),
    }
}

/// The order of an attempt for which something is about to be done, as it is now. Read with our own token: its customer's is not here.
async fn read_current_order(case: &ObligationContext<'_>) -> Result<Option<Order>, ApiError> {
    let order = match (read_progress(case), read_snapshot(case)) {
        (Ok(Progress::AwaitingCustomer { .. }), Ok(kept)) => kept.order,
        _ => None,
    };
    let Some(id) = order else { return Ok(None) };
    case.flow_context.cleeng.order(&id).await.map(Some).map_err(|error| {
        if error == CleengError::NotFound {
            return reply::ORDER_NOT_FOUND;
        }
        tracing::warn!(obligation = %case.session.key(), error = %error, "the order of a customer who came back cannot be read");
        case.flow_context.metrics.count(Metric::Warning, &[("reason", error.code())]);
        reply::UNAVAILABLE
    })
}

/// Why what the customer agreed to is not handed in any more: the order's time is over, or it is not what it was. What Cleeng does not tell of
/// an order is taken to be as it was.
fn obsolete_reason(case: &ObligationContext<'_>, kept: &Snapshot, seen: Option<&Order>) -> Option<CompletionReason> {
    let now = case.now();
    if kept.expires_at <= now || seen.and_then(|order| order.expires_at).is_some_and(|at| at <= now) {
        return Some(CompletionReason::OrderExpired);
    }
    let same = |order: &Order| {
        order.total == kept.amount
            && order.customer.as_ref().is_none_or(|customer| *customer == kept.customer)
            && order.payment_method.as_ref().is_none_or(|method| *method == kept.method)
            && order.offer.as_ref().is_none_or(|offer| kept.offer.as_ref() == Some(offer))
    };
    seen.is_some_and(|order| !same(order)).then_some(CompletionReason::OrderChanged)
}

/// Notes that the customer gave up. It ends nothing: an agreement that comes after all is taken, until he tries anew.
async fn record_cancellation(case: &mut ObligationContext<'_>) -> FlowResult<Disposition> {
    let mut kept = read_snapshot(case)?;
    match read_progress(case)? {
        Progress::NotStarted => {}
        Progress::AwaitingCustomer { .. } => {
            if !kept.cancelled_at_gateway {
                kept.cancelled_at_gateway = true;
                write_snapshot(case, &kept);
                case.save_and_release_lease().await?;
            }
        }
        _ => return Err(retry(RetryReason::PaymentPending)),
    }
    Ok(Disposition::Completed(CompletionReason::CustomerCancelled))
}

/// Sends the customer on to where his page wants him.
fn redirect_to_page(desk: &FrontendContext, gateway: GatewayName, told: PageOutcome, onward: &RedirectUrls, gave_up: bool) -> Reply {
    let code = |refusal: ApiError| refusal.code.text(Some(gateway));
    // Who gave up is told of nothing but what he must not pay a second time.
    let gave_up = gave_up && told != PageOutcome::Refused(reply::UNDER_REVIEW);
    let (to, code) = match told {
        PageOutcome::Paid(_) | PageOutcome::Stored(_) => (onward.success.clone(), None),
        PageOutcome::Pending => (onward.error_with("pending", None), None),
        _ if gave_up => (onward.cancel.clone(), None),
        PageOutcome::Declined(decline) if decline.class == DeclineClass::Cancelled => (onward.cancel.clone(), None),
        PageOutcome::Declined(_) => {
            let code = reply::DECLINED.text(Some(gateway));
            (onward.error_with("refused", Some(&code)), Some(code))
        }
        // One more thing to do at the gateway, whose address is the gateway's own.
        PageOutcome::ActionRequired(action) => match redirect_url(&action) {
            Some(url) => return Reply::redirect(url.to_owned(), None),
            None => (onward.error_with("failed", Some(&code(reply::REDIRECT_NOT_POSSIBLE))), Some(code(reply::REDIRECT_NOT_POSSIBLE))),
        },
        PageOutcome::Refused(refusal) => (onward.error_with(message_for(refusal), Some(&code(refusal))), Some(code(refusal))),
    };
    // The allowed origins may have changed since the page named its addresses.
    if desk.origins.contains_url(&to) { Reply::redirect(to, code.as_deref()) } else { reply::ADDRESS_NOT_ALLOWED.reply(Some(gateway)) }
}

/// Every `message` for a page. These words are part of the API.
pub const MESSAGES: [&str; 8] = ["pending", "refused", "expired", "changed", "replaced", "unavailable", "under_review", "failed"];

/// The `message` for a refusal.
fn message_for(refusal: ApiError) -> &'static str {
    match refusal {
        reply::ORDER_EXPIRED => "expired",
        reply::ORDER_CHANGED => "changed",
        reply::EARLIER_ATTEMPT => "replaced",
        reply::UNDER_REVIEW => "under_review",
        reply::GATEWAY_UNAVAILABLE | reply::UNAVAILABLE => "unavailable",
        _ => "failed",
    }
}
