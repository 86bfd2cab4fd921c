//! The embedded store obeys the rules of stores.

#![cfg(all(feature = "testing", feature = "sqlite"))]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prepaid::store::conformance::StoreFactory;
use prepaid::store::sqlite::SqliteStore;
use prepaid::store::{Store, StoreError};
use prepaid::testing::ManualClock;
use tempfile::TempDir;

#[derive(Debug)]
struct Factory {
    clock: Arc<ManualClock>,
    folder: TempDir,
}

impl Default for Factory {
    fn default() -> Self {
        Self { clock: Arc::default(), folder: tempfile::tempdir().unwrap() }
    }
}

#[async_trait]
impl StoreFactory for Factory {
    async fn make(&mut self) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(SqliteStore::open(self.folder.path().join("ledger.db"), self.clock.clone()).await?))
    }

    async fn reopen(&mut self) -> Result<Option<Arc<dyn Store>>, StoreError> {
        self.make().await.map(Some)
    }

    async fn pass(&mut self, span: Duration) {
        self.clock.advance(span);
    }
}

prepaid::store_conformance!(Factory::default());
