//! A process killed at any moment: what it was answered is in the books, what it was not can be asked for again, and
//! nothing happened twice.
//!
//! A child works on one SQLite file and writes down what it asks and what it is answered; it is killed with SIGKILL at
//! a random moment; the parent opens the file, audits it and asks everything again with the same ids. Then the next
//! child goes on with the same file. This proves atomicity, recovery and idempotence. It says nothing about power cuts:
//! those are in `power_cut.rs`.
//!
//! `PREPAID_KILLS` says how many (200 by default), `PREPAID_SEED` when.

#![cfg(all(feature = "testing", feature = "sqlite", unix))]

mod common;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use prepaid::model::Lease;
use prepaid::{AccountHandle, Ledger, Outcome, Reserved};

use common::child::{self, tell, told};
use common::one::{amount, signed};

/// Tasks of a child that ask at the same time.
const TASKS: u64 = 4;
const ACCOUNTS: u64 = 3;

/// What one command came to, as far as this test cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It happened now.
    Done,
    /// It had happened before.
    Before,
}

/// The commands of one round of a task, in order. Together they cost 20, and the last two lapse unpaid.
const ROUND: [&str; 7] = ["deposit", "reserve", "report", "settle", "refund", "debit", "forget"];
const DEPOSIT: i64 = 100;
const ROUND_COST: i64 = 30 - 15 + 5;

/// Asks for one command of a round. The same arguments name the same command for ever.
async fn ask(account: &AccountHandle, round: &str, command: &str) -> Result<Answer, prepaid::Error> {
    let of = |outcome: Outcome| match outcome {
        Outcome::Replayed | Outcome::AlreadyClosed => Answer::Before,
        _ => Answer::Done,
    };
    let (hold, forgotten) = (format!("{round}-hold"), format!("{round}-forgotten"));
    let reserved = |reserved| match reserved {
        Reserved::Created(hold) => {
            hold.detach();
            Answer::Done
        }
        Reserved::Replayed { .. } | Reserved::Closed { .. } => Answer::Before,
        Reserved::Denied(denial) => panic!("{denial}"),
    };
    Ok(match command {
        "deposit" => of(account.deposit(round, amount(DEPOSIT)).await?.outcome),
        "reserve" => reserved(account.reserve(&hold, amount(50)).await?),
        "report" => match account.report(&hold, amount(20)).await {
            // Absolute: it is so already, or the hold is closed and nobody cares.
            Ok(_) => Answer::Done,
            Err(error) if error.refusal() == Some(&prepaid::Refusal::Closed) => Answer::Before,
            Err(error) => return Err(error),
        },
        "settle" => of(account.settle(&hold, amount(30)).await?.outcome),
        "refund" => of(account.refund(&hold, round, amount(15)).await?.outcome),
        "debit" => of(account.debit(format!("{round}-debit"), amount(5)).await?.outcome),
        // Nobody closes it: the sweeper does, at once.
        "forget" => {
            let lease = Lease { ttl: Duration::ZERO, grace: Duration::ZERO, late: Duration::ZERO };
            reserved(account.reserve(&forgotten, amount(10)).lease(lease).await?)
        }
        other => panic!("{other}"),
    })
}

fn account(ledger: &Ledger, task: u64) -> AccountHandle {
    ledger.account(format!("account-{}", task % ACCOUNTS)).unwrap()
}

/// The child's work: rounds without end, until it is killed.
#[tokio::test]
async fn work() {
    let Some((folder, session)) = child::task() else {
        return;
    };
    let ledger = open(&folder, Some(Duration::from_millis(3))).await;
    let tasks = (0..TASKS).map(|task| {
        let (account, session) = (account(&ledger, task), session.clone());
        tokio::spawn(async move {
            for number in 0.. {
                let round = format!("{session}-{task}-{number}");
                for command in ROUND {
                    tell(&format!("? {task} {round} {command}"));
                    ask(&account, &round, command).await.unwrap();
                    tell(&format!("! {task} {round} {command}"));
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

async fn open(folder: &Path, sweep: Option<Duration>) -> Ledger {
    let path = folder.join("ledger.db");
    Ledger::builder().sweep_every(sweep).open(&format!("sqlite:{}", path.display())).await.unwrap()
}

/// What a killed child had asked, task by task, and whether it was answered.
type History = BTreeMap<(u64, String), Vec<(String, bool)>>;

#[derive(Debug, Default)]
struct Counts {
    acknowledged: u64,
    unknown_and_done: u64,
    unknown_and_not: u64,
    rounds: BTreeMap<u64, i64>,
}

#[tokio::test]
async fn killed_process_loses_nothing_it_was_answered_and_nothing_happens_twice() {
    let kills = common::number("PREPAID_KILLS", 200);
    let mut seed = common::number("PREPAID_SEED", RandomState::new().build_hasher().finish());
    println!("PREPAID_SEED={seed} PREPAID_KILLS={kills}");
    let folder = child::scratch();
    let ledger = open(folder.path(), None).await;
    for number in 0..ACCOUNTS {
        account(&ledger, number).open().await.unwrap();
    }
    ledger.close(Duration::ZERO).await.unwrap();
    let began = Instant::now();
    let mut counts = Counts::default();
    for session in 0..kills {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let history = killed(folder.path(), session, Duration::from_micros((seed >> 33) % 12_000));
        judged(folder.path(), history, &mut counts).await;
    }
    let ledger = open(folder.path(), None).await;
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
    println!("{audit}");
    println!("{kills} kills in {:?}: {counts:?}", began.elapsed());
    assert!(counts.acknowledged > kills, "hardly anything was answered before a kill: {counts:?}");
    let both = counts.unknown_and_done > 0 && counts.unknown_and_not > 0;
    assert!(kills < 100 || both, "kills never hit the middle of a commit: {counts:?}");
}

/// Starts a child and kills it `after` it was first answered.
fn killed(folder: &Path, session: u64, after: Duration) -> History {
    let mut child = child::command("work", folder, &format!("s{session}"), None).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, heard) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        lines.map_while(Result::ok).for_each(|line| drop(sender.send(line)));
    });
    let (mut history, mut until) = (History::new(), None);
    loop {
        let patience = until.map_or(Duration::from_secs(60), |until: Instant| until - Instant::now());
        match heard.recv_timeout(patience) {
            Ok(line) => {
                until = note(&mut history, &line).then(|| Instant::now() + after).filter(|_| until.is_none()).or(until)
            }
            Err(mpsc::RecvTimeoutError::Timeout) if until.is_some() => break,
            Err(error) => {
                let _ = child.kill();
                let output = child.wait_with_output().unwrap();
                panic!("child ended by itself: {error}: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
        if until.is_some_and(|until| until <= Instant::now()) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    for line in heard {
        note(&mut history, &line);
    }
    history
}

/// Writes a line of the child's down; says whether it was an answer.
fn note(history: &mut History, line: &str) -> bool {
    let Some(what) = told(line) else {
        return false;
    };
    let words: Vec<_> = what.split(' ').collect();
    // The kill may have cut the last line.
    let [mark, task, round, command] = words[..] else {
        return false;
    };
    let (Ok(task), true) = (task.parse(), ROUND.contains(&command)) else {
        return false;
    };
    let commands = history.entry((task, round.to_owned())).or_default();
    match mark {
        "?" => commands.push((command.to_owned(), false)),
        _ => commands.last_mut().unwrap().1 = true,
    }
    mark == "!"
}

/// Opens what the child left, audits it and asks everything again; then the money is where arithmetic says.
async fn judged(folder: &Path, history: History, counts: &mut Counts) {
    let ledger = open(folder, None).await;
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
    for ((task, round), commands) in history {
        let account = account(&ledger, task);
        for (command, answered) in &commands {
            let again = ask(&account, &round, command).await.unwrap();
            match (answered, again) {
                // A report leaves no trace but a row: it has no other answer while its hold is open.
                (true, Answer::Before) => counts.acknowledged += 1,
                (true, Answer::Done) if command == "report" => counts.acknowledged += 1,
                (true, Answer::Done) => panic!("{command} of {round} was answered before the kill and is gone"),
                (false, Answer::Before) => counts.unknown_and_done += 1,
                (false, Answer::Done) => counts.unknown_and_not += 1,
            }
        }
        // What the child did not come to is done here, so that every round has cost the same.
        for command in ROUND.iter().skip(commands.len()) {
            assert_eq!(ask(&account, &round, command).await.unwrap(), Answer::Done);
        }
        *counts.rounds.entry(task % ACCOUNTS).or_default() += 1;
    }
    while ledger.sweep().await.unwrap() > 0 {}
    for (number, rounds) in &counts.rounds {
        let view = account(&ledger, *number).view().await.unwrap();
        assert_eq!((view.open_holds, view.lapsed_holds), (0, 0));
        assert_eq!(view.books.available, signed(rounds * (DEPOSIT - ROUND_COST)), "account {number}");
        assert_eq!(view.books.funding, signed(-rounds * DEPOSIT), "account {number}");
    }
    ledger.close(Duration::ZERO).await.unwrap();
}
