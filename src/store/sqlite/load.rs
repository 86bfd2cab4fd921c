//! What a batch has to know: from memory where it is there, else from the tables.

use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, params};

use super::backlog::Waiting;
use super::commit::{Known, find, operation, prepare, target};
use super::fault::corrupt;
use super::query::each;
use super::{credit, rows, sql};
use crate::kernel::{KeyTarget, ReadSet, Snapshot};
use crate::model::{BudgetWindow, Hold, KeyHash, Lot, LotKey, Timestamp};
use crate::store::StoreError;

/// Where it is looked for, in this order: what waits for its table, what this process wrote to the tables, the tables.
pub(super) struct Load<'a> {
    pub(super) connection: &'a Connection,
    pub(super) known: &'a Known,
    pub(super) waiting: &'a Waiting,
    pub(super) now: Timestamp,
}

impl Load<'_> {
    pub(super) fn accounts(&self, reads: &ReadSet, snapshot: &mut Snapshot) -> Result<(), StoreError> {
        let mut accounts = prepare(self.connection, sql::SELECT_ACCOUNT)?;
        for id in &reads.accounts {
            if snapshot.accounts.contains_key(id) {
                continue;
            }
            let found = match self.waiting.rows.account(id).or_else(|| self.known.accounts.get(id).map(Box::as_ref)) {
                Some(account) => Some(account.clone()),
                None => find(&mut accounts, [id.as_str()], rows::account)?,
            };
            snapshot.accounts.extend(found.map(|account| (id.clone(), account)));
        }
        Ok(())
    }

    pub(super) fn holds(&self, reads: &ReadSet, snapshot: &mut Snapshot) -> Result<(), StoreError> {
        let mut keys = prepare(self.connection, sql::SELECT_KEY)?;
        for key in &reads.holds {
            if !snapshot.holds.contains_key(key) {
                let found = self.hold(&mut keys, *key, snapshot)?;
                snapshot.holds.extend(found.map(|hold| (*key, hold)));
            }
        }
        for key in &reads.operations {
            match target(&mut keys, *key)? {
                Some(KeyTarget::Entry(position)) => {
                    snapshot.operations.insert(*key, operation(self.connection, position)?);
                }
                Some(KeyTarget::Gone) => {
                    snapshot.gone.insert(*key);
                }
                Some(KeyTarget::Hold(_)) | None => {}
            }
        }
        Ok(())
    }

    fn hold(
        &self,
        keys: &mut CachedStatement<'_>,
        key: KeyHash,
        snapshot: &mut Snapshot,
    ) -> Result<Option<Arc<Hold>>, StoreError> {
        if let Some(hold) = self.waiting.rows.hold(key).or_else(|| self.known.open_holds.get(&key)) {
            return Ok(Some(Arc::clone(hold)));
        }
        let indexed = || target(keys, key);
        match self.waiting.key(key).map_or_else(indexed, |target| Ok(Some(target)))? {
            Some(KeyTarget::Hold(number)) => {
                find(&mut prepare(self.connection, sql::SELECT_HOLD)?, [number], rows::hold)
            }
            Some(KeyTarget::Gone) => {
                snapshot.gone.insert(key);
                Ok(None)
            }
            Some(KeyTarget::Entry(_)) | None => Ok(None),
        }
    }

    pub(super) fn overdue(&self, reads: &ReadSet, snapshot: &mut Snapshot) -> Result<(), StoreError> {
        for id in &reads.overdue {
            // Two commands of a batch may ask for the same account.
            if snapshot.overdue.contains_key(id) {
                continue;
            }
            let number = snapshot.accounts.get(id).map_or(0, |account| account.number);
            let mut overdue: Vec<_> = self.waiting.rows.overdue(number, self.now).cloned().collect();
            each(self.connection, sql::SELECT_OVERDUE, params![number, self.now.as_micros()], |row| {
                let hold = rows::hold(row)?;
                overdue.extend(self.waiting.rows.hold(hold.key).is_none().then_some(hold));
                Ok(true)
            })?;
            overdue.sort_unstable_by_key(|hold| hold.number);
            snapshot.overdue.insert(id.clone(), overdue.iter().map(|hold| hold.key).collect());
            for hold in overdue {
                snapshot.holds.entry(hold.key).or_insert(hold);
            }
        }
        Ok(())
    }

    pub(super) fn lots(&self, reads: &ReadSet, snapshot: &mut Snapshot) -> Result<(), StoreError> {
        for account in &reads.live_lots {
            if !snapshot.live_lots.insert(*account) {
                continue;
            }
            if let Some(lots) = self.known.live_lots.get(account) {
                lots.values().for_each(|lot| snapshot.add_lot(Arc::clone(lot)));
                continue;
            }
            self.waiting.rows.lots_of(*account).for_each(|lot| snapshot.add_lot(Arc::clone(lot)));
            each(self.connection, sql::SELECT_LIVE_LOTS, [*account], |row| {
                let lot = credit::lot(row)?;
                if self.waiting.rows.lot(lot.key()).is_none() {
                    snapshot.add_lot(lot);
                }
                Ok(true)
            })?;
        }
        for key in &reads.lots {
            if !snapshot.has_lot(*key) {
                snapshot.add_lot(self.lot(*key)?);
            }
        }
        Ok(())
    }

    fn lot(&self, key: LotKey) -> Result<Arc<Lot>, StoreError> {
        if let Some(lot) = self.waiting.rows.lot(key) {
            return Ok(Arc::clone(lot));
        }
        let mut statement = prepare(self.connection, sql::SELECT_LOT)?;
        let found = find(&mut statement, params![key.account, key.lot], credit::lot)?;
        found.ok_or_else(|| corrupt(format!("lot is missing, restore a backup: {key:?}")))
    }

    pub(super) fn budgets(&self, reads: &ReadSet, snapshot: &mut Snapshot) -> Result<(), StoreError> {
        for key in &reads.budgets {
            if let Some(budgets) = self.known.budgets.get(key) {
                snapshot.budgets.entry(key.clone()).or_insert_with(|| budgets.clone());
            }
            if !snapshot.budgets.contains_key(key) {
                let mut budgets = Vec::new();
                let params = params![key.account, credit::scope_column(key.scope.as_ref())];
                each(self.connection, sql::SELECT_SCOPE_BUDGETS, params, |row| {
                    budgets.push(credit::budget(row)?);
                    Ok(true)
                })?;
                snapshot.budgets.insert(key.clone(), budgets);
            }
        }
        for key in &reads.windows {
            let known = self.waiting.rows.window(*key).or_else(|| self.known.windows.get(key).copied());
            snapshot.windows.extend(known.map(|window| (*key, window)));
            if !snapshot.windows.contains_key(key) {
                let params = params![key.account, key.budget, key.start.as_micros()];
                let mut statement = prepare(self.connection, sql::SELECT_WINDOW)?;
                let found = find(&mut statement, params, |row| credit::counted(row, *key))?;
                snapshot.windows.insert(*key, found.unwrap_or_else(|| BudgetWindow::new(*key)));
            }
        }
        Ok(())
    }
}
