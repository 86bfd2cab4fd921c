//! What a batch has to know: from memory where it is there, else from the tables.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, params};

use super::backlog::Waiting;
use super::commit::{Known, find, operation, prepare, target};
use super::fault::corrupt;
use super::query::each;
use super::{credit, rows, sql};
use crate::kernel::{KeyTarget, ReadSet, Snapshot};
use crate::model::{Budget, BudgetKey, BudgetWindow, Hold, KeyHash, Lot, LotKey, Timestamp};
use crate::store::StoreError;

/// Where it is looked for, in this order: what waits for its table, what this process knows of the tables, the tables. What
/// is known of credit is as it stands, so it comes first.
pub(super) struct Load<'a> {
    pub(super) connection: &'a Connection,
    pub(super) known: &'a mut Known,
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
            let found = match self.waiting.rows.account(id).or_else(|| self.known.accounts.get(id)) {
                Some(account) => Some(Arc::clone(account)),
                None => find(&mut accounts, [id.as_str()], rows::account)?.map(Arc::new),
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

    pub(super) fn lots(&mut self, reads: &ReadSet, snapshot: &mut Snapshot) -> Result<(), StoreError> {
        for account in &reads.live_lots {
            if snapshot.live_lots.insert(*account) {
                snapshot.add_lots(*account, self.live_lots(*account)?);
            }
        }
        for key in &reads.lots {
            if !snapshot.has_lot(*key) {
                snapshot.add_lot(self.lot(*key)?);
            }
        }
        Ok(())
    }

    fn live_lots(&mut self, account: i64) -> Result<&Arc<BTreeMap<u32, Arc<Lot>>>, StoreError> {
        let slot = match self.known.credit.live_lots.entry(account) {
            Slot::Occupied(known) => return Ok(known.into_mut()),
            Slot::Vacant(slot) => slot,
        };
        let rows = &self.waiting.rows;
        let waiting = rows.lots_of(account).filter(|lot| !lot.free.is_zero());
        let mut live: BTreeMap<_, _> = waiting.map(|lot| (lot.number, Arc::clone(lot))).collect();
        each(self.connection, sql::SELECT_LIVE_LOTS, [account], |row| {
            let lot = credit::lot(row)?;
            if rows.lot(lot.key()).is_none() {
                live.insert(lot.number, lot);
            }
            Ok(true)
        })?;
        Ok(slot.insert(Arc::new(live)))
    }

    fn lot(&self, key: LotKey) -> Result<Arc<Lot>, StoreError> {
        if let Some(lot) = self.waiting.rows.lot(key) {
            return Ok(Arc::clone(lot));
        }
        let mut statement = prepare(self.connection, sql::SELECT_LOT)?;
        let found = find(&mut statement, params![key.account, key.lot], credit::lot)?;
        found.ok_or_else(|| corrupt(format!("lot is missing, restore a backup: {key:?}")))
    }

    pub(super) fn budgets(&mut self, reads: &ReadSet, snapshot: &mut Snapshot) -> Result<(), StoreError> {
        for key in &reads.budgets {
            let budgets = match self.known.credit.budgets.entry(key.clone()) {
                Slot::Occupied(known) => known.into_mut(),
                Slot::Vacant(slot) => slot.insert(Arc::new(scope_budgets(self.connection, key)?)),
            };
            snapshot.budgets.insert(key.clone(), Arc::clone(budgets));
        }
        for key in &reads.windows {
            let known = self.known.credit.windows.get(key).copied().or_else(|| self.waiting.rows.window(*key));
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

/// The budgets of a scope, by number.
fn scope_budgets(connection: &Connection, key: &BudgetKey) -> Result<Vec<Arc<Budget>>, StoreError> {
    let mut budgets = Vec::new();
    let params = params![key.account, credit::scope_column(key.scope.as_ref())];
    each(connection, sql::SELECT_SCOPE_BUDGETS, params, |row| {
        budgets.push(credit::budget(row)?);
        Ok(true)
    })?;
    Ok(budgets)
}
