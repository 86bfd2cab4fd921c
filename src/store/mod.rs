//! Stores persist. One trait, its contract, and the stores we bring.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::kernel::{Batch, Counters, KeyTarget, Reply};
use crate::model::{
    Account, AccountId, Budget, BudgetWindow, Entry, Hold, HoldId, HoldState, KeyHash, LedgerId, Lot, TariffHash,
    Timestamp,
};

#[cfg(feature = "testing")]
pub mod conformance;
mod error;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod known;
mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use error::{StoreError, StoreErrorKind};
pub use memory::MemoryStore;

/// Where a ledger's rows are kept.
///
/// # Contract
///
/// [`commit`](Store::commit) is the only way to write money. In one transaction it
/// 1. locks the bucket's row, alone, before it reads anything else;
/// 2. reads the time, then everything [`Batch::reads`] names, then calls [`Batch::decide`]; if that asks for more, it
///    loads that too and calls it again. What it loads beyond what was asked does no harm;
/// 3. writes the rows of the change set, whole, removes those it names as [pruned](crate::kernel::Pruned), and nothing
///    else, and advances the bucket's counters;
/// 4. commits, durably: after `Ok` no crash and no power cut takes it back.
///
/// On any error it rolls everything back. It never goes on in a transaction after a statement failed, and says
/// [`StoreErrorKind::OutcomeUnknown`] unless it knows that nothing was written. It may be called again with the same
/// batch, which is then decided anew from a fresh load.
///
/// The time a store gives must not go back from one transaction of a bucket to the next by more than clocks do; the
/// kernel never dates an entry before the account's last one.
///
/// Reads see what was committed before they began. They are not part of any decision.
///
/// A future of these methods may be dropped at any time; a commit then happens whole or not at all, and its connection
/// is not reused in the middle of a transaction.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// The name drawn when the database was created.
    fn ledger(&self) -> LedgerId;

    /// How many buckets accounts are spread over, fixed when the database was created.
    fn buckets(&self) -> u16;

    /// The bucket an account is in, or would be opened in.
    fn bucket(&self, account: &AccountId) -> u16;

    /// Decides and writes a batch of commands to accounts of one bucket. See the contract above.
    async fn commit(&self, bucket: u16, batch: Arc<Batch>) -> Result<Vec<Reply>, StoreError>;

    /// Holds whose `due` is not after the store's time, at most `limit`, oldest first, and as many lots with free money
    /// whose expiry is not after it; none while the bucket is paused.
    async fn due(&self, bucket: u16, limit: u32) -> Result<Due, StoreError>;

    /// An account by its name.
    async fn account(&self, account: &AccountId) -> Result<Option<Account>, StoreError>;

    /// Accounts of a bucket by number: at most `limit` of those after number `after`.
    async fn accounts(&self, bucket: u16, after: i64, limit: u32) -> Result<Vec<Account>, StoreError>;

    /// A hold by its key.
    async fn hold(&self, account: &AccountId, key: KeyHash) -> Result<Option<Arc<Hold>>, StoreError>;

    /// Open and lapsed holds of an account by number: at most `limit` of those after number `after`.
    async fn holds(&self, account: &AccountId, after: i64, limit: u32) -> Result<Vec<Arc<Hold>>, StoreError>;

    /// An account's lots with free money, by number; expired ones are there until they are swept.
    async fn lots(&self, account: &AccountId) -> Result<Vec<Arc<Lot>>, StoreError>;

    /// An account's budgets by number, removed ones too: at most `limit` of those after number `after`.
    async fn budgets(&self, account: &AccountId, after: u32, limit: u32) -> Result<Vec<Arc<Budget>>, StoreError>;

    /// What an account's budget counted, by window: at most `limit` windows that begin at `from` or later, in order.
    /// Windows in which nothing was counted are left out.
    async fn windows(&self, account: &AccountId, budget: u32, from: Timestamp, limit: u32) -> Windows;

    /// An account's entries in order: at most `limit` of those after number `after`. Those that were pruned are left out.
    async fn journal(&self, account: &AccountId, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError>;

    /// A bucket's entries in commit order: at most `limit` of those after position `after`. Those that were pruned are left
    /// out.
    async fn feed(&self, bucket: u16, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError>;

    /// The last position of a bucket whose entry was pruned; 0: none. Those after it are dense.
    async fn pruned(&self, bucket: u16) -> Result<u64, StoreError>;

    /// Shows every row of a bucket in one snapshot: the counters, what [`Store::pruned`] says if that is not 0, the
    /// checkpoints that accounts name in their [`past`](Account::past) by account, the entries by position, the accounts by number, the
    /// lots by account and number, the holds by number, the budgets and their windows by account and number, the keys in
    /// any order. Stops early when the visitor says so.
    async fn scan(&self, bucket: u16, visitor: Visitor) -> Result<(), StoreError>;

    /// How often the database was [restored](Store::raise_epoch): 0 at first. Positions mean the same only within one
    /// epoch.
    async fn epoch(&self) -> Result<u64, StoreError>;

    /// Notes, durably, that the database was restored to an earlier state. Answers the new epoch.
    async fn raise_epoch(&self) -> Result<u64, StoreError>;

    /// Keeps a tariff, durably, under the hash of its content. Keeping it again changes nothing.
    async fn put_tariff(&self, hash: TariffHash, content: &[u8]) -> Result<(), StoreError>;

    /// A tariff by the hash of its content.
    async fn tariff(&self, hash: TariffHash) -> Result<Option<Arc<[u8]>>, StoreError>;

    /// Finishes what was begun and lets go of the database. Later calls answer [`StoreErrorKind::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}

/// Windows of a budget, or why they cannot be read.
pub type Windows = Result<Vec<BudgetWindow>, StoreError>;

/// Told every row of a scan; answers whether to go on.
pub type Visitor = Box<dyn FnMut(Record) -> bool + Send>;

/// One row of a bucket.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Record {
    /// The last numbers it gave out.
    Counters(Counters),
    /// Up to which position entries may have been pruned.
    Pruned(u64),
    /// The checkpoint an account's journal begins from; it is also among the entries.
    Checkpoint(Entry),
    /// A row of the journal.
    Entry(Entry),
    /// An account.
    Account(Account),
    /// A lot.
    Lot(Arc<Lot>),
    /// A hold.
    Hold(Arc<Hold>),
    /// A budget.
    Budget(Arc<Budget>),
    /// What a budget counted in one window.
    Window(BudgetWindow),
    /// A key and what it leads to.
    Key(KeyHash, KeyTarget),
}

/// What the sweeper has to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Due {
    /// The store's time.
    pub now: Timestamp,
    /// The holds, oldest due first.
    pub holds: Vec<DueHold>,
    /// The lots, first to expire first.
    pub lots: Vec<DueLot>,
}

impl Due {
    /// What is due at `now`.
    pub fn new(now: Timestamp, holds: Vec<DueHold>, lots: Vec<DueLot>) -> Self {
        Self { now, holds, lots }
    }

    /// Nothing is due at `now`.
    pub fn nothing(now: Timestamp) -> Self {
        Self { now, ..Self::default() }
    }
}

/// A lot that expired with money in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueLot {
    /// Whose.
    pub account: AccountId,
    /// Its number inside the account.
    pub lot: u32,
}

/// A hold that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueHold {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub hold: HoldId,
    /// Open: it may have to lapse. Lapsed: it may have to be sealed.
    pub state: HoldState,
}
