//! The embedded store obeys the rules of stores, also while its rows and its index of keys are always on the move.

#![cfg(all(feature = "testing", feature = "sqlite"))]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prepaid::store::conformance::StoreFactory;
use prepaid::store::sqlite::{SqliteOptions, SqliteStore};
use prepaid::store::{Store, StoreError};
use prepaid::testing::ManualClock;
use prepaid::{Amount, HoldId, LedgerBuilder, Reserved};
use tempfile::TempDir;

#[derive(Debug)]
struct Factory {
    clock: Arc<ManualClock>,
    folder: TempDir,
    options: SqliteOptions,
}

impl Default for Factory {
    fn default() -> Self {
        Self { clock: Arc::default(), folder: tempfile::tempdir().unwrap(), options: SqliteOptions::default() }
    }
}

impl Factory {
    /// Remembers so few keys that they are always on the move.
    fn forgetful(recent_keys: u32) -> Self {
        let mut factory = Self::default();
        factory.options.recent_keys = recent_keys;
        factory
    }

    /// Lets so few rows wait that they are always on the move.
    fn hasty(recent_rows: u32) -> Self {
        let mut factory = Self::forgetful(1);
        factory.options.recent_rows = recent_rows;
        factory
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }
}

#[async_trait]
impl StoreFactory for Factory {
    async fn make(&mut self) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(SqliteStore::open_with(self.path(), self.clock.clone(), self.options).await?))
    }

    async fn reopen(&mut self) -> Result<Option<Arc<dyn Store>>, StoreError> {
        self.make().await.map(Some)
    }

    async fn pass(&mut self, span: Duration) {
        self.clock.advance(span);
    }
}

prepaid::store_conformance!(Factory::default());

mod with_one_recent_row {
    use super::Factory;

    prepaid::store_conformance!(Factory::hasty(1));
}

mod with_one_recent_key {
    use super::Factory;

    prepaid::store_conformance!(Factory::forgetful(1));
}

/// Of 300 holds made one by one, each is found while its key is in memory, on its way, and in the index, after a
/// restart too, and by nobody twice.
#[tokio::test]
async fn a_hold_is_found_wherever_its_key_is() {
    let mut factory = Factory::forgetful(20);
    let amount = Amount::new(1).unwrap();
    let (mut made, mut indexed) = (Vec::new(), Vec::new());
    for restart in 0..6 {
        let store = factory.make().await.unwrap();
        let ledger = LedgerBuilder::default().sweep_every(None).open_store(Arc::clone(&store)).unwrap();
        let alice = ledger.account("alice").unwrap();
        alice.open().await.unwrap();
        alice.deposit("first", Amount::new(1_000).unwrap()).await.unwrap();
        for number in 0..50 {
            let id = HoldId::new(format!("request-{restart}-{number}"), 1).unwrap();
            alice.reserve(&id, amount).await.unwrap().created().unwrap().detach();
            made.push(id);
        }
        for id in &made {
            assert_eq!(alice.hold(id).await.unwrap().unwrap().id, *id);
            assert!(matches!(alice.reserve(id, amount).await.unwrap(), Reserved::Replayed { .. }), "{id} is new again");
        }
        assert!(ledger.audit().await.unwrap().is_clean());
        ledger.close(Duration::ZERO).await.unwrap();
        indexed.push(indexed_up_to(&factory.path()));
    }
    // Otherwise every key was in memory all the time.
    assert!(indexed.is_sorted() && indexed.first() < indexed.last() && indexed.last() > Some(&200), "{indexed:?}");
}

fn indexed_up_to(path: &Path) -> i64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row("select indexed from buckets", [], |row| row.get(0)).unwrap()
}
