//! The details that a customer is storing: which of them wait for the customer, and how many were declined today.

use serde::{Deserialize, Serialize};

use crate::flow::FlowContext;
use crate::ids::CustomerId;
use crate::journal::store::Key;
use crate::journal::transaction::{Retention, Transaction};
use crate::journal::{JournalError, SCHEMA};
use crate::payments::FlowResult;
use crate::payments::obligation_context::ObligationContext;

/// So many setups can wait for one customer; older ones cannot be finalized any more.
const MAX_PENDING_SETUPS: usize = 5;
/// How long the document is kept.
const PENDING_SETUPS_RETENTION: std::time::Duration = std::time::Duration::from_secs(3 * 24 * 3600);
const SECONDS_PER_DAY: i64 = 86_400;

/// The setups of one customer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingSetups {
    schema: u32,
    /// Obligations, the latest last.
    obligations: Vec<String>,
    /// Days since 1970.
    day: i64,
    /// Declines on that day.
    pub declines: u32,
}

impl PendingSetups {
    /// The document of this customer.
    #[must_use]
    pub fn key(customer: &CustomerId) -> Key {
        Key::new("pending-setups", &[customer.as_str()])
    }

    /// Reads it as it is today, within the transaction of this obligation.
    ///
    /// # Errors
    /// `Disposition::Retry` if the journal cannot be read.
    pub async fn read(ctx: &mut ObligationContext<'_>, customer: &CustomerId) -> FlowResult<Self> {
        let key = Self::key(customer);
        ctx.session.transaction.load(std::slice::from_ref(&key)).await?;
        let today = ctx.now().secs().div_euclid(SECONDS_PER_DAY);
        let empty = Self { schema: SCHEMA, obligations: Vec::new(), day: today, declines: 0 };
        Ok(match ctx.session.transaction.read::<Self>(&key)? {
            Some(known) if known.day == today => known,
            Some(known) => Self { obligations: known.obligations, ..empty },
            None => empty,
        })
    }

    /// The obligations that may wait for this customer, the latest last.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn obligations(flow_context: &FlowContext, customer: &CustomerId) -> Result<Vec<Key>, JournalError> {
        let mut transaction = Transaction::new(std::sync::Arc::clone(&flow_context.store));
        let key = Self::key(customer);
        transaction.load(std::slice::from_ref(&key)).await?;
        let known = transaction.read::<Self>(&key)?;
        Ok(known.map(|known| known.obligations).unwrap_or_default().into_iter().map(Key::from_stored).collect())
    }

    /// Adds an obligation as the latest; more than so many push out the oldest.
    pub fn add(&mut self, obligation: &Key) {
        let own = obligation.as_str();
        self.obligations.retain(|other| other != own);
        self.obligations.push(own.to_owned());
        while self.obligations.len() > MAX_PENDING_SETUPS {
            self.obligations.remove(0);
        }
    }

    /// Stages it for the next write.
    ///
    /// # Errors
    /// `Disposition::Retry` if it cannot be written as text.
    pub fn stage(&self, ctx: &mut ObligationContext<'_>, customer: &CustomerId) -> FlowResult<()> {
        let expires_at = Some(ctx.now().after(PENDING_SETUPS_RETENTION));
        Ok(ctx.session.transaction.stage(&Self::key(customer), self, Retention { expires_at, ..Retention::default() })?)
    }
}

/// Counts a decline of a setup, in memory.
///
/// # Errors
/// `Disposition::Retry` if the journal cannot be read.
pub async fn count_decline(ctx: &mut ObligationContext<'_>, customer: &CustomerId) -> FlowResult<()> {
    let mut setups = PendingSetups::read(ctx, customer).await?;
    setups.declines = setups.declines.saturating_add(1);
    setups.stage(ctx, customer)
}
