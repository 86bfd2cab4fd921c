//! The engine batches and commits. It is the only one that calls [`Store::commit`].
//!
//! Callers [submit](Engine::submit) one command and await its answer. Each bucket has a lane: a queue and one task. The
//! task takes everything that waits, hands it to the store as one batch, and answers each caller once the batch is
//! durable; meanwhile the next batch gathers. An idle ledger commits at once, a busy one commits thousands together.
//!
//! A caller that goes away changes nothing: its command commits all the same. If it was a reserve, nobody could use the
//! hold any more, and the engine releases it.
//!
//! The queue is bounded for commands that open or increase something: when it is full they are answered
//! [`Busy`](crate::ErrorKind::Busy) at once. What reports on or closes a hold always gets in: its place was taken
//! together with the hold.

mod actor;
mod keeper;
mod lane;
mod outage;
mod spool;
mod sweep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(crate) use keeper::{Kept, Source};
use lane::{Answer, Lane, Place, Ticket};
pub(crate) use spool::Spool;

use crate::error::{Error, ErrorKind, Result};
use crate::kernel::{Command, Reply};
use crate::model::{AccountId, Balance, Hold};
use crate::store::Store;

/// Numbers that tune the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) struct EngineSettings {
    /// Commands that open or increase something and wait in one bucket's queue, at most. Default 16,384: at the rates
    /// of an embedded store a few tenths of a second.
    pub queue: usize,
    /// Commands in one batch, at most. Default 4,096. Low caps cost throughput.
    pub batch: usize,
    /// How long a caller waits while the store fails before it is told so. Default 5 s.
    pub patience: Duration,
    /// How often the sweeper looks for what is due; none: only when asked. Default 1 s.
    pub sweep_every: Option<Duration>,
    /// How often progress of running streams is recorded. Default 2 s.
    pub report_every: Duration,
    /// How long the sweeper stays away after an outage or a jump of the clock: a lease and its grace. Default 15.5 min.
    pub holiday: Duration,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            queue: 16_384,
            batch: 4_096,
            patience: Duration::from_secs(5),
            sweep_every: Some(Duration::from_secs(1)),
            report_every: Duration::from_secs(2),
            holiday: Duration::from_secs(15 * 60 + 30),
        }
    }
}

/// The running engine of one ledger.
#[derive(Debug)]
pub(crate) struct Engine {
    store: Arc<dyn Store>,
    settings: EngineSettings,
    lanes: Arc<[Arc<Lane>]>,
    keeper: Arc<keeper::Keeper>,
    runtime: Handle,
    closing: AtomicBool,
}

impl Engine {
    /// Starts the tasks of an engine on the current tokio runtime.
    pub(crate) fn start(store: Arc<dyn Store>, settings: EngineSettings, spool: Option<Spool>) -> Result<Arc<Self>> {
        let runtime = Handle::try_current()
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "a ledger is opened inside a tokio runtime"))?;
        let lanes: Arc<[_]> = (0..store.buckets()).map(|bucket| Arc::new(Lane::new(bucket, settings.queue))).collect();
        let spool = spool.map(Arc::new);
        for lane in &*lanes {
            runtime.spawn(actor::run(
                Arc::clone(lane),
                Arc::clone(&lanes),
                Arc::clone(&store),
                settings,
                spool.clone(),
            ));
        }
        let keeper = Arc::new(keeper::Keeper::default());
        let engine = Arc::new(Self { store, settings, lanes, keeper, runtime, closing: AtomicBool::new(false) });
        engine.runtime.spawn(keeper::run(Arc::downgrade(&engine), settings.report_every));
        if let Some(every) = settings.sweep_every {
            engine.runtime.spawn(sweep::run(Arc::downgrade(&engine), every));
        }
        Ok(engine)
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    /// The queue of an account's bucket.
    pub(crate) fn lane(&self, account: &AccountId) -> Result<&Arc<Lane>> {
        let bucket = self.store.bucket(account);
        self.lanes.get(usize::from(bucket)).ok_or_else(|| Error::new(ErrorKind::Internal, "bucket out of range"))
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn lanes(&self) -> &[Arc<Lane>] {
        &self.lanes
    }

    /// Hands a command over and waits until it is decided and durable.
    ///
    /// Cancel safety: dropping the future changes nothing about the command, except that a reserve nobody receives is
    /// released.
    pub(crate) async fn submit(&self, command: Arc<Command>) -> Result<Reply> {
        if command.increases() && self.is_closing() {
            return Err(Error::new(ErrorKind::Closed, "ledger is closing"));
        }
        let lane = self.lane(command.account())?;
        let (answer, answered) = oneshot::channel();
        let expires = Instant::now().checked_add(self.settings.patience);
        lane.push(Ticket { command, answer: Answer::Caller(answer), expires })?;
        let delivery = answered.await.map_err(|_| Error::new(ErrorKind::Closed, "ledger is closed"))??;
        Ok(delivery.claim())
    }

    /// Starts watching over a running hold: progress and renewals.
    pub(crate) fn keep(&self, account: &AccountId, hold: &Hold, balance: Balance) -> Result<Arc<Kept>> {
        let place = self.lane(account)?.place();
        Ok(self.keeper.keep(|slot| Kept::new(account.clone(), hold, balance, place, slot)))
    }

    /// Looks at everything that is due once. Answers how many holds it closed.
    pub(crate) async fn sweep(&self) -> Result<u64> {
        let mut closed = 0;
        for lane in &*self.lanes {
            closed += sweep::sweep(self, lane, |_| false).await?;
        }
        Ok(closed)
    }

    /// Refuses what opens or increases from now on, waits for running holds until `deadline`, records what those that are
    /// left used so far, answers what waits and lets go of the store.
    pub(crate) async fn close(&self, deadline: Duration) -> Result<()> {
        self.closing.store(true, Ordering::Release);
        if tokio::time::timeout(deadline, self.keeper.idle()).await.is_err() {
            // Those are left to their leases, which lapse with what is recorded: so nothing counted is left out.
            self.keeper.round().await;
        }
        for lane in &*self.lanes {
            lane.close();
        }
        for lane in &*self.lanes {
            lane.finished().await;
        }
        Ok(self.store.close().await?)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for lane in &*self.lanes {
            lane.close();
        }
    }
}
