//! Rows that wait, in the order in which they began to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rusqlite::Connection;

use super::super::{query, sql};
use super::image;
use crate::kernel::{ChangeSet, Counters, Map};
use crate::model::{Account, AccountId, BudgetWindow, Hold, HoldState, KeyHash, Lot, LotKey, Timestamp, WindowKey};
use crate::store::StoreError;

/// Rows in their last state, each once.
#[derive(Debug, Default)]
pub(in crate::store::sqlite) struct Rows {
    accounts: Map<AccountId, Arc<Account>>,
    holds: Map<KeyHash, Arc<Hold>>,
    lots: BTreeMap<LotKey, Arc<Lot>>,
    windows: BTreeMap<WindowKey, BudgetWindow>,
    /// Accounts by number, with the oldest blob that has each.
    numbers: BTreeMap<i64, (AccountId, i64)>,
    /// Holds that can become due, by account and number.
    pending: BTreeMap<(i64, i64), KeyHash>,
    /// Every row once, with the oldest blob that has it; and accounts that left with a neighbour.
    queue: VecDeque<(i64, Place)>,
    /// The number of the last blob.
    last: i64,
    /// The bucket's counters, as far as blobs say; its row may say more.
    counters: Counters,
}

/// A row.
#[derive(Clone, Debug)]
pub(in crate::store::sqlite) enum Row {
    Account(Arc<Account>),
    Hold(Arc<Hold>),
    Lot(Arc<Lot>),
    Window(BudgetWindow),
}

/// Which row.
#[derive(Debug)]
enum Place {
    Account(i64),
    Hold(KeyHash),
    Lot(LotKey),
    Window(WindowKey),
}

/// Rows that leave the backlog.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    pub(super) rows: Vec<Row>,
    /// How much of the queue goes with them.
    pub(super) turns: usize,
    /// The oldest blob that is needed without them.
    pub(super) oldest: i64,
}

/// So many accounts lie on a few pages. They leave together: where one has to be written, its neighbours cost little.
const NEIGHBOURS: i64 = 64;

/// How many rows a batch adds at most.
pub(super) fn changed(changes: &ChangeSet) -> usize {
    [changes.accounts.len(), changes.new_holds.len(), changes.holds.len(), changes.lots.len(), changes.windows.len()]
        .into_iter()
        .sum()
}

impl Rows {
    pub(super) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let mut rows = Self::default();
        query::each(connection, sql::SELECT_BACKLOG, [], |row| {
            let (batch, counters, changed) = image::decode(connection, &rows, row)?;
            rows.last = batch;
            rows.counters = counters;
            changed.into_iter().for_each(|row| rows.put(row));
            Ok(true)
        })?;
        Ok(rows)
    }

    pub(in crate::store::sqlite) fn account(&self, id: &AccountId) -> Option<&Arc<Account>> {
        self.accounts.get(id)
    }

    pub(in crate::store::sqlite) fn hold(&self, key: KeyHash) -> Option<&Arc<Hold>> {
        self.holds.get(&key)
    }

    pub(in crate::store::sqlite) fn lot(&self, key: LotKey) -> Option<&Arc<Lot>> {
        self.lots.get(&key)
    }

    pub(in crate::store::sqlite) fn window(&self, key: WindowKey) -> Option<BudgetWindow> {
        self.windows.get(&key).copied()
    }

    pub(in crate::store::sqlite) fn holds(&self) -> impl Iterator<Item = &Arc<Hold>> {
        self.holds.values()
    }

    pub(in crate::store::sqlite) fn lots(&self) -> impl Iterator<Item = &Arc<Lot>> {
        self.lots.values()
    }

    pub(in crate::store::sqlite) fn windows(&self) -> impl Iterator<Item = &BudgetWindow> {
        self.windows.values()
    }

    /// An account's lots, by number.
    pub(in crate::store::sqlite) fn lots_of(&self, account: i64) -> impl Iterator<Item = &Arc<Lot>> {
        let all = LotKey { account, lot: 0 }..=LotKey { account, lot: u32::MAX };
        self.lots.range(all).map(|(_, lot)| lot)
    }

    /// A budget's windows that begin at `from` or later, in order.
    pub(in crate::store::sqlite) fn windows_of(
        &self,
        account: i64,
        budget: u32,
        from: Timestamp,
    ) -> impl Iterator<Item = &BudgetWindow> {
        let end = Timestamp::from_micros(i64::MAX);
        let all = WindowKey { account, budget, start: from }..=WindowKey { account, budget, start: end };
        self.windows.range(all).map(|(_, window)| window)
    }

    /// Holds of an account that are not final, by number, after one.
    pub(in crate::store::sqlite) fn pending(&self, account: i64, after: i64) -> impl Iterator<Item = &Arc<Hold>> {
        let behind = self.pending.range((account, after.saturating_add(1))..=(account, i64::MAX));
        behind.filter_map(|(_, key)| self.holds.get(key))
    }

    /// Holds that are due.
    pub(in crate::store::sqlite) fn due(&self, now: Timestamp) -> impl Iterator<Item = &Arc<Hold>> {
        let pending = self.pending.values().filter_map(|key| self.holds.get(key));
        pending.filter(move |hold| hold.due.is_some_and(|due| due <= now))
    }

    /// Open holds of an account that may be overdue.
    pub(in crate::store::sqlite) fn overdue(&self, account: i64, now: Timestamp) -> impl Iterator<Item = &Arc<Hold>> {
        let open = self.pending(account, 0).filter(|hold| hold.state == HoldState::Open);
        open.filter(move |hold| hold.due.is_some_and(|due| due <= now))
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The bucket's counters, as far as blobs say.
    pub(in crate::store::sqlite) fn counters(&self) -> Counters {
        self.counters
    }

    /// The number of the next blob.
    pub(super) fn next(&self) -> i64 {
        self.last.saturating_add(1)
    }

    /// The rows that have waited longest: those of the first `turns` in the queue, or about `rows`.
    pub(super) fn oldest(&self, turns: usize, rows: usize) -> Leaving {
        let mut leaving = Leaving::default();
        let mut pages = BTreeSet::new();
        for (since, place) in self.queue.iter().take(turns) {
            if leaving.rows.len() >= rows {
                break;
            }
            leaving.turns = leaving.turns.saturating_add(1);
            match place {
                Place::Account(number) => {
                    let waits = self.numbers.get(number).is_some_and(|(_, first)| first == since);
                    let page = number.div_euclid(NEIGHBOURS);
                    if waits && pages.insert(page) {
                        leaving.rows.extend(self.accounts_on(page).map(Row::Account));
                    }
                }
                Place::Hold(key) => leaving.rows.extend(self.holds.get(key).cloned().map(Row::Hold)),
                Place::Lot(key) => leaving.rows.extend(self.lots.get(key).cloned().map(Row::Lot)),
                Place::Window(key) => leaving.rows.extend(self.windows.get(key).copied().map(Row::Window)),
            }
        }
        leaving.oldest = self.queue.get(leaving.turns).map_or_else(|| self.next(), |(batch, _)| *batch);
        leaving
    }

    fn accounts_on(&self, page: i64) -> impl Iterator<Item = Arc<Account>> {
        let first = page.saturating_mul(NEIGHBOURS);
        let ids = self.numbers.range(first..first.saturating_add(NEIGHBOURS));
        ids.filter_map(|(_, (id, _))| self.accounts.get(id).cloned())
    }

    /// Rows moved, then a batch changed others, or the same again.
    pub(super) fn learn(&mut self, changes: ChangeSet, moved: &Leaving, batch: i64) {
        drop(self.queue.drain(..moved.turns.min(self.queue.len())));
        moved.rows.iter().for_each(|row| self.remove(row));
        self.last = self.last.max(batch);
        self.counters = self.counters.latest(changes.counters);
        changes.accounts.into_iter().for_each(|account| self.put(Row::Account(account)));
        changes.new_holds.into_iter().chain(changes.holds).for_each(|hold| self.put(Row::Hold(hold)));
        changes.lots.into_iter().for_each(|lot| self.put(Row::Lot(lot)));
        changes.windows.into_iter().for_each(|window| self.put(Row::Window(window)));
    }

    fn remove(&mut self, row: &Row) {
        match row {
            Row::Account(account) => {
                self.numbers.remove(&account.number);
                self.accounts.remove(&account.id);
            }
            Row::Hold(hold) => {
                self.pending.remove(&(hold.account_number, hold.number));
                self.holds.remove(&hold.key);
            }
            Row::Lot(lot) => drop(self.lots.remove(&lot.key())),
            Row::Window(window) => drop(self.windows.remove(&window.key)),
        }
    }

    fn put(&mut self, row: Row) {
        let place = match row {
            Row::Account(account) => {
                let (id, number) = (account.id.clone(), account.number);
                let comes = self.accounts.insert(id.clone(), account).is_none();
                comes.then(|| drop(self.numbers.insert(number, (id, self.last))));
                comes.then_some(Place::Account(number))
            }
            Row::Hold(hold) => {
                let (key, number) = (hold.key, (hold.account_number, hold.number));
                match hold.due {
                    Some(_) => drop(self.pending.insert(number, key)),
                    None => drop(self.pending.remove(&number)),
                }
                self.holds.insert(key, hold).is_none().then_some(Place::Hold(key))
            }
            Row::Lot(lot) => {
                let key = lot.key();
                self.lots.insert(key, lot).is_none().then_some(Place::Lot(key))
            }
            Row::Window(window) => {
                self.windows.insert(window.key, window).is_none().then_some(Place::Window(window.key))
            }
        };
        self.queue.extend(place.map(|place| (self.last, place)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Asset, ChainHash, Limits, Policy};

    fn accounts(numbers: &[i64]) -> ChangeSet {
        let account = |number: &i64| {
            let id = AccountId::new(format!("account-{number}")).unwrap();
            Arc::new(Account::new(id, *number, Asset::USD, Limits::default(), Policy::default(), ChainHash::default()))
        };
        ChangeSet { accounts: numbers.iter().map(account).collect(), ..ChangeSet::default() }
    }

    fn numbers(leaving: &Leaving) -> Vec<i64> {
        let number = |row: &Row| match row {
            Row::Account(account) => account.number,
            row => panic!("{row:?}"),
        };
        leaving.rows.iter().map(number).collect()
    }

    #[test]
    fn account_leaves_with_its_neighbours_and_waits_anew_once_it_changes() {
        let mut rows = Rows::default();
        rows.learn(accounts(&[2]), &Leaving::default(), 1);
        rows.learn(accounts(&[1]), &Leaving::default(), 2);
        rows.learn(accounts(&[200]), &Leaving::default(), 3);
        let leaving = rows.oldest(1, 8);
        assert_eq!((numbers(&leaving), leaving.turns, leaving.oldest), (vec![1, 2], 1, 2));

        rows.learn(accounts(&[1]), &leaving, 4);
        // What is left of its first turn moves nothing: its new state is in the fourth blob alone.
        let leaving = rows.oldest(1, 8);
        assert_eq!((numbers(&leaving), leaving.turns, leaving.oldest), (vec![], 1, 3));
        rows.learn(ChangeSet::default(), &leaving, 0);
        let leaving = rows.oldest(1, 8);
        assert_eq!((numbers(&leaving), leaving.turns, leaving.oldest), (vec![200], 1, 4));
        rows.learn(ChangeSet::default(), &leaving, 0);
        let leaving = rows.oldest(8, 8);
        assert_eq!((numbers(&leaving), leaving.turns, leaving.oldest), (vec![1], 1, 5));
        rows.learn(ChangeSet::default(), &leaving, 0);
        assert!(rows.is_empty() && rows.accounts.is_empty() && rows.numbers.is_empty());
    }
}
