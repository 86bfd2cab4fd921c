//! How a ledger is put together.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Ledger, no_randomness};
use crate::clock::{Clock, SystemClock};
use crate::engine::{Engine, EngineSettings, Spool};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Asset, LedgerId, Limits, Policy};
use crate::store::{MemoryStore, Store};

/// Puts a [`Ledger`] together: the store, the numbers, and what new accounts are opened with.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), prepaid::Error> {
/// use std::time::Duration;
/// use prepaid::{Ledger, model::{Lease, Overrun, Policy}};
///
/// let mut policy = Policy::default();
/// policy.overrun = Overrun::CapToAvailable;
/// policy.lease = Lease { ttl: Duration::from_secs(120), ..Lease::default() };
/// let ledger = Ledger::builder().policy(policy).open("memory:").await?;
/// # ledger.close(Duration::ZERO).await }
/// ```
#[derive(Clone, Debug)]
pub struct LedgerBuilder {
    clock: Arc<dyn Clock>,
    engine: EngineSettings,
    asset: Asset,
    limits: Limits,
    policy: Policy,
    drains: usize,
    spool: Option<PathBuf>,
    spool_bytes: u64,
    holiday: Option<Duration>,
}

impl Default for LedgerBuilder {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            engine: EngineSettings::default(),
            asset: Asset::USD,
            limits: Limits::default(),
            policy: Policy::default(),
            drains: 1_024,
            spool: None,
            spool_bytes: 64 << 20,
            holiday: None,
        }
    }
}

impl LedgerBuilder {
    /// Another clock for stores that have none of their own (memory, SQLite).
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The asset accounts are opened in unless they say otherwise. Default `USD/9`.
    #[must_use]
    pub fn asset(self, asset: Asset) -> Self {
        Self { asset, ..self }
    }

    /// The limits accounts are opened with unless they say otherwise. Default: none.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The policy accounts are opened with unless they say otherwise.
    #[must_use]
    pub fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// How many commands that open or increase something may wait in a bucket's queue. Default 16,384.
    #[must_use]
    pub fn queue(mut self, commands: usize) -> Self {
        self.engine.queue = commands.max(1);
        self
    }

    /// How many commands go into one transaction at most. Default 4,096.
    #[must_use]
    pub fn batch(mut self, commands: usize) -> Self {
        self.engine.batch = commands.max(1);
        self
    }

    /// How long a caller waits while the store fails before it is told so. Default 5 s.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.engine.patience = patience;
        self
    }

    /// How often the sweeper looks for what is due; none: only when [`Ledger::sweep`] is called. Default 1 s.
    #[must_use]
    pub fn sweep_every(mut self, every: Option<Duration>) -> Self {
        self.engine.sweep_every = every.map(|every| every.max(Duration::from_millis(1)));
        self
    }

    /// How often progress of running streams is recorded. Default 2 s. A process killed in mid-stream loses at most
    /// this much of what it had counted.
    #[must_use]
    pub fn report_every(mut self, every: Duration) -> Self {
        self.engine.report_every = every.max(Duration::from_millis(1));
        self
    }

    /// How many upstreams may be read on at once after their clients went away ([`Cut::Drain`]); beyond them, what was
    /// delivered is settled at once. Default 1,024.
    ///
    /// [`Cut::Drain`]: crate::metering::Cut::Drain
    #[must_use]
    pub fn drains(self, drains: usize) -> Self {
        Self { drains, ..self }
    }

    /// A folder in which settlements and releases are kept while the store cannot be reached: they are answered
    /// [`Spooled`](ErrorKind::Spooled) once they are synced to it, and land, with the same ids, when the store is back,
    /// also after a restart. Everything else is answered `Unavailable` at once. What the ledger then refuses is written
    /// to `dead-letters.jsonl` in the folder.
    ///
    /// The folder must outlive the process: in a container, mount a volume. Several processes may share one; whoever
    /// starts next takes over what a dead one left for the same ledger. Several ledgers may share one, too: files and
    /// letters carry the ledger's id, and what is another's stays where it is until that one is opened. Default: none.
    #[must_use]
    pub fn spool(self, folder: impl Into<PathBuf>) -> Self {
        Self { spool: Some(folder.into()), ..self }
    }

    /// How large this ledger's file in the spool may grow; beyond it even settlements are answered `Unavailable`.
    /// Default 64 MiB, about 100,000 of them.
    #[must_use]
    pub fn spool_bytes(self, bytes: u64) -> Self {
        Self { spool_bytes: bytes, ..self }
    }

    /// How long the sweeper stays away after an outage of the store or a jump of its clock: long enough for every
    /// owner to renew. Default: a lease of the [policy](Self::policy) and its grace, 15.5 minutes where that is the
    /// default one. Set it where accounts or holds have longer leases of their own. A clock that goes forward by more
    /// than half of it is taken to have jumped.
    #[must_use]
    pub fn holiday(self, holiday: Duration) -> Self {
        Self { holiday: Some(holiday), ..self }
    }

    /// Opens the ledger at `url`: `sqlite:PATH`, `postgres://USER:PASSWORD@HOST:PORT/DATABASE` (created if it is not
    /// there) or `memory:`.
    ///
    /// # Errors
    /// `InvalidInput` for any other url or outside of a tokio runtime; `AlreadyOwned` when another process has the
    /// file; `Unsuitable` for another program's file or a newer schema; `Unavailable` when it cannot be opened or
    /// written; `Corrupt` when it is damaged.
    ///
    /// # Cancel safety
    /// A database that was being created is whole or not there.
    pub async fn open(self, url: &str) -> Result<Ledger> {
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        match scheme {
            "memory" => {
                let store =
                    MemoryStore::new(LedgerId(crate::random::bytes().map_err(no_randomness)?), Arc::clone(&self.clock));
                self.open_store(Arc::new(store))
            }
            #[cfg(feature = "sqlite")]
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path == ":memory:" || path.contains('?') {
                    let hint = "expected sqlite:PATH without options, or memory: for a ledger that is not kept";
                    return Err(Error::new(ErrorKind::InvalidInput, format!("{hint}: path={path:.64}")));
                }
                let store = crate::store::sqlite::SqliteStore::open(path, Arc::clone(&self.clock)).await?;
                self.open_store(Arc::new(store))
            }
            #[cfg(not(feature = "sqlite"))]
            "sqlite" => Err(not_built("sqlite")),
            #[cfg(not(feature = "postgres"))]
            "postgres" | "postgresql" => Err(not_built("postgres")),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" if !rest.starts_with("//") => {
                Err(Error::new(ErrorKind::InvalidInput, "expected postgres://USER:PASSWORD@HOST:PORT/DATABASE"))
            }
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => {
                let store = crate::store::postgres::PostgresStore::open(url).await?;
                self.open_store(Arc::new(store))
            }
            _ => {
                let _ = rest;
                Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("unknown kind of store, expected sqlite:PATH, postgres://… or memory: scheme={scheme:.32}"),
                ))
            }
        }
    }

    /// Opens the ledger in a store that is open already.
    ///
    /// # Errors
    /// `InvalidInput` outside of a tokio runtime; `Unavailable` when the spool cannot be opened.
    pub fn open_store(self, store: Arc<dyn Store>) -> Result<Ledger> {
        let spool = self.spool.map(|folder| {
            let failed = |error| {
                Error::new(
                    ErrorKind::Unavailable,
                    format!("spool cannot be opened: {error}: path={}", folder.display()),
                )
            };
            Spool::open(&folder, store.ledger(), self.spool_bytes, |account| store.bucket(account)).map_err(failed)
        });
        let lease = self.policy.lease;
        let holiday = self.holiday.unwrap_or_else(|| lease.ttl.saturating_add(lease.grace));
        let settings = EngineSettings { holiday, ..self.engine };
        let engine = Engine::start(store, settings, spool.transpose()?)?;
        Ok(Ledger::new(engine, self.asset, self.limits, self.policy, self.drains))
    }
}

#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
fn not_built(feature: &str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("store is not built in, turn the crate's feature on: feature={feature}"),
    )
}
