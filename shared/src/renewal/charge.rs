//! The order, and the authorisation or charge of an attempt.

use serde::{Deserialize, Serialize};

use crate::cleeng::webhook::BillingEvent;
use crate::cleeng::{CALL_TIMEOUT, NewOrder, Order};
use crate::flow::PaymentMethodConfig;
use crate::gateway::{Decline, MerchantInitiated, OperationKind, Reference, StoredToken};
use crate::ids::{ExternalPaymentId, OrderId, PaymentMethodId};
use crate::journal::payment::{NewPayment, PaymentRecord, PaymentState};
use crate::journal::record::{AttemptKind, StepState};
use crate::metrics::Metric;
use crate::money::Money;
use crate::payments::cleeng_step::{self, CleengStep, LostAnswer};
use crate::payments::gateway_step::{self, Authorise, Charge, StepResult};
use crate::payments::obligation_context::{ObligationContext, TypedStepState};
use crate::payments::subscription_state::{LastCharge, LiveAuthorisation};
use crate::payments::{FlowResult, payment_transitions, retry, token_usage};
use crate::reason::CompletionReason;
use crate::reason::{ParkReason, RetryReason};

/// What is kept of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedOrder {
    /// Its id.
    pub id: OrderId,
    /// What is to be paid: exactly this is asked of the gateway.
    pub total: Money,
}

/// The result of asking for the money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChargeResult {
    /// It is held or taken.
    Done(Reference),
    /// It was refused.
    Declined(Reference, Decline),
    /// It was not asked for: the details that the event names were deleted here, because others replaced them.
    DetailsDeleted,
}

/// Why nothing is paid with details, or held any more.
pub const DETAILS_DELETED: CompletionReason = CompletionReason::DetailsDeleted;

/// The step that creates the order of an attempt.
pub(super) const ORDER: &str = "order";
const PAY: &str = "pay";

/// Creates the order of an attempt. It moves no money, so after an unknown outcome it is simply created again.
///
/// # Errors
/// `Err(Disposition::Retry)` if it cannot be completed now; `Err(Disposition::Parked)` if an operator has to decide.
pub async fn create_order(case: &mut ObligationContext<'_>, event: &BillingEvent, method: &PaymentMethodId) -> FlowResult<CreatedOrder> {
    if let TypedStepState::Done(order) = case.step_state(ORDER)? {
        return Ok(order);
    }
    let Some(new) = order_request(event, method) else {
        return case.park(ParkReason::EventLacksCurrencyOrCountry, false).await;
    };
    let step = CleengStep { name: ORDER, timeout: CALL_TIMEOUT, lost_answer: LostAnswer::Repeat };
    let call = case.flow_context.cleeng.create_order(&new);
    match cleeng_step::run(case, step, call).await? {
        Ok(order) if order_matches(&order, &new) && order.total.minor >= 0 => {
            let facts = CreatedOrder { id: order.id, total: order.total };
            case.record_result(ORDER, &facts);
            Ok(facts)
        }
        Ok(_) => case.park(ParkReason::OrderMismatch, false).await,
        Err(_) => case.park(ParkReason::OrderRefused, false).await,
    }
}

/// The order that an event asks for; `None` if the event does not say enough.
pub(super) fn order_request(event: &BillingEvent, method: &PaymentMethodId) -> Option<NewOrder> {
    Some(NewOrder {
        customer: event.customer.clone(),
        offer: event.offer.clone(),
        currency: event.currency?,
        country: event.country.clone()?,
        payment_method: method.clone(),
        subscription: event.subscription.clone(),
    })
}

/// Cleeng's answer must name the customer, the offer, the method and the currency that were sent.
pub(super) fn order_matches(order: &Order, sent: &NewOrder) -> bool {
    order.customer.as_ref().is_none_or(|customer| *customer == sent.customer)
        && order.offer.as_ref().is_none_or(|offer| *offer == sent.offer)
        && order.payment_method.as_ref().is_none_or(|method| *method == sent.payment_method)
        && order.total.currency == sent.currency
}

/// Asks the gateway for the order's amount with the stored details: to hold it ([`AttemptKind::Authorise`]) or to take it
/// ([`AttemptKind::Charge`]).
///
/// # Errors
/// `Err(Disposition::Retry)` if it cannot be completed now; `Err(Disposition::Parked)` if an operator has to decide.
pub async fn authorise_or_charge(
    case: &mut ObligationContext<'_>,
    event: &BillingEvent,
    method: PaymentMethodConfig,
    order: &CreatedOrder,
    kind: AttemptKind,
) -> FlowResult<ChargeResult> {
    let operation = if kind == AttemptKind::Charge { OperationKind::Charge } else { OperationKind::Authorise };
    if !order.total.is_zero() && !reserve_token(case, event, method).await? {
        case.flow_context.metrics.count(Metric::Warning, &[("reason", DETAILS_DELETED.as_str())]);
        return Ok(ChargeResult::DetailsDeleted);
    }
    let reference = payment_of_attempt(case, event, method, order, operation);
    if order.total.is_zero() {
        return zero_amount(case, event, &reference, kind);
    }
    let Some(token) = event.token.clone() else {
        return case.park(ParkReason::EventLacksToken, false).await;
    };
    let request = |key| MerchantInitiated {
        key,
        reference: reference.clone(),
        amount: order.total,
        token: StoredToken(token),
        customer: event.customer.clone(),
    };
    let fact = match payment_transitions::authorisation_result(case, PAY, &reference)? {
        Some(fact) => fact,
        None if kind == AttemptKind::Charge => gateway_step::run(case, PAY, method.gateway, |key| Charge(request(key))).await?,
        None => gateway_step::run(case, PAY, method.gateway, |key| Authorise(request(key))).await?,
    };
    match fact {
        StepResult::Done { external: Some(external), expires_at } => {
            case.update_payment(&reference, |payment, _| {
                payment.expires_at = expires_at;
                Ok(())
            })?;
            record_success(case, event, &reference, &external, kind)
        }
        StepResult::Done { external: None, .. } => Err(retry(RetryReason::AnswerMismatch)),
        StepResult::Received { external, at, .. } => payment_pending(case, &reference, external, at).await,
        StepResult::Declined(decline) => {
            let refused = decline.payment.clone();
            case.update_payment(&reference, |payment, now| {
                payment.external_payment_id = payment.external_payment_id.take().or(refused);
                payment.transition_to(PaymentState::Declined, now)
            })?;
            Ok(ChargeResult::Declined(reference, decline))
        }
    }
}

/// Registers this payment as a user of the token. Returns false if deletion of the token has already started. A payment that has already
/// started continues.
async fn reserve_token(case: &mut ObligationContext<'_>, event: &BillingEvent, method: PaymentMethodConfig) -> FlowResult<bool> {
    let (Some(token), StepState::NotStarted) = (&event.token, case.session.step_state(PAY)) else { return Ok(true) };
    let key = token_usage::token_key(&case.flow_context.policy.salt, method.gateway, token);
    // A payment that started before the deactivation does not make the details active again.
    let since = case.current_attempt().map_or(case.now(), |attempt| attempt.opened_at);
    Ok(token_usage::register_payment(&mut case.session.transaction, &key, &event.payment_details, &event.subscription, since).await?)
}

/// The payment of the open attempt: made with the first intent, found again by its reference.
fn payment_of_attempt(
    case: &mut ObligationContext<'_>,
    event: &BillingEvent,
    method: PaymentMethodConfig,
    order: &CreatedOrder,
    operation: OperationKind,
) -> Reference {
    if let Some(reference) = case.current_attempt().and_then(|attempt| attempt.reference.clone()) {
        return reference;
    }
    let reference = gateway_step::payment_reference(case, method.gateway, operation);
    let payment = NewPayment {
        reference: reference.clone(),
        gateway: method.gateway,
        subscription: Some(event.subscription.clone()),
        customer: event.customer.clone(),
        details: Some(event.payment_details.clone()),
        order: Some(order.id.clone()),
        amount: order.total,
        zero_amount: order.total.is_zero(),
    };
    case.add_payment(PaymentRecord::new(payment, case.session.key(), case.now()));
    case.set_attempt_payment(&reference);
    reference
}

/// A free renewal (a coupon of 100 %) asks nothing of the gateway, some of which refuse zero amounts. Cleeng gets our reference as
/// `externalPaymentId`, since it wants one on every payment.
fn zero_amount(
    case: &mut ObligationContext<'_>,
    event: &BillingEvent,
    reference: &Reference,
    kind: AttemptKind,
) -> FlowResult<ChargeResult> {
    let external = ExternalPaymentId::new(reference.as_str()).map_err(|_| retry(RetryReason::AnswerMismatch))?;
    record_success(case, event, reference, &external, kind)
}

fn record_success(
    case: &mut ObligationContext<'_>,
    event: &BillingEvent,
    reference: &Reference,
    external: &ExternalPaymentId,
    kind: AttemptKind,
) -> FlowResult<ChargeResult> {
    let charged = kind == AttemptKind::Charge;
    let mut gateway = None;
    case.update_payment(reference, |payment, now| {
        // If it is resumed later, it may have moved on already.
        if payment.state == PaymentState::Starting {
            payment.transition_to(if charged { PaymentState::Captured } else { PaymentState::Authorised }, now)?;
            payment.authorisation = Some(external.clone());
            payment.external_payment_id = Some(external.clone());
            payment.captured = if charged { payment.amount } else { payment.captured };
            gateway = Some(payment.gateway);
        }
        Ok(())
    })?;
    if let Some(gateway) = gateway {
        case.add_lookup(PaymentRecord::gateway_id_key(gateway, external), reference);
        if charged {
            case.subscription_state.last_charge = Some(LastCharge { at: case.now(), expiration: event.expiration, certain: true });
        } else {
            case.subscription_state.live_authorisation = Some(LiveAuthorisation {
                reference: reference.clone(),
                details: event.payment_details.clone(),
                expiration: event.expiration,
            });
        }
    }
    Ok(ChargeResult::Done(reference.clone()))
}

/// The gateway acknowledged the payment and has not reported the result: the attempt stays open and its event is retried, until the
/// gateway's notification is recorded, or the retry window ends.
async fn payment_pending(
    case: &mut ObligationContext<'_>,
    reference: &Reference,
    external: Option<ExternalPaymentId>,
    at: crate::clock::Timestamp,
) -> FlowResult<ChargeResult> {
    let mut gateway = None;
    case.update_payment(reference, |payment, _| {
        if payment.external_payment_id.is_none() {
            payment.external_payment_id.clone_from(&external);
            payment.authorisation.clone_from(&external);
            gateway = Some(payment.gateway);
        }
        Ok(())
    })?;
    if let (Some(gateway), Some(external)) = (gateway, &external) {
        case.add_lookup(PaymentRecord::gateway_id_key(gateway, external), reference);
    }
    if case.now().since(at) > case.flow_context.policy.unknown_deadline {
        return case.park(ParkReason::PaymentPendingTooLong, true).await;
    }
    // The gateway's notification requeues a copy at once.
    case.store_queued_event(None);
    Err(case.retry_later(None, RetryReason::PaymentPending).await)
}

#[cfg(test)]
mod tests;
