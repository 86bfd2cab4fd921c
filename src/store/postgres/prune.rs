//! Archived rows go: what the batch named, and nothing else.

use sqlx::postgres::{PgArguments, PgConnection};

use super::bind::{count, of_bucket, one};
use super::fault::{corrupt, of_statement};
use super::sql;
use crate::kernel::Pruned;
use crate::model::KeyHash;
use crate::store::{StoreError, StoreErrorKind};

/// Removes the rows a batch named, in the batch's transaction, a statement for each kind of row: few batches do.
pub(super) async fn remove(
    connection: &mut PgConnection,
    bucket: i16,
    pruned: &Pruned,
    prepared: bool,
) -> Result<(), StoreError> {
    let Pruned { entries, holds, lots, windows, keys } = pruned;
    let mut removal = Removal { connection, prepared };
    if let Some(until) = pruned.until() {
        let mut arguments = of_bucket(bucket)?;
        one(&mut arguments, count(until))?;
        removal.all(sql::UPDATE_PRUNED, arguments, 1).await?;
        let mut arguments = of_bucket(bucket)?;
        one(&mut arguments, entries.iter().map(|position| count(*position)).collect::<Vec<_>>())?;
        removal.all(sql::DELETE_ENTRIES, arguments, entries.len()).await?;
    }
    if !holds.is_empty() {
        let mut arguments = of_bucket(bucket)?;
        one(&mut arguments, holds.clone())?;
        removal.all(sql::DELETE_HOLDS, arguments, holds.len()).await?;
    }
    if !keys.is_empty() {
        let mut arguments = of_bucket(bucket)?;
        one(&mut arguments, keys.iter().map(KeyHash::as_bytes).collect::<Vec<_>>())?;
        removal.all(sql::CLEAR_KEYS, arguments, keys.len()).await?;
    }
    if !lots.is_empty() {
        let mut arguments = of_bucket(bucket)?;
        one(&mut arguments, lots.iter().map(|key| key.account).collect::<Vec<_>>())?;
        one(&mut arguments, lots.iter().map(|key| i64::from(key.lot)).collect::<Vec<_>>())?;
        removal.all(sql::DELETE_LOTS, arguments, lots.len()).await?;
    }
    if !windows.is_empty() {
        let mut arguments = of_bucket(bucket)?;
        one(&mut arguments, windows.iter().map(|key| key.account).collect::<Vec<_>>())?;
        one(&mut arguments, windows.iter().map(|key| i64::from(key.budget)).collect::<Vec<_>>())?;
        one(&mut arguments, windows.iter().map(|key| key.start.as_micros()).collect::<Vec<_>>())?;
        // One in which nothing was ever counted has no row.
        removal.run(sql::DELETE_WINDOWS, arguments).await?;
    }
    Ok(())
}

/// A role that may write but not remove is no outage: the command that prunes is refused, and nothing else is.
fn of_removal(error: sqlx::Error) -> StoreError {
    let error = of_statement(error);
    match error.kind() {
        StoreErrorKind::ReadOnly => {
            StoreError::new(StoreErrorKind::Refused, "role may not remove archived rows, use the archiver's")
                .with_source(error)
        }
        _ => error,
    }
}

struct Removal<'a> {
    connection: &'a mut PgConnection,
    prepared: bool,
}

impl Removal<'_> {
    /// Runs a statement that has to concern so many rows: those that were named are there.
    async fn all(&mut self, statement: &'static str, arguments: PgArguments, rows: usize) -> Result<(), StoreError> {
        let found = self.run(statement, arguments).await?;
        if usize::try_from(found) == Ok(rows) {
            Ok(())
        } else {
            Err(corrupt(format!("rows to be pruned are missing, audit: found={found} named={rows}")))
        }
    }

    /// Runs a statement. Answers how many rows it concerned.
    async fn run(&mut self, statement: &'static str, arguments: PgArguments) -> Result<u64, StoreError> {
        let query = sqlx::query_with(statement, arguments).persistent(self.prepared);
        Ok(query.execute(&mut *self.connection).await.map_err(of_removal)?.rows_affected())
    }
}
