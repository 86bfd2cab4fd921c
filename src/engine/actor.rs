//! A lane's task: one batch after the other, each until it is durable or hopeless.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::Instrument;

use super::EngineSettings;
use super::lane::{Lane, Ticket};
use crate::error::{Error, ErrorKind};
use crate::kernel::Batch;
use crate::store::{Store, StoreError, StoreErrorKind};
use crate::telemetry;

/// Runs until the lane is closed and empty.
pub(super) async fn run(lane: Arc<Lane>, store: Arc<dyn Store>, settings: EngineSettings) {
    let mut writer = Writer { lane, store, settings, holiday: None, failing_since: None };
    while let Some(taken) = writer.lane.take(settings.batch).await {
        writer.holiday = writer.holiday.max(taken.holiday);
        writer.write(taken.tickets).await;
    }
    writer.lane.finish();
}

struct Writer {
    lane: Arc<Lane>,
    store: Arc<dyn Store>,
    settings: EngineSettings,
    /// Goes out with the next batch.
    holiday: Option<Duration>,
    failing_since: Option<Instant>,
}

/// An outage worth a holiday: shorter ones cost no lease.
const OUTAGE: Duration = Duration::from_secs(1);
const BACKOFF_FIRST: Duration = Duration::from_millis(2);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// A statement the database refuses twice is refused for good.
const REFUSALS_MAX: u32 = 2;

impl Writer {
    /// Writes one batch, and halves of it while the database refuses it, so that a poisonous command ends up alone.
    async fn write(&mut self, tickets: Vec<Ticket>) {
        let mut groups = vec![tickets];
        while let Some(group) = groups.pop() {
            if let Err((mut refused, error)) = self.write_group(group).await {
                if refused.len() > 1 {
                    let second = refused.split_off(refused.len() / 2);
                    groups.push(second);
                    groups.push(refused);
                } else {
                    self.poisoned(refused, &error);
                }
            }
        }
    }

    /// Asks the store until it answers or the callers' patience is over. Gives a group back that the database refuses.
    async fn write_group(&mut self, mut tickets: Vec<Ticket>) -> Result<(), (Vec<Ticket>, StoreError)> {
        let mut backoff = BACKOFF_FIRST;
        let mut refusals = 0;
        let mut unknown = false;
        loop {
            let error = match self.commit(&mut tickets).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            metrics::counter!(telemetry::COMMIT_FAILURES, "kind" => format!("{:?}", error.kind())).increment(1);
            tracing::warn!(bucket = self.lane.bucket(), commands = tickets.len(), %error, "commit failed");
            match error.kind() {
                StoreErrorKind::OutcomeUnknown => unknown = true,
                StoreErrorKind::Contended | StoreErrorKind::Unavailable => {}
                StoreErrorKind::Refused => {
                    refusals += 1;
                    if refusals >= REFUSALS_MAX {
                        return Err((tickets, error));
                    }
                }
                StoreErrorKind::Full
                | StoreErrorKind::ReadOnly
                | StoreErrorKind::Corrupt
                | StoreErrorKind::Unsuitable
                | StoreErrorKind::AlreadyOwned
                | StoreErrorKind::Closed => {
                    self.give_up(tickets, &error, unknown);
                    return Ok(());
                }
            }
            self.failing_since.get_or_insert_with(Instant::now);
            tickets = self.dismiss_expired(tickets, &error, unknown);
            if tickets.is_empty() {
                return Ok(());
            }
            sleep(backoff).await;
            backoff = backoff.saturating_mul(2).min(BACKOFF_MAX);
        }
    }

    /// One attempt: on success everybody is answered, and `tickets` is empty.
    async fn commit(&mut self, tickets: &mut Vec<Ticket>) -> Result<(), StoreError> {
        let commands = tickets.iter().map(|ticket| Arc::clone(&ticket.command)).collect();
        let batch = Arc::new(Batch::new(commands).with_pause(self.holiday_due()));
        let span = tracing::debug_span!(telemetry::SPAN_COMMIT, bucket = self.lane.bucket(), commands = tickets.len());
        let began = Instant::now();
        let replies = self.store.commit(self.lane.bucket(), batch).instrument(span).await?;
        metrics::histogram!(telemetry::COMMIT_SECONDS).record(began.elapsed());
        metrics::histogram!(telemetry::BATCH_COMMANDS).record(u32::try_from(tickets.len()).unwrap_or(u32::MAX));
        self.holiday = None;
        self.failing_since = None;
        for (ticket, reply) in tickets.drain(..).zip(replies) {
            ticket.answer(&self.lane, Ok(reply));
        }
        Ok(())
    }

    /// Whether this batch, if it succeeds, ends an outage: then owners get the time to renew first.
    fn holiday_due(&mut self) -> Option<Duration> {
        if self.failing_since.is_some_and(|since| since.elapsed() >= OUTAGE) {
            self.holiday = Some(self.settings.holiday);
        }
        self.holiday
    }

    /// Answers the callers who waited long enough, and returns the rest.
    fn dismiss_expired(&self, tickets: Vec<Ticket>, error: &StoreError, unknown: bool) -> Vec<Ticket> {
        let now = Instant::now();
        let (expired, waiting): (Vec<_>, Vec<_>) =
            tickets.into_iter().partition(|ticket| ticket.expires.is_some_and(|expires| expires <= now));
        self.give_up(expired, error, unknown);
        waiting
    }

    fn give_up(&self, tickets: Vec<Ticket>, error: &StoreError, unknown: bool) {
        for ticket in tickets {
            let answer = if unknown {
                Error::of_store(ErrorKind::OutcomeUnknown, "commit outcome is unknown, ask again", error.clone())
            } else {
                Error::from(error.clone())
            };
            ticket.answer(&self.lane, Err(answer));
        }
    }

    fn poisoned(&self, tickets: Vec<Ticket>, error: &StoreError) {
        for ticket in tickets {
            let command = &ticket.command;
            let hold = command.action().hold().map(ToString::to_string).unwrap_or_default();
            let what = format!(
                "{} refused by the database: account={} hold={hold}",
                command.action().name(),
                command.account()
            );
            metrics::counter!(telemetry::POISONED).increment(1);
            tracing::error!(%error, "{what}");
            ticket.answer(&self.lane, Err(Error::of_store(ErrorKind::Internal, what, error.clone())));
        }
    }
}
