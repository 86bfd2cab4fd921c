//! How many commands a second the pure kernel decides: no store, no tasks, one core.
//!
//! Batches of reserves and batches of settlements take turns, on what the batches before them left. What is timed is
//! [`Batch::decide`], with the hash chain; making commands and laying changes over the snapshot is not. Beside it the
//! one thing that cannot be saved: a SHA-256 per entry.

#[path = "common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use prepaid::kernel::{Action, Batch, Command, Decision, Snapshot};
use prepaid::model::{CallToken, ChainHash, Limits, OperationKey, Policy, Terms};
use prepaid::{AccountId, Amount, Asset, HoldId, Timestamp};

use self::common::{Figure, median};

type Failure = Box<dyn std::error::Error>;

/// Decide as fast as it goes.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often everything is measured, in turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each run is measured, in milliseconds.
    #[arg(long, default_value_t = 500)]
    span_ms: u64,
    /// Short runs, for a first look.
    #[arg(long)]
    quick: bool,
    /// One JSON object per line instead of a table.
    #[arg(long)]
    json: bool,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let span = Duration::from_millis(if arguments.quick { 100 } else { arguments.span_ms });
    let link = median((0..arguments.rounds).map(|_| links(span)));
    let mut figures = vec![Figure::new("a link of the hash chain alone", link, "links/s")];
    for accounts in [1, 10_000] {
        let mut books = Books::open(accounts)?;
        for batch in [1, 64, 1_024] {
            let mut rates = Vec::new();
            for _ in 0..arguments.rounds {
                rates.push(books.drive(batch, span)?);
            }
            let name = format!("{accounts} accounts, batches of {batch}");
            let rate = median(rates);
            figures.push(Figure::new(name, rate, "decisions/s").against("a link alone", rate / link, None));
        }
    }
    common::print(&figures, arguments.json);
    Ok(())
}

/// How many links a second are made over as many bytes as an entry of a reserve has.
fn links(span: Duration) -> f64 {
    const ENTRY: [u8; 100] = [7; 100];
    let mut link = ChainHash::default();
    let mut watch = Stopwatch::default();
    let mut made = 0;
    let began = Instant::now();
    while began.elapsed() < span {
        watch.time(|| (0..1_024).for_each(|_| link = link.next(&ENTRY)));
        made += 1_024;
    }
    std::hint::black_box(link);
    watch.rate(made)
}

/// Adds up what it times, and leaves out the time the machine gave to others.
struct Stopwatch {
    timed: Duration,
    began: Instant,
    on_core: Option<u64>,
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self { timed: Duration::ZERO, began: Instant::now(), on_core: on_core() }
    }
}

impl Stopwatch {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.timed += began.elapsed();
        done
    }

    /// So many in the timed part of the time this thread had a core.
    fn rate(&self, done: usize) -> f64 {
        let passed = self.began.elapsed().as_nanos() as f64;
        let share = match (self.on_core, on_core()) {
            (Some(before), Some(now)) => now.saturating_sub(before) as f64 / passed,
            (None, _) | (_, None) => 1.0,
        };
        done as f64 / (self.timed.as_secs_f64() * share)
    }
}

/// How long this thread has had a core, in ns, where the system says so (Linux).
fn on_core() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

/// A bucket's rows, in memory.
struct Books {
    accounts: Vec<AccountId>,
    snapshot: Snapshot,
    now: Timestamp,
    requests: usize,
}

impl Books {
    /// Accounts with plenty of money.
    fn open(accounts: usize) -> Result<Self, Failure> {
        let ids: Vec<_> =
            (0..accounts).map(|number| AccountId::new(format!("customer-{number}"))).collect::<Result<_, _>>()?;
        let mut books =
            Self { accounts: ids, snapshot: Snapshot::default(), now: Timestamp::from_micros(1), requests: 0 };
        let (limits, policy) = (Limits::default(), Policy::default());
        let opens = books.commands(|_| Ok(Action::Open { asset: Asset::USD, limits, policy }))?;
        books.decide(opens, &mut Stopwatch::default())?;
        let amount = Amount::new(100_000_000_000_000_000)?;
        let key = OperationKey::new("first")?;
        let deposits = books.commands(|_| Ok(Action::Deposit { key: key.clone(), amount, metadata: None }))?;
        books.decide(deposits, &mut Stopwatch::default())?;
        Ok(books)
    }

    /// Reserves and settles for `span`. Answers how many commands a second were decided.
    fn drive(&mut self, batch: usize, span: Duration) -> Result<f64, Failure> {
        let (mut decided, mut watch) = (0, Stopwatch::default());
        let began = Instant::now();
        while began.elapsed() < span {
            let (mut reserves, mut settlements) = (Vec::with_capacity(batch), Vec::with_capacity(batch));
            for _ in 0..batch {
                self.requests += 1;
                // A prime step: neighbours in a batch are no neighbours among the accounts.
                let account = self.accounts[self.requests * 7_919 % self.accounts.len()].clone();
                let hold = HoldId::new(format!("request-{}", self.requests), 1)?;
                let mut terms = Terms::default();
                terms.amount = Amount::new(40_000_000)?;
                let reserve = Action::Reserve {
                    hold: hold.clone(),
                    terms: Arc::new(terms),
                    lease: None,
                    token: CallToken::default(),
                    metadata: None,
                };
                let settle = Action::Settle {
                    hold,
                    measured: Amount::new(12_500_000)?.into(),
                    or_debit: None,
                    above_ceiling: false,
                    metadata: None,
                };
                reserves.push(Arc::new(Command::new(account.clone(), reserve)));
                settlements.push(Arc::new(Command::new(account, settle)));
            }
            self.decide(reserves, &mut watch)?;
            self.decide(settlements, &mut watch)?;
            decided += 2 * batch;
            // As a store forgets what is final: the books do not grow.
            self.snapshot.holds.clear();
        }
        Ok(watch.rate(decided))
    }

    fn commands(&self, action: impl Fn(&AccountId) -> Result<Action, Failure>) -> Result<Vec<Arc<Command>>, Failure> {
        self.accounts.iter().map(|account| Ok(Arc::new(Command::new(account.clone(), action(account)?)))).collect()
    }

    /// Decides a batch and lays its changes over the snapshot.
    fn decide(&mut self, commands: Vec<Arc<Command>>, watch: &mut Stopwatch) -> Result<(), Failure> {
        self.now = self.now.saturating_add(Duration::from_micros(1));
        let batch = Batch::new(commands);
        let decided = watch.time(|| batch.decide(&self.snapshot, self.now));
        let Decision { changes, replies } = decided.map_err(|missing| format!("needs more: {missing:?}"))?;
        if let Some(refused) = replies.iter().find(|reply| reply.answer.is_err()) {
            return Err(format!("refused: {refused:?}").into());
        }
        self.snapshot.counters = changes.counters;
        let accounts = changes.new_accounts.into_iter().chain(changes.accounts);
        self.snapshot.accounts.extend(accounts.map(|account| (account.id.clone(), account)));
        let holds = changes.new_holds.into_iter().chain(changes.holds);
        self.snapshot.holds.extend(holds.map(|hold| (hold.key, hold)));
        Ok(())
    }
}
