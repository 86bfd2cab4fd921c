//! The one error of the public interface: what to do is in its kind, why is in the refusal.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::kernel::{Refusal, Reply};
use crate::model::{Balance, CallToken, Hold};
use crate::store::{StoreError, StoreErrorKind};

/// A result of the ledger.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call did not do what it was asked. One word wide, `Clone`, and it says what to do about it.
///
/// ```
/// # async fn example(account: prepaid::AccountHandle) -> Result<(), prepaid::Error> {
/// use prepaid::{ErrorKind, Refusal};
///
/// let error = account.deposit("d-1", prepaid::Amount::ZERO).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Refused);
/// assert_eq!(error.refusal(), Some(&Refusal::ZeroAmount));
/// assert!(!error.is_retryable());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: Arc<str>,
    reply: Option<Reply>,
    token: Option<CallToken>,
    source: Option<StoreError>,
}

/// What to do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The ledger said no and changed nothing: look at [`Error::refusal`].
    Refused,
    /// The input is not valid; the message names it. Change it.
    InvalidInput,
    /// Too much is waiting. Nothing was done: try again in a moment, answer 503.
    Busy,
    /// The store cannot be reached or written. Nothing was done: try again later, answer 503.
    Unavailable,
    /// It may or may not have been done. Ask again with the same ids (and the [call token](Error::call_token)): the
    /// answer tells.
    OutcomeUnknown,
    /// The store cannot be reached; the settlement or release is on this process's disk and will land, also after a
    /// restart. Nothing is left to do: it is no receipt, but the work is not lost. See
    /// [`LedgerBuilder::spool`](crate::LedgerBuilder::spool).
    Spooled,
    /// A cursor of the feed does not fit the database any more: it was restored since. Compare what was consumed with the
    /// journal, then go on with a cursor of the present epoch.
    StaleCursor,
    /// What was asked for was archived and pruned. For a journal `first` is the first entry that is left, for the feed the
    /// first position of the bucket from which on nothing is missing (see
    /// [`Ledger::oldest_cursor`](crate::Ledger::oldest_cursor)). What is before it is in the archives, for the feed also in
    /// journals.
    Pruned {
        /// The first number that is left.
        first: u64,
    },
    /// The ledger was closed.
    Closed,
    /// Another process owns the database: close it there.
    AlreadyOwned,
    /// The database is not ours, or of a version that does not fit; it was not touched.
    Unsuitable,
    /// The database is damaged: stop, restore a backup, audit.
    Corrupt,
    /// The database refused what should have been right: a bug. Nothing was done, and the rest goes on.
    Internal,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Arc<str>>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), reply: None, token: None, source: None }))
    }

    pub(crate) fn invalid(error: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidInput, error.to_string())
    }

    pub(crate) fn refused(refusal: Refusal, reply: Reply) -> Self {
        Self(Arc::new(Inner {
            kind: ErrorKind::Refused,
            message: refusal.to_string().into(),
            reply: Some(reply),
            token: None,
            source: None,
        }))
    }

    pub(crate) fn of_store(kind: ErrorKind, message: impl Into<Arc<str>>, source: StoreError) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), reply: None, token: None, source: Some(source) }))
    }

    pub(crate) fn with_token(self, token: CallToken) -> Self {
        let Inner { kind, message, reply, source, .. } = &*self.0;
        Self(Arc::new(Inner {
            kind: *kind,
            message: Arc::clone(message),
            reply: reply.clone(),
            token: Some(token),
            source: source.clone(),
        }))
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Why the ledger said no.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.0.reply.as_ref()?.answer.as_ref().err()
    }

    /// The hold as it stands now, where the ledger answered.
    pub fn hold(&self) -> Option<&Arc<Hold>> {
        self.0.reply.as_ref()?.hold.as_ref()
    }

    /// The account's balance now, where the ledger answered.
    pub fn balance(&self) -> Option<Balance> {
        self.0.reply.as_ref()?.balance
    }

    /// What a reserve of unknown outcome is asked for again with, so that its caller is told that the hold is its own.
    pub fn call_token(&self) -> Option<CallToken> {
        self.0.token
    }

    /// Whether the same call may succeed later without anything being changed.
    pub fn is_retryable(&self) -> bool {
        match self.0.kind {
            ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::OutcomeUnknown => true,
            ErrorKind::Refused
            | ErrorKind::InvalidInput
            | ErrorKind::Spooled
            | ErrorKind::StaleCursor
            | ErrorKind::Pruned { .. }
            | ErrorKind::Closed
            | ErrorKind::AlreadyOwned
            | ErrorKind::Unsuitable
            | ErrorKind::Corrupt
            | ErrorKind::Internal => false,
        }
    }

    /// The outcome or the name of the refusal, as the state table calls it; none where the ledger did not answer.
    pub fn name(&self) -> Option<&'static str> {
        self.0.reply.as_ref().map(Reply::name)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind() {
            StoreErrorKind::Contended
            | StoreErrorKind::Unavailable
            | StoreErrorKind::Full
            | StoreErrorKind::ReadOnly => ErrorKind::Unavailable,
            StoreErrorKind::OutcomeUnknown => ErrorKind::OutcomeUnknown,
            StoreErrorKind::Refused => ErrorKind::Internal,
            StoreErrorKind::Corrupt => ErrorKind::Corrupt,
            StoreErrorKind::Unsuitable => ErrorKind::Unsuitable,
            StoreErrorKind::AlreadyOwned => ErrorKind::AlreadyOwned,
            StoreErrorKind::Closed => ErrorKind::Closed,
        };
        Self::of_store(kind, error.to_string(), error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, message, reply, .. } = &*self.0;
        let refusal = reply.as_ref().and_then(|reply| reply.answer.as_ref().err());
        let mut shown = f.debug_struct("Error");
        shown.field("kind", kind).field("message", message);
        if let Some(refusal) = refusal {
            shown.field("refusal", refusal);
        }
        shown.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref()?.source()
    }
}
