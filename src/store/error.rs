//! What can go wrong in a store, by what to do about it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// An error of a store.
#[derive(Clone, Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: Arc<str>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What to do about an error of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Somebody else has the lock, or a conflict made the database give up: nothing was written, try again.
    Contended,
    /// The database cannot be reached: nothing was written, try again.
    Unavailable,
    /// The commit was sent and its answer is not known: ask again with the same commands.
    OutcomeUnknown,
    /// The database refused a statement: nothing was written, and the same statement will be refused again.
    Refused,
    /// The disk is full or the database is at its size limit: nothing was written; make room, then try again.
    Full,
    /// The database may not be written: nothing was written; mend its permissions.
    ReadOnly,
    /// The rows contradict themselves or the file is damaged: stop, restore, audit.
    Corrupt,
    /// It is not a database of ours, or of a version we cannot work with: nothing was touched.
    Unsuitable,
    /// Another process owns the database: close it there first.
    AlreadyOwned,
    /// The store was closed.
    Closed,
}

impl StoreError {
    /// An error of `kind`; the message is lowercase, without a full stop, cause first and values last.
    pub fn new(kind: StoreErrorKind, message: impl Into<Arc<str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(Arc::from(source.into())), ..self }
    }

    /// What to do about it.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
