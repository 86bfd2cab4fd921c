//! Processes that are killed, frozen and cut off, and a server that stops without a word, while the same requests come to
//! several processes at once. Then everything that is unknown is asked for again, and the whole history is judged.
//!
//! `PREPAID_NEMESIS_SECONDS` says for how long (60 by default), `PREPAID_SEED` what happens.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use prepaid::model::HoldState;
use prepaid::{Ledger, LedgerBuilder};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{ConnectOptions, Executor};

use crate::checker::{Journals, violations};
use crate::common::{self, postgres::Server};
use crate::gateway::{ACCOUNTS, Folder, account, builder, found, serve};
use crate::history::{Answer, Ask, Client, Op, read};
use crate::{PROCESSES, process, replay, role};

const NAME: &str = "nemesis::processes_that_die_and_freeze_break_no_rule_of_their_history";

#[tokio::test]
async fn processes_that_die_and_freeze_break_no_rule_of_their_history() {
    if let Some((url, number)) = role(NAME) {
        let folder = std::env::var_os("PREPAID_ROLE_FOLDER").unwrap();
        return serve(&open(builder(), &url).await, number, Path::new(&folder)).await;
    }
    let seed = common::number("PREPAID_SEED", RandomState::new().build_hasher().finish());
    let seconds = common::number("PREPAID_NEMESIS_SECONDS", 60);
    println!("PREPAID_SEED={seed} PREPAID_NEMESIS_SECONDS={seconds}");
    let server = Server::start(&["max_connections=60"], false);
    let scratch = tempfile::tempdir().unwrap();
    let folder = Folder(scratch.path().to_owned());
    let parent = folder.log(PROCESSES);
    let ledger = open(builder(), &server.url()).await;
    found(&ledger, &mut Client::new("founder".to_owned(), &parent)).await;
    ledger.close(Duration::ZERO).await.unwrap();

    let mut nemesis = Nemesis { server: &server, folder: &folder, processes: Vec::new(), done: BTreeMap::new() };
    nemesis.run(seed, Duration::from_secs(seconds)).await;
    println!("{:?}", nemesis.done);
    end(&folder, nemesis.processes).await;

    let ledger = open(builder(), &server.url()).await;
    let logs: Vec<_> = (0..=PROCESSES).map(|number| folder.log(number)).collect();
    let history = || read(logs.iter().map(std::path::PathBuf::as_path));
    resolve(&ledger, &history(), &mut Client::new("resolver".to_owned(), &parent)).await;
    let left = left_open(&ledger).await;
    judge(&ledger, &history()).await;
    reached(&ledger, &history(), seconds).await;
    assert_eq!(left, 0, "holds that are overdue and open");
    let log = server.log();
    assert!(log.contains("database system was not properly shut down"), "it was never stopped");
    assert!(!log.contains("deadlock detected"), "{log}");
    let mut connection = server.connect().connect().await.unwrap();
    // The server forgets its statistics when it crashes: its log does not.
    let deadlocks = "select sum(deadlocks)::bigint from pg_stat_database";
    let deadlocks: i64 = sqlx::query_scalar(deadlocks).fetch_one(&mut connection).await.unwrap();
    let idle = "select count(*) from pg_stat_activity where state like 'idle in transaction%'";
    let idle: i64 = sqlx::query_scalar(idle).fetch_one(&mut connection).await.unwrap();
    assert_eq!((deadlocks, idle), (0, 0));
}

/// Opens the ledger as soon as the server is up.
pub(crate) async fn open(builder: LedgerBuilder, url: &str) -> Ledger {
    loop {
        match builder.clone().open(url).await {
            Ok(ledger) => return ledger,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

struct Nemesis<'a> {
    server: &'a Server,
    folder: &'a Folder,
    processes: Vec<Child>,
    /// How often it did what.
    done: BTreeMap<&'static str, u32>,
}

impl Nemesis<'_> {
    fn start(&self, number: usize) -> Child {
        let mut process = process(NAME, &self.server.url(), number, &self.folder.0);
        process.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    async fn run(&mut self, seed: u64, time: Duration) {
        self.processes = (0..PROCESSES).map(|number| self.start(number)).collect();
        let until = Instant::now() + time;
        let (mut draw, mut crash_at) = (seed, Some(Instant::now() + time / 2));
        while Instant::now() < until {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let victim = usize::try_from((draw >> 40) % PROCESSES as u64).unwrap();
            let action = match (draw >> 33) % 8 {
                _ if crash_at.is_some_and(|at| at < Instant::now()) => {
                    crash_at = None;
                    self.server.crash();
                    "crash"
                }
                0..=2 => {
                    self.processes[victim].kill().unwrap();
                    self.processes[victim].wait().unwrap();
                    self.processes[victim] = self.start(victim);
                    "kill"
                }
                3..=4 => {
                    signal(&self.processes[victim], Signal::STOP);
                    tokio::time::sleep(Duration::from_millis(100 + (draw >> 20) % 2_500)).await;
                    signal(&self.processes[victim], Signal::CONT);
                    "freeze"
                }
                5..=6 => {
                    let kill = "select pg_terminate_backend(pid) from pg_stat_activity \
                                where application_name = 'prepaid' and random() < 0.5";
                    let mut connection = self.server.connect().connect().await.unwrap();
                    connection.execute(kill).await.unwrap();
                    "cut"
                }
                _ => "rest",
            };
            *self.done.entry(action).or_insert(0) += 1;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

/// Once the faults are over every process finishes what it has begun, and ends well.
pub(crate) async fn end(folder: &Folder, processes: Vec<Child>) {
    std::fs::write(folder.stop(), "").unwrap();
    for mut process in processes {
        let ended = tokio::task::spawn_blocking(move || process.wait().unwrap());
        assert!(ended.await.unwrap().success(), "a process failed by itself");
    }
}

fn signal(process: &Child, signal: Signal) {
    kill_process(Pid::from_child(process), signal).unwrap();
}

/// Ten times a second: whoever is not answered by then never will be.
pub(crate) const TRIES: usize = 300;

/// Asks again for everything of which nobody knows what came of it.
pub(crate) async fn resolve(ledger: &Ledger, history: &[Op], client: &mut Client) {
    let is_unknown = |op: &&Op| matches!(op.told, None | Some((_, Answer::Unknown)));
    let unknown: Vec<_> = history.iter().filter(is_unknown).filter(|op| op.ask != Ask::Read).collect();
    for op in &unknown {
        let account = ledger.account(op.account.as_str()).unwrap();
        for _ in 0..TRIES {
            if !matches!(client.ask(&account, op.ask.clone()).await, Answer::Unknown | Answer::NotDone) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Waits until the sweeper has closed the holds that nobody closes; how many it leaves open.
async fn left_open(ledger: &Ledger) -> u32 {
    let mut open = 0;
    for _ in 0..TRIES {
        open = 0;
        for number in 0..ACCOUNTS {
            open += account(ledger, number).view().await.unwrap().open_holds;
        }
        if open == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    open
}

/// Holds the history against what is in the database.
///
/// # Panics
/// When a rule is broken, or the audit finds something.
pub(crate) async fn judge(ledger: &Ledger, history: &[Op]) {
    let mut journals = Journals::new();
    for number in 0..ACCOUNTS {
        let account = account(ledger, number);
        journals.insert(account.id().to_string(), account.journal(0, u32::MAX).await.unwrap());
    }
    let mut found = violations(history, &journals);
    found.extend(replay::violations(ledger.id(), &journals).await);
    let shown: Vec<_> = found.iter().take(10).map(ToString::to_string).collect();
    assert!(found.is_empty(), "{} violations: {}", found.len(), shown.join("\n"));
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
}

/// A run that met nothing of what it is for shows nothing.
async fn reached(ledger: &Ledger, history: &[Op], seconds: u64) {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for op in history {
        let told = match &op.told {
            None => "no answer",
            Some((_, Answer::Done { outcome, .. })) => outcome,
            Some((_, Answer::Refused { name, .. })) => name,
            Some((_, Answer::Denied { by_budget: true, .. })) => "Denied by budget",
            Some((_, Answer::Denied { .. })) => "Denied",
            Some((_, Answer::Read(_))) => "read",
            Some((_, Answer::NotDone)) => "not done",
            Some((_, Answer::Promised)) => "promised",
            Some((_, Answer::Unknown)) => "unknown",
            Some((_, Answer::Broken(_))) => "broken",
        };
        *counts.entry(told.to_owned()).or_insert(0) += 1;
        if op.client == "resolver" {
            *counts.entry(format!("resolved {told}")).or_insert(0) += 1;
        }
    }
    let mut lapsed = 0;
    for number in 0..ACCOUNTS {
        let holds = account(ledger, number).holds(0, u32::MAX).await.unwrap();
        lapsed += holds.iter().filter(|hold| hold.state == HoldState::Lapsed).count();
    }
    println!("{} questions, {lapsed} lapses that stayed: {counts:?}", history.len());
    let expected = [
        "Ok",
        "OkLate",
        "Created",
        "Replayed",
        "AlreadyClosed",
        "AlreadySettled",
        "Conflict",
        "KeyReused",
        "Denied",
        "Denied by budget",
        "read",
        "no answer",
        "resolved Replayed",
        "resolved Created",
    ];
    let missed: Vec<_> = expected.iter().filter(|name| !counts.contains_key(**name)).collect();
    assert!(seconds < 30 || (missed.is_empty() && lapsed > 0), "never met: {missed:?}");
}
