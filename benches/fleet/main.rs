//! How fast the ledger bills on PostgreSQL: pairs of a reserve and a settlement, beside what a program does that runs a
//! transaction of its own for each, on the same server and in the same run.
//!
//! ```sh
//! cargo bench --bench fleet --features postgres -- --url 'postgres://postgres@127.0.0.1/postgres?sslmode=disable'
//! ```
//!
//! With `--study` several processes share the database, with few buckets and with many: see [`study`].
//!
//! The callers run in the same process as the ledger and on the same machine as the server. What is compared is measured
//! in turns, round after round, and a ratio is the median of the rounds' ratios.

#[path = "../common/mod.rs"]
mod common;
#[path = "../ledger/growth.rs"]
mod growth;
#[path = "../ledger/load.rs"]
#[allow(dead_code, reason = "the embedded store's benchmark has more to say")]
mod load;
mod naive;
mod pgbench;
#[path = "../ledger/plots.rs"]
mod plots;
mod relay;
#[path = "../ledger/stand.rs"]
#[allow(dead_code, reason = "the embedded store's is opened by its name")]
mod stand;
mod study;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use prepaid::Ledger;
use prepaid::store::postgres::{PostgresOptions, PostgresStore};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection};

use self::common::{Figure, Goal, median};
use self::growth::{Place, Plan, growth};
use self::load::{CROWD, Failure, Ids, Run, drive};
use self::naive::Naive;
use self::pgbench::PgBench;
use self::stand::{Credit, Stand};
use self::study::study;

/// Reserve and settle as fast as it goes.
#[derive(Debug, Parser)]
struct Arguments {
    /// A server on which databases may be made: `bench_prepaid` and `bench_pgbench` are made, and dropped before and after.
    #[arg(long, default_value = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable")]
    url: String,
    /// How often everything is measured, in turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each run is measured, in milliseconds.
    #[arg(long, default_value_t = 2_000)]
    span_ms: u64,
    /// How many accounts share the load.
    #[arg(long, value_delimiter = ',', default_values_t = [1, MANY])]
    accounts: Vec<usize>,
    /// How many callers make it.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1_024])]
    callers: Vec<usize>,
    /// How many buckets the ledger has; the study takes several.
    #[arg(long, value_delimiter = ',')]
    buckets: Vec<u16>,
    /// Requests have names without order.
    #[arg(long)]
    random: bool,
    /// Measures only the ledger.
    #[arg(long)]
    alone: bool,
    /// Measures what budgets and lots cost, instead.
    #[arg(long)]
    credit: bool,
    /// Measures what a long past costs, instead.
    #[arg(long)]
    growth: bool,
    /// Pairs that are a long past.
    #[arg(long, default_value_t = 3_000_000)]
    past: u64,
    /// Measures processes that share the database, with few buckets and with many, instead.
    #[arg(long)]
    study: bool,
    /// How many processes the study takes.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16])]
    processes: Vec<usize>,
    /// How much longer the study makes the way to the server and back, in milliseconds.
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 1.0])]
    round_trip_ms: Vec<f64>,
    /// Is a process of the study with so many callers.
    #[arg(long, hide = true)]
    member: Option<usize>,
    /// Draws what was measured as SVG files into this folder.
    #[arg(long)]
    plots: Option<PathBuf>,
    /// One JSON object per line instead of a table.
    #[arg(long)]
    json: bool,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let span = Duration::from_millis(arguments.span_ms);
    if let Some(callers) = arguments.member {
        return study::member(&arguments.url, callers, span);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if arguments.study {
        let cells = runtime.block_on(study(&arguments.url.parse()?, arguments.studied(span)))?;
        study::print(&cells, arguments.json);
        return Ok(());
    }
    let figures = runtime.block_on(async {
        if arguments.growth {
            let picture = arguments.plots.as_ref().map(|folder| folder.join("postgres-growth.svg"));
            let (past, rounds, picture) = (arguments.past, arguments.rounds, picture.as_deref());
            growth(&Server::of(&arguments)?, Plan { past, rounds, span, goals: [0.9, 0.75], picture }).await
        } else if arguments.credit {
            credit(&arguments).await
        } else {
            throughput(&arguments).await
        }
    })?;
    common::print(&figures, arguments.json);
    Ok(())
}

impl Arguments {
    fn bucket_count(&self) -> Option<u16> {
        self.buckets.first().copied()
    }

    fn studied(&self, span: Duration) -> study::Plan<'_> {
        let buckets = if self.buckets.is_empty() { &[1, 8, 32, 128] } else { self.buckets.as_slice() };
        study::Plan {
            processes: &self.processes,
            buckets,
            round_trips_ms: &self.round_trip_ms,
            rounds: self.rounds,
            span,
        }
    }
}

/// A ledger of its own in an empty database.
async fn open(
    url: &PgConnectOptions,
    accounts: usize,
    buckets: Option<u16>,
    credit: Credit,
) -> Result<Arc<Stand>, Failure> {
    let mut options = PostgresOptions::default();
    options.buckets = buckets;
    let store = PostgresStore::open_with(url.to_url_lossy().as_str(), options).await?;
    Stand::on(Ledger::builder().open_store(Arc::new(store))?, accounts, credit).await
}

/// Databases on a server, each for one ledger.
struct Server<'a> {
    options: PgConnectOptions,
    arguments: &'a Arguments,
}

impl<'a> Server<'a> {
    fn of(arguments: &'a Arguments) -> Result<Self, Failure> {
        Ok(Self { options: arguments.url.parse()?, arguments })
    }

    fn database(&self, name: &str) -> (String, PgConnectOptions) {
        let name = format!("bench_prepaid_{name}");
        (name.clone(), self.options.clone().database(&name))
    }
}

impl Place for Server<'_> {
    async fn make(&self, name: &str) -> Result<Arc<Stand>, Failure> {
        let (name, url) = self.database(name);
        make(&mut self.options.connect().await?, &name).await?;
        open(&url, MANY, self.arguments.bucket_count(), Credit::Plain).await
    }

    async fn remove(&self, name: &str) -> Result<f64, Failure> {
        let (name, url) = self.database(name);
        let bytes = stored(&url).await?;
        remove(&mut self.options.connect().await?, &name).await?;
        Ok(bytes)
    }
}

const MANY: usize = 10_000;
const NAIVE: &str = "a transaction per command";

/// One round's runs with so many callers on so many accounts.
struct Scene {
    accounts: usize,
    callers: usize,
    ours: Vec<Run>,
    theirs: Vec<Run>,
    bytes: Vec<f64>,
    pgbench: Vec<f64>,
}

async fn throughput(arguments: &Arguments) -> Result<Vec<Figure>, Failure> {
    let server: PgConnectOptions = arguments.url.parse()?;
    let [ours, pgbench] = ["bench_prepaid", "bench_pgbench"].map(|name| (name, server.clone().database(name)));
    let span = Duration::from_millis(arguments.span_ms);
    let ids = if arguments.random { Ids::Random } else { Ids::Ordered };
    let mut scenes = Vec::new();
    for &accounts in &arguments.accounts {
        for &callers in &arguments.callers {
            let (ours, theirs, bytes, pgbench) = Default::default();
            scenes.push(Scene { accounts, callers, ours, theirs, bytes, pgbench });
        }
    }
    let mut admin = server.connect().await?;
    let reference = match arguments.alone {
        true => None,
        false => {
            make(&mut admin, pgbench.0).await?;
            Some(PgBench::fill(&pgbench.1)?)
        }
    };
    for _ in 0..arguments.rounds {
        for scene in &mut scenes {
            make(&mut admin, ours.0).await?;
            let stand = open(&ours.1, scene.accounts, arguments.bucket_count(), Credit::Plain).await?;
            scene.ours.push(drive(&stand, scene.callers, span, ids).await?);
            stand.close().await?;
            scene.bytes.push(stored(&ours.1).await?);
            if let Some(reference) = &reference {
                let by_hand = Arc::new(Naive::open(&ours.1, scene.accounts, scene.callers).await?);
                scene.theirs.push(drive(&by_hand, scene.callers, span, ids).await?);
                by_hand.close().await;
                if scene.callers == CROWD {
                    scene.pgbench.push(reference.rate(span)?);
                }
            }
        }
    }
    remove(&mut admin, ours.0).await?;
    remove(&mut admin, pgbench.0).await?;
    if let Some(folder) = &arguments.plots {
        let called = |what: &str, scene: &Scene| format!("{what}, accounts: {}", scene.accounts);
        let ours = scenes.iter().map(|scene| (called("prepaid", scene), scene.callers, scene.ours.as_slice()));
        let theirs = scenes.iter().map(|scene| (called(NAIVE, scene), scene.callers, scene.theirs.as_slice()));
        plots::against_callers(folder, "postgres", ours.chain(theirs))?;
    }
    Ok(scenes.iter().flat_map(report).collect())
}

/// Pairs per second with every limit there is against none.
async fn credit(arguments: &Arguments) -> Result<Vec<Figure>, Failure> {
    const DATABASE: &str = "bench_prepaid";
    let server: PgConnectOptions = arguments.url.parse()?;
    let ours = server.clone().database(DATABASE);
    let mut admin = server.connect().await?;
    let mut figures = Vec::new();
    for accounts in [1, 1_000] {
        let (mut plain, mut limited) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds {
            for (credit, runs) in [(Credit::Plain, &mut plain), (Credit::Limited, &mut limited)] {
                make(&mut admin, DATABASE).await?;
                let stand = open(&ours, accounts, arguments.bucket_count(), credit).await?;
                runs.push(drive(&stand, CROWD, Duration::from_millis(arguments.span_ms), Ids::Ordered).await?);
                stand.close().await?;
            }
        }
        figures.extend(stand::compared(accounts, &plain, &limited));
    }
    remove(&mut admin, DATABASE).await?;
    Ok(figures)
}

async fn make(admin: &mut PgConnection, database: &str) -> Result<(), Failure> {
    remove(admin, database).await?;
    admin.execute(sqlx::raw_sql(AssertSqlSafe(format!("create database {database}")))).await?;
    Ok(())
}

async fn remove(admin: &mut PgConnection, database: &str) -> Result<(), Failure> {
    let statement = format!("drop database if exists {database} with (force)");
    admin.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await?;
    Ok(())
}

/// Bytes on disk per pair: tables and indexes.
async fn stored(options: &PgConnectOptions) -> Result<f64, Failure> {
    let statement = "select (sum(pg_total_relation_size(oid)) / (select count(*) from prepaid.holds))::bigint \
                     from pg_class where relnamespace = 'prepaid'::regnamespace and relkind = 'r'";
    let mut connection = options.connect().await?;
    let bytes: i64 = sqlx::query_scalar(statement).fetch_one(&mut connection).await?;
    Ok(bytes as f64)
}

fn report(Scene { accounts, callers, ours, theirs, bytes, pgbench }: &Scene) -> Vec<Figure> {
    let name = |what: &str| format!("{accounts} accounts, {callers} callers: {what}");
    let middle = |runs: &[Run], of: fn(&Run) -> f64| median(runs.iter().map(of));
    let over = |of: fn(&Run) -> f64| median(ours.iter().zip(theirs).map(|(ours, theirs)| of(ours) / of(theirs)));
    let goal = match (accounts, callers) {
        (1, &CROWD) => Some(Goal::AtLeast(40.0)),
        (1, 64) => Some(Goal::AtLeast(12.0)),
        (_, &CROWD) => Some(Goal::AtLeast(10.0)),
        _ => None,
    };
    let at_most = (*callers == 1).then_some(Goal::AtMost(1.5));
    let mut figures = vec![
        Figure::new(name("reserve and settle"), middle(ours, Run::rate), "pairs/s").against(
            NAIVE,
            over(Run::rate),
            goal,
        ),
        Figure::new(name(NAIVE), middle(theirs, Run::rate), "pairs/s"),
        Figure::new(name("p50"), middle(ours, Run::p50), "µs").against(NAIVE, over(Run::p50), at_most),
        Figure::new(name("p99"), middle(ours, Run::p99), "µs").against(NAIVE, over(Run::p99), None),
        Figure::new(name("CPU of the callers and the ledger"), middle(ours, Run::cpu), "µs/pair").against(
            NAIVE,
            over(Run::cpu),
            None,
        ),
        Figure::new(name("CPU of the whole machine"), middle(ours, Run::machine), "µs/pair").against(
            NAIVE,
            over(Run::machine),
            (*callers == CROWD).then_some(Goal::AtMost(0.067)),
        ),
        Figure::new(name("stored"), median(bytes.iter().copied()), "bytes/pair"),
    ];
    if !pgbench.is_empty() {
        let goal = Goal::AtLeast(if *accounts == 1 { 4.0 } else { 3.0 });
        let ratio = median(ours.iter().zip(pgbench).map(|(run, rate)| run.rate() / rate));
        figures.push(Figure::new(name("pgbench -N, 64 clients"), median(pgbench.iter().copied()), "transactions/s"));
        figures.push(Figure::new(name("reserve and settle"), middle(ours, Run::rate), "pairs/s").against(
            "pgbench -N, 64 clients",
            ratio,
            Some(goal),
        ));
    }
    figures
}
