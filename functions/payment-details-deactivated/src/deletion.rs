//! Deletes the token at the gateway and then the details in Cleeng, once every authorisation is released. A token that other details use,
//! or about which the journal knows too little, is never deleted.

use connector::cleeng::CALL_TIMEOUT;
use connector::gateway::{DeleteDetailsRequest, GatewayError, OperationKind, Outcome, StoredToken};
use connector::metrics::Metric;
use connector::payments::FlowResult;
use connector::payments::cleeng_step::{self, CleengStep, LostAnswer};
use connector::payments::deleted_details::DELETE_DETAILS;
use connector::payments::obligation_context::{ObligationContext, TypedStepState};
use connector::payments::token_usage::{self, TokenUsage};
use connector::reason::{ParkReason, RetryReason};

use crate::DeactivatedDetails;

const DELETE_TOKEN: &str = "delete_token";

/// Deletes token and details as steps of the open attempt. `gone` says that Cleeng has the details no more.
pub(crate) async fn delete_all(ctx: &mut ObligationContext<'_>, deactivated: &DeactivatedDetails, gone: bool) -> FlowResult<()> {
    match token_usage(ctx, deactivated).await? {
        TokenUsage::Unused => {
            mark_deleting(ctx, deactivated).await?;
            delete_token(ctx, deactivated).await?;
        }
        TokenUsage::UsedByOthers => {
            mark_deleting(ctx, deactivated).await?;
            warn_not_deleted(ctx, "token_still_used");
        }
        // The token cannot be deleted without the details: both stay.
        TokenUsage::Unknown => {
            warn_not_deleted(ctx, "token_use_unknown");
            return Ok(());
        }
        TokenUsage::Reactivated => {
            warn_not_deleted(ctx, "details_active_again");
            return Ok(());
        }
    }
    if gone {
        ctx.checkpoint(DELETE_DETAILS, &());
        return Ok(());
    }
    delete_in_cleeng(ctx, deactivated).await
}

fn warn_not_deleted(ctx: &ObligationContext<'_>, reason: &'static str) {
    ctx.flow_context.metrics.count(Metric::Warning, &[("reason", reason)]);
    tracing::warn!(obligation = %ctx.session.key(), reason, "deactivated details are not deleted as a whole");
}

async fn token_usage(ctx: &mut ObligationContext<'_>, deactivated: &DeactivatedDetails) -> FlowResult<TokenUsage> {
    let (Some(key), Some(_)) = (deactivated.token_key(ctx.flow_context), &deactivated.event.customer) else {
        return Ok(TokenUsage::Unknown);
    };
    let now = ctx.now();
    Ok(token_usage::mark_inactive(&mut ctx.session.transaction, &key, &deactivated.event.details, deactivated.received_at, now).await?)
}

/// From the first intent on no payment uses these details; one that started meanwhile prevents the deletion.
async fn mark_deleting(ctx: &mut ObligationContext<'_>, deactivated: &DeactivatedDetails) -> FlowResult<()> {
    let Some(key) = deactivated.token_key(ctx.flow_context) else { return Ok(()) };
    Ok(token_usage::mark_deleting(&mut ctx.session.transaction, &key, &deactivated.event.details).await?)
}

/// Details that do not exist any more count as deleted, so an unknown outcome is resolved by repeating the call.
async fn delete_token(ctx: &mut ObligationContext<'_>, deactivated: &DeactivatedDetails) -> FlowResult<()> {
    let (Some(token), Some(method), Some(customer)) = (&deactivated.event.token, deactivated.method, &deactivated.event.customer) else {
        return Ok(());
    };
    let key = match ctx.step_state::<()>(DELETE_TOKEN)? {
        TypedStepState::Done(()) => return Ok(()),
        TypedStepState::Unknown(step) if ctx.now().since(step.started_at) > ctx.flow_context.policy.unknown_deadline => {
            return ctx.park(ParkReason::TokenDeletionUnknown, false).await;
        }
        TypedStepState::Unknown(step) => step.key,
        TypedStepState::NotStarted => None,
    };
    let key = key.unwrap_or_else(|| ctx.idempotency_key(method.gateway, OperationKind::Delete, DELETE_TOKEN));
    let adapter = ctx.gateway(method.gateway)?;
    ctx.begin_step(DELETE_TOKEN, Some(key.clone()), adapter.capabilities().call_timeout).await?;
    let request = DeleteDetailsRequest { key, token: StoredToken(token.clone()), customer: customer.clone() };
    match adapter.delete_details(&request).await {
        Ok(Outcome::Done(_) | Outcome::Received(_)) => {
            ctx.record_result(DELETE_TOKEN, &());
            Ok(())
        }
        Ok(Outcome::Unknown(_)) => Err(ctx.leave_unknown(DELETE_TOKEN, RetryReason::GatewayUnknown).await),
        Ok(Outcome::Declined(_) | Outcome::ActionRequired(..)) => ctx.park(ParkReason::TokenDeletionRefused, false).await,
        Err(error) => handle_gateway_error(ctx, &error).await,
    }
}

async fn handle_gateway_error(ctx: &mut ObligationContext<'_>, error: &GatewayError) -> FlowResult<()> {
    match error.park_reason() {
        Some(reason) => ctx.park(reason, false).await,
        None => Err(ctx.retry_without_effect(DELETE_TOKEN, error.retry_after(), error.into()).await),
    }
}

/// If the answer is lost, or says that there are no such details, Cleeng's list shows whether they are gone.
async fn delete_in_cleeng(ctx: &mut ObligationContext<'_>, deactivated: &DeactivatedDetails) -> FlowResult<()> {
    if matches!(ctx.step_state::<()>(DELETE_DETAILS)?, TypedStepState::Done(())) {
        return Ok(());
    }
    let step = CleengStep { name: DELETE_DETAILS, timeout: CALL_TIMEOUT, lost_answer: LostAnswer::FindOut };
    let call = ctx.flow_context.cleeng.delete_payment_details(&deactivated.event.details);
    match cleeng_step::run(ctx, step, call).await? {
        Ok(()) => {
            ctx.record_result(DELETE_DETAILS, &());
            Ok(())
        }
        Err(_) => ctx.park(ParkReason::DetailsDeletionRefused, false).await,
    }
}
