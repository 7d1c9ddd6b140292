//! Which payment is to be captured: one of the journal, or the one that Cleeng lists as authorised for the payment details that the event
//! names, made before this connector.

use connector::billing::case::Case;
use connector::billing::find::{self, Found, Owner, Stranger};
use connector::billing::{Story, read_failed};
use connector::cleeng::webhook::{CapturePaymentEvent, NamedPayment};
use connector::cleeng::{CleengError, Payment, PaymentOperation};
use connector::gateway::{GatewayName, Reference};
use connector::journal::payment::PaymentState;

/// The payment, now in work, or why an operator has to look.
pub(crate) async fn payment(case: &mut Case<'_>, event: &CapturePaymentEvent) -> Story<Result<Reference, &'static str>> {
    let named = &event.payment;
    match find::in_journal(case, named)? {
        Found::Yes(reference) => return Ok(Ok(reference)),
        Found::Contradiction => return Ok(Err("event_contradicts_journal")),
        Found::No => {}
    }
    let Owner { method, .. } = find::owner(case.world, named).await?;
    let Some(method) = method else { return Ok(Err("whose_event_is_unknown")) };
    if named.subscription.is_some() || named.operation == Some(PaymentOperation::Recurring) {
        return Ok(Err("payment_of_a_renewal"));
    }
    let Some(details) = &named.details else { return Ok(Err("payment_unknown_to_journal")) };
    let listed = match case.world.cleeng.authorised_payments(details).await {
        Ok(listed) => listed,
        Err(CleengError::NotFound) => Vec::new(),
        Err(error) => return Err(read_failed(&error)),
    };
    let meant = listed.into_iter().find(|payment| is_named(payment, named));
    match meant.and_then(|payment| stranger(payment, named, method.gateway)) {
        Some(stranger) => Ok(Ok(find::adopt(case, stranger, PaymentState::Authorised).await?)),
        None => Ok(Err("payment_unknown_to_journal")),
    }
}

/// Every id that the event has must be the payment's.
fn is_named(payment: &Payment, named: &NamedPayment) -> bool {
    named.payment.as_ref().is_none_or(|id| *id == payment.id)
        && named.external.as_ref().is_none_or(|external| Some(external) == payment.external_payment_id.as_ref())
        && named.order.as_ref().zip(payment.order.as_ref()).is_none_or(|(told, known)| told == known)
        && named.customer.as_ref().zip(payment.customer.as_ref()).is_none_or(|(told, known)| told == known)
}

/// Cleeng's list says everything that must not be guessed, its amount above all.
fn stranger(payment: Payment, named: &NamedPayment, gateway: GatewayName) -> Option<Stranger> {
    Some(Stranger {
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
