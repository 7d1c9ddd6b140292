//! Authorisations that Cleeng knows and the journal does not: made before this connector took over.

use connector::billing::Story;
use connector::billing::case::{Case, Lookup};
use connector::billing::deleted::authorised_payments;
use connector::billing::gateway_step::reference_of;
use connector::billing::head::Live;
use connector::cleeng::webhook::BillingEvent;
use connector::cleeng::{Payment, PaymentStatus};
use connector::flow::Method;
use connector::gateway::{OperationKind, Reference};
use connector::ids::ExternalPaymentId;
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::money::Money;

/// What Cleeng's list of authorised payments offers.
pub(crate) enum Adopted {
    /// Exactly one payment that fits; it is now in the journal.
    One(Reference),
    /// None.
    None,
    /// More than one: which is meant cannot be known.
    Several,
}

/// Takes the one authorised payment of the event's details, customer and offer into the journal, in memory.
pub(crate) async fn adopt_authorisation(case: &mut Case<'_>, event: &BillingEvent, method: Method) -> Story<Adopted> {
    let list = authorised_payments(case.world, &event.payment_details).await?;
    let mut found = Vec::new();
    for payment in list {
        if let Some((external, amount)) = fits(&payment, event)
            && !is_journaled(case, method, &external).await?
        {
            found.push((payment, external, amount));
        }
    }
    if found.len() > 1 {
        return Ok(Adopted::Several);
    }
    let Some((payment, external, amount)) = found.pop() else { return Ok(Adopted::None) };
    Ok(Adopted::One(take_over(case, event, method, payment, external, amount)?))
}

fn fits(payment: &Payment, event: &BillingEvent) -> Option<(ExternalPaymentId, Money)> {
    let same = payment.status == PaymentStatus::Authorised
        && payment.customer.as_ref().is_none_or(|customer| *customer == event.customer)
        && payment.offer.as_ref().is_none_or(|offer| *offer == event.offer);
    payment.external_payment_id.clone().zip(payment.total).filter(|_| same)
}

/// A payment that the journal knows is not an older one, even if Cleeng still lists it: the journal's word on it stands.
async fn is_journaled(case: &mut Case<'_>, method: Method, external: &ExternalPaymentId) -> Story<bool> {
    let key = PaymentRecord::by_gateway(method.gateway, external);
    case.run.work.load(std::slice::from_ref(&key)).await?;
    Ok(case.run.work.read::<Lookup>(&key)?.is_some())
}

fn take_over(
    case: &mut Case<'_>,
    event: &BillingEvent,
    method: Method,
    payment: Payment,
    external: ExternalPaymentId,
    amount: Money,
) -> Story<Reference> {
    let reference = reference_of(case, method.gateway, OperationKind::Authorise);
    let mut record = PaymentRecord::starting(reference.clone(), method.gateway, case.run.key(), event.customer.clone(), amount, case.now());
    record.subscription = Some(event.subscription.clone());
    record.details = Some(event.payment_details.clone());
    record.order = payment.order;
    record.cleeng_payment = Some(payment.id.clone());
    record.become_state(PaymentState::Authorised, case.now())?;
    record.authorisation = Some(external.clone());
    record.external_payment_id = Some(external.clone());
    case.add_payment(record);
    case.add_lookup(PaymentRecord::by_cleeng(&payment.id), &reference);
    case.add_lookup(PaymentRecord::by_gateway(method.gateway, &external), &reference);
    case.head.live = Some(Live { reference: reference.clone(), details: event.payment_details.clone(), expiration: event.expiration });
    if let Some(attempt) = case.run.obligation.open_mut() {
        attempt.reference = Some(reference.clone());
    }
    Ok(reference)
}
