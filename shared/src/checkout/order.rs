//! Start and finalize of an order's payment.

use serde_json::Value;

use super::attempts::{MAX_ATTEMPTS, snapshot_of};
use super::progress::read_snapshot;
use super::response::{page_outcome, retry_while_busy};
use super::snapshot::{Snapshot, canonical_json, fingerprint};
use super::{entry, gateway_calls, redirect, response, start};
use crate::cleeng::mediastore::{CustomerOrder, CustomerToken};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::flow::Disposition;
use crate::frontend_api::body::{self, PaymentInput};
use crate::frontend_api::reply::{self, ApiError, Reply};
use crate::frontend_api::{FrontendContext, FrontendRequest};
use crate::gateway::{GatewayName, Outcome};
use crate::ids::{OrderId, PaymentMethodId};
use crate::journal::record::{Attempt, AttemptKind, Finish};
use crate::journal::store::Key;
use crate::payments::obligation_context::ObligationContext;
use crate::payments::{FlowResult, reversal};
use crate::reason::{CompletionReason, RetryReason};

/// More declines of one order look like card testing.
pub const MAX_DECLINES: usize = 5;

/// The path of the redirect style, behind the gateway's name (Cleeng's media store SDK).
pub const REDIRECT_PATH: &str = "v1/tokens";

/// The obligation of an order.
#[must_use]
pub fn order_key(order: &OrderId) -> Key {
    Key::new("order", &[order.as_str()])
}

/// `POST /connectors/{gateway}/initial-payment`, or `.../v1/tokens`.
///
/// # Errors
/// Why the request is refused.
pub async fn start(context: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Result<Reply, ApiError> {
    body::validate(context, request).await?;
    let token = request.token(context)?;
    let id: OrderId = body::read_id(request, "orderId", "orderId is missing or no id")?;
    let mut input = PaymentInput::read(context, request, REDIRECT_PATH)?;
    let current = CurrentOrder::read(context, request.gateway, &token, &id).await?;
    input.customer_email.clone_from(&current.order.email);
    if current.order.total.is_zero() && !current.order.needs_details {
        return Err(reply::NOTHING_TO_PAY);
    }
    let requested = current.snapshot(context, &input);
    let key = order_key(&id);
    let outcome = retry_while_busy(context, || start_once(context, &key, &requested, &input, delivery)).await;
    Ok(redirect::start_reply(outcome, request, input.return_target.redirect_urls()))
}

async fn start_once(
    context: &FrontendContext,
    key: &Key,
    requested: &Snapshot,
    input: &PaymentInput,
    delivery: &Delivery,
) -> FlowResult<response::PageOutcome> {
    let mut ctx = entry::open(context, key, &[], delivery).await?;
    // This request read the order, and its attempt is for the amount that was read.
    ctx.confirm_due();
    let result = run_start(&mut ctx, requested, input).await;
    let disposition = ctx.conclude(result).await;
    page_outcome(&ctx, disposition)
}

/// Reads an order with the customer's token, which proves that it is theirs. Then everything in it must be the publisher's and the token's.
///
/// # Errors
/// Why the request is refused.
pub async fn read_own_order(context: &FrontendContext, token: &CustomerToken, id: &OrderId) -> Result<CustomerOrder, ApiError> {
    let publisher = &context.flow_context.policy.publisher;
    if token.publisher() != publisher {
        return Err(reply::TOKEN_INVALID);
    }
    let order = context.mediastore.order(token, id).await.map_err(|error| context.mediastore_error(error))?;
    let is_theirs = order.customer == *token.customer() && order.publisher == *publisher;
    if is_theirs { Ok(order) } else { Err(reply::FOREIGN_ORDER) }
}

/// The order as it is now.
struct CurrentOrder {
    order: CustomerOrder,
    method: PaymentMethodId,
    gateway: GatewayName,
}

impl CurrentOrder {
    /// Reads the order, whose payment method must be one of this gateway's.
    async fn read(context: &FrontendContext, gateway: GatewayName, token: &CustomerToken, id: &OrderId) -> Result<Self, ApiError> {
        let order = read_own_order(context, token, id).await?;
        let method = order.payment_method.clone().ok_or(reply::FOREIGN_PAYMENT_METHOD)?;
        let is_ours = context.flow_context.policy.methods.get(&method).is_some_and(|settings| settings.gateway == gateway);
        if is_ours { Ok(Self { order, method, gateway }) } else { Err(reply::FOREIGN_PAYMENT_METHOD) }
    }

    /// The snapshot of an attempt with this data.
    fn snapshot(&self, context: &FrontendContext, input: &PaymentInput) -> Snapshot {
        let Self { order, method, gateway } = self;
        let identity = canonical_json(&input.attempt_identity());
        // An order whose amount was changed is another payment, with the same card too.
        let parts = ["order", &identity, method.as_str(), &order.total.to_decimal(), order.total.currency.as_str()];
        Snapshot {
            order: Some(order.id.clone()),
            offer: Some(order.offer.clone()),
            customer: order.customer.clone(),
            method: method.clone(),
            method_name: input.method_name(*gateway),
            gateway: *gateway,
            amount: order.total,
            expires_at: order.expires_at,
            fingerprint: fingerprint(&context.flow_context.policy.salt, &parts),
            active: true,
            returned_data: Vec::new(),
            redirect_urls: input.return_target.redirect_urls().cloned(),
            cancelled_at_gateway: false,
        }
    }

    /// Whether it still is what the attempt was opened for.
    fn matches(&self, snapshot: &Snapshot) -> bool {
        snapshot.customer == self.order.customer
            && snapshot.method == self.method
            && snapshot.gateway == self.gateway
            && snapshot.amount == self.order.total
            && snapshot.offer.as_ref() == Some(&self.order.offer)
    }

    /// Why the returned data is no longer submitted.
    fn obsolete_reason(&self, now: Timestamp, snapshot: &Snapshot) -> Option<CompletionReason> {
        if snapshot.expires_at <= now || self.order.expires_at <= now {
            return Some(CompletionReason::OrderExpired);
        }
        (!self.matches(snapshot)).then_some(CompletionReason::OrderChanged)
    }
}

/// The flow of a start.
async fn run_start(ctx: &mut ObligationContext<'_>, requested: &Snapshot, input: &PaymentInput) -> FlowResult<Disposition> {
    if let Some(reason) = final_reason(ctx) {
        return Ok(Disposition::Completed(reason));
    }
    if let Some(disposition) = start::continue_attempt(ctx, requested, input).await? {
        return Ok(disposition);
    }
    if let Some(reason) = refuse_new_attempt(ctx, requested) {
        return Ok(Disposition::Completed(reason));
    }
    start::start_attempt(ctx, AttemptKind::Purchase, requested, input).await
}

/// Paid already, or parked: nothing more happens to the order.
fn final_reason(ctx: &ObligationContext<'_>) -> Option<CompletionReason> {
    let obligation = &ctx.session.obligation;
    if obligation.attempts.iter().any(|attempt| attempt.finish == Some(Finish::Captured)) {
        return Some(CompletionReason::Captured);
    }
    // Cleeng says no more than that about an order that it has as paid.
    let is_refused = |attempt: &Attempt| attempt.finish.as_ref().and_then(Finish::stale_reason) == Some(CompletionReason::OrderRefused);
    if obligation.attempts.iter().any(is_refused) {
        return Some(CompletionReason::OrderRefused);
    }
    obligation.is_blocked().then_some(CompletionReason::Parked)
}

/// Why no new attempt may open.
fn refuse_new_attempt(ctx: &ObligationContext<'_>, requested: &Snapshot) -> Option<CompletionReason> {
    if requested.expires_at <= ctx.now() {
        return Some(CompletionReason::OrderExpired);
    }
    let attempts = &ctx.session.obligation.attempts;
    let declined = attempts.iter().filter(|attempt| matches!(attempt.finish, Some(Finish::Declined { .. }))).count();
    (declined >= MAX_DECLINES || attempts.len() >= MAX_ATTEMPTS).then_some(CompletionReason::TooManyAttempts)
}

/// `POST /connectors/{gateway}/initial-payment/finalize`.
///
/// # Errors
/// Why the request is refused.
pub async fn finalize(context: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Result<Reply, ApiError> {
    body::validate(context, request).await?;
    let token = request.token(context)?;
    let id: OrderId = body::read_id(request, "orderId", "orderId is missing or no id")?;
    let returned_data = body::returned_data(request)?;
    let current = CurrentOrder::read(context, request.gateway, &token, &id).await?;
    let outcome = retry_while_busy(context, || finalize_once(context, &current, &returned_data, delivery)).await;
    Ok(outcome.reply(request))
}

async fn finalize_once(
    context: &FrontendContext,
    current: &CurrentOrder,
    returned_data: &Value,
    delivery: &Delivery,
) -> FlowResult<response::PageOutcome> {
    let mut ctx = entry::open(context, &order_key(&current.order.id), &[], delivery).await?;
    // This request read the order, and nothing is submitted for one that was changed.
    ctx.confirm_due();
    let result = run_finalize(&mut ctx, current, returned_data).await;
    let disposition = ctx.conclude(result).await;
    if matches!(disposition, Disposition::Retry { reason: RetryReason::AnotherPayment, .. }) {
        reverse_earlier_attempt(&ctx, delivery).await;
    }
    page_outcome(&ctx, disposition)
}

/// The flow of a finalize.
async fn run_finalize(ctx: &mut ObligationContext<'_>, current: &CurrentOrder, returned_data: &Value) -> FlowResult<Disposition> {
    if let Some(reason) = final_reason(ctx) {
        return Ok(Disposition::Completed(reason));
    }
    if ctx.current_attempt().is_none() {
        let declined = ctx.session.obligation.attempts.last().is_some_and(|last| matches!(last.finish, Some(Finish::Declined { .. })));
        return Ok(Disposition::Completed(if declined { CompletionReason::Declined } else { CompletionReason::NothingPending }));
    }
    entry::submit_returned_data(ctx, returned_data, |ctx, snapshot| current.obsolete_reason(ctx.now(), snapshot)).await
}

/// The returned data belongs to another payment. If that is an earlier attempt of this order, it is reversed at once. The question is the
/// same call under the same key, to which the gateway gives the same answer.
async fn reverse_earlier_attempt(ctx: &ObligationContext<'_>, delivery: &Delivery) {
    let Ok(current) = read_snapshot(ctx) else { return };
    let (Some(round), Ok(gateway)) = (current.returned_data.len().checked_sub(1), ctx.gateway(current.gateway)) else { return };
    for attempt in ctx.session.obligation.attempts.iter().filter(|attempt| attempt.finish.is_some()) {
        let (Some(reference), Some(mut earlier)) = (attempt.reference.as_ref(), snapshot_of(attempt)) else { continue };
        // A payment that waits under an id of its own holds no money until it is finished, which no longer happens: it is cancelled when it
        // expires, and if it was paid without the connector, the gateway's notification has it reversed.
        if ctx.payment(reference).is_some_and(|payment| payment.pending_id.is_some()) {
            continue;
        }
        if !ctx.session.has_time_for(ctx.call_timeout(&gateway)) {
            return;
        }
        earlier.returned_data.clone_from(&current.returned_data);
        let Ok(request) = gateway_calls::finalize_request(ctx, &earlier, round, reference.clone()) else { return };
        if let Ok(Outcome::Done(operation)) = gateway.finalize(&request).await {
            // If it cannot be done now, the gateway's notification triggers it again.
            let _ = reversal::reverse(ctx.flow_context, reference, operation.external_payment_id.as_ref(), delivery).await;
            return;
        }
    }
}
