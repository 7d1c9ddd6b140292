//! Another order for a payment whose own order lapsed before Cleeng heard of it, which is when a report got no answer for a day. Cleeng takes no report
//! for an order that lapsed ("Create an order": 24 hours), and an order moves no money: with another one for the same period and the same amount it
//! learns of money that is held or taken.

use std::time::Duration;

use super::case::{Case, StepTurn};
use super::pay::{ORDER, OrderFacts, belongs, new_order};
use super::{Story, read_failed};
use crate::cleeng::webhook::BillingEvent;
use crate::cleeng::{CALL_TIMEOUT, CleengError};
use crate::gateway::Reference;
use crate::ids::OrderId;
use crate::journal::record::StepState;
use crate::metrics::Metric;

/// An order lapses after this long unless it is paid (Cleeng, "Create an order").
const ORDER_LIFE: Duration = Duration::from_secs(24 * 3600);
const ORDER_AGAIN: &str = "order_again";

/// The order that counts: the one that was created again, or the attempt's own.
///
/// # Errors
/// Later, if the record cannot be read.
pub(super) fn current(case: &Case<'_>, own: &OrderId) -> Story<OrderId> {
    Ok(match case.turn::<OrderFacts>(ORDER_AGAIN)? {
        StepTurn::Done(again) => again.id,
        StepTurn::Fresh | StepTurn::Unknown(_) => own.clone(),
    })
}

/// Whether the attempt's order is so old that it must have lapsed.
pub(super) fn is_old(case: &Case<'_>) -> bool {
    let done = |name| case.attempt().and_then(|attempt| attempt.step(name)).filter(|step| matches!(step.state, StepState::Done(_)));
    let step = done(ORDER_AGAIN).or_else(|| done(ORDER));
    step.is_some_and(|step| case.now().since(step.begun_at) >= ORDER_LIFE)
}

/// Creates another order if this one has lapsed, as a step of the open attempt. Nothing where it has not, where that was done before, or where
/// Cleeng asks for another amount now or for none at all.
///
/// # Errors
/// Later, if Cleeng or the journal cannot be reached.
pub(super) async fn make(case: &mut Case<'_>, event: &BillingEvent, order: &OrderId, reference: &Reference) -> Story<Option<OrderId>> {
    let new = case.head.method.clone().and_then(|method| new_order(event, &method));
    let (Some(new), false) = (new, matches!(case.turn::<OrderFacts>(ORDER_AGAIN)?, StepTurn::Done(_))) else { return Ok(None) };
    let amount = case.payment(reference).map(|payment| payment.amount);
    if !has_lapsed(case, order).await? {
        return Ok(None);
    }
    // After an unknown outcome it is simply created once more: it moves no money.
    case.begin(ORDER_AGAIN, None, CALL_TIMEOUT).await?;
    match case.world.cleeng.create_order(&new).await {
        Ok(order) if belongs(&order, &new) && Some(order.total) == amount => {
            case.world.metrics.count(Metric::Warning, &[("reason", "order_lapsed_before_its_report")]);
            case.done(ORDER_AGAIN, &OrderFacts { id: order.id.clone(), total: order.total });
            case.change(reference, |payment, _| {
                payment.order = Some(order.id.clone());
                Ok(())
            })?;
            Ok(Some(order.id))
        }
        Ok(_) | Err(CleengError::Refused { .. } | CleengError::NotFound) => Ok(None),
        Err(CleengError::Throttled { retry_after }) => Err(case.no_effect(ORDER_AGAIN, retry_after, "cleeng_throttled").await),
        Err(error) => Err(case.no_effect(ORDER_AGAIN, None, error.code()).await),
    }
}

/// Asks Cleeng; where it does not tell when the order lapses, its age does.
async fn has_lapsed(case: &Case<'_>, order: &OrderId) -> Story<bool> {
    match case.world.cleeng.order(order).await {
        Ok(order) => Ok(order.expires_at.map_or_else(|| is_old(case), |at| at <= case.now())),
        Err(CleengError::NotFound) => Ok(is_old(case)),
        Err(error) => Err(read_failed(&error)),
    }
}
