//! The embedded store's rows that wait for their tables: seen by every reader, kept through a crash, moved when idle.

#![cfg(all(feature = "testing", feature = "sqlite"))]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prepaid::clock::Clock;
use prepaid::model::{Against, Cap, Entry, Lease, Limits, LotClass, Policy, Scope, Window};
use prepaid::store::sqlite::{SqliteOptions, SqliteStore};
use prepaid::store::{Store, StoreErrorKind};
use prepaid::testing::ManualClock;
use prepaid::{AccountHandle, Amount, Ledger, LedgerBuilder, Measured, SignedAmount, Timestamp};
use tempfile::TempDir;

struct Place {
    folder: TempDir,
    clock: Arc<ManualClock>,
    recent_rows: u32,
}

impl Place {
    fn new(recent_rows: u32) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: Arc::default(), recent_rows }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }

    async fn open(&self) -> (Arc<SqliteStore>, Ledger) {
        let mut options = SqliteOptions::default();
        options.recent_rows = self.recent_rows;
        let store = Arc::new(SqliteStore::open_with(self.path(), self.clock.clone(), options).await.unwrap());
        let builder = LedgerBuilder::default().sweep_every(None);
        (Arc::clone(&store), builder.open_store(store).unwrap())
    }

    /// The files as they are now, as a crash would leave them.
    fn crashed(&self) -> Self {
        let other = Self { clock: Arc::clone(&self.clock), ..Self::new(self.recent_rows) };
        for name in ["ledger.db", "ledger.db-wal"] {
            std::fs::copy(self.folder.path().join(name), other.folder.path().join(name)).unwrap();
        }
        other
    }

    async fn until_nothing_waits(&self) {
        let nothing_waits = async {
            while self.waiting() > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), nothing_waits).await.expect("the rows are moved");
    }

    fn waiting(&self) -> i64 {
        self.number("select count(*) from backlog")
    }

    /// The last position that the bucket's row knows of.
    fn position(&self) -> i64 {
        self.number("select position from buckets")
    }

    fn number(&self, query: &str) -> i64 {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        connection.query_row(query, [], |row| row.get(0)).unwrap()
    }
}

fn units(units: i64) -> Amount {
    Amount::new(units).unwrap()
}

/// Everything there is to read.
async fn all(store: &dyn Store, ledger: &Ledger) -> Vec<String> {
    let records = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&records);
    let visitor = move |record| {
        told.lock().unwrap().push(format!("{record:?}"));
        true
    };
    store.scan(0, Box::new(visitor)).await.unwrap();
    let mut all = std::mem::take(&mut *records.lock().unwrap());
    // Which keys are in the index yet is nobody's business.
    all.sort();
    all.push(format!("{:?}", store.due(0, 3).await.unwrap()));
    all.push(format!("{:?}", store.accounts(0, 0, 10).await.unwrap()));
    for account in ["alice", "bob"].map(|name| ledger.account(name).unwrap()) {
        all.push(format!("{:?}", account.view().await.unwrap()));
        all.push(format!("{:?}", account.lots().await.unwrap()));
        all.push(format!("{:?}", account.journal(0, 1_000).await.unwrap()));
        for after in [0, 3] {
            all.push(format!("{:?}", account.holds(after, 4).await.unwrap()));
        }
        for budget in 1..=2 {
            all.push(format!("{:?}", account.budget_windows(budget, Timestamp::from_micros(0), 2).await.unwrap()));
        }
        for request in ["r0", "r1", "r2", "r3", "r4", "r5", "none"] {
            all.push(format!("{:?}", account.hold(request).await.unwrap()));
        }
    }
    all
}

/// Lots, budgets, and holds in every state, some of them changed by nothing that is in the journal.
async fn act(account: &AccountHandle, clock: &ManualClock, round: i64) {
    let name = |what: &str| format!("{what}-{round}");
    let scope = Scope::new("key:a").unwrap();
    account.deposit(name("d"), units(1_000)).await.unwrap();
    let soon = clock.now().saturating_add(Duration::from_secs(50));
    account.grant(name("g"), LotClass::Promotional, units(40)).expires_at(soon).await.unwrap();
    account.grant(name("p"), LotClass::Paid, units(30)).priority(3).await.unwrap();
    account.set_budget(None, Window::TOTAL, Cap::Requests(1_000)).await.unwrap();
    account
        .set_budget(scope.clone(), Window::every(Duration::from_secs(20)).unwrap(), Cap::Spend(units(500)))
        .await
        .unwrap();
    for number in 0..6 {
        let request = if round == 0 { format!("r{number}") } else { format!("r{number}-{round}") };
        let lease = Lease { ttl: Duration::from_secs(20 + number), ..Lease::default() };
        let call = account.reserve(&*request, units(20)).scopes([scope.clone()]).tokens(7).lease(lease);
        let hold = call.await.unwrap().created().unwrap();
        match number {
            0 => drop(hold.settle(Measured::new(units(13), 5)).await.unwrap()),
            1 => drop(hold.release(false).await.unwrap()),
            2 => {
                hold.report(Measured::new(units(4), 2)).await.unwrap();
                let id = hold.detach();
                account.renew(&id, Some(Duration::from_secs(90))).await.unwrap();
            }
            3 => {
                hold.settle(units(25)).await.unwrap();
                account.refund(&*request, name("refund"), units(6)).await.unwrap();
            }
            4 => drop(hold.abandon().await.unwrap()),
            _ => drop(hold.detach()),
        }
    }
    account.release(&*name("never"), false).await.unwrap();
    account.debit(&*name("direct"), units(3)).await.unwrap();
    account.adjust(name("a"), SignedAmount::new(-2).unwrap(), Against::Funding, "test").await.unwrap();
    clock.advance(Duration::from_secs(30));
}

async fn every_reader_sees_what_waits_and_a_crash_keeps_it(recent_rows: u32) {
    let place = Place::new(recent_rows);
    let (store, ledger) = place.open().await;
    for name in ["alice", "bob"] {
        let account = ledger.account(name).unwrap();
        let policy = Policy { lease: Lease { ttl: Duration::from_secs(20), ..Lease::default() }, ..Policy::default() };
        account.open_with(ledger.asset(), Limits::default(), policy).await.unwrap();
    }
    for round in 0..4 {
        act(&ledger.account("alice").unwrap(), &place.clock, round).await;
        act(&ledger.account("bob").unwrap(), &place.clock, round).await;
        ledger.sweep().await.unwrap();
        let here = all(&*store, &ledger).await;
        let crashed = place.crashed();
        let (other, recovered) = crashed.open().await;
        assert_eq!(all(&*other, &recovered).await, here, "after a crash in round {round}");
        // What was recovered can be gone on with, and moved.
        act(&recovered.account("bob").unwrap(), &crashed.clock, 100 + round).await;
        let there = all(&*other, &recovered).await;
        assert!(recovered.audit().await.unwrap().is_clean());
        recovered.close(Duration::ZERO).await.unwrap();
        assert_eq!(crashed.waiting(), 0);
        let (other, recovered) = crashed.open().await;
        assert_eq!(all(&*other, &recovered).await, there, "in their tables in round {round}");
        recovered.close(Duration::ZERO).await.unwrap();
    }
    assert!(ledger.audit().await.unwrap().is_clean());
    ledger.close(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn every_reader_sees_what_waits_and_a_crash_keeps_it_while_nothing_moves() {
    every_reader_sees_what_waits_and_a_crash_keeps_it(u32::MAX).await;
}

#[tokio::test]
async fn every_reader_sees_what_waits_and_a_crash_keeps_it_while_some_rows_move() {
    every_reader_sees_what_waits_and_a_crash_keeps_it(7).await;
}

#[tokio::test]
async fn every_reader_sees_what_waits_and_a_crash_keeps_it_while_every_row_moves() {
    every_reader_sees_what_waits_and_a_crash_keeps_it(1).await;
}

/// Rows wait while there is work, and no longer.
#[tokio::test]
async fn nothing_waits_in_an_idle_ledger() {
    let place = Place::new(1_000);
    let (_store, ledger) = place.open().await;
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    act(&alice, &place.clock, 0).await;
    assert_ne!(place.waiting(), 0);
    let crashed = place.crashed();
    place.until_nothing_waits().await;
    assert!(ledger.audit().await.unwrap().is_clean());
    ledger.close(Duration::ZERO).await.unwrap();
    // What a crash left is moved although nobody has asked for anything yet.
    assert_ne!(crashed.waiting(), 0);
    let (_store, recovered) = crashed.open().await;
    crashed.until_nothing_waits().await;
    assert!(recovered.audit().await.unwrap().is_clean());
    recovered.close(Duration::ZERO).await.unwrap();
}

/// While a blob says the last position, the bucket's row need not: that is a page less for each commit.
#[tokio::test]
async fn bucket_is_written_when_its_blobs_go() {
    let place = Place::new(1_000);
    let (_store, ledger) = place.open().await;
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    act(&alice, &place.clock, 0).await;
    let last = |entries: Vec<Entry>| i64::try_from(entries.last().unwrap().position).unwrap();
    let given_out = last(alice.journal(0, 1_000).await.unwrap());
    assert!(place.position() < given_out, "{} of {given_out}", place.position());
    let crashed = place.crashed();
    place.until_nothing_waits().await;
    assert_eq!(place.position(), given_out);
    ledger.close(Duration::ZERO).await.unwrap();

    let (_store, recovered) = crashed.open().await;
    let alice = recovered.account("alice").unwrap();
    alice.deposit("next", units(1)).await.unwrap();
    assert_eq!(last(alice.journal(0, 1_000).await.unwrap()), given_out + 1);
    assert!(recovered.audit().await.unwrap().is_clean());
    recovered.close(Duration::ZERO).await.unwrap();
}

/// A blob that is damaged anywhere is an error that says what to do: never an older state of the rows in it.
#[tokio::test]
async fn damaged_backlog_is_refused() {
    let place = Place::new(1_000);
    let (_store, ledger) = place.open().await;
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    act(&alice, &place.clock, 0).await;
    for at in [1, 5, 30] {
        let crashed = place.crashed();
        let other = rusqlite::Connection::open(crashed.path()).unwrap();
        let damage = "update backlog set rows = cast(substr(rows, 1, ?1 - 1) || x'a5' || substr(rows, ?1 + 1) as blob) \
                      where batch = (select max(batch) from backlog where length(rows) > ?1)";
        assert_eq!(other.execute(damage, [at]).unwrap(), 1);
        drop(other);
        let (store, recovered) = crashed.open().await;
        let refused = store.account(alice.id()).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Corrupt, "byte {at}: {refused}");
        assert!(refused.to_string().contains("backlog cannot be read, restore a backup"), "{refused}");
        let refused = recovered.account("alice").unwrap().deposit("more", units(1)).await.unwrap_err();
        assert!(refused.to_string().contains("restore a backup"), "{refused}");
        recovered.close(Duration::ZERO).await.unwrap();
    }
    ledger.close(Duration::ZERO).await.unwrap();
}
