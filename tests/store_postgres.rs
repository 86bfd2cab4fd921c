//! The store for fleets obeys the rules of stores: by the database's clock as it comes, and written table by table
//! without prepared statements, as behind a pooler on a database that is spread over machines.

#![cfg(all(feature = "testing", feature = "postgres"))]

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prepaid::store::conformance::StoreFactory;
use prepaid::store::postgres::{PostgresOptions, PostgresStore};
use prepaid::store::{Store, StoreError};
use prepaid::testing::ManualClock;

use common::postgres::Database;

/// With a clock of ours, or by the database's own, which is waited for.
#[derive(Debug)]
struct Factory {
    database: Option<Database>,
    options: PostgresOptions,
    clock: Option<Arc<ManualClock>>,
}

impl Factory {
    fn by_the_databases_clock() -> Self {
        let mut options = PostgresOptions::default();
        options.buckets = Some(3);
        Self { database: None, options, clock: None }
    }

    fn table_by_table() -> Self {
        let clock = Arc::new(ManualClock::default());
        let mut options = PostgresOptions::default();
        options.clock = Some(clock.clone());
        options.prepared = false;
        options.one_statement = Some(false);
        Self { database: None, options, clock: Some(clock) }
    }
}

#[async_trait]
impl StoreFactory for Factory {
    async fn make(&mut self) -> Result<Arc<dyn Store>, StoreError> {
        let database = self.database.insert(Database::new().await);
        Ok(Arc::new(PostgresStore::open_with(&database.url, self.options.clone()).await?))
    }

    async fn reopen(&mut self) -> Result<Option<Arc<dyn Store>>, StoreError> {
        let Some(database) = &self.database else { return Ok(None) };
        Ok(Some(Arc::new(PostgresStore::open_with(&database.url, self.options.clone()).await?)))
    }

    async fn pass(&mut self, span: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(span),
            None => tokio::time::sleep(span).await,
        }
    }
}

mod by_the_databases_clock {
    use super::Factory;
    prepaid::store_conformance!(Factory::by_the_databases_clock());
}

mod table_by_table {
    use super::Factory;
    prepaid::store_conformance!(Factory::table_by_table());
}
