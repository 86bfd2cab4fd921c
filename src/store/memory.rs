//! The reference store: the contract in the plainest form, kept in memory, gone with the process.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Due, DueHold, DueLot, Record, Store, StoreError, StoreErrorKind, Visitor, Windows};
use crate::clock::Clock;
use crate::kernel::{Batch, ChangeSet, Counters, KeyTarget, Operation, Pruned, ReadSet, Reply, Snapshot};
use crate::model::{
    Account, AccountId, Budget, BudgetWindow, Entry, Hold, HoldState, KeyHash, LedgerId, Lot, LotKey, TariffHash,
    Timestamp, WindowKey,
};

/// A ledger in memory: for tests, and as the measure of every other store. One bucket.
pub struct MemoryStore {
    ledger: LedgerId,
    clock: Arc<dyn Clock>,
    rows: Mutex<Rows>,
}

#[derive(Default)]
struct Rows {
    closed: bool,
    counters: Counters,
    pause: Timestamp,
    accounts: BTreeMap<i64, Arc<Account>>,
    account_numbers: HashMap<AccountId, i64>,
    holds: BTreeMap<i64, Arc<Hold>>,
    lots: BTreeMap<LotKey, Arc<Lot>>,
    budgets: BTreeMap<(i64, u32), Arc<Budget>>,
    windows: BTreeMap<WindowKey, BudgetWindow>,
    entries: BTreeMap<u64, Entry>,
    /// Positions up to here are not dense any more.
    pruned: u64,
    keys: HashMap<KeyHash, KeyTarget>,
    epoch: u64,
    tariffs: HashMap<TariffHash, Arc<[u8]>>,
}

impl MemoryStore {
    /// An empty ledger whose time is `clock`'s.
    pub fn new(ledger: LedgerId, clock: Arc<dyn Clock>) -> Self {
        Self { ledger, clock, rows: Mutex::default() }
    }

    fn rows(&self) -> Result<MutexGuard<'_, Rows>, StoreError> {
        // Rows change by plain moves after everything that could panic, so a poisoned lock still guards whole rows.
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.closed { Err(StoreError::new(StoreErrorKind::Closed, "store is closed")) } else { Ok(rows) }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn ledger(&self) -> LedgerId {
        self.ledger
    }

    fn buckets(&self) -> u16 {
        1
    }

    fn bucket(&self, _account: &AccountId) -> u16 {
        0
    }

    async fn commit(&self, _bucket: u16, batch: Arc<Batch>) -> Result<Vec<Reply>, StoreError> {
        let mut rows = self.rows()?;
        let now = self.clock.now();
        let mut snapshot = Snapshot { ledger: self.ledger, counters: rows.counters, ..Snapshot::default() };
        rows.load(&batch.reads(), now, &mut snapshot);
        let decision = loop {
            match batch.decide(&snapshot, now) {
                Ok(decision) => break decision,
                Err(missing) => rows.load(&missing, now, &mut snapshot),
            }
        };
        rows.apply(decision.changes);
        Ok(decision.replies)
    }

    async fn due(&self, _bucket: u16, limit: u32) -> Result<Due, StoreError> {
        let rows = self.rows()?;
        let now = self.clock.now();
        if now < rows.pause {
            return Ok(Due::nothing(now));
        }
        let mut due: Vec<_> = rows.holds.values().filter(|hold| hold.due.is_some_and(|due| due <= now)).collect();
        due.sort_by_key(|hold| (hold.due, hold.number));
        let found = due.into_iter().take(limit as usize).filter_map(|hold| {
            let account = rows.accounts.get(&hold.account_number)?.id.clone();
            Some(DueHold { account, hold: hold.id.clone(), state: hold.state })
        });
        let mut lots: Vec<_> = rows.lots.values().filter(|lot| !lot.free.is_zero() && lot.is_expired(now)).collect();
        lots.sort_by_key(|lot| (lot.terms.expiry, lot.key()));
        let lots = lots.into_iter().take(limit as usize).filter_map(|lot| {
            Some(DueLot { account: rows.accounts.get(&lot.account_number)?.id.clone(), lot: lot.number })
        });
        Ok(Due::new(now, found.collect(), lots.collect()))
    }

    async fn account(&self, account: &AccountId) -> Result<Option<Account>, StoreError> {
        Ok(self.rows()?.account(account).map(|account| Account::clone(account)))
    }

    async fn accounts(&self, _bucket: u16, after: i64, limit: u32) -> Result<Vec<Account>, StoreError> {
        let rows = self.rows()?;
        Ok(rows
            .accounts
            .range(after.saturating_add(1)..)
            .take(limit as usize)
            .map(|(_, account)| Account::clone(account))
            .collect())
    }

    async fn hold(&self, account: &AccountId, key: KeyHash) -> Result<Option<Arc<Hold>>, StoreError> {
        let rows = self.rows()?;
        let number = rows.account(account).map(|account| account.number);
        Ok(rows.hold(key).filter(|hold| Some(hold.account_number) == number))
    }

    async fn holds(&self, account: &AccountId, after: i64, limit: u32) -> Result<Vec<Arc<Hold>>, StoreError> {
        let rows = self.rows()?;
        let number = rows.account(account).map(|account| account.number);
        let pending = rows.holds.range(after.saturating_add(1)..).map(|(_, hold)| hold);
        let of_account = pending.filter(|hold| hold.due.is_some() && Some(hold.account_number) == number);
        Ok(of_account.take(limit as usize).map(Arc::clone).collect())
    }

    async fn lots(&self, account: &AccountId) -> Result<Vec<Arc<Lot>>, StoreError> {
        let rows = self.rows()?;
        let number = rows.account(account).map_or(0, |account| account.number);
        Ok(rows.live_lots(number).map(Arc::clone).collect())
    }

    async fn budgets(&self, account: &AccountId, after: u32, limit: u32) -> Result<Vec<Arc<Budget>>, StoreError> {
        let rows = self.rows()?;
        let number = rows.account(account).map_or(0, |account| account.number);
        let range = rows.budgets.range((number, after.saturating_add(1))..=(number, u32::MAX));
        let wanted = range.filter(|((_, budget), _)| *budget > after).take(limit as usize);
        Ok(wanted.map(|(_, budget)| Arc::clone(budget)).collect())
    }

    async fn windows(&self, account: &AccountId, budget: u32, from: Timestamp, limit: u32) -> Windows {
        let rows = self.rows()?;
        let account = rows.account(account).map_or(0, |account| account.number);
        let key = |start| WindowKey { account, budget, start };
        let range = rows.windows.range(key(from)..=key(Timestamp::from_micros(i64::MAX)));
        Ok(range.take(limit as usize).map(|(_, window)| *window).collect())
    }

    async fn journal(&self, account: &AccountId, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let rows = self.rows()?;
        let of_account = rows.entries.values().filter(|entry| entry.account == *account && entry.seq > after);
        Ok(of_account.take(limit as usize).cloned().collect())
    }

    async fn feed(&self, _bucket: u16, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let rows = self.rows()?;
        let newer = rows.entries.range((Bound::Excluded(after), Bound::Unbounded));
        Ok(newer.take(limit as usize).map(|(_, entry)| entry.clone()).collect())
    }

    async fn scan(&self, _bucket: u16, mut visitor: Visitor) -> Result<(), StoreError> {
        let rows = self.rows()?;
        let checkpoints = rows.accounts.values().filter_map(|account| rows.entries.get(&account.past.checkpoint));
        let records = std::iter::once(Record::Counters(rows.counters))
            .chain((rows.pruned > 0).then_some(Record::Pruned(rows.pruned)))
            .chain(checkpoints.cloned().map(Record::Checkpoint))
            .chain(rows.entries.values().cloned().map(Record::Entry))
            .chain(rows.accounts.values().map(|account| Record::Account(Account::clone(account))))
            .chain(rows.lots.values().cloned().map(Record::Lot))
            .chain(rows.holds.values().cloned().map(Record::Hold))
            .chain(rows.budgets.values().cloned().map(Record::Budget))
            .chain(rows.windows.values().copied().map(Record::Window))
            .chain(rows.keys.iter().map(|(key, target)| Record::Key(*key, *target)));
        for record in records {
            if !visitor(record) {
                break;
            }
        }
        Ok(())
    }

    async fn pruned(&self, _bucket: u16) -> Result<u64, StoreError> {
        Ok(self.rows()?.pruned)
    }

    async fn epoch(&self) -> Result<u64, StoreError> {
        Ok(self.rows()?.epoch)
    }

    async fn raise_epoch(&self) -> Result<u64, StoreError> {
        let mut rows = self.rows()?;
        rows.epoch = rows.epoch.saturating_add(1);
        Ok(rows.epoch)
    }

    async fn put_tariff(&self, hash: TariffHash, content: &[u8]) -> Result<(), StoreError> {
        self.rows()?.tariffs.entry(hash).or_insert_with(|| Arc::from(content));
        Ok(())
    }

    async fn tariff(&self, hash: TariffHash) -> Result<Option<Arc<[u8]>>, StoreError> {
        Ok(self.rows()?.tariffs.get(&hash).cloned())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.rows()?.closed = true;
        Ok(())
    }
}

impl Rows {
    fn account(&self, id: &AccountId) -> Option<&Arc<Account>> {
        self.accounts.get(self.account_numbers.get(id)?)
    }

    fn hold(&self, key: KeyHash) -> Option<Arc<Hold>> {
        match self.keys.get(&key)? {
            KeyTarget::Hold(number) => self.holds.get(number).map(Arc::clone),
            KeyTarget::Entry(_) | KeyTarget::Gone => None,
        }
    }

    fn load(&self, reads: &ReadSet, now: Timestamp, snapshot: &mut Snapshot) {
        for id in &reads.accounts {
            snapshot.accounts.extend(self.account(id).map(|account| (id.clone(), Arc::clone(account))));
        }
        let named = reads.holds.iter().chain(&reads.operations);
        snapshot.gone.extend(named.filter(|key| self.keys.get(key) == Some(&KeyTarget::Gone)));
        for key in &reads.holds {
            snapshot.holds.extend(self.hold(*key).map(|hold| (*key, hold)));
        }
        for key in &reads.operations {
            if let Some(KeyTarget::Entry(position)) = self.keys.get(key)
                && let Some(entry) = self.entries.get(position)
                && let (Some(operation), Some(arguments)) = (entry.key.clone(), entry.arguments)
            {
                snapshot.operations.insert(*key, Operation { key: operation, arguments, seq: entry.seq });
            }
        }
        for id in &reads.overdue {
            let number = self.account(id).map(|account| account.number);
            let is_due = |hold: &&Arc<Hold>| {
                hold.state == HoldState::Open
                    && hold.due.is_some_and(|due| due <= now)
                    && Some(hold.account_number) == number
            };
            let due: Vec<_> = self.holds.values().filter(is_due).collect();
            snapshot.overdue.insert(id.clone(), due.iter().map(|hold| hold.key).collect());
            snapshot.holds.extend(due.into_iter().map(|hold| (hold.key, Arc::clone(hold))));
        }
        for account in &reads.live_lots {
            snapshot.live_lots.insert(*account);
            self.live_lots(*account).for_each(|lot| snapshot.add_lot(Arc::clone(lot)));
        }
        for key in &reads.lots {
            self.lots.get(key).into_iter().for_each(|lot| snapshot.add_lot(Arc::clone(lot)));
        }
        for key in &reads.budgets {
            let of_account = self.budgets.range((key.account, 0)..=(key.account, u32::MAX)).map(|(_, budget)| budget);
            let of_scope = of_account.filter(|budget| budget.scope == key.scope).map(Arc::clone).collect();
            snapshot.budgets.insert(key.clone(), Arc::new(of_scope));
        }
        for key in &reads.windows {
            let window = self.windows.get(key).copied().unwrap_or_else(|| BudgetWindow::new(*key));
            snapshot.windows.insert(*key, window);
        }
    }

    fn live_lots(&self, account: i64) -> impl Iterator<Item = &Arc<Lot>> {
        let range = self.lots.range(LotKey { account, lot: 0 }..=LotKey { account, lot: u32::MAX });
        range.map(|(_, lot)| lot).filter(|lot| !lot.free.is_zero())
    }

    fn apply(&mut self, changes: ChangeSet) {
        self.counters = changes.counters;
        self.pause = self.pause.max(changes.pause.unwrap_or_default());
        for account in changes.new_accounts.into_iter().chain(changes.accounts) {
            self.account_numbers.insert(account.id.clone(), account.number);
            self.accounts.insert(account.number, account);
        }
        for hold in changes.new_holds.into_iter().chain(changes.holds) {
            self.holds.insert(hold.number, hold);
        }
        for lot in changes.new_lots.into_iter().chain(changes.lots) {
            self.lots.insert(lot.key(), lot);
        }
        for budget in changes.budgets {
            self.budgets.insert((budget.account_number, budget.number), budget);
        }
        self.windows.extend(changes.windows.into_iter().map(|window| (window.key, window)));
        self.entries.extend(changes.entries.into_iter().map(|entry| (entry.position, entry)));
        self.keys.extend(changes.keys);
        self.prune(&changes.pruned);
    }

    fn prune(&mut self, pruned: &Pruned) {
        self.pruned = self.pruned.max(pruned.until().unwrap_or(0));
        for position in &pruned.entries {
            self.entries.remove(position);
        }
        for number in &pruned.holds {
            self.holds.remove(number);
        }
        for key in &pruned.lots {
            self.lots.remove(key);
        }
        for key in &pruned.windows {
            self.windows.remove(key);
        }
        self.keys.extend(pruned.keys.iter().map(|key| (*key, KeyTarget::Gone)));
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}
