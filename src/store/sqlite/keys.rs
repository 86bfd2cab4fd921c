//! The index of callers' ids, written a little later than the rows it leads to.
//!
//! A key is a hash, so it lands on a page of its own, and pages are what a commit pays for. But a hold's row has its
//! key anyway, written in the same transaction as the money: the index may follow behind. The newest keys are kept in
//! memory, read from the holds' rows when the database is opened. Once there are many, each batch moves as many as it
//! adds, going round in the order of the index, so that the keys of thousands of batches share their pages.
//!
//! The keys of money operations, which are few, are written at once.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rusqlite::Connection;

use super::commit::prepare;
use super::fault::{corrupt, of_statement};
use super::{rows, sql};
use crate::kernel::KeyTarget;
use crate::model::KeyHash;
use crate::store::StoreError;

/// Keys of holds that are not in the index yet, shared by the writer and the readers. None after a failure: then
/// they are read anew.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    recent: Arc<RwLock<Option<Recent>>>,
    recent_max: usize,
}

#[derive(Clone, Debug)]
struct Recent {
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
pub(super) struct Moves {
    pub(super) keys: Vec<(KeyHash, i64)>,
    /// Whether a round ends with them.
    round: bool,
    /// The last hold whose key, like the keys of all before it, is in the index then; 0: as before.
    pub(super) indexed: i64,
}

/// A batch that adds little moves at least so many, so that a long tail read after a crash shrinks.
const MOVES_MIN: usize = 256;

impl Keys {
    /// Nothing is read before the first use. At most about `recent_max` keys stay in memory.
    pub(super) fn new(recent_max: u32) -> Self {
        Self { recent: Arc::default(), recent_max: usize::try_from(recent_max).unwrap_or(usize::MAX) }
    }

    /// What a key leads to, if it is in memory. A key that leaves the memory is in the index by then: so look here
    /// first, and begin a snapshot of the database afterwards.
    pub(super) fn recent(&self, connection: &Connection, key: KeyHash) -> Result<Option<KeyTarget>, StoreError> {
        let found = |recent: &Recent| recent.holds.get(&key).map(|number| KeyTarget::Hold(*number));
        if let Some(recent) = &*self.read() {
            return Ok(found(recent));
        }
        // Under the lock, so that what is committed meanwhile is learnt afterwards.
        let mut recent = self.write();
        if recent.is_none() {
            *recent = Some(Recent::load(connection)?);
        }
        Ok(recent.as_ref().and_then(found))
    }

    /// What a batch that adds so many keys has to move.
    pub(super) fn moves(&self, adds: usize) -> Moves {
        match &*self.read() {
            Some(recent) => recent.moves(adds, self.recent_max),
            None => Moves::default(),
        }
    }

    /// Takes over what was just made durable.
    pub(super) fn learn(&self, added: &[(KeyHash, KeyTarget)], moves: &Moves) {
        if let Some(recent) = &mut *self.write() {
            recent.learn(added, moves);
        }
    }

    /// Forgets what may not be so.
    pub(super) fn forget(&self) {
        *self.write() = None;
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Recent>> {
        self.recent.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<Recent>> {
        self.recent.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn load(connection: &Connection) -> Result<Self, StoreError> {
        let mut holds = BTreeMap::new();
        let mut last = 0;
        each(connection, |key, number| {
            holds.insert(key, number);
            last = number;
            true
        })?;
        Ok(Self { holds, hand: None, began: last, last })
    }

    fn moves(&self, adds: usize, max: usize) -> Moves {
        let excess = self.holds.len().saturating_add(adds).saturating_sub(max);
        let count = excess.min(adds.saturating_mul(2).max(MOVES_MIN)).min(self.holds.len());
        let ahead = (self.hand.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let ahead = self.holds.range(ahead).take(count);
        let mut keys: Vec<_> = ahead.map(|(key, number)| (*key, *number)).collect();
        let rest = count.saturating_sub(keys.len());
        let round = rest > 0;
        keys.extend(self.holds.iter().take(rest).map(|(key, number)| (*key, *number)));
        Moves { keys, round, indexed: if round { self.began } else { 0 } }
    }

    fn learn(&mut self, added: &[(KeyHash, KeyTarget)], moves: &Moves) {
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

/// Shows every key of a hold that is not in the index yet, until `take` has enough. Answers whether it had not.
pub(super) fn each(connection: &Connection, mut take: impl FnMut(KeyHash, i64) -> bool) -> Result<bool, StoreError> {
    let mut statement = prepare(connection, sql::SELECT_UNINDEXED)?;
    let mut found = statement.query([]).map_err(of_statement)?;
    while let Some(row) = found.next().map_err(of_statement)? {
        let number = row.get(0).map_err(of_statement)?;
        let key = row.get_ref(1).map_err(of_statement)?.as_blob().ok().and_then(KeyHash::from_slice);
        let key =
            key.ok_or_else(|| corrupt(format!("key cannot be read, restore a backup: table=holds row={number}")))?;
        if !take(key, number) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes the keys a batch adds or moves.
pub(super) fn write(connection: &Connection, added: &[(KeyHash, KeyTarget)], moves: &Moves) -> Result<(), StoreError> {
    let mut insert = prepare(connection, sql::INSERT_KEY)?;
    for (key, target) in added {
        match target {
            KeyTarget::Hold(_) => {}
            KeyTarget::Entry(_) => drop(rows::insert_key(&mut insert, *key, *target).map_err(of_statement)?),
        }
    }
    for (key, number) in &moves.keys {
        rows::insert_key(&mut insert, *key, KeyTarget::Hold(*number)).map_err(of_statement)?;
    }
    Ok(())
}
