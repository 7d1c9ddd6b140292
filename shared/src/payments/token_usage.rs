//! Which payment details use a stored token. Several details can share one: a gateway that recognises a card gives it the token that it
//! had before. The journal keeps a document per token, under its keyed fingerprint: a token itself is never written there.
//!
//! A flow that creates details in Cleeng records them here *before* (as a claim under its obligation) and after (under their id); a renewal
//! records the details that it uses. Must never call a token unused if its users are not fully known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::gateway::GatewayName;
use crate::ids::{PaymentDetailsId, SubscriptionId};
use crate::journal::store::Key;
use crate::journal::transaction::{Retention, Transaction};
use crate::journal::{JournalError, SCHEMA};
use crate::keyed_hash::keyed_hash;
use crate::secret::SecretString;

/// A claim of details that are being created is believed this long after it was made.
const CLAIM_TTL_SECS: u64 = 7 * 24 * 3600;

/// Who uses a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUsers {
    /// The schema that it was written with.
    pub schema: u32,
    /// The payment details that were seen with it.
    #[serde(default)]
    pub details: BTreeMap<PaymentDetailsId, TokenUser>,
    /// Obligations that are about to create details with it, and since when.
    #[serde(default)]
    pub claims: BTreeMap<String, Timestamp>,
    /// When the gateway said last that the card behind it was replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// When merchant-initiated payments with it were declined, oldest first, for as long as they count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declines: Vec<Timestamp>,
}

/// How payment details use a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUser {
    /// Whether they are active, as far as the journal knows.
    pub active: bool,
    /// When they became so.
    pub since: Timestamp,
    /// The subscriptions that were paid with them, or are about to be: a deletion looks there for payments in flight.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub subscriptions: BTreeSet<SubscriptionId>,
    /// Whether their deletion was begun. It is never undone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// Whether a token can be deleted at its gateway when these details are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUsage {
    /// No other details use it.
    Unused,
    /// Others do, or are about to.
    UsedByOthers,
    /// These details were made active again after the event.
    Reactivated,
    /// The journal has never seen these details, so it knows nothing about their token.
    Unknown,
}

/// The key of a token's document.
#[must_use]
pub fn token_key(salt: &SecretString, gateway: GatewayName, token: &SecretString) -> Key {
    // The first part keeps it apart from other uses of the salt.
    let fingerprint = hex::encode(keyed_hash::<32>(salt, &["details-token", gateway.as_str(), token.expose()]));
    Key::new("details-token", &[&fingerprint])
}

/// Records that an obligation is about to create details with this token; staged for the next commit.
///
/// # Errors
/// [`JournalError`].
pub async fn claim_token(work: &mut Transaction, token: &Key, obligation: &Key, now: Timestamp) -> Result<(), JournalError> {
    let mut uses = load(work, token).await?.unwrap_or_default();
    uses.claims.entry(obligation.as_str().to_owned()).or_insert(now);
    work.stage(token, &uses, Retention::default())
}

/// Records active details of this token, and drops the claim of the obligation that created them; staged for the next commit.
///
/// # Errors
/// [`JournalError`].
pub async fn register_details(
    work: &mut Transaction,
    token: &Key,
    details: &PaymentDetailsId,
    created_by: Option<&Key>,
    now: Timestamp,
) -> Result<(), JournalError> {
    let mut uses = load(work, token).await?.unwrap_or_default();
    uses.details.entry(details.clone()).and_modify(|known| known.activate(now)).or_insert_with(|| TokenUser::new_active(now));
    if let Some(obligation) = created_by {
        uses.claims.remove(obligation.as_str());
    }
    work.stage(token, &uses, Retention::default())
}

/// Records that a subscription is about to be paid with this token, as [`register_details`]; in the transaction with the intent of the
/// payment, so that the details are not deleted meanwhile. Returns whether the payment is allowed: not with details whose deletion was
/// begun. `since` is when that was decided.
///
/// # Errors
/// [`JournalError`].
pub async fn register_payment(
    work: &mut Transaction,
    token: &Key,
    details: &PaymentDetailsId,
    subscription: &SubscriptionId,
    since: Timestamp,
) -> Result<bool, JournalError> {
    let mut uses = load(work, token).await?.unwrap_or_default();
    let own = uses.details.entry(details.clone()).or_insert_with(|| TokenUser::new_active(since));
    if own.deleted {
        return Ok(false);
    }
    own.activate(since);
    own.subscriptions.insert(subscription.clone());
    work.stage(token, &uses, Retention::default())?;
    Ok(true)
}

/// The subscriptions that were paid with details of this token, or are about to be.
///
/// # Errors
/// [`JournalError`].
pub async fn subscriptions_paid_with(
    work: &mut Transaction,
    token: &Key,
    details: &PaymentDetailsId,
) -> Result<BTreeSet<SubscriptionId>, JournalError> {
    let uses = load(work, token).await?;
    Ok(uses.and_then(|mut uses| uses.details.remove(details)).map(|own| own.subscriptions).unwrap_or_default())
}

/// Records that the deletion of details begins, staged for the commit with its intent: the commit fails if a payment with them has begun
/// meanwhile.
///
/// # Errors
/// [`JournalError`].
pub async fn mark_deleting(work: &mut Transaction, token: &Key, details: &PaymentDetailsId) -> Result<(), JournalError> {
    let Some(mut uses) = load(work, token).await? else { return Ok(()) };
    if let Some(own) = uses.details.get_mut(details) {
        own.deleted = true;
    }
    work.stage(token, &uses, Retention::default())
}

/// Records that details are not active any more, staged for the next commit, and returns whether their token can be deleted. `event_at` is
/// when the deactivation was announced.
///
/// # Errors
/// [`JournalError`].
pub async fn mark_inactive(
    work: &mut Transaction,
    token: &Key,
    details: &PaymentDetailsId,
    event_at: Timestamp,
    now: Timestamp,
) -> Result<TokenUsage, JournalError> {
    let Some(mut uses) = load(work, token).await? else { return Ok(TokenUsage::Unknown) };
    let Some(own) = uses.details.get_mut(details) else { return Ok(TokenUsage::Unknown) };
    if own.active && own.since > event_at {
        return Ok(TokenUsage::Reactivated);
    }
    if own.active {
        (own.active, own.since) = (false, now);
    }
    uses.claims.retain(|_, since| now.since(*since).as_secs() < CLAIM_TTL_SECS);
    let used = !uses.claims.is_empty() || uses.details.values().any(|other| other.active);
    work.stage(token, &uses, Retention::default())?;
    Ok(if used { TokenUsage::UsedByOthers } else { TokenUsage::Unused })
}

/// What counts of a token's declines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeclineHistory {
    /// How many merchant-initiated payments with it were declined within the window, and since its card was replaced.
    pub declines: usize,
    /// When its card was replaced last.
    pub updated_at: Option<Timestamp>,
}

/// Reads what counts of a token's declines.
///
/// # Errors
/// [`JournalError`].
pub async fn decline_history(
    work: &mut Transaction,
    token: &Key,
    window: Duration,
    now: Timestamp,
) -> Result<DeclineHistory, JournalError> {
    let uses = load(work, token).await?.unwrap_or_default();
    let counts = |at: &&Timestamp| now.since(**at) < window && uses.updated_at.is_none_or(|updated| updated < **at);
    Ok(DeclineHistory { declines: uses.declines.iter().filter(counts).count(), updated_at: uses.updated_at })
}

/// Records that a merchant-initiated payment with a token was declined, staged for the next commit.
///
/// # Errors
/// [`JournalError`].
pub async fn record_decline(work: &mut Transaction, token: &Key, window: Duration, now: Timestamp) -> Result<(), JournalError> {
    let mut uses = load(work, token).await?.unwrap_or_default();
    uses.declines.retain(|at| now.since(*at) < window);
    uses.declines.push(now);
    work.stage(token, &uses, Retention::default())
}

/// Records that the card behind a token was replaced, staged for the next commit. Nobody waits for that of a token that is not known.
///
/// # Errors
/// [`JournalError`].
pub async fn mark_updated(work: &mut Transaction, token: &Key, now: Timestamp) -> Result<(), JournalError> {
    let Some(mut uses) = load(work, token).await? else { return Ok(()) };
    uses.updated_at = Some(now);
    work.stage(token, &uses, Retention::default())
}

async fn load(work: &mut Transaction, token: &Key) -> Result<Option<TokenUsers>, JournalError> {
    work.load(std::slice::from_ref(token)).await?;
    work.read(token)
}

impl TokenUser {
    const fn new_active(since: Timestamp) -> Self {
        Self { active: true, since, subscriptions: BTreeSet::new(), deleted: false }
    }

    const fn activate(&mut self, since: Timestamp) {
        if !self.active {
            (self.active, self.since) = (true, since);
        }
    }
}

impl Default for TokenUsers {
    fn default() -> Self {
        Self { schema: SCHEMA, details: BTreeMap::new(), claims: BTreeMap::new(), updated_at: None, declines: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;
    use crate::journal::memory::MemoryStore;

    struct FixedClock;

    impl Clock for FixedClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(100)
        }
    }

    const NOW: Timestamp = Timestamp::from_secs(100);

    fn token() -> Key {
        token_key(&SecretString::new("salt"), GatewayName::Adyen, &SecretString::new("TOKEN:shopper"))
    }

    fn details(id: &str) -> PaymentDetailsId {
        PaymentDetailsId::new(id).unwrap()
    }

    fn transaction() -> Transaction {
        Transaction::new(Arc::new(MemoryStore::new(Arc::new(FixedClock))))
    }

    async fn usage_after_deactivation(work: &mut Transaction, id: &str) -> TokenUsage {
        work.commit().await.unwrap();
        mark_inactive(work, &token(), &details(id), NOW, NOW).await.unwrap()
    }

    #[tokio::test]
    async fn a_token_that_the_journal_has_not_seen_is_not_unused() {
        let mut work = transaction();
        assert_eq!(usage_after_deactivation(&mut work, "1").await, TokenUsage::Unknown);
        register_details(&mut work, &token(), &details("2"), None, NOW).await.unwrap();
        assert_eq!(usage_after_deactivation(&mut work, "1").await, TokenUsage::Unknown);
    }

    #[tokio::test]
    async fn a_token_is_unused_when_its_last_details_are_deactivated() {
        let mut work = transaction();
        register_details(&mut work, &token(), &details("1"), None, NOW).await.unwrap();
        work.commit().await.unwrap();
        register_details(&mut work, &token(), &details("2"), None, NOW).await.unwrap();
        assert_eq!(usage_after_deactivation(&mut work, "1").await, TokenUsage::UsedByOthers);
        assert_eq!(usage_after_deactivation(&mut work, "2").await, TokenUsage::Unused);
        assert_eq!(usage_after_deactivation(&mut work, "1").await, TokenUsage::Unused);
    }

    #[tokio::test]
    async fn details_that_are_being_created_hold_the_token() {
        let mut work = transaction();
        register_details(&mut work, &token(), &details("1"), None, NOW).await.unwrap();
        work.commit().await.unwrap();
        let obligation = Key::new("details", &["7"]);
        claim_token(&mut work, &token(), &obligation, NOW).await.unwrap();
        assert_eq!(usage_after_deactivation(&mut work, "1").await, TokenUsage::UsedByOthers);
        work.commit().await.unwrap();
        register_details(&mut work, &token(), &details("2"), Some(&obligation), NOW).await.unwrap();
        assert_eq!(usage_after_deactivation(&mut work, "2").await, TokenUsage::Unused);
    }

    #[tokio::test]
    async fn a_decline_counts_for_a_time_and_until_the_card_is_replaced() {
        const WINDOW: Duration = Duration::from_secs(50);
        let mut work = transaction();
        for at in [10, 100] {
            record_decline(&mut work, &token(), WINDOW, Timestamp::from_secs(at)).await.unwrap();
            work.commit().await.unwrap();
        }
        let count =
            async |work: &mut Transaction, now| decline_history(work, &token(), WINDOW, Timestamp::from_secs(now)).await.unwrap().declines;
        assert_eq!((count(&mut work, 101).await, count(&mut work, 150).await), (1, 0));
        mark_updated(&mut work, &token(), Timestamp::from_secs(101)).await.unwrap();
        work.commit().await.unwrap();
        assert_eq!(count(&mut work, 102).await, 0);
    }

    #[tokio::test]
    async fn details_that_became_active_after_the_event_keep_their_token() {
        let mut work = transaction();
        register_details(&mut work, &token(), &details("1"), None, Timestamp::from_secs(101)).await.unwrap();
        assert_eq!(usage_after_deactivation(&mut work, "1").await, TokenUsage::Reactivated);
    }

    #[tokio::test]
    async fn details_whose_deletion_has_started_are_not_used_for_payments() {
        let (mut one, subscription) = (transaction(), SubscriptionId::new("9").unwrap());
        assert!(register_payment(&mut one, &token(), &details("1"), &subscription, NOW).await.unwrap());
        one.commit().await.unwrap();
        assert_eq!(subscriptions_paid_with(&mut one, &token(), &details("1")).await.unwrap(), BTreeSet::from([subscription.clone()]));
        assert_eq!(subscriptions_paid_with(&mut one, &token(), &details("2")).await.unwrap(), BTreeSet::new());
        mark_deleting(&mut one, &token(), &details("1")).await.unwrap();
        one.commit().await.unwrap();
        assert!(!register_payment(&mut one, &token(), &details("1"), &subscription, NOW).await.unwrap());
        assert!(register_payment(&mut one, &token(), &details("2"), &subscription, NOW).await.unwrap());
    }

    #[tokio::test]
    async fn a_deletion_does_not_start_when_a_payment_starts_at_the_same_time() {
        let store: Arc<dyn crate::journal::store::Store> = Arc::new(MemoryStore::new(Arc::new(FixedClock)));
        let (mut deletes, mut payer) = (Transaction::new(Arc::clone(&store)), Transaction::new(Arc::clone(&store)));
        register_details(&mut deletes, &token(), &details("1"), None, NOW).await.unwrap();
        deletes.commit().await.unwrap();
        assert_eq!(mark_inactive(&mut deletes, &token(), &details("1"), NOW, NOW).await.unwrap(), TokenUsage::Unused);
        deletes.commit().await.unwrap();
        register_payment(&mut payer, &token(), &details("1"), &SubscriptionId::new("9").unwrap(), NOW).await.unwrap();
        payer.commit().await.unwrap();
        mark_deleting(&mut deletes, &token(), &details("1")).await.unwrap();
        assert_eq!(deletes.commit().await, Err(JournalError::Contended));
    }

    #[test]
    fn the_key_reveals_nothing_about_the_token() {
        assert!(!token().as_str().contains("TOKEN"));
        let other = token_key(&SecretString::new("salz"), GatewayName::Adyen, &SecretString::new("TOKEN:shopper"));
        assert_ne!(token(), other);
    }
}
