//! Several processes share one ledger: exact under any of them, whatever becomes of the others.
//!
//! The processes are this test binary, started again with a role.

#![cfg(all(feature = "testing", feature = "postgres", unix))]

mod checker;
#[path = "../common/mod.rs"]
mod common;
mod frozen;
mod gateway;
mod history;
mod nemesis;
mod outage;
mod planted;
mod replay;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use prepaid::model::{Cap, Scope, Window};
use prepaid::{AccountHandle, Amount, Ledger, Reserved};

use common::one::amount;
use common::postgres::Database;

const PROCESSES: usize = 4;

/// In a process that was started again for this: the ledger's url, and the process's number.
fn role(name: &str) -> Option<(String, usize)> {
    let is_mine = std::env::var("PREPAID_ROLE").is_ok_and(|role| role == name);
    let url = std::env::var("PREPAID_ROLE_URL").ok().filter(|_| is_mine)?;
    let number = std::env::var("PREPAID_ROLE_NUMBER").ok()?.parse().ok()?;
    Some((url, number))
}

/// A process that runs the test `name` with its role.
fn process(name: &str, url: &str, number: usize, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture"]).stdin(Stdio::null());
    command.env("PREPAID_ROLE", name).env("PREPAID_ROLE_URL", url).env("PREPAID_ROLE_NUMBER", number.to_string());
    command.env("PREPAID_ROLE_FOLDER", folder);
    command
}

/// A ledger in a database with nothing else in it, and an account with money.
async fn funded(database: &Database, money: Amount) -> (Ledger, AccountHandle) {
    let ledger = Ledger::open(&database.url).await.unwrap();
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("opening", money).await.unwrap();
    (ledger, alice)
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
    let (ledger, alice) = funded(&database, amount(COVERED)).await;
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
    let (ledger, alice) = funded(&database, cents(100_000)).await;
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
    let start = |number| process(name, url, number, Path::new(".")).stdout(Stdio::piped()).spawn().unwrap();
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
