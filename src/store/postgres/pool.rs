//! Connections: taken out for one transaction, and put back only after it ended well.
//!
//! A driver's pool hands a connection on whose transaction was dropped in the middle, and finds out later. Here a
//! connection belongs to whoever took it; when a future is dropped or a statement fails it is closed, and the database
//! takes the transaction back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::fault::{closed, of_connect, of_statement};
use crate::store::{StoreError, StoreErrorKind};

/// Connections to one database, at most so many at once.
pub(super) struct Pool {
    options: PgConnectOptions,
    idle: Mutex<Vec<PgConnection>>,
    permits: Semaphore,
    size: u32,
    patience: Duration,
}

/// A connection inside a transaction. Dropped, it is closed and its transaction taken back.
pub(super) struct Session<'a> {
    pub(super) connection: PgConnection,
    pool: &'a Pool,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(options: PgConnectOptions, size: u32, patience: Duration) -> Self {
        let permits = Semaphore::new(usize::try_from(size).unwrap_or(usize::MAX));
        Self { options, idle: Mutex::default(), permits, size, patience }
    }

    /// Begins a transaction with `opening`, one message of one or several statements, and returns their rows.
    pub(super) async fn begin(&self, opening: &str) -> Result<(Session<'_>, Vec<PgRow>), StoreError> {
        timeout(self.patience, self.begin_at_leisure(opening)).await.unwrap_or_else(|_| {
            // A server that is silent is as silent on the other connections.
            self.idle().clear();
            Err(no_answer())
        })
    }

    async fn begin_at_leisure(&self, opening: &str) -> Result<(Session<'_>, Vec<PgRow>), StoreError> {
        let permit = self.permits.acquire().await.map_err(|_| closed())?;
        // The server may have gone and come back since a connection was used last: then it is as good as none.
        let used = self.idle().pop();
        if let Some(mut connection) = used {
            match run(&mut connection, opening).await {
                Ok(rows) => return Ok((Session { connection, pool: self, _permit: permit }, rows)),
                Err(error) if error.kind() == StoreErrorKind::Unavailable => self.idle().clear(),
                Err(error) => return Err(error),
            }
        }
        let mut connection = PgConnection::connect_with(&self.options).await.map_err(of_connect)?;
        let rows = run(&mut connection, opening).await?;
        Ok((Session { connection, pool: self, _permit: permit }, rows))
    }

    /// Waits for what was begun and closes everything.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let all = timeout(self.patience, self.permits.acquire_many(self.size)).await;
        self.permits.close();
        if let Ok(Err(_)) = all {
            return Err(closed());
        }
        let connections = std::mem::take(&mut *self.idle());
        for connection in connections {
            // The server notices without the farewell, too.
            let _ = timeout(self.patience, connection.close()).await;
        }
        Ok(())
    }

    fn idle(&self) -> MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session<'_> {
    /// Ends the transaction with `closing` and keeps the connection for the next one.
    pub(super) async fn end(self, closing: &'static str) -> Result<(), sqlx::Error> {
        let Self { mut connection, pool, _permit } = self;
        sqlx::raw_sql(closing).execute(&mut connection).await?;
        pool.idle().push(connection);
        Ok(())
    }
}

/// The database did not answer within our patience; nothing was committed.
pub(super) fn no_answer() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "database did not answer in time")
}

/// As [`no_answer`], but what was written may be on disk.
pub(super) fn no_answer_to_commit() -> StoreError {
    StoreError::new(StoreErrorKind::OutcomeUnknown, "commit was not answered in time")
}

async fn run(connection: &mut PgConnection, statements: &str) -> Result<Vec<PgRow>, StoreError> {
    sqlx::raw_sql(AssertSqlSafe(statements)).fetch_all(connection).await.map_err(of_statement)
}
