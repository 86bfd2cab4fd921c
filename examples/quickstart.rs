//! An account, a stream, a bill: `cargo run --example quickstart`. The README shows the same program.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use prepaid::metering::observe::{Api, ApiObserver};
use prepaid::pricing::{Tariff, explain};
use prepaid::{Asset, Ledger};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usd = Asset::USD;
    let ledger = Ledger::open("memory:").await?; // or "sqlite:ledger.db"
    let alice = ledger.account("alice")?;
    alice.open().await?;
    alice.deposit("payment-17", usd.parse("5")?).await?;

    // Before the upstream is called: set the worst case aside, at prices that the hold pins.
    let tariff = Arc::new(Tariff::per_million("gpt-4o").input("2.50").output("10").build()?);
    let worst = tariff.quote_text(1_000, 500, usd)?.amount();
    let hold = alice.reserve("request-1", worst).tariff(tariff).await?.created()?;

    // The answer passes through the meter unchanged, however it is cut into pieces.
    let upstream = stream::iter(ANSWER.as_bytes().chunks(50).map(|piece| Ok::<_, Infallible>(Bytes::from(piece))));
    let (mut answer, bill) = hold.meter(upstream, ApiObserver::new(Api::OpenAiChat).model("gpt-4o"));
    while let Some(Ok(piece)) = answer.next().await {
        print!("{}", String::from_utf8_lossy(&piece));
    }

    // Its usage event settled the hold; what was held too much is free again.
    let bill = bill.await?;
    println!("{}", bill.charge.as_ref().map(|charge| explain(charge).to_string()).unwrap_or_default());
    assert_eq!(bill.receipt.balance.available, usd.parse_signed("4.9999475")?);
    assert!(ledger.audit().await?.is_clean());
    Ok(ledger.close(Duration::from_secs(1)).await?)
}

const ANSWER: &str = r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"}}]}

data: {"choices":[{"index":0,"delta":{"content":" there."},"finish_reason":"stop"}]}

data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}

data: [DONE]

"#;
