//! Random command lists against the independent model: the same answers, the same rows, and books in order after every
//! step.
//!
//! `PREPAID_CASES` says how many cases (20,000 by default; `PREPAID_SQLITE_CASES`, 200, on SQLite and memory at once), `PREPAID_SEED` where they begin; a failure prints both and
//! keeps its case in `tests/properties.regressions`, which is played first ever after.

#![cfg(feature = "testing")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::thread;

use prepaid::model::LedgerId;
#[cfg(feature = "sqlite")]
use prepaid::store::sqlite::SqliteStore;
use prepaid::store::{MemoryStore, Store};
use prepaid::testing::ManualClock;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
use prepaid::{
    Timestamp,
    clock::Clock,
    kernel::{Batch, Command},
    testing::{Model, Rows},
};
use proptest::test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use common::draw::{Case, cases};
#[cfg(all(feature = "sqlite", feature = "postgres"))]
use common::draw::{Drawer, Drawn};
use common::forgetful::Forgetful;
use common::player::{Cell, Player};

const STEPS: usize = 48;
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/properties.regressions");
/// State, command and outcome of what the random lists must meet: without it they would prove little.
const CELLS: &str = include_str!("data/cells.txt");

/// What the lists must meet of lots and budgets.
const MARKS: [&str; 11] = [
    "denied by a budget",
    "budget that resets",
    "part of a budget",
    "hold in several windows",
    "hold from several lots",
    "lapse before a hold with budgets",
    "lot expired",
    "money came back too late",
    "late money was used after all",
    "refund into a new lot",
    "budget was set again",
];

#[test]
fn kernel_agrees_with_the_model() {
    let count = common::number("PREPAID_CASES", 20_000);
    let seed = seed();
    println!("PREPAID_SEED={seed} PREPAID_CASES={count}");
    let threads = thread::available_parallelism().map_or(1, usize::from).min(8) as u64;
    let met = thread::scope(|scope| {
        let shards: Vec<_> =
            (0..threads).map(|shard| scope.spawn(move || kernel_shard(seed, shard, count.div_ceil(threads)))).collect();
        let mut met = Met::default();
        let mut failures = Vec::new();
        for shard in shards {
            match shard.join().unwrap() {
                Ok(more) => met.add(more),
                Err(error) => failures.push(error),
            }
        }
        assert!(failures.is_empty(), "PREPAID_SEED={seed} PREPAID_CASES={count}\n{}", failures.join("\n\n"));
        met
    });
    if std::env::var_os("PREPAID_SHOW_CELLS").is_some() {
        met.cells.iter().for_each(|(state, command, outcome)| println!("{state} {command} {outcome}"));
    }
    let is = |(state, command, outcome): &Cell, line: &str| line.split(' ').eq([state.as_str(), command, outcome]);
    let missed: Vec<_> = CELLS.lines().filter(|line| !met.cells.iter().any(|cell| is(cell, line))).collect();
    println!("{count} cases, {} cells of the state table met; {:?}", met.cells.len(), met.marks);
    for what in MARKS {
        assert!(count < 10_000 || met.marks.contains_key(what), "PREPAID_SEED={seed}: no case met: {what}");
    }
    assert!(count < 10_000 || missed.is_empty(), "PREPAID_SEED={seed}: cells that no case met: {missed:?}");
}

/// The same lists on both: the same answers, and the same rows down to the last hash.
#[cfg(feature = "sqlite")]
#[test]
fn sqlite_answers_and_keeps_what_memory_does() {
    let count = common::number("PREPAID_SQLITE_CASES", 200);
    let seed = seed();
    println!("PREPAID_SEED={seed} PREPAID_SQLITE_CASES={count}");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = run(seed, u64::MAX, count, |case| {
        runtime.block_on(async {
            let folder = common::child::scratch();
            let clock = Arc::new(ManualClock::default());
            let store = SqliteStore::open(folder.path().join("ledger.db"), clock.clone()).await;
            let store = Arc::new(store.map_err(|error| error.to_string())?);
            let twin = MemoryStore::new(store.ledger(), clock.clone());
            let mut player = Player::new(store, clock);
            player.twin = Some(Arc::new(twin));
            player.play(case, "a").await.map_err(|error| format!("{error}\n{}", player.log.join("\n")))
        })
    });
    assert!(outcome.is_ok(), "PREPAID_SEED={seed} PREPAID_SQLITE_CASES={count}\n{}", outcome.unwrap_err());
}

/// An account that let go of its past answers as one that keeps all of it, but to what was final then: that is too old.
///
/// `PREPAID_FORGETFUL_CASES` says how many cases (2,000 by default, and a tenth as many on SQLite).
#[test]
fn past_that_went_changes_no_answer_but_to_what_is_too_old() {
    let memory = async |clock: Arc<ManualClock>| MemoryStore::new(LedgerId([7; 16]), clock);
    let_go(common::number("PREPAID_FORGETFUL_CASES", 2_000), memory);
}

#[cfg(feature = "sqlite")]
#[test]
fn past_that_went_from_sqlite_changes_no_answer_but_to_what_is_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    let sqlite = async |clock: Arc<ManualClock>| {
        number.set(number.get() + 1);
        SqliteStore::open(folder.path().join(format!("{}.db", number.get())), clock).await.unwrap()
    };
    let_go(common::number("PREPAID_FORGETFUL_CASES", 2_000) / 10, sqlite);
}

fn let_go<S: Store + 'static>(count: u64, store: impl AsyncFn(Arc<ManualClock>) -> S) {
    let seed = seed();
    println!("PREPAID_SEED={seed} PREPAID_FORGETFUL_CASES={count}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let met = std::cell::Cell::new([0; 2]);
    let outcome = run(seed, 0, count, |case| {
        runtime.block_on(async {
            let clock = Arc::new(ManualClock::default());
            let mut forgetful = Forgetful::new(Arc::new(store(clock.clone()).await), clock);
            let played = forgetful.play(case).await;
            let [entries, asked] = met.get();
            met.set([entries + forgetful.met[0], asked + forgetful.met[1]]);
            played.map_err(|error| format!("{error}\n{}", forgetful.log.join("\n")))
        })
    });
    assert!(outcome.is_ok(), "PREPAID_SEED={seed} PREPAID_FORGETFUL_CASES={count}\n{}", outcome.unwrap_err());
    let [entries, asked] = met.get();
    println!("{count} cases, {entries} entries went, {asked} commands about what is too old");
    assert!(count < 200 || entries.min(asked) > count / 2, "the lists let go of next to nothing: {entries}, {asked}");
}

/// What cases met, all together.
#[derive(Default)]
struct Met {
    cells: BTreeSet<Cell>,
    marks: BTreeMap<&'static str, u64>,
}

impl Met {
    fn add(&mut self, more: Self) {
        self.cells.extend(more.cells);
        for (what, times) in more.marks {
            *self.marks.entry(what).or_default() += times;
        }
    }
}

fn kernel_shard(seed: u64, shard: u64, count: u64) -> Result<Met, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let met = std::cell::RefCell::new(Met::default());
    run(seed, shard, count, |case| {
        let clock = Arc::new(ManualClock::default());
        let store = MemoryStore::new(LedgerId([7; 16]), clock.clone());
        let mut player = Player::new(Arc::new(store), clock);
        let played = runtime.block_on(async {
            player.play(case, "a").await?;
            // An audit takes as long as a dozen steps.
            if case.setup[0] % 4 == 0 { player.audit().await } else { Ok(()) }
        });
        met.borrow_mut()
            .add(Met { cells: std::mem::take(&mut player.cells), marks: std::mem::take(&mut player.marks) });
        played.map_err(|error| format!("{error}\n{}", player.log.join("\n")))
    })?;
    Ok(met.into_inner())
}

/// Every store gives the same replies to the same commands, and ends with the same rows.
///
/// `PREPAID_STORE_CASES` says how many cases (100 by default).
#[cfg(all(feature = "sqlite", feature = "postgres"))]
#[test]
fn stores_give_the_same_replies_and_rows() {
    let count = common::number("PREPAID_STORE_CASES", 100);
    let seed = seed();
    println!("PREPAID_SEED={seed} PREPAID_STORE_CASES={count}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let (database, stores) = runtime.block_on(async {
        let database = common::postgres::Database::new().await;
        let postgres = database.store_by(clock.clone(), Some(1)).await;
        let sqlite = SqliteStore::open(folder.path().join("ledger.db"), clock.clone()).await.unwrap();
        let stores: [Arc<dyn Store>; 2] = [postgres, Arc::new(sqlite)];
        (database, stores)
    });
    // Hashes are made over the ledger's name, which each database draws for itself.
    let references: Vec<_> = stores.iter().map(|store| MemoryStore::new(store.ledger(), clock.clone())).collect();
    let pairs: Vec<_> = stores.iter().map(|store| &**store).zip(&references).collect();
    let played = std::cell::Cell::new(0);
    let outcome = run(seed, 0, count, |case| {
        // Accounts of its own for every case, the same again when a failure is made smaller.
        played.set(played.get() + 1);
        let beside = Beside { pairs: &pairs, clock: &clock, model: Model::default(), batch: Vec::new() };
        runtime.block_on(beside.play(case, &format!("{}-", played.get())))
    });
    if let Err(error) = outcome {
        panic!("PREPAID_SEED={seed} PREPAID_STORE_CASES={count}\n{error}");
    }
    runtime.block_on(async {
        for (store, reference) in &pairs {
            let rows = Rows::of_bucket(*store, 0).await.unwrap();
            rows.check(store.ledger()).unwrap();
            assert!(rows == Rows::of_bucket(*reference, 0).await.unwrap(), "{store:?} has other rows");
        }
        drop(database);
    });
}

/// Stores, each with a reference beside it, and the model that cases are drawn by.
#[cfg(all(feature = "sqlite", feature = "postgres"))]
struct Beside<'a> {
    pairs: &'a [(&'a dyn Store, &'a MemoryStore)],
    clock: &'a ManualClock,
    model: Model,
    batch: Vec<Arc<Command>>,
}

#[cfg(all(feature = "sqlite", feature = "postgres"))]
impl Beside<'_> {
    async fn play(mut self, case: &Case, prefix: &str) -> Result<(), String> {
        let mut drawer = Drawer::new(case, prefix);
        for step in drawer.beginning(self.clock.now()) {
            self.take(step, false).await?;
        }
        for raw in &case.steps {
            let step = drawer.draw(*raw, &self.model, self.clock.now());
            self.take(step, raw.flags & 0b11 == 0b11).await?;
        }
        self.commit().await
    }

    /// Takes a step. A command that joins goes into one batch with the one before.
    async fn take(&mut self, step: Drawn, joins: bool) -> Result<(), String> {
        if !joins || matches!(step, Drawn::Tick(_)) {
            self.commit().await?;
        }
        match step {
            Drawn::Tick(micros) => self.clock.set(Timestamp::from_micros(self.clock.now().as_micros() + micros)),
            Drawn::Command(command) => {
                let _ = self.model.run(&command, self.clock.now());
                self.batch.push(command);
            }
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), String> {
        let batch = Arc::new(Batch::new(std::mem::take(&mut self.batch)));
        if batch.commands().is_empty() {
            return Ok(());
        }
        for (store, reference) in self.pairs {
            let replies = store.commit(0, Arc::clone(&batch)).await.map_err(|error| error.to_string())?;
            let expected = reference.commit(0, Arc::clone(&batch)).await.map_err(|error| error.to_string())?;
            if replies != expected {
                return Err(format!("{batch:?}\n{store:?} replies {replies:?}\nexpected {expected:?}"));
            }
        }
        Ok(())
    }
}

/// Plays `count` cases; a failure is shrunk first.
fn run(seed: u64, shard: u64, count: u64, play: impl Fn(&Case) -> Result<(), String>) -> Result<(), String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&shard.to_le_bytes());
    let config = Config {
        cases: u32::try_from(count).unwrap(),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = runner.run(&cases(STEPS), |case| play(&case).map_err(TestCaseError::fail));
    outcome.map_err(|error| error.to_string())
}

fn seed() -> u64 {
    common::number("PREPAID_SEED", RandomState::new().build_hasher().finish())
}
