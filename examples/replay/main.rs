//! The main job, end to end: recorded provider streams are sold to prepaid accounts of an embedded ledger.
//!
//! ```sh
//! cargo run --release --example replay
//! ```
//!
//! Streams finish, break, are drained, are reconnected and retried; an account runs out of money; a process is killed in
//! mid-stream. Then every recording of the repository is sold once, all at the same time. At the end stand what each
//! request was billed beside what was true, the accounts' statements, and the audit. If a promise is broken it is said,
//! and the program fails.

mod child;
mod crowd;
#[path = "../support/recordings.rs"]
#[allow(dead_code, reason = "the gateway uses the rest")]
mod recordings;
mod scenes;
mod stage;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use prepaid::Ledger;

use stage::{Result, Stage};

#[derive(Parser)]
#[command(about = "Sells recorded provider streams to prepaid accounts")]
struct Options {
    /// The ledger's database, which must not exist yet; in a temporary folder if it is not named.
    #[arg(long)]
    db: Option<PathBuf>,
    /// A folder of recordings with its index.json.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/streams"))]
    streams: PathBuf,
    /// A folder with the price lists of LiteLLM and genai-prices.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/prices"))]
    prices: PathBuf,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    if let Some(database) = child::asked_for() {
        let ledger = open(&database).await?;
        child::run(&Stage::new(ledger, &options.streams, &options.prices)?).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let folder = tempfile::tempdir()?;
    let database = options.db.clone().unwrap_or_else(|| folder.path().join("ledger.db"));
    if database.exists() {
        return Err(format!("{} exists: the replay opens its own ledger", database.display()).into());
    }
    let began = Instant::now();

    println!("A ledger in {}\n", database.display());
    let stage = Stage::new(open(&database).await?, &options.streams, &options.prices)?;
    let mut lines = scenes::play(&stage).await?;
    stage.ledger.close(Duration::from_secs(5)).await?;

    child::killed_in_mid_stream(&database, std::env::args().skip(1))?;
    let stage = Stage::new(open(&database).await?, &options.streams, &options.prices)?;
    lines.extend(child::recover(&stage).await?);
    println!("{}\n", table::of_lines(&lines));

    let crowd = crowd::play(&stage).await?;
    println!("{}\n", table::of_crowd(&crowd, stage.asset));

    let mut broken = table::broken_promises(&lines, &crowd);
    for account in stage.accounts().await? {
        let statement = account.statement(0).await?;
        println!("{statement}\n");
        broken.extend(stage.billed_once(&account).await?);
    }
    let audit = stage.ledger.audit().await?;
    println!("audit: {audit}");
    if !audit.is_clean() {
        broken.push("the audit is not clean".to_owned());
    }
    stage.ledger.close(Duration::from_secs(5)).await?;
    println!("{} ms in all", began.elapsed().as_millis());
    for promise in &broken {
        eprintln!("BROKEN: {promise}");
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn open(database: &Path) -> prepaid::Result<Ledger> {
    Ledger::builder()
        .report_every(Duration::from_millis(50))
        .sweep_every(Some(Duration::from_millis(100)))
        .open(&format!("sqlite:{}", database.display()))
        .await
}
