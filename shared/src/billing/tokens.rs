//! Which payment details use a stored token. Several details can share one: a gateway that recognises a card gives it the token that it
//! had before. The journal keeps a document per token, under its keyed fingerprint: a token itself is never written there.
//!
//! Whoever creates details in Cleeng notes them here *before* (as a claim under its obligation) and after (under their id); billing notes
//! the details that it uses. Must never call a token free that it knows too little about.

use std::collections::{BTreeMap, BTreeSet};

use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::gateway::GatewayName;
use crate::ids::{PaymentDetailsId, SubscriptionId};
use crate::journal::store::Key;
use crate::journal::work::{Keep, Work};
use crate::journal::{JournalError, SCHEMA};
use crate::secret::SecretString;

/// A claim of details that are being created is believed this long after it was made.
const CLAIM_KEPT_SECS: u64 = 7 * 24 * 3600;

/// Who uses a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUse {
    /// The schema that it was written with.
    pub schema: u32,
    /// The payment details that were seen with it.
    #[serde(default)]
    pub details: BTreeMap<PaymentDetailsId, DetailsUse>,
    /// Obligations that are about to create details with it, and since when.
    #[serde(default)]
    pub claims: BTreeMap<String, Timestamp>,
}

/// How payment details use a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetailsUse {
    /// Whether they are active, as far as the journal knows.
    pub active: bool,
    /// When they became so.
    pub since: Timestamp,
    /// The subscriptions that were paid with them, or are about to be: whoever deletes them looks there for what is on its way.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub subscriptions: BTreeSet<SubscriptionId>,
    /// Whether their deletion was begun. It is never taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// Whether a token can be deleted at its gateway when these details are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freedom {
    /// Nobody else uses it.
    Free,
    /// Others do, or are about to.
    Used,
    /// These details were made active again after the event.
    ActiveAgain,
    /// The journal has never seen these details, so it knows nothing about their token.
    Unknown,
}

/// Where the document of a token is kept.
#[must_use]
pub fn key(salt: &SecretString, gateway: GatewayName, token: &SecretString) -> Key {
    let key = hmac::Key::new(hmac::HMAC_SHA256, salt.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    // Apart from whatever else the salt is used for.
    for part in ["details-token", gateway.as_str(), token.expose()] {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part.as_bytes());
    }
    let fingerprint: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Key::new("details-token", &[&fingerprint])
}

/// Notes that an obligation is about to create details with this token; staged for the next commit.
///
/// # Errors
/// [`JournalError`].
pub async fn claim(work: &mut Work, token: &Key, obligation: &Key, now: Timestamp) -> Result<(), JournalError> {
    let mut uses = load(work, token).await?.unwrap_or_default();
    uses.claims.entry(obligation.as_str().to_owned()).or_insert(now);
    work.stage(token, &uses, Keep::default())
}

/// Notes active details of this token, and drops the claim of the obligation that created them; staged for the next commit.
///
/// # Errors
/// [`JournalError`].
pub async fn note(
    work: &mut Work,
    token: &Key,
    details: &PaymentDetailsId,
    created_by: Option<&Key>,
    now: Timestamp,
) -> Result<(), JournalError> {
    let mut uses = load(work, token).await?.unwrap_or_default();
    uses.details.entry(details.clone()).and_modify(|known| known.activate(now)).or_insert_with(|| DetailsUse::active(now));
    if let Some(obligation) = created_by {
        uses.claims.remove(obligation.as_str());
    }
    work.stage(token, &uses, Keep::default())
}

/// Notes that a subscription is about to be paid with this token, as [`note`]; in the transaction with the intent of the payment, so that nobody
/// deletes what it is made with. Tells whether it may be: not with details whose deletion was begun. `since` is when that was decided.
///
/// # Errors
/// [`JournalError`].
pub async fn pays(
    work: &mut Work,
    token: &Key,
    details: &PaymentDetailsId,
    subscription: &SubscriptionId,
    since: Timestamp,
) -> Result<bool, JournalError> {
    let mut uses = load(work, token).await?.unwrap_or_default();
    let own = uses.details.entry(details.clone()).or_insert_with(|| DetailsUse::active(since));
    if own.deleted {
        return Ok(false);
    }
    own.activate(since);
    own.subscriptions.insert(subscription.clone());
    work.stage(token, &uses, Keep::default())?;
    Ok(true)
}

/// The subscriptions that were paid with details of this token, or are about to be.
///
/// # Errors
/// [`JournalError`].
pub async fn paid_with(work: &mut Work, token: &Key, details: &PaymentDetailsId) -> Result<BTreeSet<SubscriptionId>, JournalError> {
    let uses = load(work, token).await?;
    Ok(uses.and_then(|mut uses| uses.details.remove(details)).map(|own| own.subscriptions).unwrap_or_default())
}

/// Notes that the deletion of details begins, staged for the commit with its intent: that fails if somebody began to pay with them meanwhile.
///
/// # Errors
/// [`JournalError`].
pub async fn deleting(work: &mut Work, token: &Key, details: &PaymentDetailsId) -> Result<(), JournalError> {
    let Some(mut uses) = load(work, token).await? else { return Ok(()) };
    if let Some(own) = uses.details.get_mut(details) {
        own.deleted = true;
    }
    work.stage(token, &uses, Keep::default())
}

/// Notes that details are not active any more, staged for the next commit, and tells whether their token can be deleted. `event_at` is when
/// the deactivation was announced.
///
/// # Errors
/// [`JournalError`].
pub async fn deactivated(
    work: &mut Work,
    token: &Key,
    details: &PaymentDetailsId,
    event_at: Timestamp,
    now: Timestamp,
) -> Result<Freedom, JournalError> {
    let Some(mut uses) = load(work, token).await? else { return Ok(Freedom::Unknown) };
    let Some(own) = uses.details.get_mut(details) else { return Ok(Freedom::Unknown) };
    if own.active && own.since > event_at {
        return Ok(Freedom::ActiveAgain);
    }
    if own.active {
        (own.active, own.since) = (false, now);
    }
    uses.claims.retain(|_, since| now.since(*since).as_secs() < CLAIM_KEPT_SECS);
    let used = !uses.claims.is_empty() || uses.details.values().any(|other| other.active);
    work.stage(token, &uses, Keep::default())?;
    Ok(if used { Freedom::Used } else { Freedom::Free })
}

async fn load(work: &mut Work, token: &Key) -> Result<Option<TokenUse>, JournalError> {
    work.load(std::slice::from_ref(token)).await?;
    work.read(token)
}

impl DetailsUse {
    const fn active(since: Timestamp) -> Self {
        Self { active: true, since, subscriptions: BTreeSet::new(), deleted: false }
    }

    const fn activate(&mut self, since: Timestamp) {
        if !self.active {
            (self.active, self.since) = (true, since);
        }
    }
}

impl Default for TokenUse {
    fn default() -> Self {
        Self { schema: SCHEMA, details: BTreeMap::new(), claims: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;
    use crate::journal::memory::MemoryStore;

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(100)
        }
    }

    const NOW: Timestamp = Timestamp::from_secs(100);

    fn token() -> Key {
        key(&SecretString::new("salt"), GatewayName::Adyen, &SecretString::new("TOKEN:shopper"))
    }

    fn details(id: &str) -> PaymentDetailsId {
        PaymentDetailsId::new(id).unwrap()
    }

    fn work() -> Work {
        Work::new(Arc::new(MemoryStore::new(Arc::new(Fixed))))
    }

    async fn freed(work: &mut Work, id: &str) -> Freedom {
        work.commit().await.unwrap();
        deactivated(work, &token(), &details(id), NOW, NOW).await.unwrap()
    }

    #[tokio::test]
    async fn a_token_that_the_journal_has_not_seen_is_not_free() {
        let mut work = work();
        assert_eq!(freed(&mut work, "1").await, Freedom::Unknown);
        note(&mut work, &token(), &details("2"), None, NOW).await.unwrap();
        assert_eq!(freed(&mut work, "1").await, Freedom::Unknown);
    }

    #[tokio::test]
    async fn a_token_is_free_when_its_last_details_are_gone() {
        let mut work = work();
        note(&mut work, &token(), &details("1"), None, NOW).await.unwrap();
        work.commit().await.unwrap();
        note(&mut work, &token(), &details("2"), None, NOW).await.unwrap();
        assert_eq!(freed(&mut work, "1").await, Freedom::Used);
        assert_eq!(freed(&mut work, "2").await, Freedom::Free);
        assert_eq!(freed(&mut work, "1").await, Freedom::Free);
    }

    #[tokio::test]
    async fn details_that_are_being_created_hold_the_token() {
        let mut work = work();
        note(&mut work, &token(), &details("1"), None, NOW).await.unwrap();
        work.commit().await.unwrap();
        let obligation = Key::new("details", &["7"]);
        claim(&mut work, &token(), &obligation, NOW).await.unwrap();
        assert_eq!(freed(&mut work, "1").await, Freedom::Used);
        work.commit().await.unwrap();
        note(&mut work, &token(), &details("2"), Some(&obligation), NOW).await.unwrap();
        assert_eq!(freed(&mut work, "2").await, Freedom::Free);
    }

    #[tokio::test]
    async fn details_that_became_active_after_the_event_keep_their_token() {
        let mut work = work();
        note(&mut work, &token(), &details("1"), None, Timestamp::from_secs(101)).await.unwrap();
        assert_eq!(freed(&mut work, "1").await, Freedom::ActiveAgain);
    }

    #[tokio::test]
    async fn details_whose_deletion_was_begun_are_not_paid_with() {
        let (mut one, subscription) = (work(), SubscriptionId::new("9").unwrap());
        assert!(pays(&mut one, &token(), &details("1"), &subscription, NOW).await.unwrap());
        one.commit().await.unwrap();
        assert_eq!(paid_with(&mut one, &token(), &details("1")).await.unwrap(), BTreeSet::from([subscription.clone()]));
        assert_eq!(paid_with(&mut one, &token(), &details("2")).await.unwrap(), BTreeSet::new());
        deleting(&mut one, &token(), &details("1")).await.unwrap();
        one.commit().await.unwrap();
        assert!(!pays(&mut one, &token(), &details("1"), &subscription, NOW).await.unwrap());
        assert!(pays(&mut one, &token(), &details("2"), &subscription, NOW).await.unwrap());
    }

    #[tokio::test]
    async fn a_deletion_does_not_begin_when_somebody_begins_to_pay() {
        let store: Arc<dyn crate::journal::store::Store> = Arc::new(MemoryStore::new(Arc::new(Fixed)));
        let (mut deletes, mut payer) = (Work::new(Arc::clone(&store)), Work::new(Arc::clone(&store)));
        note(&mut deletes, &token(), &details("1"), None, NOW).await.unwrap();
        deletes.commit().await.unwrap();
        assert_eq!(deactivated(&mut deletes, &token(), &details("1"), NOW, NOW).await.unwrap(), Freedom::Free);
        deletes.commit().await.unwrap();
        pays(&mut payer, &token(), &details("1"), &SubscriptionId::new("9").unwrap(), NOW).await.unwrap();
        payer.commit().await.unwrap();
        deleting(&mut deletes, &token(), &details("1")).await.unwrap();
        assert_eq!(deletes.commit().await, Err(JournalError::Contended));
    }

    #[test]
    fn the_key_tells_nothing_of_the_token() {
        assert!(!token().as_str().contains("TOKEN"));
        let other = key(&SecretString::new("salz"), GatewayName::Adyen, &SecretString::new("TOKEN:shopper"));
        assert_ne!(token(), other);
    }
}
