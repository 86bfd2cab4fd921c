//! What a database of many users does to a store, and what the store makes of it.

#![cfg(all(feature = "testing", feature = "postgres"))]

mod common;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use prepaid::clock::Clock;
use prepaid::kernel::{Action, Batch, Command};
use prepaid::model::{CallToken, HoldState, Lease, Policy, Terms};
use prepaid::store::postgres::{PostgresOptions, PostgresStore};
use prepaid::store::{Store, StoreError, StoreErrorKind};
use prepaid::testing::{FaultRates, FaultyStore, ManualClock, Rows};
use prepaid::{AccountId, Asset, ErrorKind, Ledger, Outcome, Timestamp};
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::io::AsyncWriteExt;

use common::one::{amount, hold, measured, operation};
use common::postgres::{Database, Gate, Server};

fn id(name: &str) -> AccountId {
    name.parse().unwrap()
}

fn open(account: &str) -> Arc<Command> {
    let action = Action::Open { asset: Asset::USD, limits: Default::default(), policy: Default::default() };
    Arc::new(Command::new(id(account), action))
}

fn deposit(account: &str, key: &str, units: i64) -> Arc<Command> {
    let action = Action::Deposit { key: operation(key), amount: amount(units), metadata: None };
    Arc::new(Command::new(id(account), action))
}

async fn commit(store: &PostgresStore, commands: Vec<Arc<Command>>) -> Result<Vec<&'static str>, StoreError> {
    let bucket = store.bucket(commands[0].account());
    let replies = store.commit(bucket, Arc::new(Batch::new(commands))).await?;
    let name = |answer: Result<Outcome, prepaid::Refusal>| answer.map_or_else(|no| no.name(), |yes| yes.name());
    Ok(replies.into_iter().map(|reply| name(reply.answer)).collect())
}

async fn options(database: &Database, change: impl FnOnce(&mut PostgresOptions)) -> Result<PostgresStore, StoreError> {
    let mut options = PostgresOptions::default();
    options.lock_timeout = Duration::from_millis(300);
    options.statement_timeout = Duration::from_secs(2);
    change(&mut options);
    PostgresStore::open_with(&database.url, options).await
}

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> StoreErrorKind {
    result.expect_err("it fails").kind()
}

/// Sessions of the store that are in a transaction and do nothing.
async fn idle_in_transaction(database: &Database) -> i64 {
    let statement = "select count(*) from pg_stat_activity where datname = current_database() \
                     and application_name = 'prepaid' and state like 'idle in transaction%'";
    sqlx::query_scalar(statement).fetch_one(&mut database.connect().await).await.unwrap()
}

#[tokio::test]
async fn password_is_never_shown() {
    let database = Database::new().await;
    let with_password = database.url.replacen("@", ":hush-hush@", 1);
    let store = PostgresStore::open(&with_password).await.unwrap();
    assert!(format!("{store:?}").contains("postgres://"));
    assert!(!format!("{store:?}").contains("hush"), "{store:?}");
    let broken = [
        "postgres://me:hush-hush@[::",
        "postgres://me:hush-hush@127.0.0.1:1/nowhere",
        "postgres://me:hush-hush@127.0.0.1:no/x",
        "postgres://me:hush-hush@127.0.0.1/x?buckets=hush",
        "postgres://me:hush-hush@127.0.0.1/x?sslmode=hush-hush",
    ];
    for url in broken {
        let error = Ledger::open(url).await.unwrap_err();
        let shown = format!("{error} {error:?} {:?}", std::error::Error::source(&error).map(ToString::to_string));
        assert!(!shown.contains("hush-hush"), "{shown}");
    }
}

#[tokio::test]
async fn unsafe_servers_are_refused() {
    for setting in ["fsync=off", "full_page_writes=off"] {
        let server = Server::start(&[setting], false);
        let error = PostgresStore::open(&server.url()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unsuitable);
        assert!(error.to_string().contains(setting), "{error}");
        let tables = "select count(*) from pg_namespace where nspname = 'prepaid'";
        let mut connection = server.connect().connect().await.unwrap();
        let found: i64 = sqlx::query_scalar(tables).fetch_one(&mut connection).await.unwrap();
        assert_eq!(found, 0, "it was not touched");
    }
}

#[tokio::test]
async fn standby_is_refused() {
    let server = Server::start(&["hot_standby=on"], true);
    let error = PostgresStore::open(&server.url()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::ReadOnly);
    assert!(error.to_string().contains("standby"), "{error}");
}

#[tokio::test]
async fn asynchronous_commits_are_made_synchronous() {
    let database = Database::new().await;
    PostgresStore::open(&database.url).await.unwrap();
    let name = database.options().get_database().unwrap().to_owned();
    database.run(&format!("alter database {name} set synchronous_commit = off")).await;
    // Rows are refused in a transaction whose commit would not wait for the disk.
    let durable = "alter table prepaid.buckets add constraint durable check \
                   (current_setting('synchronous_commit') in ('on', 'remote_apply')) not valid";
    database.run(durable).await;
    let by_hand = database.connect().await.execute("update prepaid.buckets set version = 1 where bucket = 0").await;
    assert_eq!(by_hand.unwrap_err().as_database_error().unwrap().code().unwrap(), "23514");
    let store = PostgresStore::open(&database.url).await.unwrap();
    assert_eq!(commit(&store, vec![open("alice")]).await.unwrap(), ["Ok"]);
}

#[tokio::test]
async fn another_programs_schema_is_not_touched() {
    let database = Database::new().await;
    database.run("create schema prepaid; create table prepaid.theirs (x int)").await;
    assert_eq!(kind(PostgresStore::open(&database.url).await), StoreErrorKind::Unsuitable);
    let tables = "select count(*) from pg_class where relnamespace = 'prepaid'::regnamespace";
    let found: i64 = sqlx::query_scalar(tables).fetch_one(&mut database.connect().await).await.unwrap();
    assert_eq!(found, 1);
}

#[tokio::test]
async fn newer_schema_is_refused_and_both_versions_are_named() {
    let database = Database::new().await;
    PostgresStore::open(&database.url).await.unwrap();
    database.run("insert into prepaid.migrations values (9, 'later', 1)").await;
    PostgresStore::open(&database.url).await.expect("a newer schema that we can read is fine");
    database.run("update prepaid.migrations set readable_by = 8 where version = 9").await;
    let error = PostgresStore::open(&database.url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unsuitable);
    assert!(error.to_string().contains("schema=9 known=2"), "{error}");
}

#[tokio::test]
async fn schema_is_only_checked_where_migrating_is_turned_off() {
    let database = Database::new().await;
    let checked = |options: &mut PostgresOptions| options.migrate = false;
    assert_eq!(kind(options(&database, checked).await), StoreErrorKind::Unsuitable);
    PostgresStore::open(&database.url).await.unwrap();
    options(&database, checked).await.unwrap();
}

#[tokio::test]
async fn number_of_buckets_is_fixed_when_the_ledger_is_created() {
    let database = Database::new().await;
    let store = PostgresStore::open(&database.url_with("buckets=7")).await.unwrap();
    assert_eq!(store.buckets(), 7);
    assert_eq!(PostgresStore::open(&database.url).await.unwrap().buckets(), 7);
    let error = options(&database, |options| options.buckets = Some(8)).await.unwrap_err();
    assert!(error.to_string().contains("buckets=7 wanted=8"), "{error}");
}

#[tokio::test]
async fn of_many_processes_that_create_the_ledger_one_does() {
    let database = Database::new().await;
    let stores = join_all((0..8).map(|_| PostgresStore::open(&database.url))).await;
    let ledgers: Vec<_> = stores.into_iter().map(|store| store.unwrap().ledger()).collect();
    assert!(ledgers.iter().all(|ledger| *ledger == ledgers[0]), "{ledgers:?}");
}

#[tokio::test]
async fn role_that_cannot_change_the_journal_is_enough() {
    let database = Database::new().await;
    let role = format!("{}_writer", database.options().get_database().unwrap());
    PostgresStore::open(&database.url).await.unwrap();
    let as_owner = options(&database, |options| options.require_append_only = true).await;
    assert_eq!(kind(as_owner), StoreErrorKind::Unsuitable, "the owner may change everything");
    let grants = format!(
        "create role {role} login; grant usage on schema prepaid to {role}; \
         grant select, insert, update on all tables in schema prepaid to {role}; \
         revoke update on prepaid.entries, prepaid.keys from {role}"
    );
    database.run(&grants).await;
    let as_writer = database.options().username(&role);
    let url = format!("{}?append_only=required", as_writer.to_url_lossy().as_str().split('?').next().unwrap());
    let ledger = Ledger::open(&url).await.unwrap();
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("opening", amount(10)).await.unwrap();
    alice.reserve("h", amount(4)).await.unwrap().created().unwrap().settle(amount(3)).await.unwrap();
    assert!(ledger.audit().await.unwrap().is_clean());
    let refused = as_writer.connect().await.unwrap().execute("delete from prepaid.entries").await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "42501");
    // It may archive, but not remove, and being told so disturbs nobody; another role may.
    let archive = alice.archive(Timestamp::from_micros(i64::MAX), &mut Vec::new()).await.unwrap().unwrap();
    alice.checkpoint(&archive).await.unwrap();
    let (refused, deposit) = tokio::join!(alice.prune(), alice.deposit("meanwhile", amount(1)));
    let refused = refused.unwrap_err();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(refused.kind() == ErrorKind::Internal && cause.contains("permission denied"), "{refused}: {cause}");
    assert_eq!(deposit.unwrap().outcome, Outcome::Ok);
    let removes = "grant delete on prepaid.entries, prepaid.holds, prepaid.lots, prepaid.budget_windows to";
    database.run(&format!("{removes} {role}; grant update on prepaid.keys to {role}")).await;
    assert_eq!(alice.prune().await.unwrap(), 4);
    assert!(ledger.audit().await.unwrap().is_clean());
    ledger.close(Duration::ZERO).await.unwrap();
    database.run(&format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn database_that_became_read_only_is_told_apart() {
    let database = Database::new().await;
    PostgresStore::open(&database.url).await.unwrap();
    let name = database.options().get_database().unwrap().to_owned();
    database.run(&format!("alter database {name} set default_transaction_read_only = on")).await;
    let store = options(&database, |_| {}).await.unwrap();
    assert_eq!(kind(commit(&store, vec![open("alice")]).await), StoreErrorKind::ReadOnly);
}

#[tokio::test]
async fn bucket_that_somebody_holds_is_contended_and_then_free() {
    let database = Database::new().await;
    let store = options(&database, |options| options.buckets = Some(1)).await.unwrap();
    let mut other = database.connect().await;
    other.execute("begin; select * from prepaid.buckets where bucket = 0 for update").await.unwrap();
    assert_eq!(kind(commit(&store, vec![open("alice")]).await), StoreErrorKind::Contended);
    other.execute("rollback").await.unwrap();
    assert_eq!(commit(&store, vec![open("alice")]).await.unwrap(), ["Ok"]);
    assert_eq!(idle_in_transaction(&database).await, 0);
}

#[tokio::test]
async fn slow_statement_is_given_up_and_its_transaction_with_it() {
    let database = Database::new().await;
    let store = options(&database, |options| options.buckets = Some(1)).await.unwrap();
    commit(&store, vec![open("alice")]).await.unwrap();
    let mut other = database.connect().await;
    // The bucket is free; the journal is not.
    other.execute("begin; lock table prepaid.entries in access exclusive mode").await.unwrap();
    assert_eq!(kind(commit(&store, vec![deposit("alice", "d", 5)]).await), StoreErrorKind::Contended);
    other.execute("rollback").await.unwrap();
    assert_eq!(commit(&store, vec![deposit("alice", "d", 5)]).await.unwrap(), ["Ok"]);
    let account = store.account(&id("alice")).await.unwrap().unwrap();
    assert_eq!((account.books.available.minor_units(), account.seq), (5, 2));
}

#[tokio::test]
async fn failed_statement_takes_the_whole_batch_back() {
    let database = Database::new().await;
    for one_statement in [true, false] {
        let store = options(&database, |options| options.one_statement = Some(one_statement)).await.unwrap();
        let name = format!("account-{one_statement}");
        commit(&store, vec![open(&name)]).await.unwrap();
        database.run("alter table prepaid.entries add constraint poison check (key <> 'poison')").await;
        let before = Rows::of_bucket(&store, store.bucket(&id(&name))).await.unwrap();
        let batch = vec![deposit(&name, "good", 5), deposit(&name, "poison", 5)];
        assert_eq!(kind(commit(&store, batch).await), StoreErrorKind::Refused);
        assert!(Rows::of_bucket(&store, store.bucket(&id(&name))).await.unwrap() == before, "nothing was written");
        database.run("alter table prepaid.entries drop constraint poison").await;
        assert_eq!(commit(&store, vec![deposit(&name, "good", 5)]).await.unwrap(), ["Ok"]);
    }
}

/// A pooler that is out of connections says so by any code it likes, as Supabase's does.
#[tokio::test]
async fn whoever_is_not_let_in_may_ask_again() {
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = door.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = door.accept().await {
            caller.readable().await.unwrap();
            let fields = b"SFATAL\0VFATAL\0CXX000\0Mmax clients reached\0\0";
            let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
            caller.write_all(&[b"E".as_slice(), &length, fields].concat()).await.unwrap();
        }
    });
    let error = PostgresStore::open(&format!("postgres://u@{address}/d?sslmode=disable")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("max clients reached"), "{error}");
}

#[tokio::test]
async fn poisonous_command_is_answered_alone() {
    let database = Database::new().await;
    let ledger = Ledger::open(&database.url).await.unwrap();
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    database.run("alter table prepaid.entries add constraint poison check (key <> 'poison')").await;
    let keys = (0..50).map(|n| if n == 31 { "poison".to_owned() } else { format!("k{n}") });
    let answers = join_all(keys.map(|key| alice.deposit(key, amount(1)).into_future())).await;
    let kinds: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).map(prepaid::Error::kind).collect();
    assert_eq!(kinds, [ErrorKind::Internal]);
    assert_eq!(alice.balance().await.unwrap().available.minor_units(), 49);
}

/// What the store's COMMIT is protected from: the database says that all is well with a transaction it takes back.
#[tokio::test]
async fn driver_says_that_a_failed_transaction_was_committed() {
    let database = Database::new().await;
    let mut connection = database.connect().await;
    let mut transaction = connection.begin().await.unwrap();
    transaction.execute("create table lost (x int)").await.unwrap();
    transaction.execute("select 1 / 0").await.unwrap_err();
    transaction.commit().await.expect("if this fails, the driver has become more careful");
    connection.execute("select * from lost").await.unwrap_err();
    connection.execute("begin").await.unwrap();
    connection.execute("select 1 / 0").await.unwrap_err();
    // As `store::postgres::sql::COMMIT`.
    let guarded = sqlx::raw_sql("set local statement_timeout = 0; commit").execute(&mut connection).await;
    assert_eq!(guarded.unwrap_err().as_database_error().unwrap().code().unwrap(), "25P02");
}

#[tokio::test]
async fn commit_dropped_at_any_poll_happens_whole_or_not_at_all_and_leaks_nothing() {
    let database = Database::new().await;
    let store = options(&database, |options| options.buckets = Some(1)).await.unwrap();
    commit(&store, vec![open("alice")]).await.unwrap();
    for polls in 1..40 {
        let key = polls.to_string();
        let batch = Arc::new(Batch::new(vec![deposit("alice", &key, 1)]));
        {
            let mut future = pin!(store.commit(0, batch.clone()));
            let mut left = polls;
            // What the last poll asked of the database is done by the time it is dropped, and the answer is not read.
            let done = poll_fn(|context| match left {
                0 => Poll::Ready(None),
                _ => {
                    left -= 1;
                    future.as_mut().poll(context).map(Some)
                }
            });
            done.await.map(Result::unwrap);
        }
        store.commit(0, batch).await.unwrap();
        let account = store.account(&id("alice")).await.unwrap().unwrap();
        assert_eq!(account.books.available.minor_units(), polls, "after {polls} polls");
    }
    // A quick server answers within a poll: so its last statement before the commit is made to wait for a lock.
    let mut other = database.connect().await;
    for round in 40..45 {
        other.execute("begin; lock table prepaid.entries in exclusive mode").await.unwrap();
        let batch = Arc::new(Batch::new(vec![deposit("alice", &round.to_string(), 1)]));
        let commit = store.commit(0, batch.clone());
        tokio::time::timeout(Duration::from_millis(100), commit).await.expect_err("it waits for the lock");
        other.execute("rollback").await.unwrap();
        store.commit(0, batch).await.unwrap();
        let account = store.account(&id("alice")).await.unwrap().unwrap();
        assert_eq!(account.books.available.minor_units(), round, "dropped before its commit");
    }
    assert_eq!(idle_in_transaction(&database).await, 0);
    Rows::of_bucket(&store, 0).await.unwrap().check(store.ledger()).unwrap();
}

#[tokio::test]
async fn killed_sessions_lose_no_answered_command() {
    let database = Database::new().await;
    let ledger = Ledger::open(&database.url).await.unwrap();
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    let mut killer = database.connect().await;
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity \
                where datname = current_database() and application_name = 'prepaid'";
    let mut answered = 0;
    for round in 0..20 {
        let callers: Vec<_> = (0..50)
            .map(|n| {
                let (alice, key) = (alice.clone(), format!("{round}-{n}"));
                tokio::spawn(async move { alice.deposit(key, amount(1)).await })
            })
            .collect();
        killer.execute(kill).await.unwrap();
        for caller in callers {
            caller.await.unwrap().expect("the engine asks again until it knows");
            answered += 1;
        }
    }
    assert_eq!(alice.balance().await.unwrap().available.minor_units(), answered);
    assert!(ledger.audit().await.unwrap().is_clean());
}

/// A server that did not wait for its disk would lose the last of it: nothing else makes it write.
#[tokio::test]
async fn what_was_answered_survives_a_server_that_stops_without_a_word() {
    let server = Server::start(&["wal_writer_delay=10s", "wal_writer_flush_after=100MB"], false);
    let ledger = Ledger::open(&server.url()).await.unwrap();
    ledger.account("alice").unwrap().open().await.unwrap();
    ledger.close(Duration::ZERO).await.unwrap();
    for cycle in 1..=3 {
        let ledger = Ledger::open(&server.url()).await.unwrap();
        let alice = ledger.account("alice").unwrap();
        for n in 0..20 {
            alice.deposit(format!("{cycle}-{n}"), amount(1)).await.unwrap();
        }
        server.crash();
        let ledger = Ledger::open(&server.url()).await.unwrap();
        let alice = ledger.account("alice").unwrap();
        assert_eq!(alice.balance().await.unwrap().available.minor_units(), 20 * cycle);
        let audit = ledger.audit().await.unwrap();
        assert!(audit.is_clean(), "{audit}");
    }
}

/// A statement that locks the bucket and reads accounts at once would wait for the lock, and then show accounts as they
/// were before it waited.
#[tokio::test]
async fn decision_sees_what_was_committed_while_it_waited_for_the_bucket() {
    let database = Database::new().await;
    let patient = |options: &mut PostgresOptions| {
        (options.buckets, options.lock_timeout) = (Some(1), Duration::from_secs(60));
        options.statement_timeout = Duration::from_secs(60);
    };
    let (one, other) = (options(&database, patient).await.unwrap(), options(&database, patient).await.unwrap());
    commit(&one, vec![open("alice"), deposit("alice", "first", 10)]).await.unwrap();
    let withdraw = |key: &str| {
        let action = Action::Withdraw { key: operation(key), amount: amount(10), metadata: None };
        vec![Arc::new(Command::new(id("alice"), action))]
    };
    let mut gate = Gate::shut(&database).await;
    let (all, again) = (withdraw(Gate::KEY), withdraw("again"));
    let first = tokio::spawn(async move { commit(&one, all).await });
    gate.waiting().await;
    let second = tokio::spawn(async move { (commit(&other, again).await, other) });
    gate.queueing().await;
    gate.open().await;
    assert_eq!(first.await.unwrap().unwrap(), ["Ok"]);
    let (answer, store) = second.await.unwrap();
    assert_eq!(answer.unwrap(), ["InsufficientPaid"]);
    Rows::of_bucket(&store, 0).await.unwrap().check(store.ledger()).unwrap();
}

#[tokio::test]
async fn few_readers_serve_many() {
    let database = Database::new().await;
    let store = options(&database, |options| options.readers = 2).await.unwrap();
    commit(&store, vec![open("alice")]).await.unwrap();
    let alice = id("alice");
    let answers = join_all((0..300).map(|_| store.account(&alice))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().is_some()));
}

/// A fleet's processes share the server's connections, however many buckets there are.
#[tokio::test]
async fn few_writers_serve_many_buckets() {
    let database = Database::new().await;
    let store = PostgresStore::open(&database.url_with("buckets=32&writers=2")).await.unwrap();
    let names: Vec<_> = (0..200).map(|n| n.to_string()).collect();
    let answers = join_all(names.iter().map(|name| commit(&store, vec![open(name)]))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == ["Ok"]));
    let kept = "select count(*) from pg_stat_activity where datname = current_database() and query like '% commit'";
    let kept: i64 = sqlx::query_scalar(kept).fetch_one(&mut database.connect().await).await.unwrap();
    assert_eq!(kept, 2);
}

#[tokio::test]
async fn rows_another_process_changed_are_read_anew() {
    let database = Database::new().await;
    let (one, other) = (options(&database, |_| {}).await.unwrap(), options(&database, |_| {}).await.unwrap());
    commit(&one, vec![open("alice"), deposit("alice", "first", 10)]).await.unwrap();
    for turn in 0..20 {
        let store = if turn % 3 == 0 { &other } else { &one };
        assert_eq!(commit(store, vec![deposit("alice", &turn.to_string(), 1)]).await.unwrap(), ["Ok"]);
    }
    let account = one.account(&id("alice")).await.unwrap().unwrap();
    assert_eq!((account.books.available.minor_units(), account.seq), (30, 22));
    Rows::of_bucket(&one, one.bucket(&id("alice"))).await.unwrap().check(one.ledger()).unwrap();
}

/// What is reserved is taken for new without a look. What is not is found out: by its key, which cannot be written again,
/// and by asking for it where it would be refused now.
/// It is never taken for an account with nothing in it.
#[tokio::test]
async fn account_whose_balance_is_lost_is_an_error() {
    let database = Database::new().await;
    let store = PostgresStore::open(&database.url).await.unwrap();
    commit(&store, vec![open("alice"), deposit("alice", "first", 5)]).await.unwrap();
    database.connect().await.execute("delete from prepaid.balances").await.unwrap();
    // A process that remembers nothing of it.
    let store = PostgresStore::open(&database.url).await.unwrap();
    let error = store.account(&id("alice")).await.unwrap_err();
    assert!(error.to_string().contains("restore a backup"), "{error}");
    let refused = commit(&store, vec![deposit("alice", "second", 5)]).await;
    let listed = store.accounts(store.bucket(&id("alice")), 0, 9).await;
    assert_eq!([error.kind(), kind(refused), kind(listed)], [StoreErrorKind::Corrupt; 3]);
}

#[tokio::test]
async fn reserve_that_was_made_before_is_answered_as_it_was() {
    let database = Database::new().await;
    let process = || options(&database, |options| options.buckets = Some(1));
    let of_alice = |action| Arc::new(Command::new(id("alice"), action));
    let reserve = |request, units| {
        let mut terms = Terms::default();
        terms.amount = amount(units);
        let (lease, token, metadata) = (None, CallToken([units as u8; 16]), None);
        of_alice(Action::Reserve { hold: hold(request), terms: Arc::new(terms), lease, token, metadata })
    };
    let store = process().await.unwrap();
    commit(&store, vec![open("alice"), deposit("alice", "first", 100), reserve("a", 60)]).await.unwrap();
    let (measured, or_debit, above_ceiling, metadata) = (measured(60, 0), None, false, None);
    let settle = of_alice(Action::Settle { hold: hold("a"), measured, or_debit, above_ceiling, metadata });
    assert_eq!(commit(&store, vec![settle]).await.unwrap(), ["Ok"]);

    let short_of_money = process().await.unwrap();
    let answers = commit(&short_of_money, vec![reserve("b", 10), reserve("a", 60), reserve("c", 50)]).await.unwrap();
    assert_eq!(answers, ["Created", "AlreadyClosed", "Denied"]);

    let with_plenty = process().await.unwrap();
    let answers = commit(&with_plenty, vec![deposit("alice", "second", 900), reserve("a", 60), reserve("d", 50)]).await;
    assert_eq!(answers.unwrap(), ["Ok", "AlreadyClosed", "Created"]);
    // And so it is when nothing is taken for new any more, and with what is open.
    let answers = commit(&with_plenty, vec![reserve("a", 60), reserve("b", 10), reserve("d", 50)]).await.unwrap();
    assert_eq!(answers, ["AlreadyClosed", "Created", "Created"]);
    let account = store.account(&id("alice")).await.unwrap().unwrap();
    assert_eq!((account.books.available.minor_units(), account.open_holds), (880, 2));
    Rows::of_bucket(&store, 0).await.unwrap().check(store.ledger()).unwrap();
}

/// A failover to a standby that was behind, or a restore, takes commits back under a process that remembers them. As many
/// others written since do not make it believe that nothing happened.
#[tokio::test]
async fn process_forgets_commits_that_its_database_lost() {
    const EVERY_TABLE: &str = "do $$ declare name text; begin \
        for name in select tablename from pg_tables where schemaname = 'prepaid' and tablename <> 'lots' loop BODY; end loop; end $$";
    let every_table = |body: &str| EVERY_TABLE.replace("BODY", body);
    let database = Database::new().await;
    let single = |options: &mut PostgresOptions| options.buckets = Some(1);
    let (one, other) = (options(&database, single).await.unwrap(), options(&database, single).await.unwrap());
    commit(&one, vec![open("alice"), deposit("alice", "first", 10)]).await.unwrap();
    database.run("create schema saved").await;
    database.run(&every_table("execute format('create table saved.%1$I as table prepaid.%1$I', name)")).await;
    assert_eq!(commit(&one, vec![deposit("alice", "lost", 5)]).await.unwrap(), ["Ok"]);

    let restore = "execute format('truncate prepaid.%1$I', name); \
                   execute format('insert into prepaid.%1$I table saved.%1$I', name)";
    database.run(&every_table(restore)).await;
    assert_eq!(commit(&other, vec![deposit("alice", "since", 1)]).await.unwrap(), ["Ok"]);
    assert_eq!(commit(&one, vec![deposit("alice", "lost", 5)]).await.unwrap(), ["Ok"], "it is not known any more");
    let account = one.account(&id("alice")).await.unwrap().unwrap();
    assert_eq!((account.books.available.minor_units(), account.seq), (16, 4));
    Rows::of_bucket(&one, 0).await.unwrap().check(one.ledger()).unwrap();
}

/// The database's clock is put forward, and back: each bucket's sweeper gives owners time to renew, and no account's time
/// goes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_that_jumps_is_seen_in_every_bucket() {
    let database = Database::new().await;
    let clock = Arc::new(ManualClock::default());
    let lease = Lease { ttl: Duration::from_secs(60), grace: Duration::from_secs(10), ..Lease::default() };
    let holiday = Duration::from_secs(15 * 60);
    let builder = || Ledger::builder().policy(Policy { lease, ..Policy::default() }).holiday(holiday);
    let store = database.store_by(clock.clone(), Some(4)).await;
    let in_bucket = |bucket| (0..).map(|n| id(&format!("a{n}"))).find(|id| store.bucket(id) == bucket).unwrap();
    let names: Vec<_> = (0..4).map(in_bucket).collect();
    let ledger = builder().sweep_every(Some(Duration::from_millis(10))).open_store(store).unwrap();
    let accounts: Vec<_> = names.iter().map(|name| ledger.account(name.as_str()).unwrap()).collect();
    for account in &accounts {
        account.open().await.unwrap();
        account.deposit("opening", amount(100)).await.unwrap();
        let _ = account.reserve("early", amount(1)).await.unwrap().created().unwrap().detach();
    }
    // A minute is no jump: each bucket is swept.
    clock.advance(Duration::from_secs(70));
    for account in &accounts {
        while account.hold("early").await.unwrap().unwrap().state == HoldState::Open {
            tokio::task::yield_now().await;
        }
        let _ = account.reserve("late", amount(1)).await.unwrap().created().unwrap().detach();
    }

    clock.advance(Duration::from_secs(60 * 60));
    let mut connection = database.connect().await;
    let paused = "select count(*) from prepaid.buckets where pause > $1";
    while sqlx::query_scalar::<_, i64>(paused).bind(clock.now().as_micros()).fetch_one(&mut connection).await.unwrap()
        < 4
    {
        tokio::task::yield_now().await;
    }
    for (number, account) in accounts.iter().enumerate() {
        assert_eq!(account.hold("late").await.unwrap().unwrap().state, HoldState::Open, "bucket {number}");
        if number < 2 {
            account.renew("late", Some(Duration::from_secs(60 * 60))).await.unwrap();
        }
    }
    ledger.close(Duration::ZERO).await.unwrap();

    // Another process heeds it, and judges when the time is over.
    let store = database.store_by(clock.clone(), None).await;
    let ledger = builder().sweep_every(None).open_store(store).unwrap();
    let accounts: Vec<_> = names.iter().map(|name| ledger.account(name.as_str()).unwrap()).collect();
    assert_eq!(ledger.sweep().await.unwrap(), 0);
    clock.advance(Duration::from_secs(16 * 60));
    assert_eq!(ledger.sweep().await.unwrap(), 2);
    for (number, account) in accounts.iter().enumerate() {
        let expected = if number < 2 { HoldState::Open } else { HoldState::Lapsed };
        assert_eq!(account.hold("late").await.unwrap().unwrap().state, expected, "bucket {number}");
    }

    clock.set(Timestamp::from_micros(clock.now().as_micros() - 2 * 3_600_000_000));
    assert_eq!(ledger.sweep().await.unwrap(), 0, "put back, nothing is due");
    for account in &accounts {
        account.settle("late", amount(1)).await.unwrap();
        account.reserve("back", amount(1)).await.unwrap().created().unwrap().settle(amount(1)).await.unwrap();
        let journal = account.journal(0, 100).await.unwrap();
        assert!(journal.is_sorted_by_key(|entry| entry.at), "{journal:?}");
    }
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
    ledger.close(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn placed_account_is_found_by_a_process_that_did_not_place_it() {
    let database = Database::new().await;
    let (one, other) = (options(&database, |_| {}).await.unwrap(), options(&database, |_| {}).await.unwrap());
    let whale = id("whale");
    let home = other.bucket(&whale);
    let elsewhere = (home + 1) % other.buckets();
    one.place(&whale, elsewhere).await.unwrap();
    one.place(&whale, elsewhere).await.expect("placing it there again changes nothing");
    assert_eq!((one.bucket(&whale), other.bucket(&whale)), (elsewhere, home));
    assert_eq!(kind(commit(&other, vec![open("whale")]).await), StoreErrorKind::Contended, "it is not opened twice");
    assert_eq!(commit(&other, vec![open("whale")]).await.unwrap(), ["Ok"], "the second time it finds its way");
    assert_eq!(commit(&one, vec![deposit("whale", "d", 1)]).await.unwrap(), ["Ok"]);
    assert_eq!(kind(one.place(&whale, home).await), StoreErrorKind::Refused, "what is open stays where it is");
    let again = options(&database, |_| {}).await.unwrap();
    assert_eq!(again.bucket(&whale), elsewhere, "it is known from the start ever after");
}

#[tokio::test]
async fn placed_account_is_read_by_a_process_that_never_wrote_to_it() {
    let database = Database::new().await;
    let (one, other) = (options(&database, |_| {}).await.unwrap(), options(&database, |_| {}).await.unwrap());
    let whale = id("whale");
    let (home, elsewhere) = (one.bucket(&whale), (one.bucket(&whale) + 1) % one.buckets());
    one.place(&whale, elsewhere).await.unwrap();
    assert_eq!(commit(&one, vec![open("whale"), deposit("whale", "d", 1)]).await.unwrap(), ["Ok", "Ok"]);
    assert!(other.account(&id("minnow")).await.unwrap().is_none());
    assert_eq!(other.journal(&whale, 0, 10).await.unwrap().len(), 2);
    assert_eq!(other.account(&whale).await.unwrap().unwrap().seq, 2);
    assert_ne!(other.bucket(&whale), home);
}

/// A settlement that waits in the spool of a process that does not know where its account is cannot be asked for again.
#[tokio::test]
async fn spooled_settlement_of_a_placed_account_lands_in_its_bucket() {
    let database = Database::new().await;
    let one = options(&database, |_| {}).await.unwrap();
    let other = Arc::new(FaultyStore::new(Arc::new(options(&database, |_| {}).await.unwrap())));
    let whale = id("whale");
    let elsewhere = (one.bucket(&whale) + 1) % one.buckets();
    one.place(&whale, elsewhere).await.unwrap();
    let one = Ledger::builder().sweep_every(None).open_store(Arc::new(one)).unwrap();
    let account = one.account("whale").unwrap();
    account.open().await.unwrap();
    account.deposit("d", amount(10)).await.unwrap();
    let _ = account.reserve("r", amount(5)).await.unwrap().created().unwrap().detach();

    let folder = tempfile::tempdir().unwrap();
    let spooling = Ledger::builder().sweep_every(None).spool(folder.path());
    let ledger = spooling.open_store(Arc::clone(&other) as Arc<dyn Store>).unwrap();
    other.seeded(1, FaultRates { before: 1_000, ..FaultRates::default() });
    let settled = ledger.account("whale").unwrap().settle("r", amount(3)).await;
    assert_eq!(settled.unwrap_err().kind(), ErrorKind::Spooled);
    // Its bucket is held for a while: the one it waited in has nothing to do with it any more.
    let mut holder = database.connect().await;
    holder.execute("begin").await.unwrap();
    let hold = sqlx::query("select * from prepaid.buckets where bucket = $1 for update");
    hold.bind(i16::try_from(elsewhere).unwrap()).execute(&mut holder).await.unwrap();
    let before = other.commits();
    other.heal();
    tokio::time::sleep(Duration::from_secs(3)).await;
    holder.execute("rollback").await.unwrap();
    let tries = other.commits() - before;
    let captured = async || account.hold("r").await.unwrap().unwrap().captured;
    let landed = async {
        while captured().await != amount(3) {
            tokio::time::sleep(Duration::from_millis(20)).await
        }
    };
    tokio::time::timeout(Duration::from_secs(30), landed).await.expect("it lands");
    ledger.close(Duration::from_secs(5)).await.unwrap();
    assert!(tries < 20, "{tries} commits in three seconds");
    assert!(!folder.path().join("dead-letters.jsonl").exists());
}

/// What the planner prefers changes with what it knows of the tables: nothing at first, much after an analyze. No command
/// may read a whole table with either, nor find a hold it knows by way of all that are due.
#[tokio::test]
async fn commands_read_by_index_on_young_and_on_large_tables() {
    let database = Database::new().await;
    for (age, pairs) in [("young", 40), ("grown", 3_000), ("analyzed", 40)] {
        if age == "analyzed" {
            database.run("analyze").await;
        }
        let ledger = Ledger::builder().sweep_every(None).open(&database.url).await.unwrap();
        database.run("select pg_stat_reset()").await;
        let alice = ledger.account("alice").unwrap();
        alice.open().await.unwrap();
        alice.deposit(format!("{age}-opening"), amount(1_000_000)).await.unwrap();
        let pair = |n: u32| {
            let (alice, request) = (alice.clone(), format!("{age}-{n}"));
            async move {
                let hold = alice.reserve(request.clone(), amount(10)).await.unwrap().created().unwrap();
                hold.report(amount(3)).await.unwrap();
                hold.settle(amount(7)).await.unwrap();
                alice.settle(request.clone(), amount(7)).await.unwrap();
                if n.is_multiple_of(10) {
                    alice.refund(request.clone(), "r", amount(1)).await.unwrap();
                    // Stays open, so that there is something due one day.
                    alice.reserve(format!("{request}-open"), amount(1)).await.unwrap().created().unwrap().detach();
                }
            }
        };
        let others = (0..200).map(|n| ledger.account(format!("other-{age}-{n}")).unwrap());
        join_all(others.map(|account| async move { account.open().await.unwrap() })).await;
        join_all((0..pairs).map(pair)).await;
        alice.journal(u64::from(pairs), 100).await.unwrap();
        ledger.close(Duration::from_secs(5)).await.unwrap();
        let mut connection = database.connect().await;
        let gone =
            "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'prepaid'";
        while sqlx::query_scalar::<_, i64>(gone).fetch_one(&mut connection).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let scanned = "select relname::text, seq_scan from pg_stat_user_tables where schemaname = 'prepaid' and seq_scan > 0 \
                       and relname not in ('buckets', 'migrations', 'meta', 'placements')";
        let scanned: Vec<(String, i64)> = sqlx::query_as(scanned).fetch_all(&mut connection).await.unwrap();
        assert_eq!(scanned, [], "{age} tables were read from end to end");
        let used = "select idx_scan, idx_tup_read from pg_stat_user_indexes where indexrelname = $1";
        let due: (i64, i64) = sqlx::query_as(used).bind("holds_due").fetch_one(&mut connection).await.unwrap();
        assert_eq!(due, (0, 0), "{age}: holds were found by what is due");
        for index in ["accounts_pkey", "accounts_bucket_id_key", "balances_pkey", "holds_pkey", "keys_pkey"] {
            let probes: (i64, i64) = sqlx::query_as(used).bind(index).fetch_one(&mut connection).await.unwrap();
            assert!(
                probes.1 <= 3 * probes.0,
                "{age}: {index} was probed {} times and gave {} rows",
                probes.0,
                probes.1
            );
            let is_probed = ["balances_pkey", "holds_pkey"].contains(&index);
            assert!(!is_probed || probes.0 > 0, "{age}: nothing was counted of {index}");
        }
    }
}
