//! When stored details that were declined are tried again: not while the card network, the bank or the gateway forbids it, and not more often
//! than the networks allow. An attempt that is not made is told `rejected` like the decline that forbids it, so that Cleeng's dunning goes on
//! until the customer replaces the details, the gateway updates them, or the subscription ends.

use std::time::Duration;

use crate::cleeng::webhook::BillingEvent;
use crate::flow::PaymentMethodConfig;
use crate::gateway::{Decline, DeclineClass};
use crate::journal::record::RefusedDetails;
use crate::metrics::Metric;
use crate::payments::obligation_context::ObligationContext;
use crate::payments::{FlowResult, token_usage};

/// How long a declined try counts (Visa Core Rules, "Reattempts": at most 15 declined tries of one account in 30 days).
pub(super) const DECLINE_WINDOW: Duration = Duration::from_secs(30 * 24 * 3600);
/// The code of an attempt that is not made because its details were declined too often.
const TOO_MANY_DECLINES: &str = "too_many_declines";

/// The decline that stands for an attempt which must not be made now; `None` if it may be.
///
/// # Errors
/// `Err(Disposition::Retry)` if the journal cannot be read.
pub(super) async fn forbidding_decline(
    case: &mut ObligationContext<'_>,
    event: &BillingEvent,
    method: PaymentMethodConfig,
) -> FlowResult<Option<Decline>> {
    let Some(token) = &event.token else { return Ok(None) };
    let (now, limit) = (case.now(), case.flow_context.policy.max_declines);
    let key = token_usage::token_key(&case.flow_context.policy.salt, method.gateway, token);
    let history = token_usage::decline_history(&mut case.session.transaction, &key, DECLINE_WINDOW, now).await?;
    let refused = case.session.obligation.refused_details.as_ref();
    let refused = refused.filter(|refused| refused.token == key.as_str() && history.updated_at.is_none_or(|at| at < refused.at));
    let forbidden = match refused {
        Some(refused) if refused.decline.retry.is_some_and(|advice| advice.forbids(refused.at, now)) => Some(refused.decline.clone()),
        _ if history.declines >= limit => Some(Decline::new(DeclineClass::Risk, TOO_MANY_DECLINES)),
        _ => None,
    };
    if forbidden.is_some() {
        case.flow_context.metrics.count(Metric::Warning, &[("reason", "details_not_tried_again")]);
    }
    Ok(forbidden)
}

/// Records that the gateway declined a payment with the event's details, in memory.
///
/// # Errors
/// `Err(Disposition::Retry)` if the journal cannot be read.
pub(super) async fn record_decline(
    case: &mut ObligationContext<'_>,
    event: &BillingEvent,
    method: PaymentMethodConfig,
    decline: &Decline,
) -> FlowResult<()> {
    let Some(token) = &event.token else { return Ok(()) };
    let now = case.now();
    let key = token_usage::token_key(&case.flow_context.policy.salt, method.gateway, token);
    token_usage::record_decline(&mut case.session.transaction, &key, DECLINE_WINDOW, now).await?;
    case.session.obligation.refused_details = decline.retry.map(|_| RefusedDetails {
        token: key.as_str().to_owned(),
        // Cleeng gets every payment of the gateway once.
        decline: Decline { payment: None, ..decline.clone() },
        at: now,
    });
    Ok(())
}
