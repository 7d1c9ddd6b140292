//! Which payment a refund is about: one of the journal, or one that was made before this connector, if event and order contain everything
//! that must not be guessed.

use connector::cleeng::Order;
use connector::cleeng::webhook::{NamedPayment, RefundEvent};
use connector::flow::PaymentMethodConfig;
use connector::gateway::Reference;
use connector::journal::payment::PaymentState;
use connector::payments::FlowResult;
use connector::payments::find::{self, JournalLookup, PreexistingPayment, ResolvedMethod};
use connector::payments::obligation_context::ObligationContext;
use connector::reason::ParkReason;

/// The reference of the payment, which is now loaded, or why an operator has to decide.
pub(crate) async fn find_payment(ctx: &mut ObligationContext<'_>, event: &RefundEvent) -> FlowResult<Result<Reference, ParkReason>> {
    match find::find_in_journal(ctx, &event.payment)? {
        JournalLookup::Found(reference) => return Ok(Ok(reference)),
        JournalLookup::Contradiction => return Ok(Err(ParkReason::EventContradictsJournal)),
        JournalLookup::NotFound => {}
    }
    let ResolvedMethod { method, order } = find::resolve_method(ctx.flow_context, &event.payment).await?;
    let Some(method) = method else { return Ok(Err(ParkReason::PaymentMethodUnknown)) };
    match preexisting(event, method, order) {
        Ok(preexisting) => Ok(Ok(find::import(ctx, preexisting, PaymentState::Captured).await?)),
        Err(reason) => Ok(Err(reason)),
    }
}

/// A payment that the journal does not know. The event names it at the gateway; the amount of the payment is in its order alone, and is
/// refunded in whole if the event names none.
fn preexisting(event: &RefundEvent, method: PaymentMethodConfig, order: Option<Order>) -> Result<PreexistingPayment, ParkReason> {
    let NamedPayment { payment, external, customer, subscription, details, operation, .. } = event.payment.clone();
    let (Some(payment), Some(external)) = (payment, external) else { return Err(ParkReason::UnknownPaymentLacksId) };
    let order = order.ok_or(ParkReason::UnknownPaymentLacksOrder)?;
    if operation.is_none() && subscription.is_none() {
        // Cleeng requires the kind of the refunded payment. A wrong one would be noticed only after the money moved.
        return Err(ParkReason::UnknownPaymentLacksOperation);
    }
    let customer = match (customer, order.customer) {
        (Some(from_event), Some(known)) if from_event != known => return Err(ParkReason::EventContradictsOrder),
        (from_event, known) => from_event.or(known).ok_or(ParkReason::UnknownPaymentLacksCustomer)?,
    };
    let (gateway, order, amount) = (method.gateway, Some(order.id), order.total);
    Ok(PreexistingPayment { gateway, payment, external, customer, order, details, subscription, amount })
}
