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

/// A write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Which document.
    pub key: Key,
    /// The version that must still be there; `None` if the document must not exist.
    pub expected_version: Option<u64>,
    /// The new body, JSON, at most [`MAX_BODY_BYTES`].
    pub body: String,
    /// When it should be checked again; found by [`Store::due`]. `None` for settled documents.
    pub due_at: Option<Timestamp>,
    /// Since when an operator has to decide; found by [`Store::parked`] unless something is also due.
    pub parked_since: Option<Timestamp>,
    /// When it may be deleted. A document that has expired reads as absent at once, even before the database removes it. `None` keeps it
    /// for ever.
    pub expires_at: Option<Timestamp>,
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

    /// Keys of documents whose `due_at` is not later than `until`, the earliest first, at most `limit`. May lag behind the writes by
    /// seconds: load a document before you act on its key.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<Key>, StoreError>;

    /// Keys of documents that have a `parked_since` and no `due_at`, the longest parked first, at most `limit`. May lag behind the writes
    /// as [`Store::due`] does.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn parked(&self, limit: usize) -> Result<Vec<Key>, StoreError>;
}
