//! Deleting what nobody needs any more, when everything that was held is released: the token at the gateway, then the details in Cleeng. What
//! other details use, or what the journal knows too little about, is never deleted.

use connector::billing::Story;
use connector::billing::case::{Case, StepTurn};
use connector::billing::deleted::DELETE_DETAILS;
use connector::billing::tokens::{self, Freedom};
use connector::cleeng::{CALL_TIMEOUT, CleengError};
use connector::flow::Verdict;
use connector::gateway::{DeleteDetailsRequest, GatewayError, OperationKind, Outcome, StoredToken};
use connector::metrics::Metric;

use crate::Gone;

const DELETE_TOKEN: &str = "delete_token";

/// Deletes token and details as steps of the open attempt.
pub(crate) async fn details(case: &mut Case<'_>, gone: &Gone) -> Story<()> {
    match freedom(case, gone).await? {
        Freedom::Free => {
            close(case, gone).await?;
            token(case, gone).await?;
        }
        Freedom::Used => {
            close(case, gone).await?;
            warn(case, "token_still_used");
        }
        // Without the details nobody could delete the token any more: both stay.
        Freedom::Unknown => {
            warn(case, "token_use_unknown");
            return Ok(());
        }
        Freedom::ActiveAgain => {
            warn(case, "details_active_again");
            return Ok(());
        }
    }
    in_cleeng(case, gone).await
}

fn warn(case: &Case<'_>, reason: &'static str) {
    case.world.metrics.count(Metric::Warning, &[("reason", reason)]);
    tracing::warn!(obligation = %case.run.key(), reason, "deactivated details are not deleted as a whole");
}

async fn freedom(case: &mut Case<'_>, gone: &Gone) -> Story<Freedom> {
    let (Some(key), Some(_)) = (gone.token_key(case.world), &gone.event.customer) else { return Ok(Freedom::Unknown) };
    let now = case.now();
    Ok(tokens::deactivated(&mut case.run.work, &key, &gone.event.details, gone.received_at, now).await?)
}

/// From the first intent on nobody pays with these details; whoever began to in the meantime has won.
async fn close(case: &mut Case<'_>, gone: &Gone) -> Story<()> {
    let Some(key) = gone.token_key(case.world) else { return Ok(()) };
    Ok(tokens::deleting(&mut case.run.work, &key, &gone.event.details).await?)
}

/// Details that are gone already are deleted, so an unknown outcome is settled by doing it again.
async fn token(case: &mut Case<'_>, gone: &Gone) -> Story<()> {
    let (Some(token), Some(method), Some(customer)) = (&gone.event.token, gone.method, &gone.event.customer) else { return Ok(()) };
    let key = match case.turn::<()>(DELETE_TOKEN)? {
        StepTurn::Done(()) => return Ok(()),
        StepTurn::Unknown(step) if case.now().since(step.begun_at) > case.world.rules.unknown_deadline => {
            return Err(case.park("token_deletion_unknown", false).await?);
        }
        StepTurn::Unknown(step) => step.key,
        StepTurn::Fresh => None,
    };
    let key = key.unwrap_or_else(|| case.key_for(method.gateway, OperationKind::Delete, DELETE_TOKEN));
    let adapter = case.gateway(method.gateway)?;
    case.begin(DELETE_TOKEN, Some(key.clone()), adapter.capabilities().call_timeout).await?;
    let request = DeleteDetailsRequest { key, token: StoredToken(token.clone()), customer: customer.clone() };
    match adapter.delete_details(&request).await {
        Ok(Outcome::Done(_) | Outcome::Received(_)) => {
            case.done(DELETE_TOKEN, &());
            Ok(())
        }
        Ok(Outcome::Unknown(_)) => Err(case.leave_unknown(DELETE_TOKEN, "gateway_unknown").await),
        Ok(Outcome::Declined(_) | Outcome::ActionRequired(..)) => Err(case.park("token_deletion_refused", false).await?),
        Err(error) => Err(refused(case, &error).await?),
    }
}

async fn refused(case: &mut Case<'_>, error: &GatewayError) -> Story<Verdict> {
    match error {
        GatewayError::Throttled { retry_after } => Ok(case.no_effect(DELETE_TOKEN, *retry_after, error.code()).await),
        GatewayError::Amount(_) | GatewayError::BadToken | GatewayError::Unsupported => case.park(error.code(), false).await,
        GatewayError::Credentials { .. } | GatewayError::Malformed { .. } | GatewayError::Unreachable(_) => {
            Ok(case.no_effect(DELETE_TOKEN, None, error.code()).await)
        }
    }
}

/// As for the token: details that are gone already are deleted.
async fn in_cleeng(case: &mut Case<'_>, gone: &Gone) -> Story<()> {
    if matches!(case.turn::<()>(DELETE_DETAILS)?, StepTurn::Done(())) {
        return Ok(());
    }
    case.begin(DELETE_DETAILS, None, CALL_TIMEOUT).await?;
    match case.world.cleeng.delete_payment_details(&gone.event.details).await {
        Ok(()) => {
            case.done(DELETE_DETAILS, &());
            Ok(())
        }
        Err(CleengError::Refused { .. } | CleengError::NotFound) => Err(case.park("details_deletion_refused", false).await?),
        Err(error @ CleengError::Unknown(_)) => Err(case.leave_unknown(DELETE_DETAILS, error.code()).await),
        Err(CleengError::Throttled { retry_after }) => Err(case.no_effect(DELETE_DETAILS, retry_after, "cleeng_throttled").await),
        Err(error) => Err(case.no_effect(DELETE_DETAILS, None, error.code()).await),
    }
}
