//! The embedded store: one SQLite file, one writer on a thread of its own, readers beside it.
//!
//! SQLite is spoken to directly, not through an async driver: a driver's hand-over costs more than SQLite does, and its
//! futures can be dropped in the middle of a transaction. Here a job that was begun is finished, whoever waits for it.

mod backlog;
mod checkpoint;
mod commit;
mod credit;
mod entries;
mod fault;
mod load;
mod open;
mod prune;
mod query;
mod rows;
mod sql;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::oneshot;

use self::backlog::Backlog;
use self::commit::Writer;
use super::{Due, Store, StoreError, StoreErrorKind, Visitor, Windows};
use crate::clock::Clock;
use crate::kernel::{Batch, Reply};
use crate::model::{Account, AccountId, Budget, Entry, Hold, KeyHash, LedgerId, Lot, TariffHash, Timestamp};

/// Numbers that tune the embedded store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// Page cache of the writer, in KiB. Default 64 MiB.
    pub cache_kib: u32,
    /// Pages of 8 KiB in the log before it is begun anew; they move into the database beside the writer. Default 2,000,
    /// 16 MB.
    pub checkpoint_pages: u32,
    /// Rows kept in memory before they move into their tables, about: accounts, holds, lots and windows that changed. More
    /// of them are written once for more changes; opening the database after a crash reads as many. Default 65,536, some
    /// 40 MB.
    pub recent_rows: u32,
    /// Keys of holds kept in memory before they move into their index, about. More of them share a page, and opening
    /// the database reads up to four times as many. Default 65,536, some 3 MB.
    pub recent_keys: u32,
    /// The largest number of pages the database may have; none: SQLite's own limit. Set when the file is opened.
    pub pages_max: Option<u32>,
    /// How long a reader that locks the file is waited for. Default 2 s.
    pub busy_timeout: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            cache_kib: 64 * 1024,
            checkpoint_pages: 2_000,
            recent_rows: 65_536,
            recent_keys: 65_536,
            pages_max: None,
            busy_timeout: open::BUSY_TIMEOUT,
        }
    }
}

/// A ledger in one SQLite file.
///
/// The file is opened with a write-ahead log and `synchronous=FULL`, both read back: what was answered survives a power
/// cut. One process owns it, by a locked file beside it (`<path>.lock`); other programs may read it meanwhile. The
/// file must be on a local disk, and is copied together with its `-wal`, or after the ledger was closed.
pub struct SqliteStore {
    ledger: LedgerId,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    options: SqliteOptions,
    backlog: Backlog,
    writer: Mutex<Option<mpsc::Sender<Job<Writer>>>>,
    readers: Mutex<Vec<mpsc::Sender<Job<Connection>>>>,
    next_reader: AtomicUsize,
}

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

const READERS: usize = 2;
/// When nothing comes for so long, the writer tidies up.
const IDLE: Duration = Duration::from_secs(1);

impl SqliteStore {
    /// Opens the database at `path`, or creates it, readable by its owner alone.
    ///
    /// # Errors
    /// `AlreadyOwned` when another process has it; `Unsuitable` for another program's file, a newer schema, a folder
    /// or a file system without shared memory; `ReadOnly`, `Full`, `Unavailable`, `Corrupt`. What is not ours is not
    /// touched.
    ///
    /// # Cancel safety
    /// A database that was being created is whole or not there.
    pub async fn open(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::open_with(path, clock, SqliteOptions::default()).await
    }

    /// As [`SqliteStore::open`], with other numbers.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn open_with(
        path: impl AsRef<Path>,
        clock: Arc<dyn Clock>,
        options: SqliteOptions,
    ) -> Result<Self, StoreError> {
        let path = path.as_ref().to_path_buf();
        if path.as_os_str().is_empty() {
            return Err(StoreError::new(StoreErrorKind::Unsuitable, "path is empty, name a file: sqlite:ledger.db"));
        }
        let backlog = Backlog::new(options.recent_rows, options.recent_keys);
        let (writer, ledger) = start_writer(path.clone(), options, Arc::clone(&clock), backlog.clone()).await?;
        let mut readers = Vec::with_capacity(READERS);
        for number in 0..READERS {
            readers.push(start_reader(number, path.clone(), options).await?);
        }
        Ok(Self {
            ledger,
            clock,
            path,
            options,
            backlog,
            writer: Mutex::new(Some(writer)),
            readers: Mutex::new(readers),
            next_reader: AtomicUsize::new(0),
        })
    }

    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        run(writer.ok_or_else(closed)?, job).await
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = {
            let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = self.next_reader.fetch_add(1, Ordering::Relaxed);
            readers.get(turn.checked_rem(readers.len()).unwrap_or(0)).cloned()
        };
        run(reader.ok_or_else(closed)?, job).await
    }
}

#[async_trait]
impl Store for SqliteStore {
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
        self.write(move |writer| writer.commit(&batch)).await
    }

    async fn due(&self, _bucket: u16, limit: u32) -> Result<Due, StoreError> {
        let (now, backlog) = (self.clock.now(), self.backlog.clone());
        self.read(move |connection| query::due(connection, &backlog, now, limit)).await
    }

    async fn account(&self, account: &AccountId) -> Result<Option<Account>, StoreError> {
        let (account, backlog) = (account.clone(), self.backlog.clone());
        self.read(move |connection| query::account(connection, &backlog, &account)).await
    }

    async fn accounts(&self, _bucket: u16, after: i64, limit: u32) -> Result<Vec<Account>, StoreError> {
        let backlog = self.backlog.clone();
        self.read(move |connection| query::accounts(connection, &backlog, after, limit)).await
    }

    async fn hold(&self, account: &AccountId, key: KeyHash) -> Result<Option<Arc<Hold>>, StoreError> {
        let (account, backlog) = (account.clone(), self.backlog.clone());
        self.read(move |connection| query::hold(connection, &backlog, &account, key)).await
    }

    async fn holds(&self, account: &AccountId, after: i64, limit: u32) -> Result<Vec<Arc<Hold>>, StoreError> {
        let (account, backlog) = (account.clone(), self.backlog.clone());
        self.read(move |connection| query::holds(connection, &backlog, &account, after, limit)).await
    }

    async fn lots(&self, account: &AccountId) -> Result<Vec<Arc<Lot>>, StoreError> {
        let (account, backlog) = (account.clone(), self.backlog.clone());
        self.read(move |connection| query::lots(connection, &backlog, &account)).await
    }

    async fn budgets(&self, account: &AccountId, after: u32, limit: u32) -> Result<Vec<Arc<Budget>>, StoreError> {
        let account = account.clone();
        self.read(move |connection| query::budgets(connection, &account, after, limit)).await
    }

    async fn windows(&self, account: &AccountId, budget: u32, from: Timestamp, limit: u32) -> Windows {
        let (account, backlog) = (account.clone(), self.backlog.clone());
        self.read(move |connection| query::windows(connection, &backlog, &account, budget, from, limit)).await
    }

    async fn journal(&self, account: &AccountId, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let (account, backlog) = (account.clone(), self.backlog.clone());
        self.read(move |connection| query::journal(connection, &backlog, &account, after, limit)).await
    }

    async fn feed(&self, _bucket: u16, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        self.read(move |connection| query::feed(connection, after, limit)).await
    }

    async fn scan(&self, _bucket: u16, mut visitor: Visitor) -> Result<(), StoreError> {
        // It takes long: a reader of its own leaves the others to those who wait for an answer.
        if self.readers.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Err(closed());
        }
        let reader = start_reader(READERS, self.path.clone(), self.options).await?;
        run(reader, move |connection| query::scan(connection, &mut visitor)).await
    }

    async fn pruned(&self, _bucket: u16) -> Result<u64, StoreError> {
        self.read(|connection| prune::pruned(connection)).await
    }

    async fn epoch(&self) -> Result<u64, StoreError> {
        self.read(|connection| query::epoch(connection)).await
    }

    async fn raise_epoch(&self) -> Result<u64, StoreError> {
        self.write(Writer::raise_epoch).await
    }

    async fn put_tariff(&self, hash: TariffHash, content: &[u8]) -> Result<(), StoreError> {
        let content = content.to_vec();
        self.write(move |writer| writer.put_tariff(hash, &content)).await
    }

    async fn tariff(&self, hash: TariffHash) -> Result<Option<Arc<[u8]>>, StoreError> {
        self.read(move |connection| query::tariff(connection, hash)).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (done, ended) = oneshot::channel();
        run(writer.ok_or_else(closed)?, move |writer| {
            writer.on_end(done);
            writer.close()
        })
        .await?;
        // The thread lets go of the lock as its last act.
        let _ = ended.await;
        Ok(())
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

/// Hands a job to a thread and waits for what it comes to. The job runs to its end even if nobody waits.
async fn run<W: 'static, T: Send + 'static>(
    thread: mpsc::Sender<Job<W>>,
    job: impl FnOnce(&mut W) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let (answer, answered) = oneshot::channel();
    let job: Job<W> = Box::new(move |owner| {
        let _ = answer.send(job(owner));
    });
    thread.send(job).map_err(|_| closed())?;
    answered.await.map_err(|_| {
        StoreError::new(StoreErrorKind::OutcomeUnknown, "the database's thread ended in the middle of a job")
    })?
}

/// Starts the writer's thread, which owns the lock and the connection, and answers once the database is open.
async fn start_writer(
    path: PathBuf,
    options: SqliteOptions,
    clock: Arc<dyn Clock>,
    backlog: Backlog,
) -> Result<(mpsc::Sender<Job<Writer>>, LedgerId), StoreError> {
    let (opened, opens) = oneshot::channel();
    let (sender, jobs) = mpsc::channel::<Job<Writer>>();
    spawn("prepaid-writer".to_owned(), move || {
        let owned: Result<(File, Writer), StoreError> =
            open::own(&path).and_then(|lock| Ok((lock, Writer::open(path, options, clock, backlog)?)));
        let (lock, mut writer) = match owned {
            Ok((lock, writer)) => {
                let _ = opened.send(Ok(writer.ledger()));
                (lock, writer)
            }
            Err(error) => {
                let _ = opened.send(Err(error));
                return;
            }
        };
        work(&jobs, &mut writer);
        let _ = writer.close();
        let end = writer.take_end();
        drop(writer);
        // Said aloud: a process that the host is just starting may still have a copy of the open file.
        let _ = lock.unlock();
        if let Some(end) = end {
            let _ = end.send(());
        }
    })?;
    let ledger = opens.await.map_err(|_| closed())??;
    Ok((sender, ledger))
}

/// Does what comes. What waits for its table is moved there once nothing comes for a while.
fn work(jobs: &mpsc::Receiver<Job<Writer>>, writer: &mut Writer) {
    let mut patience = IDLE;
    loop {
        match jobs.recv_timeout(patience) {
            Ok(job) => {
                job(writer);
                writer.after();
                patience = IDLE;
            }
            // What fails now is tried again then.
            Err(RecvTimeoutError::Timeout) => {
                patience = if writer.tidy().unwrap_or(false) { Duration::ZERO } else { IDLE };
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

async fn start_reader(
    number: usize,
    path: PathBuf,
    options: SqliteOptions,
) -> Result<mpsc::Sender<Job<Connection>>, StoreError> {
    let (opened, opens) = oneshot::channel();
    let (sender, jobs) = mpsc::channel::<Job<Connection>>();
    spawn(format!("prepaid-reader-{number}"), move || match open::reader(&path, &options) {
        Ok(mut connection) => {
            let _ = opened.send(Ok(()));
            jobs.into_iter().for_each(|job| job(&mut connection));
        }
        Err(error) => {
            let _ = opened.send(Err(error));
        }
    })?;
    opens.await.map_err(|_| closed())??;
    Ok(sender)
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    thread::Builder::new().name(name).spawn(body).map(drop).map_err(fault::no_thread)
}

fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Closed, "store is closed")
}
