//! What PostgreSQL's own benchmark makes of the same server: `pgbench -N`, an update, a select, and an insert a transaction.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::load::Failure;

const CLIENTS: &str = "64";
/// Five million rows: updates do not wait for each other.
const SCALE: &str = "50";

pub(crate) struct PgBench {
    program: PathBuf,
    url: String,
}

impl PgBench {
    /// Fills a database that is there and empty.
    pub(crate) fn fill(options: &PgConnectOptions) -> Result<Self, Failure> {
        let mut url = options.to_url_lossy();
        // What the driver writes there, PostgreSQL's own programs do not know.
        url.set_query(None);
        let this = Self { program: program()?, url: url.to_string() };
        this.run(&["-i", "-q", "-s", SCALE])?;
        Ok(this)
    }

    /// Transactions per second.
    pub(crate) fn rate(&self, span: Duration) -> Result<f64, Failure> {
        let seconds = span.as_secs().max(1).to_string();
        let run = self.run(&["-N", "-M", "prepared", "-c", CLIENTS, "-j", "2", "-n", "-T", &seconds])?;
        let said = String::from_utf8_lossy(&run.stdout);
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok());
        Ok(rate.ok_or_else(|| format!("pgbench said no rate: {said}"))?)
    }

    fn run(&self, arguments: &[&str]) -> Result<Output, Failure> {
        let output = Command::new(&self.program).args(arguments).arg(&self.url).output()?;
        if !output.status.success() {
            return Err(format!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(output)
    }
}

/// Distributions keep it out of the path.
fn program() -> Result<PathBuf, Failure> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut places: Vec<_> = versions.map(|version| version.path().join("bin/pgbench")).collect();
    places
        .extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).map(|path| path.join("pgbench")));
    Ok(places
        .into_iter()
        .rev()
        .find(|place| place.exists())
        .ok_or("pgbench is not installed: apt install postgresql")?)
}
