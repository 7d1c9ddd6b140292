//! What is in flight with the details and not on Cleeng's list of authorised payments: an attempt that was not reported yet, or one that is
//! parked. Found by the subscriptions that were paid with the details, which are recorded with their token, and their states.

use std::sync::Arc;

use connector::flow::FlowContext;
use connector::gateway::Reference;
use connector::ids::SubscriptionId;
use connector::journal::record::{Attempt, AttemptKind, Finish, Obligation};
use connector::journal::store::{Key, MAX_BATCH};
use connector::journal::transaction::Transaction;
use connector::payments::FlowResult;
use connector::payments::subscription_state::SubscriptionState;
use connector::payments::token_usage;
use connector::renewal::eligibility;

use crate::DeactivatedDetails;
use crate::release::HeldPayment;

/// What is in flight, what counts most last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum InFlight {
    /// Nothing that the journal knows of.
    None,
    /// A payment of the latest period is parked, because it is unknown what became of the money.
    UnderReview,
    /// A capture or a charge, or a release.
    Payment,
    /// An authorisation that is being made, or that exists with no attempt in flight.
    Authorisation,
}

/// Authorisations that the journal knows of, of subscriptions with no attempt in flight. What is parked is left to the operator.
pub(crate) async fn unlisted_authorisations(flow_context: &FlowContext, deactivated: &DeactivatedDetails) -> FlowResult<Vec<HeldPayment>> {
    let mut found = Vec::new();
    for of in paid_subscriptions(flow_context, deactivated).await? {
        if of.authorised_with_details && of.in_flight(deactivated) == InFlight::None {
            found.extend(of.state.live_authorisation.map(|live| HeldPayment::InJournal(live.reference, Some(of.subscription))));
        }
    }
    Ok(found)
}

/// What is in flight, apart from the authorisations that were handled.
pub(crate) async fn find_in_flight(
    flow_context: &FlowContext,
    deactivated: &DeactivatedDetails,
    handled: &[Reference],
) -> FlowResult<InFlight> {
    let mut found = InFlight::None;
    for of in paid_subscriptions(flow_context, deactivated).await? {
        match of.in_flight(deactivated) {
            InFlight::None
                if of.authorised_with_details
                    && !of.state.live_authorisation.as_ref().is_some_and(|live| handled.contains(&live.reference)) =>
            {
                return Ok(InFlight::Authorisation);
            }
            in_flight => found = found.max(in_flight),
        }
    }
    Ok(found)
}

/// A subscription that was paid with the details.
struct PaidSubscription {
    subscription: SubscriptionId,
    state: SubscriptionState,
    /// Whether its live authorisation was made with the details.
    authorised_with_details: bool,
    /// The obligation in flight, that of its latest period and that of its live authorisation, if there are any.
    obligations: Vec<Obligation>,
}

impl PaidSubscription {
    fn in_flight(&self, deactivated: &DeactivatedDetails) -> InFlight {
        let with_details = |attempt: &Attempt| attempt.details.as_ref() == Some(&deactivated.event.details);
        let attempts = || self.obligations.iter().flat_map(|obligation| &obligation.attempts).filter(|attempt| with_details(attempt));
        let open = attempts().find(|attempt| attempt.finish.is_none()).map(|attempt| attempt.kind);
        match open.filter(|_| self.state.in_flight.is_some()) {
            Some(AttemptKind::Authorise) => return InFlight::Authorisation,
            Some(_) => return InFlight::Payment,
            None if self.authorised_with_details && self.state.in_flight.is_some() => return InFlight::Payment,
            None => {}
        }
        let parked = |attempt: &Attempt| matches!(attempt.finish, Some(Finish::Parked { money_unknown: true, resolved: false, .. }));
        if attempts().any(parked) { InFlight::UnderReview } else { InFlight::None }
    }
}

/// Reads from the store again, not from what the open obligation has read before.
async fn paid_subscriptions(flow_context: &FlowContext, deactivated: &DeactivatedDetails) -> FlowResult<Vec<PaidSubscription>> {
    let Some(token) = deactivated.token_key(flow_context) else { return Ok(Vec::new()) };
    let mut transaction = Transaction::new(Arc::clone(&flow_context.store));
    let subscriptions: Vec<SubscriptionId> =
        token_usage::subscriptions_paid_with(&mut transaction, &token, &deactivated.event.details).await?.into_iter().collect();
    let mut found = Vec::new();
    load(&mut transaction, subscriptions.iter().map(SubscriptionState::key).collect()).await?;
    for subscription in subscriptions {
        let Some(state) = transaction.read::<SubscriptionState>(&SubscriptionState::key(&subscription))? else { continue };
        let held = state.live_authorisation.as_ref().is_some_and(|live| live.details == deactivated.event.details);
        let periods = state.live_authorisation.iter().map(|live| live.expiration).chain(state.latest_period_end);
        let mut keys: Vec<Key> = periods.map(|expiration| eligibility::period_key(&subscription, expiration)).collect();
        keys.extend(state.in_flight.as_ref().map(Key::from_stored));
        load(&mut transaction, keys.clone()).await?;
        let mut obligations = Vec::new();
        for key in &keys {
            obligations.extend(transaction.read::<Obligation>(key)?);
        }
        found.push(PaidSubscription { subscription, state, authorised_with_details: held, obligations });
    }
    Ok(found)
}

async fn load(transaction: &mut Transaction, mut keys: Vec<Key>) -> FlowResult<()> {
    keys.sort_unstable();
    keys.dedup();
    for some in keys.chunks(MAX_BATCH) {
        transaction.load(some).await?;
    }
    Ok(())
}
