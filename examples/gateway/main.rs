//! An OpenAI-compatible proxy that sells what is behind it, prepaid: a provider, or recordings of one.
//!
//! ```sh
//! cargo run --release --example gateway -- --recorded
//! curl -sN localhost:8080/v1/chat/completions -H 'Authorization: Bearer sk-demo' -H 'Idempotency-Key: first' \
//!     -d '{"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'
//! curl -s localhost:8080/v1/balance -H 'Authorization: Bearer sk-demo'
//! ```
//!
//! In front of OpenAI it takes the key from the environment:
//!
//! ```sh
//! OPENAI_API_KEY=… cargo run --release --example gateway -- --upstream https://api.openai.com --ledger sqlite:ledger.db
//! ```

#[path = "../support/recordings.rs"]
#[allow(dead_code, reason = "the replay uses the rest")]
mod recordings;
mod service;

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use prepaid::Ledger;
use prepaid::metering::observe::Api;
use prepaid::metering::{ApiAccounting, Cut};
use prepaid::pricing::PriceBook;
use service::upstream::Upstream;
use service::{Service, router};

#[derive(Parser)]
#[command(about = "An OpenAI-compatible proxy with prepaid accounts")]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    /// The ledger: sqlite:PATH, postgres://… with the feature of that name, or one that is not kept.
    #[arg(long, default_value = "memory:")]
    ledger: String,
    /// The API behind the proxy, such as https://api.openai.com. Its key is in OPENAI_API_KEY.
    #[arg(long, required_unless_present = "recorded")]
    upstream: Option<String>,
    /// Answer from the repository's recordings instead.
    #[arg(long, conflicts_with = "upstream")]
    recorded: bool,
    /// Whose API it is: chooses what a client that goes away pays for, and the name of the cap on output.
    #[arg(long, default_value = "openai")]
    provider: String,
    /// A price list in LiteLLM's format.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/prices/litellm_model_prices.json"))]
    prices: PathBuf,
    /// An API key, the account that pays for it, and what that is opened with. May be repeated.
    #[arg(long = "key", value_name = "KEY=ACCOUNT:AMOUNT", default_value = "sk-demo=demo:1.00")]
    keys: Vec<String>,
    /// The largest answer, in tokens.
    #[arg(long, default_value_t = 4096)]
    output_max: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let ledger = Ledger::open(&options.ledger).await?;
    let service = Service {
        keys: accounts(&ledger, &options.keys).await?,
        prices: PriceBook::from_litellm(&fs::read_to_string(&options.prices)?)?,
        accounting: Arc::new(ApiAccounting::new(Api::OpenAiChat)),
        upstream: upstream(&options)?,
        output_max: options.output_max,
        cut: Cut::of_provider(&options.provider),
        provider: options.provider,
        ledger: ledger.clone(),
    };
    let listener = tokio::net::TcpListener::bind(&options.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let serve = axum::serve(listener, router(Arc::new(service))).with_graceful_shutdown(stopped());
    tokio::select! {
        served = serve.into_future() => served?,
        // What streams past it have used is recorded when the ledger closes.
        () = async { stopped().await; tokio::time::sleep(STREAMS_END_WITHIN).await } => {}
    }
    // Streams whose clients are gone may still be read on and settled.
    ledger.close(Duration::from_secs(30)).await?;
    Ok(())
}

const STREAMS_END_WITHIN: Duration = Duration::from_secs(60);

/// Waits until somebody wants it to end: a terminal, or whatever runs containers.
async fn stopped() {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated() => {}
    }
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}

/// Opens the accounts that keys name, and pays in what they are opened with: once, however often the proxy starts.
async fn accounts(ledger: &Ledger, keys: &[String]) -> Result<HashMap<String, prepaid::AccountHandle>, Box<dyn Error>> {
    let mut accounts = HashMap::new();
    for given in keys {
        let parts = given.split_once('=').and_then(|(key, rest)| Some((key, rest.split_once(':')?)));
        let (key, (account, amount)) = parts.ok_or_else(|| format!("not KEY=ACCOUNT:AMOUNT: {given}"))?;
        let account = ledger.account(account)?;
        account.open().await?;
        account.deposit("opening", ledger.asset().parse(amount)?).asset(ledger.asset()).await?;
        accounts.insert(key.to_owned(), account);
    }
    Ok(accounts)
}

fn upstream(options: &Options) -> Result<Upstream, Box<dyn Error>> {
    Ok(match &options.upstream {
        Some(url) => Upstream::Provider {
            client: reqwest::Client::new(),
            url: url.trim_end_matches('/').to_owned(),
            key: std::env::var("OPENAI_API_KEY").ok(),
        },
        None => {
            let mut recordings = recordings::load(Path::new(&recordings::shipped()))?;
            recordings.retain(|recording| recording.api == "openai_chat");
            Upstream::Recorded { recordings, pace: Duration::from_millis(10) }
        }
    })
}
