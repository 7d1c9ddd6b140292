//! Another order for a payment whose own order lapsed before it was reported to Cleeng, which happens if a report got no answer for a day.
//! Cleeng takes no report for an order that lapsed ("Create an order": 24 hours), and an order moves no money: with another one for the
//! same period and the same amount the held or captured money can be reported.

use std::time::Duration;

use crate::cleeng::webhook::BillingEvent;
use crate::cleeng::{CALL_TIMEOUT, CleengError};
use crate::gateway::Reference;
use crate::ids::OrderId;
use crate::journal::record::{AttemptKind, StepState, StepStatus};
use crate::metrics::Metric;
use crate::payments::cleeng_step::{self, CleengStep, LostAnswer};
use crate::payments::obligation_context::{ObligationContext, TypedStepState};
use crate::payments::{FlowResult, read_failed};
use crate::renewal::charge::{CreatedOrder, ORDER, is_order_of, order_request};

const REPLACEMENT_ORDER: &str = "replacement_order";
/// An order lapses after this long unless it is paid (Cleeng, "Create an order").
const ORDER_LIFETIME: Duration = Duration::from_secs(24 * 3600);

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

/// Whether the order that counts is so old that it must have lapsed. That of a late success was made by an attempt that ended before.
pub(crate) fn is_past_lifetime(case: &ObligationContext<'_>) -> bool {
    let is_replaced = matches!(case.session.step_state(REPLACEMENT_ORDER), StepState::Done(_));
    if case.current_attempt().is_some_and(|attempt| attempt.kind == AttemptKind::LateSuccess) {
        return !is_replaced;
    }
    is_step_past_lifetime(case, if is_replaced { REPLACEMENT_ORDER } else { ORDER })
}

/// Whether the order that this step made is so old that it must have lapsed.
pub(crate) fn is_step_past_lifetime(case: &ObligationContext<'_>, step: &str) -> bool {
    let step = case.current_attempt().and_then(|attempt| attempt.step(step));
    step.is_some_and(|step| matches!(step.state, StepStatus::Done(_)) && case.now().since(step.started_at) >= ORDER_LIFETIME)
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
        Ok(order) if Some(order.total) == amount && is_order_of(case, event, &order, &new).await? => {
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
