//! Spread over machines by Citus, the ledger does what it says of buckets: each is one machine's.
//!
//! No package has a Citus of several machines, so these tests run only where they are asked for by name, and `PREPAID_CITUS`
//! names a coordinator (`postgres://USER@HOST:PORT/DATABASE`, a superuser in a database with the extension):
//!
//! ```sh
//! PREPAID_CITUS='postgres://postgres@127.0.0.1/postgres' cargo test --all-features --test citus
//! ```
//!
//! What is true of every PostgreSQL is tested there by naming it in `PREPAID_POSTGRES` too. All tests of `store_postgres`,
//! `acceptance`, `histories`, `properties`, `retention` and `cut_points` pass; of `postgres`, `feed` and `fleet` those that
//! make a trigger, which Citus has not, and the one that reads the server's statistics cannot.

#![cfg(all(feature = "testing", feature = "postgres"))]

mod common;

use std::env;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use prepaid::model::{Cap, LotClass, Scope, Window};
use prepaid::store::Store;
use prepaid::store::postgres::PostgresStore;
use prepaid::{AccountHandle, Ledger};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

use common::one::amount;
use common::postgres::Database;

const BUCKETS: &str = "buckets=8";

/// The coordinator that was named.
fn coordinator() -> PgConnectOptions {
    let url = env::var("PREPAID_CITUS").expect("PREPAID_CITUS names a coordinator, postgres://USER@HOST:PORT/DATABASE");
    url.parse().expect("PREPAID_CITUS is a url")
}

/// A database of it, in which nothing is yet.
async fn database() -> Database {
    let database = Database::on(&coordinator()).await;
    assert!(!database.workers().is_empty(), "PREPAID_CITUS names a coordinator without workers");
    database
}

async fn number(database: &Database, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(&mut database.connect().await).await.unwrap()
}

/// Accounts of a ledger that exists, in all its buckets.
async fn funded(ledger: &Ledger) -> Vec<AccountHandle> {
    let accounts: Vec<_> = (0..40).map(|n| ledger.account(format!("account-{n}")).unwrap()).collect();
    join_all(accounts.iter().map(|account| async {
        account.open().await.unwrap();
        account.deposit("opening", amount(1_000_000)).await.unwrap();
    }))
    .await;
    accounts
}

/// Everything that a command may write.
async fn work(account: &AccountHandle) {
    account.set_budget(Scope::new("key:prod").unwrap(), Window::TOTAL, Cap::Spend(amount(500_000))).await.unwrap();
    account.grant("promotion", LotClass::Promotional, amount(30)).await.unwrap();
    let pair = async |n: u32| {
        let request = format!("r{n}");
        let scopes = [Scope::new("key:prod").unwrap()];
        let hold = account.reserve(request.clone(), amount(10)).scopes(scopes).await.unwrap().created().unwrap();
        hold.report(amount(3)).await.unwrap();
        hold.settle(amount(7)).await.unwrap();
        account.refund(request, "refund", amount(1)).await.unwrap();
    };
    join_all((0..20).map(pair)).await;
}

/// Waits until its sessions are gone: a server counts what they did when they end.
async fn close(database: &Database, ledger: Ledger) {
    const LEFT: &str =
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'prepaid'";
    ledger.close(Duration::from_secs(5)).await.unwrap();
    while number(database, LEFT).await > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn is_exact(ledger: &Ledger, accounts: &[AccountHandle]) {
    for account in accounts {
        let balance = account.balance().await.unwrap();
        assert_eq!((balance.available.minor_units(), balance.held.minor_units()), (1_000_030 - 20 * 6, 0));
    }
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
}

const SPREAD: &str = "select count(*) from pg_dist_partition where partmethod = 'h' \
    and column_to_column_name(logicalrelid, partkey) = 'bucket' \
    and colocationid = (select colocationid from pg_dist_partition where logicalrelid = 'prepaid.buckets'::regclass)";
const COPIED: &str = "select count(*) from pg_dist_partition where partmethod = 'n' and repmodel = 't'";
const TABLES: &str = "select count(*) from pg_tables where schemaname = 'prepaid' and tablename <> 'migrations'";

#[tokio::test]
async fn every_table_is_spread_by_bucket_or_copied_to_each_machine() {
    let database = database().await;
    PostgresStore::open(&database.url_with(BUCKETS)).await.unwrap();
    assert_eq!((number(&database, SPREAD).await, number(&database, COPIED).await), (9, 3));
    assert_eq!(number(&database, TABLES).await, 12);
}

/// Nothing but counting the buckets, and what is in none, concerns more than one machine.
#[tokio::test]
async fn statement_of_a_bucket_is_one_machines() {
    const SINGLE: &str = "select sum(query_execution_single_shard)::bigint from citus_stat_counters";
    const MULTIPLE: &str =
        "select query_execution_multi_shard from citus_stat_counters where name = current_database()";
    let database = database().await;
    let name = database.options().get_database().unwrap().to_owned();
    database.run(&format!("alter database {name} set citus.enable_stat_counters = on")).await;
    let ledger = Ledger::open(&database.url_with(BUCKETS)).await.unwrap();
    let opening = number(&database, MULTIPLE).await;
    assert!(opening > 0, "nothing was counted");
    let accounts = funded(&ledger).await;
    join_all(accounts.iter().map(work)).await;
    accounts[0].journal(0, 100).await.unwrap();
    is_exact(&ledger, &accounts).await;
    ledger.sweep().await.unwrap();
    close(&database, ledger).await;
    let single = number(&database, SINGLE).await;
    assert!(single > 100, "{single}");
    assert_eq!(number(&database, MULTIPLE).await, opening);
}

/// A batch is committed where it was written, in one phase: two would be two more waits for a disk.
#[tokio::test]
async fn batch_is_committed_in_one_phase() {
    const IN_TWO_PHASES: &str = "select pg_stat_get_tuples_inserted('pg_dist_transaction'::regclass)";
    let database = database().await;
    let store = PostgresStore::open(&database.url_with(BUCKETS)).await.unwrap();
    store.place(&"whale".parse().unwrap(), store.bucket(&"whale".parse().unwrap()) ^ 1).await.unwrap();
    close(&database, Ledger::builder().open_store(Arc::new(store)).unwrap()).await;
    let placing = number(&database, IN_TWO_PHASES).await;
    assert!(placing > 0, "a placement is written on every machine");
    let ledger = Ledger::open(&database.url).await.unwrap();
    let accounts = funded(&ledger).await;
    join_all(accounts.iter().map(work)).await;
    close(&database, ledger).await;
    assert_eq!(number(&database, IN_TWO_PHASES).await, placing);
}

/// What a machine is told to lose by itself it keeps, when the ledger commits there.
#[tokio::test]
async fn asynchronous_commits_of_machines_are_made_synchronous() {
    let database = database().await;
    for worker in database.workers() {
        let name = worker.get_database().unwrap();
        let asynchronous = format!("alter database {name} set synchronous_commit = off");
        let mut connection = worker.connect().await.unwrap();
        // Of this machine alone.
        connection.execute("set citus.enable_ddl_propagation = off").await.unwrap();
        connection.execute(sqlx::raw_sql(AssertSqlSafe(asynchronous))).await.unwrap();
    }
    let ledger = Ledger::open(&database.url_with(BUCKETS)).await.unwrap();
    let durable = "alter table prepaid.buckets add constraint durable check \
                   (current_setting('synchronous_commit') in ('on', 'remote_apply')) not valid";
    database.run(durable).await;
    let by_hand = database.connect().await.execute("update prepaid.buckets set version = 1 where bucket = 0").await;
    assert_eq!(by_hand.unwrap_err().as_database_error().unwrap().code().unwrap(), "23514");
    funded(&ledger).await;
}

#[tokio::test]
async fn killed_sessions_of_machines_lose_no_answered_command() {
    let database = database().await;
    let ledger = Ledger::open(&database.url_with(BUCKETS)).await.unwrap();
    let accounts = funded(&ledger).await;
    let mut killers = join_all(database.workers().iter().map(|worker| async { worker.connect().await.unwrap() })).await;
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity \
                where datname = current_database() and application_name like 'citus_internal%'";
    for round in 0..20 {
        let callers: Vec<_> = accounts.iter().cloned().map(|account| tokio::spawn(deposit(account, round))).collect();
        for killer in &mut killers {
            killer.execute(kill).await.unwrap();
        }
        for caller in callers {
            caller.await.unwrap();
        }
    }
    for account in &accounts {
        assert_eq!(account.balance().await.unwrap().available.minor_units(), 1_000_020);
    }
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
}

/// Asks until it is answered.
async fn deposit(account: AccountHandle, round: u32) {
    while let Err(error) = account.deposit(round.to_string(), amount(1)).await {
        assert!(error.is_retryable(), "{error}");
        tokio::task::yield_now().await;
    }
}

/// The statement that spreads a ledger may be run when the extension comes later than the ledger.
#[tokio::test]
async fn ledger_that_is_older_than_the_extension_is_spread_by_hand() {
    let mut database = Database::unspread(&coordinator()).await;
    let ledger = Ledger::open(&database.url_with(BUCKETS)).await.unwrap();
    let accounts = funded(&ledger).await;
    ledger.close(Duration::ZERO).await.unwrap();
    database.spread().await;
    database.run(include_str!("../migrations/postgres/0002_distribution.sql")).await;
    assert_eq!((number(&database, SPREAD).await, number(&database, COPIED).await), (9, 3));
    let ledger = Ledger::open(&database.url).await.unwrap();
    let accounts: Vec<_> = accounts.iter().map(|account| ledger.account(account.id().as_str()).unwrap()).collect();
    join_all(accounts.iter().map(work)).await;
    is_exact(&ledger, &accounts).await;
}
