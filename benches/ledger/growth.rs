//! What a long past costs: pairs per second with a long one against a short one.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::common::{Figure, Goal, median};
use super::load::{CROWD, Failure, Ids, Run, drive, fill};
use super::plots::{self, Line};
use super::stand::Stand;

/// Where ledgers are made.
pub(crate) trait Place {
    /// A new one under a name.
    fn make(&self, name: &str) -> impl Future<Output = Result<Arc<Stand>, Failure>>;

    /// Removes it, and says how many bytes it had for each pair.
    fn remove(&self, name: &str) -> impl Future<Output = Result<f64, Failure>>;
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// The pairs of a long past.
    pub(crate) past: u64,
    pub(crate) rounds: usize,
    pub(crate) span: Duration,
    /// What is wanted with ids in order of time, and without.
    pub(crate) goals: [f64; 2],
    /// Where the picture goes.
    pub(crate) picture: Option<&'a Path>,
}

/// The pairs of a short past.
const SHORT: u64 = 100_000;

pub(crate) async fn growth(place: &impl Place, plan: Plan<'_>) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    let mut lines = Vec::new();
    for (ids, called, goal) in [(Ids::Ordered, "ordered ids", 0), (Ids::Random, "random ids", 1)] {
        let long = place.make("long").await?;
        lines.push((called.to_owned(), grow(&long, plan, ids).await?) as Line);
        let (mut short_runs, mut long_runs) = (Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            let short = place.make("short").await?;
            fill(&short, SHORT, ids).await?;
            short_runs.push(drive(&short, CROWD, plan.span, ids).await?);
            // SQLite shares its page cache among all connections of a process: the long past is measured alone.
            short.close().await?;
            place.remove("short").await?;
            long_runs.push(drive(&long, CROWD, plan.span, ids).await?);
        }
        long.close().await?;
        let bytes = place.remove("long").await?;
        let rate = |runs: &[Run]| median(runs.iter().map(Run::rate));
        let ratio = median(long_runs.iter().zip(&short_runs).map(|(long, short)| long.rate() / short.rate()));
        let short_name = format!("{called}, {SHORT} pairs stored");
        figures.push(Figure::new(short_name.clone(), rate(&short_runs), "pairs/s"));
        figures.push(
            Figure::new(format!("{called}, {} pairs stored", plan.past), rate(&long_runs), "pairs/s").against(
                short_name,
                ratio,
                plan.goals.get(goal).copied().map(Goal::AtLeast),
            ),
        );
        figures.push(Figure::new(format!("{called}, stored"), bytes, "bytes/pair"));
    }
    if let Some(path) = plan.picture {
        plots::draw(path, ["pairs stored", "pairs per second"], &lines)?;
    }
    Ok(figures)
}

/// Makes a long past, and measures at three times as much, and again: pairs stored, pairs a second.
async fn grow(long: &Arc<Stand>, plan: Plan<'_>, ids: Ids) -> Result<Vec<(f64, f64)>, Failure> {
    let mut points = Vec::new();
    let mut stored = 0;
    let mut next = SHORT.min(plan.past);
    while stored < plan.past {
        fill(long, next.saturating_sub(stored), ids).await?;
        let run = drive(long, CROWD, plan.span, ids).await?;
        points.push((next as f64, run.rate()));
        stored = next;
        next = plan.past.min(next * 3);
    }
    Ok(points)
}
