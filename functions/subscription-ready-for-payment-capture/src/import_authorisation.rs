//! Authorisations that Cleeng knows and the journal does not: made before this connector took over.

use connector::cleeng::webhook::BillingEvent;
use connector::cleeng::{Payment, PaymentStatus};
use connector::flow::PaymentMethodConfig;
use connector::gateway::Reference;
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::payments::FlowResult;
use connector::payments::deleted_details::authorised_payments;
use connector::payments::find::{self, PreexistingPayment};
use connector::payments::obligation_context::ObligationContext;
use connector::payments::subscription_state::LiveAuthorisation;

/// What Cleeng's list of authorised payments offers.
pub(crate) enum ListedAuthorisation {
    /// Exactly one payment that fits.
    One(PreexistingPayment),
    /// None.
    None,
    /// More than one: which is meant cannot be known.
    Several,
}

/// Looks for the authorised payment of the event's details, customer and offer that the journal does not know.
pub(crate) async fn find_authorisation(
    ctx: &mut ObligationContext<'_>,
    event: &BillingEvent,
    method: PaymentMethodConfig,
) -> FlowResult<ListedAuthorisation> {
    let mut found = Vec::new();
    for payment in authorised_payments(ctx.flow_context, &event.payment_details).await?.into_payments() {
        if let Some(payment) = preexisting(payment, event, method)
            && !is_in_journal(ctx, &payment).await?
        {
            found.push(payment);
        }
    }
    if found.len() > 1 {
        return Ok(ListedAuthorisation::Several);
    }
    Ok(found.pop().map_or(ListedAuthorisation::None, ListedAuthorisation::One))
}

/// Takes such a payment into the journal, in memory, as that of the open attempt.
pub(crate) async fn import_authorisation(
    ctx: &mut ObligationContext<'_>,
    event: &BillingEvent,
    payment: PreexistingPayment,
) -> FlowResult<Reference> {
    let reference = find::import(ctx, payment, PaymentState::Authorised).await?;
    ctx.subscription_state.live_authorisation =
        Some(LiveAuthorisation { reference: reference.clone(), details: event.payment_details.clone(), expiration: event.expiration });
    ctx.set_attempt_payment(&reference);
    Ok(reference)
}

/// The payment, if it is an authorisation that fits the event.
fn preexisting(payment: Payment, event: &BillingEvent, method: PaymentMethodConfig) -> Option<PreexistingPayment> {
    let fits = payment.status == PaymentStatus::Authorised
        && payment.customer.is_none_or(|customer| customer == event.customer)
        && payment.offer.is_none_or(|offer| offer == event.offer);
    let (external, amount) = payment.external_payment_id.zip(payment.total).filter(|_| fits)?;
    Some(PreexistingPayment {
        gateway: method.gateway,
        payment: payment.id,
        external,
        customer: event.customer.clone(),
        order: payment.order,
        details: Some(event.payment_details.clone()),
        subscription: Some(event.subscription.clone()),
        amount,
    })
}

/// A payment that the journal knows is not an older one, even if Cleeng still lists it: the journal's word on it stands.
async fn is_in_journal(ctx: &mut ObligationContext<'_>, payment: &PreexistingPayment) -> FlowResult<bool> {
    let key = PaymentRecord::gateway_id_key(payment.gateway, &payment.external);
    ctx.session.transaction.load(std::slice::from_ref(&key)).await?;
    Ok(ctx.resolve_lookup(&key)?.is_some())
}
