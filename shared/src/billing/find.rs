//! A payment that an event names: in the journal under Cleeng's id or the gateway's, or, where it was made before this connector, taken into
//! the journal. Must never take over a payment whose gateway, amount or owner would have to be guessed.

use std::collections::BTreeSet;

use super::case::Case;
use super::{Story, read_failed};
use crate::cleeng::webhook::NamedPayment;
use crate::cleeng::{CleengError, Order};
use crate::flow::{Method, World};
use crate::gateway::{GatewayName, GatewayText, IdempotencyKey, OperationKind, Reference};
use crate::ids::{CustomerId, ExternalPaymentId, OrderId, PaymentDetailsId, PaymentId, SubscriptionId};
use crate::journal::payment::{PaymentRecord, PaymentState};
use crate::journal::store::Key;
use crate::money::Money;

/// The gateways that are in use.
#[must_use]
pub fn gateways(world: &World) -> BTreeSet<GatewayName> {
    world.rules.methods.values().map(|method| method.gateway).collect()
}

/// The look-ups under which a payment with these ids can be.
#[must_use]
pub fn lookups(world: &World, payment: Option<&PaymentId>, external: Option<&ExternalPaymentId>) -> Vec<Key> {
    let by_gateway = external
        .into_iter()
        .flat_map(|external| gateways(world).into_iter().map(move |gateway| PaymentRecord::by_gateway(gateway, external)));
    payment.map(PaymentRecord::by_cleeng).into_iter().chain(by_gateway).collect()
}

/// What the journal says about a payment that an event names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is this one, now in work.
    Yes(Reference),
    /// The journal does not know it.
    No,
    /// The event's ids belong to different payments, or its owner is another: nothing is to be done with it.
    Contradiction,
}

/// Finds the payment in a case that was opened with its [`lookups`]. One that is found by the gateway's id alone learns Cleeng's.
///
/// # Errors
/// Later, if the journal cannot be read.
pub fn in_journal(case: &mut Case<'_>, named: &NamedPayment) -> Story<Found> {
    let mut found: BTreeSet<Reference> = BTreeSet::new();
    for key in lookups(case.world, named.payment.as_ref(), named.external.as_ref()) {
        found.extend(case.looked_up(&key)?);
    }
    let Some(reference) = found.pop_first() else { return Ok(Found::No) };
    let Some(record) = case.payment(&reference).filter(|_| found.is_empty()) else { return Ok(Found::Contradiction) };
    if !agrees(record, named) {
        return Ok(Found::Contradiction);
    }
    if let (None, Some(payment)) = (&record.cleeng_payment, &named.payment) {
        case.add_lookup(PaymentRecord::by_cleeng(payment), &reference);
        case.change(&reference, |record, _| {
            record.cleeng_payment = Some(payment.clone());
            Ok(())
        })?;
    }
    Ok(Found::Yes(reference))
}

/// Whatever the event says must be what the journal says, where it says something.
fn agrees(record: &PaymentRecord, named: &NamedPayment) -> bool {
    fn same<T: PartialEq>(ours: Option<&T>, told: Option<&T>) -> bool {
        ours.zip(told).is_none_or(|(ours, told)| ours == told)
    }
    let external = named.external.as_ref();
    // Cleeng may name a payment by the authorisation's id even after its capture got another.
    let externals = [record.external_payment_id.as_ref(), record.authorisation.as_ref()];
    same(record.cleeng_payment.as_ref(), named.payment.as_ref())
        && same(Some(&record.customer), named.customer.as_ref())
        && same(record.order.as_ref(), named.order.as_ref())
        && (external.is_none() || externals.iter().all(Option::is_none) || externals.contains(&external))
}

/// Whose payment it is that the journal does not know, as far as event and Cleeng tell.
pub struct Owner {
    /// The settings of its payment method; nothing where nobody tells which it is.
    pub method: Option<Method>,
    /// Its order, where the event names one that Cleeng still has.
    pub order: Option<Order>,
}

/// Asks Cleeng for the order, and for the payment method where the event does not tell it.
///
/// # Errors
/// Not ours for another connector's method; later if Cleeng cannot be asked.
pub async fn owner(world: &World, named: &NamedPayment) -> Story<Owner> {
    let order = match &named.order {
        Some(order) => order_in_cleeng(world, order).await?,
        None => None,
    };
    let mut told = named.method.clone().or_else(|| order.as_ref().and_then(|order| order.payment_method.clone()));
    if let (None, Some(subscription)) = (&told, &named.subscription) {
        told = match world.cleeng.subscription(subscription).await {
            Ok(subscription) => subscription.payment_method,
            Err(CleengError::NotFound) => None,
            Err(error) => return Err(read_failed(&error)),
        };
    }
    let method = told.map(|method| super::rules::our_method(world, &method)).transpose()?;
    Ok(Owner { method, order })
}

async fn order_in_cleeng(world: &World, order: &OrderId) -> Story<Option<Order>> {
    match world.cleeng.order(order).await {
        Ok(order) => Ok(Some(order)),
        Err(CleengError::NotFound) => Ok(None),
        Err(error) => Err(read_failed(&error)),
    }
}

/// The settings of the payment method of an order; nothing where Cleeng does not tell it.
///
/// # Errors
/// As [`owner`].
pub async fn method_of_order(world: &World, order: &OrderId) -> Story<Option<Method>> {
    let method = order_in_cleeng(world, order).await?.and_then(|order| order.payment_method);
    method.map(|method| super::rules::our_method(world, &method)).transpose()
}

/// A payment that was made before this connector, with everything that must be known of it.
pub struct Stranger {
    /// Its gateway.
    pub gateway: GatewayName,
    /// Cleeng's id.
    pub payment: PaymentId,
    /// The gateway's id.
    pub external: ExternalPaymentId,
    /// Whose.
    pub customer: CustomerId,
    /// Its order.
    pub order: Option<OrderId>,
    /// The details that it was made with.
    pub details: Option<PaymentDetailsId>,
    /// The subscription that it renewed.
    pub subscription: Option<SubscriptionId>,
    /// The whole of it.
    pub amount: Money,
}

impl Stranger {
    /// The reference under which it is taken over, the same whoever does it. It was never sent to the gateway.
    #[must_use]
    pub fn reference(&self, world: &World) -> Reference {
        let name = PaymentRecord::by_gateway(self.gateway, &self.external);
        let gateway = GatewayText(self.gateway.as_str());
        Reference::from_key(&IdempotencyKey::derive(&world.rules.salt, gateway, OperationKind::Charge, name.as_str(), "adopted"))
    }
}

/// Takes a payment into the journal, in memory. `state` is authorised or captured.
///
/// # Errors
/// Later, if the journal cannot be read.
pub async fn adopt(case: &mut Case<'_>, stranger: Stranger, state: PaymentState) -> Story<Reference> {
    let reference = stranger.reference(case.world);
    if case.load_payment(&reference).await? {
        return Ok(reference);
    }
    let now = case.now();
    let Stranger { gateway, payment, external, customer, order, details, subscription, amount } = stranger;
    let mut record = PaymentRecord::starting(reference.clone(), gateway, case.run.key(), customer, amount, now);
    record.become_state(state, now)?;
    if state == PaymentState::Captured {
        record.captured = amount;
    }
    (record.order, record.details, record.subscription) = (order, details, subscription);
    record.cleeng_payment = Some(payment.clone());
    record.authorisation = Some(external.clone());
    record.external_payment_id = Some(external.clone());
    case.add_payment(record);
    case.add_lookup(PaymentRecord::by_cleeng(&payment), &reference);
    case.add_lookup(PaymentRecord::by_gateway(gateway, &external), &reference);
    Ok(reference)
}
