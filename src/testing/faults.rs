//! A store that fails on purpose.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::Rows;
use crate::kernel::{Batch, KeyTarget, Operation, Reply, Snapshot};
use crate::model::{
    Account, AccountId, Budget, Entry, Hold, HoldId, HoldState, KeyHash, LedgerId, Lot, TariffHash, Timestamp,
};
use crate::store::{Due, Store, StoreError, StoreErrorKind, Visitor, Windows};

/// What happens to one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitFault {
    /// It works.
    None,
    /// It fails before anything is read: nothing is written.
    Before(StoreErrorKind),
    /// The batch is decided, then it fails: nothing is written.
    During(StoreErrorKind),
    /// It is written, and the answer is lost: [`StoreErrorKind::OutcomeUnknown`].
    After,
    /// It works, after so long.
    Slow(Duration),
    /// It panics, as a store with a bug in it would.
    Panic,
}

/// How many of a thousand commits meet which fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// [`CommitFault::Before`] with [`StoreErrorKind::Unavailable`].
    pub before: u16,
    /// [`CommitFault::Before`] with [`StoreErrorKind::Contended`].
    pub contended: u16,
    /// [`CommitFault::Before`] with [`StoreErrorKind::OutcomeUnknown`]: nothing was written, but nobody knows.
    pub unknown: u16,
    /// [`CommitFault::During`] with [`StoreErrorKind::Unavailable`].
    pub during: u16,
    /// [`CommitFault::After`].
    pub after: u16,
}

/// Any store with faults on purpose. Without a plan it is the store it wraps.
///
/// The plan of a commit is, first, the script, one fault after the other; when that is over, the seeded faults. The same
/// seed gives the same faults. A poisoned or damaged hold fails its batch whatever the plan says.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use prepaid::{Ledger, model::LedgerId, store::MemoryStore};
/// use prepaid::testing::{CommitFault, FaultyStore, ManualClock};
///
/// let clock = Arc::new(ManualClock::default());
/// let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new(LedgerId::default(), clock))));
/// let ledger = Ledger::builder().open_store(store.clone())?;
/// store.script([CommitFault::After]); // written, answer lost: the ledger asks again
/// ledger.account("alice")?.open().await?;
/// assert_eq!((store.commits(), store.faults()), (2, 1));
/// # Ok(()) }
/// ```
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    plan: Mutex<Plan>,
    open: watch::Sender<bool>,
    commits: AtomicU64,
    faults: AtomicU64,
}

#[derive(Debug, Default)]
struct Plan {
    script: VecDeque<CommitFault>,
    seeded: Option<(u64, FaultRates)>,
    poisoned: BTreeMap<HoldId, StoreErrorKind>,
    failing_reads: u64,
    read_error: Option<StoreErrorKind>,
}

impl FaultyStore {
    /// `inner`, for now without faults.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            plan: Mutex::default(),
            open: watch::Sender::new(true),
            commits: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        }
    }

    /// Adds faults for the next commits, one each, in this order.
    pub fn script(&self, faults: impl IntoIterator<Item = CommitFault>) {
        self.plan().script.extend(faults);
    }

    /// Makes the next `times` commits fail because somebody else has the lock.
    pub fn contended(&self, times: usize) {
        self.script(std::iter::repeat_n(CommitFault::Before(StoreErrorKind::Contended), times));
    }

    /// Draws the faults of all commits after the script from `seed`.
    pub fn seeded(&self, seed: u64, rates: FaultRates) {
        self.plan().seeded = Some((seed, rates));
    }

    /// Refuses every batch that names this hold, of whatever account.
    pub fn poison(&self, hold: HoldId) {
        self.plan().poisoned.insert(hold, StoreErrorKind::Refused);
    }

    /// Answers every batch that names this hold, of whatever account, as if its row could not be read.
    pub fn damage(&self, hold: HoldId) {
        self.plan().poisoned.insert(hold, StoreErrorKind::Corrupt);
    }

    /// Makes the next `times` reads fail.
    pub fn fail_reads(&self, times: u64, error: StoreErrorKind) {
        let mut plan = self.plan();
        plan.failing_reads = times;
        plan.read_error = Some(error);
    }

    /// Keeps commits waiting at the door until [`FaultyStore::let_in`]: to see what gathers meanwhile, without sleeping.
    pub fn keep_out(&self) {
        self.open.send_replace(false);
    }

    /// Lets waiting commits in.
    pub fn let_in(&self) {
        self.open.send_replace(true);
    }

    /// Drops every plan: from here on it works.
    pub fn heal(&self) {
        *self.plan() = Plan::default();
        self.let_in();
    }

    /// How many commits were asked for.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// How many faults happened, of commits and reads.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::SeqCst)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fails(&self, kind: StoreErrorKind, message: &'static str) -> StoreError {
        self.faults.fetch_add(1, Ordering::SeqCst);
        StoreError::new(kind, message)
    }

    fn read(&self) -> Result<(), StoreError> {
        let mut plan = self.plan();
        match plan.read_error {
            Some(kind) if plan.failing_reads > 0 => {
                plan.failing_reads -= 1;
                drop(plan);
                Err(self.fails(kind, "read fails on purpose"))
            }
            _ => Ok(()),
        }
    }

    /// Decides the batch on what the store holds and throws the decision away.
    async fn rehearse(&self, bucket: u16, batch: &Batch) -> Result<(), StoreError> {
        let rows = Rows::of_bucket(&*self.inner, bucket).await?;
        let now = self.inner.due(bucket, 0).await?.now;
        let entries: HashMap<u64, &Entry> = rows.entries.iter().map(|entry| (entry.position, entry)).collect();
        let mut snapshot = Snapshot { ledger: self.inner.ledger(), counters: rows.counters, ..Snapshot::default() };
        for account in &rows.accounts {
            let due = rows.holds.iter().filter(|hold| {
                hold.account_number == account.number
                    && hold.state == HoldState::Open
                    && hold.due.is_some_and(|due| due <= now)
            });
            snapshot.overdue.insert(account.id.clone(), due.map(|hold| hold.key).collect());
            snapshot.accounts.insert(account.id.clone(), Arc::new(account.clone()));
        }
        snapshot.holds.extend(rows.holds.iter().map(|hold| (hold.key, Arc::clone(hold))));
        for (key, target) in &rows.keys {
            if *target == KeyTarget::Gone {
                snapshot.gone.insert(*key);
            }
            if let KeyTarget::Entry(position) = target
                && let Some(entry) = entries.get(position)
                && let (Some(name), Some(arguments)) = (entry.key.clone(), entry.arguments)
            {
                snapshot.operations.insert(*key, Operation { key: name, arguments, seq: entry.seq });
            }
        }
        for account in batch.reads().accounts {
            snapshot.overdue.entry(account).or_default();
        }
        // Everything there is was loaded, so nothing is missing, and what it comes to is of no interest.
        let _ = batch.decide(&snapshot, now);
        Ok(())
    }
}

impl Plan {
    fn next(&mut self) -> CommitFault {
        if let Some(fault) = self.script.pop_front() {
            return fault;
        }
        let Some((seed, rates)) = &mut self.seeded else {
            return CommitFault::None;
        };
        let mut drawn = u16::try_from(draw(seed) % 1_000).unwrap_or(0);
        let faults = [
            (rates.before, CommitFault::Before(StoreErrorKind::Unavailable)),
            (rates.contended, CommitFault::Before(StoreErrorKind::Contended)),
            (rates.unknown, CommitFault::Before(StoreErrorKind::OutcomeUnknown)),
            (rates.during, CommitFault::During(StoreErrorKind::Unavailable)),
            (rates.after, CommitFault::After),
        ];
        for (rate, fault) in faults {
            if drawn < rate {
                return fault;
            }
            drawn -= rate;
        }
        CommitFault::None
    }

    fn poison_of(&self, batch: &Batch) -> Option<StoreErrorKind> {
        let holds = batch.commands().iter().filter_map(|command| command.action().hold());
        holds.filter_map(|hold| self.poisoned.get(hold)).next().copied()
    }
}

/// The next number of the sequence `seed` begins (splitmix64).
fn draw(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[async_trait]
impl Store for FaultyStore {
    fn ledger(&self) -> LedgerId {
        self.inner.ledger()
    }

    fn buckets(&self) -> u16 {
        self.inner.buckets()
    }

    fn bucket(&self, account: &AccountId) -> u16 {
        self.inner.bucket(account)
    }

    #[expect(clippy::panic, reason = "that is what was asked for")]
    async fn commit(&self, bucket: u16, batch: Arc<Batch>) -> Result<Vec<Reply>, StoreError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        // The sender lives in `self`, so this waits for the door and nothing else.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
        let (poison, fault) = {
            let mut plan = self.plan();
            (plan.poison_of(&batch), plan.next())
        };
        if let Some(kind) = poison {
            return Err(self.fails(kind, "batch is refused on purpose"));
        }
        match fault {
            CommitFault::None => self.inner.commit(bucket, batch).await,
            CommitFault::Before(kind) => Err(self.fails(kind, "commit fails on purpose before it begins")),
            CommitFault::During(kind) => {
                self.rehearse(bucket, &batch).await?;
                Err(self.fails(kind, "commit fails on purpose before it is written"))
            }
            CommitFault::After => {
                self.inner.commit(bucket, batch).await?;
                Err(self.fails(StoreErrorKind::OutcomeUnknown, "answer is lost on purpose"))
            }
            CommitFault::Slow(span) => {
                tokio::time::sleep(span).await;
                self.inner.commit(bucket, batch).await
            }
            CommitFault::Panic => {
                self.faults.fetch_add(1, Ordering::SeqCst);
                panic!("store panics on purpose")
            }
        }
    }

    async fn due(&self, bucket: u16, limit: u32) -> Result<Due, StoreError> {
        self.read()?;
        self.inner.due(bucket, limit).await
    }

    async fn account(&self, account: &AccountId) -> Result<Option<Account>, StoreError> {
        self.read()?;
        self.inner.account(account).await
    }

    async fn accounts(&self, bucket: u16, after: i64, limit: u32) -> Result<Vec<Account>, StoreError> {
        self.read()?;
        self.inner.accounts(bucket, after, limit).await
    }

    async fn hold(&self, account: &AccountId, key: KeyHash) -> Result<Option<Arc<Hold>>, StoreError> {
        self.read()?;
        self.inner.hold(account, key).await
    }

    async fn holds(&self, account: &AccountId, after: i64, limit: u32) -> Result<Vec<Arc<Hold>>, StoreError> {
        self.read()?;
        self.inner.holds(account, after, limit).await
    }

    async fn lots(&self, account: &AccountId) -> Result<Vec<Arc<Lot>>, StoreError> {
        self.read()?;
        self.inner.lots(account).await
    }

    async fn budgets(&self, account: &AccountId, after: u32, limit: u32) -> Result<Vec<Arc<Budget>>, StoreError> {
        self.read()?;
        self.inner.budgets(account, after, limit).await
    }

    async fn windows(&self, account: &AccountId, budget: u32, from: Timestamp, limit: u32) -> Windows {
        self.read()?;
        self.inner.windows(account, budget, from, limit).await
    }

    async fn journal(&self, account: &AccountId, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        self.read()?;
        self.inner.journal(account, after, limit).await
    }

    async fn feed(&self, bucket: u16, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        self.read()?;
        self.inner.feed(bucket, after, limit).await
    }

    async fn scan(&self, bucket: u16, visitor: Visitor) -> Result<(), StoreError> {
        self.read()?;
        self.inner.scan(bucket, visitor).await
    }

    async fn pruned(&self, bucket: u16) -> Result<u64, StoreError> {
        self.read()?;
        self.inner.pruned(bucket).await
    }

    async fn epoch(&self) -> Result<u64, StoreError> {
        self.read()?;
        self.inner.epoch().await
    }

    async fn raise_epoch(&self) -> Result<u64, StoreError> {
        self.inner.raise_epoch().await
    }

    async fn put_tariff(&self, hash: TariffHash, content: &[u8]) -> Result<(), StoreError> {
        self.inner.put_tariff(hash, content).await
    }

    async fn tariff(&self, hash: TariffHash) -> Result<Option<Arc<[u8]>>, StoreError> {
        self.read()?;
        self.inner.tariff(hash).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}
