//! What a journal needs of a database: strongly consistent reads, and writes that happen all together or not at all, each under the
//! condition that its document is still the one that was read. It needs nothing else, so that two stores can pass one conformance suite.

use std::fmt;

use async_trait::async_trait;
use thiserror::Error;

use crate::clock::Timestamp;

/// The most documents in one [`Store::commit`] or [`Store::load`].
pub const MAX_BATCH: usize = 25;

/// The largest body of a document, in bytes.
pub const MAX_BODY_BYTES: usize = 100_000;

/// Later than the time of anything in a list.
pub const END_OF_TIME: Timestamp = Timestamp::from_millis(i64::MAX);

/// How deep a body is nested at the most. Values from outside are texts in it, so that our own documents stay far below.
pub const MAX_BODY_DEPTH: usize = 64;

/// The name of a document: kind and ids joined with `#`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// Joins a kind and its ids. Ids hold no `#` ([`crate::ids::Id`]), so two keys never collide.
    #[must_use]
    pub fn new(kind: &str, parts: &[&str]) -> Self {
        let mut text = kind.to_owned();
        for part in parts {
            text.push('#');
            text.push_str(part);
        }
        Self(text)
    }

    /// Takes a key as a store returns it.
    #[must_use]
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A document as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDocument {
    /// Its version: 1 when it is new, one more with every write.
    pub version: u64,
    /// Its body, JSON.
    pub body: String,
}

/// A list of documents, each by a time. A document is in one list at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    /// What is to be checked again, by when.
    Due,
    /// What an operator has to decide about, by since when.
    Parked,
    /// What was due and cannot be read, by when it is tried again.
    Unreadable,
}

/// A document in a list, with its time there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its time in the list.
    pub at: Timestamp,
    /// Which document.
    pub key: Key,
}

/// A write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Which document.
    pub key: Key,
    /// The version that must still be there; `None` if the document must not exist.
    pub expected_version: Option<u64>,
    /// The new body, JSON, at most [`MAX_BODY_BYTES`].
    pub body: String,
    /// When it should be checked again; found in [`List::Due`]. `None` for settled documents.
    pub due_at: Option<Timestamp>,
    /// Since when an operator has to decide; found in [`List::Parked`] unless something is also due.
    pub parked_since: Option<Timestamp>,
    /// When it may be deleted. A document that has expired reads as absent at once, even before the database removes it. `None` keeps it
    /// for ever.
    pub expires_at: Option<Timestamp>,
}

impl Put {
    /// The list that the document is in from then on, with its time there. What is due comes first.
    #[must_use]
    pub fn listing(&self) -> Option<(List, Timestamp)> {
        self.due_at.map(|at| (List::Due, at)).or(self.parked_since.map(|since| (List::Parked, since)))
    }
}

/// Why a read failed. Reads have no effect.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// The database is unavailable or throttles; try again later.
    #[error("the journal is unavailable")]
    Unavailable,
    /// The database refused the request: permissions, missing table, too large; a mistake of ours or of the deployment.
    #[error("the journal refused the request ({0}): check JOURNAL_TABLE and the function's role")]
    Refused(&'static str),
    /// A document cannot be read.
    #[error("a journal document cannot be read")]
    Corrupt,
    /// A document is not written, because it could never be read again: it is too large, or nested too deep.
    #[error("a journal document would be too large or too deep to be read again")]
    Unwritable,
}

/// Why a write failed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CommitError {
    /// A document is no longer the one that was read. Nothing was written.
    #[error("somebody else wrote first")]
    Conflict,
    /// Nothing was written.
    #[error(transparent)]
    NotWritten(StoreError),
    /// No answer came: everything was written, or nothing.
    #[error("it is unknown whether the journal was written")]
    Unknown,
}

/// As [`Store::load`], but a document that cannot be read fails alone.
///
/// # Errors
/// [`StoreError`], if it is not about one document.
pub async fn load_each(store: &dyn Store, keys: &[Key]) -> Result<Vec<Result<Option<StoredDocument>, StoreError>>, StoreError> {
    match store.load(keys).await {
        Err(StoreError::Corrupt) => {}
        loaded => return Ok(loaded?.into_iter().map(Ok).collect()),
    }
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        found.push(match store.load(std::slice::from_ref(key)).await {
            Ok(loaded) => Ok(loaded.into_iter().next().flatten()),
            Err(StoreError::Corrupt) => Err(StoreError::Corrupt),
            Err(error) => return Err(error),
        });
    }
    Ok(found)
}

/// A database for the journal.
#[async_trait]
pub trait Store: Send + Sync {
    /// Reads documents by key, in the order of the keys, strongly consistent. Expired documents read as absent.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load(&self, keys: &[Key]) -> Result<Vec<Option<StoredDocument>>, StoreError>;

    /// Writes all documents or none. Every document's condition holds at the moment of the write. A key occurs at most once.
    ///
    /// # Errors
    /// [`CommitError`].
    async fn commit(&self, puts: &[Put]) -> Result<(), CommitError>;

    /// The documents of a list whose time is not later than `until`, the earliest first, at most `limit`, of those that come behind
    /// `after`. May lag behind the writes by seconds: load a document before you act on its key.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list(&self, list: List, until: Timestamp, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, StoreError>;

    /// Puts a document that was found in a list into this one, without reading or changing it otherwise: its body and its version stay.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] if it is no longer where it was found.
    async fn relist(&self, from: List, found: &Listed, to: List, at: Timestamp) -> Result<(), CommitError>;

    /// The keys of [`List::Due`] up to this time, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<Key>, StoreError> {
        let found = self.list(List::Due, until, None, limit).await?;
        Ok(found.into_iter().map(|listed| listed.key).collect())
    }

    /// The keys of [`List::Parked`], the longest parked first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn parked(&self, limit: usize) -> Result<Vec<Key>, StoreError> {
        let found = self.list(List::Parked, END_OF_TIME, None, limit).await?;
        Ok(found.into_iter().map(|listed| listed.key).collect())
    }
}
