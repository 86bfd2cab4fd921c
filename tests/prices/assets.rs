//! A hold is priced in the asset of its account, or not made at all.

use std::sync::Arc;

use prepaid::pricing::Tariff;
use prepaid::tokens::{Certainty, TokenClass, Usage, UsageReport};
use prepaid::{AccountHandle, Asset, ErrorKind, Ledger};

/// An account in `asset` with some money, on a ledger of US dollars in billionths.
async fn account(asset: Asset) -> AccountHandle {
    let ledger = Ledger::open("memory:").await.unwrap();
    assert_eq!(ledger.asset(), Asset::USD);
    let alice = ledger.account("alice").unwrap();
    alice.open_with(asset, Default::default(), Default::default()).await.unwrap();
    alice.deposit("payment", asset.parse("1000").unwrap()).await.unwrap();
    alice
}

fn tariff() -> Tariff {
    Tariff::per_million("m").input("2.50").output("10").build().unwrap()
}

/// Asserts that a call was refused by the names of both assets, and that nothing was written.
async fn refused<T: std::fmt::Debug>(alice: &AccountHandle, answer: prepaid::Result<T>, both: [&str; 2]) {
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(both.iter().all(|name| error.to_string().contains(name)), "{error}");
    assert_eq!(alice.view().await.unwrap().seq, 2, "opened, paid and nothing else");
    assert!(alice.hold("r").await.unwrap().is_none());
}

#[tokio::test]
async fn tariff_in_another_currency_makes_no_hold() {
    let alice = account(Asset::USD).await;
    let euros = Arc::new(tariff().converted_to("EUR", "0.9").unwrap());
    let asked = Asset::USD.parse("0.01").unwrap();
    let answer = alice.reserve("r", asked).tariff(Arc::clone(&euros)).await;
    refused(&alice, answer, ["EUR", "USD/9"]).await;
    let answer = alice.reserve_next("r", asked).tariff(euros).await;
    refused(&alice, answer, ["EUR", "USD/9"]).await;
}

#[tokio::test]
async fn account_of_another_currency_gets_no_hold_in_the_ledgers() {
    let points = Asset::new("POINTS", 0).unwrap();
    let alice = account(points).await;
    let answer = alice.reserve("r", Asset::USD.parse("0.000000010").unwrap()).tariff(Arc::new(tariff())).await;
    refused(&alice, answer, ["POINTS/0", "USD/9"]).await;
}

#[tokio::test]
async fn account_of_another_scale_gets_no_hold_in_the_ledgers() {
    let millionths = Asset::new("USD", 6).unwrap();
    let alice = account(millionths).await;
    let quote = tariff().quote_request(1_000, 100, alice.ledger().asset()).unwrap();
    let answer = alice.reserve("r", quote.amount()).tariff(Arc::new(tariff())).await;
    refused(&alice, answer, ["USD/6", "USD/9"]).await;
    let answer = alice.reserve("r", quote.amount()).asset(Asset::USD).await;
    refused(&alice, answer, ["USD/6", "USD/9"]).await;
}

#[tokio::test]
async fn hold_in_the_accounts_own_asset_settles_in_it() {
    let points = Asset::new("POINTS", 0).unwrap();
    let alice = account(points).await;
    let tariff = Arc::new(tariff().converted_to("POINTS", "1000").unwrap());
    let quote = tariff.quote_request(10_000, 1_000, points).unwrap();
    assert_eq!(points.format(quote.amount()), "35");
    let call = alice.reserve("r", quote.amount()).asset(points).tariff(tariff);
    let hold = call.await.unwrap().created().unwrap().detach();
    let usage = Usage::new().with(TokenClass::Input, 10_000).with(TokenClass::Output, 500);
    let bill = alice.settle_usage(&hold, UsageReport::new(usage, Certainty::Reported)).await.unwrap();
    assert_eq!(bill.receipt.balance.available, points.parse_signed("970").unwrap());
}
