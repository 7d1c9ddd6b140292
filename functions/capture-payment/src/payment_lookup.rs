//! Which payment is to be captured: one of the journal, or the one that Cleeng lists as authorised for the payment details that the event
//! names, made before this connector.

use connector::cleeng::webhook::{CapturePaymentEvent, NamedPayment};
use connector::cleeng::{Payment, PaymentOperation};
use connector::gateway::{GatewayName, Reference};
use connector::journal::payment::PaymentState;
use connector::payments::find::{self, JournalLookup, PreexistingPayment, ResolvedMethod};
use connector::payments::obligation_context::ObligationContext;
use connector::payments::{FlowResult, deleted_details};
use connector::reason::ParkReason;

/// The reference of the payment, which is now loaded, or why an operator has to decide.
pub(crate) async fn find_payment(
    ctx: &mut ObligationContext<'_>,
    event: &CapturePaymentEvent,
) -> FlowResult<Result<Reference, ParkReason>> {
    let named = &event.payment;
    match find::find_in_journal(ctx, named)? {
        JournalLookup::Found(reference) => return Ok(Ok(reference)),
        JournalLookup::Contradiction => return Ok(Err(ParkReason::EventContradictsJournal)),
        JournalLookup::NotFound => {}
    }
    let ResolvedMethod { method, order } = find::resolve_method(ctx.flow_context, named).await?;
    let Some(method) = method else { return Ok(Err(ParkReason::PaymentMethodUnknown)) };
    if named.subscription.is_some() || named.operation == Some(PaymentOperation::Recurring) {
        return Ok(Err(ParkReason::PaymentOfARenewal));
    }
    let Some(details) = &named.details else { return Ok(Err(ParkReason::PaymentUnknownToJournal)) };
    let listed = deleted_details::authorised_payments(ctx.flow_context, details).await?.into_payments();
    let matching = listed.into_iter().find(|payment| matches_event(payment, named));
    let matching = match matching {
        // Its order has the amount that the list left out.
        Some(payment) if payment.total.is_none() => {
            let of_order = payment.order.clone().or_else(|| named.order.clone());
            let total = match (of_order, order) {
                (Some(id), Some(order)) if id == order.id => Some(order.total),
                (Some(id), _) => find::find_order(ctx.flow_context, &id).await?.map(|order| order.total),
                (None, _) => None,
            };
            Some(Payment { total, ..payment })
        }
        matching => matching,
    };
    match matching.and_then(|payment| preexisting(payment, named, method.gateway)) {
        Some(preexisting) => Ok(Ok(find::import(ctx, preexisting, PaymentState::Authorised).await?)),
        None => Ok(Err(ParkReason::PaymentUnknownToJournal)),
    }
}

/// Every id that the event has must be the payment's.
fn matches_event(payment: &Payment, named: &NamedPayment) -> bool {
    named.payment.as_ref().is_none_or(|id| *id == payment.id)
        && named.external.as_ref().is_none_or(|external| Some(external) == payment.external_payment_id.as_ref())
        && named.order.as_ref().zip(payment.order.as_ref()).is_none_or(|(told, known)| told == known)
        && named.customer.as_ref().zip(payment.customer.as_ref()).is_none_or(|(told, known)| told == known)
}

/// Cleeng's list and its order say everything that must not be guessed, the amount above all.
fn preexisting(payment: Payment, named: &NamedPayment, gateway: GatewayName) -> Option<PreexistingPayment> {
    Some(PreexistingPayment {
        gateway,
        payment: payment.id,
        external: payment.external_payment_id?,
        customer: payment.customer.or_else(|| named.customer.clone())?,
        order: payment.order,
        details: named.details.clone(),
        subscription: None,
        amount: payment.total?,
    })
}
