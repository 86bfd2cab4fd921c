//! A process that is killed in mid-stream, and what its ledger makes of that.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use prepaid::model::{Hold, HoldState, Lease, Measured};
use prepaid::{AccountHandle, Amount, Outcome};
use tokio::time::timeout;

use crate::stage::{Result, Stage};
use crate::table::{Line, Truth};

const VARIABLE: &str = "PREPAID_REPLAY_CHILD";
const RECORDING: &str = "openai-chat__openai__gpt-4o-2024-08-06__1";
const HOLD: &str = "crash-1";
/// Events that were delivered when the process dies.
const DELIVERED: usize = 200;

/// The database this process was started for, if it is the child.
pub(crate) fn asked_for() -> Option<PathBuf> {
    env::var_os(VARIABLE).map(PathBuf::from)
}

/// The child: sells a stream and says how far it is, event by event.
pub(crate) async fn run(stage: &Stage) -> Result<()> {
    let offer = stage.offer(RECORDING)?;
    let kim = stage.account("kim", "1.00").await?;
    let lease =
        Lease { ttl: Duration::from_secs(1), grace: Duration::from_millis(100), late: Duration::from_secs(3600) };
    let hold = offer.reserve(&kim, HOLD, offer.worst()?)?.lease(lease).await?.created()?;
    let stream = offer.recording.arrive(usize::MAX, Duration::from_millis(5));
    let (mut metered, _billed) = hold.meter(stream, offer.observer());
    let mut delivered = 0;
    while metered.next().await.is_some() {
        delivered += 1;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{delivered}")?;
        out.flush()?;
        if delivered == DELIVERED {
            // However slow the machine is, the stream does not end before its process.
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }
    Ok(())
}

/// Starts the child on a database and kills it in mid-stream.
pub(crate) fn killed_in_mid_stream(database: &Path, arguments: impl Iterator<Item = String>) -> Result<()> {
    let mut child =
        Command::new(env::current_exe()?).args(arguments).env(VARIABLE, database).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().ok_or("the child has no output")?;
    for line in BufReader::new(out).lines() {
        if line?.parse() == Ok(DELIVERED) {
            break;
        }
    }
    // SIGKILL: nothing of it runs any more.
    child.kill()?;
    let status = child.wait()?;
    if status.success() {
        return Err("the child ended before it was killed".into());
    }
    Ok(())
}

/// Waits until the hold that nobody owns lapses, then settles it by the provider's own record.
pub(crate) async fn recover(stage: &Stage) -> Result<Vec<Line>> {
    let offer = stage.offer(RECORDING)?;
    let kim = stage.ledger.account("kim")?;
    let truth = offer.truth_after(DELIVERED)?;
    let lapse = lapsed(&kim);
    let hold =
        timeout(Duration::from_secs(20), lapse).await.map_err(|_| "the hold of a killed process did not lapse")??;
    let lapsed = Line::denied(&kim, &hold.id.to_string(), &offer, "SIGKILL after 200 events: lapsed at its checkpoint")
        .holding(hold.held_at_close)
        .closed(hold.cost().cost, Truth::AtMost(truth));
    let receipt = kim.settle(HOLD, Measured::new(truth, offer.recording.truth.total())).await?;
    if receipt.outcome != Outcome::OkLate {
        return Err(format!("a late settlement was answered {:?}", receipt.outcome).into());
    }
    let settled = receipt.hold.map_or(Amount::ZERO, |hold| hold.cost().cost);
    let late = lapsed.clone().ended("settled late, by the provider's record").closed(settled, Truth::Exactly(truth));
    Ok(vec![lapsed, late])
}

/// The hold, once the sweeper found that nobody renews its lease.
async fn lapsed(account: &AccountHandle) -> Result<Arc<Hold>> {
    loop {
        let hold = account.hold(HOLD).await?.ok_or("the hold of the killed process is gone")?;
        if hold.state != HoldState::Open {
            return Ok(hold);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
