//! What SQLite's errors mean to the ledger: by code, never by message.

use std::path::Path;

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_READONLY_DBMOVED;

use crate::model::Malformed;
use crate::store::{StoreError, StoreErrorKind};

/// An error of a statement inside a transaction that is rolled back: nothing was written.
pub(super) fn of_statement(error: rusqlite::Error) -> StoreError {
    let (kind, message) = match code(&error) {
        Some((ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _)) => {
            (StoreErrorKind::Contended, "database is locked by somebody else, close other writers")
        }
        Some((ErrorCode::DiskFull, _)) => (StoreErrorKind::Full, "disk or database is full, make room and try again"),
        Some((ErrorCode::ReadOnly, SQLITE_READONLY_DBMOVED)) => {
            (StoreErrorKind::ReadOnly, "database file was moved or replaced, open the ledger anew")
        }
        Some((ErrorCode::ReadOnly | ErrorCode::PermissionDenied, _)) => {
            (StoreErrorKind::ReadOnly, "database may not be written, mend its permissions and those of its folder")
        }
        Some((ErrorCode::CannotOpen, _)) => {
            (StoreErrorKind::Unavailable, "database cannot be opened, check its path and permissions")
        }
        Some((ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory, _)) => {
            (StoreErrorKind::Unavailable, "disk or memory failed, nothing was written")
        }
        Some((ErrorCode::DatabaseCorrupt, _)) => {
            (StoreErrorKind::Corrupt, "database is damaged, stop, restore a backup, then audit")
        }
        Some((ErrorCode::NotADatabase, _)) => {
            (StoreErrorKind::Unsuitable, "file is not an SQLite database, it was not touched")
        }
        Some(_) | None => (StoreErrorKind::Refused, "database refused a statement"),
    };
    StoreError::new(kind, format!("{message}: {error}")).with_source(error)
}

/// An error of COMMIT: unless SQLite says that it could not begin to write, the transaction may be on disk.
pub(super) fn of_commit(error: rusqlite::Error) -> StoreError {
    match code(&error) {
        Some((ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _)) => of_statement(error),
        _ => StoreError::new(StoreErrorKind::OutcomeUnknown, format!("commit failed, it may be on disk: {error}"))
            .with_source(error),
    }
}

impl From<Malformed> for StoreError {
    fn from(error: Malformed) -> Self {
        corrupt(format!("backlog cannot be read, restore a backup: {error}"))
    }
}

/// Rows that contradict themselves.
pub(super) fn corrupt(message: impl Into<std::sync::Arc<str>>) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, message)
}

/// A thread that could not be started.
pub(super) fn no_thread(error: std::io::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, format!("no thread to be had for the database: {error}"))
        .with_source(error)
}

/// An error of the file system.
pub(super) fn of_file(error: std::io::Error, what: &str, path: &Path) -> StoreError {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
        std::io::ErrorKind::StorageFull => StoreErrorKind::Full,
        std::io::ErrorKind::IsADirectory | std::io::ErrorKind::NotADirectory => StoreErrorKind::Unsuitable,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, format!("{what}, check its path and permissions: {error}: path={}", path.display()))
        .with_source(error)
}

fn code(error: &rusqlite::Error) -> Option<(ErrorCode, i32)> {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => Some((failure.code, failure.extended_code)),
        _ => None,
    }
}
