//! Documents that are read together and written together, each only if it is still the one that was read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::store::{Key, MAX_BODY_DEPTH, Put, Store, StoreError, load_each};
use super::{JournalError, SCHEMA};
use crate::clock::Timestamp;
use crate::json;

/// How long a document is kept and when it should be checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// See [`Put::due_at`].
    pub due_at: Option<Timestamp>,
    /// See [`Put::parked_since`].
    pub parked_since: Option<Timestamp>,
    /// See [`Put::expires_at`].
    pub expires_at: Option<Timestamp>,
}

struct LoadedDocument {
    version: Option<u64>,
    body: Result<Option<String>, StoreError>,
    staged: Option<(String, Retention)>,
}

impl LoadedDocument {
    fn has_body(&self, body: &str) -> bool {
        self.body.as_ref().is_ok_and(|own| own.as_deref() == Some(body))
    }
}

/// A set of documents in work.
pub struct Transaction {
    store: Arc<dyn Store>,
    documents: BTreeMap<Key, LoadedDocument>,
}

impl Transaction {
    /// A transaction without documents.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, documents: BTreeMap::new() }
    }

    /// Reads documents, unless they are in work already. One that cannot be read fails when it is asked for, and no other with it.
    ///
    /// # Errors
    /// [`JournalError::Store`].
    pub async fn load(&mut self, keys: &[Key]) -> Result<(), JournalError> {
        let missing: Vec<Key> = keys.iter().filter(|key| !self.documents.contains_key(key)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let found = load_each(self.store.as_ref(), &missing).await?;
        for (key, stored) in missing.into_iter().zip(found) {
            let version = stored.as_ref().ok().and_then(|stored| Some(stored.as_ref()?.version));
            let body = stored.map(|stored| stored.map(|stored| stored.body));
            self.documents.insert(key, LoadedDocument { version, body, staged: None });
        }
        Ok(())
    }

    /// The document as it was read or last written; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it cannot be read, [`JournalError::NewerSchema`] if a newer release wrote it.
    pub fn read<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, JournalError> {
        let Some(slot) = self.documents.get(key) else { return Ok(None) };
        slot.body.as_ref().map_err(|error| *error)?.as_deref().map(read_document).transpose()
    }

    /// Stages a document for the next [`Transaction::commit`]; an unchanged one is left alone. A document that was not loaded is taken to
    /// be new, and the commit fails if it is not.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`] if it cannot be written as JSON.
    pub fn stage<T: Serialize>(&mut self, key: &Key, document: &T, keep: Retention) -> Result<(), JournalError> {
        let body = serde_json::to_string(document).map_err(|_| StoreError::Unwritable)?;
        let slot = self.documents.entry(key.clone()).or_insert(LoadedDocument { version: None, body: Ok(None), staged: None });
        slot.staged = (!slot.has_body(&body)).then_some((body, keep));
        Ok(())
    }

    /// As [`Transaction::stage`], for a document whose times move: an unchanged one is written as well.
    ///
    /// # Errors
    /// As [`Transaction::stage`].
    pub fn reschedule<T: Serialize>(&mut self, key: &Key, document: &T, keep: Retention) -> Result<(), JournalError> {
        self.stage(key, document, keep)?;
        if let Some(slot) = self.documents.get_mut(key) {
            slot.staged = slot.staged.take().or_else(|| Some((slot.body.clone().ok()??, keep)));
        }
        Ok(())
    }

    /// Writes what is staged, all or nothing; does nothing if nothing is staged.
    ///
    /// # Errors
    /// [`JournalError::Contended`] if any document has changed meanwhile. After any error this set must not be used for writing again.
    pub async fn commit(&mut self) -> Result<(), JournalError> {
        let mut puts = Vec::new();
        for (key, slot) in &self.documents {
            if let Some((body, keep)) = &slot.staged {
                puts.push(Put {
                    key: key.clone(),
                    expected_version: slot.version,
                    body: body.clone(),
                    due_at: keep.due_at,
                    parked_since: keep.parked_since,
                    expires_at: keep.expires_at,
                });
            }
        }
        if puts.is_empty() {
            return Ok(());
        }
        self.store.commit(&puts).await?;
        for slot in self.documents.values_mut() {
            if let Some((body, _)) = slot.staged.take() {
                slot.version = Some(slot.version.unwrap_or(0).saturating_add(1));
                slot.body = Ok(Some(body));
            }
        }
        Ok(())
    }
}

/// Reads a document of the journal.
///
/// # Errors
/// As [`Transaction::read`].
pub fn read_document<T: DeserializeOwned>(body: &str) -> Result<T, JournalError> {
    // Before it is parsed: the parser follows some texts until its stack ends.
    json::check(body.as_bytes(), MAX_BODY_DEPTH).map_err(|_| StoreError::Corrupt)?;
    let value: serde_json::Value = serde_json::from_str(body).map_err(|_| StoreError::Corrupt)?;
    let schema = value.get("schema").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if schema > u64::from(SCHEMA) {
        return Err(JournalError::NewerSchema(u32::try_from(schema).unwrap_or(u32::MAX)));
    }
    serde_json::from_value(value).map_err(|_| StoreError::Corrupt.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::SystemClock;
    use crate::journal::memory::MemoryStore;

    #[tokio::test]
    async fn a_document_that_is_as_it_was_is_written_only_if_its_times_move() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        let (key, document) = (Key::new("order", &["1"]), json!({ "schema": 1 }));
        let due = Retention { due_at: Some(Timestamp::from_secs(1)), ..Retention::default() };
        let mut transaction = Transaction::new(Arc::clone(&store));
        transaction.stage(&key, &document, Retention::default()).unwrap();
        transaction.commit().await.unwrap();
        transaction.stage(&key, &document, due).unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(store.due(Timestamp::from_secs(2), 10).await.unwrap(), []);
        transaction.reschedule(&key, &document, due).unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(store.due(Timestamp::from_secs(2), 10).await.unwrap(), [key]);
    }
}
