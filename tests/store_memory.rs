//! The reference store obeys the rules of stores, and the suite declares all of them.

#![cfg(feature = "testing")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prepaid::model::LedgerId;
use prepaid::store::conformance::StoreFactory;
use prepaid::store::{MemoryStore, Store, StoreError};
use prepaid::testing::ManualClock;

#[derive(Debug, Default)]
struct Factory {
    clock: Arc<ManualClock>,
}

#[async_trait]
impl StoreFactory for Factory {
    async fn make(&mut self) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(MemoryStore::new(LedgerId([7; 16]), self.clock.clone())))
    }

    async fn reopen(&mut self) -> Result<Option<Arc<dyn Store>>, StoreError> {
        Ok(None)
    }

    async fn pass(&mut self, span: Duration) {
        self.clock.advance(span);
    }
}

prepaid::store_conformance!(Factory::default());

#[test]
fn every_rule_of_the_suite_is_declared() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/conformance");
    let texts: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let declared = include_str!("../src/store/conformance/mod.rs");
    let rules: Vec<_> = texts
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next())
        .collect();
    assert!(rules.len() >= 40, "{} rules found", rules.len());
    let missing: Vec<_> = rules.iter().filter(|rule| !declared.lines().any(|line| line.trim() == **rule)).collect();
    assert!(missing.is_empty(), "rules that no test runs: {missing:?}");
}
