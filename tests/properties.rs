//! Random command lists against the independent model: the same answers, the same rows, and books in order after every
//! step.
//!
//! `PREPAID_CASES` says how many cases (20,000 by default; `PREPAID_SQLITE_CASES`, 200, on SQLite and memory at once), `PREPAID_SEED` where they begin; a failure prints both and
//! keeps its case in `tests/properties.regressions`, which is played first ever after.

#![cfg(feature = "testing")]

mod common;

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::thread;

use prepaid::model::LedgerId;
use prepaid::store::MemoryStore;
use prepaid::testing::ManualClock;
use proptest::test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use common::draw::{Case, cases};
use common::player::{Cell, Player};

const STEPS: usize = 48;
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/properties.regressions");
/// State, command and outcome of what the random lists must meet: without it they would prove little.
const CELLS: &str = include_str!("data/cells.txt");

#[test]
fn kernel_agrees_with_the_model() {
    let count = common::number("PREPAID_CASES", 20_000);
    let seed = seed();
    println!("PREPAID_SEED={seed} PREPAID_CASES={count}");
    let threads = thread::available_parallelism().map_or(1, usize::from).min(8) as u64;
    let met = thread::scope(|scope| {
        let shards: Vec<_> =
            (0..threads).map(|shard| scope.spawn(move || kernel_shard(seed, shard, count.div_ceil(threads)))).collect();
        let mut met = BTreeSet::new();
        let mut failures = Vec::new();
        for shard in shards {
            match shard.join().unwrap() {
                Ok(cells) => met.extend(cells),
                Err(error) => failures.push(error),
            }
        }
        assert!(failures.is_empty(), "PREPAID_SEED={seed} PREPAID_CASES={count}\n{}", failures.join("\n\n"));
        met
    });
    if std::env::var_os("PREPAID_SHOW_CELLS").is_some() {
        met.iter().for_each(|(state, command, outcome)| println!("{state} {command} {outcome}"));
    }
    let is = |(state, command, outcome): &Cell, line: &str| line.split(' ').eq([state.as_str(), command, outcome]);
    let missed: Vec<_> = CELLS.lines().filter(|line| !met.iter().any(|cell| is(cell, line))).collect();
    println!("{count} cases, {} cells of the state table met", met.len());
    assert!(count < 10_000 || missed.is_empty(), "PREPAID_SEED={seed}: cells that no case met: {missed:?}");
}

/// The same lists on both: the same answers, and the same rows down to the last hash.
#[cfg(feature = "sqlite")]
#[test]
fn sqlite_answers_and_keeps_what_memory_does() {
    use prepaid::store::{Store, sqlite::SqliteStore};
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

fn kernel_shard(seed: u64, shard: u64, count: u64) -> Result<BTreeSet<Cell>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let met = std::cell::RefCell::new(BTreeSet::new());
    run(seed, shard, count, |case| {
        let clock = Arc::new(ManualClock::default());
        let store = MemoryStore::new(LedgerId([7; 16]), clock.clone());
        let mut player = Player::new(Arc::new(store), clock);
        let played = runtime.block_on(player.play(case, "a"));
        met.borrow_mut().append(&mut player.cells);
        played.map_err(|error| format!("{error}\n{}", player.log.join("\n")))
    })?;
    Ok(met.into_inner())
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
