//! The documents that a run is about. They are read and written through the journal's transaction alone, which refuses what a newer release
//! wrote.

use std::sync::Arc;
use std::time::Duration;

use connector::clock::Timestamp;
use connector::flow::FlowContext;
use connector::gateway::Reference;
use connector::journal::JournalError;
use connector::journal::record::Obligation;
use connector::journal::store::Key;
use connector::journal::transaction::Transaction;
use serde::de::DeserializeOwned;

/// The kind of the keys under which obsolete authorisations are released.
pub(crate) const OBSOLETE_AUTHORISATION: &str = "obsolete-authorisation";
/// The index of what is due lags behind the writes by this much at the most (usually by less than a second).
const MAX_INDEX_LAG: Duration = Duration::from_secs(60);

/// What a document is about, by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DocumentKind {
    /// The state of a subscription.
    Subscription,
    /// An order, or the storing of details.
    Purchase,
    /// The reversal of a payment.
    Reversal(Reference),
    /// The release of an obsolete authorisation.
    Release(Reference),
    /// An obligation whose event is on its queue, or waits with it.
    Event,
}

impl DocumentKind {
    pub(crate) fn of(key: &Key) -> Self {
        let (kind, rest) = key.as_str().split_once('#').unwrap_or((key.as_str(), ""));
        match (kind, Reference::parse(rest)) {
            ("subscription", _) => Self::Subscription,
            ("order" | "details", _) => Self::Purchase,
            ("reversal", Some(reference)) => Self::Reversal(reference),
            (OBSOLETE_AUTHORISATION, Some(reference)) => Self::Release(reference),
            _ => Self::Event,
        }
    }
}

/// A transaction with one document.
pub(crate) async fn load(flow_context: &FlowContext, key: &Key) -> Result<Transaction, JournalError> {
    let mut transaction = Transaction::new(Arc::clone(&flow_context.store));
    transaction.load(std::slice::from_ref(key)).await?;
    Ok(transaction)
}

/// One document, to be read only.
pub(crate) async fn read<T: DeserializeOwned>(flow_context: &FlowContext, key: &Key) -> Result<Option<T>, JournalError> {
    load(flow_context, key).await?.read(key)
}

/// Whether a function works on it, or another run claimed it a moment ago, behind which the index may lag.
pub(crate) fn is_claimed(obligation: &Obligation, now: Timestamp) -> bool {
    let recently_claimed = obligation.claimed_at.is_some_and(|at| now.since(at) < MAX_INDEX_LAG);
    recently_claimed || obligation.is_leased(now)
}
