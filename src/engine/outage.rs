//! What a lane does while the store cannot be reached: nobody waits, nothing that was consumed is lost.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::sleep;

use super::actor::Writer;
use super::lane::{Answer, Ticket};
use super::spool::Spool;
use crate::error::{Error, ErrorKind};
use crate::kernel::{Batch, Command};
use crate::store::{StoreError, StoreErrorKind};

/// From so long an outage on nobody is kept waiting; shorter ones are waited out.
pub(super) const OUTAGE: Duration = Duration::from_secs(1);
const PROBE_FIRST: Duration = Duration::from_millis(50);
const PROBE_MAX: Duration = Duration::from_secs(1);

impl Writer {
    /// Turns commands away until the store answers again. Says whether the lane goes on.
    pub(super) async fn sit_out(&mut self, error: &StoreError) -> bool {
        let (store, bucket) = (Arc::clone(&self.store), self.lane.bucket());
        let error = &untried(error);
        // The first that gets through keeps the sweeper away: nobody's lease is judged before its owner can renew it.
        let first = Arc::new(Batch::default().with_pause(self.holiday_due()));
        let mut probe = tokio::spawn(async move {
            let mut pause = PROBE_FIRST;
            loop {
                sleep(pause).await;
                if store.commit(bucket, Arc::clone(&first)).await.is_ok() {
                    return;
                }
                pause = pause.saturating_mul(2).min(PROBE_MAX);
            }
        });
        loop {
            let lane = Arc::clone(&self.lane);
            let taken = pin!(lane.take(self.settings.batch));
            // The probe is a task: left alone here, it is not stopped in the middle of a transaction.
            match select(&mut probe, taken).await {
                Either::Left(_) => {
                    self.is_back();
                    return true;
                }
                Either::Right((Some(taken), _)) => {
                    self.holiday = self.holiday.max(taken.holiday);
                    // What is in the spool now is written when the store is back.
                    let _ = self.turn_away(taken.tickets, error, false).await;
                }
                Either::Right((None, _)) => {
                    probe.abort();
                    return false;
                }
            }
        }
    }

    /// Answers commands that the store does not take: settlements and releases go to the spool, if there is one. Answers
    /// those, as they wait there.
    pub(super) async fn turn_away(&mut self, tickets: Vec<Ticket>, error: &StoreError, unknown: bool) -> Vec<Ticket> {
        let (mut spooled, mut rest) = (Vec::new(), Vec::new());
        for ticket in tickets {
            match (&ticket.answer, &self.spool) {
                // It is in the spool already.
                (Answer::Spooled(..), _) => {}
                (_, Some(_)) if may_wait(error) && Spool::takes(&ticket.command) => spooled.push(ticket),
                (Answer::Nobody, _) if may_wait(error) => self.kept_back.push(ticket),
                (Answer::Nobody | Answer::Caller(_) | Answer::Kept(_), _) => rest.push(ticket),
            }
        }
        let waiting = self.put(&spooled).await.unwrap_or_else(|failed| {
            tracing::error!(error = %failed, "spool cannot be written");
            rest.append(&mut spooled);
            Vec::new()
        });
        for ticket in spooled {
            let what = "store cannot be reached, the command is on disk and will land";
            ticket.answer(&self.lane, Err(Error::of_store(ErrorKind::Spooled, what, error.clone())));
        }
        for ticket in rest {
            let answer = if unknown {
                Error::of_store(ErrorKind::OutcomeUnknown, "commit outcome is unknown, ask again", error.clone())
            } else {
                Error::from(error.clone())
            };
            ticket.answer(&self.lane, Err(answer));
        }
        waiting
    }

    /// Writes what waits since the outage, before anything that came later: the spool first. So does a pause that was asked
    /// for meanwhile: other processes know of it by the bucket's row alone.
    pub(super) async fn catch_up(&mut self) -> Result<(), StoreError> {
        while let Some(spool) = &self.spool {
            let waiting = spool.waiting(self.lane.bucket(), self.settings.batch);
            if waiting.is_empty() {
                break;
            }
            let tickets = waiting.into_iter().map(|(number, command)| spooled(spool, number, command)).collect();
            self.write(tickets).await?;
        }
        while !self.kept_back.is_empty() || self.holiday.is_some() {
            let some = self.kept_back.len().min(self.settings.batch);
            let some = self.kept_back.drain(..some).collect();
            self.write(some).await?;
        }
        Ok(())
    }

    /// Puts commands into the spool. Answers them as they wait there.
    async fn put(&self, tickets: &[Ticket]) -> std::io::Result<Vec<Ticket>> {
        let Some(spool) = self.spool.as_ref().filter(|_| !tickets.is_empty()) else {
            return Ok(Vec::new());
        };
        let commands: Vec<_> = tickets.iter().map(|ticket| Arc::clone(&ticket.command)).collect();
        let (writer, bucket, written) = (Arc::clone(spool), self.lane.bucket(), commands.clone());
        let written = tokio::task::spawn_blocking(move || writer.put(bucket, &written));
        let numbers = written.await.map_err(std::io::Error::other)??;
        let numbered = numbers.into_iter().zip(commands);
        Ok(numbered.map(|(number, command)| spooled(spool, number, command)).collect())
    }
}

fn spooled(spool: &Arc<Spool>, number: u64, command: Arc<Command>) -> Ticket {
    Ticket { command, answer: Answer::Spooled(Arc::clone(spool), number), expires: None }
}

/// Why a command is turned away that was not even tried: nothing of it was done, whatever the one before came to.
fn untried(error: &StoreError) -> StoreError {
    match error.kind() {
        StoreErrorKind::OutcomeUnknown | StoreErrorKind::Contended => {
            StoreError::new(StoreErrorKind::Unavailable, format!("store does not answer: {error}"))
                .with_source(error.clone())
        }
        _ => error.clone(),
    }
}

/// Whether the same command may work later.
fn may_wait(error: &StoreError) -> bool {
    match error.kind() {
        StoreErrorKind::Contended
        | StoreErrorKind::Unavailable
        | StoreErrorKind::OutcomeUnknown
        | StoreErrorKind::Full
        | StoreErrorKind::ReadOnly
        | StoreErrorKind::Corrupt => true,
        StoreErrorKind::Refused
        | StoreErrorKind::Unsuitable
        | StoreErrorKind::AlreadyOwned
        | StoreErrorKind::Closed => false,
    }
}
