//! What is committed and not in its tables yet.
//!
//! SQLite's cost is the number of pages a transaction dirties and of rows it touches, and a busy ledger touches the same
//! rows again and again: an account at every command, a hold when it is made and when it is closed. So a batch writes its
//! entries, and the other rows it changed as one blob, into `backlog`, in the same transaction. The rows themselves are
//! kept in memory, where readers look first, and move into their tables a while later, oldest first and each in its last
//! state: as many with each batch as it adds, the rest when the ledger is idle or closed. What memory held is read from
//! the blobs when the database is opened; a blob goes when nothing in it waits any more.
//!
//! The index of callers' ids follows in the same way, but in its own order (`keys`).
//!
//! Accounts, lots and budgets that are made, and an account's terms, are few and written at once.

mod image;
mod keys;
mod rows;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rusqlite::{Connection, params};

use self::keys::{KeyMoves, Keys};
use self::rows::Leaving;
pub(super) use self::rows::{Row, Rows};
use super::commit::prepare;
use super::fault::of_statement;
use super::{credit, query, rows as columns, sql};
use crate::kernel::{ChangeSet, Counters, KeyTarget};
use crate::model::{KeyHash, Timestamp};
use crate::store::StoreError;

/// The backlog, shared by the writer and the readers. Nothing is read before the first use, nor kept after a failure.
#[derive(Clone, Debug)]
pub(super) struct Backlog {
    shared: Arc<RwLock<Option<Waiting>>>,
    rows_max: usize,
    keys_max: usize,
}

/// What waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) rows: Rows,
    keys: Keys,
}

/// What a batch moves into the tables and the index.
#[derive(Debug, Default)]
pub(super) struct Moves {
    rows: Leaving,
    keys: KeyMoves,
    /// The number of the blob that is being written.
    batch: i64,
    /// The bucket's counters, as far as blobs say that may go.
    counters: Counters,
}

impl Backlog {
    /// At most about so many rows and keys of holds wait.
    pub(super) fn new(rows_max: u32, keys_max: u32) -> Self {
        let most = |max: u32| usize::try_from(max).unwrap_or(usize::MAX);
        Self { shared: Arc::default(), rows_max: most(rows_max), keys_max: most(keys_max) }
    }

    /// Shows what waits. What leaves the backlog is in its table by then: so look here first, and begin a snapshot of the
    /// database afterwards.
    pub(super) fn with<T>(&self, connection: &Connection, show: impl FnOnce(&Waiting) -> T) -> Result<T, StoreError> {
        if let Some(waiting) = &*self.read() {
            return Ok(show(waiting));
        }
        // Under the lock, so that what is committed meanwhile is learnt afterwards.
        let mut shared = self.write();
        let waiting = match shared.take() {
            Some(waiting) => waiting,
            None if !connection.is_autocommit() => Waiting::load(connection)?,
            None => query::snapshot(connection, || Waiting::load(connection))?,
        };
        Ok(show(shared.insert(waiting)))
    }

    /// What a batch that adds so much has to move.
    pub(super) fn moves(&self, changes: &ChangeSet) -> Moves {
        match &*self.read() {
            Some(waiting) => waiting.moves(changes, self.rows_max, self.keys_max),
            None => Moves::default(),
        }
    }

    /// The next rows to move when there is nothing else to do; none: nothing waits but keys.
    pub(super) fn rest(&self, connection: &Connection, most: usize) -> Result<Option<Moves>, StoreError> {
        self.with(connection, |Waiting { rows: waiting, .. }| {
            (!waiting.is_empty()).then(|| Moves {
                rows: waiting.oldest(usize::MAX, most),
                counters: waiting.counters(),
                ..Moves::default()
            })
        })
    }

    /// Takes over what was just made durable. Answers the rows that are in their tables now.
    pub(super) fn learn(&self, changes: ChangeSet, moves: Moves) -> Vec<Row> {
        if let Some(Waiting { rows, keys }) = &mut *self.write() {
            keys.learn(&changes.keys, &moves.keys);
            keys.let_go(&changes.pruned.keys);
            rows.learn(changes, &moves.rows, moves.batch);
        }
        moves.rows.rows
    }

    /// Forgets what may not be so.
    pub(super) fn forget(&self) {
        *self.write() = None;
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Waiting>> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<Waiting>> {
        self.shared.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Reads what waits, in the snapshot the connection is in.
    pub(super) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let rows = Rows::load(connection)?;
        let keys = Keys::load(connection, &rows)?;
        Ok(Self { rows, keys })
    }

    /// What the key of a hold leads to, if it is not in the index yet.
    pub(super) fn key(&self, key: KeyHash) -> Option<KeyTarget> {
        self.keys.get(key).map(KeyTarget::Hold)
    }

    /// The keys that are not in the index yet.
    pub(super) fn keys(&self) -> impl Iterator<Item = (KeyHash, KeyTarget)> {
        self.keys.iter().map(|(key, number)| (key, KeyTarget::Hold(number)))
    }

    fn moves(&self, changes: &ChangeSet, rows_max: usize, keys_max: usize) -> Moves {
        let adds = rows::changed(changes);
        Moves {
            rows: self.rows.oldest(excess(self.rows.len(), adds, rows_max), at_most(adds)),
            keys: self.keys.moves(changes.new_holds.len(), keys_max),
            batch: self.rows.next(),
            counters: self.rows.counters(),
        }
    }
}

/// How many are too many once so many are added. Small batches move none for a while, then many that share their pages.
fn excess(waiting: usize, adds: usize, max: usize) -> usize {
    let excess = waiting.saturating_add(adds).saturating_sub(max);
    if excess < max / 256 { 0 } else { excess }
}

/// How many a batch that adds so many moves at most: a long backlog read after a crash shrinks.
fn at_most(adds: usize) -> usize {
    const MOVES_MIN: usize = 256;
    adds.saturating_mul(2).max(MOVES_MIN)
}

/// Writes what a batch changed into the backlog, and moves what is to move.
pub(super) fn write(connection: &Connection, changes: &ChangeSet, moves: &Moves) -> Result<(), StoreError> {
    let rows = image::encode(changes);
    // A blob says the counters: the bucket's row is a page that need not be written then.
    if rows.is_none() || changes.pause.is_some() || moves.keys.indexed > 0 {
        update_bucket(connection, changes.counters, changes.pause, moves.keys.indexed)?;
    }
    if let Some(rows) = rows {
        prepare(connection, sql::INSERT_BACKLOG)?.execute(params![moves.batch, rows]).map_err(of_statement)?;
    }
    keys::write(connection, &changes.keys, &moves.keys)?;
    settle(connection, moves)
}

/// Writes the bucket's row: what no blob says, or what those say that may go.
fn update_bucket(
    connection: &Connection,
    Counters { position, hold, account }: Counters,
    pause: Option<Timestamp>,
    indexed: i64,
) -> Result<(), StoreError> {
    let pause = pause.map_or(i64::MIN, Timestamp::as_micros);
    let params = params![columns::Count(position), hold, account, pause, indexed];
    prepare(connection, sql::UPDATE_BUCKET)?.execute(params).map_err(of_statement)?;
    Ok(())
}

/// Moves rows into their tables.
pub(super) fn settle(connection: &Connection, moves: &Moves) -> Result<(), StoreError> {
    let leaving = &moves.rows;
    if leaving.turns == 0 {
        return Ok(());
    }
    update_bucket(connection, moves.counters, None, 0)?;
    let mut accounts = prepare(connection, sql::UPDATE_ACCOUNT)?;
    let mut holds = prepare(connection, sql::UPSERT_HOLD)?;
    let mut lots = prepare(connection, sql::UPDATE_LOT)?;
    let mut windows = prepare(connection, sql::UPSERT_WINDOW)?;
    for row in &leaving.rows {
        match row {
            Row::Account(account) => columns::update_account(&mut accounts, account),
            Row::Hold(hold) => columns::upsert_hold(&mut holds, hold),
            Row::Lot(lot) => credit::update_lot(&mut lots, lot),
            Row::Window(window) => credit::upsert_window(&mut windows, window),
        }
        .map_err(of_statement)?;
    }
    prepare(connection, sql::DELETE_BACKLOG)?.execute([leaving.oldest]).map_err(of_statement)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_batches_move_nothing_for_a_while_then_many() {
        assert_eq!([65_000, 65_534, 65_700].map(|waiting| excess(waiting, 2, 65_536)), [0, 0, 0]);
        assert_eq!(excess(65_790, 2, 65_536), 256);
        assert_eq!(excess(65_536, 2_000, 65_536), 2_000);
        assert_eq!(excess(7, 2, 7), 2);
    }
}
