//! Where a promise is kept: every kind of store, fresh for each test.

use std::sync::Arc;

use prepaid::clock::Clock;
use prepaid::model::LedgerId;
use prepaid::store::{MemoryStore, Store};
use prepaid::{Ledger, LedgerBuilder};
use tempfile::TempDir;

/// A place a ledger can be kept in, empty at first, gone with this value.
#[derive(Debug)]
pub struct Place {
    url: String,
    _folder: Option<Arc<TempDir>>,
}

impl Place {
    pub fn memory() -> Self {
        Self { url: "memory:".to_owned(), _folder: None }
    }

    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        Self { url, _folder: Some(Arc::new(folder)) }
    }

    /// The store alone, with a clock of the test's own where it has none.
    pub async fn store(&self, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
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
        builder.open(&self.url).await.unwrap()
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
    };
}
