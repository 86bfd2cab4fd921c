//! Statements: an account's journal added up, however much went through it.

use prepaid::{AccountHandle, Asset, Ledger};

async fn opened(asset: Asset, deposit: &str) -> AccountHandle {
    let ledger = Ledger::builder().asset(asset).open("memory:").await.unwrap();
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("opening", asset.parse(deposit).unwrap()).await.unwrap();
    alice
}

/// What was held in all is far beyond any amount: the money came back each time.
#[tokio::test]
async fn turnover_of_holds_is_unbounded() {
    let asset: Asset = "USD/12".parse().unwrap();
    let alice = opened(asset, "100000").await;
    for number in 0..100 {
        let hold = alice.reserve(format!("r{number}"), asset.parse("6000").unwrap()).await.unwrap().created().unwrap();
        hold.settle(asset.parse("1").unwrap()).await.unwrap();
    }
    let statement = alice.statement(0).await.unwrap();
    assert_eq!(asset.format(statement.closing), "99900.000000000000");
    assert_eq!(asset.format(statement.revenue()), "100.000000000000");

    let table = statement.to_string();
    let row = |kind: &str| {
        let line = table.lines().find(|line| line.trim_start().starts_with(kind)).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("reserve"), ["100", "-600000.000000000000", "600000.000000000000", "0.000000000000"]);
    assert_eq!(row("settle"), ["100", "599900.000000000000", "-600000.000000000000", "100.000000000000"]);

    let json = serde_json::to_value(&statement).unwrap();
    let reserves = json["lines"].as_array().unwrap().iter().find(|line| line["kind"] == "reserve").unwrap();
    assert_eq!(reserves["changes"]["held"], "600000000000000000");
    assert_eq!(reserves["changes"]["available"], "-600000000000000000");
    assert_eq!(reserves["changes"]["funding"], "0");
}
