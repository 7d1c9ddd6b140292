//! Another order for a payment whose own order lapsed before it was reported to Cleeng, which happens if a report got no answer for a day.
//! Cleeng takes no report for an order that lapsed ("Create an order": 24 hours), and an order moves no money: with another one for the
//! same period and the same amount the held or captured money can be reported.

use std::time::Duration;

use crate::cleeng::webhook::BillingEvent;
use crate::cleeng::{CALL_TIMEOUT, CleengError};
use crate::gateway::Reference;
use crate::ids::OrderId;
use crate::journal::record::StepStatus;
use crate::metrics::Metric;
use crate::payments::cleeng_step::{self, CleengStep, LostAnswer};
use crate::payments::obligation_context::{ObligationContext, TypedStepState};
use crate::payments::{FlowResult, read_failed};
use crate::renewal::charge::{CreatedOrder, ORDER, order_matches, order_request};

/// An order lapses after this long unless it is paid (Cleeng, "Create an order").
const ORDER_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const REPLACEMENT_ORDER: &str = "replacement_order";

/// The order that counts: the replacement, or the attempt's own.
///
/// # Errors
/// `Err(Disposition::Retry)` if the record cannot be read.
pub(crate) fn current_order(case: &ObligationContext<'_>, own: &OrderId) -> FlowResult<OrderId> {
    Ok(match case.step_state::<CreatedOrder>(REPLACEMENT_ORDER)? {
        TypedStepState::Done(replacement) => replacement.id,
        TypedStepState::NotStarted | TypedStepState::Unknown(_) => own.clone(),
    })
}

/// Whether the attempt's order is so old that it must have lapsed.
pub(crate) fn is_past_lifetime(case: &ObligationContext<'_>) -> bool {
    let done =
        |name| case.current_attempt().and_then(|attempt| attempt.step(name)).filter(|step| matches!(step.state, StepStatus::Done(_)));
    let step = done(REPLACEMENT_ORDER).or_else(|| done(ORDER));
    step.is_some_and(|step| case.now().since(step.started_at) >= ORDER_LIFETIME)
}

/// Creates another order if this one has lapsed, as a step of the open attempt. `None` if it has not lapsed, if that was done before, or if
/// Cleeng now asks for another amount or for none at all.
///
/// # Errors
/// `Err(Disposition::Retry)` if Cleeng or the journal cannot be reached.
pub(crate) async fn create_replacement(
    case: &mut ObligationContext<'_>,
    event: &BillingEvent,
    order: &OrderId,
    reference: &Reference,
) -> FlowResult<Option<OrderId>> {
    let new = case.subscription_state.method.clone().and_then(|method| order_request(event, &method));
    let (Some(new), false) = (new, matches!(case.step_state::<CreatedOrder>(REPLACEMENT_ORDER)?, TypedStepState::Done(_))) else {
        return Ok(None);
    };
    let amount = case.payment(reference).map(|payment| payment.amount);
    if !has_lapsed(case, order).await? {
        return Ok(None);
    }
    // After an unknown outcome it is simply created once more: it moves no money.
    let step = CleengStep { name: REPLACEMENT_ORDER, timeout: CALL_TIMEOUT, lost_answer: LostAnswer::Repeat };
    let call = case.flow_context.cleeng.create_order(&new);
    match cleeng_step::run(case, step, call).await? {
        Ok(order) if order_matches(&order, &new) && Some(order.total) == amount => {
            case.flow_context.metrics.count(Metric::Warning, &[("reason", "order_lapsed_before_its_report")]);
            case.record_result(REPLACEMENT_ORDER, &CreatedOrder { id: order.id.clone(), total: order.total });
            case.update_payment(reference, |payment, _| {
                payment.order = Some(order.id.clone());
                Ok(())
            })?;
            Ok(Some(order.id))
        }
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Asks Cleeng; if it does not say when the order lapses, the order's age decides.
async fn has_lapsed(case: &ObligationContext<'_>, order: &OrderId) -> FlowResult<bool> {
    match case.flow_context.cleeng.order(order).await {
        Ok(order) => Ok(order.expires_at.map_or_else(|| is_past_lifetime(case), |at| at <= case.now())),
        Err(CleengError::NotFound) => Ok(is_past_lifetime(case)),
        Err(error) => Err(read_failed(&error)),
    }
}
