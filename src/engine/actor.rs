//! A lane's task: one batch after the other, each until it is durable or hopeless.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::Instrument;

use super::EngineSettings;
use super::lane::{Answer, Lane, Ticket};
use super::outage::OUTAGE;
use super::spool::Spool;
use crate::error::{Error, ErrorKind};
use crate::kernel::{Batch, Reply};
use crate::store::{Store, StoreError, StoreErrorKind};
use crate::telemetry;

/// Runs until the lane is closed and empty.
pub(super) async fn run(
    lane: Arc<Lane>,
    lanes: Arc<[Arc<Lane>]>,
    store: Arc<dyn Store>,
    settings: EngineSettings,
    spool: Option<Arc<Spool>>,
) {
    let _end = End(Arc::clone(&lane));
    let mut writer = Writer {
        lane,
        lanes,
        store,
        settings,
        spool,
        kept_back: Vec::new(),
        holiday: None,
        failing_since: None,
        unreachable: false,
        answering: None,
    };
    loop {
        let failed = match writer.catch_up().await {
            Err(error) => Some(error),
            Ok(()) => {
                let Some(taken) = writer.lane.take(writer.settings.batch).await else {
                    break;
                };
                writer.holiday = writer.holiday.max(taken.holiday);
                writer.write(taken.tickets).await.err().filter(|_| writer.is_out())
            }
        };
        if let Some(error) = failed
            && !writer.sit_out(&error).await
        {
            break;
        }
    }
    writer.answered().await;
}

/// Ends the lane together with its task, also where that panics: nobody waits for an answer that cannot come.
struct End(Arc<Lane>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

pub(super) struct Writer {
    pub(super) lane: Arc<Lane>,
    /// Of all buckets, by number.
    lanes: Arc<[Arc<Lane>]>,
    pub(super) store: Arc<dyn Store>,
    pub(super) settings: EngineSettings,
    pub(super) spool: Option<Arc<Spool>>,
    /// Closes that nobody awaits, until the store can be reached again.
    pub(super) kept_back: Vec<Ticket>,
    /// Goes out with the next batch.
    pub(super) holiday: Option<Duration>,
    failing_since: Option<Instant>,
    /// Whether owners could not renew since then: the store did not answer, somebody else's lock is no reason.
    unreachable: bool,
    /// Tells the callers of the batch before.
    answering: Option<JoinHandle<()>>,
}

const BACKOFF_FIRST: Duration = Duration::from_millis(2);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// So many commands fill a batch: from there on one more batch costs less than what it has to write.
const MANY: usize = 128;
/// What the database refuses twice, or cannot read twice, is refused for good.
const REFUSALS_MAX: u32 = 2;

/// Why a group of commands was not written.
enum Unwritten {
    /// The database refuses one of them, or cannot read what one of them is about.
    Refused(Vec<Ticket>, StoreError),
    /// The store cannot be reached; everybody was told.
    Out(StoreError),
}

impl Writer {
    /// Writes one batch, and halves of it while the database refuses it or cannot read what it is about, so that a poisonous
    /// command ends up alone.
    ///
    /// # Errors
    /// Why the store cannot be reached; everybody was told.
    pub(super) async fn write(&mut self, tickets: Vec<Ticket>) -> Result<(), StoreError> {
        let mut groups = vec![tickets];
        while let Some(group) = groups.pop() {
            match self.write_group(group).await {
                Ok(()) => {}
                Err(Unwritten::Refused(mut refused, _)) if refused.len() > 1 => {
                    let second = refused.split_off(refused.len() / 2);
                    groups.push(second);
                    groups.push(refused);
                }
                Err(Unwritten::Refused(alone, error)) => self.poisoned(alone, &error),
                Err(Unwritten::Out(error)) => {
                    let rest = groups.into_iter().rev().flatten().collect();
                    let _ = self.turn_away(rest, &error, false).await;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Asks the store until it answers or the callers' patience is over.
    async fn write_group(&mut self, mut tickets: Vec<Ticket>) -> Result<(), Unwritten> {
        let mut backoff = BACKOFF_FIRST;
        let mut refusals = 0;
        let mut unknown = false;
        loop {
            let began = Instant::now();
            let error = match self.commit(&mut tickets).await {
                Ok(()) => return Ok(()),
                Err(error) => self.as_all_meet_it(&tickets, error).await,
            };
            metrics::counter!(telemetry::COMMIT_FAILURES, "kind" => format!("{:?}", error.kind())).increment(1);
            tracing::warn!(bucket = self.lane.bucket(), commands = tickets.len(), %error, "commit failed");
            self.failing_since.get_or_insert(began);
            self.unreachable |= matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown);
            let hopeless = match error.kind() {
                StoreErrorKind::OutcomeUnknown => {
                    unknown = true;
                    false
                }
                StoreErrorKind::Contended => false,
                // Whoever may have been written asks again until the deadline.
                StoreErrorKind::Unavailable => self.is_out() && !unknown,
                // One of them may have been written: to say that nothing was done would be a guess.
                StoreErrorKind::Refused if unknown => false,
                // One row that cannot be read is one account's trouble. A database that takes no batch is everybody's.
                StoreErrorKind::Corrupt if unknown || !self.takes_others().await => true,
                StoreErrorKind::Refused | StoreErrorKind::Corrupt => {
                    refusals += 1;
                    if refusals >= REFUSALS_MAX {
                        return Err(Unwritten::Refused(tickets, error));
                    }
                    false
                }
                StoreErrorKind::Full
                | StoreErrorKind::ReadOnly
                | StoreErrorKind::Unsuitable
                | StoreErrorKind::AlreadyOwned
                | StoreErrorKind::Closed => true,
            };
            if hopeless {
                let _ = self.turn_away(tickets, &error, unknown).await;
                return Err(Unwritten::Out(error));
            }
            tickets = self.dismiss(tickets, &error, unknown).await;
            if tickets.is_empty() && self.is_out() {
                return Err(Unwritten::Out(error));
            }
            if tickets.is_empty() && self.holiday.is_none() {
                return Ok(());
            }
            sleep(backoff).await;
            backoff = backoff.saturating_mul(2).min(BACKOFF_MAX);
        }
    }

    /// One attempt: on success everybody is answered or about to be, and `tickets` is empty.
    async fn commit(&mut self, tickets: &mut Vec<Ticket>) -> Result<(), StoreError> {
        let commands = tickets.iter().map(|ticket| Arc::clone(&ticket.command)).collect();
        let batch = Arc::new(Batch::new(commands).with_pause(self.holiday_due()));
        let span = tracing::debug_span!(telemetry::SPAN_COMMIT, bucket = self.lane.bucket(), commands = tickets.len());
        let began = Instant::now();
        let replies = self.store.commit(self.lane.bucket(), batch).instrument(span).await?;
        metrics::histogram!(telemetry::COMMIT_SECONDS).record(began.elapsed());
        metrics::histogram!(telemetry::BATCH_COMMANDS).record(u32::try_from(tickets.len()).unwrap_or(u32::MAX));
        self.holiday = None;
        self.is_back();
        self.answer(std::mem::take(tickets), replies).await;
        Ok(())
    }

    /// What is wrong, if a command is refused alone: a store that takes nothing else either is not to be had, whatever it
    /// says, and no command is to blame.
    async fn as_all_meet_it(&self, tickets: &[Ticket], error: StoreError) -> StoreError {
        if error.kind() != StoreErrorKind::Refused || tickets.len() > 1 || self.takes_others().await {
            return error;
        }
        let what = format!("store takes nothing at all: {error}");
        StoreError::new(StoreErrorKind::Unavailable, what).with_source(error)
    }

    /// Whether the store takes a batch that is about nothing.
    async fn takes_others(&self) -> bool {
        self.store.commit(self.lane.bucket(), Arc::default()).await.is_ok()
    }

    /// Tells everybody. A few get time to come back with what they want next; many are told beside the next commit while more
    /// waits, because telling a thousand takes as long as writing a hundred rows. What comes from the spool is told at
    /// once, because the spool is read again next.
    async fn answer(&mut self, tickets: Vec<Ticket>, replies: Vec<Reply>) {
        self.answered().await;
        let many = tickets.len() > MANY && self.lane.is_waiting();
        let beside = many && !tickets.iter().any(Ticket::is_spooled);
        let lane = Arc::clone(&self.lane);
        let tell = move || {
            count(&tickets, &replies);
            tickets.into_iter().zip(replies).for_each(|(ticket, reply)| ticket.answer(&lane, Ok(reply)));
        };
        if beside {
            self.answering = Some(tokio::spawn(async move { tell() }));
        } else {
            tell();
            self.lane.gather(MANY).await;
        }
    }

    /// Waits until the batches before are answered.
    async fn answered(&mut self) {
        if let Some(answering) = self.answering.take() {
            // It ends early only together with the runtime.
            let _ = answering.await;
        }
    }

    /// Whether the store has failed for so long that nobody should wait for it.
    fn is_out(&self) -> bool {
        self.failing_since.is_some_and(|since| since.elapsed() >= OUTAGE)
    }

    /// The store answers again.
    pub(super) fn is_back(&mut self) {
        self.failing_since = None;
        self.unreachable = false;
    }

    /// How long the sweeper stays away if this batch ends an outage: owners get the time to renew first.
    pub(super) fn holiday_due(&mut self) -> Option<Duration> {
        if self.is_out() && self.unreachable {
            self.holiday = Some(self.settings.holiday);
        }
        self.holiday
    }

    /// Answers those who waited long enough, and whose account turned out to be in another bucket; returns the rest.
    /// What went to the spool is among it: what came later for the same hold must not overtake it.
    /// Whoever has no deadline waits no longer than an outage needs to be seen.
    async fn dismiss(&mut self, tickets: Vec<Ticket>, error: &StoreError, unknown: bool) -> Vec<Ticket> {
        let (now, is_out, bucket) = (Instant::now(), self.is_out(), self.lane.bucket());
        let (elsewhere, tickets): (Vec<_>, Vec<_>) =
            tickets.into_iter().partition(|ticket| self.store.bucket(ticket.command.account()) != bucket);
        for ticket in elsewhere {
            let bucket = self.store.bucket(ticket.command.account());
            match (&ticket.answer, self.lanes.get(usize::from(bucket))) {
                // Nobody can ask again for what is in the spool; a closed lane leaves it there.
                (Answer::Spooled(spool, number), Some(lane)) => {
                    spool.hand_over(*number, bucket);
                    let _ = lane.push(ticket);
                }
                _ => {
                    let what = "account is in another bucket, ask again";
                    ticket.answer(&self.lane, Err(Error::of_store(ErrorKind::Unavailable, what, error.clone())));
                }
            }
        }
        let is_over = |ticket: &Ticket| !ticket.is_spooled() && ticket.expires.map_or(is_out, |expires| expires <= now);
        let (over, waiting): (Vec<_>, Vec<_>) = tickets.into_iter().partition(is_over);
        let mut rest = self.turn_away(over, error, unknown).await;
        rest.extend(waiting);
        // The spool keeps its own: nobody waits for them alone while the store is away.
        if is_out && rest.iter().all(Ticket::is_spooled) { Vec::new() } else { rest }
    }

    fn poisoned(&self, tickets: Vec<Ticket>, error: &StoreError) {
        for ticket in tickets {
            let command = &ticket.command;
            let hold = command.action().hold().map(ToString::to_string).unwrap_or_default();
            let (kind, why) = match error.kind() {
                StoreErrorKind::Corrupt => (ErrorKind::Corrupt, "not possible on what is stored"),
                _ => (ErrorKind::Internal, "refused by the database"),
            };
            let what = format!("{} {why}: account={} hold={hold}", command.action().name(), command.account());
            metrics::counter!(telemetry::POISONED).increment(1);
            tracing::error!(%error, "{what}");
            ticket.answer(&self.lane, Err(Error::of_store(kind, what, error.clone())));
        }
    }
}

/// Counts what callers are answered, one step for all that are answered the same.
fn count(tickets: &[Ticket], replies: &[Reply]) {
    let mut counts = BTreeMap::new();
    for (ticket, reply) in tickets.iter().zip(replies).filter(|(ticket, _)| ticket.is_awaited()) {
        *counts.entry((ticket.command.action().name(), reply.name())).or_default() += 1;
    }
    for ((command, answer), count) in counts {
        metrics::counter!(telemetry::COMMANDS, "command" => command, "answer" => answer).increment(count);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
    use tokio::sync::oneshot;

    use super::*;
    use crate::kernel::{Action, Command, Refusal};
    use crate::model::Amount;

    #[derive(Default)]
    struct Counted(Arc<Mutex<Vec<(String, u64)>>>);

    struct Step(Arc<Mutex<Vec<(String, u64)>>>, String);

    impl CounterFn for Step {
        fn increment(&self, by: u64) {
            self.0.lock().unwrap().push((self.1.clone(), by));
        }

        fn absolute(&self, _: u64) {}
    }

    impl Recorder for Counted {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            Counter::from_arc(Arc::new(Step(Arc::clone(&self.0), format!("{} {}", key.name(), labels.join(" ")))))
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn callers_are_counted_by_command_and_answer() {
        let seal = || Action::Seal { hold: "request#1".parse().unwrap() };
        let abandon = || Action::Abandon { hold: "request#1".parse().unwrap() };
        let told = |action, answer| {
            let command = Arc::new(Command::new("alice".parse().unwrap(), action));
            Ticket { command, answer, expires: None }
        };
        let caller = || Answer::Caller(oneshot::channel().0);
        let tickets =
            [told(seal(), caller()), told(abandon(), caller()), told(seal(), caller()), told(seal(), Answer::Nobody)];
        let replies = [Refusal::Closed, Refusal::Closed, Refusal::Closed, Refusal::Closed].map(Reply::refusing);
        let counted = Counted::default();
        metrics::with_local_recorder(&counted, || count(&tickets, &replies));
        let line = |command: &str, count| (format!("prepaid_commands_total command={command} answer=Closed"), count);
        assert_eq!(*counted.0.lock().unwrap(), [line("abandon", 1), line("seal", 2)]);
    }

    #[test]
    fn cost_above_the_ceiling_is_counted_whoever_said_it() {
        let refusal = Refusal::AboveCeiling { cost: Amount::MAX, ceiling: Amount::ZERO };
        let lane = Arc::new(Lane::new(0, 8));
        let counted = Counted::default();
        metrics::with_local_recorder(&counted, || {
            for answer in [Answer::Caller(oneshot::channel().0), Answer::Nobody] {
                let command = Arc::new(Command::new(
                    "alice".parse().unwrap(),
                    Action::Seal { hold: "request#1".parse().unwrap() },
                ));
                let ticket = Ticket { command, answer, expires: None };
                ticket.answer(&lane, Ok(Reply::refusing(refusal.clone())));
            }
        });
        let once = ("prepaid_above_ceiling_total ".to_owned(), 1);
        assert_eq!(*counted.0.lock().unwrap(), [once.clone(), once]);
    }
}
