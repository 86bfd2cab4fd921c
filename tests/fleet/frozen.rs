//! A process that is frozen in the middle of a batch keeps its bucket for as long as the time-out says, and no longer.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use prepaid::Ledger;
use prepaid::store::Store;
use prepaid::store::postgres::{PostgresOptions, PostgresStore};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::one::amount;
use crate::common::postgres::{Database, Gate};
use crate::{process, role};

const NAME: &str = "frozen::process_frozen_in_a_batch_delays_its_bucket_by_the_time_out_at_most";

#[tokio::test]
async fn process_frozen_in_a_batch_delays_its_bucket_by_the_time_out_at_most() {
    if let Some((url, _)) = role(NAME) {
        let mut options = PostgresOptions::default();
        options.idle_timeout = Duration::from_secs(1);
        let store = PostgresStore::open_with(&url, options).await.unwrap();
        let ledger = Ledger::builder().patience(Duration::from_secs(60)).open_store(Arc::new(store)).unwrap();
        ledger.account("alice").unwrap().deposit(Gate::KEY, amount(5)).await.unwrap();
        return ledger.close(Duration::ZERO).await.unwrap();
    }
    let database = Database::new().await;
    let mut options = PostgresOptions::default();
    options.buckets = Some(2);
    // Whoever is still waited for then is not waited for any longer, and the deposits below fail.
    options.lock_timeout = Duration::from_secs(20);
    options.statement_timeout = Duration::from_secs(40);
    let store = Arc::new(PostgresStore::open_with(&database.url, options).await.unwrap());
    let builder = Ledger::builder().sweep_every(None).patience(Duration::ZERO);
    let ledger = builder.open_store(store.clone()).unwrap();
    let alice = ledger.account("alice").unwrap();
    let other = (0..).map(|n| ledger.account(format!("account-{n}")).unwrap());
    let other = other.into_iter().find(|other| store.bucket(other.id()) != store.bucket(alice.id())).unwrap();
    alice.open().await.unwrap();
    other.open().await.unwrap();

    let mut gate = Gate::shut(&database).await;
    let mut child = process(NAME, &database.url, 0, ".".as_ref()).stdout(Stdio::null()).spawn().unwrap();
    let session = gate.waiting().await;
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    is_stopped(child.id()).await;
    gate.open().await;
    other.deposit("meanwhile", amount(1)).await.expect("another bucket is nobody's concern");
    alice.deposit("meanwhile", amount(1)).await.expect("the database ends the frozen transaction first");
    assert!(!gate.is_alive(session).await, "the bucket was never held by a frozen process");
    assert_eq!(alice.balance().await.unwrap().available.minor_units(), 1);

    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    assert!(tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap().success());
    assert_eq!(alice.balance().await.unwrap().available.minor_units(), 6, "what it was about to do is done, once");
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
}

async fn is_stopped(process: u32) {
    let state = || std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // Its state comes behind its name in brackets.
    while !state().rsplit(") ").next().unwrap().starts_with('T') {
        tokio::task::yield_now().await;
    }
}
