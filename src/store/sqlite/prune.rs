//! Archived rows go: what the batch named, and nothing else.

use rusqlite::{Connection, Params, params};

use super::commit::prepare;
use super::fault::{corrupt, of_statement};
use super::{rows, sql};
use crate::kernel::{Action, Batch, Pruned};
use crate::store::StoreError;

/// Whether a batch may remove rows.
pub(super) fn removes(batch: &Batch) -> bool {
    let mut actions = batch.commands().iter().map(|command| command.action());
    actions.any(|action| matches!(action, Action::Checkpoint { .. } | Action::Prune { .. }))
}

/// Up to which position entries may have been pruned.
pub(super) fn pruned(connection: &Connection) -> Result<u64, StoreError> {
    let found: i64 = prepare(connection, sql::SELECT_PRUNED)?.query_row([], |row| row.get(0)).map_err(of_statement)?;
    u64::try_from(found).map_err(|_| corrupt("bucket row is damaged, restore a backup"))
}

/// Removes the rows a batch named, in the batch's transaction.
pub(super) fn remove(connection: &Connection, pruned: &Pruned) -> Result<(), StoreError> {
    if let Some(until) = pruned.until() {
        one(connection, sql::UPDATE_PRUNED, [rows::Count(until)])?;
    }
    for position in &pruned.entries {
        one(connection, sql::DELETE_ENTRY, [rows::Count(*position)])?;
    }
    for number in &pruned.holds {
        one(connection, sql::DELETE_HOLD, [number])?;
    }
    for key in &pruned.keys {
        one(connection, sql::CLEAR_KEY, [key.as_bytes()])?;
    }
    for key in &pruned.lots {
        one(connection, sql::DELETE_LOT, params![key.account, key.lot])?;
    }
    for key in &pruned.windows {
        // One in which nothing was ever counted has no row.
        let params = params![key.account, key.budget, key.start.as_micros()];
        prepare(connection, sql::DELETE_WINDOW)?.execute(params).map_err(of_statement)?;
    }
    Ok(())
}

/// Runs a statement that has to concern one row: the one that was named is there.
fn one(connection: &Connection, statement: &str, params: impl Params) -> Result<(), StoreError> {
    match prepare(connection, statement)?.execute(params).map_err(of_statement)? {
        1 => Ok(()),
        found => Err(corrupt(format!("row to be pruned is missing, audit: found={found}"))),
    }
}
