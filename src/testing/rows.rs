//! Everything a store keeps, to compare and to check.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::kernel::{Counters, KeyTarget};
use crate::model::{
    Account, Amount, Budget, BudgetWindow, ChainHash, Charged, Entry, EntryKind, Hold, HoldState, KeyHash, LedgerId,
    Lot, LotClass, LotKey, Quantity, Tally, WindowKey,
};
use crate::store::{Record, Store, StoreError};

/// The rows of one bucket, as one scan showed them. Two stores that were told the same hold equal rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rows {
    /// The last numbers the bucket gave out.
    pub counters: Counters,
    /// Up to which position entries may have been pruned.
    pub pruned: u64,
    /// The checkpoints that journals begin from, by account.
    pub checkpoints: Vec<Entry>,
    /// The journal, by position.
    pub entries: Vec<Entry>,
    /// The accounts, by number.
    pub accounts: Vec<Account>,
    /// The holds, by number.
    pub holds: Vec<Arc<Hold>>,
    /// The lots, by account and number.
    pub lots: Vec<Arc<Lot>>,
    /// The budgets, by account and number.
    pub budgets: Vec<Arc<Budget>>,
    /// What they counted, by account, number and window.
    pub windows: Vec<BudgetWindow>,
    /// The keys.
    pub keys: BTreeMap<KeyHash, KeyTarget>,
}

impl Rows {
    /// Every row of a bucket.
    ///
    /// # Errors
    /// The store's.
    pub async fn of_bucket(store: &dyn Store, bucket: u16) -> Result<Self, StoreError> {
        let rows = Arc::new(Mutex::new(Self::default()));
        let seen = Arc::clone(&rows);
        let visitor = move |record| {
            seen.lock().unwrap_or_else(PoisonError::into_inner).add(record);
            true
        };
        store.scan(bucket, Box::new(visitor)).await?;
        let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *rows))
    }

    fn add(&mut self, record: Record) {
        match record {
            Record::Counters(counters) => self.counters = counters,
            Record::Pruned(until) => self.pruned = until,
            Record::Checkpoint(entry) => self.checkpoints.push(entry),
            Record::Entry(entry) => self.entries.push(entry),
            Record::Account(account) => self.accounts.push(account),
            Record::Hold(hold) => self.holds.push(hold),
            Record::Lot(lot) => self.lots.push(lot),
            Record::Budget(budget) => self.budgets.push(budget),
            Record::Window(window) => self.windows.push(window),
            Record::Key(key, target) => {
                self.keys.insert(key, target);
            }
        }
    }

    /// Checks what must be true of the rows of a bucket at any time: dense numbers, postings that sum to zero, totals
    /// that are the sum of the journal, holds that add up to what is held, keys that lead where they should, and a
    /// hash chain that verifies.
    ///
    /// # Errors
    /// The first rule that is broken, and where.
    pub fn check(&self, ledger: LedgerId) -> Result<(), String> {
        self.check_since(&Self::default(), ledger)
    }

    /// As [`Rows::check`], and that nothing written was changed since `earlier`, which was checked: its entries are not
    /// hashed again.
    ///
    /// # Errors
    /// The first rule that is broken, and where.
    pub fn check_since(&self, earlier: &Self, ledger: LedgerId) -> Result<(), String> {
        if self.entries.get(..earlier.entries.len()) != Some(&earlier.entries[..]) {
            return Err("append_only: a journal row changed".to_owned());
        }
        let journals = self.check_journal(earlier.entries.len(), ledger)?;
        self.check_accounts(&journals)?;
        self.check_holds()?;
        self.check_lots()?;
        self.check_windows()?;
        self.check_changes(earlier)?;
        self.check_keys()
    }

    fn check_journal(&self, verified: usize, ledger: LedgerId) -> Result<BTreeMap<i64, Journal>, String> {
        let mut journals = BTreeMap::<i64, Journal>::new();
        let genesis: HashMap<i64, ChainHash> = self
            .accounts
            .iter()
            .map(|account| (account.number, ChainHash::genesis(ledger, &account.id, account.asset)))
            .collect();
        for (index, entry) in self.entries.iter().enumerate() {
            let place = format_args!("{}/{}", entry.account, entry.seq);
            let journal = journals.entry(entry.account_number).or_insert_with(|| Journal {
                head: genesis.get(&entry.account_number).copied().unwrap_or_default(),
                ..Journal::default()
            });
            let columns = entry.changes.columns().map(|change| i128::from(change.minor_units()));
            journal.totals.iter_mut().zip(columns).for_each(|(total, change)| *total += change);
            journal.seq += 1;
            let [available, held, ..] = journal.totals;
            let rules = [
                (to_u64(index) + 1 == entry.position, "dense_positions"),
                (journal.seq == entry.seq, "dense_seq"),
                (journal.position == entry.previous, "linked_positions"),
                (journal.at <= entry.at.as_micros(), "time_never_back"),
                (columns.iter().take(7).sum::<i128>() == 0, "postings_sum_to_zero"),
                (available == i128::from(entry.available_after.minor_units()), "available_after"),
                (held == i128::from(entry.held_after.minor_units()), "held_after"),
                (index < verified || journal.head.next(&entry.canonical()) == entry.hash, "hash_chain"),
            ];
            if let Some((_, rule)) = rules.iter().find(|(obeyed, _)| !obeyed) {
                return Err(format!("{rule} at {place}: {entry:?}"));
            }
            journal.position = entry.position;
            journal.at = entry.at.as_micros();
            journal.head = entry.hash;
        }
        if to_u64(self.entries.len()) == self.counters.position {
            Ok(journals)
        } else {
            Err(format!("dense_positions: {} entries, {:?}", self.entries.len(), self.counters))
        }
    }

    fn check_accounts(&self, journals: &BTreeMap<i64, Journal>) -> Result<(), String> {
        for (number, account) in (1..).zip(&self.accounts) {
            let journal = journals.get(&account.number).copied().unwrap_or_default();
            let own = || self.holds.iter().filter(|hold| hold.account_number == account.number);
            let held: i128 = own().map(|hold| i128::from(hold.held.minor_units())).sum();
            let count = |state| to_u64(own().filter(|hold| hold.state == state).count());
            let rules = [
                (account.number == number, "dense_account_numbers"),
                (
                    journal.totals == account.books.columns().map(|total| i128::from(total.minor_units())),
                    "sum_of_journal",
                ),
                (journal.totals.iter().take(7).sum::<i128>() == 0, "books_sum_to_zero"),
                (i128::from(account.books.held.minor_units()) == held, "held_is_sum_of_open_holds"),
                (count(HoldState::Open) == u64::from(account.open_holds), "open_holds_are_counted"),
                (count(HoldState::Lapsed) == u64::from(account.lapsed_holds), "lapsed_holds_are_counted"),
                (account.seq == journal.seq, "seq_of_last_entry"),
                (account.head == journal.head, "head_of_chain"),
                (account.last_position == journal.position, "position_of_last_entry"),
                (account.last_entry_at.as_micros() == journal.at, "time_of_last_entry"),
            ];
            if let Some((_, rule)) = rules.iter().find(|(obeyed, _)| !obeyed) {
                return Err(format!("{rule} at {}: {account:?}, journal {journal:?}", account.id));
            }
        }
        let last = self.accounts.last().map_or(0, |account| account.number);
        if last == self.counters.account && journals.len() == self.accounts.len() {
            Ok(())
        } else {
            Err(format!("dense_account_numbers: last {last}, {} journals, {:?}", journals.len(), self.counters))
        }
    }

    fn check_holds(&self) -> Result<(), String> {
        for (number, hold) in (1..).zip(&self.holds) {
            let (open, lapsed) = (hold.state == HoldState::Open, hold.state == HoldState::Lapsed);
            let policy = &hold.policy.lease;
            let (units, cost) = (Amount::minor_units, hold.cost().cost);
            let paid = units(hold.captured).checked_add(units(hold.written_off));
            let due = match hold.state {
                HoldState::Open => hold.due <= Some(hold.deadline.saturating_add(policy.grace)) && hold.due.is_some(),
                HoldState::Lapsed => hold.due == hold.closed_at.map(|at| at.saturating_add(policy.late)),
                HoldState::Settled | HoldState::Released | HoldState::Sealed => hold.due.is_none(),
            };
            let rules = [
                (hold.number == number, "dense_hold_numbers"),
                (open || hold.held.is_zero(), "only_open_holds_hold"),
                (open == hold.closed_at.is_none(), "closed_at_is_when_it_closed"),
                (hold.actual.is_none() == (open || lapsed), "cost_is_final_or_not"),
                (lapsed || hold.provisional == Quantity::ZERO, "only_a_lapse_is_provisional"),
                (hold.refunded <= hold.captured, "refunds_within_what_was_collected"),
                (paid == Some(if open { 0 } else { units(cost) }), "cost_is_captured_or_written_off"),
                (due, "due_while_not_final"),
            ];
            if let Some((_, rule)) = rules.iter().find(|(obeyed, _)| !obeyed) {
                return Err(format!("{rule} at hold {}: {hold:?}", hold.id));
            }
        }
        let last = self.holds.last().map_or(0, |hold| hold.number);
        if last == self.counters.hold { Ok(()) } else { Err(format!("dense_hold_numbers: last {last}")) }
    }

    /// Free money of lots, and what holds have of them, add up to what accounts say.
    fn check_lots(&self) -> Result<(), String> {
        let promotional: HashSet<LotKey> =
            self.lots.iter().filter(|lot| lot.terms.class == LotClass::Promotional).map(|lot| lot.key()).collect();
        for account in &self.accounts {
            let lots: Vec<_> = self.lots.iter().filter(|lot| lot.account_number == account.number).collect();
            let free = |promo: bool| {
                let counted = lots.iter().filter(|lot| !promo || promotional.contains(&lot.key()));
                counted.map(|lot| wide(lot.free)).sum::<i128>()
            };
            let key = |lot| LotKey { account: account.number, lot };
            let own = || self.holds.iter().filter(|hold| hold.account_number == account.number);
            let takes = || own().flat_map(|hold| &hold.takes).filter(|take| promotional.contains(&key(take.lot)));
            let books = account.books.columns().map(|total| i128::from(total.minor_units()));
            let [.., available_promo, held_promo, revenue_promo] = books;
            let budgets: Vec<_> = self.budgets.iter().filter(|own| own.account_number == account.number).collect();
            let rules = [
                ((1..).zip(&lots).all(|(number, lot)| lot.number == number), "dense_lot_numbers"),
                (to_u64(lots.len()) == u64::from(account.last_lot), "last_lot"),
                (lots.iter().all(|lot| lot.free <= lot.amount), "no_more_free_than_granted"),
                (free(false) == wide(account.lots_free), "lots_free"),
                (free(true) == available_promo, "available_promo"),
                (takes().map(|take| wide(take.held)).sum::<i128>() == held_promo, "held_promo"),
                (takes().map(|take| wide(take.used)).sum::<i128>() == revenue_promo, "revenue_promo"),
                (to_u64(budgets.len()) == u64::from(account.last_budget), "last_budget"),
                (budgets.iter().filter(|own| own.active).count() == account.budgets as usize, "budgets_in_force"),
            ];
            if let Some((_, rule)) = rules.iter().find(|(obeyed, _)| !obeyed) {
                return Err(format!("{rule} at {}: {account:?}, lots {lots:?}", account.id));
            }
        }
        Ok(())
    }

    /// Every window has counted what the holds charged to it count for, and nothing else.
    fn check_windows(&self) -> Result<(), String> {
        let mut counted = BTreeMap::<WindowKey, Tally>::new();
        for hold in &self.holds {
            for Charged { budget, metric, start } in &hold.windows {
                let key = WindowKey { account: hold.account_number, budget: *budget, start: *start };
                let (sum, more) = (counted.entry(key).or_default(), hold.tally(*metric));
                *sum = Tally { used: sum.used + more.used, held: sum.held + more.held };
            }
        }
        for window in &self.windows {
            let expected = counted.remove(&window.key).unwrap_or_default();
            if (window.used, window.held) != (expected.used, expected.held) {
                return Err(format!("window_is_sum_of_holds: {window:?}, holds say {expected:?}"));
            }
        }
        match counted.iter().find(|(_, tally)| **tally != Tally::default()) {
            Some((key, tally)) => Err(format!("window_is_sum_of_holds: no row for {key:?}, holds say {tally:?}")),
            None => Ok(()),
        }
    }

    /// Every change of a hold's state or money has an entry that names it; only tombstones, reports and renewals do not.
    fn check_changes(&self, earlier: &Self) -> Result<(), String> {
        let new_entries = self.entries.get(earlier.entries.len()..).unwrap_or_default();
        let before: HashMap<i64, &Arc<Hold>> = earlier.holds.iter().map(|hold| (hold.number, hold)).collect();
        for hold in &self.holds {
            let facts = |hold: &Hold| (hold.state, hold.held, hold.cost().cost, hold.captured, hold.written_off);
            let changed = match before.get(&hold.number) {
                Some(was) if was.state == HoldState::Open && hold.state == HoldState::Open => was.held != hold.held,
                Some(was) => facts(was) != facts(hold) || was.refunded != hold.refunded,
                None => hold.terms.is_some(),
            };
            let names =
                |entry: &&Entry| entry.account_number == hold.account_number && entry.hold.as_ref() == Some(&hold.id);
            if changed && !new_entries.iter().any(|entry| names(&entry)) {
                return Err(format!("one_change_one_entry at hold {}: {hold:?}", hold.id));
            }
        }
        Ok(())
    }

    fn check_keys(&self) -> Result<(), String> {
        let mut expected = BTreeMap::new();
        let accounts: HashMap<i64, &Account> = self.accounts.iter().map(|account| (account.number, account)).collect();
        for hold in &self.holds {
            let account =
                accounts.get(&hold.account_number).ok_or_else(|| format!("hold without account: {hold:?}"))?;
            let key = KeyHash::hold(&account.id, &hold.id);
            if key != hold.key || expected.insert(key, KeyTarget::Hold(hold.number)).is_some() {
                return Err(format!("key_means_one_thing at hold {}: {hold:?}", hold.id));
            }
        }
        for entry in &self.entries {
            let Some(key) = &entry.key else { continue };
            let hash = match (entry.kind, &entry.hold) {
                (EntryKind::Refund, Some(hold)) => KeyHash::refund(&entry.account, hold, key),
                (EntryKind::Correction, Some(hold)) => KeyHash::correct(&entry.account, hold, key),
                _ => KeyHash::money(&entry.account, key),
            };
            if expected.insert(hash, KeyTarget::Entry(entry.position)).is_some() {
                return Err(format!("key_means_one_thing: {key} of {} was used twice", entry.account));
            }
        }
        if expected == self.keys {
            Ok(())
        } else {
            Err(format!("key_means_one_thing: expected {expected:?}, there is {:?}", self.keys))
        }
    }
}

/// An account's journal, added up.
#[derive(Clone, Copy, Debug, Default)]
struct Journal {
    totals: [i128; 10],
    seq: u64,
    position: u64,
    at: i64,
    head: ChainHash,
}

fn wide(amount: Amount) -> i128 {
    i128::from(amount.minor_units())
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
