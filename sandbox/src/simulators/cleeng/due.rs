//! What the ledger says of a payment that somebody is about to take: for checks from outside, without an answer to a request.

use std::time::Duration;

use connector::cleeng::SubscriptionStatus;
use connector::clock::{Clock as _, Timestamp};
use connector::gateway::GatewayName;
use connector::ids::{CustomerId, OrderId, PaymentDetailsId, SubscriptionId};

use crate::simulators::cleeng::CleengSimulator;
use crate::simulators::cleeng::database::{Database, SubscriptionRow};
use crate::simulators::cleeng::payments::TOLERANCE;

/// A renewal as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueRenewal {
    /// The end of what is paid, which names the period to be paid.
    pub paid_until: Timestamp,
    /// Whether it is to be paid now: the subscription is active, and the first attempt is not far away.
    pub is_due: bool,
    /// The gateway's id of the details that are to pay; `None` if there are none.
    pub stored_details: Option<String>,
}

impl CleengSimulator {
    /// How a subscription's next renewal stands. `None` if the subscription is not known.
    #[must_use]
    pub fn renewal(&self, id: &SubscriptionId) -> Option<DueRenewal> {
        let now = self.clock.now();
        let state = self.lock();
        let subscription = state.database.subscriptions.get(id)?;
        let details = subscription.details.as_ref().and_then(|details| state.database.details.get(details));
        Some(DueRenewal {
            paid_until: subscription.date_to,
            is_due: subscription.status == SubscriptionStatus::Active && earliest_payment(&state.database, subscription) <= now,
            stored_details: details.map(|details| details.stored_id().to_owned()),
        })
    }

    /// Whether an order is to be paid, as far as it shows: it has not lapsed, and this connector did not pay it. That another one did is not shown.
    #[must_use]
    pub fn is_order_due(&self, id: &OrderId) -> bool {
        let now = self.clock.now();
        let state = self.lock();
        let is_paid = state.database.payments.values().any(|payment| payment.is_live() && payment.order == *id);
        state.database.orders.get(id).is_some_and(|order| order.expires > now) && !is_paid
    }

    /// Whose details these are, by the gateway and its id of them, and under which id Cleeng has or had them.
    #[must_use]
    pub fn owner_of_details(&self, gateway: GatewayName, stored_id: &str) -> Option<(CustomerId, PaymentDetailsId)> {
        self.lock().database.owners.get(&(gateway.as_str().to_owned(), stored_id.to_owned())).cloned()
    }
}

/// When the next renewal may be paid at the earliest: at its first attempt.
pub(super) fn earliest_payment(database: &Database, subscription: &SubscriptionRow) -> Timestamp {
    let first = database.methods.get(&subscription.method).and_then(|method| method.dunning.attempts.iter().max().copied());
    let lead = Duration::from_secs(u64::try_from(first.unwrap_or(72).max(0)).unwrap_or(0).saturating_mul(3600));
    subscription.date_to.before(lead).before(TOLERANCE)
}
