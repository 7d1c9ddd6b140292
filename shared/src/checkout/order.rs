//! Start and finalize of an order's payment.

use super::attempts::{is_page_stale, snapshot_of, was_just_declined};
use super::finalize::submit_returned_data;
use super::outcome::{apply_result, close_attempt};
use super::progress::{Progress, read_progress, read_snapshot, write_snapshot};
use super::response::{self, TryOutcome};
use super::snapshot::{Snapshot, canonical_json, fingerprint};
use super::{entry, gateway_calls, reversal};
use crate::cleeng::mediastore::{CustomerOrder, CustomerToken, MediaStoreError};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::flow::Disposition;
use crate::frontend_api::body::{self, PaymentInput};
use crate::frontend_api::reply::{self, ApiError, Reply};
use crate::frontend_api::{FrontendContext, FrontendRequest, GATEWAY_TIMEOUT};
use crate::gateway::{GatewayName, Outcome, Reference};
use crate::ids::{OrderId, PaymentMethodId};
use crate::journal::record::{AttemptKind, Finish};
use crate::journal::store::Key;
use crate::metrics::Metric;
use crate::payments::obligation_context::ObligationContext;
use crate::payments::{FlowResult, retry};
use crate::reason::{CompletionReason, RetryReason};

/// More refusals of one order look like card testing.
pub const MAX_DECLINES: usize = 5;
/// More attempts of one order than this, refused, replaced or whatever, are not made: all of them stay on record.
pub const MAX_ATTEMPTS: usize = 10;
/// The path of the redirect style, behind the gateway's name (Cleeng's media store SDK).
pub const REDIRECT_PATH: &str = "v1/tokens";

/// The obligation of an order.
#[must_use]
pub fn order_key(order: &OrderId) -> Key {
    Key::new("order", &[order.as_str()])
}

/// `POST /connectors/{gateway}/initial-payment`, or `.../v1/tokens`.
pub async fn start(desk: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Reply {
    match try_start(desk, request, delivery).await {
        Ok(reply) => reply,
        Err(refusal) => refusal.reply(Some(request.gateway)),
    }
}

async fn try_start(desk: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Result<Reply, ApiError> {
    body::validate(desk, request).await?;
    let token = request.token(desk)?;
    let id: OrderId = body::read_id(request, "orderId", "orderId is missing or no id")?;
    let input = PaymentInput::read(desk, request, REDIRECT_PATH)?;
    let (order, method) = read_order(desk, request.gateway, &token, &id).await?;
    if order.total.is_zero() && !order.needs_details {
        return Err(reply::NOTHING_TO_PAY);
    }
    let wanted = new_snapshot(desk, &order, &method, request.gateway, &input);
    Ok(entry::start(desk, &wanted, &input, delivery).await)
}

/// Reads the order with the customer's token: that is how it is known to be his. Then everything in it must be ours and the token's.
///
/// # Errors
/// The refusal.
pub async fn read_order(
    desk: &FrontendContext,
    gateway: GatewayName,
    token: &CustomerToken,
    id: &OrderId,
) -> Result<(CustomerOrder, PaymentMethodId), ApiError> {
    let rules = &desk.flow_context.policy;
    if *token.publisher() != rules.publisher {
        return Err(reply::TOKEN_INVALID);
    }
    let order = desk.mediastore.order(token, id).await.map_err(|error| mediastore_error(desk, error))?;
    if order.customer != *token.customer() || order.publisher != rules.publisher {
        return Err(reply::FOREIGN_ORDER);
    }
    let method = order.payment_method.clone().ok_or(reply::FOREIGN_PAYMENT_METHOD)?;
    let ours = rules.methods.get(&method).is_some_and(|settings| settings.gateway == gateway);
    if ours { Ok((order, method)) } else { Err(reply::FOREIGN_PAYMENT_METHOD) }
}

/// Why something could not be read from MediaStore, for the page.
pub fn mediastore_error(desk: &FrontendContext, error: MediaStoreError) -> ApiError {
    match error {
        MediaStoreError::Refused => reply::TOKEN_INVALID,
        MediaStoreError::NotFound => reply::ORDER_NOT_FOUND,
        MediaStoreError::Throttled | MediaStoreError::Unavailable(_) => reply::UNAVAILABLE,
        MediaStoreError::Unreadable(field) => {
            desk.flow_context.metrics.count(Metric::Warning, &[("reason", error.code())]);
            tracing::error!(field, "MediaStore's answer is not understood");
            reply::UNAVAILABLE
        }
    }
}

/// The snapshot of an attempt with this data.
fn new_snapshot(
    desk: &FrontendContext,
    order: &CustomerOrder,
    method: &PaymentMethodId,
    gateway: GatewayName,
    input: &PaymentInput,
) -> Snapshot {
    // An order whose amount was changed is another payment, whatever card it is.
    let parts =
        ["order", &canonical_json(&input.attempt_identity()), method.as_str(), &order.total.to_decimal(), order.total.currency.as_str()];
    Snapshot {
        order: Some(order.id.clone()),
        offer: Some(order.offer.clone()),
        customer: order.customer.clone(),
        method: method.clone(),
        gateway,
        amount: order.total,
        expires_at: order.expires_at,
        fingerprint: fingerprint(&desk.flow_context.policy.salt, &parts),
        active: true,
        returned_data: Vec::new(),
        redirect_urls: input.return_target.redirect_urls().cloned(),
        cancelled_at_gateway: false,
    }
}

/// The story of a start.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn run_start(case: &mut ObligationContext<'_>, wanted: &Snapshot, input: &PaymentInput) -> FlowResult<Disposition> {
    if let Some(disposition) = final_disposition(case) {
        return Ok(disposition);
    }
    if case.current_attempt().is_some() {
        let mut kept = read_snapshot(case)?;
        let same = kept.fingerprint == wanted.fingerprint;
        match read_progress(case)? {
            Progress::AwaitingCustomer { .. } if same && !is_page_stale(case, &kept, input) => {
                return Ok(Disposition::Completed(CompletionReason::ActionRequired));
            }
            Progress::NotStarted if same && case.now() < kept.expires_at => {
                let answered = gateway_calls::start(case, &kept, input).await?;
                return apply_result(case, &kept, answered).await;
            }
            // Other data takes the place of what waits, in the same write as the new attempt's intent.
            Progress::AwaitingCustomer { .. } | Progress::NotStarted => {
                if let Some(disposition) = refuse_new_attempt(case, wanted) {
                    return Ok(disposition);
                }
                close_attempt(case, Finish::Superseded)?;
            }
            Progress::StartUnknown => {
                // The gateway may hear of it only now, and then it sends the customer back to where this start says.
                kept.redirect_urls = wanted.redirect_urls.clone().or(kept.redirect_urls);
                write_snapshot(case, &kept);
                let answered = gateway_calls::start(case, &kept, input).await?;
                return apply_result(case, &kept, answered).await;
            }
            Progress::FinalizeUnknown(round) => {
                let answered = gateway_calls::finalize(case, &kept, round).await?;
                return apply_result(case, &kept, answered).await;
            }
            Progress::Pending => return Err(retry(RetryReason::PaymentPending)),
            Progress::Decided(answered) => return apply_result(case, &kept, answered).await,
        }
    } else if was_just_declined(case, wanted) {
        return Ok(Disposition::Completed(CompletionReason::Declined));
    } else if let Some(disposition) = refuse_new_attempt(case, wanted) {
        return Ok(disposition);
    }
    gateway_calls::open_attempt(case, AttemptKind::Purchase, wanted)?;
    let answered = gateway_calls::start(case, wanted, input).await?;
    apply_result(case, wanted, answered).await
}

/// Paid already, or nobody can tell: the end of every story.
fn final_disposition(case: &ObligationContext<'_>) -> Option<Disposition> {
    let obligation = &case.session.obligation;
    if obligation.attempts.iter().any(|attempt| attempt.finish == Some(Finish::Captured)) {
        return Some(Disposition::Completed(CompletionReason::Captured));
    }
    obligation.is_blocked().then_some(Disposition::Completed(CompletionReason::Parked))
}

/// Why no new attempt may open.
fn refuse_new_attempt(case: &ObligationContext<'_>, wanted: &Snapshot) -> Option<Disposition> {
    if wanted.expires_at <= case.now() {
        return Some(Disposition::Completed(CompletionReason::OrderExpired));
    }
    let attempts = &case.session.obligation.attempts;
    let declined = attempts.iter().filter(|attempt| matches!(attempt.finish, Some(Finish::Declined { .. }))).count();
    (declined >= MAX_DECLINES || attempts.len() >= MAX_ATTEMPTS).then_some(Disposition::Completed(CompletionReason::TooManyAttempts))
}

/// `POST /connectors/{gateway}/initial-payment/finalize`.
pub async fn finalize(desk: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Reply {
    match try_finalize(desk, request, delivery).await {
        Ok(reply) => reply,
        Err(refusal) => refusal.reply(Some(request.gateway)),
    }
}

async fn try_finalize(desk: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Result<Reply, ApiError> {
    body::validate(desk, request).await?;
    let token = request.token(desk)?;
    let id: OrderId = body::read_id(request, "orderId", "orderId is missing or no id")?;
    let back = body::returned_data(request)?;
    let (order, method) = read_order(desk, request.gateway, &token, &id).await?;
    let seen = CurrentOrder { order, method, gateway: request.gateway };
    Ok(response::retry_while_busy(desk, || finalize_once(desk, &seen, &back, delivery)).await.reply(request.gateway))
}

/// The order as it is now.
struct CurrentOrder {
    order: CustomerOrder,
    method: PaymentMethodId,
    gateway: GatewayName,
}

impl CurrentOrder {
    /// Whether it still is what the attempt was opened for.
    fn matches(&self, kept: &Snapshot) -> bool {
        kept.customer == self.order.customer
            && kept.method == self.method
            && kept.gateway == self.gateway
            && kept.amount == self.order.total
            && kept.offer.as_ref() == Some(&self.order.offer)
    }
}

async fn finalize_once(desk: &FrontendContext, seen: &CurrentOrder, back: &serde_json::Value, delivery: &Delivery) -> TryOutcome {
    let mut case = match ObligationContext::open_with_attempt_payments(&desk.flow_context, order_key(&seen.order.id), &[], delivery).await {
        Ok(case) => case,
        Err(disposition) => return response::outcome_without_obligation(&disposition),
    };
    case.limit_call_time(GATEWAY_TIMEOUT);
    let story = run_finalize(&mut case, seen, back).await;
    let disposition = case.conclude(story).await;
    if matches!(disposition, Disposition::Retry { reason: RetryReason::AnotherPayment, .. }) {
        reverse_earlier_attempt(&case, delivery).await;
    }
    response::page_outcome(&case, &disposition)
}

/// The story of a finalize.
async fn run_finalize(case: &mut ObligationContext<'_>, seen: &CurrentOrder, back: &serde_json::Value) -> FlowResult<Disposition> {
    if let Some(disposition) = final_disposition(case) {
        return Ok(disposition);
    }
    if case.current_attempt().is_none() {
        let refused = case.session.obligation.attempts.last().is_some_and(|last| matches!(last.finish, Some(Finish::Declined { .. })));
        return Ok(Disposition::Completed(if refused { CompletionReason::Declined } else { CompletionReason::NothingPending }));
    }
    submit_returned_data(case, back, |case, kept| obsolete_reason(case.now(), seen, kept)).await
}

/// Why what the customer brought back is not handed in any more.
fn obsolete_reason(now: Timestamp, seen: &CurrentOrder, kept: &Snapshot) -> Option<CompletionReason> {
    if kept.expires_at <= now || seen.order.expires_at <= now {
        return Some(CompletionReason::OrderExpired);
    }
    (!seen.matches(kept)).then_some(CompletionReason::OrderChanged)
}

/// What the customer brought back belongs to another payment. If that one is an earlier attempt of this order, it is given back at once. The
/// question is the same call under the same key, to which the gateway gives the same answer.
async fn reverse_earlier_attempt(case: &ObligationContext<'_>, delivery: &Delivery) {
    let Ok(current) = read_snapshot(case) else { return };
    let Some(round) = current.returned_data.len().checked_sub(1) else { return };
    for attempt in case.session.obligation.attempts.iter().filter(|attempt| attempt.finish.is_some()) {
        let (Some(reference), Some(mut earlier), Ok(gateway)) =
            (attempt.reference.clone(), snapshot_of(attempt), case.gateway(current.gateway))
        else {
            continue;
        };
        // What waits under an id of its own holds nothing until somebody finishes it, which nobody does any more: it is called off when its
        // time is over, and if it was paid without us, the gateway's word has it given back.
        if case.payment(&reference).is_some_and(|payment| payment.pending_id.is_some()) {
            continue;
        }
        if !case.session.has_time_for(case.call_timeout(&gateway)) {
            return;
        }
        earlier.returned_data.clone_from(&current.returned_data);
        let Ok(request) = gateway_calls::finalize_request(case, &earlier, round, Reference::clone(&reference)) else { return };
        if let Ok(Outcome::Done(operation)) = gateway.finalize(&request).await {
            // If it cannot be done now, the gateway's notification brings it up again.
            let _ = reversal::reverse(case.flow_context, &reference, operation.external_payment_id.as_ref(), delivery).await;
            return;
        }
    }
}
