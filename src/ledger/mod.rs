//! The front door: [`Ledger`] opens a store, [`AccountHandle`] is where everything about one account is done, and
//! [`OpenHold`] is a hold that runs.

mod account;
mod builder;
mod calls;
mod credit;
mod open_hold;
mod reserve;
mod retention;
mod statement;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use account::{AccountHandle, ToHoldId};
pub use builder::LedgerBuilder;
pub use calls::{CostCall, MoneyCall, Receipt};
pub use credit::{BudgetUse, GrantCall};
pub use open_hold::OpenHold;
pub use reserve::{ReserveCall, Reserved};
pub use statement::{Statement, StatementLine};

use tokio::sync::Semaphore;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Audit, Cursor, FeedPage, audit, feed, oldest};
use crate::model::{Account, AccountId, Asset, CallToken, InvalidId, LedgerId, Limits, Policy, TariffHash};
use crate::pricing::Tariff;
use crate::random;

/// A prepaid ledger: cheap to clone, safe to share between tasks.
///
/// Everything it answers is durable: when a call returns `Ok`, what it did is on disk. Whoever drops a call's future
/// changes nothing about what it asked for.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use prepaid::{Asset, Ledger, Reserved};
///
/// let usd = Asset::USD;
/// let ledger = Ledger::open("memory:").await?;
/// let alice = ledger.account("alice")?;
/// alice.open().await?;
/// alice.deposit("payment-1", usd.parse("5")?).await?;
///
/// let hold = match alice.reserve("request-1", usd.parse("0.40")?).await? {
///     Reserved::Created(hold) => hold,
///     other => panic!("{other:?}"),
/// };
/// let receipt = hold.settle(usd.parse("0.25")?).await?;
/// assert_eq!(receipt.balance.available, usd.parse_signed("4.75")?);
/// assert!(ledger.audit().await?.is_clean());
/// ledger.close(Duration::from_secs(1)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Arc<Engine>,
    asset: Asset,
    limits: Limits,
    policy: Policy,
    drains: Arc<Semaphore>,
    tariffs: Mutex<HashMap<TariffHash, Arc<Tariff>>>,
    tokens: random::Supply,
}

impl Ledger {
    /// Opens the ledger at `url` with the default settings: `sqlite:PATH` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`
    /// (created if it is not there), or `memory:`.
    ///
    /// # Errors
    /// As [`LedgerBuilder::open`].
    pub async fn open(url: &str) -> Result<Self> {
        Self::builder().open(url).await
    }

    /// Other settings, another store.
    pub fn builder() -> LedgerBuilder {
        LedgerBuilder::default()
    }

    pub(super) fn new(engine: Arc<Engine>, asset: Asset, limits: Limits, policy: Policy, drains: usize) -> Self {
        let drains = Arc::new(Semaphore::new(drains));
        let (tariffs, tokens) = (Mutex::default(), random::Supply::default());
        Self { shared: Arc::new(Shared { engine, asset, limits, policy, drains, tariffs, tokens }) }
    }

    /// The name drawn when the database was created.
    pub fn id(&self) -> LedgerId {
        self.engine().store().ledger()
    }

    /// The asset that accounts are opened in unless they say otherwise.
    pub fn asset(&self) -> Asset {
        self.shared.asset
    }

    /// A handle on one account, which need not exist yet. The handle cannot reach any other.
    ///
    /// # Errors
    /// `InvalidInput` when `id` is not an id.
    pub fn account<I>(&self, id: I) -> Result<AccountHandle>
    where
        I: TryInto<AccountId>,
        I::Error: Into<BadId>,
    {
        let id = id.try_into().map_err(|error| Error::from(error.into()))?;
        Ok(AccountHandle::new(self.clone(), id))
    }

    /// How many buckets accounts are spread over: 1 but in PostgreSQL.
    pub fn buckets(&self) -> u16 {
        self.engine().store().buckets()
    }

    /// Accounts of a bucket by number: at most `limit` of those after number `after`; start with bucket 0 and 0. A bucket
    /// that the ledger does not have, [`buckets`](Self::buckets) or more, has none.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn accounts(&self, bucket: u16, after: i64, limit: u32) -> Result<Vec<Account>> {
        if bucket >= self.buckets() {
            return Ok(Vec::new());
        }
        Ok(self.engine().store().accounts(bucket, after, limit).await?)
    }

    /// Entries of all accounts after `cursor`, at most `limit`: each once, those of an account in order, those of a
    /// bucket in commit order. An entry is in the feed from the moment its commit was answered; nothing is ever skipped,
    /// since positions are dense. Start with `Cursor::default()`, consume a page, keep its cursor together with what came
    /// of it, ask for the next.
    ///
    /// # Errors
    /// `StaleCursor` when the database was [restored](Ledger::restored) since the cursor was made; `Pruned` when entries
    /// after it were; `Unavailable`, `Corrupt`.
    pub async fn feed(&self, cursor: &Cursor, limit: u32) -> Result<FeedPage> {
        feed(self.engine().store(), cursor, limit).await
    }

    /// The oldest cursor after which nothing of the feed was pruned: where a consumer begins that comes late, or that was
    /// told [`Pruned`](ErrorKind::Pruned). `Cursor::default()` as long as nothing was. What is before it is in archives, and in
    /// the journals of accounts that were archived less far: see [the manual](crate::manual::retention).
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn oldest_cursor(&self) -> Result<Cursor> {
        oldest(self.engine().store()).await
    }

    /// Notes that the database was restored to an earlier state, from a backup say: entries that consumers of the feed
    /// have seen may be gone, and others will have their places. Every older cursor is refused from here on. Call it
    /// once, before the ledger is used again. Answers the new epoch.
    ///
    /// # Errors
    /// `Unavailable`, `OutcomeUnknown`.
    pub async fn restored(&self) -> Result<u64> {
        Ok(self.engine().store().raise_epoch().await?)
    }

    /// Looks at every hold that is due, once, and answers how many it closed. The sweeper does the same by itself.
    ///
    /// # Errors
    /// `Unavailable`, `OutcomeUnknown`.
    pub async fn sweep(&self) -> Result<u64> {
        self.engine().sweep().await
    }

    /// Recomputes everything from the journal, in one snapshot, and names what does not agree. Reads the whole ledger.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt` when rows cannot even be read.
    pub async fn audit(&self) -> Result<Audit> {
        audit(self.engine().store()).await
    }

    /// Closes the ledger: refuses what opens or increases, waits at most until `deadline` for holds that run, answers
    /// what waits and lets go of the database. What streams that still run have used so far is recorded, and their holds are
    /// left to their leases; to have them billed at once, drop the streams before.
    ///
    /// # Errors
    /// `Unavailable`; everything answered before is durable all the same.
    pub async fn close(&self, deadline: Duration) -> Result<()> {
        self.engine().close(deadline).await
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.shared.engine
    }

    /// Places for upstreams that are read on after their client went away.
    pub(crate) fn drains(&self) -> &Arc<Semaphore> {
        &self.shared.drains
    }

    /// What tells a call of reserve from all others.
    fn token(&self) -> Result<CallToken> {
        self.shared.tokens.draw().map(CallToken).map_err(no_randomness)
    }

    /// Makes sure that a tariff is kept before a hold names it.
    async fn keep_tariff(&self, tariff: &Arc<Tariff>) -> Result<TariffHash> {
        let hash = tariff.hash();
        if self.known_tariff(hash).is_none() {
            self.engine().store().put_tariff(hash, &tariff.to_bytes()).await?;
            self.tariffs().insert(hash, Arc::clone(tariff));
        }
        Ok(hash)
    }

    /// The tariff a hold was made with.
    pub(crate) async fn tariff(&self, hash: TariffHash) -> Result<Option<Arc<Tariff>>> {
        if let Some(known) = self.known_tariff(hash) {
            return Ok(Some(known));
        }
        let Some(content) = self.engine().store().tariff(hash).await? else {
            return Ok(None);
        };
        let tariff = Arc::new(Tariff::from_bytes(&content).map_err(Error::invalid)?);
        self.tariffs().insert(hash, Arc::clone(&tariff));
        Ok(Some(tariff))
    }

    fn known_tariff(&self, hash: TariffHash) -> Option<Arc<Tariff>> {
        self.tariffs().get(&hash).map(Arc::clone)
    }

    fn tariffs(&self) -> std::sync::MutexGuard<'_, HashMap<TariffHash, Arc<Tariff>>> {
        self.shared.tariffs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_randomness(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, error.to_string())
}

/// What was given for an id and is none. Converts from every error of a conversion into an id.
#[derive(Debug)]
pub struct BadId(Option<InvalidId>);

impl From<InvalidId> for BadId {
    fn from(error: InvalidId) -> Self {
        Self(Some(error))
    }
}

impl From<std::convert::Infallible> for BadId {
    fn from(_: std::convert::Infallible) -> Self {
        Self(None)
    }
}

impl From<BadId> for Error {
    fn from(BadId(error): BadId) -> Self {
        Self::invalid(error.map(|error| error.to_string()).unwrap_or_default())
    }
}
