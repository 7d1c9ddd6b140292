//! Everything in the journal that hangs together with an id: documents are found by key alone, from one to the next.

use std::collections::{BTreeMap, BTreeSet};

use connector::gateway::{GatewayName, Reference};
use connector::ids::SubscriptionId;
use connector::journal::payment::PaymentRecord;
use connector::journal::record::Obligation;
use connector::journal::store::{Key, MAX_BATCH, Store, StoreError};
use connector::payments::obligation_context::PaymentLookup;
use connector::payments::settlement::GatewayOperation;
use connector::payments::subscription_state::SubscriptionState;

/// The largest number of related documents; a subscription's latest period has about five.
const MAX_DOCUMENTS: usize = 80;

/// What was found.
#[derive(Default)]
pub(crate) struct RelatedDocuments {
    /// The obligations.
    pub(super) obligations: BTreeMap<Key, Obligation>,
    /// The payments.
    pub(crate) payments: BTreeMap<String, PaymentRecord>,
    /// The subscriptions.
    pub(super) subscription_states: BTreeMap<String, SubscriptionState>,
    /// Documents that this release cannot read.
    pub(super) unreadable: Vec<Key>,
    /// Whether there are related documents that were not read.
    pub(super) cut: bool,
}

impl RelatedDocuments {
    /// Whether nothing was found.
    pub(super) fn is_empty(&self) -> bool {
        self.obligations.is_empty() && self.payments.is_empty() && self.subscription_states.is_empty() && self.unreadable.is_empty()
    }

    /// The subscriptions that it is about.
    pub(super) fn subscriptions(&self) -> BTreeSet<SubscriptionId> {
        let of_heads = self.subscription_states.keys().filter_map(|id| SubscriptionId::new(id).ok());
        of_heads.chain(self.payments.values().filter_map(|payment| payment.subscription.clone())).collect()
    }
}

/// Follows every trace of an id.
pub(crate) async fn find_related(store: &dyn Store, id: &str, more: &[Key]) -> Result<RelatedDocuments, StoreError> {
    let mut found = RelatedDocuments::default();
    let mut seen: BTreeSet<Key> = BTreeSet::new();
    let mut next: Vec<Key> = possible_keys(id);
    next.extend_from_slice(more);
    loop {
        next.retain(|key| !seen.contains(key));
        if next.is_empty() {
            break;
        }
        if seen.len() >= MAX_DOCUMENTS {
            found.cut = true;
            break;
        }
        next.retain(|key| seen.insert(key.clone()));
        let mut traces = Vec::new();
        for batch in next.chunks(MAX_BATCH) {
            for (key, stored) in batch.iter().zip(store.load(batch).await?) {
                if let Some(stored) = stored {
                    traces.extend(collect(&mut found, key, &stored.body));
                }
            }
        }
        next = traces;
    }
    Ok(found)
}

/// Every key that an id can be part of.
fn possible_keys(id: &str) -> Vec<Key> {
    if id.contains('#') {
        return vec![Key::from_stored(id)];
    }
    let kinds = [
        "cleeng-payment",
        "subscription",
        "termination",
        "order",
        "deactivation",
        "capture",
        "payment",
        "release",
        "reversal",
        "obsolete-authorisation",
    ];
    let mut keys: Vec<Key> = kinds.iter().map(|kind| Key::new(kind, &[id])).collect();
    keys.extend([Key::new("refund", &[id, "all"]), Key::new("release", &["cleeng", id])]);
    for gateway in GatewayName::ALL {
        keys.push(Key::new("gateway-payment", &[gateway.as_str(), id]));
        keys.push(Key::new("gateway-operation", &[gateway.as_str(), id]));
    }
    keys
}

/// Keeps a document, and returns what it refers to.
fn collect(found: &mut RelatedDocuments, key: &Key, body: &str) -> Vec<Key> {
    let mut parts = key.as_str().split('#');
    let (kind, first) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let traces = match kind {
        "cleeng-payment" | "gateway-payment" => {
            serde_json::from_str::<PaymentLookup>(body).ok().map(|lookup| vec![PaymentRecord::key(&lookup.reference)])
        }
        "gateway-operation" => serde_json::from_str::<GatewayOperation>(body)
            .ok()
            .map(|operation| vec![PaymentRecord::key(&operation.reference), Key::from_stored(operation.obligation)]),
        "payment" => serde_json::from_str::<PaymentRecord>(body).ok().map(|payment| {
            let traces = keys_from_payment(&payment);
            found.payments.insert(payment.reference.as_str().to_owned(), payment);
            traces
        }),
        "subscription" => serde_json::from_str::<SubscriptionState>(body).ok().map(|head| {
            let traces = keys_from_subscription(&head, first);
            found.subscription_states.insert(first.to_owned(), head);
            traces
        }),
        _ => serde_json::from_str::<Obligation>(body).ok().map(|obligation| {
            let traces = keys_from_obligation(&obligation, kind, first);
            found.obligations.insert(key.clone(), obligation);
            traces
        }),
    };
    traces.unwrap_or_else(|| {
        found.unreadable.push(key.clone());
        Vec::new()
    })
}

fn keys_from_payment(payment: &PaymentRecord) -> Vec<Key> {
    let reference = payment.reference.as_str();
    let mut traces = vec![Key::from_stored(payment.obligation.as_str())];
    traces.extend(["release", "reversal", "obsolete-authorisation"].map(|kind| Key::new(kind, &[reference])));
    traces.extend(payment.refunds.iter().map(|part| Key::from_stored(part.obligation.as_str())));
    traces.extend(payment.seen_notifications.iter().map(|told| Key::new("notification", &[reference, &told.key.replace('#', "_")])));
    traces.extend(payment.subscription.as_ref().map(SubscriptionState::key));
    if let Some(id) = &payment.cleeng_payment {
        traces.extend([Key::new("capture", &[id.as_str()]), Key::new("refund", &[id.as_str(), "all"])]);
    }
    traces
}

fn keys_from_subscription(head: &SubscriptionState, subscription: &str) -> Vec<Key> {
    let mut traces: Vec<Key> = vec![Key::new("termination", &[subscription])];
    traces.extend(head.in_flight.as_deref().map(Key::from_stored));
    traces.extend(head.live_authorisation.as_ref().map(|live| PaymentRecord::key(&live.reference)));
    let live = head.live_authorisation.as_ref().map(|live| live.expiration);
    let charged = head.last_charge.as_ref().map(|charge| charge.expiration);
    for expiration in [head.latest_period_end, live, charged].into_iter().flatten() {
        traces.push(Key::new("period", &[subscription, &expiration.secs().to_string()]));
    }
    traces
}

fn keys_from_obligation(obligation: &Obligation, kind: &str, first: &str) -> Vec<Key> {
    let mut traces: Vec<Key> =
        obligation.attempts.iter().filter_map(|attempt| attempt.reference.as_ref()).map(PaymentRecord::key).collect();
    if matches!(kind, "period" | "termination") {
        traces.push(Key::new("subscription", &[first]));
    }
    if let Some(reference) = Reference::parse(first) {
        traces.push(PaymentRecord::key(&reference));
    }
    traces
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use connector::clock::SystemClock;
    use connector::journal::memory::MemoryStore;
    use connector::journal::store::Put;

    use super::*;

    #[tokio::test]
    async fn a_search_that_is_cut_says_so() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let key = Key::from_stored("period#332332332#2000000000");
        let body = serde_json::to_string(&Obligation::new()).unwrap();
        let put = Put { key: key.clone(), expected_version: None, body, due_at: None, parked_since: None, expires_at: None };
        store.commit(&[put]).await.unwrap();
        assert!(!find_related(&store, key.as_str(), &[]).await.unwrap().cut);
        let many: Vec<Key> = (0..MAX_DOCUMENTS).map(|number| Key::new("order", &[&number.to_string()])).collect();
        let found = find_related(&store, key.as_str(), &many).await.unwrap();
        assert!(found.cut && found.obligations.contains_key(&key), "the subscription of the period was not looked for");
    }
}
