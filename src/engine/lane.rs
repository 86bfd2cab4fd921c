//! A bucket's queue: what waits, in order of arrival.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::Kept;
use super::spool::Spool;
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::{Action, Command, Outcome, Refusal, Reply};
use crate::telemetry;

/// The queue of one bucket. Its task takes from it, everybody else puts in.
#[derive(Debug)]
pub(crate) struct Lane {
    bucket: u16,
    increasing_max: usize,
    queue: Mutex<Queue>,
    places: AtomicUsize,
    wake: Notify,
    done: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Ticket>,
    increasing: usize,
    holiday: Option<Duration>,
    closed: bool,
}

/// A command that waits for its answer.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) command: Arc<Command>,
    pub(crate) answer: Answer,
    /// When the caller wants to know that it did not work; none: never gives up.
    pub(crate) expires: Option<Instant>,
}

/// Who is told.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A caller that waits.
    Caller(oneshot::Sender<Result<Delivery>>),
    /// The guard of a running hold.
    Kept(Arc<Kept>),
    /// Nobody: the lease stands behind it.
    Nobody,
    /// The spool it waited in, under this number.
    Spooled(Arc<Spool>, u64),
}

/// A reply on its way to its caller. A reserve that gets lost on the way is released.
#[derive(Debug)]
pub(crate) struct Delivery {
    reply: Reply,
    unclaimed: Unclaimed,
}

/// Releases a hold that was made for a caller who did not take it. Any command is given back to its caller, whose
/// thread has the memory for the next one then; one that made a hold comes with the lane for its release.
#[derive(Debug)]
struct Unclaimed {
    command: Arc<Command>,
    releases: Option<Arc<Lane>>,
}

/// Room in the queue for what a running hold has to say: never refused, never waited for.
#[derive(Debug)]
pub(crate) struct Place {
    lane: Arc<Lane>,
}

/// What a lane's task takes from the queue at once.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) tickets: Vec<Ticket>,
    pub(super) holiday: Option<Duration>,
}

/// Reports, renewals and the close that one running hold may have in the queue at once.
const PLACES_PER_HOLD: usize = 3;
/// How often the lane's task gives way for callers to come back.
const TURNS: u32 = 3;

impl Lane {
    pub(super) fn new(bucket: u16, increasing_max: usize) -> Self {
        Self {
            bucket,
            increasing_max,
            queue: Mutex::default(),
            places: AtomicUsize::new(0),
            wake: Notify::new(),
            done: watch::Sender::new(false),
        }
    }

    pub(super) fn bucket(&self) -> u16 {
        self.bucket
    }

    /// Puts a command in the queue.
    ///
    /// # Errors
    /// `Busy` when it opens or increases something and too many such wait; `Closed` after the end.
    pub(crate) fn push(&self, ticket: Ticket) -> Result<()> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(Error::new(ErrorKind::Closed, "ledger is closed"));
        }
        if ticket.command.increases() {
            if queue.increasing >= self.increasing_max {
                drop(queue);
                metrics::counter!(telemetry::BUSY, "command" => ticket.command.action().name()).increment(1);
                return Err(Error::new(ErrorKind::Busy, format!("too much is waiting: queue={}", self.increasing_max)));
            }
            queue.increasing = queue.increasing.saturating_add(1);
        }
        let is_first = queue.waiting.is_empty();
        queue.waiting.push_back(ticket);
        drop(queue);
        if is_first {
            // Whoever finds others waiting leaves it to them: the lane's task takes all, or comes back for the rest.
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Puts a command in the queue whose answer nobody awaits.
    pub(crate) fn push_unawaited(&self, command: Arc<Command>) {
        // A closed lane is left to the leases.
        let _ = self.push(Ticket { command, answer: Answer::Nobody, expires: None });
    }

    /// Takes a place for a hold that runs.
    pub(crate) fn place(self: &Arc<Self>) -> Place {
        let others = self.places.fetch_add(PLACES_PER_HOLD, Ordering::Relaxed);
        self.queue().waiting.reserve(others.saturating_add(PLACES_PER_HOLD));
        Place { lane: Arc::clone(self) }
    }

    /// Asks for the sweeper to be kept away, with the next batch.
    pub(super) fn ask_holiday(&self, holiday: Duration) {
        self.queue().holiday = Some(holiday);
        self.wake.notify_one();
    }

    /// Refuses everything from now on; what waits is still answered.
    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.wake.notify_one();
    }

    /// Waits until the lane's task answered everything and ended.
    pub(super) async fn finished(&self) {
        let mut done = self.done.subscribe();
        let _ = done.wait_for(|done| *done).await;
    }

    /// Refuses everything from now on, also what waits.
    pub(super) fn end(&self) {
        let waiting = {
            let mut queue = self.queue();
            queue.closed = true;
            std::mem::take(&mut queue.waiting)
        };
        // Outside of the lock: what is dropped may have something to say.
        drop(waiting);
        self.done.send_replace(true);
    }

    /// Whether a command waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue().waiting.is_empty()
    }

    /// Lets whoever was just answered come back, so that they go into the next batch and not into the one after: gives way to
    /// other tasks as long as that brings more, until there is `enough`, and only a few times, because some of them may
    /// take long.
    pub(super) async fn gather(&self, enough: usize) {
        let mut before = 0;
        for _ in 0..TURNS {
            yield_now().await;
            let waiting = self.queue().waiting.len();
            if waiting <= before || waiting >= enough {
                return;
            }
            before = waiting;
        }
    }

    /// Waits for commands and takes at most `max` of them; none once the lane is closed and empty.
    pub(super) async fn take(&self, max: usize) -> Option<Taken> {
        loop {
            {
                let mut queue = self.queue();
                if !queue.waiting.is_empty() || queue.holiday.is_some() {
                    let count = queue.waiting.len().min(max);
                    let tickets: Vec<_> = queue.waiting.drain(..count).collect();
                    let increasing = tickets.iter().filter(|ticket| ticket.command.increases()).count();
                    queue.increasing = queue.increasing.saturating_sub(increasing);
                    return Some(Taken { tickets, holiday: queue.holiday.take() });
                }
                if queue.closed {
                    return None;
                }
            }
            self.wake.notified().await;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // The queue's methods do not panic half way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Whether it comes from the spool.
    pub(super) fn is_spooled(&self) -> bool {
        match self.answer {
            Answer::Spooled(..) => true,
            Answer::Caller(_) | Answer::Kept(_) | Answer::Nobody => false,
        }
    }

    /// Whether a caller waits for its answer.
    pub(super) fn is_awaited(&self) -> bool {
        match self.answer {
            Answer::Caller(_) => true,
            Answer::Kept(_) | Answer::Nobody | Answer::Spooled(..) => false,
        }
    }

    /// Tells whoever is to be told.
    pub(super) fn answer(self, lane: &Arc<Lane>, result: Result<Reply>) {
        if let Ok(Reply { answer: Err(Refusal::AboveCeiling { .. }), .. }) = &result {
            let (account, action) = (self.command.account(), self.command.action());
            let hold = action.hold().map(ToString::to_string);
            metrics::counter!(telemetry::ABOVE_CEILING).increment(1);
            tracing::error!(%account, hold, command = action.name(), "cost above the ceiling");
        }
        match self.answer {
            Answer::Caller(caller) => {
                let delivery = result.map(|reply| Delivery::new(lane, self.command, reply));
                // A delivery nobody takes releases what it carries.
                let _ = caller.send(delivery);
            }
            Answer::Kept(kept) => kept.told(&self.command, result),
            Answer::Nobody => {}
            Answer::Spooled(spool, number) => match result {
                Ok(Reply { answer: Ok(_), .. }) => spool.landed(number),
                Ok(Reply { answer: Err(refusal), .. }) => spool.dead(number, &self.command, &refusal.to_string()),
                Err(error) => spool.dead(number, &self.command, &error.to_string()),
            },
        }
    }
}

impl Delivery {
    fn new(lane: &Arc<Lane>, command: Arc<Command>, reply: Reply) -> Self {
        let created = matches!(reply.answer, Ok(Outcome::Created | Outcome::CreatedPartial));
        Self { reply, unclaimed: Unclaimed { command, releases: created.then(|| Arc::clone(lane)) } }
    }

    /// Takes the reply: from here on its receiver looks after the hold.
    pub(super) fn claim(mut self) -> Reply {
        self.unclaimed.releases = None;
        self.reply
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let (Some(lane), Some(hold)) = (&self.releases, self.command.action().hold()) {
            let release = Action::Release { hold: hold.clone(), waive: true };
            metrics::counter!(telemetry::UNCLAIMED).increment(1);
            lane.push_unawaited(Arc::new(Command::new(self.command.account().clone(), release)));
        }
    }
}

impl Place {
    /// Puts a command in the queue, in the place that was kept for it.
    ///
    /// # Errors
    /// `Closed` after the end; `Busy` for an extension, which has no place of its own, while too much waits.
    pub(crate) fn push(&self, command: Arc<Command>, answer: Answer) -> Result<()> {
        self.lane.push(Ticket { command, answer, expires: None })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lane.places.fetch_sub(PLACES_PER_HOLD, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    fn seal(lane: &Lane) {
        let hold = "request#1".parse().unwrap();
        lane.push_unawaited(Arc::new(Command::new("alice".parse().unwrap(), Action::Seal { hold })));
    }

    async fn taken(lane: &Lane, max: usize) -> usize {
        lane.take(max).await.unwrap().tickets.len()
    }

    #[test]
    fn whoever_waits_behind_others_is_taken_without_a_wake_up_of_its_own() {
        let lane = Lane::new(0, 8);
        for _ in 0..3 {
            seal(&lane);
        }
        assert_eq!(taken(&lane, 2).now_or_never(), Some(2));
        assert_eq!(taken(&lane, 2).now_or_never(), Some(1));
        let mut waiting = pin!(taken(&lane, 2));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        seal(&lane);
        seal(&lane);
        assert_eq!(waiting.now_or_never(), Some(2));
    }

    #[tokio::test]
    async fn whoever_comes_back_at_once_is_gathered_and_nobody_is_waited_for() {
        let comes = |lane: &Arc<Lane>, after: u32| {
            let lane = Arc::clone(lane);
            tokio::spawn(async move {
                for _ in 0..after {
                    yield_now().await;
                }
                seal(&lane);
            });
        };
        let gathered = async |after: &[u32], enough| {
            let lane = Arc::new(Lane::new(0, 8));
            seal(&lane);
            after.iter().for_each(|after| comes(&lane, *after));
            lane.gather(enough).await;
            taken(&lane, 128).await
        };
        assert_eq!(gathered(&[], 128).await, 1);
        assert_eq!(gathered(&[0, 0, 1], 128).await, 4);
        assert_eq!(gathered(&[0, 0, 1], 3).await, 3, "three are enough");
        assert_eq!(gathered(&[0, 2], 128).await, 2, "a turn that brings nobody is the last");
        assert_eq!(gathered(&[0, 1, 2, 3, 4, 5], 128).await, 4, "there is a last turn");
    }
}
