//! Start and finalize of storing payment details.
//!
//! Obligation = customer + payment data, so that the same data is stored once.

use std::time::Duration;

use serde_json::Value;

use super::attempts::{DOUBLE_CLICK_WINDOW, MAX_ATTEMPTS, last_step_at, matches_last_returned_data};
use super::pending_setups::PendingSetups;
use super::progress::read_snapshot;
use super::response::{PageOutcome, page_outcome, retry_while_busy};
use super::snapshot::{Snapshot, canonical_json, fingerprint};
use super::{entry, gateway_calls, redirect, start};
use crate::cleeng::mediastore::{Customer, CustomerToken, MediaStoreError};
use crate::delivery::Delivery;
use crate::flow::Disposition;
use crate::frontend_api::body::{self, PaymentInput};
use crate::frontend_api::reply::{self, ApiError, Reply};
use crate::frontend_api::{FrontendContext, FrontendRequest};
use crate::ids::PaymentMethodId;
use crate::journal::record::{AttemptKind, Finish};
use crate::journal::store::Key;
use crate::money::Money;
use crate::payments::FlowResult;
use crate::payments::obligation_context::ObligationContext;
use crate::reason::CompletionReason;

/// The path of the redirect style, behind the gateway's name (Cleeng's media store SDK).
pub const REDIRECT_PATH: &str = "v1/payment_details/tokens";

/// More declines of one customer on one day look like card testing.
pub const MAX_DECLINES_PER_DAY: u32 = 10;
/// A setup expires after this long.
const SETUP_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// `POST /connectors/{gateway}/payment-details`, or `.../v1/payment_details/tokens`.
///
/// # Errors
/// Why the request is refused.
pub async fn start(context: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Result<Reply, ApiError> {
    body::validate(context, request).await?;
    let token = request.token(context)?;
    let method = connector_payment_method(context, request)?;
    let active = match request.body.get("active") {
        None | Some(Value::Null) => true,
        Some(Value::Bool(active)) => *active,
        Some(_) => return Err(reply::bad_request("active must be true or false")),
    };
    let mut input = PaymentInput::read(context, request, REDIRECT_PATH)?;
    let customer = read_customer(context, &token).await?;
    input.customer_email.clone_from(&customer.email);
    let parts = ["store", &canonical_json(&input.attempt_identity()), method.as_str()];
    let requested = Snapshot {
        order: None,
        offer: None,
        customer: customer.id,
        fingerprint: fingerprint(&context.flow_context.policy.salt, &parts),
        method,
        method_name: input.method_name(request.gateway),
        gateway: request.gateway,
        amount: Money::new(0, customer.currency),
        expires_at: context.flow_context.clock.now().after(SETUP_LIFETIME),
        active,
        returned_data: Vec::new(),
        redirect_urls: input.return_target.redirect_urls().cloned(),
        cancelled_at_gateway: false,
    };
    let outcome = retry_while_busy(context, || start_once(context, &requested, &input, delivery)).await;
    Ok(redirect::start_reply(outcome, request, input.return_target.redirect_urls()))
}

async fn start_once(context: &FrontendContext, requested: &Snapshot, input: &PaymentInput, delivery: &Delivery) -> FlowResult<PageOutcome> {
    let key = Key::new("details", &[requested.customer.as_str(), &requested.fingerprint]);
    let mut ctx = entry::open(context, &key, &[PendingSetups::key(&requested.customer)], delivery).await?;
    let result = run_start(&mut ctx, requested, input).await;
    let disposition = ctx.conclude(result).await;
    page_outcome(&ctx, disposition)
}

fn connector_payment_method(context: &FrontendContext, request: &FrontendRequest) -> Result<PaymentMethodId, ApiError> {
    let method: PaymentMethodId = body::read_id(request, "paymentMethodId", "paymentMethodId is missing or no id")?;
    let is_ours = context.flow_context.policy.methods.get(&method).is_some_and(|settings| settings.gateway == request.gateway);
    if is_ours { Ok(method) } else { Err(reply::FOREIGN_PAYMENT_METHOD) }
}

/// Reads the customer with their own token, which proves who they are.
///
/// # Errors
/// Why the request is refused.
pub async fn read_customer(context: &FrontendContext, token: &CustomerToken) -> Result<Customer, ApiError> {
    if *token.publisher() != context.flow_context.policy.publisher {
        return Err(reply::TOKEN_INVALID);
    }
    let customer = context.mediastore.customer(token).await.map_err(|error| match error {
        MediaStoreError::NotFound => reply::TOKEN_INVALID,
        error => context.mediastore_error(error),
    })?;
    if customer.id == *token.customer() { Ok(customer) } else { Err(reply::TOKEN_INVALID) }
}

/// The flow of a start.
async fn run_start(ctx: &mut ObligationContext<'_>, requested: &Snapshot, input: &PaymentInput) -> FlowResult<Disposition> {
    if let Some(reason) = final_reason(ctx)
        && !is_repeat_request(ctx, input)
    {
        return Ok(Disposition::Completed(reason));
    }
    if let Some(disposition) = start::continue_attempt(ctx, requested, input).await? {
        return Ok(disposition);
    }
    let mut setups = PendingSetups::read(ctx, &requested.customer).await?;
    if setups.declines >= MAX_DECLINES_PER_DAY || attempts_within_lifetime(ctx) >= MAX_ATTEMPTS {
        return Ok(Disposition::Completed(CompletionReason::TooManyAttempts));
    }
    setups.add(ctx.session.key());
    setups.stage(ctx, &requested.customer)?;
    start::start_attempt(ctx, AttemptKind::StoreDetails, requested, input).await
}

/// How many attempts at this setup began within its lifetime.
fn attempts_within_lifetime(ctx: &ObligationContext<'_>) -> usize {
    let attempts = ctx.session.obligation.attempts.iter();
    attempts.filter(|attempt| ctx.now().since(attempt.opened_at) < SETUP_LIFETIME).count()
}

/// Whether details are to be stored again although the same data was stored before. If the customer enters nothing here, the same data says
/// nothing: they may have removed the details since, or choose another account at the gateway.
fn is_repeat_request(ctx: &ObligationContext<'_>, input: &PaymentInput) -> bool {
    let stored = ctx.session.obligation.attempts.last().filter(|last| last.finish == Some(Finish::Stored));
    input.has_no_payment_data() && stored.is_some_and(|last| ctx.now().since(last_step_at(last)) >= DOUBLE_CLICK_WINDOW)
}

/// Already stored, or parked. An attempt after a successful one is a new request.
fn final_reason(ctx: &ObligationContext<'_>) -> Option<CompletionReason> {
    let obligation = &ctx.session.obligation;
    if obligation.attempts.last().is_some_and(|last| last.finish == Some(Finish::Stored)) {
        return Some(CompletionReason::Stored);
    }
    obligation.is_blocked().then_some(CompletionReason::Parked)
}

/// `POST /connectors/{gateway}/payment-details/finalize`.
///
/// # Errors
/// Why the request is refused.
pub async fn finalize(context: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Result<Reply, ApiError> {
    body::validate(context, request).await?;
    let token = request.token(context)?;
    let method = connector_payment_method(context, request)?;
    let returned_data = body::returned_data(request)?;
    let customer = read_customer(context, &token).await?;
    let pending = PendingSetups::obligations(&context.flow_context, &customer.id).await.map_err(|_| reply::UNAVAILABLE)?;
    let mut outcome = PageOutcome::Refused(reply::NOTHING_PENDING);
    // The request does not say which setup it belongs to. The latest comes first; the gateway's answer decides.
    for key in pending.iter().rev() {
        outcome = retry_while_busy(context, || finalize_once(context, key, &method, &returned_data, delivery)).await;
        if !outcome.is_about_another_payment() {
            break;
        }
    }
    Ok(outcome.reply(request))
}

async fn finalize_once(
    context: &FrontendContext,
    key: &Key,
    method: &PaymentMethodId,
    returned_data: &Value,
    delivery: &Delivery,
) -> FlowResult<PageOutcome> {
    let mut ctx = entry::open(context, key, &[], delivery).await?;
    let result = run_finalize(&mut ctx, method, returned_data).await;
    let disposition = ctx.conclude(result).await;
    page_outcome(&ctx, disposition)
}

/// The flow of a finalize.
async fn run_finalize(ctx: &mut ObligationContext<'_>, method: &PaymentMethodId, returned_data: &Value) -> FlowResult<Disposition> {
    if ctx.current_attempt().is_none() {
        // The same click again gets the same answer; other data may belong to another setup.
        let fingerprint = gateway_calls::returned_data_fingerprint(ctx, returned_data);
        let was_returned = ctx.session.obligation.attempts.last().is_some_and(|last| matches_last_returned_data(last, &fingerprint));
        let reason = if was_returned { final_reason(ctx).unwrap_or(CompletionReason::Declined) } else { CompletionReason::NothingPending };
        return Ok(Disposition::Completed(reason));
    }
    if read_snapshot(ctx)?.method != *method {
        return Ok(Disposition::Completed(CompletionReason::NothingPending));
    }
    entry::submit_returned_data(ctx, returned_data, |_, _| None).await
}
