//! How fast pairs of a reserve and a settlement are on PostgreSQL beside the nearest there is to them in cala-ledger and
//! in sqlx-ledger, on one account, on the same server and in the same run. README.md says how to run it.
//!
//! What is compared is measured in turns, round after round, each run in a database of its own, and a ratio is the median
//! of the rounds' ratios.

mod cala;
#[path = "../../common/mod.rs"]
mod common;
#[path = "../../ledger/load.rs"]
#[allow(dead_code, reason = "the benchmarks of the crate have more to say")]
mod load;
mod postings;
mod server;
mod sqlx_ledger;
#[path = "../../ledger/stand.rs"]
#[allow(dead_code, reason = "the benchmarks of the crate have more to say")]
mod stand;

use std::time::Duration;

use clap::Parser;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use self::cala::{Batched, Cala};
use self::common::{Figure, Goal, median};
use self::load::{Failure, Ids, Run, drive};
use self::server::Server;
use self::sqlx_ledger::Queued;
use self::stand::{Credit, Stand};

/// Reserve and settle as fast as it goes, here and elsewhere.
#[derive(Debug, Parser)]
struct Arguments {
    /// A superuser's address of a server: the database `bench_peer` is made for each run, and dropped.
    #[arg(long, default_value = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable")]
    url: String,
    /// How often everything is measured, in turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each run is measured, in milliseconds.
    #[arg(long, default_value_t = 5_000)]
    span_ms: u64,
    /// How many connections a peer has: more would only wait longer for the one account, and slow down who has it.
    #[arg(long, default_value_t = 4)]
    connections: u32,
    /// How many postings cala-ledger makes in one transaction, at most.
    #[arg(long, default_value_t = 1_024)]
    batch: usize,
    /// How many such transactions it has under way: one is prepared while another is written.
    #[arg(long, default_value_t = 2)]
    batches: usize,
    /// One JSON object per line instead of a table.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let mut server = Server::at(&arguments.url).await?;
    let mut series = LINE_UP.map(|(callers, contender)| Series { callers, contender, runs: Vec::new() });
    for _ in 0..arguments.rounds {
        for Series { callers, contender, runs } in &mut series {
            let url = server.database().await?;
            runs.push(contender.run(&url, *callers, &arguments).await?);
        }
    }
    server.remove().await?;
    say(&conditions(&arguments, &mut server).await?, arguments.json);
    common::print(&report(&series), arguments.json);
    Ok(())
}

/// Who bills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Prepaid,
    Cala,
    CalaBatched,
    SqlxLedger,
}

const FEW: usize = 64;
const CROWD: usize = 1_024;
const LINE_UP: [(usize, Contender); 5] = [
    (FEW, Contender::Prepaid),
    (FEW, Contender::Cala),
    (FEW, Contender::SqlxLedger),
    (CROWD, Contender::Prepaid),
    (CROWD, Contender::CalaBatched),
];

/// The runs of one contender with so many callers, a round each.
struct Series {
    callers: usize,
    contender: Contender,
    runs: Vec<Run>,
}

impl Contender {
    fn name(self) -> &'static str {
        match self {
            Self::Prepaid => "prepaid",
            Self::Cala => "cala-ledger",
            Self::CalaBatched => "cala-ledger, in batches",
            Self::SqlxLedger => "sqlx-ledger",
        }
    }

    /// In an empty database.
    async fn run(self, url: &PgConnectOptions, callers: usize, arguments: &Arguments) -> Result<Run, Failure> {
        let &Arguments { connections, batch, batches, span_ms, .. } = arguments;
        let span = Duration::from_millis(span_ms);
        match self {
            Self::Prepaid => {
                let stand = Stand::open(url.to_url_lossy().as_str(), 1, Credit::Plain).await?;
                let run = drive(&stand, callers, span, Ids::Ordered).await?;
                stand.close().await?;
                Ok(run)
            }
            Self::Cala => {
                let cala = Cala::open(url, connections).await?;
                let run = drive(&cala, callers, span, Ids::Ordered).await?;
                cala.close().await?;
                Ok(run)
            }
            Self::CalaBatched => {
                let batched = Batched::open(url, connections, batch, batches).await?;
                let run = drive(&batched, callers, span, Ids::Ordered).await?;
                batched.close().await?;
                Ok(run)
            }
            Self::SqlxLedger => {
                let queued = Queued::open(url, connections).await?;
                let run = drive(&queued, callers, span, Ids::Ordered).await?;
                queued.close().await?;
                Ok(run)
            }
        }
    }

    /// By how much the ledger is to be faster.
    fn goal(self) -> Option<Goal> {
        match self {
            Self::Cala => Some(Goal::AtLeast(60.0)),
            Self::CalaBatched => Some(Goal::AtLeast(20.0)),
            Self::Prepaid | Self::SqlxLedger => None,
        }
    }
}

/// Each contender's figures; after a peer's, how much faster the ledger was with as many callers.
fn report(series: &[Series]) -> Vec<Figure> {
    let middle = |runs: &[Run], of: fn(&Run) -> f64| median(runs.iter().map(of));
    let mut figures = Vec::new();
    for &Series { callers, contender, ref runs } in series {
        let name = |what: &str| format!("{callers} callers: {}{what}", contender.name());
        figures.extend([
            Figure::new(name(""), middle(runs, Run::rate), "pairs/s"),
            Figure::new(name(", p50"), middle(runs, Run::p50), "µs"),
            Figure::new(name(", p99"), middle(runs, Run::p99), "µs"),
        ]);
        let ours = series.iter().find(|ours| ours.contender == Contender::Prepaid && ours.callers == callers);
        if let Some(Series { runs: ours, .. }) = ours.filter(|_| contender != Contender::Prepaid) {
            let ratio = median(ours.iter().zip(runs).map(|(ours, theirs)| ours.rate() / theirs.rate()));
            let figure = Figure::new(format!("{callers} callers: prepaid"), middle(ours, Run::rate), "pairs/s");
            figures.push(figure.against(contender.name(), ratio, contender.goal()));
        }
    }
    figures
}

/// What was measured on, with and how often.
async fn conditions(arguments: &Arguments, server: &mut Server) -> Result<[(&'static str, String); 6], Failure> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, cpu)| cpu);
    let cores = std::thread::available_parallelism()?;
    Ok([
        ("PostgreSQL", server.setting("server_version").await?),
        ("synchronous_commit", server.setting("synchronous_commit").await?),
        ("CPU", format!("{cores} of {cpu}")),
        ("rounds", format!("{} of {} ms", arguments.rounds, arguments.span_ms)),
        ("cala-ledger", locked("cala-ledger").to_owned()),
        ("sqlx-ledger", locked("sqlx-ledger").to_owned()),
    ])
}

/// The version of a crate that this was built with.
fn locked(name: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock").split_once(&format!("name = \"{name}\"\nversion = \""));
    lock.and_then(|(_, version)| version.split_once('"')).map_or("unknown", |(version, _)| version)
}

fn say(conditions: &[(&str, String)], json: bool) {
    if json {
        let object: serde_json::Map<_, _> =
            conditions.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        println!("{}", serde_json::Value::Object(object));
        return;
    }
    for (name, value) in conditions {
        println!("{name}: {value}");
    }
}
