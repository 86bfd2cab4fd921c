//! Watches over running holds: records their progress and renews their leases, whoever polls and whoever does not.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Answer, Engine, Place};
use crate::error::Result;
use crate::kernel::{Action, Command, Outcome, Refusal, Reply};
use crate::model::{AccountId, Amount, Balance, Hold, HoldId, Measured, Quantity};

/// A running hold as the keeper sees it, shared with its guard or its meter.
#[derive(Debug)]
pub(crate) struct Kept {
    account: AccountId,
    hold: HoldId,
    ttl: Duration,
    place: Place,
    lost: AtomicBool,
    progress: Mutex<Progress>,
    holding: Mutex<Holding>,
    source: OnceLock<Weak<dyn Source>>,
    _slot: Slot,
}

/// What a running hold holds, as far as its keeper has heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    pub(crate) held: Amount,
    pub(crate) balance: Balance,
    /// An extension was asked for and is not answered yet.
    pub(crate) asking: bool,
    /// The last extension fell short: there is no more.
    pub(crate) short: bool,
}

/// Whatever counts a running hold's usage.
pub(crate) trait Source: Debug + Send + Sync {
    /// The usage so far, in total; none while there is nothing to say.
    fn so_far(&self) -> Option<Measured>;
}

#[derive(Debug)]
struct Progress {
    latest: Option<Measured>,
    recorded: Quantity,
    /// None: it has to be renewed now.
    renewed: Option<Instant>,
    /// A report, a renewal, is on its way: there is never more than one of each.
    reporting: bool,
    renewing: bool,
    closed: bool,
}

impl Kept {
    pub(crate) fn new(account: AccountId, hold: &Hold, balance: Balance, place: Place, slot: Slot) -> Self {
        let holding = Holding { held: hold.held, balance, asking: false, short: false };
        let progress = Progress {
            latest: None,
            recorded: Quantity::ZERO,
            renewed: Some(Instant::now()),
            reporting: false,
            renewing: false,
            closed: false,
        };
        Self {
            account,
            hold: hold.id.clone(),
            ttl: hold.policy.lease.ttl,
            place,
            lost: AtomicBool::new(false),
            progress: Mutex::new(progress),
            holding: Mutex::new(holding),
            source: OnceLock::new(),
            _slot: slot,
        }
    }

    /// Asks `source` for usage so far at every round from now on.
    pub(crate) fn follow(&self, source: Weak<dyn Source>) {
        // A hold is metered once: the meter takes it.
        let _ = self.source.set(source);
    }

    /// Notes usage so far; it is recorded with the next round.
    pub(crate) fn note(&self, measured: Measured) {
        self.progress().latest = Some(measured);
    }

    /// Records usage so far without waiting for the next round or for an answer.
    pub(crate) fn record_now(self: &Arc<Self>, measured: Measured) {
        {
            let mut progress = self.progress();
            progress.recorded = measured.quantity;
            progress.latest = Some(measured.clone());
            progress.reporting = true;
        }
        self.push(Action::Report { hold: self.hold.clone(), measured, above_ceiling: false });
    }

    /// What the hold holds, as far as is known here.
    pub(crate) fn holding(&self) -> Holding {
        *self.holding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the hold to be raised to `target`, or as far as there is money, without waiting for the answer.
    pub(crate) fn ask(self: &Arc<Self>, target: Amount) {
        self.change_holding(|holding| holding.asking = true);
        self.push(Action::Extend { hold: self.hold.clone(), target, partial: true });
    }

    /// Hears how much the hold holds now.
    pub(crate) fn heard(&self, hold: Option<&Hold>, balance: Option<Balance>) {
        self.change_holding(|holding| {
            holding.held = hold.map_or(holding.held, |hold| hold.held);
            holding.balance = balance.unwrap_or(holding.balance);
        });
    }

    fn change_holding(&self, change: impl FnOnce(&mut Holding)) {
        change(&mut self.holding.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether the ledger said that the hold is not open any more: the stream should end.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Ends the watch; nothing is recorded any more.
    pub(crate) fn end(&self) {
        self.progress().closed = true;
    }

    /// Puts a last command in the queue that closes the hold and that nobody awaits: unused, unless it was `dispatched`.
    pub(crate) fn close_unawaited(&self, dispatched: bool) {
        self.end();
        let hold = self.hold.clone();
        let action = if dispatched { Action::Abandon { hold } } else { Action::Release { hold, waive: true } };
        // A closed lane is left to the leases.
        let _ = self.place.push(Arc::new(Command::new(self.account.clone(), action)), Answer::Nobody);
    }

    /// Hears how a report or a renewal went.
    pub(super) fn told(&self, command: &Command, result: Result<Reply>) {
        let asked = matches!(command.action(), Action::Extend { .. });
        let failed = result.is_err();
        // Where it failed the next round tells again: reports, renewals and extensions state a target.
        match command.action() {
            Action::Report { .. } => {
                let mut progress = self.progress();
                progress.reporting = false;
                if failed {
                    progress.recorded = Quantity::ZERO;
                }
            }
            Action::Renew { .. } => {
                let mut progress = self.progress();
                progress.renewing = false;
                if failed {
                    progress.renewed = None;
                }
            }
            _ => self.change_holding(|holding| holding.asking &= !asked),
        }
        let Ok(reply) = result else {
            return;
        };
        self.heard(reply.hold.as_deref(), reply.balance);
        if asked {
            let short = !matches!(reply.answer, Ok(Outcome::Ok));
            self.change_holding(|holding| (holding.asking, holding.short) = (false, short));
        }
        match reply.answer {
            Ok(Outcome::LeaseLost) | Err(Refusal::LeaseLost | Refusal::Closed | Refusal::UnknownHold) => {
                self.lost.store(true, Ordering::Release);
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// What has to be said now.
    fn round(self: &Arc<Self>) {
        let counted = self.source.get().and_then(Weak::upgrade).and_then(|source| self.ask_source(&*source));
        let (report, renew) = {
            let mut progress = self.progress();
            if progress.closed {
                return;
            }
            let recorded = progress.recorded;
            let report = counted.or_else(|| progress.latest.clone()).filter(|_| !progress.reporting);
            let report = report.filter(|latest| latest.quantity.max(recorded) != recorded);
            if let Some(report) = &report {
                progress.recorded = recorded.max(report.quantity);
                progress.reporting = true;
            }
            let is_due = progress.renewed.is_none_or(|renewed| renewed.elapsed() >= self.ttl / 2);
            let renew = is_due && !progress.renewing && !self.is_lost();
            if renew {
                progress.renewed = Some(Instant::now());
                progress.renewing = true;
            }
            (report, renew)
        };
        if let Some(measured) = report {
            self.push(Action::Report { hold: self.hold.clone(), measured, above_ceiling: false });
        }
        if renew {
            self.push(Action::Renew { hold: self.hold.clone(), ttl: Some(self.ttl) });
        }
    }

    /// What was counted so far. A host's observer counts it; where that panics, other holds still have to be kept, and so has
    /// this one's lease.
    fn ask_source(&self, source: &dyn Source) -> Option<Measured> {
        catch_unwind(AssertUnwindSafe(|| source.so_far())).unwrap_or_else(|_| {
            tracing::error!(account = %self.account, hold = %self.hold, "observer panicked, progress is not recorded");
            None
        })
    }

    fn push(self: &Arc<Self>, action: Action) {
        let command = Arc::new(Command::new(self.account.clone(), action));
        if let Err(error) = self.place.push(Arc::clone(&command), Answer::Kept(Arc::clone(self))) {
            self.told(&command, Err(error));
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All running holds of a ledger.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    running: Mutex<Running>,
    idle: Notify,
}

#[derive(Debug, Default)]
struct Running {
    slots: Vec<Option<Weak<Kept>>>,
    free: Vec<usize>,
}

/// A running hold's place with its keeper, given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    keeper: Arc<Keeper>,
    index: usize,
}

impl Keeper {
    /// Watches over the hold that `make` makes until it is dropped.
    pub(super) fn keep(self: &Arc<Self>, make: impl FnOnce(Slot) -> Kept) -> Arc<Kept> {
        Arc::new_cyclic(|kept| {
            let index = self.running().enter(Weak::clone(kept));
            make(Slot { keeper: Arc::clone(self), index })
        })
    }

    /// Waits until no hold runs.
    pub(super) async fn idle(&self) {
        loop {
            let emptied = self.idle.notified();
            {
                let running = self.running();
                if running.free.len() == running.slots.len() {
                    return;
                }
            }
            emptied.await;
        }
    }

    /// Looks at every running hold, a few at a time, so that other tasks get their turn.
    pub(super) async fn round(&self) {
        const AT_A_TIME: usize = 256;
        let mut from: usize = 0;
        loop {
            let some: Vec<_> = {
                let running = self.running();
                let Some(rest) = running.slots.get(from..).filter(|rest| !rest.is_empty()) else {
                    return;
                };
                rest.iter().take(AT_A_TIME).flatten().filter_map(Weak::upgrade).collect()
            };
            some.iter().for_each(Kept::round);
            from = from.saturating_add(AT_A_TIME);
            tokio::task::yield_now().await;
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn enter(&mut self, kept: Weak<Kept>) -> usize {
        let index = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(index) {
            Some(slot) => *slot = Some(kept),
            None => self.slots.push(Some(kept)),
        }
        index
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut running = self.keeper.running();
        if let Some(slot) = running.slots.get_mut(self.index) {
            *slot = None;
        }
        running.free.push(self.index);
        if running.free.len() == running.slots.len() {
            // Nobody runs: give the memory of a busy hour back.
            *running = Running::default();
            self.keeper.idle.notify_waiters();
        }
    }
}

/// Makes a round every so often, until the engine is gone.
pub(super) async fn run(engine: Weak<Engine>, every: Duration) {
    let mut rounds = interval(every);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let Some(keeper) = engine.upgrade().map(|engine| Arc::clone(&engine.keeper)) else {
            return;
        };
        keeper.round().await;
    }
}
