//! The store for fleets: any number of processes on one PostgreSQL, several buckets written side by side.
//!
//! Whoever writes a bucket locks its row first, in a statement of its own, and reads everything else after that. So there
//! is one lock and one order, no deadlock, and no decision on anything that another process has changed meanwhile.

mod bind;
mod commit;
mod fault;
#[macro_use]
mod found;
mod open;
mod pool;
mod prune;
mod query;
mod rows;
mod sql;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use tokio::time::timeout;

use self::bind::{of_bucket, one};
use self::commit::Known;
use self::fault::{corrupt, of_commit, of_statement};
use self::open::Found;
use self::pool::{Pool, Session, no_answer, no_answer_to_commit};
use self::query::Reading;
use self::rows::Columns;
use self::write::Joined;
use super::{Due, Store, StoreError, StoreErrorKind, Visitor, Windows};
use crate::clock::Clock;
use crate::kernel::{Batch, Reply};
use crate::model::{Account, AccountId, Budget, Entry, Hold, KeyHash, LedgerId, Lot, TariffHash, Timestamp};

/// Numbers and choices that tune the store for fleets.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// How many buckets accounts are spread over: fixed when the ledger is created, and checked ever after. None: as it
    /// was created, or 2. Also as `buckets=8` in the url.
    ///
    /// Buckets are written side by side, each by one connection at a time; small batches cost more than large ones, so
    /// more buckets than the database has cores help nobody. With 16 processes on two cores and a database a millisecond away,
    /// 2 have the lowest p99; with 1 it is 1.7 times as high, with 4 and 8 twice, with 32 and 128 eight times. What was
    /// measured is in [`scaling`](crate::manual::scaling).
    pub buckets: Option<u16>,
    /// Whether statements are prepared and kept. Not behind a pooler that hands every transaction another connection
    /// and knows nothing of prepared statements. Also as `prepared=never` in the url. Default true.
    pub prepared: bool,
    /// How long another process's batch is waited for before one's own is tried anew. Default 5 s.
    pub lock_timeout: Duration,
    /// How long one step of a batch may take in the database, and how long its answer is waited for. Default 10 s.
    pub statement_timeout: Duration,
    /// How long a process that is frozen in the middle of a batch may delay others. Default 5 s.
    pub idle_timeout: Duration,
    /// Connections that write, at most, and never more than there are buckets: a process writes so many side by side. A
    /// bucket that another process has occupies one while it is waited for. Also as `writers=8` in the url. Default 4.
    ///
    /// A server of default settings has 97 connections for everybody. Each process takes up to `writers` and
    /// [`readers`](Self::readers): 16 processes on 2 buckets take 96.
    pub writers: u32,
    /// Connections that read beside those that write, at most. Default 4.
    pub readers: u32,
    /// Whether the schema is created and brought up to date, or only checked. Default true.
    pub migrate: bool,
    /// Refuses to run as a role that may change or remove entries of the journal; otherwise that is only warned of. Also
    /// as `append_only=required` in the url. Default false.
    pub require_append_only: bool,
    /// Whether a batch is written in one statement or in one per table. One is faster, and PostgreSQL's own; where
    /// tables are spread over machines each is sent alone. None: what fits the database.
    pub one_statement: Option<bool>,
    /// Another clock than the database's, for tests: processes that share a ledger must have the same.
    pub clock: Option<Arc<dyn Clock>>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            buckets: None,
            prepared: true,
            lock_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(5),
            writers: 4,
            readers: 4,
            migrate: true,
            require_append_only: false,
            one_statement: None,
            clock: None,
        }
    }
}

/// A ledger in PostgreSQL 14 or newer, in a schema named `prepaid`.
///
/// A commit is answered after the server has it on disk, and on its synchronous standbys where it has any. The server
/// must not be set to lose it (`fsync`, `full_page_writes`). What the ledger relies on is set for each transaction, so
/// that poolers do no harm. The time is the database's.
pub struct PostgresStore {
    ledger: LedgerId,
    options: PostgresOptions,
    /// Where it is: without the password.
    address: String,
    writers: Pool,
    readers: Pool,
    places: Vec<Place>,
    placements: RwLock<HashMap<AccountId, u16>>,
    /// The messages that begin to read, and to write what is in no bucket.
    reading: String,
    writing: String,
    one_statement: bool,
    joined: Joined,
}

/// A bucket.
struct Place {
    number: i16,
    /// The message that begins to write it.
    opening: String,
    known: Mutex<Option<Known>>,
}

impl Place {
    /// What is known of the bucket; whoever writes takes it out.
    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PostgresStore {
    /// Opens the ledger at `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or creates it there.
    ///
    /// # Errors
    /// `Unsuitable` for a url that is not understood, an old or unsafe server, another program's schema `prepaid`, a
    /// newer schema or another number of buckets; `ReadOnly` for a standby or a role without the privileges;
    /// `Unavailable`, `Corrupt`. What is not ours is not touched, and no error shows the password.
    ///
    /// # Cancel safety
    /// A ledger that was being created is whole or not there.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url, PostgresOptions::default()).await
    }

    /// As [`PostgresStore::open`], with other numbers.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn open_with(url: &str, mut options: PostgresOptions) -> Result<Self, StoreError> {
        let connect = open::parse(url, &mut options)?;
        let found = open::prepare(&connect, &options).await?;
        let settings = settings(&options, &found);
        let set = set(&settings);
        let places = (0..found.buckets).map(|bucket| {
            let number = i16::try_from(bucket).map_err(|_| corrupt("database has too many buckets"))?;
            let opening = [sql::BEGIN, &set, &lock(number, &settings, &found), sql::SELECT_TIME].join("; ");
            Ok(Place { number, opening, known: Mutex::default() })
        });
        let places = places.collect::<Result<Vec<_>, StoreError>>()?;
        let writers = options.writers.clamp(1, found.buckets.into());
        let patience = options.statement_timeout.max(options.lock_timeout);
        let store = Self {
            ledger: found.ledger,
            address: address(&connect),
            writers: Pool::new(connect.clone(), writers, patience),
            readers: Pool::new(connect, options.readers.max(1), patience),
            places,
            placements: RwLock::default(),
            reading: [sql::BEGIN_READ, &set, sql::SELECT_TIME].join("; "),
            writing: [sql::BEGIN, &set].join("; "),
            one_statement: options.one_statement.unwrap_or(!found.is_distributed),
            joined: Joined::default(),
            options,
        };
        for row in &found.placements {
            let (account, bucket) = Columns::new(row, "placements").placement()?;
            store.learn_placement(account, bucket)?;
        }
        Ok(store)
    }

    /// Places an account that is not open yet into a bucket of its own choosing: a customer as large as all others
    /// together deserves one. Placing it there again changes nothing.
    ///
    /// Other processes learn of it when they first miss the account; what they had sent to the old bucket is then
    /// refused as `Unavailable` and finds its way when it is sent again.
    ///
    /// # Errors
    /// `Refused` when the account is open elsewhere already or there is no such bucket, and the store's.
    pub async fn place(&self, account: &AccountId, bucket: u16) -> Result<(), StoreError> {
        let target = self.place_of(bucket)?.number;
        let from = self.bucket(account);
        let home = self.place_of(from)?;
        if home.number == target {
            return Ok(());
        }
        // The lock of the bucket it is in so far keeps everybody from opening it there meanwhile.
        let (mut session, _) = self.writers.begin(&home.opening).await?;
        let mut arguments = PgArguments::default();
        one(&mut arguments, vec![account.as_str()])?;
        for row in self.fetch(&mut session, sql::SELECT_PLACED, arguments).await? {
            let (account, bucket) = Columns::new(&row, "placements").placement()?;
            self.learn_placement(account, bucket)?;
        }
        if self.bucket(account) != from {
            return Err(StoreError::new(StoreErrorKind::Contended, "account was placed meanwhile, ask again"));
        }
        let mut arguments = of_bucket(home.number)?;
        one(&mut arguments, vec![account.as_str()])?;
        if !self.fetch(&mut session, sql::SELECT_NAMED_ACCOUNTS, arguments).await?.is_empty() {
            return Err(StoreError::new(StoreErrorKind::Refused, "account is open in another bucket, it stays there"));
        }
        let mut arguments = PgArguments::default();
        one(&mut arguments, account.as_str())?;
        one(&mut arguments, target)?;
        self.fetch(&mut session, sql::UPSERT_PLACEMENT, arguments).await?;
        self.end(session).await?;
        self.learn_placement(account.clone(), target)
    }

    fn learn_placement(&self, account: AccountId, bucket: i16) -> Result<(), StoreError> {
        let bucket = u16::try_from(bucket).map_err(|_| corrupt("placement is damaged, restore a backup"))?;
        self.place_of(bucket)?;
        self.placements.write().unwrap_or_else(PoisonError::into_inner).insert(account, bucket);
        Ok(())
    }

    fn place_of(&self, bucket: u16) -> Result<&Place, StoreError> {
        let missing = || StoreError::new(StoreErrorKind::Refused, format!("there is no such bucket: bucket={bucket}"));
        self.places.get(usize::from(bucket)).ok_or_else(missing)
    }

    async fn read(&self, bucket: u16) -> Result<Reading<'_>, StoreError> {
        Reading::begin(self, self.place_of(bucket)?).await
    }

    async fn read_of(&self, account: &AccountId) -> Result<Reading<'_>, StoreError> {
        self.read(self.bucket(account)).await
    }

    async fn fetch(
        &self,
        session: &mut Session<'_>,
        statement: &'static str,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, StoreError> {
        let query = sqlx::query_with(statement, arguments).persistent(self.options.prepared);
        let rows = timeout(self.options.statement_timeout, query.fetch_all(&mut session.connection));
        rows.await.map_err(|_| no_answer())?.map_err(of_statement)
    }

    /// Makes a transaction durable that is no batch's.
    async fn end(&self, session: Session<'_>) -> Result<(), StoreError> {
        timeout(self.options.statement_timeout, session.end(sql::COMMIT))
            .await
            .map_err(|_| no_answer_to_commit())?
            .map_err(of_commit)
    }

    /// Writes something that is in no bucket, in a transaction of its own.
    async fn write_meta(&self, statement: &'static str, arguments: PgArguments) -> Result<(), StoreError> {
        let (mut session, _) = self.readers.begin(&self.writing).await?;
        self.fetch(&mut session, statement, arguments).await?;
        self.end(session).await
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn ledger(&self) -> LedgerId {
        self.ledger
    }

    fn buckets(&self) -> u16 {
        u16::try_from(self.places.len()).unwrap_or(u16::MAX)
    }

    fn bucket(&self, account: &AccountId) -> u16 {
        let placements = self.placements.read().unwrap_or_else(PoisonError::into_inner);
        placements.get(account).copied().unwrap_or_else(|| hashed(account, self.buckets()))
    }

    async fn commit(&self, bucket: u16, batch: Arc<Batch>) -> Result<Vec<Reply>, StoreError> {
        commit::commit(self, bucket, &batch).await
    }

    async fn due(&self, bucket: u16, limit: u32) -> Result<Due, StoreError> {
        let now = self.options.clock.as_ref().map(|clock| clock.now());
        let mut reading = self.read(bucket).await?;
        let due = reading.due(now, limit).await?;
        reading.end(due).await
    }

    async fn account(&self, account: &AccountId) -> Result<Option<Account>, StoreError> {
        let mut reading = self.read_of(account).await?;
        let found = reading.account(account).await?;
        reading.end(found).await
    }

    async fn accounts(&self, bucket: u16, after: i64, limit: u32) -> Result<Vec<Account>, StoreError> {
        let mut reading = self.read(bucket).await?;
        let found = reading.accounts(after, limit).await?;
        reading.end(found).await
    }

    async fn hold(&self, account: &AccountId, key: KeyHash) -> Result<Option<Arc<Hold>>, StoreError> {
        let mut reading = self.read_of(account).await?;
        let found = reading.hold(account, key).await?;
        reading.end(found).await
    }

    async fn holds(&self, account: &AccountId, after: i64, limit: u32) -> Result<Vec<Arc<Hold>>, StoreError> {
        let mut reading = self.read_of(account).await?;
        let found = reading.holds(account, after, limit).await?;
        reading.end(found).await
    }

    async fn lots(&self, account: &AccountId) -> Result<Vec<Arc<Lot>>, StoreError> {
        let mut reading = self.read_of(account).await?;
        let found = reading.lots(account).await?;
        reading.end(found).await
    }

    async fn budgets(&self, account: &AccountId, after: u32, limit: u32) -> Result<Vec<Arc<Budget>>, StoreError> {
        let mut reading = self.read_of(account).await?;
        let found = reading.budgets(account, after, limit).await?;
        reading.end(found).await
    }

    async fn windows(&self, account: &AccountId, budget: u32, from: Timestamp, limit: u32) -> Windows {
        let mut reading = self.read_of(account).await?;
        let found = reading.windows(account, budget, from, limit).await?;
        reading.end(found).await
    }

    async fn journal(&self, account: &AccountId, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let mut reading = self.read_of(account).await?;
        let found = reading.journal(account, after, limit).await?;
        reading.end(found).await
    }

    async fn feed(&self, bucket: u16, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let mut reading = self.read(bucket).await?;
        let found = reading.feed(after, limit).await?;
        reading.end(found).await
    }

    async fn scan(&self, bucket: u16, visitor: Visitor) -> Result<(), StoreError> {
        self.read(bucket).await?.scan(visitor).await
    }

    async fn pruned(&self, bucket: u16) -> Result<u64, StoreError> {
        let mut reading = self.read(bucket).await?;
        let found = reading.pruned().await?;
        reading.end(found).await
    }

    async fn epoch(&self) -> Result<u64, StoreError> {
        let mut reading = self.read(0).await?;
        let epoch = epoch(reading.meta("epoch").await?)?;
        reading.end(epoch).await
    }

    async fn raise_epoch(&self) -> Result<u64, StoreError> {
        let mut arguments = PgArguments::default();
        one(&mut arguments, "epoch")?;
        let (mut session, _) = self.readers.begin(&self.writing).await?;
        let found = self.fetch(&mut session, sql::LOCK_META, arguments).await?;
        let stored = found.first().map(|row| Columns::new(row, "meta").get()).transpose()?;
        let raised = epoch(stored)?.saturating_add(1);
        let mut arguments = PgArguments::default();
        one(&mut arguments, "epoch")?;
        one(&mut arguments, raised.to_be_bytes().to_vec())?;
        self.fetch(&mut session, sql::UPSERT_META, arguments).await?;
        self.end(session).await?;
        Ok(raised)
    }

    async fn put_tariff(&self, hash: TariffHash, content: &[u8]) -> Result<(), StoreError> {
        let mut arguments = PgArguments::default();
        one(&mut arguments, hash.as_bytes())?;
        one(&mut arguments, content)?;
        self.write_meta(sql::INSERT_TARIFF, arguments).await
    }

    async fn tariff(&self, hash: TariffHash) -> Result<Option<Arc<[u8]>>, StoreError> {
        let mut reading = self.read(0).await?;
        let found = reading.tariff(hash).await?;
        reading.end(found).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.writers.close().await?;
        self.readers.close().await
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("PostgresStore");
        shown.field("address", &self.address).field("ledger", &self.ledger).field("buckets", &self.places.len());
        shown.finish_non_exhaustive()
    }
}

/// Where the database is, without the password.
fn address(connect: &PgConnectOptions) -> String {
    let (user, host, port) = (connect.get_username(), connect.get_host(), connect.get_port());
    format!("postgres://{user}@{host}:{port}/{}", connect.get_database().unwrap_or(user))
}

/// A setting's name and its value.
type Setting = (&'static str, String);

/// What every transaction sets for itself. Plans that read a whole table or sort it to join it are never right here, and
/// on young tables the planner prefers them. A generic plan is as good as one made for the numbers at hand, but where tables
/// are spread over machines: there is none, because the numbers say which machine.
fn settings(options: &PostgresOptions, found: &Found) -> Vec<Setting> {
    let limits = [
        ("statement_timeout", options.statement_timeout),
        ("lock_timeout", options.lock_timeout),
        ("idle_in_transaction_session_timeout", options.idle_timeout),
    ];
    let off = ["enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_material", "enable_bitmapscan", "jit"];
    let of_the_place = if found.is_distributed {
        // It would pass on the whole message that a setting is in.
        ("citus.propagate_set_commands", "none")
    } else {
        ("plan_cache_mode", "force_generic_plan")
    };
    let fixed = [("synchronous_commit", found.synchronous_commit), of_the_place];
    let limits = limits.map(|(name, limit)| (name, limit.as_millis().max(1).to_string()));
    limits.into_iter().chain(fixed.map(owned)).chain(off.map(|name| owned((name, "off")))).collect()
}

fn owned((name, value): (&'static str, &str)) -> Setting {
    (name, value.to_owned())
}

fn set(settings: &[Setting]) -> String {
    let each: Vec<_> = settings.iter().map(|(name, value)| format!("set local {name} = {value}")).collect();
    each.join("; ")
}

/// The statement that locks a bucket. Settings do not follow it to another machine, so there it makes them itself, before it
/// waits for the lock: all but the time-out of statements, which could end the wait of a commit there.
fn lock(bucket: i16, settings: &[Setting], found: &Found) -> String {
    let statement = sql::LOCK_BUCKET.replace("$1", &bucket.to_string());
    if !found.is_distributed {
        return statement;
    }
    let settings = settings.iter().filter(|(name, _)| *name != "statement_timeout");
    let there: String = settings.map(|(name, value)| format!(", set_config('{name}', '{value}', true)")).collect();
    statement.replacen(" from ", &[&there, " from "].concat(), 1)
}

/// The bucket an account's name leads to: fixed for ever.
fn hashed(account: &AccountId, buckets: u16) -> u16 {
    let digest = Sha256::digest(account.as_str().as_bytes());
    let first = digest.first_chunk().copied().map_or(0, u64::from_be_bytes);
    let bucket = first.checked_rem(u64::from(buckets)).unwrap_or(0);
    u16::try_from(bucket).unwrap_or(0)
}

fn epoch(stored: Option<Vec<u8>>) -> Result<u64, StoreError> {
    let damaged = || corrupt("epoch is damaged, restore a backup");
    stored.map_or(Ok(0), |bytes| bytes.try_into().map(u64::from_be_bytes).map_err(|_| damaged()))
}
