//! A payment that an event names: found in the journal under Cleeng's id or the gateway's, or, if it was made before this connector,
//! imported into the journal. Must never import a payment whose gateway, amount or owner would have to be guessed.

use std::collections::BTreeSet;

use super::obligation_context::ObligationContext;
use super::{FlowResult, configured_method, read_failed};
use crate::cleeng::webhook::NamedPayment;
use crate::cleeng::{CleengError, Order};
use crate::flow::{FlowContext, PaymentMethodConfig};
use crate::gateway::{GatewayName, GatewayText, IdempotencyKey, OperationKind, Reference};
use crate::ids::{CustomerId, ExternalPaymentId, OrderId, PaymentDetailsId, PaymentId, SubscriptionId};
use crate::journal::payment::{NewPayment, PaymentRecord, PaymentState};
use crate::journal::store::Key;
use crate::money::Money;

/// The gateways that are in use.
#[must_use]
pub fn configured_gateways(flow_context: &FlowContext) -> BTreeSet<GatewayName> {
    flow_context.policy.methods.values().map(|method| method.gateway).collect()
}

/// The look-ups under which a payment with these ids can be.
#[must_use]
pub fn lookup_keys(flow_context: &FlowContext, payment: Option<&PaymentId>, external: Option<&ExternalPaymentId>) -> Vec<Key> {
    let by_gateway = external.into_iter().flat_map(|external| {
        configured_gateways(flow_context).into_iter().map(move |gateway| PaymentRecord::gateway_id_key(gateway, external))
    });
    payment.map(PaymentRecord::cleeng_id_key).into_iter().chain(by_gateway).collect()
}

/// What the journal says about a payment that an event names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalLookup {
    /// It is this one, now in work.
    Found(Reference),
    /// The journal does not know it.
    NotFound,
    /// The event's ids belong to different payments, or its owner is another: nothing is to be done with it.
    Contradiction,
}

/// Finds the payment in a context that was opened with its [`lookup_keys`]. A payment that is found by the gateway's id alone gets Cleeng's
/// id.
///
/// # Errors
/// `Err(Disposition::Retry)` if the journal cannot be read.
pub fn find_in_journal(case: &mut ObligationContext<'_>, named: &NamedPayment) -> FlowResult<JournalLookup> {
    let mut found: BTreeSet<Reference> = BTreeSet::new();
    for key in lookup_keys(case.flow_context, named.payment.as_ref(), named.external.as_ref()) {
        found.extend(case.resolve_lookup(&key)?);
    }
    let Some(reference) = found.pop_first() else { return Ok(JournalLookup::NotFound) };
    let Some(record) = case.payment(&reference).filter(|_| found.is_empty()) else { return Ok(JournalLookup::Contradiction) };
    if !matches_event(record, named) {
        return Ok(JournalLookup::Contradiction);
    }
    if let (None, Some(payment)) = (&record.cleeng_payment, &named.payment) {
        case.add_lookup(PaymentRecord::cleeng_id_key(payment), &reference);
        case.update_payment(&reference, |record, _| {
            record.cleeng_payment = Some(payment.clone());
            Ok(())
        })?;
    }
    Ok(JournalLookup::Found(reference))
}

/// Every field that the event names must match the journal's, if the journal has one.
fn matches_event(record: &PaymentRecord, named: &NamedPayment) -> bool {
    fn same<T: PartialEq>(ours: Option<&T>, theirs: Option<&T>) -> bool {
        ours.zip(theirs).is_none_or(|(ours, theirs)| ours == theirs)
    }
    let external = named.external.as_ref();
    // Cleeng may name a payment by the authorisation's id even after its capture got another.
    let externals = [record.external_payment_id.as_ref(), record.authorisation.as_ref()];
    same(record.cleeng_payment.as_ref(), named.payment.as_ref())
        && same(Some(&record.customer), named.customer.as_ref())
        && same(record.order.as_ref(), named.order.as_ref())
        && (external.is_none() || externals.iter().all(Option::is_none) || externals.contains(&external))
}

/// The owner of a payment that the journal does not know, as far as the event and Cleeng say.
pub struct ResolvedMethod {
    /// The settings of its payment method; `None` if neither says which it is.
    pub method: Option<PaymentMethodConfig>,
    /// Its order, if the event names one that Cleeng still has.
    pub order: Option<Order>,
}

/// Asks Cleeng for the order, and for the payment method if the event does not name it.
///
/// # Errors
/// `Err(Disposition::NotOurs)` for another connector's method; `Err(Disposition::Retry)` if Cleeng cannot be read.
pub async fn resolve_method(flow_context: &FlowContext, named: &NamedPayment) -> FlowResult<ResolvedMethod> {
    let order = match &named.order {
        Some(order) => find_order(flow_context, order).await?,
        None => None,
    };
    let mut method_id = named.method.clone().or_else(|| order.as_ref().and_then(|order| order.payment_method.clone()));
    if let (None, Some(subscription)) = (&method_id, &named.subscription) {
        method_id = match flow_context.cleeng.subscription(subscription).await {
            Ok(subscription) => subscription.payment_method,
            Err(CleengError::NotFound) => None,
            Err(error) => return Err(read_failed(&error)),
        };
    }
    let method = method_id.map(|method| configured_method(flow_context, &method)).transpose()?;
    Ok(ResolvedMethod { method, order })
}

/// An order that Cleeng still has.
///
/// # Errors
/// `Err(Disposition::Retry)` if Cleeng cannot be read.
pub async fn find_order(flow_context: &FlowContext, order: &OrderId) -> FlowResult<Option<Order>> {
    match flow_context.cleeng.order(order).await {
        Ok(order) => Ok(Some(order)),
        Err(CleengError::NotFound) => Ok(None),
        Err(error) => Err(read_failed(&error)),
    }
}

/// The settings of the payment method of an order; `None` if Cleeng does not name it.
///
/// # Errors
/// As [`resolve_method`].
pub async fn method_of_order(flow_context: &FlowContext, order: &OrderId) -> FlowResult<Option<PaymentMethodConfig>> {
    let method = find_order(flow_context, order).await?.and_then(|order| order.payment_method);
    method.map(|method| configured_method(flow_context, &method)).transpose()
}

/// A payment that was made before this connector, with everything that must be known of it.
pub struct PreexistingPayment {
    /// Its gateway.
    pub gateway: GatewayName,
    /// Cleeng's id.
    pub payment: PaymentId,
    /// The gateway's id.
    pub external: ExternalPaymentId,
    /// Its customer.
    pub customer: CustomerId,
    /// Its order.
    pub order: Option<OrderId>,
    /// The details that it was made with.
    pub details: Option<PaymentDetailsId>,
    /// The subscription that it renewed.
    pub subscription: Option<SubscriptionId>,
    /// Its whole amount.
    pub amount: Money,
}

impl PreexistingPayment {
    /// The reference under which it is imported, the same in every flow. It was never sent to the gateway.
    #[must_use]
    pub fn import_reference(&self, flow_context: &FlowContext) -> Reference {
        let name = PaymentRecord::gateway_id_key(self.gateway, &self.external);
        let gateway = GatewayText(self.gateway.as_str());
        Reference::from_key(&IdempotencyKey::derive(&flow_context.policy.salt, gateway, OperationKind::Charge, name.as_str(), "imported"))
    }
}

/// Imports a payment into the journal, in memory. `state` is authorised or captured.
///
/// # Errors
/// `Err(Disposition::Retry)` if the journal cannot be read.
pub async fn import(case: &mut ObligationContext<'_>, stranger: PreexistingPayment, state: PaymentState) -> FlowResult<Reference> {
    let reference = stranger.import_reference(case.flow_context);
    if case.load_payment(&reference).await? {
        return Ok(reference);
    }
    let now = case.now();
    let PreexistingPayment { gateway, payment, external, customer, order, details, subscription, amount } = stranger;
    let new = NewPayment {
        reference: reference.clone(),
        gateway,
        subscription,
        customer,
        details,
        order,
        amount,
        zero_amount: false,
        taken_at_once: state == PaymentState::Captured,
    };
    let mut record = PaymentRecord {
        cleeng_payment: Some(payment.clone()),
        authorisation: Some(external.clone()),
        external_payment_id: Some(external.clone()),
        ..PaymentRecord::new(new, case.session.key(), now)
    };
    record.transition_to(state, now)?;
    if state == PaymentState::Captured {
        record.captured = amount;
    }
    case.add_payment(record);
    case.add_lookup(PaymentRecord::cleeng_id_key(&payment), &reference);
    case.add_lookup(PaymentRecord::gateway_id_key(gateway, &external), &reference);
    Ok(reference)
}
