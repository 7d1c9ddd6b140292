//! Authorisations that Cleeng knows and the journal does not: made before this connector took over.

use connector::cleeng::webhook::BillingEvent;
use connector::cleeng::{Payment, PaymentStatus};
use connector::flow::PaymentMethodConfig;
use connector::gateway::{OperationKind, Reference};
use connector::ids::ExternalPaymentId;
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::money::Money;
use connector::payments::FlowResult;
use connector::payments::deleted_details::authorised_payments;
use connector::payments::gateway_step::payment_reference;
use connector::payments::obligation_context::{ObligationContext, PaymentLookup};
use connector::payments::subscription_state::LiveAuthorisation;

/// What Cleeng's list of authorised payments offers.
pub(crate) enum ImportedAuthorisation {
    /// Exactly one payment that fits; it is now in the journal.
    One(Reference),
    /// None.
    None,
    /// More than one: which is meant cannot be known.
    Several,
}

/// Takes the one authorised payment of the event's details, customer and offer into the journal, in memory.
pub(crate) async fn import_authorisation(
    ctx: &mut ObligationContext<'_>,
    event: &BillingEvent,
    method: PaymentMethodConfig,
) -> FlowResult<ImportedAuthorisation> {
    let list = authorised_payments(ctx.flow_context, &event.payment_details).await?;
    let mut found = Vec::new();
    for payment in list {
        if let Some((external, amount)) = matches_event(&payment, event)
            && !is_in_journal(ctx, method, &external).await?
        {
            found.push((payment, external, amount));
        }
    }
    if found.len() > 1 {
        return Ok(ImportedAuthorisation::Several);
    }
    let Some((payment, external, amount)) = found.pop() else { return Ok(ImportedAuthorisation::None) };
    Ok(ImportedAuthorisation::One(import_record(ctx, event, method, payment, external, amount)?))
}

fn matches_event(payment: &Payment, event: &BillingEvent) -> Option<(ExternalPaymentId, Money)> {
    let same = payment.status == PaymentStatus::Authorised
        && payment.customer.as_ref().is_none_or(|customer| *customer == event.customer)
        && payment.offer.as_ref().is_none_or(|offer| *offer == event.offer);
    payment.external_payment_id.clone().zip(payment.total).filter(|_| same)
}

/// A payment that the journal knows is not an older one, even if Cleeng still lists it: the journal's word on it stands.
async fn is_in_journal(ctx: &mut ObligationContext<'_>, method: PaymentMethodConfig, external: &ExternalPaymentId) -> FlowResult<bool> {
    let key = PaymentRecord::gateway_id_key(method.gateway, external);
    ctx.session.transaction.load(std::slice::from_ref(&key)).await?;
    Ok(ctx.session.transaction.read::<PaymentLookup>(&key)?.is_some())
}

fn import_record(
    ctx: &mut ObligationContext<'_>,
    event: &BillingEvent,
    method: PaymentMethodConfig,
    payment: Payment,
    external: ExternalPaymentId,
    amount: Money,
) -> FlowResult<Reference> {
    let reference = payment_reference(ctx, method.gateway, OperationKind::Authorise);
    let mut record = PaymentRecord::new(reference.clone(), method.gateway, ctx.session.key(), event.customer.clone(), amount, ctx.now());
    record.subscription = Some(event.subscription.clone());
    record.details = Some(event.payment_details.clone());
    record.order = payment.order;
    record.cleeng_payment = Some(payment.id.clone());
    record.transition_to(PaymentState::Authorised, ctx.now())?;
    record.authorisation = Some(external.clone());
    record.external_payment_id = Some(external.clone());
    ctx.add_payment(record);
    ctx.add_lookup(PaymentRecord::cleeng_id_key(&payment.id), &reference);
    ctx.add_lookup(PaymentRecord::gateway_id_key(method.gateway, &external), &reference);
    ctx.subscription_state.live_authorisation =
        Some(LiveAuthorisation { reference: reference.clone(), details: event.payment_details.clone(), expiration: event.expiration });
    if let Some(attempt) = ctx.session.obligation.current_attempt_mut() {
        attempt.reference = Some(reference.clone());
    }
    Ok(reference)
}
