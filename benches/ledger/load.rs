//! Callers that reserve and settle as fast as they are answered.

use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, UNIX_EPOCH};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a pair sets aside, and what it costs in the end: minor units.
pub(crate) const HELD: i64 = 40_000_000;
pub(crate) const COST: i64 = 12_500_000;

/// Callers that saturate a ledger.
pub(crate) const CROWD: usize = 1_024;

/// Something that bills.
pub(crate) trait Subject: Send + Sync + 'static {
    /// What is reserved and not settled yet.
    type Hold: Send;

    /// How many accounts it has.
    fn accounts(&self) -> usize;

    /// Sets [`HELD`] aside for a request.
    fn reserve(&self, account: usize, request: String) -> impl Future<Output = Result<Self::Hold, Failure>> + Send;

    /// Settles it at [`COST`].
    fn settle(&self, hold: Self::Hold) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// How requests are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    /// As UUIDs of version 7: time first.
    Ordered,
    /// As UUIDs of version 4.
    Random,
}

/// What a run came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    span: Duration,
    used: Used,
    /// How long they took, in µs.
    #[serde(with = "counted")]
    reserves: Histogram<u64>,
    #[serde(with = "counted")]
    settlements: Histogram<u64>,
}

impl Run {
    /// Together with what another process did in the same span.
    pub(crate) fn beside(mut self, other: &Self) -> Result<Self, Failure> {
        self.reserves.add(&other.reserves)?;
        self.settlements.add(&other.settlements)?;
        self.used = self.used.beside(other.used);
        Ok(self)
    }

    /// Pairs per second.
    pub(crate) fn rate(&self) -> f64 {
        self.pairs() / self.span.as_secs_f64()
    }

    /// CPU time of this process per pair, in µs: callers, engine and SQLite.
    pub(crate) fn cpu(&self) -> f64 {
        self.used.cpu.as_secs_f64() * 1e6 / self.pairs()
    }

    /// CPU time of the whole machine per pair, in µs: the server's too, and whatever else runs.
    pub(crate) fn machine(&self) -> f64 {
        self.used.machine.as_secs_f64() * 1e6 / self.pairs()
    }

    /// Bytes this process wrote per pair: the log, and what checkpoints move from it into the database.
    pub(crate) fn written(&self) -> f64 {
        self.used.written as f64 / self.pairs()
    }

    /// Of reserves and settlements, in µs.
    pub(crate) fn p50(&self) -> f64 {
        self.both(0.5)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.both(0.99)
    }

    pub(crate) fn reserve_p50(&self) -> f64 {
        self.reserves.value_at_quantile(0.5) as f64
    }

    /// Halves are counted one by one: of slow pairs a short run sees the beginnings only.
    fn pairs(&self) -> f64 {
        (self.reserves.len() + self.settlements.len()) as f64 / 2.0
    }

    fn both(&self, quantile: f64) -> f64 {
        let mut both = self.reserves.clone();
        match both.add(&self.settlements) {
            Ok(()) => both.value_at_quantile(quantile) as f64,
            Err(_) => f64::NAN,
        }
    }
}

/// Drives `subject` with so many callers for `span`, after a quarter of it to warm up.
pub(crate) async fn drive<S: Subject>(
    subject: &Arc<S>,
    callers: usize,
    span: Duration,
    ids: Ids,
) -> Result<Run, Failure> {
    let from = Instant::now() + span / 4;
    let until = from + span;
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        tasks.spawn(call(Arc::clone(subject), from..until, ids));
    }
    tokio::time::sleep_until(from.into()).await;
    let before = Used::now();
    tokio::time::sleep_until(until.into()).await;
    let used = Used::now().since(before);

    let (mut reserves, mut settlements) = (Histogram::new(3)?, Histogram::new(3)?);
    while let Some(took) = tasks.join_next().await {
        for (reserve, settle) in took?? {
            for (histogram, took) in [(&mut reserves, reserve), (&mut settlements, settle)] {
                if let Some(took) = took {
                    histogram.record(u64::try_from(Duration::as_micros(&took))?)?;
                }
            }
        }
    }
    Ok(Run { span, used, reserves, settlements })
}

/// How long the halves of a pair took; none for one that ended outside of the measured span.
type Took = (Option<Duration>, Option<Duration>);

/// One caller.
async fn call<S: Subject>(subject: Arc<S>, measured: Range<Instant>, ids: Ids) -> Result<Vec<Took>, Failure> {
    let mut took = Vec::new();
    let mut now = Instant::now();
    while now < measured.end {
        let (account, request) = next(&*subject, ids)?;
        let hold = subject.reserve(account, request).await?;
        let reserved = Instant::now();
        subject.settle(hold).await?;
        let settled = Instant::now();
        let inside = |end: Instant, took: Duration| measured.contains(&end).then_some(took);
        took.push((inside(reserved, reserved - now), inside(settled, settled - reserved)));
        now = settled;
    }
    Ok(took)
}

/// Has a crowd of callers make so many pairs.
pub(crate) async fn fill<S: Subject>(subject: &Arc<S>, pairs: u64, ids: Ids) -> Result<(), Failure> {
    let left = Arc::new(AtomicU64::new(pairs));
    let mut tasks = JoinSet::new();
    for _ in 0..CROWD {
        let (subject, left) = (Arc::clone(subject), Arc::clone(&left));
        tasks.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let (account, request) = next(&*subject, ids)?;
                let hold = subject.reserve(account, request).await?;
                subject.settle(hold).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// The next request: which account it is of, and its name, a UUID.
fn next(subject: &impl Subject, ids: Ids) -> Result<(usize, String), Failure> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // A database that outlives this process knows the names of earlier runs.
    static FIRST: OnceLock<u64> = OnceLock::new();
    // Processes that run side by side have other names, and take the accounts in another order.
    static PROCESS: OnceLock<u64> = OnceLock::new();
    let first = *FIRST.get_or_init(|| UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() << 24));
    let process = *PROCESS.get_or_init(|| u64::from(std::process::id()) << 40);
    let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    let mixed = |number| mixed(number ^ process);
    let account = usize::try_from(mixed(number) % subject.accounts() as u64)?;
    let request = match ids {
        Ids::Ordered => uuid(7, UNIX_EPOCH.elapsed()?.as_millis() << 80 | u128::from(mixed(!number))),
        Ids::Random => uuid(4, u128::from(mixed(!number)) << 64 | u128::from(mixed(number ^ 0x5555))),
    };
    Ok((account, request))
}

/// RFC 9562: 32 hexadecimal digits, two of them spoken for.
fn uuid(version: u128, bits: u128) -> String {
    let spoken_for = 0xf << 76 | 0b11 << 62;
    format!("{:032x}", bits & !spoken_for | version << 76 | 0b10 << 62)
}

/// SplitMix64: no pattern in the numbers.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What this process has used, where the system says so (Linux).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Used {
    /// Counted in steps of 10 ms.
    cpu: Duration,
    machine: Duration,
    written: u64,
}

impl Used {
    fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        let all = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let busy = all.split_whitespace().skip(1).take(3).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>();
        let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok());
        let time = |ticks| Duration::from_millis(ticks * 10);
        Self { cpu: time(ticks), machine: time(busy), written: written.unwrap_or(0) }
    }

    fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            machine: self.machine.saturating_sub(before.machine),
            written: self.written.saturating_sub(before.written),
        }
    }

    fn beside(self, other: Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            machine: self.machine.max(other.machine),
            written: self.written + other.written,
        }
    }
}

/// A histogram as the values that were counted, and how often.
mod counted {
    use hdrhistogram::Histogram;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(histogram: &Histogram<u64>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Histogram<u64>, D::Error> {
        let mut histogram = Histogram::new(3).map_err(D::Error::custom)?;
        for (value, count) in <Vec<(u64, u64)>>::deserialize(from)? {
            histogram.record_n(value, count).map_err(D::Error::custom)?;
        }
        Ok(histogram)
    }
}
