//! Several processes share one ledger: exact under any of them, whatever becomes of the others.
//!
//! The processes are this test binary, started again with a role.

#![cfg(all(feature = "testing", feature = "postgres"))]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use prepaid::model::{Cap, HoldState, Lease, Policy, Scope, Window};
use prepaid::{AccountHandle, Error, HoldId, Ledger, Reserved};
use sqlx::{ConnectOptions, Executor};

use common::one::amount;
use common::postgres::{Database, Server};

const PROCESSES: usize = 4;

/// What a process that was started again is to do, and where.
fn role(name: &str) -> Option<(String, usize)> {
    let is_mine = std::env::var("PREPAID_ROLE").is_ok_and(|role| role == name);
    let url = std::env::var("PREPAID_ROLE_URL").ok().filter(|_| is_mine)?;
    let number = std::env::var("PREPAID_ROLE_NUMBER").ok()?.parse().ok()?;
    Some((url, number))
}

/// Starts a process that runs the test `name` with its role.
fn process(name: &str, url: &str, number: usize, log: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture"]).stdin(Stdio::null());
    command.env("PREPAID_ROLE", name).env("PREPAID_ROLE_URL", url).env("PREPAID_ROLE_NUMBER", number.to_string());
    command.env("PREPAID_ROLE_LOG", log);
    command
}

#[tokio::test]
async fn a2_four_processes_leave_an_exact_balance() {
    const COVERED: i64 = 1_000;
    const OWN: usize = 300;
    const SHARED: usize = 200;
    const NAME: &str = "a2_four_processes_leave_an_exact_balance";
    if let Some((url, number)) = role(NAME) {
        // More is asked for than there is, and some of it under names that all processes ask for.
        let ledger = Ledger::builder().sweep_every(None).open(&url).await.unwrap();
        let alice = ledger.account("alice").unwrap();
        let own = (0..OWN).map(|n| format!("own-{number}-{n}"));
        let asked = (0..SHARED).map(|n| format!("shared-{n}")).chain(own);
        let answers = join_all(asked.map(|request| alice.reserve(request, amount(1)).into_future())).await;
        tell_created(answers.into_iter().map(Result::unwrap));
        return ledger.close(Duration::from_secs(5)).await.unwrap();
    }
    let database = Database::new().await;
    let ledger = Ledger::open(&database.url).await.unwrap();
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("opening", amount(COVERED)).await.unwrap();
    let created = created_by_all(NAME, &database.url).await;
    let balance = alice.balance().await.unwrap();
    assert_eq!((created, balance.available.minor_units(), balance.held.minor_units()), (COVERED, 0, COVERED));
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
}

#[tokio::test]
async fn a4_four_processes_admit_what_a_budget_covers_and_no_more() {
    const NAME: &str = "a4_four_processes_admit_what_a_budget_covers_and_no_more";
    let cents = |count: i64| amount(count * 10_000_000);
    if let Some((url, number)) = role(NAME) {
        let ledger = Ledger::builder().sweep_every(None).open(&url).await.unwrap();
        let alice = ledger.account("alice").unwrap();
        let key = Scope::new("key:prod").unwrap();
        let asked = (0..250).map(|n| alice.reserve(format!("r-{number}-{n}"), cents(10)).scopes([key.clone()]));
        let answers = join_all(asked.map(IntoFuture::into_future)).await;
        tell_created(answers.into_iter().map(Result::unwrap));
        return ledger.close(Duration::from_secs(5)).await.unwrap();
    }
    let database = Database::new().await;
    let ledger = Ledger::open(&database.url).await.unwrap();
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("opening", cents(100_000)).await.unwrap();
    let key = Scope::new("key:prod").unwrap();
    alice.set_budget(key, Window::TOTAL, Cap::Spend(cents(500))).await.unwrap();
    assert_eq!(created_by_all(NAME, &database.url).await, 50, "1,000 reserves of 0.10 against 5.00");
    let budget = &alice.budgets().await.unwrap()[0];
    assert_eq!((budget.used, budget.held, budget.left()), (0, cents(500).minor_units().unsigned_abs(), 0));
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
}

/// What a process says of its reserves; its holds stay open.
fn tell_created(answers: impl Iterator<Item = Reserved>) {
    let created = answers.filter_map(|answer| match answer {
        Reserved::Created(hold) => Some(hold.detach()),
        Reserved::Replayed { .. } | Reserved::Closed { .. } | Reserved::Denied(_) => None,
    });
    println!("\ncreated={}", created.count());
}

/// Runs the role `name` in several processes at once; how many holds they made together.
async fn created_by_all(name: &str, url: &str) -> i64 {
    let log = Path::new("/dev/null");
    let start = |number| process(name, url, number, log).stdout(Stdio::piped()).spawn().unwrap();
    let processes: Vec<_> = (0..PROCESSES).map(start).collect();
    let mut created = 0;
    for process in processes {
        let output = tokio::task::spawn_blocking(|| process.wait_with_output()).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        let count = text.lines().find_map(|line| line.strip_prefix("created="));
        created += count.unwrap_or_else(|| panic!("{text}")).parse::<i64>().unwrap();
    }
    created
}

/// Processes that are killed, frozen and cut off, and a server that stops without a word: nothing is charged twice, no
/// answered command is lost, no money comes or goes, and nobody deadlocks.
///
/// `PREPAID_NEMESIS_SECONDS` says for how long (12 by default), `PREPAID_SEED` what happens.
#[tokio::test]
async fn processes_that_die_and_freeze_lose_and_double_nothing() {
    const NAME: &str = "processes_that_die_and_freeze_lose_and_double_nothing";
    if let Some((url, number)) = role(NAME) {
        return work(&url, number).await;
    }
    let seed = common::number("PREPAID_SEED", RandomState::new().build_hasher().finish());
    let seconds = common::number("PREPAID_NEMESIS_SECONDS", 12);
    println!("PREPAID_SEED={seed} PREPAID_NEMESIS_SECONDS={seconds}");
    let server = Server::start(&["max_connections=60"], false);
    let folder = tempfile::tempdir().unwrap();
    let log = |number: usize| folder.path().join(format!("log-{number}"));
    let ledger = fleet(&server.url()).await;
    let accounts = accounts(&ledger);
    for account in &accounts {
        account.open().await.unwrap();
        account.deposit("opening", amount(FUNDS)).await.unwrap();
    }
    ledger.close(Duration::from_secs(5)).await.unwrap();
    let start = |number| {
        let quiet = Stdio::null();
        process(NAME, &server.url(), number, &log(number)).stdout(quiet).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut processes: Vec<Child> = (0..PROCESSES).map(start).collect();
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut draw, mut done, mut stopped) = (seed, BTreeMap::new(), false);
    while Instant::now() < until {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let victim = usize::try_from((draw >> 40) % PROCESSES as u64).unwrap();
        let action = match (draw >> 33) % 8 {
            0..=2 => {
                processes[victim].kill().unwrap();
                processes[victim].wait().unwrap();
                processes[victim] = start(victim);
                "kill"
            }
            3..=4 => {
                signal(&processes[victim], "-STOP");
                tokio::time::sleep(Duration::from_millis(100 + (draw >> 20) % 2_500)).await;
                signal(&processes[victim], "-CONT");
                "freeze"
            }
            5..=6 => {
                let kill = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'prepaid' \
                            and random() < 0.5";
                if let Ok(mut connection) = server.connect().connect().await {
                    let _ = connection.execute(kill).await;
                }
                "cut"
            }
            _ if !stopped => {
                stopped = true;
                server.crash();
                "crash"
            }
            _ => "rest",
        };
        *done.entry(action).or_insert(0) += 1;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    for mut process in processes {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    println!("{done:?}");
    let logs: Vec<_> = (0..PROCESSES).map(log).collect();
    let ledger = fleet(&server.url()).await;
    check(&ledger, &logs).await;
    let deadlocks = "select sum(deadlocks)::bigint from pg_stat_database";
    let mut connection = server.connect().connect().await.unwrap();
    let deadlocks: i64 = sqlx::query_scalar(deadlocks).fetch_one(&mut connection).await.unwrap();
    assert_eq!(deadlocks, 0);
}

const FUNDS: i64 = 1_000_000;
const ACCOUNTS: usize = 8;

/// A ledger whose holds soon lapse when their process is gone.
async fn fleet(url: &str) -> Ledger {
    let second = Duration::from_secs(1);
    let lease = Lease { ttl: second * 4, grace: second, late: second * 3_600 };
    let policy = Policy { lease, ..Policy::default() };
    Ledger::builder().policy(policy).holiday(second).open(url).await.unwrap()
}

fn accounts(ledger: &Ledger) -> Vec<AccountHandle> {
    (0..ACCOUNTS).map(|n| ledger.account(format!("account-{n}")).unwrap()).collect()
}

/// What a process does until it is killed: requests of its own, and requests that all processes get. It notes every
/// answer after it has it.
async fn work(url: &str, number: usize) {
    let ledger = loop {
        let second = Duration::from_secs(1);
        // The server may be down just now.
        match tokio::time::timeout(second * 20, fleet_if_up(url)).await {
            Ok(Some(ledger)) => break ledger,
            Ok(None) | Err(_) => tokio::time::sleep(second / 5).await,
        }
    };
    let log = PathBuf::from(std::env::var_os("PREPAID_ROLE_LOG").unwrap());
    let born = std::process::id();
    let accounts = accounts(&ledger);
    let callers = (0..16).map(|caller| {
        let (accounts, log) = (accounts.clone(), log.clone());
        tokio::spawn(async move {
            let mut log = OpenOptions::new().create(true).append(true).open(log).unwrap();
            for turn in 0_u64.. {
                let shared = turn % 4 == 0;
                let request = if shared {
                    format!("shared-{caller}-{turn}")
                } else {
                    format!("own-{number}-{born}-{caller}-{turn}")
                };
                let half = (turn + caller) % 2 == 0;
                let account = if half { 0 } else { usize::try_from((turn + caller) % ACCOUNTS as u64).unwrap() };
                let account_handle = &accounts[account];
                let cost = 1 + i64::try_from((turn + caller) % 7).unwrap();
                if let Ok(Reserved::Created(hold)) = account_handle.reserve(request.clone(), amount(10)).await {
                    writeln!(log, "created {account} {request} 0").unwrap();
                    if settle(hold.settle(amount(cost)).await.map(drop), account_handle, &request, cost).await {
                        writeln!(log, "settled {account} {request} {cost}").unwrap();
                    }
                }
            }
        })
    });
    join_all(callers.collect::<Vec<_>>()).await;
}

async fn fleet_if_up(url: &str) -> Option<Ledger> {
    let ledger = Ledger::open(url).await.ok()?;
    ledger.close(Duration::ZERO).await.ok()?;
    Some(fleet(url).await)
}

/// Asks again until the answer is known.
async fn settle(first: Result<(), Error>, account: &AccountHandle, request: &str, cost: i64) -> bool {
    let mut answer = first;
    for _ in 0..20 {
        match answer {
            Ok(()) => return true,
            Err(error) if error.is_retryable() => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(_) => return false,
        }
        answer = account.settle(request, amount(cost)).await.map(drop);
    }
    false
}

fn signal(process: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &process.id().to_string()]).status().unwrap().success());
}

/// What the processes were told must be so.
async fn check(ledger: &Ledger, logs: &[PathBuf]) {
    let accounts = accounts(ledger);
    let (mut created, mut settled) = (BTreeSet::new(), 0);
    for line in logs
        .iter()
        .flat_map(|log| std::fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>())
    {
        let words: Vec<_> = line.split(' ').collect();
        let [what, account, request, cost] = words[..] else { continue };
        let account = &accounts[account.parse::<usize>().unwrap()];
        match what {
            "created" => assert!(created.insert(line.clone()), "two processes were told that they made it: {line}"),
            "settled" => {
                let hold = account.hold(HoldId::new(request, 1).unwrap()).await.unwrap().expect(&line);
                let actual = hold.actual.map(|actual| actual.cost.minor_units());
                assert_eq!((hold.state, actual), (HoldState::Settled, Some(cost.parse().unwrap())), "{line}");
                settled += 1;
            }
            other => panic!("{other}"),
        }
    }
    println!("{} created, {settled} settled", created.len());
    assert!(created.len() > 100 && settled > 100, "hardly anything was done");
    for account in accounts {
        let books = account.view().await.unwrap().books;
        let total = books.available.minor_units() + books.held.minor_units() + books.revenue.minor_units();
        assert_eq!(total, FUNDS, "{books:?}");
    }
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
}
