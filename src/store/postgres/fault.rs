//! What PostgreSQL's errors mean to the ledger: by SQLSTATE, never by message.

use std::sync::Arc;

use crate::store::{StoreError, StoreErrorKind};

/// An error of a statement inside a transaction that is not committed: nothing was written.
pub(super) fn of_statement(error: sqlx::Error) -> StoreError {
    let (kind, message) = match code(&error) {
        Some(code) => of_code(&code),
        None => of_driver(&error),
    };
    StoreError::new(kind, format!("{message}: {}", shown(&error))).with_source(error)
}

/// An error of connecting: what stands in front of a database may say anything, and no statement is to blame.
pub(super) fn of_connect(error: sqlx::Error) -> StoreError {
    let said = of_statement(error);
    match said.kind() {
        StoreErrorKind::Refused => {
            StoreError::new(StoreErrorKind::Unavailable, format!("database does not let us in: {said}"))
                .with_source(said)
        }
        _ => said,
    }
}

/// An error of COMMIT, whatever it is: the transaction may be on disk.
pub(super) fn of_commit(error: sqlx::Error) -> StoreError {
    StoreError::new(StoreErrorKind::OutcomeUnknown, format!("commit failed, it may be on disk: {}", shown(&error)))
        .with_source(error)
}

/// Rows that contradict themselves.
pub(super) fn corrupt(message: impl Into<Arc<str>>) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, message)
}

/// A database that is not ours or cannot be relied on.
pub(super) fn unsuitable(message: impl Into<Arc<str>>) -> StoreError {
    StoreError::new(StoreErrorKind::Unsuitable, message)
}

pub(super) fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Closed, "store is closed")
}

/// Whether a row was refused because there is one of its key.
pub(super) fn is_duplicate(error: &StoreError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    source.and_then(code).is_some_and(|code| code == "23505")
}

fn of_code(code: &str) -> (StoreErrorKind, &'static str) {
    match code {
        // A lock or a statement took too long, a deadlock or a conflict was resolved at our cost, or a cached plan is of
        // before a migration.
        "55P03" | "57014" => (StoreErrorKind::Contended, "database took too long, somebody holds the bucket"),
        "0A000" => {
            (StoreErrorKind::Contended, "database cannot run a prepared statement any more, it is prepared anew")
        }
        _ if code.starts_with("40") => (StoreErrorKind::Contended, "database gave up a transaction over a conflict"),
        "53100" => (StoreErrorKind::Full, "database's disk is full, make room and try again"),
        "25006" => (StoreErrorKind::ReadOnly, "database may not be written, is it a standby?"),
        "42501" => (StoreErrorKind::ReadOnly, "role lacks a privilege, grant it what the manual lists"),
        "26000" | "42P05" => (
            StoreErrorKind::Refused,
            "prepared statements do not survive here, is a pooler in between? open with prepared=never",
        ),
        "3D000" | "3F000" | "42P01" | "42703" => (StoreErrorKind::Unsuitable, "database or tables are missing"),
        "28000" | "28P01" => (StoreErrorKind::Unavailable, "database does not let us in, check user and password"),
        "XX001" | "XX002" => (StoreErrorKind::Corrupt, "database is damaged, stop, restore a backup, then audit"),
        _ if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || code == "25P03" => {
            (StoreErrorKind::Unavailable, "database cannot serve us just now")
        }
        _ => (StoreErrorKind::Refused, "database refused a statement"),
    }
}

fn of_driver(error: &sqlx::Error) -> (StoreErrorKind, &'static str) {
    match error {
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::RowNotFound => (StoreErrorKind::Corrupt, "row cannot be read, restore a backup"),
        sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => {
            (StoreErrorKind::Refused, "statement cannot be sent")
        }
        _ => (StoreErrorKind::Unavailable, "database cannot be reached"),
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(std::borrow::Cow::into_owned)
}

/// Errors of configuration may quote the url, and the url may hold a password.
fn shown(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Configuration(_) => "connection settings are not understood".to_owned(),
        _ => error.to_string(),
    }
}
