//! Where a promise is kept: every kind of store, fresh for each test.

use std::sync::Arc;

use prepaid::clock::Clock;
use prepaid::model::LedgerId;
use prepaid::store::{MemoryStore, Store};
use prepaid::{Ledger, LedgerBuilder};
use tempfile::TempDir;

#[cfg(feature = "postgres")]
use super::postgres::Database;

/// A place a ledger can be kept in, empty at first, gone with this value.
#[derive(Debug)]
pub struct Place {
    url: String,
    _folder: Option<Arc<TempDir>>,
    #[cfg(feature = "postgres")]
    database: Option<Database>,
}

impl Place {
    pub fn memory() -> Self {
        Self::of("memory:".to_owned(), None)
    }

    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        Self::of(url, Some(Arc::new(folder)))
    }

    /// A database of its own, with several buckets.
    #[cfg(feature = "postgres")]
    pub async fn postgres() -> Self {
        let database = Database::new().await;
        Self { database: Some(database), ..Self::of(String::new(), None) }
    }

    fn of(url: String, folder: Option<Arc<TempDir>>) -> Self {
        Self {
            url,
            _folder: folder,
            #[cfg(feature = "postgres")]
            database: None,
        }
    }

    /// The store alone, with a clock of the test's own.
    pub async fn store(&self, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
        #[cfg(feature = "postgres")]
        if let Some(database) = &self.database {
            return database.store_by(clock, None).await;
        }
        match self.url.split_once(':').unwrap() {
            ("memory", _) => Arc::new(MemoryStore::new(LedgerId([7; 16]), clock)),
            #[cfg(feature = "sqlite")]
            ("sqlite", path) => Arc::new(prepaid::store::sqlite::SqliteStore::open(path, clock).await.unwrap()),
            (kind, _) => panic!("no store of kind {kind}"),
        }
    }

    /// Whether what is written there is still there after it was closed.
    pub fn outlives_its_store(&self) -> bool {
        self.url != "memory:"
    }

    /// Opens the ledger there, as `builder` says.
    pub async fn open(&self, builder: LedgerBuilder) -> Ledger {
        #[cfg(feature = "postgres")]
        if let Some(database) = &self.database {
            return builder.open(&database.url).await.unwrap();
        }
        builder.open(&self.url).await.unwrap()
    }

    /// Opens the ledger there by a clock of the test's own.
    pub async fn open_by(&self, builder: LedgerBuilder, clock: Arc<dyn Clock>) -> Ledger {
        builder.open_store(self.store(clock).await).unwrap()
    }
}

/// Declares one test for every kind of store and every named promise: an async function of a [`Place`].
#[macro_export]
macro_rules! on_every_store {
    ($($promise:ident,)+) => {
        mod memory {
            $(#[tokio::test] async fn $promise() { super::$promise($crate::common::places::Place::memory()).await; })+
        }
        #[cfg(feature = "sqlite")]
        mod sqlite {
            $(#[tokio::test] async fn $promise() { super::$promise($crate::common::places::Place::sqlite()).await; })+
        }
        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[tokio::test] async fn $promise() {
                super::$promise($crate::common::places::Place::postgres().await).await;
            })+
        }
    };
}
