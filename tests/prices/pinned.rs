//! A hold keeps the prices it was made with, and its books say what was charged.

use std::sync::Arc;

use prepaid::model::{Body, Measured};
use prepaid::pricing::{Charge, PriceBook};
use prepaid::tokens::{TokenClass, Usage};
use prepaid::{Asset, Ledger, Reserved};

fn book(price: &str) -> PriceBook {
    PriceBook::from_toml(&format!("[models.m]\ninput = \"{price}\"\noutput = \"10\"")).unwrap()
}

#[tokio::test]
async fn a_hold_settles_at_the_tariff_it_was_made_with() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
    let ledger = Ledger::open(&url).await.unwrap();
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("payment", Asset::USD.parse("1").unwrap()).await.unwrap();
    let tariff = Arc::new(book("2.50").tariff("m").unwrap());
    let quote = tariff.quote_request(1_000, 100, Asset::USD).unwrap();
    let reserved = alice.reserve("request", quote.amount()).tariff(Arc::clone(&tariff)).await.unwrap();
    let Reserved::Created(hold) = reserved else { panic!("{reserved:?}") };
    hold.detach();
    ledger.close(std::time::Duration::from_secs(5)).await.unwrap();

    // The list changes while nobody runs; the hold's prices are those in the database.
    let ledger = Ledger::open(&url).await.unwrap();
    assert_ne!(book("3").tariff("m").unwrap(), *tariff);
    let hold = ledger.account("alice").unwrap().attach("request").await.unwrap();
    let pinned = Arc::clone(hold.tariff().unwrap());
    assert_eq!(pinned, tariff);
    let usage = Usage::new().with(TokenClass::Input, 1_000).with(TokenClass::Output, 100);
    let charge = pinned.charge(&usage, Asset::USD).unwrap();
    assert_eq!(charge.amount(), quote.amount());
    let measured = Measured::new(charge.amount(), usage.total()).with_evidence(charge.evidence());
    hold.settle(measured).await.unwrap();

    // The journal explains what was charged.
    let entries = ledger.account("alice").unwrap().journal(0, 10).await.unwrap();
    let Body::Close(close) = entries.last().unwrap().body().unwrap() else { panic!("{entries:?}") };
    let explained = Charge::from_evidence(&close.evidence.unwrap()).unwrap();
    assert_eq!((explained.tariff(), explained), (tariff.hash(), charge));
}
