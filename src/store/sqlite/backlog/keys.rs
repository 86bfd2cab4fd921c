//! The index of callers' ids, written a little later than the rows it leads to.
//!
//! A key is a hash, so it lands on a page of its own, and pages are what a commit pays for. But a hold has its key
//! anyway, written in the same transaction as the money: the index may follow behind. The newest keys are kept in
//! memory, read from the holds when the database is opened. Once there are many, each batch moves as many as it adds,
//! going round in the order of the index, so that the keys of thousands of batches share their pages.
//!
//! The keys of money operations, which are few, are written at once.

use std::collections::BTreeMap;
use std::ops::Bound;

use rusqlite::Connection;

use super::super::commit::{prepare, target};
use super::super::fault::{corrupt, of_statement};
use super::super::{query, rows as columns, sql};
use super::rows::Rows;
use super::{at_most, excess};
use crate::kernel::KeyTarget;
use crate::model::KeyHash;
use crate::store::StoreError;

/// Keys of holds that are not in the index yet.
#[derive(Debug)]
pub(super) struct Keys {
    holds: BTreeMap<KeyHash, i64>,
    /// The last key that was moved.
    hand: Option<KeyHash>,
    /// The last hold there was when the hand last began a round. Once the round is over, the keys of all holds up to
    /// this one are in the index.
    began: i64,
    last: i64,
}

/// Keys that a batch moves into the index.
#[derive(Debug, Default)]
pub(super) struct KeyMoves {
    keys: Vec<(KeyHash, i64)>,
    /// Whether a round ends with them.
    round: bool,
    /// The last hold whose key, like the keys of all before it, is in the index then; 0: as before.
    pub(super) indexed: i64,
}

impl Keys {
    /// Reads them from the holds, those in the table and those that wait.
    pub(super) fn load(connection: &Connection, rows: &Rows) -> Result<Self, StoreError> {
        let mut holds = BTreeMap::new();
        query::each(connection, sql::SELECT_UNINDEXED, [], |row| {
            let number = row.get(0).map_err(of_statement)?;
            let key = row.get_ref(1).map_err(of_statement)?.as_blob().ok().and_then(KeyHash::from_slice);
            let damaged = || corrupt(format!("key cannot be read, restore a backup: table=holds row={number}"));
            holds.insert(key.ok_or_else(damaged)?, number);
            Ok(true)
        })?;
        let mut indexed = prepare(connection, sql::SELECT_KEY)?;
        for hold in rows.holds() {
            if target(&mut indexed, hold.key)?.is_none() {
                holds.insert(hold.key, hold.number);
            }
        }
        let last = holds.values().copied().max().unwrap_or(0);
        Ok(Self { holds, hand: None, began: last, last })
    }

    pub(super) fn get(&self, key: KeyHash) -> Option<i64> {
        self.holds.get(&key).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (KeyHash, i64)> {
        self.holds.iter().map(|(key, number)| (*key, *number))
    }

    /// What a batch that adds so many has to move, for `max` to be left.
    pub(super) fn moves(&self, adds: usize, max: usize) -> KeyMoves {
        let count = excess(self.holds.len(), adds, max).min(at_most(adds)).min(self.holds.len());
        let ahead = (self.hand.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let ahead = self.holds.range(ahead).take(count);
        let mut keys: Vec<_> = ahead.map(|(key, number)| (*key, *number)).collect();
        let rest = count.saturating_sub(keys.len());
        let round = rest > 0;
        keys.extend(self.holds.iter().take(rest).map(|(key, number)| (*key, *number)));
        KeyMoves { keys, round, indexed: if round { self.began } else { 0 } }
    }

    /// Lets go of keys that lead nowhere any more: the index says so.
    pub(super) fn let_go(&mut self, gone: &[KeyHash]) {
        for key in gone {
            self.holds.remove(key);
        }
    }

    pub(super) fn learn(&mut self, added: &[(KeyHash, KeyTarget)], moves: &KeyMoves) {
        for (key, _) in &moves.keys {
            self.holds.remove(key);
        }
        if let Some((hand, _)) = moves.keys.last() {
            self.hand = Some(*hand);
        }
        if moves.round {
            self.began = self.last;
        }
        for (key, target) in added {
            if let KeyTarget::Hold(number) = target {
                self.holds.insert(*key, *number);
                self.last = self.last.max(*number);
            }
        }
    }
}

/// Writes the keys a batch adds or moves.
pub(super) fn write(
    connection: &Connection,
    added: &[(KeyHash, KeyTarget)],
    moves: &KeyMoves,
) -> Result<(), StoreError> {
    let mut insert = prepare(connection, sql::INSERT_KEY)?;
    for (key, target) in added {
        match target {
            KeyTarget::Hold(_) => {}
            KeyTarget::Entry(_) | KeyTarget::Gone => {
                columns::insert_key(&mut insert, *key, *target).map_err(of_statement)?;
            }
        }
    }
    for (key, number) in &moves.keys {
        columns::insert_key(&mut insert, *key, KeyTarget::Hold(*number)).map_err(of_statement)?;
    }
    Ok(())
}
