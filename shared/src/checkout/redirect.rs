//! The redirect style (`tokens` in Cleeng's SDK): the page gets a redirect URL, the gateway returns the customer to the connector, and the
//! connector redirects them to the page.
//!
//! A browser that returns has no token of Cleeng's, only the address, which names the attempt by its reference: a keyed hash that cannot be
//! guessed. So a return only does what the customer agreed to at the gateway, and discloses only the page's address. Must never redirect to
//! an address that is not within the allowed origins now, or that an attempt of another style did not store.

use serde_json::{Map, Value, json};

use super::attempts::{decline_of, snapshot_of};
use super::entry;
use super::progress::{Progress, read_progress, read_snapshot, write_snapshot};
use super::response::{PageOutcome, completed_outcome, page_outcome, retry_while_busy};
use super::snapshot::Snapshot;
use crate::cleeng::{CleengError, Order};
use crate::delivery::Delivery;
use crate::flow::Disposition;
use crate::frontend_api::redirect_urls::{RedirectMessage, RedirectUrls, redirect_url};
use crate::frontend_api::reply::{self, ApiError, Reply};
use crate::frontend_api::{CallKind, FrontendContext, FrontendRequest};
use crate::gateway::{Decline, DeclineClass, GatewayName, Reference};
use crate::journal::payment::PaymentRecord;
use crate::journal::record::{Attempt, AttemptKind, Finish, Obligation};
use crate::journal::store::Key;
use crate::journal::transaction::Transaction;
use crate::metrics::Metric;
use crate::payments::obligation_context::ObligationContext;
use crate::payments::{FlowResult, retry};
use crate::reason::{CompletionReason, RetryReason};

/// The answer to a start: for a page that waits for the result, or for one that only needs the redirect URL.
#[must_use]
pub fn start_reply(outcome: PageOutcome, request: &FrontendRequest, redirect_urls: Option<&RedirectUrls>) -> Reply {
    let Some(redirect_urls) = redirect_urls else { return outcome.reply(request) };
    let redirect_to = |url: &str| Reply::ok(json!({ "redirectUrl": url }));
    match outcome {
        // Nothing is left to be done at the gateway: a reload, or payment data that paid without a question.
        PageOutcome::Paid(payment) => redirect_to(&redirect_urls.success_with(external_payment_id(&payment))),
        PageOutcome::Stored(_) => redirect_to(&redirect_urls.success),
        PageOutcome::ActionRequired(action) => {
            redirect_url(&action).map_or_else(|| reply::REDIRECT_NOT_POSSIBLE.reply(Some(request.gateway)), redirect_to)
        }
        other => other.reply(request),
    }
}

/// `GET .../tokens/return/{reference}`: the customer returned from the gateway; or `GET .../tokens/cancel/{reference}`: they cancelled
/// there. `kind` is what this function is for.
///
/// # Errors
/// Why the request is refused.
pub async fn handle_browser_return(
    context: &FrontendContext,
    request: &FrontendRequest,
    reference: &Reference,
    kind: AttemptKind,
    delivery: &Delivery,
) -> Result<Reply, ApiError> {
    let returned_data = match &request.kind {
        CallKind::BrowserCancel(_) => None,
        _ if request.body.as_object().is_none_or(Map::is_empty) => return Err(reply::BAD_QUERY),
        _ => Some(json!({ "details": request.body })),
    };
    let browser_return = BrowserReturn { reference, kind, returned_data };
    let (key, redirect_urls) = find_obligation(context, request.gateway, &browser_return).await?;
    let outcome = retry_while_busy(context, || handle_once(context, &key, &browser_return, delivery)).await;
    redirect_to_page(context, request.gateway, outcome, &redirect_urls, browser_return.returned_data.is_none())
}

/// A browser that a gateway sent back.
struct BrowserReturn<'a> {
    reference: &'a Reference,
    kind: AttemptKind,
    /// The parameters of the gateway; `None` if the customer cancelled.
    returned_data: Option<Value>,
}

/// The obligation of the attempt of this reference, and the addresses of its page. Everything that is not such an attempt of this gateway
/// and kind is not found.
async fn find_obligation(
    context: &FrontendContext,
    gateway: GatewayName,
    browser_return: &BrowserReturn<'_>,
) -> Result<(Key, RedirectUrls), ApiError> {
    let mut transaction = Transaction::new(std::sync::Arc::clone(&context.flow_context.store));
    let key = PaymentRecord::key(browser_return.reference);
    transaction.load(std::slice::from_ref(&key)).await.map_err(|_| reply::UNAVAILABLE)?;
    let payment = transaction.read::<PaymentRecord>(&key).map_err(|_| reply::UNAVAILABLE)?.ok_or(reply::UNKNOWN_RETURN_ADDRESS)?;
    let key = Key::from_stored(payment.obligation);
    transaction.load(std::slice::from_ref(&key)).await.map_err(|_| reply::UNAVAILABLE)?;
    let obligation = transaction.read::<Obligation>(&key).map_err(|_| reply::UNAVAILABLE)?.ok_or(reply::UNKNOWN_RETURN_ADDRESS)?;
    let attempt = find_attempt(&obligation, browser_return.reference).filter(|attempt| attempt.kind == browser_return.kind);
    let snapshot = attempt.and_then(snapshot_of).filter(|snapshot| snapshot.gateway == gateway);
    let redirect_urls = snapshot.and_then(|snapshot| snapshot.redirect_urls).ok_or(reply::UNKNOWN_RETURN_ADDRESS)?;
    Ok((key, redirect_urls))
}

fn find_attempt<'o>(obligation: &'o Obligation, reference: &Reference) -> Option<&'o Attempt> {
    obligation.attempts.iter().find(|attempt| attempt.reference.as_ref() == Some(reference))
}

async fn handle_once(
    context: &FrontendContext,
    key: &Key,
    browser_return: &BrowserReturn<'_>,
    delivery: &Delivery,
) -> FlowResult<PageOutcome> {
    let mut ctx = entry::open(context, key, &[], delivery).await?;
    let Some(attempt) = find_attempt(&ctx.session.obligation, browser_return.reference) else {
        return Ok(PageOutcome::Refused(reply::UNKNOWN_RETURN_ADDRESS));
    };
    if let Some(finish) = &attempt.finish {
        return Ok(ended_outcome(&ctx, attempt, finish));
    }
    let result = match &browser_return.returned_data {
        Some(returned_data) => {
            let order = match read_current_order(&ctx).await {
                Ok(order) => order,
                Err(error) => return Ok(PageOutcome::Refused(error)),
            };
            ctx.confirm_due();
            let obsolete = |ctx: &ObligationContext<'_>, snapshot: &Snapshot| obsolete_reason(ctx, snapshot, order.as_ref());
            entry::submit_returned_data(&mut ctx, returned_data, obsolete).await
        }
        None => record_cancellation(&mut ctx).await,
    };
    match ctx.conclude(result).await {
        // The address names the attempt, so that only the query can be another payment's.
        Disposition::Retry { reason: RetryReason::AnotherPayment, .. } => Ok(PageOutcome::Refused(reply::BAD_QUERY)),
        Disposition::Completed(reason @ CompletionReason::CustomerCancelled) => {
            Ok(PageOutcome::Declined(Decline::new(DeclineClass::Cancelled, reason.as_str())))
        }
        disposition => page_outcome(&ctx, disposition),
    }
}

/// The outcome of an attempt that has ended, for a browser that reloads its address or comes late.
fn ended_outcome(ctx: &ObligationContext<'_>, attempt: &Attempt, finish: &Finish) -> PageOutcome {
    if *finish == Finish::Stored {
        return completed_outcome(ctx, CompletionReason::Stored);
    }
    // The order may have been paid by another attempt since.
    if ctx.session.obligation.attempts.iter().any(|other| other.finish == Some(Finish::Captured)) {
        return completed_outcome(ctx, CompletionReason::Captured);
    }
    if matches!(finish, Finish::Parked { .. }) {
        return PageOutcome::Refused(reply::UNDER_REVIEW);
    }
    if finish.stale_reason() == Some(CompletionReason::OrderExpired) {
        return PageOutcome::Refused(reply::ORDER_EXPIRED);
    }
    decline_of(attempt).map_or(PageOutcome::Refused(reply::EARLIER_ATTEMPT), PageOutcome::Declined)
}

/// The order of an attempt for which something is about to be done, as it is now. Read with the publisher's token: the customer's is not
/// here.
async fn read_current_order(ctx: &ObligationContext<'_>) -> Result<Option<Order>, ApiError> {
    let order = match (read_progress(ctx), read_snapshot(ctx)) {
        (Ok(Progress::AwaitingCustomer { .. }), Ok(snapshot)) => snapshot.order,
        _ => None,
    };
    let Some(id) = order else { return Ok(None) };
    ctx.flow_context.cleeng.order(&id).await.map(Some).map_err(|error| {
        if error == CleengError::NotFound {
            return reply::ORDER_NOT_FOUND;
        }
        tracing::warn!(obligation = %ctx.session.key(), error = %error, "the order of a customer who returned cannot be read");
        ctx.flow_context.metrics.count(Metric::Warning, &[("reason", error.code())]);
        reply::UNAVAILABLE
    })
}

/// Why the data that the customer agreed to is no longer submitted: the order has expired, or was changed. A field that Cleeng leaves out
/// is taken to be unchanged.
#[must_use]
pub fn obsolete_reason(ctx: &ObligationContext<'_>, snapshot: &Snapshot, order: Option<&Order>) -> Option<CompletionReason> {
    let now = ctx.now();
    if snapshot.expires_at <= now || order.and_then(|order| order.expires_at).is_some_and(|at| at <= now) {
        return Some(CompletionReason::OrderExpired);
    }
    let is_unchanged = |order: &Order| {
        order.total == snapshot.amount
            && order.customer.as_ref().is_none_or(|customer| *customer == snapshot.customer)
            && order.payment_method.as_ref().is_none_or(|method| *method == snapshot.method)
            && order.offer.as_ref().is_none_or(|offer| snapshot.offer.as_ref() == Some(offer))
    };
    order.is_some_and(|order| !is_unchanged(order)).then_some(CompletionReason::OrderChanged)
}

/// Records that the customer cancelled. It ends nothing: an agreement that comes after all is taken, until they start again.
async fn record_cancellation(ctx: &mut ObligationContext<'_>) -> FlowResult<Disposition> {
    let mut snapshot = read_snapshot(ctx)?;
    match read_progress(ctx)? {
        Progress::NotStarted => {}
        Progress::AwaitingCustomer { .. } => {
            if !snapshot.cancelled_at_gateway {
                snapshot.cancelled_at_gateway = true;
                write_snapshot(ctx, &snapshot);
                ctx.save_and_release_lease().await?;
            }
        }
        _ => return Err(retry(RetryReason::PaymentPending)),
    }
    Ok(Disposition::Completed(CompletionReason::CustomerCancelled))
}

/// Redirects the customer to where their page wants them.
fn redirect_to_page(
    context: &FrontendContext,
    gateway: GatewayName,
    outcome: PageOutcome,
    redirect_urls: &RedirectUrls,
    cancelled: bool,
) -> Result<Reply, ApiError> {
    let refused = |error: ApiError| {
        let code = error.code.text(Some(gateway));
        (redirect_urls.error_with(message_for(error), Some(&code)), Some(code))
    };
    // A customer who cancelled learns nothing but that they must not pay a second time.
    let is_under_review = matches!(outcome, PageOutcome::Refused(reply::UNDER_REVIEW | reply::PAID_WITHOUT_DETAILS));
    let cancelled = cancelled && !is_under_review;
    let (location, code) = match outcome {
        PageOutcome::Paid(payment) => (redirect_urls.success_with(external_payment_id(&payment)), None),
        PageOutcome::Stored(_) => (redirect_urls.success.clone(), None),
        PageOutcome::Pending | PageOutcome::AwaitingDetails => (redirect_urls.error_with(RedirectMessage::Pending, None), None),
        _ if cancelled => (redirect_urls.cancel.clone(), None),
        PageOutcome::Declined(decline) if decline.class == DeclineClass::Cancelled => (redirect_urls.cancel.clone(), None),
        PageOutcome::Declined(_) => {
            let code = reply::DECLINED.text(Some(gateway));
            (redirect_urls.error_with(RedirectMessage::Refused, Some(&code)), Some(code))
        }
        // One more thing to do at the gateway, whose address is the gateway's own.
        PageOutcome::ActionRequired(action) => match redirect_url(&action) {
            Some(url) => return Ok(Reply::redirect(url.to_owned(), None)),
            None => refused(reply::REDIRECT_NOT_POSSIBLE),
        },
        PageOutcome::Refused(error) => refused(error),
    };
    // The allowed origins may have changed since the page named its addresses.
    if context.origins.contains_url(&location) { Ok(Reply::redirect(location, code.as_deref())) } else { Err(reply::ADDRESS_NOT_ALLOWED) }
}

/// The gateway's id of the payment that a page is told.
fn external_payment_id(payment: &Value) -> Option<&str> {
    payment.get("externalPaymentId").and_then(Value::as_str)
}

/// The word for an error.
fn message_for(error: ApiError) -> RedirectMessage {
    match error {
        reply::ORDER_EXPIRED => RedirectMessage::Expired,
        reply::ORDER_CHANGED => RedirectMessage::Changed,
        reply::EARLIER_ATTEMPT => RedirectMessage::Replaced,
        reply::UNDER_REVIEW | reply::PAID_WITHOUT_DETAILS => RedirectMessage::UnderReview,
        reply::GATEWAY_UNAVAILABLE | reply::UNAVAILABLE => RedirectMessage::Unavailable,
        _ => RedirectMessage::Failed,
    }
}
