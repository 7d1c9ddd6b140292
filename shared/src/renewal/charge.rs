//! The order, and the authorisation or charge of an attempt.

use serde::{Deserialize, Serialize};

use crate::cleeng::webhook::BillingEvent;
use crate::cleeng::{CALL_TIMEOUT, CleengError, NewOrder, Order};
use crate::flow::PaymentMethodConfig;
use crate::gateway::{Decline, MerchantInitiated, OperationKind, Reference, StoredToken};
use crate::ids::{ExternalPaymentId, OrderId, PaymentMethodId};
use crate::journal::payment::{NewPayment, PaymentRecord, PaymentState};
use crate::journal::record::{AttemptKind, StepState};
use crate::metrics::Metric;
use crate::money::Money;
use crate::payments::capture::{CAPTURE, take_held_payment};
use crate::payments::cleeng_step::{self, CleengStep, LostAnswer};
use crate::payments::gateway_step::{self, Authorise, Charge, StepResult};
use crate::payments::obligation_context::{ObligationContext, TypedStepState};
use crate::payments::subscription_state::{LastCharge, LiveAuthorisation};
use crate::payments::{FlowResult, late_success, payment_transitions, read_failed, retry, token_usage};
use crate::reason::{CompletionReason, ParkReason, RetryReason};
use crate::renewal::report_new_payment::REPORT;
use crate::renewal::unknown_details::{self, Meaning};
use crate::renewal::{eligibility, replacement_order, retry_limits};

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
/// The step that holds or takes the money of an attempt.
pub(super) const PAY: &str = "pay";

/// Creates the order of an attempt. It moves no money, so after an unknown outcome it is simply created again. An order that lapsed before
/// the money was asked for is replaced: its price may not be today's.
///
/// # Errors
/// `Err(Disposition::Retry)` if it cannot be completed now; `Err(Disposition::Parked)` if an operator has to decide.
pub async fn create_order(case: &mut ObligationContext<'_>, event: &BillingEvent, method: &PaymentMethodId) -> FlowResult<CreatedOrder> {
    if let TypedStepState::Done(order) = case.step_state(ORDER)? {
        if !matches!(case.session.step_state(PAY), StepState::NotStarted) || !replacement_order::is_step_past_lifetime(case, ORDER) {
            return Ok(order);
        }
        case.reopen_step(ORDER);
    }
    let Some(new) = order_request(event, method) else {
        return case.park(ParkReason::EventLacksCurrencyOrCountry, false).await;
    };
    let step = CleengStep { name: ORDER, timeout: CALL_TIMEOUT, lost_answer: LostAnswer::Repeat };
    let call = case.flow_context.cleeng.create_order(&new);
    match cleeng_step::run(case, step, call).await? {
        Ok(order) if order.total.minor >= 0 && is_order_of(case, event, &order, &new).await? => {
            let facts = CreatedOrder { id: order.id, total: order.total };
            case.record_result(ORDER, &facts);
            Ok(facts)
        }
        Ok(_) => case.park(ParkReason::OrderMismatch, false).await,
        Err(CleengError::AmountUnreadable) => case.park(ParkReason::OrderAmountUnreadable, false).await,
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

/// Whether Cleeng's order is the one that was asked for. Its offer may be another where the subscription says so, because a switch was
/// scheduled for this renewal.
///
/// # Errors
/// `Err(Disposition::Retry)` if Cleeng cannot be asked.
pub(super) async fn is_order_of(case: &ObligationContext<'_>, event: &BillingEvent, order: &Order, sent: &NewOrder) -> FlowResult<bool> {
    if !order_matches(order, sent) {
        return Ok(false);
    }
    let Some(other) = order.offer.as_ref().filter(|offer| **offer != sent.offer) else { return Ok(true) };
    let subscription = case.flow_context.cleeng.subscription(&event.subscription).await.map_err(|error| read_failed(&error))?;
    Ok(subscription.switch_pending || subscription.offer.as_ref() == Some(other))
}

/// Cleeng's answer must name the customer, the method and the currency that were sent.
fn order_matches(order: &Order, sent: &NewOrder) -> bool {
    order.customer.as_ref().is_none_or(|customer| *customer == sent.customer)
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
    // Money that the gateway only holds is taken by its capture.
    let taken_at_once =
        operation == OperationKind::Charge && (order.total.is_zero() || !case.gateway(method.gateway)?.capabilities().takes_by_capture);
    let reference = payment_of_attempt(case, event, method, order, (operation, taken_at_once))?;
    if order.total.is_zero() {
        return zero_amount(case, event, &reference);
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
    let was_undecided = matches!(case.step_state::<StepResult>(PAY)?, TypedStepState::Done(StepResult::Received { .. }));
    let forbidden = match case.session.step_state(PAY) {
        StepState::NotStarted => retry_limits::forbidding_decline(case, event, method).await?,
        StepState::Unknown(_) | StepState::Done(_) => None,
    };
    if let Some(decline) = &forbidden {
        case.checkpoint(PAY, &StepResult::Declined(decline.clone()));
    }
    let notified = payment_transitions::authorisation_result(case, PAY, &reference)?;
    let decided = match notified {
        None if was_undecided => gateway_step::query_decision(case, PAY, operation, &reference).await?,
        notified => notified,
    };
    let fact = match decided {
        Some(fact) => fact,
        None if kind == AttemptKind::Charge => gateway_step::run(case, PAY, method.gateway, |key| Charge(request(key))).await?,
        None => gateway_step::run(case, PAY, method.gateway, |key| Authorise(request(key))).await?,
    };
    match fact {
        StepResult::Done { external: Some(external), expires_at, .. } => {
            case.update_payment(&reference, |payment, _| {
                payment.expires_at = expires_at;
                Ok(())
            })?;
            // Between two deliveries the period may have been paid or ended in another way.
            let is_untold = matches!(case.session.step_state(REPORT), StepState::NotStarted)
                && matches!(case.session.step_state(CAPTURE), StepState::NotStarted);
            if is_untold && !eligibility::is_still_due(case, event).await? {
                case.update_payment(&reference, |payment, now| payment.record_success(&external, now).map(drop))?;
                return late_success::hand_over(case, &reference).await;
            }
            unknown_details::record_success(case.flow_context, method.gateway).await?;
            if kind == AttemptKind::Charge {
                take_held_payment(case, &reference, &external).await?;
            }
            record_success(case, event, &reference, &external)
        }
        StepResult::Done { external: None, .. } => Err(retry(RetryReason::AnswerMismatch)),
        StepResult::Received { external, at, .. } => {
            if let Some(external) = external {
                case.record_external_id(&reference, &external)?;
            }
            gateway_step::wait_for_decision(case, method.gateway, at, CompletionReason::PaymentPending).await
        }
        StepResult::Declined(decline) => {
            let is_new = case.payment(&reference).is_some_and(|payment| payment.state != PaymentState::Declined);
            if is_new
                && decline.details_unknown
                && unknown_details::judge(case, method.gateway, &event.subscription).await? == Meaning::TryAgain
            {
                return Err(case.retry_without_effect(PAY, None, RetryReason::GatewayDetailsUnknown).await);
            }
            if is_new && forbidden.is_none() {
                retry_limits::record_decline(case, event, method, &decline).await?;
            }
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

/// The payment of the open attempt: made with the first intent, found again by its reference. Until its money is asked for, it is the
/// payment of the attempt's latest order.
fn payment_of_attempt(
    case: &mut ObligationContext<'_>,
    event: &BillingEvent,
    method: PaymentMethodConfig,
    order: &CreatedOrder,
    (operation, taken_at_once): (OperationKind, bool),
) -> FlowResult<Reference> {
    if let Some(reference) = case.current_attempt().and_then(|attempt| attempt.reference.clone()) {
        if matches!(case.session.step_state(PAY), StepState::NotStarted) {
            case.update_payment(&reference, |payment, _| {
                payment.reprice(order.id.clone(), order.total);
                Ok(())
            })?;
        }
        return Ok(reference);
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
        taken_at_once,
    };
    case.add_payment(PaymentRecord::new(payment, case.session.key(), case.now()));
    case.set_attempt_payment(&reference);
    Ok(reference)
}

/// A free renewal (a coupon of 100 %) asks nothing of the gateway, some of which refuse zero amounts. Cleeng gets our reference as
/// `externalPaymentId`, since it wants one on every payment.
fn zero_amount(case: &mut ObligationContext<'_>, event: &BillingEvent, reference: &Reference) -> FlowResult<ChargeResult> {
    let external = ExternalPaymentId::new(reference.as_str()).map_err(|_| retry(RetryReason::AnswerMismatch))?;
    record_success(case, event, reference, &external)
}

fn record_success(
    case: &mut ObligationContext<'_>,
    event: &BillingEvent,
    reference: &Reference,
    external: &ExternalPaymentId,
) -> FlowResult<ChargeResult> {
    let mut gateway = None;
    case.update_payment(reference, |payment, now| {
        // If it is resumed later, it may have moved on already.
        gateway = payment.record_success(external, now)?.then_some(payment.gateway);
        Ok(())
    })?;
    if let Some(gateway) = gateway {
        case.add_lookup(PaymentRecord::gateway_id_key(gateway, external), reference);
        count_for_subscription(case, event, reference);
    }
    Ok(ChargeResult::Done(reference.clone()))
}

/// Counts a success for the subscription: as its latest charge, or as its live authorisation. In memory.
pub(super) fn count_for_subscription(case: &mut ObligationContext<'_>, event: &BillingEvent, reference: &Reference) {
    match case.payment(reference).map(|payment| payment.state) {
        Some(PaymentState::Captured) => {
            case.subscription_state.last_charge = Some(LastCharge { at: case.now(), expiration: event.expiration, certain: true });
        }
        Some(PaymentState::Authorised) => {
            case.subscription_state.live_authorisation = Some(LiveAuthorisation {
                reference: reference.clone(),
                details: event.payment_details.clone(),
                expiration: event.expiration,
            });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
