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

/// What time it was in each bucket when it was looked at last.
type Clocks = HashMap<u16, (Timestamp, Instant)>;

/// Sweeps every so often, until the engine is gone.
pub(super) async fn run(engine: Weak<Engine>, every: Duration) {
    let mut rounds = interval(every);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clocks = HashMap::new();
    loop {
        rounds.tick().await;
        let Some(engine) = engine.upgrade() else {
            return;
        };
        for lane in engine.lanes() {
            if let Err(error) = watched_sweep(&engine, lane, &mut clocks).await {
                tracing::warn!(bucket = lane.bucket(), %error, "sweep failed");
            }
        }
    }
}

/// A sweep, unless the store's clock jumped since the last one: then leases are not judged by it for a while.
async fn watched_sweep(engine: &Engine, lane: &Arc<Lane>, clocks: &mut Clocks) -> Result<()> {
    let store_now = engine.store().due(lane.bucket(), 0).await?.now;
    let before = clocks.insert(lane.bucket(), (store_now, Instant::now()));
    let jumped = before.is_some_and(|(then, began)| {
        store_now.saturating_since(then) > began.elapsed().saturating_add(engine.settings().holiday / 2)
    });
    if jumped {
        lane.ask_holiday(engine.settings().holiday);
        return Ok(());
    }
    let span = tracing::debug_span!(telemetry::SPAN_SWEEP, bucket = lane.bucket());
    sweep(engine, lane).instrument(span).await.map(drop)
}

/// Closes what is due in one bucket. Answers how many holds were closed and lots written off.
pub(super) async fn sweep(engine: &Engine, lane: &Arc<Lane>) -> Result<u64> {
    let mut closed = 0;
    loop {
        let due = engine.store().due(lane.bucket(), PAGE).await?;
        let full = due.holds.len().max(due.lots.len()) == PAGE as usize;
        let mut answers = Vec::with_capacity(due.holds.len());
        for due in due.holds {
            let action = match due.state {
                HoldState::Open => Action::Lapse { hold: due.hold },
                HoldState::Lapsed => Action::Seal { hold: due.hold },
                HoldState::Settled | HoldState::Released | HoldState::Sealed => continue,
            };
            answers.push(engine.submit(Command::new(due.account, action)));
        }
        for due in due.lots {
            answers.push(engine.submit(Command::new(due.account, Action::ExpireLot { lot: due.lot })));
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
