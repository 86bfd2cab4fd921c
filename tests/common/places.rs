//! Where a promise is kept: every kind of store, fresh for each test.

use std::sync::Arc;

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
