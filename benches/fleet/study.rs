//! How many buckets a fleet wants: processes that share one database, near to it and further away.
//!
//! Each process is this program, started again. All callers together are always as many, spread over the processes, and
//! every process bills every account.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use comfy_table::{Table, presets};
use prepaid::Ledger;
use prepaid::store::postgres::PostgresStore;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::common::median;
use super::load::{CROWD, Failure, Ids, Run, drive};
use super::relay::relay;
use super::stand::{Credit, Stand};
use super::{MANY, make, open, remove};

/// What is studied: everything in `processes`, `buckets` and `round_trips_ms` with everything.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) processes: &'a [usize],
    pub(crate) buckets: &'a [u16],
    /// What the way to the database and back takes longer than it does.
    pub(crate) round_trips_ms: &'a [f64],
    pub(crate) rounds: usize,
    pub(crate) span: Duration,
}

/// So many processes on so many buckets, and what each round came to.
pub(crate) struct Cell {
    processes: usize,
    buckets: u16,
    round_trip_ms: f64,
    runs: Vec<Run>,
    /// Commands in a batch.
    batches: Vec<f64>,
}

const DATABASE: &str = "bench_prepaid";

#[allow(clippy::print_stderr, reason = "what a benchmark is for")]
pub(crate) async fn study(server: &PgConnectOptions, plan: Plan<'_>) -> Result<Vec<Cell>, Failure> {
    let near = server.clone().database(DATABASE);
    let mut admin = server.connect().await?;
    let mut cells = Vec::new();
    for &round_trip_ms in plan.round_trips_ms {
        let url = further(&near, Duration::from_secs_f64(round_trip_ms / 1_000.0))?;
        for &processes in plan.processes {
            for &buckets in plan.buckets {
                let (runs, batches) = Default::default();
                cells.push((url.clone(), Cell { processes, buckets, round_trip_ms, runs, batches }));
            }
        }
    }
    for _ in 0..plan.rounds {
        for (url, cell) in &mut cells {
            make(&mut admin, DATABASE).await?;
            open(&near, MANY, Some(cell.buckets), Credit::Plain).await?.close().await?;
            match together(url, cell.processes, plan.span).await {
                Ok(run) => {
                    cell.runs.push(run);
                    cell.batches.push(batch(&near).await?);
                }
                // A fleet that gives up is an answer too, and no reason to throw away what the others came to.
                Err(error) => eprintln!("{} processes on {} buckets: {error}", cell.processes, cell.buckets),
            }
        }
    }
    remove(&mut admin, DATABASE).await?;
    Ok(cells.into_iter().map(|(_, cell)| cell).collect())
}

/// The same database, by a way that takes longer.
fn further(near: &PgConnectOptions, round_trip: Duration) -> Result<PgConnectOptions, Failure> {
    if round_trip.is_zero() {
        return Ok(near.clone());
    }
    let port = relay(near.get_host(), near.get_port(), round_trip / 2)?;
    Ok(near.clone().host("127.0.0.1").port(port))
}

/// Starts the processes, lets them begin at once when all are ready, and puts together what they say.
async fn together(url: &PgConnectOptions, processes: usize, span: Duration) -> Result<Run, Failure> {
    let mut members = Vec::new();
    for _ in 0..processes {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--url").arg(url.to_url_lossy().as_str());
        command.arg("--span-ms").arg(span.as_millis().to_string());
        command.arg("--member").arg((CROWD / processes).to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let says = BufReader::new(child.stdout.take().ok_or("a process has no output")?);
        members.push((child, says));
    }
    for (_, says) in &mut members {
        if says.read_line(&mut String::new()).await? == 0 {
            return Err("a process could not begin".into());
        }
    }
    for (child, _) in &mut members {
        drop(child.stdin.take());
    }
    let mut all: Option<Run> = None;
    for member in members {
        let run = heard(member).await?;
        all = Some(match all {
            Some(all) => all.beside(&run)?,
            None => run,
        });
    }
    all.ok_or_else(|| "a fleet has a process at least".into())
}

async fn heard((mut child, mut says): (Child, BufReader<ChildStdout>)) -> Result<Run, Failure> {
    let mut said = String::new();
    says.read_to_string(&mut said).await?;
    child.wait().await?;
    Ok(serde_json::from_str(&said)?)
}

/// One process of the fleet: says that it is ready, begins when its input ends, and says what it did.
#[allow(clippy::print_stdout, reason = "that is how the processes talk")]
pub(crate) fn member(url: &str, callers: usize, span: Duration) -> Result<(), Failure> {
    // A machine of a fleet has cores of its own; here all share a few.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let run = runtime.block_on(async {
        let store = PostgresStore::open(url).await?;
        let stand = Arc::new(Stand::beside(Ledger::builder().open_store(Arc::new(store))?, MANY)?);
        println!("ready");
        tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
        drive(&stand, callers, span, Ids::Ordered).await
    })?;
    println!("{}", serde_json::to_string(&run)?);
    Ok(())
}

/// How many commands were written at once, of those that bill.
async fn batch(options: &PgConnectOptions) -> Result<f64, Failure> {
    let statement =
        "select count(*)::float8 / count(distinct (bucket, at)) from prepaid.entries where attempt is not null";
    Ok(sqlx::query_scalar(statement).fetch_one(&mut options.connect().await?).await?)
}

impl Cell {
    /// What there is to say of it: a name, the middle of all rounds, and how many digits of it matter.
    fn figures(&self) -> [(&'static str, f64, usize); 8] {
        let middle = |of: fn(&Run) -> f64| median(self.runs.iter().map(of));
        [
            ("processes", self.processes as f64, 0),
            ("buckets", self.buckets.into(), 0),
            ("added round trip, ms", self.round_trip_ms, 1),
            ("pairs/s", middle(Run::rate), 0),
            ("p50, ms", middle(Run::p50) / 1_000.0, 1),
            ("p99, ms", middle(Run::p99) / 1_000.0, 1),
            ("commands a batch", median(self.batches.iter().copied()), 1),
            ("CPU of the whole machine, µs/pair", middle(Run::machine), 0),
        ]
    }
}

/// Prints a row for each.
#[allow(clippy::print_stdout, reason = "what a benchmark is for")]
pub(crate) fn print(cells: &[Cell], json: bool) {
    if json {
        for cell in cells {
            let figures = cell.figures().map(|(name, value, _)| (name.to_owned(), value.into()));
            println!("{}", serde_json::Value::Object(figures.into_iter().collect()));
        }
        return;
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    if let Some(first) = cells.first() {
        table.set_header(first.figures().map(|(name, ..)| name));
    }
    table.add_rows(cells.iter().map(|cell| cell.figures().map(|(_, value, digits)| format!("{value:.digits$}"))));
    println!("{table}");
}
