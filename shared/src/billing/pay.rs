//! The order, and the authorisation or charge of an attempt.

use serde::{Deserialize, Serialize};

use super::case::{Case, StepTurn};
use super::gateway_step::{self, Call, Fact};
use super::head::{LastCharge, Live};
use super::{Story, later, notified, tokens};
use crate::cleeng::webhook::BillingEvent;
use crate::cleeng::{CALL_TIMEOUT, CleengError, NewOrder, Order};
use crate::flow::{Method, Verdict};
use crate::gateway::{Decline, MerchantInitiated, OperationKind, Reference, StoredToken};
use crate::ids::{ExternalPaymentId, OrderId, PaymentMethodId};
use crate::journal::payment::{PaymentRecord, PaymentState};
use crate::journal::record::{AttemptKind, Turn};
use crate::metrics::Metric;
use crate::money::Money;

/// What is kept of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderFacts {
    /// Its id.
    pub id: OrderId,
    /// What is to be paid: exactly this is asked of the gateway.
    pub total: Money,
}

/// What came of asking for the money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paid {
    /// It is held or taken.
    Done(Reference),
    /// It was refused.
    Declined(Reference, Decline),
    /// It was not asked for: the details that the event names were deleted here, because others took their place.
    DetailsDeleted,
}

/// Why nothing is paid with details, or held any more.
pub const DETAILS_DELETED: &str = "details_deleted";

/// The step that creates the order of an attempt.
pub(super) const ORDER: &str = "order";
const PAY: &str = "pay";

/// Creates the order of an attempt. It moves no money, so after an unknown outcome it is simply created again.
///
/// # Errors
/// Later or parked.
pub async fn order(case: &mut Case<'_>, event: &BillingEvent, method: &PaymentMethodId) -> Story<OrderFacts> {
    if let StepTurn::Done(order) = case.turn(ORDER)? {
        return Ok(order);
    }
    let Some(new) = new_order(event, method) else {
        return Err(case.park("event_lacks_currency_or_country", false).await?);
    };
    case.begin(ORDER, None, CALL_TIMEOUT).await?;
    match case.world.cleeng.create_order(&new).await {
        Ok(order) if belongs(&order, &new) && order.total.minor >= 0 => {
            let facts = OrderFacts { id: order.id, total: order.total };
            case.done(ORDER, &facts);
            Ok(facts)
        }
        Ok(_) => Err(case.park("order_does_not_fit_event", false).await?),
        Err(error) => Err(order_failed(case, &error).await?),
    }
}

/// The order that an event asks for; nothing where it does not say enough.
pub(super) fn new_order(event: &BillingEvent, method: &PaymentMethodId) -> Option<NewOrder> {
    Some(NewOrder {
        customer: event.customer.clone(),
        offer: event.offer.clone(),
        currency: event.currency?,
        country: event.country.clone()?,
        payment_method: method.clone(),
        subscription: event.subscription.clone(),
    })
}

/// Cleeng's answer must speak of the customer, the offer, the method and the currency that were sent.
pub(super) fn belongs(order: &Order, sent: &NewOrder) -> bool {
    order.customer.as_ref().is_none_or(|customer| *customer == sent.customer)
        && order.offer.as_ref().is_none_or(|offer| *offer == sent.offer)
        && order.payment_method.as_ref().is_none_or(|method| *method == sent.payment_method)
        && order.total.currency == sent.currency
}

async fn order_failed(case: &mut Case<'_>, error: &CleengError) -> Story<Verdict> {
    match error {
        CleengError::Refused { .. } | CleengError::NotFound => case.park("order_refused", false).await,
        CleengError::Throttled { retry_after } => Ok(case.no_effect(ORDER, *retry_after, error.code()).await),
        CleengError::Unreachable(_) | CleengError::Unauthorised { .. } | CleengError::Unknown(_) => {
            Ok(case.no_effect(ORDER, None, error.code()).await)
        }
    }
}

/// Asks the gateway for the order's amount with the stored details: to hold it ([`AttemptKind::Authorise`]) or to take it
/// ([`AttemptKind::Charge`]).
///
/// # Errors
/// Later or parked.
pub async fn pay(case: &mut Case<'_>, event: &BillingEvent, method: Method, order: &OrderFacts, kind: AttemptKind) -> Story<Paid> {
    let operation = if kind == AttemptKind::Charge { OperationKind::Charge } else { OperationKind::Authorise };
    if !order.total.is_zero() && !may_be_used(case, event, method).await? {
        case.world.metrics.count(Metric::Warning, &[("reason", DETAILS_DELETED)]);
        return Ok(Paid::DetailsDeleted);
    }
    let reference = attempt_payment(case, event, method, order, operation);
    if order.total.is_zero() {
        return free(case, event, &reference, kind);
    }
    let Some(token) = event.token.clone() else {
        return Err(case.park("event_lacks_token", false).await?);
    };
    let make = |key| {
        let request = MerchantInitiated {
            key,
            reference: reference.clone(),
            amount: order.total,
            token: StoredToken(token),
            customer: event.customer.clone(),
        };
        if operation == OperationKind::Charge { Call::Charge(request) } else { Call::Authorise(request) }
    };
    let fact = match notified::answered(case, PAY, &reference)? {
        Some(fact) => fact,
        None => gateway_step::run(case, PAY, method.gateway, operation, make).await?,
    };
    match fact {
        Fact::Done { external: Some(external), expires_at } => {
            case.change(&reference, |payment, _| {
                payment.expires_at = expires_at;
                Ok(())
            })?;
            held_or_taken(case, event, &reference, &external, kind)
        }
        Fact::Done { external: None, .. } => Err(later("answer_does_not_fit")),
        Fact::Received { external, at, .. } => Err(pending(case, &reference, external, at).await?),
        Fact::Declined(decline) => {
            let refused = decline.payment.clone();
            case.change(&reference, |payment, now| {
                payment.external_payment_id = payment.external_payment_id.take().or(refused);
                payment.become_state(PaymentState::Declined, now)
            })?;
            Ok(Paid::Declined(reference, decline))
        }
    }
}

/// Notes who uses the token before it is used, so that nobody deletes it as unused. False where that came first; what was begun is gone on with.
async fn may_be_used(case: &mut Case<'_>, event: &BillingEvent, method: Method) -> Story<bool> {
    let (Some(token), Turn::Fresh) = (&event.token, case.run.turn(PAY)) else { return Ok(true) };
    let key = tokens::key(&case.world.rules.salt, method.gateway, token);
    // Whoever was at it before they were deactivated does not make them active again.
    let since = case.attempt().map_or(case.now(), |attempt| attempt.opened_at);
    Ok(tokens::pays(&mut case.run.work, &key, &event.payment_details, &event.subscription, since).await?)
}

/// The payment of the open attempt: made with the first intent, found again by its reference.
fn attempt_payment(case: &mut Case<'_>, event: &BillingEvent, method: Method, order: &OrderFacts, operation: OperationKind) -> Reference {
    if let Some(reference) = case.attempt().and_then(|attempt| attempt.reference.clone()) {
        return reference;
    }
    let reference = gateway_step::reference_of(case, method.gateway, operation);
    let mut payment =
        PaymentRecord::starting(reference.clone(), method.gateway, case.run.key(), event.customer.clone(), order.total, case.now());
    payment.subscription = Some(event.subscription.clone());
    payment.details = Some(event.payment_details.clone());
    payment.order = Some(order.id.clone());
    payment.free = order.total.is_zero();
    case.add_payment(payment);
    if let Some(attempt) = case.run.obligation.open_mut() {
        attempt.reference = Some(reference.clone());
    }
    reference
}

/// A free renewal (a coupon of 100 %) asks nothing of the gateway, some of which refuse zero amounts. Cleeng gets our reference as
/// `externalPaymentId`, since it wants one on every payment.
fn free(case: &mut Case<'_>, event: &BillingEvent, reference: &Reference, kind: AttemptKind) -> Story<Paid> {
    let external = ExternalPaymentId::new(reference.as_str()).map_err(|_| later("answer_does_not_fit"))?;
    held_or_taken(case, event, reference, &external, kind)
}

fn held_or_taken(
    case: &mut Case<'_>,
    event: &BillingEvent,
    reference: &Reference,
    external: &ExternalPaymentId,
    kind: AttemptKind,
) -> Story<Paid> {
    let charged = kind == AttemptKind::Charge;
    let mut gateway = None;
    case.change(reference, |payment, now| {
        // Resumed later, it may have moved on already.
        if payment.state == PaymentState::Starting {
            payment.become_state(if charged { PaymentState::Captured } else { PaymentState::Authorised }, now)?;
            payment.authorisation = Some(external.clone());
            payment.external_payment_id = Some(external.clone());
            payment.captured = if charged { payment.amount } else { payment.captured };
            gateway = Some(payment.gateway);
        }
        Ok(())
    })?;
    if let Some(gateway) = gateway {
        case.add_lookup(PaymentRecord::by_gateway(gateway, external), reference);
        if charged {
            case.head.last_charge = Some(LastCharge { at: case.now(), expiration: event.expiration, certain: true });
        } else {
            case.head.live =
                Some(Live { reference: reference.clone(), details: event.payment_details.clone(), expiration: event.expiration });
        }
    }
    Ok(Paid::Done(reference.clone()))
}

/// The gateway took the order and has not said what became of it: the attempt stays open and its event comes back, until the gateway's
/// notification is recorded, or patience ends.
async fn pending(
    case: &mut Case<'_>,
    reference: &Reference,
    external: Option<ExternalPaymentId>,
    at: crate::clock::Timestamp,
) -> Story<Verdict> {
    let mut gateway = None;
    case.change(reference, |payment, _| {
        if payment.external_payment_id.is_none() {
            payment.external_payment_id.clone_from(&external);
            payment.authorisation.clone_from(&external);
            gateway = Some(payment.gateway);
        }
        Ok(())
    })?;
    if let (Some(gateway), Some(external)) = (gateway, &external) {
        case.add_lookup(PaymentRecord::by_gateway(gateway, external), reference);
    }
    if case.now().since(at) > case.world.rules.unknown_deadline {
        return case.park("payment_pending_too_long", true).await;
    }
    // The gateway's notification brings a copy back at once.
    case.keep_queued_event(None);
    Ok(case.put_back(None, "payment_pending").await)
}

#[cfg(test)]
mod tests;
