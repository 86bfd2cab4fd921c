//! What the store loads for a batch, and what the batch changes.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::model::{
    Account, AccountId, ArgumentsHash, Budget, BudgetKey, BudgetWindow, Entry, Hold, KeyHash, LedgerId, Lot, LotKey,
    OperationKey, Timestamp, WindowKey,
};

/// A map of what a batch is about. Its keys are digests, numbers and hosts' names, so its hashes may be quick ones.
pub type Map<K, V> = HashMap<K, V, RandomState>;
/// As [`Map`], of keys alone.
pub type Set<K> = HashSet<K, RandomState>;

/// Names what a batch has to know before it can be decided. The lists may name a thing twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadSet {
    /// Accounts.
    pub accounts: Vec<AccountId>,
    /// Holds.
    pub holds: Vec<KeyHash>,
    /// Operations done under a key.
    pub operations: Vec<KeyHash>,
    /// Accounts whose due holds are needed: open ones whose `due` is not after the batch's time.
    pub overdue: Vec<AccountId>,
    /// Numbers of accounts whose lots with free money are needed.
    pub live_lots: Vec<i64>,
    /// Lots that exist.
    pub lots: Vec<LotKey>,
    /// Budgets of a scope, removed ones too.
    pub budgets: Vec<BudgetKey>,
    /// Windows of budgets.
    pub windows: Vec<WindowKey>,
}

/// What the store loaded, all of it after the bucket's row was locked. What was asked for and is not here does not
/// exist.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The ledger's name.
    pub ledger: LedgerId,
    /// The bucket's counters.
    pub counters: Counters,
    /// The accounts that exist.
    pub accounts: Map<AccountId, Arc<Account>>,
    /// The holds that exist.
    pub holds: Map<KeyHash, Arc<Hold>>,
    /// The keys whose hold or entry was archived and is gone.
    pub gone: Set<KeyHash>,
    /// The operations that were done.
    pub operations: Map<KeyHash, Operation>,
    /// For each account that was asked for: what its due open holds are found by. The holds themselves are in `holds`.
    pub overdue: Map<AccountId, Vec<KeyHash>>,
    /// The lots that were asked for, by account and number.
    pub lots: Map<i64, Arc<BTreeMap<u32, Arc<Lot>>>>,
    /// The accounts whose lots with free money were asked for: all of them are in `lots`.
    pub live_lots: Set<i64>,
    /// For each scope that was asked for: its budgets, by number.
    pub budgets: Map<BudgetKey, Arc<Vec<Arc<Budget>>>>,
    /// The windows that were asked for. One without a row has nothing in it, and is here all the same.
    pub windows: Map<WindowKey, BudgetWindow>,
}

impl Snapshot {
    /// Takes a lot in.
    pub fn add_lot(&mut self, lot: Arc<Lot>) {
        Arc::make_mut(self.lots.entry(lot.account_number).or_default()).insert(lot.number, lot);
    }

    /// Takes several lots of one account in.
    pub fn add_lots(&mut self, account: i64, lots: &Arc<BTreeMap<u32, Arc<Lot>>>) {
        match self.lots.entry(account) {
            Slot::Vacant(slot) => {
                slot.insert(Arc::clone(lots));
            }
            Slot::Occupied(mut slot) => {
                Arc::make_mut(slot.get_mut()).extend(lots.iter().map(|(number, lot)| (*number, Arc::clone(lot))));
            }
        }
    }

    /// Whether a lot is loaded.
    pub fn has_lot(&self, key: LotKey) -> bool {
        self.lots.get(&key.account).is_some_and(|lots| lots.contains_key(&key.lot))
    }
}

/// An operation that was done under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The key as the caller gave it.
    pub key: OperationKey,
    /// The hash of the arguments it came with.
    pub arguments: ArgumentsHash,
    /// The entry it wrote.
    pub seq: u64,
}

/// The last numbers a bucket gave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Of entries, in commit order.
    pub position: u64,
    /// Of holds.
    pub hold: i64,
    /// Of accounts.
    pub account: i64,
}

impl Counters {
    /// What was given out last, of two states of a bucket.
    #[must_use]
    pub fn latest(self, other: Self) -> Self {
        Self {
            position: self.position.max(other.position),
            hold: self.hold.max(other.hold),
            account: self.account.max(other.account),
        }
    }
}

/// What a batch changes: whole rows, each once.
#[derive(Clone, Debug, Default)]
pub struct ChangeSet {
    /// The bucket's counters afterwards.
    pub counters: Counters,
    /// Accounts that were opened.
    pub new_accounts: Vec<Arc<Account>>,
    /// Accounts that changed.
    pub accounts: Vec<Arc<Account>>,
    /// Holds that were made.
    pub new_holds: Vec<Arc<Hold>>,
    /// Holds that changed.
    pub holds: Vec<Arc<Hold>>,
    /// Lots that were made.
    pub new_lots: Vec<Arc<Lot>>,
    /// Lots whose free money changed.
    pub lots: Vec<Arc<Lot>>,
    /// Budgets that were made or changed.
    pub budgets: Vec<Arc<Budget>>,
    /// Windows in which something was counted, with or without a row so far.
    pub windows: Vec<BudgetWindow>,
    /// Entries, in the order of their positions.
    pub entries: Vec<Entry>,
    /// What new holds and operations are found by.
    pub keys: Vec<(KeyHash, KeyTarget)>,
    /// Until when the sweeper stays away from this bucket.
    pub pause: Option<Timestamp>,
    /// Archived rows that go.
    pub pruned: Pruned,
}

/// Archived rows that a batch takes away, each named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Entries, by position.
    pub entries: Vec<u64>,
    /// Holds, by number.
    pub holds: Vec<i64>,
    /// Lots.
    pub lots: Vec<LotKey>,
    /// Windows.
    pub windows: Vec<WindowKey>,
    /// Keys that lead nowhere from now on. They stay, so that nothing that was done is ever taken for new.
    pub keys: Vec<KeyHash>,
}

impl Pruned {
    /// Whether nothing goes.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.holds.is_empty()
            && self.lots.is_empty()
            && self.windows.is_empty()
            && self.keys.is_empty()
    }

    /// The last position among the entries; positions up to here are not dense any more.
    pub fn until(&self) -> Option<u64> {
        self.entries.iter().max().copied()
    }

    pub(super) fn extend(&mut self, more: Self) {
        self.entries.extend(more.entries);
        self.holds.extend(more.holds);
        self.lots.extend(more.lots);
        self.windows.extend(more.windows);
        self.keys.extend(more.keys);
    }
}

/// What a key leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTarget {
    /// The hold of this number.
    Hold(i64),
    /// The entry at this position.
    Entry(u64),
    /// Nothing any more: it was archived.
    Gone,
}

impl ChangeSet {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.new_accounts.is_empty()
            && self.accounts.is_empty()
            && self.new_holds.is_empty()
            && self.holds.is_empty()
            && self.new_lots.is_empty()
            && self.lots.is_empty()
            && self.budgets.is_empty()
            && self.windows.is_empty()
            && self.entries.is_empty()
            && self.keys.is_empty()
            && self.pause.is_none()
            && self.pruned.is_empty()
    }
}
