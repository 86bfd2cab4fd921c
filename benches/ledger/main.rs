//! How fast the ledger bills: pairs of a reserve and a settlement, on disk, beside what the same SQLite can do.
//!
//! ```sh
//! cargo bench --bench ledger                  # about three minutes
//! cargo bench --bench ledger -- --quick       # twenty seconds, for a first look
//! cargo bench --bench ledger -- --growth      # 100,000 pairs stored against 3,000,000; about ten minutes
//! cargo bench --bench ledger -- --plots DIR   # draws what it measured
//! cargo bench --bench ledger -- --credit      # with three budgets and two lots against none; a minute
//! ```
//!
//! The callers run in the same process and are closed loops: at 1,024 of them latencies are those of saturation. What
//! is compared is measured in turns, round after round, and a ratio is the median of the rounds' ratios.

#[path = "../common/mod.rs"]
mod common;
mod growth;
#[allow(dead_code, reason = "the benchmark of fleets has more to ask")]
mod load;
mod plots;
mod rival;
mod stand;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;

use self::common::{Figure, Goal, median};
use self::growth::{Place, Plan, growth};
use self::load::{CROWD, Failure, Ids, Run, drive};
use self::rival::OneByOne;
use self::stand::{Credit, Stand};

/// Reserve and settle as fast as it goes.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the databases are made: a folder on the disk to be measured.
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    dir: PathBuf,
    /// How often everything is measured, in turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each run is measured, in milliseconds.
    #[arg(long, default_value_t = 2_000)]
    span_ms: u64,
    /// On how many accounts.
    #[arg(long, value_delimiter = ',', default_values_t = [1, MANY])]
    accounts: Vec<usize>,
    /// By how many callers.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, CROWD])]
    callers: Vec<usize>,
    /// Short runs, for a first look.
    #[arg(long)]
    quick: bool,
    /// Also runs on this PostgreSQL, postgres://user@host/database: in a database for nothing else.
    #[arg(long)]
    postgres: Option<String>,
    /// Measures what a long past costs, instead.
    #[arg(long)]
    growth: bool,
    /// Measures what budgets and lots cost, instead.
    #[arg(long)]
    credit: bool,
    /// Pairs that are a long past.
    #[arg(long, default_value_t = 3_000_000)]
    past: u64,
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

const MANY: usize = 10_000;
const BY_HAND: &str = "one transaction per command";

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let folder = tempfile::Builder::new().prefix("bench-ledger-").tempdir_in(&arguments.dir)?;
    let span = Duration::from_millis(if arguments.quick { 250 } else { arguments.span_ms });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = runtime.block_on(async {
        if arguments.growth {
            let picture = arguments.plots.as_ref().map(|folder| folder.join("sqlite-growth.svg"));
            let (past, rounds, picture) = (arguments.past, arguments.rounds, picture.as_deref());
            growth(&Files(folder.path()), Plan { past, rounds, span, goals: [0.85, 0.7], picture }).await
        } else if arguments.credit {
            credit(folder.path(), &arguments, span).await
        } else {
            throughput(folder.path(), &arguments, span).await
        }
    })?;
    common::print(&figures, arguments.json);
    Ok(())
}

/// The runs with so many callers on so many accounts of one store.
struct Scene {
    store: &'static str,
    accounts: usize,
    callers: usize,
    ours: Vec<Run>,
    theirs: Vec<Run>,
    /// What SQLite itself does: a bare commit in µs beside one caller, raw inserts a second beside a crowd.
    bare: Vec<f64>,
}

async fn throughput(folder: &Path, arguments: &Arguments, span: Duration) -> Result<Vec<Figure>, Failure> {
    let mut scenes = Vec::new();
    for &accounts in &arguments.accounts {
        for &callers in &arguments.callers {
            scenes.push(Scene::new("sqlite", accounts, callers));
            if arguments.postgres.is_some() {
                scenes.push(Scene::new("postgres", accounts, callers));
            }
        }
    }
    for _ in 0..arguments.rounds {
        for scene in &mut scenes {
            match (scene.store, &arguments.postgres) {
                ("postgres", Some(url)) => scene.run_ours(url, span).await?,
                _ => scene.run_sqlite(folder, span).await?,
            }
        }
    }
    if let Some(folder) = &arguments.plots {
        let ours = scenes.iter().map(|scene| (scene.called("prepaid"), scene.callers, scene.ours.as_slice()));
        let theirs = scenes.iter().map(|scene| (scene.called(BY_HAND), scene.callers, scene.theirs.as_slice()));
        plots::against_callers(folder, "sqlite", ours.chain(theirs))?;
    }
    Ok(scenes.iter().flat_map(report).collect())
}

impl Scene {
    fn new(store: &'static str, accounts: usize, callers: usize) -> Self {
        Self { store, accounts, callers, ours: Vec::new(), theirs: Vec::new(), bare: Vec::new() }
    }

    fn called(&self, what: &str) -> String {
        format!("{what}, accounts: {}", self.accounts)
    }

    async fn run_ours(&mut self, url: &str, span: Duration) -> Result<(), Failure> {
        let stand = Stand::open(url, self.accounts, Credit::Plain).await?;
        self.ours.push(drive(&stand, self.callers, span, Ids::Ordered).await?);
        stand.close().await
    }

    /// A fresh file: the ledger, then what it is measured by.
    async fn run_sqlite(&mut self, folder: &Path, span: Duration) -> Result<(), Failure> {
        let path = folder.join("ledger.db");
        if self.callers == 1 {
            self.bare.push(rival::bare_commit(folder, span / 2)?);
        }
        self.run_ours(&format!("sqlite:{}", path.display()), span).await?;
        if self.callers == CROWD {
            self.bare.push(rival::raw_inserts(folder, &path, span / 2)?);
        }
        let by_hand = Arc::new(OneByOne::open(&path, self.accounts)?);
        self.theirs.push(drive(&by_hand, self.callers, span, Ids::Ordered).await?);
        drop(by_hand);
        rival::remove(&path);
        Ok(())
    }
}

fn report(Scene { store, accounts, callers, ours, theirs, bare }: &Scene) -> Vec<Figure> {
    let name = |what: &str| format!("{store}, {accounts} accounts, {callers} callers: {what}");
    let wanted = |goal| (*store == "sqlite" && *accounts == MANY && *callers == CROWD).then_some(goal);
    let middle = |of: fn(&Run) -> f64| median(ours.iter().map(of));
    let over = |of: fn(&Run) -> f64| median(ours.iter().zip(theirs).map(|(ours, theirs)| of(ours) / of(theirs)));
    let beside = |figure: Figure, of: fn(&Run) -> f64, goal| match theirs.is_empty() {
        true => figure,
        false => figure.against(BY_HAND, over(of), goal),
    };
    let mut figures = vec![
        beside(
            Figure::new(name("reserve and settle"), middle(Run::rate), "pairs/s"),
            Run::rate,
            wanted(Goal::AtLeast(40.0)),
        ),
        beside(Figure::new(name("CPU"), middle(Run::cpu), "µs/pair"), Run::cpu, None),
        beside(Figure::new(name("written"), middle(Run::written), "bytes/pair"), Run::written, None),
        Figure::new(name("p50"), middle(Run::p50), "µs"),
        Figure::new(name("p99"), middle(Run::p99), "µs").against(
            "its p50",
            median(ours.iter().map(|run| run.p99() / run.p50())),
            wanted(Goal::AtMost(3.0)),
        ),
    ];
    if *callers == CROWD && !bare.is_empty() {
        let rows = median(bare.iter().zip(ours).map(|(inserts, run)| inserts / run.rate()));
        figures.push(Figure::new(name("raw inserts"), median(bare.iter().copied()), "rows/s"));
        figures.push(Figure::new(name("a pair"), middle(|run| 1e6 / run.rate()), "µs").against(
            "a raw insert",
            rows,
            wanted(Goal::AtMost(12.0)),
        ));
    }
    if *callers == 1 && !bare.is_empty() {
        let commits = median(ours.iter().zip(bare).map(|(run, commit)| run.reserve_p50() / commit));
        figures.push(Figure::new(name("bare commit, p50"), median(bare.iter().copied()), "µs"));
        figures.push(Figure::new(name("reserve, p50"), middle(Run::reserve_p50), "µs").against(
            "a bare commit",
            commits,
            Some(Goal::AtMost(1.5)),
        ));
    }
    figures
}

/// Files in a folder.
struct Files<'a>(&'a Path);

impl Files<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.db"))
    }
}

impl Place for Files<'_> {
    async fn make(&self, name: &str) -> Result<Arc<Stand>, Failure> {
        Stand::open(&format!("sqlite:{}", self.path(name).display()), MANY, Credit::Plain).await
    }

    async fn remove(&self, name: &str) -> Result<f64, Failure> {
        let path = self.path(name);
        let bytes = rival::stored(&path)?;
        rival::remove(&path);
        Ok(bytes)
    }
}

/// Pairs per second with every limit there is against none, in SQLite.
async fn credit(folder: &Path, arguments: &Arguments, span: Duration) -> Result<Vec<Figure>, Failure> {
    let path = folder.join("ledger.db");
    let url = format!("sqlite:{}", path.display());
    let mut figures = Vec::new();
    for accounts in [1, 1_000] {
        let (mut plain, mut limited) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds {
            for (credit, runs) in [(Credit::Plain, &mut plain), (Credit::Limited, &mut limited)] {
                let stand = Stand::open(&url, accounts, credit).await?;
                runs.push(drive(&stand, CROWD, span, Ids::Ordered).await?);
                stand.close().await?;
                rival::remove(&path);
            }
        }
        figures.extend(stand::compared(accounts, &plain, &limited));
    }
    Ok(figures)
}
