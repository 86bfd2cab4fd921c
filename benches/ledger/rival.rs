//! What the ledger is measured by: SQLite itself, and the same rows written by hand, one transaction per command.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::oneshot;

use super::load::{COST, Failure, HELD, Subject};

/// A database written as durably as the ledger's, in pages of the same size.
fn open(path: &Path) -> Result<Connection, Failure> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "pragma page_size = 8192; pragma journal_mode = wal; pragma synchronous = full; pragma cache_size = -65536; \
         pragma wal_autocheckpoint = 2000;",
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// How long a durable commit of one small row takes, in µs.
pub(crate) fn bare_commit(folder: &Path, span: Duration) -> Result<f64, Failure> {
    let connection = open(&folder.join("bare.db"))?;
    connection
        .execute_batch("create table if not exists bare (id integer primary key, value integer not null) strict")?;
    let mut insert = connection.prepare("insert into bare (value) values (?1)")?;
    let mut took: Histogram<u64> = Histogram::new(3)?;
    let began = Instant::now();
    while began.elapsed() < span {
        let each = Instant::now();
        insert.execute([1])?;
        took.record(u64::try_from(each.elapsed().as_micros())?)?;
    }
    Ok(took.value_at_quantile(0.5) as f64)
}

/// Rows like the journal's, in a table without checks, triggers and indexes, 1,024 a transaction: rows per second.
pub(crate) fn raw_inserts(folder: &Path, ledger: &Path, span: Duration) -> Result<f64, Failure> {
    let mut row = Template::read(ledger, "entries")?;
    let path = folder.join("raw.db");
    let connection = open(&path)?;
    let others: Vec<_> = row.columns.iter().skip(1).map(String::as_str).collect();
    connection.execute_batch(&format!("create table raw (position integer primary key, {})", others.join(", ")))?;
    let mut insert = connection.prepare(&row.insert("raw"))?;
    let (began, mut rows) = (Instant::now(), 0);
    while began.elapsed() < span {
        connection.execute_batch("begin immediate")?;
        for _ in 0..1_024 {
            rows += 1;
            row.set("position", rows)?;
            insert.execute(rusqlite::params_from_iter(&row.values))?;
        }
        connection.execute_batch("commit")?;
    }
    let rate = rows as f64 / began.elapsed().as_secs_f64();
    drop(insert);
    drop(connection);
    remove(&path);
    Ok(rate)
}

/// The ledger's own file, written by hand: a thread with a connection, one transaction per command, no hash chain.
#[derive(Debug)]
pub(crate) struct OneByOne {
    accounts: usize,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The file may be removed afterwards: a connection that closes late would take the log of the next one at its place away.
impl Drop for OneByOne {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

type Job = (Step, oneshot::Sender<Result<(), String>>);

#[derive(Debug)]
enum Step {
    Reserve { account: usize, key: [u8; 16] },
    Settle { account: usize, key: [u8; 16] },
}

impl OneByOne {
    /// Takes over a closed ledger that has `accounts` funded accounts, numbered from 1, and at least one pair.
    pub(crate) fn open(ledger: &Path, accounts: usize) -> Result<Self, Failure> {
        let mut by_hand = ByHand::open(ledger)?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = thread::spawn(move || {
            for (step, answer) in queue {
                let done = by_hand.transact(&step).map_err(|error| error.to_string());
                // Nobody waits any more when the run is over.
                let _ = answer.send(done);
            }
        });
        Ok(Self { accounts, jobs: Some(jobs), thread: Some(thread) })
    }

    async fn run(&self, step: Step) -> Result<(), Failure> {
        let (answer, answered) = oneshot::channel();
        self.jobs.as_ref().ok_or("closed")?.send((step, answer))?;
        Ok(answered.await??)
    }
}

impl Subject for OneByOne {
    type Hold = (usize, [u8; 16]);

    fn accounts(&self) -> usize {
        self.accounts
    }

    async fn reserve(&self, account: usize, request: String) -> Result<Self::Hold, Failure> {
        // The request's 32 hexadecimal digits are its key.
        let key = u128::from_str_radix(&request, 16)?.to_be_bytes();
        self.run(Step::Reserve { account, key }).await?;
        Ok((account, key))
    }

    async fn settle(&self, (account, key): Self::Hold) -> Result<(), Failure> {
        self.run(Step::Settle { account, key }).await
    }
}

struct ByHand {
    connection: Connection,
    hold: Template,
    entry: Template,
    positions: i64,
    holds: i64,
    now: i64,
}

impl ByHand {
    fn open(ledger: &Path) -> Result<Self, Failure> {
        let connection = open(ledger)?;
        let (positions, holds) =
            connection.query_row("select position, hold_no from buckets", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut hold = Template::read(ledger, "holds")?;
        for (column, value) in [("state", 0), ("held", HELD), ("held_at_close", 0), ("captured", 0)] {
            hold.set(column, value)?;
        }
        for column in ["settled_as", "settled_as_tokens", "actual", "actual_tokens", "closed_at"] {
            hold.set(column, Value::Null)?;
        }
        let entry = Template::read(ledger, "entries")?;
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_micros())?;
        Ok(Self { connection, hold, entry, positions, holds, now })
    }

    fn transact(&mut self, step: &Step) -> Result<(), Failure> {
        self.connection.execute_batch("begin immediate")?;
        self.now += 1;
        let changes = match *step {
            Step::Reserve { account, key } => self.reserve(account, key)?,
            Step::Settle { account, key } => self.settle(account, key)?,
        };
        self.record(step.account(), changes)?;
        self.connection.execute_batch("commit")?;
        Ok(())
    }

    /// Makes a hold. Answers what becomes of available, held, revenue and the number of open holds.
    fn reserve(&mut self, account: usize, key: [u8; 16]) -> Result<[i64; 4], Failure> {
        let connection = &self.connection;
        let known: Option<i64> = connection
            .prepare_cached("select target from keys where hash = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?;
        if known.is_some() {
            return Err("request is known".into());
        }
        self.holds += 1;
        self.hold.set("hold_no", self.holds)?;
        self.hold.set("account_no", number(account)?)?;
        self.hold.set("key", key.to_vec())?;
        self.hold.set("opened_at", self.now)?;
        self.hold.set("due", self.now + 900_000_000)?;
        connection
            .prepare_cached(&self.hold.insert("holds"))?
            .execute(rusqlite::params_from_iter(&self.hold.values))?;
        connection
            .prepare_cached("insert into keys (hash, target) values (?1, ?2)")?
            .execute(params![key, self.holds])?;
        Ok([-HELD, HELD, 0, 1])
    }

    fn settle(&mut self, account: usize, key: [u8; 16]) -> Result<[i64; 4], Failure> {
        let hold: i64 = self
            .connection
            .prepare_cached("select target from keys where hash = ?1")?
            .query_row([key], |row| row.get(0))?;
        let held: i64 = self
            .connection
            .prepare_cached("select held from holds where hold_no = ?1 and account_no = ?2 and state = 0")?
            .query_row(params![hold, number(account)?], |row| row.get(0))?;
        self.connection
            .prepare_cached(
                "update holds set state = 2, held = 0, held_at_close = ?2, captured = ?3, settled_as = ?3, \
                 settled_as_tokens = 0, actual = ?3, actual_tokens = 0, closed_at = ?4, due = null where hold_no = ?1",
            )?
            .execute(params![hold, held, COST, self.now])?;
        Ok([HELD - COST, -HELD, COST, -1])
    }

    /// Writes the entry and the account's new totals.
    fn record(&mut self, account: usize, [available, held, revenue, open]: [i64; 4]) -> Result<(), Failure> {
        let account = number(account)?;
        let (seq, last, before, held_before): (i64, i64, i64, i64) = self
            .connection
            .prepare_cached("select seq, last_position, available, held from accounts where account_no = ?1")?
            .query_row([account], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        if before + available < 0 {
            return Err("out of money".into());
        }
        self.positions += 1;
        let columns = [
            ("position", self.positions),
            ("account_no", account),
            ("seq", seq + 1),
            ("previous", last),
            ("at", self.now),
            ("available", available),
            ("held", held),
            ("revenue", revenue),
            ("available_after", before + available),
            ("held_after", held_before + held),
        ];
        for (column, value) in columns {
            self.entry.set(column, value)?;
        }
        self.connection
            .prepare_cached(&self.entry.insert("entries"))?
            .execute(rusqlite::params_from_iter(&self.entry.values))?;
        self.connection
            .prepare_cached(
                "update accounts set available = available + ?2, held = held + ?3, revenue = revenue + ?4, \
                 open_holds = open_holds + ?5, seq = seq + 1, last_position = ?6, last_at = ?7 where account_no = ?1",
            )?
            .execute(params![account, available, held, revenue, open, self.positions, self.now])?;
        self.connection
            .prepare_cached("update buckets set position = ?1, hold_no = ?2")?
            .execute([self.positions, self.holds])?;
        Ok(())
    }
}

impl Step {
    fn account(&self) -> usize {
        match *self {
            Self::Reserve { account, .. } | Self::Settle { account, .. } => account,
        }
    }
}

/// A row of the ledger's to write more of the same width by.
struct Template {
    columns: Vec<String>,
    values: Vec<Value>,
}

impl Template {
    /// The last row of a table.
    fn read(ledger: &Path, table: &str) -> Result<Self, Failure> {
        let connection = Connection::open(ledger)?;
        let mut select = connection.prepare(&format!("select * from {table} order by 1 desc limit 1"))?;
        let columns: Vec<_> = select.column_names().into_iter().map(str::to_owned).collect();
        let values = select.query_row([], |row| (0..columns.len()).map(|column| row.get(column)).collect())?;
        Ok(Self { columns, values })
    }

    fn set(&mut self, column: &str, value: impl Into<Value>) -> Result<(), Failure> {
        let index = self.columns.iter().position(|name| name == column).ok_or_else(|| format!("no column {column}"))?;
        self.values[index] = value.into();
        Ok(())
    }

    fn insert(&self, table: &str) -> String {
        let places = vec!["?"; self.columns.len()].join(", ");
        format!("insert into {table} ({}) values ({places})", self.columns.join(", "))
    }
}

/// Accounts are numbered from 1.
fn number(account: usize) -> Result<i64, Failure> {
    Ok(i64::try_from(account)? + 1)
}

/// Bytes of a closed ledger for each of its pairs.
pub(crate) fn stored(ledger: &Path) -> Result<f64, Failure> {
    let pairs: u32 = open(ledger)?.query_row("select hold_no from buckets", [], |row| row.get(0))?;
    Ok(std::fs::metadata(ledger)?.len() as f64 / f64::from(pairs))
}

/// Removes a database with what lies beside it.
pub(crate) fn remove(path: &Path) {
    for ending in ["", "-wal", "-shm", ".lock"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        // What is not there need not be removed.
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}
