//! The sweeper: reads what is due without locks and submits ordinary commands, judged again under the lock.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::Instrument;

use super::Engine;
use super::lane::Lane;
use crate::error::Result;
use crate::kernel::{Action, Command, Outcome};
use crate::model::{HoldState, Timestamp};
use crate::telemetry;

/// Due holds looked at together.
const PAGE: u32 = 512;

/// What is known of the clock of each bucket.
type Clocks = HashMap<u16, Clock>;

/// What time it was when a bucket was looked at last.
#[derive(Clone, Copy)]
struct Clock {
    store: Timestamp,
    here: Instant,
    /// When the last jump is over. The bucket's row says so too, but not before the lane has written it.
    away_until: Option<Instant>,
}

impl Clock {
    /// Looks again. Says whether the store's clock jumped meanwhile.
    fn look(&mut self, store: Timestamp, holiday: Duration) -> bool {
        let (now, before) = (Instant::now(), *self);
        let passed = now.saturating_duration_since(before.here).saturating_add(holiday / 2);
        let jumped = store.saturating_since(before.store) > passed;
        let away_until = if jumped { now.checked_add(holiday) } else { before.away_until };
        *self = Self { store, here: now, away_until };
        jumped
    }
}

/// Sweeps every so often, until the engine closes or is gone.
pub(super) async fn run(engine: Weak<Engine>, every: Duration) {
    let mut rounds = interval(every);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clocks = HashMap::new();
    loop {
        rounds.tick().await;
        let Some(engine) = engine.upgrade().filter(|engine| !engine.is_closing()) else {
            return;
        };
        for lane in engine.lanes() {
            if let Err(error) = watched_sweep(&engine, lane, &mut clocks).await {
                tracing::warn!(bucket = lane.bucket(), %error, "sweep failed");
            }
        }
    }
}

/// A sweep that ends where the store's clock jumped since it was looked at last: then leases are not judged by it for a
/// while.
async fn watched_sweep(engine: &Engine, lane: &Arc<Lane>, clocks: &mut Clocks) -> Result<()> {
    let holiday = engine.settings().holiday;
    let stays_away = |store_now: Timestamp| {
        let first = Clock { store: store_now, here: Instant::now(), away_until: None };
        let clock = clocks.entry(lane.bucket()).or_insert(first);
        if clock.look(store_now, holiday) {
            lane.ask_holiday(holiday);
        }
        clock.away_until.is_some_and(|until| Instant::now() < until)
    };
    let span = tracing::debug_span!(telemetry::SPAN_SWEEP, bucket = lane.bucket());
    sweep(engine, lane, stays_away).instrument(span).await.map(drop)
}

/// Closes what is due in one bucket, until `stays_away` hears of a time at which it should not. Answers how many holds
/// were closed and lots written off.
pub(super) async fn sweep(
    engine: &Engine,
    lane: &Arc<Lane>,
    mut stays_away: impl FnMut(Timestamp) -> bool,
) -> Result<u64> {
    let mut closed = 0;
    loop {
        let due = engine.store().due(lane.bucket(), PAGE).await?;
        // The very time by which they are due: a clock that is looked at before may jump in between.
        if stays_away(due.now) {
            return Ok(closed);
        }
        let full = due.holds.len().max(due.lots.len()) == PAGE as usize;
        let mut answers = Vec::with_capacity(due.holds.len());
        for due in due.holds {
            let action = match due.state {
                HoldState::Open => Action::Lapse { hold: due.hold },
                HoldState::Lapsed => Action::Seal { hold: due.hold },
                HoldState::Settled | HoldState::Released | HoldState::Sealed => continue,
            };
            answers.push(engine.submit(Arc::new(Command::new(due.account, action))));
        }
        for due in due.lots {
            let action = Action::ExpireLot { lot: due.lot };
            answers.push(engine.submit(Arc::new(Command::new(due.account, action))));
        }
        let before = closed;
        for answer in join_all(answers).await {
            match answer?.answer {
                Ok(Outcome::Lapsed) => {
                    metrics::counter!(telemetry::SWEPT, "what" => "lapse").increment(1);
                    closed += 1;
                }
                Ok(Outcome::Sealed) => {
                    metrics::counter!(telemetry::SWEPT, "what" => "seal").increment(1);
                    closed += 1;
                }
                Ok(Outcome::Expired) => {
                    metrics::counter!(telemetry::SWEPT, "what" => "lot").increment(1);
                    closed += 1;
                }
                Ok(_) | Err(_) => {}
            }
        }
        if !full || closed == before {
            return Ok(closed);
        }
    }
}
